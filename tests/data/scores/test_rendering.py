"""Scores rendered: at the right moment, at the right pitch, as long and as loud as they say, by whatever plays them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from synesthete.data.scores.note_samples import NoteSamples
from synesthete.data.scores.rendering import LEVEL, TIMBRES, Partials, SoundFont, render
from synesthete.data.scores.score import Note, Score
from synesthete.types import InputError

RATE = 8000
NAMES = {"c4": 60, "gsharp4": 68, "e5": 76}


def tone(pitch: int, seconds: float, rate: int = RATE, decay: float = 0.0) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    wave = sum(np.sin(2 * np.pi * h * frequency * time) / h for h in (1, 2, 3))
    return 0.2 * wave * np.exp(-decay * time)


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    """Notes after some silence: held ones, at 12 kHz and an octave higher than their files say, and plucked ones."""
    folder = tmp_path_factory.mktemp("notes")
    for name, (rate, higher, decay) in {"held": (12_000, 12, 0.0), "plucked": (RATE, 0, 8.0)}.items():
        (folder / name).mkdir()
        for called, pitch in NAMES.items():
            sound = np.concatenate([np.zeros(rate // 10), tone(pitch + higher, 1.0, rate, decay)])
            soundfile.write(folder / name / f"{called}.wav", sound, rate)
        (folder / name / "readme.txt").touch()
    return folder


@pytest.fixture(params=["partials", "samples"])
def instruments(request, notes):
    return Partials() if request.param == "partials" else NoteSamples(str(notes))


def pitch_of(sound: np.ndarray, rate: int = RATE) -> float:
    """Of the lowest strong partial."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 1 << 16))
    lowest = np.flatnonzero(spectrum > 0.3 * spectrum.max())[0]
    peak = lowest + int(np.argmax(spectrum[lowest : lowest + 40]))
    return 69 + 12 * np.log2(peak * rate / (1 << 16) / 440)


def held_name(instruments) -> str:
    return "organ" if "organ" in instruments.names else "held"


