"""Pictures with sounds as tests write them, and a recipe of them that is prepared in a moment."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sound_files import write_melody
from synesthete.codecs.pixels import PixelCodec
from synesthete.conditioning.audio_text import AudioTextConditioner
from synesthete.conditioning.learned_encoders import SoundEncoder, TextTransformer
from synesthete.config import Recipe, Sampling, Stage, build
from synesthete.data.audio_image_pairs import AudioImagePairs
from synesthete.data.captions import spell
from synesthete.denoisers.unet import UNet
from synesthete.diffusion.process import Process
from synesthete.objectives import Denoising

if TYPE_CHECKING:
    from pathlib import Path

RATE, LENGTH = 4000, 4000
CAPTIONS = ("a {light} picture", "something {light}")


def write_picture(path: Path, seed: int = 0, size: int = 12) -> Path:
    """Coloured noise of its own for every seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    Image.fromarray(draw.integers(0, draw.integers(60, 255), (size, size, 3), dtype=np.uint8)).save(path)
    return path


def write_classes(
    folder: Path, num_pictures: int = 20, num_sounds: int = 10, classes: tuple[str, ...] = ("cat", "dog")
) -> None:
    """`pictures/<class>/` and `sounds/<class>/`, the sounds 0.5 s at 8 kHz."""
    for number, name in enumerate(classes):
        for i in range(num_pictures):
            write_picture(folder / "pictures" / name / f"{i}.png", 1000 * number + i)
        for i in range(num_sounds):
            write_melody(folder / "sounds" / name / f"{i}.wav", 0.5, 1000 * number + i)


def write_pairs(folder: Path, num: int = 20, classes: tuple[str, ...] = ("cat", "dog"), **fields: Any) -> None:
    """A `metadata.jsonl` of `num` lines, each a picture with a sound of its own."""
    lines = []
    for i in range(num):
        write_picture(folder / f"{i}.png", i)
        write_melody(folder / f"{i}.wav", 0.5, i)
        lines.append({"class": classes[i % len(classes)], "image": f"{i}.png", "audio": f"{i}.wav", **fields})
    write_lines(folder, lines)


def write_lines(folder: Path, lines: list[dict[str, Any]], name: str = "metadata.jsonl") -> Path:
    """A manifest."""
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


# What it "cuts" lies beside the video; it notes what it was asked for.
FFMPEG = """#!/bin/sh
while [ $# -gt 1 ]; do
  case "$1" in
    -i) video="${2#file:}" ;;
    -ss) start="$2" ;;
    -f) kind="${2#image2}" ;;
  esac
  shift
done
made="${1#file:}"
kind="${kind:-jpg}"
echo "$video $start $kind" >> "LOG"
if grep -q corrupt "$video"; then echo "moov atom not found" >&2; exit 1; fi
[ -f "$video.$kind" ] && cp "$video.$kind" "$made"
exit 0
"""


def fake_ffmpeg(folder: Path) -> Path:
    """A program `ffmpeg` in a folder for the PATH, and where it notes (video, start, kind) of each call."""
    folder.mkdir(parents=True, exist_ok=True)
    log, program = folder / "calls", folder / "ffmpeg"
    program.write_text(FFMPEG.replace("LOG", str(log)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return log


def write_video(path: Path, seed: int = 0, seconds: float = 0.5) -> Path:
    """A file called a video, with what the fake ffmpeg finds in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"video {seed}")
    if seconds:
        write_melody(path.with_name(f"{path.name}.flac"), seconds, seed)
    write_picture(path.with_name(f"{path.name}.jpg"), seed)
    return path


def tiny_hearing(**data: Any) -> Recipe:
    """Pictures 8x8 that are told by sounds of a second at 4 kHz, and by captions."""
    return Recipe(
        name="tiny-hearing",
        task="audio-to-image",
        data=build(AudioImagePairs, **{"captions": CAPTIONS, **data}),
        codec=build(PixelCodec, size=8),
        conditioner=build(
            AudioTextConditioner,
            sound=build(
                SoundEncoder, sample_rate=RATE, num_samples=LENGTH, n_fft=128, n_mels=16, channels=(4, 4), width=8
            ),
            text=build(TextTransformer, captions=spell(CAPTIONS), width=8),
            width=8,
            num_sound_tokens=2,
            hidden=8,
        ),
        denoiser=build(
            UNet,
            sample_size=(8, 8),
            in_channels=3,
            channels=(8, 8),
            attention_levels=(1,),
            condition_width=8,
            pooled_width=8,
        ),
        process=build(Process),
        stages=[Stage("denoise", build(Denoising))],
        sampling=Sampling(),
    )
