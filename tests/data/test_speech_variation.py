"""Speed without pitch, pitch without duration, and how often each is drawn."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import torch
from melody import median_pitch, seconds, semitones_between

from synesthete.data.files import read_manifest
from synesthete.data.speech.clips import PHRASES, Variation
from synesthete.data.speech.corpus import build_speech_corpus
from synesthete.data.speech.engines import Espeak, Voice, split_voices
from synesthete.types import InputError

pytest.importorskip("espeakng_loader", reason="the speech extra is not installed")

SHARK, BIRD = "A great white shark, ocean predator", "An ostrich, the largest bird"
# Women and men, two synthesisers, high and low, of all splits.
VOICES = ("en-us+f3", "en-us+aunty", "en-us+m5", "en-gb-scotland+mike2", "en-us+f5", "en-gb+david", "en-gb+steph")
SEED_RANGES = Variation(speeds=(0.75, 1.35), semitones=(-4, 4))


@pytest.fixture(scope="module")
def engine() -> Espeak:
    return Espeak()


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("speed", [0.75, 1.35])
def test_speed_changes_the_duration_and_leaves_the_pitch(engine, voice, speed):
    plain, varied = (engine.speak(BIRD, voice, round(160 * factor)) for factor in (1, speed))
    assert seconds(*plain) / seconds(*varied) == pytest.approx(speed, rel=0.05)
    assert abs(semitones_between(median_pitch(*plain), median_pitch(*varied))) < 0.5


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("semitones", [-4, -2, 2, 4])
def test_pitch_moves_the_melody_and_leaves_the_duration(engine, voice, semitones):
    plain, varied = (engine.speak(BIRD, voice, 160, semitones=by) for by in (0, semitones))
    between = semitones_between(median_pitch(*plain), median_pitch(*varied))
    assert between == pytest.approx(semitones, abs=0.5)
    assert seconds(*varied) == pytest.approx(seconds(*plain), rel=0.03)


def test_both_at_once_and_from_another_pitch(engine):
    plain = engine.speak(SHARK, "en-us+f3", 150, 40)
    varied = engine.speak(SHARK, "en-us+f3", 180, 40, 3.0)
    assert semitones_between(median_pitch(*plain), median_pitch(*varied)) == pytest.approx(3, abs=0.5)
    assert seconds(*plain) / seconds(*varied) == pytest.approx(1.2, rel=0.05)


def test_every_voice_reaches_every_pitch_that_is_drawn(engine):
    for voice in (voice.name for group in split_voices().values() for voice in group):
        for pitch, semitones in ((45, -4), (60, 4)):
            engine.check_voice(voice, pitch, semitones)
    with pytest.raises(InputError, match=r"en-us\+f3: -30 semitones from pitch 50 is out of reach; narrow the pitches"):
        engine.speak("six", "en-us+f3", semitones=-30)


def draws(variation: Variation, num: int = 4000) -> list[tuple[float, float]]:
    chance = torch.Generator().manual_seed(0)
    return [variation.draw(chance) for _ in range(num)]


def test_the_shares_are_those_asked_for():
    found = draws(SEED_RANGES)
    kinds = Counter((speed != 1, semitones != 0) for speed, semitones in found)
    wanted = {(False, False): 0.1, (True, False): 0.3, (False, True): 0.3, (True, True): 0.3}
    # A drawn speed of 1.00 or pitch of 0.0 is rare and looks like none.
    assert {kind: kinds[kind] / 4000 for kind in wanted} == pytest.approx(wanted, abs=0.03)
    speeds, pitches = ([pair[i] for pair in found if pair[i] != (1, 0)[i]] for i in (0, 1))
    assert (min(speeds), max(speeds)) == pytest.approx((0.75, 1.35), abs=0.01)
    assert (min(pitches), max(pitches)) == pytest.approx((-4, 4), abs=0.1)
    assert sum(speeds) / len(speeds) == pytest.approx(1.05, abs=0.02)
    assert sum(pitches) / len(pitches) == pytest.approx(0, abs=0.2)


def test_what_is_off_is_left_alone():
    assert {speed for speed, _ in draws(Variation(semitones=(-4, 4)), 500)} == {1.0}
    assert {semitones for _, semitones in draws(Variation(speeds=(0.8, 1.2)), 500)} == {0.0}
    assert set(draws(Variation((0.8, 1.2), (-1, 1), shares=(1, 0, 0, 0)), 500)) == {(1.0, 0.0)}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"speeds": (1.3, 0.7)}, r"speeds 1.3 to 0.7: give two numbers from 0.5 to 2, the lower first"),
        ({"speeds": (0.1, 1)}, "speeds 0.1 to 1"),
        ({"semitones": (-40, 4)}, "semitones -40 to 4"),
        ({"shares": (0.5, 0.5, 0.5, 0.5)}, "give those of none, speed, pitch, both, 1 together"),
        ({"shares": (-0.5, 0.5, 0.5, 0.5)}, "1 together"),
    ],
)
def test_ranges_that_cannot_be(arguments, named):
    with pytest.raises(InputError, match=named):
        Variation(**arguments)


def test_a_varied_corpus_says_what_was_varied(tmp_path):
    words = {phrase.name: phrase.text for phrase in PHRASES[:2]}
    voices = {"train": (Voice("en-us+f3"),), "test": (Voice("en-us+anika"),)}
    settings = {
        "seconds": 3,
        "takes": 10,
        "voices": voices,
        "rates": (160, 160),
        "pitches": (50, 50),
        "num_workers": 1,
        "allow_few_targets": True,
    }
    build_speech_corpus(words, tmp_path, variation=SEED_RANGES, **settings)
    entries = read_manifest(tmp_path)
    assert len({(entry.speed, entry.semitones) for entry in entries}) > 30
    for entry in entries:
        assert entry.rate == pytest.approx(160 * entry.speed, abs=1)
        assert -4 <= entry.semitones <= 4
        assert 0.75 <= entry.speed <= 1.35
    kept = json.loads((tmp_path / "corpus.json").read_text())
    assert (kept["speeds"], kept["semitones"], kept["shares"]) == ([0.75, 1.35], [-4, 4], [0.1, 0.3, 0.3, 0.3])
    with pytest.raises(InputError, match=r"semitones \[-4, 4\] there, null asked for"):
        build_speech_corpus(words, tmp_path, variation=Variation(speeds=(0.75, 1.35)), **settings)
    with pytest.raises(InputError, match="rates times speeds 80 to 480"):
        build_speech_corpus(words, tmp_path, variation=Variation(speeds=(0.5, 2)), **settings | {"rates": (160, 240)})


def test_a_pitch_out_of_reach_is_said_before_anything_is_spoken(tmp_path):
    settings = {"seconds": 1, "takes": 8, "voices": {"train": (Voice("en-gb-x-gbclan+rob"),)}, "num_workers": 1}
    with pytest.raises(InputError, match=r"rob: -4 semitones from pitch 30 is out of reach; narrow the pitches"):
        build_speech_corpus({"hen": "hen"}, tmp_path / "out", pitches=(30, 70), variation=SEED_RANGES, **settings)
    assert not (tmp_path / "out").exists()


def test_said_faster_to_fit_is_told_as_speed(tmp_path):
    voices = {"train": (Voice("en-us+f3"),)}
    settings = {"takes": 10, "voices": voices, "rates": (160, 160), "pitches": (50, 50), "num_workers": 1}
    summary = build_speech_corpus({"shark": SHARK}, tmp_path, seconds=2.4, variation=SEED_RANGES, **settings)
    entries = read_manifest(tmp_path)
    assert summary.num_faster > 0
    assert all(entry.rate == pytest.approx(160 * entry.speed, abs=2) for entry in entries)
