"""Voices of a score as a roll: a channel a voice, a row a pitch, a column a sixteenth note."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from synesthete.codecs.codec import Codec, enlarged
from synesthete.nn.roll import OWN_ROWS, from_roll, to_roll
from synesthete.types import InputError

COLOURS = ((240, 96, 88), (244, 190, 72), (92, 196, 132), (88, 148, 240))  # of the voices, from the highest down
GROUND, BAR_LINE, HELD = (24, 24, 32), (64, 64, 80), 0.65  # held: how bright a column is that begins no note
BAR = 16  # columns between the lines of a picture


class RollCodec(Codec):
    """Voices (B, V, 2, T) uint8 <-> x_0 (B, V, R, T), -1 and 1.

    A voice is the MIDI pitch of each column, 0 for a rest, and 1 where a note begins. x_0 has a row for each pitch, the
    lowest first, one for a rest, and one for beginnings. Every x_0 decodes to voices: the strongest pitch or rest of a
    column, a note beginning where its row is above 0 and wherever the pitch changes. Voices that hold to that, as those
    of `data.scores.score.to_grid` do, come back as they were.

    Args:
        lowest: MIDI pitch of the first row. num_pitches: rows of pitches. num_voices: V. num_columns: T.
    """

    def __init__(self, lowest: int = 34, num_pitches: int = 49, num_voices: int = 4, num_columns: int = 128) -> None:
        super().__init__()
        if min(num_pitches, num_voices, num_columns) < 1 or not 0 < lowest <= 128 - num_pitches:
            raise InputError(
                f"codec of pitches {lowest} to {lowest + num_pitches - 1}, {num_voices} voices, {num_columns} columns; "
                "give pitches among 1 to 127, and one or more of each"
            )
        self.register_buffer("pitches", torch.arange(lowest, lowest + num_pitches))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of x_0 without the batch: (V, R, T)."""
        return self.config.num_voices, self.config.num_pitches + OWN_ROWS, self.config.num_columns

    def fit(self, signals: Iterable[Tensor]) -> RollCodec:
        """Nothing is measured: rows are what they are."""
        return self

    def encode(self, voices: Tensor) -> Tensor:
        """(B, V, 2, T) -> x_0 (B, V, R, T) float32."""
        if voices.ndim != 4 or voices.shape[1:3] != (self.config.num_voices, 2):
            raise InputError(f"voices of shape {tuple(voices.shape)}, not (B, {self.config.num_voices}, 2, T)")
        return to_roll(voices, self.config.lowest, self.config.num_pitches)

    def decode(self, x_0: Tensor, generators: Any = None) -> Tensor:
        """x_0 (B, V, R, T) of any values -> (B, V, 2, T) uint8; nothing is drawn."""
        return from_roll(x_0, self.config.lowest)

    def pictures(self, x_0: Tensor, scale: int = 4) -> list[Image.Image]:
        """The notes in a colour a voice, high ones above, lighter where they begin, with a line a bar."""
        return enlarged([self._picture(voices) for voices in self.decode(x_0).cpu()], scale)

    def _picture(self, voices: Tensor) -> Image.Image:
        num, columns = self.config.num_pitches, torch.arange(voices.shape[-1])
        canvas = torch.tensor(GROUND).repeat(num, len(columns), 1)  # (P, T, 3)
        canvas[:, ::BAR] = torch.tensor(BAR_LINE)
        for voice in reversed(range(len(voices))):  # the highest voice above the others
            pitch, begins = voices[voice].long()
            colour = torch.tensor(COLOURS[voice % len(COLOURS)]).expand(len(columns), 3)
            colour = torch.where(begins[:, None] > 0, colour, (colour * HELD).long())
            there = pitch > 0
            canvas[num - 1 - (pitch[there] - self.config.lowest), columns[there]] = colour[there]
        return Image.fromarray(canvas.to(torch.uint8).numpy())
