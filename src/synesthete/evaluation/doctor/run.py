"""A run, by what its folder tells: its recipe, the figures of each stage, checkpoints and rollbacks."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file

from synesthete.config import Recipe, Stage
from synesthete.config.recipe import step_of
from synesthete.evaluation.doctor.check import Check, check, disk, folder_size, readable
from synesthete.evaluation.reporting.report import duration
from synesthete.io import LOCK, read_json
from synesthete.objectives.one_step import DEAD_SENSITIVITY, LAGGING, LARGE_GAP
from synesthete.objectives.ranges import DataRange, Range
from synesthete.types import InputError, first_line

NUM_RECENT = 10  # lines of metrics.jsonl whose median is the loss now
RISEN, FAR_RISEN = 1.5, 3.0  # times the lowest such median; healthy runs reach 1.4
NUMBER, MOST = int | float, 1 << 62  # nothing counts further
ROLLBACK = {"step": int, "to": int, "figure": str, "level": NUMBER, "reached": NUMBER}
MOST_CLIPPED = 10.0  # times gradient_clip; larger gradients are all cut to one length


@dataclass(frozen=True)
class StageRecord:
    """One stage. lines: its figures in `metrics.jsonl`. rollbacks: to its last good states, the first one first."""

    stage: Stage
    lines: list[dict[str, Any]]
    checkpoints: list[Path]
    rollbacks: list[dict[str, Any]]

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of a figure, where it was written."""
        found = [(line["step"], line[name]) for line in self.lines if isinstance(line.get(name), int | float)]
        return [step for step, _ in found], [value for _, value in found]

    def last(self, *names: str) -> dict[str, Any] | None:
        """The last step's lines that have all these figures between them, as one; None where no step has."""
        steps: dict[int, dict[str, Any]] = {}
        for line in self.lines:
            steps.setdefault(line["step"], {}).update(line)
        return next((own for _, own in sorted(steps.items(), reverse=True) if _has_numbers(own, names)), None)

    @property
    def step(self) -> int:
        """The last step that figures were written of."""
        return max((line["step"] for line in self.lines), default=0)

    @property
    def is_finished(self) -> bool:
        """Whether its last checkpoint is there."""
        return bool(self.checkpoints) and step_of(self.checkpoints[-1]) >= self.stage.num_steps


@dataclass(frozen=True)
class RunRecord:
    """A run folder. stages: those of the recipe, whether begun or not."""

    folder: Path
    recipe: Recipe
    stages: list[StageRecord]

    @property
    def current(self) -> StageRecord:
        """The stage that is or was last trained."""
        begun = [record for record in self.stages if record.lines or record.checkpoints]
        return begun[-1] if begun else self.stages[0]

    @property
    def data_range(self) -> DataRange | None:
        """The range of its data, where that was written down."""
        line = self.current.last("data_low", "data_high")
        return _data_range(line) if line else None


def _has_numbers(line: dict[str, Any], names: Collection[str]) -> bool:
    return all(isinstance(line.get(name), NUMBER) for name in names)


def _data_range(line: dict[str, Any]) -> DataRange:
    return DataRange(line["data_low"], line["data_high"], line.get("data_share_clipped"))


def read_run(folder: Path) -> RunRecord:
    """What there is to read of a run; half-written lines are left out."""
    if not (folder / "recipe.yaml").is_file():
        raise InputError(f"{folder}: no recipe.yaml in it; give a run folder or a model")
    recipe = Recipe.load(folder / "recipe.yaml")
    lines = _lines(folder / "metrics.jsonl")
    stages = []
    for number, stage in enumerate(recipe.stages):
        place = folder / "checkpoints" / f"{number}-{stage.name}"
        own = [line for line in lines if line["stage"] == stage.name]
        checkpoints = sorted(path for path in place.glob("step_*") if (path / "state.json").is_file())
        stages.append(StageRecord(stage, own, checkpoints, _rollbacks(place / "rollbacks.json")))
    return RunRecord(folder, recipe, stages)


def _lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError, TypeError, KeyError, OverflowError):
            line = dict(json.loads(text))
            own: dict[str, Any] = {"stage": str(line["stage"]), "step": int(line["step"])}
            if 0 <= own["step"] < MOST:  # a file of a run may be anybody's: what is no figure is left out
                found.append({name: value for name, value in line.items() if _is_figure(value)} | own)
    return found


def _is_figure(value: object) -> bool:
    """Whether it is a number, or a list of numbers some of which may be missing."""
    if isinstance(value, list):
        return bool(value) and all(one is None or (not isinstance(one, list) and _is_figure(one)) for one in value)
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < MOST)


