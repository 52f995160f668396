"""A finished model: codec, conditioner, denoiser and scheduler, saved, loaded and shared in diffusers' layout."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from synesthete import hub, seeding
from synesthete.config import Sampling, class_name
from synesthete.diffusion.guidance import guided_by_two
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import check_sampling, sample, scheduler_for
from synesthete.logs import PACKAGE
from synesthete.nn.part import CastOnce, Config, autocast, find_device
from synesthete.pipeline.model_card import PIPELINE, find_part_class, read_index, upload, write_card
from synesthete.types import Condition, InputError, first_line

if TYPE_CHECKING:
    Denoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass
class Output:
    """What a pipeline returns: the signal (waveform (B, S) or picture (B, C, H, W)) and the x_0 it was decoded from."""

    signal: torch.Tensor
    x_0: torch.Tensor


PARTS = ("codec", "conditioner", "denoiser")
SCHEDULER = "scheduler"


class Pipeline:
    """Condition in, signal out.

    Its folder is one of diffusers' pipelines: model_index.json, and a folder a part. It is none of their classes, for
    importing these takes four times as long as torch; what it needs of them is here.

    Args:
        scheduler: the sampler of its own settings; made when asked for where None.
        process: settings of the `Process` that the denoiser was trained on.
        sampling: the fields of `Sampling`, unless a call says otherwise.
        card: what the model is: recipe and task, class names and words, how its pictures are to be read.

    Attributes:
        on_step: is called with every x_t, its step and the number of steps, by whoever shows or stops a sampling.
        network: what computes the denoiser in its place, called as it is and in float32; None: torch.
    """

    on_step: Callable[[torch.Tensor, int, int], None] | None = None
    network: Any = None

    def __init__(
        self,
        codec: Any,
        conditioner: Any,
        denoiser: Any,
        scheduler: Any = None,
        process: Mapping[str, Any] | None = None,
        sampling: Mapping[str, Any] | None = None,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        self.codec, self.conditioner, self.denoiser, self._scheduler = codec, conditioner, denoiser, scheduler
        self.config = Config(process=dict(process or {}), sampling=dict(sampling or {}), card=dict(card or {}))
        self.process = Process.of(self.config.process)

    @property
    def scheduler(self) -> Any:
        """The sampler that the model's own settings ask for."""
        if self._scheduler is None:
            self._scheduler = scheduler_for(self.sampling_settings(), self.process)
        return self._scheduler

    @property
    def components(self) -> dict[str, Any]:
        """The parts by name, the scheduler among them."""
        return {name: getattr(self, name) for name in (*PARTS, SCHEDULER)}

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.denoiser.device

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Every part through `nn.Module.to`."""
        for name in PARTS:
            nn.Module.to(getattr(self, name), *args, **kwargs)
        return self

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, torch_dtype: torch.dtype | None = None
    ) -> Self:
        """The pipeline in a model folder or a Hub repository; no class but the registry's is imported for one.

        torch_dtype: of all parts; float32 where None.

        Raises:
            InputError: no such model, a model of another kind, or damaged files.
        """
        folder = name
        if not Path(name).is_dir() and hub.is_hub_id(str(name)):
            folder = hub.download(str(name), revision, (*hub.WEIGHTS, hub.CARD))
        hub.check_files(Path(folder))
        index = read_index(Path(folder))
        kinds = {slot: find_part_class(index.get(slot), f"{name}: its {slot}") for slot in PARTS}
        parts = {}
        for slot, kind in kinds.items():
            try:
                parts[slot] = kind.from_pretrained(Path(folder) / slot, torch_dtype=torch_dtype)
            except InputError:
                raise
            except Exception as error:  # whatever a damaged file makes a library say
                reason = first_line(error)
                raise InputError(f"{folder}: cannot be loaded ({reason}); train or copy the model again") from None
        return cls(**parts, **{key: index.get(key) for key in ("process", "sampling", "card")})

    @staticmethod
    def load(model: str, device: str | torch.device = "cpu") -> Pipeline:
        """A pipeline from a run folder, a model folder, a Hub id, a shipped model's name or adapters, in float32.

        device: as `find_device`. All noise is drawn on the CPU, so that a seed means the same on any device.

        Raises:
            InputError: no such model, a model of another kind, damaged files, or no such device on this machine.
        """
        place = find_device(str(device))
        if (adapters := hub.find_adapters(model)) is not None:
            from synesthete.pipeline.adapted import adapted  # with a Stable Diffusion, which most models are not

            return Pipeline(**adapted(adapters)).to(place, torch.float32)
        return Pipeline.from_pretrained(hub.find_model(model)).to(place, torch.float32)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model folder, every part as it is, and a card that has no figures yet."""
        folder = Path(folder)
        index = {"_class_name": PIPELINE, **self.config}
        for name in PARTS:
            part = getattr(self, name)
            part.save_pretrained(folder / name)
            index[name] = [PACKAGE, class_name(type(part))]
        if hasattr(self.scheduler, "save_pretrained"):  # one of diffusers: there for its readers, made anew by ours
            self.scheduler.save_pretrained(folder / SCHEDULER)
            index[SCHEDULER] = ["diffusers", type(self.scheduler).__name__]
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / hub.MODEL_INDEX).write_text(text, encoding="utf-8")
        write_card(folder)

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write the model folder, what has learned as `dtype`; what a codec has measured stays as it is."""
        # Copies: rounding the parts themselves would round the weights of a run that is still training.
        parts = {name: nn.Module.to(copy.deepcopy(getattr(self, name)), dtype) for name in ("conditioner", "denoiser")}
        codec = self.codec
        if codec.is_learned:
            codec = copy.deepcopy(codec)
            for weight in codec.parameters():
                weight.data = weight.data.to(dtype)
        Pipeline(codec=codec, scheduler=self.scheduler, **parts, **self.config).save_pretrained(folder)

    def push_to_hub(self, repository: str, *, private: bool = False, token: str | None = None) -> str:
        """As `upload` of the parts as they are, with a card that has no figures; returns the repository's address."""
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return upload(Path(folder), repository, private=private, token=token)

    @property
    def class_names(self) -> list[str]:
        """The classes the model was trained on, in the order of their numbers."""
        return list(self.config.card.get("class_names", []))

    @property
    def is_conditional(self) -> bool:
        """Whether the model is told anything; one that is not has nothing to be guided by."""
        return self.conditioner.reads != "nothing"

    @property
    def folded_guidance(self) -> float | None:
        """The scale of guidance that the network has learned to give by itself; None where it has not."""
        return self.config.card.get("folded_guidance")

    @property
    def can_be_guided(self) -> bool:
        """Whether a scale of guidance can be asked for: the model is told something, and has no guidance folded in."""
        return self.is_conditional and self.folded_guidance is None

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
    def branches(self, raw: Any, negative: str | Sequence[str] | None = None) -> tuple[Condition, Condition, Condition]:
        """Told nothing or the negative prompt, the text, and the text and the sound, keys and values computed.

        Without two sources the latter two are one; two that are the same object stay so.
        """
        told = self.conditioner.branches(raw.to(self.device), negative)
        different = {id(condition): condition for condition in told}
        ready = {key: self.denoiser.precompute(condition) for key, condition in different.items()}
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
        precision: Any = settings["precision"] if self.network is None else "no"
        if negative is not None and not self.has_two_sources:
            raise InputError("this model reads no prompts of one's own: leave the negative prompt out")
        generators = list(generators or seeding.sample_generators(0, len(raw)))
        with autocast(self.device, precision), self._adapter_scaled(settings):
            branches = self.branches(self.conditioner.complete(raw, generators), negative)
            network = self.network or CastOnce(self.denoiser)
        scheduler = scheduler_for(settings, self.process)
        if noise is None:
            noise = seeding.randn(self.codec.shape, generators)
        scale, audio_scale = settings["guidance_scale"], settings["audio_guidance_scale"]
        denoise = guided_by_two(
            partial(self._denoise, network=network),
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
        for step in itertools.count(1):
            with torch.no_grad(), autocast(self.device, precision), self._adapter_scaled(settings):
                x_t = next(steps, None)
            if x_t is None:
                return
            if self.on_step is not None:
                self.on_step(x_t, step, settings["num_inference_steps"])
            yield x_t

    @torch.no_grad()
    def __call__(self, raw: Any, *, generators: Sequence[torch.Generator] | None = None, **how: Any) -> Output:
        """Samples for a batch of raw conditions. how: the rest of these, as `trajectory` takes them.

        raw: what `preprocess` or the conditioner's `compose` returned, (B, ...). generators: one a sample, so that a
            batch equals its singles; of seed 0 where None. noise: (B, C, H, W), in place of the generators' own.
        start: x_0 (B, C, H, W) to vary, `strength` in (0, 1] of the steps from noise. negative: a prompt to be led
            away from, or one a sample, for models that read prompts. sampling: any of the model's sampling settings.

        Raises:
            InputError: an unknown sampling setting or sampler, no such strength, or a negative prompt for a model that
                reads none.
        """
        generators = list(generators or seeding.sample_generators(0, len(raw)))
        *_, x_0 = self.trajectory(raw, generators=generators, **how)
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
        if not self.can_be_guided:
            settings["guidance_scale"] = 1.0
            if changes.get("guidance_scale") == self.folded_guidance:  # what it does anyway
                changes["guidance_scale"] = None
        for name, value in changes.items():
            if name not in settings:
                raise InputError(f"no sampling setting {name!r}; there are {', '.join(settings)}")
            if value is not None:
                settings[name] = value
        folded = self.folded_guidance
        misfits = {
            "num_inference_steps": (settings["num_inference_steps"] < 1, "give at least 1"),
            "guidance_scale": (
                not self.can_be_guided and settings["guidance_scale"] not in ((1.0,) if folded else (0.0, 1.0)),
                f"this model has guidance of {folded:g} folded in, and takes no other; leave guidance_scale unset"
                if folded
                else "this model is told nothing that could guide it; leave guidance_scale unset, or at 1",
            ),
            "audio_guidance_scale": (
                not self.has_two_sources and settings["audio_guidance_scale"] is not None,
                "this model hears no sound beside a text; leave it unset, guidance_scale is all it has",
            ),
            "adapter_scale": (
                self.denoiser.adapter_scale is None and settings["adapter_scale"] != 1.0,
                "this model hears no sound that could be made weaker or stronger; leave adapter_scale unset",
            ),
        }
        for name, (is_wrong, remedy) in misfits.items():
            if is_wrong:
                raise InputError(f"{name} {settings[name]}: {remedy}")
        checked = dict(vars(Sampling(**settings)))
        check_sampling(checked, self.process)
        return checked

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

    def _denoise(self, x_t: torch.Tensor, timestep: torch.Tensor, condition: Condition, network: Any) -> torch.Tensor:
        """The network's prediction, in the form the scheduler takes: velocity on a flow, its own otherwise."""
        timestep = timestep.to(x_t.device).expand(len(x_t))
        prediction = self.process.predict(network, x_t.float(), timestep, condition)
        return self.process.convert(prediction, x_t.float(), timestep, self.process.sampler_space)
