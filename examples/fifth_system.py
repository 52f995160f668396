"""A system of one's own in one file: a number in, a damped sine of that pitch out.

Nothing in the package knows it. `import examples.fifth_system` registers the classes, the task, a recipe, a metric and
a sampler; then every command takes them: `synesthete train damped-sine`, `sample`, `evaluate`, `sweep`, `diagnose`,
`export`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image
from torch import nn

from synesthete import hub, seeding
from synesthete.codecs.codec import Codec
from synesthete.conditioning.conditioner import Conditioner
from synesthete.config import Recipe, Sampling, Stage, build, register_class
from synesthete.data.samples import Samples
from synesthete.denoisers.unet import UNet
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import SAMPLERS, Sampler
from synesthete.evaluation.metrics.metric import MetricRow, metric, register_metric
from synesthete.evaluation.runner import Evaluator
from synesthete.evaluation.samples import References, draw_places, generate_timed
from synesthete.evaluation.steps import Finding
from synesthete.io import load_or_compute
from synesthete.objectives import Denoising
from synesthete.recipes import RECIPES
from synesthete.tasks import Task, register
from synesthete.tasks.results import Sound
from synesthete.tasks.sampling import Item, Plan, SampleRequest, split_commas
from synesthete.types import AudioSpec, Batch, Condition, InputError, Prepared

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from synesthete.evaluation.samples import Generated
    from synesthete.evaluation.search.scoring import ScoringBasis
    from synesthete.types import Progress

SIDE = 16
SPEC = AudioSpec(sample_rate=4000, n_fft=64, hop_length=16, n_mels=16)
LENGTH = SIDE * SIDE  # samples: 64 ms


def pitch_of(note: torch.Tensor | int) -> Any:
    """Hz of a note: half an octave a step from 220 Hz."""
    return 220.0 * 2.0 ** (note / 2)


def sines(notes: torch.Tensor, phases: torch.Tensor) -> torch.Tensor:
    """Damped sines (n, S) in [-1, 1] of notes (n,) that begin at phases (n,)."""
    time = torch.arange(LENGTH) / SPEC.sample_rate
    return 0.9 * torch.exp(-20 * time) * torch.sin(2 * torch.pi * (pitch_of(notes)[:, None] * time + phases[:, None]))


def heard_pitch(waveforms: torch.Tensor) -> torch.Tensor:
    """Hz (n,) of the strongest frequency of waveforms (n, S)."""
    spectrum = torch.fft.rfft(waveforms.float() * torch.hann_window(LENGTH), n=4096).abs()
    return spectrum.argmax(dim=1) * SPEC.sample_rate / 4096


@register_class
class SineCodec(Codec):
    """A waveform (B, S) <-> its samples laid in rows, x_0 (B, 1, 16, 16)."""

    spec = SPEC

    def __init__(self, num_samples: int = LENGTH) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(1))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of x_0 without the batch."""
        return (1, SIDE, SIDE)

    def fit(self, signals: Any) -> SineCodec:
        """Measure the spread of a corpus of waveforms."""
        self.scale.fill_(torch.cat(list(signals)).std())
        return self

    def encode(self, signal: torch.Tensor) -> torch.Tensor:
        """(B, S) -> (B, 1, 16, 16)."""
        return (signal / self.scale).unflatten(1, self.shape)

    def decode(self, x_0: torch.Tensor, generators: Any = None) -> torch.Tensor:
        """(B, 1, 16, 16) -> (B, S)."""
        return (x_0 * self.scale).flatten(1)

    def pictures(self, x_0: torch.Tensor, scale: int = 4) -> list[Image.Image]:
        """The rows as grey pictures."""
        levels = ((x_0[:, 0] * self.scale).clamp(-1, 1) * 127 + 128).round().to(torch.uint8).cpu().numpy()
        return [Image.fromarray(np.kron(one, np.ones((scale, scale), np.uint8))) for one in levels]


