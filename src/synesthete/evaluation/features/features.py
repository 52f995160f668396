"""The features that an evaluation is asked for, by name: of a classifier trained here, or of a published network."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from synesthete import hub
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from synesthete.evaluation.audio_features.spectra import Sounds
    from synesthete.evaluation.classifiers.classifier import Classifier, Samples

IMAGE_CHOICES = ("auto", "classifier", "inception", "clip")
SOUND_CHOICES = ("auto", "classifier", "spectrum", "clap")


class Features(Protocol):
    """n samples -> (n, D) float32 on the CPU; a sample has the same row in any company.

    Samples are pictures (n, C, H, W) uint8, or sounds (n, S), int16 or float in [-1, 1]. name: for reports, part of the
    title of every figure that is computed on them.
    """

    name: str

    def __call__(self, samples: Any) -> Tensor:
        """N samples -> (n, D)."""
        ...


class ClassifierFeatures:
    """What a classifier's last layer reads, standardised over the real samples that it learned from.

    Figures on them compare models of one data set only: another data set has another classifier.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        targets = getattr(classifier.config, "targets", "classes")
        self.name = f"classifier-{len(classifier.class_names)}" + ("" if targets == "classes" else f" of {targets}")

    def __call__(self, samples: Samples) -> Tensor:
        """N samples -> (n, D)."""
        return self.classifier.features(samples)


def check_image_features(choice: str) -> None:
    """Make sure that there can be such features of pictures, before a classifier is trained for them.

    Raises:
        InputError: there cannot.
    """
    if not (choice in IMAGE_CHOICES or Path(choice).expanduser().exists() or hub.is_hub_id(choice)):
        raise InputError(f"no features {choice!r}; give {', '.join(IMAGE_CHOICES)}, or a folder or file of weights")


def find_features(
    choice: str, classifier: Classifier | None, *, sample_rate: int | None = None, real: Sounds | None = None
) -> Features:
    """The features called `choice`, one of the kind's choices, a folder or file of weights, or a Hub id.

    sample_rate: in Hz, of sounds; None for pictures. real: sounds (n, S) that "spectrum" is standardised over. "auto"
    downloads nothing: of pictures it is Inception where its weights are on this machine, else the classifier; of sounds
    the classifier where there is one, else the spectrum.

    Raises:
        InputError: an unknown choice, weights that are neither here nor to be had, or the classifier where there is
            none.
    """
    # Imported here: who compares sounds needs no networks of pictures, nor the other way round.
    if of_sound := sample_rate is not None:
        from synesthete.evaluation.features.sound import CLAP, ClapFeatures, SpectrumFeatures
    else:
        from synesthete.evaluation.features.image import CLIP, ClipFeatures, InceptionFeatures
        from synesthete.evaluation.features.inception import MODEL, local_inception
    choices = SOUND_CHOICES if of_sound else IMAGE_CHOICES
    if choice == "auto":
        best = "spectrum" if of_sound and classifier is None else "classifier"
        choice = "inception" if not of_sound and local_inception() else best
    if choice == "classifier":
        if classifier is None:
            what, setting = ("sounds", "classifier_share=0.15") if of_sound else ("pictures", "num_classifier=400")
            other = "spectrum" if of_sound else "clip"
            raise InputError(
                f"no classifier to describe {what} by; --set data.{setting} keeps some for one, or give "
                f"--features {other}"
            )
        return ClassifierFeatures(classifier)
    path = Path(choice).expanduser()
    if sample_rate is not None:
        if choice == "spectrum" and real is not None:
            return SpectrumFeatures(sample_rate, real)
    elif choice in ("inception", MODEL) or path.is_file() or (path.is_dir() and not (path / "config.json").is_file()):
        return InceptionFeatures(MODEL if choice == "inception" else path if path.exists() else choice)
    named = {"clap": CLAP} if of_sound else {"clip": CLIP}
    if choice in named or path.is_dir() or hub.is_hub_id(choice):
        model = str(path) if path.is_dir() else named.get(choice, choice)
        with _remedy(choices):
            return ClipFeatures(model) if sample_rate is None else ClapFeatures(sample_rate, model)
    raise InputError(f"no features {choice!r}; give {', '.join(choices)}, or a folder or file of weights")


@contextlib.contextmanager
def _remedy(choices: Sequence[str]) -> Iterator[None]:
    """What a network cannot be read for, with what to do about it here, where no recipe names it."""
    try:
        yield
    except InputError as error:
        reason = str(error).partition("; give another")[0].partition(" or pass --set")[0]
        raise InputError(f"{reason}; --features takes {', '.join(choices)} or a folder") from None
