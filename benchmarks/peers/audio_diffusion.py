"""audio-diffusion-pytorch: its DiffusionModel with UNetV0 over waveforms and v-diffusion, as in its README."""

from __future__ import annotations

import copy
import importlib
import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.peers.task import Budget, count, fit_width
from synesthete.nn.part import autocast
from synesthete.training.cost import Gauge
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

PACKAGES = "audio-diffusion-pytorch a-unet einops"
# Of its README's unconditional example: channels as multiples of the widest, halvings, and what each level holds.
CHANNELS = (8, 32, 64, 128, 256, 512, 512, 1024, 1024)
FACTORS = (1, 4, 4, 4, 2, 2, 2, 2, 2)
ITEMS = (1, 2, 2, 2, 2, 2, 2, 4, 4)
ATTENTIONS = (0, 0, 0, 0, 0, 1, 1, 1, 1)
CELL = 2048  # samples of its coarsest step
# Of its trainer repository.
LEARNING_RATE, BETAS, WEIGHT_DECAY, EMA = 1e-4, (0.95, 0.999), 1e-3, 0.995


def find_package() -> Any:
    """The package; torchaudio, which it imports for a mel layer that is not used here, may be a stand-in.

    Raises:
        InputError: it is not installed.
    """
    if importlib.util.find_spec("torchaudio") is None:
        empty = ModuleType("torchaudio")
        empty.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
        empty.transforms = ModuleType("torchaudio.transforms")  # type: ignore[attr-defined]
        sys.modules.setdefault("torchaudio", empty)
    try:
        return importlib.import_module("audio_diffusion_pytorch")
    except ImportError as error:
        raise InputError(
            f"{error}; pip install --no-deps --target FOLDER {PACKAGES}, and give --peers FOLDER"
        ) from None


def make_network(package: Any, width: int) -> Any:
    """The example's network with channels of one place in eight of `width` times theirs, in whole groups of eight."""
    channels = [max(8, 8 * round(c * width / 256 / 8)) for c in CHANNELS]
    return package.DiffusionModel(
        net_t=package.UNetV0,
        in_channels=1,
        channels=channels,
        factors=list(FACTORS),
        items=list(ITEMS),
        attentions=list(ATTENTIONS),
        attention_heads=8,
        attention_features=64,
        diffusion_t=package.VDiffusion,
        sampler_t=package.VSampler,
    )


class AudioDiffusion:
    """Trained on waveforms (n, S) for so many seconds; then it samples.

    Args:
        parameters: of ours, which it comes within 10% of. precision: "no" is float32, as it runs unless told otherwise.
    """

    def __init__(self, parameters: int, precision: str = "no", seed: int = 0) -> None:
        package = find_package()
        width = fit_width(lambda width: make_network(package, width), parameters)
        torch.manual_seed(seed)
        self.gauge = Gauge()
        self.precision = precision
        self.network = make_network(package, width)
        self.parameters = count(self.network)
        self.steps, self.seconds, self.peak_bytes = 0, 0.0, 0

    def train(self, waveforms: Any, batch_size: int, budget: Budget) -> None:
        """waveforms(indices) -> (B, S) in [-1, 1]; whole epochs in random order, EMA beside the weights."""
        optimiser = torch.optim.AdamW(self.network.parameters(), LEARNING_RATE, BETAS, weight_decay=WEIGHT_DECAY)
        averaged = copy.deepcopy(self.network)
        order: list[int] = []
        while budget.spent < budget.seconds:
            if len(order) < batch_size:
                order = torch.randperm(waveforms.num).tolist()
            chosen, order = order[:batch_size], order[batch_size:]
            x = padded(waveforms(torch.tensor(chosen)))
            with autocast(torch.device("cpu"), self.precision):
                loss = self.network(x)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                for mean, value in zip(averaged.parameters(), self.network.parameters(), strict=True):
                    mean.lerp_(value, 1 - EMA)
            self.steps += 1
        self.seconds, self.peak_bytes = budget.spent, self.gauge.before + self.gauge.read()
        self.network = averaged.eval()

    def sample(self, num: int, num_samples: int, num_steps: int, seed: int) -> Tensor:
        """Sounds (num, num_samples)."""
        noise = torch.randn(num, 1, -(-num_samples // CELL) * CELL, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad(), autocast(torch.device("cpu"), self.precision):
            return self.network.sample(noise, num_steps=num_steps).float()[:, 0, :num_samples]


def padded(waveform: Tensor) -> Tensor:
    """(B, S) -> (B, 1, S') in whole cells."""
    return torch.nn.functional.pad(waveform, (0, -waveform.shape[-1] % CELL))[:, None]
