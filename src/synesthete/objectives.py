"""What a stage of training minimises: an objective holds the parts it trains and turns a batch into named losses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from synesthete.types import Condition

LARGE_GAP = 0.1  # of the training loss; what is surely more is over-fitting

if TYPE_CHECKING:
    from synesthete.diffusion.process import Process
    from synesthete.types import Batch


@dataclass
class Parts:
    """The parts of a recipe, made: what a pipeline is put together from."""

    codec: Any
    conditioner: Any
    denoiser: Any
    process: Process

    def modules(self) -> dict[str, nn.Module]:
        """The parts that have weights, by name."""
        return {"codec": self.codec, "conditioner": self.conditioner, "denoiser": self.denoiser}


class Objective(nn.Module):
    """Base of all objectives: `attach` gives it the parts, calling it gives {"loss": ..., named parts}."""

    def attach(self, parts: Parts) -> Objective:
        """Take the parts in, so that they are wrapped, moved and saved together with the objective."""
        self.parts = parts
        for name, module in parts.modules().items():
            self.add_module(name, module)
        return self

    def encode(self, batch: Batch) -> torch.Tensor:
        """x_0 of a batch, encoded now unless that was done beforehand."""
        return batch.signal if batch.encoded else self.parts.codec.encode(batch.signal)


class Denoising(Objective):
    """The diffusion loss: mean square between the network's prediction and the target, in the process' loss space.

    Args:
        condition_dropout: share of samples that see the null condition, drawn per sample (Ho & Salimans 2022).
    """

    def __init__(self, condition_dropout: float = 0.1) -> None:
        super().__init__()
        self.condition_dropout = condition_dropout

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """{"loss", "per_sample" (B,), "timestep" (B,)}; all draws come from `generator`."""
        x_0 = self.encode(batch)
        noise = torch.randn(x_0.shape, generator=generator).to(x_0.device)
        timestep = self.parts.process.draw_timesteps(len(x_0), generator).to(x_0.device)
        keep = (torch.rand(len(x_0), generator=generator) >= self.condition_dropout).to(x_0.device)
        conditioner = self.parts.conditioner
        condition = Condition.where(keep, conditioner.encode(batch.raw), conditioner.null(len(x_0)))
        per_sample = denoising_error(self.parts, x_0, noise, timestep, condition)
        return {"loss": per_sample.mean(), "per_sample": per_sample.detach(), "timestep": timestep}


class SoundEncoder(nn.Module):
    """x_0 (B, 1, F, T) -> (B, width): a perceptron over short runs of frames, averaged over time.

    Matrix products alone: a bf16 one-dimensional convolution is forty times slower on a CPU.
    """

    def __init__(self, shape: tuple[int, int, int], width: int, hidden: int, num_frames: int = 4) -> None:
        super().__init__()
        self.num_frames, num_runs = num_frames, shape[2] // num_frames
        self.norm_in = nn.LayerNorm(shape[1] * num_frames)
        self.frames = nn.Linear(shape[1] * num_frames, hidden)
        self.positions = nn.Parameter(0.5 * torch.randn(num_runs, hidden))
        self.mix = nn.Linear(hidden, hidden)
        self.norm_out = nn.LayerNorm(hidden)
        self.out = nn.Linear(hidden, width)

    def forward(self, x_0: torch.Tensor) -> torch.Tensor:
        """(B, 1, F, T) -> (B, width)."""
        num_runs = len(self.positions)
        runs = x_0.squeeze(1)[..., : num_runs * self.num_frames].unflatten(-1, (num_runs, self.num_frames))
        runs = runs.transpose(1, 2).flatten(2)  # (B, runs, F * frames of a run)
        hidden = F.gelu(self.frames(self.norm_in(runs)) + self.positions)
        return self.out(self.norm_out(F.gelu(self.mix(hidden)).mean(dim=1)))


class Alignment(Objective):
    """Teaches the conditioner what its picture sounds like, before any diffusion: contrastive, picture against sound.

    Samples of one class are each other's positives (Khosla et al. 2020); the temperature is learned (CLIP, Radford et
    al. 2021). The sound encoder exists for this stage alone. Both the pooled vector and the mean of the tokens are
    aligned, so that either way into the denoiser carries the class from its first step.

    Args:
        width: D of the conditioner. hidden: width of the sound encoder.
    """

    def __init__(self, width: int = 256, hidden: int = 256) -> None:
        super().__init__()
        self.width, self.hidden = width, hidden
        self.log_temperature = nn.Parameter(torch.tensor([10.0]).log())  # one number, but a vector: FSDP cuts no scalar

    def attach(self, parts: Parts) -> Objective:
        """As every objective; the sound encoder is made here, where the shape of x_0 is known."""
        super().attach(parts)
        self.sound_encoder = SoundEncoder(parts.codec.shape, self.width, self.hidden)
        self.tokens_head = nn.Linear(self.width, self.width)
        return self

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """{"loss", "retrieval" (share of pictures whose nearest sound in the batch is of their class)}."""
        condition = self.parts.conditioner.encode(batch.raw)
        sound = self.sound_encoder(self.encode(batch))
        loss, retrieval = self._contrast(condition.pooled, sound, batch.label)
        tokens_loss, _ = self._contrast(self.tokens_head(condition.tokens.mean(dim=1)), sound, batch.label)
        return {"loss": loss + tokens_loss, "retrieval": retrieval}

    def _contrast(
        self, picture: torch.Tensor, sound: torch.Tensor, label: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The symmetric loss of picture and sound vectors, each (B, D), and the share retrieved."""
        picture, sound = F.normalize(picture.float(), dim=-1), F.normalize(sound.float(), dim=-1)
        logits = picture @ sound.T * self.log_temperature.exp().clamp(max=100)  # (B, B)
        same = (label[:, None] == label[None]).float()
        same = same / same.sum(dim=1, keepdim=True)
        loss = -(F.log_softmax(logits, 1) * same).sum(1).mean() - (F.log_softmax(logits, 0) * same.T).sum(0).mean()
        right = label[logits.argmax(1)] == label
        return loss / 2, right.float().mean()


