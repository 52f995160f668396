"""One stage of one run: the loop over batches, over accelerate, one process or many."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, patch_environment

from synesthete import seeding
from synesthete.config.recipe import KEEP_CHECKPOINTS
from synesthete.data.samples import Steps
from synesthete.logs import DETAIL
from synesthete.nn.device import multiplies_bf16
from synesthete.objectives import Autoencoding, Denoising
from synesthete.training import checkpoint, sharding
from synesthete.training.assembly import make_parts
from synesthete.training.models import Models
from synesthete.training.optim import schedule, set_learning_rate
from synesthete.training.precompute import measure_latents, training_data
from synesthete.training.rollback import TIMES, SpikeWatch, add_rollback, last_good, num_at_same_place, num_to_keep
from synesthete.training.run_folder import processes
from synesthete.training.run_log import DivergedError, RunLog, StepReport
from synesthete.training.trainable_parameters import select_captions, set_trainable
from synesthete.training.validation import LossByTimestep, Validator
from synesthete.training.weights import Weights
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from synesthete.config import Recipe, Stage
    from synesthete.data.samples import Samples
    from synesthete.objectives import Objective, Parts
    from synesthete.training.rollback import Rollback, Spike
    from synesthete.training.validation import Watch
    from synesthete.types import Prepared

logger = logging.getLogger(__name__)


def choose_precision(stage: Stage, device: torch.device) -> str:
    """bf16 where the processor multiplies it in hardware, float32 elsewhere, unless the stage says which."""
    if stage.precision != "auto":
        return stage.precision
    return "bf16" if multiplies_bf16(device) else "no"


class StageTrainer:
    """One stage of one run.

    begin: the parts as the stage begins with them, made anew, for a rollback to before the first checkpoint.
    """

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
        begin: Callable[[], Parts] | None = None,
    ) -> None:
        self.recipe, self.stage, self.parts = recipe, stage, parts
        self.prepared = prepared = select_captions(prepared, stage.captions)
        self.folder, self.checkpoint_folder, self.report = folder, checkpoint_folder, report
        # One accelerator a stage: its state is global, and a stage may have a precision of its own.
        AcceleratorState._reset_state(reset_partial_state=False)
        with patch_environment(ACCELERATE_USE_FSDP="false"):  # sharded here, not by accelerate
            self.accelerator = Accelerator(
                mixed_precision=choose_precision(stage, processes().device),
                # An alignment reads no null condition, and whatever else a stage leaves alone.
                kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
            )
        self.models = Models(recipe, stage, folder, getattr(prepared, "class_names", ()))
        self._check_batch()
        set_trainable(parts, stage)
        parts.conditioner.freeze(stage.num_views > 0)
        if stage.gradient_checkpointing:
            parts.denoiser.enable_gradient_checkpointing()
        self.begin = begin
        objective = self._objective(parts)
        self.weights = Weights(objective, parts, stage, self.accelerator, lambda: make_parts(recipe, prepared))
        self.model, self.optimiser, self.trained = self.weights.model, self.weights.optimiser, self.weights.trained
        self.step, self.seconds = 0, 0.0
        self.validator = Validator(
            recipe,
            stage,
            prepared,
            folder,
            watch=watch,
            autocast=self.accelerator.autocast,
            device=self.accelerator.device,
            mask_condition=objective.mask_condition,
            at_once=stage.batch_size // (self.accelerator.num_processes * stage.gradient_accumulation_steps),
        )
        self.by_timestep = LossByTimestep(parts.process.num_train_timesteps)
        self.spikes = SpikeWatch(stage.spike_patience) if stage.spike_patience else None
        self.rollbacks: list[Rollback] = []

    def _objective(self, parts: Parts) -> Objective:
        """The objective over the parts; what weights it has of its own depend on the seed alone."""
        torch.manual_seed(seeding.derive(self.recipe.seed, "objective", self.stage.name))
        objective = self.stage.objective().attach(parts)
        objective.prepare(self.prepared.train)
        return objective

    @property
    def draws(self) -> tuple[Any, ...]:
        """What decides all draws beside the step: after a rollback they are others."""
        name = self.stage.name
        return (self.recipe.seed, name, "return", len(self.rollbacks)) if self.rollbacks else (self.recipe.seed, name)

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
        with processes().main_process_first():  # the main one deletes what a rollback has left behind
            latest, self.rollbacks = last_good(self.checkpoint_folder)
        if latest:
            self._restore(latest)
        self._check_folder()
        if self.step >= stage.num_steps:
            self.models.mend(self.weights)
            return
        self.log = RunLog(self.folder, stage.name, self.step, self.rollbacks) if main else None
        samples = self._samples()
        steps, batches = self._batches(samples)
        self.model.train()
        self.started, self.num_done = time.perf_counter(), 0
        while self.step < stage.num_steps:
            started = time.perf_counter()
            losses = self.optimise(batches, steps)
            self.step += 1
            self.num_done += 1
            self.seconds += time.perf_counter() - started
            if spike := self._spike(losses):
                note = self._roll_back(spike)
                steps, batches = self._batches(samples)
                if main:
                    self.report(StepReport(stage.name, self.step, stage.num_steps, notes=[note]))
                continue
            if self.step == stage.num_steps and "codec" in stage.train:
                self._finish_codec()
            elif self.step == stage.num_steps and self.models.go_on and self.weights.ema:
                self.weights.ema.copy()  # what later stages leave as it is stays as it was kept
            notes: list[str] = []
            if self.step % stage.log_every == 0 or self.step == stage.num_steps:
                self._log(losses)
            if self.step % stage.preview_every == 0 or self.step == stage.num_steps:
                notes += self._validate()
            if self.step % stage.checkpoint_every == 0 or self.step == stage.num_steps:
                self._save()
            if main:
                seconds = time.perf_counter() - started
                self.report(StepReport(stage.name, self.step, stage.num_steps, losses["loss"], seconds, notes))
        if self.log:
            self.log.close()

    def _batches(self, samples: Samples) -> tuple[Steps, Iterator[tuple[int, Any]]]:
        """What to train on from here to the end of the stage, and its micro-batches with their numbers."""
        accumulation = self.stage.gradient_accumulation_steps
        steps = Steps(
            samples,
            self.stage.batch_size,
            seeding.derive(*self.draws),
            accumulation=accumulation,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )
        return steps, enumerate(steps.loader(self.step, self.stage.num_steps), start=self.step * accumulation)

    def _samples(self) -> Samples:
        """What is trained on: the prepared samples, or what frozen parts make of them once and for all."""

        def show(what: str, done: int, total: int) -> None:
            if self.accelerator.is_main_process:
                self.report(StepReport(f"{self.stage.name}: {what}", done, total))

        return training_data(
            self.recipe,
            self.stage,
            self.parts,
            self.prepared.train,
            self.folder / "latents",
            model=self.model,
            accelerator=self.accelerator,
            report=show,
        )

    def _finish_codec(self) -> None:
        """The averages become what the codec has learned, and its latents are measured on what it learned from."""
        if self.weights.ema:
            self.weights.ema.copy()
        if self.parts.codec.is_learned:
            with sharding.gathered(self.model):
                measure_latents(self.parts.codec, self.prepared.train, self.accelerator.device)

    def optimise(self, batches: Iterator[tuple[int, Any]], steps: Steps) -> dict[str, float]:
        """One optimiser step over its micro-batches; the mean of each named loss."""
        accumulation = self.stage.gradient_accumulation_steps
        set_learning_rate(self.optimiser.optimizer, self.step, self.stage)
        total: dict[str, float] = {}
        for micro in range(accumulation):
            item, batch = next(batches)
            step, slot = steps.slot(item)
            generator = seeding.generator(*self.draws, step, slot)
            torch.manual_seed(seeding.derive(*self.draws, "layers", step, slot))
            last = micro == accumulation - 1
            with contextlib.nullcontext() if last else sharding.no_sync(self.accelerator, self.model):
                with self.accelerator.autocast():
                    losses = self.model(batch.to(self.accelerator.device), generator)
                self._check_finite(losses["loss"], f"the loss of samples {steps.samples_of(item)}")
                self.accelerator.backward(losses["loss"] / accumulation)
            self.by_timestep.add(losses)
            for name, value in losses.items():
                if value.ndim == 0:
                    total[name] = total.get(name, 0.0) + value.item() / accumulation
        norm = sharding.whole(self.accelerator.clip_grad_norm_(self.trained.values(), self.stage.gradient_clip))
        if self.accelerator.mixed_precision != "fp16":  # fp16's scaler skips steps whose gradients overflow
            self._check_finite(norm, "the gradient")
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.weights.ema:
            self.weights.ema.step()
        return {**total, "gradient_norm": float(norm)}

    def _spike(self, losses: dict[str, float]) -> Spike | None:
        """The spike that this step completes; the same one in all processes."""
        if self.spikes is None:
            return None
        return self.spikes.add(self._over_processes({name: losses[name] for name in TIMES if name in losses}))

    def _roll_back(self, spike: Spike) -> str:
        """Go back to the last state from before the spike, from where other batches and other noise follow.

        Raises:
            DivergedError: the run has gone back from here `max_rollbacks` times.
        """
        stage, place, at = self.stage, self.checkpoint_folder, self.step
        assert self.spikes
        times = num_at_same_place(self.rollbacks, at, stage.checkpoint_every + self.spikes.patience)
        if self.accelerator.is_main_process:
            add_rollback(place, spike, at, self.spikes.patience)
        self.accelerator.wait_for_everyone()
        with processes().main_process_first():
            latest, self.rollbacks = last_good(place)
        if latest:
            self._restore(latest)
        elif self.begin:
            self._begin_again()
        if self.models.are_made and (self.folder / "model").is_dir():
            self.models.write(self.weights)  # what is there may be of the spike
        if times >= stage.max_rollbacks or (latest is None and self.begin is None):
            where = f"the last good checkpoint is {latest}" if latest else "there is no checkpoint from before"
            raise DivergedError(
                f"step {at} of stage {stage.name}: {spike}, after {times} rollbacks from about here; {where}. Lower "
                f"learning_rate (now {stage.learning_rate:g}) or raise num_warmup_steps, in a new --out"
            )
        self.model.train()
        if self.log:
            self.log.close()
            self.log = RunLog(self.folder, stage.name, self.step, self.rollbacks)
        note = f"step {at}: {spike}; went back to step {self.step} to go on with other batches"
        logger.warning("stage %s: %s", stage.name, note)
        return note

    def _begin_again(self) -> None:
        """The state that the stage began with."""
        assert self.begin and self.spikes
        self.weights.begin_again(self._objective(self.begin()))
        self.step, self.validator.sensitivities = 0, []
        self.by_timestep.bins.zero_()
        self.spikes.restore({})

    def _check_finite(self, value: torch.Tensor, what: str) -> None:
        if torch.isfinite(value):
            return
        last = checkpoint.latest_checkpoint(self.checkpoint_folder)
        kept = f"the last good checkpoint is {last}" if last else "no checkpoint had been written yet"
        raise DivergedError(
            f"step {self.step + 1} of stage {self.stage.name}: {what} is not finite; {kept}. Lower learning_rate or "
            "gradient_clip, or set precision=no, in a new --out"
        )

    def _over_processes(self, losses: dict[str, float]) -> dict[str, float]:
        """The mean of each figure over all processes."""
        if self.accelerator.num_processes == 1:
            return losses
        shares = {name: torch.tensor(value, device=self.accelerator.device) for name, value in losses.items()}
        return {name: value.item() for name, value in self.accelerator.reduce(shares, "mean").items()}

    def _log(self, losses: dict[str, float]) -> None:
        losses = self._over_processes(losses)
        by_timestep = self.by_timestep.take(self.accelerator)
        values: dict[str, Any] = {k: round(v, 6) for k, v in losses.items()}
        values["learning_rate"] = self.stage.learning_rate * schedule(self.step - 1, self.stage)
        if by_timestep:
            values["loss_by_timestep"] = by_timestep
        if self.log:
            self.log.write(self.step, **values, seconds=round(self.seconds, 2))

    def _validate(self) -> list[str]:
        """Previews and condition sensitivity, with the averaged weights where there are some."""
        objective = self.accelerator.unwrap_model(self.model)
        if not isinstance(objective, Denoising | Autoencoding):
            return []
        denoises = isinstance(objective, Denoising)
        validate = self.validator.validate if denoises else self.validator.validate_codec
        self.model.eval()
        with self.weights.averaged() as parts:
            notes = validate(parts, self.step, self.log) if parts and self.log else []
        if self.weights.ema and denoises:
            with self.weights.raw() as parts:
                notes += self.validator.validate_raw(parts, self.step, self.log) if parts and self.log else []
        if self.log:
            self.log.write(self.step, seconds_left=round(self._seconds_left(), 1))
        self.model.train()
        return notes

    def _seconds_left(self) -> float:
        """Until the end of the stage, looks and checkpoints included, at the rate of this session."""
        rate = (time.perf_counter() - self.started) / max(self.num_done, 1)
        return (self.stage.num_steps - self.step) * rate

    def _save(self) -> None:
        """Write a checkpoint, and the pipeline as it is now."""
        # The model first: killed between the two, the run goes back to the checkpoint before and writes both again.
        if self.models.are_made:
            self.models.write(self.weights, at_end=self.step == self.stage.num_steps)
        state: dict[str, Any] = {"step": self.step, "seconds": self.seconds, "rollbacks": len(self.rollbacks)}
        state["sensitivities"] = self.validator.sensitivities
        state["precision"] = self.accelerator.mixed_precision
        state["loss_by_timestep"] = self.by_timestep.bins.tolist()
        if self.spikes:
            state["spikes"] = self.spikes.state()
        self.weights.save(self.checkpoint_folder / f"step_{self.step:07d}", state)
        if self.accelerator.is_main_process:
            keep = num_to_keep(self.checkpoint_folder, self.step, self.stage.spike_patience, KEEP_CHECKPOINTS)
            checkpoint.remove_old(self.checkpoint_folder, keep)
            logger.log(DETAIL, "stage %s, step %d: checkpoint written", self.stage.name, self.step)

    def _restore(self, checkpoint: Path) -> None:
        state = self.weights.restore(checkpoint)
        if state["precision"] != self.accelerator.mixed_precision:
            logger.warning("resumed in precision %s, begun in %s", self.accelerator.mixed_precision, state["precision"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.validator.sensitivities = state["sensitivities"]
        self.by_timestep.bins = torch.tensor(state["loss_by_timestep"])
        if self.spikes:
            self.spikes.restore(state.get("spikes", {}))
