"""The sampling settings that a model can be tried with, what each costs, and the cells that a sweep makes of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from synesthete.config import Sampling
from synesthete.diffusion.process import Process, Schedule
from synesthete.diffusion.sampling import FLOW_SPACINGS, SAMPLERS, samplers_of, scheduler_for
from synesthete.pipeline import Pipeline
from synesthete.types import Condition, InputError

if TYPE_CHECKING:
    import optuna

    Settings = dict[str, Any]

DEFAULT_SAMPLER = {"flow": "flow-euler", "cosine": "ddim", "linear": "ddim", "scaled_linear": "ddim"}
MOST_SIGNAL = 0.05  # left at the end of a schedule that can pass for pure noise
LEAST = 1e-8  # level whose logarithm is taken


class ScheduleAdapter(Pipeline):
    """The same parts, sampled on another schedule than `trained`.

    A network that was trained on x_t = alpha x_0 + sigma noise knows a noise level by sigma / alpha alone: scaling x_t
    scales both (Karras et al. 2022, section 4). So each step of the walk is told the trained timestep whose ratio is
    nearest, x_t is brought to the size it has there, and what is predicted is said again in the walk's terms.
    """

    trained: Process

    @staticmethod
    def of(pipeline: Pipeline, schedule: str) -> ScheduleAdapter:
        """`pipeline` on another schedule of as many timesteps, which ends in pure noise."""
        trained = pipeline.process
        alpha, _ = trained.alpha_sigma(trained.at(torch.tensor([1.0])))
        if (left := float(alpha)) > MOST_SIGNAL:
            raise InputError(
                f"schedule {schedule!r}: this model's own, {trained.schedule!r}, ends with {left:.0%} of the picture "
                "left, so it cannot be told of the pure noise that another begins with; leave the schedule out"
            )
        kept = ("guidance_scale", "guidance_interval", "guidance_rescale", "num_inference_steps", "precision")
        own, flow = pipeline.sampling_settings(), schedule == "flow"
        how: dict[str, Any] = {"schedule": schedule, "prediction_type": "flow" if flow else "v_prediction"}
        how |= {"num_train_timesteps": trained.num_train_timesteps, "zero_terminal_snr": not flow}
        process = Process(**how)  # a flow, or a beta schedule that ends in pure noise as a flow does
        parts = {name: getattr(pipeline, name) for name in ("codec", "conditioner", "denoiser", "scheduler")}
        sampling = vars(Sampling(sampler=DEFAULT_SAMPLER[schedule])) | {name: own[name] for name in kept}
        walk = ScheduleAdapter(process=process.settings(), sampling=sampling, card=dict(pipeline.config.card), **parts)
        walk.trained = trained
        return walk

    def _denoise(self, x_t: Tensor, timestep: Tensor, condition: Condition, network: Any) -> Tensor:
        """As a pipeline's: velocity on a flow, v on a beta schedule."""
        timestep = timestep.to(x_t.device).expand(len(x_t))
        alpha, sigma = self.process.alpha_sigma(timestep)
        told = nearest_timestep(self.trained, alpha, sigma)  # (B,)
        trained_alpha, trained_sigma = self.trained.alpha_sigma(told)
        seen = x_t.float() * torch.hypot(trained_alpha, trained_sigma) / torch.hypot(alpha, sigma)
        prediction = self.trained.predict(network, seen, told, condition)
        x_0, noise = (self.trained.convert(prediction, seen, told, space) for space in ("sample", "epsilon"))
        return noise - x_0 if self.process.schedule == "flow" else alpha * noise - sigma * x_0


