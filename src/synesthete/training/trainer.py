"""One stage of one run: the loop over batches, over accelerate, one process or many."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, patch_environment

from synesthete import seeding
from synesthete.config.recipe import KEEP_CHECKPOINTS
from synesthete.data.samples import Samples, Steps
from synesthete.logs import DETAIL
from synesthete.nn.part import multiplies_bf16
from synesthete.objectives import Autoencoding, Denoising, Distillation, Objective, Parts
from synesthete.training import checkpoint, precompute, sharding
from synesthete.training.assembly import Models, is_adapted, make_parts
from synesthete.training.optim import schedule, select_captions, set_learning_rate, set_trainable
from synesthete.training.run_folder import processes, share_step
from synesthete.training.run_log import DivergedError, RunLog, StepReport
from synesthete.training.validation import LossByTimestep, Validator
from synesthete.training.weights import RunningStatistics, Weights
from synesthete.types import InputError, Prepared

if TYPE_CHECKING:
    from synesthete.config import Recipe, Stage
    from synesthete.training.run_log import Trackers
    from synesthete.training.validation import Watch

logger = logging.getLogger(__name__)


class StageTrainer:
    """One stage of one run.

    folder: of the run. checkpoints: the folder of the stage's own. begin: the parts as the stage begins with them, made
    anew; asked again for a rollback to before the first checkpoint.
    """

    def __init__(
        self,
        recipe: Recipe,
        stage: Stage,
        prepared: Prepared,
        folder: Path,
        checkpoints: Path,
        begin: Callable[[], Parts],
        report: Callable[[StepReport], None] = lambda said: None,
        watch: Watch | None = None,
        trackers: Trackers | None = None,
    ) -> None:
        self.trackers = trackers
        self.recipe, self.stage, self.folder, self.checkpoints = recipe, stage, folder, checkpoints
        self.begin, self.report, self.watch = begin, report, watch
        self.parts = parts = begin()
        self.prepared = prepared = select_captions(prepared, stage.captions)
        # Where the stage does not say: bf16 where the processor multiplies it in hardware.
        fastest = "bf16" if multiplies_bf16(processes().device) else "no"
        # One accelerator a stage: its state is global, and a stage may have a precision of its own.
        AcceleratorState._reset_state(reset_partial_state=False)
        with patch_environment(ACCELERATE_USE_FSDP="false"):  # sharded here, not by accelerate
            self.accelerator = Accelerator(
                mixed_precision=fastest if stage.precision == "auto" else stage.precision,
                # An alignment reads no null condition, and whatever else a stage leaves alone.
                kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
            )
        self.models = Models(recipe, stage, folder, prepared.class_names)
        self.sharing, self.accumulation = share_step(stage, folder, self.accelerator.num_processes)
        self.micro_batch = stage.batch_size // (self.sharing * self.accumulation)
        set_trainable(parts, stage)
        parts.conditioner.freeze(stage.num_views > 0)
        if stage.gradient_checkpointing:
            parts.denoiser.enable_gradient_checkpointing()
        self.objective = self._objective(parts)
        make = partial(make_parts, recipe, prepared)
        self.weights = Weights(self.objective, parts, stage, self.accelerator, make, is_adapted(recipe))
        self.model, self.optimiser, self.trained = self.weights.model, self.weights.optimiser, self.weights.trained
        self.step, self.seconds = 0, 0.0
        self.validator = Validator(self)
        self.by_timestep = LossByTimestep(parts.process.num_train_timesteps)
        self.spikes = checkpoint.SpikeWatch(stage.spike_patience) if stage.spike_patience else None
        self.rollbacks: list[checkpoint.Rollback] = []

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

    def run(self) -> None:
        """Train from the last checkpoint, or from the start, to the end of the stage; write the model."""
        stage = self.stage
        self._go_to_last_good()
        self._check_folder()
        if self.step >= stage.num_steps:
            self.models.mend(self.weights)
            return
        self.log = self._open_log()
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
                self._say(notes=[self._roll_back(spike)])
                steps, batches = self._batches(samples)
                continue
            at_end = self.step == stage.num_steps
            if at_end:
                self._finish()
            if at_end or self.step % stage.log_every == 0:
                self._log(losses)
            notes = self._validate() if at_end or self.step % stage.preview_every == 0 else []
            if at_end or self.step % stage.checkpoint_every == 0:
                self.save()
            self._say(loss=losses["loss"], seconds_per_step=time.perf_counter() - started, notes=notes)
        self.weights.settle()
        if self.log:
            self.log.close()

    def _say(self, **said: Any) -> None:
        if self.accelerator.is_main_process:
            self.report(StepReport(self.stage.name, self.step, self.stage.num_steps, **said))

    def _open_log(self) -> RunLog | None:
        if not self.accelerator.is_main_process:
            return None
        return RunLog(self.folder, self.stage.name, self.step, self.rollbacks, self.trackers)

    def _check_folder(self) -> None:
        """Processes on several machines have to find the same checkpoint, or they would train past each other."""
        steps = set(self.accelerator.gather(torch.tensor([self.step], device=self.accelerator.device)).tolist())
        if len(steps) > 1:
            raise InputError(
                f"{self.folder}: processes found checkpoints of steps {', '.join(map(str, sorted(steps)))}; "
                "put --out on a file system that all machines share"
            )

    def _batches(self, samples: Samples) -> tuple[Steps, Iterator[tuple[int, Any]]]:
        """What to train on from here to the end of the stage, and its micro-batches with their numbers."""
        steps = Steps(
            samples,
            self.stage.batch_size,
            seeding.derive(*self.draws),
            accumulation=self.accumulation,
            rank=self.accelerator.process_index % self.sharing,
            world_size=self.sharing,
        )
        return steps, enumerate(steps.loader(self.step, self.stage.num_steps), start=self.step * self.accumulation)

    def _samples(self) -> Samples:
        """What is trained on: the prepared samples, or what frozen parts make of them once and for all."""
        stage, parts, samples = self.stage, self.parts, self.prepared.train

        def show(what: str, done: int, total: int) -> None:
            if self.accelerator.is_main_process:
                self.report(StepReport(f"{stage.name}: {what}", done, total))

        if "codec" in stage.train:
            return samples.signals()
        if isinstance(self.objective, Distillation):
            return precompute.precompute_pairs(
                self.begin(),  # the weights may have moved since
                vars(self.recipe.sampling),
                samples,
                self.objective.num_pairs,
                seeding.derive(self.recipe.seed, stage.name),
                self.folder / "pairs",
                self.accelerator.device,
                partial(show, "pairs"),
                around=processes().main_process_first,
            )
        if not (parts.codec.is_learned or stage.num_views):
            return samples
        with sharding.gathered(self.model):
            if parts.codec.is_learned:
                samples = precompute.precompute_latents(
                    parts.codec,
                    samples,
                    self.folder / "latents",
                    self.recipe.data.fields.get("num_views", precompute.NUM_VIEWS),
                    self.accelerator.device,
                    partial(show, "encoding"),
                    around=processes().main_process_first,
                )
            if stage.num_views:
                seed, cast = seeding.derive(self.recipe.seed, stage.name), self.accelerator.autocast
                samples = precompute.precompute_features(
                    parts.conditioner, samples, stage.num_views, seed, autocast=cast, report=partial(show, "looking")
                )
        return samples

    def _finish(self) -> None:
        """What later stages build on becomes what is kept, the averages; a codec's latents are measured."""
        trains_codec = "codec" in self.stage.train
        if trains_codec or self.models.go_on:
            self.weights.keep_averages()
        if trains_codec and self.parts.codec.is_learned:
            with sharding.gathered(self.model):
                precompute.measure_latents(self.parts.codec, self.prepared.train, self.accelerator.device)

    def optimise(self, batches: Iterator[tuple[int, Any]], steps: Steps) -> dict[str, float]:
        """One optimiser step over its micro-batches; the mean of each named loss."""
        accumulation = self.accumulation
        set_learning_rate(self.optimiser.optimizer, self.step, self.stage)
        total: dict[str, float] = {}
        statistics = RunningStatistics(self.objective, self.accelerator, accumulation)
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
            statistics.take()
            self.by_timestep.add(losses)
            for name, value in losses.items():
                if value.ndim == 0:
                    total[name] = total.get(name, 0.0) + value.item() / accumulation
        norm = sharding.whole(self.accelerator.clip_grad_norm_(self.trained.values(), self.stage.gradient_clip))
        if self.accelerator.mixed_precision != "fp16":  # fp16's scaler skips steps whose gradients overflow
            self._check_finite(norm, "the gradient")
        statistics.settle()
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.weights.follow()
        return {**total, "gradient_norm": float(norm)}

    def _spike(self, losses: dict[str, float]) -> checkpoint.Spike | None:
        """The spike that this step completes; the same one in all processes."""
        if self.spikes is None:
            return None
        return self.spikes.add(
            self._over_processes({name: losses[name] for name in checkpoint.TIMES if name in losses})
        )

    def _go_to_last_good(self) -> Path | None:
        """Take up the state of the last good checkpoint, if there is one."""
        with processes().main_process_first():  # the main one deletes what a rollback has left behind
            self.rollbacks = checkpoint.read_rollbacks(self.checkpoints)
            if self.rollbacks:
                checkpoint.remove_rolled_back(self.checkpoints, self.rollbacks)
            latest = checkpoint.latest_checkpoint(self.checkpoints)
        if latest:
            self._restore(latest)
        return latest

    def _roll_back(self, spike: checkpoint.Spike) -> str:
        """Go back to the last state from before the spike, from where other batches and other noise follow."""
        stage, at = self.stage, self.step
        assert self.spikes
        self.weights.settle()
        times = checkpoint.num_at_same_place(self.rollbacks, at, stage.checkpoint_every + self.spikes.patience)
        if self.accelerator.is_main_process:
            checkpoint.add_rollback(self.checkpoints, spike, at, self.spikes.patience)
        self.accelerator.wait_for_everyone()
        latest = self._go_to_last_good()
        if not latest:  # the state that the stage began with
            self.weights.begin_again(self._objective(self.begin()))
            self.step, self.validator.sensitivities = 0, []
            self.by_timestep.bins.zero_()
            self.spikes.restore({})
        if self.models.are_made and (self.folder / "model").is_dir():
            self.models.write(self.weights)  # what is there may be of the spike
        if times >= stage.max_rollbacks:
            where = f"the last good checkpoint is {latest}" if latest else "there is no checkpoint from before"
            raise DivergedError(
                f"step {at} of stage {stage.name}: {spike}, after {times} rollbacks from about here; {where}. Lower "
                f"learning_rate (now {stage.learning_rate:g}) or raise num_warmup_steps, in a new --out"
            )
        self.model.train()
        if self.log:
            self.log.close()
        self.log = self._open_log()
        note = f"step {at}: {spike}; went back to step {self.step} to go on with other batches"
        logger.warning("stage %s: %s", stage.name, note)
        return note

    def _check_finite(self, value: torch.Tensor, what: str) -> None:
        if torch.isfinite(value):
            return
        last = checkpoint.latest_checkpoint(self.checkpoints)
        kept = f"the last good checkpoint is {last}" if last else "no checkpoint had been written yet"
        raise DivergedError(
            f"step {self.step + 1} of stage {self.stage.name}: {what} is not finite; {kept}. Lower learning_rate or "
            "gradient_clip, or set precision=no, in a new --out"
        )

    def _over_processes(self, losses: dict[str, float]) -> dict[str, float]:
        """The mean of each figure over all processes."""
        if self.accelerator.num_processes == 1:
            return losses
        place = {"dtype": torch.float64, "device": self.accelerator.device}
        shares = {name: torch.tensor(value, **place) for name, value in losses.items()}
        return {name: value.item() for name, value in self.accelerator.reduce(shares, "mean").items()}

    def _log(self, losses: dict[str, float]) -> None:
        values: dict[str, Any] = {name: round(value, 6) for name, value in self._over_processes(losses).items()}
        values["learning_rate"] = self.stage.learning_rate * schedule(self.step - 1, self.stage)
        if by_timestep := self.by_timestep.take(self.accelerator):
            values["loss_by_timestep"] = by_timestep
        if self.log:
            self.log.write(self.step, **values, seconds=round(self.seconds, 2))

    def _validate(self) -> list[str]:
        """Previews and condition sensitivity, with the averaged weights where there are some."""
        denoises = isinstance(self.objective, Denoising)
        if not (denoises or isinstance(self.objective, Autoencoding)):
            return []
        validate = self.validator.validate if denoises else self.validator.validate_codec
        self.model.eval()
        with self.weights.averaged() as parts:
            notes = validate(parts, self.log) if parts and self.log else []
        if self.weights.ema and denoises:
            with self.weights.raw() as parts:
                notes += self.validator.validate_raw(parts, self.log) if parts and self.log else []
        if self.log:  # until the end of the stage, looks and checkpoints included, at the rate of this session
            rate = (time.perf_counter() - self.started) / max(self.num_done, 1)
            self.log.write(self.step, seconds_left=round((self.stage.num_steps - self.step) * rate, 1))
        self.model.train()
        return notes

    def save(self) -> None:
        """Write a checkpoint, and the pipeline as it is now."""
        # The model first: killed between the two, the run goes back to the checkpoint before and writes both again.
        if self.models.are_made:
            self.models.write(self.weights, at_end=self.step == self.stage.num_steps)
        self.by_timestep.gather(self.accelerator)
        state: dict[str, Any] = {
            "step": self.step,
            "seconds": self.seconds,
            "rollbacks": len(self.rollbacks),
            "sensitivities": self.validator.sensitivities,
            "precision": self.accelerator.mixed_precision,
            "loss_by_timestep": self.by_timestep.bins.tolist(),
        }
        if self.spikes:
            state["spikes"] = self.spikes.state()
        self.weights.save(self.checkpoints / f"step_{self.step:07d}", state, partial(self._saved, self.step))

    def _saved(self, step: int) -> None:
        keep = checkpoint.num_to_keep(self.checkpoints, step, self.stage.spike_patience, KEEP_CHECKPOINTS)
        checkpoint.remove_old(self.checkpoints, keep)
        logger.log(DETAIL, "stage %s, step %d: checkpoint written", self.stage.name, step)

    def _restore(self, folder: Path) -> None:
        state = self.weights.restore(folder)
        with checkpoint.reading(folder):
            was, now = state["precision"], self.accelerator.mixed_precision
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self.validator.sensitivities = [*map(float, state["sensitivities"])]
            bins = torch.tensor(state["loss_by_timestep"], dtype=torch.float64)
            self.by_timestep.bins = bins if self.accelerator.is_main_process else torch.zeros_like(bins)
            if self.spikes:
                self.spikes.restore(state.get("spikes", {}))
        if was != now:
            logger.warning("resumed in precision %s, begun in %s", now, was)
