"""The task of pictures: fitted once, the codec measured on them, and encoded where it is a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from synesthete.conditioning.learned_encoders import START, Words, words_of
from synesthete.config import Recipe, Stage, plain
from synesthete.data.captions import spoken
from synesthete.data.labelled import PARTS, LabelledPictures, Part, PictureSamples
from synesthete.data.preprocessed import PreprocessedImages, preprocess_images
from synesthete.io import digest
from synesthete.tasks import preparation
from synesthete.tasks.images.sampling import PicturePlan, PictureRequest
from synesthete.tasks.task import Task, register
from synesthete.types import InputError, Prepared, Progress

if TYPE_CHECKING:
    from synesthete.data.pictures import Pictures
    from synesthete.data.rows import Rows
    from synesthete.tasks.sampling import Plan, SampleRequest

__all__ = ["Images"]

SHARD = 500
AT_ONCE = 32  # pictures that are encoded at once
NUM_VIEWS = 4  # of a training picture that is encoded once: itself, and augmented


class Images(Task):
    """A class, words or nothing in, a picture out."""

    name = "images"
    verb = "draw"
    makes = "pictures"
    shipped_model = "images-digits"
    evaluation_options = ("features",)
    evaluator_type = "synesthete.tasks.images.evaluation:ImagesEvaluator"
    saved_classifier = "synesthete.evaluation.classifiers.image:ImageClassifier"
    request_type: ClassVar[type[SampleRequest]] = PictureRequest
    plan_type: ClassVar[type[Plan]] = PicturePlan

    def gather(self, recipe: Recipe, folder: Path, progress: Progress) -> Prepared:
        """Pictures fitted to the codec, none in two splits, measured, and encoded where it is a network."""
        data: LabelledPictures = recipe.data()
        codec = recipe.codec()
        listed = {part: data.pictures(part) for part in PARTS}
        fitted: dict[Part, PreprocessedImages] = {}
        shares = data.num_classifier == 0  # the classifier learns from what the model does
        for part in PARTS:
            if part == "classifier" and shares:
                fitted[part] = fitted["train"]
                continue
            name = f"pictures-{part}"
            fitted[part] = preprocess_images(listed[part][0], codec, folder, name, progress=partial(progress, name))
        held_out = set(fitted["test"].contents)
        fitted["classifier"] = fitted["classifier"].without(held_out)
        apart = set() if shares else set(fitted["classifier"].contents)
        fitted["train"] = fitted["train"].without(held_out | apart)
        samples = {part: PictureSamples(found.rows, listed[part][1][found.places]) for part, found in fitted.items()}
        samples["train"].augmentation = data.augmentation
        preparation.check_training_classes(data.class_names, samples["train"].labels.tolist())
        preparation.check_conditioner(recipe, data.class_names, "pictures")
        shown = {part: listed[part][0].take(found.places.tolist()) for part, found in fitted.items()}
        told = self.tell(recipe, samples, shown)
        named = digest([plain(recipe.codec), digest(b"".join(sorted(fitted["train"].contents)))])
        statistics = preparation.measure_codec(
            codec, folder / f"statistics-{named}.safetensors", partial(batches_of, samples["train"])
        )
        if codec.caches_latents:
            codec.load_state_dict(statistics)
            named = digest([plain(recipe.data.augmentation), named])
            for part in ("train", "test"):  # a classifier looks at the pictures themselves
                samples[part].x_0 = encode_pictures_once(
                    codec, samples[part], folder / f"latents-{part}-{named}", part, progress
                )
        skipped = tuple(name for found in fitted.values() for name in found.skipped)
        train, test, classifier = (samples[part] for part in ("train", "test", "classifier"))
        notes = preparation.say_notes(data.notes, skipped)
        return Prepared(train, test, statistics, data.class_names, notes, skipped, classifier=classifier, told=told)

    def tell(
        self, recipe: Recipe, samples: dict[Part, PictureSamples], pictures: dict[Part, Pictures]
    ) -> dict[str, Any]:
        """Give the samples their captions where the conditioner learns words, and say which it knows."""
        if not issubclass(recipe.conditioner.target, Words):
            return {}
        texts = {
            part: [
                own.texts.get(file.name, spoken(label)).split("\n")
                for file, label in zip(own.files, own.labels, strict=True)
            ]
            for part, own in pictures.items()
        }
        classes = [spoken(name) for name in recipe.data().class_names]
        words = sorted({word for text in texts["train"] for line in text for word in words_of(line)})
        told = {"captions": recipe.conditioner.captions or (*classes, *words)}
        text = recipe.conditioner(**told).text
        known = set(text.vocabulary)
        for part, lines in texts.items():
            most = max(map(len, lines), default=1)
            rows = [
                " ".join(word for word in words_of(own[place % len(own)]) if word in known)
                for own in lines
                for place in range(most)
            ]
            samples[part].captions = text.tokenise(rows).unflatten(0, (-1, most))
        return told

    def default_folder(self, recipe: Recipe) -> Path:
        """Named by how the codec reads pictures."""
        return preparation.cached(f"pictures-{digest(plain(recipe.codec))}")

    def describe_prepared(self, prepared: Prepared) -> tuple[dict[str, Any], str]:
        """Pictures of each split."""
        values = {f"{part}_pictures": len(getattr(prepared, part)) for part in ("train", "classifier", "test")}
        return values, (
            f"{values['train_pictures']} pictures to train on, {values['classifier_pictures']} for the classifier "
            f"alone, {values['test_pictures']} held out (no picture in two of them)"
        )

    def dummy_batch(self, recipe: Recipe, stage: Stage, num: int) -> Any:
        """Grey pictures."""
        grey = recipe.codec().preprocess([Image.new("RGB", (64, 64), "grey")])  # (1, C, H, W)
        pictures = grey.expand(num, *grey.shape[1:]).contiguous()
        samples = PictureSamples(pictures, torch.zeros(num, dtype=torch.int64), recipe.data().augmentation)
        if issubclass(recipe.conditioner.target, Words):
            samples.captions = torch.full((num, 1, recipe.conditioner.num_tokens), START)
        return samples

    def fit_classifier(self, recipe: Recipe, prepared: Prepared, data: Path | None, **options: Any) -> Any:
        """One of pictures that the model never saw."""
        from synesthete.evaluation.classifiers.image import load_or_train_image_classifier

        real, test = prepared.classifier, prepared.test
        if real is None or not len(real):
            raise InputError("no pictures for a classifier; --set data.num_classifier=400")
        trained = load_or_train_image_classifier(real, test, prepared.class_names, **options)
        return trained, test.pictures, test.labels

    def request_for(self, pipeline: Any, inputs: Sequence[Any]) -> dict[str, Any]:
        """Class names and numbers are labels, anything else a prompt; all are labels to a model that reads no text."""
        given = [str(one) for one in inputs]
        if pipeline.is_conditional and not pipeline.conditioner.reads_text:
            return {"labels": given}
        known = {*pipeline.class_names, *map(str, range(len(pipeline.class_names))), "all"}
        return {"labels": [g for g in given if g in known], "prompts": [g for g in given if g not in known]}

    def choices(self, pipeline: Any) -> dict[str, Sequence[Any]]:
        """Its classes; words of one's own only for a model that reads them."""
        return super().choices(pipeline) | ({} if pipeline.conditioner.reads_text else {"prompts": ()})

    def check_scorable(self, features: str = "auto") -> None:
        """Pictures can, by any features that are there."""
        from synesthete.evaluation.features import check_image_features

        check_image_features(features)


def encode_pictures_once(codec: Any, samples: PictureSamples, folder: Path, name: str, progress: Progress) -> Rows:
    """x_0 of every picture (n, V, c, h, w), in half precision, and of NUM_VIEWS - 1 augmented views where there are."""
    views = NUM_VIEWS if samples.augmentation else 1
    codec.eval()

    def encode(places: Tensor) -> Tensor:
        device = preparation.accelerator()  # of the machine that encodes
        codec.to(device)
        return samples.encode(codec, places, views, at_once=AT_ONCE, device=device, precision="auto")

    return preparation.encode_shards(folder, len(samples), SHARD, encode, f"latents-{name}", progress)


def batches_of(samples: PictureSamples) -> Iterator[Tensor]:
    """The pictures as they are (b, C, H, W), SHARD at a time."""
    return (samples.pictures[places] for places in torch.arange(len(samples)).split(SHARD))


register(Images())
