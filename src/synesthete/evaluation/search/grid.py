"""The cells of a sweep: which ways of sampling are tried, checked before the first picture is made."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, get_args

from synesthete.diffusion.process import Schedule
from synesthete.diffusion.sampling import SAMPLERS, make_scheduler
from synesthete.evaluation.search.schedule_adapter import DEFAULT_SAMPLER, ScheduleAdapter
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from synesthete.pipeline import Pipeline

SCHEDULES: tuple[str, ...] = get_args(Schedule)
NOT_TRAINED = "not trained with"
TWICE = ("heun", "flow-heun")  # second-order: two forwards a step


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
        return self.schedule if self.trained else f"{self.schedule} ({NOT_TRAINED})"

    @property
    def row(self) -> str:
        """All but the guidance, in words."""
        eta = f", eta {self.eta:g}" if self.sampler == "ddim" else ""
        return f"{self.schedule_name}, {self.sampler}{eta}, {self.num_inference_steps} steps"

    @property
    def title(self) -> str:
        """All of it, in words."""
        return f"{self.row}, guidance {self.guidance_scale:g}"

    @property
    def num_forwards(self) -> int:
        """Forwards of the network a picture; guidance takes two at once."""
        guided = 1 if self.guidance_scale in (0.0, 1.0) else 2
        return self.num_inference_steps * guided * (2 if self.sampler in TWICE else 1)

    def settings(self) -> dict[str, Any]:
        """The sampling settings."""
        return {key: value for key, value in asdict(self).items() if key not in ("schedule", "trained")}


@dataclass(frozen=True)
class Plan:
    """The cells in order, the pipeline that walks each schedule, and what was left out and why, a line each."""

    cells: tuple[Cell, ...]
    pipelines: Mapping[str, Pipeline]
    notes: tuple[str, ...] = ()


def plan(
    pipeline: Pipeline,
    *,
    schedules: Sequence[str] = (),
    samplers: Sequence[str] = (),
    guidance: Sequence[float] = (),
    etas: Sequence[float] = (),
    steps: Sequence[int] = (),
    untrained: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Plan:
    """Every combination that means something; where nothing is given, the model's own setting alone.

    A sampler without eta is tried once, whatever the etas. untrained: let the model walk schedules that it was not
    trained with. changes: other sampling settings, the same in every cell.

    Raises:
        InputError: an unknown name, a schedule that the model was not trained with, settings out of range, guidance of
            a model that is told nothing, or nothing left to try.
    """
    own, own_schedule = pipeline.sampling_settings(**(changes or {})), pipeline.process.schedule
    schedules = unique(schedules) or [own_schedule]
    check_names("scheduler", schedules, SCHEDULES, other=("sampler", SAMPLERS))
    check_names("sampler", samplers, SAMPLERS, other=("scheduler", SCHEDULES))
    for eta in etas:
        if not 0 <= eta <= 1:
            raise InputError(f"eta {eta:g}: give 0 (no noise in a step) to 1 (as much as DDPM)")
    guidance, steps = unique(guidance) or [own["guidance_scale"]], unique(steps) or [own["num_inference_steps"]]
    if foreign := [name for name in schedules if name != own_schedule and not untrained]:
        raise InputError(
            f"scheduler {foreign[0]!r}: this model was trained with {own_schedule!r}; leave it out, or give "
            "--untrained-schedules to see what becomes of it"
        )
    notes: list[str] = []
    cells: list[Cell] = []
    pipelines = {name: pipeline if name == own_schedule else ScheduleAdapter.of(pipeline, name) for name in schedules}
    for schedule, walk in pipelines.items():
        default = own["sampler"] if schedule == own_schedule else DEFAULT_SAMPLER[schedule]
        for sampler in fitting(unique(samplers) or [default], schedule, notes):
            tried = etas_of(sampler, walk, unique(etas) or [own["eta"] if sampler == own["sampler"] else 0.0], notes)
            for num, scale, eta in product(steps, guidance, tried):
                cell = Cell(schedule, sampler, float(scale), float(eta), int(num), schedule == own_schedule)
                walk.sampling_settings(**{**(changes or {}), **cell.settings()})  # refuses what cannot be
                cells.append(cell)
    return Plan(tuple(cells), pipelines, tuple(dict.fromkeys(notes)))


def fitting(samplers: Sequence[str], schedule: str, notes: list[str]) -> list[str]:
    """Those that can walk the schedule; the others are noted.

    Raises:
        InputError: none of them.
    """
    fit = [name for name in samplers if SAMPLERS[name].flow == (schedule == "flow")]
    if not fit:
        known = [name for name, sampler in SAMPLERS.items() if sampler.flow == (schedule == "flow")]
        raise InputError(
            f"sampler {', '.join(samplers)}: cannot walk a {schedule!r} schedule; choose from {', '.join(known)}"
        )
    notes += [f"{name}: cannot walk a {schedule!r} schedule, left out there" for name in samplers if name not in fit]
    return fit


def etas_of(sampler: str, pipeline: Pipeline, etas: Sequence[float], notes: list[str]) -> Sequence[float]:
    """The etas to try with a sampler: 0 alone where it has none, and a note of those left out."""
    if "eta" in inspect.signature(make_scheduler(sampler, pipeline.process).step).parameters:
        return etas
    if left := [f"{eta:g}" for eta in etas if eta]:
        notes.append(f"{sampler}: has no eta; made once, as eta 0, and eta {', '.join(left)} left out")
    return [0.0]


def check_names(what: str, names: Iterable[str], known: Iterable[str], other: tuple[str, Iterable[str]]) -> None:
    """Make sure that all names are known.

    Raises:
        InputError: one that is not, with the nearest right ones; `other` is what it may have been meant for.
    """
    known = list(known)
    for name in names:
        if name in known:
            continue
        if name in other[1]:
            raise InputError(f"{what} {name!r}: that is a {other[0]}; give it to --{other[0]}s")
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        raise InputError(f"{what} {name!r}: unknown; {'nearest' if near else 'there are'}: {', '.join(near or known)}")


def find_labels(names: Sequence[str], class_names: Sequence[str]) -> list[int]:
    """Class numbers of names or numbers, in the order given; of "all", and of none, all.

    Raises:
        InputError: no such class.
    """
    if not names or "all" in names:
        return list(range(len(class_names)))
    found = []
    for name in names:
        if name in class_names:
            found.append(list(class_names).index(name))
        elif name.isascii() and name.isdigit() and int(name) < len(class_names):
            found.append(int(name))
        else:
            near = difflib.get_close_matches(name, list(class_names), n=3, cutoff=0.5) or list(class_names)[:12]
            raise InputError(
                f"label {name!r}: unknown; there are 0 to {len(class_names) - 1}, or names such as {', '.join(near)}"
            )
    return unique(found)


def unique(values: Iterable[Any]) -> list[Any]:
    """The values in order, each once."""
    return list(dict.fromkeys(values))
