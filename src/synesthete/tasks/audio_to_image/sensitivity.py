"""What sound and text are each worth to one step of the network, and whether the base is there without them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DConditionModel

from synesthete import seeding
from synesthete.evaluation.denoising import errors_by_timestep
from synesthete.evaluation.metrics.metric import interval_of_mean, metric
from synesthete.evaluation.reporting.report import Section, Table
from synesthete.evaluation.samples import generate_timed, shuffled
from synesthete.objectives.one_step import DEAD_SENSITIVITY, errors_by_condition, split
from synesthete.tasks.audio_to_image.eval_conditions import other_captions, other_class
from synesthete.tasks.images.evaluation import encode_pictures

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.tasks.audio_to_image.eval_conditions import EvalConditions
    from synesthete.types import Condition, Progress

BATCH_SIZE = 32
FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.97)  # of the way to noise
NEAR_NOISE = (0.5, 0.7, 0.9, 0.97)  # where the condition is what decides
RIGHT, WRONG, SILENT = "sound and text", "sound of another class", "no sound"
OTHER_TEXT, MUTE = "another text", "no text"
TEXT_ALONE, WRONG_ALONE, NOTHING = "text alone", "another text alone", "neither"
NUM_COMPARED = 8
ADDED = (".lora_", ".processor.")  # names of what is not the base's


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
        means = {name: errors.mean(dim=1).tolist() for name, errors in self.errors.items()}
        shown = {name: means[name] for name in (RIGHT, WRONG, SILENT, NOTHING)}
        title = f"held-out pictures, n = {self.num}"
        items = errors_by_timestep(FRACTIONS, shown, title, self.mean_error, "the mean picture", table=means)
        return Section("What is it worth to be told", _TEXT, items)


def measure_sensitivity(pipeline: Any, conditions: EvalConditions, seed: int, progress: Progress) -> Sensitivity:
    """Noise the real pictures beside the sounds, and let one step of the network guess, told this and that.

    Beside sound stands a caption that does not name the class; alone stands one that does, where the data have any.
    """
    x_0 = encode_pictures(pipeline.codec, conditions.samples, conditions.pictures)
    draws = [(x_0[run], seeding.generator(seed, "sensitivity", run.start)) for run in split(len(x_0), BATCH_SIZE)]
    noise = torch.cat([torch.randn(part.shape, generator=generator) for part, generator in draws])
    told, report = what_is_told(conditions, seed), partial(progress, "denoising")
    found = errors_by_condition(pipeline, x_0, noise, told, FRACTIONS, BATCH_SIZE, report)
    return Sensitivity(
        {name: errors.x_0 for name, errors in found.items()},
        {name: errors.loss for name, errors in found.items()},
        (x_0 - x_0.mean(dim=0)).square().mean().item(),
        conditions.naming is not None,
    )


def what_is_told(conditions: EvalConditions, seed: int) -> dict[str, Any]:
    """The raw conditions by name; None tells nothing."""
    order = shuffled(len(conditions), seed)
    elsewhere = other_class(conditions.labels, order)
    found: dict[str, Any] = {
        RIGHT: conditions.raw(),
        WRONG: conditions.raw(sound=elsewhere),
        SILENT: conditions.raw(silent=True) if conditions.captions is not None else None,
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
    return found | {NOTHING: None}


@dataclass(frozen=True)
class AdapterScale:
    """How far pictures are from the base's on the same noise, by the largest difference in x_0 of each, (n,).

    off: told a sound at strength 0. on: at the strength of training. steps, (k,): of strengths 0 to 1, `moved` (k,) the
    mean difference. gates: tanh of each, by the place of its layer.
    """

    off: Tensor
    on: Tensor
    strengths: tuple[float, ...]
    moved: tuple[float, ...]
    gates: dict[str, float]

    @property
    def is_kept(self) -> bool:
        """Whether strength 0 is the base, but for the last bits of another order of sums."""
        return bool(self.off.max() <= 1e-4)

    def metrics(self) -> list[Metric]:
        """The largest difference at strength 0, and how far the gates have opened."""
        value, chance = self.off.max().item(), self.on.max().item()
        found = [metric("adapter_off", value, chance=chance, ceiling=0.0, num=len(self.off))]
        if self.gates:
            values = torch.tensor(list(self.gates.values())).abs()
            found.append(metric("adapter_gates", values.mean().item(), interval_of_mean(values), 0.0, num=len(values)))
        return found

    def section(self) -> Section:
        """The way from the base to what was trained, and the gates."""
        items = [
            Table(("strength", "mean largest difference in x_0"), list(zip(self.strengths, self.moved, strict=True)))
        ]
        if self.gates:
            items.append(Table(("cross-attention", "tanh(gate)"), list(self.gates.items())))
        verdict = "Strength 0 is the base." if self.is_kept else "Strength 0 is not the base: something leaks."
        return Section("Base, strength and gates", f"{verdict} {_BASE}", items)


def measure_adapter_scale(pipeline: Any, conditions: EvalConditions, seed: int) -> AdapterScale | None:
    """Compare with a network of diffusers' own, given the base's weights and the text alone.

    None where the denoiser has no such base. Guidance is off, so that all three go through in batches of one shape.
    """
    denoiser = pipeline.denoiser
    if denoiser.adapter_scale is None or not denoiser.has_base:
        return None
    few = conditions.few(NUM_COMPARED)
    told = few.raw()
    silent = few.raw(silent=True) if few.captions is not None else told
    alone = copy.copy(pipeline)
    vars(alone)["denoiser"] = PlainBase(denoiser)  # past the pipeline's own setting, which would name its class
    how: dict[str, Any] = {"guidance_scale": 1.0, "audio_guidance_scale": 1.0}
    base = generate_timed(alone, silent, seed=seed, keep_x_0=True, **how).x_0
    strengths = (0.0, 0.25, 0.5, 0.75, 1.0)
    found = [
        generate_timed(pipeline, told, seed=seed, keep_x_0=True, adapter_scale=strength, **how).x_0
        for strength in strengths
    ]
    apart = [(x_0 - base).abs().flatten(1).amax(dim=1) for x_0 in found]
    moved = tuple(each.mean().item() for each in apart)
    return AdapterScale(apart[0], apart[-1], strengths, moved, dict(denoiser.gates))


class PlainBase:
    """The network that a `StableDiffusion` was put on, as diffusers has it, reading the text tokens alone.

    It shares the base's weights, and has nothing of what was added.
    """

    adapter_scale = None  # it has no adapters

    def __init__(self, denoiser: Any) -> None:
        self.num_sound = denoiser.config.num_sound_tokens
        self.dtype, self.device = denoiser.dtype, denoiser.device
        weights = {
            name.replace(".base_layer.", "."): value
            for name, value in denoiser.unet.state_dict().items()
            if not any(part in name for part in ADDED)
        }
        with torch.device("meta"):
            self.unet = UNet2DConditionModel.from_config(denoiser.unet.config)
        self.unet.load_state_dict(weights, assign=True)
        self.unet.eval()

    def precompute(self, condition: Condition) -> Condition:
        """The condition as it is."""
        return condition

    def __call__(self, x_t: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """As every denoiser."""
        assert condition.tokens is not None
        tokens = condition.tokens[:, : -self.num_sound].to(self.dtype)
        mask = None if condition.mask is None else condition.mask[:, : -self.num_sound]
        return self.unet(x_t, timestep.expand(len(x_t)), tokens, encoder_attention_mask=mask, return_dict=False)[0]


_TEXT = (
    "Real held-out pictures are noised, and one step of the network guesses them, told the right sound, one of another "
    "class, none, and so on; always on the same noise. A network that uses what it is told guesses worse when told "
    "something wrong, most of all near noise. Text that does not name the class has little to say beside a sound; text "
    "alone is one that names it, where the captions have any such."
)
_BASE = (
    "The base is rebuilt as diffusers has it, from its own weights and without processors and low-rank changes, told "
    "the text alone, and paints on the same noise without guidance. At strength 0 the model must be that network; a "
    "gate starts at 0 and lets in what tanh of it says."
)
