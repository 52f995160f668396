"""A roll beside x_0: what it says of notes, instrument and what came before, and what of these may be left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from synesthete.conditioning.score_roll import SHADES, ScoreRoll
from synesthete.data.scores.score import Note, Score
from synesthete.types import InputError, ScoreWindows

BANDS, FRAMES, LOWEST = 40, 16, 48
NAMES = ("strings", "organ", "piano")


@pytest.fixture(scope="module")
def conditioner():
    torch.manual_seed(0)
    return ScoreRoll(NAMES, BANDS, FRAMES, LOWEST, width=8).eval()


def windows(num: int = 3) -> ScoreWindows:
    """A note of two frames, of pitch 60, one too low for the model, and as many known frames as the number says."""
    score = Score((Note(60, 0.5, 0.25), Note(20, 0, 1))).at_tempo(60)
    roll = score.frames(FRAMES, 0.125).to(torch.uint8)
    before = torch.randn(num, 1, BANDS, FRAMES, generator=torch.Generator().manual_seed(0))
    known = torch.arange(FRAMES) < torch.arange(num)[:, None]
    return ScoreWindows(roll.expand(num, -1, -1, -1), torch.arange(num) % 3, before, known)


def test_notes_are_rows_and_what_is_known_are_columns(conditioner):
    raw = windows()
    told = conditioner.encode(raw)
    assert tuple(told.spatial.shape) == (3, *conditioner.spatial_shape) == (3, 4, BANDS, FRAMES)
    sounds = torch.full((BANDS, FRAMES), -1.0)
    sounds[12, 4:6] = 1
    begins = torch.full((BANDS, FRAMES), -1.0)
    begins[12, 4] = 1
    for sample in told.spatial:
        assert torch.equal(sample[0], sounds)
        assert torch.equal(sample[1], begins)
    for number, sample in enumerate(told.spatial):
        assert torch.equal(sample[2, :, :number], raw.before[number, 0, :, :number])
        assert not sample[2:, :, number:].any()
        assert (sample[3, :, :number] == 1).all()
    assert len(told.pooled.unique(dim=0)) == 3


def test_rows_beyond_those_of_midi_are_silent():
    told = ScoreRoll(NAMES, BANDS, FRAMES, lowest=100, width=8).encode(windows()).spatial
    assert (told[:, :2] == -1).all()


def test_nothing_told_is_not_silence(conditioner):
    raw = windows()
    without = conditioner.encode(replace(raw, roll=None, instrument=torch.full((3,), -1)))
    assert not without.spatial[:, :2].any()
    assert torch.equal(without.pooled, conditioner.null(3).pooled)
    assert not conditioner.null(3).spatial.any()
    silent = conditioner.encode(replace(raw, roll=torch.zeros_like(raw.roll))).spatial
    assert (silent[:, :2] == -1).all()


def test_guidance_leaves_out_notes_and_instrument_and_nothing_that_is_known(conditioner):
    raw = windows()
    none, part, told = conditioner.branches(raw)
    assert part is told
    assert torch.equal(told.spatial, conditioner.encode(raw).spatial)
    dropped = conditioner.drop(told, raw, torch.Generator(), 1.0)
    for one in (none, dropped):
        assert torch.equal(one.pooled, conditioner.null(3).pooled)
        assert not one.spatial[:, :2].any()
        assert torch.equal(one.spatial[:, 2:], told.spatial[:, 2:])
    assert torch.equal(conditioner.drop(told, raw, torch.Generator(), 0.0).spatial, told.spatial)


def test_training_leaves_out_each_by_itself():
    conditioner = ScoreRoll(NAMES, BANDS, FRAMES, LOWEST, width=8, roll_dropout=0.2, instrument_dropout=0.4).train()
    raw = windows(2000)
    told = conditioner.encode(raw, torch.Generator().manual_seed(0))
    no_roll = ~told.spatial[:, :2].flatten(1).any(dim=1)
    no_instrument = (told.pooled == conditioner.null(2000).pooled).all(dim=1)
    for share, wanted in ((no_roll, 0.2), (no_instrument, 0.4), (no_roll & no_instrument, 0.08)):
        assert share.float().mean().item() == pytest.approx(wanted, abs=0.03)


def test_what_is_known_is_noisy_in_training_alone(conditioner):
    raw = windows(64)
    exact = conditioner.encode(raw).spatial[:, 2]
    assert torch.equal(conditioner.encode(raw, torch.Generator().manual_seed(0)).spatial[:, 2], exact)
    try:
        noisy = conditioner.train().encode(raw, torch.Generator().manual_seed(0)).spatial[:, 2]
    finally:
        conditioner.eval()
    assert 0 < (noisy - exact)[exact != 0].std() < conditioner.config.noise
    assert not noisy[exact == 0].any()


def test_an_instrument_is_asked_for_by_name(conditioner):
    raw = windows()
    composed = conditioner.compose(raw.roll, "piano")
    assert composed.instrument.tolist() == [2, 2, 2]
    assert not composed.known.any()
    assert conditioner.compose(raw.roll).instrument.tolist() == [-1] * 3
    with pytest.raises(InputError, match="instrument 'harp': this model has strings, organ, piano"):
        conditioner.compose(raw.roll, "harp")


def test_a_roll_is_drawn(conditioner):
    picture = conditioner.pictures(windows())[0]
    assert picture.size == (2 * FRAMES, 2 * BANDS)
    below = 2 * (BANDS - 1 - 12)  # the note's row, counted from above
    assert [picture.getpixel((2 * frame, below)) for frame in (3, 4, 5, 6)] == [SHADES[i] for i in (0, 2, 1, 0)]
    assert picture.getextrema() == (SHADES[0], SHADES[2])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"instrument": torch.tensor([0, 1, 3])}, "out of range; this model has strings, organ, piano"),
        ({"known": torch.zeros(3, 9, dtype=torch.bool)}, "a score of 9 frames; this model reads windows of 16"),
    ],
)
def test_what_does_not_fit_is_refused(conditioner, change, reason):
    with pytest.raises(InputError, match=reason):
        conditioner.encode(replace(windows(), **change))


def test_settings_that_cannot_be_are_refused():
    for settings in ({"lowest": 128}, {"noise": -1.0}, {"instruments": ("organ", "organ")}):
        with pytest.raises(InputError, match=r"pitch of MIDI|give each once"):
            ScoreRoll(**settings)
