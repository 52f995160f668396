"""What a run finds when it looks at itself: previews, what the condition is worth to it, whether it over-fits."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.codecs.codec import enlarged
from synesthete.data.audio import write_audio
from synesthete.data.picture import contact_sheet, write_picture
from synesthete.logs import DETAIL
from synesthete.objectives.autoencoding import measure_round_trip
from synesthete.objectives.one_step import (
    DEAD_SENSITIVITY,
    LAGGING,
    condition_sensitivity,
    fixed_loss,
    generalisation_gap,
    losses_by_source,
    percent,
)
from synesthete.objectives.ranges import DataRange, data_range, value_range
from synesthete.training.assembly import make_pipeline

if TYPE_CHECKING:
    from accelerate import Accelerator
    from PIL import Image

    from synesthete.objectives import Parts
    from synesthete.pipeline import Pipeline
    from synesthete.training.run_log import RunLog
    from synesthete.training.trainer import StageTrainer
    from synesthete.types import Batch, Prepared

    Watch = Callable[[Pipeline, Prepared, Path, int, RunLog], None]

NUM_PREVIEWS = 10
NUM_ALIKE = 4
SIDE = 64  # pixels that no side of a picture is under, every pixel as a square


def write_previews(
    pipeline: Pipeline, batch: Batch, folder: Path, step: int, log: RunLog
) -> tuple[Tensor, Tensor | None]:
    """One sample a class on fixed noise: `step_N.png`, real above generated; any sounds in `step_N.wav`, in turn.

    What the conditioner can draw of what it was told is above both.

    Returns the sampled x_0 and its signal, which is None, as the files are, where x_0 is not finite.
    """
    codec, chosen = pipeline.codec, one_of_each(batch.label)
    generators = seeding.sample_generators(0, len(chosen))
    told = batch.raw[chosen]
    *_, x_0 = pipeline.trajectory(told, generators=generators)
    if not torch.isfinite(x_0).all():
        return x_0, None
    signal = codec.decode(x_0, generators)
    rows = [pipeline.conditioner.pictures(told), codec.pictures(batch.encode(codec)[chosen]), codec.pictures(x_0)]
    write_pair(codec, [row for row in rows if row], signal, folder / f"step_{step:07d}", "preview", step, log)
    return x_0, signal


def write_codec_previews(codec: Any, batch: Batch, folder: Path, step: int, log: RunLog) -> None:
    """What latents keep of one signal a class: `restored_N.png`, real above restored; sounds in `restored_N.wav`."""
    signal = batch.signal[one_of_each(batch.label)]
    x_0 = codec.encode(signal)
    rows = [codec.base.pictures(codec.signal_grid(signal)), codec.pictures(x_0)]
    restored = None if codec.spec is None else codec.decode(x_0, seeding.sample_generators(0, len(x_0)))
    write_pair(codec, rows, restored, folder / f"restored_{step:07d}", "restored", step, log)


def write_pair(
    codec: Any, rows: list[list[Image.Image]], made: Tensor | None, place: Path, name: str, step: int, log: RunLog
) -> None:
    """Rows of pictures, and what was made where that is sound, to `place` and the log."""
    sheet = contact_sheet([enlarged(row, -(-SIDE // min(row[0].size))) for row in rows])
    write_picture(place.with_suffix(".png"), sheet)
    log.picture(f"{name} (real above)", sheet, step)
    if made is not None and codec.spec is not None:
        waveform, sample_rate = made.flatten(), codec.spec.sample_rate
        write_audio(place.with_suffix(".wav"), waveform, sample_rate)
        log.sound(name, waveform, sample_rate, step)


def one_of_each(label: Tensor) -> Tensor:
    """Places of the first sample of each label (B,), of no more than NUM_PREVIEWS; of a few where all are alike."""
    found = label.unique()
    if len(found) == 1:
        return torch.arange(min(len(label), NUM_ALIKE))
    return torch.tensor([int((label == one).nonzero()[0]) for one in found[:NUM_PREVIEWS]])


logger = logging.getLogger(__name__)

NUM_SAMPLES, NUM_TIMESTEP_BINS = 64, 10


class Validator:
    """Looks at the parts of a stage in training, with the averaged weights in place where there are some.

    sensitivities: of every validation so far, as shares of the error; part of the run's state.
    """

    def __init__(self, trainer: StageTrainer) -> None:
        self.trainer, self.stage, self.prepared = trainer, trainer.stage, trainer.prepared
        self.previews = trainer.folder / "previews"
        self.sensitivities: list[float] = []
        self.held_out_loss = math.nan
        self._data_range: DataRange | None = None

    def validate(self, parts: Parts, log: RunLog) -> list[str]:
        """Write previews and figures of this step; what there is to say of them, in plain words."""
        step, at_once = self.trainer.step, self.trainer.micro_batch  # no more than a training step has room for
        held_out = self._batch(self.prepared.test, parts.codec)
        seen = self._batch(self.prepared.train.plain(), parts.codec)
        with self.trainer.accelerator.autocast():
            found = condition_sensitivity(parts, held_out, at_once=at_once)
            gap = generalisation_gap(parts, seen, held_out, at_once=at_once)
            by_source = losses_by_source(parts, held_out, at_once)
        withheld = {f"held_out_loss_{name}": loss for name, loss in by_source.items()}
        log.write(step, training_loss=gap.training, held_out_loss=gap.held_out, **withheld)
        self.held_out_loss = gap.held_out
        notes = [str(gap), *say_sources(gap.held_out, by_source)]
        pipeline = make_pipeline(self.trainer.recipe, parts, self.prepared.class_names, self.stage)
        made = write_previews(pipeline, held_out, self.previews, step, log)
        notes += self._say_range(parts.codec, *made, seen, log)
        if self.trainer.watch:
            self.trainer.watch(pipeline, self.prepared, self.previews, step, log)
        if not pipeline.is_conditional:
            log.write(step, held_out_error=found["right"])
            return [f"held-out error {found['right']:.4f}", *notes]
        log.write(step, condition_sensitivity=found["sensitivity"], held_out_error=found["right"])
        self.sensitivities.append(found["sensitivity"] / max(found["right"], 1e-12))
        note = f"condition sensitivity {found['sensitivity']:+.4f} (held-out error {found['right']:.4f})"
        if self._is_late and max(self.sensitivities[-3:]) < DEAD_SENSITIVITY:
            note += "; the model ignores its condition: being told of another class costs it nothing"
            logger.warning(note)
        return [note, *notes]

    @torch.no_grad()
    def validate_codec(self, parts: Parts, log: RunLog) -> list[str]:
        """Write what the codec restores of held-out signals, and how far from them it is."""
        held_out = self._batch(self.prepared.test.signals())
        found = measure_round_trip(parts.codec, held_out.signal)
        log.write(self.trainer.step, round_trip=found.error, round_trip_floor=found.floor)
        write_codec_previews(parts.codec, held_out, self.previews, self.trainer.step, log)
        return [f"held out: {found}"]

    def validate_raw(self, parts: Parts, log: RunLog) -> list[str]:
        """The same for the weights as they are trained, beside the averaged ones: their held-out loss."""
        with self.trainer.accelerator.autocast():
            held_out = self._batch(self.prepared.test, parts.codec)
            raw = fixed_loss(parts, held_out, at_once=self.trainer.micro_batch).mean().item()
        log.write(self.trainer.step, raw_held_out_loss=raw)
        averaged = self.held_out_loss
        if not self._is_late or averaged <= (1 + LAGGING) * raw:
            return []
        note = f"the averaged weights lag behind: held-out loss {averaged:.4g}, of the trained ones {raw:.4g}"
        return [f"{note}; lower ema_decay (now {self.stage.ema_decay:g}) or train for longer"]

    @property
    def _is_late(self) -> bool:
        """Whether what is still wrong is worth a warning: in the second half of the stage."""
        return self.trainer.step * 2 >= self.stage.num_steps

    def _say_range(self, codec: Any, x_0: Tensor, signal: Tensor | None, seen: Batch, log: RunLog) -> list[str]:
        """Write down how what was sampled compares with the values of the data."""
        step = self.trainer.step
        if self._data_range is None:
            self._data_range = data_range(codec, seen.encode(codec), len(x_0))
        found = value_range(codec, x_0, self._data_range, signal)
        log.write(step, **found.figures())
        logger.log(DETAIL, "stage %s, step %d: preview written; %s", self.stage.name, step, found)
        if found.verdict == "ok" or (found.verdict == "warn" and not self._is_late):
            return []
        logger.warning("step %d: %s", step, found)
        return [f"{found}; more steps may mend it, else lower learning_rate or predict x_0 (prediction_type=sample)"]

    @torch.no_grad()
    def _batch(self, samples: Any, codec: Any = None) -> Batch:
        """The same samples at every validation. codec: one that is a network is asked for their x_0 once, here."""
        generator = seeding.generator(self.trainer.recipe.seed, "look")
        indices = torch.randperm(len(samples), generator=generator)[:NUM_SAMPLES]
        batch = samples.batch(indices, generator).to(self.trainer.accelerator.device)
        batch = self.trainer.objective.mask_condition(batch)
        if codec is None or batch.encoded or not codec.is_learned:
            return batch
        return replace(batch, signal=codec.encode(batch.signal), encoded=True)


def say_sources(told: float, without: dict[str, float]) -> list[str]:
    """What each source of a condition is worth: by how much the held-out loss `told` rises without it."""
    if not without:
        return []
    shares = (f"{name.replace('_', ' ')} {percent((loss - told) / max(told, 1e-12))}" for name, loss in without.items())
    return [f"held-out loss with {', '.join(shares)}"]


class LossByTimestep:
    """Sums of losses and their number in equal bins of the way to noise, (2, NUM_TIMESTEP_BINS) float64.

    Sums of float32 are exact there, so that they are the same in whatever order processes and micro-batches come.
    """

    def __init__(self, num_train_timesteps: int) -> None:
        self.num_train_timesteps = num_train_timesteps
        self.bins = torch.zeros(2, NUM_TIMESTEP_BINS, dtype=torch.float64)

    def add(self, losses: dict[str, Tensor]) -> None:
        """Count what an objective says of each sample: "timestep" and "per_sample", both (B,); else nothing."""
        if "timestep" not in losses:
            return
        fraction = losses["timestep"].float() / self.num_train_timesteps
        places = (fraction * NUM_TIMESTEP_BINS).long().clamp(0, NUM_TIMESTEP_BINS - 1).cpu()
        self.bins[0].index_add_(0, places, losses["per_sample"].cpu().double())
        self.bins[1].index_add_(0, places, torch.ones(len(places), dtype=torch.float64))

    def gather(self, accelerator: Accelerator) -> None:
        """Give the main process what all have; every process has to call it."""
        if accelerator.num_processes > 1:
            self.bins = accelerator.reduce(self.bins.to(accelerator.device), "sum").cpu()
        if not accelerator.is_main_process:
            self.bins.zero_()

    def take(self, accelerator: Accelerator) -> list[float | None]:
        """In the main process, the mean of each bin, None where nothing fell, [] of none; then all are empty."""
        self.gather(accelerator)
        if not self.bins[1].any():
            return []
        means = (self.bins[0] / self.bins[1].clamp(min=1)).tolist()
        found = [round(mean, 6) if n else None for mean, n in zip(means, self.bins[1], strict=True)]
        self.bins.zero_()
        return found
