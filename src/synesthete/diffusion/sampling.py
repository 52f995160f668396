"""From noise to data: diffusers' schedulers by name, and the one loop."""

from __future__ import annotations

import inspect
import itertools
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import diffusers

from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch
    from torch import Tensor

    from synesthete.diffusion.process import Process


@dataclass(frozen=True)
class Sampler:
    """A diffusers scheduler class and what makes it this sampler. flow: it walks a flow, else a beta schedule."""

    scheduler: str
    settings: dict[str, Any] = field(default_factory=dict)
    flow: bool = False


SAMPLERS = {
    "ddpm": Sampler("DDPMScheduler"),
    "ddim": Sampler("DDIMScheduler"),
    "euler": Sampler("EulerDiscreteScheduler"),
    "heun": Sampler("HeunDiscreteScheduler"),
    "dpmsolver++": Sampler("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpmsolver++sde": Sampler("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": Sampler("UniPCMultistepScheduler"),
    "flow-euler": Sampler("FlowMatchEulerDiscreteScheduler", flow=True),
    "flow-heun": Sampler("FlowMatchHeunDiscreteScheduler", flow=True),
    "flow-dpmsolver++": Sampler(
        "DPMSolverMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}, flow=True
    ),
    "flow-unipc": Sampler(
        "UniPCMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}, flow=True
    ),
}


def make_scheduler(name: str, process: Process, shift: float = 1.0) -> Any:
    """The diffusers scheduler called `name`, set up to walk `process` backwards from its terminal timestep.

    shift: of a flow's timesteps towards noise.

    Raises:
        InputError: an unknown name, a sampler of the other kind of process, or a shift of a beta schedule.
    """
    flow = process.schedule == "flow"
    fitting = [known for known, sampler in SAMPLERS.items() if sampler.flow == flow]
    if name not in fitting:
        what = "unknown" if name not in SAMPLERS else f"cannot walk a {process.schedule!r} schedule"
        raise InputError(f"sampler {name!r}: {what}; choose from {', '.join(fitting)}")
    if shift != 1.0 and not flow:
        raise InputError(f"timestep_shift {shift}: only a flow can be shifted; leave it at 1 for {process.schedule!r}")
    sampler = SAMPLERS[name]
    scheduler = getattr(diffusers, sampler.scheduler)
    config = {"num_train_timesteps": process.num_train_timesteps, "shift": shift, "flow_shift": shift}
    if not flow:
        config |= process.scheduler_config()
    # clip_sample cuts x_0 at +-1, inside the range of any data that is not a picture.
    config |= {"clip_sample": False, "set_alpha_to_one": True, "steps_offset": 0, **sampler.settings}
    known = inspect.signature(scheduler.__init__).parameters
    if not flow and process.zero_terminal_snr and "rescale_betas_zero_snr" not in known:
        raise InputError(f"sampler {name!r}: knows no zero terminal SNR, which process.zero_terminal_snr asks for")
    return scheduler(**{key: value for key, value in config.items() if key in known})


def set_timesteps(scheduler: Any, num_inference_steps: int, device: torch.device) -> None:
    """Timesteps from the terminal one down, evenly; the last step lands on clean data."""
    if isinstance(scheduler, diffusers.FlowMatchEulerDiscreteScheduler):
        # Its own spacing spends the last step between sigma 0.001 and 0.
        sigmas = [1 - i / num_inference_steps for i in range(num_inference_steps)]
        scheduler.set_timesteps(sigmas=sigmas, device=device)
    else:
        scheduler.set_timesteps(num_inference_steps, device=device)
        if scheduler.config.get("use_flow_sigmas"):
            # They cut a flow's timesteps to whole numbers, which are then not those of their own sigmas.
            scheduler.timesteps = scheduler.sigmas[:-1].to(device) * scheduler.config.num_train_timesteps


def sample(
    denoise: Callable[[Tensor, Tensor], Tensor],
    scheduler: Any,
    x_T: Tensor,
    *,
    num_inference_steps: int,
    eta: float = 0.0,
    generators: Sequence[torch.Generator] | None = None,
) -> Iterator[Tensor]:
    """Walk from noise to data, yielding every x_t; the last one is x_0.

    denoise(x_t, timestep) -> prediction in the scheduler's prediction_type, same shape as x_t.
    x_T: (B, C, H, W), unit Gaussian. generators: one per sample, so that a batch equals its singles.
    Source: DDIM, Song et al. 2021 (eq. 12) and successors, as implemented by the given diffusers scheduler.
    """
    set_timesteps(scheduler, num_inference_steps, x_T.device)
    accepted = inspect.signature(scheduler.step).parameters
    # At eta 1 the square root of what is left, 0 but for rounding, is NaN near a cosine schedule's end.
    extra = {"eta": min(eta, 0.9999), "generator": list(generators) if generators else None}
    extra = {key: value for key, value in extra.items() if key in accepted}
    x_t = x_T * getattr(scheduler, "init_noise_sigma", 1.0)
    scale = getattr(scheduler, "scale_model_input", lambda x, _: x)
    for timestep, following in itertools.pairwise([*scheduler.timesteps, -1]):
        if isinstance(scheduler, diffusers.DDIMScheduler):
            # It goes on to timestep - N // num_inference_steps, past or short of the next one unless n divides N.
            gap = int(timestep - following)
            scheduler.num_inference_steps = Fraction(scheduler.config.num_train_timesteps, gap)
        prediction = denoise(scale(x_t, timestep), timestep)
        x_t = scheduler.step(prediction, timestep, x_t, return_dict=False, **extra)[0]  # (B, C, H, W)
        yield x_t
