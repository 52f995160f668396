"""The one sampling loop, over every sampler and every prediction type that it can take (law 3)."""

from __future__ import annotations

import diffusers
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synesthete import seeding
from synesthete.diffusion.process import PREDICTION_TYPES, Process
from synesthete.diffusion.sampling import SAMPLERS, SPACINGS, make_scheduler, sample
from synesthete.types import InputError

BETA_TYPES = ("epsilon", "sample", "v_prediction")
FLOW_TYPES = ("sample", "v_prediction", "flow")
STOCHASTIC = ("ddpm", "dpmsolver++sde", "flow-dpmsolver++sde")
TWICE = ("heun", "flow-heun")  # two forwards a step, one in the last
# diffusers cuts their timesteps to whole numbers; ours are those of their own sigmas.
FLOW_MULTISTEP = ("flow-dpmsolver++", "flow-dpmsolver++sde", "flow-unipc")
GAUSSIAN = {name: sampler for name, sampler in SAMPLERS.items() if sampler.family != "absorbing"}
BETA_SAMPLERS = [name for name, sampler in GAUSSIAN.items() if sampler.family == "beta"]
FLOW_SAMPLERS = [name for name, sampler in GAUSSIAN.items() if sampler.family == "flow"]

PROCESSES = {
    "beta": [
        Process(schedule, prediction_type, num_train_timesteps=num, zero_terminal_snr=zero)
        for schedule in ("linear", "cosine")
        for zero in (False, True)
        for prediction_type in BETA_TYPES
        for num in (1000, 500)
        # An epsilon at pure noise says nothing of the data; of 500 timesteps one prediction type is enough.
        if not (zero and prediction_type == "epsilon") and (num == 1000 or prediction_type == "v_prediction")
    ],
    "flow": [
        Process("flow", prediction_type, num_train_timesteps=num)
        for prediction_type in FLOW_TYPES
        for num in (1000, 500)
        if num == 1000 or prediction_type == "flow"
    ],
}


def named(process: Process) -> str:
    zero = "-zero" if process.zero_terminal_snr else ""
    return f"{process.schedule}-{process.prediction_type}-{process.num_train_timesteps}{zero}"


every_walk = pytest.mark.parametrize(
    ("name", "process"),
    [
        pytest.param(name, process, id=f"{name}-{named(process)}")
        for name, sampler in GAUSSIAN.items()
        for process in PROCESSES[sampler.family]
    ],
)
every_sampler = pytest.mark.parametrize("name", GAUSSIAN)
# Steps, and how far the spread of what they make may be off: 1st order, 2nd order, with noise in every step.
EXACTNESS = {
    **dict.fromkeys(("ddim", "euler", "flow-euler"), (100, 0.04)),
    **dict.fromkeys(("dpmsolver++", "unipc", "flow-heun", "flow-dpmsolver++", "flow-unipc"), (50, 0.01)),
    "heun": (50, 0.02),
    "ddpm": (200, 0.08),
    **dict.fromkeys(("dpmsolver++sde", "flow-dpmsolver++sde"), (100, 0.04)),
}


def process_for(name: str, **settings) -> Process:
    if SAMPLERS[name].family == "flow":
        return Process(schedule="flow", prediction_type="flow")
    return Process(**{"schedule": "cosine", "prediction_type": "v_prediction"} | settings)


def noise(batch: int, *shape: int) -> torch.Tensor:
    return torch.randn(batch, *(shape or (1, 1, 1)), generator=torch.Generator().manual_seed(0))


def unit_noise(num: int = 4096) -> torch.Tensor:
    """One picture of that many pixels with a spread of exactly 1: each is a sample of its own to an ideal denoiser."""
    x_T = noise(1, 1, 1, num)
    return x_T / x_T.std()


