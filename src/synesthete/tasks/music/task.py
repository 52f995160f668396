"""The task of music: recordings decoded once, cut into pieces, and encoded where the codec is not trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from synesthete import hub
from synesthete.conditioning.labels import quantiles
from synesthete.config import Recipe, Stage, plain
from synesthete.data.labelled import PARTS, Part
from synesthete.data.music import Music as MusicData
from synesthete.data.music import MusicSamples
from synesthete.io import digest
from synesthete.pipeline import Cascade, Pipeline
from synesthete.pipeline.cascade import is_cascade
from synesthete.tasks.music.cutting import Cutting, decode_recordings
from synesthete.tasks.music.sampling import STRENGTH, MusicPlan, MusicRequest
from synesthete.tasks.preparation import cached, check_conditioner, encode_shards, measure_codec, say_notes
from synesthete.tasks.task import CHOICE, Task, register
from synesthete.types import InputError, Prepared, Progress

BATCH = 64  # pieces that are encoded at once, and the rows of a shard
NUM_MEASURED = 2048  # training pieces, drawn from all, that the codec is measured on


class MusicTask(Task):
    """Nothing, a class or a clip in, music out."""

    name = "music"
    verb = "play"
    makes = "music"
    shipped_model = "music-notes"
    num_evaluated = 100
    evaluation_options = ("features", "recorded")
    evaluator_type = "synesthete.tasks.music.evaluation:MusicEvaluator"
    saved_classifier = "synesthete.evaluation.classifiers.sound:SoundClassifier"
    request_type = MusicRequest
    plan_type = MusicPlan
    form: ClassVar[Any] = {"labels": CHOICE, "init": "sound", "strength": (0.05, 1.0, STRENGTH), "upsampler": None}

    def choices(self, pipeline: Any) -> dict[str, Sequence[Any]]:
        """Its classes, and how loud only of a model that is told it."""
        base = getattr(pipeline, "base", pipeline)
        return super().choices(base) | ({} if base.conditioner.reads == "level" else {"loudness": ()})

    def gather(self, recipe: Recipe, folder: Path, progress: Progress) -> Prepared:
        """Recordings decoded, cut, measured by the codec, and encoded where no stage trains the codec under them."""
        data: MusicData = recipe.data()
        codec = recipe.codec()
        entries = data.listing.entries
        waveforms = decode_recordings(entries, folder / "recordings", codec.spec.sample_rate, progress)
        cutting = Cutting(data, waveforms, codec.spec.sample_rate, codec.config.num_samples)
        cutting.drop_copies(folder, progress)
        samples = {part: cutting.samples(part) for part in PARTS}
        cutting.check(samples)
        check_conditioner(recipe, data.class_names, "recordings")
        for found in samples.values():
            found.reads = what_is_read(recipe)
        samples["train"].augmentation = data.augmentation
        key = digest([plain(recipe.codec), identity_of_pieces(samples["train"])])
        drawn = torch.randperm(len(samples["train"]), generator=torch.Generator().manual_seed(0))[:NUM_MEASURED]
        batches = partial(Batches, samples["train"], drawn.sort().values)
        statistics = measure_codec(codec, folder / f"statistics-{key}.safetensors", batches)
        notes = cutting.notes
        if not any("codec" in stage.train for stage in recipe.stages):
            codec.load_state_dict(statistics)
            if data.augmentation and data.num_views == 1:
                notes.append("data.augmentation is left out, since sounds are encoded once; --set data.num_views=4")
            for part in ("train", "test"):  # a classifier listens to the sounds themselves
                encode_pieces_once(recipe, codec, samples[part], folder, part, key, progress)
        train, test, classifier = (samples[part] for part in ("train", "test", "classifier"))
        skipped = tuple(cutting.skipped)
        told: dict[str, Any] = {}
        if train.reads == "level" and recipe.conditioner.levels is None:
            assert train.levels is not None
            told["levels"] = quantiles(train.levels)
        said = say_notes(notes, ())
        return Prepared(train, test, statistics, data.class_names, said, skipped, classifier=classifier, told=told)

    def default_folder(self, recipe: Recipe) -> Path:
        """Named by the sample rate."""
        return cached(f"music-{recipe.codec().spec.sample_rate}")

    def describe_prepared(self, prepared: Prepared) -> tuple[dict[str, Any], str]:
        """Pieces, recordings and seconds of each split."""
        values: dict[str, Any] = {}
        told = {}
        for part in PARTS:
            num, recordings, seconds = len(pieces := getattr(prepared, part)), pieces.num_recordings, pieces.seconds
            values |= {f"{part}_pieces": num, f"{part}_recordings": recordings, f"{part}_seconds": round(seconds, 1)}
            told[part] = f"{num} pieces ({recordings} recordings, {seconds:.0f} s)"
        return values, (
            f"{told['train']} to train on, {told['classifier']} for the classifier alone, {told['test']} held out "
            "(no recording in two of them)"
        )

    def dummy_batch(self, recipe: Recipe, stage: Stage, num: int) -> Any:
        """Noise, encoded unless the codec learns from it or it is what the model is told."""
        codec, labels = recipe.codec(), torch.zeros(num, dtype=torch.int64)
        x_0 = torch.randn(num, 1, *codec.shape).half()
        noise = torch.randint(-3000, 3000, (num, codec.config.num_samples), dtype=torch.int16)
        views = None if "codec" in stage.train else x_0
        told = what_is_read(recipe), torch.linspace(-40, -10, num)
        return MusicSamples(noise, labels, labels, ("noise",), views, *told, sample_rate=codec.spec.sample_rate)

    def fit_classifier(self, recipe: Recipe, prepared: Prepared, data: Path | None, **options: Any) -> Any:
        """One of recordings that the model never heard."""
        from synesthete.evaluation.classifiers.sound import load_or_train_sound_classifier

        real, test = prepared.classifier, prepared.test
        if real is None or not len(real):
            raise InputError("no recordings for a classifier; --set data.classifier_share=0.15")
        rate = recipe.codec().spec.sample_rate
        trained = load_or_train_sound_classifier(real, test, prepared.class_names, rate, **options)
        return trained, test.waveforms, test.labels

    def load(self, model: str, device: str = "cpu") -> Pipeline | Cascade:
        """A model, or two that ship as one."""
        if hub.find_adapters(model) is None and is_cascade(hub.find_model(model)):
            return Cascade.load(model, device)
        return Pipeline.load(model, device)

    def request_for(self, pipeline: Any, inputs: Sequence[Any]) -> dict[str, Any]:
        """Labels."""
        return {"labels": [str(one) for one in inputs]}


def what_is_read(recipe: Recipe) -> Any:
    """What of a piece the conditioner reads, as `MusicSamples.reads`."""
    reads = recipe.conditioner.target.reads
    return reads if reads in ("sound", "level") else "label"


def encode_pieces_once(
    recipe: Recipe, codec: Any, samples: MusicSamples, place: Path, part: Part, key: str, progress: Progress
) -> None:
    """Give the samples their x_0 (n, V, C, H, W), in half precision, a shard of BATCH pieces at a time."""
    num_views = recipe.data.num_views if samples.augmentation else 1
    varied = [plain(recipe.data.augmentation), num_views, samples.seed] if num_views > 1 else []
    folder = place / f"latents-{part}-{digest([key, identity_of_pieces(samples), varied])}"

    def encode(places: Tensor) -> Tensor:
        return samples.encode(codec, places, num_views, at_once=BATCH)

    samples.x_0 = encode_shards(folder, len(samples), BATCH, encode, f"pieces encoded, {part}", progress)


def identity_of_pieces(samples: MusicSamples) -> str:
    """A name for which pieces of which sounds these are."""
    pieces: Any = samples.waveforms
    sounds = [[name, len(sound)] for name, sound in zip(samples.recording_names, pieces.sounds, strict=True)]
    return digest([sounds, pieces.recordings.tolist(), pieces.starts.tolist(), list(pieces.shape)])


class Batches:
    """Some of the pieces as batches of waveforms (B, S), which may be gone through more than once."""

    def __init__(self, samples: MusicSamples, places: Tensor) -> None:
        self.samples, self.places = samples, places.split(BATCH)

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Tensor]:
        return (self.samples.waveform(places) for places in self.places)


register(MusicTask())
