"""A training in small before the training: a step of every stage at full size, and what it writes, read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from synesthete import seeding
from synesthete.config import Recipe
from synesthete.pipeline import Pipeline
from synesthete.training import cost
from synesthete.training.assembly import begin_stage
from synesthete.training.cost import DryRun, micro_batch
from synesthete.training.published import missing_weights, stand_ins
from synesthete.training.run_folder import open_run, processes, stage_folder
from synesthete.training.trainer import StageTrainer
from synesthete.types import InputError, Prepared

if TYPE_CHECKING:
    from synesthete.config import Stage

    Prepare = Callable[[Recipe], Prepared]

STATISTICS = "statistics.safetensors"


@dataclass(frozen=True)
class MeasuredCost:
    """What a stage took.

    seconds: an optimiser step. memory: bytes at the fullest moment of the step; memory_in_all: of all, writing and
    reading back included. checkpoint: bytes of one.
    """

    num_trained: int
    num_frozen: int
    seconds: float
    memory: int
    memory_in_all: int
    checkpoint: int


@dataclass(frozen=True)
class StageReport:
    """A stage: what `cost.predict` predicted, and what it took or, where it did not fit, what to set."""

    stage: str
    predicted: cost.Cost
    measured: MeasuredCost | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Preparation:
    """What a made-up sample took of frozen networks: seconds a sample, memory at the fullest moment in bytes."""

    seconds: float
    memory: int


@dataclass(frozen=True)
class DryRunReport:
    """All stages in their order.

    stand_ins: published networks whose weights were random. preparation: None where no frozen network takes part in it.
    model: bytes of the finished one, loaded again; None where no stage wrote one.
    """

    stages: tuple[StageReport, ...]
    stand_ins: tuple[str, ...]
    preparation: Preparation | None
    model: int | None

    @property
    def problems(self) -> list[str]:
        """What to set for stages that this machine cannot train."""
        return [f"stage {one.stage} does not fit: {one.problem}" for one in self.stages if one.problem]


def dry_run_recipe(
    recipe: Recipe,
    dummies: cost.Dummies,
    folder: Path,
    *,
    prepare: Prepare | None = None,
    memory: int | None = None,
    report: Callable[[str], None] = lambda said: None,
) -> DryRunReport:
    """A step of every stage in a process of its own: predicted, made, written to a run folder and read back.

    What would be downloaded is random weights of the same shapes. dummies: as `Task.dummy_batch`. prepare: of the data,
    where not made-up ones are trained on. Other processes have to be able to import both. memory: bytes that a stage
    may take, what is free where None. report(what is done now).

    Raises:
        InputError: a step that cannot be followed by shapes, data to be prepared by random weights, several processes,
            what was read back is not what was written, a full disk.
    """
    if processes().num_processes > 1:
        raise InputError("a dry run is one process; start it without torchrun")
    if prepare is not None and (missing := missing_weights(recipe)):
        raise InputError(f"{missing[0]} is not on this machine, and data are not kept as random weights see them")
    open_run(recipe, folder)
    values, preparation, found, model = recipe.to_dict(), None, [], None
    report("laying out weights")
    with stand_ins(recipe, folder / "weights") as missing:
        if prepare is None:
            report("preparing a sample")
            preparation = cost.in_own_process(prepare_sample, values, dummies, folder)
        for number, stage in enumerate(recipe.stages):
            free = cost.available_memory() if memory is None else memory
            report(f"stage {stage.name}: predicting")
            predicted = cost.predict(recipe, stage, dummies, free)
            one = StageReport(stage.name, predicted)
            report(describe_stages([one]))
            if predicted.memory.total > free:
                one = replace(one, problem=what_to_set(stage, predicted, free))
            else:
                report(f"stage {stage.name}: a step")
                try:
                    one = replace(
                        one, measured=cost.in_own_process(run_stage, values, number, dummies, folder, prepare)
                    )
                except BrokenProcessPool:  # as the system ends a process when memory is short
                    one = replace(one, problem=f"the system ended it; {what_to_set(stage, predicted, free)}")
                report(describe_stages([one]))
            found.append(one)
        if (folder / "model").is_dir():
            report("reading the model back")
            model = cost.in_own_process(load_model, folder / "model")
    return DryRunReport(tuple(found), tuple(missing), preparation, model)


def prepare_sample(values: dict[str, Any], dummies: cost.Dummies, folder: Path) -> Preparation | None:
    """What frozen networks take before training for a picture and a sound, or None; the codec is kept as measured."""
    recipe = Recipe.from_dict(values)
    samples: Any = dummies(recipe, recipe.stages[0], 1)
    if getattr(samples, "heard", None) is not None:
        samples = replace(samples, heard=None)
    batch = samples.signals().batch(torch.tensor([0]), torch.Generator().manual_seed(0))
    gauge = cost.Gauge()
    torch.manual_seed(seeding.derive(0, "prepare"))
    codec, conditioner = recipe.codec(), recipe.conditioner()
    if codec.caches_latents:
        codec.fit([batch.signal])
    if hears := conditioner.reads == "audio_text" and conditioner.has_fixed_features:
        conditioner.embed_audio(batch.raw)  # its network is read

    def run() -> None:
        if codec.caches_latents:
            codec.encode(batch.signal)
        if hears:
            conditioner.embed_audio(batch.raw)

    found = Preparation(cost.time_once(run), gauge.read())
    save_file({name: value.contiguous() for name, value in codec.state_dict().items()}, folder / STATISTICS)
    return found if codec.caches_latents or hears else None


def run_stage(
    values: dict[str, Any], number: int, dummies: cost.Dummies, folder: Path, prepare: Prepare | None
) -> MeasuredCost:
    """A stage as a training begins it, a step, its checkpoint and model written, and the checkpoint read back."""
    recipe = Recipe.from_dict(values)
    stage = recipe.stages[number]
    if prepare is None:
        samples = dummies(recipe, stage, micro_batch(stage))
        names = tuple(recipe.data.fields.get("class_names") or ())
        prepared = Prepared(samples, samples, load_file(folder / STATISTICS), names)
    else:
        prepared = prepare(recipe)
    gauge = cost.Gauge()
    checkpoints = stage_folder(folder, recipe, number)
    trainer = StageTrainer(
        recipe, stage, prepared, folder, checkpoints, partial(begin_stage, recipe, prepared, folder, number)
    )
    dry_run = DryRun(recipe, stage, prepared.train, trainer)
    size, accumulation = micro_batch(stage), stage.gradient_accumulation_steps
    seconds = cost.clock(lambda: dry_run.step(size, accumulation))
    memory = gauge.read()
    trainer.step = stage.num_steps
    trainer.save()
    (written,) = checkpoints.glob("step_*")
    check_read_back(trainer, written)
    num_all = sum(p.numel() for p in trainer.objective.parameters())
    towers = [tower.network for tower in getattr(trainer.parts.conditioner, "towers", ()) if "network" in vars(tower)]
    num_all += sum(p.numel() for network in towers for p in network.parameters())
    num_trained = sum(p.numel() for p in trainer.trained.values())
    return MeasuredCost(num_trained, num_all - num_trained, seconds, memory, gauge.read(), num_bytes_in(written))


@torch.no_grad()
def check_read_back(trainer: StageTrainer, written: Path) -> None:
    """Make sure that what a stage trains comes back from its checkpoint to the bit."""
    before = {name: value.clone() for name, value in trainer.trained.items()}
    for value in trainer.trained.values():
        value.zero_()
    trainer.weights.restore(written)
    for name, value in trainer.trained.items():
        if not torch.equal(value, before[name]):
            raise InputError(f"{written}: {name} is not what was written; is the disk sound?")


def load_model(folder: Path) -> int:
    """Bytes of a model's folder, once it was loaded."""
    Pipeline.load(str(folder))
    return num_bytes_in(folder)


