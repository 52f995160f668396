"""The evaluation of speech: a perfect speaker is at the ceiling, a blind one at chance, by the same function."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from pages import Page, check_media
from speakers import make_speaker, pictures_of
from synesthete.evaluation.speech.evaluation import evaluate, evaluate_speech
from synesthete.evaluation.speech.measures import thinned
from synesthete.evaluation.speech.page import speech_report

from synesthete.data.picture import PictureArray
from synesthete.data.pictures import Pictures
from synesthete.data.speech.corpus import load_clips
from synesthete.evaluation.classifiers.saved import TrainedClassifier
from synesthete.evaluation.classifiers.speech import SpeechClassifier
from synesthete.evaluation.recognizers.panel import DECODED, LISTENER, X_0
from synesthete.evaluation.reporting.provenance import listed
from synesthete.evaluation.reporting.report import to_html, write_report
from synesthete.evaluation.subsampling import shuffled
from synesthete.tasks.image_to_speech.linear_probe import condition_features
from synesthete.types import InputError

NEAREST = "i2m's metric"
NUM = 32
LABELS = torch.arange(NUM) % 4


def seen(pipeline):
    """Features and labels of pictures as bright as those of the test."""
    labels = torch.arange(64) % 4
    return condition_features(pipeline, pictures_of(labels)), labels


@pytest.fixture(scope="module")
def perfect(real, judge_clips, trained):
    pipeline = make_speaker(real, looks=True)
    calls: list[tuple[str, int, int]] = []
    found = evaluate_speech(
        pipeline,
        pictures_of(LABELS),
        LABELS,
        real,
        judge_clips,
        num=NUM,
        guidance=(1.0, 3.0),
        judge=trained,
        trained_on=seen(pipeline),
        progress=lambda *call: calls.append(call),
    )
    return pipeline, found, calls


def test_real_clips_score_at_the_ceiling(perfect):
    _, found, _ = perfect
    for name in (X_0, DECODED, LISTENER):
        metric = found.metric(name)
        assert f"n = {NUM}" in metric.title
        assert metric.chance == 0.25
        assert abs(metric.value - metric.ceiling) < 0.15
        assert metric.interval[0] <= metric.value <= metric.interval[1]
        assert metric.value > 0.75
        assert metric.shuffled < 0.5


def test_a_blind_speaker_scores_at_chance(real, judge_clips, trained):
    pipeline = make_speaker(real, looks=False)
    found = evaluate_speech(
        pipeline,
        pictures_of(LABELS),
        LABELS,
        real,
        judge_clips,
        num=NUM,
        guidance=(),
        judge=trained,
        listener="none",
        trained_on=seen(pipeline),
    )
    for name in (X_0, DECODED, NEAREST):
        metric = found.metric(name)
        assert metric.interval[0] < 0.25 < metric.interval[1]
    assert found.metric(X_0).ceiling > 0.75
    assert LISTENER not in found.answers
    # It is all lost to speaking: the condition says what the picture shows.
    assert found.metric("seeing").value == 1.0
    assert found.metric("speaking").value < 0.5


def test_the_seeds_metric_has_a_ceiling_of_its_own(perfect):
    """Real voices differ from any one reference: the ceiling is below the judge's, and a perfect speaker is near it."""
    _, found, _ = perfect
    metric = found.metric(NEAREST)
    assert 0.25 < metric.ceiling < found.ceilings[X_0]
    assert abs(metric.value - metric.ceiling) < 0.3
    assert found.metric("nearest of 10").ceiling > 0.25
    assert metric.chance == 0.25


def test_the_generation_error_of_real_speech_lies_at_its_ceiling(perfect):
    """What this speaker says is a real clip of the class: as far from the paired clip as another voice's."""
    _, found, _ = perfect
    for name in ("as i2m computed it", "not clamped"):
        metric = found.metric(name)
        assert metric.value == pytest.approx(metric.ceiling, rel=0.35)
        assert metric.value < metric.chance
        assert metric.value < metric.shuffled
    seed, scaled = zip(*found.errors.values(), strict=True)
    assert min(scaled) == found.errors["the clip itself"][1] == 0
    assert min(seed) == found.errors["the clip itself"][0] > 1  # the clamp alone


def test_seeing_and_speaking_are_told_apart(perfect):
    _, found, _ = perfect
    assert found.metric("seeing").value == 1.0
    assert found.metric("speaking").value == pytest.approx(found.metric(X_0).value)
    assert torch.equal(found.seen, found.labels)


def test_the_seeds_figure_has_its_five_sounds(perfect):
    """An untrained network restores x_0 = 0 whatever it is given; the original is the clip through the codec."""
    _, found, _ = perfect
    assert next(iter(found.restored)).startswith("original")
    assert [name.rpartition(" ")[2] for name in list(found.restored)[2:]] == ["300", "500", "800"]
    for speech in found.restored.values():
        assert speech.x_0.shape[0] == speech.waveforms.shape[0] == 4
    assert not found.restored["denoised from t = 500"].x_0.any()
    assert found.restored["original, through the codec"].x_0.std() > 0.3


