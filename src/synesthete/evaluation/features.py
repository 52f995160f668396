"""Features of pictures and sounds: of a classifier trained here, of spectra, or of a published network, by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from synesthete import hub
from synesthete.conditioning.frozen_encoder import one_line, read_network
from synesthete.conditioning.frozen_sound import ClapTower
from synesthete.conditioning.vision import VisionTower
from synesthete.evaluation.audio_features.spectra import band_statistics, log_mel, parts
from synesthete.evaluation.classifiers.image import check_pictures
from synesthete.evaluation.inception import MODEL, WIDTH, find_inception, local_inception, read_inception
from synesthete.nn.part import find_device
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.data.rows import Rows
    from synesthete.evaluation.audio_features.spectra import Sounds
    from synesthete.evaluation.classifiers.classifier import Classifier, Samples

CLIP = "openai/clip-vit-base-patch32"
CHUNK = 16  # pictures that go through a large network at once
CLAP = "laion/larger_clap_music_and_speech"
IMAGE_CHOICES = ("auto", "classifier", "inception", "clip")
SOUND_CHOICES = ("auto", "classifier", "spectrum", "clap")


class InceptionFeatures:
    """The 2048 features of FID and KID; grey pictures are read as colour ones.

    model: an id, a folder, or the file of the weights.
    """

    name = "inception"

    def __init__(self, model: str | Path = MODEL) -> None:
        self.device = find_device("auto")
        self.network = read_inception(find_inception(str(model))).to(self.device)

    @torch.no_grad()
    def __call__(self, samples: Tensor | Rows) -> Tensor:
        """Pictures (n, C, H, W) uint8 -> (n, 2048)."""
        found = [self.network(part.to(self.device)).cpu() for part in coloured(samples)]
        return torch.cat([torch.zeros(0, WIDTH), *found])


class ClipFeatures:
    """The picture's vector in the space that CLIP shares between pictures and text (Radford et al. 2021).

    model: a Hub id, or a folder with config.json, preprocessor_config.json and weights.

    Raises:
        InputError: weights that are neither here nor to be had, or of another kind.
    """

    def __init__(self, model: str | Path = CLIP) -> None:
        from transformers import AutoConfig, CLIPVisionModelWithProjection  # which most evaluations do without

        model = str(model)
        self.tower, self.name = VisionTower(model), Path(model).name
        folder = self.tower.folder
        with one_line(model, "a CLIP"):
            whole = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            if whole.model_type not in ("clip", "clip_vision_model"):
                raise InputError(f"a {whole.model_type}")
            config = getattr(whole, "vision_config", whole)
            config.projection_dim = self.width = whole.projection_dim
        network = read_network(CLIPVisionModelWithProjection, model, folder, "a CLIP", config=config)
        self.network = network.to(find_device("auto"))
        self.tower.processor  # noqa: B018 - read now, so that what is missing is said now

    @torch.no_grad()
    def __call__(self, samples: Tensor | Rows) -> Tensor:
        """Pictures (n, C, H, W) uint8 -> (n, D)."""
        found = [torch.zeros(0, self.width)]
        for part in coloured(samples):
            images = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in part]
            x = self.tower.normalise(self.tower.preprocess(images)).to(self.network.device)
            found.append(self.network(pixel_values=x).image_embeds.float().cpu())
        return torch.cat(found)


def coloured(pictures: Tensor | Rows) -> Iterator[Tensor]:
    """Pictures (n, 1 or 3, H, W), uint8 or refused, in colour, (b, 3, H, W), CHUNK after CHUNK."""
    check_pictures(pictures)
    return (pictures[first : first + CHUNK].expand(-1, 3, -1, -1) for first in range(0, len(pictures), CHUNK))


class SpectrumFeatures:
    """Mean and deviation over time of every band of a log-mel, 0 +- 1 over the real pieces (n, S): no network."""

    name = "log-mel statistics"

    def __init__(self, sample_rate: int, real: Sounds) -> None:
        self.sample_rate = sample_rate
        found = self._measured(real)
        self.mean, self.scale = found.mean(dim=0), found.std(dim=0).clamp(min=0.1)  # dB

    def __call__(self, samples: Sounds) -> Tensor:
        """Sounds (n, S), int16 or float in [-1, 1] -> (n, 128)."""
        return (self._measured(samples) - self.mean) / self.scale

    def _measured(self, samples: Sounds) -> Tensor:
        return torch.cat([band_statistics(log_mel(part, self.sample_rate)) for part in parts(samples)])


class ClapFeatures:
    """The sound's vector in the space that CLAP shares between sounds and text (Wu et al. 2023), of length 1.

    Sounds are resampled to CLAP's own rate; what is longer than it listens to (10 s) is cut. model, Raises: as of
    `ClipFeatures`.
    """

    def __init__(self, sample_rate: int, model: str | Path = CLAP) -> None:
        self.tower, self.name, self.device = ClapTower(str(model), sample_rate), Path(model).name, find_device("auto")
        self.tower.extractor, self.tower.network  # noqa: B018 - read now, so that what is missing is said now

    def __call__(self, samples: Sounds) -> Tensor:
        """Sounds (n, S), int16 or float in [-1, 1] -> (n, D)."""
        return torch.cat([self.tower.embed_audio(part.to(self.device)).cpu() for part in parts(samples)])


class ClassifierFeatures:
    """What a classifier's last layer reads: figures on it compare models of one data set only."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        targets = getattr(classifier.config, "targets", "classes")
        self.name = f"classifier-{len(classifier.class_names)}" + ("" if targets == "classes" else f" of {targets}")

    def __call__(self, samples: Samples) -> Tensor:
        """N samples -> (n, D)."""
        return self.classifier.features(samples)


