"""A published encoder, frozen: found by its id, read when it is first needed, and what it said kept in the cache."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from synesthete import hub
from synesthete.conditioning.trial_towers import find_trial
from synesthete.io import replacing
from synesthete.types import InputError, first_line

FIELD = "conditioner.model"


class FrozenEncoder:
    """An encoder of transformers, in float32 and evaluation mode; never trained.

    Copies share it. It has no place in a module's parameters, so no optimiser, checkpoint or model folder holds it.

    Args:
        model: a Hub id, or a folder with its settings and weights. field: of the recipe, which the model came from.
    """

    kind: ClassVar[str]  # in messages: "a CLAP"

    def __init__(self, model: str, field: str = FIELD) -> None:
        self.model, self.field = model, field

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenEncoder:
        return self

    @cached_property
    def folder(self) -> Path:
        """Where its files are."""
        return find_trial(self.model) or find_folder(self.model, self.field)

    @cached_property
    def digest(self) -> str:
        """Of its files."""
        return hub.weights_digest(self.folder)

    @cached_property
    def network(self) -> Any:
        """The encoder, asking for no gradient."""
        return self._read_network()

    def _read_network(self) -> Any:
        raise NotImplementedError

    def reading(self) -> AbstractContextManager[None]:
        """`one_line` about this model."""
        return one_line(self.model, self.kind, self.field)

    def to(self, device: torch.device) -> None:
        """Move the network, if it was read already."""
        if "network" in self.__dict__ and device.type != "meta":
            self.network.to(device)

    @contextlib.contextmanager
    def exact(self, device: torch.device) -> Iterator[Any]:
        """The network on a device, without gradient or autocast: it says the same whatever a caller trains in."""
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield self.network.to(device)

    def read(self, kind: Any, config: Any, may_lack: str | None = None, **settings: Any) -> Any:
        """`read_network` of its folder."""
        own = (self.model, self.folder, self.kind)
        return read_network(kind, *own, field=self.field, may_lack=may_lack, config=config, **settings)


def read_network(
    kind: Any, model: str, folder: Path, what: str, *, field: str = FIELD, may_lack: str | None = None, **settings: Any
) -> Any:
    """A network of transformers, `kind`, frozen, in float32 and evaluation mode.

    model, what: how messages name it and its kind. field: as `one_line`. may_lack: a weight that is made anew where it
    is missing.
    """
    # Weights are drawn before they are read: one that is first needed within a step must not shift that step's dropout.
    with one_line(model, what, field), torch.random.fork_rng(devices=[]):
        network, loading = kind.from_pretrained(
            folder, dtype=torch.float32, weights_only=True, output_loading_info=True, **settings
        )
    if missing := set(loading["missing_keys"]) - {may_lack}:
        raise InputError(f"{folder}: lacks {min(missing)}; download the model again")
    return network.eval().requires_grad_(False)


def find_folder(model: str, field: str) -> Path:
    """Where an encoder's files are; safetensors are preferred, a published `.bin` is read as tensors alone."""
    local = hub.local_weights(model) or hub.local_weights(model, hub.PICKLED)
    folder = local or hub.find_weights(model, field=field)
    if any(next(folder.glob(pattern), None) for pattern in ("*.safetensors", "*.bin")):
        return folder
    return hub.find_weights(model, hub.PICKLED, field=field)


@contextlib.contextmanager
def one_line(model: str, kind: str, field: str = FIELD) -> Iterator[None]:
    """Transformers without its bars and reports; whatever it raises becomes an InputError: model is not `kind`."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except Exception as error:  # of whatever kind: damaged json, a type it does not know, code that it would run
        reason = first_line(error)
        raise InputError(f"{model}: cannot be read as {kind} ({reason}); give another with --set {field}=ID") from None
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def recall(
    folder: str, keys: Sequence[str], compute: Callable[[list[int]], Iterable[Tensor]], *, keep: bool = True
) -> list[Tensor]:
    """Features by key from a folder of the cache, on the CPU; those that are not there, or damaged, are computed.

    compute(places): of the keys at these places, in order. keep: and they are written; a cache that cannot be written
    costs time, no more.
    """
    found: dict[str, Tensor] = {}
    place = hub.cache_folder() / folder
    for key in keys:
        with contextlib.suppress(OSError, SafetensorError, KeyError):
            found[key] = load_file(place / f"{key}.safetensors")["features"]
    new = [keys.index(key) for key in dict.fromkeys(keys) if key not in found]
    for at, features in zip(new, compute(new), strict=True):
        found[keys[at]] = features.cpu()
        if keep:
            with contextlib.suppress(InputError), replacing(place / f"{keys[at]}.safetensors") as partial:
                save_file({"features": found[keys[at]]}, partial)
    return [found[key] for key in keys]
