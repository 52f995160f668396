"""`synesthete demo`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synesthete.cli.options import AsJson, Device, finish
from synesthete.types import InputError

if TYPE_CHECKING:
    from PIL import Image

MODEL = "image-to-speech-digits"
PAINTER = "audio-to-image-digits"  # paints what the first has said, where it ships


def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures, sounds and spectrograms.")] = Path("out/demo"),
    seed: Annotated[int, typer.Option(help="Other seeds show other digits in other voices.")] = 0,
    model: Annotated[str, typer.Option(help="MODEL to show.")] = MODEL,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Ten handwritten digits say their names: picture, sound, spectrogram, and what a speech recogniser heard.

    Where a model that paints spoken digits ships with the package, it listens, too, and paints what it heard.

    Examples: `synesthete demo`, `synesthete demo --seed 7 --out out/again`
    """
    started = time.perf_counter()
    import torch
    from PIL import Image

    from synesthete import hub, seeding
    from synesthete.data.audio import write_audio
    from synesthete.data.picture import write_picture
    from synesthete.data.pictures import DIGITS, BuiltInDigits
    from synesthete.evaluation.classifiers.saved import load_classifier
    from synesthete.evaluation.classifiers.speech import SpeechClassifier, recognise
    from synesthete.evaluation.recognizers.grammar import GrammarRecognizer
    from synesthete.evaluation.reporting.figures import spectrogram_figure, to_png
    from synesthete.io import write_file
    from synesthete.pipeline import Pipeline
    from synesthete.training.previews import contact_sheet

    pipeline = Pipeline.load(model, device)
    if set(pipeline.class_names) != set(DIGITS):
        raise InputError(f"{model}: not a model of digits; let your own pictures speak with `synesthete sample`")
    held_out = BuiltInDigits().pictures("test")
    chosen = [draw(held_out.labels, name, seed) for name in DIGITS]
    pictures = [held_out.images[i] for i in chosen]
    output = pipeline(pipeline.preprocess(pictures), generators=seeding.sample_generators(seed, len(pictures)))
    try:
        listener = GrammarRecognizer(DIGITS)
    except InputError as error:  # speaking needs no recogniser
        listener = None
        typer.echo(f"  nobody listens: {error}", err=True)
    judge = load_classifier(hub.find_model(model), SpeechClassifier)
    verdicts = recognise(judge, output.signal) if judge else [None] * len(pictures)
    spec = pipeline.codec.spec
    rows: list[dict[str, Any]] = []
    log_mels = pipeline.codec.denormalise(output.x_0)
    for name, picture, waveform, log_mel, verdict in zip(
        DIGITS, pictures, output.signal, log_mels, verdicts, strict=True
    ):
        write_audio(out / f"{name}.wav", waveform, spec.sample_rate)
        write_picture(out / f"{name}_picture.png", picture.resize((224, 224), Image.Resampling.NEAREST))
        figure = spectrogram_figure(torch.as_tensor(log_mel), spec, f"a picture of a {name} says")
        write_file(out / f"{name}.png", to_png(figure))
        heard = listener.recognize(waveform.cpu(), spec.sample_rate) if listener else None
        rows.append({"picture": name, "wav": str(out / f"{name}.wav"), "heard": heard})
        if verdict:
            rows[-1]["judge"] = asdict(verdict)
        if not as_json:
            also = f"   judge: {verdict.says} {verdict.confidence:.2f}" if verdict else ""
            typer.echo(f"  a picture of {name:<6} -> {rows[-1]['wav']}   heard: {heard or '(nothing)':<9}{also}")
    spectrograms = pipeline.codec.pictures(output.x_0)
    squares = [picture.resize([spectrograms[0].width] * 2, Image.Resampling.NEAREST) for picture in pictures]
    wavs = [out / f"{name}.wav" for name in DIGITS]
    painted = paint_spoken(PAINTER, wavs, seed, device) if PAINTER in hub.shipped_models() else []
    for row, (picture, shown) in zip(rows, painted, strict=False):
        path = out / f"{row['picture']}_painted.png"
        write_picture(path, picture.resize((224, 224), Image.Resampling.NEAREST))
        row |= {"painted": str(path), "seen": shown}
    again = [[picture.resize(squares[0].size, Image.Resampling.NEAREST) for picture, _ in painted]] if painted else []
    write_picture(out / "demo.png", contact_sheet([squares, spectrograms, *again]))
    seconds = time.perf_counter() - started
    right = sum(row["picture"] == row["heard"] for row in rows)
    values = {"digits": rows, "right": right, "seconds": round(seconds, 2), "out": str(out)}
    text = f"{out}: {right} of {len(rows)} understood by the speech recogniser, in {seconds:.1f} s.\n"
    if painted:
        seen = sum(row["picture"] == row["seen"] for row in rows)
        judged = f", {seen} of {len(rows)} rightly, as its judge sees them" if rows[0]["seen"] else ""
        values["painted_right"] = seen if judged else None
        text += f"What was said, heard and painted again by {PAINTER}{judged}: {out}/*_painted.png\n"
        text += f"Paint what you say yourself:  synesthete sample {PAINTER} my_voice.wav --out painted\n"
    text += f"Play one, or draw a digit of your own:  synesthete sample {model} my_digit.png --out spoken"
    finish(as_json, values, text)


def paint_spoken(model: str, wavs: list[Path], seed: int, device: str) -> list[tuple[Image.Image, str | None]]:
    """What a model paints of each sound, and of which class its judge takes that to be; None without a judge."""
    import numpy as np
    import torch

    from synesthete.tasks.model import load

    loaded = load(model, device)
    kept = loaded.task.load_classifier(loaded.folder)
    made = loaded(wavs, seed=seed)
    pictures = torch.stack([torch.from_numpy(np.atleast_3d(np.array(one.image))) for one in made])
    seen: list[str | None] = [None] * len(wavs)
    if kept:
        places = kept.classifier.classify(pictures.permute(0, 3, 1, 2)).tolist()
        seen = [loaded.pipeline.class_names[place] for place in places]
    return [(one.image, name) for one, name in zip(made, seen, strict=True)]


def draw(labels: list[str], name: str, seed: int) -> int:
    """The place of one picture of a class, chosen by the seed."""
    from synesthete import seeding

    places = [i for i, label in enumerate(labels) if label == name]
    return places[seeding.derive(seed, "demo", name) % len(places)]
