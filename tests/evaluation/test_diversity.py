"""Voices: pitches of known sounds, spreads by hand, and a model that has only one voice."""

from __future__ import annotations

import math

import pytest
import torch
from speakers import Speaker, make_speaker, pictures_of

from synesthete.evaluation.samples import Generated
from synesthete.pipeline import Output
from synesthete.tasks.image_to_speech import measures
from synesthete.tasks.image_to_speech.evaluation import SpeechData, SpeechEvaluator
from synesthete.tasks.image_to_speech.measures import (
    NUM_SEEDS,
    PITCH,
    TIMBRE,
    draw_real,
    quality_metrics,
    spread,
    timbres,
)

pytestmark = pytest.mark.usefixtures("undrawn")

LABELS = torch.arange(8) % 4


def test_timbre_is_the_spectrum_whatever_the_level_and_the_pauses():
    spectrum = torch.linspace(3, -2, 100)
    log_mel = torch.full((3, 1, 100, 20), -16.1)
    log_mel[0, 0, :, 5:15] = spectrum[:, None]
    log_mel[1, 0, :, :4] = spectrum[:, None] - 1  # quieter, shorter, elsewhere
    log_mel[2, 0, :, 5:15] = spectrum.flip(0)[:, None]
    found = timbres(log_mel)
    assert found[0].tolist() == pytest.approx(found[1].tolist(), abs=1e-3)
    assert found[0, 0] == pytest.approx((3 - 0.5) * 20 / math.log(10), abs=0.01)
    assert found[2, 0] < found[2, -1]


def test_spread_is_around_each_picture():
    """Pictures far apart do not count; deviations 1, -1, 2, -2 over two degrees of freedom."""
    values, labels = torch.tensor([1.0, -1.0, 102.0, 98.0, math.nan]), torch.tensor([0, 0, 1, 1, 1])
    assert spread(values, labels) == pytest.approx(math.sqrt(10 / 2))
    assert math.isnan(spread(values[::2], torch.tensor([0, 1, 1])))


def test_the_two_real_sets_share_no_clip(real, classifier_clips):
    (first, labels), (second, again) = draw_real([real, classifier_clips], torch.tensor([0, 2]), 10, seed=0)
    assert labels.tolist() == again.tolist() == [0] * 10 + [2] * 10
    assert not {x.numpy().tobytes() for x in first} & {x.numpy().tobytes() for x in second}


def test_one_voice_over_and_over_has_no_diversity(real, classifier_clips, trained):
    many = make_speaker(real, looks=True)

    class Hoarse(Speaker):
        """Says the first clip of the class whatever the seed."""

        def __call__(self, raw, *, generators=None, noise=None, **sampling):
            classes = raw.float().mean(dim=(1, 2, 3)).div(50).round().long()
            places = [int((self.clips.labels == label).nonzero()[0]) for label in classes]
            x_0 = self.codec.encode(self.clips.waveforms[places].float() / 32768)
            return Output(self.codec.decode(x_0, generators), x_0)

    calls, ratios = [], {}
    for kind in (Speaker, Hoarse):
        many.__class__ = kind
        data = SpeechData(pictures_of(LABELS), LABELS, real, classifier_clips)
        options = {"classifier": trained, "progress": lambda *call: calls.append(call)}
        evaluator = SpeechEvaluator(many, data, listener="none", **options)
        found = evaluator.voices()
        ratios[kind] = {metric.key: metric for metric in found.metrics}
        assert len(found.sections[0].items[-1].rows) == 4
    assert calls[-1] == ("voices", 4 * NUM_SEEDS, 4 * NUM_SEEDS)
    assert set(found.data["voice_spread"]) == {PITCH, TIMBRE}
    assert ratios[Hoarse].pop("voiced").ceiling > 0.7
    for key, metric in ratios[Hoarse].items():
        assert metric.chance == 0
        assert metric.value < 0.2
        assert 0.4 < ratios[Speaker][key].value < 1.6
        assert 0.6 < metric.ceiling < 1.6


def test_a_whisper_is_not_voiced_and_quality_is_between_that_of_noise_and_of_real_clips(
    real, monkeypatch, tmp_path_factory
):
    waveforms = real.waveforms[:24].float() / 32768
    whisper = torch.randn(waveforms.shape, generator=torch.Generator().manual_seed(1)) * 0.1
    sounds = {name: Generated(x, real.labels[:24], ()) for name, x in (("real", waveforms), ("whisper", whisper))}
    monkeypatch.setattr(measures, "find_dnsmos", lambda: None)
    (voiced,) = quality_metrics(sounds["whisper"], sounds["real"], 24_000, lambda *_: None)
    assert (voiced.key, voiced.chance) == ("voiced_all_samples", 0)
    assert voiced.value < 0.1 < 0.7 < voiced.ceiling

    class Quieter:
        """Rates silence highest."""

        def rate(self, x, sample_rate, progress):
            return {name: 5 - x.abs().mean(dim=1) for name in ("overall", "p808")}

    monkeypatch.setattr(measures, "find_dnsmos", lambda: tmp_path_factory)
    monkeypatch.setattr(measures, "Dnsmos", Quieter)
    found = quality_metrics(sounds["whisper"], sounds["real"], 24_000, lambda *_: None)
    assert [metric.key for metric in found] == ["voiced_all_samples", "dnsmos_overall", "p808"]
    for metric in found[1:]:
        assert metric.value == pytest.approx(5 - whisper.abs().mean().item(), abs=1e-4)
        assert metric.ceiling == pytest.approx(5 - waveforms.abs().mean().item(), abs=1e-4)
        assert metric.chance == pytest.approx(metric.value, abs=0.02)  # noise as loud
        assert metric.interval[0] < metric.value < metric.interval[1]
