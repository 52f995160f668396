"""Pictures that speak: a sound, its spectrogram and what was said for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from synesthete.data.files import legible
from synesthete.data.picture import find_pictures, list_pictures, read_picture
from synesthete.evaluation.classifiers.classifier import load_classifier
from synesthete.evaluation.classifiers.speech import SpeechClassifier, recognise
from synesthete.picture_decoder import MAX_PIXELS
from synesthete.tasks.results import Sound
from synesthete.tasks.sampling import Item, Plan, SampleRequest, find_files, name_stems
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image
    from torch import Tensor

    from synesthete.pipeline import Pipeline
    from synesthete.types import Progress

ADD_CLASSIFIER = "run `synesthete train` on its run folder again, which adds one"


@dataclass(frozen=True)
class SpeechRequest(SampleRequest):
    """inputs: pictures, files of them, or folders of files. max_pixels: of a file; one of more is not decoded."""

    inputs: Sequence[Path | Image.Image] = ()
    max_pixels: int = MAX_PIXELS

    def check(self) -> None:
        """There is a picture.

        Raises:
            InputError: there is none.
        """
        if not self.inputs:
            raise InputError(f"{self.model}: a model that speaks; give it pictures, or folders of pictures")
        for given in self.inputs:
            if isinstance(given, Path):
                find_files(given, "picture", list_pictures)


class SpeechPlan(Plan):
    """A clip for each picture, heard by the classifier beside the model, where there is one."""

    suffixes = (".wav", ".png")

    def __init__(self, pipeline: Pipeline, request: SpeechRequest, folder: Path | None = None) -> None:
        super().__init__(pipeline, request)
        self.classifier = load_classifier(folder, SpeechClassifier) if folder else None
        if self.classifier is None and request.out is not None:
            self.notes.append(f"{request.model}: no classifier with it, so nobody tells what it said; {ADD_CLASSIFIER}")
        folders = [given for given in request.inputs if isinstance(given, Path)]
        found: list[Path | Image.Image] = []
        for given in request.inputs:
            found += find_files(given, "picture", list_pictures) if isinstance(given, Path) else [given]
            unread = find_pictures(given)[1] if isinstance(given, Path) and given.is_dir() else []
            self.skipped += [f"{legible(str(path))}: a picture of a kind that is not read" for path in unread]
        self.inputs = [path for path in found if isinstance(path, Path)]
        stems = map(legible, name_stems(self.inputs, folders))
        self.items = [
            Item(next(stems) if isinstance(picture, Path) else f"{i:03d}", (i,), raw=picture)
            for i, picture in enumerate(found)
        ]

    def make(self, items: Sequence[Item], progress: Progress) -> list[Sound | None]:
        """What the pictures say; None for one that cannot be read."""
        fitted: dict[int, Tensor] = {}
        for place, item in enumerate(items):
            try:
                of_file = isinstance(item.raw, Path)
                picture = read_picture(item.raw, self.request.max_pixels) if of_file else item.raw
                fitted[place] = self.pipeline.preprocess([picture])
            except InputError as error:
                self.skipped.append(str(error))
        made: list[Sound | None] = [None] * len(items)
        if not fitted:
            return made
        readable, codec = [items[place] for place in fitted], self.pipeline.codec
        raw = torch.cat([*fitted.values()])
        output = self.pipeline(raw, generators=self.generators(readable), **self.request.settings)
        heard = recognise(self.classifier, output.signal) if self.classifier else [None] * len(readable)
        found = zip(fitted, output.signal, codec.pictures(output.x_0), heard, strict=True)
        for place, waveform, spectrogram, verdict in found:
            told = {"picture": legible(items[place].raw.name)} if isinstance(items[place].raw, Path) else {}
            made[place] = Sound(waveform.cpu(), codec.spec.sample_rate, spectrogram, self.how(**told), verdict)
        return made
