"""Voices as rolls and back."""

from __future__ import annotations

import pytest
import torch

from synesthete.codecs.roll import RollCodec
from synesthete.data.scores.score import to_grid, to_score
from synesthete.data.scores.sources import SyntheticChorales
from synesthete.types import InputError

CODEC = RollCodec()


def test_a_score_comes_back_from_its_roll():
    for entry in SyntheticChorales(6).scores():
        grid = to_grid(entry.read())[None]
        x_0 = CODEC.encode(grid)
        assert x_0.shape == (1, *CODEC.shape[:2], grid.shape[-1])
        assert set(x_0.unique().tolist()) == {-1, 1}
        assert torch.equal(CODEC.decode(x_0), grid)
        shaken = x_0 + 0.3 * torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)
        assert torch.equal(CODEC.decode(shaken), grid)


def test_anything_decodes_to_voices_which_are_a_score_and_come_back():
    noise = torch.randn(3, *CODEC.shape, generator=torch.Generator().manual_seed(0))
    voices = CODEC.decode(noise)
    assert torch.equal(CODEC.decode(CODEC.encode(voices)), voices)
    pitch, begins = voices.long().unbind(2)
    assert not begins[pitch == 0].any()
    assert begins[..., 1:][(pitch[..., 1:] != pitch[..., :-1]) & (pitch[..., 1:] > 0)].all()
    assert len(to_score(voices[0]).notes) > 4


def test_a_pitch_without_a_row_and_other_voices_are_refused():
    voices = torch.zeros(1, 4, 2, 16, dtype=torch.uint8)
    voices[0, 0, 0] = 90
    with pytest.raises(InputError, match="rows for 34 to 82"):
        CODEC.encode(voices)
    with pytest.raises(InputError, match="not \\(B, 4, 2, T\\)"):
        CODEC.encode(voices[:, :3])
    with pytest.raises(InputError, match="give pitches among"):
        RollCodec(lowest=100, num_pitches=40)


def test_a_picture_shows_the_highest_note_above():
    voices = torch.zeros(1, 4, 2, 32, dtype=torch.uint8)
    voices[0, 0, 0, 4:8], voices[0, 0, 1, 4] = 82, 1
    (picture,) = RollCodec(num_columns=32).pictures(CODEC.encode(voices), scale=1)
    assert picture.size == (32, 49)
    bright = {x for x in range(32) if sum(picture.getpixel((x, 0))) > 250}
    assert bright == {4, 5, 6, 7}
    assert sum(picture.getpixel((4, 0))) > sum(picture.getpixel((5, 0)))  # where it begins
