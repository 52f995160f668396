"""Kokoro-82M: neural voices of one small network, as ONNX (https://huggingface.co/hexgrad/Kokoro-82M, Apache-2.0).

The layout is that of onnx-community/Kokoro-82M-v1.0-ONNX: `onnx/*.onnx`, `voices/NAME.bin` and `tokenizer.json`; the
files may also lie side by side, and the symbols in a `config.json` or `vocab.json` under "vocab".
"""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synesthete import hub
from synesthete.data.audio import fit_length
from synesthete.data.speech.engines import OWN_PITCH, OWN_RATE, SEMITONES_A_STEP, SPLITS, Espeak, Voice, split_voices
from synesthete.data.speech.piper import check_split, shift_pitch
from synesthete.io import digest, read_json
from synesthete.types import InputError

REPOSITORY = "onnx-community/Kokoro-82M-v1.0-ONNX"
MODEL = "model_quantized"
SAMPLE_RATE = 24_000
STYLE_SIZE = 256  # of the vector of a voice; its file has one for each number of symbols
MIN_RATE, MAX_RATE = 80, 320  # words a minute: half and twice the pace it was trained at
MAX_SYMBOLS = 509  # and a zero on both sides

# A voice has a vector for each number of symbols, and few short texts were in its training: of ten digits by eight
# voices pocketsphinx understands 0.86 in their own, and 0.99 in the one of a long text, spoken faster to be as short.
FEWEST_SYMBOLS = 100
BRISKER = 0.375  # times, the shortest text

# Where a lone word's full stop is, Kokoro hums, and ends in a burst; and it holds the last sound so long that it hums
# within a voiceless one, too ("six-uh"). So a text ends where its last sound does, by the frames that the network gives
# each symbol, a tensor within its exports; and a voiceless one where it hisses no more.
FRAMES_NAME = "/encoder/Clip_output_0"
FRAME, STEP = 600, 200  # samples
VOICELESS = frozenset("ptkfθsʃʧ")
HISS, HISS_DB = 4_000, 15.0  # Hz that a hiss is above, dB below its loudest step that it is over at
FADE = 480  # samples

KOKORO_VOICES = {split: tuple(voice.name for voice in group) for split, group in split_voices("kokoro").items()}

# What espeak's phonemes are called in the alphabet that Kokoro was trained on (Misaki's, by its author): one letter
# for a diphthong or an affricate, and in American no sign of length. ^ ties the two halves of one phoneme.
_SYMBOLS = {"a^ɪ": "I", "a^ʊ": "W", "e^ɪ": "A", "ɔ^ɪ": "Y", "d^ʒ": "ʤ", "t^ʃ": "ʧ", "ə^l": "ᵊl", "ɚ": "əɹ", "ɐ": "ə"}
_AMERICAN = {"o^ʊ": "O", "ɜːɹ": "ɜɹ", "ɜː": "ɜɹ", "ɪə": "iə", "ː": "", "ɾ": "T", "ʔ": "t"}
_BRITISH = {"e^ə": "ɛː", "iə": "ɪə", "ə^ʊ": "Q", "ʔ": "t"}
_ACCENTS = {"a": ("en-us", _SYMBOLS | _AMERICAN), "b": ("en-gb", _SYMBOLS | _BRITISH)}
_PAUSE_SYMBOLS = ";:,.!?—… "
_PAUSES = re.compile(f"([{_PAUSE_SYMBOLS.strip()}]+)")


