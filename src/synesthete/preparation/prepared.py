"""What a preparation gives: a recipe's data, encoded, and what was found on the way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[str, int, int], None]


@dataclass
class Prepared:
    """A recipe's data, encoded. statistics: the codec's buffers as measured on the training data.

    train, test: `Samples` of the system's kind. judge: pictures that only the judge of a picture model learns from;
    None where something else is judged. skipped: the files that could not be read. speakers: as `test`, of speakers who
    are in no other; None where the sources tell of none.
    """

    train: Any
    test: Any
    statistics: dict[str, Tensor]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    judge: Any = None
    speakers: Any = None


def digest(settings: Any) -> str:
    """A short name for plain values."""
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=6).hexdigest()
