"""What is told of scores: channels beside x_0 (what sounds, on what, what came before), or tokens (key, held notes)."""

from __future__ import annotations

import difflib
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete.conditioning.conditioner import Conditioner, are_within
from synesthete.config import Fraction  # noqa: TC001 (read when a recipe's field is set)
from synesthete.nn.roll import OWN_ROWS, to_roll
from synesthete.types import Condition, InputError, ScoreSketch, ScoreWindows

NONE = -1  # the number of no instrument
NUM_PITCHES = 128
ROLL = 2  # channels: what sounds, what begins
SHADES = 20, 130, 255  # of a picture: nothing, a note that sounds, one that begins


class ScoreRoll(Conditioner):
    """`ScoreWindows` -> `Condition.spatial` (B, 3 + C, H, T), and the instrument as `Condition.pooled` (B, D).

    Channels are which pitches sound and which begin, 1 or -1, or 0 throughout where the notes are not told; then x_0 in
    the frames that are known, 0 elsewhere; and 1 in those frames. A row of the first two is a MIDI pitch. Those of x_0
    need not be: a denoiser whose cells are whole columns reads all rows of a frame together.

    In training notes and instrument are each left out of a share of the samples, each by itself, and beside whatever
    guidance drops; what is known stays known then, so that guidance does not weigh it. It is noisy in training, since
    windows follow upon what a model made (conditioning augmentation, Ho et al. 2021, section 4).

    Args:
        instruments: their names, in the order of their numbers; None: those of the data that it is trained on.
        num_bins, num_frames: H and T of x_0. lowest: the MIDI pitch of the first row; others than those of H rows are
            not told. x_0_channels: C of x_0.
        width: D.
        roll_dropout, instrument_dropout: shares of the training samples that are told no notes, and no instrument.
        noise: the largest standard deviation of what is added to the known x_0 in training.

    Raises:
        InputError: pitches that MIDI does not have, or an instrument twice.
    """

    reads = "score"

    def __init__(
        self,
        instruments: tuple[str, ...] | None = None,
        num_bins: int = 128,
        num_frames: int = 200,
        lowest: int = 0,
        x_0_channels: int = 1,
        width: int = 256,
        roll_dropout: Fraction = 0.05,
        instrument_dropout: Fraction = 0.1,
        noise: float = 0.1,
    ) -> None:
        super().__init__()
        if not (0 <= lowest < NUM_PITCHES and num_bins >= 1 and num_frames >= 1 and x_0_channels >= 1 and noise >= 0):
            raise InputError(
                f"conditioner: {num_bins} x {num_frames} from pitch {lowest} on, noise {noise}; give a pitch of MIDI, "
                "sizes of 1 or more, and no negative noise"
            )
        self.instruments = tuple(instruments or ())
        if len(set(self.instruments)) < len(self.instruments):
            raise InputError(f"conditioner.instruments {', '.join(self.instruments)}: one twice; give each once")
        self.instrument = nn.Embedding(len(self.instruments) + 1, width)  # the last is of no instrument
        nn.init.normal_(self.instrument.weight, std=0.5)

    @property
    def spatial_shape(self) -> tuple[int, int, int]:
        """(C, H, T) of what it lays beside x_0."""
        return ROLL + self.config.x_0_channels + 1, self.config.num_bins, self.config.num_frames

    def find_instrument(self, name: str | None) -> int:
        """The number of an instrument; of none where None.

        Raises:
            InputError: the model has no such instrument.
        """
        if name is None:
            return NONE
        plain, known = name.strip().casefold(), [one.casefold() for one in self.instruments]
        if plain not in known:
            near = difflib.get_close_matches(plain, known, n=1)
            meant = f"; did you mean {self.instruments[known.index(near[0])]}?" if near else ""
            raise InputError(f"instrument {name!r}: this model has {', '.join(self.instruments) or 'none'}{meant}")
        return known.index(plain)

    def compose(
        self, roll: Tensor, instrument: str | None = None, before: Tensor | None = None, known: Tensor | None = None
    ) -> ScoreWindows:
        """Rolls (B, 2, 128, T) of one instrument; None leaves it to the model, and knows nothing of x_0.

        Raises:
            InputError: no such instrument.
        """
        size, frames = len(roll), self.config.num_frames
        number = torch.full((size,), self.find_instrument(instrument))
        if before is None or known is None:
            before = torch.zeros(size, self.config.x_0_channels, self.config.num_bins, frames)
            known = torch.zeros(size, frames, dtype=torch.bool)
        return ScoreWindows(roll.to(torch.uint8), number, before, known)

    def encode(self, raw: ScoreWindows, generator: torch.Generator | None = None) -> Condition:
        """raw: windows of `num_frames`. generator: draws what training leaves out, and noise; None draws nothing.

        Raises:
            InputError: windows of another length, or a number of an instrument that is none.
        """
        channels, _, frames = self.spatial_shape
        if raw.known.shape[-1] != frames or (raw.roll is not None and raw.roll.shape[-1] != frames):
            raise InputError(f"a score of {raw.known.shape[-1]} frames; this model reads windows of {frames}")
        if not are_within(raw.instrument - NONE, len(self.instruments)):
            there = ", ".join(self.instruments) or "none"
            raise InputError(f"instrument {raw.instrument.tolist()}: out of range; this model has {there}")
        spatial = self._silent(len(raw.instrument))
        if raw.roll is not None:
            first = self.config.lowest
            rows = raw.roll[:, :, first : first + self.config.num_bins].to(spatial)
            spatial[:, :ROLL, : rows.shape[2]] = 2 * rows - 1
            spatial[:, :ROLL, rows.shape[2] :] = -1
        known = raw.known[:, None, None].to(spatial)  # (B, 1, 1, T)
        before = raw.before.to(spatial)
        if self.training and generator is not None and self.config.noise:
            level = self.config.noise * torch.rand(len(before), 1, 1, 1, generator=generator)
            before = before + (level * torch.randn(before.shape, generator=generator)).to(before)
        spatial[:, ROLL : channels - 1] = before * known
        spatial[:, channels - 1 :] = known
        condition = Condition(pooled=self._pooled(raw.instrument), spatial=spatial)
        if generator is None:
            return condition
        told = torch.rand(2, len(raw.instrument), generator=generator)
        told = told >= torch.tensor([self.config.roll_dropout, self.config.instrument_dropout])[:, None]
        without = self.untold(condition, len(raw))
        return Condition(
            pooled=Condition.where(told[1], condition, without).pooled,
            spatial=Condition.where(told[0], condition, without).spatial,
        )

    def null(self, batch_size: int) -> Condition:
        """Neither notes nor instrument, and nothing known, (batch_size, ...)."""
        nobody = torch.full((batch_size,), NONE, device=self.instrument.weight.device)
        return Condition(pooled=self._pooled(nobody), spatial=self._silent(batch_size))

    def untold(self, condition: Condition, batch_size: int) -> Condition:
        """The same without notes and instrument; what is known stays, so that guidance does not lead away from it."""
        null = self.null(batch_size)
        assert condition.spatial is not None and null.spatial is not None
        spatial = torch.cat([null.spatial[:, :ROLL], condition.spatial[:, ROLL:]], dim=1)
        return replace(null, spatial=spatial)

    def pictures(self, raw: ScoreWindows, scale: int = 2) -> list[Image.Image]:
        """The roll of each, high pitches at the top, the beginnings of notes bright, `scale` pixels a cell."""
        if raw.roll is None:
            return []
        first, cell = self.config.lowest, np.ones((scale, scale), np.uint8)
        rows = raw.roll[:, :, first : first + self.config.num_bins].cpu().long()
        shades = torch.tensor(SHADES, dtype=torch.uint8)[(rows[:, 0] + rows[:, 1]).clamp(max=2)].flip(1)
        return [Image.fromarray(np.kron(one, cell)) for one in shades.numpy()]

    def _pooled(self, instrument: Tensor) -> Tensor:
        return self.instrument(instrument.where(instrument != NONE, len(self.instruments)))

    def _silent(self, size: int) -> Tensor:
        weight = self.instrument.weight
        return weight.new_zeros(size, *self.spatial_shape)


