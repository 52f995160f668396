"""The evaluation of speech: a perfect speaker is at the ceiling, a blind one at chance, by the same function."""

from __future__ import annotations

import json
import math

import pytest
import torch
from pages import Page, check_media
from PIL import Image
from speakers import make_speaker, pictures_of

from synesthete.data.pictures import Pictures
from synesthete.data.speech.clips import load_clips
from synesthete.evaluation.report import write_report
from synesthete.evaluation.speech import evaluate, evaluate_speech
from synesthete.evaluation.speech_measures import DECODED, LISTENER, X_0, shuffled
from synesthete.evaluation.speech_report import speech_report
from synesthete.types import InputError

NUM = 32
LABELS = torch.arange(NUM) % 4


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
        progress=lambda *call: calls.append(call),
    )
    return pipeline, found, calls


def test_real_clips_score_at_the_ceiling(perfect):
    _, found, _ = perfect
    for name in (X_0, DECODED, LISTENER):
        metric = found.metric(name)
        assert f"n = {NUM}" in metric.name
        assert metric.chance == 0.25
        assert abs(metric.value - metric.ceiling) < 0.15
        assert metric.interval[0] <= metric.value <= metric.interval[1]
        assert metric.value > 0.75
        assert metric.shuffled < 0.5


def test_a_blind_speaker_scores_at_chance(real, judge_clips, trained):
    pipeline = make_speaker(real, looks=False)
    found = evaluate_speech(
        pipeline, pictures_of(LABELS), LABELS, real, judge_clips, num=NUM, guidance=(), judge=trained
    )
    for name in (X_0, DECODED, LISTENER):
        metric = found.metric(name)
        assert metric.interval[0] < 0.25 < metric.interval[1]
        assert metric.ceiling > 0.75


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
    assert {what for what, *_ in calls} >= {"speaking", "listening", "listening to real clips", "denoising"}
    assert all(done <= total for _, done, total in calls)
    assert ("speaking", NUM, NUM) in calls


def test_the_same_call_gives_the_same_figures(perfect, real, judge_clips, trained):
    pipeline, _, _ = perfect
    deaf = {"words": ("qwzx",), "num": 8, "guidance": (), "judge": trained}
    first, again = (
        evaluate_speech(pipeline, pictures_of(LABELS), LABELS, real, judge_clips, **deaf).metrics for _ in range(2)
    )
    assert [metric for metric in first if "second" not in metric.name] == [
        metric for metric in again if "second" not in metric.name
    ]


class Data:
    """Grey pictures for the words of the corpus, as `SpokenPictures` gives them."""

    def __init__(self, class_names):
        self.class_names, self.words = class_names, {}

    def clips(self, folder, split):
        return load_clips(folder, split)

    def pictures(self, split):
        assert split == "test"
        images = [Image.new("L", (20, 20), 50 * int(label)) for label in LABELS]
        return Pictures(images, [self.class_names[label] for label in LABELS]), LABELS


def test_from_data_to_report(perfect, corpus, real, trained, tmp_path):
    pipeline, _, _ = perfect
    out = tmp_path / "run" / "report"
    found = evaluate(
        pipeline, Data(real.class_names), corpus, out, num=12, guidance=(), judge=trained, command="evaluate speaker"
    )
    assert found.metric(X_0).value > 0.75
    values = json.loads((out / "report.json").read_text())
    assert values["facts"]["command"] == "evaluate speaker"
    assert values["facts"]["pictures"] == f"12 of {NUM} of the test split, seed 0"
    assert {path.name for path in out.iterdir()} == {"report.md", "report.html", "report.json", "pictures", "sounds"}
    with pytest.raises(InputError, match="evaluate it on the data of its own recipe"):
        evaluate(pipeline, Data(("cat", "dog")), corpus, out)


def test_the_report_opens(perfect, tmp_path):
    pipeline, found, _ = perfect
    report = speech_report(pipeline, found, {"model": "speaker"})
    page = write_report(report, tmp_path / "report")
    assert check_media(Page(page.read_text(encoding="utf-8"))) >= 3 * 4 + 5
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
