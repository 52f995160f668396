"""Recordings decoded once: mono, at one rate, in 16 bits, written to shards as they are read, never whole in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import soxr
from safetensors import SafetensorError, safe_open

from synesthete.io import digest, replacing
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.data.recordings import Recording

HEADER_BYTES = 2**17  # room for what is said of a shard, before its samples; what is not used are spaces
NOTE_LENGTH = 300
CLIPPED_SHARE = 1e-3  # of the samples, from which on it is said


@dataclass
class Waveform:
    """One recording, decoded.

    samples: (N,) int16, memory-mapped; none where it could not be read. energy: (t,) float32 and profile: (T, bands)
    float16, as `measure_energy` and `measure_profile` find them; the profile only where it was asked for. damaged:
    samples, first and last plus one, that were not finite. sample_rate: the recording's own, in Hz. note: what was
    wrong with it; empty where nothing was.
    """

    samples: Tensor
    energy: Tensor
    profile: Tensor | None
    damaged: list[tuple[int, int]]
    sample_rate: int
    note: str = ""


@dataclass
class Decoder:
    """A recording on its way to mono int16 at `sample_rate` Hz; what was found wrong stays in its fields."""

    recording: Recording
    sample_rate: int
    own_rate: int = 0
    damaged: list[tuple[int, int]] = field(default_factory=list)
    note: str = ""
    num_samples: int = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        """The samples (n,), block by block. What cannot be decoded ends it, and is told in `note`."""
        num_clipped = 0
        try:
            for block in self._resampled():
                values = np.rint(block * 32768)
                num_clipped += int(np.count_nonzero((values > 32768) | (values < -32768)))
                self.num_samples += len(values)
                yield np.clip(values, -32768, 32767).astype("<i2")
        except InputError as error:
            self.note = str(error)
        if num_clipped > CLIPPED_SHARE * self.num_samples:
            clipped = f"{self.recording.name}: {num_clipped / self.num_samples:.1%} above full scale, clipped"
            self.note = f"{self.note}; {clipped}" if self.note else clipped

    def _resampled(self) -> Iterator[np.ndarray]:
        """Mono float32 (n,) at `sample_rate`, all that can be decoded."""
        self.own_rate = self.recording.sample_rate
        # The streaming resampler: its output does not depend on how the recording was cut into blocks.
        stream = soxr.ResampleStream(self.own_rate, self.sample_rate, 1, dtype="float32")
        same = self.own_rate == self.sample_rate
        num_read, failure = 0, None
        try:
            for block in self.recording.blocks():
                mono = self._mended(block.mean(axis=1), num_read)
                num_read += len(mono)
                yield mono if same else stream.resample_chunk(mono)
        except InputError as error:  # the resampler still holds samples
            failure = error
        if num_read and not same:
            yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
        if failure or not num_read:
            raise failure or InputError(f"{self.recording.name}: 0 samples could be decoded; remove it")

    def _mended(self, mono: np.ndarray, first: int) -> np.ndarray:
        """The block (n,) with zeros where it is not finite, which would spread in the resampler; the places noted."""
        broken = np.flatnonzero(~np.isfinite(mono))
        if len(broken):
            ratio = self.sample_rate / self.own_rate
            # Runs less than a tenth of a second apart count as one.
            for run in np.split(broken, np.flatnonzero(np.diff(broken) > self.own_rate // 10) + 1):
                self.damaged.append((int((first + run[0]) * ratio), int((first + run[-1] + 1) * ratio) + 1))
            mono = np.where(np.isfinite(mono), mono, np.float32(0))
        return mono


def keep_waveforms(
    path: Path,
    recordings: Sequence[Recording],
    sample_rate: int,
    report: Callable[[float], None] = lambda seconds: None,
    profiled: bool = True,
) -> list[Waveform]:
    """The recordings decoded, memory-mapped from a shard that is made where it is missing or damaged.

    report(seconds) is called as sound is decoded, and once where it was there already. profiled: with their profiles;
    a shard without them is made again.
    """
    if path.is_file():
        try:
            found = read_shard(path, profiled)
            report(sum(len(waveform.samples) for waveform in found) / sample_rate)
            return found
        except (SafetensorError, OSError, ValueError, KeyError):
            path.unlink(missing_ok=True)
    with replacing(path) as partial, partial.open("w+b") as file:
        write_shard(file, recordings, sample_rate, report, profiled)
    return read_shard(path, profiled)


def write_shard(
    file: BinaryIO,
    recordings: Sequence[Recording],
    sample_rate: int,
    report: Callable[[float], None],
    profiled: bool = True,
) -> None:
    """Decode the recordings into a safetensors file whose header is written last, when the lengths are known."""
    file.write(b" " * HEADER_BYTES)
    facts: list[dict[str, Any]] = []
    for recording in recordings:
        decoder = Decoder(recording, sample_rate)
        for block in decoder:
            file.write(block.tobytes())
            report(len(block) / sample_rate)
        facts.append(
            {
                "num_samples": decoder.num_samples,
                "damaged": decoder.damaged[:100],
                "sample_rate": decoder.own_rate,
                "note": decoder.note[:NOTE_LENGTH],
            }
        )
    file.flush()
    total = sum(fact["num_samples"] for fact in facts)
    energies, profiles = [np.zeros(0, np.float32)], [np.zeros((0, NUM_BANDS), np.float16)]
    first = 0
    for fact in facts:
        num = fact["num_samples"]
        samples = np.memmap(file, "<i2", "r", HEADER_BYTES + 2 * first, (num,)) if num else np.zeros(0, "<i2")
        energies.append(measure_energy(samples, sample_rate))
        fact["num_levels"] = len(energies[-1])
        if profiled:
            profiles.append(measure_profile(samples, sample_rate))
            fact["num_frames"] = len(profiles[-1])
        first += num
    file.seek(0, os.SEEK_END)
    header: dict[str, Any] = {"__metadata__": {"recordings": json.dumps(facts)}}
    header["samples"] = {"dtype": "I16", "shape": [total], "data_offsets": [0, 2 * total]}
    end = 2 * total
    measured: list[tuple[str, str, list[Any]]] = [("profile", "<f2", profiles), ("energy", "<f4", energies)]
    for name, kind, parts in measured if profiled else measured[1:]:
        values = np.concatenate(parts).astype(kind)
        file.write(values.tobytes())
        kind_name = {"<f2": "F16", "<f4": "F32"}[kind]
        header[name] = {"dtype": kind_name, "shape": list(values.shape), "data_offsets": [end, end + values.nbytes]}
        end += values.nbytes
    text = json.dumps(header).encode()
    room = HEADER_BYTES - 8
    if len(text) > room:
        raise InputError(f"{len(recordings)} recordings with too much to say of them; check the files")
    file.seek(0)
    file.write(room.to_bytes(8, "little") + text.ljust(room))


def read_shard(path: Path, profiled: bool = True) -> list[Waveform]:
    """The recordings of a shard, with their profiles if `profiled`."""
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["recordings"])

        def parts(name: str, num: str) -> Sequence[Tensor]:
            return file.get_tensor(name).split([fact[num] for fact in facts])

        samples, energies = parts("samples", "num_samples"), parts("energy", "num_levels")
        for sound in samples:
            sound.__dict__["file"] = (path, "samples", sound.storage_offset(), len(sound))
        profiles: Sequence[Tensor | None] = parts("profile", "num_frames") if profiled else [None] * len(facts)
    return [
        Waveform(sound, energy, profile, [(a, b) for a, b in fact["damaged"]], fact["sample_rate"], fact["note"])
        for sound, energy, profile, fact in zip(samples, energies, profiles, facts, strict=True)
    ]


def shard_name(recordings: Sequence[Recording], sample_rate: int) -> str:
    """A file's name that changes with its recordings and the rate."""
    stamps = "\n".join([str(sample_rate), *(recording.stamp() for recording in recordings)])
    return f"{digest(stamps.encode(), size=8)}.safetensors"


