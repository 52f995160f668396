"""Onsets, tempo and tones of sounds whose own are known, and how far sets are apart by them."""

from __future__ import annotations

import math

import pytest
import torch
from players import RATE, chord, clicks, music_samples

from synesthete.evaluation.audio_features.audio_descriptors import (
    BANDS,
    CLASSES,
    INTERVALS,
    LOWEST,
    NAMES,
    ONSETS,
    PITCHES,
    SHORTEST,
    TEMPO,
    apart,
    describe_sounds,
    earth_mover,
    energy_distance,
)
from synesthete.evaluation.audio_features.spectra import frame_sizes
from synesthete.tasks.music.references import noise_like

FRAME_RATE = RATE / frame_sizes(RATE)[1]
A, C_SHARP, E = 440.0, 554.37, 659.26


@pytest.mark.parametrize("per_second", [1, 2, 4])
def test_clicks_are_counted_and_come_again_after_their_spacing(per_second):
    found = describe_sounds(clicks(per_second), RATE)
    assert found.onsets.tolist() == pytest.approx([per_second] * 2, abs=0.3)
    lags = (torch.arange(found.tempogram.shape[1]) + round(SHORTEST * FRAME_RATE)) / FRAME_RATE
    strongest = lags[found.tempogram[0].argmax()].item()
    # After two or three of them as well as after one.
    assert strongest * per_second == pytest.approx(round(strongest * per_second), abs=0.06)
    assert 0.5 < found.tempogram.max() < 1.3


def test_what_goes_on_begins_once_at_most():
    noise = 0.2 * torch.randn(2, 4 * RATE, generator=torch.Generator().manual_seed(0))
    for steady in (noise, chord(A, seconds=4.0)):
        found = describe_sounds(steady, RATE)
        assert found.onsets.max() <= 0.5


def test_another_tempo_is_found_by_tempo_and_onsets_alone():
    slow, fast = (describe_sounds(clicks(rate, num=4), RATE) for rate in (1.5, 4))
    again = describe_sounds(clicks(1.5, num=3), RATE)
    near, far = apart(again, slow), apart(fast, slow)
    assert far[ONSETS] == pytest.approx(2.5, abs=0.4)
    assert near[ONSETS] < 0.2
    assert far[TEMPO] > 0.05 > 5 * abs(near[TEMPO])


@pytest.mark.parametrize(("hertz", "number"), [(110.0, 45), (261.63, 60), (440.0, 69), (1318.5, 88)])
def test_a_tone_is_its_semitone(hertz, number):
    found = describe_sounds(chord(hertz), RATE)
    assert found.pitches[0, number - LOWEST] > 0.9
    assert found.pitch_classes[0].argmax() == number % 12
    assert found.pitches.sum(dim=1).tolist() == pytest.approx([1, 1])


def test_another_octave_another_key_and_another_chord():
    major = describe_sounds(chord(A, C_SHARP, E), RATE)
    octave_down = describe_sounds(chord(A / 2, C_SHARP / 2, E / 2), RATE)
    transposed = describe_sounds(chord(A * 2 ** (2 / 12), C_SHARP * 2 ** (2 / 12), E * 2 ** (2 / 12)), RATE)
    cluster = describe_sounds(chord(A, A * 2 ** (1 / 12), A * 2 ** (2 / 12)), RATE)
    assert apart(octave_down, major)[PITCHES] > 0.9 > 0.1 > apart(octave_down, major)[CLASSES]
    assert apart(transposed, major)[CLASSES] > 0.6 > 0.1 > apart(transposed, major)[INTERVALS]
    assert apart(cluster, major)[INTERVALS] > 0.3


def test_real_music_is_nearer_to_real_music_than_noise_is():
    real, others = (music_samples(range(first, first + 10)).waveforms for first in (0, 10))
    reference = describe_sounds(real, RATE)
    near = apart(describe_sounds(others, RATE), reference)
    far = apart(describe_sounds(noise_like(others, 0), RATE), reference)
    white = apart(describe_sounds(noise_like(others, 0, coloured=False), RATE), reference)
    for name in (TEMPO, ONSETS, PITCHES, INTERVALS):
        assert near[name] < far[name] / 2, name
    assert near[BANDS] < white[BANDS]
    assert far[BANDS] < white[BANDS]  # its spectrum is right
    assert tuple(near) == NAMES
    assert apart(reference, reference)[BANDS] == 0


def test_noise_is_as_loud_as_what_it_stands_for():
    real = music_samples(range(3)).waveforms
    level = real.float().square().mean(dim=1).sqrt()
    for coloured in (True, False):
        noise = noise_like(real, 0, coloured=coloured)
        assert noise.float().square().mean(dim=1).sqrt().tolist() == pytest.approx(level.tolist(), rel=0.02, abs=1)
        assert torch.equal(noise, noise_like(real, 0, coloured=coloured))
        assert not torch.equal(noise, noise_like(real, 1, coloured=coloured))


def test_silence_and_the_shortest_sounds_break_nothing():
    silent = describe_sounds(torch.zeros(3, RATE), RATE)
    assert all(part.isfinite().all() for part in (silent.thirds, silent.tempogram, silent.onsets, silent.pitches))
    assert silent.onsets.tolist() == [0, 0, 0]
    found = apart(silent, describe_sounds(chord(A), RATE))
    assert found[PITCHES] == pytest.approx(0.5)  # a tone against none
    short = describe_sounds(chord(A, seconds=0.1), RATE)
    assert short.tempogram.shape[1] == 0
    assert math.isnan(apart(short, short)[TEMPO])


def test_distances_of_histograms_and_of_values():
    one, other, third = (torch.tensor([row, row]) for row in ([0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]))
    assert energy_distance(one, other) == pytest.approx(0.5)
    assert energy_distance(one, third) == pytest.approx(1)
    assert energy_distance(one, third, unit=3) == pytest.approx(2 / 3)
    assert energy_distance(one, one) == 0
    # Two of one set are apart as well: one in each of two keys, against two in between.
    assert energy_distance(torch.cat([one[:1], third[:1]]), other) == pytest.approx(0)
    assert math.isnan(energy_distance(one[:1], other))


def test_one_sound_over_and_over_is_no_set_of_them():
    """The mean of a set of peaks is flat; a set of flat ones is another all the same, and so is one peak repeated."""
    peaks = torch.eye(12).repeat(3, 1)
    assert abs(energy_distance(peaks[:24], peaks[24:])) < 0.1
    assert energy_distance(torch.full((12, 12), 1 / 12), peaks) > 0.4
    assert energy_distance(peaks[:1].expand(12, -1), peaks) > 0.4


def test_values_are_moved_no_further_than_they_must():
    assert earth_mover(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 3.0, 4.0])) == pytest.approx(1)
    assert earth_mover(torch.tensor([1.0, 3.0]), torch.tensor([3.0, 1.0])) == 0
