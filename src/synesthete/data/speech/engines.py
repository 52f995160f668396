"""What speaks: the contract of a speech engine, engines by name, and the embedded one.

That is libespeak-ng through ctypes, brought by the `espeakng-loader` wheel: no download.
"""

from __future__ import annotations

import _ctypes
import contextlib
import ctypes
import math
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import numpy as np
import torch
from pydantic import BeforeValidator

from synesthete.config import build, find_class, is_a
from synesthete.io import tab_separated
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

OWN_RATE, OWN_PITCH = 160, 50  # at these a neural voice speaks as it was trained
SEMITONES_A_STEP = 12 / 50  # of pitch: the same as a step of the embedded engine for a voice without melody
ENGINES = {"espeak": "Espeak", "piper": "Piper", "kokoro": "Kokoro"}  # classes by their short names


class Engine(Protocol):
    """Speaks a text; the same call gives the same samples. It can be sent to another process."""

    def identity(self) -> str:
        """The engine, its version and what else decides its sound but the name of a voice."""

    def split_voices(self) -> Mapping[str, tuple[Voice, ...]]:
        """The voices to speak with, by split (train, classifier, test); no voice is in two."""

    def check_voice(self, voice: str, pitch: int = 50, semitones: float = 0.0) -> None:
        """Make sure that there is such a voice, and that it reaches that pitch; InputError else."""

    def speak(self, text: str, voice: str, rate: int, pitch: int, semitones: float = 0.0) -> tuple[Tensor, int]:
        """The waveform (S,) float32 in [-1, 1], and its sample rate in Hz.

        rate in words a minute, at the same pitch. pitch 0 to 99, 50 the voice's own. semitones: higher than that, at
        the same duration. InputError: as `check_voice`, or a rate out of reach. RuntimeError: nothing was said.
        """

    def keeps_pitch(self, voice: str) -> bool:
        """Whether everything is said at the voice's own pitch, whatever pitch is drawn."""
        return False


def named_engine(engine: Any) -> Any:
    """A build of the engine of that name; anything but a name as it is."""
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise InputError(f"no speech engine {engine!r}; give {' or '.join(ENGINES)}")
    return build(find_class(ENGINES[engine]))


# A name is looked up when a recipe's field is set, so that the engine's own fields can be set next.
EngineChoice = Annotated[
    Annotated[Any, is_a("speech engine", "speak", "check_voice", "keeps_pitch")] | None, BeforeValidator(named_engine)
]

SPLITS = ("train", "classifier", "test")


class Mixed:
    """Several engines as one: the voices of all of them, each spoken by the engine that has it.

    Raises:
        InputError: no engine.
    """

    def __init__(self, engines: tuple[Any, ...]) -> None:
        if not engines:
            raise InputError("data.engine.engines: none given; give at least one")
        self.engines: tuple[Engine, ...] = tuple(named_engine(e)() if isinstance(e, str) else e for e in engines)

    def identity(self) -> str:
        """The engines', one after the other."""
        return "; ".join(engine.identity() for engine in self.engines)

    def split_voices(self) -> dict[str, tuple[Voice, ...]]:
        """The voices of all, by split."""
        found = [engine.split_voices() for engine in self.engines]
        return {split: tuple(voice for voices in found for voice in voices[split]) for split in SPLITS}

    def check_voice(self, voice: str, pitch: int = 50, semitones: float = 0.0) -> None:
        """As the engine that has the voice."""
        self._engine_of(voice).check_voice(voice, pitch, semitones)

    def speak(
        self, text: str, voice: str, rate: int = 160, pitch: int = 50, semitones: float = 0.0
    ) -> tuple[Tensor, int]:
        """As the engine that has the voice speaks."""
        return self._engine_of(voice).speak(text, voice, rate, pitch, semitones)

    def keeps_pitch(self, voice: str) -> bool:
        """As the engine that has the voice."""
        return self._engine_of(voice).keeps_pitch(voice)

    def _engine_of(self, voice: str) -> Engine:
        for engine in self.engines:
            if any(voice == own.name for voices in engine.split_voices().values() for own in voices):
                return engine
        raise InputError(f"voice {voice!r}: none of the {len(self.engines)} engines has it; name one of theirs")


