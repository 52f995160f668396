"""What sound and text are each worth to one step of the network, and whether the base is there without them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from synesthete import seeding
from synesthete.evaluation.metrics.metric import interval_of_mean, metric
from synesthete.evaluation.reporting.report import Section, Table
from synesthete.evaluation.samples import generate_timed, shuffled
from synesthete.evaluation.steps import Finding, errors_by_timestep
from synesthete.objectives.one_step import DEAD_SENSITIVITY, errors_by_condition, split
from synesthete.tasks.audio_to_image.eval_conditions import EvalConditions, other_captions, other_class
from synesthete.tasks.images.evaluation import encode_pictures
from synesthete.tasks.task import SECTIONS

if TYPE_CHECKING:
    from synesthete.types import Condition, Progress

BATCH_SIZE = 32
FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.97)  # of the way to noise
NEAR_NOISE = 2  # the first of them where the condition is what decides
RIGHT, WRONG, SILENT = "sound and text", "sound of another class", "no sound"
OTHER_TEXT, MUTE = "another text", "no text"
TEXT_ALONE, WRONG_ALONE, NOTHING = "text alone", "another text alone", "neither"
KINDS = {"sound": (RIGHT, WRONG), "text beside sound": (RIGHT, OTHER_TEXT), "text alone": (TEXT_ALONE, WRONG_ALONE)}
NUM_COMPARED = 8
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
LEAST = 1e-4  # a difference in x_0 that the last bits of another order of sums do not make
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

    def worth(self, kind: str = "sound") -> Tensor:
        """How much larger each picture's x_0 error near noise is where it is told wrong of one of KINDS, (n,)."""
        told, wrong = KINDS[kind]
        return (self.errors[wrong] - self.errors[told])[NEAR_NOISE:].mean(dim=0)

    def used(self) -> dict[str, bool]:
        """Which of KINDS are surely used: worth more than nothing, and than DEAD_SENSITIVITY of the error."""
        found = {}
        for kind, (told, wrong) in KINDS.items():
            if wrong in self.errors:
                worth = self.worth(kind)
                least = DEAD_SENSITIVITY * self.errors[told][NEAR_NOISE:].mean().item()
                found[kind] = interval_of_mean(worth)[0] > 0 and worth.mean().item() > least
        return found

    def finding(self) -> Finding:
        """The fixed validation loss, what each of KINDS is worth, and the errors by timestep."""
        loss, none, wrong = (self.losses[name].mean(dim=0) for name in (RIGHT, SILENT, WRONG))
        beside = (interval_of_mean(loss), none.mean().item(), wrong.mean().item())
        title, used = f"held-out pictures, n = {self.num}", self.used()
        metrics = [metric("validation_loss", loss.mean().item(), *beside, against=f"{title}; chance: told no sound")]
        for kind in used:
            worth, other = self.worth(kind), "another class's" if kind == "sound" else "another"
            naming = ", naming the class" if self.names_class else ", without a class"
            said: dict[str, Any] = {"variant": kind, "what": f", {kind}{naming if kind == 'text alone' else ''}"}
            said |= {"how": f" near noise, {other} minus the right one", "num": self.num}
            metrics.append(metric("condition_sensitivity", worth.mean().item(), interval_of_mean(worth), 0.0, **said))
        errors, losses = (
            {name: each.mean(dim=1).tolist() for name, each in what.items()} for what in (self.errors, self.losses)
        )
        shown = {name: errors[name] for name in (RIGHT, WRONG, SILENT, NOTHING)}
        items = errors_by_timestep(FRACTIONS, shown, title, self.mean_error, "the mean picture", table=errors)
        trace = {"fraction": list(FRACTIONS), **errors, "mean picture": self.mean_error}
        sentences = ["Its network uses the sound."]
        if not used["sound"]:
            sentences = ["Its network ignores the sound: it guesses no worse when told one of another class."]
        if "text alone" in used:
            sentences.append(f"It {'uses' if used['text alone'] else 'ignores'} the text.")
        data = {"uses": used, "error_by_timestep": trace, "loss_by_timestep": losses}
        section = Section("What is it worth to be told", SECTIONS["paint.text"], items)
        return Finding(metrics, [section], data, sentences=sentences)


