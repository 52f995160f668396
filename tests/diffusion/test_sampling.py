"""The one sampling loop, over every sampler and every prediction type that it can take (law 3)."""

from __future__ import annotations

import diffusers
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synesthete import seeding
from synesthete.diffusion.process import PREDICTION_TYPES, Process
from synesthete.diffusion.sampling import SAMPLERS, make_scheduler, sample
from synesthete.types import InputError

BETA_TYPES = ("epsilon", "sample", "v_prediction")
STOCHASTIC = ("ddpm", "dpmsolver++sde")
TWICE = ("heun", "flow-heun")  # two forwards a step, one in the last
# diffusers cuts their timesteps to whole numbers; ours are those of their own sigmas.
FLOW_MULTISTEP = ("flow-dpmsolver++", "flow-unipc")

WALKS = [
    (name, schedule, prediction_type)
    for name, sampler in SAMPLERS.items()
    for schedule in (("flow",) if sampler.flow else ("linear", "cosine"))
    for prediction_type in (("flow",) if sampler.flow else BETA_TYPES)
]
every_walk = pytest.mark.parametrize(("name", "schedule", "prediction_type"), WALKS)
every_sampler = pytest.mark.parametrize("name", SAMPLERS)


def process_for(name: str, **settings) -> Process:
    if SAMPLERS[name].flow:
        return Process(schedule="flow", prediction_type="flow")
    return Process(**{"schedule": "cosine", "prediction_type": "v_prediction"} | settings)


def noise(batch: int, *shape: int) -> torch.Tensor:
    return torch.randn(batch, *(shape or (1, 1, 1)), generator=torch.Generator().manual_seed(0))


def walk(name, process, denoise, x_T, num_inference_steps=10, **settings):
    generators = settings.pop("generators", None)
    if generators is None and (name in STOCHASTIC or settings.get("eta")):
        generators = seeding.sample_generators(0, len(x_T))
    scheduler = make_scheduler(name, process)
    settings |= {"num_inference_steps": num_inference_steps, "generators": generators}
    return list(sample(denoise, scheduler, x_T, **settings))


def ideal_denoiser(process: Process, std: float):
    """The best prediction where x_0 ~ N(0, std^2): linear in x_t, by Bayes."""

    def denoise(x_t, timestep):
        timestep = timestep.expand(len(x_t))
        alpha, sigma = process.alpha_sigma(timestep)
        variance = alpha**2 * std**2 + sigma**2
        return process.target(
            alpha * std**2 * x_t / variance, sigma * x_t / variance, timestep, process.prediction_type
        )

    return denoise


def dummy(x_t, timestep):
    """A network that is smooth in x_t and in the timestep, and right about neither."""
    return torch.sin(3 * x_t) + 0.5 * x_t.mean(dim=(1, 2, 3), keepdim=True) + timestep / 1000


@every_walk
def test_gaussian_data_keeps_its_spread(name, schedule, prediction_type):
    """x_0 ~ N(0, 0.5^2) with its ideal denoiser: std 0.5 comes out, not a shrunken one.

    A public "DDIM at eta 0" was the DDPM mean without its noise: std 2.5e-5.
    """
    process = Process(schedule=schedule, prediction_type=prediction_type)
    batch, num_steps = (512, 500) if name in STOCHASTIC else (4096, 200)
    x_T = noise(batch)
    x_0 = walk(name, process, ideal_denoiser(process, 0.5), x_T / x_T.std(), num_steps)[-1]
    assert x_0.std().item() == pytest.approx(0.5, rel=0.08 if name in STOCHASTIC else 0.03)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
@pytest.mark.parametrize("name", [n for n, s in SAMPLERS.items() if not s.flow and n not in (*STOCHASTIC, "heun")])
def test_gaussian_data_keeps_its_spread_at_zero_terminal_snr(name, prediction_type, schedule):
    process = Process(schedule=schedule, prediction_type=prediction_type, zero_terminal_snr=True)
    x_T = noise(1024)
    x_0 = walk(name, process, ideal_denoiser(process, 0.5), x_T / x_T.std(), 200)[-1]
    assert x_0.std().item() == pytest.approx(0.5, rel=0.03)