def walk(name, process, denoise, x_T, num_inference_steps=10, **settings):
    generators = settings.pop("generators", None)
    if generators is None and (name in STOCHASTIC or settings.get("eta")):
        generators = seeding.sample_generators(0, len(x_T))
    kind = {key: settings.pop(key) for key in ("shift", "timestep_spacing", "solver_order") if key in settings}
    scheduler = make_scheduler(name, process, **kind)
    settings |= {"num_inference_steps": num_inference_steps, "generators": generators}
    return list(sample(as_taken(process, denoise), scheduler, x_T, **settings))


def as_taken(process: Process, denoise):
    """What the network says, as the scheduler takes it: a flow's takes the velocity."""
    if process.schedule != "flow":
        return denoise

    def velocity(x_t, timestep):
        return process.convert(denoise(x_t, timestep), x_t, timestep.expand(len(x_t)), "flow")

    return velocity


def ideal_denoiser(process: Process, std: float):
    """The best prediction where x_0 ~ N(0, std^2): linear in x_t, by Bayes."""

    def denoise(x_t, timestep):
        alpha, sigma = levels(process, timestep)
        variance = alpha**2 * std**2 + sigma**2
        x_0, noise = alpha * std**2 * x_t / variance, sigma * x_t / variance
        match process.prediction_type:
            case "epsilon":
                return noise
            case "sample":
                return x_0
            case "v_prediction":
                return alpha * noise - sigma * x_0
            case "flow":
                return noise - x_0
        raise AssertionError

    return denoise


