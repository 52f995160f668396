"""A stage that teaches a finished model to sample in few steps, and the model that it leaves."""

from __future__ import annotations

import pytest
import torch
from runs import StoppedError, assert_same, stop_after

from synesthete.evaluation.search.space import Space
from synesthete.pipeline import Pipeline
from synesthete.recipes.parts import add_fast
from synesthete.training import loop
from synesthete.types import InputError
from tiny_pictures import tiny_pipeline, tiny_prepared, tiny_recipe


def fast_recipe():
    recipe = tiny_recipe()
    add_fast(recipe)
    recipe.keep_stages(["fast"])
    settings = "num_steps=4", "objective.num_pairs=40", "checkpoint_every=2", "preview_every=4", "log_every=1"
    for setting in settings:
        recipe.set(f"stages.fast.{setting}")
    return recipe


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "model"
    tiny_pipeline().save(folder)
    return folder


@pytest.fixture(scope="module")
def run(teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fast") / "run"
    loop.train_recipe(fast_recipe(), tiny_prepared(), folder, start=teacher)
    return folder


def test_a_stopped_run_goes_on_to_the_bit(run, teacher, tmp_path):
    with pytest.raises(StoppedError):
        loop.train_recipe(fast_recipe(), tiny_prepared(), tmp_path / "run", start=teacher, report=stop_after("fast", 3))
    loop.train_recipe(fast_recipe(), tiny_prepared(), tmp_path / "run", start=teacher)
    assert_same(run, tmp_path / "run")


def test_the_model_samples_in_few_steps_by_itself_and_takes_no_other_guidance(run, teacher):
    own, fast = Pipeline.load(str(teacher)), Pipeline.load(str(run))
    settings = fast.sampling_settings()
    assert (settings["sampler"], settings["num_inference_steps"], settings["guidance_scale"]) == ("ddim", 2, 1.0)
    assert fast.folded_guidance == own.sampling_settings()["guidance_scale"] == 2.0
    assert fast.sampling_settings(guidance_scale=2.0, num_inference_steps=1)["guidance_scale"] == 1.0
    with pytest.raises(InputError, match=r"guidance_scale 3\.0: this model has guidance of 2 folded in"):
        fast.sampling_settings(guidance_scale=3.0)
    asked = []
    for _ in fast.trajectory(torch.arange(2), around=lambda d: lambda x, t: asked.append(len(x)) or d(x, t)):
        pass
    assert asked == [2, 2]  # once a step, of the condition alone
    space = Space(fast.process, settings, fast.can_be_guided)
    assert (space.knobs["guidance_scale"], space.evaluations(settings)) == ((1.0,), 2)
    assert 1 in space.knobs["num_inference_steps"]
    moved = {}
    for part in ("denoiser", "conditioner"):
        ours, theirs = (getattr(model, part).state_dict().values() for model in (fast, own))
        moved[part] = any(not torch.equal(a.half(), b.half()) for a, b in zip(ours, theirs, strict=True))
    assert moved == {"denoiser": True, "conditioner": False}


def test_what_few_steps_cannot_be_learned_from_is_one_line(run, tmp_path):
    with pytest.raises(InputError, match="few steps are learned from a trained model: give --from MODEL"):
        loop.train_recipe(fast_recipe(), tiny_prepared(), tmp_path / "none")
    with pytest.raises(InputError, match="has learned few steps already"):
        loop.train_recipe(fast_recipe(), tiny_prepared(), tmp_path / "again", start=run / "model")
    half = ("denoiser",)
    with pytest.raises(InputError, match="leave --parts out"):
        loop.train_recipe(fast_recipe(), tiny_prepared(), tmp_path / "half", start=run / "model", start_parts=half)


def test_from_zero_the_model_before_keeps_its_own_settings(tmp_path):
    recipe = tiny_recipe("stages.denoise.num_steps=2", "stages.denoise.checkpoint_every=2")
    add_fast(recipe)
    recipe.set("stages.fast.num_steps=1")
    recipe.set("stages.fast.objective={class: Distillation, steps: [1], num_pairs: 8}")
    loop.train_recipe(recipe, tiny_prepared(), tmp_path / "run")
    before, after = (Pipeline.load(str(tmp_path / "run" / name)) for name in ("after-denoise", "model"))
    assert before.folded_guidance is None and before.sampling_settings()["guidance_scale"] == 2.0
    assert after.folded_guidance == 2.0 and after.sampling_settings()["num_inference_steps"] == 1


def test_the_command_adds_the_stage(command, tmp_path):
    code, _, said = command("train", "images-digits-debug", "--stages", "fast", "--out", tmp_path / "run")
    assert code == 2 and "give --from MODEL" in said
    code, _, said = command("show", "images-digits-debug", "--set", "stages.fast.num_steps=3")
    assert code == 2 and "stages.fast" in said  # of no recipe unless it is asked for
