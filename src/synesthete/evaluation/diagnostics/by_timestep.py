"""Held-out samples noised part of the way: what one step gets wrong of them, and what becomes of them denoised back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.evaluation.diagnostics.model_under_test import BATCH_SIZE, ModelUnderTest
from synesthete.evaluation.metrics.metric import Z_95
from synesthete.evaluation.reporting.figures import MSE, TIMESTEP, Panel, curves_figure, timestep_figure, to_png
from synesthete.evaluation.reporting.media import draw_sheet, encode_png
from synesthete.evaluation.reporting.report import SECTIONS, Medium, Section, Table
from synesthete.objectives import one_step
from synesthete.objectives.one_step import StepErrors
from synesthete.types import Condition, InputError

if TYPE_CHECKING:
    from synesthete.diffusion.process import Process

# Of the way to noise; closer together near both ends, where errors change fastest.
FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
NUM_MEASURED = 500  # training samples that mean and variance of the data are measured on
NUM_TIMES = 4  # as many samples for the loss as other diagnostics look at
MOST_ROWS = 30
RIGHT, SHUFFLED, NULL = "right", "shuffled", "null"
LEAST_ERRORS = 3.0  # standard errors above 0, since a dozen timesteps are tried
SWEPT = (0.2, 0.3, 0.5, 0.7)  # of the way to noise: t = 200, 300, 500, 700 of 1000
NUM_RECONSTRUCTED = 32


def loss_by_timestep(model: ModelUnderTest) -> Section:
    """Error of training and of held-out samples, in the loss space and of x_0, and the gap of each class."""
    num = NUM_TIMES * model.num
    batches = {"training": model.training(num), "held out": model.held_out(num)}
    x_0 = {name: model.x_0(batch) for name, batch in batches.items()}
    found = {name: trace(model, x_0[name], {name: batch.raw})[name] for name, batch in batches.items()}
    floor, space = trace_without_network(model, x_0["held out"]), model.pipeline.process.loss_space
    panels = []
    for kind, title, ylabel in (
        ("loss", f"as the loss counts it ({space})", f"MSE of {space}"),
        ("x_0", "of x_0", MSE),
    ):
        curves = {f"{name} (n = {e.loss.shape[1]})": with_interval(getattr(e, kind)) for name, e in found.items()}
        floors = {"no network": getattr(floor, kind).mean(dim=1)}
        panels.append(Panel(title, TIMESTEP, ylabel, FRACTIONS, curves, floors, log_y=kind == "x_0"))
    columns = [f"{which}, {name}" for which in (space, "x_0") for name in (*batches, "no network")]
    means = [getattr(e, kind).mean(dim=1).tolist() for kind in ("loss", "x_0") for e in (*found.values(), floor)]
    caption = f"mean square error by timestep, n = {len(x_0['held out'])}"
    items: list[Medium | Table] = [
        Medium("loss-by-timestep", to_png(curves_figure(panels)), "denoising error by timestep, training and held out"),
        Table(("t / T", *columns), list(zip(FRACTIONS, *means, strict=True)), caption),
    ]
    losses, class_names = [errors.loss for errors in found.values()], model.prepared.class_names
    if model.pipeline.is_conditional and len(class_names) > 1:
        items.append(_gap_by_class(losses, [batch.label for batch in batches.values()], class_names))
    text = f"{SECTIONS['by_timestep.loss']} In short, {one_step.measure_gap(*losses)}."
    return Section("Loss by timestep", text, items)


def _gap_by_class(losses: Sequence[Tensor], labels: Sequence[Tensor], class_names: Sequence[str]) -> Table:
    """Training and held-out loss of each class, the largest gap first."""
    rows = []
    for number in torch.cat(list(labels)).unique().tolist():
        seen, held_out = (loss[:, own == number] for loss, own in zip(losses, labels, strict=True))
        if min(seen.shape[1], held_out.shape[1]) > 1:
            gap = one_step.measure_gap(seen, held_out)
            share, low, high = map(one_step.percent, (gap.share, gap.low, gap.high))
            found = gap.training, gap.held_out, share, f"{low} to {high}", f"{seen.shape[1]}, {held_out.shape[1]}"
            rows.append((gap.share, (class_names[number], *found)))
    rows.sort(key=lambda found: -found[0])
    columns = ("class", "training", "held out", "gap", "95% interval", "n")
    return Table(columns, [row for _, row in rows[:MOST_ROWS]], "mean loss over all timesteps, by class")


def sensitivity_by_timestep(model: ModelUnderTest) -> Section:
    """Error told right, of another class and nothing, and a sentence that says where the condition is used."""
    model.check("sensitivity-by-timestep", "condition")
    batch = model.held_out()
    if len(batch.label.unique()) < 2:
        raise InputError("sensitivity-by-timestep: held-out samples of one class alone; add some of another")
    x_0 = model.x_0(batch)
    told = {RIGHT: batch.raw, SHUFFLED: batch.raw[one_step.of_others(batch.label)], NULL: None}
    errors = {name: found.x_0.double() for name, found in trace(model, x_0, told).items()}
    floor = trace_without_network(model, x_0).x_0.mean(dim=1)
    right = errors[RIGHT].mean(dim=1, keepdim=True).clamp(min=1e-12)
    worse = {name: 100 * (errors[name] - errors[RIGHT]) / right for name in (SHUFFLED, NULL)}
    curves, costs = (
        {f"{name} condition": with_interval(found) for name, found in sets.items()} for sets in (errors, worse)
    )
    title, cost = f"error of x_0 (n = {len(x_0)})", "% of the error when told right"
    panels = [
        Panel(title, TIMESTEP, MSE, FRACTIONS, curves, {"no network": floor}, log_y=True),
        Panel("how much worse than told right", TIMESTEP, cost, FRACTIONS, costs, {"condition not used": 0.0}),
    ]
    means = [*(found.mean(dim=1).tolist() for found in errors.values()), floor.tolist()]
    gains = [[f"{share:+.1f}%" for share in found.mean(dim=1).tolist()] for found in worse.values()]
    columns = ("t / T", *told, "no network", "shuffled costs", "null costs")
    rows = list(zip(FRACTIONS, *means, *gains, strict=True))
    items: list[Medium | Table] = [
        Medium("sensitivity-by-timestep", to_png(curves_figure(panels)), "what the condition is worth by timestep"),
        Table(columns, rows, f"mean square error of x_0, n = {len(x_0)}"),
    ]
    text = f"{SECTIONS['by_timestep.sensitivity']} {say_where_used(worse[SHUFFLED] / 100, FRACTIONS)}"
    return Section("Condition sensitivity by timestep", text, items)


def with_interval(values: Tensor) -> Tensor:
    """(points, n) -> (3, points): the mean over n independent values, and its 95% interval by the normal law."""
    mean, half = values.double().mean(dim=1), Z_95 * standard_error(values)
    return torch.stack([mean, mean - half, mean + half])


def standard_error(values: Tensor) -> Tensor:
    """(..., n) -> (...,): of the mean of n independent values; infinite for one."""
    num = values.shape[-1]
    return values.double().std(dim=-1) / math.sqrt(num) if num > 1 else torch.full(values.shape[:-1], math.inf)


def say_where_used(worse: Tensor, fractions: Sequence[float]) -> str:
    """Whether and where the condition is used. worse: (fractions, n), what being told wrong costs, as a share."""
    mean, error = worse.mean(dim=1), standard_error(worse)
    used = ((mean > one_step.DEAD_SENSITIVITY) & (mean > LEAST_ERRORS * error)).tolist()
    most, at = int(mean.argmax()), [f"t = {fraction:g} T" for fraction in fractions]
    cost = f"being told of another class costs {100 * mean[most].item():.3g}% at {at[most]}"
    if not any(used):
        return f"The condition is used nowhere: {cost} at most, which is within chance or under 0.5%."
    first, last = used.index(True), len(used) - 1 - used[::-1].index(True)
    if all(used):
        where = "all the way"
    elif all(used[first : last + 1]):
        where = f"from {at[first]} to {at[last]}" if first < last else f"at {at[first]}"
    else:
        where = "at t / T = " + ", ".join(f"{f:g}" for f, here in zip(fractions, used, strict=True) if here)
    return f"The condition is used {where}; {cost}, the most."


def trace(
    model: ModelUnderTest, x_0: Tensor, conditions: Mapping[str, Any], fractions: Sequence[float] = FRACTIONS
) -> dict[str, StepErrors]:
    """The network's errors at x_0 (n, C, H, W) under the model's noise 0 to n - 1, the same at every fraction.

    conditions: what the network is told by name, raw (n, ...); None tells it nothing.
    """
    return one_step.errors_by_condition(model.pipeline, x_0, model.noise(len(x_0)), conditions, fractions, BATCH_SIZE)


@torch.no_grad()
def trace_without_network(model: ModelUnderTest, x_0: Tensor) -> StepErrors:
    """The errors of a guess without a network, the best from each pixel of x_t alone; at noise the mean sample's."""
    process = model.pipeline.process
    known = model.x_0(model.training(NUM_MEASURED))
    mean, variance = known.mean(dim=0), known.var(dim=0, correction=0)  # (C, H, W)
    noise = model.noise(len(x_0)).to(x_0.device)
    wrong, gains = [], []
    for fraction in FRACTIONS:
        timestep = process.at(torch.full((len(x_0),), fraction)).to(x_0.device)
        guess = process.best_guess(process.add_noise(x_0, noise, timestep), timestep, mean, variance)
        wrong.append((guess - x_0).square().flatten(1).mean(dim=1).cpu())
        gains.append(loss_gain(process, timestep).cpu())
    errors = torch.stack(wrong)
    return StepErrors(errors, torch.stack(gains) * errors)


