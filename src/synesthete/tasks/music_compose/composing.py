"""Pieces of any length from windows of a few bars: each holds what is given there and what came before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.data.scores.score import BAR
from synesthete.pipeline.long_form import inpaint
from synesthete.types import ScoreSketch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from synesthete.pipeline import Pipeline


@dataclass
class Draft:
    """Pieces that are not yet whole.

    grids: (B, V, 2, T) uint8 as `to_grid` has them. known: (V, T), which of it is there in all of them. keys: (B,)
    int64, 12 * mode + tonic.
    """

    grids: Tensor
    known: Tensor
    keys: Tensor

    def __len__(self) -> int:
        return len(self.grids)


def compose(
    pipeline: Pipeline,
    draft: Draft,
    generators: Sequence[torch.Generator],
    progress: Callable[[int, int], None] = lambda *_: None,
    **sampling: Any,
) -> Tensor:
    """The pieces (B, V, 2, T) uint8, what is known as it was; a note that is known is never held on into what is made.

    generators: one a piece, so that a batch equals its singles. sampling: settings other than the model's own.
    """
    room = pipeline.codec.config.num_columns
    grids, known = draft.grids.clone(), draft.known.clone()
    total = known.shape[-1]
    padding = max(room - total, 0)  # a piece shorter than a window rests after its end, as those of training do
    grids, known = F.pad(grids, (0, padding)), F.pad(known, (0, padding), value=True)
    starts = plan_windows(known, room // BAR)
    for done, bar in enumerate(starts):
        here = slice(bar * BAR, bar * BAR + room)
        held = known[:, here]  # (V, W)
        told = {"begins": int(bar == 0), "ends": int(here.stop >= total)}
        grids[..., here] = make_window(pipeline, grids[..., here], held, draft.keys, told, generators, **sampling)
        known[:, here] = True
        progress(done + 1, len(starts))
    return grids[..., :total]


def make_window(
    pipeline: Pipeline,
    given: Tensor,
    held: Tensor,
    keys: Tensor,
    told: dict[str, int],
    generators: Sequence[torch.Generator],
    **sampling: Any,
) -> Tensor:
    """What is given (B, V, 2, W) with all that is not held (V, W) made. told: values of the hints beside the key."""
    num = len(given)
    sketch = ScoreSketch(
        tonic=keys % 12,
        mode=keys // 12,
        voices=given,
        held=held.expand(num, -1, -1),
        **{name: torch.full((num,), value) for name, value in told.items()},
    )
    around = None
    if held.any():
        x_0 = pipeline.codec.encode(given.where(held[:, None], 0).to(pipeline.device))
        around = inpaint(pipeline.process, x_0, held[:, None].expand(num, -1, -1, -1), num_corrections=0)
    made = pipeline(sketch, generators=generators, around=around, **sampling).signal.cpu()
    after_held = F.pad(held[:, :-1], (1, 0)) & ~held
    made[:, :, 1] |= (after_held & (made[:, :, 0] > 0)).to(made)  # else a held note would sound longer
    return torch.where(held[:, None], given, made)


def plan_windows(known: Tensor, room: int) -> list[int]:
    """First bars of windows of `room` bars that make whatever is not known (V, T), from left to right.

    What is known lies on both sides of a gap, as far as there is room, and half a window of it before a longer one.
    """
    left = (~known).any(0).view(-1, BAR).any(1).tolist()  # bars that lack something
    starts: list[int] = []
    while True in left:
        first = left.index(True)
        run = [*left[first:], False].index(False)
        before = max((room - run) // 2, 0) if run <= room // 2 else room // 2
        start = max(min(first - before, len(left) - room), 0)
        starts.append(start)
        left[start : start + room] = [False] * len(left[start : start + room])
    return starts
