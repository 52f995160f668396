"""Published networks as transformers saves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from synesthete.conditioning.vision import one_line
from synesthete.types import InputError

if TYPE_CHECKING:
    from pathlib import Path


def read_network(kind: Any, model: str, folder: Path, what: str, **options: Any) -> Any:
    """A network of a class of transformers, frozen, in float32. model, what: how messages name it.

    Raises:
        InputError: files that cannot be read, or lack some of its weights.
    """
    with one_line(model, what):
        network, loading = kind.from_pretrained(
            folder, dtype=torch.float32, weights_only=True, output_loading_info=True, **options
        )
    if loading["missing_keys"]:
        raise InputError(f"{folder}: lacks {min(loading['missing_keys'])}; download the model again")
    return network.eval().requires_grad_(False)
