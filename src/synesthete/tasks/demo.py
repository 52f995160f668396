"""The demonstration: digits say their names and are painted again, others draw and play, and a page shows it all."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from synesthete import hub, seeding
from synesthete.conditioning.voices import VoicedPicture
from synesthete.data.audio import write_audio
from synesthete.data.picture import write_picture
from synesthete.data.pictures import DIGITS, BuiltInDigits
from synesthete.evaluation.classifiers.speech import recognise
from synesthete.evaluation.recognizers.grammar import GrammarRecognizer
from synesthete.evaluation.reporting.figures import spectrogram_figure, to_png
from synesthete.evaluation.reporting.report import Card, Gallery, Medium, Report, Section, Table, to_html
from synesthete.io import write_file
from synesthete.tasks.model import load
from synesthete.tasks.results import Sound
from synesthete.training.validation import contact_sheet
from synesthete.types import InputError, SpokenPictures

if TYPE_CHECKING:
    from collections.abc import Sequence

SPEAKER = "image-to-speech-voices"
PAINTER = "audio-to-image-digits"  # paints what the first has said, where it ships
# What one more model of each kind is asked for, where it ships: the file, the model, the label.
ALSO = (("drawn", "images-digits", "seven"), ("played", "music-notes", "piano"))
# What to do next, and the command that does it.
NEXT = (
    ("Let a picture of your own speak", "synesthete speak my_digit.png --voice bf_emma"),
    ("Paint what you say", "synesthete paint my_voice.wav --out painted"),
    ("Draw sevens", "synesthete draw --label 7 --num 16"),
    ("Compose a chorale", 'synesthete play music-compose --key "D minor"'),
    ("See what your own files can teach", "synesthete new FOLDER"),
)
SIDE = 224  # pixels of a picture's file
CHORUS, NUM_VOICES = "seven", 5  # of a model with voices, what is said once more by so many others


def show_digits(out: Path, *, model: str = SPEAKER, seed: int = 0, device: str = "cpu") -> dict[str, Any]:
    """Let a picture of each digit speak, write pictures, sounds and spectrograms into a folder, and tell what is heard.

    A model with voices says each in another, and CHORUS in NUM_VOICES more. One picture more is drawn, one note played,
    where such models ship, and index.html shows all of it.

    Returns: digits, a row of each; voices, one of each further voice; right, how many a recogniser understood;
    painted_right, how many of those that PAINTER painted its classifier takes for what they are, where there are any;
    seconds; out; notes.

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
    voices = choose_voices(pipeline.conditioner, len(DIGITS) + NUM_VOICES, seed)
    names = [*DIGITS, *[CHORUS] * (len(voices) - len(DIGITS))]
    shown = [pictures[DIGITS.index(name)] for name in names]
    raw: Any = pipeline.preprocess(shown)
    if isinstance(pipeline.conditioner, VoicedPicture):
        each = zip(raw.split(1), voices, strict=True)
        raw = SpokenPictures.concatenate([pipeline.conditioner.compose(one, voice) for one, voice in each])
    output = pipeline(raw, generators=seeding.sample_generators(seed, len(names)))
    notes: list[str] = []
    try:
        listener = GrammarRecognizer(DIGITS)
    except InputError as error:  # speaking needs no recogniser
        listener = None
        notes.append(f"nobody listens: {error}")
    classifier, spec = speaker.task.load_classifier(speaker.folder), pipeline.codec.spec
    verdicts = recognise(classifier, output.signal) if classifier else [None] * len(names)
    for name, picture in zip(DIGITS, pictures, strict=True):
        write_picture(out / f"{name}_picture.png", enlarge(picture, SIDE))
    told: list[dict[str, Any]] = []
    made = (names, voices, output.signal, pipeline.codec.denormalise(output.x_0), verdicts)
    for i, (name, voice, waveform, log_mel, verdict) in enumerate(zip(*made, strict=True)):
        wav = out / f"{name if i < len(DIGITS) else f'{name}_{voice}'}.wav"
        write_audio(wav, waveform, spec.sample_rate)
        figure = spectrogram_figure(torch.as_tensor(log_mel), spec, f"a picture of a {name} says")
        write_file(wav.with_suffix(".png"), to_png(figure))
        heard = listener.recognize(waveform.cpu(), spec.sample_rate) if listener else None
        told.append({"picture": name, "wav": str(wav), "heard": heard} | ({"voice": voice} if voice else {}))
        if verdict:
            told[-1]["classifier"] = asdict(verdict)
    rows = told[: len(DIGITS)]
    right = sum(row["picture"] == row["heard"] for row in rows)
    found: dict[str, Any] = {"digits": rows, "voices": told[len(DIGITS) :], "right": right}
    spectrograms = pipeline.codec.pictures(output.x_0[: len(DIGITS)])
    side = spectrograms[0].width
    sheet = [[enlarge(picture, side) for picture in pictures], spectrograms]
    if PAINTER in hub.shipped_models():
        try:
            painted = paint_spoken(PAINTER, [out / f"{name}.wav" for name in DIGITS], seed, device)
        except InputError as error:  # of a model that learned too little to be heard
            painted = []
            notes.append(f"nothing is painted: {error}")
        for row, (picture, seen) in zip(rows, painted, strict=False):
            path = write_picture(out / f"{row['picture']}_painted.png", enlarge(picture, SIDE))
            row |= {"painted": str(path), "seen": seen}
        if painted:
            right = sum(row["picture"] == row["seen"] for row in rows)
            found["painted_right"] = right if rows[0]["seen"] else None
            sheet.append([enlarge(picture, side) for picture, _ in painted])
    write_picture(out / "demo.png", contact_sheet(sheet))
    found["also"] = show_others(out, seed, device)
    write_file(out / "index.html", to_html(demo_page(found)))
    return found | {"seconds": round(time.perf_counter() - started, 2), "out": str(out), "notes": notes}


