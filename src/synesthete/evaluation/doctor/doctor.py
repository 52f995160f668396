"""All checks of a run or a model: of its files, its weights, its samples; and the report, with losses in pictures."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from synesthete import seeding
from synesthete.evaluation.doctor import run as runs
from synesthete.evaluation.doctor.check import Check, check, table, worst
from synesthete.evaluation.doctor.curve import curve_checks
from synesthete.evaluation.reporting.figures import COLOURS, Panel, curves_figure, to_png
from synesthete.evaluation.reporting.media import draw_sheet, encode_png
from synesthete.evaluation.reporting.report import Medium, Report, Section, provenance, write_report
from synesthete.objectives import Parts
from synesthete.objectives.one_step import condition_sensitivity, fixed_loss
from synesthete.objectives.ranges import DataRange, data_range, value_range

if TYPE_CHECKING:
    from synesthete.evaluation.doctor.run import RunRecord, StageRecord
    from synesthete.pipeline import Pipeline
    from synesthete.tasks import Task
    from synesthete.types import Batch, Prepared, Progress

NEAREST = Image.Resampling.NEAREST
NUM_HELD_OUT, NUM_TOLD = 32, 4
QUIET, TOO_LOUD = -60.0, -40.0  # dB below full scale that silence comes back with
SAME = 1e-4  # of a prediction; conditions that change less of it say nothing
NEAR_NOISE = 0.9  # of the way to noise, where the condition is what decides


def examine_model(
    pipeline: Pipeline,
    *,
    num: int = 4,
    seed: int = 0,
    prepared: Prepared | None = None,
    run: RunRecord | None = None,
    progress: Progress | None = None,
) -> tuple[list[Check], Tensor | None]:
    """Every check of a model, and the x_0 of `num` samples; None where weights are not finite, or num is 0.

    A num of 0 leaves out whatever asks the denoiser, for a model whose denoiser was never trained. prepared: its data,
    where they are at hand. run: that it is of, whose last weights its averages are compared with.
    """
    report, checks, held_out = progress or (lambda *_: None), [_weights(pipeline)], None
    if prepared is not None:
        generator = seeding.generator(0, "doctor")
        places = torch.randperm(len(prepared.test), generator=generator)[:NUM_HELD_OUT]
        held_out = prepared.test.batch(places, generator).to(pipeline.device)
    if pipeline.codec.spec is not None:
        checks.append(_silence(pipeline.codec))
    if checks[0].verdict == "bad" or not num:
        return checks, None
    report("samples", 0, num)
    raw = held_out.raw[:num] if held_out else some_conditions(pipeline, num)
    if raw is None:
        found = f"none made: nothing at hand that is told to a {type(pipeline.conditioner).__name__}; give --prepare"
        return [*checks, check("samples", found)], None
    generators = seeding.sample_generators(seed, len(raw))
    *_, x_0 = pipeline.trajectory(raw, generators=generators)
    signal = pipeline.codec.decode(x_0, generators) if torch.isfinite(x_0).all() else None
    report("samples", num, num)
    known: DataRange | None
    if held_out:
        known, where = data_range(pipeline.codec, held_out.encode(pipeline.codec)), "against held-out data"
    elif run and (known := run.data_range):
        where = "against the data of its run"
    else:
        known = codec_range(pipeline.codec, pipeline.device)
        where = "against the most that its codec gives; no data at hand"
    if known:
        checks.append(runs.range_check(value_range(pipeline.codec, x_0, known, signal), where))
    if pipeline.is_conditional:
        checks.append(_condition(pipeline, held_out))
    if held_out and run and run.current.checkpoints:
        checks += _averages(pipeline, held_out, run.current.checkpoints[-1])
    return checks, x_0


def _weights(pipeline: Pipeline) -> Check:
    for name in ("codec", "conditioner", "denoiser"):
        for key, value in getattr(pipeline, name).state_dict().items():
            if not torch.isfinite(value).all():
                advice = "train again from the last good checkpoint, or copy the model again"
                return check("weights", f"{name}.{key} is not finite", bad=True, advice=advice)
    number = sum(p.numel() for p in pipeline.denoiser.parameters())
    found = f"{number / 1e6:.2f} million in the denoiser, all finite"
    return check("weights", found, figures={"num_parameters": number})


def some_conditions(pipeline: Pipeline, num: int) -> Any:
    """Raw conditions (num, ...) of what a model reads: its classes in turn, words, noise; None where only data tell."""
    conditioner, generator = pipeline.conditioner, torch.Generator().manual_seed(0)
    config, reads = conditioner.config, conditioner.reads
    if reads == "sound":
        return 0.1 * torch.randn(num, config.num_samples, generator=generator)
    if reads == "audio_text":
        time = torch.arange(conditioner.sample_rate) / conditioner.sample_rate  # a second
        return conditioner.compose([0.5 * (2 * math.pi * 110 * 3**place * time).sin() for place in range(num)])
    if reads == "image":
        # Coarse squares: single pixels of noise are gone when a picture is made smaller.
        grains = torch.randint(256, (num, 4, 4, 3), generator=generator, dtype=torch.uint8).numpy()
        return pipeline.preprocess([Image.fromarray(grain).resize((64, 64), NEAREST) for grain in grains])
    if reads == "level":
        return conditioner.compose(num)
    if reads not in ("label", "nothing"):
        return None
    if conditioner.reads_text and not config.get("class_names"):  # it reads words alone
        return conditioner.extract_features((["a picture", "a sound", "a dog", "a house"] * num)[:num])
    num_classes = config.get("num_classes") or len(config.get("class_names") or pipeline.class_names) or 1
    return torch.arange(num) % num_classes


@torch.no_grad()
def codec_range(codec: Any, device: torch.device) -> DataRange | None:
    """The x_0 of extremes: silence, noise and tones at full scale, or black and noisy pictures; None of others."""
    generator = torch.Generator().manual_seed(0)
    if codec.spec is not None:
        size = codec.config.num_samples
        time = torch.arange(size) / codec.spec.sample_rate
        tones = [(2 * math.pi * share * codec.spec.sample_rate * time).sin() for share in (0.005, 0.05, 0.4)]
        noise = 2 * torch.rand(size, generator=generator) - 1
        extremes = torch.stack([torch.zeros(size), noise, noise.sign(), *tones])
    elif codec.makes_pictures:
        shape = codec.preprocess([Image.new("RGB", (64, 64), "grey")]).shape[1:]
        noise = torch.randint(256, shape, generator=generator)
        extremes = torch.stack([torch.zeros_like(noise), torch.full_like(noise, 255), noise]).to(torch.uint8)
    else:
        return None
    x_0 = codec.encode(extremes.to(device))
    return DataRange(x_0.min().item(), x_0.max().item(), None if codec.spec is None else 0.0)


def _silence(codec: Any) -> Check:
    """Nothing in, nothing out: what a codec makes of silence, which is the padding of every clip."""
    silence = torch.zeros(1, codec.config.num_samples, device=codec.device)
    back = codec.decode(codec.encode(silence), seeding.sample_generators(0, 1))
    level = 20 * math.log10(max(back.square().mean().sqrt().item(), 1e-9))
    found, figures = f"comes back at {level:.0f} dB of full scale", {"decibels": level}
    advice = "the codec hisses; look at its floor, and at what it does with cut frequencies"
    return check("silence", found, bad=level >= TOO_LOUD, warn=level >= QUIET, advice=advice, figures=figures)


def _condition(pipeline: Any, held_out: Batch | None) -> Check:
    if held_out and len(held_out.label.unique()) > 1:
        errors = condition_sensitivity(pipeline, held_out)
        return runs.condition_check([errors["sensitivity"] / max(errors["right"], 1e-12)])
    raw = some_conditions(pipeline, NUM_TOLD)
    share = told_apart(pipeline, held_out.raw[:NUM_TOLD] if raw is None and held_out else raw)
    advice = "the model ignores its condition; train longer, or look at the pairs of the data"
    data = "" if held_out else "; no data at hand"
    found = f"another condition changes {share:.2%} of the prediction (near noise{data})"
    return check("condition", found, bad=share < SAME, advice=advice, figures={"share_changed": share})


@torch.no_grad()
def told_apart(pipeline: Pipeline, raw: Any) -> float:
    """How much of a prediction near noise depends on what is told: its spread over raw (n, ...), of its own size."""
    _, _, condition = pipeline.branches(raw)
    noise = seeding.randn(pipeline.codec.shape, seeding.sample_generators(0, 1)).to(pipeline.device)
    x_t = noise.expand(len(raw), *noise.shape[1:])
    timestep = pipeline.process.at(torch.full((len(raw),), NEAR_NOISE)).to(pipeline.device)
    prediction = pipeline.process.predict(pipeline.denoiser, x_t, timestep, condition)
    spread = (prediction - prediction.mean(dim=0)).square().mean().sqrt()
    return (spread / prediction.square().mean().sqrt().clamp(min=1e-12)).item()


def _averages(pipeline: Any, held_out: Batch, checkpoint: Path) -> list[Check]:
    """The model, whose weights are averages, against the weights as they were trained."""
    if not (checkpoint / "ema.safetensors").is_file():
        return []
    state = load_file(checkpoint / "model.safetensors")
    trained = Parts(pipeline.codec, *copy.deepcopy((pipeline.conditioner, pipeline.denoiser)), pipeline.process)
    for name in ("conditioner", "denoiser"):
        module = getattr(trained, name)
        own = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
        # A checkpoint may have left out a base that stays as published.
        module.load_state_dict({**module.state_dict(), **own} if getattr(module, "has_base", False) else own)
    return [runs.averages_check(*(fixed_loss(parts, held_out).mean().item() for parts in (pipeline, trained)))]


SUMMARY = "Every check with its verdict, the figure that it rests on, and what to do about it."


def loss_figure(record: StageRecord) -> Figure:
    """Loss and gradient norm of a stage by step, both in logarithms; each rollback from a spike is marked."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for axes, name, colour in ((upper, "loss", COLOURS[0]), (lower, "gradient_norm", COLOURS[1])):
        steps, values = record.series(name)
        axes.plot(steps, values, color=colour, linewidth=0.8)
        if values and min(values) > 0:
            axes.set_yscale("log")
        axes.set_ylabel(name.replace("_", " "))
    for name, style, label in (
        ("held_out_loss", "o-", "held out, averaged weights"),
        ("raw_held_out_loss", "x:", "held out, as trained"),
    ):
        steps, values = record.series(name)
        if values:
            upper.plot(steps, values, style, color=COLOURS[2], markersize=4, linewidth=0.8, label=label)
    for number, found in enumerate(record.rollbacks):
        once = {"label": "went back from a spike"} if number == 0 else {}
        upper.plot(found["step"], found["reached"], "v", color=COLOURS[3], **once)
        upper.plot([found["step"], found["to"]], [found["reached"], found["level"]], ":", color=COLOURS[3])
    lower.axhline(record.stage.gradient_clip, color="grey", linewidth=0.8, linestyle="--")
    if upper.get_legend_handles_labels()[0]:
        upper.legend(fontsize=8)
    lower.set_xlabel("step")
    upper.set_title(f"stage {record.stage.name}", fontsize=10)
    return figure


