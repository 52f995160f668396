"""Highs against those that were taken away: the better, the nearer; and on sound that never had any."""

from __future__ import annotations

import math

import pytest
import torch

from synesthete import tasks
from synesthete.data.audio import write_audio
from synesthete.evaluation.audio_features.spectra import cut_or_padded, mean_spectrum, spectral_copy, spectral_distances
from synesthete.objectives import Parts
from synesthete.pipeline.canvas import resample
from synesthete.recipes import RECIPES
from synesthete.tasks.music.evaluation import MusicEvaluator
from synesthete.tasks.music.upsampling import GIVEN, MADE, evaluate_upsampling, made_octaves, read_low_rate
from synesthete.training.assembly import make_parts, make_pipeline
from synesthete.types import InputError

pytestmark = pytest.mark.usefixtures("undrawn")

RATE, LOW_RATE = 8_000, 2_000


def coloured(batch: int = 4, num_samples: int = 8_000, slope: float = -0.5) -> torch.Tensor:
    """Noise whose magnitude falls with frequency."""
    noise = torch.fft.rfft(torch.randn(batch, num_samples, generator=torch.Generator().manual_seed(0)))
    sound = torch.fft.irfft(noise * torch.arange(1, noise.shape[-1] + 1) ** slope, num_samples)
    return 0.2 * sound / sound.square().mean(dim=1, keepdim=True).sqrt()


def band_limited(sounds: torch.Tensor) -> torch.Tensor:
    return cut_or_padded(resample(resample(sounds, RATE, LOW_RATE), LOW_RATE, RATE), sounds.shape[-1])


def test_a_known_difference_is_a_known_distance():
    sounds = coloured()
    same, half = (spectral_distances(sounds, other, RATE, LOW_RATE) for other in (sounds, sounds / 2))
    for part in ("above", "all", "below"):
        assert same[part].abs().max() == 0
        torch.testing.assert_close(half[part], torch.full((4,), 20 * math.log10(2)), rtol=0.05, atol=0)


def test_a_band_taken_away_is_missed_there_alone():
    sounds = coloured()
    found = spectral_distances(sounds, band_limited(sounds), RATE, LOW_RATE)
    assert found["above"].min() > 10
    assert found["below"].max() < 0.5
    assert (found["all"] < found["above"]).all()


def test_a_copy_of_the_band_is_nearer_than_nothing_and_as_loud_as_music_is():
    sounds = coloured()
    given = band_limited(sounds)
    copied = spectral_copy(given, RATE, LOW_RATE, mean_spectrum(coloured(8), RATE))
    near, far = (spectral_distances(sounds, other, RATE, LOW_RATE)["above"].mean() for other in (copied, given))
    assert near < far / 2
    above = mean_spectrum(copied, RATE)[-20:].mean() / mean_spectrum(sounds, RATE)[-20:].mean()
    assert 0.5 < above < 2


def test_the_octaves_above_the_band_are_the_made_ones():
    assert [name for _, name in made_octaves(32_000, 8_000)] == ["4000 to 8000 Hz", "8000 to 16000 Hz"]


@pytest.fixture(scope="module")
def prepared(cache):
    return tasks.prepare(RECIPES["music-upsampler-debug"]())


