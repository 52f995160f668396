"""What each way to write sound as a spectrogram loses on the way there and back, with no model in between.

    python -m benchmarks.stft_round_trip --data ../shared/data/music_pieces --data ../shared/data/music_sonicpi
    python -m benchmarks.stft_round_trip --data loops --num 2 --seconds 2 --out out/round_trip --json

One piece of each of the first `--num` files of every folder is encoded and decoded, by codecs whose statistics are
measured on all these pieces. `seed` is the original's way: the 224 x 416 cut, each sample's own range, Griffin-Lim.
Figures are means over the pieces:

- snr_db: of the waveform. Where the phase is guessed it says nothing of how a piece sounds, and is about 0.
- lsd_db: log-spectral distance, the root mean square over frequency of the difference in dB (window 1024, no level
  under -80 dB of full scale), averaged over frames.
- level_db: by how much the whole is louder than it was, as an absolute value.
- octave_db: the largest absolute difference in the level of an octave, over all pieces together.
- seconds: to decode a piece. values: of one x_0. largest, kurtosis: of x_0, in spreads; of noise they are 5 and 3.

OUT/VARIANT/ gets a wav and a spectrogram of every piece, OUT/original/ what went in.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.codecs.stft import StftCodec
from synesthete.data.audio import read_audio, write_audio
from synesthete.evaluation.audio_features.spectra import (
    band_differences,
    draw_spectrograms,
    octave_names,
    octave_power,
    third_power,
)
from synesthete.objectives.autoencoding import log_spectral_distance
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

RATE = 32_000
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
CUT = {"num_bins": 224, "num_frames": 416}
VARIANTS: dict[str, dict[str, Any]] = {
    "seed": {"scaling": "sample", **CUT},
    "magnitude-cut": CUT,
    "magnitude": {"multiple": 16},
    "magnitude-band": {"multiple": 16, "scaling": "band"},
    "magnitude-sample": {"multiple": 16, "scaling": "sample"},
    "magnitude-100": {"multiple": 16, "num_iterations": 100},
    "magnitude-overlap": {"multiple": 16, "hop_length": 120},
    "magnitude-long": {"multiple": 16, "n_fft": 1024, "hop_length": 256},
    "complex-cut": {"kind": "complex", **CUT},
    "complex": {"kind": "complex", "multiple": 16},
    "complex-half": {"kind": "complex", "multiple": 16},
    "complex-band-half": {"kind": "complex", "multiple": 16, "scaling": "band", "power": 0.3},
}
HALF = ("complex-half", "complex-band-half")  # x_0 is kept in 16 bits in between, as prepared data are


def main() -> None:
    """Measure every variant; print a line each, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="folder of recordings; repeatable")
    parser.add_argument("--num", type=int, default=6, help="files of each folder, evenly chosen")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each piece")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--out", type=Path, help="folder for what can be heard and seen")
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object as the last line")
    options = parser.parse_args()
    if options.num < 1 or options.seconds <= 0:
        parser.error("--num: give at least 1; --seconds: more than 0")
    files = [file for folder in options.data for file in choose(folder, options.num)]
    pieces = torch.stack([read_piece(file, round(options.seconds * RATE)) for file in files])
    if options.out:
        keep(options.out / "original", files, pieces)
    values: dict[str, Any] = {
        "files": [file.name for file in files],
        "octaves": octave_names(RATE),
        "threads": torch.get_num_threads(),
        "variants": {},
    }
    for name in options.only:
        figures, heard = measure(name, pieces)
        values["variants"][name] = figures
        shown = ", ".join(f"{key} {value:.3g}" for key, value in figures.items() if isinstance(value, int | float))
        print(f"{name}: {shown}", file=sys.stderr)
        if options.out:
            keep(options.out / name, files, heard)
    if options.as_json:
        print(json.dumps(values))


def choose(folder: Path, num: int) -> list[Path]:
    """`num` of the recordings of a folder, evenly over their names.

    Raises:
        InputError: a folder without any.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{folder}: no {', '.join(SUFFIXES)} in it; give a folder of recordings")
    num = min(num, len(files))
    return [files[i * len(files) // num] for i in range(num)]


def read_piece(file: Path, num_samples: int) -> Tensor:
    """The middle of a recording, (num_samples,) in [-1, 1]; what is missing is silent."""
    waveform = read_audio(file, RATE)
    start = max(0, (len(waveform) - num_samples) // 2)
    waveform = waveform[start : start + num_samples]
    return torch.nn.functional.pad(waveform, (0, num_samples - len(waveform)))


def measure(name: str, pieces: Tensor) -> tuple[dict[str, Any], Tensor]:
    """Figures of one variant, and the pieces (n, S) as they came back."""
    codec = StftCodec(num_samples=pieces.shape[1], sample_rate=RATE, **fitting(VARIANTS[name], pieces.shape[1]))
    x_0 = codec.fit(pieces.split(1)).encode(pieces)
    if name in HALF:
        x_0 = x_0.half()
    started = time.perf_counter()
    heard = torch.cat([codec.decode(one[None], seeding.sample_generators(0, 1, i)) for i, one in enumerate(x_0)])
    seconds = (time.perf_counter() - started) / len(pieces)
    differences = band_differences(octave_power(third_power(heard, RATE)), octave_power(third_power(pieces, RATE)))
    figures = {
        "snr_db": signal_to_noise(pieces, heard).mean().item(),
        "worst_snr_db": signal_to_noise(pieces, heard).min().item(),
        "lsd_db": log_spectral_distance(decibels(pieces), decibels(heard)),
        "level_db": (level(heard) - level(pieces)).abs().mean().item(),
        "octave_db": differences.abs().max().item(),
        "octave_differences_db": differences.tolist(),
        "seconds": seconds,
        "values": x_0[0].numel(),
        "largest": x_0.abs().max().item(),
        "kurtosis": (x_0.float().pow(4).mean() / x_0.float().square().mean() ** 2).item(),
    }
    return figures, heard


def fitting(settings: dict[str, Any], num_samples: int) -> dict[str, Any]:
    """The cut of four seconds, in proportion for others."""
    if "num_frames" not in settings:
        return settings
    return settings | {"num_frames": settings["num_frames"] * num_samples // (4 * RATE)}


def signal_to_noise(wanted: Tensor, found: Tensor) -> Tensor:
    """(n, S) twice -> dB (n,)."""
    noise = (wanted - found).square().sum(1).clamp(min=1e-20)
    return 10 * (wanted.square().sum(1).clamp(min=1e-20) / noise).log10()


def decibels(waveforms: Tensor, n_fft: int = 1024, floor_db: float = -80.0) -> Tensor:
    """(n, S) -> level of each cell of a spectrogram (n, bins, T), a full-scale sine at 0 dB."""
    window = torch.hann_window(n_fft)
    stft = torch.stft(waveforms, n_fft, n_fft // 4, window=window, pad_mode="constant", return_complex=True)
    return 20 * (stft.abs() / (window.sum() / 2)).clamp(min=10 ** (floor_db / 20)).log10()


def level(waveforms: Tensor) -> Tensor:
    """(n, S) -> dB (n,), a full-scale square wave at 0."""
    return 10 * waveforms.square().mean(1).clamp(min=1e-12).log10()


def keep(folder: Path, files: Sequence[Path], waveforms: Tensor) -> None:
    """A wav and a spectrogram of each piece, named as its file."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, waveform, picture in zip(files, waveforms, draw_spectrograms(waveforms, RATE), strict=True):
        write_audio(folder / f"{file.stem}.wav", waveform, RATE)
        picture.save(folder / f"{file.stem}.png")


if __name__ == "__main__":
    main()
