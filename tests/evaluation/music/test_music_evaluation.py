"""The evaluation of music: a perfect player is at the ceiling, a deaf one at chance, a copyist and a dull one found."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from pages import Page
from players import RATE, low_passed, make_player, music_samples, prepared_music

from synesthete.conditioning.labels import Unconditional
from synesthete.config import build
from synesthete.data.synthetic import TIMBRES
from synesthete.evaluation.classifiers.sound import load_or_train_sound_classifier
from synesthete.evaluation.diagnostics import diagnosis
from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
from synesthete.evaluation.features import SpectrumFeatures
from synesthete.evaluation.steps import classification
from synesthete.recipes import RECIPES
from synesthete.tasks.music.evaluation import MusicEvaluator
from synesthete.types import InputError

pytestmark = pytest.mark.usefixtures("undrawn")

NUM, STEPS = 32, 60


@pytest.fixture(scope="module")
def data(cache):
    return prepared_music(8)


@pytest.fixture(scope="module", autouse=True)
def few_denoised():
    """The network is none, so its errors need not be known well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MusicEvaluator, "num_denoised", 6)
        patch.setattr(MusicEvaluator, "num_traced", 4)
        yield


@pytest.fixture(scope="module")
def classifier(data):
    return load_or_train_sound_classifier(data.classifier, data.test, data.class_names, RATE, num_steps=STEPS)


@pytest.fixture(scope="module")
def unheard():
    return music_samples(range(100, 112))


@pytest.fixture(scope="module")
def evaluator(data, classifier):
    """`evaluator(waveforms, labels)`: of a model that plays these."""

    def call(waveforms, labels, listens=True, **options):
        player = make_player(RECIPES["music-notes-debug"](), data, waveforms, labels, listens)
        return MusicEvaluator(player, data, **{"classifier": classifier, "num": NUM} | options)

    return call


@pytest.fixture(scope="module")
def perfect(evaluator, unheard):
    return evaluator(unheard.waveforms, unheard.labels).measure()


def test_a_perfect_player_is_at_the_ceiling(perfect):
    accuracy = perfect.metric("class_accuracy")
    assert accuracy.value > 0.7
    assert accuracy.ceiling > 0.7
    assert accuracy.chance == 0.25
    assert accuracy.shuffled < 0.6
    frechet, kernel = perfect.metric("frechet_distance"), perfect.metric("kernel_distance")
    assert frechet.value < 2 * frechet.ceiling
    assert 2 * frechet.value < frechet.chance
    assert kernel.value < kernel.chance / 2
    for key in ("precision", "recall"):
        assert perfect.metric(key).value > perfect.metric(key).chance
    assert perfect.metric("diversity").value == pytest.approx(1, abs=0.4)
    described = [metric for metric in perfect.metrics if metric.key.startswith("audio_descriptor")]
    assert len(described) == 7
    for metric in described:
        assert "pitch_class" in metric.key or metric.value < metric.chance, metric.key
    assert perfect.metric("memorization_distance_spectrogram").value == pytest.approx(1, abs=0.25)
    assert "looks like copying" not in perfect.summary
    assert perfect.data["num_broken"] == 0


def test_every_metric_says_how_many(perfect):
    assert len({metric.key for metric in perfect.metrics}) == len(perfect.metrics)
    for metric in perfect.metrics:
        assert "seconds" in metric.key or "n = " in metric.title


def test_a_copyist_is_found_out(evaluator, data):
    found = evaluator(data.train.waveforms, data.train.labels).measure()
    for metric in [metric for metric in found.metrics if metric.key.startswith("memorization_share")]:
        assert metric.value == metric.chance == 1.0
    assert found.metric("memorization_distance_spectrogram").value == pytest.approx(0, abs=1e-4)
    assert "looks like copying" in found.summary


