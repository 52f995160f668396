"""The way from pure noise to a sample: what the network is given, and what it makes of that, step after step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from synesthete.evaluation.reporting.media import draw_sheet, encode_gif, encode_png
from synesthete.evaluation.reporting.report import Medium, Section

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from synesthete.diffusion.process import Process
    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest

    Denoise = Callable[[Tensor, Tensor], Tensor]

FRACTIONS = (0.998, 0.8, 0.6, 0.4, 0.2, 0.1, 0.03, 0.0)  # of the way to noise: t = 499, 400, ..., 15, 0 of 500
NUM_FRAMES = 30
FINEST = 0.01  # of the way: of steps nearer to each other, the first is kept


@dataclass(frozen=True)
class Step:
    """At a fraction of the way to noise: x_t as the network sees it and the x_0 it predicts, each (n, C, H, W)."""

    fraction: float
    x_t: Tensor
    x_0: Tensor


@dataclass
class Record:
    """Put around a denoiser, keeps the steps that it is asked for, on the CPU in half precision."""

    process: Process
    steps: list[Step] = field(default_factory=list)

    def around(self, denoise: Denoise) -> Denoise:
        """The same denoiser, recorded."""

        def recorded(x_t: Tensor, timestep: Tensor) -> Tensor:
            prediction = denoise(x_t, timestep)
            self._keep(x_t.float(), timestep.flatten()[:1], prediction.float())
            return prediction

        return recorded

    def _keep(self, x_t: Tensor, timestep: Tensor, prediction: Tensor) -> None:
        fraction = float(timestep) / self.process.num_train_timesteps
        if self.steps and self.steps[-1].fraction - fraction < FINEST:
            # A sampler of two evaluations a step comes by again, from a better guess.
            if self.steps[-1].fraction != fraction:
                return
            self.steps.pop()
        timestep = timestep.to(x_t.device)
        if self.process.schedule == "flow":  # whatever the network predicts, the sampler is given a velocity
            x_0 = x_t - self.process.alpha_sigma(timestep)[1] * prediction
        else:
            x_0 = self.process.convert(prediction, x_t, timestep, "sample")
        self.steps.append(Step(fraction, x_t.half().cpu(), x_0.half().cpu()))


def walk(model: ModelUnderTest, labels: Tensor) -> list[Step]:
    """Every step of one sample a label (n,), by the model's own sampler, from noise (first) to the sample (last)."""
    record = Record(model.pipeline.process)
    *_, x_0 = model.pipeline.trajectory(
        model.raw(labels), generators=model.generators(len(labels)), around=record.around, **model.settings
    )
    return [*record.steps, Step(0.0, x_0.cpu(), x_0.cpu())]


def nearest(steps: Sequence[Step], fractions: Sequence[float]) -> list[Step]:
    """Of each fraction the step that is nearest to it, none of them twice, in their order."""
    places = {min(range(len(steps)), key=lambda i: abs(steps[i].fraction - fraction)) for fraction in fractions}
    return [steps[place] for place in sorted(places)]


def denoising(model: ModelUnderTest) -> Section:
    """x_t and the predicted x_0 at chosen timesteps, a row a class, and both as an animation."""
    labels = model.classes()
    names = model.names(labels)
    if not model.is_conditional:
        labels = labels.repeat(model.num_seeds)
        names = [f"noise {i}" for i in range(len(labels))]
    steps, total = walk(model, labels), model.pipeline.process.num_train_timesteps
    chosen = nearest(steps, FRACTIONS)
    heads = [f"t = {step.fraction * total:.0f}" for step in chosen]
    items = []
    for name, what in (("x_t", "x_t, what the network is given"), ("x_0", "predicted x_0")):
        columns = [model.images(getattr(step, name)) for step in chosen]
        sheet = draw_sheet(list(zip(*columns, strict=True)), names, heads, title=f"{what} (T = {total})")
        items.append(Medium(f"denoising-{name}", encode_png(sheet), f"From pure noise: {what}"))
    frames = []
    for step in nearest(steps, [i / NUM_FRAMES for i in range(NUM_FRAMES, -1, -1)]):
        pair = [model.images(step.x_t), model.images(step.x_0)]
        frames.append(draw_sheet(pair, ["x_t", "x_0"], names, title=f"t = {step.fraction * total:.0f} of {total}"))
    animation = Medium("denoising", encode_gif(frames), "The same as an animation: x_t above, x_0 below", "gif")
    return Section("Denoising", _TEXT, [*items, animation])


_TEXT = (
    "One sample of each class by the model's own sampler and settings, from pure noise (left) to the sample (right). "
    "The predicted x_0 is the mean of all that x_t could become: blurred near noise, where the class decides, and "
    "crisp near the end. A row whose x_0 is one grey for many columns says that nothing was learned near noise; rows "
    "that are all alike there, that the class is hardly used."
)
