"""The evaluation of speech: a perfect speaker is at the ceiling, a blind one at chance, by the same function."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from pages import Page, check_media
from speakers import make_speaker, pictures_of

from synesthete.data.files import some
from synesthete.data.picture import PictureArray
from synesthete.data.pictures import Pictures
from synesthete.data.speech.corpus import load_clips
from synesthete.evaluation.classifiers.classifier import TrainedClassifier
from synesthete.evaluation.classifiers.speech import SpeechClassifier
from synesthete.evaluation.metrics.metric import METRICS, MetricRow, register_metric, slug
from synesthete.evaluation.recognizers import DECODED, LISTENER, X_0
from synesthete.evaluation.reporting.report import Report, to_html
from synesthete.evaluation.samples import shuffled
from synesthete.tasks.image_to_speech import measures
from synesthete.tasks.image_to_speech.evaluation import SpeechData, SpeechEvaluator, read_speech_data
from synesthete.tasks.image_to_speech.measures import condition_features, thinned
from synesthete.types import InputError

pytestmark = pytest.mark.usefixtures("undrawn")

NUM = 32
LABELS = torch.arange(NUM) % 4
BY = {name: f"accuracy_{slug(name)}" for name in (X_0, DECODED, LISTENER)}


def seen(pipeline):
    """Features and labels of pictures as bright as those of the test."""
    labels = torch.arange(64) % 4
    return condition_features(pipeline, pictures_of(labels)), labels


@pytest.fixture(scope="module", autouse=True)
def few_seeds():
    """Voices are told from three samples a picture; test_diversity takes as many as people do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "NUM_SEEDS", 3)
        yield


@pytest.fixture(scope="module")
def evaluator(real, classifier_clips, trained):
    """`evaluator(pipeline)`: of a model that is shown LABELS."""

    def call(pipeline, labels=LABELS, words=None, trained_on=None, **options):
        options = {"num": NUM, "guidance": (), "classifier": trained} | options
        data = SpeechData(pictures_of(labels), labels, real, classifier_clips, words, trained_on)
        return SpeechEvaluator(pipeline, data, **options)

    return call


@pytest.fixture(scope="module")
def perfect(real, evaluator):
    pipeline, calls = make_speaker(real, looks=True), []
    trained_on, progress = seen(pipeline), lambda *call: calls.append(call)
    found = evaluator(pipeline, guidance=(1.0, 3.0), trained_on=trained_on, progress=progress)
    return found, found.measure(), calls


def test_real_clips_score_at_the_ceiling(perfect):
    _, found, _ = perfect
    assert len({metric.key for metric in found.metrics}) == len(found.metrics)
    for key in BY.values():
        metric = found.metric(key)
        assert f"n = {NUM}" in metric.title
        assert metric.chance == 0.25
        assert abs(metric.value - metric.ceiling) < 0.15
        assert metric.interval[0] <= metric.value <= metric.interval[1]
        assert metric.value > 0.75
        assert metric.shuffled < 0.5


def test_a_blind_speaker_scores_at_chance(real, evaluator):
    pipeline = make_speaker(real, looks=False)
    blind = evaluator(pipeline, listener="none", trained_on=seen(pipeline))
    found = {metric.key: metric for metric in blind.classification().metrics}
    for key in (BY[X_0], BY[DECODED], "accuracy_nearest_of_1"):
        assert found[key].interval[0] < 0.25 < found[key].interval[1]
    assert found[BY[X_0]].ceiling > 0.75
    assert BY[LISTENER] not in found
    # It is all lost to speaking: the condition says what the picture shows.
    assert found["probe_accuracy"].value == 1.0
    assert found["probe_agreement"].value < 0.5


def test_a_metric_of_ones_own_is_measured_of_waveforms(perfect):
    """A row with a `compute`: how much neighbouring samples differ, over their size, apart from real clips."""

    def roughness(part):
        return (part.samples.diff(dim=1).square().mean() / part.samples.square().mean()).item()

    evaluator, _, _ = perfect
    assert not evaluator.of_ones_own().metrics
    register_metric(
        MetricRow("roughness", "roughness ({against})", "", False, lambda r, m: roughness(m) - roughness(r))
    )
    try:
        (own,) = evaluator.of_ones_own().metrics
    finally:
        METRICS.pop("roughness")
    assert own.key == "roughness" and f"n = {NUM}" in own.title
    assert abs(own.value) < 0.3 and abs(own.ceiling) < 0.3  # what this one says are real clips
    assert own.chance > 1


def test_the_seeds_metric_has_a_ceiling_of_its_own(perfect):
    """Real voices differ from any one reference: its ceiling is below the classifier's, a perfect speaker near it."""
    evaluator, found, _ = perfect
    metric = found.metric("accuracy_nearest_of_1")
    assert 0.25 < metric.ceiling < evaluator.ceilings[X_0]
    assert abs(metric.value - metric.ceiling) < 0.3
    assert found.metric("accuracy_nearest_of_10").ceiling > 0.25
    assert metric.chance == 0.25