def loss_gain(process: Process, timestep: Tensor) -> Tensor:
    """How much larger a square error is in the loss space than in x_0, at timesteps (B,).

    At a given x_t an error d in x_0 comes with one of -alpha / sigma d in the noise, and every space is linear in both.
    """
    alpha, sigma = process.alpha_sigma(timestep)
    held = process.min_sigma if process.prediction_type == "sample" else 1e-4
    gain = process.target(torch.ones_like(alpha), -alpha / sigma.clamp(min=held), timestep)
    return gain.square().flatten()


@dataclass(frozen=True)
class Reconstructed:
    """Held-out samples by class name, and noised, denoised step by step and at once, (n, C, H, W) on the CPU."""

    names: list[str]
    x_0: Tensor
    x_t: Tensor
    back: Tensor
    at_once: Tensor

    def errors(self, name: str = "back") -> Tensor:
        """Mean square error (n,) in x_0 space, where the data have unit variance."""
        return (getattr(self, name) - self.x_0).square().flatten(1).mean(dim=1)

    def said(self, name: str, num: int) -> list[str]:
        """The first errors, as they stand below pictures."""
        return [f"{error:.3f}" for error in self.errors(name)[:num].tolist()]

    @property
    def mean_error(self) -> float:
        """The error of the mean of these samples in place of each: what knowing nothing of x_t costs."""
        return (self.x_0 - self.x_0.mean(dim=0)).square().mean().item()