def levels(process: Process, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Signal and noise at one timestep, which Euler and Heun may give between two whole ones."""
    if process.schedule == "flow":
        return 1 - timestep / process.num_train_timesteps, timestep / process.num_train_timesteps
    table = process.alphas_cumprod.clone()
    table[-1] = table[-1].clamp(min=min(2**-24, table[-2].item() / 4))
    table = table.logit() / -2  # log of noise over signal
    below = timestep.long()
    above = (below + 1).clamp(max=process.num_train_timesteps - 1)
    ratio = table[below].lerp(table[above], (timestep - below).float()).exp()
    alpha = 1 / (1 + ratio**2).sqrt()
    return alpha, ratio * alpha


def dummy(x_t, timestep):
    """A network that is smooth in x_t and in the timestep, and right about neither."""
    return torch.sin(3 * x_t) + 0.5 * x_t.mean(dim=(1, 2, 3), keepdim=True) + timestep / 1000


@every_walk
def test_gaussian_data_keeps_its_spread(name, process):
    """x_0 ~ N(0, 0.5^2) with its ideal denoiser: std 0.5 comes out, not a shrunken one.

    A public "DDIM at eta 0" was the DDPM mean without its noise: std 2.5e-5.
    """
    num_steps, tolerance = EXACTNESS[name]
    x_0 = walk(name, process, ideal_denoiser(process, 0.5), unit_noise(), num_steps)[-1]
    assert x_0.std().item() == pytest.approx(0.5, rel=tolerance)


@pytest.mark.parametrize("name", [name for name in GAUSSIAN if name not in STOCHASTIC])
def test_few_steps_come_near(name):
    """From pure noise, where diffusers' Heun with even timesteps gives std 1.4 in 10 steps."""
    process = process_for(name, zero_terminal_snr=True)
    x_0 = walk(name, process, ideal_denoiser(process, 0.5), unit_noise(), 10)[-1]
    assert x_0.std().item() == pytest.approx(0.5, rel=0.16)


def test_ddim_at_eta_0_comes_as_near_as_its_steps_are_many():
    process, x_T = process_for("ddim"), unit_noise()
    off = [
        0.5 - walk("ddim", process, ideal_denoiser(process, 0.5), x_T, num_steps)[-1].std().item()
        for num_steps in (100, 200, 400)
    ]
    assert off[0] == pytest.approx(2 * off[1], rel=0.05) == pytest.approx(4 * off[2], rel=0.1)
    assert 0 < off[2] < 0.003


@pytest.mark.parametrize("name", BETA_SAMPLERS)
@pytest.mark.parametrize("timestep_spacing", ["linspace", "leading"])
def test_the_spread_is_kept_at_other_spacings(name, timestep_spacing):
    """Nearly: they begin short of the noise, or give Euler and Heun timesteps between two whole ones."""
    process = process_for(name)
    x_0 = walk(name, process, ideal_denoiser(process, 0.5), unit_noise(), 100, timestep_spacing=timestep_spacing)[-1]
    assert x_0.std().item() == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("name", FLOW_SAMPLERS)
@pytest.mark.parametrize("std", [0.3, 1.0, 10.0, 130.0])
def test_steps_even_in_log_snr_keep_the_spread_at_any_scale(name, std):
    """A spectrogram's whole level is a mode of std 130 beside noise of 1: 20 even steps leave a quarter of it."""
    process = process_for(name)
    tolerance = {"flow-euler": 0.15, "flow-dpmsolver++sde": 0.1}.get(name, 0.05)
    denoise = ideal_denoiser(process, std)
    x_0 = walk(name, process, denoise, unit_noise(), 20, timestep_spacing="log_snr")[-1]
    assert x_0.std().item() == pytest.approx(std, rel=tolerance)
    if std == 130:
        even = walk(name, process, denoise, unit_noise(), 20)[-1]
        assert even.std().item() < 0.3 * std


@pytest.mark.parametrize("name", FLOW_SAMPLERS)
def test_steps_even_in_log_snr_are_where_they_say(name):
    seen = sorted(set(timesteps_told(name, process_for(name), 12, timestep_spacing="log_snr")))
    places = (torch.tensor(seen) / 1000).logit()
    assert (len(seen), seen[0], seen[-1]) == (12, pytest.approx(20), pytest.approx(999))
    torch.testing.assert_close(places.diff(), places.diff().mean().expand(11), rtol=2e-3, atol=0)


@pytest.mark.parametrize("name", FLOW_SAMPLERS)
@pytest.mark.parametrize("settings", [{}, {"strength": 0.5}])
def test_steps_even_in_log_snr_end_on_clean_data(name, settings):
    process, x_0 = process_for(name), torch.linspace(-3, 3, 8).view(8, 1, 1, 1)

    def knowing(x_t, timestep):
        return (x_t - x_0) / (timestep / process.num_train_timesteps)

    start = x_0 if settings else None
    found = walk(name, process, knowing, noise(8), 10, timestep_spacing="log_snr", start=start, **settings)
    num_steps = 4 if settings else 10  # at 0.5 those from sigma 0.5 on, of which 0.42 is the first
    assert len(found) == (2 * num_steps - 1 if name in TWICE else num_steps)
    torch.testing.assert_close(found[-1], x_0, rtol=1e-5, atol=1e-5)


def by_hand(name: str, process: Process, timestep_spacing: str = "trailing"):
    """diffusers' scheduler with every setting that matters written out, as its own examples build it."""
    beta = {
        "num_train_timesteps": process.num_train_timesteps,
        "beta_schedule": {"linear": "linear", "cosine": "squaredcos_cap_v2"}.get(process.schedule),
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "prediction_type": process.prediction_type,
        "timestep_spacing": timestep_spacing,
    }
    zero = {"rescale_betas_zero_snr": process.zero_terminal_snr}
    flow = {"num_train_timesteps": process.num_train_timesteps}
    multistep = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, **flow}
    match name:
        case "ddpm":
            return diffusers.DDPMScheduler(**beta, **zero, clip_sample=False)
        case "ddim":
            return diffusers.DDIMScheduler(**beta, **zero, clip_sample=False, set_alpha_to_one=True)
        case "euler":
            return diffusers.EulerDiscreteScheduler(**beta, **zero)
        case "heun":
            if process.zero_terminal_snr:  # it has no setting for it, but takes the betas of one that has
                left = diffusers.DDPMScheduler(**beta, **zero).alphas_cumprod
                left[-1] = min(2**-24, left[-2] / 4)
                left = torch.cat([torch.ones(1), left]).double()
                beta["trained_betas"] = (1 - left[1:] / left[:-1]).tolist()
            return diffusers.HeunDiscreteScheduler(**beta, use_exponential_sigmas=True)
        case "dpmsolver++":
            return diffusers.DPMSolverMultistepScheduler(**beta, **zero)
        case "dpmsolver++sde":
            return diffusers.DPMSolverMultistepScheduler(**beta, **zero, algorithm_type="sde-dpmsolver++")
        case "unipc":
            return diffusers.UniPCMultistepScheduler(**beta, **zero)
        case "flow-euler":
            return diffusers.FlowMatchEulerDiscreteScheduler(**flow)
        case "flow-heun":
            return diffusers.FlowMatchHeunDiscreteScheduler(**flow)
        case "flow-dpmsolver++":
            return diffusers.DPMSolverMultistepScheduler(**multistep)
        case "flow-dpmsolver++sde":
            return diffusers.DPMSolverMultistepScheduler(**multistep, algorithm_type="sde-dpmsolver++")
        case "flow-unipc":
            return diffusers.UniPCMultistepScheduler(**multistep)
    raise AssertionError(f"write down how diffusers builds {name}")