def choose_voices(conditioner: Any, num: int, seed: int) -> list[str | None]:
    """So many voices of a model, no two alike while there are enough; None ten times where it has none to choose."""
    if not isinstance(conditioner, VoicedPicture):
        return [None] * len(DIGITS)
    places = torch.randperm(len(conditioner.voices), generator=seeding.generator(seed, "demo", "voices")).tolist()
    return [conditioner.voices[places[i % len(places)]] for i in range(num)]


def paint_spoken(model: str, wavs: list[Path], seed: int, device: str) -> list[tuple[Image.Image, str | None]]:
    """What a model paints of each sound, and the class that its classifier sees in it; None without one.

    Raises:
        InputError: sounds that are silent.
    """
    loaded = load(model, device)
    kept = loaded.task.load_classifier(loaded.folder)
    made = loaded(wavs, seed=seed)
    if len(made) < len(wavs):
        raise InputError(f"{model}: {len(wavs) - len(made)} of {len(wavs)} sounds cannot be heard")
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


def show_others(out: Path, seed: int, device: str) -> list[dict[str, str]]:
    """A sample of each model of ALSO that ships: its model, what it was asked for, and the files."""
    told = []
    for name, model, label in ALSO:
        if model in hub.shipped_models():
            (made,) = load(model, device)([label], seed=seed)
            told.append({"model": model, "label": label, "png": str(made.save(out / f"{name}.png"))})
            if isinstance(made, Sound):
                told[-1]["wav"] = str(made.save(out / f"{name}.wav"))
    return told


def demo_page(found: dict[str, Any]) -> Report:
    """The page: every digit with its picture, its sound and what was painted of it, the other systems, what to try."""
    digits = [
        card(
            row["picture"],
            [Path(row["wav"]).with_name(f"{row['picture']}_picture.png"), Path(row["wav"]).with_suffix(".png")],
            row["wav"],
            row.get("painted"),
            *([f"voice: {row['voice']}"] if "voice" in row else []),
            *([f"heard: {row['heard'] or 'nothing'}"] if row["heard"] is not None else []),
        )
        for row in found["digits"]
    ]
    voices = [card(row["voice"], [Path(row["wav"]).with_suffix(".png")], row["wav"], None) for row in found["voices"]]
    others = [card(f"{row['model']}: {row['label']}", [row["png"]], row.get("wav"), None) for row in found["also"]]
    sections = [
        Section(
            "Pictures speak, sounds paint",
            "The digit given, its spoken name, and what was heard in it and painted.",
            [Gallery(digits)],
        ),
        *([Section("In other voices", "", [Gallery(voices)])] if voices else []),
        *([Section("Others draw and play", "", [Gallery(others)])] if others else []),
        Section("What to try next", "", [Table(("to", "command"), NEXT)]),
    ]
    return Report("Synesthete", "Pictures that speak, sounds that paint, spectrograms that play.", sections=sections)


def card(title: str, pictures: Sequence[str | Path], wav: str | None, painted: str | None, *lines: str) -> Card:
    """The files of one thing that was made, to see and to hear."""
    shown = [*map(Path, pictures), *([Path(painted)] if painted else [])]
    media = [Medium(path.stem, path.read_bytes(), path.stem.replace("_", " ")) for path in shown]
    if wav:
        media.append(Medium(Path(wav).stem, Path(wav).read_bytes(), title, "wav"))
    return Card(title, media, lines)
