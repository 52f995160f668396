"""A small network that hears notes, trained in a minute or two on sounds of which the notes are known."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete import seeding
from synesthete.data.audio import as_float
from synesthete.evaluation.audio_features.notes import FRAME, LOWEST, NUM_KEYS, Heard, asked_keys, best_thresholds
from synesthete.evaluation.audio_features.spectra import FLOOR_DB, stft, window_size
from synesthete.evaluation.classifiers.classifier import TrainedClassifier, TrainingSettings, convolution, load_cached
from synesthete.io import digest
from synesthete.nn.part import Part
from synesthete.types import InputError, Progress, counted

if TYPE_CHECKING:
    from synesthete.data.rows import Rows

BINS = 3  # of a semitone
HARMONICS = (0.5, 1, 2, 3, 4, 5, 6, 7)  # laid over each other as channels, so that a note is in one place
WINDOW = 0.15  # seconds; the next power of two in samples
CROP = 100  # frames that are learned from at once
GAIN_DB = 6.0
BEGIN_WEIGHT = 8.0  # of a frame in which a note begins, of which there are few
NUM_FITTED = 32  # sounds that the thresholds are found on


class Transcriber(Part):
    """Sounds (B, S) in [-1, 1] at `sample_rate` -> how likely each of 88 keys sounds and begins, a frame each 20 ms.

    A spectrum of three bins a semitone, its harmonics in channels (after Bittner et al. 2022, "A lightweight
    instrument-agnostic model"), then five convolutions, of which the second makes three bins one key.

    sample_rate: in Hz, of the sounds that it is for. width: channels. thresholds: from which likelihood on a key
    sounds, and begins; found in training.
    """

    name = "transcriber"
    knows_classes = False  # as far as evaluations ask: it tells notes
    training_settings: ClassVar = TrainingSettings(8, 3e-3, 0.01, 0.0, 0.25, 32, fewest_steps=200, most_steps=600)

    def __init__(
        self, sample_rate: int = 24_000, width: int = 16, thresholds: tuple[float, float] = (0.5, 0.5)
    ) -> None:
        super().__init__()
        self.hop_length = round(FRAME * sample_rate)
        self.n_fft = window_size(sample_rate, WINDOW)
        self.register_buffer("bank", key_bank(sample_rate, self.n_fft), persistent=False)
        self.layers = nn.Sequential(
            convolution(len(HARMONICS), width),
            convolution(width, width, stride=(BINS, 1)),  # type: ignore[arg-type]
            convolution(width, width, (13, 3), padding=(6, 1)),
            convolution(width, width, (3, 5), padding=(1, 2)),
            nn.Conv2d(width, 2, 1),
        )

    @property
    def thresholds(self) -> tuple[float, float]:
        """From which likelihood on a key sounds, and begins."""
        sounds, begins = self.config.thresholds
        return sounds, begins

    def levels(self, waveforms: Tensor) -> Tensor:
        """Sounds (B, S) -> level of each bin in dB under the loudest of each sound, (B, bins, T)."""
        magnitude = self.bank.float() @ stft(waveforms, self.n_fft, self.hop_length).abs()
        loudest = magnitude.amax(dim=(1, 2), keepdim=True).clamp(min=1e-9)
        return 20 * (magnitude / loudest).clamp(min=10 ** (FLOOR_DB / 20)).log10()

    def forward(self, levels: Tensor) -> Tensor:
        """Levels (B, bins, T) in dB -> logits (B, 2, NUM_KEYS, T): sounds, begins."""
        x = 1 - levels.float() / FLOOR_DB  # (B, bins, T), 0 to 1
        first = [round(BINS * 12 * math.log2(harmonic / HARMONICS[0])) for harmonic in HARMONICS]
        stacked = torch.stack([x[:, place : place + BINS * NUM_KEYS] for place in first], dim=1)
        return self.layers(stacked)

    @torch.no_grad()
    def hear(self, waveforms: Tensor, sample_rate: int, progress: Any = None) -> Heard:
        """As of every `NoteListener`."""
        if sample_rate != (own := self.config.sample_rate):
            raise InputError(f"sounds at {sample_rate} Hz for a transcriber of {own}; train another")
        self.eval()
        found = []
        for waveform in counted(waveforms, progress):
            levels = self.levels(as_float(waveform[None].cpu()).to(self.bank.device))
            found.append(self(levels).float().sigmoid().cpu())
        sounds, begins = torch.cat(found).unbind(dim=1)
        return Heard(sounds, begins)


def key_bank(sample_rate: int, n_fft: int) -> Tensor:
    """Triangles (bins, n_fft / 2 + 1), BINS a semitone, from an octave below the lowest key to its highest harmonic."""
    num = BINS * (NUM_KEYS + math.ceil(12 * math.log2(HARMONICS[-1] / HARMONICS[0])) + 1)
    pitches = LOWEST - 12 + (torch.arange(num, dtype=torch.float64) - BINS // 2) / BINS
    centres = (440 * 2 ** ((pitches - 69) / 12))[:, None]
    widths = (centres * (2 ** (1 / (12 * BINS)) - 1)).clamp(min=sample_rate / n_fft)
    frequencies = torch.fft.rfftfreq(n_fft, 1 / sample_rate, dtype=torch.float64)
    bank = (1 - (frequencies - centres).abs() / widths).clamp(min=0)
    return (bank / bank.sum(dim=1, keepdim=True).clamp(min=1e-9)).float()


def train_transcriber(
    waveforms: Tensor | Rows,
    rolls: Tensor,
    sample_rate: int,
    frame_seconds: float,
    *,
    seed: int = 0,
    num_steps: int | None = None,
    progress: Progress | None = None,
) -> Transcriber:
    """One that learned from sounds (n, S), int16 or float, and what is played, (n, 2, 128, T) of frame_seconds."""
    if len(waveforms) < 2:
        raise InputError(f"{len(waveforms)} sounds to learn to transcribe from; give more")
    settings, generator = Transcriber.training_settings, seeding.generator(seed, "transcriber")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.derive(seed, "transcriber weights"))
        network = Transcriber(sample_rate)
    with torch.no_grad():
        levels = torch.cat([network.levels(as_float(one[None].cpu())).half() for one in waveforms])
    asked = asked_keys(rolls, frame_seconds, levels.shape[-1])
    crop, steps = min(CROP, levels.shape[-1]), num_steps or settings.num_steps(2 * len(levels))
    weight = torch.tensor([1.0, BEGIN_WEIGHT]).view(2, 1, 1)

    def loss() -> Tensor:
        which = torch.randint(len(levels), (settings.batch_size,), generator=generator).tolist()
        starts = torch.randint(levels.shape[-1] - crop + 1, (settings.batch_size,), generator=generator).tolist()
        gains = (2 * torch.rand(settings.batch_size, 1, 1, generator=generator) - 1) * GAIN_DB
        seen = torch.stack([levels[i, :, s : s + crop].float() for i, s in zip(which, starts, strict=True)])
        wanted = torch.stack([asked[i, ..., s : s + crop].float() for i, s in zip(which, starts, strict=True)])
        logits = network((seen + gains).clamp(FLOOR_DB, 0))
        return F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weight)

    settings.fit(network, loss, steps, progress, "transcriber")
    network.eval()
    thresholds = best_thresholds(network.hear(waveforms[:NUM_FITTED], sample_rate), asked[:NUM_FITTED])
    network.register_to_config(thresholds=thresholds)
    return network


def load_or_train_transcriber(
    waveforms: Tensor | Rows, rolls: Tensor, sample_rate: int, frame_seconds: float, **options: Any
) -> TrainedClassifier[Any]:
    """As `train_transcriber`, from the cache where one was trained on the same in the same way."""
    given = [options.get("seed", 0), options.get("num_steps"), sample_rate, frame_seconds]
    fresh = digest(Transcriber(sample_rate).bank)
    name = digest("transcriber", asdict(Transcriber.training_settings), given, fresh, waveforms, rolls)

    def train() -> TrainedClassifier[Any]:
        trained = train_transcriber(waveforms, rolls, sample_rate, frame_seconds, **options)
        return TrainedClassifier(trained, math.nan, 0)

    return load_cached(name, Transcriber, train)