def check_image_features(choice: str) -> None:
    """Make sure that there can be such features of pictures, before a classifier is trained for them."""
    if not (choice in IMAGE_CHOICES or Path(choice).expanduser().exists() or hub.is_hub_id(choice)):
        raise InputError(f"no features {choice!r}; give {', '.join(IMAGE_CHOICES)}, or a folder or file of weights")


def find_features(
    choice: str, classifier: Classifier | None, *, sample_rate: int | None = None, real: Sounds | None = None
) -> Any:
    """The features called `choice`, one of the kind's choices, a folder or file of weights, or a Hub id.

    They have a `name`, which stands in the title of every figure that is computed on them, and take n samples, pictures
    (n, C, H, W) uint8 or sounds (n, S), int16 or float in [-1, 1], to (n, D) float32 on the CPU, a sample to the same
    row in any company.

    sample_rate: in Hz, of sounds; None for pictures. real: sounds (n, S) that "spectrum" is standardised over. "auto"
    downloads nothing: of pictures it is Inception where its weights are here, else the classifier; of sounds the
    classifier where there is one, else the spectrum.
    """
    of_sound = sample_rate is not None
    choices, named = (SOUND_CHOICES, {"clap": CLAP}) if of_sound else (IMAGE_CHOICES, {"clip": CLIP})
    if choice == "auto":
        best = "spectrum" if of_sound and classifier is None else "classifier"
        choice = "inception" if not of_sound and local_inception() else best
    path = Path(choice).expanduser()
    if choice == "classifier":
        if classifier is not None:
            return ClassifierFeatures(classifier)
        what, setting = ("sounds", "classifier_share=0.15") if of_sound else ("pictures", "num_classifier=400")
        raise InputError(
            f"no classifier to describe {what} by; --set data.{setting} keeps some for one, or give --features "
            f"{'spectrum' if of_sound else 'clip'}"
        )
    if sample_rate is not None:
        if choice == "spectrum" and real is not None:
            return SpectrumFeatures(sample_rate, real)
    elif choice in ("inception", MODEL) or path.is_file() or (path.is_dir() and not (path / "config.json").is_file()):
        return InceptionFeatures(MODEL if choice == "inception" else path if path.exists() else choice)
    if choice in named or path.is_dir() or hub.is_hub_id(choice):
        model = str(path) if path.is_dir() else named.get(choice, choice)
        try:
            return ClipFeatures(model) if sample_rate is None else ClapFeatures(sample_rate, model)
        except InputError as error:  # with what to do about it where a recipe names the network, as none does here
            reason = str(error).partition("; give another")[0].partition(" or pass --set")[0]
            raise InputError(f"{reason}; --features takes {', '.join(choices)} or a folder") from None
    raise InputError(f"no features {choice!r}; give {', '.join(choices)}, or a folder or file of weights")
