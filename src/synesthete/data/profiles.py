"""How loud a recording is along its way, and its coarse spectrum, by which a copy of it is found."""

from __future__ import annotations

import numpy as np

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