def test_whisper_is_heard_with_its_floors_and_ceiling(real, judge_clips, trained, monkeypatch):
    """One that writes down what it is told stands in: right for the class of the first clip it knows, else babble."""

    class Parrot:
        name = "parrot"

        def __init__(self, name):
            assert name == "some/whisper"

        def recognize_all(self, waveforms, sample_rate, progress=None):
            progress(len(waveforms), len(waveforms))
            return [f"{'Two.' if i % 2 else 'Thank you for watching'}" for i in range(len(waveforms))]

    monkeypatch.setattr("synesthete.evaluation.recognizers.panel.WhisperRecognizer", Parrot)
    pipeline = make_speaker(real, looks=True)
    labels = torch.full((8,), real.class_names.index("two"))
    found = evaluate_speech(
        pipeline,
        pictures_of(labels),
        labels,
        real,
        judge_clips,
        num=8,
        guidance=(),
        judge=trained,
        listener="some/whisper",
    )
    metric = found.metric("Whisper")
    assert metric.value == 0.5  # babble is none of the words
    assert metric.ceiling < 0.5
    assert found.transcripts.answers.tolist() == [-1, labels[0].item()] * 4
    text = "".join(Page(to_html(speech_report(pipeline, found))).text)
    assert "Thank you for watching" in text
    assert "none of them" in text


def test_the_sweep_keeps_noise_and_pictures(perfect):
    """This speaker ignores guidance: any difference between scales would be the evaluation's own."""
    _, found, _ = perfect
    assert list(found.sweep) == [1.0, 3.0]
    assert found.sweep[1.0] == found.sweep[3.0]


def test_an_untrained_network_is_told_so(perfect):
    """Its output layer is zero: it guesses x_0 = 0 whatever the condition, and the mean clip is a better guess."""
    _, found, _ = perfect
    for time in ("t = 300", "t = 500", "t = 800"):
        metric = found.metric(time)
        assert metric.value == pytest.approx(metric.shuffled)
        assert metric.value > metric.chance
    assert found.metric("condition sensitivity").value == pytest.approx(0, abs=1e-6)
    assert found.trace["right condition"] == pytest.approx(found.trace["no condition"])


def test_tables_agree_with_the_headline(perfect):
    _, found, _ = perfect
    for name, counts in found.confusions.items():
        assert int(counts.sum()) == NUM
        assert counts.diagonal().sum().item() / NUM == pytest.approx(found.metric(name).value)
        assert sum(found.per_class[name]) / 4 == pytest.approx(found.metric(name).value)
    assert found.round_trip["log-mel (nepers)"].pearson > 0.8
    assert found.round_trip["mel magnitude"].snr_db > 5
    assert found.seconds_per_sample > 0


def test_progress_ends_where_it_says(perfect):
    _, _, calls = perfect
    assert {what for what, *_ in calls} >= {
        *("speaking", "listening", "listening to real clips", "denoising", "voices", "guidance 1")
    }
    assert all(done <= total for _, done, total in calls)
    assert ("speaking", NUM, NUM) in calls


def test_the_same_call_gives_the_same_figures(perfect, real, judge_clips, trained):
    pipeline, _, _ = perfect
    deaf = {"words": ("qwzx",), "num": 8, "guidance": (), "judge": trained}
    first, again = (
        evaluate_speech(pipeline, pictures_of(LABELS), LABELS, real, judge_clips, **deaf).metrics for _ in range(2)
    )
    assert [metric for metric in first if "second" not in metric.title] == [
        metric for metric in again if "second" not in metric.title
    ]


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
    pipeline, _, _ = perfect
    out = tmp_path / "run" / "report"
    own = TrainedClassifier[SpeechClassifier](
        trained.classifier, trained.accuracy, trained.num_test, trained.num_voices, ((),) * 4
    )
    found = evaluate(
        pipeline,
        Data(real.class_names),
        corpus,
        out,
        num=12,
        guidance=(),
        judge=trained,
        own_judge=own,
        command="evaluate speaker",
    )
    assert found.metric(X_0).value > 0.75
    values = json.loads((out / "report.json").read_text())
    assert values["facts"]["command"] == "evaluate speaker"
    assert found.metric("seeing").value == 1.0
    assert found.metric("kept with the model").value == pytest.approx(own.accuracy)
    assert values["facts"]["pictures"] == f"12 of {NUM} of the test split, seed 0"
    assert {path.name for path in out.iterdir()} == {"report.md", "report.html", "report.json", "pictures", "sounds"}
    with pytest.raises(InputError, match="evaluate it on the data of its own recipe"):
        evaluate(pipeline, Data(("cat", "dog")), corpus, out)


def test_the_report_opens(perfect, tmp_path):
    pipeline, found, _ = perfect
    report = speech_report(pipeline, found, {"model": "speaker"})
    page = write_report(report, tmp_path / "report")
    assert check_media(Page(page.read_text(encoding="utf-8"))) >= 3 * 4 + 2 * 5 * 4 + 6
    assert len(list((tmp_path / "report" / "sounds").glob("restored-seven-denoised-from-t-*.wav"))) == 3
    values = json.loads((tmp_path / "report" / "report.json").read_text())
    assert values["metrics"][0]["value"] == found.metrics[0].value
    assert len(values["confusion"][X_0]) == 4
    assert "chance 25.0%" in report.summary


def test_without_a_listener_the_judge_is_left(perfect, real, judge_clips, trained):
    pipeline, _, _ = perfect
    found = evaluate_speech(
        pipeline,
        pictures_of(LABELS[:8]),
        LABELS[:8],
        real,
        judge_clips,
        words=("qwzx", "a", "b", "c"),
        num=8,
        guidance=(),
        judge=trained,
    )
    assert list(found.answers) == [X_0, DECODED]
    assert "qwzx" in found.notes[0]
    assert found.heard_directly is None
    assert math.isfinite(found.metric(X_0).value)


def test_no_pictures_is_an_error(perfect, real, judge_clips, trained):
    pipeline, _, _ = perfect
    with pytest.raises(InputError, match="no pictures"):
        evaluate_speech(pipeline, pictures_of(LABELS[:0]), LABELS[:0], real, judge_clips, judge=trained)


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
    assert listed(names).endswith("class 11 and 88 more")
    assert listed(names[:3]) == "class 0, class 1, class 2"
