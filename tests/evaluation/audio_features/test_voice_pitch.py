"""Pitches of known sounds, and none where there is none."""

from __future__ import annotations

import math

import pytest
import torch

from synesthete.evaluation.audio_features.audio_descriptors import track_pitch

SAMPLE_RATE = 24_000


def buzz(hertz: float) -> torch.Tensor:
    """A voice without a mouth: eleven harmonics, after a third of a second of silence."""
    time = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    sound = torch.stack([torch.sin(2 * torch.pi * hertz * k * time) / k for k in range(1, 12)]).sum(dim=0)
    sound[:8000] = 0
    return sound


@pytest.mark.parametrize("hertz", [70.0, 130.0, 220.0, 400.0])
def test_the_pitch_of_a_buzz_at_any_level(hertz):
    pitch, periodicity = track_pitch(torch.stack([buzz(hertz), 0.01 * buzz(hertz)]), SAMPLE_RATE)
    assert pitch.tolist() == pytest.approx([12 * math.log2(hertz / 100)] * 2, abs=0.3)
    assert (periodicity > 0.9).all()


def test_noise_whispers_and_silence_have_none():
    noise = torch.randn(20, SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
    silence = torch.zeros(1, SAMPLE_RATE)
    pitch, periodicity = track_pitch(torch.cat([noise, silence]), SAMPLE_RATE)
    assert pitch.isnan().all()
    assert (periodicity < 0.45).all()
    assert periodicity[-1] == 0


def test_a_hoarse_voice_is_less_periodic_and_keeps_its_pitch():
    noise = torch.randn(SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
    levels = torch.tensor([0.0, 0.3, 3.0])
    pitch, periodicity = track_pitch(buzz(120) + levels[:, None] * noise, SAMPLE_RATE)
    assert periodicity[0] > periodicity[1] > 0.5 > periodicity[2]
    assert pitch[1].item() == pytest.approx(pitch[0].item(), abs=0.3)
    assert pitch[2].isnan()


def test_a_batch_equals_its_singles():
    sounds = torch.stack([buzz(80 + 10 * i) for i in range(12)])
    singles = [track_pitch(part, SAMPLE_RATE)[0] for part in sounds.split(1)]
    assert torch.equal(track_pitch(sounds, SAMPLE_RATE)[0], torch.cat(singles))
