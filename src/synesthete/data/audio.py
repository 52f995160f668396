"""Waveforms in and out of files, and the few things done to every clip: trimming, fitting, normalising."""

from __future__ import annotations

import io
import os
import struct
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import soxr
import torch

from synesthete.io import write_file
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORMATS = {".wav": "WAV", ".flac": "FLAC"}
# Sizes that a program which writes to a pipe puts in the header, since it does not know the end yet.
_UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)


def read_audio(path: Path | str, sample_rate: int, *, mono: bool = True) -> torch.Tensor:
    """The sound in a file as float32 in [-1, 1], resampled to `sample_rate` Hz.

    Returns (S,), the mean of its channels, or (C, S) where mono is False.

    Raises:
        InputError: no such file, not a sound, cut short, 0 samples, or NaN or infinite samples.
    """
    samples, file_rate = read_samples(path, "float32")  # (S, C)
    if not np.isfinite(samples).all():
        raise InputError(f"{path}: NaN or infinite samples; write it again as 16-bit PCM, or remove it")
    if mono:
        samples = samples.mean(axis=1)  # (S,)
    if file_rate != sample_rate:
        samples = soxr.resample(samples, file_rate, sample_rate)
    return torch.from_numpy(np.ascontiguousarray(samples.T))


def read_samples(path: Path | str, dtype: str) -> tuple[np.ndarray[Any, Any], int]:
    """The samples of a file (S, C) at its own rate, and that rate in Hz; what is not finite stays as it is.

    dtype int16 is exact for 16-bit PCM alone: of other kinds the library scales integers only.

    Raises:
        InputError: no such file, not a sound, cut short, or 0 samples.
    """
    with opened(path) as file:
        check_whole_wav(Path(path))
        num_samples, file_rate = file.frames, file.samplerate
        samples = file.read(dtype=dtype, always_2d=True)  # (S, C)
    if num_samples == 0:
        raise InputError(f"{path}: 0 samples; record it again or remove it")
    if len(samples) < num_samples:
        raise InputError(f"{path}: cut short ({len(samples)} of {num_samples} samples); copy it again or remove it")
    return samples, file_rate


@contextmanager
def opened(path: Path | str) -> Iterator[soundfile.SoundFile]:
    """A sound file, open.

    Raises:
        InputError: it cannot be opened, or what is read of it in this context cannot be decoded.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        with soundfile.SoundFile(path) as file:
            yield file
    except (soundfile.LibsndfileError, OSError) as error:
        reason = str(getattr(error, "error_string", None) or error).strip().rstrip(".").splitlines()[0]
        raise InputError(f"{path}: cannot be read as sound ({reason}); give wav, flac, ogg or mp3") from None


def write_audio(path: Path | str, waveform: torch.Tensor, sample_rate: int) -> Path:
    """Write (S,) or (C, S) in [-1, 1] as 16-bit wav or flac, by the suffix; louder samples are clipped.

    The file is written beside its place and renamed, so that it is whole or absent; missing folders are made.

    Raises:
        InputError: another suffix, samples that are not finite, a full disk or a folder that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"{path}: sound is written as .wav or .flac; change the suffix")
    if not torch.isfinite(waveform).all():
        raise InputError(f"{path}: NaN or infinite samples to write; nothing was written, check what made them")
    encoded = io.BytesIO()
    samples = to_int16(waveform).numpy().T  # (S,) or (S, C)
    soundfile.write(encoded, samples, sample_rate, subtype="PCM_16", format=_FORMATS[path.suffix.lower()])
    write_file(path, encoded.getvalue())
    return path


def to_int16(waveform: torch.Tensor) -> torch.Tensor:
    """Samples in [-1, 1] as int16, on the scale that files are read back with (1 / 32768)."""
    return (waveform.detach().cpu().float() * 32768).round().clamp(-32768, 32767).to(torch.int16)


def as_float(samples: torch.Tensor) -> torch.Tensor:
    """Samples, int16 or float in [-1, 1], as float32 in [-1, 1]."""
    return samples.float() if samples.is_floating_point() else samples.float() / 32768


def trim_silence(
    waveform: torch.Tensor, sample_rate: int, *, threshold_db: float = -50.0, margin: float = 0.01
) -> torch.Tensor:
    """(S,) without its quiet ends: from the first to the last sample above the threshold, and `margin` seconds more.

    threshold_db is relative to the peak. -50 dB keeps the breath of a final consonant (six, eight). A waveform of
    zeros alone gives 0 samples.
    """
    level = waveform.abs()
    loud = (level > level.max() * 10 ** (threshold_db / 20)).nonzero() if waveform.numel() else waveform
    if loud.numel() == 0:
        return waveform[:0]
    around = round(margin * sample_rate)
    return waveform[max(int(loud[0]) - around, 0) : int(loud[-1]) + 1 + around]


def fit_length(waveform: torch.Tensor, num_samples: int, *, fade: int = 120) -> torch.Tensor:
    """(..., S) made (..., num_samples): padded at the end with exact zeros, or cut with `fade` samples of fade-out."""
    length = waveform.shape[-1]
    if length <= num_samples:
        return torch.nn.functional.pad(waveform, (0, num_samples - length))
    cut = waveform[..., :num_samples].clone()
    fade = min(fade, num_samples)
    if fade:
        cut[..., -fade:] *= torch.linspace(1, 0, fade + 1, dtype=cut.dtype, device=cut.device)[1:]  # a click without it
    return cut


def peak_normalise(waveform: torch.Tensor, peak: float = 0.95) -> torch.Tensor:
    """The waveform scaled so that its loudest sample is `peak`; silence stays silence."""
    loudest = waveform.abs().max() if waveform.numel() else torch.zeros(())
    return waveform * (peak / loudest) if loudest > 0 else waveform


def check_whole_wav(path: Path) -> None:
    """Raise InputError where a wav holds less than its header says: the library reads what is left without a word."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(12)[:4] != b"RIFF":
            return
        while len(header := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            missing = length - (size - file.tell())
            if name == b"data":
                if missing > 0 and length not in _UNKNOWN_SIZES:
                    raise InputError(f"{path}: cut short by {missing} bytes; copy it again or remove it")
                return
            file.seek(length + length % 2, os.SEEK_CUR)
