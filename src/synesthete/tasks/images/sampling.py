"""Pictures of labels, of words, or of nothing: a file each, which tells how it was made, and a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from synesthete.data.picture import to_images
from synesthete.tasks.results import PictureResult
from synesthete.tasks.sampling import Item, Plan, SampleRequest, file_safe, split_commas
from synesthete.types import InputError, Progress

if TYPE_CHECKING:
    from synesthete.pipeline import Pipeline

NUM = 8  # pictures of each label


@dataclass(frozen=True)
class PictureRequest(SampleRequest):
    """labels: class names, numbers, or all. prompts: words of one's own. num: pictures of each."""

    labels: Sequence[str] = ()
    prompts: Sequence[str] = ()
    num: int | None = None


class PicturePlan(Plan):
    """`num` pictures of each label and prompt."""

    has_sheet = True

    def __init__(self, pipeline: Pipeline, request: PictureRequest, folder: Path | None = None) -> None:
        super().__init__(pipeline, request, folder)
        subjects = find_subjects(pipeline, request.model, request.labels, request.prompts)
        self.items = items_of(subjects, request.num or NUM)

    def make(self, items: Sequence[Item], progress: Progress) -> list[PictureResult]:
        """A picture of each."""
        raw = torch.cat([item.raw for item in items])
        images = to_images(self.sampled(raw, self.generators(items)).signal.cpu())
        return [PictureResult(image, self.how(**item.how)) for item, image in zip(items, images, strict=True)]


NOTHING = Item("sample_", ("",), raw=torch.zeros(1, dtype=torch.int64))  # of a model that is told nothing


def items_of(subjects: Sequence[Item], num: int) -> list[Item]:
    """`num` things to make of each subject, each subject a row of the contact sheet."""
    return [
        Item(f"{one.stem}{i:03d}", (*one.key, i), {**one.how, "number": i}, "".join(one.how.values()), one.raw)
        for one in subjects
        for i in range(num)
    ]


def find_subjects(pipeline: Pipeline, model: str, labels: Sequence[str], prompts: Sequence[str] = ()) -> list[Item]:
    """What each label and prompt is to the model, as the item of which `items_of` makes several.

    A class asked for twice is there once, by the first of its names. raw: what the conditioner reads, (1, ...).
    """
    from synesthete.evaluation.search.space import find_labels

    conditioner, class_names = pipeline.conditioner, pipeline.class_names
    if not pipeline.is_conditional:
        if labels or prompts:
            raise InputError(f"{model}: is told nothing, so it has no labels; leave out --label and --prompt")
        return [NOTHING]
    reads_text = conditioner.reads_text
    there = f"0 to {len(class_names) - 1}, {', '.join(class_names[:3])}, ..., or all" if class_names else "none"
    if prompts and not reads_text:
        raise InputError(f"{model}: reads labels, not text; instead of --prompt give --label ({there})")
    if labels and not class_names:
        raise InputError(f"{model}: has no classes; instead of --label give --prompt TEXT")
    if not labels and not prompts:
        also = ", or --prompt TEXT" if reads_text else ""
        raise InputError(f"{model}: say what of, by --label ({there}){also}")
    chosen: dict[int, str] = {}
    for label in split_commas(labels, ("all", *class_names)):
        for number in find_labels([label], class_names):
            chosen.setdefault(number, class_names[number] if label == "all" else label)
    # Class numbers and words of one's own come in one batch as what the encoder says of them.
    look = conditioner.extract_features if reads_text else torch.as_tensor
    found = [Item(name, (n,), {"label": class_names[n]}, raw=look(torch.tensor([n]))) for n, name in chosen.items()]
    found += [Item(text, (text,), {"prompt": text}, raw=look([text])) for text in dict.fromkeys(prompts)]
    stems = file_safe(one.stem for one in found)
    return [replace(one, stem=f"{stem}_") for one, stem in zip(found, stems, strict=True)]
