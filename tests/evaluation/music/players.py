"""Models of music whose worth is known beforehand, and short sounds of four timbres."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from synesthete.data.audio import to_int16
from synesthete.data.music import MusicSamples
from synesthete.data.synthetic import TIMBRES, synthesise, tone
from synesthete.pipeline import Output, Pipeline
from synesthete.recipes import RECIPES
from synesthete.training.assembly import make_parts, make_pipeline
from synesthete.types import Prepared
from tiny import awake

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from synesthete.config import Recipe

RATE = 8000
NUM_SAMPLES = RATE  # a second
PIECES = 2  # of a recording


def tones(timbre: str, numbers: Sequence[int], seconds: float = 1.0) -> Tensor:
    """Melodies (n, S) int16 of one timbre."""
    found = [torch.from_numpy(synthesise(tone(timbre, number, seconds, RATE))) for number in numbers]
    return to_int16(torch.stack(found))


def music_samples(numbers: Sequence[int], timbres: Sequence[str] = TIMBRES) -> MusicSamples:
    """Recordings `numbers` of each timbre, in pieces of a second."""
    waveforms = torch.cat([tones(timbre, numbers, PIECES * 1.0) for timbre in timbres])
    recordings = torch.arange(len(waveforms)).repeat_interleave(PIECES)
    labels = torch.arange(len(timbres)).repeat_interleave(len(numbers) * PIECES)
    names = tuple(f"{timbre}/{number}" for timbre in timbres for number in numbers)
    pieces = waveforms.view(-1, NUM_SAMPLES)
    return MusicSamples(pieces, labels, recordings, names, sample_rate=RATE)


def prepared_music(num: int = 12, timbres: Sequence[str] = TIMBRES, classes: bool = True) -> Prepared:
    """Data of `num` recordings a timbre and split; no recording is in two of them."""
    splits = [music_samples(range(first, first + num), timbres) for first in (0, num, 2 * num)]
    if not classes:
        for samples in splits:
            samples.labels = torch.zeros_like(samples.labels)
    codec = RECIPES["music-notes-debug"]().codec()
    codec.fit([splits[0].waveform(torch.arange(len(splits[0])))])
    statistics = {name: value.clone() for name, value in codec.state_dict().items()}
    return Prepared(splits[0], splits[2], statistics, tuple(timbres) if classes else (), classifier=splits[1])


class Player(Pipeline):
    """Plays one of the given sounds instead of what its network makes: of the class told, or without listening."""

    def play_from(self, waveforms: Tensor, labels: Tensor, listens: bool = True) -> Player:
        self.pool, self.pool_labels, self.listens = waveforms, labels, listens
        return self

    def __call__(self, raw, *, generators=None, noise=None, **sampling):
        chosen = []
        for wanted, generator in zip(raw, generators, strict=True):
            right = self.pool_labels == wanted if self.listens else self.pool_labels >= 0
            places = right.nonzero().flatten()
            chosen.append(places[torch.randint(len(places), (), generator=generator)])
        signal = self.pool[torch.stack(chosen)]
        signal = signal if signal.is_floating_point() else signal.float() / 32768
        return Output(signal, self.codec.encode(signal.nan_to_num().clamp(-1, 1)))


def make_player(recipe: Recipe, prepared: Prepared, waveforms: Tensor, labels: Tensor, listens: bool = True) -> Player:
    pipeline = make_pipeline(recipe, awake(make_parts(recipe, prepared)), prepared.class_names)
    parts = {name: getattr(pipeline, name) for name in ("codec", "conditioner", "denoiser", "scheduler")}
    settings = {name: dict(pipeline.config[name]) for name in ("process", "sampling", "card")}
    return Player(**parts, **settings).play_from(waveforms, labels, listens)


def low_passed(waveforms: Tensor, hertz: float) -> Tensor:
    """Sounds (n, S) int16 without anything above."""
    spectrum = torch.fft.rfft(waveforms.float() / 32768)
    spectrum[:, torch.fft.rfftfreq(waveforms.shape[1], 1 / RATE) > hertz] = 0
    return to_int16(torch.fft.irfft(spectrum, waveforms.shape[1]))


def clicks(per_second: float, seconds: float = 4.0, num: int = 2) -> Tensor:
    """Bursts of noise, evenly spaced, (num, S) float."""
    draw = torch.Generator().manual_seed(0)
    sound = torch.zeros(num, int(seconds * RATE))
    decay = torch.exp(-torch.arange(400) / 60)
    for first in range(RATE // 10, sound.shape[1] - 400, int(RATE / per_second)):
        sound[:, first : first + 400] = 0.5 * decay * torch.randn(num, 400, generator=draw)
    return sound


def chord(*hertz: float, seconds: float = 1.0, num: int = 2) -> Tensor:
    """Sines at once, (num, S) float."""
    time = torch.arange(int(seconds * RATE)) / RATE
    sound = sum((2 * torch.pi * f * time).sin() for f in hertz) * 0.8 / len(hertz)
    return sound.expand(num, -1)