@torch.no_grad()
def denoise_from(
    model: ModelUnderTest, x_t: Tensor, fraction: float, condition: Condition, num_steps: int
) -> tuple[Tensor, Tensor]:
    """x_t (n, C, H, W) at `fraction` of the way to noise -> (walked back, guessed in one step), each (n, C, H, W).

    By DDIM at eta 0 (Song et al. 2021, eq. 12), on a flow Euler's method, whatever the model's sampler; no guidance.
    """
    process, denoiser = model.pipeline.process, model.pipeline.denoiser
    timesteps = process.at(torch.linspace(fraction, 0, num_steps + 1)[:-1]).to(x_t.device)
    guesses: list[Tensor] = []
    for i in range(len(timesteps)):
        timestep, following = timesteps[i : i + 1], timesteps[i + 1 : i + 2]
        prediction = process.predict(denoiser, x_t, timestep.expand(len(x_t)), condition)
        guesses = [*guesses[:1], process.convert(prediction, x_t, timestep, "sample")]  # the first and the last
        if len(following):
            noise = process.convert(prediction, x_t, timestep, "epsilon")
            x_t = process.add_noise(guesses[-1], noise, following)
    return guesses[-1], guesses[0]


@torch.no_grad()
def reconstruct(model: ModelUnderTest, fraction: float) -> Reconstructed:
    """Held-out samples noised to `fraction` (in (0, 1)) of the way and denoised back, told what they are of."""
    pipeline, batch = model.pipeline, model.held_out(min(NUM_RECONSTRUCTED, model.num))
    x_0 = model.x_0(batch)
    generators = [seeding.generator(model.seed, "reconstruction", i) for i in range(len(x_0))]
    noise = seeding.randn(pipeline.codec.shape, generators).to(x_0)
    x_t = pipeline.process.add_noise(x_0, noise, pipeline.process.at(torch.tensor([fraction])).to(x_0.device))
    condition = pipeline.denoiser.precompute(pipeline.conditioner.encode(batch.raw.to(model.pipeline.device)))
    num_steps = max(1, round(fraction * model.num_steps))
    back, at_once = denoise_from(model, x_t, fraction, condition, num_steps)
    return Reconstructed(model.names(batch.label), *(part.cpu() for part in (x_0, x_t, back, at_once)))


