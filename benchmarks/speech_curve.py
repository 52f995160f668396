"""Accuracy against minutes of training, from zero.

    python -m benchmarks.speech_curve --set data.sources.mnist.path=MNIST --out out/curve

trains `image-to-speech-digits` from zero, corpus included, and lets the mel classifier, which heard other voices only,
name held-out samples at every checkpoint. Judging is not counted as training time. Writes curve.json and curve.png.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure

from synesthete import seeding, tasks
from synesthete.evaluation.classifiers.speech import load_or_train_speech_classifier, log_mel_of
from synesthete.pipeline import Pipeline
from synesthete.recipes import find_recipe
from synesthete.training.loop import train_recipe

if TYPE_CHECKING:
    from synesthete.training.run_log import StepReport


def main() -> None:
    """Train, classifier at every checkpoint, write the curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="image-to-speech-digits")
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    parser.add_argument("--out", type=Path, default=Path("out/curve"))
    parser.add_argument("--num", type=int, default=500)
    options = parser.parse_args()
    recipe = find_recipe(options.recipe, options.assignments)
    data = recipe.data()

    started = time.perf_counter()
    if options.out.exists() and any(options.out.iterdir()):
        parser.error(f"{options.out} is not empty; the curve starts from zero, so give another --out")
    prepared = tasks.prepare(recipe, options.out / "data")
    seconds = {"preparation": time.perf_counter() - started, "evaluation": 0.0}
    corpus = options.out / "data" / "corpus"
    held_out_clips = data.clips(corpus, "test")
    training = load_or_train_speech_classifier(data.clips(corpus, "classifier"), held_out_clips, spec=data.spec)
    print(f"preparation {seconds['preparation']:.0f} s; classifier {training.accuracy:.3f} on real held-out clips")

    run, points, begun = options.out / "run", [], time.perf_counter()
    chosen = torch.randperm(len(prepared.test), generator=seeding.generator(0, "curve"))[: options.num]
    pictures, labels = prepared.test.pictures[chosen], prepared.test.labels[chosen]

    def on_step(report: StepReport) -> None:
        stage = next(stage for stage in recipe.stages if stage.name == report.stage)
        saved = report.step % stage.checkpoint_every == 0 or report.step == stage.num_steps
        if stage is not recipe.stages[-1] or not saved:
            return
        paused = time.perf_counter()
        minutes = (paused - begun - seconds["evaluation"] + seconds["preparation"]) / 60
        accuracy = measure_accuracy(Pipeline.load(str(run)), training.classifier, pictures, labels)
        points.append({"step": report.step, "minutes": round(minutes, 3), "accuracy": accuracy})
        print(f"step {report.step:6d}  {minutes:6.2f} min  accuracy {accuracy:.3f}", flush=True)
        seconds["evaluation"] += time.perf_counter() - paused

    train_recipe(recipe, prepared, run, report=on_step)
    values = {"recipe": recipe.name, "n": options.num, "ceiling": training.accuracy, "points": points, **seconds}
    (options.out / "curve.json").write_text(json.dumps(values, indent=1))
    draw(points, training.accuracy, options.out / "curve.png")


def measure_accuracy(
    pipeline: Pipeline, classifier: torch.nn.Module, pictures: torch.Tensor, labels: torch.Tensor
) -> float:
    """Share of pictures whose sample the classifier calls by the picture's name."""
    right = 0
    for first in range(0, len(pictures), 50):
        part = slice(first, first + 50)
        noise = seeding.sample_generators(1, len(labels[part]), first)
        *_, x_0 = pipeline.trajectory(pictures[part], generators=noise)
        right += int((classifier.classify(log_mel_of(pipeline.codec, x_0)) == labels[part]).sum())
    return right / len(labels)


def draw(points: list[dict[str, float]], ceiling: float, path: Path) -> None:
    """The curve with chance and ceiling."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([p["minutes"] for p in points], [p["accuracy"] for p in points], marker="o", label="held-out pictures")
    axes.axhline(ceiling, color="tab:green", ls="--", label=f"ceiling: real clips ({ceiling:.3f})")
    axes.axhline(0.1, color="tab:red", ls=":", label="chance (0.100)")
    axes.set(
        xlabel="minutes from zero on two CPU cores", ylabel="accuracy (mel classifier)", ylim=(0, 1.02), xlim=(0, None)
    )
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
