"""Small models of sound: one is ideal for data whose neighbouring frames are alike, the others have random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.codecs.stft import StftCodec
from synesthete.conditioning.labels import Labels, Loudness, Unconditional
from synesthete.conditioning.low_band import LowBand
from synesthete.config import Sampling, register_class
from synesthete.denoisers.denoiser import Denoiser
from synesthete.denoisers.unet import UNet
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import scheduler_for
from synesthete.pipeline import Pipeline

if TYPE_CHECKING:
    from synesthete.types import Condition

RATE, N_FFT, HOP, WINDOW = 4_000, 32, 16, 40
ALIKE = 0.95  # correlation of neighbouring frames in the data that the ideal denoiser knows


@register_class
class Ideal(Denoiser):
    """The best possible denoiser of x_0 ~ N(0, S) with S[i, j] = alike^|i - j| between frames; bins are independent."""

    def __init__(self, process: dict[str, Any], num_frames: int = WINDOW, alike: float = ALIKE) -> None:
        super().__init__()
        self.process = Process(**process)
        place = torch.arange(num_frames)
        values, vectors = torch.linalg.eigh((alike ** (place[:, None] - place).abs()).double())
        self.register_buffer("variances", values.float())
        self.register_buffer("directions", vectors.float())
        self.calls = 0

    def precompute(self, condition: Condition) -> Condition:
        return condition

    def forward(self, x_t: torch.Tensor, timestep: torch.Tensor, condition: Condition) -> torch.Tensor:
        self.calls += 1
        alpha, sigma = self.process.alpha_sigma(timestep)
        shrunk = alpha * self.variances / (alpha**2 * self.variances + sigma**2)  # (B, 1, 1, W)
        x_0 = (x_t @ self.directions * shrunk) @ self.directions.T
        if self.process.prediction_type == "sample":
            return x_0
        return self.process.target(x_0, (x_t - alpha * x_0) / sigma, timestep, self.process.prediction_type)


def small_codec(**settings: Any) -> StftCodec:
    """Windows of 40 frames, 0.16 s, at 4 kHz."""
    defaults = {"num_samples": (WINDOW - 1) * HOP, "sample_rate": RATE, "n_fft": N_FFT, "hop_length": HOP}
    return StftCodec(**defaults | {"num_iterations": 4} | settings)


def pipeline_of(codec: Any, conditioner: Any, denoiser: Any, process: Process, **sampling: Any) -> Pipeline:
    settings = vars(Sampling(**{"num_inference_steps": 5, "guidance_scale": 1.0} | sampling))
    card = {"task": "music", "class_names": ["low", "high"] if isinstance(conditioner, Labels) else []}
    return Pipeline(
        codec,
        conditioner,
        denoiser,
        scheduler_for(settings, process),
        process=process.settings(),
        sampling=settings,
        card=card,
    )


def ideal_pipeline(sampler: str = "flow-euler", process: Process | None = None, **sampling: Any) -> Pipeline:
    """A model that samples what the ideal denoiser knows."""
    process = process or process_for(sampler)
    codec = small_codec()
    return pipeline_of(codec, Unconditional(), Ideal(process.settings()), process, sampler=sampler, **sampling)


def process_for(sampler: str) -> Process:
    """A process that the sampler can walk: v-prediction, of either kind."""
    if sampler.startswith("flow"):
        return Process("flow", "v_prediction")
    return Process("cosine", "v_prediction", zero_terminal_snr=True)


def random_pipeline(conditioner: Any = None, codec: Any = None, **settings: Any) -> Pipeline:
    """The real classes with random weights, whose output depends on all that they are told."""
    conditioner, codec = conditioner or Unconditional(), codec or small_codec()
    width = 8 if isinstance(conditioner, Labels) else None
    pooled_width = 8 if isinstance(conditioner, Labels | Loudness) else None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet(
            sample_size=codec.shape[1:],
            in_channels=codec.shape[0],
            channels=(8, 16),
            num_blocks=1,
            attention_levels=(1,) if width else (),
            num_heads=2,
            condition_width=width,
            pooled_width=pooled_width,
            spatial_channels=getattr(conditioner, "spatial_channels", None),
        )
        for parameter in network.parameters():
            if not parameter.any():
                parameter.data.normal_(std=0.1)
    for part in (codec, conditioner, network):
        part.eval()
    return pipeline_of(codec, conditioner, network, Process(**settings.pop("process", {})), **settings)


def labels() -> Labels:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Labels(num_classes=2, width=8, num_tokens=2)


def random_upsampler() -> Pipeline:
    """From 1 to 4 kHz."""
    codec = small_codec()
    told = LowBand(num_samples=codec.config.num_samples, sample_rate=RATE, n_fft=N_FFT, hop_length=HOP, low_rate=1_000)
    return random_pipeline(told, codec)


def noise(num: int, num_samples: int, seed: int = 0, level: float = 0.1) -> torch.Tensor:
    """Sound (num, num_samples)."""
    return level * seeding.randn((num_samples,), seeding.sample_generators(seed, num))


def nothing(num: int) -> torch.Tensor:
    """The raw condition of a model that is told nothing."""
    return torch.zeros(num, dtype=torch.int64)
