"""Who speaks in a clip: a vector that is alike for all that one speaker says, and which voices it is nearest to."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete.nn.part import Part
from synesthete.nn.spectrum import bands_of, check_waveform, mel_spectrogram
from synesthete.types import AudioSpec, InputError

SHORTEST = 0.5  # seconds of a clip
LONGEST = 30.0  # what comes after is not heard
LONG = 1.0  # seconds of sound from which on a clip is held to what long ones reach
CHUNK = 100  # clips at once
SILENT = 1e-3  # of full scale: a peak below is silence
AUDIBLE = math.log(10 ** (45 / 20))  # nepers below the loudest frame: quieter ones are not listened to
DEEPEST = 9.0  # nepers below the loudest band that are told apart


class SpeakerEncoder(Part):
    """Waveform (S,) -> a unit vector of who speaks, and shares of the voices that are nearest to it.

    The log-mel of a clip, as far below its loudest band as it can be heard, through three convolutions; mean and spread
    over the audible frames; a unit vector. Level, silence around and length do not count. Trained by
    `tasks.image_to_speech.speakers`, which also measures the buffers.

    Args:
        voices: names of the model's. sample_rate, n_fft, hop_length, n_mels: of the log-mel. width: of the
            convolutions. dim: D, of the vector.

    Buffers: `vectors` (V, D), the mean of each voice's clips; `temperature` of the softmax over their similarities;
    `least_similarity` and `least_agreement`, (2,) each, of short clips and of long ones: what 99% of held-out speech
    has with the nearest voice, and one half of a speaker's clip with the other.
    """

    vectors: Tensor
    temperature: Tensor
    least_similarity: Tensor
    least_agreement: Tensor

    def __init__(
        self,
        voices: tuple[str, ...] = (),
        sample_rate: int = 24_000,
        n_fft: int = 1024,
        hop_length: int = 256,
        n_mels: int = 80,
        width: int = 128,
        dim: int = 64,
    ) -> None:
        super().__init__()
        self.spec = AudioSpec(sample_rate, n_fft, hop_length, n_mels)
        self.register_buffer("filterbank", bands_of(self.spec), persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        layers: list[nn.Module] = []
        for in_width, size, dilation in ((n_mels, 5, 1), (width, 3, 2), (width, 3, 3)):
            layers += [
                nn.Conv1d(in_width, width, size, padding=dilation * (size // 2), dilation=dilation),
                nn.BatchNorm1d(width),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.BatchNorm1d(2 * width), nn.Linear(2 * width, dim))
        self.register_buffer("vectors", F.normalize(torch.ones(len(voices), dim), dim=1))
        self.register_buffer("temperature", torch.tensor(0.1))
        self.register_buffer("least_similarity", torch.full((2,), -1.0))
        self.register_buffer("least_agreement", torch.full((2,), -1.0))

    def log_mel(self, waveforms: Tensor) -> Tensor:
        """Waveforms (B, S) -> nepers below the loudest band of each, (B, n_mels, T), from -DEEPEST to 0."""
        mel = mel_spectrogram(waveforms, self.filterbank.float(), self.window.float(), self.spec.hop_length)
        mel = mel.clamp(min=1e-7).log()
        return (mel - mel.amax(dim=(1, 2), keepdim=True)).clamp(min=-DEEPEST)

    def forward(self, log_mel: Tensor, kept: Tensor | None = None) -> Tensor:
        """As of `log_mel` (B, n_mels, T) -> unit vectors (B, D). kept: (B, T), the frames that count if audible."""
        there = audible(log_mel) if kept is None else audible(log_mel) & kept
        share = there.float() / there.sum(dim=1, keepdim=True).clamp(min=1)
        x = self.layers(log_mel / DEEPEST + 0.5)  # (B, width, T)
        mean = (x * share[:, None]).sum(dim=2)
        spread = ((x - mean[..., None]).square() * share[:, None]).sum(dim=2).add(1e-5).sqrt()
        return F.normalize(self.head(torch.cat([mean, spread], dim=1)), dim=1)  # (B, D)

    @torch.no_grad()
    def encode(self, log_mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log_mel (B, n_mels, T) -> vectors (B, D), the agreement of their halves (B,), and seconds of sound (B,)."""
        there = audible(log_mel)
        num = there.sum(dim=1, keepdim=True)
        place = there.cumsum(dim=1)
        first, second = self(log_mel, place <= num // 2), self(log_mel, place > num // 2)
        seconds = num[:, 0] * self.spec.hop_length / self.spec.sample_rate
        return self(log_mel), (first * second).sum(dim=1), seconds

    @torch.no_grad()
    def vectors_of(self, waveforms: Tensor) -> Tensor:
        """Waveforms (n, S) in [-1, 1] -> vectors (n, D), whatever they are of."""
        self.eval()
        return torch.cat([self(self.log_mel(part.float())) for part in waveforms.split(CHUNK)])

    def weigh(self, vectors: Tensor) -> Tensor:
        """Vectors (B, D) -> a share of each of the voices, (B, V)."""
        return (vectors @ self.vectors.T / self.temperature).softmax(dim=1)

    def recognise(self, waveform: Tensor, name: str) -> Tensor:
        """The shares (V,) of the voices in a clip (S,) at its sample rate. name: of the clip, for messages."""
        rate = self.spec.sample_rate
        check_waveform(waveform[None])
        if waveform.abs().max() < SILENT:
            raise InputError(f"{name}: silence, which nobody speaks; give a clip of somebody's speech")
        if len(waveform) < SHORTEST * rate:
            length = len(waveform) / rate
            raise InputError(f"{name}: {length:.2f} s long; of a voice half a second is needed, and better are three")
        self.eval()
        vector, agreement, seconds = self.encode(self.log_mel(waveform[None, : round(LONGEST * rate)].float()))
        kind = int(seconds >= LONG)
        similarity = (vector @ self.vectors.T).max()
        if similarity < self.least_similarity[kind]:
            raise InputError(
                f"{name}: no speech, or unlike any of the model's voices (similarity {similarity:.2f}; 99% of speech "
                f"has {self.least_similarity[kind]:.2f} or more); give a clip of one speaker, without music"
            )
        if kind and agreement < self.least_agreement[kind]:  # the halves of a lone word are other sounds
            raise InputError(
                f"{name}: two speakers, as it seems (its halves agree by {agreement[0]:.2f}; 99% of one speaker's by "
                f"{self.least_agreement[kind]:.2f} or more); give a clip of one"
            )
        return self.weigh(vector)[0]


def audible(log_mel: Tensor) -> Tensor:
    """The frames (B, T) of log-mels (B, n_mels, T) that are heard beside the loudest one of each."""
    level = log_mel.logsumexp(dim=1)
    return level > level.amax(dim=1, keepdim=True) - AUDIBLE