class Kokoro:
    """Speaks with Kokoro's voices; the same call gives the same samples.

    Words become phonemes by the embedded engine's rules (`Espeak.phonemes`), American or British as the voice is.

    Args:
        folder: where network, voices and symbols are. None: from the Hub or from SYNESTHETE_WEIGHTS/onnx-community/....
        voices: names by split; None takes KOKORO_VOICES, as far as they are there.
        model: which network, where the folder has several.
        own_pitch: say every clip at the voice's own pitch, whatever pitch is drawn; shifted ones sound worse (DNSMOS
            2.3 for 2.7).

    Raises:
        InputError: the embedded engine or onnxruntime is not installed.
    """

    def __init__(
        self,
        folder: str | None = None,
        voices: dict[str, tuple[str, ...]] | None = None,
        model: str = MODEL,
        own_pitch: bool = False,
    ) -> None:
        try:
            import onnxruntime  # noqa: F401
        except ImportError:
            raise InputError("onnxruntime is not installed; pip install 'synesthete[kokoro]'") from None
        self.folder, self.voices, self.model, self.own_pitch = folder, voices, model, own_pitch
        self._phonemizer = Espeak()

    def identity(self) -> str:
        """The network, the rules of its phonemes, and a digest of the voices it speaks with."""
        named = sorted(voice.name for group in self.split_voices().values() for voice in group)
        contents = digest(b"".join(self._voice_path(name).read_bytes() for name in named))
        path = self._network
        spoken = f"voices {contents} of {FEWEST_SYMBOLS} symbols{', own pitch' if self.own_pitch else ''}, no hum"
        return f"kokoro {path.stem} of {path.stat().st_size} bytes, {self._phonemizer.identity()}, {spoken}"

    def split_voices(self) -> dict[str, tuple[Voice, ...]]:
        """The voices to speak with, by split.

        Raises:
            InputError: a split that is left without one.
        """
        if self.voices is not None:
            return check_split(self.voices)
        there = {path.stem for path in self._files if path.suffix == ".bin"}
        return check_split({split: [name for name in KOKORO_VOICES[split] if name in there] for split in SPLITS})

    def check_voice(self, voice: str, pitch: int = OWN_PITCH, semitones: float = 0.0) -> None:
        """Make sure that the voice is there and one of Kokoro's English ones; it reaches every pitch.

        Raises:
            InputError: it is not.
        """
        load_styles(self._voice_path(voice))

    def speak(
        self, text: str, voice: str, rate: int = OWN_RATE, pitch: int = OWN_PITCH, semitones: float = 0.0
    ) -> tuple[torch.Tensor, int]:
        """The waveform (S,) float32 in [-1, 1] of `text`, and its sample rate in Hz.

        rate in words a minute, 160 being the voice's own pace. pitch: 50 is the voice's own, a step 0.24 semitones.
        semitones: on top of that; both shift the finished sound, its resonances and duration kept.

        Raises:
            InputError: no such voice, a damaged file, a rate out of reach, or a text that is too long.
            RuntimeError: the network failed, or the text left nothing to say.
        """
        if not MIN_RATE <= rate <= MAX_RATE:
            raise InputError(f"rate {rate}: outside what Kokoro says clearly; give {MIN_RATE} to {MAX_RATE}")
        styles = load_styles(self._voice_path(voice))  # (k, 256)
        said = self.phonemes(text, voice)
        symbols = [self._numbers[symbol] for symbol in said if symbol in self._numbers]
        if not set(said) - set(_PAUSE_SYMBOLS):
            raise RuntimeError(f"{voice}: nothing to say in {text!r}")
        if len(symbols) > min(MAX_SYMBOLS, len(styles)):
            raise InputError(f"{text[:40]!r}...: {len(symbols)} phonemes, {MAX_SYMBOLS} at most; say less at once")
        fewest = min(FEWEST_SYMBOLS, len(styles))
        inputs = {
            "tokens": np.array([[0, *symbols, 0]], np.int64),
            "style": styles[max(len(symbols), fewest) - 1][None],
            "speed": np.array([rate / OWN_RATE * (1 + BRISKER * max(0, 1 - len(symbols) / fewest))], np.float32),
        }
        session = load_network(self._network)
        names = [given.name for given in session.get_inputs()]
        if "input_ids" in names:  # what the Hub's export calls them
            inputs["input_ids"] = inputs.pop("tokens")
        try:
            waveform, *told = (np.asarray(found, np.float32).ravel() for found in session.run(None, inputs))
        except Exception as error:  # onnxruntime has exceptions of its own
            raise RuntimeError(f"{voice}: Kokoro failed at {text!r} ({str(error).splitlines()[0][:120]})") from None
        if not len(waveform) or not np.isfinite(waveform).all():
            raise RuntimeError(f"{voice}: Kokoro made no sound of {text!r}")
        if told and len(told[0]) == len(symbols) + 2 and len(waveform) == FRAME * told[0].sum():
            known = "".join(symbol for symbol in said if symbol in self._numbers)
            end = end_of_speech(waveform, known, told[0])
            waveform = fit_length(torch.from_numpy(waveform), end, fade=FADE).numpy()
        higher = semitones + SEMITONES_A_STEP * (pitch - OWN_PITCH)
        if higher and not self.own_pitch:
            waveform = shift_pitch(waveform, SAMPLE_RATE, higher)
        return torch.from_numpy(np.clip(waveform, -1, 1)), SAMPLE_RATE

    def keeps_pitch(self, voice: str) -> bool:
        """Whether every clip is said at the voice's own pitch."""
        return self.own_pitch

    def phonemes(self, text: str, voice: str) -> str:
        """What the network is given for a text, one letter a phoneme, the pauses as they were written."""
        accent, symbols = _ACCENTS[voice[0]]
        pieces = []
        for piece in _PAUSES.split(text if _PAUSES.search(text.rstrip()[-1:]) else f"{text}."):
            if _PAUSES.fullmatch(piece):
                pieces.append(piece)
            elif piece.strip():
                said = self._phonemizer.phonemes(piece, accent)
                for theirs, ours in symbols.items():
                    said = said.replace(theirs, ours)
                pieces.append(f"{' ' if pieces else ''}{said.replace('^', '').strip()}")
        said = "".join(pieces)
        # A lone "one" has but the stress it has in a sentence.
        return said if "ˈ" in said else said.replace("ˌ", "ˈ", 1)

    @cached_property
    def _files(self) -> list[Path]:
        """Everything of the model that is there."""
        if self.folder is None:
            patterns = [f"onnx/{self.model}.onnx", "voices/*.bin", "tokenizer.json"]
            folder = hub.local_weights(REPOSITORY, patterns)
            folder = folder or hub.download(REPOSITORY, patterns=patterns, field="data.engine.folder")
        else:
            folder = Path(self.folder).expanduser()
        return sorted(path for path in folder.rglob("*") if path.suffix in {".onnx", ".bin", ".json"})

    @cached_property
    def _network(self) -> Path:
        networks = [path for path in self._files if path.suffix == ".onnx"]
        named = [path for path in networks if path.stem == self.model] or networks
        if len(named) != 1:
            there = ", ".join(path.stem for path in networks) or "none"
            raise InputError(
                f"{self.folder or REPOSITORY}: no network {self.model!r} of Kokoro (there: {there}); put {self.model}."
                f"onnx of https://huggingface.co/{REPOSITORY} there, or set data.engine.model"
            )
        return named[0]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """The number of each symbol."""
        for name in ("tokenizer.json", "config.json", "vocab.json"):
            for path in self._files:
                if path.name == name and (found := _read_symbols(path)):
                    return found
        raise InputError(
            f"{self.folder or REPOSITORY}: no symbols of Kokoro; put the tokenizer.json of "
            f"https://huggingface.co/{REPOSITORY} there"
        )

    def _voice_path(self, voice: str) -> Path:
        voices = {path.stem: path for path in self._files if path.suffix == ".bin"}
        if voice not in voices or voice[:1] not in _ACCENTS:
            english = [name for name in voices if name[:1] in _ACCENTS]
            raise InputError(
                f"voice {voice!r}: not among the {len(english)} English voices of Kokoro there "
                f"({', '.join(english[:6]) or 'none'}); put {voice}.bin into {self.folder or 'voices'}, or name another"
            )
        return voices[voice]


