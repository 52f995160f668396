"""A recipe, its stages and sampling settings: to YAML and back, every field overridable."""

from __future__ import annotations

import contextlib
import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field

from synesthete.config.build import Build, checked, holds_build, parameters, plain, resolved, shorten, suggestion
from synesthete.config.document import read_yaml, read_yaml_file
from synesthete.types import InputError

# The fields of a recipe that are no parts.
PLAIN = ("name", "task", "weights", "seed")

KEEP_CHECKPOINTS = 2  # of a stage that trains, at a time

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
# Names become folders.
Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
PARTS = ("codec", "conditioner", "denoiser")


def check_part(name: str) -> str:
    """A part's name, or that of a group of its parameters: `denoiser`, `denoiser.lora`."""
    part, dot, group = name.partition(".")
    if part not in PARTS or (dot and not group.isidentifier()):
        raise InputError(f"{name!r} is no part or group of one, such as denoiser.lora{suggestion(part, PARTS)}")
    return name


# What a stage trains.
Trained = Annotated[str, AfterValidator(check_part)]


@dataclass
class Stage:
    """One leg of training: what is minimised, over which parts, for how many optimiser steps.

    Args:
        objective: a build of an objective. train: the parts whose weights move, or groups of them that a part declares,
            such as denoiser.lora; all others are frozen.
        num_steps: optimiser steps. batch_size: samples a step, over all processes and accumulations together.
        learning_rate: the peak, reached after `num_warmup_steps` and followed by half a cosine to `min_learning_rate`.
        cosine_restarts: steps at which warm-up and cosine begin anew (Loshchilov & Hutter 2017), in rising order, such
            as the number that a finished run had, which is to go on.
        weight_decay, betas: of AdamW; vectors are not decayed.
        gradient_clip: largest gradient norm. ema_decay: of the averaged weights; None keeps none.
        precision: "auto" is bf16 where the processor multiplies it in hardware, float32 elsewhere.
        gradient_checkpointing: compute activations twice to hold fewer. compile: the denoiser, by torch.compile.
        num_views: looks at every picture, each augmented anew, that are computed once and kept; what the conditioner
            looks with then learns no more. 0 looks anew in every step.
        captions: which of data.captions are told in this stage; None: all.
        checkpoint_every, preview_every, log_every: in optimiser steps.
        spike_patience: steps that the loss may stay far above its level before the run goes back to its last good
            state, from where other batches follow; None never goes back. max_rollbacks: from one place before it stops.
    """

    name: Name
    objective: Any
    num_steps: Count = 1000
    batch_size: Count = 64
    train: tuple[Trained, ...] = ("denoiser", "conditioner")
    learning_rate: Positive = 1e-3
    min_learning_rate: Annotated[float, Field(ge=0)] = 1e-5
    num_warmup_steps: Annotated[int, Field(ge=0)] = 50
    cosine_restarts: tuple[Count, ...] = ()
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    betas: tuple[Share, Share] = (0.9, 0.98)
    gradient_clip: Positive = 1.0
    gradient_accumulation_steps: Count = 1
    ema_decay: Share | None = 0.995
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    gradient_checkpointing: bool = False
    compile: bool = False
    num_views: Annotated[int, Field(ge=0)] = 0
    captions: tuple[str, ...] | None = None
    checkpoint_every: Count = 250
    preview_every: Count = 500
    log_every: Count = 10
    spike_patience: Count | None = 20
    max_rollbacks: Count = 3

    def __setattr__(self, name: str, value: Any) -> None:
        known = [f.name for f in fields(self)]
        if name not in known:
            kind = type(self).__name__.lower()
            raise InputError(f"{kind} has no field {shorten(name)}{suggestion(name, known)}")
        object.__setattr__(self, name, checked(type(self), name, value))

    def trains(self, part: str) -> bool:
        """Whether any weights of a part move."""
        return any(name.partition(".")[0] == part for name in self.train)


def step_of(checkpoint: Path) -> int:
    """The step of a stage that a checkpoint, a folder `step_...`, was written after."""
    return int(checkpoint.name.removeprefix("step_"))


