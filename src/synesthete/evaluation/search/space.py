"""The sampling settings that a model can be tried with, and what each costs."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch

from synesthete.diffusion.sampling import FLOW_SPACINGS, SAMPLERS, scheduler_for
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import optuna

    from synesthete.diffusion.process import Process

    Settings = dict[str, Any]

NUM_STEPS = (2, 3, 4, 6, 8, 10, 14, 20, 28, 40, 60, 100)
GUIDANCE_SCALES = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
# Kynkäänniemi et al. 2024 find guidance harmful near noise and needless near data.
GUIDANCE_INTERVALS = ((0.0, 1.0), (0.0, 0.8), (0.2, 0.8), (0.2, 1.0))
ETAS = (0.0, 0.5, 1.0)
SHIFTS = (1.0, 1.5, 2.0, 3.0)
# "leading" begins short of the terminal timestep, at which the noise that it is given does not belong.
SPACINGS = ("trailing", "linspace")
WALK = ("sampler", "num_inference_steps", "timestep_shift", "timestep_spacing", "solver_order", "eta")


class Space:
    """Every mixture of the settings searched that the model's process can be walked with.

    Args:
        process: of the model. default: the model's own sampling settings, in full; what is not searched stays so.
        guidance: whether the model is told anything, so that there is something to guide it by.
    """

    def __init__(self, process: Process, default: Mapping[str, Any], guidance: bool = True) -> None:
        self.process, self.default = process, plain(default)
        self._timesteps: dict[str, torch.Tensor] = {}  # a scheduler takes milliseconds to make
        flow = process.schedule == "flow"
        self.knobs: dict[str, tuple[Any, ...]] = {
            "sampler": tuple(name for name, sampler in SAMPLERS.items() if sampler.flow == flow),
            "num_inference_steps": NUM_STEPS,
            "guidance_scale": GUIDANCE_SCALES if guidance else (1.0,),
            "guidance_interval": GUIDANCE_INTERVALS,
            "eta": (0.0,) if flow else ETAS,
            "timestep_shift": SHIFTS if flow else (1.0,),
            "timestep_spacing": FLOW_SPACINGS if flow else SPACINGS,
        }

    def evaluations(self, settings: Mapping[str, Any]) -> int:
        """How many times the network is asked for one picture; where it is guided, twice a step.

        Raises:
            InputError: settings that do not fit each other or the process.
        """
        timesteps = self._walk(settings)
        if settings["guidance_scale"] in (0.0, 1.0):
            return len(timesteps)
        low, high = (fraction * self.process.num_train_timesteps for fraction in settings["guidance_interval"])
        return len(timesteps) + int(((timesteps >= low) & (timesteps <= high)).sum())

    def _walk(self, settings: Mapping[str, Any]) -> torch.Tensor:
        """The timesteps (n,) at which the network is asked."""
        key = repr([settings[name] for name in WALK])
        if key not in self._timesteps:
            self._timesteps[key] = torch.as_tensor(scheduler_for(settings, self.process).timesteps).float()
        return self._timesteps[key]

    def settled(self, settings: Mapping[str, Any]) -> Settings | None:
        """The settings with what has no effect in them set to its plainest; None where they cannot be sampled with."""
        found = self.default | plain(settings)
        sampler = SAMPLERS.get(found["sampler"])
        if sampler is None:
            return None
        if found["guidance_scale"] == 1.0:
            found["guidance_interval"] = [0.0, 1.0]
        if not takes(sampler.scheduler_class, "eta"):
            found["eta"] = 0.0
        if found["solver_order"] is not None and not takes_order(sampler.scheduler_class):
            found["solver_order"] = None
        if found["timestep_spacing"] == "log_snr":
            found["timestep_shift"] = 1.0
        try:
            self.evaluations(found)
        except InputError:
            return None
        return found

    def suggest(self, trial: optuna.trial.Trial) -> Settings | None:
        """What an Optuna trial proposes, settled; None where it cannot be sampled with."""
        chosen = {name: values[_place(trial, name, values)] for name, values in self.knobs.items()}
        return self.settled(chosen)


def _place(trial: optuna.trial.Trial, name: str, values: tuple[Any, ...]) -> int:
    """A place among the values: that of numbers has an order, which helps the sampler."""
    if isinstance(values[0], int | float):
        return trial.suggest_int(name, 0, len(values) - 1)
    return trial.suggest_categorical(name, range(len(values)))


def name_of(settings: Mapping[str, Any]) -> str:
    """A line that names what is searched: `ddim 20, guidance 3 (0.2 to 0.8), eta 0.5`."""
    low, high = settings["guidance_interval"]
    parts = [f"{settings['sampler']} {settings['num_inference_steps']}"]
    guidance = f"guidance {settings['guidance_scale']:g}"
    parts.append(guidance if (low, high) == (0.0, 1.0) else f"{guidance} ({low:g} to {high:g})")
    if settings["eta"] or settings["sampler"] == "ddim":
        parts.append(f"eta {settings['eta']:g}")
    if settings["timestep_shift"] != 1.0:
        parts.append(f"shift {settings['timestep_shift']:g}")
    if settings["timestep_spacing"] != "trailing":
        parts.append(settings["timestep_spacing"])
    if settings["solver_order"] is not None:
        parts.append(f"order {settings['solver_order']}")
    if settings["guidance_rescale"]:
        parts.append(f"rescale {settings['guidance_rescale']:g}")
    return ", ".join(parts)


def plain(settings: Mapping[str, Any]) -> Settings:
    """The settings as JSON would give them back."""
    return {name: plain_value(value) for name, value in settings.items()}


def plain_value(value: Any) -> Any:
    """A list in place of a tuple."""
    return list(value) if isinstance(value, tuple) else value


def takes(scheduler: Any, argument: str) -> bool:
    """Whether a scheduler's step takes an argument."""
    return argument in inspect.signature(scheduler.step).parameters


def takes_order(scheduler: Any) -> bool:
    """Whether a scheduler has an order to choose."""
    return "solver_order" in inspect.signature(scheduler.__init__).parameters
