"""A corpus whose sounds are too few for a model to need the picture is refused, unless that is wanted."""

from __future__ import annotations

import pytest

from synesthete import tasks
from synesthete.data.files import Entry
from synesthete.data.speech.clips import FEW_TARGETS, count_targets, few_targets
from synesthete.data.speech.corpus import build_speech_corpus
from synesthete.data.speech.engines import Voice
from synesthete.tasks.image_to_speech import task
from synesthete.tasks.image_to_speech.task import corpus_key
from synesthete.types import InputError
from tiny import debug_recipe

pytest.importorskip("espeakng_loader", reason="the speech extra is not installed")

VOICES = {"train": (Voice("en-us+f3"), Voice("en-us+m5")), "test": (Voice("en-us+anika"),)}


def test_what_decides_the_sound_is_counted():
    plain = Entry(label="hen", text="A hen", speaker="f3", rate=160, pitch=50, audio="a.wav", split="train")
    changes = ({}, {"text": "Hen"}, {"speaker": "m5"}, {"rate": 170}, {"pitch": 40}, {"semitones": 2.0}, {"audio": "b"})
    entries = [Entry(**vars(plain) | change) for change in changes]
    assert count_targets([*entries, Entry(label="tench")]) == {"hen": 6, "tench": 1}


def test_the_poorest_class_decides():
    assert few_targets({"hen": FEW_TARGETS, "tench": 100}) is None
    reason = few_targets({"hen": FEW_TARGETS - 1, "tench": 100})
    assert "107 different clips of 2 classes, 7 of 'hen'" in reason
    assert "ignore the picture" in reason


def test_ten_sounds_are_refused_before_anything_is_written(tmp_path):
    words = {str(number): f"number {number}" for number in range(10)}
    voices = {"train": VOICES["train"][:1], "test": VOICES["test"]}
    settings = {"seconds": 2, "voices": voices, "rates": (160, 160), "pitches": (50, 50), "num_workers": 1}
    with pytest.raises(InputError) as caught:
        build_speech_corpus(words, tmp_path / "out", takes=12, **settings)  # a hundred and twenty files, ten sounds
    message = str(caught.value)
    assert "10 different clips of 10 classes, 1 of '0'" in message
    assert "learn them by heart and ignore the picture; add voices or takes" in message
    assert "--set data.allow_few_targets=true" in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


def test_told_otherwise_it_warns(tmp_path, caplog):
    settings = {"seconds": 1, "voices": VOICES, "takes": 2, "num_workers": 1}
    build_speech_corpus({"hen": "hen"}, tmp_path / "few", allow_few_targets=True, **settings)
    assert "ignore the picture" in caplog.text
    caplog.clear()
    build_speech_corpus({"hen": "hen"}, tmp_path / "many", **settings | {"takes": 5})
    assert "ignore the picture" not in caplog.text


def test_a_corpus_to_classifier_by_may_be_small(tmp_path):
    voices = {"classifier": VOICES["train"], "test": VOICES["test"]}
    summary = build_speech_corpus({"hen": "hen"}, tmp_path, seconds=1, takes=1, voices=voices, num_workers=1)
    assert summary.num_clips == {"classifier": 2, "test": 1}


def test_a_limit_is_overfitting_on_purpose(prepared, cache):
    notes = tasks.prepare(debug_recipe("data.limit=20")).notes
    assert any("20 pictures share 20 different clips of 10 classes, 2 of" in note for note in notes)


def test_preparation_refuses_what_it_finds_alike(prepared, cache, monkeypatch):
    """Clips that were drawn apart and came out the same, as by an engine that does not vary."""
    monkeypatch.setattr(task, "repeated_targets", lambda *_: ["256 pictures share 10 different clips"])
    with pytest.raises(InputError, match=r"share 10 different clips; to train all the same, --set data.allow_few"):
        tasks.prepare(debug_recipe("data.limit=null"))
    allowed = tasks.prepare(debug_recipe("data.limit=null", "data.allow_few_targets=true"))
    assert allowed.notes[0] == "256 pictures share 10 different clips"


def test_permission_does_not_rename_a_corpus():
    key = corpus_key(debug_recipe())
    assert corpus_key(debug_recipe("data.allow_few_targets=true")) == key
    assert corpus_key(debug_recipe("data.engine=null", "data.speeds=null")) == key
    assert corpus_key(debug_recipe("data.speeds=[0.75,1.35]")) != key
    assert corpus_key(debug_recipe("data.words={zero: [nought, nil]}")) != key