def test_the_generation_error_of_real_speech_lies_at_its_ceiling(perfect):
    """What this speaker says is a real clip of the class: as far from the paired clip as another voice's."""
    _, found, _ = perfect
    for key in ("generation_mse_i2m", "generation_mse"):
        metric = found.metric(key)
        assert metric.value == pytest.approx(metric.ceiling, rel=0.35)
        assert metric.value < metric.chance
        assert metric.value < metric.shuffled
    errors = found.data["generation_error"]
    seed, scaled = zip(*errors.values(), strict=True)
    assert min(scaled) == errors["the clip itself"][1] == 0
    assert min(seed) == errors["the clip itself"][0] > 1  # the clamp alone


def test_seeing_and_speaking_are_told_apart(perfect):
    evaluator, found, _ = perfect
    assert found.metric("probe_accuracy").value == 1.0
    assert found.metric("probe_agreement").value == pytest.approx(found.metric(BY[X_0]).value)
    said = next(m for m in found.metrics if m.title.startswith(f"speaking: {LISTENER} hears what the probe saw"))
    assert (said.value, said.ceiling) == (found.metric(BY[LISTENER]).value, found.metric(BY[LISTENER]).ceiling)
    assert torch.equal(evaluator.seen, evaluator.labels)


def test_the_seeds_figure_has_its_five_sounds(perfect):
    """An untrained network restores x_0 = 0 whatever it is given; the original is the clip through the codec."""
    restored = perfect[0].restored()
    assert next(iter(restored)).startswith("original")
    assert [name.rpartition(" ")[2] for name in list(restored)[2:]] == ["300", "500", "800"]
    for said in restored.values():
        assert len(said.x_0) == len(said.signal) == 4
    assert not restored["denoised from t = 500"].x_0.any()
    assert restored["original, through the codec"].x_0.std() > 0.3


def test_whisper_is_heard_with_its_floors_and_ceiling(real, evaluator, monkeypatch):
    """One that writes down what it is told stands in: right for the class of the first clip it knows, else babble."""

    class Parrot:
        name = "parrot"

        def __init__(self, name):
            assert name == "some/whisper"

        def recognize_all(self, waveforms, sample_rate, progress=None):
            progress(len(waveforms), len(waveforms))
            return [f"{'Two.' if i % 2 else 'Thank you for watching'}" for i in range(len(waveforms))]

        def log_likelihoods(self, waveforms, sample_rate, phrases, progress=None):
            found = torch.zeros(len(waveforms), len(phrases))
            found[:6, phrases.index("two")] = 1
            found[7] = -torch.inf  # no sound
            return found

    monkeypatch.setattr("synesthete.evaluation.recognizers.WhisperRecognizer", Parrot)
    labels = torch.full((8,), real.class_names.index("two"))
    heard = evaluator(make_speaker(real, looks=True), labels, num=8, listener="some/whisper")
    found = heard.classification()
    metric = next(metric for metric in found.metrics if metric.key == "accuracy_whisper")
    assert metric.value == 0.5  # babble is none of the words
    assert metric.ceiling < 0.5
    assert next(metric for metric in found.metrics if "likeliest" in metric.key).value == 0.75
    assert heard.panel.choose(heard.generated.signal).tolist() == [labels[0].item()] * 6 + [0, -1]
    assert heard.transcripts[2].tolist() == [-1, labels[0].item()] * 4
    text = "".join(Page(to_html(Report("x", sections=found.sections))).text)
    assert "Thank you for watching" in text
    assert "none of them" in text


def test_the_sweep_keeps_noise_and_pictures(perfect):
    """This speaker ignores guidance: any difference between scales would be the evaluation's own."""
    _, found, _ = perfect
    section = next(section for section in found.sections if section.title == "Guidance")
    first, second = section.items[-1].rows
    assert (first[0], second[0]) == (1.0, 3.0)
    assert first[1:] == second[1:]


def test_an_untrained_network_is_told_so(perfect):
    """Its output layer is zero: it guesses x_0 = 0 whatever the condition, and the mean clip is a better guess."""
    _, found, _ = perfect
    for time in (300, 500, 800):
        metric = found.metric(f"denoising_mse_{time}")
        assert metric.value == pytest.approx(metric.shuffled)
        assert metric.value > metric.chance
    assert found.metric("condition_sensitivity").value == pytest.approx(0, abs=1e-6)
    trace = found.data["error_by_timestep"]
    assert trace["right condition"] == pytest.approx(trace["no condition"])


