"""Pictures by class: ours against two other projects, on the same data in the same time with as many parameters.

    python -m benchmarks.images_vs_peers --json --minutes 15 --data PHOTOS --peers FOLDER --out OUT
    python -m benchmarks.images_vs_peers --minutes 15 --data PHOTOS --out OUT --only ours --only diffusers-bf16

PHOTOS: a tar of class folders, or a folder that holds one, for the recipe `images-photos`; without it, the digits that
come with the package, for `images-digits`. Every side trains for the same wall-clock time in a process of its own,
with nothing sampled or written on the way, then samples as many pictures at as many steps, classes in turn. A
classifier that none of them was trained beside says what it sees; the kernel distance (KID) to held-out pictures is
measured on its features.

Sides: `ours`; `lucidrains`, denoising-diffusion-pytorch's Unet and Trainer, which cannot be told a class; `diffusers`,
UNet2DModel told a class in the loop of its example. The two run float32, as they do on a CPU unless told otherwise;
`lucidrains-bf16` and `diffusers-bf16` are the same with the mixed precision that their scripts offer, and run where
asked for. The example of diffusers samples by DDPM; two samplers better at few steps are measured beside it. A side
that has finished is kept in OUT and not run again.

memory: the most that a process held resident while training, and, working, less what it held before the network was
made; processes that load data for it are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from benchmarks.peers.side import FINISHED, SIDES, run_side, to_image
from benchmarks.peers.task import Task, count
from benchmarks.peers.verdict import evaluate_sides, find_behind, make_table
from synesthete import tasks
from synesthete.evaluation.classifiers.image import load_or_train_image_classifier
from synesthete.evaluation.features import find_features
from synesthete.evaluation.metrics.distribution import kernel_floor
from synesthete.recipes import find_recipe
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.types import Prepared

PHOTOS, DIGITS = "images-photos", "images-digits"
# What runs unless others are asked for.
USUAL = ("ours", "lucidrains", "diffusers")


def main() -> None:
    """Run what has not been run, classifier all that has finished, print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="photographs; the built-in digits where left out")
    parser.add_argument("--out", type=Path, default=Path("runs") / "images_vs_peers")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training, for each side")
    parser.add_argument("--num", type=int, default=500, help="pictures to sample")
    parser.add_argument("--steps", type=int, help="of sampling; as many as the recipe's by default")
    parser.add_argument("--num-samplers", type=int, help="of each side, its own first; all by default")
    parser.add_argument("--only", action="append", choices=SIDES, help="run this side; may be given several times")
    parser.add_argument("--peers", type=Path, help="a folder with the peers' packages (pip install --target)")
    parser.add_argument("--features", default="classifier", help="what KID is measured on, as in `synesthete evaluate`")
    parser.add_argument("--recipe", help=f"ours; {PHOTOS} or {DIGITS} by default")
    parser.add_argument("--set", action="append", default=[], dest="assignments", metavar="KEY=VALUE")
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object as the last line")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.minutes <= 0 or options.num < 2:
        parser.error("--minutes: give more than 0; --num: at least 2")
    if os.environ.get("OMP_PROC_BIND"):
        parser.error("OMP_PROC_BIND is set, and every side would inherit the one core of this process; unset it")
    try:
        if options.side:
            run_side(options.side, Task.read(options.out / "task.json"), options.out / options.side)
            return
        values = compare(options)
    except InputError as error:
        raise SystemExit(f"images_vs_peers: {error}") from None
    print(make_table(values), file=sys.stderr if options.as_json else sys.stdout)
    if options.as_json:
        print(json.dumps(values))


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """All sides that were asked for or have finished before, trained.

    Raises:
        InputError: data that cannot be read, results of another task in the same folder, or a side that failed.
    """
    task, prepared = set_task(options)
    for side in options.only or USUAL:
        if not (options.out / side / FINISHED).is_file():
            start_side(side, task, options)
    # Not learned beside any of them: its pictures are kept from training, and no side reads anything else.
    trained = load_or_train_image_classifier(prepared.classifier, prepared.test, prepared.class_names)
    features = find_features(options.features, trained.classifier)
    real = features(prepared.test.pictures)
    sides = evaluate_sides(options.out, task, trained.classifier, features, real)
    values = {
        "recipe": task.recipe,
        "minutes": options.minutes,
        "num": task.num,
        "num_inference_steps": task.num_inference_steps,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "num_training_pictures": len(prepared.train),
        "features": features.name,
        "classifier_accuracy": trained.accuracy,
        "chance": 1 / task.num_classes,
        "kid_floor": kernel_floor(real, task.num),
        "num_real": len(real),
        "sides": sides,
    }
    return values | {"behind": find_behind(sides)}


def set_task(options: argparse.Namespace) -> tuple[Task, Prepared]:
    """What all sides are given, and the pictures to train on written out for them.

    Raises:
        InputError: data that cannot be read, or a folder with results of another task.
    """
    assignments = [*data_assignments(options.data), *options.assignments]
    name = options.recipe or (PHOTOS if options.data else DIGITS)
    if name == DIGITS and options.data is None:
        print(f"no --data: the built-in digits, recipe {DIGITS}", file=sys.stderr)
    recipe = find_recipe(name, assignments)
    prepared = tasks.prepare(recipe)
    network = count(recipe.denoiser()) + count(recipe.conditioner())
    task = Task(
        folder=str(options.out / "data"),
        recipe=name,
        assignments=tuple(assignments),
        shape=tuple(prepared.train.pictures.shape[1:]),
        num_classes=len(prepared.class_names),
        parameters=network,
        flips=getattr(prepared.train.augmentation, "flip", 0) > 0,
        seconds=60 * options.minutes,
        num=options.num,
        num_inference_steps=options.steps or recipe.sampling.num_inference_steps,
        num_samplers=options.num_samplers,
    )
    path = options.out / "task.json"
    if path.is_file():
        if Task.read(path) != task:
            raise InputError(f"{options.out} holds results of other settings; give another --out")
    else:
        write_pictures(prepared.train.pictures[:], prepared.train.labels, Path(task.folder))
        task.write(path)  # last: without it nothing here counts
    return task, prepared


def data_assignments(data: Path | None) -> list[str]:
    """`--set` for a tar, a folder with one, or a folder of class folders."""
    if data is None:
        return []
    if data.is_dir():
        archives = sorted(path for path in data.iterdir() if ".tar" in path.suffixes)
        if not archives:
            return [f"data.folder={data}"]
        data = archives[0]
    return [f"data.sources.classtar.path={data}"]


def write_pictures(pictures: Tensor, labels: Tensor, folder: Path) -> None:
    """The pictures to train on, together in one file and as a PNG each, for whoever reads which."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "png").mkdir(parents=True)
    save_file({"pictures": pictures, "labels": labels}, folder / "pictures.safetensors")
    for number, picture in enumerate(pictures):
        to_image(picture).save(folder / "png" / f"{number:06d}.png", compress_level=1)


def start_side(side: str, task: Task, options: argparse.Namespace) -> None:
    """A side in a process of its own.

    Raises:
        InputError: it failed; what it said has been printed.
    """
    print(f"{side}: training for {task.seconds:.0f} s, then {task.num} pictures", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.images_vs_peers", "--side", side, "--out", str(options.out)]
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    if options.peers:
        paths = (str(options.peers.resolve()), os.environ.get("PYTHONPATH", ""))
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    if subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode:
        raise InputError(f"{side} did not finish; the others are kept in {options.out}")


if __name__ == "__main__":
    main()
