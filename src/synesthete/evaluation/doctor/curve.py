"""How a shipped model's training went, and where a run of the same recipe departs from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from synesthete import hub
from synesthete.config import Recipe, first_difference
from synesthete.evaluation.doctor.check import Check, check
from synesthete.evaluation.reporting.report import duration

if TYPE_CHECKING:
    from synesthete.evaluation.doctor.run import RunRecord, StageRecord

CURVE = "curve.jsonl"  # in a shipped model's folder
NUM_POINTS = 24  # of a stage
MARGIN = 0.1  # of the loss, beyond the band of a single run: another seed or machine draws other batches
SLOWER = 3.0  # times as long; other machines are that much slower without anything being wrong
# What a run writes, looks at or computes with, which moves no loss by as much.
FREE = ("log_every", "preview_every", "checkpoint_every", "precision", "gradient_checkpointing")


def curve_points(record: StageRecord, ends: Sequence[int] = ()) -> list[dict[str, Any]]:
    """A stage's loss window by window: its median, the band of four fifths of its values, and what was held out.

    ends: the last steps of the windows; NUM_POINTS of equal length where there are none.
    """
    (steps, losses), last, first = record.series("loss"), record.stage.num_steps, 0
    found: list[dict[str, Any]] = []
    for end in ends or [round(last * (i + 1) / NUM_POINTS) for i in range(NUM_POINTS)]:
        own = [loss for step, loss in zip(steps, losses, strict=True) if first < step <= end]
        if len(own) >= 2 and steps[-1] >= end:
            tenths = quantiles(own, n=10, method="inclusive")
            point = {"stage": record.stage.name, "step": end, "loss": median(own), "low": tenths[0], "high": tenths[-1]}
            point["seconds"] = _seconds(record, end)
            held_out = dict(zip(*record.series("held_out_loss"), strict=True))
            point |= {"held_out_loss": held_out[end]} if end in held_out else {}
            found.append({key: round(v, 5) if isinstance(v, float) else v for key, v in point.items()})
            first = end
    return found


def curve_checks(run: RunRecord) -> list[Check]:
    """Each stage beside that of the model that shipped, where its curve was kept and the recipe is the same."""
    path = hub.SHIPPED / run.recipe.name / CURVE
    if run.recipe.name not in hub.shipped_models() or not path.is_file():
        return []
    lines = list(map(json.loads, path.read_text(encoding="utf-8").splitlines()))
    shipped = Recipe.load(hub.SHIPPED / run.recipe.name / "recipe.yaml")
    if difference := first_difference(_compared(shipped), _compared(run.recipe)):
        return [check("curve", f"not beside the shipped model's, another recipe: {difference}")]
    data = first_difference(shipped.to_dict()["data"], run.recipe.to_dict()["data"], "data")
    checks = []
    for record in run.stages:
        curve = [line for line in lines if line["stage"] == record.stage.name]
        if not (own := curve_points(record, [line["step"] for line in curve])):
            continue
        now = own[-1]
        then = next(line for line in curve if line["step"] == now["step"])
        margin = MARGIN * then["loss"]
        higher, lower = now["loss"] > then["high"] + margin, now["loss"] < then["low"] - margin
        slower = now["seconds"] / max(then["seconds"], 1e-9)
        found = (
            f"loss {now['loss']:.4g} up to step {now['step']}, {then['low']:.4g} to {then['high']:.4g} of the shipped "
            f"model; {duration(now['seconds'])}, {duration(then['seconds'])} of that one's"
        )
        easier = "fewer or easier data than that one's, or it began with trained weights"
        slow = f"{slower:.1f} times as slow; see `synesthete doctor` for threads and precision"
        advice = "it learns worse than that one did" if higher else easier if lower else slow
        advice += f" ({data})" if data else ""
        name = "curve" if len(run.stages) == 1 else f"{record.stage.name}: curve"
        figures = {"loss": now["loss"], "low": then["low"], "high": then["high"], "times_as_slow": slower}
        checks.append(check(name, found, warn=higher or lower or slower > SLOWER, advice=advice, figures=figures))
    return checks


def _compared(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides how its loss falls, but for the data."""
    values = recipe.to_dict()
    kept = {name: values[name] for name in ("codec", "conditioner", "denoiser", "process")}
    stages = [{key: value for key, value in stage.items() if key not in FREE} for stage in values["stages"]]
    return kept | {"stages": stages}


def _seconds(record: StageRecord, step: int) -> float:
    """Of stepping, from the first figure of a stage to a step: what came before the first is not counted."""
    steps, seconds = record.series("seconds")
    until = [one for at, one in zip(steps, seconds, strict=True) if at <= step]
    return until[-1] - until[0] if until else 0.0