@dataclass
class Sampling:
    """How a finished model samples unless told otherwise; saved with it.

    Args:
        timestep_spacing: of a beta schedule. "trailing" begins at the terminal timestep, pure noise to the network;
            "linspace" too, with a last step at or near timestep 0; "leading" begins a step short of it, which a network
            takes for a picture with little left to decide: for comparison with models sampled so (Lin et al. 2024,
            section 3.3). Between its ends heun's steps are even in the logarithm of noise over signal. Of a flow,
            "trailing" is even in time and "log_snr" even in log SNR, for data whose whole level varies (Lu et al. 2022,
            section 4.1).
        timestep_shift: of a flow's even steps; above 1, more of them are near noise (Esser et al. 2024, section 5.3.2).
        solver_order: of dpmsolver++ and unipc, 1 to 3; None leaves it to the sampler (2).
        guidance_scale: 1 is off, 0 the unconditional prediction alone.
        audio_guidance_scale: of a model that is told a text and a sound, how far the sound leads beside the text, whose
            scale guidance_scale then is (Brooks et al. 2023, section 3.2.1). None leads by both at once.
        guidance_interval: where guidance is on, in fractions of the way to noise.
        adapter_scale: of such a model, how much its network listens to the sound; 1 as it was trained, 0 not at all.
        guidance_rescale: how far a guided prediction is given the spread of the plain one (Lin et al. 2024, 3.4).
        eta: of ddim, which adds that share of ddpm's noise in every step.
        precision: of the matrix products: "no" is float32, "auto" bf16 where the processor has it in hardware.
    """

    sampler: str = "flow-euler"
    num_inference_steps: Count = 10
    timestep_spacing: Literal["trailing", "linspace", "leading", "log_snr"] = "trailing"
    timestep_shift: Positive = 1.0
    solver_order: Annotated[int, Field(ge=1, le=3)] | None = None
    guidance_scale: float = 3.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_rescale: Fraction = 0.0
    audio_guidance_scale: float | None = None
    adapter_scale: Annotated[float, Field(ge=0, le=2)] = 1.0
    eta: Fraction = 0.0
    precision: Literal["auto", "no", "bf16"] = "no"

    __setattr__ = Stage.__setattr__


