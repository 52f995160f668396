"""Is the base still there? What is made at strength 0, beside what the base network makes by itself."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DConditionModel

from synesthete.evaluation.metrics.metric import interval_of_mean, metric
from synesthete.evaluation.reporting.report import Section, Table
from synesthete.evaluation.samples import generate

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.tasks.audio_to_image.eval_conditions import EvalConditions
    from synesthete.types import Condition

NUM_COMPARED = 8
ADDED = (".lora_", ".processor.")  # names of what is not the base's


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
        return Section("Base, strength and gates", f"{verdict} {_TEXT}", items)


def measure_adapter_scale(pipeline: Any, conditions: EvalConditions, seed: int) -> AdapterScale | None:
    """Compare with a network of diffusers' own, given the base's weights and the text alone.

    None where the denoiser has no such base. Guidance is off, so that all three go through in batches of one shape.
    """
    denoiser = pipeline.denoiser
    if denoiser.adapter_scale is None or not hasattr(denoiser, "unet"):
        return None
    few = conditions.few(NUM_COMPARED)
    told = few.raw()
    silent = few.raw(silent=True) if few.captions is not None else told
    alone = copy.copy(pipeline)
    vars(alone)["denoiser"] = PlainBase(denoiser)  # past the pipeline's own setting, which would name its class
    how: dict[str, Any] = {"guidance_scale": 1.0, "audio_guidance_scale": 1.0}
    base = generate(alone, silent, seed=seed, keep_x_0=True, **how).x_0
    strengths = (0.0, 0.25, 0.5, 0.75, 1.0)
    found = [
        generate(pipeline, told, seed=seed, keep_x_0=True, adapter_scale=strength, **how).x_0 for strength in strengths
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
        self.num_sound, self.dtype = denoiser.config.num_sound_tokens, denoiser.dtype
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
    "The base is rebuilt as diffusers has it, from its own weights and without processors and low-rank changes, told "
    "the text alone, and paints on the same noise without guidance. At strength 0 the model must be that network; a "
    "gate starts at 0 and lets in what tanh of it says."
)
