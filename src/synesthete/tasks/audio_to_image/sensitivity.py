"""What sound and text are each worth to one step of the network, on fixed noise and timesteps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.evaluation.metrics.intervals import interval_of_mean
from synesthete.evaluation.metrics.table import metric
from synesthete.evaluation.reporting.figures import timestep_figure, to_png
from synesthete.evaluation.reporting.report import Medium, Section, Table
from synesthete.evaluation.subsampling import shuffled
from synesthete.objectives.denoising import prediction_error
from synesthete.objectives.one_step import DEAD_SENSITIVITY
from synesthete.tasks.audio_to_image.eval_conditions import other_captions, other_class
from synesthete.tasks.images.evaluation import encode_pictures

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.tasks.audio_to_image.eval_conditions import EvalConditions

BATCH_SIZE = 32
FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.97)  # of the way to noise
NEAR_NOISE = (0.5, 0.7, 0.9, 0.97)  # where the condition is what decides
RIGHT, WRONG, SILENT = "sound and text", "sound of another class", "no sound"
OTHER_TEXT, MUTE = "another text", "no text"
TEXT_ALONE, WRONG_ALONE, NOTHING = "text alone", "another text alone", "neither"


@dataclass(frozen=True)
class Sensitivity:
    """Errors by what the network was told, (fractions, n): of x_0, and in the space that the loss is taken in.

    mean_error: of the mean picture in place of a network's guess. names_class: whether the text told alone names it.
    """

    errors: dict[str, Tensor]
    losses: dict[str, Tensor]
    mean_error: float
    names_class: bool

    @property
    def num(self) -> int:
        """Pictures that were noised."""
        return self.errors[RIGHT].shape[1]

    def worth(self, told: str, wrong: str) -> Tensor:
        """How much larger each picture's x_0 error near noise is where it is told `wrong` and not `told`, (n,)."""
        near = [FRACTIONS.index(fraction) for fraction in NEAR_NOISE]
        return (self.errors[wrong] - self.errors[told])[near].mean(dim=0)

    def used(self, told: str = RIGHT, wrong: str = WRONG) -> bool:
        """Whether what is told is surely used: worth more than nothing, and than DEAD_SENSITIVITY of the error."""
        worth = self.worth(told, wrong)
        near = [FRACTIONS.index(fraction) for fraction in NEAR_NOISE]
        least = DEAD_SENSITIVITY * self.errors[told][near].mean().item()
        return interval_of_mean(worth)[0] > 0 and worth.mean().item() > least

    def metrics(self) -> list[Metric]:
        """The fixed validation loss, and what sound and text are each worth."""
        loss, none, wrong = (self.losses[name].mean(dim=0) for name in (RIGHT, SILENT, WRONG))
        beside = (interval_of_mean(loss), none.mean().item(), wrong.mean().item())
        against = f"held-out pictures, n = {self.num}; chance: told no sound"
        found = [metric("validation_loss", loss.mean().item(), *beside, against=against)]
        kinds = [("sound", "another class's minus the right one", RIGHT, WRONG)]
        if OTHER_TEXT in self.errors:
            kinds.append(("text beside sound", "another minus the right one", RIGHT, OTHER_TEXT))
        if WRONG_ALONE in self.errors:
            what = "naming the class" if self.names_class else "without a class"
            kinds.append((f"text alone, {what}", "another minus the right one", TEXT_ALONE, WRONG_ALONE))
        for name, how, told, other in kinds:
            worth, variant = self.worth(told, other), name.partition(",")[0]
            said: dict[str, Any] = {
                "variant": variant,
                "what": f", {name}",
                "how": f" near noise, {how}",
                "num": self.num,
            }
            found.append(metric("condition_sensitivity", worth.mean().item(), interval_of_mean(worth), 0.0, **said))
        return found

    def section(self) -> Section:
        """The errors by timestep, what was told beside what was not."""
        shown = {name: self.errors[name].mean(dim=1).tolist() for name in (RIGHT, WRONG, SILENT, NOTHING)}
        title = f"held-out pictures, n = {self.num}"
        figure = timestep_figure(FRACTIONS, shown, title, self.mean_error, "the mean picture")
        table = {name: errors.mean(dim=1).tolist() for name, errors in self.errors.items()}
        rows = list(zip(FRACTIONS, *table.values(), strict=True))
        items: list[Table | Medium] = [
            Medium("loss-by-timestep", to_png(figure)),
            Table(("t / T", *table), rows, "MSE of x_0"),
        ]
        return Section("What is it worth to be told", _TEXT, items)