def _read_symbols(path: Path) -> dict[str, int]:
    """The vocabulary of a file, empty where it has none."""
    try:
        found = read_json(path)
        found = found.get("vocab") or found.get("model", {}).get("vocab", {})
        return {str(symbol): int(number) for symbol, number in found.items()}
    except (ValueError, TypeError, AttributeError, OSError):
        raise InputError(f"{path}: not the symbols of Kokoro; download the file again") from None


def end_of_speech(waveform: np.ndarray, symbols: str, frames: np.ndarray) -> int:
    """Where, in samples of a waveform (S,), the last sound of a text ends; frames (n + 2,): of symbols and pads."""
    last = len(symbols.rstrip(_PAUSE_SYMBOLS))  # among the frames
    begin, end = (FRAME * int(frames[:place].sum()) for place in (last, last + 1))
    if symbols[last - 1 : last] in VOICELESS:
        pieces = waveform[begin:end].reshape(-1, STEP) * np.hanning(STEP)
        power = np.abs(np.fft.rfft(pieces))[:, HISS * STEP // SAMPLE_RATE :] ** 2  # (k, frequencies)
        level = 10 * np.log10(power.sum(1) + 1e-9)
        end = begin + STEP * int(np.flatnonzero(level > level.max() - HISS_DB)[-1] + 1)
    return end


@lru_cache(maxsize=64)
def load_styles(path: Path) -> np.ndarray:
    """The vectors of a voice (k, 256) float32, the i-th for i + 1 symbols."""
    contents = path.read_bytes()
    if not contents or len(contents) % (4 * STYLE_SIZE):
        raise InputError(f"{path}: not a voice of Kokoro, {len(contents)} bytes; download it again")
    return np.frombuffer(contents, np.float32).reshape(-1, STYLE_SIZE)


@lru_cache(maxsize=1)
def load_network(path: Path) -> Any:
    """The network ready to speak, on one thread: many processes speak at once."""
    try:
        session = hub.open_network(path, FRAMES_NAME)
    except InputError:  # another export
        session = hub.open_network(path)
    names = {given.name for given in session.get_inputs()}
    if not {"style", "speed"} <= names or not names & {"tokens", "input_ids"}:
        raise InputError(f"{path}: takes {', '.join(sorted(names))}, not what Kokoro takes (tokens, style, speed)")
    return session
