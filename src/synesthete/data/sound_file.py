"""A sound file of any kind, decoded from its first sample to its last by FFmpeg's libraries."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av import AudioFrame

BLOCK = 2**18  # samples of each channel from which on they are handed on: 8 s at 32 kHz
# Of FFmpeg's formats those that are sound alone: among the others are lists, which open the files that they name.
FORMATS = "wav,w64,flac,ogg,mp3,aiff,au,caf"
# What FFmpeg says, and what it means here.
SAYINGS = {
    "Invalid argument": "another kind of file",
    "Not yet implemented in FFmpeg, patches welcome": "what was joined to it has another rate or other channels",
    "Invalid data found when processing input": "not the data of its kind",
}
MIN_RATE, MAX_RATE = 100, 1_000_000  # Hz; out of a header alone, others would make hours of a few samples
# Sizes that a program which writes to a pipe puts in the header, since it does not know the end yet.
UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)
# By how many samples less than its header promises a kind may have; of the others the header only estimates.
EXACT = {"pcm": 0, "flac": 0, "vorbis": 2**14, "opus": 2**14}


class SoundFile:
    """An open sound file, to be read once.

    It is decoded in order and never sought in, since after a jump most kinds sound otherwise for a while, and many do
    not tell where they are. Its length is what was decoded.

    Attributes:
        sample_rate: in Hz. num_channels: in the order of the file.

    Raises:
        InputError: no such file, or not a sound.
    """

    def __init__(self, path: Path | str) -> None:
        import av  # takes as long to import as to read a clip

        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{path}: no such file; check the path")
        options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
        self._failures = (av.FFmpegError, OSError, IndexError)
        try:
            with self.path.open("rb") as file:
                kind = file.read(4)
            if kind == b"RIFF":
                # Its header tells all; else megabytes of samples are searched for another kind of sound.
                options["probesize"] = "4096"
            if kind == b"RIFX":  # FFmpeg takes its samples the wrong way round
                raise OSError("a wav whose bytes are in big-endian order")
            # "file:", or a name with a colon is taken for a protocol.
            self._container = av.open(f"file:{self.path}", options=options, metadata_errors="replace")
            self._stream = self._container.streams.audio[0]
            codec = self._stream.codec_context
            if codec is None or not MIN_RATE <= (codec.sample_rate or 0) <= MAX_RATE:
                raise OSError(f"{codec.sample_rate or 0} Hz" if codec else "of an unknown kind")
        except self._failures as error:
            raise InputError(
                f"{path}: cannot be read as sound ({reason_of(error)}); give wav, flac, ogg or mp3"
            ) from None
        self.sample_rate, self.num_channels = codec.sample_rate, codec.layout.nb_channels

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._container.close()

    def blocks(self) -> Iterator[np.ndarray]:
        """Its samples (n, C) float32, n `BLOCK` or a little more, from the first to the last that can be decoded.

        Raises:
            InputError: at the end, where something is missing, or where there was nothing.
        """
        parts, num, failure = [], 0, None
        try:
            for frame in self._frames():
                parts.append(frame_samples(frame))
                num += frame.samples
                if num >= BLOCK:
                    yield np.concatenate(parts)
                    parts, num = [], 0
        except InputError as error:
            failure = error
        if parts:
            yield np.concatenate(parts)
        if failure:
            raise failure

    def num_samples(self) -> int:
        """How many samples of each channel can be decoded.

        Raises:
            InputError: none.
        """
        num = 0
        try:
            for frame in self._frames():
                num += frame.samples
        except InputError:
            if not num:
                raise
        return num

    def _frames(self) -> Iterator[AudioFrame]:
        """What the decoder gives.

        Raises:
            InputError: what follows cannot be decoded, or is missing, or there was nothing.
        """
        num, num_packets, num_broken = 0, 0, 0
        try:
            for packet in self._container.demux(self._stream):
                num_packets += 1
                try:
                    frames = packet.decode()
                except ValueError:  # invalid data
                    # Frames of mp3 stand alone, and where two files were joined there are tags between them.
                    num_broken += 1
                    if self._container.format.name != "mp3":
                        raise
                    continue
                for frame in frames:
                    if (frame.sample_rate, frame.layout.nb_channels) != (self.sample_rate, self.num_channels):
                        raise InputError(
                            f"{self.path}: turns from {self.sample_rate} Hz, {self.num_channels} channels, to "
                            f"{frame.sample_rate} Hz, {frame.layout.nb_channels} after {num / self.sample_rate:.1f} s; "
                            "give its parts as files of their own"
                        )
                    num += frame.samples
                    yield frame
        except self._failures as error:
            where = f"after {num / self.sample_rate:.1f} s" if num else "at all"
            raise InputError(
                f"{self.path}: cannot be decoded {where} ({reason_of(error)}); copy it again or remove it"
            ) from None
        self._check_whole(num, num_broken / max(1, num_packets))

    def _check_whole(self, num: int, share_broken: float) -> None:
        """Refuse a file of which less was decoded than it promises, where it can know, or nothing."""
        if not num:
            raise InputError(f"{self.path}: 0 samples; record it again or remove it")
        if share_broken > 0.1:
            raise InputError(f"{self.path}: {share_broken:.0%} of it cannot be decoded; copy it again or remove it")
        check_whole_wav(self.path)
        tolerance = EXACT.get(self._stream.codec_context.name.partition("_")[0])
        promised, base = self._stream.duration, self._stream.time_base
        if tolerance is None or promised is None or base is None:
            return
        seconds, told = num / self.sample_rate, float(promised * base)
        if seconds + tolerance / self.sample_rate < told - 0.5 / self.sample_rate:
            raise InputError(
                f"{self.path}: cut short or damaged, {seconds:.1f} of {told:.1f} s can be decoded; copy it again or "
                "remove it"
            )


def reason_of(error: Exception) -> str:
    """What the decoder says, in a few words."""
    if isinstance(error, IndexError):
        return "no sound in it"
    said = str(getattr(error, "strerror", None) or error)
    return SAYINGS.get(said, said)


def frame_samples(frame: AudioFrame) -> np.ndarray:
    """What was decoded, as float32 (n, C), full scale 1."""
    values = frame.to_ndarray()  # (C, n), or (1, n x C)
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if values.dtype.kind == "i":
        return values.astype(np.float32) / np.float32(2 ** (8 * values.dtype.itemsize - 1))
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def check_whole_wav(path: Path) -> None:
    """Raise InputError where a wav holds less than its header says: the decoder reads what is left without a word."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(12)[:4] != b"RIFF":
            return
        while len(header := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            missing = length - (size - file.tell())
            if name == b"data":
                if missing > 0 and length not in UNKNOWN_SIZES:
                    raise InputError(f"{path}: cut short by {missing} bytes; copy it again or remove it")
                return
            file.seek(length + length % 2, os.SEEK_CUR)
