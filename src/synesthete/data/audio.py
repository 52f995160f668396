"""Sound files of any kind, decoded whole by FFmpeg's libraries, and the few things that are done to every clip."""

from __future__ import annotations

import io
import logging
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
import soundfile
import soxr
import torch

from synesthete.data.files import legible
from synesthete.io import write_file
from synesthete.types import InputError

if TYPE_CHECKING:
    from av import AudioFrame

__all__ = ["read_audio", "write_audio"]

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
PADDED = 2**12  # samples by which an mp3 may fall short of the frames that it counts: what its encoder put around it


class CutShortError(InputError):
    """A sound that can be used, and of which more seems to have been there: its container says so, and may be wrong."""


class SoundFile:
    """An open sound file, to be read once.

    It is decoded in order and never sought in, since after a jump most kinds sound otherwise for a while, and many do
    not tell where they are. Its length is what was decoded.

    Attributes:
        sample_rate: in Hz. num_channels: in the order of the file. name: the path, for people.

    Args:
        path: of the file. content: what is in it, where it lies in another; the path is then a name alone.

    Raises:
        InputError: no such file, or not a sound.
    """

    def __init__(self, path: Path | str, content: bytes | None = None) -> None:
        import av  # takes as long to import as to read a clip

        self.path, self.content, self.name = Path(path), content, legible(str(path))
        if content is None and not self.path.is_file():
            raise InputError(f"{self.name}: no such file; check the path")
        options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
        self._failures = (av.FFmpegError, OSError, IndexError)
        try:
            with self._open() as file:
                kind = file.read(4)
            if kind == b"RIFF":
                # Its header tells all; else megabytes of samples are searched for another kind of sound.
                options["probesize"] = "4096"
            if kind == b"RIFX":  # FFmpeg takes its samples the wrong way round
                raise OSError("a wav whose bytes are in big-endian order")
            # "file:", or a name with a colon is taken for a protocol.
            where: Any = f"file:{self.path}" if content is None else self._open()
            self._container = av.open(where, "r", options=options, metadata_errors="replace")
            self._stream = self._container.streams.audio[0]
            codec = self._stream.codec_context
            if codec is None or not MIN_RATE <= (codec.sample_rate or 0) <= MAX_RATE:
                raise OSError(f"{codec.sample_rate or 0} Hz" if codec else "of an unknown kind")
        except self._failures as error:
            raise InputError(
                f"{self.name}: cannot be read as sound ({reason_of(error)}); give wav, flac, ogg or mp3"
            ) from None
        self.sample_rate, self.num_channels = codec.sample_rate, codec.layout.nb_channels

    @property
    def comment(self) -> str:
        """What the file tells of itself; "" where it says nothing."""
        return str(self._container.metadata.get("comment", ""))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._container.close()

    def blocks(self) -> Iterator[np.ndarray]:
        """Its samples (n, C) float32, n `BLOCK` or a little more, from the first to the last that can be decoded.

        Raises:
            InputError: at the end, where something is missing, or where there was nothing.
            CutShortError: at the end, where the container tells of more, which may be a mistake of its own.
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
        """How many samples of each channel can be decoded."""
        num = 0
        try:
            for frame in self._frames():
                num += frame.samples
        except InputError:
            if not num:
                raise
        return num

    def _open(self) -> BinaryIO:
        return self.path.open("rb") if self.content is None else io.BytesIO(self.content)

    def _frames(self) -> Iterator[AudioFrame]:
        """What the decoder gives."""
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
                            f"{self.name}: turns from {self.sample_rate} Hz, {self.num_channels} channels, to "
                            f"{frame.sample_rate} Hz, {frame.layout.nb_channels} after {num / self.sample_rate:.1f} s; "
                            "give its parts as files of their own"
                        )
                    num += frame.samples
                    yield frame
        except self._failures as error:
            where = f"after {num / self.sample_rate:.1f} s" if num else "at all"
            raise InputError(
                f"{self.name}: cannot be decoded {where} ({reason_of(error)}); copy it again or remove it"
            ) from None
        self._check_whole(num, num_broken / max(1, num_packets))

    def _check_whole(self, num: int, share_broken: float) -> None:
        """Refuse a file of which less was decoded than it promises, where it can know, or nothing."""
        if not num:
            raise InputError(f"{self.name}: 0 samples; record it again or remove it")
        if share_broken > 0.1:
            raise InputError(f"{self.name}: {share_broken:.0%} of it cannot be decoded; copy it again or remove it")
        with self._open() as file:
            check_whole_wav(file, self.name)
        tolerance = EXACT.get(self._stream.codec_context.name.partition("_")[0])
        promised, base = self._stream.duration, self._stream.time_base
        seconds, told = num / self.sample_rate, 0.0 if promised is None or base is None else float(promised * base)
        if tolerance is not None and seconds + tolerance / self.sample_rate < told - 0.5 / self.sample_rate:
            raise InputError(
                f"{self.name}: cut short or damaged, {seconds:.1f} of {told:.1f} s can be decoded; copy it again or "
                "remove it"
            )
        missing, kind = "", self._container.format.name
        with self._open() as file:
            if kind == "ogg":
                missing = missing_pages(self.content or mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            elif kind == "mp3" and num + PADDED < (counted := counted_samples(file)):
                missing = f"it counts {counted / self.sample_rate:.1f} s"
        if missing:
            raise CutShortError(f"{self.name}: seems cut short, {seconds:.1f} s are there ({missing}); copy it again")


def missing_pages(content: bytes | mmap.mmap) -> str:
    """What is missing of an Ogg file: the pages of a stream are numbered, and its last one says that it is.

    Source: RFC 3533, section 6.
    """
    last: dict[bytes, int] = {}
    is_open: dict[bytes, bool] = {}
    num_missing = 0
    place, size = 0, len(content)
    while (place := content.find(b"OggS", place)) >= 0 and place + 27 <= size:
        flags, serial, number = content[place + 5], content[place + 14 : place + 18], content[place + 18 : place + 22]
        end = place + 27 + content[place + 26]
        end += sum(content[place + 27 : end])
        now, is_first = int.from_bytes(number, "little"), flags & 2
        num_missing += 0 if is_first or serial not in last else max(0, now - last[serial] - 1)
        last[serial], is_open[serial] = now, not flags & 4 or end > size
        place = end
    if num_missing:
        return f"pages missing: {num_missing}"
    return "its last page is missing" if any(is_open.values()) else ""


def counted_samples(file: BinaryIO) -> int:
    """How many samples of each channel the first frame of an mp3 says that there are (Xing's tag); 0 where it does not.

    Source: the mp3 info tag, revision 1, of LAME.
    """
    head = file.read(10)
    file.seek(sum(byte << 7 * i for i, byte in enumerate(reversed(head[6:10]))) + 10 if head[:3] == b"ID3" else 0)
    frame = file.read(4096).lstrip(b"\0")
    if len(frame) < 64 or frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2:  # another layer than the third
        return 0
    is_mpeg_1, is_mono = frame[1] & 0x18 == 0x18, frame[3] >> 6 == 3
    tag = frame[4 + {(True, False): 32, (False, True): 9}.get((is_mpeg_1, is_mono), 17) :]
    if tag[:4] not in (b"Xing", b"Info") or not tag[7] & 1:
        return 0
    return int.from_bytes(tag[8:12], "big") * (1152 if is_mpeg_1 else 576)


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


def check_whole_wav(file: BinaryIO, name: str) -> None:
    """Raise InputError where a wav holds less than its header says: the decoder reads what is left without a word."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(12)[:4] != b"RIFF":
        return
    while len(header := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", header)
        missing = length - (size - file.tell())
        if kind == b"data":
            if missing > 0 and length not in UNKNOWN_SIZES:
                raise InputError(f"{name}: cut short by {missing} bytes; copy it again or remove it")
            return
        file.seek(length + length % 2, os.SEEK_CUR)


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
        try:
            for block in file.blocks():
                blocks.append(block.mean(axis=1, keepdims=True) if mono else block)  # (n, C)
                if sum(part.size for part in blocks) > MOST:
                    most = f"{MOST / file.sample_rate / 60:.0f} min in one channel"
                    raise InputError(f"{file.name}: longer than can be read whole, {most}; cut it")
        except CutShortError as error:
            logger.warning("%s", error)
        samples = np.concatenate(blocks)  # (S, C)
        if not np.isfinite(samples).all():
            raise InputError(f"{file.name}: NaN or infinite samples; write it again as 16-bit PCM, or remove it")
        if file.sample_rate != sample_rate:
            samples = soxr.resample(samples, file.sample_rate, sample_rate)
    return torch.from_numpy(np.ascontiguousarray(samples[:, 0] if mono else samples.T))


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
