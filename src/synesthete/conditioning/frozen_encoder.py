"""A published encoder, frozen: found by its id, read when it is first needed, and what it said kept in the cache."""

from __future__ import annotations

import contextlib
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from synesthete import hub
from synesthete.io import replacing
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor


FIELD = "conditioner.model"


class FrozenEncoder:
    """An encoder of transformers, in float32 and evaluation mode; never trained.

    Copies share it. It has no place in a module's parameters, so no optimiser, checkpoint or model folder holds it.

    Args:
        model: a Hub id, or a folder with its settings and weights. field: of the recipe, which the model came from.
    """

    kind: ClassVar[str]  # in messages: "a CLAP"

    def __init__(self, model: str, field: str) -> None:
        self.model, self.field = model, field

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenEncoder:
        return self

    @cached_property
    def folder(self) -> Path:
        """Where its files are."""
        return find_folder(self.model, self.field)

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

    def to(self, device: torch.device) -> None:
        """Move the network, if it was read already."""
        if "network" in self.__dict__ and device.type != "meta":
            self.network.to(device)

    def read(self, kind: Any, config: Any, may_lack: str | None = None, **settings: Any) -> Any:
        """A network of transformers, `kind`, from its folder. may_lack: a weight that is made anew where it is missing.

        Raises:
            InputError: files that cannot be read, or lack some of its weights.
        """
        with one_line(self.model, self.kind, self.field):
            network, loading = kind.from_pretrained(
                self.folder, config=config, dtype=torch.float32, weights_only=True, output_loading_info=True, **settings
            )
        if missing := set(loading["missing_keys"]) - {may_lack}:
            raise InputError(f"{self.folder}: lacks {min(missing)}; download the model again")
        return network.eval().requires_grad_(False)


def find_folder(model: str, field: str) -> Path:
    """Where an encoder's files are; safetensors are preferred, a published `.bin` is read as tensors alone.

    Raises:
        InputError: neither on this machine nor to be had.
    """
    local = hub.local_weights(model) or hub.local_weights(model, hub.PICKLED)
    folder = local or hub.find_weights(model, field=field)
    if any(next(folder.glob(pattern), None) for pattern in ("*.safetensors", "*.bin")):
        return folder
    return hub.find_weights(model, hub.PICKLED, field=field)


@contextlib.contextmanager
def one_line(model: str, kind: str, field: str = FIELD) -> Iterator[None]:
    """Transformers without its bars and reports; whatever it raises becomes an InputError: model is not `kind`.

    field: of the recipe, which the model came from.
    """
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except Exception as error:  # of whatever kind: damaged json, a type it does not know, code that it would run
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{model}: cannot be read as {kind} ({reason}); give another with --set {field}=ID") from None
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def recall(folder: str, key: str) -> Tensor | None:
    """What was kept under a key; None where nothing was, or the file is damaged."""
    try:
        return load_file(hub.cache_folder() / folder / f"{key}.safetensors")["features"]
    except (OSError, SafetensorError, KeyError):
        return None


def remember(folder: str, key: str, features: Tensor, about: Mapping[str, str]) -> None:
    """Keep it under a key, `about` in the file's header. A cache that cannot be written costs time, no more."""
    place = hub.cache_folder() / folder / f"{key}.safetensors"
    with contextlib.suppress(InputError), replacing(place) as partial:
        save_file({"features": features}, partial, dict(about))