@torch.no_grad()
def measure_sensitivity(
    pipeline: Any, conditions: EvalConditions, seed: int, progress: Callable[[str, int, int], None]
) -> Sensitivity:
    """Noise the real pictures beside the sounds, and let one step of the network guess, told this and that.

    Beside sound stands a caption that does not name the class; alone stands one that does, where the data have any.
    """
    x_0 = encode_pictures(pipeline.codec, conditions.samples, conditions.pictures)
    told = what_is_told(conditions, seed)
    errors: dict[str, list[Tensor]] = {name: [] for name in told}
    losses: dict[str, list[Tensor]] = {name: [] for name in told}
    for first in range(0, len(x_0), BATCH_SIZE):
        here = slice(first, min(first + BATCH_SIZE, len(x_0)))
        generator = seeding.generator(seed, "sensitivity", first)
        noise = torch.randn(x_0[here].shape, generator=generator)
        for name, raw in told.items():
            error, loss = one_step_errors(pipeline, x_0[here], noise, raw[here])
            errors[name].append(error)
            losses[name].append(loss)
        progress("denoising", here.stop, len(x_0))
    joined = [{name: torch.cat(parts, dim=1) for name, parts in found.items()} for found in (errors, losses)]
    mean_error = (x_0 - x_0.mean(dim=0)).square().mean().item()
    return Sensitivity(joined[0], joined[1], mean_error, conditions.naming is not None)


def what_is_told(conditions: EvalConditions, seed: int) -> dict[str, Any]:
    """The raw conditions by name."""
    order = shuffled(len(conditions), seed)
    elsewhere = other_class(conditions.labels, order)
    found = {
        RIGHT: conditions.raw(),
        WRONG: conditions.raw(sound=elsewhere),
        SILENT: conditions.raw(silent=True) if conditions.captions is not None else Absent(conditions.raw()),
    }
    if conditions.captions is not None:
        found[MUTE] = conditions.raw(mute=True)
        if (captions := other_captions(conditions.captions, order)) is not None:
            found[OTHER_TEXT] = conditions.raw(text=captions)
    alone = conditions.naming if conditions.naming is not None else conditions.captions
    if alone is not None:
        found[TEXT_ALONE] = conditions.raw(silent=True, text=alone)
        if (captions := other_captions(alone, elsewhere)) is not None:
            found[WRONG_ALONE] = conditions.raw(silent=True, text=captions)
    return found | {NOTHING: Absent(conditions.raw())}


@dataclass(frozen=True)
class Absent:
    """As many samples as `like` has, told nothing."""

    like: Any

    def __getitem__(self, index: Any) -> Absent:
        return Absent(self.like[index])


def one_step_errors(pipeline: Any, x_0: Tensor, noise: Tensor, raw: Any) -> tuple[Tensor, Tensor]:
    """Errors of x_0 and in loss space, (FRACTIONS, B) each, of clean x_0 (B, c, h, w) that were noised."""
    process, device = pipeline.process, pipeline.device
    x_0, noise = x_0.to(device), noise.to(device)
    null = isinstance(raw, Absent)
    told = pipeline.conditioner.null(len(x_0)) if null else pipeline.conditioner.encode(raw.to(device))
    condition = pipeline.denoiser.precompute(told)
    errors, losses = [], []
    for fraction in FRACTIONS:
        timestep = process.at(torch.full((len(x_0),), fraction)).to(device)
        x_t = process.add_noise(x_0, noise, timestep)
        prediction = pipeline.denoiser(x_t, timestep, condition).float()
        guess = process.convert(prediction, x_t, timestep, "sample")
        errors.append((guess - x_0).square().flatten(1).mean(dim=1).cpu())
        losses.append(prediction_error(process, prediction, x_0, noise, x_t, timestep).cpu())
    return torch.stack(errors), torch.stack(losses)


_TEXT = (
    "Real held-out pictures are noised, and one step of the network guesses them, told the right sound, one of another "
    "class, none, and so on; always on the same noise. A network that uses what it is told guesses worse when told "
    "something wrong, most of all near noise. Text that does not name the class has little to say beside a sound; text "
    "alone is one that names it, where the captions have any such."
)