@register_class
class Number(Conditioner):
    """A number (B,) as four tokens and a pooled vector; the null is a learned one."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 5 * width))

    def encode(self, raw: torch.Tensor, generator: torch.Generator | None = None) -> Condition:
        """The note, and that there is one."""
        return self._say(torch.stack([raw.float() / 4, torch.ones_like(raw, dtype=torch.float32)], dim=1))

    def null(self, batch_size: int) -> Condition:
        """No note."""
        return self._say(torch.zeros(batch_size, 2, device=self.device))

    def _say(self, told: torch.Tensor) -> Condition:
        parts = self.layers(told).unflatten(1, (5, -1))  # (B, 5, D)
        return Condition(tokens=parts[:, :4], pooled=parts[:, 4])


@dataclass
class SineSamples(Samples):
    """Waveforms (n, S) of notes (n,)."""

    waveforms: torch.Tensor
    labels: torch.Tensor
    augmentation: Any = None
    x_0: Any = None

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: torch.Tensor, generator: torch.Generator) -> Batch:
        """Some of them."""
        return Batch(self.waveforms[indices], self.labels[indices], self.labels[indices])


@register_class
class DampedSines:
    """`num` damped sines of each note to train on and `num` to test on, of random phase."""

    def __init__(self, num: int = 50, num_notes: int = 4, seed: int = 0) -> None:
        self.num, self.num_notes, self.seed = num, num_notes, seed

    @property
    def class_names(self) -> tuple[str, ...]:
        """The notes."""
        return tuple(map(str, range(self.num_notes)))

    def samples(self, split: str) -> SineSamples:
        """The waveforms of a split."""
        notes = torch.arange(self.num_notes).repeat_interleave(self.num)
        return SineSamples(sines(notes, torch.rand(len(notes), generator=seeding.generator(self.seed, split))), notes)


@dataclass(frozen=True)
class SineRequest(SampleRequest):
    """labels: the notes. num: of each."""

    labels: Sequence[str] = ()
    num: int | None = None


class SinePlan(Plan):
    """`num` sounds of each note."""

    unit = "sound"
    suffixes = (".wav", ".png")

    def __init__(self, pipeline: Any, request: SineRequest, folder: Path | None = None) -> None:
        super().__init__(pipeline, request, folder)
        labels = split_commas(request.labels)
        if not labels or not all(label in pipeline.class_names for label in labels):
            raise InputError(f"{request.model}: say which note by --label; {', '.join(pipeline.class_names)}")
        self.items = [
            Item(f"note_{label}_{i}", (label, i), {"label": label}, raw=int(label))
            for label in labels
            for i in range(request.num or 1)
        ]

    def make(self, items: Sequence[Item], progress: Progress) -> list[Sound]:
        """A sound of each."""
        raw = torch.tensor([item.raw for item in items])
        output = self.sampled(raw, self.generators(items))
        pictures = self.pipeline.codec.pictures(output.x_0)
        return [
            Sound(waveform.cpu(), SPEC.sample_rate, picture, self.how(**item.how))
            for item, waveform, picture in zip(items, output.signal, pictures, strict=True)
        ]


class NearestNote(nn.Module):
    """Tells the note of a sound by its pitch: in place of a classifier that would have to be trained."""

    def __init__(self, num_notes: int) -> None:
        super().__init__()
        self.register_buffer("pitches", pitch_of(torch.arange(num_notes)))

    def classify(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Notes (n,) of waveforms (n, S)."""
        heard = heard_pitch(waveforms).clamp(min=1)
        return (heard.log()[:, None] - self.pitches.log()).abs().argmin(dim=1)


