"""What the codec alone costs: real pieces encoded and decoded, without any model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from synesthete.data.waveforms import as_float
from synesthete.evaluation.audio_features.spectra import CHUNK, FLOOR_DB, log_mel
from synesthete.evaluation.metrics.round_trip import difference

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RoundTrip:
    """Real held-out pieces through the codec, n of them: what a perfect model would still lose.

    snr_db: of the waveform, the median. spectral_db: log-spectral distance, the root mean square difference of levels
    in a log-mel, where one of them is above the floor. pairs: waveforms before and after, (k, S) int16 each.
    """

    num: int
    snr_db: float
    spectral_db: float
    pairs: tuple[Tensor, Tensor]


def measure_round_trip(before: Tensor, after: Tensor, sample_rate: int, num_shown: int = 2) -> RoundTrip:
    """Of pieces (n, S) int16 and the same decoded again (n, S'); what is longer is cut."""
    num = min(before.shape[1], after.shape[1])
    ratios, squares, cells = [], 0.0, 0
    for first in range(0, len(before), CHUNK):
        one, other = (as_float(x[first : first + CHUNK, :num].cpu()) for x in (before, after))
        ratios += [difference(a, b).snr_db for a, b in zip(one, other, strict=True)]
        levels = [log_mel(x, sample_rate) for x in (one, other)]
        heard = torch.maximum(*levels) > FLOOR_DB
        squares += (levels[0] - levels[1])[heard].double().square().sum().item()
        cells += int(heard.sum())
    spectral = math.sqrt(squares / cells) if cells else math.nan
    return RoundTrip(
        len(before), torch.tensor(ratios).median().item(), spectral, (before[:num_shown], after[:num_shown])
    )
