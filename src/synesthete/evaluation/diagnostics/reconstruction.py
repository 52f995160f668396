"""Real held-out samples noised part of the way and denoised back: what is kept, and what is made up anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from synesthete import seeding
from synesthete.evaluation.reporting.figures import timestep_figure, to_png
from synesthete.evaluation.reporting.media import draw_sheet, encode_png
from synesthete.evaluation.reporting.report import Medium, Section, Table

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
    from synesthete.types import Condition

SWEPT = (0.2, 0.3, 0.5, 0.7)  # of the way to noise: t = 200, 300, 500, 700 of 1000
NUM_MEASURED = 32


@dataclass(frozen=True)
class Reconstructed:
    """Held-out samples and what became of them, each (n, C, H, W) on the CPU; names: their classes.

    x_t: noised. back: denoised step by step. at_once: in a single step. mean_error: of the mean of all n samples.
    """

    names: list[str]
    x_0: Tensor
    x_t: Tensor
    back: Tensor
    at_once: Tensor

    def errors(self, name: str = "back") -> Tensor:
        """Mean square error (n,) in x_0 space, where the data have unit variance."""
        return (getattr(self, name) - self.x_0).square().flatten(1).mean(dim=1)

    @property
    def mean_error(self) -> float:
        """The error of the mean of these samples in place of each: what knowing nothing of x_t costs."""
        return (self.x_0 - self.x_0.mean(dim=0)).square().mean().item()


@torch.no_grad()
def denoise_from(
    model: ModelUnderTest, x_t: Tensor, fraction: float, condition: Condition, num_steps: int
) -> tuple[Tensor, Tensor]:
    """x_t (n, C, H, W) at `fraction` of the way to noise -> (walked back, guessed in one step), each (n, C, H, W).

    The walk is deterministic, DDIM at eta 0 (Song et al. 2021, eq. 12), which on a flow is Euler's method, whatever
    the model's own sampler, so that models can be compared. No guidance.
    """
    process, denoiser = model.pipeline.process, model.pipeline.denoiser
    timesteps = process.at(torch.linspace(fraction, 0, num_steps + 1)[:-1]).to(x_t.device)
    guesses: list[Tensor] = []
    for i in range(len(timesteps)):
        timestep, following = timesteps[i : i + 1], timesteps[i + 1 : i + 2]
        prediction = denoiser(x_t.to(denoiser.dtype), timestep.expand(len(x_t)), condition).float()
        guesses = [*guesses[:1], process.convert(prediction, x_t, timestep, "sample")]  # the first and the last
        if len(following):
            noise = process.convert(prediction, x_t, timestep, "epsilon")
            x_t = process.add_noise(guesses[-1], noise, following)
    return guesses[-1], guesses[0]


@torch.no_grad()
def reconstruct(model: ModelUnderTest, fraction: float) -> Reconstructed:
    """Held-out samples noised to `fraction` (in (0, 1)) of the way and denoised back, told what they are of."""
    pipeline, batch = model.pipeline, model.held_out(min(NUM_MEASURED, model.num))
    x_0 = model.x_0(batch)
    generators = [seeding.generator(model.seed, "reconstruction", i) for i in range(len(x_0))]
    noise = seeding.randn(pipeline.codec.shape, generators).to(x_0)
    x_t = pipeline.process.add_noise(x_0, noise, pipeline.process.at(torch.tensor([fraction])).to(x_0.device))
    condition = pipeline.denoiser.precompute(pipeline.conditioner.encode(batch.raw.to(model.device)))
    num_steps = max(1, round(fraction * model.num_steps))
    back, at_once = denoise_from(model, x_t, fraction, condition, num_steps)
    return Reconstructed(model.names(batch.label), *(part.cpu() for part in (x_0, x_t, back, at_once)))


def reconstruction(model: ModelUnderTest) -> Section:
    """Original, noised, and denoised back, from one place on the way to noise; an error below each picture."""
    fraction, shown = model.reconstruct_from, model.num_shown
    found = reconstruct(model, fraction)
    time = _timestep(model, fraction)
    errors = [_errors(found, name, shown) for name in ("back", "at_once")]
    sheet = draw_sheet(
        [model.images(x[:shown]) for x in (found.x_0, found.x_t, found.back, found.at_once)],
        ["original", "noised", "denoised", "in one step"],
        found.names[:shown],
        captions=[[""] * len(errors[0])] * 2 + errors,
        title=f"noised to {time}; below each: mean square error",
    )
    medium = Medium("reconstruction", encode_png(sheet), f"Held-out originals, noised to {time} and denoised back")
    return Section("Reconstruction", _TEXT.format(time=time), [medium, _table(model, {fraction: found})])


def reconstruction_sweep(model: ModelUnderTest) -> Section:
    """Denoised back from several places on the way to noise, and the error against where it began."""
    found = {fraction: reconstruct(model, fraction) for fraction in SWEPT}
    first, shown, total = found[SWEPT[0]], model.num_shown, model.pipeline.process.num_train_timesteps
    errors = [_errors(each, "back", shown) for each in found.values()]
    sheet = draw_sheet(
        [model.images(x[:shown]) for x in (first.x_0, *(each.back for each in found.values()))],
        ["original", *(f"t = {fraction * total:.0f}" for fraction in found)],
        first.names[:shown],
        captions=[[""] * len(errors[0]), *errors],
        title=f"denoised back from t of {total}; below each: mean square error",
    )
    curves = {
        label: [each.errors(name).mean().item() for each in found.values()]
        for label, name in (("denoised step by step", "back"), ("in one step", "at_once"))
    }
    curves["the mean sample"] = [first.mean_error] * len(found)
    figure = timestep_figure(list(found), curves, f"held-out samples, n = {len(first.x_0)}")
    items: list[Table | Medium] = [
        Medium("reconstruction-sweep", encode_png(sheet), "Held-out originals, and denoised back from rising noise"),
        Medium("reconstruction-error", to_png(figure), "Error against where the way back began"),
        _table(model, found),
    ]
    return Section("Reconstruction by timestep", _SWEEP, items)


def _errors(found: Reconstructed, name: str, num: int) -> list[str]:
    return [f"{error:.3f}" for error in found.errors(name)[:num].tolist()]


def _table(model: ModelUnderTest, found: dict[float, Reconstructed]) -> Table:
    """Mean errors and their floor, a row a starting point."""
    rows = []
    for fraction, each in found.items():
        means = [each.errors(name).mean().item() for name in ("back", "at_once")]
        rows.append((_timestep(model, fraction), len(each.x_0), *means, each.mean_error))
    return Table(("from", "n", "MSE, denoised", "MSE, in one step", "MSE of the mean sample"), rows)


def _timestep(model: ModelUnderTest, fraction: float) -> str:
    total = model.pipeline.process.num_train_timesteps
    return f"t = {fraction * total:.0f} of {total}"


_TEXT = (
    "Real held-out samples noised to {time} and denoised back without guidance, told their class. The lines of a "
    "picture survive a little noise; the more there is, the more is made up. One step gives the mean of all that x_t "
    "may have been: it is nearer to the original and blurred. An error above that of the mean sample says that what "
    "was made up is another thing."
)
_SWEEP = (
    "The same from several places on the way to noise. Mean square error in x_0 space, where the data have unit "
    "variance. Step by step is to be above one step, which is the least any guess can cost, and both are to fall to 0 "
    "with the noise."
)
