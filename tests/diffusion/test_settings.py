"""Sampling settings on their way from a model to its scheduler."""

from __future__ import annotations

import pytest
import torch

from synesthete.conditioning.labels import Unconditional
from synesthete.config import Sampling, build
from synesthete.diffusion.sampling import scheduler_for
from synesthete.recipes import find_recipe
from synesthete.types import InputError
from tiny_pictures import labels_in_turn, tiny_pipeline, tiny_recipe

BETA_SAMPLERS = ("ddpm", "ddim", "euler", "heun", "dpmsolver++", "dpmsolver++sde", "unipc")


@pytest.fixture(scope="module")
def pipeline(cache):
    """Zero terminal SNR and 500 timesteps, as the largest of the picture recipes."""
    return tiny_pipeline(num_train_timesteps=500, zero_terminal_snr=True)


@pytest.mark.parametrize("sampler", BETA_SAMPLERS)
def test_every_sampler_makes_pictures_of_a_process_of_500_timesteps(pipeline, sampler):
    assert pipeline.process.num_train_timesteps == 500
    told: list[float] = []

    def listen(module, arguments):
        told.append(float(arguments[1].flatten()[0]))

    handle = pipeline.denoiser.register_forward_pre_hook(listen)
    try:
        output = pipeline(labels_in_turn(2), sampler=sampler, num_inference_steps=8)
    finally:
        handle.remove()
    assert output.signal.shape == (2, 3, 8, 8)
    assert torch.isfinite(output.x_0).all()
    assert told[0] == 499
    assert told[-1] < 63


def test_settings_reach_the_scheduler(pipeline):
    settings = pipeline.sampling_settings(
        sampler="unipc", num_inference_steps=7, timestep_spacing="linspace", solver_order=3
    )
    scheduler = scheduler_for(settings, pipeline.process)
    assert type(scheduler).__name__ == "UniPCMultistepScheduler"
    assert (scheduler.config.timestep_spacing, scheduler.config.solver_order) == ("linspace", 3)
    assert len(scheduler.timesteps) == 7
    assert scheduler.config.num_train_timesteps == 500


def test_another_sampler_leaves_what_was_chosen_for_the_first(cache):
    recipe = tiny_recipe("sampling.sampler=ddim", "sampling.eta=0.3", "sampling.num_inference_steps=4")
    pipeline = tiny_pipeline(recipe)
    assert pipeline.sampling_settings()["eta"] == 0.3
    assert pipeline.sampling_settings(sampler="ddim")["eta"] == 0.3
    assert pipeline.sampling_settings(sampler="euler")["eta"] == 0.0
    with pytest.raises(InputError, match=r"eta 0\.3"):
        pipeline.sampling_settings(sampler="euler", eta=0.3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"eta": 2.0}, "eta"),
        ({"guidance_rescale": -0.5}, "guidance_rescale"),
        ({"timestep_spacing": "even"}, "timestep_spacing"),
        ({"solver_order": 7}, "solver_order"),
        ({"num_inference_steps": 501}, "num_inference_steps 501: give at most 500"),
        ({"timestep_shift": 3.0}, "timestep_shift 3.0: only a flow"),
        ({"cfg": 3.0}, "no sampling setting 'cfg'"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_sampled(pipeline, changes, words):
    with pytest.raises(InputError, match=words):
        pipeline.sampling_settings(**changes)


def test_a_model_that_is_told_nothing_is_not_guided(cache):
    recipe = tiny_recipe()
    recipe.conditioner = build(Unconditional)
    recipe.denoiser.condition_width = recipe.denoiser.pooled_width = None
    pipeline = tiny_pipeline(recipe)
    assert pipeline.sampling_settings()["guidance_scale"] == 1.0
    assert torch.isfinite(pipeline(labels_in_turn(2), num_inference_steps=2).x_0).all()
    with pytest.raises(InputError, match=r"guidance_scale 3.0: this model is told nothing"):
        pipeline.sampling_settings(guidance_scale=3.0)


def test_a_recipe_whose_sampling_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"eta 0\.5"):
        find_recipe("images-digits", ["sampling.eta=0.5"])
    assert Sampling().timestep_spacing == "trailing"
    assert Sampling().solver_order is None
