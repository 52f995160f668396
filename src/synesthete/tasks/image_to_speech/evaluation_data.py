"""What a model that speaks is evaluated on: pictures it never saw, and real speech of voices it never heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete.conditioning.voices import VoicedPicture
from synesthete.evaluation.runner import check_classes
from synesthete.evaluation.samples import drawn
from synesthete.tasks.image_to_speech.measures import preprocessed, training_features
from synesthete.types import InputError, Progress

if TYPE_CHECKING:
    from synesthete.data.image_speech_pairs import ImageSpeechPairs
    from synesthete.data.speech.corpus import Clips

VERB = "names"  # what a model does with a class, in messages


@dataclass(frozen=True)
class SpeechData:
    """What a model is shown, and the real speech beside what it says.

    pictures: (n, C, H, W) uint8 as `pipeline.preprocess` makes them, never seen in training, with labels (n,). real:
    clips of voices that neither the model nor the classifier was trained on. clips: what the classifier is trained on.
    words: what is said for each class, one phrase or several; its name where None. trained_on: features (k, D) and
    labels (k,) of training pictures, for the probe that tells seeing from speaking; None leaves it out. num_there:
    pictures that these were drawn from; none where 0. skipped: files that could not be read. spoken: clips of the
    voices that the model can be asked for, its own training data; None where it knows no voices.
    """

    pictures: Tensor
    labels: Tensor
    real: Clips
    clips: Clips
    words: Sequence[str | Sequence[str]] | None = None
    trained_on: tuple[Tensor, Tensor] | None = None
    num_there: int = 0
    skipped: tuple[str, ...] = ()
    spoken: Clips | None = None

    def __post_init__(self) -> None:
        if not len(self.pictures):
            raise InputError("no pictures to speak; give a test split with some")
        if self.real.class_names != self.clips.class_names:
            raise InputError("the splits 'test' and 'classifier' have other classes; build the corpus again")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of pictures and clips."""
        return tuple(self.real.class_names)

    @property
    def notes(self) -> list[str]:
        """What a reader has to know."""
        return [f"skipped {name}" for name in self.skipped]


def read_speech_data(
    pipeline: Any, data: ImageSpeechPairs, corpus_folder: Path, *, num: int, seed: int, progress: Progress | None = None
) -> SpeechData:
    """Some of the data's test pictures, and its clips. corpus_folder: where `data.build` spoke the corpus."""
    check_classes(pipeline, data.class_names, VERB)
    track = progress or (lambda *_: None)
    pictures, labels = data.pictures("test")
    chosen = drawn(len(pictures), num, seed, "test pictures")
    readable = list(preprocessed(pipeline, pictures, chosen, partial(track, "pictures")))
    if not readable:
        raise InputError("not one readable picture to speak; give a test split with some")
    real, clips = (data.clips(corpus_folder, split) for split in ("test", "classifier"))
    shown = torch.cat([part for _, part in readable]), labels[[at for places, _ in readable for at in places]]
    words = [data.words.get(name, name) for name in data.class_names]
    seen, skipped = training_features(pipeline, data, seed, track), (*pictures.skipped, *real.skipped)
    spoken = data.clips(corpus_folder, "train") if isinstance(pipeline.conditioner, VoicedPicture) else None
    return SpeechData(*shown, real, clips, words, seen, len(pictures), skipped, spoken)