def velocity_by_hand(prediction_type: str, prediction, x_t, sigma):
    """noise - x_0 on the straight line x_t = (1 - sigma) x_0 + sigma noise."""
    match prediction_type:
        case "flow":
            return prediction
        case "sample":
            return (x_t - prediction) / sigma
        case "v_prediction":  # (1 - sigma) noise - sigma x_0
            alpha = 1 - sigma
            return ((2 * sigma - 1) * x_t + prediction) / (alpha**2 + sigma**2)
    raise AssertionError


def loop_of_diffusers(name, process, scheduler, x_T):
    random = torch.Generator().manual_seed(0)
    x_t, steps = x_T * getattr(scheduler, "init_noise_sigma", 1.0), []
    for t in scheduler.timesteps:
        inputs = scheduler.scale_model_input(x_t, t) if hasattr(scheduler, "scale_model_input") else x_t
        prediction = dummy(inputs, t)
        if process.schedule == "flow":
            sigma = t / process.num_train_timesteps
            prediction = velocity_by_hand(process.prediction_type, prediction, inputs, sigma)
        noise_of_step = {"generator": [random] * len(x_t)} if name in STOCHASTIC else {}
        x_t = scheduler.step(prediction, t, x_t, **noise_of_step).prev_sample
        steps.append(x_t)
    return steps


