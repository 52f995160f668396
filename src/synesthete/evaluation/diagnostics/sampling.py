"""What a model makes: every class of one noise, the way from noise to a sample, and one noise under rising guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from synesthete.evaluation.metrics.metric import interval_of_mean
from synesthete.evaluation.reporting.media import draw_sheet, encode_gif, encode_png
from synesthete.evaluation.reporting.report import SECTIONS, Medium, Section, Table
from synesthete.types import InputError

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.diffusion.process import Process
    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest

    Denoise = Callable[[Tensor, Tensor], Tensor]

FRACTIONS = (0.998, 0.8, 0.6, 0.4, 0.2, 0.1, 0.03, 0.0)  # of the way to noise: t = 499, 400, ..., 15, 0 of 500
NUM_FRAMES = 30
FINEST = 0.01  # of the way: of steps nearer to each other, the first is kept
SCALES = (0.0, 1.0, 1.5, 3.0, 6.0, 9.0)
# Over-guided: contrast so many times real ones', or so much larger a share of values at black or white.
MOST_CONTRAST, MOST_ENDS = 1.15, 0.05


def classes(model: ModelUnderTest) -> Section:
    """A row a noise, a column a class; first the column of guidance 0, which is told of none."""
    rows = model.num_seeds
    if not model.pipeline.is_conditional:  # all samples are of one kind: as many of them as a row would hold
        labels = torch.zeros(rows * model.num_shown, dtype=torch.int64)
        images = model.images(model.draw(labels))
        table = [images[i * model.num_shown :][: model.num_shown] for i in range(rows)]
        sheet = draw_sheet(table, [""] * rows, title="samples")
        return Section("Samples", "Samples of a model that is told nothing.", [Medium("classes", encode_png(sheet))])
    labels = model.classes()
    table, names = draw_rows(model, labels), [f"noise {i}" for i in range(rows)]
    if (folded := model.pipeline.folded_guidance) is not None:
        sheet = draw_sheet(table, names, model.names(labels), title=f"guidance {folded:g}, folded in")
        text = SECTIONS["sampling.classes"].format(scale=f"{folded:g}, folded in")
    else:
        scale = model.pipeline.sampling_settings(**model.settings)["guidance_scale"]
        untold = draw_rows(model, labels[:1], guidance_scale=0.0)
        rows_of = [[*null, *told] for null, told in zip(untold, table, strict=True)]
        title = f"guidance {scale:g}; first column unconditional"
        sheet = draw_sheet(rows_of, names, ["no class", *model.names(labels)], title=title)
        text = f"{SECTIONS['sampling.classes'].format(scale=f'{scale:g}')} {_UNTOLD}"
    return Section("Classes", text, [Medium("classes", encode_png(sheet), "Same noise")])


def draw_rows(model: ModelUnderTest, labels: Tensor, **settings: float) -> list[list[Image.Image]]:
    """Rows of one sample a class (k,), all of a row from the same noise, a row for each of the model's seeds."""
    rows, columns = model.num_seeds, len(labels)
    generators = [generator for _ in range(columns) for generator in model.generators(rows)]  # class by class
    images = model.images(model.draw(labels.repeat_interleave(rows), generators=generators, **settings))
    return [images[row::rows] for row in range(rows)]


class Step(NamedTuple):
    """At a fraction of the way to noise: x_t as the network sees it and the x_0 it predicts, each (n, C, H, W)."""

    fraction: float
    x_t: Tensor
    x_0: Tensor


def recorded(denoise: Denoise, process: Process, steps: list[Step]) -> Denoise:
    """The same denoiser, which adds the steps that it is asked for to `steps`, on the CPU in half precision."""

    def denoise_and_keep(x_t: Tensor, timestep: Tensor) -> Tensor:
        prediction = denoise(x_t, timestep)
        at = timestep.flatten()[:1].to(x_t.device)
        fraction = float(at) / process.num_train_timesteps
        if steps and steps[-1].fraction - fraction < FINEST:
            if steps[-1].fraction != fraction:
                return prediction
            steps.pop()  # a sampler of two evaluations a step comes by again, from a better guess
        if process.schedule == "flow":  # whatever the network predicts, the sampler is given a velocity
            x_0 = x_t.float() - process.alpha_sigma(at)[1] * prediction.float()
        else:
            x_0 = process.convert(prediction.float(), x_t.float(), at, "sample")
        steps.append(Step(fraction, x_t.half().cpu(), x_0.half().cpu()))
        return prediction

    return denoise_and_keep


def walk(model: ModelUnderTest, labels: Tensor) -> list[Step]:
    """Every step of one sample a label (n,), by the model's own sampler, from noise (first) to the sample (last)."""
    steps: list[Step] = []
    around, generators = partial(recorded, process=model.pipeline.process, steps=steps), model.generators(len(labels))
    *_, x_0 = model.pipeline.trajectory(model.raw(labels), generators=generators, around=around, **model.settings)
    return [*steps, Step(0.0, x_0.cpu(), x_0.cpu())]


def nearest_steps(steps: Sequence[Step], fractions: Sequence[float]) -> list[Step]:
    """Of each fraction the step that is nearest to it, none of them twice, in their order."""
    places = {min(range(len(steps)), key=lambda i: abs(steps[i].fraction - fraction)) for fraction in fractions}
    return [steps[place] for place in sorted(places)]


