"""The sounds that a command names, as its model hears them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synesthete.cli.painting_work import Show
    from synesthete.conditioning.audio_text import SoundAndText
    from synesthete.pipeline import Pipeline

LISTENED = 32  # sounds in memory at once


class Sounds(NamedTuple):
    """What the model makes of the sounds that can be used.

    paths: of these. targets: the PNG of each one's first picture. raw: (n, ...), each sound's vector with the prompt.
    skipped: a line for each of the others. notes: what is to be said of those that are used.
    """

    paths: list[Path]
    targets: list[Path]
    raw: SoundAndText
    skipped: list[str]
    notes: list[str]


def find_sounds(inputs: Sequence[Path]) -> list[Path]:
    """Every sound among the inputs and in the folders among them, each once.

    Raises:
        InputError: an input that does not exist, or a folder without sounds.
    """
    from synesthete.data.recordings import Recordings

    found: list[Path] = []
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path}: no such file; give a sound or a folder of sounds")
        found += [path] if path.is_file() else [Path(r.name) for r in Recordings(str(path)).recordings()]
    return list(dict.fromkeys(found))


def listen(
    pipeline: Pipeline, model: str, found: Sequence[Path], targets: Sequence[Path], prompt: str | None, show: Show
) -> Sounds:
    """What the model hears in each sound, read as those that it was trained on.

    Raises:
        InputError: not one that can be used, or an encoder of sounds that is not on this machine.
    """
    import torch

    from synesthete.conditioning.audio_text import SoundAndText
    from synesthete.tasks.audio_to_image.listening import Listening

    conditioner = pipeline.conditioner
    listening = Listening.of(conditioner, model_folder(model))
    places: list[int] = []
    skipped: list[str] = []
    notes: list[str] = []
    lengths: list[float] = []
    vectors = []
    for first in range(0, len(found), LISTENED):
        waveforms = []
        for place, path in enumerate(found[first : first + LISTENED], first):
            try:
                sound = listening.hear(path)
            except InputError as error:
                skipped.append(str(error))
                continue
            places.append(place)
            waveforms.append(sound.waveform)
            lengths.append(sound.seconds)
            notes += [sound.note] if sound.note else []
        if waveforms:
            raw = conditioner.compose(waveforms).to(pipeline.device)
            vectors.append(conditioner.extract_features(raw).sound)
        show("sounds", min(first + LISTENED, len(found)), len(found), "")
    if not places:
        many = f"not one of {len(found)} sounds can be used; the first: " if len(found) > 1 else ""
        raise InputError(f"{many}{skipped[0]}")
    notes += say_lengths([found[i] for i in places], lengths, listening.seconds)
    text = None if prompt is None else conditioner.text_encoder.tokenise([prompt]).expand(len(places), -1)
    raw = SoundAndText(torch.cat(vectors), text, is_embedded=True)
    return Sounds([found[i] for i in places], [targets[i] for i in places], raw, skipped, notes)


def say_lengths(paths: Sequence[Path], lengths: Sequence[float], seconds: float) -> list[str]:
    """What was done to sounds that are not as long as the model listens."""
    said = []
    for what, done, chosen in (
        ("shorter", "padded", [i for i, length in enumerate(lengths) if length < seconds * 0.999]),
        ("longer", "its loudest part is heard", [i for i, length in enumerate(lengths) if length > seconds * 1.001]),
    ):
        if len(chosen) == 1:
            said.append(f"{paths[chosen[0]]}: {lengths[chosen[0]]:.2f} s, {what} than the {seconds:g} s heard: {done}")
        elif chosen:
            said.append(f"{len(chosen)} of {len(paths)} sounds are {what} than the {seconds:g} s heard: {done}")
    return said


def model_folder(model: str) -> Path:
    """Where a model's files are, or its adapters."""
    from synesthete import hub
    from synesthete.pipeline.adapted import find_adapters

    return find_adapters(model) or hub.find_model(model)
