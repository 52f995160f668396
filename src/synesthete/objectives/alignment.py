"""Contrast of pictures and sounds, before any diffusion."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete.nn.layers import ResidualConv
from synesthete.objectives.denoising import Objective, Parts
from synesthete.types import Batch, InputError

SMALLEST = 4  # the side that halving stops at


class PictureEncoder(nn.Module):
    """x_0 (B, C, H, W) -> (B, width): convolutions that halve the picture down to 4 pixels, then the mean of these."""

    def __init__(self, shape: tuple[int, int, int], width: int, hidden: int) -> None:
        super().__init__()
        channels, side = shape[0], min(shape[1:])
        self.levels, below = nn.Sequential(), max(hidden // 8, 8)
        while side > SMALLEST:
            self.levels.extend([nn.Conv2d(channels, below, 3, 2, 1), nn.GELU(), ResidualConv(below)])
            channels, side, below = below, -(-side // 2), min(2 * below, hidden)
        self.norm = nn.LayerNorm(channels)
        self.mix, self.out = nn.Linear(channels, hidden), nn.Linear(hidden, width)
        self.activation = nn.GELU()

    def forward(self, x_0: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width)."""
        features = self.norm(self.levels(x_0).mean(dim=(2, 3)))  # (B, channels)
        return self.out(self.activation(self.mix(features)))


class SpectrogramEncoder(nn.Module):
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

    def forward(self, x_0: Tensor) -> Tensor:
        """(B, 1, F, T) -> (B, width)."""
        num_runs = len(self.positions)
        runs = x_0.squeeze(1)[..., : num_runs * self.num_frames].unflatten(-1, (num_runs, self.num_frames))
        runs = runs.transpose(1, 2).flatten(2)  # (B, runs, F * frames of a run)
        hidden = F.gelu(self.frames(self.norm_in(runs)) + self.positions)
        return self.out(self.norm_out(F.gelu(self.mix(hidden)).mean(dim=1)))


class Alignment(Objective):
    """Teaches the conditioner what its picture sounds like, before any diffusion: contrastive, picture against sound.

    Samples of one class are each other's positives (Khosla et al. 2020); the temperature is learned (CLIP, Radford et
    al. 2021). The encoder of the other side exists for this stage alone. Of a conditioner that looks, both the pooled
    vector and the mean of the tokens are aligned, so that either way into the denoiser carries the class from its first
    step. Of one that listens it is the vector of its sound encoder, as CLAP's with a text; nothing else is computed.

    Args:
        width: D of the conditioner, where that looks. hidden: width of the other side's encoder.

    Raises:
        InputError: a conditioner that listens with a frozen encoder.
    """

    def __init__(self, width: int = 256, hidden: int = 256) -> None:
        super().__init__()
        self.width, self.hidden = width, hidden
        self.log_temperature = nn.Parameter(torch.tensor([10.0]).log())  # one number, but a vector: FSDP cuts no scalar

    def attach(self, parts: Parts) -> Objective:
        """As every objective; the other side's encoder is made here, where the shape of x_0 is known."""
        super().attach(parts)
        if parts.conditioner.reads == "audio_text":
            if parts.conditioner.has_fixed_features:
                raise InputError("Alignment: the sound encoder is frozen, so there is nothing to learn; omit the stage")
            self.picture_encoder = PictureEncoder(parts.codec.shape, parts.conditioner.embedding_width, self.hidden)
            return self
        self.sound_encoder = SpectrogramEncoder(parts.codec.shape, self.width, self.hidden)
        self.tokens_head = nn.Linear(self.width, self.width)
        return self

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """{"loss", "retrieval" (share of pictures whose nearest sound in the batch is of their class)}."""
        codec, conditioner = self.parts.codec, self.parts.conditioner
        if conditioner.reads == "audio_text":
            heard = conditioner.embed_audio(batch.raw, generator)
            loss, retrieval = self._contrast(self.picture_encoder(batch.encode(codec)), heard, batch.label)
            return {"loss": loss, "retrieval": retrieval}
        condition = conditioner.look(batch.raw, generator)
        sound = self.sound_encoder(batch.encode(codec))
        loss, retrieval = self._contrast(condition.pooled, sound, batch.label)
        tokens_loss, _ = self._contrast(self.tokens_head(condition.tokens.mean(dim=1)), sound, batch.label)
        return {"loss": loss + tokens_loss, "retrieval": retrieval}

    def _contrast(self, picture: Tensor, sound: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The symmetric loss of picture and sound vectors, each (B, D), and the share retrieved."""
        picture, sound = F.normalize(picture.float(), dim=-1), F.normalize(sound.float(), dim=-1)
        logits = picture @ sound.T * self.log_temperature.exp().clamp(max=100)  # (B, B)
        same = (label[:, None] == label[None]).float()
        same = same / same.sum(dim=1, keepdim=True)
        loss = -(F.log_softmax(logits, 1) * same).sum(1).mean() - (F.log_softmax(logits, 0) * same.T).sum(0).mean()
        right = label[logits.argmax(1)] == label
        return loss / 2, right.float().mean()
