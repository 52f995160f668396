"""The values a model puts out, against those of its data: what has left them was not learned from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Verdict = Literal["ok", "warn", "bad"]

MARGIN = 0.05  # of the data's span, on either side: a cell that is to be black or silent jitters about its value
FAR = 2.0  # times the data's span; a model that gets so far from their middle has diverged
MANY_OUTSIDE, MOST_OUTSIDE = 0.01, 0.2  # shares of cells
MANY_CLIPPED = 0.01  # share of the signal at its limits, beyond that of real data
FULL_SCALE = 1 - 1 / 32768  # of 16-bit sound


@dataclass(frozen=True)
class DataRange:
    """Of the x_0 of data: its extremes, and the share of the signal that decoding holds at its limits, where known."""

    low: float
    high: float
    clipped: float | None


@dataclass(frozen=True)
class Range:
    """What x_0 was sampled, against the x_0 of data.

    low, high: of the sampled cells that are finite; NaN where none is. outside: share of sampled cells outside the
    data's extremes by more than MARGIN. clipped: as the data's; None where nothing could be decoded. not_finite: share
    of cells.
    """

    data: DataRange
    low: float
    high: float
    outside: float
    clipped: float | None
    not_finite: float

    @property
    def verdict(self) -> Verdict:
        """Bad where cells are not finite, far away, or most of them outside; a warning where some are."""
        middle, span = (self.data.low + self.data.high) / 2, max(self.data.high - self.data.low, 1e-12)
        away = max(self.high - middle, middle - self.low) / span
        if self.not_finite or away > FAR or self.outside > MOST_OUTSIDE:
            return "bad"
        known = self.clipped is not None and self.data.clipped is not None
        more_clipped = known and (self.clipped or 0.0) > (self.data.clipped or 0.0) + MANY_CLIPPED
        return "warn" if self.outside > MANY_OUTSIDE or more_clipped else "ok"

    def __str__(self) -> str:
        """In plain words."""
        if self.not_finite:
            return f"{self.not_finite:.1%} of the sampled cells are not finite"
        ends = f"{self.low:+.3g} to {self.high:+.3g}, data {self.data.low:+.3g} to {self.data.high:+.3g}"
        clipped = "" if self.clipped is None else f", {self.clipped:.1%} clipped"
        clipped += "" if self.clipped is None or self.data.clipped is None else f" (data {self.data.clipped:.1%})"
        return f"outputs reach {ends}; {self.outside:.1%} of cells outside{clipped}"

    def figures(self) -> dict[str, float]:
        """By the names that metrics.jsonl has them under; those that are not known are left out."""
        values = {
            "output_low": self.low,
            "output_high": self.high,
            "data_low": self.data.low,
            "data_high": self.data.high,
            "share_outside": self.outside,
            "share_not_finite": self.not_finite,
            "share_clipped": self.clipped,
            "data_share_clipped": self.data.clipped,
        }
        return {name: round(value, 6) for name, value in values.items() if value is not None and math.isfinite(value)}


def data_range(codec: Any, x_0: Tensor, num_decoded: int = 8) -> DataRange:
    """Of the x_0 of data (n, C, H, W); what is clipped by the first `num_decoded`."""
    few = x_0[:num_decoded].float()
    return DataRange(x_0.min().item(), x_0.max().item(), share_clipped(codec, few, codec.decode(few)))


def value_range(codec: Any, x_0: Tensor, data: DataRange, signal: Tensor | None = None) -> Range:
    """Of sampled x_0 (n, C, H, W). signal: what they decode to; None where that cannot be said."""
    finite = torch.isfinite(x_0)
    cells = x_0[finite].float()
    margin = MARGIN * (data.high - data.low)
    outside = ((cells < data.low - margin) | (cells > data.high + margin)).float()
    return Range(
        data,
        *((cells.min().item(), cells.max().item(), outside.mean().item()) if len(cells) else (math.nan, math.nan, 1.0)),
        clipped=None if signal is None else share_clipped(codec, x_0, signal),
        not_finite=1 - finite.float().mean().item(),
    )


def share_clipped(codec: Any, x_0: Tensor, signal: Tensor) -> float:
    """Share of the signal at its limits: what the codec says that it cuts, else pixels or samples at full scale."""
    if (cut := codec.share_cut(x_0)) is not None:
        return cut
    if signal.dtype == torch.uint8:
        return ((signal == 0) | (signal == 255)).float().mean().item()
    return (signal.abs() >= FULL_SCALE).float().mean().item()
