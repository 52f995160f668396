"""A finished model: codec, conditioner, denoiser and scheduler, which diffusers can save, load and share."""

from __future__ import annotations

import contextlib
import copy
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging
from torch import nn

from synesthete import hub, seeding
from synesthete.config import Sampling, class_name, find_class
from synesthete.diffusion.guidance import guided_by_two
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import sample, scheduler_for
from synesthete.logs import PACKAGE
from synesthete.nn.device import find_device
from synesthete.nn.precision import autocast
from synesthete.pipeline.adapted import adapted, find_adapters
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from synesthete.types import Condition

    Denoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass
class Output:
    """What a pipeline returns: the signal (waveform (B, S) or picture (B, C, H, W)) and the x_0 it was decoded from."""

    signal: torch.Tensor
    x_0: torch.Tensor


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Loading takes a blink; diffusers' bar for it would stand between our lines."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


class Pipeline(DiffusionPipeline):
    """Condition in, signal out.

    Args:
        process: settings of the `Process` that the denoiser was trained on.
        sampling: the fields of `Sampling`, unless a call says otherwise.
        card: what the model is: recipe and task, class names and words, how its pictures are to be read.
    """

    model_cpu_offload_seq = "conditioner->denoiser->codec"

    def __init__(
        self,
        codec: Any,
        conditioner: Any,
        denoiser: Any,
        scheduler: Any,
        process: dict[str, Any] | None = None,
        sampling: dict[str, Any] | None = None,
        card: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(codec=codec, conditioner=conditioner, denoiser=denoiser, scheduler=scheduler)
        self.register_to_config(process=process or {}, sampling=sampling or {}, card=card or {})
        self.process = Process(**self.config.process)

    def register_to_config(self, **values: Any) -> None:
        """As every diffusers pipeline; parts of this package, and registered ones, by the registry's short names."""
        for slot, value in values.items():
            if isinstance(value, tuple) and len(value) == 2 and value[0] not in (None, "diffusers", PACKAGE):
                values[slot] = (PACKAGE, class_name(getattr(sys.modules[value[0]], value[1])))
        super().register_to_config(**values)

    @classmethod
    def from_pretrained(cls, name: str | Path, **kwargs: Any) -> Pipeline:
        """As every diffusers pipeline; nothing but diffusers' parts and those that the registry names is imported."""
        where = {key: kwargs[key] for key in ("revision", "cache_dir", "local_files_only", "token") if key in kwargs}
        for slot, part in cls.load_config(str(name), **where).items():
            if not isinstance(part, list | tuple) or len(part) != 2 or part[0] == "diffusers":
                continue
            library, kind = map(str, part)
            if library.split(".")[0] != PACKAGE:
                raise InputError(
                    f"{name}: its {slot} is of {library!r}; only parts of {PACKAGE} and diffusers are loaded"
                )
            try:
                find_class(kind if library == PACKAGE else f"{library}.{kind}")
            except InputError as error:
                raise InputError(f"{name}: its {slot}: {error}") from None
        kwargs.setdefault("use_safetensors", True)
        return super().from_pretrained(str(name), **kwargs)

    @staticmethod
    def load(model: str, device: str | torch.device = "cpu") -> Pipeline:
        """A pipeline from a run folder, a model folder, a Hub id, a shipped model's name or adapters, in float32.

        device: as `find_device`. All noise is drawn on the CPU, so that a seed means the same on any device.

        Raises:
            InputError: no such model, a model of another kind, damaged files, or no such device on this machine.
        """
        place = find_device(str(device))
        if (adapters := find_adapters(model)) is not None:
            pipeline = Pipeline(**adapted(adapters))
            for name in ("codec", "conditioner", "denoiser"):
                nn.Module.to(getattr(pipeline, name), place, torch.float32)
            return pipeline
        folder = hub.find_model(model)
        try:
            index = dict(json.loads((folder / hub.MODEL_INDEX).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            raise InputError(f"{folder / hub.MODEL_INDEX}: damaged; train or copy the model again") from None
        kind = index.get("_class_name")
        if kind == "Cascade":
            raise InputError(f"{model}: two models, one after the other; give one of them, {model}/base or the like")
        if kind != Pipeline.__name__:
            raise InputError(f"{model}: a {kind}, not a Synesthete model; load it with diffusers, or give another")
        try:
            with without_bars():
                pipeline = Pipeline.from_pretrained(folder)
        except InputError:
            raise
        except Exception as error:  # whatever a damaged file makes diffusers or safetensors say
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(f"{folder}: cannot be loaded ({reason}); train or copy the model again") from None
        for name in ("codec", "conditioner", "denoiser"):
            part = getattr(pipeline, name)
            # diffusers only warns of weights that the file lacks, and leaves them without values.
            if missing := [key for key, value in part.state_dict().items() if value.is_meta]:
                raise InputError(f"{folder}: its {name} lacks {missing[0]}; made by another version, train again")
            nn.Module.to(part, place, torch.float32)
        return pipeline

    @property
    def class_names(self) -> list[str]:
        """The classes the model was trained on, in the order of their numbers."""
        return list(self.config.card.get("class_names", []))

    @property
    def is_conditional(self) -> bool:
        """Whether the model is told anything; one that is not has nothing to be guided by."""
        return self.conditioner.reads != "nothing"

    def preprocess(self, pictures: Sequence[Any]) -> torch.Tensor:
        """Pictures as the conditioner reads them, (B, C, H, W) uint8.

        Raises:
            InputError: a model that is told classes, not shown pictures.
        """
        if self.conditioner.reads != "image":
            raise InputError(f"this model reads {type(self.conditioner).__name__}, not pictures; give another model")
        return self.conditioner.preprocess(pictures)

    @property
    def has_two_sources(self) -> bool:
        """Whether the model is told a text and a sound, each with a scale of guidance of its own."""
        return self.conditioner.reads == "audio_text"

    @torch.no_grad()
    def conditions(self, raw: torch.Tensor) -> tuple[Condition, Condition]:
        """The condition and the null of a batch, keys and values computed."""
        raw = raw.to(self.device)
        condition, null = self.conditioner.encode(raw), self.conditioner.null(len(raw))
        return self.denoiser.precompute(condition), self.denoiser.precompute(null)

    @torch.no_grad()
    def branches(self, raw: Any, negative: str | Sequence[str] | None = None) -> tuple[Condition, Condition, Condition]:
        """Told nothing or the negative prompt, the text, and the text and the sound, keys and values computed.

        Without two sources the latter two are one; two that are the same object stay so.
        """
        if not self.has_two_sources:
            condition, null = self.conditions(raw)
            return null, condition, condition
        told = self.conditioner.branches(raw.to(self.device), negative)
        ready = {id(condition): self.denoiser.precompute(condition) for condition in told}
        none, text, both = (ready[id(condition)] for condition in told)
        return none, text, both

    def trajectory(
        self,
        raw: Any,
        *,
        generators: Sequence[torch.Generator] | None = None,
        noise: torch.Tensor | None = None,
        around: Callable[[Denoise], Denoise] | None = None,
        start: torch.Tensor | None = None,
        strength: float = 1.0,
        negative: str | Sequence[str] | None = None,
        **sampling: Any,
    ) -> Iterator[torch.Tensor]:
        """Every x_t (B, C, H, W) from noise to x_0. Arguments as for a call.

        around: put around the guided denoiser, to see what goes in and to change what comes out.
        """
        settings = self.sampling_settings(**sampling)
        if negative is not None and not self.has_two_sources:
            raise InputError("this model reads no prompts of one's own: leave the negative prompt out")
        with autocast(self.device, settings["precision"]), self._adapter_scaled(settings):
            branches = self.branches(raw, negative)
        generators = list(generators or seeding.sample_generators(0, len(raw)))
        scheduler = scheduler_for(settings, self.process)
        if noise is None:
            noise = seeding.randn(self.codec.shape, generators)
        scale, audio_scale = settings["guidance_scale"], settings["audio_guidance_scale"]
        denoise = guided_by_two(
            self._denoise,
            branches,
            scale,
            scale if audio_scale is None else audio_scale,
            tuple(settings["guidance_interval"]),
            rescale=settings["guidance_rescale"],
            num_train_timesteps=self.process.num_train_timesteps,
        )
        if around is not None:
            denoise = around(denoise)
        steps = sample(
            denoise,
            scheduler,
            noise.to(self.device, torch.float32),
            num_inference_steps=settings["num_inference_steps"],
            eta=settings["eta"],
            generators=generators,
            start=None if start is None else start.to(self.device, torch.float32),
            strength=strength,
        )
        # A decorator would end at the first yield: the network must not keep gradients while the caller looks.
        while True:
            with torch.no_grad(), autocast(self.device, settings["precision"]), self._adapter_scaled(settings):
                x_t = next(steps, None)
            if x_t is None:
                return
            yield x_t

    @torch.no_grad()
    def __call__(
        self,
        raw: Any,
        *,
        generators: Sequence[torch.Generator] | None = None,
        noise: torch.Tensor | None = None,
        start: torch.Tensor | None = None,
        strength: float = 1.0,
        negative: str | Sequence[str] | None = None,
        **sampling: Any,
    ) -> Output:
        """Samples for a batch of raw conditions.

        raw: what `preprocess` or the conditioner's `compose` returned, (B, ...). generators: one a sample, so that a
            batch equals its singles; of seed 0 where None. noise: (B, C, H, W), in place of the generators' own.
        start: x_0 (B, C, H, W) to vary, `strength` in (0, 1] of the steps from noise. negative: a prompt to be led
            away from, or one a sample, for models that read prompts. sampling: any of the model's sampling settings.

        Raises:
            InputError: an unknown sampling setting or sampler, no such strength, or a negative prompt for a model that
                reads none.
        """
        generators = list(generators or seeding.sample_generators(0, len(raw)))
        how: dict[str, Any] = {"noise": noise, "start": start, "strength": strength, "negative": negative}
        *_, x_0 = self.trajectory(raw, generators=generators, **how, **sampling)
        return Output(self.codec.decode(x_0, generators), x_0)

    def sampling_settings(self, **changes: Any) -> dict[str, Any]:
        """The model's own sampling settings with `changes` (None leaves a setting as it is).

        With another sampler than the model's own, `eta` and `solver_order`, which were chosen for that one, are unset.

        Raises:
            InputError: a setting that does not exist or is out of range, settings that do not fit each other or the
                process, guidance of a model that is told nothing, or by a sound of one that hears none.
        """
        settings = vars(Sampling()) | dict(self.config.sampling)
        if changes.get("sampler") not in (None, settings["sampler"]):
            settings |= {name: getattr(Sampling(), name) for name in ("eta", "solver_order")}
        if not self.is_conditional:
            settings["guidance_scale"] = 1.0
        for name, value in changes.items():
            if name not in settings:
                raise InputError(f"no sampling setting {name!r}; there are {', '.join(settings)}")
            if value is not None:
                settings[name] = value
        if settings["num_inference_steps"] < 1:
            raise InputError(f"num_inference_steps {settings['num_inference_steps']}: give at least 1")
        if not self.is_conditional and settings["guidance_scale"] not in (0.0, 1.0):
            raise InputError(
                f"guidance_scale {settings['guidance_scale']}: this model is told nothing that could guide it; "
                "leave guidance_scale unset, or at 1"
            )
        if settings["audio_guidance_scale"] is not None and not self.has_two_sources:
            raise InputError(
                f"audio_guidance_scale {settings['audio_guidance_scale']}: this model hears no sound beside a text; "
                "leave it unset, guidance_scale is all it has"
            )
        if settings["adapter_scale"] != 1.0 and self.denoiser.adapter_scale is None:
            raise InputError(
                f"adapter_scale {settings['adapter_scale']}: this model hears no sound that could be made weaker or "
                "stronger; leave adapter_scale unset"
            )
        checked = Sampling()
        for name, value in settings.items():
            setattr(checked, name, value)
        scheduler_for(vars(checked), self.process)
        return dict(vars(checked))

    @contextlib.contextmanager
    def _adapter_scaled(self, settings: dict[str, Any]) -> Iterator[None]:
        """The network listening as much as asked for, then as it was."""
        before = self.denoiser.adapter_scale
        if before in (None, settings["adapter_scale"]):
            yield
            return
        self.denoiser.adapter_scale = settings["adapter_scale"]
        try:
            yield
        finally:
            self.denoiser.adapter_scale = before

    def _denoise(self, x_t: torch.Tensor, timestep: torch.Tensor, condition: Condition) -> torch.Tensor:
        """The network's prediction, in the form the scheduler takes: velocity on a flow, its own otherwise."""
        timestep = timestep.to(x_t.device).expand(len(x_t))
        weights = self.denoiser.dtype
        prediction = self.denoiser(x_t.to(weights), timestep, condition).float()
        return self.process.convert(prediction, x_t.float(), timestep, self.process.sampler_space)

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write the model folder, weights of denoiser and conditioner as `dtype`; the codec keeps its own."""
        # Copies: rounding the parts themselves would round the weights of a run that is still training.
        parts = {name: nn.Module.to(copy.deepcopy(getattr(self, name)), dtype) for name in ("conditioner", "denoiser")}
        settings = {name: dict(self.config[name]) for name in ("process", "sampling", "card")}
        Pipeline(codec=self.codec, scheduler=self.scheduler, **parts, **settings).save_pretrained(str(folder))