def _rollbacks(path: Path) -> list[dict[str, Any]]:
    with contextlib.suppress(OSError, ValueError, TypeError):
        found = [one for one in read_json(path) if isinstance(one, dict)]
        return [one for one in found if all(isinstance(one.get(name), kind) for name, kind in ROLLBACK.items())]
    return []


def is_written_to(folder: Path) -> bool:
    """Whether a training is in the folder now."""
    if not (folder / LOCK).is_file():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0, mode=0o666):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False


def examine_run(run: RunRecord) -> list[Check]:
    """Every check that the folder alone allows: progress, checkpoints, disk, and what each stage wrote of itself."""
    checks = [_progress(run), *_checkpoint(run), _disk(run)]
    for record in run.stages:
        if record.lines:
            prefix = "" if len(run.stages) == 1 else f"{record.stage.name}: "
            found = (*_losses(record), _spikes(record), *_previews(record))
            checks += [replace(check, name=prefix + check.name) for check in found]
    return checks


def seconds_left(record: StageRecord) -> float | None:
    """Until the end of a stage at its measured rate, looks and checkpoints included where they were measured."""
    left = record.stage.num_steps - record.step
    if (line := record.last("seconds_left")) and line["step"] < record.stage.num_steps:
        return left * line["seconds_left"] / (record.stage.num_steps - line["step"])
    steps, seconds = record.series("seconds")
    if not steps:
        return None
    first = max(len(steps) - 1 - 2 * NUM_RECENT, -1)
    before = (steps[first], seconds[first]) if first >= 0 else (0, 0.0)
    return left * (seconds[-1] - before[1]) / max(steps[-1] - before[0], 1)


def _progress(run: RunRecord) -> Check:
    now = run.current
    steps = f"stage {now.stage.name}, step {now.step} of {now.stage.num_steps}"
    figures: dict[str, Any] = {"stage": now.stage.name, "step": now.step, "num_steps": now.stage.num_steps}
    if now.is_finished and now is run.stages[-1]:
        advice = "its model is missing; run the same `synesthete train` again to have it written"
        missing = not (run.folder / "model").is_dir()
        return check("progress", f"finished: {steps}", bad=missing, advice=advice, figures=figures)
    goes_on, left = is_written_to(run.folder), seconds_left(now)
    said = "" if left is None else f", {duration(left)} to the end of the stage at its rate"
    figures |= {"seconds_left": left, "in_training": goes_on}
    advice = "" if goes_on else f"go on with `synesthete train {run.folder}/recipe.yaml --out {run.folder}`"
    return Check("progress", "ok", f"{'training' if goes_on else 'interrupted'}: {steps}{said}", advice, figures)


def _checkpoint(run: RunRecord) -> list[Check]:
    now, name = run.current, "last checkpoint"
    if not now.checkpoints:
        if not now.lines or now.step < now.stage.checkpoint_every:
            return []
        advice = "killed now it would begin again; see that it can be written"
        return [check(name, "none yet", warn=True, advice=advice)]
    last = now.checkpoints[-1]
    figures = {"checkpoint": str(last), "step": step_of(last)}
    if trouble := damage(last):
        advice = "remove that folder to go on from the checkpoint before"
        return [check(name, f"{last.name}: {trouble}", bad=True, advice=advice, figures=figures)]
    found = f"{last.name} of stage {now.stage.name}, {readable(folder_size(last))}, all finite"
    return [check(name, found, figures=figures)]


def damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint, in words; nothing where it is whole and its weights are finite."""
    try:
        read_json(checkpoint / "state.json")
        for path in sorted(checkpoint.glob("*.safetensors")):
            for name, value in load_file(path).items():
                if not torch.isfinite(value).all():
                    return f"{name} in {path.name} is not finite"
    except (OSError, ValueError, SafetensorError) as error:
        return first_line(error)
    return ""


def _disk(run: RunRecord) -> Check:
    needed = sum(folder_size(path) for path in (*run.current.checkpoints[-1:], run.folder / "model"))
    advice = f"free some: the next checkpoint and model take {readable(needed)} beside those that are there"
    if run.current.is_finished:
        needed = 0
    return disk(run.folder, 3 * needed, needed, advice)


def _losses(record: StageRecord) -> list[Check]:
    steps, losses = record.series("loss")
    if not losses:
        return []
    if broken := [step for step, loss in zip(steps, losses, strict=True) if not math.isfinite(loss)]:
        advice = "lower learning_rate, in a new --out"
        return [check("loss", f"not finite at step {broken[0]}", bad=True, advice=advice)]
    windows = [median(losses[i : i + NUM_RECENT]) for i in range(max(len(losses) - NUM_RECENT, 0) + 1)]
    now, lowest = windows[-1], min(windows)
    times = now / max(lowest, 1e-12)
    found = f"{now:.4g}; {windows[0]:.4g} at first, {lowest:.4g} at its lowest"
    advice = "it has risen slowly; lower learning_rate, in a new --out"
    figures = {"loss": now, "lowest": lowest, "first": windows[0]}
    return [check("loss", found, bad=times > FAR_RISEN, warn=times > RISEN, advice=advice, figures=figures)]


def _spikes(record: StageRecord) -> Check:
    stage, rollbacks = record.stage, record.rollbacks
    figures = {"rollbacks": len(rollbacks)}
    if stage.spike_patience is None or not rollbacks:
        found = "none that lasted" if stage.spike_patience is not None else "not looked for (spike_patience is null)"
        return check("spikes", found, figures=figures)
    last = rollbacks[-1]
    near = [r for r in rollbacks if last["step"] - r["step"] <= stage.checkpoint_every + stage.spike_patience]
    return check(
        "spikes",
        f"{len(rollbacks)} that lasted, the last at step {last['step']}: the {last['figure'].replace('_', ' ')} rose "
        f"from {last['level']:.4g} to {last['reached']:.4g}; went back to step {last['to']}",
        bad=len(near) > stage.max_rollbacks and not record.is_finished,
        warn=True,
        advice=f"lower learning_rate (now {stage.learning_rate:g}) or raise num_warmup_steps, in a new --out",
        figures=figures,
    )


def _previews(record: StageRecord) -> Iterator[Check]:
    """Its gradients, and what the previews wrote."""
    if norms := record.series("gradient_norm")[1]:
        now, clip = median(norms[-NUM_RECENT:]), record.stage.gradient_clip
        advice = "every step is cut to one length; raise gradient_clip or lower learning_rate"
        found, large = f"norm {now:.3g}, clipped at {clip:g}", now > MOST_CLIPPED * clip
        yield check("gradient", found, warn=large, advice=advice, figures={"gradient_norm": now})
    if line := record.last("data_low", "data_high", "share_outside"):
        low, high = line.get("output_low", math.nan), line.get("output_high", math.nan)
        shares = line["share_outside"], line.get("share_clipped"), line.get("share_not_finite", 0.0)
        yield range_check(Range(_data_range(line), low, high, *shares), f"step {line['step']}")
    lines = [line for line in record.lines if _has_numbers(line, ("condition_sensitivity", "held_out_error"))]
    if worth := [line["condition_sensitivity"] / max(line["held_out_error"], 1e-12) for line in lines[-3:]]:
        yield condition_check(worth, finished=record.step * 2 >= record.stage.num_steps)
    if line := record.last("held_out_loss", "raw_held_out_loss"):
        late = line["step"] * 2 >= record.stage.num_steps
        yield averages_check(line["held_out_loss"], line["raw_held_out_loss"], late=late)
    if line := record.last("held_out_loss", "training_loss"):
        share = line["held_out_loss"] / max(line["training_loss"], 1e-12) - 1
        advice = "more data, augmentation, or fewer steps; see `over-fits` in the run's notes"
        found = f"loss {line['held_out_loss']:.4g} held out, {line['training_loss']:.4g} in training, {share:+.0%}"
        yield check("over-fitting", found, warn=share > LARGE_GAP, advice=advice, figures={"share": share})


def range_check(found: Range, where: str) -> Check:
    """The values that a model puts out."""
    advice = {
        "ok": "",
        "warn": "more steps may mend it; see the samples, and lower guidance_scale",
        "bad": "the network has diverged, or is sampled as another kind than it was trained; lower learning_rate or "
        "set process.prediction_type=sample, in a new --out",
    }[found.verdict]
    return Check("output range", found.verdict, f"{found} ({where})", advice, found.figures())


def condition_check(shares: list[float], *, finished: bool = True) -> Check:
    """What the condition is worth to a model: sensitivities as shares of the error, the last one last."""
    dead = max(shares) < DEAD_SENSITIVITY
    advice = "the model ignores its condition; look at the pairs of the data, and at condition_dropout"
    found, figures = f"being told of another sample costs {shares[-1]:+.1%} of the error", {"sensitivity": shares[-1]}
    return check("condition", found, bad=dead and finished, warn=dead, advice=advice, figures=figures)


def averages_check(averaged: float, raw: float, *, late: bool = True) -> Check:
    """The averaged weights against the weights themselves, by their held-out loss."""
    lags = late and averaged > (1 + LAGGING) * raw
    advice = "the averaged weights lag behind; lower ema_decay or train for longer"
    found, figures = f"held-out loss {averaged:.4g} averaged, {raw:.4g} as trained", {"averaged": averaged, "raw": raw}
    return check("averaged weights", found, warn=lags, advice=advice, figures=figures)
