"""The clips of a spoken corpus, read back into memory."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import soundfile
import torch

from synesthete.data import manifest
from synesthete.data.audio import fit_length, read_audio, read_samples, to_int16
from synesthete.types import AudioSpec, InputError

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.data.manifest import Entry

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clips:
    """The clips of a split in memory: waveforms (n, S) int16 (sample / 32768 is the sound), labels (n,) int64.

    A label is a place in class_names, which are sorted and the same for every split. skipped: one line a broken file.
    """

    waveforms: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    speakers: list[str]
    skipped: list[str]

    def __len__(self) -> int:
        """The number of clips."""
        return len(self.labels)


def load_clips(
    folder: Path | str, split: str, spec: AudioSpec | None = None, *, num_samples: int | None = None
) -> Clips:
    """The clips of a split, by its manifest, at spec.sample_rate.

    Clips are padded at the end with zeros, or cut, to num_samples; None takes the longest. Clips of another rate are
    resampled; one that cannot be read is left out, named in `skipped` and logged.

    Raises:
        InputError: no manifest, no such split, or not one readable clip.
    """
    folder, spec = Path(folder), spec or AudioSpec()
    everything = [entry for entry in manifest.read_manifest(folder) if entry.audio]
    chosen = [entry for entry in everything if entry.split == split]
    if not chosen:
        there = ", ".join(sorted({entry.split for entry in everything if entry.split})) or "none"
        raise InputError(f"{folder}: no clips of split {split!r}; its splits: {there}")
    rows: list[tuple[Tensor, Entry]] = []
    skipped: list[str] = []
    for entry in chosen:
        try:
            rows.append((_read_int16(folder / str(entry.audio), spec.sample_rate), entry))
        except InputError as error:
            skipped.append(str(error))
    for line in skipped:
        logger.warning("skipped %s", line)
    if not rows:
        raise InputError(f"{folder}: none of {len(chosen)} clips of split {split!r} can be read; build it again")
    length = num_samples or max(len(waveform) for waveform, _ in rows)
    class_names = tuple(sorted({entry.label for entry in everything}))
    return Clips(
        waveforms=torch.stack([_fit_int16(waveform, length) for waveform, _ in rows]),  # (n, S)
        labels=torch.tensor([class_names.index(entry.label) for _, entry in rows]),  # (n,)
        class_names=class_names,
        speakers=[entry.speaker or "" for _, entry in rows],
        skipped=skipped,
    )


def _read_int16(path: Path, sample_rate: int) -> Tensor:
    """A file as (S,) int16; 16-bit mono at the right rate, which the builder writes, is read without conversion."""
    with contextlib.suppress(soundfile.LibsndfileError, OSError):
        found = soundfile.info(path)
        if (found.samplerate, found.channels, found.subtype) == (sample_rate, 1, "PCM_16"):
            return torch.from_numpy(read_samples(path, "int16")[0][:, 0])
    return to_int16(read_audio(path, sample_rate))


def _fit_int16(waveform: Tensor, num_samples: int) -> Tensor:
    if len(waveform) == num_samples:
        return waveform
    return fit_length(waveform.float(), num_samples).round().to(torch.int16)
