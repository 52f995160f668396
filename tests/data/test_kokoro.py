"""Kokoro's voices: found, checked and spoken with, alone and beside another's; they are hums that the test makes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from synesthete.config import build
from synesthete.data.files import read_manifest
from synesthete.data.labelled import ImageSpeechPairs
from synesthete.data.speech.corpus import build_speech_corpus
from synesthete.data.speech.engines import Espeak, Mixed, named_engine
from synesthete.data.speech.kokoro import BRISKER, FADE, FRAME, FRAMES_NAME, KOKORO_VOICES, STEP, Kokoro, end_of_speech
from synesthete.types import InputError

pytest.importorskip("onnxruntime", reason="the kokoro extra is not installed")
pytest.importorskip("onnx", reason="the voices of the tests are made with it")

from tiny_voice import SAMPLES_A_PHONEME, write_kokoro

VOICES = {"af_heart": 150.0, "am_onyx": 100.0, "bf_lily": 200.0, "bm_lewis": 120.0, "jf_alpha": 220.0}
SYMBOLS = "sˈɛvən.ɪktuˌɑəɡɔɒfIh"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_kokoro(tmp_path_factory.mktemp("kokoro"), VOICES, SYMBOLS)


def loudest_frequency(waveform: torch.Tensor, sample_rate: int) -> float:
    padded = torch.fft.rfft(waveform, n=16 * sample_rate).abs()
    return float(padded.argmax()) / 16


def test_a_voice_speaks_at_its_pace_and_the_same_call_gives_the_same_samples(folder):
    engine = Kokoro(str(folder))
    waveform, sample_rate = engine.speak("seven", "af_heart")
    assert sample_rate == 24_000
    num_symbols, most = len("sˈɛvən."), 10
    plain = (num_symbols + 2) * SAMPLES_A_PHONEME  # and a zero on both sides
    # A short text in the manner of the longest there, as much faster as that is slower.
    assert loudest_frequency(waveform, sample_rate) == pytest.approx(150 + most - 1, abs=1)
    assert len(waveform) == pytest.approx(plain / (1 + BRISKER * (1 - num_symbols / most)), abs=1)
    engine.speak("six", "am_onyx")
    assert torch.equal(Kokoro(str(folder)).speak("seven", "af_heart")[0], waveform)
    assert len(engine.speak("seven", "af_heart", rate=320)[0]) == len(waveform) // 2
    assert not torch.equal(engine.speak("six", "af_heart")[0][:1000], waveform[:1000])


def test_a_text_ends_where_the_network_says_that_its_last_sound_does(tmp_path):
    engine = Kokoro(str(write_kokoro(tmp_path, VOICES, SYMBOLS, frames=FRAMES_NAME)))
    waveform, _ = engine.speak("seven", "af_heart")
    assert len(waveform) == len(" sˈɛvən") * FRAME  # a pad before, no full stop and no pad after
    assert waveform[-1] == 0 and waveform[-FADE:].abs().max() > 0.3


def test_a_voiceless_sound_ends_with_its_hiss_and_a_voiced_one_does_not():
    hum = np.sin(2 * np.pi * 120 / 24_000 * np.arange(20 * FRAME))
    hiss = np.random.default_rng(0).standard_normal(2 * FRAME) / 10
    frames = np.array([2, 1, 3, 6, 3, 1])  # a pad, the stress, the vowel, t, the full stop, a pad
    spoken = hum[: 16 * FRAME] / 2
    spoken[6 * FRAME : 8 * FRAME] += hiss  # the first third of the t
    spoken[-FRAME:] += hiss[:FRAME]  # the burst
    assert end_of_speech(spoken, "ˈAt.", frames) == pytest.approx(8 * FRAME, abs=STEP)
    assert end_of_speech(spoken, "ˈAn.", frames) == 12 * FRAME


def test_a_semitone_is_a_semitone(folder):
    pytest.importorskip("stftpitchshift", reason="the piper extra is not installed")
    plain, higher = (Kokoro(str(folder)).speak("seven", "bf_lily", semitones=s) for s in (0.0, 3.0))
    assert len(plain[0]) == len(higher[0])
    ratio = loudest_frequency(*higher) / loudest_frequency(*plain)
    assert ratio == pytest.approx(2 ** (3 / 12), rel=0.02)
    kept = Kokoro(str(folder), own_pitch=True)
    assert torch.equal(plain[0], kept.speak("seven", "bf_lily", pitch=70, semitones=3.0)[0])
    assert kept.identity() != Kokoro(str(folder)).identity()


@pytest.mark.parametrize(
    ("text", "american", "british"),
    [
        ("seven", "sˈɛvən.", "sˈɛvən."),
        ("nine", "nˈIn.", "nˈIn."),
        ("eight", "ˈAt.", "ˈAt."),
        ("one", "wˈʌn.", "wˈɒn."),
        ("bird", "bˈɜɹd.", "bˈɜːd."),
        ("two, four!", "tˈu, fˈɔɹ!", "tˈuː, fˈɔː!"),
        ("goldfish", "ɡˈOldfɪʃ.", "ɡˈQldfɪʃ."),
    ],
)
def test_words_become_the_phonemes_it_was_trained_on(folder, text, american, british):
    """One letter a diphthong; the expected ones are how Misaki, which made its training data, writes these words."""
    engine = Kokoro(str(folder))
    assert (engine.phonemes(text, "af_heart"), engine.phonemes(text, "bm_lewis")) == (american, british)


def test_the_phonetic_alphabet_ties_the_letters_of_a_phoneme():
    assert Espeak().phonemes("nine", "en-us") == "nˈa^ɪn"
    assert Espeak().phonemes("cat ship") == "kˈæt ʃˈɪp"  # two phonemes, not an affricate


def test_no_voice_is_in_two_splits_and_none_whispers():
    names = [name for group in KOKORO_VOICES.values() for name in group]
    assert len(names) == len(set(names)) == 27
    assert len(KOKORO_VOICES["train"]) >= 20
    assert "af_nicole" not in names
    for group in KOKORO_VOICES.values():
        assert {name[:2] for name in group} >= {"af", "am"} and {name[0] for name in group} == {"a", "b"}


def test_voices_that_are_there_are_split_as_ever(folder):
    found = Kokoro(str(folder)).split_voices()
    assert {split: [voice.name for voice in group] for split, group in found.items()} == {
        "train": ["af_heart", "am_onyx"],
        "classifier": ["bf_lily"],
        "test": ["bm_lewis"],
    }


@pytest.mark.parametrize("voice", ["af_nobody", "jf_alpha", ""])
def test_a_voice_that_is_not_there_or_speaks_no_english_is_one_line(folder, voice):
    with pytest.raises(InputError, match="af_heart"):
        Kokoro(str(folder)).check_voice(voice)


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("voices/af_heart.bin", b"short"),
        ("voices/af_heart.bin", b""),
        ("onnx/model_quantized.onnx", b"not a network"),
        ("tokenizer.json", b"["),
        ("tokenizer.json", b'{"model": {"vocab": {"a": "b"}}}'),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, contents):
    folder = write_kokoro(tmp_path, VOICES, SYMBOLS)
    (folder / name).write_bytes(contents)
    with pytest.raises(InputError, match=(folder / name).name):
        Kokoro(str(folder)).speak("seven", "af_heart")


def test_what_is_missing_is_named(tmp_path):
    folder = write_kokoro(tmp_path, VOICES, SYMBOLS)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        Kokoro(str(folder)).speak("seven", "af_heart")
    (folder / "onnx" / "model_quantized.onnx").unlink()
    with pytest.raises(InputError, match="model_quantized"):
        Kokoro(str(folder)).identity()
    with pytest.raises(InputError, match="classifier"):
        Kokoro(str(write_kokoro(tmp_path / "few", {"af_heart": 150.0}, SYMBOLS))).split_voices()


def test_too_much_at_once_and_nothing_at_all(folder):
    engine = Kokoro(str(folder))
    with pytest.raises(InputError, match="say less"):
        engine.speak("seven seven seven seven", "af_heart")
    with pytest.raises(RuntimeError, match="nothing to say"):
        engine.speak("   ", "af_heart")


def test_two_engines_speak_one_corpus(folder, tmp_path):
    words = {"six": "six", "two": "two"}
    engine = build(Mixed, engines=("espeak", build(Kokoro, folder=str(folder), own_pitch=True)))()
    voices = {split: group[-1:] + group[:1] for split, group in engine.split_voices().items()}
    summary = build_speech_corpus(
        words, tmp_path / "corpus", seconds=0.9, takes=4, engine=engine, voices=voices, num_workers=1
    )
    assert summary.num_clips == {"train": 16, "classifier": 16, "test": 16}
    speakers = {entry.speaker for entry in read_manifest(tmp_path / "corpus")}
    assert {"bm_lewis", "en-us-aunty"} <= speakers
    settings = json.loads((tmp_path / "corpus" / "corpus.json").read_text())
    assert "kokoro" in settings["engine"] and "espeak" in settings["engine"]
    pairs = ImageSpeechPairs((), class_names=("six", "two"), num_samples=21_600, engine=engine)
    clips = pairs.clips(tmp_path / "corpus", "train")
    told = {name: set(clips.pitches[[own == name for own in clips.speakers]].tolist()) for name in clips.speakers}
    # As it sounds, not as it was drawn: a voice of Kokoro has an underscore in its name.
    assert sorted(len(own) > 1 or own != {50.0} for own in told.values()) == [False, True]
    assert [own for name, own in told.items() if "_" in name] == [{50.0}]
    with pytest.raises(InputError, match="nobody"):
        engine.speak("six", "nobody")


def test_engines_are_named_as_in_a_recipe(folder):
    assert named_engine("kokoro")().folder is None
    with pytest.raises(InputError, match="at least one"):
        Mixed(())
