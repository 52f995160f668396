"""From noise to data: diffusers' schedulers by name, and the one loop."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete.diffusion.note_masking import NoteSampler
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.diffusion.process import Process

__all__ = ["SAMPLERS", "Sampler", "make_scheduler", "sample", "samplers_of", "scheduler_for"]


@dataclass(frozen=True)
class Sampler:
    """A scheduler and what makes it this sampler.

    scheduler: the name of a class of diffusers, or a class like them, for what diffusers lacks. family: of the
    processes that it walks, as `Process.family`. max_order: of its solver, 0 where that has none.
    """

    scheduler: str | type
    settings: dict[str, Any] = field(default_factory=dict)
    family: str = "beta"
    max_order: int = 0

    @property
    def scheduler_class(self) -> Any:
        """The class itself."""
        return find_scheduler_class(self.scheduler) if isinstance(self.scheduler, str) else self.scheduler

    @property
    def takes_eta(self) -> bool:
        """Whether a share of noise can be added in its steps; known of diffusers' classes without importing them."""
        if isinstance(self.scheduler, str):
            return self.scheduler == "DDIMScheduler"
        return "eta" in inspect.signature(self.scheduler_class.step).parameters


FLOW_SIGMAS = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
SAMPLERS = {
    "ddpm": Sampler("DDPMScheduler"),
    "ddim": Sampler("DDIMScheduler"),
    "euler": Sampler("EulerDiscreteScheduler"),
    # It steps in noise over signal, which falls from 4096 to 13 in the first of 20 even steps: its correction explodes.
    "heun": Sampler("HeunDiscreteScheduler", {"use_exponential_sigmas": True}),
    "dpmsolver++": Sampler("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}, max_order=3),
    # diffusers 0.42 has a sign wrong in this one's third order: the smaller its steps, the more noise it leaves.
    "dpmsolver++sde": Sampler("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, max_order=2),
    "unipc": Sampler("UniPCMultistepScheduler", max_order=3),
    "flow-euler": Sampler("FlowMatchEulerDiscreteScheduler", family="flow"),
    "flow-heun": Sampler("FlowMatchHeunDiscreteScheduler", family="flow"),
    "flow-dpmsolver++": Sampler("DPMSolverMultistepScheduler", FLOW_SIGMAS, family="flow", max_order=3),
    "flow-dpmsolver++sde": Sampler(
        "DPMSolverMultistepScheduler", {**FLOW_SIGMAS, "algorithm_type": "sde-dpmsolver++"}, family="flow", max_order=2
    ),
    "flow-unipc": Sampler("UniPCMultistepScheduler", FLOW_SIGMAS, family="flow", max_order=3),
    "notes": Sampler(NoteSampler, family="absorbing"),
}
SPACINGS = ("trailing", "linspace", "leading")
FLOW_SPACINGS = ("trailing", "log_snr")
LEAST_SIGMA = 0.02  # where steps even in log SNR end, before the last one to clean data


def samplers_of(process: Process) -> list[str]:
    """The names of the samplers that can walk a process."""
    return [name for name, sampler in SAMPLERS.items() if sampler.family == process.family]


def scheduler_for(settings: Mapping[str, Any], process: Process) -> Any:
    """The diffusers scheduler that sampling settings ask for, its timesteps set: whatever is wrong is said here.

    settings: the fields of `Sampling` by name.

    Raises:
        InputError: settings that do not fit each other or the process.
    """
    scheduler = make_scheduler(
        settings["sampler"],
        process,
        settings["timestep_shift"],
        timestep_spacing=settings["timestep_spacing"],
        solver_order=settings["solver_order"],
    )
    check_eta(scheduler, settings["eta"])
    set_timesteps(scheduler, settings["num_inference_steps"])
    return scheduler


def check_sampling(settings: Mapping[str, Any], process: Process) -> None:
    """Refuse what `scheduler_for` would, without making a scheduler, for which diffusers has to be imported."""
    name, spacing = settings["sampler"], settings["timestep_spacing"]
    check_sampler(name, process, settings["timestep_shift"], spacing, settings["solver_order"])
    sampler, num_inference_steps = SAMPLERS[name], settings["num_inference_steps"]
    if settings["eta"] and not sampler.takes_eta:
        raise InputError(f"eta {settings['eta']}: {name} takes none; set eta=0, or take ddim (ddpm is its eta=1)")
    if sampler.family == "beta" and isinstance(sampler.scheduler, str):
        check_steps(num_inference_steps, process.num_train_timesteps, spacing, is_multistep=bool(sampler.max_order))


def check_sampler(name: str, process: Process, shift: float, timestep_spacing: str, solver_order: int | None) -> None:
    """Refuse a sampler that cannot walk a process so; arguments as of `make_scheduler`."""
    flow, fitting = process.family == "flow", samplers_of(process)
    if name not in fitting:
        what = "unknown" if name not in SAMPLERS else f"cannot walk a {process.schedule!r} schedule"
        raise InputError(f"sampler {name!r}: {what}; choose from {', '.join(fitting)}")
    if shift != 1.0 and not flow:
        raise InputError(f"timestep_shift {shift}: only a flow can be shifted; leave it at 1 for {process.schedule!r}")
    spacings = FLOW_SPACINGS if flow else SPACINGS
    if timestep_spacing not in spacings:
        what = f"not of a {process.schedule!r} schedule" if timestep_spacing in SPACINGS + FLOW_SPACINGS else "unknown"
        raise InputError(f"timestep_spacing {timestep_spacing!r}: {what}; choose from {', '.join(spacings)}")
    if timestep_spacing == "log_snr" and shift != 1.0:
        raise InputError(
            f"timestep_shift {shift}: shifted, steps even in log SNR stay so; leave it at 1, or "
            "set timestep_spacing to trailing"
        )
    if solver_order is not None and not 1 <= solver_order <= SAMPLERS[name].max_order:
        orders = ", ".join(f"1-{SAMPLERS[n].max_order} with {n}" for n in fitting if SAMPLERS[n].max_order)
        raise InputError(f"solver_order {solver_order}: sampler {name!r} has no such; leave it unset, or give {orders}")


def make_scheduler(
    name: str,
    process: Process,
    shift: float = 1.0,
    *,
    timestep_spacing: str = "trailing",
    solver_order: int | None = None,
) -> Any:
    """The diffusers scheduler called `name`, set up to walk `process` backwards from its terminal timestep.

    shift: of a flow's even timesteps towards noise. timestep_spacing: of a beta schedule's ("leading" begins short of
    the terminal timestep; Lin et al. 2024, table 2), or "log_snr" of a flow's. solver_order: of a multistep solver; its
    own where None.

    Raises:
        InputError: as `check_sampler`.
    """
    check_sampler(name, process, shift, timestep_spacing, solver_order)
    flow = process.schedule == "flow"
    sampler = SAMPLERS[name]
    scheduler = sampler.scheduler_class
    known = inspect.signature(scheduler.__init__).parameters
    config: dict[str, Any] = {"num_train_timesteps": process.num_train_timesteps, "shift": shift, "flow_shift": shift}
    if not flow:
        config |= process.scheduler_config() | {"timestep_spacing": timestep_spacing}
        if process.zero_terminal_snr and "rescale_betas_zero_snr" not in known:
            config["trained_betas"] = betas_to_zero(process)
    if solver_order is not None:
        config["solver_order"] = solver_order
    # clip_sample cuts x_0 at +-1, inside the range of any data that is not a picture.
    config |= {"clip_sample": False, "set_alpha_to_one": True, "steps_offset": 0, **sampler.settings}
    found = scheduler(**{key: value for key, value in config.items() if key in known})
    if timestep_spacing == "log_snr":
        found.even_in_log_snr = True  # beside its configuration: no diffusers class has this spacing
    return found


def betas_to_zero(process: Process) -> list[float]:
    """The betas of a process that ends in pure noise, for a scheduler that cannot rescale its own.

    Its last signal level is 2^-12 and not 0, as diffusers has it in the others, so that noise over signal is finite; or
    less, where a linear schedule is below that a step before its end.
    """
    assert process.alphas_cumprod is not None
    levels = process.alphas_cumprod.double()
    levels[-1] = min(2**-24, levels[-2].item() / 4)
    return (1 - levels / torch.cat([torch.ones(1), levels[:-1]])).tolist()


def check_eta(scheduler: Any, eta: float) -> None:
    """Refuse a share of noise to a sampler that would add none, or its own."""
    if eta and "eta" not in inspect.signature(scheduler.step).parameters:
        name = type(scheduler).__name__
        raise InputError(f"eta {eta}: {name} takes none; set eta=0, or take ddim (ddpm is its eta=1)")


def set_timesteps(scheduler: Any, num_inference_steps: int, device: torch.device | str = "cpu") -> None:
    """Timesteps from the terminal one down, evenly in time or in log SNR; the last step lands on clean data."""
    if getattr(scheduler, "even_in_log_snr", False):
        space_by_log_snr(scheduler, num_inference_steps, device)
        return
    if type(scheduler).__name__ == "FlowMatchEulerDiscreteScheduler":
        # Its own spacing spends the last step between sigma 0.001 and 0.
        sigmas = [1 - i / num_inference_steps for i in range(num_inference_steps)]
        scheduler.set_timesteps(sigmas=sigmas, device=device)
        return
    on_table = "beta_schedule" in scheduler.config and not scheduler.config.get("use_flow_sigmas")
    if on_table:
        num_timesteps, spacing = scheduler.config.num_train_timesteps, scheduler.config.timestep_spacing
        is_multistep = "solver_order" in scheduler.config
        check_steps(num_inference_steps, num_timesteps, spacing, is_multistep=is_multistep)
    scheduler.set_timesteps(num_inference_steps, device=device)
    if on_table:
        drop_before_clean(scheduler)
    elif scheduler.config.get("use_flow_sigmas"):
        # They cut a flow's timesteps to whole numbers, which are then not those of their own sigmas.
        scheduler.timesteps = scheduler.sigmas[:-1].to(device) * scheduler.config.num_train_timesteps


def space_by_log_snr(scheduler: Any, num_inference_steps: int, device: torch.device | str) -> None:
    """A flow's sigmas, even in log SNR, from one timestep short of pure noise to LEAST_SIGMA (Lu et al. 2022, 4.1).

    What a whole sample has in common, as how loud it is, is decided where x_t is all but noise, in less time than the
    first of 20 even steps takes; a solver of the second order then keeps its spread at any scale.
    """
    scheduler.set_timesteps(num_inference_steps)  # for the state that it resets
    num_train_timesteps = scheduler.config.num_train_timesteps
    first, last = torch.tensor([1 - 1 / num_train_timesteps, LEAST_SIGMA], dtype=torch.float64).logit().tolist()
    sigmas = torch.linspace(first, last, num_inference_steps, dtype=torch.float64).sigmoid().float()
    timesteps = sigmas * num_train_timesteps
    if getattr(scheduler, "order", 1) == 2:  # two forwards a step
        sigmas, timesteps = (torch.cat([x[:1], x[1:].repeat_interleave(2)]) for x in (sigmas, timesteps))
    scheduler.sigmas, scheduler.timesteps = torch.cat([sigmas, torch.zeros(1)]), timesteps.to(device)


def check_steps(num_inference_steps: int, num_timesteps: int, spacing: str, *, is_multistep: bool) -> None:
    """Make sure that a table of timesteps has that many to step on."""
    # Where a multistep solver does not begin at the end, it leaves out the other end as well.
    most = num_timesteps - (spacing != "trailing" and is_multistep)
    if num_inference_steps > most:
        raise InputError(
            f"num_inference_steps {num_inference_steps}: give at most {most} for timestep_spacing {spacing!r}"
        )
    if num_inference_steps == 1 and spacing != "trailing":
        raise InputError("num_inference_steps 1: begins at clean data; give more, or timestep_spacing 'trailing'")


def drop_before_clean(scheduler: Any) -> None:
    """Take out steps at timestep -1, which diffusers appends where N / n is rounded down (n = 61, 103, 121, ...)."""
    if extra := int((scheduler.timesteps < 0).sum()):
        scheduler.timesteps = scheduler.timesteps[:-extra]
        if hasattr(scheduler, "sigmas"):
            scheduler.sigmas = torch.cat([scheduler.sigmas[: -1 - extra], scheduler.sigmas[-1:]])


def sample(
    denoise: Callable[[Tensor, Tensor], Tensor],
    scheduler: Any,
    x_T: Tensor,
    *,
    num_inference_steps: int,
    eta: float = 0.0,
    generators: Sequence[torch.Generator] | None = None,
    start: Tensor | None = None,
    strength: float = 1.0,
) -> Iterator[Tensor]:
    """Walk from noise to data, yielding every x_t; the last one is x_0.

    denoise(x_t, timestep) -> prediction in the scheduler's prediction_type, same shape as x_t.
    x_T: (B, C, H, W), unit Gaussian. generators: one per sample, so that a batch equals its singles.
    eta: of DDIM, 0 none of the noise that DDPM adds in a step, 1 all of it.
    start, strength: as `enter`, which begins part of the way.
    Source: DDIM, Song et al. 2021 (eq. 12) and successors, as implemented by the given diffusers scheduler.

    Raises:
        InputError: an eta for another sampler than DDIM, more steps than the schedule has timesteps, or a strength out
            of range.
    """
    check_eta(scheduler, eta)
    set_timesteps(scheduler, num_inference_steps, x_T.device)
    accepted = inspect.signature(scheduler.step).parameters
    # At eta 1 the square root of what is left, 0 but for rounding, is NaN near a cosine schedule's end.
    extra = {"eta": min(eta, 0.9999), "generator": list(generators) if generators else None}
    extra = {key: value for key, value in extra.items() if key in accepted}
    x_t, timesteps = enter(scheduler, x_T, start, strength)
    scale = getattr(scheduler, "scale_model_input", lambda x, _: x)
    for timestep, following in itertools.pairwise([*timesteps, -1]):
        if type(scheduler).__name__ == "DDIMScheduler":
            # It goes on to timestep - N // num_inference_steps, past or short of the next one unless n divides N.
            gap = int(timestep - following)
            scheduler.num_inference_steps = Fraction(scheduler.config.num_train_timesteps, gap)
        prediction = denoise(scale(x_t, timestep), timestep)
        x_t = scheduler.step(prediction, timestep, x_t, return_dict=False, **extra)[0]  # (B, C, H, W)
        yield x_t


def enter(scheduler: Any, x_T: Tensor, start: Tensor | None = None, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """The x_t that a walk begins with and the timesteps left to it.

    start: clean data that is noised by x_T and walked back over the last `strength` of the steps (SDEdit, Meng et al.
    2022), as `find_first` counts them. At 1, as without it, the walk begins with x_T alone.
    """
    first = find_first(scheduler, strength)
    if start is None or not first:
        return x_T * getattr(scheduler, "init_noise_sigma", 1.0), scheduler.timesteps
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    timesteps = scheduler.timesteps[first:]
    times = timesteps[:1].expand(len(start))
    if hasattr(scheduler, "scale_noise"):
        return scheduler.scale_noise(start, times, x_T), timesteps
    return scheduler.add_noise(start, x_T, times), timesteps


def find_first(scheduler: Any, strength: float) -> int:
    """The place among a scheduler's timesteps from which `strength` of its steps are left, in (0, 1], at least one.

    Of steps even in log SNR, those from sigma = `strength` on.
    """
    if not 0 < strength <= 1:
        raise InputError(f"strength {strength}: give a number above 0 and at most 1, which leaves nothing of the start")
    order = getattr(scheduler, "order", 1)  # a second-order one has two timesteps a step, but for the first
    steps = scheduler.timesteps[::order]
    num_left = round(strength * len(steps))
    if getattr(scheduler, "even_in_log_snr", False):  # most of them are near noise: it is the noise that is as deep
        num_left = int((steps <= strength * scheduler.config.num_train_timesteps).sum())
    return order * (len(steps) - max(num_left, 1))


def find_scheduler_class(name: str) -> Any:
    """The scheduler class of diffusers of that name.

    Importing diffusers imports torch's compiler for a decorator of networks, and its schedulers scipy.stats for the
    quantiles of one spacing: together more than torch itself. The one is left out, the other put off until it is used.
    """
    # diffusers does without the one where it is not installed; scipy imports the other when it is asked for it.
    with in_place_of("torch._dynamo", None), in_place_of("scipy.stats", types.ModuleType("scipy.stats")):
        import diffusers

        return getattr(diffusers, name)


@contextlib.contextmanager
def in_place_of(name: str, stand_in: types.ModuleType | None) -> Iterator[None]:
    """Importing a module in here gives another one, or fails with None, unless it was imported before."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = stand_in  # type: ignore[assignment]
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