@dataclass
class Recipe:
    """An experiment: the parts, how they are trained and how the result samples. Each part is a build.

    task: what kind of system it makes: image-to-speech, music, audio-to-image, images, or one that was registered.
    weights: how the finished model's weights are written; training keeps float32 in its checkpoints.
    """

    name: Name
    task: Name
    data: Any
    codec: Any
    conditioner: Any
    denoiser: Any
    process: Any
    stages: list[Stage]
    sampling: Sampling = field(default_factory=Sampling)
    weights: Literal["float32", "float16", "bfloat16"] = "float32"
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, every default written out."""
        return plain(self)

    def to_yaml(self) -> str:
        """The resolved recipe as YAML."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, width=120, allow_unicode=True)

    @staticmethod
    def from_dict(values: Mapping[str, Any], where: str = "recipe") -> Recipe:
        """The recipe that `to_dict` wrote.

        Raises:
            InputError: a missing or unknown key, or a class that is neither of this package nor registered.
        """
        known = [f.name for f in fields(Recipe)]
        for key in values:
            if key not in known:
                raise InputError(f"{where}: no field {shorten(key)}{suggestion(key, known)}")
        missing = [f for f in known if f not in values and f not in ("sampling", "weights", "seed")]
        if missing:
            raise InputError(f"{where}: {', '.join(missing)} missing; start from `synesthete show NAME --yaml`")
        values = {key: resolved(value, f"{where}: {key}") for key, value in values.items()}
        stages, sampling = values["stages"], values.get("sampling", {})
        if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
            raise InputError(f"{where}: stages: give a list of stages, each with a name, an objective and its fields")
        if not isinstance(sampling, dict):
            raise InputError(f"{where}: sampling: give its fields, such as num_inference_steps: 10")
        parts = {key: values[key] for key in ("data", "codec", "conditioner", "denoiser", "process")}
        parts |= {f"stages.{i}.objective": stage["objective"] for i, stage in enumerate(stages) if "objective" in stage}
        for key, part in parts.items():
            if not isinstance(part, Build):
                raise InputError(f"{where}: {key}: no part; give its class and its fields")
        values["stages"] = [filled(Stage, stage, f"{where}: stages.{i}") for i, stage in enumerate(stages)]
        values["sampling"] = filled(Sampling, sampling, f"{where}: sampling")
        try:
            values |= {k: checked(Recipe, k, values[k]) for k in PLAIN if k in values}
            return Recipe(**values)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None

    @staticmethod
    def load(path: Path) -> Recipe:
        """A recipe from a YAML file."""
        values = read_yaml_file(Path(path), "give a recipe's name or file")
        if not isinstance(values, dict):
            raise InputError(f"{path}: not a recipe; write one with `synesthete show NAME --yaml`")
        return Recipe.from_dict(values, str(path))

    def set(self, assignment: str) -> None:
        """Apply `key=value`: dots go inwards, a stage is named or numbered, the value is YAML.

        `denoiser.depth=24`, `stages.denoise.num_steps=100`, `data.sources.0.path=digits`.
        """
        key, value = read_assignment(assignment)
        *path, last = key.split(".")
        holder: Any = self
        for step in path:
            there = children(holder)
            if step not in there:
                raise self._unknown(key, step, there)
            holder = there[step]
        self._assign(holder, last, value, key)

    def keep_stages(self, names: Sequence[str]) -> None:
        """Train these stages alone, in the recipe's order.

        Raises:
            InputError: a stage that the recipe does not have, or none.
        """
        known = [stage.name for stage in self.stages]
        for name in names:
            if name not in known:
                raise InputError(f"recipe {self.name} has no stage {shorten(name)}{suggestion(name, known)}")
        if not names:
            raise InputError(f"recipe {self.name}: no stage given; it has {', '.join(known)}")
        self.stages = [stage for stage in self.stages if stage.name in names]

    def _assign(self, holder: Any, last: str, value: Any, key: str) -> None:
        known = {} if isinstance(holder, list | tuple) else children(holder)
        if last not in known:
            raise self._unknown(key, last, known)
        current = known[last]
        value = resolved(value, f"recipe {self.name}: {key}")
        if holds_build(current) or isinstance(current, Sampling) or last == "stages":
            off = value is None and isinstance(holder, Build) and parameters(holder.target)[last].default is None
            kind: Any = list | tuple if isinstance(current, tuple) else type(current)
            if isinstance(value, str) and isinstance(holder, Build):  # a part may be chosen by name
                with contextlib.suppress(InputError):
                    value = checked(holder.target, last, value)
            if not off and not (isinstance(value, kind) and holds_build(value)):
                raise InputError(
                    f"recipe {self.name}: {key} is a part; set one of its fields, such as {key}.NAME=VALUE"
                )
        try:
            setattr(holder, last, checked(Recipe, last, value) if holder is self and last in PLAIN else value)
        except InputError as error:
            raise InputError(f"recipe {self.name}: {key}: {error}") from None

    def _unknown(self, key: str, wrong: str, known: Any) -> InputError:
        near = difflib.get_close_matches(wrong, list(known), n=1)
        better = ".".join(near[0] if step == wrong else step for step in key.split(".")) if near else None
        rest = f"did you mean {better!r}?" if better else f"there: {', '.join(known) or 'nothing to set'}"
        return InputError(f"recipe {self.name} has no field {shorten(key)}; {rest}")


def filled(kind: type, values: dict[str, Any], where: str) -> Any:
    """A stage or the sampling settings from plain values."""
    known = parameters(kind)
    for key in values:
        if key not in known:
            raise InputError(f"{where} has no field {shorten(key)}{suggestion(key, known)}")
    missing = [name for name, p in known.items() if p.default is inspect.Parameter.empty and name not in values]
    if missing:
        raise InputError(f"{where}: {', '.join(missing)} missing")
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def read_assignment(assignment: str) -> tuple[str, Any]:
    """`key=value` taken apart, the value read as YAML.

    Raises:
        InputError: no equals sign, or not YAML.
    """
    key, separator, text = assignment.partition("=")
    if not separator or not key:
        raise InputError(f"--set {shorten(assignment)}: write key=value, such as denoiser.depth=24")
    try:
        value = read_yaml(text)
    except InputError as error:
        raise InputError(f"--set {shorten(assignment)}: the value is {error}; quote it") from None
    if isinstance(value, str):
        with contextlib.suppress(ValueError):  # YAML 1.1 reads 1e-3 as a string; people mean the number
            value = float(value)
    return key, value


def children(holder: Any) -> dict[str, Any]:
    """What can be reached from a build, a stage, a recipe, or a list.

    An item of a list is called by its place, and by a stage's name or a build's class in lower case.
    """
    if isinstance(holder, Build):
        return holder.fields
    if isinstance(holder, list | tuple):
        names = [i.target.__name__.lower() if isinstance(i, Build) else str(getattr(i, "name", "")) for i in holder]
        return {name: item for i, item in reversed([*enumerate(holder)]) for name in (names[i], str(i))}
    return {f.name: getattr(holder, f.name) for f in fields(holder)} if is_dataclass(holder) else {}
