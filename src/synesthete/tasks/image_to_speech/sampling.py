"""Pictures that speak: a sound, its spectrogram and what was said for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete.data.picture import SUFFIXES, list_pictures, read_picture
from synesthete.evaluation.classifiers.speech import recognise
from synesthete.tasks.results import Sound
from synesthete.tasks.sampling import Item, Plan, SampleRequest, name_stems
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from synesthete.pipeline import Pipeline
    from synesthete.types import Progress

ADD_CLASSIFIER = "run `synesthete train` on its run folder again, which adds one"


@dataclass(frozen=True)
class SpeechRequest(SampleRequest):
    """inputs: pictures, files of them, or folders of files."""

    inputs: Sequence[Path | Image.Image] = ()

    def check(self) -> None:
        """There is a picture.

        Raises:
            InputError: there is none.
        """
        if not self.inputs:
            raise InputError(f"{self.model}: a model that speaks; give it pictures, or folders of pictures")
        for given in self.inputs:
            if isinstance(given, Path):
                find_pictures(given)


class SpeechPlan(Plan):
    """A clip for each picture. classifier: what hears it; None where nobody does."""

    suffixes = (".wav", ".png")

    def __init__(self, pipeline: Pipeline, request: SpeechRequest, classifier: Any | None) -> None:
        super().__init__(pipeline, request)
        self.classifier = classifier
        if classifier is None and request.out is not None:
            self.notes.append(f"{request.model}: no classifier with it, so nobody tells what it said; {ADD_CLASSIFIER}")
        folders = [given for given in request.inputs if isinstance(given, Path)]
        found: list[Path | Image.Image] = []
        for given in request.inputs:
            found += find_pictures(given) if isinstance(given, Path) else [given]
        stems = iter(name_stems([path for path in found if isinstance(path, Path)], folders))
        self.items = [
            Item(next(stems) if isinstance(picture, Path) else f"{i:03d}", (i,), raw=picture)
            for i, picture in enumerate(found)
        ]
        if request.out is not None:
            written = {(request.out / f"{item.stem}.png").resolve() for item in self.items}
            if own := {path.resolve() for path in found if isinstance(path, Path)} & written:
                raise InputError(f"{min(own)}: its spectrogram would replace the picture itself; give another --out")

    def make(self, items: Sequence[Item], progress: Progress) -> list[Sound | None]:
        """What the pictures say; None for one that cannot be read."""
        readable: list[Item] = []
        pictures = []
        for item in items:
            try:
                pictures.append(read_picture(item.raw) if isinstance(item.raw, Path) else item.raw)
                readable.append(item)
            except InputError as error:
                self.skipped.append(str(error))
        if not readable:
            return [None] * len(items)
        codec = self.pipeline.codec
        raw = self.pipeline.preprocess(pictures)
        output = self.pipeline(raw, generators=self.generators(readable), **self.request.settings)
        heard = recognise(self.classifier, output.signal) if self.classifier else [None] * len(readable)
        made = {
            id(item): Sound(waveform.cpu(), codec.spec.sample_rate, picture, self.how(**told(item)), verdict)
            for item, waveform, picture, verdict in zip(
                readable, output.signal, codec.pictures(output.x_0), heard, strict=True
            )
        }
        return [made.get(id(item)) for item in items]


def told(item: Item) -> dict[str, Any]:
    """Which picture it was."""
    return {"picture": item.raw.name} if isinstance(item.raw, Path) else {}


def find_pictures(path: Path) -> list[Path]:
    """A picture, or every picture in a folder.

    Raises:
        InputError: no such file, or a folder without pictures.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; give a picture or a folder of pictures")
    if not (found := list_pictures(path)):
        raise InputError(f"{path}: no pictures in it ({', '.join(SUFFIXES[:3])}, ...); give another folder")
    return found
