"""How high a voice speaks, and how long."""

from __future__ import annotations

import numpy as np
import soxr

from synesthete.data.audio import trim_silence

RATE, WINDOW, HOP = 16_000, 1024, 160
LOWEST, HIGHEST = 40, 500  # Hz


def median_pitch(waveform, sample_rate: int) -> float:
    """The median fundamental frequency in Hz over the louder frames, each by its first high peak of autocorrelation.

    The autocorrelation is divided by that of the window, after Boersma 1993.
    """
    samples = soxr.resample(waveform.numpy(), sample_rate, RATE)
    window = np.hanning(WINDOW)
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP] * window
    energy = (frames**2).sum(axis=1)
    found = [pitch for frame in frames[energy > 0.1 * energy.max()] if (pitch := frame_pitch(frame, window))]
    return float(np.median(found))


def frame_pitch(frame, window) -> float | None:
    ratio = autocorrelation(frame) / autocorrelation(window)
    ratio /= ratio[0]
    shortest = RATE // HIGHEST
    lags = ratio[shortest : RATE // LOWEST]
    inner = lags[1:-1]
    peaks = np.flatnonzero((inner > lags[:-2]) & (inner >= lags[2:]) & (inner > 0.9 * lags.max()))
    if lags.max() < 0.6 or not len(peaks):
        return None  # no voice in it
    place = shortest + 1 + peaks[0]
    before, here, after = ratio[place - 1 : place + 2]
    return RATE / (place + 0.5 * (before - after) / (before - 2 * here + after))


def autocorrelation(frame):
    return np.fft.irfft(np.abs(np.fft.rfft(frame, 2 * WINDOW)) ** 2)[: RATE // LOWEST + 2]


def semitones_between(low: float, high: float) -> float:
    return float(12 * np.log2(high / low))


def seconds(waveform, sample_rate: int) -> float:
    return len(trim_silence(waveform, sample_rate)) / sample_rate
