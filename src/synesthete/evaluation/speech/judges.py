"""A judge of log-mel spectrograms: which word a clip says, learned from voices that no generator has heard."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional as F

from synesthete import hub, seeding
from synesthete.codecs.mel import MelCodec
from synesthete.evaluation.judge_folder import RESULT_NAME, write_judge
from synesthete.types import AudioSpec, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from synesthete.data.speech.clips import Clips

    Progress = Callable[[str, int, int], None]

BATCH_SIZE = 64
CHUNK = 100
NUM_STEPS = 800
# Natural logarithms of mel magnitude, from 90 dB under the loudest speech up. What lies below cannot be heard, so it
# must not count: generated silence is never as deep as the digital silence around a real clip.
QUIETEST, LOUDEST = -5.0, 5.0


class MelJudge(ModelMixin, ConfigMixin):
    """Log-mel (B, 1, n_mels, T), not normalised -> logits (B, num_classes).

    Its own fixed range (QUIETEST to LOUDEST) stands in for any codec's statistics, so that generators with other
    statistics are judged alike. Every convolution strides, the first one by 4: it trains in seconds on two cores.

    Args:
        class_names: in the order of the logits. sample_rate, n_fft, hop_length, n_mels: of the log-mel it reads.
        width: channels of the first convolution; the later ones have two and four times as many.
    """

    @register_to_config
    def __init__(
        self,
        class_names: tuple[str, ...] = (),
        sample_rate: int = 24_000,
        n_fft: int = 1024,
        hop_length: int = 256,
        n_mels: int = 100,
        width: int = 32,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 8, 4, 4),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 3, (2, 1), 1),
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
        )
        # Where in the spectrum matters, and roughly when in the word: kept, the rest averaged away.
        self.pool = nn.AdaptiveAvgPool2d((4, 4))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * width, len(class_names) or 1))

    def forward(self, log_mel: Tensor) -> Tensor:
        """Log-mel (B, 1, n_mels, T) -> logits (B, num_classes)."""
        middle, half = (LOUDEST + QUIETEST) / 2, (LOUDEST - QUIETEST) / 2
        x = (log_mel.clamp(QUIETEST, LOUDEST) - middle) / half
        x = self.features(x.contiguous(memory_format=torch.channels_last))  # (B, 4 * width, n_mels / 16, T / 8)
        return self.head(self.pool(x))

    @property
    def spec(self) -> AudioSpec:
        """Of the log-mels it reads."""
        return AudioSpec(self.config.sample_rate, self.config.n_fft, self.config.hop_length, self.config.n_mels)

    @torch.no_grad()
    def shares(self, log_mel: Tensor) -> Tensor:
        """How sure it is of each class, (n, num_classes), for log-mels (n, 1, n_mels, T); a row sums to one."""
        self.eval()
        return torch.cat([self(part).softmax(dim=1) for part in log_mel.float().split(CHUNK)])

    def judge(self, log_mel: Tensor) -> Tensor:
        """The class (n,) int64 that each log-mel (n, 1, n_mels, T) says."""
        return self.shares(log_mel).argmax(dim=1)


@dataclass(frozen=True)
class JudgeTraining:
    """A judge, and how good it is: accuracy on `num_test` real clips of `num_voices` voices that it never heard."""

    judge: MelJudge
    accuracy: float
    num_test: int
    num_voices: int
    seconds: float


def log_mel_of(codec: Any, x_0: Tensor) -> Tensor:
    """A mel codec's x_0 (B, 1, n_mels, T) as log-mel of the same shape, its normalisation undone."""
    return x_0.float() * codec.scale.to(x_0.device) + codec.mean.to(x_0.device)


def log_mels(waveforms: Tensor, spec: AudioSpec) -> Tensor:
    """Waveforms (n, S) int16 -> log-mels (n, 1, n_mels, T) of the published definition (`MelCodec.log_mel`)."""
    codec = MelCodec(waveforms.shape[-1], spec.sample_rate, spec.n_fft, spec.hop_length, spec.n_mels)
    return torch.cat([codec.log_mel(part.float() / 32768).unsqueeze(1) for part in waveforms.split(CHUNK)])


