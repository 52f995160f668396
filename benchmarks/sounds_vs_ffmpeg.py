"""Sound files of every kind, read whole, in blocks and for their length, against the program `ffmpeg`.

    python -m benchmarks.sounds_vs_ffmpeg --num 200 --seed 0

A file is right if all three give as many samples as ffmpeg, 60 dB or more below what it decodes; or if it is refused in
one line. Without the program on the PATH the files are only made and read.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import struct
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import soundfile

from synesthete.data.audio import CutShortError, read_audio
from synesthete.data.recordings import Recording
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[[Path, np.random.Generator], np.ndarray]

RATES = (8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
Draw = np.random.Generator


def melody(draw: Draw, rate: int, channels: int, longest: float = 3.0) -> np.ndarray:
    """(S, C) float32: notes with noise, silence between some, another in every channel."""
    time = np.arange(int(rate * draw.uniform(0.3, longest))) / rate
    notes = draw.uniform(80, rate / 5, size=(channels, 40))
    levels = draw.choice([0, 0.1, 0.5], size=(channels, 40))
    which = (time * 10).astype(int)
    sound = [level[which] * np.sin(2 * np.pi * note[which] * time) for note, level in zip(notes, levels, strict=True)]
    return (np.stack(sound, 1) + 0.003 * draw.normal(size=(len(time), channels))).astype(np.float32)


def by_libsndfile(path: Path, draw: Draw, channels: tuple[int, ...] = (1, 2), **options: Any) -> np.ndarray:
    """Write a melody with libsndfile; the melody (S, C), as of all that make files."""
    rate = int(draw.choice(options.pop("rates", RATES)))
    sound = melody(draw, rate, int(draw.choice(channels)))
    soundfile.write(path, sound, rate, **options)
    return sound


def by_ffmpeg(
    path: Path, draw: Draw, codec: str, kind: str, rates: tuple[int, ...] = RATES, **options: Any
) -> np.ndarray:
    """Write a melody with FFmpeg's libraries."""
    rate, channels = int(draw.choice(rates)), int(draw.choice([1, 2]))
    sound = melody(draw, rate, channels)
    with av.open(str(path), "w", format=kind, options=options.pop("container", {})) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono" if channels == 1 else "stereo", options=options)
        frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), "flt", stream.layout.name)
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.format.name, stream.layout.name, rate, stream.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(part))
        file.mux([packet for packet in stream.encode(None) if packet.size])  # flac's last only has its header again
    return sound


def vbr(quality: int) -> dict[str, str]:
    """Options of LAME for a variable rate."""
    return {"flags": "+qscale", "global_quality": str(118 * quality)}


def joined(path: Path, draw: Draw, make: Make, between: bytes = b"") -> np.ndarray:
    """Two files of one kind, one behind the other."""
    first, content = make(path, draw), path.read_bytes()
    second = make(path, draw)
    path.write_bytes(content + between + path.read_bytes())
    return np.concatenate([first, second]) if first.shape[1] == second.shape[1] else first


def changed(path: Path, draw: Draw, make: Make, change: Callable[[bytes], bytes]) -> np.ndarray:
    """A file whose bytes were changed afterwards."""
    sound = make(path, draw)
    path.write_bytes(change(path.read_bytes()))
    return sound


def with_size(size: int, content: bytes) -> bytes:
    """A wav whose header gives that size, as of a program that writes to a pipe."""
    place = content.index(b"data") + 4
    return content[:4] + struct.pack("<I", size) + content[8:place] + struct.pack("<I", size) + content[place + 4 :]


def with_chunk(content: bytes) -> bytes:
    """A wav with a chunk of odd length before its samples, and one behind them."""
    place = content.index(b"data")
    extra = b"LIST" + struct.pack("<I", 5) + b"INFO!\0"
    return content[:place] + extra + content[place:] + extra


def with_total(total: int, content: bytes) -> bytes:
    """A flac whose header promises that many samples; 0: none are told."""
    first = int.from_bytes(content[18:26], "big") >> 36 << 36
    return content[:18] + (first | total).to_bytes(8, "big") + content[26:]


def cut(share: float, content: bytes) -> bytes:
    """The first part of a file."""
    return content[: int(len(content) * share)]


def holed(content: bytes) -> bytes:
    """A file whose middle was overwritten."""
    middle = len(content) // 2
    return content[:middle] + b"\x5a" * 400 + content[middle + 400 :]


