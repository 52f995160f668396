"""A known part of x_0 is there in every step with its own noise, and exact at the end; a start is walked from."""

from __future__ import annotations

import pytest
import torch

from pipeline.sounding import ideal_pipeline, nothing, process_for
from synesthete import seeding
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import SAMPLERS
from synesthete.pipeline.long_form import inpaint
from synesthete.types import InputError

GAUSSIAN = [name for name, sampler in SAMPLERS.items() if sampler.family != "absorbing"]
STOCHASTIC = ("ddpm", "dpmsolver++sde", "flow-dpmsolver++sde")
NUM = 2
PROCESSES = [
    *((name, process_for(name)) for name in GAUSSIAN),
    ("flow-euler", Process("flow", "sample")),
    ("flow-euler", Process("flow", "flow")),
    ("ddim", Process("linear", "epsilon")),
    ("ddim", Process("cosine", "sample")),
    ("heun", Process("linear", "v_prediction")),
]
every_walk = pytest.mark.parametrize(
    ("name", "process"), [pytest.param(n, p, id=f"{n}-{p.schedule}-{p.prediction_type}") for n, p in PROCESSES]
)


def draw(pipeline, seed):
    return seeding.randn(pipeline.codec.shape, seeding.sample_generators(seed, NUM))


@every_walk
def test_the_known_part_keeps_its_noise_and_comes_out_exact(name, process):
    pipeline = ideal_pipeline(name, process, num_inference_steps=12)
    known, x_T = draw(pipeline, 5), draw(pipeline, 6)
    keep = torch.arange(known.shape[-1]) < 15
    inner, seen = inpaint(process, known, keep), []

    def around(denoise):
        def watched(x_t, timestep):
            alpha, sigma = process.alpha_sigma(timestep.flatten()[:1])
            seen.append((((x_t.detach() - alpha * known) / sigma)[..., keep], float(alpha / sigma)))
            return denoise(x_t, timestep)

        return inner(watched)

    *_, x_0 = pipeline.trajectory(nothing(NUM), noise=x_T, around=around)
    torch.testing.assert_close(x_0[..., keep], known[..., keep], rtol=0, atol=1e-3)
    for implied, level in seen:
        # Where there is next to no noise, its direction is rounded away.
        if level > 20:
            continue
        if name in STOCHASTIC:
            assert implied.std() == pytest.approx(1.0, abs=0.1)
        else:
            # A linear schedule ends with 0.6% of signal, which the noise that a walk begins with has not.
            torch.testing.assert_close(implied, x_T[..., keep], rtol=0, atol=0.05)


@every_walk
def test_what_is_not_held_is_told_of_what_is(name, process):
    """Frames next to the held ones are like them, far ones are not."""
    pipeline = ideal_pipeline(name, process, num_inference_steps=12)
    x_T = draw(pipeline, 6)
    keep = torch.arange(x_T.shape[-1]) < 15
    results = []
    for level in (-2.0, 2.0):
        around = inpaint(process, torch.full_like(x_T, level), keep)
        *_, x_0 = pipeline.trajectory(
            nothing(NUM), noise=x_T, around=around, generators=seeding.sample_generators(1, NUM)
        )
        results.append(x_0)
    moved = (results[1] - results[0]).mean(dim=(0, 1, 2)) / 4  # (W,): 1 would be all the way
    assert moved[15] > 0.8
    assert -0.05 < moved[-1] < moved[20] < moved[15]


@pytest.mark.parametrize("name", GAUSSIAN)
@pytest.mark.parametrize("strength", [0.1, 0.5, 0.75])
def test_a_start_is_noised_as_training_noises(name, strength):
    """What the network sees first is alpha start + sigma noise at the timestep that it is told."""
    process = process_for(name)
    pipeline = ideal_pipeline(name, process, num_inference_steps=8)
    start, x_T, seen = draw(pipeline, 3), draw(pipeline, 4), []

    def around(denoise):
        def watched(x_t, timestep):
            seen.append((x_t, timestep.flatten()[:1]))
            return denoise(x_t, timestep)

        return watched

    list(pipeline.trajectory(nothing(NUM), noise=x_T, around=around, start=start, strength=strength))
    forwards = 2 * max(round(8 * strength), 1) - 1 if name in ("heun", "flow-heun") else max(round(8 * strength), 1)
    assert len(seen) == forwards
    x_t, timestep = seen[0]
    torch.testing.assert_close(x_t, process.add_noise(start, x_T, timestep), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("name", GAUSSIAN)
def test_a_walk_from_a_start_that_is_always_predicted_ends_there(name):
    process = process_for(name)
    pipeline = ideal_pipeline(name, process, num_inference_steps=8)
    start = draw(pipeline, 3)
    around = inpaint(process, start, torch.ones(start.shape[-1], dtype=torch.bool))
    for strength in (0.1, 0.5, 1.0):
        x_0 = list(pipeline.trajectory(nothing(NUM), around=around, start=start, strength=strength))[-1]
        torch.testing.assert_close(x_0, start, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in ("flow-euler", "ddim", "dpmsolver++")),
        ("flow-dpmsolver++", {"timestep_spacing": "log_snr"}),
    ],
)
def test_a_small_strength_is_near_and_all_of_it_is_a_sample_like_any(name, settings):
    pipeline = ideal_pipeline(name, num_inference_steps=20, **settings)
    start = pipeline(nothing(NUM), generators=seeding.sample_generators(9, NUM)).x_0
    far = []
    for strength in (0.05, 0.3, 0.6, 1.0):
        x_0 = pipeline(nothing(NUM), generators=seeding.sample_generators(0, NUM), start=start, strength=strength).x_0
        far.append((x_0 - start).square().mean().sqrt().item())
    assert far == sorted(far)
    assert far[0] < 0.2
    plain = pipeline(nothing(NUM), generators=seeding.sample_generators(0, NUM))
    assert torch.equal(x_0, plain.x_0)


@pytest.mark.parametrize("strength", [0.0, -0.5, 1.01, float("nan")])
def test_a_strength_out_of_range_is_one_line(strength):
    pipeline = ideal_pipeline()
    with pytest.raises(InputError, match=r"strength .*: give a number above 0 and at most 1"):
        pipeline(nothing(NUM), start=draw(pipeline, 1), strength=strength)


def test_levels_between_two_timesteps_are_those_of_the_sampler():
    process = Process("cosine", "v_prediction", zero_terminal_snr=True)
    whole = torch.arange(1000)
    for level, exact in zip(process.alpha_sigma(whole.float()), process.alpha_sigma(whole), strict=True):
        assert torch.equal(level, exact)
    alpha, sigma = process.alpha_sigma(torch.tensor([500.0, 500.25, 500.5, 501.0]))
    ratio = (alpha / sigma).flatten().log()
    assert torch.allclose(ratio, ratio[0] + (ratio[3] - ratio[0]) * torch.tensor([0, 0.25, 0.5, 1]), atol=1e-5)
    alpha, _ = process.alpha_sigma(torch.tensor([998.5]))
    assert 0 < alpha < process.alpha_sigma(torch.tensor([998]))[0]
