"""The listener: it hears words, not hiss, and each clip as if it were the first."""

from __future__ import annotations

import sys

import pytest
import torch

from synesthete.data.speech.engines import Espeak
from synesthete.evaluation.recognizers import GrammarRecognizer, phones_of
from synesthete.types import InputError

pytest.importorskip("espeakng_loader", reason="the speech extra is not installed")
pytest.importorskip("pocketsphinx", reason="the speech extra is not installed")

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module")
def listener() -> GrammarRecognizer:
    return GrammarRecognizer(DIGITS)


@pytest.fixture(scope="module")
def seven() -> tuple[torch.Tensor, int]:
    return Espeak().speak("seven", "en-us+m1", 150)


def test_it_hears_seven_at_any_level_and_length(listener, seven):
    waveform, sample_rate = seven
    assert listener.recognize(waveform, sample_rate) == "seven"
    assert listener.recognize(0.01 * waveform, sample_rate) == "seven"
    padded = torch.nn.functional.pad(waveform, (sample_rate, 3 * sample_rate))
    assert listener.recognize(padded, sample_rate) == "seven"


def test_hiss_is_not_seven(listener):
    """Ten kinds of hiss are not heard as one word after another at will: no word gets most of them right by luck."""
    hiss = torch.randn(10, 16_000, generator=torch.Generator().manual_seed(0))
    heard = listener.recognize_all(hiss, 24_000)
    assert sum(word == digit for word, digit in zip(heard, DIGITS, strict=True)) <= 2
    assert "seven" not in heard


def test_silence_is_nothing(listener):
    assert listener.recognize(torch.zeros(16_000), 24_000) is None
    assert listener.recognize(torch.zeros(0), 24_000) is None


def test_what_it_heard_before_does_not_matter(listener, seven):
    waveform, sample_rate = seven
    length = len(waveform)
    others = [torch.randn(length, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    calls: list[int] = []
    clips = torch.stack([waveform, *others, waveform])
    heard = listener.recognize_all(clips, sample_rate, lambda done, total: calls.append(done))
    assert heard[0] == heard[-1] == "seven"
    assert heard[::-1] == listener.recognize_all(clips.flip(0), sample_rate)
    assert calls == [1, 2, 3, 4, 5]


def test_it_hears_only_its_words(seven):
    assert GrammarRecognizer(("Seven", "ice cream")).recognize(*seven) == "seven"
    assert GrammarRecognizer(("ice cream", "elephant")).recognize(*seven) != "seven"


def test_a_word_that_it_cannot_know_is_named():
    with pytest.raises(InputError, match="'qwzx'"):
        GrammarRecognizer(("seven", "a qwzx"))
    for words in ((), ("",), ("seven | six;",)):
        with pytest.raises(InputError):
            GrammarRecognizer(words)


def test_phrases_with_commas_and_compounds_are_heard():
    """The dictionary lacks stingray and hammerhead, but not their halves."""
    waveform, sample_rate = Espeak().speak("A stingray, gliding through water", "en-us+m1", 150)
    listener = GrammarRecognizer(("A hammerhead shark", "A stingray, gliding through water", "7 sharks"))
    assert listener.words[2] == "seven sharks"
    assert listener.recognize(waveform, sample_rate) == "a stingray gliding through water"


def test_words_that_the_dictionary_lacks_are_said_by_rule():
    """By the rules of the engine, whose phones are those of the dictionary for words that it has."""
    listener = GrammarRecognizer(("dugong", "obelisk", "go kart"))
    said = [Espeak().speak(word, "en-us+m1", 150) for word in listener.words]
    assert [listener.recognize(*sound) for sound in said] == list(listener.words)
    for word in ("thing", "judge", "church", "measure", "boy", "cow", "zoo", "yes", "hair", "button", "lamp"):
        assert phones_of(word) == listener._decoder.lookup_word(word)


def test_samples_that_are_no_sound_are_an_error(listener):
    with pytest.raises(InputError, match="NaN"):
        listener.recognize(torch.tensor([0.1, float("nan"), 0.2]), 24_000)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(InputError, match=r"pip install 'synesthete\[speech\]'"):
        GrammarRecognizer(DIGITS)
