"""One stage of one run: the loop over batches, over accelerate, one process or many."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, patch_environment
from safetensors.torch import load_file

from synesthete import seeding
from synesthete.data.loading import Steps
from synesthete.nn.precision import multiplies_bf16
from synesthete.objectives import Denoising, condition_sensitivity, generalisation_gap
from synesthete.training import checkpoints, sharding
from synesthete.training.assembly import load_state, make_parts, make_pipeline
from synesthete.training.averages import Averages
from synesthete.training.log import RunLog
from synesthete.training.looks import freeze, look_once
from synesthete.training.optimisers import make_optimiser, schedule, set_learning_rate
from synesthete.training.previews import write_previews
from synesthete.training.run_folder import processes
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from synesthete.config import Recipe, Stage
    from synesthete.data.loading import Samples
    from synesthete.objectives import Parts
    from synesthete.pipeline import Pipeline
    from synesthete.preparation import Prepared
    from synesthete.types import Batch

    Watch = Callable[[Pipeline, Prepared, Path, int, RunLog], None]

logger = logging.getLogger(__name__)

NUM_TIMESTEP_BINS = 10
KEEP_CHECKPOINTS = 2
# A condition that changes the error by less than this share of it is not being used.
DEAD_SENSITIVITY = 0.005


class DivergedError(RuntimeError):
    """Loss or gradients stopped being finite; the last good checkpoint is kept."""


@dataclass
class StepReport:
    """What the loop tells whoever watches, after every optimiser step, and while it looks at pictures beforehand."""

    stage: str
    step: int
    num_steps: int
    loss: float | None = None
    seconds_per_step: float | None = None
    notes: list[str] = field(default_factory=list)


def choose_precision(stage: Stage, device: torch.device) -> str:
    """bf16 where the processor multiplies it in hardware, float32 elsewhere, unless the stage says which."""
    if stage.precision != "auto":
        return stage.precision
    return "bf16" if multiplies_bf16(device) else "no"


class Run:
    """One stage of one run."""

    def __init__(
        self,
        recipe: Recipe,
        stage: Stage,
        parts: Parts,
        prepared: Prepared,
        folder: Path,
        checkpoint_folder: Path,
        report: Callable[[StepReport], None],
        watch: Watch | None = None,
    ) -> None:
        self.recipe, self.stage, self.parts, self.prepared = recipe, stage, parts, prepared
        self.folder, self.checkpoint_folder, self.report = folder, checkpoint_folder, report
        self.watch = watch
        # One accelerator a stage: its state is global, and a stage may have a precision of its own.
        AcceleratorState._reset_state(reset_partial_state=False)
        self.sharded = sharding.is_asked()
        with patch_environment(ACCELERATE_USE_FSDP="false"):  # sharded here, not by accelerate
            self.accelerator = Accelerator(
                mixed_precision=choose_precision(stage, processes().device),
                # An alignment reads no null condition, and whatever else a stage leaves alone.
                kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
            )
        # An alignment leaves a denoiser that has learned nothing: there is no model to write yet.
        self.makes_model = "denoiser" in stage.train or stage is recipe.stages[-1]
        self._check_batch()
        for name, module in parts.modules().items():
            module.requires_grad_(name in stage.train)
        freeze(parts.conditioner, stage.num_views)
        if stage.gradient_checkpointing:
            parts.denoiser.enable_gradient_checkpointing()
        torch.manual_seed(seeding.derive(recipe.seed, "objective", stage.name))
        objective = stage.objective().attach(parts)
        if self.sharded:
            sharding.shard(objective, self.accelerator)
        optimiser = make_optimiser(objective, stage)
        if stage.compile:
            parts.denoiser.compile()
        if self.sharded:
            self.model, self.optimiser = objective, self.accelerator.prepare(optimiser)
        else:
            self.model, self.optimiser = self.accelerator.prepare(objective, optimiser)
        self.trained = {name: p for name, p in objective.named_parameters() if p.requires_grad}
        self.averages = Averages(self.trained, stage.ema_decay) if stage.ema_decay else None
        self.step, self.seconds = 0, 0.0
        self.sensitivities: list[float] = []
        self.bins = torch.zeros(2, NUM_TIMESTEP_BINS)

    def _check_batch(self) -> None:
        slots = self.accelerator.num_processes * self.stage.gradient_accumulation_steps
        if self.stage.batch_size % slots:
            raise InputError(
                f"stage {self.stage.name}: batch_size {self.stage.batch_size} does not divide into {slots} parts "
                f"({self.accelerator.num_processes} processes, each {self.stage.gradient_accumulation_steps} "
                "accumulation steps)"
            )

    def _check_folder(self) -> None:
        """Processes on several machines have to find the same checkpoint, or they would train past each other."""
        steps = self.accelerator.gather(torch.tensor([self.step], device=self.accelerator.device)).tolist()
        if len(set(steps)) > 1:
            raise InputError(
                f"{self.folder}: processes found checkpoints of steps {', '.join(map(str, sorted(set(steps))))}; "
                "put --out on a file system that all machines share"
            )

    def run(self) -> None:
        """Train from the last checkpoint, or from the start, to the end of the stage; write the model."""
        main, stage = self.accelerator.is_main_process, self.stage
        if latest := checkpoints.latest_checkpoint(self.checkpoint_folder):
            self._restore(latest)
        self._check_folder()
        if self.step >= stage.num_steps:
            if self.makes_model and not (self.folder / "model").is_dir():
                self._write_model()
            return
        self.log = RunLog(self.folder, stage.name, self.step) if main else None
        steps = Steps(
            self._samples(),
            stage.batch_size,
            seeding.derive(self.recipe.seed, stage.name),
            accumulation=stage.gradient_accumulation_steps,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )
        batches = enumerate(
            steps.loader(self.step, stage.num_steps), start=self.step * stage.gradient_accumulation_steps
        )
        self.model.train()
        while self.step < stage.num_steps:
            started = time.perf_counter()
            losses = self.optimise(batches, steps)
            self.step += 1
            self.seconds += time.perf_counter() - started
            notes: list[str] = []
            if self.step % stage.log_every == 0 or self.step == stage.num_steps:
                self._log(losses)
            if self.step % stage.preview_every == 0 or self.step == stage.num_steps:
                notes += self._look()
            if self.step % stage.checkpoint_every == 0 or self.step == stage.num_steps:
                self._save()
            if main:
                seconds = time.perf_counter() - started
                self.report(StepReport(stage.name, self.step, stage.num_steps, losses["loss"], seconds, notes))
        if self.log:
            self.log.close()

    def _samples(self) -> Samples:
        """What is trained on: the prepared samples, or what the conditioner sees of them once and for all."""
        samples, stage = self.prepared.train, self.stage
        if not stage.num_views:
            return samples

        def show(done: int, total: int) -> None:
            if self.accelerator.is_main_process:
                self.report(StepReport(f"{stage.name}: looking", done, total))

        seed = seeding.derive(self.recipe.seed, stage.name)
        autocast = self.accelerator.autocast
        with sharding.gathered(self.model):
            return look_once(self.parts.conditioner, samples, stage.num_views, seed, autocast=autocast, report=show)

    def optimise(self, batches: Iterator[tuple[int, Any]], steps: Steps) -> dict[str, float]:
        """One optimiser step over its micro-batches; the mean of each named loss."""
        accumulation = self.stage.gradient_accumulation_steps
        set_learning_rate(self.optimiser.optimizer, self.step, self.stage)
        total: dict[str, float] = {}
        for micro in range(accumulation):
            item, batch = next(batches)
            step, slot = steps.slot(item)
            generator = seeding.generator(self.recipe.seed, self.stage.name, step, slot)
            torch.manual_seed(seeding.derive(self.recipe.seed, self.stage.name, "layers", step, slot))
            last = micro == accumulation - 1
            with contextlib.nullcontext() if last else sharding.no_sync(self.accelerator, self.model):
                with self.accelerator.autocast():
                    losses = self.model(batch.to(self.accelerator.device), generator)
                self._check_finite(losses["loss"], f"the loss of samples {steps.samples_of(item)}")
                self.accelerator.backward(losses["loss"] / accumulation)
            self._count(losses)
            for name, value in losses.items():
                if value.ndim == 0:
                    total[name] = total.get(name, 0.0) + value.item() / accumulation
        norm = sharding.whole(self.accelerator.clip_grad_norm_(self.trained.values(), self.stage.gradient_clip))
        if self.accelerator.mixed_precision != "fp16":  # fp16's scaler skips steps whose gradients overflow
            self._check_finite(norm, "the gradient")
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.averages:
            self.averages.step()
        return {**total, "gradient_norm": float(norm)}

    def _check_finite(self, value: torch.Tensor, what: str) -> None:
        if torch.isfinite(value):
            return
        last = checkpoints.latest_checkpoint(self.checkpoint_folder)
        kept = f"the last good checkpoint is {last}" if last else "no checkpoint had been written yet"
        raise DivergedError(
            f"step {self.step + 1} of stage {self.stage.name}: {what} is not finite; {kept}. Lower learning_rate or "
            "gradient_clip, or set precision=no, in a new --out"
        )

    def _count(self, losses: dict[str, torch.Tensor]) -> None:
        if "timestep" not in losses:
            return
        fraction = losses["timestep"].float() / self.parts.process.num_train_timesteps
        places = (fraction * NUM_TIMESTEP_BINS).long().clamp(0, NUM_TIMESTEP_BINS - 1).cpu()
        self.bins[0].index_add_(0, places, losses["per_sample"].float().cpu())
        self.bins[1].index_add_(0, places, torch.ones(len(places)))

    def _log(self, losses: dict[str, float]) -> None:
        if self.accelerator.num_processes > 1:
            shares = {name: torch.tensor(value, device=self.accelerator.device) for name, value in losses.items()}
            losses = {name: value.item() for name, value in self.accelerator.reduce(shares, "mean").items()}
            self.bins = self.accelerator.reduce(self.bins.to(self.accelerator.device), "sum").cpu()
        values: dict[str, Any] = {k: round(v, 6) for k, v in losses.items()}
        values["learning_rate"] = self.stage.learning_rate * schedule(self.step - 1, self.stage)
        if self.bins[1].any():
            mean = (self.bins[0] / self.bins[1].clamp(min=1)).tolist()
            values["loss_by_timestep"] = [round(m, 6) if n else None for m, n in zip(mean, self.bins[1], strict=True)]
            self.bins.zero_()
        if self.log:
            self.log.write(self.step, **values, seconds=round(self.seconds, 2))

    def _look(self) -> list[str]:
        """Previews and condition sensitivity, with the averaged weights where there are some."""
        if not isinstance(self.accelerator.unwrap_model(self.model), Denoising):
            return []
        self.model.eval()
        with self._averaged() as parts:
            notes = self._show(parts, self.log) if parts and self.log else []
        self.model.train()
        return notes

    def _show(self, parts: Parts, log: RunLog) -> list[str]:
        samples = self.prepared.test
        indices = torch.randperm(len(samples), generator=seeding.generator(self.recipe.seed, "look"))[:64]
        batch = samples.batch(indices, seeding.generator(self.recipe.seed, "look")).to(self.accelerator.device)
        with self.accelerator.autocast():
            found = condition_sensitivity(parts, batch)
            notes = self._compare(parts, batch, log)
        pipeline = make_pipeline(self.recipe, parts, self.prepared.class_names)
        write_previews(pipeline, batch, self.folder / "previews", self.step, log)
        if self.watch:
            self.watch(pipeline, self.prepared, self.folder / "previews", self.step, log)
        if not pipeline.is_conditional:
            log.write(self.step, held_out_error=found["right"])
            return [f"held-out error {found['right']:.4f}", *notes]
        log.write(self.step, condition_sensitivity=found["sensitivity"], held_out_error=found["right"])
        self.sensitivities.append(found["sensitivity"] / max(found["right"], 1e-12))
        note = f"condition sensitivity {found['sensitivity']:+.4f} (held-out error {found['right']:.4f})"
        dead = self.step * 2 >= self.stage.num_steps and max(self.sensitivities[-3:]) < DEAD_SENSITIVITY
        if dead:
            note += "; the model ignores its condition: being told of another class costs it nothing"
            logger.warning(note)
        return [note, *notes]

    def _compare(self, parts: Parts, held_out: Batch, log: RunLog) -> list[str]:
        """Whether the model over-fits, by the loss of as many samples that it is trained on."""
        samples = self.prepared.train.plain()
        generator = seeding.generator(self.recipe.seed, "look")
        indices = torch.randperm(len(samples), generator=generator)[: len(held_out.label)]
        seen = samples.batch(indices, generator).to(self.accelerator.device)
        gap = generalisation_gap(parts, seen, held_out)
        log.write(self.step, training_loss=gap.training, held_out_loss=gap.held_out)
        return [str(gap)]

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[Parts | None]:
        """The parts with the EMA weights where there are some, for as long as the context lasts.

        Every process has to enter; the main one gets the parts, of a sharded run a copy put together from all pieces.
        """
        main = self.accelerator.is_main_process
        if self.sharded:
            averages = self.averages.by_name() if self.averages else {}
            state = sharding.whole_state(self.model, averages, keep=main)
            yield self._copy(state) if main else None
        elif self.averages and main:
            with self.averages.in_place():
                yield self.parts
        else:
            yield self.parts if main else None

    def _copy(self, state: dict[str, torch.Tensor]) -> Parts:
        parts = make_parts(self.recipe, self.prepared)
        load_state(parts, state)
        for module in parts.modules().values():
            module.to(self.accelerator.device).eval()
        return parts

    def _save(self) -> None:
        """Write a checkpoint, and the pipeline as it is now."""
        model_state, optimiser_state = checkpoints.gather(self.model, self.optimiser.optimizer)
        averages = self.averages.gather() if self.averages else None
        # The model first: killed between the two, the run goes back to the checkpoint before and writes both again.
        if self.makes_model:
            self._write_model()
        if not self.accelerator.is_main_process:
            return
        state = {"step": self.step, "seconds": self.seconds, "sensitivities": self.sensitivities}
        if self.averages:
            state["ema_step"] = self.averages.num_steps
        state["precision"] = self.accelerator.mixed_precision
        state["loss_by_timestep"] = self.bins.tolist()
        checkpoints.save_checkpoint(
            self.checkpoint_folder / f"step_{self.step:07d}", model_state, optimiser_state, averages, state
        )
        checkpoints.remove_old(self.checkpoint_folder, KEEP_CHECKPOINTS)

    def _write_model(self) -> None:
        with self._averaged() as parts:
            if parts is None:
                return
            pipeline = make_pipeline(self.recipe, parts, self.prepared.class_names)
            checkpoints.write_folder(self.folder / "model", lambda partial: self._fill_model(pipeline, partial))

    def _fill_model(self, pipeline: Pipeline, folder: Path) -> None:
        """The pipeline, and the recipe that it can be judged and repeated by."""
        pipeline.save(folder, getattr(torch, self.recipe.weights))
        (folder / "recipe.yaml").write_text(self.recipe.to_yaml(), encoding="utf-8")

    def _restore(self, checkpoint: Path) -> None:
        with checkpoints.reading(checkpoint):
            self._take(checkpoint)

    def _take(self, checkpoint: Path) -> None:
        state = json.loads((checkpoint / "state.json").read_text())
        if state["precision"] != self.accelerator.mixed_precision:
            logger.warning("resumed in precision %s, begun in %s", self.accelerator.mixed_precision, state["precision"])
        checkpoints.restore(self.model, self.optimiser.optimizer, checkpoint)
        self.step, self.seconds, self.sensitivities = state["step"], state["seconds"], state["sensitivities"]
        self.bins = torch.tensor(state["loss_by_timestep"])
        if self.averages:
            self.averages.restore(load_file(checkpoint / "ema.safetensors"), state["ema_step"])
