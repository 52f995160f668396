"""Classes by the short names that recipe.yaml and model_index.json give them, imported when asked for."""

from __future__ import annotations

import difflib
import importlib
import re
from typing import TYPE_CHECKING, Any, TypeVar

from synesthete.logs import PACKAGE
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


# The module in this package of every class that a recipe or a saved model may name. A class that moves is moved here.
MODULES: dict[str, str] = {
    # data, and where it is from
    "AudioImagePairs": "data.audio_image_pairs",
    "LabelledPictures": "data.labelled",
    "Music": "data.music",
    "ImageSpeechPairs": "data.image_speech_pairs",
    "BuiltInDigits": "data.pictures",
    "ClassFolders": "data.pictures",
    "ClassTar": "data.archives",
    "Fsdd": "data.pair_sources",
    "HubPictures": "data.hub_pictures",
    "ImageNet": "data.published_pictures",
    "Mnist": "data.pictures",
    "PairManifest": "data.pair_sources",
    "Recordings": "data.recordings",
    "SoundFolders": "data.pair_sources",
    "SpokenWords": "data.pair_sources",
    "Stl10": "data.published_pictures",
    "Swatches": "data.synthetic",
    "Tones": "data.synthetic",
    "ToneSounds": "data.synthetic",
    "VggSound": "data.videos",
    "Videos": "data.videos",
    "Espeak": "data.speech.espeak",
    "Piper": "data.speech.piper",
    "Kokoro": "data.speech.kokoro",
    "Mixed": "data.speech.engines",
    "Affine": "data.augmentation",
    "FlipCrop": "data.augmentation",
    "AudioAugmentation": "data.augmentation",
    # codecs
    "AutoencoderCodec": "codecs.autoencoder",
    "LatentCodec": "codecs.latent",
    "MelCodec": "codecs.mel",
    "PixelCodec": "codecs.pixels",
    "StftCodec": "codecs.stft",
    "VocoderCodec": "codecs.vocoder",
    # conditioners, and encoders in them
    "AudioTextConditioner": "conditioning.audio_text",
    "Clap": "conditioning.clap",
    "ClipPrompts": "conditioning.prompts",
    "ClipText": "conditioning.clip_text",
    "Labels": "conditioning.labels",
    "LowBand": "conditioning.low_band",
    "PicturePatches": "conditioning.pictures",
    "PictureStem": "conditioning.pictures",
    "PooledText": "conditioning.labels",
    "ResidualStem": "conditioning.pictures",
    "SoundEncoder": "conditioning.learned_encoders",
    "TextTransformer": "conditioning.learned_encoders",
    "Unconditional": "conditioning.labels",
    "VisionEncoder": "conditioning.vision",
    # denoisers and their process
    "DiT": "denoisers.dit",
    "StableDiffusion": "denoisers.stable_diffusion",
    "UNet": "denoisers.unet",
    "Process": "diffusion.process",
    # objectives
    "Alignment": "objectives.alignment",
    "Autoencoding": "objectives.autoencoding",
    "Denoising": "objectives.denoising",
    "Vocoding": "objectives.vocoding",
}

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