def train_judge(
    waveforms: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    *,
    spec: AudioSpec | None = None,
    seed: int = 0,
    num_steps: int = NUM_STEPS,
    width: int = 32,
    progress: Progress | None = None,
) -> MelJudge:
    """A judge trained on real clips, each drawn anew with other level, timing, timbre, noise and gaps.

    waveforms: (n, S) int16 at spec.sample_rate. labels: (n,) places in class_names. progress("judge", step, num_steps).

    Raises:
        InputError: fewer than two clips.
    """
    if len(waveforms) < 2:
        raise InputError(f"{len(waveforms)} clips to train a judge on; give it a corpus with split 'judge'")
    spec = spec or AudioSpec()
    generator = seeding.generator(seed, "judge")
    with torch.random.fork_rng(devices=[]):  # weights start, and dropout goes on, from the same numbers every time
        torch.manual_seed(seeding.derive(seed, "judge weights"))
        judge = MelJudge(tuple(class_names), spec.sample_rate, spec.n_fft, spec.hop_length, spec.n_mels, width).train()
        judge = judge.to(memory_format=torch.channels_last)
        clips = log_mels(waveforms, spec)
        optimiser = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=num_steps, pct_start=0.2)
        for step in range(num_steps):
            chosen = torch.randint(len(clips), (BATCH_SIZE,), generator=generator)
            logits = judge(varied(clips[chosen], generator))
            loss = F.cross_entropy(logits, labels[chosen], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if progress and (step + 1) % 20 == 0:
                progress("judge", step + 1, num_steps)
    return judge.eval()


def varied(log_mel: Tensor, generator: torch.Generator) -> Tensor:
    """Log-mels (B, 1, n_mels, T) as other speakers, rooms and recordings would have them; all draws by `generator`.

    Level within 9 dB, up to 0.1 of the frames later or earlier, the spectrum stretched by up to 12% (other vocal
    tracts) and tilted by up to 9 dB, grain on every cell, a floor of noise, and bands and frames wiped out
    (SpecAugment, Park et al. 2019).
    """
    num, _, num_bands, num_frames = log_mel.shape

    def draw(low: float, high: float) -> Tensor:
        return torch.rand(num, 1, 1, 1, generator=generator) * (high - low) + low

    theta = torch.zeros(num, 2, 3)
    theta[:, 0, 0] = draw(0.9, 1.12).flatten()
    theta[:, 1, 1] = draw(0.88, 1.12).flatten()
    theta[:, 0, 2] = theta[:, 0, 0] - 1 + draw(-0.2, 0.2).flatten()  # the word starts where the clip does
    theta[:, 1, 2] = theta[:, 1, 1] - 1  # the lowest band stays the lowest
    grid = F.affine_grid(theta, list(log_mel.shape), align_corners=False)
    # Beyond the edge is silence, which is 0 after this shift.
    x = F.grid_sample(log_mel.clamp(min=QUIETEST) - QUIETEST, grid, align_corners=False) + QUIETEST
    bands = torch.linspace(-1, 1, num_bands).view(1, 1, -1, 1)
    x = x + draw(-1, 1) + draw(-0.5, 0.5) * bands + draw(0, 0.4) * torch.randn(x.shape, generator=generator)
    x = torch.logaddexp(x, draw(QUIETEST - 1, QUIETEST / 2) + 0.5 * torch.randn(x.shape, generator=generator))
    for axis, size, largest in ((2, num_bands, 0.15), (3, num_frames, 0.12)):
        place = torch.arange(size).view([-1 if i == axis else 1 for i in range(4)])
        start, width = draw(0, size), draw(0, largest * size)
        x = x.masked_fill((place >= start) & (place < start + width), QUIETEST)
    return x


def load_or_train_judge(
    judge_clips: Clips,
    test_clips: Clips,
    *,
    spec: AudioSpec | None = None,
    seed: int = 0,
    num_steps: int = NUM_STEPS,
    progress: Progress | None = None,
) -> JudgeTraining:
    """The judge for this corpus: from the cache, where one was trained on the same clips with the same settings.

    It learns from `judge_clips`; its accuracy is measured on `test_clips`, whose voices are others.

    Raises:
        InputError: the two share a voice, or there is nothing to train on.
    """
    if shared := set(judge_clips.speakers) & set(test_clips.speakers) - {""}:
        raise InputError(f"voice {min(shared)}: in the judge's split and in the test split; build the corpus again")
    spec = spec or AudioSpec()
    settings = {"spec": asdict(spec), "seed": seed, "num_steps": num_steps, "class_names": judge_clips.class_names}
    folder = hub.cache_folder() / "judges" / _digest(settings, judge_clips, test_clips)
    with contextlib.suppress(OSError, ValueError, TypeError):  # absent, or damaged: trained again
        found = json.loads((folder / RESULT_NAME).read_text(encoding="utf-8"))
        return JudgeTraining(MelJudge.from_pretrained(folder).eval(), **found)
    start = time.perf_counter()
    judge = train_judge(
        judge_clips.waveforms,
        judge_clips.labels,
        judge_clips.class_names,
        spec=spec,
        seed=seed,
        num_steps=num_steps,
        progress=progress,
    )
    seconds = time.perf_counter() - start
    right = judge.judge(log_mels(test_clips.waveforms, spec)) == test_clips.labels
    result: dict[str, Any] = {
        "accuracy": right.float().mean().item(),
        "num_test": len(test_clips),
        "num_voices": len(set(test_clips.speakers)),
        "seconds": seconds,
    }
    write_judge(judge, result, folder)
    return JudgeTraining(judge, **result)


def _digest(settings: dict[str, Any], *sets: Clips) -> str:
    name = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8)
    for clips in sets:
        name.update(clips.waveforms.numpy().tobytes() + clips.labels.numpy().tobytes())
    # What the weights mean and how they are found is written in this file: another file makes other judges.
    name.update(Path(__file__).read_bytes())
    return name.hexdigest()