def test_tables_agree_with_the_headline(perfect):
    _, found, _ = perfect
    for name, counts in found.data["confusion"].items():
        counts = torch.tensor(counts)
        assert int(counts.sum()) == NUM
        assert counts.diagonal().sum().item() / NUM == pytest.approx(found.metric(BY[name]).value)
    codec = next(section for section in found.sections if section.title == "The codec alone").items[0]
    rows = {row[0]: dict(zip(codec.columns, row, strict=True)) for row in codec.rows}
    assert rows["log-mel (nepers)"]["Pearson"] > 0.8
    assert rows["mel magnitude"]["SNR (dB)"] > 5
    assert found.metric("seconds_per_sample").value > 0


def test_progress_ends_where_it_says(perfect):
    _, _, calls = perfect
    assert {what for what, *_ in calls} >= {
        *("speaking", "listening", "listening to real clips", "denoising", "voices", "guidance 1")
    }
    assert all(done <= total for _, done, total in calls)
    assert ("speaking", NUM, NUM) in calls


def test_the_same_call_gives_the_same_figures(perfect, evaluator):
    pipeline, timed = perfect[0].pipeline, ("seconds_per_sample", "real_time_factor")
    found = [evaluator(pipeline, words=("qwzx",), num=8).measure().metrics for _ in range(2)]
    first, again = ([metric for metric in metrics if metric.key not in timed] for metrics in found)
    assert first == again


class Data:
    """Grey pictures for the words of the corpus, as `ImageSpeechPairs` gives them."""

    def __init__(self, class_names):
        self.class_names, self.words = class_names, {}

    def clips(self, folder, split):
        return load_clips(folder, split)

    def pictures(self, split):
        files = [PictureArray("grey", np.full((20, 20), 50 * int(label), np.uint8)) for label in LABELS]
        return Pictures(files, [self.class_names[label] for label in LABELS]), LABELS


def test_from_data_to_report(perfect, corpus, real, trained, tmp_path):
    pipeline, out = perfect[0].pipeline, tmp_path / "run" / "report"
    own = TrainedClassifier[SpeechClassifier](trained.classifier, trained.accuracy, trained.num_test)
    drawn = {"num": 12, "seed": 0, "progress": lambda *_: None}
    data = read_speech_data(pipeline, Data(real.class_names), corpus, **drawn)
    evaluator = SpeechEvaluator(pipeline, data, num=12, guidance=(), classifier=trained, saved=own)
    found = evaluator.evaluate(out, command="evaluate speaker")
    assert found.metric(BY[X_0]).value > 0.75
    assert found.metric("probe_accuracy").value == 1.0
    assert any(m.key.startswith("saved") and m.value == pytest.approx(own.accuracy) for m in found.metrics)
    values = json.loads((out / "report.json").read_text())
    assert values["facts"]["command"] == "evaluate speaker"
    assert values["facts"]["pictures"] == f"12 of {NUM} of the test split, seed 0"
    assert [metric["key"] for metric in values["metrics"]] == [metric.key for metric in found.metrics]
    assert {path.name for path in out.iterdir()} == {"report.md", "report.html", "report.json", "pictures", "sounds"}
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert check_media(page) >= 3 * 4 + 2 * 5 * 4 + 6
    assert len(list((out / "sounds").glob("restored-seven-denoised-from-t-*.wav"))) == 3
    assert len(values["confusion"][X_0]) == 4
    with pytest.raises(InputError, match="evaluate it on the data of its own recipe"):
        read_speech_data(pipeline, Data(("cat", "dog")), corpus, **drawn)


def test_without_a_listener_the_classifier_is_left(perfect, evaluator):
    found = evaluator(perfect[0].pipeline, LABELS[:8], words=("qwzx", "a", "b", "c"), num=8)
    assert list(found.heard) == [X_0, DECODED]
    assert "qwzx" in found.notes[0]
    assert found.panel.grammar is None
    assert math.isfinite(found.accuracies[X_0].value)


def test_no_pictures_is_an_error(perfect, evaluator):
    with pytest.raises(InputError, match="no pictures"):
        evaluator(perfect[0].pipeline, LABELS[:0])


def test_shuffled_leaves_none_in_its_place():
    other = shuffled(50, seed=3)
    assert sorted(other.tolist()) == list(range(50))
    assert not (other == torch.arange(50)).any()


def test_of_many_real_clips_as_many_of_each_class_are_kept(real):
    few = thinned(real, 10, seed=0)
    assert torch.bincount(few.labels).tolist() in ([3, 3, 2, 2], [3, 2, 3, 2], [3, 2, 2, 3], [2, 3, 3, 2], [2, 2, 3, 3])
    assert len(few.speakers) == len(few.waveforms) == 10
    assert thinned(real, len(real), seed=0) is real


def test_a_report_on_a_hundred_classes_stays_short():
    """Names in one line are cut; what follows is counted."""
    names = [f"class {i}" for i in range(100)]
    assert some(names, 12).endswith("class 11 and 88 more")
    assert some(names[:3], 12) == "class 0, class 1, class 2"
