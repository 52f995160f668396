"""The parts of a recipe made, loaded, put together into a pipeline, and written into the model folders of a run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from synesthete import seeding
from synesthete.denoisers.denoiser import Denoiser
from synesthete.diffusion.sampling import scheduler_for
from synesthete.io import read_json, write_folder
from synesthete.nn.part import first_misfit
from synesthete.objectives import Denoising, Distillation, Parts
from synesthete.objectives.denoising import few_steps
from synesthete.pipeline import Pipeline
from synesthete.training.checkpoint import latest_checkpoint, reading
from synesthete.training.optim import groups_of
from synesthete.training.run_folder import stage_folder
from synesthete.training.sharding import are_pieces_in, read_model
from synesthete.types import InputError, Prepared

if TYPE_CHECKING:
    from synesthete.config import Recipe, Stage
    from synesthete.training.weights import Weights

__all__ = ["make_parts", "make_pipeline"]


def make_parts(recipe: Recipe, prepared: Prepared) -> Parts:
    """The recipe's parts with fresh weights, which depend on the seed alone; the codec as measured."""
    torch.manual_seed(seeding.derive(recipe.seed, "weights"))
    parts = Parts(recipe.codec(), recipe.conditioner(**prepared.told), recipe.denoiser(), recipe.process())
    # What a codec is to learn is of the seed, too, not of whenever the data were prepared.
    fresh = {name: weight for name, weight in parts.codec.named_parameters() if weight.requires_grad}
    parts.codec.load_state_dict({**prepared.statistics, **fresh})
    return parts


ADAPTERS = "adapters"  # in a model's folder: those alone
BASE = "base"  # in a checkpoint's state: what its base is, where its weights are left out
STARTED = ("conditioner", "denoiser")  # the parts that a training can begin with


def load_start_weights(
    parts: Parts,
    model: Path,
    *,
    same_base: bool = False,
    names: tuple[str, ...] | None = None,
    as_teacher: bool = False,
) -> None:
    """Begin with the conditioner and the denoiser of a finished model, or those of `names`, each whole or not at all.

    Class names may differ; the codec stays as measured on the new data, unless it has learned: then it comes along.
    A conditioner takes what it can begin with of another kind's (`Conditioner.weights_of`): voices that both know, the
    eyes of one that is told none, the reader of text of one that hears by another encoder.
    same_base: of a denoiser that is a published base with adapters, the model's has to be the same one. as_teacher: it
    is to be distilled, so its codec comes along: its x_0 are what is learned.

    Raises:
        InputError: a model whose parts have other weights or shapes, or another base, or no such part, or a teacher
            that was distilled or is not whole.
    """
    if unknown := set(names or ()) - set(STARTED):
        raise InputError(f"--parts {', '.join(sorted(unknown))}: no part to begin with; there are {', '.join(STARTED)}")
    if as_teacher and names is not None:
        raise InputError("few steps are learned from the whole of a model; leave --parts out")
    pipeline = Pipeline.load(str(model))
    if as_teacher and pipeline.folded_guidance is not None:
        raise InputError(f"{model}: has learned few steps already; give --from the model that it learned them from")
    if same_base:
        check_same_base(parts.denoiser, pipeline.denoiser, model)
    learned = any(weight.requires_grad for weight in parts.codec.parameters())
    for name in (*(names or STARTED), *(["codec"] if learned or as_teacher else [])):
        own, other = parts.modules()[name], getattr(pipeline, name)
        others = parts.conditioner.weights_of(other) if name == "conditioner" else other.state_dict()
        if misfit := first_misfit(own.state_dict(), others):
            raise InputError(
                f"{model}: its {name} does not fit this recipe ({misfit}); "
                f"set the recipe's {name} as the model's recipe.yaml has it, take others with --parts, "
                "or train without --from"
            )
        own.load_state_dict(others)