def agree(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        # An x_0 on a flow is divided by a sigma that differs in its last bit.
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@every_walk
def test_agrees_with_the_loop_of_diffusers(name, process):
    x_T, scheduler = noise(3, 1, 4, 5), by_hand(name, process)
    if name == "flow-euler":
        scheduler.set_timesteps(sigmas=[1.0, 0.8, 0.6, 0.4, 0.2])
    else:
        scheduler.set_timesteps(5)
    if name in FLOW_MULTISTEP:
        scheduler.timesteps = process.num_train_timesteps * scheduler.sigmas[:-1]
    generators = [torch.Generator().manual_seed(0)] * 3  # one object thrice: it draws for sample after sample
    found = walk(name, process, dummy, x_T, 5, generators=generators)
    agree(found, loop_of_diffusers(name, process, scheduler, x_T))


@pytest.mark.parametrize(
    ("name", "timestep_spacing"),
    # DDIM's own loop steps past the timesteps of "linspace" (diffusers#12633); equation 12 below is its measure.
    [(n, s) for n in BETA_SAMPLERS for s in ("linspace", "leading") if (n, s) != ("ddim", "linspace")],
)
def test_agrees_with_the_loop_of_diffusers_at_other_spacings(name, timestep_spacing):
    process, x_T = process_for(name, num_train_timesteps=500), noise(3, 1, 4, 5)
    scheduler = by_hand(name, process, timestep_spacing)
    scheduler.set_timesteps(5)
    generators = [torch.Generator().manual_seed(0)] * 3
    found = walk(name, process, dummy, x_T, 5, generators=generators, timestep_spacing=timestep_spacing)
    agree(found, loop_of_diffusers(name, process, scheduler, x_T))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize(("timestep_spacing", "first", "gap"), [("trailing", 999, 100), ("linspace", 999, 111)])
def test_ddim_is_equation_12(schedule, timestep_spacing, first, gap):
    """Song et al. 2021, written out: independent of diffusers."""
    process = Process(schedule=schedule, prediction_type="epsilon")
    x_t = noise(3, 1, 4, 5)
    found = walk("ddim", process, dummy, x_t, 10, timestep_spacing=timestep_spacing)
    for i, x_next in enumerate(found):
        timestep = torch.tensor([first - gap * i])
        alpha, sigma = process.alpha_sigma(timestep)
        last = i == 9
        alpha_next, sigma_next = (1.0, 0.0) if last else process.alpha_sigma(timestep - gap)
        epsilon = dummy(x_t, timestep)
        expected = alpha_next * (x_t - sigma * epsilon) / alpha + sigma_next * epsilon
        torch.testing.assert_close(x_next, expected, rtol=1e-4, atol=1e-4)
        x_t = x_next


def test_flow_euler_walks_even_steps_along_the_velocity():
    x_t = noise(3, 1, 4, 5)
    for i, x_next in enumerate(walk("flow-euler", process_for("flow-euler"), dummy, x_t, 8)):
        x_t = x_t - dummy(x_t, torch.tensor(1000 * (1 - i / 8))) / 8
        torch.testing.assert_close(x_next, x_t)


def timesteps_told(name, process, num_inference_steps, **settings):
    seen: list[float] = []

    def denoise(x_t, timestep):
        seen.append(float(timestep))
        return x_t

    walk(name, process, denoise, noise(2), num_inference_steps, **settings)
    assert seen == sorted(seen, reverse=True)
    return seen


@every_walk
def test_the_timestep_of_the_scheduler_reaches_the_network(name, process):
    """From the terminal timestep down to near clean; a seed gave the network the loop index, 0 to 49."""
    num = process.num_train_timesteps
    seen = timesteps_told(name, process, 20)
    if name in ("flow-euler", "flow-heun"):
        assert seen[0] == num
    else:  # whole numbers to N - 1; a flow's multistep table stops one thousandth short of pure noise at most
        assert num - 1 - 1e-3 <= seen[0] <= num
    assert 0 < seen[-1] <= num / 20 + 1
    gaps = -torch.tensor(sorted(set(seen), reverse=True)).diff()
    if name != "heun":
        assert gaps.max() - gaps.min() <= 1.01  # even, but for whole numbers


@pytest.mark.parametrize("name", BETA_SAMPLERS)
def test_only_leading_spacing_begins_short_of_the_terminal_timestep(name):
    process = process_for(name, num_train_timesteps=500)
    first = {spacing: timesteps_told(name, process, 10, timestep_spacing=spacing)[0] for spacing in SPACINGS}
    assert first["trailing"] == first["linspace"] == 499
    assert 400 <= first["leading"] <= 450


@every_sampler
@pytest.mark.parametrize("num_inference_steps", [61, 103])
def test_no_step_is_taken_behind_clean_data(name, num_inference_steps):
    """Where N / n is rounded down, diffusers' trailing table has one timestep more, -1."""
    seen = timesteps_told(name, process_for(name), num_inference_steps)
    assert len(seen) == (2 * num_inference_steps - 1 if name in TWICE else num_inference_steps)
    assert seen[-1] >= 0


@every_sampler
@pytest.mark.parametrize("num_inference_steps", [1, 4, 10])
def test_the_last_step_is_clean_data(name, num_inference_steps):
    """A denoiser that knows x_0 gets it: diffusers#6068 left the noise of timestep 0 in it."""
    process, x_0 = process_for(name), torch.linspace(-3, 3, 8).view(8, 1, 1, 1)

    def knowing(x_t, timestep):
        timestep = timestep.expand(len(x_t))
        alpha, sigma = process.alpha_sigma(timestep)
        return process.target(x_0, (x_t - alpha * x_0) / sigma, timestep)

    found = walk(name, process, knowing, noise(8), num_inference_steps)[-1]
    # One step of Euler's subtracts two numbers of the size of its largest sigma, 2e4 on a cosine schedule.
    tolerance = 1e-2 if num_inference_steps == 1 and name in ("euler", "heun") else 1e-5
    torch.testing.assert_close(found, x_0, rtol=1e-5, atol=tolerance)


@every_sampler
def test_every_x_t_is_yielded_and_none_before_it_is_asked_for(name):
    calls = []

    def denoise(x_t, timestep):
        calls.append(timestep)
        return x_t

    steps = sample(denoise, make_scheduler(name, process_for(name)), noise(2), num_inference_steps=6)
    assert not calls
    first = next(steps)
    assert len(calls) == 1
    assert first.shape == (2, 1, 1, 1)
    assert 1 + len(list(steps)) == (11 if name in TWICE else 6)


@pytest.mark.parametrize(("name", "eta"), [*((name, 0.0) for name in GAUSSIAN), ("ddim", 1.0)])
def test_a_batch_equals_its_singles(name, eta):
    process, x_T = process_for(name), noise(4, 1, 4, 5)

    def own(x_t, timestep):  # no sum over the batch, so that nothing but the loop could mix it
        return torch.sin(3 * x_t) + timestep / 1000

    batch = walk(name, process, own, x_T, 5, eta=eta, generators=seeding.sample_generators(7, 4))[-1]
    for i in range(4):
        single = walk(name, process, own, x_T[i : i + 1], 5, eta=eta, generators=seeding.sample_generators(7, 1, i))
        torch.testing.assert_close(single[-1], batch[i : i + 1])


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("settings", [{}, {"zero_terminal_snr": True}, {"schedule": "linear"}])
def test_gaussian_data_keeps_its_spread_with_the_noise_of_eta(eta, settings):
    """diffusers' own DDIM gives NaN at eta 1 on a cosine schedule."""
    process = process_for("ddim", **settings)
    x_0 = walk("ddim", process, ideal_denoiser(process, 0.5), unit_noise(), 250, eta=eta)[-1]
    assert x_0.std().item() == pytest.approx(0.5, rel=0.06)


def test_eta_adds_noise_to_ddim_and_is_refused_elsewhere():
    x_T = noise(2, 1, 4, 5)
    plain, noisy = (walk("ddim", process_for("ddim"), dummy, x_T, 5, eta=eta)[-1] for eta in (0.0, 1.0))
    assert not torch.equal(plain, noisy)
    for name in GAUSSIAN:
        if name != "ddim":
            with pytest.raises(InputError, match=r"^eta 0.5: .* takes none; set eta=0, or take ddim"):
                walk(name, process_for(name), dummy, x_T, 5, eta=0.5)


def test_ddim_at_eta_1_is_ddpm():
    """Song et al. 2021, section 4.1; of DDPM's two variances diffusers' default is that one."""
    x_T = noise(2, 1, 4, 5)
    for process in (process_for("ddpm"), process_for("ddpm", schedule="linear")):
        expected = walk("ddpm", process, dummy, x_T, 10, generators=seeding.sample_generators(3, 2))[-1]
        found = walk("ddim", process, dummy, x_T, 10, eta=1.0, generators=seeding.sample_generators(3, 2))[-1]
        torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)  # our eta stops at 0.9999


