"""What is told of a score: its key, whether the piece begins or ends here, and the notes that are held."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from synesthete.conditioning.conditioner import Conditioner, are_within
from synesthete.config import Fraction  # noqa: TC001 (read when a recipe's field is set)
from synesthete.nn.roll import OWN_ROWS, to_roll
from synesthete.types import Condition, InputError, ScoreSketch

# What can be told beside notes, and how many values each has.
HINTS = {"tonic": 12, "mode": 2, "begins": 2, "ends": 2}
UNTOLD = -1


class SketchedScore(Conditioner):
    """A `ScoreSketch` -> a token for each hint and their sum as pooled vector, the held notes beside x_0.

    Of tonic, mode, beginning and end each may be left out: in training it is, for a share of the samples, each drawn by
    itself and beside whatever guidance drops of all four. What is held stays in either branch of guidance, so that it
    leads by the hints alone. Beside x_0 lie the roll of each voice where it is held, 0 elsewhere, and for each voice a
    channel that is 1 where it is held (as inpainting models have it).

    Args:
        lowest, num_pitches, num_voices, num_columns: as of `RollCodec`. width: D. dropout: of each hint.
    """

    reads = "sketch"

    def __init__(
        self,
        lowest: int = 34,
        num_pitches: int = 49,
        num_voices: int = 4,
        num_columns: int = 128,
        width: int = 256,
        dropout: Fraction = 0.2,
    ) -> None:
        super().__init__()
        self.hints = nn.ModuleDict({name: nn.Embedding(num + 1, width) for name, num in HINTS.items()})
        self.to_tokens = nn.ModuleDict({name: nn.Embedding(num + 1, width) for name, num in HINTS.items()})
        for table in (*self.hints.values(), *self.to_tokens.values()):
            nn.init.normal_(table.weight, std=0.5)  # type: ignore[arg-type]

    @property
    def spatial_shape(self) -> tuple[int, int, int]:
        """(2 * V, R, T)."""
        config = self.config
        return 2 * config.num_voices, config.num_pitches + OWN_ROWS, config.num_columns

    def encode(self, raw: ScoreSketch, generator: torch.Generator | None = None) -> Condition:
        """generator: draws which hints are left out in training; None leaves out none.

        Raises:
            InputError: a hint that is out of range, or a held pitch that has no row.
        """
        hints = {name: getattr(raw, name) for name in HINTS}
        for name, values in hints.items():
            if not are_within(values - UNTOLD, HINTS[name]):
                raise InputError(f"{name} {values.tolist()}: out of range; give 0 to {HINTS[name] - 1}, or -1")
        if generator is not None:
            told = torch.rand(len(HINTS), len(raw), generator=generator) >= self.config.dropout
            told = told.to(raw.tonic.device)
            hints = {name: v.where(keep, UNTOLD) for (name, v), keep in zip(hints.items(), told, strict=True)}
        return replace(self._told(hints), spatial=self._held(raw))

    def null(self, batch_size: int) -> Condition:
        """Nothing told, nothing held, (batch_size, ...)."""
        untold = torch.full((batch_size,), UNTOLD, device=self.device)
        spatial = torch.zeros(batch_size, *self.spatial_shape, device=self.device, dtype=self.dtype)
        return replace(self._told(dict.fromkeys(HINTS, untold)), spatial=spatial)

    def untold(self, condition: Condition, batch_size: int) -> Condition:
        """No hints; what is held stays."""
        return replace(self.null(batch_size), spatial=condition.spatial)

    def _told(self, hints: dict[str, Tensor]) -> Condition:
        places = {name: values.where(values != UNTOLD, HINTS[name]) for name, values in hints.items()}
        tokens = torch.stack([self.to_tokens[name](place) for name, place in places.items()], dim=1)  # (B, 4, D)
        pooled = torch.stack([self.hints[name](place) for name, place in places.items()]).sum(0)
        return Condition(tokens=tokens, pooled=pooled)

    def _held(self, raw: ScoreSketch) -> Tensor:
        """(B, 2 * V, R, T)."""
        held = raw.held.unsqueeze(2)  # (B, V, 1, T)
        voices = raw.voices.where(held, 0)
        roll = to_roll(voices, self.config.lowest, self.config.num_pitches).where(held, 0)
        return torch.cat([roll, held.expand_as(roll).to(roll)], dim=1).to(self.dtype)
