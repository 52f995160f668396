"""Classes by the short names that recipe.yaml and model_index.json give them, imported when asked for."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable
from typing import Any, TypeVar

from synesthete.logs import PACKAGE
from synesthete.types import InputError

# The classes of each module of this package that a recipe or a saved model may name. One that moves is moved here.
NAMES: dict[str, str] = {
    # data, and where it is from
    "data.audio_image_pairs": "AudioImagePairs",
    "data.labelled": "LabelledPictures",
    "data.music": "Music",
    "data.image_speech_pairs": "ImageSpeechPairs",
    "data.pictures": "BuiltInDigits ClassFolders Mnist",
    "data.archives": "ClassTar",
    "data.emoji": "Emoji",
    "data.pair_sources": "Fsdd PairManifest SoundFolders SpokenWords",
    "data.hub_pictures": "HubPictures",
    "data.published_pictures": "ImageNet Stl10",
    "data.recordings": "Recordings",
    "data.sample_shards": "SampleShards",
    "data.synthetic": "Swatches Tones ToneSounds",
    "data.videos": "VggSound Videos",
    "data.scores.corpus": "Scores",
    "data.scores.sources": "BachChorales ScoreFolder SyntheticChorales",
    "data.speech.espeak": "Espeak",
    "data.speech.piper": "Piper",
    "data.speech.kokoro": "Kokoro",
    "data.speech.engines": "Mixed",
    "data.scores.scored_sounds": "ScoredSounds",
    "data.scores.performances": "RecordedScores RenderedScores",
    "data.scores.note_samples": "NoteSamples",
    "data.scores.rendering": "Partials SoundFont",
    "data.augmentation": "Affine FlipCrop AudioAugmentation",
    # codecs
    "codecs.autoencoder": "AutoencoderCodec",
    "codecs.latent": "LatentCodec",
    "codecs.mel": "MelCodec",
    "codecs.pixels": "PixelCodec",
    "codecs.roll": "RollCodec",
    "codecs.stft": "StftCodec",
    "codecs.vocoder": "VocoderCodec",
    # conditioners, and encoders in them
    "conditioning.audio_text": "AudioTextConditioner",
    "conditioning.clap": "Clap",
    "conditioning.prompts": "ClipPrompts",
    "conditioning.clip_text": "ClipText",
    "conditioning.labels": "Labels Loudness PooledText Unconditional",
    "conditioning.low_band": "LowBand",
    "conditioning.pictures": "PicturePatches PictureStem ResidualStem",
    "conditioning.learned_encoders": "SoundEncoder TextTransformer Words",
    "conditioning.score_roll": "ScoreRoll SketchedScore",
    "conditioning.vision": "VisionEncoder",
    "conditioning.voices": "VoicedPicture",
    # denoisers and their process
    "denoisers.dit": "DiT",
    "denoisers.hourglass": "Hourglass",
    "denoisers.stable_diffusion": "StableDiffusion",
    "denoisers.unet": "UNet",
    "diffusion.note_masking": "NoteMasking",
    "diffusion.process": "Process",
    # objectives
    "objectives.alignment": "Alignment",
    "objectives.autoencoding": "Autoencoding",
    "objectives.denoising": "Denoising",
    "objectives.distillation": "Distillation",
    "objectives.vocoding": "Vocoding",
}
MODULES: dict[str, str] = {name: module for module, names in NAMES.items() for name in names.split()}

Class = TypeVar("Class", bound=type)
_registered: dict[str, type] = {}


def register_class(cls: Class, name: str | None = None) -> Class:
    """Let recipes and saved models name a class from outside the package; a decorator, too.

    Whoever loads them has to import the module that registers it first. name: the class's own where None.

    Raises:
        InputError: a name that another class has, or that is none.
    """
    name = name or cls.__name__
    if not name.isidentifier():
        raise InputError(f"{name!r} cannot name a class; give letters, digits and underscores")
    if name in MODULES or _registered.get(name, cls) is not cls:
        other = f"{PACKAGE}.{MODULES[name]}" if name in MODULES else _registered[name].__module__
        raise InputError(
            f"{name!r} is a class of {other}; register {cls.__module__}.{cls.__qualname__} by another name"
        )
    _registered[name] = cls
    return cls


def find_class(name: Any) -> Callable[..., Any]:
    """The class of a short name: of this package, or registered.

    Raises:
        InputError: no such name.
    """
    if isinstance(name, str) and name in _registered:
        return _registered[name]
    if isinstance(name, str) and name in MODULES:
        return getattr(importlib.import_module(f"{PACKAGE}.{MODULES[name]}"), name)
    if isinstance(name, str) and re.fullmatch(rf"{PACKAGE}(\.\w+)+", name):
        raise InputError(
            f"class {name!r} is a module's path, which recipes and models of an earlier version hold; "
            "name the class alone, or train again"
        )
    near = difflib.get_close_matches(str(name), [*MODULES, *_registered], n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"register your own with {PACKAGE}.config.register_class"
    raise InputError(f"{name!r} is not a class of {PACKAGE} that a recipe or model may name; {hint}")


def class_name(cls: type) -> str:
    """The short name of a class.

    Raises:
        InputError: a class that is neither in the table nor registered.
    """
    for name, registered in _registered.items():
        if registered is cls:
            return name
    name = cls.__name__
    if cls.__module__ == f"{PACKAGE}.{MODULES.get(name)}":
        return name
    raise InputError(
        f"{cls.__module__}.{cls.__qualname__} has no name that could be saved; "
        f"call {PACKAGE}.config.register_class({cls.__name__}) where it is defined"
    )