@pytest.fixture(scope="module", autouse=True)
def few_denoised():
    """Errors of a network that nobody trained need not be known well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MusicEvaluator, "num_denoised", 6)
        patch.setattr(MusicEvaluator, "num_traced", 4)
        yield


@pytest.fixture(scope="module")
def pipeline(prepared):
    """Nobody trained it: its x_0 is noise."""
    recipe = RECIPES["music-upsampler-debug"]()
    recipe.sampling.num_inference_steps = 2
    return make_pipeline(recipe, make_parts(recipe, prepared), prepared.class_names)


@pytest.fixture(scope="module")
def found(pipeline, prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    write_audio(folder / "old.wav", 0.1 * torch.randn(5_000), LOW_RATE)
    return evaluate_upsampling(pipeline, prepared, num=4, recorded=folder)


def named(metrics, text):
    return next(metric for metric in metrics if text in metric.title)


def test_every_distance_has_a_floor_and_a_ceiling(found):
    metrics = found.metrics
    for where in ("above 1 kHz", "over all bands"):
        for metric in (named(metrics, f"distance {where}"), named(metrics, f"spectral copy {where}")):
            assert 0 < metric.ceiling < metric.chance
            assert metric.shuffled > metric.ceiling
            assert metric.interval[0] <= metric.value <= metric.interval[1]
    assert named(metrics, "network's own low band").value > named(metrics, "network's own low band").ceiling
    assert named(metrics, "level of 2000 to 4000 Hz, made minus real").chance < -6


def test_the_real_highs_through_the_codec_are_about_as_loud_as_real(found):
    metrics = found.metrics
    for name in ("1000 to 2000 Hz", "2000 to 4000 Hz"):
        assert abs(named(metrics, f"level of {name}, made minus real").ceiling) < 6


def test_sound_recorded_at_the_low_rate_keeps_what_it_has(found):
    metrics, sections = found.metrics, found.sections
    assert named(metrics, "distance to the given band").value < 0.5
    level = named(metrics, "level of 1000 to 2000 Hz under")
    assert level.chance < level.ceiling
    assert sections[-1].title == f"Recorded at {LOW_RATE} Hz"


def test_the_sections_show_and_let_hear_every_way(found):
    sections = found.sections
    assert [section.title for section in sections[:2]] == ["Upsampled", "Highs in figures"]
    picture, gallery = sections[0].items
    assert picture.content.startswith(b"\x89PNG")
    assert {GIVEN, MADE, "real"} <= {medium.caption for medium in gallery.cards[0].media}
    assert len({medium.name for card in gallery.cards for medium in card.media}) == 4 * 5


def test_recordings_of_the_low_rate_are_strung_together(tmp_path):
    for i in range(3):
        write_audio(tmp_path / f"{i}.wav", 0.1 * torch.randn(1_500), LOW_RATE)
    write_audio(tmp_path / "other.wav", torch.zeros(9_000), RATE)
    assert read_low_rate(tmp_path, LOW_RATE, 1.0, 10).shape == (2, 2_000)
    assert read_low_rate(tmp_path, LOW_RATE, 1.0, 1).shape == (1, 2_000)
    with pytest.raises(InputError, match=r"2\.2 s at 2000 Hz; give 3 s or more"):
        read_low_rate(tmp_path, LOW_RATE, 3.0, 1)
    with pytest.raises(InputError, match="nothing in it was recorded at 4000 Hz"):
        read_low_rate(tmp_path, 4_000, 1.0, 1)


def test_spoken_digits_were_recorded_at_the_low_rate(shared_data):
    sounds = read_low_rate(shared_data / "fsdd", 8_000, 1.0, 3)
    assert sounds.shape == (3, 8_000)
    assert sounds.abs().max() > 0.05


def test_the_report_on_an_upsampler_begins_with_its_highs(pipeline, prepared, tmp_path):
    found = MusicEvaluator(pipeline, prepared, num=4, features="spectrum").evaluate(tmp_path / "report", command="test")
    assert found.metrics[0].key.startswith("log_spectral_distance")
    assert [section.title for section in found.sections[:2]] == ["Upsampled", "Highs in figures"]


def test_sound_to_upsample_is_no_use_to_another_model(prepared, tmp_path):
    recipe = RECIPES["music-low-debug"]()
    other = make_pipeline(recipe, Parts(recipe.codec(), recipe.conditioner(), recipe.denoiser(), recipe.process()), ())
    with pytest.raises(InputError, match="this model reads Unconditional, not a low-rate sound"):
        MusicEvaluator(other, prepared, recorded=tmp_path)
