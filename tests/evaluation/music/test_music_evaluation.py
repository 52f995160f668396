"""The evaluation of music: a perfect player is at the ceiling, a deaf one at chance, a copyist and a dull one found."""

from __future__ import annotations

import json
import math

import pytest
import torch
from pages import Page
from players import RATE, low_passed, make_player, music_samples, prepared_music

from synesthete.conditioning.unconditional import Unconditional
from synesthete.config import build
from synesthete.data.synthetic import TIMBRES
from synesthete.evaluation import training_callback
from synesthete.evaluation.classifiers.sound import load_or_train_sound_classifier
from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
from synesthete.evaluation.features.features import ClassifierFeatures
from synesthete.evaluation.features.sound import SpectrumFeatures
from synesthete.evaluation.music.evaluation import evaluate, evaluate_music
from synesthete.evaluation.music.page import summary
from synesthete.recipes.music import music_notes_debug
from synesthete.types import InputError

NUM, STEPS = 32, 60


@pytest.fixture(scope="module")
def data(cache):
    return prepared_music(8)


@pytest.fixture(scope="module", autouse=True)
def few_denoised():
    """The network is none, so its errors need not be known well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synesthete.evaluation.music.measures.NUM_DENOISED", 6)
        patch.setattr("synesthete.evaluation.music.measures.NUM_TRACED", 4)
        yield


@pytest.fixture(scope="module")
def judge(data):
    return load_or_train_sound_classifier(data.judge, data.test, data.class_names, RATE, num_steps=STEPS)


@pytest.fixture(scope="module")
def unheard():
    return music_samples(range(100, 112))


@pytest.fixture(scope="module")
def measure(data, judge):
    """`measure(waveforms, labels)`: everything but the report, of a model that plays these."""

    def call(waveforms, labels, listens=True, **options):
        player = make_player(music_notes_debug(), data, waveforms, labels, listens)
        return evaluate_music(player, data, judge.classifier, ClassifierFeatures(judge.classifier), num=NUM, **options)

    return call


@pytest.fixture(scope="module")
def perfect(measure, unheard):
    return measure(unheard.waveforms, unheard.labels)


def test_a_perfect_player_is_at_the_ceiling(perfect):
    accuracy = perfect.metric("class accuracy")
    assert accuracy.value > 0.7
    assert accuracy.ceiling > 0.7
    assert accuracy.chance == 0.25
    assert accuracy.shuffled < 0.6
    frechet = perfect.metric("Fréchet")
    assert frechet.value < 2 * frechet.ceiling
    assert 2 * frechet.value < frechet.chance
    kernel = perfect.metric("kernel")
    assert kernel.value < kernel.chance / 2
    for name in ("precision", "recall"):
        assert perfect.metric(name).value > perfect.metric(name).chance
    assert perfect.metric("diversity").value == pytest.approx(1, abs=0.4)
    for name in ("octave band", "tempogram", "onsets", "pitch histogram", "interval"):
        metric = perfect.metric(name)
        assert metric.value < metric.chance, name
    assert perfect.metric("memorisation: distance").value == pytest.approx(1, abs=0.25)
    assert "looks like copying" not in summary(perfect)
    assert not perfect.made.num_broken


def test_every_metric_says_how_many(perfect):
    for metric in perfect.metrics:
        if "seconds" not in metric.title:
            assert "n = " in metric.title


def test_a_copyist_is_found_out(measure, data):
    found = measure(data.train.waveforms, data.train.labels)
    for metric in [metric for metric in found.metrics if "memorisation: share" in metric.title]:
        assert metric.value == metric.chance == 1.0
    assert found.metric("memorisation: distance").value == pytest.approx(0, abs=1e-4)
    assert torch.equal(found.memory.copies, found.made.waveforms[found.memory.suspects])
    assert "looks like copying" in summary(found)


def test_a_copy_that_begins_elsewhere_is_found_by_statistics(measure, data):
    moved = data.train.waveforms.roll(RATE // 4, dims=1)
    found = measure(moved, data.train.labels)
    spectra, statistics = found.memory.closeness[:2]
    assert (spectra.space, statistics.space) == ("spectrogram", "band statistics")
    assert spectra.ratio() > 0.5 > 0.2 > statistics.ratio()
    assert statistics.closer(0.05) > 0.4  # the seam in the middle is new


def test_a_player_that_does_not_listen_is_at_chance(measure, unheard):
    found = measure(unheard.waveforms, unheard.labels, listens=False)
    metric = found.metric("class accuracy")
    assert metric.interval[0] < 0.25 < metric.interval[1]
    assert "no better than guessing" in summary(found)
    # What it plays is good music all the same.
    assert found.metric("Fréchet").value < found.metric("Fréchet").chance / 2


def test_a_dull_player_loses_its_highs(measure, unheard, perfect):
    found = measure(low_passed(unheard.waveforms, 1000), unheard.labels)
    assert found.metric("octave band").value > 10 > 2 * found.metric("octave band").ceiling
    assert found.metric("octave band").value > perfect.metric("octave band").value
    assert found.metric("Fréchet").value > perfect.metric("Fréchet").value
    assert "2000 to 4000 Hz (-" in summary(found)


def test_one_sound_over_and_over_has_no_diversity(measure, unheard):
    first = torch.stack([(unheard.labels == label).nonzero()[0, 0] for label in range(4)])
    found = measure(unheard.waveforms[first], unheard.labels[first])
    assert found.metric("diversity").value == pytest.approx(found.metric("diversity").chance, abs=1e-6)


def test_broken_and_clipped_sounds_are_told(measure, unheard):
    broken = unheard.waveforms.float() / 32768
    broken[:, 7] = math.nan
    found = measure(broken, unheard.labels)
    assert found.made.num_broken == NUM
    assert any("not finite" in note for note in found.notes)
    loud = measure(unheard.waveforms.float() / 4000, unheard.labels)
    assert loud.made.num_clipped > 0
    assert any("beyond full scale" in note for note in loud.notes)


def test_from_data_to_a_report_that_opens(data, judge, unheard, tmp_path):
    player = make_player(music_notes_debug(), data, unheard.waveforms, unheard.labels)
    calls: list[tuple[str, int, int]] = []
    found = evaluate(
        player, data, tmp_path / "report", num=12, judge=judge, model="tiny", command="a command",
        progress=lambda *call: calls.append(call),
    )  # fmt: skip
    last = {what: (done, total) for what, done, total in calls}
    assert all(done == total for done, total in last.values())
    values = json.loads((tmp_path / "report" / "report.json").read_text())
    assert values["facts"]["command"] == "a command"
    assert "to tell 4 classes apart" in values["facts"]["sound judge"]
    assert [metric["title"] for metric in values["metrics"]] == [metric.title for metric in found.metrics]
    page = Page((tmp_path / "report" / "report.html").read_text())
    assert page.open == []
    assert sum(tag == "audio" for tag, _ in page.sources) >= 20
    assert len({path.name for path in (tmp_path / "report" / "pictures").iterdir()}) >= 20
    text = (tmp_path / "report" / "report.md").read_text()
    for title in ("Heard", "Bands", "Rhythm and pitch", "As a set", "By class", "Made or copied", "The codec alone"):
        assert f"## {title}" in text
    rows = values["tables"][next(name for name in values["tables"] if name.startswith("As a set"))]
    assert rows[0]["Fréchet"] == found.metric("Fréchet").value


def test_a_model_that_is_told_nothing_has_no_class_figures(unheard, tmp_path):
    data, recipe = prepared_music(6, classes=False), music_notes_debug()
    recipe.conditioner = build(Unconditional)
    recipe.denoiser.condition_width = recipe.denoiser.pooled_width = None
    player = make_player(recipe, data, unheard.waveforms, unheard.labels, listens=False)
    judge = load_or_train_sound_classifier(data.judge, data.test, (), RATE, num_steps=20)
    found = evaluate(player, data, tmp_path / "report", num=10, judge=judge)
    assert not [metric for metric in found.metrics if "class accuracy" in metric.title or metric.shuffled is not None]
    assert found.comparison.features == f"classifier-{len(data.judge.recording_names)} of recordings"
    assert "diversity within all pieces" in "".join(metric.title for metric in found.metrics)
    assert any("told no class" in note for note in found.notes)
    assert set(found.denoising.errors) == {"no condition"}


def test_too_few_recordings_for_a_judge_are_told(data, unheard, tmp_path):
    player = make_player(music_notes_debug(), data, unheard.waveforms, unheard.labels)
    alone = music_samples([300], ("organ",))
    kept, data.judge = data.judge, alone
    try:
        found = evaluate(player, data, tmp_path / "report", num=10)
    finally:
        data.judge = kept
    assert found.comparison.features == SpectrumFeatures.name
    assert any("No judge was trained: fewer than 2" in note for note in found.notes)
    assert found.answers is None


def test_other_classes_and_too_few_pieces_are_refused(data, judge, unheard, tmp_path):
    player = make_player(music_notes_debug(), data, unheard.waveforms, unheard.labels)
    other = prepared_music(2, timbres=TIMBRES[:2])
    with pytest.raises(InputError, match="evaluate it on the data of its own recipe"):
        evaluate(player, other, tmp_path / "report")
    few = prepared_music(1)
    few.test.waveforms, few.test.labels = few.test.waveforms[:3], few.test.labels[:3]
    few.test.recordings = few.test.recordings[:3]
    with pytest.raises(InputError, match="3 held-out pieces to compare with"):
        evaluate(player, few, tmp_path / "report", judge=judge)


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
    data, recipe = prepared_music(2, classes=classes), music_notes_debug()
    if not classes:
        recipe.conditioner = build(Unconditional)
        recipe.denoiser.condition_width = recipe.denoiser.pooled_width = None
    player = make_player(recipe, data, unheard.waveforms, unheard.labels, listens=classes)
    log = Log()
    training_callback.show_diagnostics(player, data, tmp_path, 3, log)
    assert not [record for record in caplog.records if record.name.startswith("synesthete")]
    assert {"classes", "denoising-x_0", "reconstruction"} <= set(log.names)
    assert ModelUnderTest(player, data).names(torch.tensor([0])) == [TIMBRES[0] if classes else ""]
