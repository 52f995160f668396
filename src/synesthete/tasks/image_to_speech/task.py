"""The task of pictures that speak: the corpus spoken, its clips encoded and the pictures fitted, each once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from synesthete.conditioning.voices import ALL, NONE, PITCHES, RATES, VoicedPicture
from synesthete.config import Recipe, Stage, build, plain
from synesthete.data.audio import as_float
from synesthete.data.files import SPLITS, Split, some
from synesthete.data.labelled import ImageSpeechPairs, ImageSpeechSamples
from synesthete.data.preprocessed import preprocess_images
from synesthete.data.speech.clips import few_targets
from synesthete.data.speech.engines import OWN_PITCH, split_voices
from synesthete.io import digest, is_address, locked
from synesthete.tasks.image_to_speech.sampling import SpeechPlan, SpeechRequest
from synesthete.tasks.preparation import cached, check_training_classes, encode_shards, measure_codec, say_notes
from synesthete.tasks.task import CHOICE, Task, model_folder, register
from synesthete.training.precompute import precompute_features
from synesthete.types import InputError, Prepared, Progress

if TYPE_CHECKING:
    from synesthete.data.rows import Rows
    from synesthete.data.speech.corpus import Clips
    from synesthete.evaluation.runner import Evaluator
    from synesthete.pipeline import Pipeline


SHARD = 500
# Fields of the data that leave the name of a corpus as it was while they have their defaults.
ADDED = ("engine", "speeds", "semitones", "shares")


class ImageToSpeech(Task):
    """A picture in, a clip that says what it shows out."""

    name = "image-to-speech"
    verb = "speak"
    makes = "speech"
    shipped_model = "image-to-speech-voices"
    evaluation_options = ("listener",)
    saved_classifier = "synesthete.evaluation.classifiers.speech:SpeechClassifier"
    request_type = SpeechRequest
    plan_type = SpeechPlan
    form: ClassVar[Any] = {
        "inputs": "picture",
        "voice": CHOICE,
        "pitch": (*PITCHES, 50),
        "rate": (*RATES, 175),
        "max_pixels": None,
    }

    def choices(self, pipeline: Any) -> dict[str, Sequence[Any]]:
        """Voices and what was learned of pitch and rate, of a model that knows any."""
        conditioner = pipeline.conditioner
        if not isinstance(conditioner, VoicedPicture):
            return {"voice": (), "pitch": (), "rate": ()}
        pitches, rates = (own if own[0] < own[1] else () for own in conditioner.ranges)
        return {"voice": (*conditioner.voices, ALL), "pitch": pitches, "rate": rates}

    def gather(self, recipe: Recipe, folder: Path, progress: Progress) -> Prepared:
        """The corpus spoken, the codec measured on it, every clip encoded and every picture fitted."""
        data: ImageSpeechPairs = recipe.data()
        # Beside the corpora where all is in the cache: what is spoken of a picture does not change what is seen.
        place = folder.parent if folder == self.default_folder(recipe) else folder
        # Pictures first: a path that leads nowhere should not be found out after minutes of speaking.
        shown, unreadable = prepare_pictures(recipe, data, place, progress)
        corpus = self.build_corpus(recipe, folder, progress)
        x_0, clips, statistics = prepare_clips(recipe, data, corpus, progress)
        train, test = (ImageSpeechSamples(x_0[split], clips[split].labels, *shown[split]) for split in SPLITS)
        told, train.spoken = find_voices(recipe, data, clips["train"])
        if recipe.conditioner.target.reads == "image":
            train.augmentation = data.augmentation
        notes = repeated_targets(train, data.class_names)
        # A limit is there to overfit on purpose.
        if notes and data.limit is None and not data.allow_few_targets:
            raise InputError(f"{notes[0]}; to train all the same, --set data.allow_few_targets=true")
        skipped = tuple(name for split in SPLITS for name in (*unreadable[split], *clips[split].skipped))
        notes += [*data.notes, *unheard_voices(recipe, clips["train"])]
        return Prepared(train, test, statistics, data.class_names, say_notes(notes, skipped), skipped, told=told)

    def build_corpus(self, recipe: Recipe, folder: Path | None = None, progress: Progress | None = None) -> Path:
        """The folder of the recipe's spoken corpus, built where it is missing."""
        if is_address(folder):
            raise InputError(f"{folder}: what is trained on, without the corpus; give the folder of one, or none")
        folder, report = folder or self.default_folder(recipe), progress or (lambda *_: None)
        with locked(folder, wait=True):
            recipe.data().build(folder / "corpus", lambda done, total: report("speaking", done, total))
        return folder / "corpus"

    def default_folder(self, recipe: Recipe) -> Path:
        """Named by what decides the sound of the corpus."""
        return cached(f"{recipe.name.removesuffix('-debug')}-{corpus_key(recipe)}")

    def describe_prepared(self, prepared: Prepared) -> tuple[dict[str, Any], str]:
        """Pictures and clips of each split."""
        splits = {"train": prepared.train, "test": prepared.test}
        values = {f"{split}_pictures": len(samples.pictures) for split, samples in splits.items()}
        values |= {f"{split}_clips": len(samples.x_0) for split, samples in splits.items()}
        return values, (
            f"{values['train_pictures']} pictures and {values['train_clips']} clips to train on, "
            f"{values['test_pictures']} and {values['test_clips']} held out (no picture and no voice in common)"
        )

    def dummy_batch(self, recipe: Recipe, stage: Stage, num: int) -> Any:
        """Grey pictures, looked at beforehand where a training would, and noise for their clips."""
        data, labels = recipe.data(), torch.zeros(num, dtype=torch.int64)
        x_0 = torch.randn(num, *recipe.codec().shape).half()
        with torch.device("meta"):
            conditioner: Any = recipe.conditioner()
        if conditioner.reads != "image":
            return ImageSpeechSamples(x_0, labels, labels, labels)
        grey = conditioner.preprocess([Image.new("RGB", (64, 64), "grey")])  # (1, C, H, W)
        pictures = grey.expand(num, *grey.shape[1:]).contiguous()
        samples = ImageSpeechSamples(x_0, labels, pictures, labels, data.augmentation)
        if not stage.num_views and not (conditioner.has_fixed_features and data.augmentation is None):
            return samples
        conditioner = recipe.conditioner()
        conditioner.freeze(stage.num_views > 0)
        views, once = max(stage.num_views, 1), contextlib.nullcontext
        return precompute_features(conditioner, samples, views, 0, autocast=once, report=lambda done, total: None)

    def fit_classifier(self, recipe: Recipe, prepared: Prepared, data: Path | None, **options: Any) -> Any:
        """One of voices that the model never heard."""
        from synesthete.evaluation.classifiers.speech import load_or_train_speech_classifier

        pairs, corpus, spec = recipe.data(), self.build_corpus(recipe, data), recipe.codec().spec
        clips, test = pairs.clips(corpus, "classifier"), pairs.clips(corpus, "test")
        trained = load_or_train_speech_classifier(clips, test, spec=spec, **options)
        phrases = [pairs.words.get(name, name) for name in pairs.class_names]
        words = tuple((own,) if isinstance(own, str) else tuple(own) for own in phrases)
        return replace(trained, words=words), test.waveforms, test.labels

    def train_classifier(
        self, recipe: Recipe, prepared: Prepared, model: Path, *, data: Path | None = None, progress: Any = None
    ) -> None:
        """As of every task; beside a model with voices also the encoder of speakers, for clips to be its voice."""
        from synesthete.tasks.image_to_speech import speakers

        super().train_classifier(recipe, prepared, model, data=data, progress=progress)
        if not issubclass(recipe.conditioner.target, VoicedPicture) or (model / speakers.FOLDER).is_dir():
            return
        pairs, corpus = recipe.data(), self.build_corpus(recipe, data)
        clips, held_out = pairs.clips(corpus, "train"), pairs.clips(corpus, "classifier")
        voices = recipe.conditioner.voices or prepared.told["voices"]
        num_steps = min(speakers.NUM_STEPS, sum(stage.num_steps for stage in recipe.stages))
        spec = recipe.codec().spec
        encoder = speakers.train_speaker_encoder(clips, held_out, voices, spec, num_steps=num_steps, progress=progress)
        speakers.save_speaker_encoder(encoder, model)

    def evaluation_data(self, recipe: Recipe, folder: Path | None, progress: Progress | None) -> Path:
        """The corpus: what is evaluated are test pictures, and voices that the model never heard."""
        return self.build_corpus(recipe, folder, progress)

    def evaluator(self, pipeline: Pipeline, prepared: Any, recipe: Recipe, model: str, **options: Any) -> Evaluator:
        """What hears it beside the voices of the corpus."""
        from synesthete.tasks.image_to_speech.evaluation import SpeechEvaluator, read_speech_data
        from synesthete.tasks.image_to_speech.speakers import load_speaker_encoder

        drawn = {name: options[name] for name in ("num", "seed", "progress")}
        data = read_speech_data(pipeline, recipe.data(), prepared, **drawn)
        return SpeechEvaluator(pipeline, data, speakers=load_speaker_encoder(model_folder(model)), **options)