def test_a_note_begins_in_the_frame_of_its_roll(instruments):
    """To within half a frame of 60 samples, wherever the frames fall."""
    hop = 60
    for start, lead in ((1.0, 0.0), (1.2345, 0.1)):
        score = Score((Note(72, start, 2.0),)).at_tempo(75)
        sound = render(score, instruments, held_name(instruments), RATE, lead)
        begins = int(np.argmax(np.abs(sound) > 0.05 * np.abs(sound).max()))
        frame = score.frames(len(sound) // hop + 1, hop / RATE, start=-lead)[1, 72].argmax().item()
        assert abs(begins / hop - frame) <= 0.5 + 0.2  # and the attack, which rises over milliseconds


@pytest.mark.parametrize("pitch", [61, 67, 79])
def test_a_note_has_its_pitch_whatever_octave_its_file_is_named_by(instruments, pitch):
    for name in instruments.names:
        sound = render(Score((Note(pitch, 0, 2.0),)), instruments, name, RATE)
        assert pitch_of(sound[400:4000]) == pytest.approx(pitch, abs=0.25)


def test_a_held_note_lasts_and_ends(instruments):
    """Four seconds of notes that were recorded for one, then silence."""
    sound = render(Score((Note(74, 0, 8.0),)), instruments, held_name(instruments), RATE)
    level = np.sqrt(np.square(sound[: 4 * RATE]).reshape(40, -1).mean(axis=1))
    assert level[2:].min() > 0.5 * level.max()
    assert np.abs(sound[4 * RATE + RATE // 4 :]).max() == 0
    assert len(sound) == 5 * RATE


def test_a_plucked_note_dies_away(notes):
    sound = render(Score((Note(68, 0, 8.0),)), NoteSamples(str(notes)), "plucked", RATE)
    assert np.abs(sound[RATE : 4 * RATE]).max() < 0.01 * np.abs(sound).max()


def test_a_velocity_is_a_loudness(instruments):
    score = Score((Note(70, 0, 1.0, velocity=30), Note(70, 2, 1.0, velocity=110)))
    soft, loud = render(score, instruments, held_name(instruments), RATE)[: 3 * RATE // 2].reshape(3, -1)[[0, 2]]
    assert 3 * np.std(soft) < np.std(loud)


def test_pieces_are_as_loud_and_the_same_each_time(instruments):
    chord = Score(tuple(Note(pitch, 0, 4.0) for pitch in (60, 64, 67, 72)))
    for name in instruments.names:
        sound = render(chord, instruments, name, RATE)
        assert np.abs(sound).max() <= 0.96
        assert np.sqrt(np.square(sound).mean()) == pytest.approx(LEVEL, rel=0.01) or np.abs(sound).max() > 0.94
        assert np.array_equal(sound, render(chord, instruments, name, RATE))


def test_folders_share_an_instrument(notes):
    both = NoteSamples(str(notes), {"both": ("plu*", "held"), "held": ("held",)})
    assert both.names == ("both", "held")
    # The folder that is named first plays all that it is near to: 60, 68, 76; the other one 72, 80, 88.
    near, far = both.nearest("both", 74), both.nearest("both", 82)
    assert (near.pitch, near.sample_rate) == (76, RATE)
    assert (far.pitch, far.sample_rate) == (80, 12_000)
    assert both.identity() != NoteSamples(str(notes), {"both": ("held",)}).identity()


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda notes: NoteSamples(str(notes / "none")).names, "no folder of instruments"),
        (lambda notes: NoteSamples(str(notes / "held")).names, "no folders in it"),
        (lambda notes: NoteSamples(str(notes), {"oboe": ("ob*",)}).names, "no folder for 'oboe', ob"),
        (
            lambda notes: render(Score((Note(60, 0, 1),)), Partials(), "oboe", RATE),
            "instrument 'oboe': there are strings",
        ),
        (lambda notes: render(Score((Note(60, 9000, 1),)), Partials(), "organ", RATE), "75 minutes at its tempo"),
    ],
)
def test_what_cannot_be_played_is_said(notes, made, reason):
    with pytest.raises(InputError, match=reason) as caught:
        made(notes)
    assert "\n" not in str(caught.value)


def test_a_folder_without_notes_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    soundfile.write(tmp_path / "empty" / "kick.wav", np.ones(99) / 2, RATE)
    with pytest.raises(InputError, match="no notes in it; name the files by their pitch"):
        render(Score((Note(60, 0, 1),)), NoteSamples(str(tmp_path)), "empty", RATE)
    soundfile.write(tmp_path / "empty" / "a4.wav", np.zeros(99), RATE)
    with pytest.raises(InputError, match=r"a4\.wav: silent or damaged"):
        render(Score((Note(60, 0, 1),)), NoteSamples(str(tmp_path)), "empty", RATE)


def test_timbres_sound_different():
    score = Score((Note(60, 0, 4.0),))
    spectra = [np.abs(np.fft.rfft(render(score, Partials(), name, RATE))) for name in TIMBRES]
    spectra = np.array([one / np.linalg.norm(one) for one in spectra])
    alike = spectra @ spectra.T - np.eye(len(spectra))
    assert alike.max() < 0.99


class StandIn:
    """A synthesiser of whose notes each is as loud as its pitch, to the sample."""

    def __init__(self, samplerate):
        self.sounding, self.programs = {}, {}

    def sfload(self, path):
        if not Path(path).read_bytes().startswith(b"RIFF"):
            raise RuntimeError("Could not load SoundFont file")
        return 3

    def program_select(self, channel, font, bank, program):
        if program == 99:
            raise RuntimeError("no such preset")
        self.programs[channel] = program

    def noteon(self, channel, pitch, velocity):
        self.sounding[channel, pitch] = pitch + self.programs[channel]

    def noteoff(self, channel, pitch):
        self.sounding.pop((channel, pitch), None)

    def sounds_off(self):
        self.sounding.clear()

    def generate(self, num):
        return memoryview(np.full((num, 2), sum(self.sounding.values()), np.float32).tobytes())


@pytest.fixture
def font(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tinysoundfont", SimpleNamespace(Synth=StandIn))
    (tmp_path / "font.sf2").write_bytes(b"RIFF....")
    return tmp_path / "font.sf2"


def test_a_sound_font_plays_every_note_on_the_program_of_its_pitch(font):
    """One pitch again at once; the higher of two by another program; the last one still sounding at the end."""
    played = SoundFont(str(font), {"two": ((0, 0), (60, 5))})
    score = Score((Note(50, 0, 1), Note(50, 1, 1), Note(60, 1, 2)))  # half a second a quarter note
    sound = played.play(score, "two", 1000, 800)
    assert sound.tolist() == [50] * 400 + [50 + 65] * 400 + [65] * 200
    assert np.array_equal(played.play(score, "two", 1000, 800), sound)


def test_what_is_no_sound_font_is_said(font, tmp_path, monkeypatch):
    score = Score((Note(50, 0, 1),))
    (tmp_path / "other.sf2").write_bytes(b"sound")
    for path, reason in ((tmp_path / "other.sf2", "not a SoundFont, or damaged"), (None, "no such SoundFont")):
        with pytest.raises(InputError, match=reason):
            render(score, SoundFont(path and str(path)), "piano", RATE)
    with pytest.raises(InputError, match="has no program 99, of 'odd'"):
        render(score, SoundFont(str(font), {"odd": ((0, 99),)}), "odd", RATE)
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    with pytest.raises(InputError, match=r"pip install 'synesthete\[soundfont\]'"):
        render(score, SoundFont(str(font)), "piano", RATE)
