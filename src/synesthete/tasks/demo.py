"""The demonstration: handwritten digits say their names, and where a painter ships, what was said is painted again."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from synesthete import hub, seeding
from synesthete.data.audio import write_audio
from synesthete.data.picture import write_picture
from synesthete.data.pictures import DIGITS, BuiltInDigits
from synesthete.evaluation.classifiers.speech import recognise
from synesthete.evaluation.recognizers.grammar import GrammarRecognizer
from synesthete.evaluation.reporting.figures import spectrogram_figure, to_png
from synesthete.io import write_file
from synesthete.tasks.model import load
from synesthete.training.previews import contact_sheet
from synesthete.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

SPEAKER = "image-to-speech-digits"
PAINTER = "audio-to-image-digits"  # paints what the first has said, where it ships
SIDE = 224  # pixels of a picture's file


def show_digits(out: Path, *, model: str = SPEAKER, seed: int = 0, device: str = "cpu") -> dict[str, Any]:
    """Let a picture of each digit speak, write pictures, sounds and spectrograms into a folder, and tell what is heard.

    Returns: digits, a row of each; right, how many a recogniser understood; painted_right, how many of those that
    PAINTER painted its classifier takes for what they are, where there are any; seconds; out; notes.

    Raises:
        InputError: a model of something else, or a folder that cannot be written.
    """
    started = time.perf_counter()
    speaker = load(model, device)
    pipeline = speaker.pipeline
    if set(pipeline.class_names) != set(DIGITS):
        raise InputError(f"{model}: not a model of digits; let your own pictures speak with `synesthete sample`")
    held_out = BuiltInDigits().pictures("test")
    pictures = [held_out.images[choose_picture(held_out.labels, name, seed)] for name in DIGITS]
    output = pipeline(pipeline.preprocess(pictures), generators=seeding.sample_generators(seed, len(pictures)))
    notes: list[str] = []
    try:
        listener = GrammarRecognizer(DIGITS)
    except InputError as error:  # speaking needs no recogniser
        listener = None
        notes.append(f"nobody listens: {error}")
    classifier, spec = speaker.task.load_classifier(speaker.folder), pipeline.codec.spec
    verdicts = recognise(classifier, output.signal) if classifier else [None] * len(pictures)
    rows: list[dict[str, Any]] = []
    made = (DIGITS, pictures, output.signal, pipeline.codec.denormalise(output.x_0), verdicts)
    for name, picture, waveform, log_mel, verdict in zip(*made, strict=True):
        write_audio(out / f"{name}.wav", waveform, spec.sample_rate)
        write_picture(out / f"{name}_picture.png", enlarge(picture, SIDE))
        figure = spectrogram_figure(torch.as_tensor(log_mel), spec, f"a picture of a {name} says")
        write_file(out / f"{name}.png", to_png(figure))
        heard = listener.recognize(waveform.cpu(), spec.sample_rate) if listener else None
        rows.append({"picture": name, "wav": str(out / f"{name}.wav"), "heard": heard})
        if verdict:
            rows[-1]["classifier"] = asdict(verdict)
    found: dict[str, Any] = {"digits": rows, "right": sum(row["picture"] == row["heard"] for row in rows)}
    spectrograms = pipeline.codec.pictures(output.x_0)
    side = spectrograms[0].width
    sheet = [[enlarge(picture, side) for picture in pictures], spectrograms]
    if PAINTER in hub.shipped_models():
        painted = paint_spoken(PAINTER, [out / f"{name}.wav" for name in DIGITS], seed, device)
        for row, (picture, seen) in zip(rows, painted, strict=True):
            path = write_picture(out / f"{row['picture']}_painted.png", enlarge(picture, SIDE))
            row |= {"painted": str(path), "seen": seen}
        right = sum(row["picture"] == row["seen"] for row in rows)
        found["painted_right"] = right if rows[0]["seen"] else None
        sheet.append([enlarge(picture, side) for picture, _ in painted])
    write_picture(out / "demo.png", contact_sheet(sheet))
    return found | {"seconds": round(time.perf_counter() - started, 2), "out": str(out), "notes": notes}


def paint_spoken(model: str, wavs: list[Path], seed: int, device: str) -> list[tuple[Image.Image, str | None]]:
    """What a model paints of each sound, and the class that its classifier sees in it; None without one."""
    loaded = load(model, device)
    kept = loaded.task.load_classifier(loaded.folder)
    made = loaded(wavs, seed=seed)
    pictures = torch.stack([torch.from_numpy(np.atleast_3d(np.array(one.image))) for one in made])
    seen: list[str | None] = [None] * len(wavs)
    if kept:
        places = kept.classifier.classify(pictures.permute(0, 3, 1, 2)).tolist()
        seen = [loaded.pipeline.class_names[place] for place in places]
    return [(one.image, name) for one, name in zip(made, seen, strict=True)]


def choose_picture(labels: list[str], name: str, seed: int) -> int:
    """The place of one picture of a class, chosen by the seed."""
    places = [i for i, label in enumerate(labels) if label == name]
    return places[seeding.derive(seed, "demo", name) % len(places)]


def enlarge(picture: Image.Image, side: int) -> Image.Image:
    """A square picture of that many pixels, those of the picture being squares."""
    return picture.resize((side, side), Image.Resampling.NEAREST)