@dataclass(frozen=True)
class Voice:
    """A voice, as its engine calls it, and the share of its words that a listener understood; None: not measured."""

    name: str
    heard: float | None = None

    @property
    def speaker(self) -> str:
        """The name in file names and manifests: en-us-f3."""
        return self.name.replace("+", "-")

    @property
    def variant(self) -> str:
        """The timbre, f3 of en-us+f3; empty for a plain accent."""
        return self.name.partition("+")[2]


# Three groups of espeak's in voices.tsv that share no voice and no timbre.
#
# `heard` is the share of the words zero to nine, said at 130 and 165 words a minute, that pocketsphinx understood with
# a grammar of those ten words (chance 0.10); measured on 2026-11-20 with espeak-ng 1.52.0 by
#
#     python benchmarks/screen_voices.py
#
# Of 65 human-like variants (no robots, whispers or croaks) in eight accents, 38 voices were taken: for training those
# heard to 0.90 or more, since a model speaks no clearer than its teachers, for the classifier and the test those heard
# to 0.80 or more. Every group has both sexes and at least six accents; of the West Midlands (en-gb-x-gbcwmd) most were
# heard to 0.65 and none was taken. Variants that sound nearly alike (Hugo and Denis, f2 and f5) were kept in one group:
# between groups, the mean difference of the log-mel spectra of the same words, stretched to one length, is at least
# 0.2, where that of two voices taken at random is 0.5 and that of the nearest pair 0.1.
#
# Kokoro's are its English voices but af_nicole, who whispers: the first letter is the accent (American or British), the
# second the sex; every split has both sexes and both accents. Piper's are twenty of rhasspy/piper-voices, in medium
# quality where it is published: both sexes are in every split, and libritts and libritts_r, two recordings of the same
# speakers, in one.
@cache
def split_voices(engine: str = "espeak") -> dict[str, tuple[Voice, ...]]:
    """An engine's voices of each split: of the generator, of its classifier, and those that neither has heard."""
    rows = [row for row in tab_separated(Path(__file__).with_name("voices.tsv")) if row[0] == engine]
    voices = [(split, Voice(name, None if heard == "-" else float(heard))) for _, split, name, heard in rows]
    return {split: tuple(voice for own, voice in voices if own == split) for split in SPLITS}


MIN_RATE, MAX_RATE = 80, 450  # words a minute, the engine's own limits
MIN_PITCH, MAX_PITCH = 0, 99

# From speak_lib.h: espeak_AUDIO_OUTPUT, espeak_PARAMETER, espeakCHARS_UTF8, espeakINITIALIZE_DONT_EXIT.
_SYNCHRONOUS, _RATE, _PITCH, _RANGE, _POS_CHARACTER, _UTF8, _DONT_EXIT = 2, 1, 3, 4, 1, 1, 0x8000
_TIED_IPA = ord("^") << 8 | 0x80 | 0x02  # of espeak_TextToPhonemes: the phonetic alphabet, a phoneme's letters tied
_SEED = 1
# The engine keeps its data path in 160 bytes and appends "/espeak-ng-data" and file names to it; a longer one fails.
_MAX_DATA_PATH = 120

# The engine finds an accent by the name of its file, and that of British English is plain "en".
_ACCENT_FILES = {"en-gb": "en"}

# How the engine finds the pitch: a voice's two pitches in Hz (82 and 118 unless its file has others) give a base and a
# range in its own units; the pitch parameter multiplies the base by two to the power of (pitch - 51) / 50, and widening
# the range lowers the base by 18 units each.
_OWN_PITCHES, _BASE_UNITS, _RANGE_UNITS, _LOWERED = (82, 118), 4096, 108, 18

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_unload = getattr(_ctypes, "FreeLibrary" if sys.platform == "win32" else "dlclose")
_lock = threading.Lock()