def begin_stage(
    recipe: Recipe,
    prepared: Prepared,
    folder: Path,
    number: int,
    start: Path | None = None,
    names: tuple[str, ...] | None = None,
) -> Parts:
    """The parts as a stage begins with them, made anew: the stage before may have cut its own into pieces."""
    parts = make_parts(recipe, prepared)
    if number and (latest := latest_checkpoint(stage_folder(folder, recipe, number - 1))):
        load_checkpoint(parts, latest)
    elif start is not None:
        load_start_weights(parts, start, same_base=is_adapted(recipe), names=names, as_teacher=begins_distilled(recipe))
    return parts


def check_same_base(denoiser: Any, other: Any, model: Path) -> None:
    """Make sure that what was trained beside one base does not go on beside another."""
    from synesthete.denoisers.adapters import base_digests  # with diffusers' networks, which most models are not of

    own, others = (base_digests(one.unet) if one.has_base else {} for one in (denoiser, other))
    if not any(own[precision] == others[precision] for precision in own.keys() & others.keys()):
        named = other.config.get("model") or "a base of its own"
        raise InputError(
            f"{model}: trained beside {named}, and the recipe's base {denoiser.config.model} is another; "
            "--set denoiser.model to that one, or train without --from"
        )


def make_pipeline(recipe: Recipe, parts: Parts, class_names: tuple[str, ...], stage: Stage | None = None) -> Pipeline:
    """The parts as a pipeline with the recipe's sampling settings, or those that it learned few steps for.

    stage: that the parts are of; the last one where None.
    """
    sampling = vars(recipe.sampling)
    card: dict[str, Any] = {"recipe": recipe.name, "task": recipe.task, "class_names": list(class_names)}
    if (fast := distilled(recipe, stage)) is not None:
        if parts.conditioner.reads != "nothing":
            card["folded_guidance"] = sampling["guidance_scale"]
        unguided = {"guidance_scale": 1.0, "guidance_rescale": 0.0, "audio_guidance_scale": None}
        sampling = sampling | few_steps(parts.process, fast.num_inference_steps) | unguided
    return Pipeline(
        **parts.modules(),
        scheduler=scheduler_for(sampling, parts.process),
        process=parts.process.settings(),
        sampling=sampling,
        card=card,
    )


def begins_distilled(recipe: Recipe) -> bool:
    """Whether the first stage that trains the denoiser learns few steps, and so needs a trained one to begin with."""
    first = next((stage for stage in recipe.stages if stage.trains("denoiser")), None)
    return first is not None and distilled(recipe, first) is not None


def distilled(recipe: Recipe, stage: Stage | None = None) -> Distillation | None:
    """The objective by which the denoiser learned few steps, up to a stage (None: the last); None where by none."""
    found = None
    for one in recipe.stages:
        if one.trains("denoiser") and denoises(one):
            found = one.objective() if issubclass(one.objective.target, Distillation) else None
        if one is stage:
            break
    return found


def load_checkpoint(parts: Parts, checkpoint: Path) -> None:
    """The weights of a checkpoint of any stage into the parts."""
    with reading(checkpoint):
        state, left_out = read_json(checkpoint / "state.json"), frozenset[str]()
        if state.get(BASE):
            check_same_digests(base_of(parts), state, checkpoint)
            left_out = base_names(parts)
        if are_pieces_in(checkpoint):
            load_state(parts, read_model(checkpoint), left_out)
        else:
            load_state(parts, load_file(checkpoint / "model.safetensors"), left_out)


def base_names(parts: Parts) -> frozenset[str]:
    """The weights of a published base, by the names that an objective has for them; none of a denoiser without one."""
    if not parts.denoiser.has_base:
        return frozenset()
    base = {id(weight) for weight in parts.denoiser.groups()["base"]}
    return frozenset(f"denoiser.{name}" for name, weight in parts.denoiser.named_parameters() if id(weight) in base)


def base_of(parts: Parts) -> dict[str, str]:
    """What tells a published base from another."""
    from synesthete.denoisers.adapters import base_digests  # with diffusers' networks, which most models are not of

    return base_digests(parts.denoiser.unet)


