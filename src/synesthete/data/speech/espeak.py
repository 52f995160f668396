"""The embedded speech engine: libespeak-ng through ctypes, brought by the `espeakng-loader` wheel, no download."""

from __future__ import annotations

import _ctypes
import contextlib
import ctypes
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_RATE, MAX_RATE = 80, 450  # words a minute, the engine's own limits
MIN_PITCH, MAX_PITCH = 0, 99

# From speak_lib.h: espeak_AUDIO_OUTPUT, espeak_PARAMETER, espeakCHARS_UTF8, espeakINITIALIZE_DONT_EXIT.
_SYNCHRONOUS, _RATE, _PITCH, _POS_CHARACTER, _UTF8, _DONT_EXIT = 2, 1, 3, 1, 1, 0x8000
_SEED = 1
# The engine keeps its data path in 160 bytes and appends "/espeak-ng-data" and file names to it; a longer one fails.
_MAX_DATA_PATH = 120

# The engine finds an accent by the name of its file, and that of British English is plain "en".
_ACCENT_FILES = {"en-gb": "en"}

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_unload = getattr(_ctypes, "FreeLibrary" if sys.platform == "win32" else "dlclose")
_lock = threading.Lock()


class Espeak:
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

    def version(self) -> str:
        """The engine's version, such as 1.52.0."""
        with self._loaded() as library:
            library.espeak_Info.restype = ctypes.c_char_p
            return str(library.espeak_Info(None).decode().split(" ")[0])

    def check_voice(self, voice: str) -> None:
        """Make sure that the engine has that accent and that variant.

        Raises:
            InputError: it has not; the engine itself would speak with another voice and say nothing.
        """
        with self._loaded() as library:
            self._set_voice(library, voice)

    def speak(self, text: str, voice: str = "en-us", rate: int = 160, pitch: int = 50) -> tuple[torch.Tensor, int]:
        """The waveform (S,) float32 in [-1, 1) of `text`, and its sample rate in Hz.

        voice: an accent such as en-gb-scotland, with a variant after a plus sign if wanted: en-us+f3.
        rate in words per minute, 80 to 450. pitch 0 to 99 on the engine's scale, 50 being the voice's own.

        Raises:
            InputError: no such voice, or a rate or pitch outside the engine's limits.
            RuntimeError: the engine failed, or the text left nothing to say.
        """
        _check_range("rate", rate, MIN_RATE, MAX_RATE)
        _check_range("pitch", pitch, MIN_PITCH, MAX_PITCH)
        pieces: list[bytes] = []

        def gather(samples: Any, num_samples: int, _events: Any) -> int:
            if samples and num_samples > 0:
                pieces.append(ctypes.string_at(samples, 2 * num_samples))
            return 0

        callback = _Callback(gather)
        with self._loaded() as library:
            library.espeak_SetSynthCallback(callback)
            self._set_voice(library, voice)
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
                _c_library().srand(_SEED)
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


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"{name} {value}: outside what the speech engine takes; give {low} to {high}")


def _c_library() -> ctypes.CDLL:
    return ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)


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
