"""Piper: neural voices as ONNX files, through the `piper-tts` package. A voice is NAME.onnx and NAME.onnx.json."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synesthete import hub
from synesthete.data.speech.engines import (
    OWN_PITCH,
    OWN_RATE,
    SEMITONES_A_STEP,
    SPLITS,
    Engine,
    Voice,
    split_voices,
)
from synesthete.io import digest, read_json
from synesthete.types import InputError

REPOSITORY = "rhasspy/piper-voices"
MIN_RATE, MAX_RATE = 60, 480  # words a minute
# Of the pitch shift, in samples and seconds: what pocketsphinx understood best of ten digits in eight voices shifted by
# four semitones (0.91 down, 0.89 up, unshifted 0.97; without keeping the resonances 0.49 and 0.75).
_FRAME, _HOP, _LIFTER = 1024, 128, 0.002


class Piper(Engine):
    """Speaks with Piper's voices; the same call gives the same samples.

    A voice is named as its file, en_US-amy-medium; of one with several speakers, the one with that number after a plus
    sign (en_US-libritts_r-medium+12), else its first. Each voice has a licence of its own, told in its MODEL_CARD.

    Args:
        folder: where the voices are, at any depth. None: the twenty of `PIPER_VOICES`, from the Hub or from
            SYNESTHETE_WEIGHTS/rhasspy/piper-voices.
        voices: names by split; None takes all in the folder, no speaker in two splits.
        noise: how much the sampling noise of a voice is used. Piper's own is 1, livelier, but no two calls are alike,
            and a corpus no longer a function of its seed. 0 is off.

    Raises:
        InputError: piper-tts is not installed.
    """

    def __init__(
        self, folder: str | None = None, voices: dict[str, tuple[str, ...]] | None = None, noise: float = 0.0
    ) -> None:
        try:
            self._version = importlib.metadata.version("piper-tts")
        except importlib.metadata.PackageNotFoundError:
            raise InputError("piper-tts is not installed; pip install 'synesthete[piper]'") from None
        self.folder, self.voices, self.noise = folder, voices, noise

    def identity(self) -> str:
        """The engine's version and settings, and a digest of the voices it speaks with."""
        contents = []
        for name in sorted({_file_name(voice.name) for group in self.split_voices().values() for voice in group}):
            path = self._path(name)
            settings = Path(f"{path}.json").read_bytes()
            contents.append(f"{name}/{path.stat().st_size}/".encode() + settings)
        return f"piper-tts {self._version}, noise {self.noise:g}, voices {digest(b''.join(contents))}"

    def split_voices(self) -> dict[str, tuple[Voice, ...]]:
        """The voices to speak with, by split.

        Raises:
            InputError: no voices in the folder, or too few.
        """
        if self.voices is not None:
            return check_split(self.voices)
        return split_voices("piper") if self.folder is None else split_by_speaker(self._files)

    def check_voice(self, voice: str, pitch: int = OWN_PITCH, semitones: float = 0.0) -> None:
        """Make sure that the voice is there, is one of Piper's and has that speaker; it reaches every pitch.

        Raises:
            InputError: it is not.
        """
        path = self._path(_file_name(voice))
        settings = Path(f"{path}.json")
        try:
            found = read_json(settings)
            num_speakers = int(found["num_speakers"])
            int(found["audio"]["sample_rate"])
        except (ValueError, KeyError, TypeError, OSError):
            raise InputError(f"{settings}: not the settings of a Piper voice; download the voice again") from None
        number = _speaker_number(voice)
        if number is not None and not 0 <= number < num_speakers:
            raise InputError(f"{voice}: {path.stem} has {num_speakers} speakers; give +0 to +{num_speakers - 1}")

    def speak(
        self, text: str, voice: str, rate: int = OWN_RATE, pitch: int = OWN_PITCH, semitones: float = 0.0
    ) -> tuple[torch.Tensor, int]:
        """The waveform (S,) float32 in [-1, 1] of `text`, and its sample rate in Hz.

        rate in words a minute, 160 being the voice's own pace; the network stretches its phonemes, so the pitch stays.
        pitch: 50 is the voice's own, a step 0.24 semitones. semitones: on top of that; both shift the finished sound,
        its resonances and duration kept.

        Raises:
            InputError: no such voice, a damaged one, or a rate out of reach.
            RuntimeError: the engine failed, or the text left nothing to say.
        """
        from piper import SynthesisConfig  # the piper extra, which not every installation has

        if not MIN_RATE <= rate <= MAX_RATE:
            raise InputError(f"rate {rate}: outside what Piper says clearly; give {MIN_RATE} to {MAX_RATE}")
        loaded = load_voice(self._path(_file_name(voice)))
        own = loaded.config
        settings = SynthesisConfig(
            speaker_id=_speaker_number(voice),
            length_scale=own.length_scale * OWN_RATE / rate,
            noise_scale=own.noise_scale * self.noise,
            noise_w_scale=own.noise_w_scale * self.noise,
        )
        try:
            sentences = [chunk.audio_float_array for chunk in loaded.synthesize(text, settings)]
        except Exception as error:  # onnxruntime and the phonemizer each have their own
            raise RuntimeError(f"{voice}: Piper failed at {text!r} ({str(error).splitlines()[0]})") from None
        if not sum(map(len, sentences)):
            raise RuntimeError(f"{voice}: Piper made no sound of {text!r}")
        waveform = np.concatenate(sentences).astype(np.float32)
        higher = semitones + SEMITONES_A_STEP * (pitch - OWN_PITCH)
        if higher:
            waveform = shift_pitch(waveform, own.sample_rate, higher)
        return torch.from_numpy(waveform), own.sample_rate

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Every voice that is there, by name."""
        if self.folder is None:
            names = [name for group in PIPER_VOICES.values() for name in group]
            if self.voices is not None:
                names = [_file_name(name) for group in self.voices.values() for name in group]
            return _from_hub(names)
        folder = Path(self.folder).expanduser()
        found = _voices_in(folder)
        if not found:
            raise InputError(
                f"{folder}: no Piper voice in it; put NAME.onnx and NAME.onnx.json there, such as en_US-amy-medium "
                f"from https://huggingface.co/{REPOSITORY}, or set data.engine.folder"
            )
        return found

    def _path(self, name: str) -> Path:
        if name not in self._files:
            there = ", ".join(sorted(self._files)[:6])
            raise InputError(
                f"voice {name!r}: not among the {len(self._files)} voices there ({there}); put {name}.onnx and "
                f"{name}.onnx.json into {self.folder or hub.weights_folder() / REPOSITORY}, or name another"
            )
        return self._files[name]


@lru_cache(maxsize=2)
def load_voice(path: Path) -> Any:
    """A voice ready to speak, on one thread: many processes speak at once, and the same samples come of any machine."""
    from piper import PiperVoice
    from piper.config import PiperConfig

    try:
        config = PiperConfig.from_dict(read_json(Path(f"{path}.json")))
    except Exception as error:  # of whatever kind, for whatever is in it
        reason = str(error).splitlines()[0][:120]
        raise InputError(f"{path}: not a voice that Piper can load ({reason}); download it again") from None
    return PiperVoice(session=hub.open_network(path), config=config)


def shift_pitch(waveform: np.ndarray, sample_rate: int, semitones: float) -> np.ndarray:
    """(S,) with its fundamental `semitones` higher, its resonances and length as they were.

    The spectral envelope is taken off by a cepstral lifter, the rest shifted in a phase vocoder, and the envelope put
    back (`stftpitchshift`, after Bernsee).
    """
    from stftpitchshift import StftPitchShift

    shifter = StftPitchShift(_FRAME, _HOP, sample_rate)
    # A frame of zeros has no logarithm; this is far below what 16 bits hold.
    floor = 1e-8 * np.sin(np.arange(len(waveform)))
    padded = np.pad(waveform + floor, (0, max(0, _FRAME - len(waveform))))
    shifted = shifter.shiftpitch(padded, 2 ** (semitones / 12), quefrency=_LIFTER)[: len(waveform)]
    return np.clip(shifted, -1, 1).astype(np.float32)


def _voices_in(folder: Path) -> dict[str, Path]:
    """Models with their settings beside them, by name, at any depth."""
    return {path.stem: path for path in sorted(folder.rglob("*.onnx")) if Path(f"{path}.json").is_file()}


def _from_hub(names: list[str]) -> dict[str, Path]:
    """Those voices, on this machine or else downloaded."""
    patterns = [f"*{name}.onnx{end}" for name in names for end in ("", ".json")]
    folder = hub.local_weights(REPOSITORY, patterns)
    found = _voices_in(folder) if folder else {}
    if missing := [name for name in names if name not in found]:
        try:
            found = _voices_in(hub.download(REPOSITORY, patterns=patterns, field="data.engine.folder"))
        except InputError as error:
            raise InputError(
                f"{len(missing)} of {len(names)} Piper voices are missing, the first {missing[0]} "
                f"({missing[0]}.onnx and {missing[0]}.onnx.json): {error}"
            ) from None
    return found


def _file_name(voice: str) -> str:
    return voice.partition("+")[0]


def _speaker_number(voice: str) -> int | None:
    _, plus, number = voice.partition("+")
    if plus and not number.isdecimal():
        raise InputError(f"voice {voice!r}: write a speaker's number after the plus sign, such as +12")
    return int(number) if plus else None


PIPER_VOICES = {split: tuple(voice.name for voice in group) for split, group in split_voices("piper").items()}
QUALITIES = ("medium", "high", "low", "x_low")  # the first that is there is taken


def split_by_speaker(names: Iterable[str]) -> dict[str, tuple[Voice, ...]]:
    """Any voices, LANGUAGE-SPEAKER-QUALITY, shared out: one quality a speaker, no speaker in two splits.

    A speaker of the twenty keeps the split it has there. Of the others a fifth goes to the classifier and a fifth to
    the test, chosen by name, so that a voice more moves few of the rest.
    """
    best: dict[str, str] = {}
    rank = {quality: place for place, quality in enumerate(QUALITIES)}
    for name in sorted(names, key=lambda name: (rank.get(name.rpartition("-")[2], len(rank)), name)):
        best.setdefault(speaker_of(name), name)
    known = {speaker_of(name): split for split, group in PIPER_VOICES.items() for name in group}
    shared: dict[str, list[str]] = {split: [] for split in SPLITS}
    for speaker in sorted(best.keys() & known.keys()):
        shared[known[speaker]].append(best[speaker])
    others = sorted(best.keys() - known.keys(), key=lambda name: digest(name.encode(), size=64))
    for split in ("classifier", "test"):
        share = max(len(best.keys() - known.keys()) // 5, 0 if shared[split] else 1)
        shared[split] += [best[speaker] for speaker in others[:share]]
        others = others[share:]
    shared["train"] += [best[speaker] for speaker in others]
    if empty := [split for split, group in shared.items() if not group]:
        raise InputError(
            f"{len(best)} speakers ({', '.join(sorted(best)[:6])}), none left for {empty[0]}: add voices until train, "
            "classifier and test have one each, or say in data.engine.voices which split has which"
        )
    return {split: tuple(Voice(name) for name in sorted(group)) for split, group in shared.items()}


def speaker_of(name: str) -> str:
    """The language and the speaker of a voice: en_US-amy of en_US-amy-medium."""
    return name.rpartition("-")[0].removesuffix("_r") or name


def check_split(voices: Mapping[str, Iterable[str]]) -> dict[str, tuple[Voice, ...]]:
    """Voices as given by split."""
    if missing := [split for split in SPLITS if not voices.get(split)]:
        raise InputError(f"data.engine.voices: no voice for {missing[0]}; give some for each of {', '.join(SPLITS)}")
    if unknown := [split for split in voices if split not in SPLITS]:
        raise InputError(f"data.engine.voices: no split {unknown[0]!r}; there are {', '.join(SPLITS)}")
    return {split: tuple(map(Voice, voices[split])) for split in SPLITS}