class Espeak(Engine):
    """Speaks a text with one of the engine's voices; the same call gives the same samples, whatever was said before.

    The library keeps state between utterances that no call of its interface resets (the place in the pitch-flutter
    table, the noise generators), so each `speak` loads it anew and unloads it after: 5 ms, of which 1 ms is speaking.
    Calls from several threads wait for each other. Where another package of the same process holds the same
    library open it cannot be unloaded, and the flutter then goes on from where it was.

    Raises:
        InputError: the engine is not installed, or its data folder is missing.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise InputError(
                "espeakng-loader: the speech engine is not installed; pip install 'synesthete[speech]'"
            ) from None
        self.library_path = Path(espeakng_loader.get_library_path())
        try:
            self.data_path = Path(espeakng_loader.get_data_path())
        except RuntimeError:
            self.data_path = self.library_path.with_name("espeak-ng-data")
        for path in (self.library_path, self.data_path):
            if not path.exists():
                raise InputError(f"{path}: missing; pip install --force-reinstall espeakng-loader")

    def identity(self) -> str:
        """The engine and its version, as the settings of a corpus name it."""
        return f"espeak-ng {self.version()}"

    def split_voices(self) -> dict[str, tuple[Voice, ...]]:
        """The voices to speak with, by split."""
        return split_voices()

    def version(self) -> str:
        """The engine's version, such as 1.52.0."""
        with self._loaded() as library:
            library.espeak_Info.restype = ctypes.c_char_p
            return str(library.espeak_Info(None).decode().split(" ")[0])

    def check_voice(self, voice: str, pitch: int = 50, semitones: float = 0.0) -> None:
        """Make sure that the engine has that accent and that variant, and that it reaches that pitch.

        Raises:
            InputError: it has not; the engine itself would speak with another voice and say nothing.
        """
        with self._loaded() as library:
            self._set_voice(library, voice)
        self._shifted(voice, pitch, semitones)

    def speak(
        self, text: str, voice: str = "en-us", rate: int = 160, pitch: int = 50, semitones: float = 0.0
    ) -> tuple[Tensor, int]:
        """The waveform (S,) float32 in [-1, 1) of `text`, and its sample rate in Hz.

        voice: an accent such as en-gb-scotland, with a variant after a plus sign if wanted: en-us+f3.
        rate in words per minute, 80 to 450: the duration follows it, the pitch stays. pitch 0 to 99 on the engine's
        scale, 50 being the voice's own; what a step of it does differs by voice. semitones: on top of that, the whole
        melody so much higher, the resonances and the duration as they were. Of 38 voices and four phrases, at 0.75 and
        1.35 times the rate the duration was off by 1.5% (median, at most 8%), the median pitch by 0.1 to 0.3 semitones;
        at -4 and 4 semitones the pitch by 0.1 (nine in ten within 0.5), the duration by 0.3% (at most 3.5%).

        Raises:
            InputError: no such voice, or a rate, pitch or melody outside the engine's limits.
            RuntimeError: the engine failed, or the text left nothing to say.
        """
        for name, value, low, high in (("rate", rate, MIN_RATE, MAX_RATE), ("pitch", pitch, MIN_PITCH, MAX_PITCH)):
            if not low <= value <= high:
                raise InputError(f"{name} {value}: outside what the speech engine takes; give {low} to {high}")
        pieces: list[bytes] = []

        def gather(samples: Any, num_samples: int, _events: Any) -> int:
            if samples and num_samples > 0:
                pieces.append(ctypes.string_at(samples, 2 * num_samples))
            return 0

        callback = _Callback(gather)
        with self._loaded() as library:
            library.espeak_SetSynthCallback(callback)
            self._set_voice(library, voice)
            if semitones:
                pitch, pitch_range = self._shifted(voice, pitch, semitones)
                library.espeak_SetParameter(_RANGE, pitch_range, 0)
            library.espeak_SetParameter(_RATE, rate, 0)
            library.espeak_SetParameter(_PITCH, pitch, 0)
            encoded = text.encode()
            size = ctypes.c_size_t(len(encoded) + 1)
            status = library.espeak_Synth(encoded, size, 0, _POS_CHARACTER, 0, _UTF8, None, None)
            sample_rate = int(library.espeak_ng_GetSampleRate())
        if status != 0 or not pieces:
            raise RuntimeError(f"{voice}: the speech engine made no sound of {text!r} (status {status})")
        waveform = np.frombuffer(b"".join(pieces), dtype=np.int16).astype(np.float32) / 32768
        return torch.from_numpy(waveform), sample_rate

    def phonemes(self, text: str, accent: str = "en-us") -> str:
        """How a text is said, in the International Phonetic Alphabet; ^ ties the letters of one phoneme.

        Raises:
            InputError: no such accent.
        """
        with self._loaded() as library:
            self._set_voice(library, accent)
            library.espeak_TextToPhonemes.restype = ctypes.c_char_p
            rest = ctypes.c_char_p(text.encode())
            clauses = []
            while rest.value:
                clauses.append(library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _TIED_IPA) or b"")
        return " ".join(clause.decode() for clause in clauses if clause)

    @contextlib.contextmanager
    def _loaded(self) -> Iterator[ctypes.CDLL]:
        """The library in the state of a new process, unloaded at the end."""
        with _lock, _short_path(self.data_path) as data_path:
            library = ctypes.CDLL(str(self.library_path))
            try:
                status = library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(data_path), _DONT_EXIT)
                if status <= 0:
                    raise InputError(f"{self.data_path}: no data of the speech engine; reinstall espeakng-loader")
                # It seeds its own noise from the clock and takes the rest from the C library.
                library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
                (ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)).srand(_SEED)
                try:
                    yield library
                finally:
                    library.espeak_Terminate()
            finally:
                _unload(library._handle)

    def _set_voice(self, library: ctypes.CDLL, voice: str) -> None:
        accent, _, variant = voice.partition("+")
        # An unknown variant is silently left out by the engine, which then speaks with the plain accent.
        known_variant = not variant or (self.data_path / "voices" / "!v" / variant).is_file()
        name = f"{_ACCENT_FILES.get(accent, accent)}+{variant}".rstrip("+")
        if not accent or not known_variant or library.espeak_SetVoiceByName(name.encode()) != 0:
            raise InputError(
                f"voice {voice!r}: the speech engine has no such {'accent' if known_variant else 'variant'}; "
                "write an accent and a variant such as en-us+f3"
            )

    def _shifted(self, voice: str, pitch: int, semitones: float) -> tuple[int, int]:
        """The pitch and range parameters that multiply both the base and the range of a voice alike."""
        first, second = self._own_pitches(voice)
        factor = 2 ** (semitones / 12)
        ratio = _LOWERED * (second - first) * _RANGE_UNITS / ((first - 9) * _BASE_UNITS)
        wanted = factor * 2 ** ((pitch - 51) / 50) + ratio * (factor - 1)
        found = round(51 + 50 * math.log2(wanted)) if wanted > 0 else -1
        if not (MIN_PITCH <= found <= MAX_PITCH and factor < 2):
            raise InputError(
                f"{voice}: {semitones:+g} semitones from pitch {pitch} is out of reach; narrow the pitches or semitones"
            )
        return found, round(50 * factor)

    def _own_pitches(self, voice: str) -> tuple[int, int]:
        """The two pitches in Hz between which a voice speaks, by the file of its variant or of its accent."""
        accent, _, variant = voice.partition("+")
        for path in chain([self.data_path / "voices" / "!v" / variant], (self.data_path / "lang").rglob(accent)):
            text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            if found := re.search(r"^\s*pitch\s+(\d+)\s+(\d+)", text, re.MULTILINE):
                return int(found[1]), int(found[2])
        return _OWN_PITCHES


@contextlib.contextmanager
def _short_path(path: Path) -> Iterator[Path]:
    """`path`, or a link to it from a temporary folder where it is too long for the engine."""
    if len(os.fsencode(path)) <= _MAX_DATA_PATH:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="espeak-") as folder:
        link = Path(folder) / "espeak-ng-data"
        link.symlink_to(path, target_is_directory=True)
        yield link
