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
DIVIDED = 3.0  # seconds of sound from which on its halves are compared; halves of a phrase are other sounds
CHUNK = 100  # clips at once
SILENT = 1e-3  # of full scale: a peak below is silence
AUDIBLE = math.log(10 ** (45 / 20))  # nepers below the loudest frame: quieter ones are not listened to
DEEPEST = 9.0  # nepers below the loudest band that are told apart
# Tones that are held: of 3 s pieces of music and single notes 0.9 are above, of speech 0.01.
HELD, LATER = 0.35, 0.256  # correlation, and seconds
LOWEST, HIGHEST, AROUND = 100, 3500, 150  # Hz, of the partials, and what their neighbours are averaged over
FAINT = 0.01  # of the loudest partial: what is fainter does not count
LOUD = 7.0  # nepers of power below the loudest frame: the frames that are compared
FEWEST = 5  # of these


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
        """log_mel (B, n_mels, T) -> vectors (B, D), the agreement of their halves (B,), and seconds of sound (B,).

        Halves that are nearest to the same voice agree, by 1.
        """
        there = audible(log_mel)
        num = there.sum(dim=1, keepdim=True)
        place = there.cumsum(dim=1)
        first, second = self(log_mel, place <= num // 2), self(log_mel, place > num // 2)
        seconds = num[:, 0] * self.spec.hop_length / self.spec.sample_rate
        same = (first @ self.vectors.T).argmax(dim=1) == (second @ self.vectors.T).argmax(dim=1)
        return self(log_mel), (first * second).sum(dim=1).where(~same, 1.0), seconds

    @torch.no_grad()
    def vectors_of(self, waveforms: Tensor) -> Tensor:
        """Waveforms (n, S) in [-1, 1] -> vectors (n, D), whatever they are of."""
        self.eval()
        return torch.cat([self(self.log_mel(part.float())) for part in waveforms.split(CHUNK)])

    def weigh(self, vectors: Tensor) -> Tensor:
        """Vectors (B, D) -> a share of each of the voices, (B, V)."""
        return (vectors @ self.vectors.T / self.temperature).softmax(dim=1)

    def recognise(self, waveform: Tensor, name: str) -> Tensor:
        """The shares (V,) of the voices in a clip (S,) at its sample rate. name: of the clip, for messages.

        Raises:
            InputError: silence, too short, music, unlike every voice, or two speakers.
        """
        rate = self.spec.sample_rate
        check_waveform(waveform[None])
        if waveform.abs().max() < SILENT:
            raise InputError(f"{name}: silence, which nobody speaks; give a clip of somebody's speech")
        if len(waveform) < SHORTEST * rate:
            length = len(waveform) / rate
            raise InputError(f"{name}: {length:.2f} s long; of a voice half a second is needed, and better are three")
        self.eval()
        waveform = waveform[: round(LONGEST * rate)].float()
        vector, agreement, seconds = self.encode(self.log_mel(waveform[None]))
        kind = int(seconds >= LONG)
        if kind and (held := held_tones(waveform, rate)) > HELD:
            raise InputError(
                f"{name}: music, as it seems, for its tones are held (after {LATER:.2f} s they correlate {held:.2f}; "
                f"99% of speech {HELD} or less); give a clip of one speaker, without music"
            )
        similarity = (vector @ self.vectors.T).max()
        if similarity < self.least_similarity[kind]:
            raise InputError(
                f"{name}: no speech, or unlike any of the model's voices (similarity {similarity:.2f}; 99% of speech "
                f"has {self.least_similarity[kind]:.2f} or more); give a clip of one speaker, without music"
            )
        if seconds >= DIVIDED and agreement < self.least_agreement[kind]:
            raise InputError(
                f"{name}: two speakers, as it seems (its halves agree by {agreement[0]:.2f}; 99% of one speaker's by "
                f"{self.least_agreement[kind]:.2f} or more); give a clip of one"
            )
        return self.weigh(vector)[0]


def audible(log_mel: Tensor) -> Tensor:
    """The frames (B, T) of log-mels (B, n_mels, T) that are heard beside the loudest one of each."""
    level = log_mel.logsumexp(dim=1)
    return level > level.amax(dim=1, keepdim=True) - AUDIBLE


def held_tones(waveform: Tensor, sample_rate: int) -> float:
    """How much of a spectrum's fine structure is the same LATER, as a correlation; 0 of a sound (S,) too short for it.

    Partials of held notes stay where they are, those of a voice glide with its pitch and are cut by consonants. As of
    music detectors that look for horizontal bars in a spectrogram (Seyerlehner et al. 2007).
    """
    hop = 512 * sample_rate // 24_000
    n_fft, later = 8 * hop, round(LATER * sample_rate / hop)
    if len(waveform) < n_fft:
        return 0.0
    window = torch.hann_window(n_fft, device=waveform.device)
    level = torch.stft(waveform, n_fft, hop, window=window, return_complex=True).abs()  # (bins, T)
    loudness = level.square().sum(dim=0).clamp(min=1e-12).log()
    there = loudness > loudness.max() - LOUD
    low, high, around = (hertz * n_fft // sample_rate for hertz in (LOWEST, HIGHEST, AROUND))
    level = (level[low:high] / level.max() + FAINT).log().T  # (T, partials)
    fine = level - F.avg_pool1d(level[:, None], around | 1, 1, around // 2, count_include_pad=False)[:, 0]
    fine = F.normalize(fine, dim=1)
    both = there[:-later] & there[later:]
    return (fine[:-later] * fine[later:]).sum(dim=1)[both].mean().item() if both.sum() >= FEWEST else 0.0