def timestep_losses_figure(record: StageRecord) -> Figure | None:
    """The loss by timestep at the beginning, halfway and now; None where it was not written."""
    found = [line["loss_by_timestep"] for line in record.lines if isinstance(line.get("loss_by_timestep"), list)]
    lines = [losses for losses in found if len(losses) == len(found[-1])]
    if not lines:
        return None
    table, size = np.ma.masked_invalid(np.array(lines, dtype=float)), max(len(lines) // 10, 1)  # (lines, bins)
    thirds = {"at first": table[:size], "halfway": table[len(lines) // 2 :][:size], "now": table[-size:]}
    curves = {name: some.mean(axis=0).filled(np.nan) for name, some in thirds.items()}
    x = ((np.arange(table.shape[1]) + 0.5) / table.shape[1]).tolist()
    return curves_figure([Panel(f"stage {record.stage.name}", "way to noise", "loss", x, curves, log_y=True)])


def examine(
    run: RunRecord | None,
    pipeline: Pipeline | None,
    folder: Path | None = None,
    *,
    name: str = "",
    prepared: Prepared | None = None,
    task: Task | None = None,
    num: int = 4,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Check]:
    """Every check of a run, of a model, or of both; a report with pictures in `folder` where one is given.

    name: what the report calls it. task: draws the samples, the codec where None. Others: as of `examine_model`.
    """
    start, x_0 = datetime.now(UTC), None
    checks = [*runs.examine_run(run), *curve_checks(run)] if run else []
    if pipeline:
        found, x_0 = examine_model(pipeline, num=num, seed=seed, prepared=prepared, run=run, progress=progress)
        checks += [replace(check, name=f"model: {check.name}") for check in found] if run else found
    if folder:
        facts: dict[str, Any] = provenance(pipeline, start, name) if pipeline else {"run": name}
        items = _pictures(run) if run else []
        if pipeline and x_0 is not None and x_0.isfinite().all():
            pictures = task.thumbnails(pipeline, x_0) if task else pipeline.codec.pictures(x_0)
            sheet = encode_png(draw_sheet([pictures], [""]))
            items.append(Medium("samples", sheet, "The samples whose values were looked at."))
        write_checks(f"Doctor {name}".strip(), checks, folder, items, SUMMARY, facts)
    return checks


def write_checks(
    title: str,
    checks: Sequence[Check],
    folder: Path,
    items: Sequence[Medium] = (),
    summary: str = "",
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write the report on some checks, with pictures."""
    sections = [Section("Checks", f"The worst verdict is {worst(checks)}.", [table(checks)])]
    sections += [Section("Pictures", "", items)] if items else []
    data = {"verdict": worst(checks), "checks": list(map(vars, checks))}
    write_report(Report(title, summary, dict(facts or {}), sections=sections, data=data), folder)


def _pictures(run: RunRecord) -> list[Medium]:
    found = []
    for record, name in ((record, record.stage.name) for record in run.stages):
        if record.series("loss")[1]:
            found.append(Medium(f"loss {name}", to_png(loss_figure(record)), "Loss and gradient norm by step."))
        if figure := timestep_losses_figure(record):
            said = "Loss by timestep: at first, halfway and now."
            found.append(Medium(f"loss by timestep {name}", to_png(figure), said))
    return found
