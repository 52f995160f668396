"""Whether what is told of sounds, what is read of them and what is said beside them fit each other in a recipe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from synesthete.conditioning.learned_encoders import TextTransformer
from synesthete.config.build import Build
from synesthete.data.captions import CLASS, names_in, spell
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.config import Recipe

HEARING = "AudioTextConditioner"


def check_hearing(recipe: Recipe) -> None:
    """Make sure that sounds are told to a conditioner that hears, and heard by a denoiser that reads as many tokens.

    Raises:
        InputError: what does not fit, and what to set.
    """
    told = hasattr(recipe.data.target, "pairs")
    heard = recipe.conditioner.target.reads == "audio_text"
    data, conditioner = (getattr(recipe, part).target.__name__ for part in ("data", "conditioner"))
    if told != heard:
        says = f"{data} tells sounds, {conditioner} hears none"
        says = says if told else f"{conditioner} hears, {data} has no sounds"
        field, target = ("conditioner", HEARING) if told else ("data", "AudioImagePairs")
        raise InputError(f"recipe {recipe.name}: {says}; --set {field}='{{class: {target}, ...}}'")
    if not heard:
        if hasattr(recipe.denoiser, "num_sound_tokens"):
            raise InputError(
                f"recipe {recipe.name}: {recipe.denoiser.target.__name__} reads text and sound, {conditioner} tells "
                f"none; --set conditioner='{{class: {HEARING}, ...}}'"
            )
        return
    check_tokens(recipe)
    check_seconds(recipe)
    check_captions(recipe)


def check_tokens(recipe: Recipe) -> None:
    """Make sure that the denoiser takes for sound as many tokens as are."""
    says, reads = recipe.conditioner.num_sound_tokens, getattr(recipe.denoiser, "num_sound_tokens", None)
    if reads not in (None, says):
        raise InputError(
            f"recipe {recipe.name}: a sound is {says} tokens, denoiser.num_sound_tokens is {reads}; "
            f"--set denoiser.num_sound_tokens={says}"
        )


def check_seconds(recipe: Recipe) -> None:
    """Make sure that an encoder of one length hears all of the sounds that it is told."""
    ear = recipe.conditioner.sound
    if not isinstance(ear, Build) or recipe.data.seconds is None or not hasattr(ear, "num_samples"):
        return
    told = round(recipe.data.seconds * ear.sample_rate)
    if told > ear.num_samples:
        raise InputError(
            f"recipe {recipe.name}: sounds of {recipe.data.seconds:g} s are {told} samples at {ear.sample_rate} Hz, "
            f"their encoder hears {ear.num_samples}; --set conditioner.sound.num_samples={told}"
        )


def check_captions(recipe: Recipe) -> None:
    """Make sure that a text encoder of the recipe's own knows just the captions that the data can become."""
    reader, templates = recipe.conditioner.text, recipe.data.captions
    if (
        not isinstance(reader, Build)
        or reader.target is not TextTransformer
        or not templates
        or isinstance(templates, str)
    ):
        return
    names = recipe.data.class_names or ()
    if not names and (naming := [template for template in templates if CLASS in names_in(template)]):
        raise InputError(f"recipe {recipe.name}: caption {naming[0]!r} names classes; give data.class_names as well")
    spelled, known = spell(templates, names), tuple(reader.captions)
    if known == spelled:
        return
    differing = next((text for text in (*spelled, *known) if (text in known) != (text in spelled)), None)
    how = "are in another order" if differing is None else f"{'have' if differing in known else 'lack'} {differing!r}"
    raise InputError(
        f"recipe {recipe.name}: conditioner.text.captions {how}, unlike what data.captions and data.class_names spell; "
        f"--set conditioner.text.captions='{json.dumps(spelled, ensure_ascii=False)}'"
    )
