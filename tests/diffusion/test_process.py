"""Noise in, targets and conversions out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synesthete.diffusion.process import LOSS_SPACES, PREDICTION_TYPES, Process
from synesthete.nn.part import Part
from synesthete.types import InputError

SCHEDULES = ("linear", "cosine", "flow")
SHAPE = (4, 1, 5, 6)


def draw(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SHAPE, generator=generator), torch.randn(SHAPE, generator=generator)


def fits(schedule: str, prediction_type: str) -> bool:
    return not (schedule == "flow" and prediction_type == "epsilon") and (
        schedule == "flow" or prediction_type != "flow"
    )


KINDS = [(s, p) for s in SCHEDULES for p in PREDICTION_TYPES if fits(s, p)]


@pytest.mark.parametrize(("schedule", "prediction_type"), KINDS)
@given(timesteps=st.lists(st.integers(20, 980), min_size=4, max_size=4), seed=st.integers(0, 99))
def test_a_perfect_prediction_says_the_same_in_every_space(schedule, prediction_type, timesteps, seed):
    process = Process(schedule=schedule, prediction_type=prediction_type)
    timestep = torch.tensor(timesteps)
    x_0, noise = draw(seed)
    x_t = process.add_noise(x_0, noise, timestep)
    prediction = process.target(x_0, noise, timestep, prediction_type)
    alpha, sigma = process.alpha_sigma(timestep)
    for space in LOSS_SPACES:
        converted = process.convert(prediction, x_t, timestep, space)
        # Float rounding of x_t grows as it is divided by the small level.
        tolerance = 2e-5 / min(alpha.min().item(), sigma.min().item())
        torch.testing.assert_close(converted, process.target(x_0, noise, timestep, space), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("schedule", "prediction_type"), KINDS)
def test_no_conversion_is_infinite_at_either_end(schedule, prediction_type):
    process = Process(schedule=schedule, prediction_type=prediction_type)
    x_0, noise = draw()
    for timestep in (process.at(torch.zeros(4)), process.at(torch.full((4,), 1 - 1e-7))):
        x_t = process.add_noise(x_0, noise, timestep)
        prediction = process.target(x_0, noise, timestep, prediction_type)
        for space in LOSS_SPACES:
            assert torch.isfinite(process.convert(prediction, x_t, timestep, space)).all()


def test_levels_follow_their_closed_forms():
    timestep = torch.tensor([0, 1, 500, 998, 999])
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)  # Ho et al. 2020
    linear = (1 - betas).cumprod(0)[timestep]

    def nichol(t):  # Nichol & Dhariwal 2021, eq. 17, with their clip of beta at 0.999
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    cosine = torch.tensor([1 - min(1 - nichol(t + 1) / nichol(t), 0.999) for t in range(1000)]).cumprod(0)[timestep]
    for schedule, alphas_cumprod in (("linear", linear), ("cosine", cosine)):
        alpha, sigma = Process(schedule=schedule, prediction_type="v_prediction").alpha_sigma(timestep)
        torch.testing.assert_close(alpha.flatten(), alphas_cumprod.sqrt().float(), rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(sigma.flatten(), (1 - alphas_cumprod).sqrt().float(), rtol=1e-4, atol=1e-6)
    alpha, sigma = Process(schedule="flow").alpha_sigma(torch.tensor([0.0, 250.0, 1000.0]))
    assert sigma.flatten().tolist() == [0, 0.25, 1]
    assert alpha.flatten().tolist() == [1, 0.75, 0]
    assert alpha.shape == (3, 1, 1, 1)


def test_scaled_linear_is_stable_diffusions():
    """Its levels at the first and the last timestep, which its published weights were trained on: closed form."""
    process = Process("scaled_linear", "epsilon")
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alpha, sigma = process.alpha_sigma(torch.tensor([0, 499, 999]))
    expected = (1 - betas).cumprod(0)[[0, 499, 999]].float()
    torch.testing.assert_close(alpha.flatten() ** 2, expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(sigma.flatten() ** 2, 1 - expected, rtol=1e-3, atol=0)
    assert float(expected[-1]) == pytest.approx(0.00466, abs=1e-5)  # some signal is left at its end


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_zero_terminal_snr_ends_in_pure_noise(schedule):
    ends = [
        Process(schedule=schedule, prediction_type="v_prediction", zero_terminal_snr=zero).alpha_sigma(
            torch.tensor([0, 999])
        )
        for zero in (False, True)
    ]
    assert ends[0][0][1] > 0
    assert ends[1][0][1] == 0
    assert ends[1][1][1] == 1
    torch.testing.assert_close(ends[0][0][0], ends[1][0][0])  # the clean end stays


@pytest.mark.parametrize("settings", [{"schedule": "linear", "zero_terminal_snr": True}, {"schedule": "flow"}])
def test_epsilon_is_refused_where_the_end_holds_no_signal(settings):
    with pytest.raises(InputError, match="epsilon says nothing"):
        Process(prediction_type="epsilon", **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": "sqrt"},
        {"prediction_type": "noise"},
        {"loss_space": "x0"},
        {"timestep_sampling": "beta"},
        {"schedule": "cosine", "prediction_type": "flow"},
        {"prediction_type": "preconditioned"},
        {"prediction_type": "flow", "preconditioned": True},
        {"timestep_sampling": "logit_normal", "uniform_share": 1.5},
        {"uniform_share": 0.5},
    ],
)
def test_what_no_process_can_be_is_one_line(settings):
    with pytest.raises(InputError) as caught:
        Process(**settings)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("process: ")


def test_settings_make_the_same_process_again():
    given = {"schedule": "cosine", "prediction_type": "sample", "loss_space": "v_prediction", "zero_terminal_snr": True}
    process = Process(
        **given, timestep_sampling="logit_normal", timestep_mean=0.5, uniform_share=0.2, preconditioned=True
    )
    assert Process(**process.settings()).settings() == process.settings()
    assert process.settings().items() >= given.items()


def test_uniform_timesteps_fill_every_tenth_of_the_range():
    timestep = Process(schedule="flow").draw_timesteps(50, torch.Generator().manual_seed(0))
    assert timestep.is_floating_point()
    counts = torch.histc(timestep, 10, 0, 1000)
    assert counts.tolist() == [5] * 10
    assert timestep.diff().sign().unique().numel() == 2  # and in no order


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("timestep_sampling", ["uniform", "logit_normal"])
@given(num=st.integers(1, 64), seed=st.integers(0, 99), mean=st.floats(-3, 3))
def test_drawn_timesteps_are_of_the_process(schedule, timestep_sampling, num, seed, mean):
    process = Process(
        schedule=schedule,
        prediction_type="v_prediction",
        timestep_sampling=timestep_sampling,
        timestep_mean=mean,
    )
    timestep = process.draw_timesteps(num, torch.Generator().manual_seed(seed))
    assert timestep.shape == (num,)
    assert timestep.dtype == (torch.float32 if schedule == "flow" else torch.int64)
    assert timestep.min() >= 0
    assert timestep.max() <= (1000 if schedule == "flow" else 999)
    torch.testing.assert_close(timestep, process.draw_timesteps(num, torch.Generator().manual_seed(seed)))


def test_a_positive_mean_of_the_logit_normal_draws_more_noise():
    def median(mean):
        process = Process(timestep_sampling="logit_normal", timestep_mean=mean)
        return process.draw_timesteps(4000, torch.Generator().manual_seed(0)).median().item()

    assert median(0.0) == pytest.approx(500, abs=15)
    assert median(1.0) == pytest.approx(1000 / (1 + math.exp(-1)), abs=15)


def test_a_share_of_a_mixture_is_uniform():
    """With a logit-normal that lies between 0.4 and 0.6, what is drawn outside it is the uniform share's."""
    process = Process(timestep_sampling="logit_normal", timestep_std=0.1, uniform_share=0.4)
    timestep = process.draw_timesteps(20_000, torch.Generator().manual_seed(0))
    outside = timestep[(timestep < 400) | (timestep > 600)]
    assert len(outside) / 20_000 == pytest.approx(0.4 * 0.8, abs=0.02)
    assert torch.histc(outside, 10, 0, 1000)[[0, 3, 6, 9]].tolist() == [pytest.approx(800, rel=0.15)] * 4


