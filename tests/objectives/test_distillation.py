"""Few steps learned from many, where what comes out is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from synesthete.conditioning.labels import Unconditional
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import sample, scheduler_for
from synesthete.objectives import Distillation, Parts
from synesthete.objectives.denoising import few_steps
from synesthete.types import Batch, Condition, InputError

SPREAD, NUM_BINS = 0.5, 20


class Codec(nn.Module):
    """What is asked of a codec: nothing but the shape of x_0."""

    shape = (1, 4, 4)


class Linear(nn.Module):
    """Guesses x_0 as so many times x_t at every timestep: at first as is right for data of one spread."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self, process: Process) -> None:
        super().__init__()
        middle = process.at((torch.arange(NUM_BINS) + 0.99) / NUM_BINS)
        alpha, sigma = (level.flatten() for level in process.alpha_sigma(middle))
        self.slope = nn.Parameter(alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2))

    def forward(self, x_t, timestep, condition):
        places = (timestep.float() / 1000 * NUM_BINS).ceil().long().clamp(1, NUM_BINS) - 1
        return self.slope[places].view(-1, 1, 1, 1) * x_t


def noise_of(num: int, seed: int) -> torch.Tensor:
    return torch.randn(num, *Codec.shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def walk(network: Linear, process: Process, x_T: torch.Tensor, num: int) -> torch.Tensor:
    """x_0 in so many steps, as the finished model samples."""

    def denoise(x_t, timestep):
        timestep = timestep.expand(len(x_t))
        return process.convert(process.predict(network, x_t, timestep, None), x_t, timestep, process.sampler_space)

    *_, x_0 = sample(denoise, scheduler_for(few_steps(process, num), process), x_T, num_inference_steps=num)
    return x_0


@pytest.mark.parametrize("schedule", ["flow", "cosine"])
def test_a_few_steps_end_where_many_did(schedule):
    """x_0 ~ N(0, s^2): one step of the ideal denoiser is the mean, without any spread; of its student, s again."""
    process = Process(schedule=schedule, prediction_type="sample", zero_terminal_snr=schedule != "flow")
    # Many steps of the ideal denoiser, which a table of twenty slopes is not, scale the noise by s.
    x_T = noise_of(256, 0)
    pairs = Batch(SPREAD * x_T, Condition(), torch.zeros(256), encoded=True, noise=x_T)
    student, fresh = Linear(process), noise_of(64, 1)
    assert walk(student, process, fresh, 1).std() < 0.1
    objective = Distillation(steps=(1, 2, 4)).attach(Parts(Codec(), Unconditional(), student, process))
    optimiser = torch.optim.Adam(student.parameters(), lr=0.03)
    for step in range(100):
        optimiser.zero_grad()
        objective(pairs, torch.Generator().manual_seed(step))["loss"].backward()
        optimiser.step()
    for num in (1, 2, 4):
        torch.testing.assert_close(walk(student, process, fresh, num), SPREAD * fresh, atol=0.05, rtol=0.05)


def test_it_learns_where_a_walk_of_its_steps_asks_and_draws_by_the_generator():
    process = Process()
    objective = Distillation(steps=(1, 4)).attach(Parts(Codec(), Unconditional(), Linear(process), process))
    drawn = objective.draw_timesteps(4000, torch.Generator().manual_seed(0))
    shares = {place: (drawn == place).float().mean().item() for place in drawn.unique().tolist()}
    assert shares == pytest.approx({1000: 5 / 8, 750: 1 / 8, 500: 1 / 8, 250: 1 / 8}, abs=0.03)
    batch = Batch(noise_of(8, 0), torch.zeros(8), torch.zeros(8), encoded=True)
    first, again = (objective(batch, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first["loss"] == again["loss"] > 0


def test_what_cannot_be_learned_is_one_line():
    with pytest.raises(InputError, match=r"num_inference_steps 3: not among steps \[1, 2\]"):
        Distillation(steps=(1, 2), num_inference_steps=3)
    with pytest.raises(InputError, match="nothing to learn"):
        Distillation(steps=())
