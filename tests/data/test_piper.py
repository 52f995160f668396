"""Piper's voices: found, checked, split, and spoken with; the voices are hums that the tests make."""

from __future__ import annotations

import importlib.metadata
import json
import pickle

import pytest
import torch
from melody import median_pitch, semitones_between

from synesthete.data.files import read_manifest
from synesthete.data.speech.corpus import build_speech_corpus
from synesthete.data.speech.piper import PIPER_VOICES, REPOSITORY, Piper, speaker_of, split_by_speaker
from synesthete.tasks.image_to_speech.task import corpus_key
from synesthete.types import InputError
from tiny import debug_recipe

pytest.importorskip("piper", reason="the piper extra is not installed")
pytest.importorskip("stftpitchshift", reason="the piper extra is not installed")
pytest.importorskip("onnx", reason="the voices of the tests are made with it")

from tiny_voice import SAMPLE_RATE, write_voice

NAMES = ("en_US-ann-medium", "en_US-bob-medium", "en_US-cid-medium")
SAID = "A hen pecking at seeds"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("voices")
    for i, name in enumerate(NAMES):
        write_voice(place / "en" / name, name, hertz=110 + 30 * i, num_speakers=3 if i == 2 else 1)
    return place


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No voices on this machine and no Hub."""
    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "weights" / REPOSITORY


def test_a_voice_speaks_and_the_same_call_gives_the_same_samples(folder):
    engine = Piper(str(folder))
    waveform, sample_rate = engine.speak(SAID, NAMES[0])
    assert (waveform.dtype, sample_rate) == (torch.float32, SAMPLE_RATE)
    assert 0.5 < waveform.abs().max() <= 1
    assert median_pitch(waveform, sample_rate) == pytest.approx(110, rel=0.01)
    engine.speak("something else", NAMES[1])
    assert torch.equal(Piper(str(folder)).speak(SAID, NAMES[0])[0], waveform)
    assert not torch.equal(engine.speak("A hen packing its seeds", NAMES[0])[0][:1000], waveform[:1000])


def test_noise_is_a_choice(folder):
    lively = Piper(str(folder), noise=1.0)
    first, again = (lively.speak(SAID, NAMES[0])[0] for _ in range(2))
    assert not torch.equal(first, again)


@pytest.mark.parametrize("speed", [0.75, 1.35])
def test_speed_changes_the_duration_alone(folder, speed):
    engine = Piper(str(folder))
    plain, fast = (engine.speak(SAID, NAMES[0], rate)[0] for rate in (160, round(160 * speed)))
    assert len(plain) / len(fast) == pytest.approx(speed, rel=0.01)
    between = semitones_between(median_pitch(plain, SAMPLE_RATE), median_pitch(fast, SAMPLE_RATE))
    assert abs(between) < 0.1


@pytest.mark.parametrize("semitones", [-4, -1.5, 1.5, 4])
def test_pitch_changes_the_melody_alone(folder, semitones):
    engine = Piper(str(folder))
    plain, shifted = (engine.speak(SAID, NAMES[0], semitones=by)[0] for by in (0, semitones))
    assert len(shifted) == len(plain)
    assert torch.isfinite(shifted).all()
    between = semitones_between(median_pitch(plain, SAMPLE_RATE), median_pitch(shifted, SAMPLE_RATE))
    assert between == pytest.approx(semitones, abs=0.25)
    # The hum is loudest at 550 Hz, as a vowel is in one place whatever its melody.
    centres = [centre(sound) for sound in (plain, shifted)]
    assert semitones_between(*centres) == pytest.approx(0, abs=0.5 * abs(semitones))


def centre(waveform) -> float:
    power = torch.fft.rfft(waveform).abs().square()
    return float((power * torch.linspace(0, SAMPLE_RATE / 2, len(power))).sum() / power.sum())


def test_the_pitch_of_the_older_fields_is_heard_too(folder):
    engine = Piper(str(folder))
    low, high = (median_pitch(*engine.speak(SAID, NAMES[0], 160, pitch)) for pitch in (40, 60))
    assert semitones_between(low, high) == pytest.approx(4.8, abs=0.4)


def test_a_speaker_has_a_number(folder):
    engine = Piper(str(folder))
    first, third = (median_pitch(*engine.speak(SAID, f"{NAMES[2]}{number}")) for number in ("", "+2"))
    assert third - first == pytest.approx(40, abs=2)
    engine.check_voice(f"{NAMES[2]}+2")
    for wrong, said in ((f"{NAMES[2]}+3", "3 speakers; give"), (f"{NAMES[0]}+x", "write a speaker's number")):
        with pytest.raises(InputError, match=said):
            engine.check_voice(wrong)


def test_the_default_voices_are_twenty_and_shared_out():
    names = [name for group in PIPER_VOICES.values() for name in group]
    assert len(set(names)) == len(names) == 20
    assert {split: len(group) for split, group in PIPER_VOICES.items()} == {"train": 12, "classifier": 5, "test": 3}
    speakers = {split: {speaker_of(name) for name in group} for split, group in PIPER_VOICES.items()}
    assert not speakers["train"] & (speakers["classifier"] | speakers["test"])
    assert not speakers["classifier"] & speakers["test"]
    assert {split: len(group) for split, group in Piper().split_voices().items()} == {
        "train": 12,
        "classifier": 5,
        "test": 3,
    }


def test_a_folder_is_shared_out_by_speaker(folder):
    split = Piper(str(folder)).split_voices()
    assert sorted(voice.name for group in split.values() for voice in group) == sorted(NAMES)
    assert {name: len(group) for name, group in split.items()} == {"train": 1, "classifier": 1, "test": 1}
    twice = [*NAMES, "en_US-ann-low", "en_US-ann-x_low", "en_US-john-high", "en_US-amy-low", "en_US-amy-medium"]
    split = split_by_speaker(twice)
    names = {name: [voice.name for voice in group] for name, group in split.items()}
    assert "en_US-amy-medium" in names["train"]
    assert "en_US-john-high" in names["test"]
    assert sum(map(len, names.values())) == 5
    with pytest.raises(InputError, match=r"2 speakers \(en_US-ann, en_US-bob\), none left for train"):
        split_by_speaker(NAMES[:2])


def test_voices_may_be_given_by_split(folder):
    given = {"train": (NAMES[2], f"{NAMES[2]}+1"), "classifier": (NAMES[0],), "test": (NAMES[1],)}
    split = Piper(str(folder), voices=given).split_voices()
    assert [voice.speaker for voice in split["train"]] == ["en_US-cid-medium", "en_US-cid-medium-1"]
    with pytest.raises(InputError, match="no voice for test"):
        Piper(str(folder), voices={"train": NAMES, "classifier": NAMES}).split_voices()


def test_absent_voices_are_one_line_that_says_what_to_put_where(offline, tmp_path):
    with pytest.raises(InputError) as caught:
        Piper().check_voice("en_US-amy-medium")
    message = str(caught.value)
    assert "20 of 20 Piper voices are missing, the first en_US-amy-medium" in message
    assert "en_US-amy-medium.onnx.json" in message
    assert str(offline) in message
    assert "--set data.engine.folder=PATH" in message
    assert "\n" not in message
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no Piper voice in it; put NAME.onnx and NAME.onnx.json there"):
        Piper(str(tmp_path / "empty")).split_voices()


def test_voices_put_there_by_hand_are_found(offline):
    write_voice(offline / "en" / "en_US" / "amy" / "medium", "en_US-amy-medium", hertz=200)
    write_voice(offline, NAMES[0])
    engine = Piper(voices={"train": ("en_US-amy-medium",), "classifier": (NAMES[0],), "test": (f"{NAMES[0]}+0",)})
    assert median_pitch(*engine.speak(SAID, "en_US-amy-medium")) == pytest.approx(200, rel=0.01)
    with pytest.raises(InputError, match=r"voice 'en_US-bob-medium': not among the 2 voices there .*en_US-amy-medium"):
        engine.check_voice("en_US-bob-medium")


def test_damaged_voices_are_named(folder, tmp_path):
    path = write_voice(tmp_path, NAMES[0])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"en_US-ann-medium.onnx: not a network .*get it again"):
        Piper(str(tmp_path)).speak(SAID, NAMES[0])
    (tmp_path / f"{NAMES[0]}.onnx.json").write_text("[]")
    with pytest.raises(InputError, match=r"onnx.json: not the settings of a Piper voice"):
        Piper(str(tmp_path)).check_voice(NAMES[0])
    with pytest.raises(InputError, match="rate 30"):
        Piper(str(folder)).speak(SAID, NAMES[0], 30)
    with pytest.raises(RuntimeError, match="no sound of ''"):
        Piper(str(folder)).speak("", NAMES[0])


def test_without_the_package_the_extra_is_named(monkeypatch):
    def absent(_name):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(InputError, match=r"pip install 'synesthete\[piper\]'"):
        Piper()


def test_a_corpus_is_spoken(folder, tmp_path):
    words = {"hen": (SAID, "A hen"), "ostrich": "An ostrich, the largest bird"}
    build_speech_corpus(
        words, tmp_path, seconds=1.5, takes=4, engine=Piper(str(folder)), num_workers=1, allow_few_targets=True
    )
    entries = read_manifest(tmp_path)
    assert len(entries) == 2 * 3 * 4
    assert {entry.text for entry in entries if entry.label == "hen"} == {SAID, "A hen"}
    assert json.loads((tmp_path / "corpus.json").read_text())["engine"].startswith("piper-tts 1.")


def test_it_can_be_sent_to_another_process(folder):
    engine = Piper(str(folder))
    waveform = engine.speak(SAID, NAMES[1])[0]
    assert torch.equal(pickle.loads(pickle.dumps(engine)).speak(SAID, NAMES[1])[0], waveform)


def test_a_recipe_speaks_with_piper(folder, tmp_path):
    recipe = debug_recipe("data.engine=piper", f"data.engine.folder={folder}", "data.takes=8")
    key = corpus_key(recipe)
    assert key != corpus_key(debug_recipe("data.takes=8"))
    for name in NAMES:
        write_voice(tmp_path, name, num_speakers=1)
    recipe.set(f"data.engine.folder={tmp_path}")
    assert corpus_key(recipe) != key  # other voices of the same names