def measure_sensitivity(pipeline: Any, conditions: EvalConditions, seed: int, progress: Progress) -> Sensitivity:
    """Noise the real pictures beside the sounds, and let one step of the network guess, told this and that."""
    x_0 = encode_pictures(pipeline.codec, conditions.samples, conditions.pictures)
    draws = [(x_0[run], seeding.generator(seed, "sensitivity", run.start)) for run in split(len(x_0), BATCH_SIZE)]
    noise = torch.cat([torch.randn(part.shape, generator=generator) for part, generator in draws])
    told, report = what_is_told(conditions, seed), partial(progress, "denoising")
    found = errors_by_condition(pipeline, x_0, noise, told, FRACTIONS, BATCH_SIZE, report)
    errors, losses = ({name: getattr(each, space) for name, each in found.items()} for space in ("x_0", "loss"))
    mean_error = (x_0 - x_0.mean(dim=0)).square().mean().item()
    return Sensitivity(errors, losses, mean_error, conditions.naming is not None)


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


def adapter_finding(pipeline: Any, conditions: EvalConditions, seed: int) -> Finding:
    """Whether the base is still there at strength 0, and how far the gates have opened.

    Compared with a network of diffusers' own, given the base's weights and the text alone; nothing of a denoiser that
    stands on no such base. Guidance is off, so that all go through in batches of one shape.
    """
    denoiser = pipeline.denoiser
    if denoiser.adapter_scale is None or not denoiser.has_base:
        return Finding()
    few = conditions.few(NUM_COMPARED)
    told = few.raw()
    silent = few.raw(silent=True) if few.captions is not None else told
    alone = copy.copy(pipeline)
    vars(alone)["denoiser"] = PlainBase(denoiser)  # past the pipeline's own setting, which would name its class
    how: dict[str, Any] = {"seed": seed, "keep_x_0": True, "guidance_scale": 1.0, "audio_guidance_scale": 1.0}
    base = generate_timed(alone, silent, **how).x_0
    found = [generate_timed(pipeline, told, adapter_scale=strength, **how).x_0 for strength in STRENGTHS]
    apart = [(x_0 - base).abs().flatten(1).amax(dim=1) for x_0 in found]  # (n,) each
    off, on, moved = apart[0].max().item(), apart[-1].max().item(), [each.mean().item() for each in apart]
    metrics = [metric("adapter_off", off, chance=on, ceiling=0.0, num=len(told))]
    items = [Table(("strength", "mean largest difference in x_0"), list(zip(STRENGTHS, moved, strict=True)))]
    gates = dict(denoiser.gates)
    if gates:
        opened = torch.tensor(list(gates.values())).abs()
        metrics.append(metric("adapter_gates", opened.mean().item(), interval_of_mean(opened), 0.0, num=len(opened)))
        items.append(Table(("cross-attention", "tanh(gate)"), list(gates.items())))
    is_base = off <= LEAST
    verdict = "Strength 0 is the base." if is_base else "Strength 0 is not the base: something leaks."
    strengths = {str(strength): each for strength, each in zip(STRENGTHS, moved, strict=True)}
    data = {"gates": gates, "strength": strengths, "strength_0_is_base": is_base}
    said = [] if is_base else ["At strength 0 it is not its base: something of the sound leaks."]
    section = Section("Base, strength and gates", f"{verdict} {SECTIONS['paint.base']}", items)
    return Finding(metrics, [section], data, sentences=said)


class PlainBase:
    """The network that a `StableDiffusion` was put on, as diffusers has it, with its weights, told the text alone."""

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