# What can be told beside notes, and how many values each has.
HINTS = {"tonic": 12, "mode": 2, "begins": 2, "ends": 2}
UNTOLD = -1
OF_KEY = 2  # channels beside x_0


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
        """(2 * V + 2, R, T)."""
        config = self.config
        return 2 * config.num_voices + OF_KEY, config.num_pitches + OWN_ROWS, config.num_columns

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
        return replace(self._told(hints), spatial=torch.cat([self._held(raw), self._key(hints)], dim=1))

    def null(self, batch_size: int) -> Condition:
        """Nothing told, nothing held, (batch_size, ...)."""
        untold = torch.full((batch_size,), UNTOLD, device=self.device)
        spatial = torch.zeros(batch_size, *self.spatial_shape, device=self.device, dtype=self.dtype)
        return replace(self._told(dict.fromkeys(HINTS, untold)), spatial=spatial)

    def untold(self, condition: Condition, batch_size: int) -> Condition:
        """No hints; what is held stays."""
        assert condition.spatial is not None
        spatial = F.pad(condition.spatial[:, :-OF_KEY], (0, 0, 0, 0, 0, OF_KEY))
        return replace(self.null(batch_size), spatial=spatial)

    def _told(self, hints: dict[str, Tensor]) -> Condition:
        places = {name: values.where(values != UNTOLD, HINTS[name]) for name, values in hints.items()}
        tokens = torch.stack([self.to_tokens[name](place) for name, place in places.items()], dim=1)  # (B, 4, D)
        pooled = torch.stack([self.hints[name](place) for name, place in places.items()]).sum(0)
        return Condition(tokens=tokens, pooled=pooled)

    def _key(self, hints: dict[str, Tensor]) -> Tensor:
        """(B, 2, R, T)."""
        tonic, mode = hints["tonic"].view(-1, 1, 1, 1), hints["mode"].view(-1, 1, 1, 1)
        _, rows, columns = self.spatial_shape
        row = torch.arange(rows, device=tonic.device).view(-1, 1)
        is_tonic = (row + self.config.lowest - tonic) % 12 == 0
        is_tonic &= (row < self.config.num_pitches) & (tonic != UNTOLD)  # (B, 1, R, 1)
        of_mode = is_tonic * (2 * mode - 1) * (mode != UNTOLD)
        return torch.cat([is_tonic.to(of_mode), of_mode], dim=1).to(self.dtype).expand(-1, -1, -1, columns)

    def _held(self, raw: ScoreSketch) -> Tensor:
        """(B, 2 * V, R, T)."""
        held = raw.held.unsqueeze(2)  # (B, V, 1, T)
        voices = raw.voices.where(held, 0)
        roll = to_roll(voices, self.config.lowest, self.config.num_pitches).where(held, 0)
        return torch.cat([roll, held.expand_as(roll).to(roll)], dim=1).to(self.dtype)
