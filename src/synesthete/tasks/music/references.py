"""What music is compared with beside real pieces: those through the codec, and noise, which is as bad as chance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.data.audio import as_float, to_int16
from synesthete.evaluation.audio_features.spectra import CHUNK, FLOOR_DB, log_mel, parts, signal_difference

CODED, REAL = "others, through the codec", "others, real"
NOISE, WHITE = "noise of their spectrum", "white noise"
BATCH_SIZE = 16  # pieces through the codec at once
NUM_SHOWN = 2  # of them to be heard before and after


@torch.no_grad()
def through_codec(codec: Any, waveforms: Tensor, seed: int, progress: Callable[[int, int], None]) -> Tensor:
    """Real pieces (n, S) int16, encoded and decoded: (n, S') int16, wherever the codec is."""
    found, device = [], codec.device
    for first in range(0, len(waveforms), BATCH_SIZE):
        part = as_float(waveforms[first : first + BATCH_SIZE].cpu())
        x_0 = codec.encode(part.to(device))
        found.append(to_int16(codec.decode(x_0, seeding.sample_generators(seed, len(part), first))))
        progress(first + len(part), len(waveforms))
    return torch.cat(found)


def noise_like(waveforms: Tensor, seed: int, *, coloured: bool = True) -> Tensor:
    """Noise (n, S) int16, each as loud as the piece in its place, of the mean spectrum of all if coloured, or white."""
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


@dataclass(frozen=True)
class CodecRoundTrip:
    """Real held-out pieces through the codec, n of them: what a perfect model would still lose.

    snr_db: of the waveform, the median. spectral_db: log-spectral distance, the root mean square difference of levels
    in a log-mel, where one of them is above the floor. pairs: waveforms before and after, (k, S) int16 each.
    """

    num: int
    snr_db: float
    spectral_db: float
    pairs: tuple[Tensor, Tensor]


def measure_codec_round_trip(before: Tensor, after: Tensor, sample_rate: int) -> CodecRoundTrip:
    """Of pieces (n, S) int16 and the same decoded again (n, S'); what is longer is cut."""
    num = min(before.shape[1], after.shape[1])
    ratios, squares, cells = [], 0.0, 0
    for first in range(0, len(before), CHUNK):
        one, other = (as_float(x[first : first + CHUNK, :num].cpu()) for x in (before, after))
        ratios += [signal_difference(a, b).snr_db for a, b in zip(one, other, strict=True)]
        levels = [log_mel(x, sample_rate) for x in (one, other)]
        heard = torch.maximum(*levels) > FLOOR_DB
        squares += (levels[0] - levels[1])[heard].double().square().sum().item()
        cells += int(heard.sum())
    spectral = math.sqrt(squares / cells) if cells else math.nan
    shown = before[:NUM_SHOWN], after[:NUM_SHOWN]
    return CodecRoundTrip(len(before), torch.tensor(ratios).median().item(), spectral, shown)
