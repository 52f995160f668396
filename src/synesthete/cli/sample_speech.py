"""`synesthete sample` of a model that speaks: a sound and a spectrogram for each picture, and what was said."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete.cli.options import check_unwritten, progress_bar
from synesthete.types import InputError

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.evaluation.classifiers.speech import Prediction
    from synesthete.pipeline import Pipeline

BATCH = 32
ADD_JUDGE = "run `synesthete train` on its run folder again, which adds one"


def plan_speech(inputs: list[Path], out: Path, overwrite: bool) -> tuple[list[Path], list[Path]]:
    """The pictures among the inputs, and the wav that each is to have.

    Raises:
        InputError: no pictures, or files that are there already or would replace a picture.
    """
    found = find_pictures(inputs)
    targets = name_targets(found, inputs, out)
    written = [path for target in targets for path in (target, target.with_suffix(".png"))]
    if own := {path.resolve() for path in found} & {path.resolve() for path in written}:
        raise InputError(f"{min(own)}: its spectrogram would replace the picture itself; give another --out")
    check_unwritten(written, overwrite)
    return found, targets


def speak(
    pipeline: Pipeline,
    model: str,
    found: list[Path],
    targets: list[Path],
    *,
    out: Path,
    seed: int,
    changes: dict[str, Any],
) -> tuple[dict[str, Any], str]:
    """Write what each picture says; the command's last words as values and as text."""
    from synesthete import hub, seeding
    from synesthete.data.audio import write_audio
    from synesthete.data.picture import read_picture, write_picture
    from synesthete.evaluation.classifiers.saved import load_classifier
    from synesthete.evaluation.classifiers.speech import SpeechClassifier, recognise

    judge = load_classifier(hub.find_model(model), SpeechClassifier)
    skipped: list[str] = []
    spoken: list[str] = []
    said: list[tuple[Path, Prediction]] = []
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
                    verdicts = recognise(judge, output.signal)
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
    return values, text


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


def name_targets(
    found: list[Path], inputs: list[Path], out: Path, suffix: str = ".wav", what: str = "pictures"
) -> list[Path]:
    """OUT/STEM.wav for each picture; where two stems are the same, OUT/FOLDER/STEM.wav.

    suffix, what: of other files, made of other things.

    Raises:
        InputError: two pictures that would still be written to one file.
    """
    counts = Counter(path.stem for path in found)
    targets = []
    for path in found:
        parent = next((p for p in inputs if p.is_dir() and p in path.parents), path.parent)
        folder = path.parent.relative_to(parent) if counts[path.stem] > 1 else Path()
        targets.append(out / folder / f"{path.stem}{suffix}")
    twice = [path for path, count in Counter(targets).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]}: two {what} would be written there; rename one of them")
    return targets