def prepare_clips(
    recipe: Recipe, data: ImageSpeechPairs, corpus: Path, report: Progress
) -> tuple[dict[Split, Rows], dict[Split, Clips], dict[str, Tensor]]:
    """x_0 of every clip and the clips themselves, by split, and the codec's statistics."""
    codec = recipe.codec()
    clips = {split: data.clips(corpus, split) for split in SPLITS}
    # Named by what was read, too: a clip that has become unreadable must not shift the others' labels.
    named = [[found.labels.tolist(), found.speakers] for found in clips.values()]
    shards = corpus.parent / f"clips-{digest([data.limit, plain(recipe.codec), named])}"
    spoken = clips["train"].waveforms
    statistics = measure_codec(
        codec, shards / "statistics.safetensors", lambda: (as_float(part) for part in spoken.split(SHARD))
    )
    codec.load_state_dict(statistics)
    x_0 = {}
    for split, found in clips.items():
        if not len(found):
            raise InputError(f"{shards}: no clips of split {split}; add some")
        encode, name = partial(encode_clips, codec, found.waveforms), f"clips-{split}"
        x_0[split] = encode_shards(shards, len(found), SHARD, encode, name, report, f"{name}-")
    return x_0, clips, statistics


def prepare_pictures(
    recipe: Recipe, data: ImageSpeechPairs, folder: Path, report: Progress
) -> tuple[dict[Split, tuple[Rows | Tensor, Tensor]], dict[Split, Sequence[str]]]:
    """The pictures of each split as the conditioner reads them and their labels, and those that cannot be read.

    Each is read once; no training picture is a test picture. Where a conditioner has an `identity`, its
    `extract_features` never changes: where no augmentation changes the pictures, what it sees is kept in their place,
    in half precision. With augmentation the pixels are kept.
    """
    conditioner = recipe.conditioner()
    listed = {split: data.pictures(split) for split in SPLITS}
    if conditioner.reads != "image":  # it reads the class, not the picture
        return {split: (labels, labels) for split, (_, labels) in listed.items()}, dict.fromkeys(SPLITS, ())
    described = recipe.conditioner
    if isinstance(conditioner, VoicedPicture):  # who speaks changes nothing of what is seen
        conditioner, described = conditioner.picture, described.picture
    named = conditioner.identity() or plain(described)
    looked_at = conditioner.has_fixed_features and data.augmentation is None
    place = folder / f"pictures-{digest([type(conditioner).__name__, named, looked_at])}"
    fitted = {}
    for split, (pictures, _) in listed.items():
        name = f"pictures-{split}"
        fitted[split] = preprocess_images(
            pictures, conditioner, place, name, looked_at=looked_at, progress=partial(report, name)
        )
    fitted["train"] = fitted["train"].without(set(fitted["test"].contents))
    shown: dict[Split, tuple[Rows | Tensor, Tensor]] = {
        split: (found.rows, listed[split][1][found.places]) for split, found in fitted.items()
    }
    check_training_classes(data.class_names, shown["train"][1].tolist())
    return shown, {split: found.skipped for split, found in fitted.items()}


