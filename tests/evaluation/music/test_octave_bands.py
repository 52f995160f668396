"""Levels of octaves: removed highs are found, a gain is its decibels, and halves of one set are near each other."""

from __future__ import annotations

import math

import pytest
import torch
from players import RATE, chord, low_passed, music_samples

from synesthete.data.audio import as_float
from synesthete.evaluation.audio_features.spectra import (
    band_differences,
    band_error,
    band_floor,
    octave_names,
    octave_power,
    third_edges,
    third_power,
)


@pytest.fixture(scope="module")
def real():
    return music_samples(range(8)).waveforms


def power(waveforms):
    return third_power(as_float(waveforms), RATE)


def test_the_bands_hold_all_power_there_is_above_the_lowest():
    noise = 0.1 * torch.randn(4, 4 * RATE, generator=torch.Generator().manual_seed(0))
    thirds = power(noise)
    assert thirds.sum(dim=1).mean().item() == pytest.approx(0.01, rel=0.05)
    octaves = octave_power(thirds).mean(dim=0)
    # White noise has as much power in each hertz, so each octave has twice that of the one below.
    assert (octaves[2:] / octaves[1:-1]).tolist() == pytest.approx([2.0] * (len(octaves) - 2), rel=0.1)


@pytest.mark.parametrize("hertz", [100, 700, 3000])
def test_a_sine_is_in_its_octave(hertz):
    octaves = octave_power(power(chord(hertz)))[0]
    place = int(math.log2(hertz / 31.25))
    assert octaves[place] > 0.95 * octaves.sum()


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 24_000, 32_000, 44_100])
def test_octaves_reach_half_the_sample_rate(rate):
    edges, names = third_edges(rate), octave_names(rate)
    assert edges[0] == 31.25
    assert edges[-1] == rate / 2
    assert (edges.diff() > 0).all()
    assert len(names) == octave_power(torch.ones(1, len(edges) - 1)).shape[1]
    assert names[-1].endswith(f"{rate / 2:.0f} Hz")


def test_removed_highs_are_found_in_their_octaves_alone(real):
    """What the seed's author heard, "all highs removed", is a number."""
    found = band_differences(octave_power(power(low_passed(real, 2000))), octave_power(power(real)))
    assert found[-1] < -10
    assert found[:5].abs().max() < 0.5
    errors = [band_error(power(low_passed(real, hertz)), power(real)) for hertz in (4000, 2000, 1000, 500)]
    assert errors[0] < 0.1 < 10 < errors[1] <= errors[2] <= errors[3]


def test_a_gain_is_its_decibels(real):
    assert band_error(power(as_float(real) / 2), power(real)) == pytest.approx(6.02, abs=0.01)
    assert band_error(power(real), power(real)) == 0


def test_what_nobody_hears_is_no_error():
    loud = chord(500)
    faint = loud + 1e-6 * chord(3000)
    assert band_error(power(faint), power(loud)) < 0.01


def test_the_floor_is_of_halves(real):
    floor = band_floor(power(real), 0)
    assert 0 < floor < 12
    assert floor == band_floor(power(real), 0)
    assert band_floor(power(real[:1].expand(6, -1)), 0) == 0
    assert math.isnan(band_floor(power(real[:1]), 0))
