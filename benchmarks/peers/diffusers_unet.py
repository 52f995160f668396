"""diffusers: UNet2DModel told a class, and the loop of its unconditional training example at that example's defaults.

AdamW 1e-4 (betas 0.95 and 0.999, weight decay 1e-6), 500 steps of warm-up and a cosine to the end, batches of 16,
gradient norm 1, an EMA with warm-up by the power 3/4 up to 0.9999, 1,000 steps of a linear schedule, epsilon. The
network has the levels of its 32x32 model (one width, then twice that; attention at 16x16), scaled to the width wanted.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers.task import Budget, BudgetSpentError, Trained, count, fit_width
from synesthete.nn.part import autocast
from synesthete.training.cost import Gauge, clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from benchmarks.peers.task import Task

BATCH_SIZE, LEARNING_RATE, NUM_WARMUP_STEPS = 16, 1e-4, 500
SAMPLERS = {"ddpm": DDPMScheduler, "ddim": DDIMScheduler, "dpmsolver++": DPMSolverMultistepScheduler}


class Pictures(Dataset[tuple["Tensor", "Tensor"]]):
    """Pictures in [-1, 1] with their labels, from memory, mirrored by chance where asked for."""

    def __init__(self, pictures: Tensor, labels: Tensor, *, flips: bool) -> None:
        self.pictures, self.labels, self.flips = pictures, labels, flips

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """(C, H, W), ()."""
        picture = self.pictures[index].float() / 127.5 - 1
        if self.flips and torch.rand(()) < 0.5:
            picture = picture.flip(-1)
        return picture, self.labels[index]


def make_network(task: Task, width: int) -> UNet2DModel:
    """Four levels of `width` and three times twice as much, attention at the one that is 16 wide, else the second."""
    attention = (task.shape[1] // 16).bit_length() - 1 if task.shape[1] > 16 else 1
    return UNet2DModel(
        sample_size=task.shape[1],
        in_channels=task.shape[0],
        out_channels=task.shape[0],
        block_out_channels=(width, 2 * width, 2 * width, 2 * width),
        down_block_types=tuple("AttnDownBlock2D" if level == attention else "DownBlock2D" for level in range(4)),
        up_block_types=tuple("AttnUpBlock2D" if level == 3 - attention else "UpBlock2D" for level in range(4)),
        norm_num_groups=math.gcd(width, 32),
        num_class_embeds=task.num_classes,
    )


class Loop:
    """The example's training step."""

    def __init__(self, task: Task, network: UNet2DModel, num_steps: int, precision: str) -> None:
        self.accelerator = Accelerator(mixed_precision=precision)
        self.process = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear", prediction_type="epsilon")
        self.averages = EMAModel(
            network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75, model_cls=UNet2DModel
        )
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=LEARNING_RATE, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8
        )
        schedule = get_scheduler(
            "cosine", optimiser, num_warmup_steps=NUM_WARMUP_STEPS, num_training_steps=max(num_steps, 1)
        )
        data = Pictures(*task.pictures(), flips=task.flips)
        loader = DataLoader(data, batch_size=BATCH_SIZE, shuffle=True)
        self.network, self.optimiser, self.loader, self.schedule = self.accelerator.prepare(
            network, optimiser, loader, schedule
        )
        self.steps = 0

    def run(self, budget: Budget) -> int:
        """Steps until the time is over; the samples that they went through."""
        samples = 0
        self.network.train()
        with suppress(BudgetSpentError):
            for clean, labels in budget.until_spent(self._epochs()):
                self.step(clean, labels)
                samples += len(clean)
        return samples

    def _epochs(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.loader

    def step(self, clean: Tensor, labels: Tensor) -> None:
        """One step on pictures (B, C, H, W) in [-1, 1] and labels (B,)."""
        noise = torch.randn_like(clean)
        timestep = torch.randint(0, self.process.config.num_train_timesteps, (len(clean),))
        noisy = self.process.add_noise(clean, noise, timestep)
        loss = F.mse_loss(self.network(noisy, timestep, labels).sample.float(), noise)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.schedule.step()
        self.optimiser.zero_grad()
        self.averages.step(self.network.parameters())
        self.steps += 1


def foresee_steps(task: Task, network: UNet2DModel, precision: str) -> int:
    """How many steps there is time for, from a few that are run on a network that is thrown away."""
    trial = Loop(task, network, 1, precision)
    return int(task.seconds / clock(lambda: trial.run(Budget(0))))


def train(task: Task, folder: Path, precision: str) -> Trained:
    """The example's loop until the time is over; how many steps its cosine is to last is tried out beforehand."""
    width = fit_width(lambda width: make_network(task, width), task.parameters)
    gauge = Gauge()
    num_steps = foresee_steps(task, make_network(task, width), precision)
    torch.manual_seed(task.seed)
    network = make_network(task, width)
    loop = Loop(task, network, num_steps, precision)
    budget = Budget(task.seconds)
    samples = loop.run(budget)
    seconds, working = budget.spent, gauge.read()
    loop.averages.copy_to(network.parameters())
    network.eval()
    return Trained(
        parameters=count(network),
        steps=loop.steps,
        samples=samples,
        seconds=seconds,
        peak_bytes=gauge.before + working,
        working_bytes=working,
        samplers={name: Sampler(task, network, loop.process, kind, precision) for name, kind in SAMPLERS.items()},
        conditional=True,
        settings={"width": width, "batch_size": BATCH_SIZE, "precision": precision, "foreseen_steps": num_steps},
    )


class Sampler:
    """A scheduler's way from noise to pictures, without guidance: the network was never trained without a class."""

    def __init__(self, task: Task, network: UNet2DModel, process: DDPMScheduler, kind: Any, precision: str) -> None:
        self.task, self.network, self.precision = task, network, precision
        self.scheduler = kind.from_config(process.config)

    @torch.inference_mode()
    def __call__(self, labels: Tensor, seed: int) -> Tensor:
        """Pictures (B, C, H, W) uint8 of labels (B,)."""
        generator = torch.Generator().manual_seed(seed)
        x_t = torch.randn((len(labels), *self.task.shape), generator=generator)
        self.scheduler.set_timesteps(self.task.num_inference_steps)
        with autocast(torch.device("cpu"), "bf16" if self.precision != "no" else "no"):
            for timestep in self.scheduler.timesteps:
                prediction = self.network(x_t, timestep, labels).sample.float()
                x_t = self.scheduler.step(prediction, timestep, x_t, generator=generator).prev_sample
        return ((x_t + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
