"""Voices as rows of a roll: one for each pitch, one for rests, and one that says where a note begins."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.types import InputError

REST = 0  # in place of a pitch
OWN_ROWS = 2  # beside the pitches': rests, then beginnings


def to_roll(grid: Tensor, lowest: int, num_pitches: int) -> Tensor:
    """(B, V, 2, T) of pitches (0: rest) and beginnings -> (B, V, num_pitches + 2, T) float32, -1 or 1."""
    pitch, begins = grid.long().unbind(2)  # (B, V, T)
    sounds = pitch != REST
    if bool((sounds & ((pitch < lowest) | (pitch >= lowest + num_pitches))).any()):
        wrong = pitch[sounds]
        raise InputError(
            f"pitches {int(wrong.min())} to {int(wrong.max())}, rows for {lowest} to {lowest + num_pitches - 1}; "
            "transpose the score"
        )
    row = torch.where(sounds, pitch - lowest, num_pitches)
    rows = F.one_hot(row, num_pitches + 1).movedim(-1, 2)  # (B, V, num_pitches + 1, T)
    return torch.cat([rows, begins.clamp(max=1).unsqueeze(2)], dim=2).float() * 2 - 1


def from_roll(roll: Tensor, lowest: int) -> Tensor:
    """(B, V, R, T) of any values -> (B, V, 2, T) uint8: the strongest pitch or rest of each column.

    A note begins where its row says so, and where the pitch is another than in the column before; a rest never does.
    """
    strongest = roll[:, :, :-1].argmax(dim=2)  # (B, V, T)
    sounds = strongest < roll.shape[2] - OWN_ROWS
    pitch = torch.where(sounds, strongest + lowest, REST)
    changes = F.pad(pitch[..., 1:] != pitch[..., :-1], (1, 0))
    begins = sounds & ((roll[:, :, -1] > 0) | changes)
    return torch.stack([pitch, begins.to(pitch)], dim=2).to(torch.uint8)
