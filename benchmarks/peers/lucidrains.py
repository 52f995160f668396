"""denoising-diffusion-pytorch: its Unet, GaussianDiffusion and Trainer at their defaults."""

from __future__ import annotations

import importlib
import os
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.peers.task import Budget, BudgetSpentError, Trained, count, fit_width
from benchmarks.peers.torchvision_stand_in import standing_in
from synesthete.nn.part import autocast
from synesthete.training.cost import Gauge
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.peers.task import Task

PACKAGES = "denoising-diffusion-pytorch ema-pytorch einops"
NEVER = 10**9


def train(task: Task, folder: Path, precision: str) -> Trained:
    """Its Trainer on the folder of pictures until the time is over; it has no trainer that tells a class.

    Left out of the time: what it would write, sample and score every thousand steps.
    """
    package = find_package()
    channels, size, _ = task.shape
    width = fit_width(lambda dim: package.Unet(dim, channels=channels), task.parameters)
    torch.manual_seed(task.seed)
    gauge = Gauge()
    network = package.Unet(width, channels=channels)
    diffusion = package.GaussianDiffusion(
        network, image_size=size, sampling_timesteps=task.num_inference_steps, auto_normalize=True
    )
    trainer = package.Trainer(
        diffusion,
        str(task.picture_folder),
        augment_horizontal_flip=task.flips,
        train_num_steps=NEVER,
        save_and_sample_every=NEVER,
        calculate_fid=False,
        amp=precision != "no",
        mixed_precision_type="bf16",
        results_folder=str(folder / "results"),
    )
    budget = Budget(task.seconds)
    trainer.dl = budget.until_spent(trainer.dl)
    # It writes a line of progress a step, and a bar of a billion steps.
    with suppress(BudgetSpentError), Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        trainer.train()
    seconds, working = budget.spent, gauge.read()

    def sample(labels: Tensor, seed: int) -> Tensor:
        torch.manual_seed(seed)
        with torch.inference_mode(), autocast(torch.device("cpu"), "bf16" if precision != "no" else "no"):
            pictures = trainer.ema.ema_model.eval().sample(batch_size=len(labels))
        return (pictures.float() * 255).round().clamp(0, 255).to(torch.uint8)

    return Trained(
        parameters=count(network),
        steps=trainer.step,
        samples=trainer.step * trainer.batch_size,
        seconds=seconds,
        peak_bytes=gauge.before + working,
        working_bytes=working,
        samplers={"ddim": sample},
        conditional=False,
        settings={"dim": width, "batch_size": trainer.batch_size, "precision": precision},
    )


def find_package() -> Any:
    """The package, imported.

    Raises:
        InputError: it is not installed, or something that it imports is not.
    """
    try:
        with standing_in():
            return importlib.import_module("denoising_diffusion_pytorch")
    except ImportError as error:
        raise InputError(
            f"{error}; put the peer into a folder by `pip install --no-deps --target FOLDER {PACKAGES}` and give "
            "--peers FOLDER"
        ) from None