def check_same_digests(own: Mapping[str, str] | None, state: Mapping[str, Any], checkpoint: Path) -> None:
    """Make sure that a checkpoint (its `state`) that left its base out is gone on from beside the same one, `own`."""
    if state.get(BASE) != own:
        raise InputError(f"{checkpoint}: trained beside another base than denoiser.model is now; give it that one back")


def load_state(parts: Parts, state: Mapping[str, torch.Tensor], left_out: frozenset[str] = frozenset()) -> None:
    """An objective's state into the parts that it holds; what is its own is left out. left_out: weights that stay."""
    for name, module in parts.modules().items():
        stay = {k: v for k, v in module.state_dict().items() if f"{name}.{k}" in left_out}
        own = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
        module.load_state_dict({**stay, **own})


def denoises(stage: Stage) -> bool:
    """Whether a stage learns to denoise, whichever weights it moves."""
    target = stage.objective.target
    return inspect.isclass(target) and issubclass(target, Denoising)


def is_adapted(recipe: Recipe) -> bool:
    """Whether a published base is trained by adapters alone, so that they are all there is to keep."""
    target = recipe.denoiser.target
    if not (inspect.isclass(target) and issubclass(target, Denoiser) and target.has_base):
        return False
    if recipe.denoiser.network is not None:
        return False
    return not any(name in ("denoiser", "denoiser.base") for stage in recipe.stages for name in stage.train)


class Models:
    """What a stage of a run writes of what it has learned.

    `model`, whole, at every checkpoint, with `adapters` in it where a published base was adapted. Where several stages
    denoise, `after-<stage>` as well, at the end of each: a whole model, or adapters alone.

    Attributes:
        are_made: whether the stage writes any; an alignment leaves a denoiser that has learned nothing.
        go_on: whether stages follow that build on what these folders hold, the averaged weights.
    """

    def __init__(self, recipe: Recipe, stage: Stage, folder: Path, class_names: tuple[str, ...]) -> None:
        self.recipe, self.stage, self.folder, self.class_names = recipe, stage, folder, class_names
        making = [one for one in recipe.stages if denoises(one) or one.trains("denoiser") or one is recipe.stages[-1]]
        self.are_made = any(one is stage for one in making)
        self._is_last = making[-1] is stage
        several = sum(map(denoises, recipe.stages)) > 1
        self.go_on = several and stage is not recipe.stages[-1]
        self._end = folder / f"after-{stage.name}" if several and denoises(stage) else None

    def write(self, weights: Weights, now: bool = True, at_end: bool = False) -> None:
        """The model by its averages: `now` as it is, `at_end` as the stage leaves it, where several stages denoise."""
        if not (now or at_end):
            return
        with weights.averaged() as parts:
            if parts is not None and now:
                write_folder(self.folder / "model", partial(self._fill, parts))
            if parts is not None and at_end and self._end is not None:
                alone = is_adapted(self.recipe) and set(groups_of(parts.conditioner)) <= {"sound"}
                write_folder(self._end, partial(self._fill, parts, whole=not alone))

    def mend(self, weights: Weights) -> None:
        """Write what the finished stage has to leave and somebody has removed."""
        now = self._is_last and not (self.folder / "model").is_dir()
        self.write(weights, now, at_end=self._end is not None and not self._end.is_dir())

    def _fill(self, parts: Parts, folder: Path, whole: bool = True) -> None:
        """The pipeline and its adapters, and the recipe that it can be evaluated and repeated by."""
        dtype = getattr(torch, self.recipe.weights)
        pipeline = make_pipeline(self.recipe, parts, self.class_names, self.stage)
        if whole:
            pipeline.save(folder, dtype)
        if is_adapted(self.recipe):
            from synesthete.denoisers.adapters import save_adapters  # with diffusers' networks, which few models are of

            save_adapters(pipeline, folder / ADAPTERS if whole else folder, dtype)
        (folder / "recipe.yaml").write_text(self.recipe.to_yaml(), encoding="utf-8")