def denoising_error(
    parts: Parts, x_0: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor, condition: Condition
) -> torch.Tensor:
    """Mean square error of each sample (B,) in the process' loss space, at the given noise and timesteps (B,)."""
    x_t = parts.process.add_noise(x_0, noise, timestep)
    prediction = parts.denoiser(x_t, timestep, condition).float()
    return prediction_error(parts.process, prediction, x_0, noise, x_t, timestep)


def prediction_error(
    process: Process,
    prediction: torch.Tensor,
    x_0: torch.Tensor,
    noise: torch.Tensor,
    x_t: torch.Tensor,
    timestep: torch.Tensor,
) -> torch.Tensor:
    """Mean square error of each sample's prediction (B,) in the process' loss space."""
    prediction = process.convert(prediction, x_t, timestep, process.loss_space, process.min_sigma)
    if process.prediction_type == "sample" and process.loss_space != "sample":
        # Both sides through the same held division, else small sigmas would compare different things.
        target = process.convert(x_0, x_t, timestep, process.loss_space, process.min_sigma)
    else:
        target = process.target(x_0, noise, timestep)
    return (prediction - target).square().flatten(1).mean(dim=1)


@torch.no_grad()
def fixed_error(
    parts: Parts, x_0: torch.Tensor, condition: Condition, fractions: tuple[float, ...] = (0.3, 0.5, 0.8), seed: int = 0
) -> torch.Tensor:
    """x_0-space error of each sample at fixed noise and timesteps, (fractions, B): the figure to compare runs by.

    fractions: of the way to noise; 0.3 is t = 300 of 1000.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(x_0.shape, generator=generator).to(x_0.device)
    condition = parts.denoiser.precompute(condition) if condition.keys_values is None else condition
    errors = []
    for fraction in fractions:
        timestep = parts.process.at(torch.full((len(x_0),), fraction)).to(x_0.device)
        x_t = parts.process.add_noise(x_0, noise, timestep)
        prediction = parts.denoiser(x_t, timestep, condition).float()
        guess = parts.process.convert(prediction, x_t, timestep, "sample")
        errors.append((guess - x_0).square().flatten(1).mean(dim=1))
    return torch.stack(errors)


@torch.no_grad()
def condition_sensitivity(
    parts: Parts, batch: Batch, fractions: tuple[float, ...] = (0.5, 0.7, 0.9, 0.97), seed: int = 0
) -> dict[str, float]:
    """How much worse the model does when told of the wrong samples (DESIGN law 9).

    Each sample is shown the condition of another class' sample (a shift through the batch sorted by class). Returns
    {"right", "wrong", "sensitivity"}: mean x_0 errors and their difference, over fixed noise and timesteps near noise,
    where the condition is what decides.
    """
    order = batch.label.argsort(stable=True)
    shift = int(torch.bincount(batch.label).max())
    wrong = torch.empty_like(order)
    wrong[order] = order.roll(-shift)
    x_0 = batch.signal if batch.encoded else parts.codec.encode(batch.signal)
    condition = parts.conditioner.encode(batch.raw)
    right_error = fixed_error(parts, x_0, condition, fractions, seed).mean().item()
    wrong_error = fixed_error(parts, x_0, condition[wrong], fractions, seed).mean().item()
    return {"right": right_error, "wrong": wrong_error, "sensitivity": wrong_error - right_error}


@dataclass(frozen=True)
class Gap:
    """The mean loss of samples trained on and of samples held out; the difference as a share of the former.

    low, high: the share's 95% interval.
    """

    training: float
    held_out: float
    share: float
    low: float
    high: float

    def __str__(self) -> str:
        """Whether the model over-fits, in plain words."""
        figures = f"loss {self.held_out:.4g} held out, {self.training:.4g} in training, {percent(self.share)}"
        figures += f" (95%: {percent(self.low)} to {percent(self.high)})"
        if self.low > LARGE_GAP:
            return f"the model over-fits: {figures}"
        if self.low > 0:
            return f"the model over-fits a little: {figures}"
        if not self.high <= LARGE_GAP:
            return f"too few samples to tell whether the model over-fits: {figures}"
        return f"the model does not over-fit: {figures}"


def percent(share: float) -> str:
    """A share as a signed percentage."""
    return f"{100 * share:+.0f}%" if math.isfinite(share) else "unknown"


def measure_gap(seen: torch.Tensor, held_out: torch.Tensor) -> Gap:
    """From losses (fractions, n) of samples trained on and (fractions, m) of others, over the same fractions."""
    ours, theirs = seen.double().mean(dim=0), held_out.double().mean(dim=0)
    enough = min(len(ours), len(theirs)) > 1
    error = math.hypot(*(x.std().item() / math.sqrt(len(x)) for x in (ours, theirs))) if enough else math.inf
    a, b, half = ours.mean().item(), theirs.mean().item(), 1.96 * error
    base = max(a, 1e-12)
    return Gap(a, b, (b - a) / base, (b - a - half) / base, (b - a + half) / base)


@torch.no_grad()
def generalisation_gap(
    parts: Parts,
    seen: Batch,
    held_out: Batch,
    fractions: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9),
    seed: int = 0,
) -> Gap:
    """How much better the model does on samples that it was trained on, on the same fixed noise and timesteps."""
    found = []
    for batch in (seen, held_out):
        x_0 = batch.signal if batch.encoded else parts.codec.encode(batch.signal)
        noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(seed)).to(x_0.device)
        condition = parts.denoiser.precompute(parts.conditioner.encode(batch.raw))
        timesteps = [parts.process.at(torch.full((len(x_0),), f)).to(x_0.device) for f in fractions]
        found.append(torch.stack([denoising_error(parts, x_0, noise, t, condition) for t in timesteps]))
    return measure_gap(*found)