class Stub(Part):
    """What it is shown is kept; it outputs what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.output, self.shown = torch.zeros(SHAPE), torch.zeros(SHAPE)

    def forward(self, x_t, timestep, condition):
        self.shown = x_t
        return self.output


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(fraction=st.floats(0.02, 0.98), seed=st.integers(0, 99))
def test_preconditioned_all_that_a_network_sees_and_outputs_is_of_unit_size(schedule, fraction, seed):
    """Karras et al. 2022, appendix B.6: what goes in, what comes out, and x_0 from a perfect output."""
    process, stub = Process(schedule, preconditioned=True), Stub()
    generator = torch.Generator().manual_seed(seed)
    x_0, noise = torch.randn(2, 4, 1, 50, 60, generator=generator)
    timestep = process.at(torch.full((4,), fraction))
    x_t = process.add_noise(x_0, noise, timestep)
    stub.output = process.target(x_0, noise, timestep)
    assert process.loss_space == "preconditioned"
    torch.testing.assert_close(process.predict(stub, x_t, timestep, None), x_0, rtol=0, atol=1e-4)
    for values in (stub.shown, stub.output):
        assert values.std().item() == pytest.approx(1, abs=0.03)
    if schedule != "flow":
        torch.testing.assert_close(stub.output, -process.target(x_0, noise, timestep, "v_prediction"))
    stub.output = torch.zeros_like(x_0)  # the best linear guess, where the network says nothing
    alpha, sigma = (level[0].item() for level in process.alpha_sigma(timestep))
    guess = process.predict(stub, x_t, timestep, None)
    torch.testing.assert_close(guess, alpha / (alpha**2 + sigma**2) * x_t, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss_space", ["flow", "v_prediction", "epsilon", "preconditioned"])
@given(timestep=st.floats(100, 900))
def test_an_x_0_error_weighs_as_its_loss_space_says(loss_space, timestep):
    """An x_0 off by d is a flow off by d / sigma, an epsilon by d alpha / sigma, a v by d (alpha^2 / sigma + sigma).

    The network behind c_skip and c_out is off by d / c_out.
    """
    process = Process(schedule="flow", prediction_type="sample", loss_space=loss_space)
    t = torch.full((4,), timestep)
    x_0, noise = draw()
    x_t = process.add_noise(x_0, noise, t)
    alpha, sigma = 1 - timestep / 1000, timestep / 1000
    weight = {"flow": 1 / sigma, "epsilon": alpha / sigma, "v_prediction": alpha**2 / sigma + sigma}
    weight["preconditioned"] = math.hypot(alpha, sigma) / sigma
    # v of a flow is alpha noise - sigma x_0 as well, though alpha^2 + sigma^2 is not 1.
    off = process.convert(x_0 + 0.1, x_t, t, loss_space) - process.target(x_0, noise, t)
    torch.testing.assert_close(off.abs(), torch.full(SHAPE, 0.1 * weight[loss_space]), rtol=1e-3, atol=1e-4)
