"""Sound files as tests write them, whole and broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

if TYPE_CHECKING:
    from pathlib import Path


def melody(seconds: float, rate: int = 8000, seed: int = 0) -> np.ndarray:
    """(S,) float32: a note of its own every quarter of a second, below 2 kHz, so that no two seeds sound alike."""
    draw = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitches = 110 * 2 ** (draw.integers(0, 48, size=int(seconds * 4) + 1) / 12)
    phase = 2 * np.pi * np.cumsum(pitches[(time * 4).astype(int)]) / rate
    return (draw.uniform(0.2, 0.5) * np.sin(phase)).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = 8000, **options: Any) -> Path:
    """A sound file, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)
    return path


def write_melody(path: Path, seconds: float = 3.0, seed: int | None = None, rate: int = 8000) -> Path:
    """A melody of its own for every name."""
    own = int.from_bytes(path.name.encode()[-8:], "big") if seed is None else seed
    return write(path, melody(seconds, rate, own), rate)