# Of the levels: fine enough that a piece's is right to a fortieth of a second at its ends.
LEVELS_PER_SECOND = 20
FRAMES_PER_SECOND = 4
LOWEST = 55.0  # Hz; a band a semitone from here up to 13 kHz
NUM_BANDS = 96
FLOOR_DB = -120.0
CHUNK = 64  # spectra that are computed at once


def measure_energy(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """int16 (N,) -> the sum of squares of every twentieth of a second (T,) float32, full scale 1."""
    hop = sample_rate // LEVELS_PER_SECOND
    energy = np.zeros(-(-len(samples) // hop), np.float32)
    for first in range(0, len(energy), LEVELS_PER_SECOND):
        part = np.asarray(samples[first * hop : (first + LEVELS_PER_SECOND) * hop], np.float32) / 32768
        part = np.pad(part, (0, -len(part) % hop)).reshape(-1, hop)
        energy[first : first + len(part)] = np.square(part).sum(axis=1)
    return energy


def measure_profile(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """int16 (N,) -> the energy of every semitone in dB (T, NUM_BANDS) float16, four frames a second.

    A frame looks at half a second, which tells semitones apart from the third octave up: another note of an instrument
    is no copy. Bands above half the sample rate are at the floor.
    """
    hop = sample_rate // FRAMES_PER_SECOND
    size, num_frames = 2 * hop, -(-len(samples) // hop)
    edges = band_edges(size, sample_rate)
    window = np.hanning(size).astype(np.float32)
    profile = np.full((num_frames, NUM_BANDS), FLOOR_DB, np.float16)
    for first in range(0, num_frames, CHUNK):
        num = min(CHUNK, num_frames - first)
        part = np.asarray(samples[first * hop : (first + num + 1) * hop], np.float32) / 32768
        part = np.pad(part, (0, (num + 1) * hop - len(part)))
        frames = np.lib.stride_tricks.sliding_window_view(part, size)[::hop]  # (num, size)
        power = np.square(np.abs(np.fft.rfft(frames * window)))
        summed = np.pad(np.cumsum(power, axis=1, dtype=np.float64), ((0, 0), (1, 0)))
        energy = (summed[:, edges[1:]] - summed[:, edges[:-1]]) / size
        profile[first : first + num] = 10 * np.log10(np.maximum(energy, 10 ** (FLOOR_DB / 10)))
    return profile


def band_edges(size: int, sample_rate: int) -> np.ndarray:
    """Bins (NUM_BANDS + 1,) of a Fourier transform of `size` samples between which the semitones lie."""
    edges = LOWEST * 2 ** ((np.arange(NUM_BANDS + 1) - 0.5) / 12)
    return np.minimum(np.ceil(edges * size / sample_rate).astype(np.int64), size // 2 + 1)