class Spectrum:
    """What sets are compared by."""

    name = "spectrum"

    def __call__(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Magnitudes (n, D) of waveforms (n, S)."""
        return torch.fft.rfft(waveforms.float()).abs()[:, ::4]


class SineEvaluator(Evaluator):
    """What every model is evaluated by, and one metric of its own: the pitch."""

    question, what, made_one = "Does it ring?", "sounds", "sound"

    @property
    def classifier(self) -> Any:
        """The notes, by their pitch."""
        return NearestNote(len(self.class_names))

    def find_features(self, name: str) -> Any:
        """The spectrum."""
        return Spectrum()

    def findings(self) -> Iterator[Finding]:
        """The pitch, then what every model is measured by."""
        made, real = self.generated, self.references
        shuffled = made.labels[torch.randperm(len(made), generator=seeding.generator(self.seed, "shuffled"))]
        found = metric(
            "pitch_error",
            octaves_off(made.signal, made.labels),
            shuffled=octaves_off(made.signal, shuffled),
            ceiling=octaves_off(real.held_out, real.labels),
            num=len(made),
        )
        yield Finding([found])
        yield from super().findings()


def octaves_off(waveforms: torch.Tensor, notes: torch.Tensor) -> float:
    """Mean distance of pitches from those asked for, in octaves."""
    return (heard_pitch(waveforms).clamp(min=1) / pitch_of(notes)).log2().abs().mean().item()


class DampedSine(Task):
    """A number in, a damped sine of that pitch out."""

    name = "damped-sine"
    verb = "ring"
    makes = "damped sines"
    is_scorable = True
    request_type = SineRequest
    plan_type = SinePlan

    def gather(self, recipe: Recipe, folder: Path, progress: Progress) -> Prepared:
        """The waveforms, and the codec measured on them."""
        data, codec = recipe.data(), recipe.codec()
        train, test = data.samples("train"), data.samples("test")
        path = folder / "statistics.safetensors"
        statistics = load_or_compute(path, lambda: dict(codec.fit([train.waveforms]).state_dict()))
        return Prepared(train, test, statistics, data.class_names)

    def default_folder(self, recipe: Recipe) -> Path:
        """One for all recipes."""
        return hub.cache_folder() / "prepared" / self.name

    def describe_prepared(self, prepared: Prepared) -> tuple[dict[str, Any], str]:
        """How many sounds."""
        values = {"train_sounds": len(prepared.train), "test_sounds": len(prepared.test)}
        return values, f"{values['train_sounds']} sounds to train on, {values['test_sounds']} held out"

    def dummy_batch(self, recipe: Recipe, stage: Stage, num: int) -> SineSamples:
        """Silence."""
        return SineSamples(torch.zeros(num, LENGTH), torch.zeros(num, dtype=torch.int64))

    def request_for(self, pipeline: Any, inputs: Sequence[Any]) -> dict[str, Any]:
        """`load(model)(3)`: a note."""
        return {"labels": [str(one) for one in inputs]}

    def generate(self, pipeline: Any, prepared: Prepared, *, num: int, seed: int, progress: Progress) -> Generated:
        """As many of each note as the held-out ones have."""
        notes = prepared.test.labels[torch.arange(num) % len(prepared.test)]
        return generate_timed(pipeline, notes, seed=seed)

    def references(self, pipeline: Any, prepared: Prepared, *, num: int, seed: int) -> References:
        """Held-out sines, those it was trained on beside them, and noise as the worst."""
        test, train = prepared.test, prepared.train
        held_out, _, others = draw_places(len(test), len(train), num, seed, "sounds", from_training=True)
        worst = torch.rand(len(others), LENGTH, generator=seeding.generator(seed, "noise")) * 2 - 1
        return References(
            test.waveforms[held_out], test.labels[held_out], train.waveforms[others], train.labels[others], worst
        )

    def evaluator(self, pipeline: Any, prepared: Prepared, recipe: Any, model: str, **options: Any) -> SineEvaluator:
        """With its own metric."""
        return SineEvaluator(pipeline, prepared, task=self, **options)

    def scoring_basis(self, pipeline: Any, prepared: Prepared, **options: Any) -> ScoringBasis:
        """For `sweep` and `tune`: the same classifier and features."""
        return SineEvaluator(pipeline, prepared, task=self, **options).scoring_basis


class Renoising(FlowMatchEulerDiscreteScheduler):
    """A sampler that diffusers lacks: every step goes to clean data, and back up by fresh noise."""

    def step(self, model_output: Any, timestep: Any, sample: Any, generator: Any = None, **_: Any) -> Any:
        """x_t -> x_s: x_0 = x_t - sigma_t v, then x_s = (1 - sigma_s) x_0 + sigma_s noise."""
        if self.step_index is None:
            self._init_step_index(timestep)
        now, after = self.sigmas[self.step_index], self.sigmas[self.step_index + 1]
        x_0 = sample - now * model_output
        noise = seeding.randn(tuple(sample.shape[1:]), generator)  # one generator a sample
        self._step_index += 1
        return ((1 - after) * x_0 + after * noise.to(sample),)


def damped_sine() -> Recipe:
    """A number rings: damped sines of four pitches; trains in a minute."""
    return Recipe(
        name="damped-sine",
        task=DampedSine.name,
        data=build(DampedSines),
        codec=build(SineCodec),
        conditioner=build(Number),
        denoiser=build(
            UNet, sample_size=(SIDE, SIDE), in_channels=1, channels=(16, 32), num_blocks=1, attention_levels=(1,),
            condition_width=32, pooled_width=32,
        ),
        process=build(Process, schedule="flow", prediction_type="flow"),
        stages=[Stage("denoise", objective=build(Denoising), num_steps=300, batch_size=32, learning_rate=2e-3)],
        sampling=Sampling(sampler="flow-euler", num_inference_steps=8, guidance_scale=1.0),
    )  # fmt: skip


register(DampedSine())
RECIPES["damped-sine"] = damped_sine
SAMPLERS["renoising"] = Sampler(Renoising, family="flow")
register_metric(MetricRow("pitch_error", "octaves off the pitch asked for (n = {num})", "octaves", False))
