"""Which parameters a stage trains: those of whole parts, or of the groups that a part declares."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from synesthete.config.build import suggestion
from synesthete.types import InputError, Prepared

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import nn

    from synesthete.config import Stage
    from synesthete.objectives import Parts


def groups_of(part: Any) -> dict[str, list[nn.Parameter]]:
    """The parameters of a part by the groups that it declares; those without any are left out."""
    groups = {name: list(parameters) for name, parameters in part.groups().items()}
    return {name: parameters for name, parameters in groups.items() if parameters}


def check_trainable(stage: Stage, known: Mapping[str, Iterable[str]]) -> None:
    """Make sure that there is what a stage is to train. known: the names of each part.

    Raises:
        InputError: a group that its part does not declare.
    """
    for name in stage.train:
        part = name.partition(".")[0]
        if name not in known[part]:
            raise InputError(f"stage {stage.name} trains {name!r}{suggestion(name, known[part])}")


def set_trainable(parts: Parts, stage: Stage) -> None:
    """Let what the stage trains learn, and freeze all else.

    Raises:
        InputError: a group that its part does not declare.
    """
    modules = parts.modules()
    groups = {f"{name}.{group}": own for name, part in modules.items() for group, own in groups_of(part).items()}
    known = {name: [name, *(group for group in groups if group.startswith(f"{name}."))] for name in modules}
    check_trainable(stage, known)
    for name, module in modules.items():
        module.requires_grad_(name in stage.train)
    for name in stage.train:
        for parameter in groups.get(name, ()):
            parameter.requires_grad_(True)


def select_captions(prepared: Prepared, captions: tuple[str, ...] | None) -> Prepared:
    """The data with those captions alone, where the stage names some.

    Raises:
        InputError: captions that the data do not have.
    """
    if captions is None:
        return prepared
    known = {name: getattr(prepared, name) for name in ("train", "test", "speakers")}
    chosen = {name: samples.with_captions(captions) for name, samples in known.items() if samples is not None}
    return replace(prepared, **chosen)
