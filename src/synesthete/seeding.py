"""Random numbers as a function of what they are for, so that no random state has to be saved.

A draw is named by (seed, rank, step) or (seed, sample): training resumes to the bit, and a batch equals its singles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

__all__ = ["derive", "generator", "randn", "sample_generators"]


def derive(seed: int, *names: int | str) -> int:
    """A 63-bit seed for the draw called `names` under `seed`; other names give independent seeds."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def generator(seed: int, *names: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for the draw called `names` under `seed`."""
    return torch.Generator(device).manual_seed(derive(seed, *names))


def sample_generators(seed: int, num_samples: int, first: int = 0) -> list[torch.Generator]:
    """One generator per sample: sample i draws the same noise whatever batch it sits in (after EDM2)."""
    return [generator(seed, "sample", first + i) for i in range(num_samples)]


def randn(shape: Sequence[int], generators: Sequence[torch.Generator]) -> torch.Tensor:
    """Unit Gaussian noise (B, ...), row i drawn from generators[i]; `shape` is that of one sample."""
    return torch.stack([torch.randn(tuple(shape), generator=g) for g in generators])  # (B, *shape)
