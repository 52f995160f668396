"""The real pieces that a model's sounds are compared with, and what is as bad as chance: noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.data.audio import to_int16
from synesthete.evaluation.audio_features.spectra import as_float, parts
from synesthete.evaluation.subsampling import drawn
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from synesthete.types import Prepared

FEWEST = 4  # with three, no piece has a third nearest other one
BATCH_SIZE = 16  # pieces through the codec at once


@dataclass(frozen=True)
class RealSounds:
    """Two sets of real pieces (m, S) int16 without a recording in common, with their labels (m,).

    held_out: of recordings never heard in training; places: theirs in the test split. others: of the recordings that
    the model was trained on, what a model that makes perfect music of their kind would be like.
    """

    held_out: Tensor
    labels: Tensor
    places: Tensor
    others: Tensor
    other_labels: Tensor


def draw_real(prepared: Prepared, num: int, seed: int) -> RealSounds:
    """At most `num` held-out pieces, and as many others to compare them with, all drawn at random.

    The others are training pieces: pieces of one recording are alike, so that two halves of the held-out ones, which
    share recordings, are nearer to each other than music of other recordings can be.

    Raises:
        InputError: fewer than FEWEST pieces of either kind.
    """
    for name, samples in (("held-out", prepared.test), ("training", prepared.train)):
        if len(samples) < FEWEST:
            raise InputError(
                f"{len(samples)} {name} pieces to compare with; give {FEWEST} or more (more recordings, a smaller "
                "data.stride, or another data.test_share)"
            )
    chosen = drawn(len(prepared.test), num, seed, "held out")
    others = drawn(len(prepared.train), len(chosen), seed, "training")
    return RealSounds(
        held_out=prepared.test.waveforms[chosen],
        labels=prepared.test.labels[chosen],
        places=chosen,
        others=prepared.train.waveforms[others],
        other_labels=prepared.train.labels[others],
    )


@torch.no_grad()
def through_codec(codec: Any, waveforms: Tensor, seed: int, progress: Callable[[int, int], None]) -> Tensor:
    """Real pieces (n, S) int16, encoded and decoded: (n, S') int16, wherever the codec is."""
    found = []
    device = next((value.device for value in codec.buffers()), torch.device("cpu"))
    for first in range(0, len(waveforms), BATCH_SIZE):
        part = as_float(waveforms[first : first + BATCH_SIZE])
        x_0 = codec.encode(part.to(device))
        found.append(to_int16(codec.decode(x_0, seeding.sample_generators(seed, len(part), first))))
        progress(first + len(part), len(waveforms))
    return torch.cat(found)


def noise_like(waveforms: Tensor, seed: int, *, coloured: bool = True) -> Tensor:
    """Stationary noise (n, S) int16, each as loud as the piece (n, S) in its place.

    coloured: of the mean power spectrum of all pieces, so that bands are right, and nothing else; otherwise white.
    """
    num_samples = waveforms.shape[1]
    power = torch.zeros(num_samples // 2 + 1)
    levels = []
    for part in parts(waveforms):
        power += torch.fft.rfft(part).abs().square().sum(dim=0)
        levels.append(part.square().mean(dim=1).sqrt())
    shape = power.sqrt() if coloured else torch.ones_like(power)
    found = []
    for first, level in zip(range(0, len(waveforms), BATCH_SIZE), torch.cat(levels).split(BATCH_SIZE), strict=True):
        generators = [seeding.generator(seed, "noise", first + i) for i in range(len(level))]
        noise = torch.fft.irfft(torch.fft.rfft(seeding.randn((num_samples,), generators)) * shape, num_samples)
        noise = noise * (level / noise.square().mean(dim=1).sqrt().clamp(min=1e-12))[:, None]
        found.append(to_int16(noise))
    return torch.cat(found)