def find_voices(
    recipe: Recipe, data: ImageSpeechPairs, clips: Clips
) -> tuple[dict[str, Any], tuple[Tensor, Tensor, Tensor] | None]:
    """The fields of a `VoicedPicture` that the training clips decide, and how each clip is spoken; none of another.

    A voice that the recipe does not name is none to the model, and the pitch and rate of its clips are told all the
    same. Held-out clips are of other voices, so held-out pictures come alone.
    """
    if not issubclass(recipe.conditioner.target, VoicedPicture):
        return {}, None
    named = tuple(dict.fromkeys(name for name in clips.speakers if name))
    slow, fast = data.variation.speeds or (1.0, 1.0)
    own = clips.pitches is not None and bool((clips.pitches == OWN_PITCH).all())  # nobody was asked for another
    pitched = (OWN_PITCH, OWN_PITCH) if own else data.pitches
    found = {"voices": named, "pitches": pitched, "rates": (data.rates[0] * slow, data.rates[1] * fast)}
    told = {name: value for name, value in found.items() if getattr(recipe.conditioner, name) is None}
    voices = told.get("voices") or recipe.conditioner.voices
    if len(voices) < 2:
        raise InputError(
            f"{len(voices)} voice in the training corpus: none to choose from; add voices (data.engine), or set "
            "conditioner to what is now its conditioner.picture"
        )
    unknown = torch.full((len(clips),), torch.nan)
    places = {name: place for place, name in enumerate(voices)}
    voice = torch.tensor([places.get(name, NONE) for name in clips.speakers])
    pitches, rates = (unknown if one is None else one for one in (clips.pitches, clips.rates))
    return told, (voice, pitches, rates)