def by_hand(name: str, schedule: str, prediction_type: str):
    """diffusers' scheduler with every setting that matters written out, as its own examples build it."""
    beta = {
        "beta_schedule": {"linear": "linear", "cosine": "squaredcos_cap_v2"}.get(schedule),
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "prediction_type": prediction_type,
        "timestep_spacing": "trailing",
    }
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
    match name:
        case "ddpm":
            return diffusers.DDPMScheduler(**beta, clip_sample=False)
        case "ddim":
            return diffusers.DDIMScheduler(**beta, clip_sample=False, set_alpha_to_one=True)
        case "euler":
            return diffusers.EulerDiscreteScheduler(**beta)
        case "heun":
            return diffusers.HeunDiscreteScheduler(**beta)
        case "dpmsolver++":
            return diffusers.DPMSolverMultistepScheduler(**beta)
        case "dpmsolver++sde":
            return diffusers.DPMSolverMultistepScheduler(**beta, algorithm_type="sde-dpmsolver++")
        case "unipc":
            return diffusers.UniPCMultistepScheduler(**beta)
        case "flow-euler":
            return diffusers.FlowMatchEulerDiscreteScheduler()
        case "flow-heun":
            return diffusers.FlowMatchHeunDiscreteScheduler()
        case "flow-dpmsolver++":
            return diffusers.DPMSolverMultistepScheduler(**flow)
        case "flow-unipc":
            return diffusers.UniPCMultistepScheduler(**flow)
    raise AssertionError(f"write down how diffusers builds {name}")


@every_walk
def test_agrees_with_the_loop_of_diffusers(name, schedule, prediction_type):
    process = Process(schedule=schedule, prediction_type=prediction_type)
    x_T = noise(3, 1, 4, 5)
    scheduler = by_hand(name, schedule, prediction_type)
    if name == "flow-euler":
        scheduler.set_timesteps(sigmas=[1.0, 0.8, 0.6, 0.4, 0.2])
    else:
        scheduler.set_timesteps(5)
    if name in FLOW_MULTISTEP:
        scheduler.timesteps = 1000 * scheduler.sigmas[:-1]
    random = torch.Generator().manual_seed(0)
    expected, x_t = [], x_T * getattr(scheduler, "init_noise_sigma", 1.0)
    for t in scheduler.timesteps:
        inputs = scheduler.scale_model_input(x_t, t) if hasattr(scheduler, "scale_model_input") else x_t
        noise_of_step = {"generator": [random] * 3} if name in STOCHASTIC else {}
        x_t = scheduler.step(dummy(inputs, t), t, x_t, **noise_of_step).prev_sample
        expected.append(x_t)
    generators = [torch.Generator().manual_seed(0)] * 3  # one object thrice: it draws for sample after sample
    found = walk(name, process, dummy, x_T, 5, generators=generators)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_ddim_is_equation_12(schedule):
    """Song et al. 2021, written out: independent of diffusers."""
    process = Process(schedule=schedule, prediction_type="epsilon")
    x_t = noise(3, 1, 4, 5)
    found = walk("ddim", process, dummy, x_t, 10)
    for i, x_next in enumerate(found):
        timestep = torch.tensor([999 - 100 * i])
        alpha, sigma = process.alpha_sigma(timestep)
        last = i == 9
        alpha_next, sigma_next = (1.0, 0.0) if last else process.alpha_sigma(timestep - 100)
        epsilon = dummy(x_t, timestep)
        expected = alpha_next * (x_t - sigma * epsilon) / alpha + sigma_next * epsilon
        torch.testing.assert_close(x_next, expected, rtol=1e-4, atol=1e-4)
        x_t = x_next


def test_flow_euler_walks_even_steps_along_the_velocity():
    x_t = noise(3, 1, 4, 5)
    for i, x_next in enumerate(walk("flow-euler", process_for("flow-euler"), dummy, x_t, 8)):
        x_t = x_t - dummy(x_t, torch.tensor(1000 * (1 - i / 8))) / 8
        torch.testing.assert_close(x_next, x_t)


@every_sampler
def test_the_timestep_of_the_scheduler_reaches_the_network(name):
    """From the terminal timestep down to near clean; a seed gave the network the loop index, 0 to 49."""
    seen = []

    def denoise(x_t, timestep):
        seen.append(float(timestep))
        return x_t

    process = process_for(name)
    walk(name, process, denoise, noise(2), 20)
    if name in ("flow-euler", "flow-heun"):
        assert seen[0] == 1000
    else:  # whole numbers to 999; a flow's multistep table stops one thousandth short of pure noise at most
        assert 999 - 1e-3 <= seen[0] <= 1000
    assert seen == sorted(seen, reverse=True)
    assert 0 < seen[-1] <= 51
    gaps = -torch.tensor(sorted(set(seen), reverse=True)).diff()
    assert gaps.max() - gaps.min() <= 1.01  # even, but for whole numbers


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