def nearest_timestep(process: Process, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The timesteps (B,) of `process` whose ratio sigma / alpha is nearest, as a logarithm, to those given (B, ...)."""
    alpha, sigma = alpha.flatten(), sigma.flatten()
    if process.alphas_cumprod is None:
        return process.num_train_timesteps * sigma / (alpha + sigma)
    table = process.alphas_cumprod.to(alpha.device)
    known = table.sqrt().clamp(min=LEAST).log() - (1 - table).sqrt().clamp(min=LEAST).log()  # (T,)
    asked = alpha.clamp(min=LEAST).log() - sigma.clamp(min=LEAST).log()  # (B,)
    return (asked[:, None] - known).abs().argmin(dim=1)


SCHEDULES: tuple[str, ...] = get_args(Schedule)
NUM_STEPS = (1, 2, 3, 4, 6, 8, 10, 14, 20, 28, 40, 60, 100)
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

    default: the model's own sampling settings, in full, as what is not searched stays. guidance: whether it has any.
    """

    def __init__(self, process: Process, default: Mapping[str, Any], guidance: bool = True) -> None:
        self.process, self.default = process, plain_settings(default)
        self._timesteps: dict[str, torch.Tensor] = {}  # a scheduler takes milliseconds to make
        flow = process.schedule == "flow"
        self.knobs: dict[str, tuple[Any, ...]] = {
            "sampler": tuple(samplers_of(process)),
            "num_inference_steps": NUM_STEPS,
            "guidance_scale": GUIDANCE_SCALES if guidance else (1.0,),
            "guidance_interval": GUIDANCE_INTERVALS,
            "eta": (0.0,) if flow else ETAS,
            "timestep_shift": SHIFTS if flow else (1.0,),
            "timestep_spacing": FLOW_SPACINGS if flow else SPACINGS,
        }

    def evaluations(self, settings: Mapping[str, Any]) -> int:
        """How many times the network is asked for a picture, by settings that fit; twice a step where it is guided."""
        key = repr([settings[name] for name in WALK])
        if key not in self._timesteps:
            self._timesteps[key] = torch.as_tensor(scheduler_for(settings, self.process).timesteps).float()
        timesteps = self._timesteps[key]  # (n,) at which the network is asked
        if settings["guidance_scale"] in (0.0, 1.0):
            return len(timesteps)
        low, high = (fraction * self.process.num_train_timesteps for fraction in settings["guidance_interval"])
        return len(timesteps) + int(((timesteps >= low) & (timesteps <= high)).sum())

    def settled(self, settings: Mapping[str, Any]) -> Settings | None:
        """The settings with what has no effect in them set to its plainest; None where they cannot be sampled with."""
        found = self.default | plain_settings(settings)
        if (sampler := SAMPLERS.get(found["sampler"])) is None:
            return None
        if found["guidance_scale"] == 1.0:
            found["guidance_interval"] = [0.0, 1.0]
        if not sampler.takes_eta:
            found["eta"] = 0.0
        if not sampler.max_order:
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
        chosen = {}
        for name, values in self.knobs.items():
            if isinstance(values[0], int | float):  # places of numbers have an order, which helps the sampler
                chosen[name] = values[trial.suggest_int(name, 0, len(values) - 1)]
            else:
                chosen[name] = values[trial.suggest_categorical(name, range(len(values)))]
        return self.settled(chosen)


def name_of(settings: Mapping[str, Any]) -> str:
    """A line that names what is searched: `ddim 20, guidance 3 (0.2 to 0.8), eta 0.5`."""
    low, high = settings["guidance_interval"]
    within = "" if (low, high) == (0.0, 1.0) else f" ({low:g} to {high:g})"
    said = {
        f"{settings['sampler']} {settings['num_inference_steps']}": True,
        f"guidance {settings['guidance_scale']:g}{within}": True,
        f"eta {settings['eta']:g}": settings["eta"] or settings["sampler"] == "ddim",
        f"shift {settings['timestep_shift']:g}": settings["timestep_shift"] != 1.0,
        settings["timestep_spacing"]: settings["timestep_spacing"] != "trailing",
        f"order {settings['solver_order']}": settings["solver_order"] is not None,
        f"rescale {settings['guidance_rescale']:g}": settings["guidance_rescale"],
    }
    return ", ".join(part for part, matters in said.items() if matters)


def plain_settings(settings: Mapping[str, Any]) -> Settings:
    """The settings as JSON would give them back."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


@dataclass(frozen=True)
class Cell:
    """One way of sampling. trained: whether the model learned on this noise schedule."""

    schedule: str
    sampler: str
    guidance_scale: float
    eta: float
    num_inference_steps: int
    trained: bool = True

    @property
    def stem(self) -> str:
        """Its name in a file name."""
        named = f"{self.schedule}_{self.sampler}_cfg{self.guidance_scale:g}_eta{self.eta:g}"
        return f"{named}_steps{self.num_inference_steps}{'' if self.trained else '_not-trained-with'}"

    @property
    def schedule_name(self) -> str:
        """The schedule as a table says it."""
        return self.schedule if self.trained else f"{self.schedule} (not trained with)"

    @property
    def row(self) -> str:
        """All but the guidance, in words."""
        eta = f", eta {self.eta:g}" if self.sampler == "ddim" else ""
        return f"{self.schedule_name}, {self.sampler}{eta}, {self.num_inference_steps} steps"

    @property
    def title(self) -> str:
        """All of it, in words."""
        return f"{self.row}, guidance {self.guidance_scale:g}"

    def settings(self) -> dict[str, Any]:
        """The sampling settings."""
        return {key: value for key, value in vars(self).items() if key not in ("schedule", "trained")}


@dataclass(frozen=True)
class SweepPlan:
    """The cells in order, each with the evaluations of the network that a picture takes, where guidance takes two.

    pipelines: that walk each schedule. changes: settings that are the same in all cells. notes: what was left out.
    """

    cells: Mapping[Cell, int]
    pipelines: Mapping[str, Pipeline]
    changes: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def plan_sweep(
    pipeline: Pipeline,
    *,
    schedules: Sequence[str] = (),
    samplers: Sequence[str] = (),
    guidance: Sequence[float] = (),
    etas: Sequence[float] = (),
    steps: Sequence[int] = (),
    untrained: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> SweepPlan:
    """Every combination that means something; where nothing is given, the model's own setting alone.

    untrained: let the model walk schedules that it was not trained with. changes: settings, the same in every cell.
    """
    changes = dict(changes or {})
    own, own_schedule = pipeline.sampling_settings(**changes), pipeline.process.schedule
    schedules, samplers = unique(schedules) or [own_schedule], unique(samplers)
    kinds = {"scheduler": (schedules, SCHEDULES), "sampler": (samplers, SAMPLERS)}
    for (what, (names, known)), (other, (_, known_of_other)) in permutations(kinds.items()):
        for name in names:
            if name in known_of_other:
                raise InputError(f"{what} {name!r}: that is a {other}; give it to --{other}s")
            if name not in known:
                raise InputError(f"{what} {name!r}: unknown; choose from {nearest_names(name, known)}")
    if wrong := [eta for eta in etas if not 0 <= eta <= 1]:
        raise InputError(f"eta {wrong[0]:g}: give 0 (no noise in a step) to 1 (as much as DDPM)")
    if not untrained and (foreign := [name for name in schedules if name != own_schedule]):
        raise InputError(
            f"scheduler {foreign[0]!r}: this model was trained with {own_schedule!r}; leave it out, or give "
            "--untrained-schedules to see what becomes of it"
        )
    pipelines = {name: pipeline if name == own_schedule else ScheduleAdapter.of(pipeline, name) for name in schedules}
    cells: dict[Cell, int] = {}
    notes: list[str] = []
    for schedule, walk in pipelines.items():
        trained = schedule == own_schedule
        asked = samplers or [own["sampler"] if trained else DEFAULT_SAMPLER[schedule]]
        known = samplers_of(walk.process)
        cannot = f"cannot walk a {schedule!r} schedule"
        if not set(asked) & set(known):
            raise InputError(f"sampler {', '.join(asked)}: {cannot}; choose from {', '.join(known)}")
        notes += [f"{name}: {cannot}, left out there" for name in asked if name not in known]
        space = Space(walk.process, walk.sampling_settings())
        for sampler in [name for name in asked if name in known]:
            tried = unique(etas) or [own["eta"] if sampler == own["sampler"] else 0.0]
            if not SAMPLERS[sampler].takes_eta:
                if left := [f"{eta:g}" for eta in tried if eta]:
                    notes.append(f"{sampler}: has no eta; made once, as eta 0, and eta {', '.join(left)} left out")
                tried = [0.0]
            scales, nums = unique(guidance) or [own["guidance_scale"]], unique(steps) or [own["num_inference_steps"]]
            for num, scale, eta in product(nums, scales, tried):
                cell = Cell(schedule, sampler, float(scale), float(eta), int(num), trained)
                # Refuses what cannot be.
                cells[cell] = space.evaluations(walk.sampling_settings(**changes | cell.settings()))
    return SweepPlan(cells, pipelines, changes, tuple(unique(notes)))


def find_labels(names: Sequence[str], class_names: Sequence[str]) -> list[int]:
    """Class numbers of names or numbers, in the order given; of "all", and of none, all."""
    if not names or "all" in names:
        return list(range(len(class_names)))
    found = []
    for name in names:
        if name in class_names:
            found.append(list(class_names).index(name))
        elif name.isascii() and name.isdigit() and int(name) < len(class_names):
            found.append(int(name))
        else:
            near = nearest_names(name, class_names)
            raise InputError(f"label {name!r}: unknown; there are 0 to {len(class_names) - 1}, or names such as {near}")
    return unique(found)


def nearest_names(name: str, known: Iterable[str]) -> str:
    """Those most like a name, or else the first ones."""
    return ", ".join(difflib.get_close_matches(name, list(known), n=3, cutoff=0.5) or list(known)[:12])


def unique(values: Iterable[Any]) -> list[Any]:
    """The values in order, each once."""
    return list(dict.fromkeys(values))