def id3(size: int) -> bytes:
    """An ID3 tag of about that size, such as one with a picture in it."""
    body = (
        b"TIT2" + struct.pack(">I", 6) + b"\0\0\0Title" + b"PRIV" + struct.pack(">I", size) + b"\0\0" + b"\x55" * size
    )
    length = bytes((len(body) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + length + body


TAG = b"TAG" + b"a title".ljust(125, b"\0")  # ID3 as it was at first, at the end
MP3_RATES = (8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
PCM = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
MORE = ("ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM")
NO_HEADER = {"container": {"write_xing": "0"}}

wav = partial(by_libsndfile, format="WAV", subtype="PCM_16")
flac = partial(by_libsndfile, format="FLAC", subtype="PCM_16")
vorbis = partial(by_libsndfile, format="OGG", subtype="VORBIS")
same_vorbis = partial(by_libsndfile, format="OGG", subtype="VORBIS", rates=(44_100,), channels=(2,))
opus = partial(by_ffmpeg, codec="libopus", kind="opus", rates=(48_000, 24_000, 16_000))
same_opus = partial(by_libsndfile, format="OGG", subtype="OPUS", rates=(48_000,), channels=(1,))
mp3 = partial(by_ffmpeg, codec="libmp3lame", kind="mp3", rates=MP3_RATES)
same_mp3 = partial(by_libsndfile, format="MP3", subtype="MPEG_LAYER_III", rates=(44_100,), channels=(1,))
variable = partial(by_libsndfile, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="VARIABLE")

KINDS: dict[str, tuple[str, Make]] = {
    **{f"wav {kind}": ("wav", partial(by_libsndfile, format="WAV", subtype=kind)) for kind in (*PCM, *MORE)},
    **{f"wav extensible {kind}": ("wav", partial(by_libsndfile, format="WAVEX", subtype=kind)) for kind in PCM},
    "wav GSM": ("wav", partial(by_libsndfile, format="WAV", subtype="GSM610", channels=(1,))),
    "wav 6 channels": ("wav", partial(by_libsndfile, format="WAVEX", subtype="PCM_24", channels=(6,))),
    "wav big-endian": ("wav", partial(by_libsndfile, format="WAV", subtype="PCM_16", endian="BIG")),
    "wav RF64": ("wav", partial(by_libsndfile, format="RF64", subtype="PCM_24")),
    "wav from a pipe": ("wav", partial(changed, make=wav, change=partial(with_size, 0xFFFFFFFF))),
    "wav of size 0": ("wav", partial(changed, make=wav, change=partial(with_size, 0))),
    "wav with chunks": ("wav", partial(changed, make=wav, change=with_chunk)),
    "wav cut short": ("wav", partial(changed, make=wav, change=partial(cut, 0.6))),
    "w64": ("w64", partial(by_libsndfile, format="W64", subtype="PCM_16")),
    **{f"aiff {kind}": ("aiff", partial(by_libsndfile, format="AIFF", subtype=kind)) for kind in ("PCM_16", "FLOAT")},
    "aiff cut short": (
        "aiff",
        partial(changed, make=partial(by_libsndfile, format="AIFF", subtype="PCM_16"), change=partial(cut, 0.6)),
    ),
    "au": ("au", partial(by_libsndfile, format="AU", subtype="PCM_16")),
    "caf": ("caf", partial(by_libsndfile, format="CAF", subtype="PCM_24")),
    **{f"flac {kind}": ("flac", partial(by_libsndfile, format="FLAC", subtype=kind)) for kind in ("PCM_16", "PCM_24")},
    "flac 8 bits": ("flac", partial(by_libsndfile, format="FLAC", subtype="PCM_S8")),
    "flac without a length": ("flac", partial(changed, make=flac, change=partial(with_total, 0))),
    "flac that promises 2^36": ("flac", partial(changed, make=flac, change=partial(with_total, 2**36 - 1))),
    "flac with ID3": ("flac", partial(changed, make=flac, change=id3(3000).__add__)),
    "flac cut short": ("flac", partial(changed, make=flac, change=partial(cut, 0.6))),
    "flac damaged": ("flac", partial(changed, make=flac, change=holed)),
    "flac in ogg": ("oga", partial(by_ffmpeg, codec="flac", kind="oga")),
    "vorbis": ("ogg", vorbis),
    "vorbis 6 channels": (
        "ogg",
        partial(by_libsndfile, format="OGG", subtype="VORBIS", channels=(6,), rates=(48_000,)),
    ),
    "vorbis chained": ("ogg", partial(joined, make=same_vorbis)),
    "vorbis chained, other rates": ("ogg", partial(joined, make=vorbis)),
    "vorbis cut short": ("ogg", partial(changed, make=vorbis, change=partial(cut, 0.6))),
    "vorbis damaged": ("ogg", partial(changed, make=vorbis, change=holed)),
    "opus": ("opus", opus),
    "opus by libsndfile": ("ogg", partial(by_libsndfile, format="OGG", subtype="OPUS", rates=(8000, 24_000, 48_000))),
    "opus chained": ("opus", partial(joined, make=same_opus)),
    "mp3 constant": ("mp3", mp3),
    "mp3 variable": ("mp3", partial(mp3, **vbr(2))),
    "mp3 constant, no header": ("mp3", partial(mp3, **NO_HEADER)),
    **{f"mp3 variable {q}, no header": ("mp3", partial(mp3, **NO_HEADER, **vbr(q))) for q in (0, 4, 9)},
    "mp3 without a reservoir": ("mp3", partial(mp3, reservoir="0", **NO_HEADER)),
    "mp3 by libsndfile": ("mp3", partial(by_libsndfile, format="MP3", subtype="MPEG_LAYER_III")),
    **{f"mp3 by libsndfile, variable {q}": ("mp3", partial(variable, compression_level=q)) for q in (0.0, 0.5, 0.99)},
    "mp3 with ID3": ("mp3", partial(changed, make=mp3, change=id3(40_000).__add__)),
    "mp3 with ID3 at the end": ("mp3", partial(changed, make=mp3, change=lambda content: content + TAG)),
    "mp3 joined": ("mp3", partial(joined, make=same_mp3)),
    "mp3 joined with tags": ("mp3", partial(joined, make=same_mp3, between=TAG + id3(500))),
    "mp3 joined, other rates": ("mp3", partial(joined, make=mp3)),
    "mp3 cut short": ("mp3", partial(changed, make=mp3, change=partial(cut, 0.6))),
    "mp3 damaged": ("mp3", partial(changed, make=variable, change=holed)),
    "mp2": ("mp2", partial(by_ffmpeg, codec="mp2", kind="mp2", rates=(16_000, 32_000, 44_100, 48_000))),
}


def make_file(folder: Path, kind: str, number: int, seed: int) -> tuple[Path, np.ndarray]:
    """A file of a kind, and what was written into it (S, C)."""
    suffix, make = KINDS[kind]
    path = folder / f"{number:03d}.{suffix}"
    return path, make(path, np.random.default_rng([seed, number]))


def ffmpeg_samples(program: str, path: Path) -> np.ndarray:
    """What the program decodes, (S x C,) float32."""
    command = [program, "-nostdin", "-v", "quiet", "-i", f"file:{path}", "-map", "0:a:0", "-f", "f32le", "-"]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=False, timeout=60).stdout, "<f4")


def decibels(found: np.ndarray, wanted: np.ndarray) -> float:
    """How far below what is wanted (N,) the difference is; minus infinity where it is not as long."""
    if found.shape != wanted.shape:
        return float("-inf")
    wrong = np.square(found.astype(np.float64) - wanted).sum()
    return float(10 * np.log10(np.square(wanted.astype(np.float64)).sum() / max(wrong, 1e-20)))


def read(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """A file whole (S x C,), in blocks (S x C,), and how many samples of a channel it says it has.

    Raises:
        InputError: it is refused.
    """
    recording = Recording(str(path), path.name)
    whole = read_audio(path, recording.sample_rate, mono=False).numpy().T
    blocks: list[np.ndarray] = []
    with contextlib.suppress(CutShortError):
        for block in recording.blocks():
            blocks.append(block)
    return whole.ravel(), np.concatenate(blocks).ravel(), recording.num_samples()


def judge(path: Path, program: str | None) -> tuple[bool, str]:
    """Whether a file is read right or refused, and what is to be said of it."""
    try:
        whole, blocks, num_samples = read(path)
    except InputError as error:
        return "\n" not in str(error), f"refused: {str(error).removeprefix(str(path)).lstrip(': ')}"
    if program is None:
        return decibels(blocks, whole) > 60 and len(whole) % num_samples == 0, f"{num_samples} samples"
    wanted = ffmpeg_samples(program, path)
    below = min(decibels(whole, wanted), decibels(blocks, wanted))
    right = below >= 60 and len(wanted) % num_samples == 0
    return right, f"{below:.0f} dB, {num_samples} samples, {len(whole)} whole, {len(blocks)} in blocks, {len(wanted)}"


def main() -> None:
    """Make the files, read them, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ffmpeg", default=shutil.which("ffmpeg"), help="the program to compare with")
    options = parser.parse_args()
    num_right = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.num):
            kind = list(KINDS)[number % len(KINDS)]
            path, _ = make_file(Path(folder), kind, number, options.seed)
            right, said = judge(path, options.ffmpeg)
            num_right += right
            print(f"{'ok   ' if right else 'WRONG'}  {kind:32}  {said}")
    print(f"{num_right} of {options.num} read as ffmpeg reads them, or refused in one line")


if __name__ == "__main__":
    main()