@every_sampler
@pytest.mark.parametrize("eta", [0.0, 1.0])
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
    process, x_T = process_for("ddim", **settings), noise(512)
    x_0 = walk("ddim", process, ideal_denoiser(process, 0.5), x_T / x_T.std(), 250, eta=eta)[-1]
    assert x_0.std().item() == pytest.approx(0.5, rel=0.08)


def test_eta_adds_noise_to_ddim_alone():
    x_T = noise(2, 1, 4, 5)
    for name, changes in (("ddim", True), ("euler", False), ("dpmsolver++", False)):
        plain, noisy = (walk(name, process_for(name), dummy, x_T, 5, eta=eta)[-1] for eta in (0.0, 1.0))
        assert torch.equal(plain, noisy) != changes


@given(num_inference_steps=st.integers(1, 60), name=st.sampled_from([*SAMPLERS]))
def test_any_number_of_steps_ends_finite(num_inference_steps, name):
    process = process_for(name)
    found = walk(name, process, ideal_denoiser(process, 0.5), noise(4), num_inference_steps)
    assert len(found) == (2 * num_inference_steps - 1 if name in TWICE else num_inference_steps)
    assert torch.isfinite(found[-1]).all()


@pytest.mark.parametrize("name", ["ddim", "euler", "dpmsolver++", "unipc", "flow-euler", "flow-dpmsolver++"])
@pytest.mark.parametrize("num_inference_steps", [30, 70, 300, 400])
def test_the_spread_is_kept_where_steps_do_not_divide_the_timesteps(name, num_inference_steps):
    """diffusers' DDIM goes on to timestep - 1000 // n, not the next one unless n divides 1000 (std 0.57 at 400)."""
    process, x_T = process_for(name), noise(4096)
    x_0 = walk(name, process, ideal_denoiser(process, 0.5), x_T / x_T.std(), num_inference_steps)[-1]
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


@pytest.mark.parametrize("name", [name for name, sampler in SAMPLERS.items() if sampler.flow])
def test_a_shift_spends_more_steps_near_noise(name):
    """Esser et al. 2024, eq. 23: t goes to s t / (1 + (s - 1) t); it begins and ends where it did."""
    seen: dict[float, list] = {}
    process = process_for(name)
    for shift in (1.0, 3.0):
        ideal, seen[shift] = ideal_denoiser(process, 0.5), []

        def denoise(x_t, timestep, ideal=ideal, seen=seen[shift]):
            seen.append(float(timestep) / 1000)
            return ideal(x_t, timestep)

        x_T = noise(1024)
        steps = sample(denoise, make_scheduler(name, process, shift), x_T / x_T.std(), num_inference_steps=100)
        assert list(steps)[-1].std().item() == pytest.approx(0.5, rel=0.05)
    assert seen[3.0][0] == pytest.approx(seen[1.0][0], abs=1e-3)
    middle = len(seen[1.0]) // 2
    assert seen[3.0][middle] == pytest.approx(3 * seen[1.0][middle] / (1 + 2 * seen[1.0][middle]), abs=0.01)


@pytest.mark.parametrize("name", [name for name, sampler in SAMPLERS.items() if not sampler.flow])
@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_a_scheduler_walks_the_very_process(name, zero_terminal_snr):
    """Or says that it cannot: Heun's has no zero terminal SNR, and would walk another process without a word."""
    process = process_for(name, zero_terminal_snr=zero_terminal_snr)
    if name == "heun" and zero_terminal_snr:
        with pytest.raises(InputError, match="zero_terminal_snr"):
            make_scheduler(name, process)
        return
    torch.testing.assert_close(make_scheduler(name, process).alphas_cumprod, process.alphas_cumprod, atol=1e-6, rtol=0)


def test_nothing_clips_x_0():
    process, x_0 = process_for("ddim"), torch.full((1, 1, 1, 1), 16.118)

    def knowing(x_t, timestep):
        alpha, sigma = process.alpha_sigma(timestep.expand(1))
        return process.target(x_0, (x_t - alpha * x_0) / sigma, timestep.expand(1))

    for name in ("ddpm", "ddim"):
        torch.testing.assert_close(walk(name, process, knowing, noise(1))[-1], x_0)


def test_prediction_types_and_samplers_are_the_ones_tested():
    assert len(SAMPLERS) == 11
    assert (*BETA_TYPES, "flow") == PREDICTION_TYPES
