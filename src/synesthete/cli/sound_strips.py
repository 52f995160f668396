"""Strips of a model that paints what it hears: from one sound to another, or one sound heard more and more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from synesthete.cli.painting_work import write_told
from synesthete.io import write_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image

    from synesthete.cli.heard_request import HeardRequest
    from synesthete.cli.heard_sounds import Sounds
    from synesthete.cli.painting_work import Work

NUM_FRAMES = 7  # of a strip between two sounds
ENLARGED = 256  # pixels of a picture in a GIF, at least


def draw_strips(work: Work, sounds: Sounds, asked: HeardRequest, told: dict[str, Any], num: int) -> dict[str, Any]:
    """A strip of pictures between two sounds, or of every sound with each strength; a row for each of `num` noises."""
    from synesthete.evaluation.reporting.sheet import draw_sheet, encode_gif

    values: dict[str, Any] = {"written": []} | ({"gifs": []} if asked.is_gif else {})
    if asked.between:
        strips = [between(work, sounds, asked.frames or NUM_FRAMES, told, num)]
    else:
        strips = [at_strengths(work, sounds, k, asked.strengths, told, num) for k in range(len(sounds.paths))]
    for strip in strips:
        title = strip.title + (f', "{told["prompt"]}"' if "prompt" in told else "")
        names = [f"seed {work.seed}, {i}" if num > 1 else "" for i in range(num)]
        sheet = draw_sheet(strip.rows, names, title=title, captions=[strip.captions] * num)
        write_told(strip.target, sheet, strip.told)
        values["written"].append(str(strip.target))
        if asked.is_gif:
            frames = [
                draw_sheet([[enlarged(row[x]) for row in strip.rows]], [""], captions=[[caption] * num])
                for x, caption in enumerate(strip.captions)
            ]
            write_file(strip.target.with_suffix(".gif"), encode_gif(frames, milliseconds=250))
            values["gifs"].append(str(strip.target.with_suffix(".gif")))
    return values


class Strip(NamedTuple):
    """Rows of pictures, the caption of each column, what stands above them, where it goes and what it tells."""

    rows: list[list[Image.Image]]
    captions: list[str]
    title: str
    target: Path
    told: dict[str, Any]


def between(work: Work, sounds: Sounds, num_frames: int, told: dict[str, Any], num: int) -> Strip:
    """From one sound to another along the sphere of what is heard, from the same noise."""
    import torch

    from synesthete.conditioning.interpolation import slerp

    first, second = (path.stem for path in sounds.paths)
    shares = torch.linspace(0, 1, num_frames)
    assert sounds.raw.sound is not None
    vectors = slerp(sounds.raw.sound[0], sounds.raw.sound[1], shares)
    raw = type(sounds.raw)(
        vectors.repeat(num, 1), None if sounds.raw.text is None else sounds.raw.text[:1].expand(num * num_frames, -1)
    )
    pictures = work.draw(raw, [i for i in range(num) for _ in shares])
    rows = [pictures[i * num_frames : (i + 1) * num_frames] for i in range(num)]
    captions = [first, *(f"{share:.0%}" for share in shares[1:-1].tolist()), second]
    names = [path.name for path in sounds.paths]
    how = {"sounds": names, "shares": [round(s, 4) for s in shares.tolist()], "num": num, **told, **work.settings()}
    return Strip(rows, captions, f"{first} to {second}", sounds.targets[0], how)


def at_strengths(
    work: Work, sounds: Sounds, k: int, strengths: Sequence[float], told: dict[str, Any], num: int
) -> Strip:
    """One sound heard as strongly as each of `strengths` says, from the same noise."""
    total = len(sounds.paths) * len(strengths) * num
    columns = [
        work.draw(sounds.raw[[k] * num], range(num), (k * len(strengths) + j) * num, total, adapter_scale=strength)
        for j, strength in enumerate(strengths)
    ]
    rows = [[column[i] for column in columns] for i in range(num)]
    settings = {name: value for name, value in work.settings().items() if name != "adapter_scale"}
    how = {"sound": sounds.paths[k].name, "strengths": list(strengths), "num": num, **told, **settings}
    captions = [f"strength {strength:g}" for strength in strengths]
    return Strip(rows, captions, sounds.paths[k].stem, sounds.targets[k], how)


def enlarged(picture: Image.Image) -> Image.Image:
    """The picture with every pixel a square, large enough to be seen in motion."""
    from PIL import Image

    times = math.ceil(ENLARGED / max(picture.size))
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