def denoising(model: ModelUnderTest) -> Section:
    """x_t and the predicted x_0 at chosen timesteps, a row a class, and both as an animation."""
    labels = model.classes()
    names = model.names(labels)
    if not model.pipeline.is_conditional:
        labels = labels.repeat(model.num_seeds)
        names = [f"noise {i}" for i in range(len(labels))]
    steps, total = walk(model, labels), model.pipeline.process.num_train_timesteps
    chosen = nearest_steps(steps, FRACTIONS)
    heads = [f"t = {step.fraction * total:.0f}" for step in chosen]
    items = []
    for name, what in (("x_t", "x_t, what the network is given"), ("x_0", "predicted x_0")):
        columns = [model.images(getattr(step, name)) for step in chosen]
        sheet = draw_sheet(list(zip(*columns, strict=True)), names, heads, title=f"{what} (T = {total})")
        items.append(Medium(f"denoising-{name}", encode_png(sheet), f"From pure noise: {what}"))
    frames = []
    for step in nearest_steps(steps, [i / NUM_FRAMES for i in range(NUM_FRAMES, -1, -1)]):
        pair = [model.images(step.x_t), model.images(step.x_0)]
        frames.append(draw_sheet(pair, ["x_t", "x_0"], names, title=f"t = {step.fraction * total:.0f} of {total}"))
    animation = Medium("denoising", encode_gif(frames), "The same as an animation: x_t above, x_0 below", "gif")
    return Section("Denoising", SECTIONS["sampling.denoising"], [*items, animation])


class Saturation(NamedTuple):
    """Of each of n pictures (n,): share of values at black or white; excess beyond, contrast and colour in levels."""

    ends: Tensor
    excess: Tensor
    contrast: Tensor
    colour: Tensor

    def row(self, name: str) -> tuple[str | float, ...]:
        """Means, and the interval of the contrast."""
        low, high = interval_of_mean(self.contrast)
        means = [values.double().mean().item() for values in self]
        return (name, *means[:3], f"{low:.1f} to {high:.1f}", means[3])


def measure_saturation(pictures: Tensor, levels: Tensor | None = None) -> Saturation:
    """Of pictures (n, C, H, W) uint8. levels: the same before they were cut, black 0 and white 1; None: not known."""
    values, ends = pictures.float(), (pictures == 0) | (pictures == 255)
    beyond = torch.zeros(len(pictures), 1) if levels is None else (levels - levels.clamp(0, 1)).abs().cpu().flatten(1)
    colour = (values.amax(dim=1) - values.amin(dim=1)).flatten(1)
    contrast = values.flatten(1).std(dim=1, correction=0)
    return Saturation(ends.flatten(1).float().mean(dim=1), 255 * beyond.mean(dim=1), contrast, colour.mean(dim=1))


def guidance(model: ModelUnderTest) -> Section:
    """The strip, and a row of figures a scale; the model's own scale is among them."""
    model.check("guidance", "condition")
    if (folded := model.pipeline.folded_guidance) is not None:
        raise InputError(f"guidance: {folded:g} is folded into this model; leave this diagnostic out")
    own = float(model.pipeline.sampling_settings(**model.settings)["guidance_scale"])
    scales = sorted({*SCALES, own})
    names = [f"{scale:g} (own)" if scale == own else f"{scale:g}" for scale in scales]
    labels = model.classes()
    made = [model.draw(labels, guidance_scale=scale) for scale in scales]
    rows = list(zip(*map(model.images, made), strict=True))
    sheet = draw_sheet(rows, model.names(labels), names, title="guidance")
    medium = Medium("guidance", encode_png(sheet), "the same noise under rising guidance, a class a row")
    if not model.pipeline.codec.makes_pictures:
        return Section("Guidance", SECTIONS["sampling.how"], [medium])
    codec, on_device = model.pipeline.codec, [x_0.to(model.pipeline.device) for x_0 in made]
    found = [measure_saturation(codec.decode(x_0).cpu(), codec.levels(x_0)) for x_0 in on_device]
    real = measure_saturation(model.pictures(model.held_out()))
    columns = ("guidance", "at black or white", "beyond", "contrast", "95% interval", "colour")
    caption = f"n = {len(labels)} a scale, {len(real.ends)} real"
    table = [real.row("real"), *(own.row(name) for name, own in zip(names, found, strict=True))]
    text = f"{SECTIONS['sampling.how']} {SECTIONS['sampling.figures']} {say_where_too_much(scales, found, real, own)}"
    return Section("Guidance", text, [medium, Table(columns, table, caption)])


def say_where_too_much(scales: Sequence[float], found: Sequence[Saturation], real: Saturation, own: float) -> str:
    """From which scale on pictures are over-guided, beside real ones and scale 1; and whether the model's own is so."""
    real_contrast = real.contrast.mean().clamp(min=1e-6)
    contrast = {scale: (s.contrast.mean() / real_contrast).item() for scale, s in zip(scales, found, strict=True)}
    ends = {scale: (s.ends.mean() - real.ends.mean()).item() for scale, s in zip(scales, found, strict=True)}
    most_contrast = MOST_CONTRAST * max(1.0, contrast.get(1.0, 1.0))
    most_ends = MOST_ENDS + max(0.0, ends.get(1.0, 0.0))
    too_much = [scale for scale in scales if scale > 1 and (contrast[scale] > most_contrast or ends[scale] > most_ends)]
    at_own = f"at the model's own {own:g} contrast is {contrast[own]:.2f} of real ones'"
    if not too_much:
        return f"None of these scales is too much; {at_own}."
    first = too_much[0]
    said = f"Over-guided from {first:g} on: contrast {contrast[first]:.2f} of real ones', share of values at black or"
    said = f"{said} white {100 * ends[first]:+.1f} points"
    return f"{said}; {'its own scale is among them' if own in too_much else at_own}."


_UNTOLD = "The first column is told of no class (guidance 0)."
