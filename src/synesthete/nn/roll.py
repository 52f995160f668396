"""Voices as rows of a roll: one for each pitch, one for rests, and one that says where a note begins."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete.types import InputError

REST = 0  # in place of a pitch
OWN_ROWS = 2  # beside the pitches': rests, then beginnings
FAR = 1000  # rows away: what is unknown or rests
PARALLEL = 30.0  # a weight of what is parallel, as few as they are, goes that much further in a step of Adam
FIFTH = 7  # semitones; with octaves what is perfect
ADJACENT = (-2, -1, 1)  # notes of a voice, from each of its notes


def to_roll(grid: Tensor, lowest: int, num_pitches: int) -> Tensor:
    """(B, V, 2, T) of pitches (0: rest) and beginnings -> (B, V, num_pitches + 2, T) float32, -1 or 1.

    The last row says where a rest begins, too, so that it alone tells how long each of them is.
    """
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
    begins = (begins > 0) | F.pad(row[..., 1:] != row[..., :-1], (1, 0))
    return torch.cat([rows, begins.unsqueeze(2)], dim=2).float() * 2 - 1


def known_begins(roll: Tensor) -> Tensor:
    """(B, V, R, T) -> (B, V, T): where a note or a rest is known to begin; its first column does in any case."""
    begins = roll[:, :, -1] > 0
    return F.pad(begins[..., 1:], (1, 0), value=True)


def note_numbers(begins: Tensor) -> Tensor:
    """(..., T) bool -> (..., T) int64: which note of its voice each column is of, from 0."""
    return F.pad(begins[..., 1:], (1, 0)).cumsum(-1)


def mean_of_notes(values: Tensor, numbers: Tensor) -> Tensor:
    """(B, V, R, T) averaged over the columns of each note, numbers (B, V, T), and said in each of them."""
    means = by_number(values, numbers) / by_number(torch.ones_like(values[:, :, :1]), numbers).clamp(min=1)
    return means.gather(3, numbers.unsqueeze(2).expand_as(values))


class PitchConv(nn.Module):
    """(B, C, P, T) -> (B, D, P, T): a weight for each interval between two pitches, the same for all of them.

    Args:
        reach: columns to either side. std: of its first weights.
    """

    def __init__(self, channels: int, out_channels: int, num_pitches: int, reach: int, std: float = 0.0) -> None:
        super().__init__()
        self.reach, self.num_pitches = reach, num_pitches
        self.weight = nn.Parameter(std * torch.randn(out_channels, channels, 2 * reach + 1, 2 * num_pitches - 1))
        self._kept: tuple[Any, Any] = (None, None)

    def forward(self, x: Tensor) -> Tensor:
        """Rows are pitches, the lowest first."""
        full = self._matrix(x.device.type)
        return F.conv1d(x.flatten(1, 2), full, padding=self.reach).unflatten(1, (-1, self.num_pitches))

    def _matrix(self, device: str) -> Tensor:
        """(D * P, C * P, columns): the weight of interval p - q at each pair of pitches (p, q), a Toeplitz matrix.

        It is kept while nothing is learned, since making it takes longer than what one sample does with it.
        """
        keep = not (torch.is_grad_enabled() or torch.compiler.is_compiling() or self.weight.is_inference())
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.weight.dtype
        key = (self.weight.data_ptr(), self.weight._version, dtype) if keep else None
        if key is not None and self._kept[0] == key:
            return self._kept[1]
        full = self.weight.unfold(-1, self.num_pitches, 1).flip(-1)  # (D, C, columns, P, P)
        full = full.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
        if key is not None:
            full = full.to(dtype)
            self._kept = key, full
        return full


class Intervals(nn.Module):
    """What known notes say of the others by the intervals between them, in whichever key: logits of pitches.

    It reads the notes of each column, those that sound on, the notes next to them in their voice, however long they
    are, and the logits of a network that knows more than intervals. Source: a convolution over pitches as in Coconet
    (Huang et al. 2017), as wide as the roll.

    Args:
        num_voices: V. num_pitches: P. width: of what is hidden. num_beside: K, channels of what else is told of
            pitches. reach: columns to either side, of what is added without; a hidden layer looks a quarter as far.
    """

    def __init__(self, num_voices: int, num_pitches: int, width: int, num_beside: int = 0, reach: int = 4) -> None:
        super().__init__()
        self.num_pitches = num_pitches
        channels = (2 + len(ADJACENT)) * num_voices + num_beside
        self.directly = PitchConv(channels, num_voices, num_pitches, reach)
        self.embed = PitchConv(channels + num_voices, width, num_pitches, reach // 4, std=0.05)
        self.within = PitchConv(width, width, num_pitches, 0, std=0.5 / (30 * width) ** 0.5)
        self.to_logits = PitchConv(width, num_voices, num_pitches, reach // 4)
        # ends of a note; perfect intervals or others; V; V
        self.parallels = nn.Parameter(torch.zeros(2, 2, num_voices, num_voices))
        self.biases = nn.Parameter(torch.zeros(2, width, 1, 1))

    def forward(self, roll: Tensor, logits: Tensor, beside: Tensor) -> Tensor:
        """Roll (B, V, P + 2, T), 0 where unknown; logits (B, V, P, T); what is told of pitches (B, K, P, T).

        Returns what is added to the logits.
        """
        known = (roll[:, :, : self.num_pitches] > 0).to(roll)
        held = known * (roll[:, :, -1:] < 0)
        numbers = note_numbers(known_begins(roll))
        far = max(abs(step) for step in ADJACENT)
        notes = F.pad(by_number(known, numbers).clamp(max=1), (far, far))
        adjacent = [notes.gather(3, (numbers + far + step).unsqueeze(2).expand_as(known)) for step in ADJACENT]
        read = torch.cat([known, held, *adjacent, beside], dim=1)
        hidden = F.gelu(self.embed(torch.cat([read, logits / 2], dim=1)) + self.biases[0])
        hidden = hidden + F.gelu(self.within(hidden) + self.biases[1])
        return self.directly(read) + self.to_logits(hidden) + self._in_parallel(known, numbers)

    def _in_parallel(self, known: Tensor, numbers: Tensor) -> Tensor:
        """Logits of the pitches by which a voice would move as another does, before and after each of its notes.

        Intervals that are perfect, which composers avoid to keep, have weights of their own. No sum over pairs of notes
        says which these are: it takes four notes, two of either voice.
        """
        row = torch.where(known.any(2), known.argmax(2), FAR)  # (B, V, T)
        columns, end = torch.arange(row.shape[-1], device=row.device), row.shape[-1] - 1
        is_first = F.pad(numbers[..., 1:] != numbers[..., :-1], (1, 0), value=True)
        ends = torch.stack([is_first, is_first.roll(-1, -1)]) * columns  # of a note, each at itself, else 0
        first, last = (by_number(x.unsqueeze(2), numbers).squeeze(2).gather(2, numbers) for x in ends)
        total = torch.zeros_like(known)
        voices = torch.arange(row.shape[1], device=row.device)
        lower = torch.where(voices[:, None] > voices, 1, -1).unsqueeze(-1)  # (V, V, 1): 1 where the other is above
        for weights, inside, step in zip(PARALLEL * self.parallels, (first, last), (-1, 1), strict=True):
            outside = inside + step
            there = (outside >= 0) & (outside <= end)
            outside = outside.clamp(0, end)
            own = row.gather(2, outside).unsqueeze(2)  # (B, V, 1, T)
            others = row.unsqueeze(1).expand(-1, row.shape[1], -1, -1)  # (B, V, V, T)
            now, then = (others.gather(3, at.unsqueeze(2).expand_as(others)) for at in (inside, outside))
            goal = own + now - then
            moves = there.unsqueeze(2) & (now != then) & (torch.maximum(torch.maximum(now, then), own) < FAR)
            moves &= (goal >= 0) & (goal < self.num_pitches) & (voices[:, None] != voices).unsqueeze(-1)
            interval = lower * (now - goal) % 12
            perfect = (interval == 0) | (interval == FIFTH)
            weight = torch.where(perfect, weights[0].unsqueeze(-1), weights[1].unsqueeze(-1)) * moves
            total = total.scatter_add(2, goal.clamp(0, self.num_pitches - 1), weight.to(total))
        return total


def by_number(values: Tensor, numbers: Tensor) -> Tensor:
    """(B, V, R, T) summed over the columns of each note, numbers (B, V, T), in the place of its number."""
    return torch.zeros_like(values).scatter_add(3, numbers.unsqueeze(2).expand_as(values), values)


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
