"""A model by itself: its weights, a few samples of it, its silence and its condition."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from synesthete import seeding
from synesthete.evaluation.doctor.check import Check
from synesthete.evaluation.doctor.run import averages_check, condition_check, range_check
from synesthete.objectives import DataRange, Parts, condition_sensitivity, data_range, fixed_loss, value_range

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from synesthete.objectives import Verdict
    from synesthete.pipeline import Pipeline
    from synesthete.types import Batch, Prepared

    Progress = Callable[[str, int, int], None]

NUM_HELD_OUT = 32
QUIET, TOO_LOUD = -60.0, -40.0  # dB below full scale that silence comes back with
SAME = 1e-4  # of a prediction; conditions that change less of it say nothing
NEAR_NOISE = 0.9  # of the way to noise, where the condition is what decides


def examine_model(
    pipeline: Pipeline,
    *,
    num: int = 4,
    seed: int = 0,
    prepared: Prepared | None = None,
    known: DataRange | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> tuple[list[Check], Tensor | None]:
    """Every check of a model, and the x_0 of `num` samples; None where weights are not finite, or num is 0.

    A num of 0 leaves out whatever asks the denoiser, for a model whose denoiser was never trained. prepared: its data,
    where they are at hand. known: what its run wrote of their range. checkpoint: of its run, whose weights the averages
    are compared with. progress(what, done, total).
    """
    report, held_out = progress or (lambda *_: None), _held_out(prepared, pipeline)
    checks = [_weights(pipeline)]
    if pipeline.codec.spec is not None:
        checks.append(_silence(pipeline.codec))
    if checks[0].verdict == "bad" or not num:
        return checks, None
    report("samples", 0, num)
    raw = held_out.raw[:num] if held_out else some_conditions(pipeline, num)
    generators = seeding.sample_generators(seed, len(raw))
    *_, x_0 = pipeline.trajectory(raw, generators=generators)
    signal = pipeline.codec.decode(x_0, generators) if torch.isfinite(x_0).all() else None
    report("samples", num, num)
    data, where = _data_range(pipeline, held_out, known)
    checks.append(range_check(value_range(pipeline.codec, x_0, data, signal), where))
    if pipeline.is_conditional:
        checks.append(_condition(pipeline, held_out))
    if held_out and checkpoint:
        checks += _averages(pipeline, held_out, checkpoint)
    return checks, x_0


def _held_out(prepared: Prepared | None, pipeline: Pipeline) -> Batch | None:
    if prepared is None:
        return None
    generator = seeding.generator(0, "doctor")
    places = torch.randperm(len(prepared.test), generator=generator)[:NUM_HELD_OUT]
    return prepared.test.batch(places, generator).to(pipeline.device)


def _weights(pipeline: Pipeline) -> Check:
    parts = {name: getattr(pipeline, name) for name in ("codec", "conditioner", "denoiser")}
    number = sum(p.numel() for p in pipeline.denoiser.parameters())
    for name, part in parts.items():
        for key, value in part.state_dict().items():
            if not torch.isfinite(value).all():
                advice = "train again from the last good checkpoint, or copy the model again"
                return Check("weights", "bad", f"{name}.{key} is not finite", advice)
    found = f"{number / 1e6:.2f} million in the denoiser, all finite"
    return Check("weights", "ok", found, figures={"num_parameters": number})


def some_conditions(pipeline: Pipeline, num: int) -> Any:
    """Raw conditions (num, ...) of any kind that a model reads: its classes in turn, noise as pictures or as sound."""
    conditioner, generator = pipeline.conditioner, torch.Generator().manual_seed(0)
    if conditioner.reads == "sound":
        return 0.1 * torch.randn(num, conditioner.config.num_samples, generator=generator)
    if pipeline.has_two_sources:
        time = torch.arange(conditioner.sample_rate) / conditioner.sample_rate  # a second
        return conditioner.compose([0.5 * (2 * math.pi * 110 * 3**place * time).sin() for place in range(num)])
    if conditioner.reads == "image":
        from PIL import Image

        # Coarse squares: single pixels of noise are gone when a picture is made smaller.
        grains = torch.randint(256, (num, 4, 4, 3), generator=generator, dtype=torch.uint8).numpy()
        return pipeline.preprocess(
            [Image.fromarray(grain).resize((64, 64), Image.Resampling.NEAREST) for grain in grains]
        )
    config = conditioner.config
    num_classes = config.get("num_classes") or len(config.get("class_names") or pipeline.class_names) or 1
    if conditioner.reads_text and not config.get("class_names"):
        return conditioner.extract_features(["a picture", "a sound", "a dog", "a house"] * num)[
            :num
        ]  # it reads words alone
    return torch.arange(num) % num_classes


def _data_range(pipeline: Pipeline, held_out: Batch | None, known: DataRange | None) -> tuple[DataRange, str]:
    """What to hold samples against: data, what a run wrote of them, or the most that the codec can be given."""
    codec = pipeline.codec
    if held_out:
        x_0 = held_out.signal if held_out.encoded else codec.encode(held_out.signal)
        return data_range(codec, x_0), "against held-out data"
    if known:
        return known, "against the data of its run"
    return codec_range(codec, pipeline.device), "against the most that its codec gives; no data at hand"


@torch.no_grad()
def codec_range(codec: Any, device: torch.device) -> DataRange:
    """The x_0 of extremes: silence and full-scale noise and tones, or black, white and noisy pictures."""
    generator = torch.Generator().manual_seed(0)
    if codec.spec is not None:
        size = codec.config.num_samples
        time = torch.arange(size) / codec.spec.sample_rate
        tones = [(2 * math.pi * share * codec.spec.sample_rate * time).sin() for share in (0.005, 0.05, 0.4)]
        noise = 2 * torch.rand(size, generator=generator) - 1
        extremes = torch.stack([torch.zeros(size), noise, noise.sign(), *tones])
    else:
        shape = codec.preprocess([_grey()]).shape[1:]
        noise = torch.randint(256, shape, generator=generator)
        extremes = torch.stack([torch.zeros_like(noise), torch.full_like(noise, 255), noise]).to(torch.uint8)
    x_0 = codec.encode(extremes.to(device))
    return DataRange(x_0.min().item(), x_0.max().item(), 0.0 if codec.spec is not None else None)


def _grey() -> Any:
    from PIL import Image

    return Image.new("RGB", (64, 64), "grey")


def _silence(codec: Any) -> Check:
    """Nothing in, nothing out: what a codec makes of silence, which is the padding of every clip."""
    silence = torch.zeros(1, codec.config.num_samples, device=next(iter(codec.buffers())).device)
    back = codec.decode(codec.encode(silence), seeding.sample_generators(0, 1))
    level = 20 * math.log10(max(back.square().mean().sqrt().item(), 1e-9))
    verdict: Verdict = "ok" if level < QUIET else "warn" if level < TOO_LOUD else "bad"
    advice = "" if verdict == "ok" else "the codec hisses; look at its floor, and at what it does with cut frequencies"
    return Check("silence", verdict, f"comes back at {level:.0f} dB of full scale", advice, {"decibels": level})


def _condition(pipeline: Pipeline, held_out: Batch | None) -> Check:
    if held_out and len(held_out.label.unique()) > 1:
        errors = condition_sensitivity(pipeline, held_out)
        return condition_check([errors["sensitivity"] / max(errors["right"], 1e-12)])
    share = told_apart(pipeline)
    dead = share < SAME
    advice = "the model ignores its condition; train longer, or look at the pairs of the data" if dead else ""
    found = f"another condition changes {share:.2%} of the prediction (near noise; no data at hand)"
    return Check("condition", "bad" if dead else "ok", found, advice, {"share_changed": share})


@torch.no_grad()
def told_apart(pipeline: Pipeline, num: int = 4) -> float:
    """How much of a prediction near noise depends on the condition: its spread over conditions, of its own size."""
    raw = some_conditions(pipeline, num)
    condition, _ = pipeline.conditions(raw)
    noise = seeding.randn(pipeline.codec.shape, seeding.sample_generators(0, 1)).to(pipeline.device)
    x_t = noise.expand(len(raw), *noise.shape[1:])
    timestep = pipeline.process.at(torch.full((len(raw),), NEAR_NOISE)).to(pipeline.device)
    prediction = pipeline.denoiser(x_t, timestep, condition).float()
    spread = (prediction - prediction.mean(dim=0)).square().mean().sqrt()
    return (spread / prediction.square().mean().sqrt().clamp(min=1e-12)).item()


def _averages(pipeline: Pipeline, held_out: Batch, checkpoint: Path) -> list[Check]:
    """The model, whose weights are averages, against the weights as they were trained."""
    if not (checkpoint / "ema.safetensors").is_file():
        return []
    state = load_file(checkpoint / "model.safetensors")
    trained = Parts(pipeline.codec, *copy.deepcopy((pipeline.conditioner, pipeline.denoiser)), pipeline.process)
    for name in ("conditioner", "denoiser"):
        own = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
        getattr(trained, name).load_state_dict(own)
    losses = [fixed_loss(parts, held_out).mean().item() for parts in (pipeline, trained)]
    return [averages_check(*losses)]
