"""The forward process: how noise is added, what is predicted, and in which space the loss is taken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from synesthete.types import Condition, InputError

Schedule = Literal["linear", "scaled_linear", "cosine", "flow"]
PredictionType = Literal["epsilon", "sample", "v_prediction", "flow"]
LossSpace = Literal["epsilon", "sample", "v_prediction", "flow", "preconditioned"]
TimestepSampling = Literal["uniform", "logit_normal"]
PREDICTION_TYPES: tuple[str, ...] = get_args(PredictionType)
LOSS_SPACES: tuple[str, ...] = get_args(LossSpace)

# diffusers names its beta schedules differently.
BETA_SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
BETAS = {"scaled_linear": (0.00085, 0.012)}  # first and last; of the others 1e-4 and 0.02
LEAST_SIGNAL = 2**-24  # of alphas_cumprod, where one that ends in pure noise is divided by: as diffusers has it


class Process:
    """x_t = alpha_t x_0 + sigma_t noise, over a diffusers scheduler's table or along the straight line of a flow.

    Timesteps run from 0 (clean) to `num_train_timesteps` (noise): whole numbers for "linear" (beta 1e-4..0.02, Ho et
    al. 2020), "scaled_linear" (its root from that of 0.00085 to that of 0.012: Stable Diffusion, Rombach et al. 2022)
    and "cosine" (Nichol & Dhariwal 2021), real ones for "flow" (sigma = t / num_train_timesteps; Lipman et al. 2023).
    What the network outputs (`prediction_type`) and what the loss compares (`loss_space`) are two choices (Salimans &
    Ho 2022, appendix D).

    A network that is preconditioned (Karras et al. 2022, section 5 and table 1) predicts x_0 as c_skip x_t + c_out F:
    it is shown c_in x_t of unit size, and what it has to output itself, F, is of unit size at every timestep, so that
    what x_t shows already at low noise need not pass through it. All three follow from alpha and sigma (their appendix
    B.6, for data of unit spread, which every codec gives). On a beta schedule F is v with its sign turned.

    Args:
        loss_space: as prediction_type where None; "preconditioned" compares F, whether or not the network outputs it.
        preconditioned: the network outputs F; prediction_type is "sample", and loss_space "preconditioned" where None.
        zero_terminal_snr: rescale the betas so that the last step is pure noise (Lin et al. 2024).
        timestep_sampling: "uniform", or "logit_normal" (Esser et al. 2024, section 3.1) with `timestep_mean` (positive:
            more noise) and `timestep_std`, but for `uniform_share` of them, which are uniform.
        min_sigma: an x_0 network's loss in another space divides by sigma; smaller ones are held here in training.

    Raises:
        InputError: an unknown name, an epsilon network on a process whose end has no signal, a preconditioned one of
            anything but x_0, or a share of timesteps that is none.
    """

    kinds: ClassVar[dict[str, type[Process]]] = {}  # of another way to noise, by what they call their schedule
    is_gaussian: ClassVar[bool] = True  # x_t has levels of signal and noise, and walks without chance lead back

    def __init_subclass__(cls, schedule: str | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        if schedule is not None:
            Process.kinds[schedule] = cls

    def __init__(
        self,
        schedule: Schedule = "flow",
        prediction_type: PredictionType = "sample",
        loss_space: LossSpace | None = None,
        num_train_timesteps: int = 1000,
        zero_terminal_snr: bool = False,
        timestep_sampling: TimestepSampling = "uniform",
        timestep_mean: float = 0.0,
        timestep_std: float = 1.0,
        min_sigma: float = 0.05,
        preconditioned: bool = False,
        uniform_share: float = 0.0,
    ) -> None:
        for value, known in (
            (schedule, get_args(Schedule)),
            (prediction_type, PREDICTION_TYPES),
            (loss_space or prediction_type, LOSS_SPACES),
            (timestep_sampling, get_args(TimestepSampling)),
        ):
            if value not in known:
                raise InputError(f"process: unknown {value!r}; choose from {', '.join(known)}")
        if prediction_type == "epsilon" and (zero_terminal_snr or schedule == "flow"):
            raise InputError(
                "process: where the last step is pure noise, predicting epsilon says nothing about the data; "
                "set process.prediction_type to sample, v_prediction or flow"
            )
        if prediction_type == "flow" and schedule != "flow":
            raise InputError(
                f"process: no sampler of a {schedule!r} schedule takes a flow velocity; "
                "set process.prediction_type to sample, v_prediction or epsilon"
            )
        if preconditioned and prediction_type != "sample":
            raise InputError(
                f"process: a preconditioned network predicts x_0; set process.prediction_type to sample (now "
                f"{prediction_type}), or process.preconditioned to false"
            )
        if not 0 <= uniform_share <= 1 or (uniform_share and timestep_sampling == "uniform"):
            raise InputError(
                f"process: uniform_share {uniform_share}: give 0 to 1, with process.timestep_sampling logit_normal"
            )
        self.schedule: str = schedule
        self.prediction_type: str = prediction_type
        self.preconditioned = preconditioned
        self.loss_space: str = loss_space or ("preconditioned" if preconditioned else prediction_type)
        self.num_train_timesteps, self.zero_terminal_snr = num_train_timesteps, zero_terminal_snr
        self.timestep_sampling = timestep_sampling
        self.timestep_mean, self.timestep_std, self.min_sigma = timestep_mean, timestep_std, min_sigma
        self.uniform_share = uniform_share
        self.alphas_cumprod: Tensor | None = None
        if schedule != "flow":
            self.alphas_cumprod = signal_levels(self.scheduler_config())

    @staticmethod
    def of(settings: Mapping[str, Any]) -> Process:
        """The process with these `settings()`."""
        kind, arguments = Process.kind_of(settings)
        return kind(**arguments)

    @staticmethod
    def kind_of(settings: Mapping[str, Any]) -> tuple[type[Process], dict[str, Any]]:
        """The class of these `settings()`, a kind that is called by their schedule or this, and its arguments."""
        kind = Process.kinds.get(settings.get("schedule", ""))
        if kind is None:
            return Process, dict(settings)
        return kind, {name: value for name, value in settings.items() if name != "schedule"}

    @property
    def family(self) -> str:
        """What samplers have to know of it: "beta" for every schedule of betas, of another its own name."""
        return "beta" if self.schedule in BETA_SCHEDULES else self.schedule

    @property
    def sampler_space(self) -> str:
        """What a sampler of this process is told: velocity on a flow, the network's own prediction otherwise."""
        return "flow" if self.schedule == "flow" else self.prediction_type

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, to be saved with a model."""
        names = (
            "schedule prediction_type loss_space num_train_timesteps zero_terminal_snr timestep_sampling "
            "timestep_mean timestep_std min_sigma preconditioned uniform_share"
        )
        return {name: getattr(self, name) for name in names.split()}

    def scheduler_config(self) -> dict[str, Any]:
        """What every diffusers scheduler of a beta schedule needs to walk this process backwards."""
        first, last = BETAS.get(self.schedule, (1e-4, 0.02))
        return {
            "num_train_timesteps": self.num_train_timesteps,
            "beta_start": first,
            "beta_end": last,
            "beta_schedule": BETA_SCHEDULES[self.schedule],
            "rescale_betas_zero_snr": self.zero_terminal_snr,
            "timestep_spacing": "trailing",
            "prediction_type": self.prediction_type,
        }

    def draw_timesteps(self, num: int, generator: torch.Generator) -> Tensor:
        """(num,) timesteps to train on: float for a flow, int64 otherwise."""
        if self.timestep_sampling == "logit_normal":
            normal = torch.randn(num, generator=generator)
            fraction = torch.sigmoid(self.timestep_mean + self.timestep_std * normal)
            if self.uniform_share:
                uniform, chosen = torch.rand(2, num, generator=generator)
                fraction = torch.where(chosen < self.uniform_share, uniform, fraction)
        else:
            # One draw in each n-th of the range: the same distribution, a steadier loss (Kingma et al. 2021, I.1).
            fraction = (torch.randperm(num, generator=generator) + torch.rand(num, generator=generator)) / num
        return self.at(fraction)

    def at(self, fraction: Tensor) -> Tensor:
        """Fractions in [0, 1) of the way to noise -> timesteps."""
        timestep = fraction * self.num_train_timesteps
        return timestep if self.schedule == "flow" else timestep.long().clamp(max=self.num_train_timesteps - 1)

    def alpha_sigma(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and noise levels at timesteps (B,), each (B, 1, 1, 1) float32.

        Between two whole ones, where a sampler may step, log SNR is on a line, as diffusers has it.
        """
        if self.alphas_cumprod is None:
            sigma = timestep.float() / self.num_train_timesteps
            alpha = 1 - sigma
        else:
            table, below = self.alphas_cumprod.to(timestep.device), timestep.long()
            alphas_cumprod = table[below]
            if timestep.is_floating_point():  # without a look at the values, which an exported graph cannot take
                share = timestep - below
                above = table[(below + 1).clamp(max=len(table) - 1)]
                low, high = (torch.logit(level.double(), eps=LEAST_SIGNAL) for level in (alphas_cumprod, above))
                between = torch.lerp(low, high, share.double()).sigmoid().float()
                alphas_cumprod = torch.where(share > 0, between, alphas_cumprod)
            alpha, sigma = alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt()
        return alpha.view(-1, 1, 1, 1), sigma.view(-1, 1, 1, 1)

    def add_noise(self, x_0: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """x_t (B, C, H, W) at timesteps (B,)."""
        alpha, sigma = self.alpha_sigma(timestep)
        return alpha * x_0 + sigma * noise

    def predict(self, denoiser: Any, x_t: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """The prediction at x_t (B, C, H, W) and timesteps (B,), in `prediction_type`, float32."""
        # Weights kept in half precision take no other input; x_t and what follows stay float32.
        if not self.preconditioned:
            return denoiser(x_t.to(denoiser.dtype), timestep, condition).float()
        alpha, sigma = self.alpha_sigma(timestep)
        power = alpha**2 + sigma**2  # of x_t
        c_skip, c_out, c_in = alpha / power, sigma * power.rsqrt(), power.rsqrt()
        output = denoiser((c_in * x_t).to(denoiser.dtype), timestep, condition).float()
        return c_skip * x_t + c_out * output

    def target(self, x_0: Tensor, noise: Tensor, timestep: Tensor, space: str | None = None) -> Tensor:
        """What a perfect network outputs, in `space` (default: the loss space)."""
        return stated(x_0, noise, *self.alpha_sigma(timestep), space or self.loss_space)

    def convert(self, prediction: Tensor, x_t: Tensor, timestep: Tensor, to: str, min_level: float = 1e-4) -> Tensor:
        """The network's prediction at x_t, said in another space; a level is divided by no less than `min_level`."""
        if to == self.prediction_type:
            return prediction
        alpha, sigma = self.alpha_sigma(timestep)
        return stated(*self._decompose(prediction, x_t, alpha, sigma, min_level), alpha, sigma, to)

    def stated(self, x_0: Tensor, x_t: Tensor, timestep: Tensor) -> Tensor:
        """An x_0 (B, C, H, W) at x_t and timesteps (B,) in the form that a sampler of this process takes."""
        alpha, sigma = self.alpha_sigma(timestep)
        return stated(x_0, (x_t - alpha * x_0) / sigma.clamp(min=1e-4), alpha, sigma, self.sampler_space)

    def best_guess(self, x_t: Tensor, timestep: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """The best linear guess of x_0 from each value of x_t alone (Wiener), by its mean and variance (C, H, W)."""
        alpha, sigma = self.alpha_sigma(timestep)
        return mean + alpha * variance / (alpha**2 * variance + sigma**2).clamp(min=1e-12) * (x_t - alpha * mean)

    def error(self, prediction: Tensor, x_0: Tensor, noise: Tensor, x_t: Tensor, timestep: Tensor) -> Tensor:
        """Mean square error of each sample's prediction (B,) in the loss space."""
        prediction = self.convert(prediction, x_t, timestep, self.loss_space, self.min_sigma)
        if self.prediction_type == "sample" and self.loss_space != "sample":
            # Both sides through the same held division, else small sigmas would compare different things.
            target = self.convert(x_0, x_t, timestep, self.loss_space, self.min_sigma)
        else:
            target = self.target(x_0, noise, timestep)
        return (prediction - target).square().flatten(1).mean(dim=1)

    def _decompose(
        self, prediction: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor, min_level: float
    ) -> tuple[Tensor, Tensor]:
        """(x_0, noise) that the prediction at x_t implies."""
        match self.prediction_type:
            case "sample":
                return prediction, (x_t - alpha * prediction) / sigma.clamp(min=min_level)
            case "epsilon":
                return (x_t - sigma * prediction) / alpha.clamp(min=min_level), prediction
            case "v_prediction":
                # alpha^2 + sigma^2 = 1 on a beta schedule only, so the flow's v needs the general inverse.
                norm = alpha**2 + sigma**2
                return (alpha * x_t - sigma * prediction) / norm, (sigma * x_t + alpha * prediction) / norm
            case _:
                total = alpha + sigma
                return (x_t - sigma * prediction) / total, (x_t + alpha * prediction) / total


def stated(x_0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor, space: str) -> Tensor:
    """x_0 and noise, mixed as alpha x_0 + sigma noise, in one number a cell of the given space."""
    match space:
        case "epsilon":
            return noise
        case "sample":
            return x_0
        case "v_prediction":
            return alpha * noise - sigma * x_0
        case "preconditioned":
            return (sigma * x_0 - alpha * noise) * (alpha**2 + sigma**2).rsqrt()
        case _:
            return noise - x_0


def signal_levels(config: Mapping[str, Any]) -> Tensor:
    """alphas_cumprod (num_train_timesteps,) of a `scheduler_config`, to the bit as diffusers' DDPMScheduler has it."""
    num, first, last = config["num_train_timesteps"], config["beta_start"], config["beta_end"]
    match config["beta_schedule"]:
        case "linear":
            betas = torch.linspace(first, last, num)
        case "scaled_linear":
            betas = torch.linspace(first**0.5, last**0.5, num) ** 2
        case _:  # Nichol & Dhariwal 2021, eq. 17
            bars = [math.cos((i / num + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(num + 1)]
            betas = torch.tensor([min(1 - bars[i + 1] / bars[i], 0.999) for i in range(num)])
    if config["rescale_betas_zero_snr"]:  # Lin et al. 2024, algorithm 1
        roots = (1 - betas).cumprod(0).sqrt()
        first_root, last_root = roots[0].clone(), roots[-1].clone()
        levels = ((roots - last_root) * (first_root / (first_root - last_root))) ** 2
        betas = 1 - torch.cat([levels[:1], levels[1:] / levels[:-1]])
    return (1 - betas).cumprod(0)
