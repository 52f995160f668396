"""What a frozen encoder said, kept in the cache folder: a small file for each thing that it was asked."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from synesthete import hub
from synesthete.io import replacing
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def load(folder: str, key: str) -> Tensor | None:
    """What was kept under a key; None where nothing was, or the file is damaged."""
    try:
        return load_file(hub.cache_folder() / folder / f"{key}.safetensors")["features"]
    except (OSError, SafetensorError, KeyError):
        return None


def save(folder: str, key: str, features: Tensor, about: Mapping[str, str]) -> None:
    """Keep it under a key, `about` in the file's header. A cache that cannot be written costs time, no more."""
    place = hub.cache_folder() / folder / f"{key}.safetensors"
    with contextlib.suppress(InputError), replacing(place) as partial:
        save_file({"features": features}, partial, dict(about))