def reconstruction(model: ModelUnderTest) -> Section:
    """Original, noised, and denoised back, from one place on the way to noise; an error below each picture."""
    fraction, shown = model.reconstruct_from, model.num_shown
    found = reconstruct(model, fraction)
    total = model.pipeline.process.num_train_timesteps
    time, blank = f"t = {fraction * total:.0f} of {total}", [""] * len(found.names[:shown])
    sheet = draw_sheet(
        [model.images(x[:shown]) for x in (found.x_0, found.x_t, found.back, found.at_once)],
        ["original", "noised", "denoised", "in one step"],
        found.names[:shown],
        captions=[blank, blank, found.said("back", shown), found.said("at_once", shown)],
        title=f"noised to {time}; below each: mean square error",
    )
    medium = Medium("reconstruction", encode_png(sheet), f"Held-out originals, noised to {time} and denoised back")
    text = SECTIONS["by_timestep.reconstruction"].format(time=time)
    return Section("Reconstruction", text, [medium, _table(total, {fraction: found})])


def reconstruction_sweep(model: ModelUnderTest) -> Section:
    """Denoised back from several places on the way to noise, and the error against where it began."""
    found = {fraction: reconstruct(model, fraction) for fraction in SWEPT}
    first, shown, total = found[SWEPT[0]], model.num_shown, model.pipeline.process.num_train_timesteps
    sheet = draw_sheet(
        [model.images(x[:shown]) for x in (first.x_0, *(each.back for each in found.values()))],
        ["original", *(f"t = {fraction * total:.0f}" for fraction in found)],
        first.names[:shown],
        captions=[[""] * len(first.names[:shown]), *(each.said("back", shown) for each in found.values())],
        title=f"denoised back from t of {total}; below each: mean square error",
    )
    sides = {"denoised step by step": "back", "in one step": "at_once"}
    curves = {label: [r.errors(name).mean().item() for r in found.values()] for label, name in sides.items()}
    curves["the mean sample"] = [first.mean_error] * len(found)
    figure = timestep_figure(list(found), curves, f"held-out samples, n = {len(first.x_0)}")
    items: list[Table | Medium] = [
        Medium("reconstruction-sweep", encode_png(sheet), "Held-out originals, and denoised back from rising noise"),
        Medium("reconstruction-error", to_png(figure), "Error against where the way back began"),
        _table(total, found),
    ]
    return Section("Reconstruction by timestep", SECTIONS["by_timestep.reconstruction_sweep"], items)


def _table(total: int, found: dict[float, Reconstructed]) -> Table:
    """Mean errors and their floor, a row a starting point of `total` timesteps."""
    rows = []
    for fraction, each in found.items():
        means = [each.errors(name).mean().item() for name in ("back", "at_once")]
        rows.append((f"t = {fraction * total:.0f} of {total}", len(each.x_0), *means, each.mean_error))
    return Table(("from", "n", "MSE, denoised", "MSE, in one step", "MSE of the mean sample"), rows)