def test_a_copy_that_begins_elsewhere_is_found_by_statistics(evaluator, data):
    moved = data.train.waveforms.roll(RATE // 4, dims=1)
    spectra, statistics = list(evaluator(moved, data.train.labels).distances())[:2]
    assert (spectra.space, statistics.space) == ("spectrogram", "band statistics")
    assert spectra.ratio() > 0.5 > 0.2 > statistics.ratio()
    assert statistics.closer(0.05) > 0.4  # the seam in the middle is new


def test_a_player_that_does_not_listen_is_at_chance(evaluator, unheard):
    found = evaluator(unheard.waveforms, unheard.labels, listens=False)
    metric = found.class_metrics[0]
    assert metric.interval[0] < 0.25 < metric.interval[1]
    assert "no better than guessing" in classification(found).sentences[1]
    # What it plays is good music all the same.
    sets = found.comparison.sets
    assert found.comparison.made.frechet < sets[found.worst].frechet / 2


def test_a_dull_player_loses_its_highs(evaluator, unheard, perfect):
    found = evaluator(low_passed(unheard.waveforms, 1000), unheard.labels)
    bands = {metric.key: metric for metric in found.described().metrics}["audio_descriptor_octave_band_error_db"]
    assert bands.value > 10 > 2 * bands.ceiling
    assert bands.value > perfect.metric(bands.key).value
    assert found.comparison.made.frechet > perfect.metric("frechet_distance").value
    assert "2000 to 4000 Hz (-" in found.described().sentences[0]


def test_one_sound_over_and_over_has_no_diversity(evaluator, unheard):
    first = torch.stack([(unheard.labels == label).nonzero()[0, 0] for label in range(4)])
    found = evaluator(unheard.waveforms[first], unheard.labels[first])
    assert found.comparison.made.diversity == pytest.approx(0, abs=1e-6)


def test_broken_and_clipped_sounds_are_told(evaluator, unheard):
    broken = unheard.waveforms.float() / 32768
    broken[:, 7] = math.nan
    found = evaluator(broken, unheard.labels)
    assert found.generated.counts["num_broken"] == NUM
    assert any("not finite" in note for note in found.notes)
    loud = evaluator(unheard.waveforms.float() / 4000, unheard.labels)
    assert loud.generated.counts["num_clipped"] > 0
    assert any("beyond full scale" in note for note in loud.notes)


def test_from_data_to_a_report_that_opens(evaluator, unheard, tmp_path):
    calls: list[tuple[str, int, int]] = []
    progress = lambda *call: calls.append(call)  # noqa: E731
    asked = evaluator(unheard.waveforms, unheard.labels, num=12, progress=progress)
    found = asked.evaluate(tmp_path / "report", model="tiny", command="a command")
    last = {what: (done, total) for what, done, total in calls}
    assert all(done == total for done, total in last.values())
    values = json.loads((tmp_path / "report" / "report.json").read_text())
    assert values["facts"]["command"] == "a command"
    assert "to tell 4 classes apart" in values["facts"]["sound classifier"]
    assert [metric["key"] for metric in values["metrics"]] == [metric.key for metric in found.metrics]
    page = Page((tmp_path / "report" / "report.html").read_text())
    assert page.open == []
    assert sum(tag == "audio" for tag, _ in page.sources) >= 20
    assert len({path.name for path in (tmp_path / "report" / "pictures").iterdir()}) >= 20
    text = (tmp_path / "report" / "report.md").read_text()
    for title in ("Heard", "Bands", "Rhythm and pitch", "As a set", "By class", "Made or copied", "The codec alone"):
        assert f"## {title}" in text
    rows = values["tables"][next(name for name in values["tables"] if name.startswith("As a set"))]
    assert rows[0]["Fréchet distance"] == found.metric("frechet_distance").value


def test_a_model_that_is_told_nothing_has_no_class_figures(unheard):
    data, recipe = prepared_music(6, classes=False), RECIPES["music-notes-debug"]()
    recipe.conditioner = build(Unconditional)
    recipe.denoiser.condition_width = recipe.denoiser.pooled_width = None
    player = make_player(recipe, data, unheard.waveforms, unheard.labels, listens=False)
    classifier = load_or_train_sound_classifier(data.classifier, data.test, (), RATE, num_steps=20)
    evaluator = MusicEvaluator(player, data, num=10, classifier=classifier)
    found = evaluator.measure()
    assert not [metric for metric in found.metrics if "class_accuracy" in metric.key or metric.shuffled is not None]
    assert str(len(data.classifier.recording_names)) in evaluator.comparison.features
    assert "within all pieces" in found.metric("diversity").title
    assert any("told no class" in note for note in found.data["notes"])
    assert set(found.data["error_by_timestep"]) == {"fraction", "no condition", "mean piece"}


def test_too_few_recordings_for_a_classifier_are_told(data, unheard):
    player = make_player(RECIPES["music-notes-debug"](), data, unheard.waveforms, unheard.labels)
    few = replace(data, classifier=music_samples([300], ("organ",)))
    evaluator = MusicEvaluator(player, few, num=10)
    assert evaluator.features.name == SpectrumFeatures.name
    assert any("fewer than 2" in note for note in evaluator.notes)
    assert not evaluator.is_classified


def test_other_classes_and_too_few_pieces_are_refused(data, classifier, unheard):
    player = make_player(RECIPES["music-notes-debug"](), data, unheard.waveforms, unheard.labels)
    other = prepared_music(2, timbres=TIMBRES[:2])
    with pytest.raises(InputError, match="evaluate it on the data of its own recipe"):
        MusicEvaluator(player, other)
    few = prepared_music(1)
    few.test.waveforms, few.test.labels = few.test.waveforms[:3], few.test.labels[:3]
    few.test.recordings = few.test.recordings[:3]
    with pytest.raises(InputError, match="3 held-out pieces to compare with"):
        _ = MusicEvaluator(player, few, classifier=classifier).references


class Log:
    def __init__(self) -> None:
        self.names: list[str] = []

    def picture(self, name, image, step):
        self.names.append(name)

    def embedding(self, name, vectors, metadata):
        self.names.append(name)


@pytest.mark.parametrize("classes", [True, False])
def test_a_run_is_watched(classes, unheard, tmp_path, caplog):
    """No diagnostic of a preview fails on spectrograms, with classes or without."""
    data, recipe = prepared_music(2, classes=classes), RECIPES["music-notes-debug"]()
    if not classes:
        recipe.conditioner = build(Unconditional)
        recipe.denoiser.condition_width = recipe.denoiser.pooled_width = None
    player = make_player(recipe, data, unheard.waveforms, unheard.labels, listens=classes)
    log = Log()
    diagnosis.show_diagnostics(player, data, tmp_path, 3, log)
    assert not [record for record in caplog.records if record.name.startswith("synesthete")]
    assert {"classes", "denoising-x_0", "reconstruction"} <= set(log.names)
    assert ModelUnderTest(player, data).names(torch.tensor([0])) == [TIMBRES[0] if classes else ""]