def unheard_voices(recipe: Recipe, clips: Clips) -> list[str]:
    """A note where the recipe names voices of which there is no training clip."""
    voiced = issubclass(recipe.conditioner.target, VoicedPicture)
    named = (recipe.conditioner.voices or ()) if voiced else ()
    missing = [name for name in named if name not in clips.speakers]
    unheard = f"{len(missing)} of {len(named)} conditioner.voices have no clip in the training corpus and learn nothing"
    return [f"{unheard}: {some(missing, 5)}"] if missing else []


def encode_clips(codec: Any, waveforms: Tensor | Rows, places: Tensor) -> Tensor:
    """x_0 of some of the int16 waveforms (n, S), in half precision, which is finer than 16-bit sound needs."""
    return codec.encode(as_float(waveforms[places])).half()


def corpus_key(recipe: Recipe) -> str:
    """A name for what decides the sound of the corpus."""
    ignored = ("sources", "folder", "augmentation", "limit", "allow_few_targets", "max_pixels")
    data, defaults = recipe.data(), plain(build(ImageSpeechPairs, sources=()))
    groups = data.engine.split_voices() if data.engine else split_voices()
    voices = {split: [voice.name for voice in group] for split, group in groups.items()}
    fields = plain(recipe.data) | {"class_names": list(data.class_names)}
    fields = {k: v for k, v in fields.items() if k not in ignored and (k not in ADDED or v != defaults[k])}
    # Not where the voices lie, but which they are.
    return digest([voices, fields | ({"engine": data.engine.identity()} if data.engine else {})])


def repeated_targets(samples: ImageSpeechSamples, class_names: Sequence[str] = ()) -> list[str]:
    """A note in plain words where the clips are too few for a model to need the picture (`plan.few_targets`)."""
    different: dict[str, set[int]] = {}
    for x_0, label in zip(samples.x_0, samples.clip_labels.tolist(), strict=True):
        different.setdefault(class_names[label] if class_names else str(label), set()).add(hash(x_0.numpy().tobytes()))
    reason = few_targets({name: len(found) for name, found in different.items()})
    return [f"{len(samples)} pictures share {reason}"] if reason else []


register(ImageToSpeech())
