"""A model on a schedule that it was not trained with is told the noise level that there is; nothing else changes."""

from __future__ import annotations

import pytest
import torch

from synesthete.config import register_class
from synesthete.denoisers.denoiser import Denoiser
from synesthete.diffusion.process import Process
from synesthete.evaluation.search.space import ScheduleAdapter, nearest_timestep
from synesthete.pipeline import Pipeline
from synesthete.types import InputError
from tiny_pictures import tiny_pipeline

STD = 0.5
TRAINED = (
    {"schedule": "cosine", "prediction_type": "v_prediction", "zero_terminal_snr": True},
    {"schedule": "cosine", "prediction_type": "sample"},
    {"schedule": "linear", "prediction_type": "epsilon"},
    {"schedule": "flow", "prediction_type": "flow"},
    {"schedule": "flow", "prediction_type": "sample"},
)
WALKED = (("cosine", "ddim"), ("linear", "dpmsolver++"), ("linear", "heun"), ("flow", "flow-euler"))


@register_class
class IdealGaussian(Denoiser):
    """The ideal denoiser of Gaussian data of spread STD on one process; notes the timesteps that it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.process, self.told = None, []

    def precompute(self, condition):
        return condition

    def forward(self, x_t, timestep, condition):
        self.told.append(float(timestep[0]))
        alpha, sigma = self.process.alpha_sigma(timestep)
        x_0 = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * x_t
        noise = sigma / (alpha**2 * STD**2 + sigma**2) * x_t
        return self.process.target(x_0, noise, timestep, self.process.prediction_type)


@pytest.fixture(scope="module")
def parts(cache):
    own = tiny_pipeline()
    return {"codec": own.codec, "conditioner": own.conditioner, "scheduler": own.scheduler}


def ideal(parts, **process):
    settings = Process(**process).settings()
    denoiser = IdealGaussian()
    sampler = "flow-euler" if process["schedule"] == "flow" else "ddim"
    sampling = {"sampler": sampler, "guidance_scale": 1.0, "num_inference_steps": 40}
    pipeline = Pipeline(**parts, denoiser=denoiser, process=settings, sampling=sampling)
    denoiser.process = pipeline.process
    return pipeline


@pytest.mark.parametrize("walked", WALKED, ids="-".join)
@pytest.mark.parametrize("trained", TRAINED, ids=lambda own: "-".join(map(str, own.values())))
def test_an_ideal_denoiser_of_another_schedule_walks_as_one_of_this(parts, trained, walked):
    """Told of the right noise, it says the same, so the samples are the same but for the table's grain."""
    schedule, sampler = walked
    flow = schedule == "flow"
    own = {"prediction_type": "flow" if flow else "v_prediction", "zero_terminal_snr": not flow}
    labels, settings = torch.zeros(8, dtype=torch.int64), {"sampler": sampler, "num_inference_steps": 20}
    expected = ideal(parts, schedule=schedule, **own)(labels, **settings).x_0
    found = ScheduleAdapter.of(ideal(parts, **trained), schedule)(labels, **settings).x_0
    assert (found - expected).norm() / expected.norm() < 2e-3


def test_a_wrong_timestep_would_show(parts):
    """The test above can fail: told the walk's own timestep, the same network loses the data's spread."""
    own = ideal(parts, schedule="cosine", prediction_type="v_prediction", zero_terminal_snr=True)
    naive = Pipeline(
        **parts,
        denoiser=own.denoiser,
        process=Process(schedule="linear", prediction_type="v_prediction", zero_terminal_snr=True).settings(),
        sampling=dict(own.config.sampling),
    )
    assert naive(torch.zeros(48, dtype=torch.int64)).x_0.std() != pytest.approx(STD, rel=0.1)


def test_the_walk_begins_at_the_trained_terminal_and_goes_down(parts):
    own = ideal(parts, schedule="cosine", prediction_type="v_prediction", zero_terminal_snr=True)
    walk = ScheduleAdapter.of(own, "flow")
    walk(torch.zeros(2, dtype=torch.int64), num_inference_steps=8)
    told = own.denoiser.told
    assert told[0] == 999
    assert told == sorted(told, reverse=True)
    # Half way along a flow there is as much signal as noise, which is half way along the cosine's quarter of a circle.
    assert told[4] == pytest.approx(500, abs=10)


def test_on_its_own_schedule_nothing_changes(cache):
    own = tiny_pipeline(schedule="cosine", prediction_type="v_prediction", zero_terminal_snr=True)
    labels = torch.tensor([0, 1])
    settings = {"sampler": "ddim", "num_inference_steps": 4, "guidance_scale": 2.0}
    expected = own(labels, **settings).x_0
    torch.testing.assert_close(
        ScheduleAdapter.of(own, "cosine")(labels, **settings).x_0, expected, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_nearest_timestep_of_a_level_is_its_own(schedule):
    process = Process(schedule=schedule, prediction_type="v_prediction", zero_terminal_snr=True)
    timesteps = torch.tensor([0, 1, 400, 900, 999])
    assert nearest_timestep(process, *process.alpha_sigma(timesteps)).tolist() == timesteps.tolist()
    scaled = [3.0 * level for level in process.alpha_sigma(timesteps[1:4])]
    assert nearest_timestep(process, *scaled).tolist() == timesteps[1:4].tolist()


def test_a_model_that_never_saw_pure_noise_is_refused(parts):
    """Linear over 500 steps ends with 8% of the picture left."""
    short = ideal(parts, schedule="linear", prediction_type="epsilon", num_train_timesteps=500)
    with pytest.raises(InputError, match="8% of the picture left"):
        ScheduleAdapter.of(short, "cosine")
