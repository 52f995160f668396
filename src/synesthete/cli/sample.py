"""`synesthete sample`."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synesthete.cli.options import AsJson, Device, ModelName, finish, progress_bar
from synesthete.types import InputError

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.evaluation.model_judge import Verdict

BATCH = 32
ADD_JUDGE = "run `synesthete train` on its run folder again, which adds one"


def sample(
    model: ModelName,
    inputs: Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="Pictures, or folders of pictures.")],
    out: Annotated[Path, typer.Option(help="Folder for the sound and its spectrogram: OUT/STEM.wav, OUT/STEM.png.")],
    seed: Annotated[int, typer.Option(help="Other seeds give other voices.")] = 0,
    sampler: Annotated[
        str | None, typer.Option(help="flow-euler, flow-heun, flow-dpmsolver++ or flow-unipc, for a model of a flow.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Number of sampling steps.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="1.0 is off; higher follows the picture more.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other sampling setting, such as timestep_shift=1."),
    ] = None,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there already.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let pictures speak: a wav and a spectrogram for each, and the words that the model's judge hears in it.

    Examples: `synesthete sample image-to-speech-digits seven.png --out spoken`,
    `synesthete sample runs/mine drawings/ --out spoken --seed 3 --guidance-scale 2`
    """
    settings = {"sampler": sampler, "num_inference_steps": steps, "guidance_scale": guidance_scale}
    changes = assigned(assignments or [], {k: v for k, v in settings.items() if v is not None})
    found = find_pictures(inputs)
    targets = name_targets(found, inputs, out)
    written = [path for target in targets for path in (target, target.with_suffix(".png"))]
    if own := {path.resolve() for path in found} & {path.resolve() for path in written}:
        raise InputError(f"{min(own)}: its spectrogram would replace the picture itself; give another --out")
    if not overwrite and (there := [path for path in written if path.exists()]):
        count = f"{len(there)} of {len(written)} files"
        raise InputError(f"{there[0]}: there already ({count}); give --overwrite or another --out")

    from synesthete import hub, seeding
    from synesthete.data.audio import write_audio
    from synesthete.data.picture import read_picture, write_picture
    from synesthete.evaluation.model_judge import read_judge
    from synesthete.pipeline import Pipeline

    pipeline = Pipeline.load(model, device)
    pipeline.sampling_settings(**changes)
    judge = read_judge(hub.find_model(model))
    skipped: list[str] = []
    spoken: list[str] = []
    said: list[tuple[Path, Verdict]] = []
    started = time.perf_counter()
    with progress_bar() as show:
        for first in range(0, len(found), BATCH):
            readable: list[tuple[int, Image.Image]] = []
            for i in range(first, min(first + BATCH, len(found))):
                try:
                    readable.append((i, read_picture(found[i])))
                except InputError as error:
                    skipped.append(str(error))
            if readable:
                generators = [seeding.generator(seed, "sample", i) for i, _ in readable]
                raw = pipeline.preprocess([picture for _, picture in readable])
                output = pipeline(raw, generators=generators, **changes)
                if judge:
                    verdicts = judge.hear(output.signal)
                    said += [(found[i], verdict) for (i, _), verdict in zip(readable, verdicts, strict=True)]
                for (i, _), waveform, picture in zip(
                    readable, output.signal, pipeline.codec.pictures(output.x_0), strict=True
                ):
                    write_audio(targets[i], waveform, pipeline.codec.spec.sample_rate)
                    write_picture(targets[i].with_suffix(".png"), picture)
                    spoken.append(str(targets[i]))
            show("pictures", min(first + BATCH, len(found)), len(found), "")
    seconds = time.perf_counter() - started
    if not spoken:
        many = f"not one of {len(skipped)} pictures is readable; the first: " if len(skipped) > 1 else ""
        raise InputError(f"{many}{skipped[0]}")
    values: dict[str, Any] = {
        "written": spoken,
        "said": [{"picture": str(path), **asdict(verdict)} for path, verdict in said],
        "skipped": skipped,
        "seconds": round(seconds, 3),
        "pictures_per_second": round(len(spoken) / seconds, 2),
    }
    text = "".join(f"{path.name}: {verdict}\n" for path, verdict in said)
    text += f"{out}: {len(spoken)} spoken, {values['pictures_per_second']} a second"
    if judge is None:
        text += f"\n{model}: no judge with it, so nobody tells what it said; {ADD_JUDGE}"
    if skipped:
        text += f"; {len(skipped)} skipped:\n  " + "\n  ".join(skipped)
    finish(as_json, values, text)


def assigned(assignments: list[str], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with `key=value` assignments, values read and checked as a recipe's are."""
    from synesthete.config import Sampling, read_assignment

    checked = Sampling()
    for key, value in [*settings.items(), *map(read_assignment, assignments)]:
        setattr(checked, key, value)
        settings[key] = getattr(checked, key)
    return settings


def find_pictures(inputs: list[Path]) -> list[Path]:
    """Every picture file among the inputs and in the folders among them.

    Raises:
        InputError: an input that does not exist, or a folder without pictures.
    """
    from synesthete.data.picture import SUFFIXES, list_pictures

    found: list[Path] = []
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path}: no such file; give a picture or a folder of pictures")
        here = list_pictures(path)
        if not here:
            raise InputError(f"{path}: no pictures in it ({', '.join(SUFFIXES[:3])}, ...); give another folder")
        found += here
    return found


def name_targets(found: list[Path], inputs: list[Path], out: Path) -> list[Path]:
    """OUT/STEM.wav for each picture; where two stems are the same, OUT/FOLDER/STEM.wav.

    Raises:
        InputError: two pictures that would still be written to one file.
    """
    counts = Counter(path.stem for path in found)
    targets = []
    for path in found:
        parent = next((p for p in inputs if p.is_dir() and p in path.parents), path.parent)
        folder = path.parent.relative_to(parent) if counts[path.stem] > 1 else Path()
        targets.append(out / folder / f"{path.stem}.wav")
    twice = [path for path, count in Counter(targets).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]}: two pictures would be written there; rename one of them")
    return targets