def test_order_1_of_dpmsolver_is_ddim():
    """Lu et al. 2022, section 4.1: and the higher orders are other solvers of the same equation."""
    process, x_T = process_for("ddim"), noise(3, 1, 4, 5)
    ddim = walk("ddim", process, dummy, x_T)[-1]
    found = {order: walk("dpmsolver++", process, dummy, x_T, solver_order=order)[-1] for order in (1, 2, 3)}
    torch.testing.assert_close(found[1], ddim, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[2], found[1], atol=1e-3)
    assert not torch.allclose(found[3], found[2], atol=1e-3)
    assert torch.equal(walk("dpmsolver++", process, dummy, x_T)[-1], found[2])


@pytest.mark.parametrize(
    ("name", "solver_order"),
    [(name, order) for name, sampler in GAUSSIAN.items() for order in range(1, sampler.max_order + 1)],
)
def test_the_spread_is_kept_at_every_order(name, solver_order):
    process = process_for(name, zero_terminal_snr=True)
    x_0 = walk(name, process, ideal_denoiser(process, 0.5), unit_noise(), 100, solver_order=solver_order)[-1]
    assert x_0.std().item() == pytest.approx(0.5, rel=0.05)


@given(num_inference_steps=st.integers(1, 60), name=st.sampled_from([*GAUSSIAN]))
def test_any_number_of_steps_ends_finite(num_inference_steps, name):
    process = process_for(name)
    found = walk(name, process, ideal_denoiser(process, 0.5), noise(4), num_inference_steps)
    assert len(found) == (2 * num_inference_steps - 1 if name in TWICE else num_inference_steps)
    assert torch.isfinite(found[-1]).all()


