"""Waveforms in and out of files, and the few things done to every clip: trimming, fitting, normalising."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch

from synesthete.data.sound_file import CutShortError, SoundFile
from synesthete.io import write_file
from synesthete.types import InputError

__all__ = ["read_audio", "write_audio"]

_FORMATS = {".wav": "WAV", ".flac": "FLAC"}
logger = logging.getLogger(__name__)
MOST = 2**28  # samples that are read whole: 1 GiB, 93 minutes at 48 kHz


def read_audio(path: Path | str, sample_rate: int, *, mono: bool = True) -> torch.Tensor:
    """The sound in a file as float32 in [-1, 1], resampled to `sample_rate` Hz.

    Returns (S,), the mean of its channels, or (C, S) where mono is False. One that seems cut short is warned of.

    Raises:
        InputError: no such file, not a sound, cut short, 0 samples, too many to be read whole, or NaN or infinite ones.
    """
    blocks: list[np.ndarray] = []
    with SoundFile(path) as file:
        for block in warned(file.blocks()):
            blocks.append(block.mean(axis=1, keepdims=True) if mono else block)  # (n, C)
            if sum(part.size for part in blocks) > MOST:
                minutes = MOST / file.sample_rate / 60
                raise InputError(
                    f"{file.name}: longer than can be read whole, {minutes:.0f} min in one channel; cut it"
                )
        samples = np.concatenate(blocks)  # (S, C)
        if not np.isfinite(samples).all():
            raise InputError(f"{file.name}: NaN or infinite samples; write it again as 16-bit PCM, or remove it")
        if file.sample_rate != sample_rate:
            samples = soxr.resample(samples, file.sample_rate, sample_rate)
    return torch.from_numpy(np.ascontiguousarray(samples[:, 0] if mono else samples.T))


def warned(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The blocks of a sound; of one that seems cut short a warning is said at its end."""
    try:
        yield from blocks
    except CutShortError as error:
        logger.warning("%s", error)


def write_audio(path: Path | str, waveform: torch.Tensor, sample_rate: int, comment: str = "") -> Path:
    """Write (S,) or (C, S) in [-1, 1] as 16-bit wav or flac, by the suffix; louder samples are clipped.

    comment: what the file tells of itself, read back by `SoundFile.comment`.

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
    how = {"channels": 1 if samples.ndim == 1 else samples.shape[1], "format": _FORMATS[path.suffix.lower()]}
    with soundfile.SoundFile(encoded, "w", sample_rate, subtype="PCM_16", **how) as file:
        if comment:
            file.comment = comment
        file.write(samples)
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
