"""What an autoencoder under a diffusion model minimises, without a discriminator, and how well it restores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.objectives.denoising import Objective, Parts
from synesthete.types import Batch, InputError

UNIT_DB = 20.0  # a factor of ten in amplitude: about the spread of music's spectrograms, so about that of x_0
QUIET_DB = 60.0  # what lies so far below the loudest cell of its sample weighs least


class Autoencoding(Objective):
    """Teaches a `LatentCodec` to restore its base's x_0 from few latents that stay near a Gaussian.

    - l1: mean absolute error of x_0, loud cells of a sound weighing more: faint ones are many, and are masked.
    - spectral: the same of levels in dB at coarser `scales`. Cells are pooled as power, so that noise, whose cells
      cannot be told, keeps its energy in every band where the mean of l1 alone would sink; Yamamoto et al. 2020
      (section 2.2) compare a waveform at several resolutions to that end.
    - edges: of differences between neighbours in time (onsets) and in frequency (partials), at every scale; blur shows
      there first, which a discriminator would be asked to see.
    - kl: of the latents' distribution from a unit Gaussian, in nats a latent value, averaged (Kingma & Welling 2014;
      weighted lightly as in Rombach et al. 2022, section 3.1).

    Levels count in units of 20 dB. Of pictures, x_0 itself stands for the levels, pooled as it is.

    Args:
        kl_weight, spectral_weight, edge_weight: of the parts beside l1; 0 is off.
        scales: how many cells of a side are pooled.
        num_columns: how many columns of the grid a step is shown, cut out anew each time; None shows all.
        quiet_weight: what a cell 60 dB below the loudest of its sample weighs, where that weighs 1.
    """

    def __init__(
        self,
        kl_weight: float = 1e-3,
        spectral_weight: float = 0.5,
        edge_weight: float = 0.5,
        scales: tuple[int, ...] = (2, 4, 8),
        num_columns: int | None = None,
        quiet_weight: float = 0.2,
    ) -> None:
        super().__init__()
        self.kl_weight, self.spectral_weight, self.edge_weight = kl_weight, spectral_weight, edge_weight
        self.scales, self.num_columns, self.quiet_weight = scales, num_columns, quiet_weight

    def attach(self, parts: Parts) -> Objective:
        """As every objective.

        Raises:
            InputError: a codec without an autoencoder of its own to train.
        """
        if not parts.codec.is_learned:
            raise InputError(
                f"a {type(parts.codec).__name__} has nothing that autoencoding could train; give the recipe a "
                "LatentCodec over it, or leave the stage out"
            )
        return super().attach(parts)

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """{"loss", "l1", "spectral", "edges", "kl"}; all draws come from `generator`.

        Raises:
            InputError: a batch of x_0, which is what the codec has to learn to make.
        """
        if batch.encoded:
            raise InputError("autoencoding learns from signals, and these data keep x_0 alone; train on other data")
        codec = self.parts.codec
        x = self._cut(codec.signal_grid(batch.signal), generator)  # (B, C, H, W)
        posterior = codec.posterior(x)
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        restored = codec.restore(mean + (0.5 * logvar).exp() * noise, x.shape[-1]).float()
        with torch.autocast(x.device.type, enabled=False):
            parts = {"l1": self._l1(x, restored), **self._at_scales(x, restored)}
            parts["kl"] = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
            loss = parts["l1"] + self.spectral_weight * parts["spectral"] + self.edge_weight * parts["edges"]
            return {"loss": loss + self.kl_weight * parts["kl"], **{k: v.detach() for k, v in parts.items()}}

    def _cut(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The columns that this step is shown, the same of every sample."""
        if self.num_columns is None or self.num_columns >= x.shape[-1]:
            return x
        first = torch.randint(x.shape[-1] - self.num_columns + 1, (1,), generator=generator)
        return x[..., (first + torch.arange(self.num_columns)).to(x.device)]

    def _l1(self, x: Tensor, restored: Tensor) -> Tensor:
        error, level = (restored - x).abs(), self.parts.codec.base.decibels(x)
        if level is None:
            return error.mean()
        depth = level.amax(dim=(1, 2), keepdim=True) - level  # (B, H, W)
        weight = (1 - depth / QUIET_DB).clamp(min=self.quiet_weight).unsqueeze(1)
        return (error * weight).mean() / weight.mean()

    def _at_scales(self, x: Tensor, restored: Tensor) -> dict[str, Tensor]:
        """Errors of levels and of their differences, each the mean over scales."""
        codec = self.parts.codec
        real, made = codec.base.decibels(x), codec.base.decibels(restored)
        sound = real is not None
        real, made = (real.unsqueeze(1), made.unsqueeze(1)) if sound else (x, restored)  # (B, 1 or C, H, W)
        spectral, edges = [], [edge_error(real, made)]
        for scale in self.scales:
            if scale <= min(real.shape[-2:]) // 2:
                coarse = [pooled(level, scale, as_power=sound) for level in (real, made)]
                spectral.append((coarse[0] - coarse[1]).abs().mean())
                edges.append(edge_error(*coarse))
        unit = UNIT_DB if sound else 1.0
        means = (torch.stack(found).mean() / unit if found else x.new_zeros(()) for found in (spectral, edges))
        return dict(zip(("spectral", "edges"), means, strict=True))


def pooled(level: Tensor, scale: int, *, as_power: bool) -> Tensor:
    """(B, C, H, W) -> (B, C, H // scale, W // scale): the mean, of dB as power where asked."""
    if not as_power:
        return F.avg_pool2d(level, scale)
    return 10 * F.avg_pool2d(10 ** (level / 10), scale).clamp(min=1e-16).log10()


def edge_error(real: Tensor, made: Tensor) -> Tensor:
    """Mean absolute error of the differences between neighbours along H and along W."""
    return sum((made.diff(dim=dim) - real.diff(dim=dim)).abs().mean() for dim in (-2, -1)) / 2  # type: ignore[return-value]


@dataclass(frozen=True)
class RoundTrip:
    """How far signals are from what is restored of their latents, and from each other.

    error, floor: log-spectral distance in dB of sounds, root mean square error of the base's x_0 of pictures; the floor
    is between different signals. Nothing lost is 0.
    """

    error: float
    floor: float
    unit: str

    def __str__(self) -> str:
        """The error beside what it lies between."""
        return f"round trip {self.error:.3g} {self.unit} (another sample {self.floor:.3g}, nothing lost 0)"


@torch.no_grad()
def measure_round_trip(codec: Any, signal: Tensor) -> RoundTrip:
    """Signals (B, ...) through the latents alone: the base's own loss is left out, nothing is drawn."""
    x = codec.signal_grid(signal)
    restored = codec.grid(codec.encode(signal))
    real, made = codec.base.decibels(x), codec.base.decibels(restored)
    if real is None:
        error, floor = ((x - other).square().mean().sqrt().item() for other in (restored, x.roll(1, dims=0)))
        return RoundTrip(error, floor, "spreads of x_0")
    error, floor = (log_spectral_distance(real, other) for other in (made, real.roll(1, dims=0)))
    return RoundTrip(error, floor, "dB")


def log_spectral_distance(real: Tensor, made: Tensor) -> float:
    """Levels in dB (B, F, T) -> the root mean square difference over frequencies, averaged over frames, in dB.

    Source: Rabiner & Juang 1993 (section 4.5.1).
    """
    return (real - made).square().mean(dim=1).sqrt().mean().item()