@pytest.mark.parametrize(
    ("name", "num_inference_steps"),
    [("ddim", 400), *((name, num) for name in GAUSSIAN if name not in STOCHASTIC for num in (30, 61))],
)
def test_the_spread_is_kept_where_steps_do_not_divide_the_timesteps(name, num_inference_steps):
    """diffusers' DDIM goes on to timestep - 1000 // n, not the next one unless n divides 1000 (std 0.57 at 400)."""
    process = process_for(name, zero_terminal_snr=True)
    x_0 = walk(name, process, ideal_denoiser(process, 0.5), unit_noise(), num_inference_steps)[-1]
    assert x_0.std().item() == pytest.approx(0.5, rel=0.08)


def test_an_unknown_sampler_names_those_that_fit():
    with pytest.raises(InputError, match=r"sampler 'dimm': unknown; choose from ddpm, ddim, .*unipc$"):
        make_scheduler("dimm", process_for("ddim"))
    with pytest.raises(InputError, match=r"sampler 'ddim': cannot walk a 'flow' schedule; choose from flow-euler"):
        make_scheduler("ddim", process_for("flow-euler"))
    with pytest.raises(InputError, match="cannot walk a 'cosine' schedule"):
        make_scheduler("flow-euler", process_for("ddim"))
    with pytest.raises(InputError, match=r"timestep_shift 3.0: only a flow can be shifted"):
        make_scheduler("ddim", process_for("ddim"), shift=3.0)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("ddim", {"timestep_spacing": "trialing"}, "timestep_spacing 'trialing': unknown; choose from trailing, "),
        ("flow-euler", {"timestep_spacing": "leading"}, "'leading': not of a 'flow' schedule; .* trailing, log_snr$"),
        ("ddim", {"timestep_spacing": "log_snr"}, "'log_snr': not of a 'cosine' schedule; .* linspace, leading$"),
        ("flow-unipc", {"timestep_spacing": "log_snr", "shift": 3.0}, "timestep_shift 3.0: .*leave it at 1, or set"),
        ("ddim", {"solver_order": 3}, "solver_order 3: sampler 'ddim' has no such; leave .* 1-3 with unipc$"),
        ("flow-euler", {"solver_order": 2}, "'flow-euler' has no such; .* 1-3 with flow-dpmsolver.*"),
        ("unipc", {"solver_order": 4}, "solver_order 4: .* give 1-3 with dpmsolver.*, 1-2 with dpmsolver..sde"),
        ("ddim", {"num_inference_steps": 1001}, "num_inference_steps 1001: give at most 1000"),
        ("unipc", {"num_inference_steps": 1000, "timestep_spacing": "linspace"}, "at most 999 .*'linspace'"),
        (
            "euler",
            {"num_inference_steps": 1, "timestep_spacing": "leading"},
            "num_inference_steps 1: begins at clean data; .*'trailing'",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(name, settings, words):
    with pytest.raises(InputError, match=words) as found:
        walk(name, process_for(name), dummy, noise(1), **settings)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("name", BETA_SAMPLERS)
@pytest.mark.parametrize("timestep_spacing", SPACINGS)
def test_as_many_steps_as_timesteps_and_no_more(name, timestep_spacing):
    process = process_for(name, num_train_timesteps=20)
    most = 20 - (timestep_spacing != "trailing" and name.startswith(("dpm", "unipc")))
    seen = timesteps_told(name, process, most, timestep_spacing=timestep_spacing)
    assert len(set(seen)) == most
    with pytest.raises(InputError, match=f"num_inference_steps {most + 1}: give at most {most} "):
        timesteps_told(name, process, most + 1, timestep_spacing=timestep_spacing)


@pytest.mark.parametrize("name", FLOW_SAMPLERS)
def test_a_shift_spends_more_steps_near_noise(name):
    """Esser et al. 2024, eq. 23: t goes to s t / (1 + (s - 1) t); it begins and ends where it did."""
    seen: dict[float, list] = {}
    process = process_for(name)
    for shift in (1.0, 3.0):
        ideal, seen[shift] = ideal_denoiser(process, 0.5), []

        def denoise(x_t, timestep, ideal=ideal, seen=seen[shift]):
            seen.append(float(timestep) / 1000)
            return ideal(x_t, timestep)

        scheduler, generators = make_scheduler(name, process, shift), seeding.sample_generators(0, 1)
        # As many values as tell 5% where every step draws noise as well.
        steps = sample(denoise, scheduler, unit_noise(16_384), num_inference_steps=100, generators=generators)
        assert list(steps)[-1].std().item() == pytest.approx(0.5, rel=0.05)
    assert seen[3.0][0] == pytest.approx(seen[1.0][0], abs=1e-3)
    middle = len(seen[1.0]) // 2
    assert seen[3.0][middle] == pytest.approx(3 * seen[1.0][middle] / (1 + 2 * seen[1.0][middle]), abs=0.01)


@pytest.mark.parametrize("name", BETA_SAMPLERS)
@pytest.mark.parametrize("process", PROCESSES["beta"], ids=named)
def test_a_scheduler_walks_the_very_process(name, process):
    """diffusers' Heun knows no zero terminal SNR, and would walk another process without a word."""
    torch.testing.assert_close(make_scheduler(name, process).alphas_cumprod, process.alphas_cumprod, atol=1e-6, rtol=0)


def test_nothing_clips_x_0():
    process, x_0 = process_for("ddim"), torch.full((1, 1, 1, 1), 16.118)

    def knowing(x_t, timestep):
        alpha, sigma = process.alpha_sigma(timestep.expand(1))
        return process.target(x_0, (x_t - alpha * x_0) / sigma, timestep.expand(1))

    for name in ("ddpm", "ddim"):
        torch.testing.assert_close(walk(name, process, knowing, noise(1))[-1], x_0)


def test_prediction_types_and_samplers_are_the_ones_tested():
    assert len(GAUSSIAN) == 12
    assert (*BETA_TYPES, "flow") == PREDICTION_TYPES
