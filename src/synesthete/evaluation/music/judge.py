"""A judge of sound: which class, or which recording, a piece is of, learned from recordings no generator has heard."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional as F

from synesthete import hub, seeding
from synesthete.evaluation.audio_features.spectra import CHUNK, FLOOR_DB, N_MELS, log_mel, parts
from synesthete.evaluation.judge_folder import RESULT_NAME, write_judge
from synesthete.nn.device import find_device
from synesthete.nn.precision import autocast
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from synesthete.data.music import MusicSamples
    from synesthete.evaluation.audio_features.spectra import Sounds

    Progress = Callable[[str, int, int], None]

BATCH_SIZE = 32
NUM_PASSES, FEWEST_STEPS, MOST_STEPS = 32, 200, 800
MOST_PIECES = 4000  # to learn from
GAIN_DB = 6.0  # a piece is learned at levels this much higher and lower
BANDS = 5  # that a piece is moved by, up or down
SHIFT = 0.125  # of its length, that it is moved by, either way, round the end
HALVINGS = 4  # of both sides of a spectrogram
TOO_FEW = "fewer than 2 classes or recordings for a judge of sound; --set data.judge_share=0.3 keeps more for one"


class SoundJudge(ModelMixin, ConfigMixin):
    """Sounds (B, S) in [-1, 1] at `sample_rate` -> logits (B, len(class_names)), by convolutions of a log-mel.

    Batch norm uses what it learned in training, so a sound is judged alike whatever it comes with. The features are
    the mean over time of what the last layer reads, standardised over the real pieces that the judge learned from:
    x'x / D is about 1 there, which is the scale that the kernel of `distribution.kernel` is made for.

    Args:
        class_names: in the order of the logits. sample_rate: in Hz, of the sounds that it is for.
        hears: "classes", or "recordings" where there were no classes to learn: its features alone say something then.
        width: channels of the first convolution; the features are four times as many.
    """

    @register_to_config
    def __init__(
        self, class_names: tuple[str, ...] = (), sample_rate: int = 32_000, hears: str = "classes", width: int = 24
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(1, width),
            convolution(width, 2 * width),
            convolution(2 * width, 4 * width),
            convolution(4 * width, 4 * width),
            # All bands at once: the layers so far do not know how high what they see lies.
            convolution(4 * width, 4 * width, (N_MELS // 2**HALVINGS, 3), 1, (0, 1)),
        )
        self.head = nn.Linear(4 * width, len(class_names) or 1)
        self.register_buffer("feature_mean", torch.zeros(4 * width))
        self.register_buffer("feature_scale", torch.ones(4 * width))

    def forward(self, waveforms: Tensor) -> Tensor:
        """(B, S) float in [-1, 1] -> logits (B, num_classes)."""
        return self.head(self.pooled(log_mel(waveforms.float().cpu(), self.config.sample_rate).to(self.device)))

    def pooled(self, levels: Tensor) -> Tensor:
        """Log-mel (B, N_MELS, T) in dB -> what the last layer reads, (B, 4 * width)."""
        x = 2 - 4 * levels.to(self.head.weight).unsqueeze(1) / FLOOR_DB  # silence is -2, a full-scale sine 2
        return self.layers(x).mean(dim=(2, 3))

    def judge(self, waveforms: Sounds) -> Tensor:
        """The class (n,) int64 that each sound (n, S), int16 or float in [-1, 1], is most likely of."""
        return self.shares(waveforms).argmax(dim=1)

    @torch.no_grad()
    def shares(self, waveforms: Sounds) -> Tensor:
        """How sure it is of each class, (n, num_classes) on the CPU; a row sums to one."""
        self.eval()
        rows = [self(part).float().softmax(dim=1).cpu() for part in parts(waveforms)]
        return torch.cat(rows) if rows else torch.zeros(0, self.head.out_features)

    def features(self, waveforms: Sounds) -> Tensor:
        """What each sound is like to it, (n, 4 * width) float32 on the CPU, standardised."""
        rows = [self._features(log_mel(part, self.config.sample_rate)) for part in parts(waveforms)]
        return torch.cat(rows) if rows else torch.zeros(0, self.head.in_features)

    @torch.no_grad()
    def _features(self, levels: Tensor) -> Tensor:
        self.eval()
        pooled = self.pooled(levels.to(self.device))
        return ((pooled - self.feature_mean) / self.feature_scale).float().cpu()


def convolution(
    width: int, out_width: int, kernel_size: int | tuple[int, int] = 3, stride: int = 2, padding: Any = 1
) -> nn.Sequential:
    """A convolution, batch norm and ReLU; with the defaults both sides are halved."""
    convolve = nn.Conv2d(width, out_width, kernel_size, stride, padding, bias=False)
    return nn.Sequential(convolve, nn.BatchNorm2d(out_width), nn.ReLU())


@dataclass(frozen=True)
class SoundJudgeTraining:
    """A judge, and how good it is: accuracy on `num_test` real pieces of recordings that it has not heard.

    accuracy: NaN of a judge of recordings, whose own are not among those.
    """

    judge: SoundJudge
    accuracy: float
    num_test: int
    seconds: float


def targets(samples: MusicSamples, class_names: Sequence[str]) -> tuple[Tensor, tuple[str, ...], str]:
    """What a judge learns to tell: labels (n,), their names, and "classes", or "recordings" where there are no classes.

    Raises:
        InputError: pieces of fewer than two of them.
    """
    if len(class_names) > 1:
        labels, names, hears = samples.labels, tuple(class_names), "classes"
    else:
        there, labels = samples.recordings.unique(return_inverse=True)
        names, hears = tuple(samples.recording_names[i] for i in there.tolist()), "recordings"
    if len(labels.unique()) < 2:
        raise InputError(TOO_FEW)
    return labels, names, hears


def train_sound_judge(
    waveforms: Sounds,
    labels: Tensor,
    class_names: Sequence[str],
    sample_rate: int,
    *,
    hears: str = "classes",
    seed: int = 0,
    num_steps: int | None = None,
    width: int = 24,
    device: str = "auto",
    progress: Progress | None = None,
) -> SoundJudge:
    """A judge trained on real pieces, each louder or softer, earlier or later every time; on the CPU when it is done.

    waveforms: (n, S), int16 or float in [-1, 1], at sample_rate. labels: (n,) places in class_names. hears: as of
    `SoundJudge`. num_steps: None takes as many as give each piece NUM_PASSES views. progress("judge", step, num_steps).

    Raises:
        InputError: pieces of fewer than two classes.
    """
    if len(labels.unique()) < 2:
        raise InputError(TOO_FEW)
    steps = num_steps or min(max(NUM_PASSES * len(labels) // BATCH_SIZE, FEWEST_STEPS), MOST_STEPS)
    where, generator = find_device(device), seeding.generator(seed, "judge")
    levels = torch.cat([log_mel(part, sample_rate).half() for part in parts(waveforms)])  # (n, N_MELS, T)
    with torch.random.fork_rng(devices=[]):  # the same weights every time
        torch.manual_seed(seeding.derive(seed, "judge weights"))
        judge = SoundJudge(tuple(class_names), sample_rate, hears, width)
    judge = judge.to(where).train()
    optimiser = torch.optim.AdamW(judge.parameters(), 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.25)
    for step in range(steps):
        chosen = torch.randint(len(labels), (BATCH_SIZE,), generator=generator)
        views = varied(levels[chosen].float(), generator).to(where)
        with autocast(where, "auto"):
            logits = judge.head(judge.pooled(views))
        loss = F.cross_entropy(logits.float(), labels[chosen].to(where), label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if progress and ((step + 1) % 20 == 0 or step + 1 == steps):
            progress("judge", step + 1, steps)
    judge = judge.cpu().eval()
    seen = torch.cat([judge._features(part.float()) for part in levels.split(CHUNK)])  # not standardised yet
    judge.feature_mean.copy_(seen.mean(dim=0))
    # A feature that hardly varies says nothing, and must not be blown up to say as much as the others.
    spread = seen.std(dim=0)
    judge.feature_scale.copy_(spread.clamp(min=0.1 * spread.mean() + 1e-6))
    return judge


def varied(levels: Tensor, generator: torch.Generator) -> Tensor:
    """Log-mels (B, F, T) in dB, each with another gain, moved in time round its end, and by a few bands in pitch.

    Of few recordings each has a pitch of its own: a judge that is not shown them at others learns the pitches. On 178
    pieces of nine families of instruments, held-out accuracy went from 0.48 to 0.71.
    """
    num, num_bands, num_frames = levels.shape
    gains = (2 * torch.rand(num, 1, 1, generator=generator) - 1) * GAIN_DB
    most = int(SHIFT * num_frames)
    shifts = torch.randint(-most, most + 1, (num, 1, 1), generator=generator)
    frames = (torch.arange(num_frames) - shifts) % num_frames  # (B, 1, T)
    moved = levels.gather(2, frames.expand_as(levels))
    shifts = torch.randint(-BANDS, BANDS + 1, (num, 1, 1), generator=generator)
    bands = (torch.arange(num_bands)[:, None] - shifts).clamp(0, num_bands - 1)  # (B, F, 1)
    moved = moved.gather(1, bands.expand_as(levels))
    # What is silent stays so, however much it is amplified.
    return torch.where(moved > FLOOR_DB, (moved + gains).clamp(min=FLOOR_DB), moved)


def load_or_train_sound_judge(
    judge_samples: MusicSamples,
    test_samples: MusicSamples,
    class_names: Sequence[str],
    sample_rate: int,
    *,
    seed: int = 0,
    num_steps: int | None = None,
    progress: Progress | None = None,
) -> SoundJudgeTraining:
    """The judge for these sounds: from the cache, where one was trained on the same with the same settings.

    It learns from `judge_samples`, which no generator is trained on; its accuracy is measured on `test_samples`.

    Raises:
        InputError: pieces of fewer than two classes or recordings.
    """
    labels, names, hears = targets(judge_samples, class_names)
    order = torch.randperm(len(labels), generator=seeding.generator(seed, "judge pieces"))[:MOST_PIECES].sort().values
    waveforms = judge_samples.waveforms[order]
    settings = {"seed": seed, "num_steps": num_steps, "names": list(names), "sample_rate": sample_rate}
    digest = name_of(settings, (waveforms, labels[order]), (test_samples.waveforms, test_samples.labels))
    folder = hub.cache_folder() / "sound-judges" / digest
    with contextlib.suppress(OSError, ValueError, TypeError):  # absent, or damaged: trained again
        found = json.loads((folder / RESULT_NAME).read_text(encoding="utf-8"))
        accuracy = math.nan if found["accuracy"] is None else found.pop("accuracy")
        return SoundJudgeTraining(SoundJudge.from_pretrained(folder).eval(), **{**found, "accuracy": accuracy})
    start = time.perf_counter()
    judge = train_sound_judge(
        waveforms, labels[order], names, sample_rate, hears=hears, seed=seed, num_steps=num_steps, progress=progress
    )
    accuracy, num_test = measure(judge, test_samples), len(test_samples) if hears == "classes" else 0
    result: dict[str, Any] = {"num_test": num_test, "seconds": time.perf_counter() - start}
    kept = {"accuracy": None if math.isnan(accuracy) else accuracy} | result
    write_judge(judge, kept, folder)
    return SoundJudgeTraining(judge, accuracy, **result)


def measure(judge: SoundJudge, samples: MusicSamples) -> float:
    """Its accuracy on real pieces; NaN where there are none, or it was told no classes."""
    if not len(samples.labels) or judge.config.hears != "classes":
        return math.nan
    return (judge.judge(samples.waveforms) == samples.labels).double().mean().item()


def name_of(settings: dict[str, Any], *sets: tuple[Sounds, Tensor]) -> str:
    """A name for settings, waveforms (n, S) and labels (n,)."""
    name = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8)
    for waveforms, labels in sets:
        name.update(repr(tuple(waveforms.shape)).encode() + labels.numpy().tobytes())
        for first in range(0, len(waveforms), CHUNK):
            name.update(waveforms[first : first + CHUNK].contiguous().numpy().tobytes())
    # What the weights mean and how they are found is written in this file: another file makes other judges.
    name.update(Path(__file__).read_bytes())
    return name.hexdigest()
