"""Strips of pictures: from one sound to another, or one sound heard more and more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from synesthete.conditioning.audio_text import slerp
from synesthete.evaluation.reporting.media import draw_sheet
from synesthete.tasks.results import Picture

if TYPE_CHECKING:
    from synesthete.tasks.audio_to_image.sampling import PaintPlan
    from synesthete.tasks.sampling import Item
    from synesthete.types import Progress

NUM_FRAMES = 7  # of a strip between two sounds
ENLARGED = 256  # pixels of a picture in a GIF, at least


def draw_strip(plan: PaintPlan, item: Item, progress: Progress) -> Picture:
    """The strip of an item, a row for each noise: between two sounds, or of one with each strength."""
    request, num = plan.request, plan.num
    draw = between if request.between else at_strengths
    rows, captions, title, how = draw(plan, item, progress)
    title += f', "{request.prompt}"' if request.prompt else ""
    names = [f"seed {request.seed}, {i}" if num > 1 else "" for i in range(num)]
    frames = [
        draw_sheet([[enlarged(row[x]) for row in rows]], [""], captions=[[caption] * num])
        for x, caption in enumerate(captions)
        if request.is_gif
    ]
    return Picture(draw_sheet(rows, names, title=title, captions=[captions] * num), how, frames, num * len(captions))


Strip = tuple[list[list[Image.Image]], list[str], str, dict[str, Any]]  # rows, captions, title, how it was made


def between(plan: PaintPlan, item: Item, progress: Progress) -> Strip:
    """From one sound to another along the sphere of what is heard, from the same noise."""
    num_frames = plan.request.frames or NUM_FRAMES
    first, second = item.raw
    shares = torch.linspace(0, 1, num_frames)
    vectors = slerp(plan.vectors[first], plan.vectors[second], shares)
    raw = plan.with_prompt(vectors.repeat(plan.num, 1))
    pictures = plan.draw(raw, [i for i in range(plan.num) for _ in shares], progress)
    rows = [pictures[i * num_frames : (i + 1) * num_frames] for i in range(plan.num)]
    captions = [first.stem, *(f"{share:.0%}" for share in shares[1:-1].tolist()), second.stem]
    told = {"sounds": [first.name, second.name], "shares": [round(s, 4) for s in shares.tolist()], "num": plan.num}
    return rows, captions, f"{first.stem} to {second.stem}", plan.how(**told)


def at_strengths(plan: PaintPlan, item: Item, progress: Progress) -> Strip:
    """One sound heard as strongly as each of the strengths says, from the same noise."""
    strengths = list(plan.request.strengths)
    raw = plan.raw([item.raw] * plan.num)
    columns = [plan.draw(raw, range(plan.num), progress, adapter_scale=strength) for strength in strengths]
    rows = [[column[i] for column in columns] for i in range(plan.num)]
    how = plan.how(sound=item.raw.name, strengths=strengths, num=plan.num)
    how.pop("adapter_scale")
    return rows, [f"strength {strength:g}" for strength in strengths], item.raw.stem, how


def enlarged(picture: Image.Image) -> Image.Image:
    """The picture with every pixel a square, large enough to be seen in motion."""
    times = math.ceil(ENLARGED / max(picture.size))
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
