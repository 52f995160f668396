"""Power by spatial frequency: of noise and of waves by the book, and what is said of samples."""

from __future__ import annotations

import math

import pytest
import torch

from synesthete.evaluation.diagnostics import find_diagnostic
from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
from synesthete.evaluation.diagnostics.pictures import (
    difference_in_decibels,
    floor_in_decibels,
    in_decibels,
    measure_spectrum,
    octave_rings,
    say_where_apart,
)
from synesthete.pipeline import Output
from tiny_pictures import tiny_pipeline, tiny_prepared


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pink(num: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    """Pictures whose amplitude falls with frequency, as photographs' does."""
    frequency = (torch.fft.fftfreq(size)[:, None].square() + torch.fft.fftfreq(size).square()).sqrt()
    noise = torch.fft.fft2(torch.randn(num, 3, size, size, generator=draw(seed)))
    pictures = torch.fft.ifft2(noise / frequency.clamp(min=1 / size)).real
    return (0.5 + 0.12 * pictures / pictures.std()).clamp(0, 1)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 32, 32), (3, 20, 48), (1, 33, 33)])
def test_white_noise_has_its_variance_at_every_frequency(shape):
    noise = 0.5 + 0.1 * torch.randn(600, *shape, generator=draw(0))
    frequencies, power = measure_spectrum(noise)
    assert frequencies[-1] <= 0.5
    assert len(frequencies) == min(shape[1:]) // 2
    # The lowest ring lacks what the mean took away.
    assert power.mean(dim=0)[2:].tolist() == pytest.approx([0.01] * (len(frequencies) - 2), rel=0.06)


@pytest.mark.parametrize("cycles", [4, 9, 13])
@pytest.mark.parametrize("across", [True, False])
def test_a_wave_is_at_its_frequency_with_its_power(cycles, across):
    """A wave of amplitude a has the power a^2 / 2, whichever ring it falls in."""
    wave = 0.5 + 0.25 * torch.sin(2 * math.pi * cycles * torch.arange(32) / 32 + 0.3)
    picture = wave.expand(32, 32) if across else wave[:, None].expand(32, 32)
    frequencies, power = measure_spectrum(picture[None, None])
    loudest = int(power[0].argmax())
    assert frequencies[loudest] == pytest.approx(cycles / 32)
    grid = (torch.fft.fftfreq(32)[:, None].square() + torch.fft.fftfreq(32).square()).sqrt() * 32
    sizes = grid.round().long().flatten().bincount()[1:17]
    assert (power[0] * sizes).sum().item() / 32**2 == pytest.approx(0.25**2 / 2, rel=0.02)
    assert power[0, (frequencies - cycles / 32).abs() > 2.5 / 32].max() < 1e-4 * power[0, loudest]


def test_bytes_and_floats_are_the_same_picture_and_a_constant_has_none():
    values = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=draw(1))
    torch.testing.assert_close(measure_spectrum(values).power, measure_spectrum(values.float() / 255).power)
    flat = measure_spectrum(torch.full((1, 3, 16, 16), 200, dtype=torch.uint8)).power
    assert in_decibels(flat).max() < -100


def test_a_step_between_the_borders_does_not_leak():
    """A ramp's borders do not meet; without a window the finest octave would have a hundred times as much."""
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    frequencies, power = measure_spectrum(ramp)
    assert power[0, frequencies > 0.25].max() < 1e-5 * power[0, 0]


def test_octaves_hold_every_ring_once():
    frequencies = measure_spectrum(torch.zeros(1, 1, 96, 96)).frequencies
    octaves = octave_rings(frequencies)
    assert list(octaves)[:3] == ["2 to 4 pixels", "4 to 8 pixels", "8 to 16 pixels"]
    assert sorted(torch.cat(list(octaves.values())).tolist()) == list(range(48))


def verdict(made: torch.Tensor, real: torch.Tensor) -> str:
    ours, theirs = measure_spectrum(made), measure_spectrum(real)
    octaves = octave_rings(ours.frequencies)
    apart = {name: difference_in_decibels(ours.power, theirs.power, rings) for name, rings in octaves.items()}
    return say_where_apart(apart, floor_in_decibels(theirs.power, len(made), octaves, draw(0)))


def test_it_says_at_which_scale_pictures_are_too_smooth_or_too_noisy():
    real, others = pink(200, seed=0), pink(60, seed=1)
    assert verdict(others, real) == "Samples vary as much as real pictures do at every scale."
    smooth = torch.nn.functional.avg_pool2d(others, 3, stride=1, padding=1, count_include_pad=False)
    assert "too smooth in details of 2 to 4 pixels" in verdict(smooth, real)
    assert "noisy" not in verdict(smooth, real)
    noisy = others + 0.05 * torch.randn(others.shape, generator=draw(2))
    assert verdict(noisy, real).startswith("Samples are too noisy in details of 2 to 4 pixels (+")
    louder = 0.5 + 2 * (others - 0.5)
    assert verdict(louder, real).count("+") == 4


def test_twice_the_amplitude_is_six_decibels():
    real = pink(50)
    ours, theirs = measure_spectrum(0.5 + 2 * (real - 0.5)), measure_spectrum(real)
    for rings in octave_rings(ours.frequencies).values():
        assert difference_in_decibels(ours.power, theirs.power, rings) == pytest.approx(6.02, abs=0.01)


def test_the_floor_falls_with_more_pictures():
    power = measure_spectrum(pink(400)).power
    octaves = octave_rings(measure_spectrum(pink(1)).frequencies)
    few, many = (floor_in_decibels(power, num, octaves, draw(3)) for num in (10, 160))
    for name in octaves:
        assert few[name] > 2 * many[name]


def test_the_section_is_of_samples_against_held_out_pictures(cache):
    model = ModelUnderTest(tiny_pipeline(), tiny_prepared(), num=12)
    model._samples = Output(model.pictures(model.held_out(12)), torch.empty(0))
    section = find_diagnostic("spectrum")(model)
    figure, table = section.items
    assert figure.content.startswith(b"\x89PNG")
    assert [row[0] for row in table.rows] == ["2 to 4 pixels", "4 to 8 pixels"]
    assert section.text.endswith("Samples vary as much as real pictures do at every scale.")