def num_bytes_in(folder: Path) -> int:
    """Of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def what_to_set(stage: Stage, predicted: cost.Cost, memory: int) -> str:
    """What lets a step fit into so many bytes: smaller micro-batches, activations computed twice, or nothing here."""
    fixed = predicted.memory.total - predicted.memory.working
    a_sample = predicted.memory.working / predicted.micro_batch
    short = f"needs {predicted.memory.total / 1e9:.2f} GB, and {memory / 1e9:.2f} are free"
    for num in range(stage.gradient_accumulation_steps + 1, stage.batch_size + 1):
        if stage.batch_size % num == 0 and fixed + a_sample * (stage.batch_size // num) <= memory:
            return f"{short}; --set stages.{stage.name}.gradient_accumulation_steps={num}"
    if not stage.gradient_checkpointing:
        return f"{short}; --set stages.{stage.name}.gradient_checkpointing=true"
    return f"{short}; one sample alone does not fit: take a smaller denoiser, or a machine with more memory"


def describe_report(found: DryRunReport) -> str:
    """A table for people, and what else was found."""
    lines = [f"random weights for {', '.join(found.stand_ins)}"] if found.stand_ins else []
    lines.append(describe_stages(found.stages))
    if found.preparation:
        each = found.preparation
        lines.append(f"preparing a sample: {each.seconds:.3g} s, {each.memory / 1e9:.2f} GB")
    if found.model is not None:
        lines.append(f"the model: {found.model / 1e9:.2f} GB, written and loaded again")
    return "\n".join(lines)


def describe_stages(stages: Sequence[StageReport]) -> str:
    """Their table, as far as they are known."""
    rows = [("stage", "trained", "frozen", "s a step", "predicted", "peak GB", "predicted", "in all", "checkpoint")]
    for one in stages:
        told, seconds = f"{one.predicted.memory.total / 1e9:.2f}", one.predicted.seconds
        predicted = "-" if seconds is None else f"{seconds:.3g}"
        if (measured := one.measured) is None:
            rows.append((one.stage, "-", "-", "-", predicted, "-", told, "-", "-"))
            continue
        numbers = f"{measured.num_trained:,}", f"{measured.num_frozen:,}", f"{measured.seconds:.3g}", predicted
        sizes = f"{measured.memory / 1e9:.2f}", told, f"{measured.memory_in_all / 1e9:.2f}"
        rows.append((one.stage, *numbers, *sizes, f"{measured.checkpoint / 1e9:.3f} GB"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)


def report_values(found: DryRunReport) -> dict[str, Any]:
    """The same for programs."""
    stages = [asdict(one) | {"predicted_bytes": one.predicted.memory.total} for one in found.stages]
    return {**asdict(found), "stages": stages, "problems": found.problems}
