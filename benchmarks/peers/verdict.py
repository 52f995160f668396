"""What the sides' pictures are worth, and in which rows ours is not ahead."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from benchmarks.peers.side import FINISHED, SIDES
from synesthete.evaluation.metrics.distribution import kernel
from synesthete.evaluation.metrics.metric import accuracy

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from benchmarks.peers.task import Task
    from synesthete.evaluation.classifiers.image import ImageClassifier

# Whether more of a row is better.
ROWS = {
    "kid": False,
    "class_accuracy": True,
    "pictures_per_second": True,
    "samples_per_second": True,
    "peak_bytes": False,
    "working_bytes": False,
}
LINE = "{:<30}{:>9}{:>10}{:>12}{:>12}{:>10}{:>10}{:>12}{:>8}{:>8}"
HEAD = ("side, sampler", "KID", "accuracy", "pictures/s", "samples/s", "memory", "working", "parameters", "steps", "s")


def evaluate_sides(
    folder: Path, task: Task, classifier: ImageClassifier, features: Any, real: Tensor
) -> dict[str, dict[str, Any]]:
    """The figures of every side that has finished; kid and class_accuracy (None where it was told no class) added."""
    sides: dict[str, dict[str, Any]] = {}
    for side in SIDES:
        if not (folder / side / FINISHED).is_file():
            continue
        figures = sides[side] = json.loads((folder / side / FINISHED).read_text(encoding="utf-8"))
        for sampler, found in figures["samplers"].items():
            pictures = load_file(folder / side / f"{sampler}.safetensors")["pictures"]
            found["kid"] = kernel(real, features(pictures), num_subsets=0).value
            told = figures["conditional"]
            found["class_accuracy"] = accuracy(task.labels(), classifier.classify(pictures)) if told else None
    return sides


def find_behind(sides: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows in which a side, with any of its samplers, is as good as ours or better."""
    if "ours" not in sides:
        return []
    ours = best_rows(sides["ours"])
    behind = []
    for side, figures in sides.items():
        theirs = best_rows(figures)
        for row, more in ROWS.items():
            if side == "ours" or theirs[row] is None or ours[row] is None:
                continue
            if (theirs[row] >= ours[row]) if more else (theirs[row] <= ours[row]):
                behind.append({"row": row, "side": side, "ours": ours[row], "theirs": theirs[row]})
    return behind


def best_rows(figures: dict[str, Any]) -> dict[str, Any]:
    """A side's figure in each row, of several samplers the best one's."""
    rows = {}
    for row, more in ROWS.items():
        found = [sampler.get(row, figures.get(row)) for sampler in figures["samplers"].values()]
        known = [value for value in found if value is not None]
        rows[row] = (max(known) if more else min(known)) if known else None
    return rows


def make_table(values: dict[str, Any]) -> str:
    """The comparison for people."""
    lines = [
        f"{values['recipe']}: {values['minutes']:g} minutes of training each, {values['num']} pictures in "
        f"{values['num_inference_steps']} steps, {values['threads']} threads",
        LINE.format(*HEAD),
    ]
    for side, figures in values["sides"].items():
        for sampler, found in figures["samplers"].items():
            share = found["class_accuracy"]
            lines.append(
                LINE.format(
                    f"{side}, {sampler}",
                    f"{found['kid']:.4f}",
                    "not told" if share is None else f"{share:.3f}",
                    f"{found['pictures_per_second']:.2f}",
                    f"{figures['samples_per_second']:.1f}",
                    f"{figures['peak_bytes'] / 1e9:.2f} GB",
                    f"{figures['working_bytes'] / 1e9:.2f} GB",
                    f"{figures['parameters']:,}",
                    figures["steps"],
                    f"{figures['seconds']:.0f}",
                )
            )
    lines.append(
        f"KID ({values['features']}, n = {values['num']}, {values['num_real']} real): as good as real is "
        f"{values['kid_floor']:.4f}. Accuracy: chance {values['chance']:.3f}, real {values['classifier_accuracy']:.3f}"
    )
    for found in values["behind"]:
        lines.append(f"ours is not ahead in {found['row']}: {found['ours']:.4g}, {found['side']} {found['theirs']:.4g}")
    return "\n".join(lines)
