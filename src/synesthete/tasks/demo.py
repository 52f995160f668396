"""The demonstration: pictures of digits say their names, and what there is to see of it and of the other systems."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from synesthete import seeding
from synesthete.conditioning.voices import VoicedPicture
from synesthete.data.audio import write_audio
from synesthete.data.pictures import DIGITS, BuiltInDigits
from synesthete.tasks.model import load
from synesthete.types import InputError, SpokenPictures

SPEAKER = "image-to-speech-voices"
CHORUS, NUM_VOICES = "seven", 5  # of a model with voices, what is said once more by so many others


def show_digits(
    out: Path, *, model: str = SPEAKER, seed: int = 0, device: str = "cpu", say: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Let a picture of each digit speak, write pictures, sounds and spectrograms into a folder, and tell what is heard.

    A model with voices says each in another, and CHORUS in NUM_VOICES more. What was said is painted, a picture drawn
    and a note played where such models ship, and index.html shows all of it. say: is told when the first word can be
    heard, which is before the others are made.

    Returns: digits, a row of each; voices, one of each further voice; right, how many a recogniser understood;
    painted_right, how many of those that were painted a classifier takes for what they are, where there are any;
    systems, a picture of each kind; page; seconds; out; notes.

    Raises:
        InputError: a model of something else, or a folder that cannot be written.
    """
    start = datetime.now(UTC)
    speaker = load(model, device)
    pipeline, spec = speaker.pipeline, speaker.pipeline.codec.spec
    if set(pipeline.class_names) != set(DIGITS):
        raise InputError(f"{model}: not a model of digits; let your own pictures speak with `synesthete sample`")
    held_out = BuiltInDigits().pictures("test")
    pictures = [held_out.images[choose_picture(held_out.labels, name, seed)] for name in DIGITS]
    voices = choose_voices(pipeline.conditioner, len(DIGITS) + NUM_VOICES, seed)
    names = [*DIGITS, *[CHORUS] * (len(voices) - len(DIGITS))]
    wavs = [out / f"{name if i < len(DIGITS) else f'{name}_{voices[i]}'}.wav" for i, name in enumerate(names)]
    raw: Any = pipeline.preprocess([pictures[DIGITS.index(name)] for name in names])
    if isinstance(pipeline.conditioner, VoicedPicture):
        each = zip(raw.split(1), voices, strict=True)
        raw = SpokenPictures.concatenate([pipeline.conditioner.compose(one, voice) for one, voice in each])
    generators, made = seeding.sample_generators(seed, len(names)), []
    for part in (slice(1), slice(1, None)):  # nobody waits for all of them to hear the first
        made.append(pipeline(raw[part], generators=generators[part]))
        for wav, waveform in zip(wavs[part], made[-1].signal, strict=True):
            write_audio(wav, waveform, spec.sample_rate)
        if say and part.stop:
            say(f"a picture of {names[0]} says its name: {wavs[0]}")
    signal, x_0 = (torch.cat([getattr(one, name) for one in made]) for name in ("signal", "x_0"))
    # What else is made takes longer to import than the first word to say.
    from synesthete.evaluation.classifiers.speech import recognise
    from synesthete.evaluation.recognizers import GrammarRecognizer
    from synesthete.tasks import demo_page

    notes: list[str] = []
    try:
        listener = GrammarRecognizer(DIGITS)
    except InputError as error:  # speaking needs no recogniser
        listener = None
        notes.append(f"nobody listens: {error}")
    classifier = speaker.task.load_classifier(speaker.folder)
    verdicts = recognise(classifier, signal) if classifier else [None] * len(names)
    told: list[dict[str, Any]] = []
    for name, voice, wav, waveform, verdict in zip(names, voices, wavs, signal, verdicts, strict=True):
        heard = listener.recognize(waveform.cpu(), spec.sample_rate) if listener else None
        told.append({"picture": name, "wav": str(wav), "heard": heard} | ({"voice": voice} if voice else {}))
        if verdict:
            told[-1]["classifier"] = asdict(verdict)
    found: dict[str, Any] = {"digits": told[: len(DIGITS)], "voices": told[len(DIGITS) :]}
    found["right"] = sum(row["picture"] == row["heard"] for row in found["digits"])
    demo_page.draw_digits(found, pictures, x_0, pipeline.codec)
    found |= demo_page.paint_digits(found["digits"], pictures, pipeline.codec.pictures(x_0), out, seed, device, notes)
    row = found["digits"][DIGITS.index(CHORUS)]
    found["systems"] = demo_page.show_systems(model, row, out, seed, device)
    found["page"] = str(demo_page.write_page(found, out, pipeline, start))
    seconds = round((datetime.now(UTC) - start).total_seconds(), 2)
    return found | {"seconds": seconds, "out": str(out), "notes": notes}


def choose_voices(conditioner: Any, num: int, seed: int) -> list[str | None]:
    """So many voices of a model, no two alike while there are enough; None ten times where it has none to choose."""
    if not isinstance(conditioner, VoicedPicture):
        return [None] * len(DIGITS)
    places = torch.randperm(len(conditioner.voices), generator=seeding.generator(seed, "demo", "voices")).tolist()
    return [conditioner.voices[places[i % len(places)]] for i in range(num)]


def choose_picture(labels: list[str], name: str, seed: int) -> int:
    """The place of one picture of a class, chosen by the seed."""
    places = [i for i, label in enumerate(labels) if label == name]
    return places[seeding.derive(seed, "demo", name) % len(places)]
