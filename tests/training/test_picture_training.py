"""Picture models: they learn what they are told, whoever tells them, and a stopped run goes on to the bit."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import StoppedError, metrics, stop_after
from safetensors.torch import load_file

from synesthete import seeding, tasks
from synesthete.conditioning.clip_text import ClipText
from synesthete.conditioning.labels import PooledText, Unconditional
from synesthete.config import build
from synesthete.pipeline import Pipeline
from synesthete.recipes import find_recipe
from synesthete.training import loop
from tiny_pictures import COLOURS, labels_in_turn, tiny_recipe

sys.path.append(str(Path(__file__).parents[1] / "conditioning"))
from text_towers import write_text_tower

LONGER = ("num_steps=100", "batch_size=16", "learning_rate=8e-3", "num_warmup_steps=10", "ema_decay=0.9")


def trained(recipe, folder, report=lambda said: None) -> Pipeline:
    return Pipeline.load(str(loop.train_recipe(recipe, tasks.prepare(recipe), folder, report=report)))


def longer(*assignments):
    recipe = tiny_recipe(*assignments)
    for assignment in LONGER:
        recipe.set(f"stages.denoise.{assignment}")
    recipe.stages[0].checkpoint_every = recipe.stages[0].preview_every = recipe.stages[0].num_steps
    return recipe


def share_of_the_right_colour(pipeline, raw, labels) -> float:
    """How many samples are nearest to the mean colour of their own class."""
    test = tasks.prepare(tiny_recipe()).test
    colours = torch.stack([test.pictures[test.labels == i].float().mean((0, 2, 3)) for i in range(len(COLOURS))])
    made = pipeline(raw, generators=seeding.sample_generators(0, len(labels)), num_inference_steps=8).signal
    nearest = torch.cdist(made.float().mean((2, 3)), colours).argmin(1)
    return (nearest == labels).float().mean().item()


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    return trained(longer(), folder), folder


def test_it_draws_what_it_is_told(learned):
    labels = labels_in_turn(30)
    assert share_of_the_right_colour(learned[0], labels, labels) > 0.9
    assert share_of_the_right_colour(learned[0], labels.roll(1), labels) < 0.2


def test_its_sensitivity_is_logged_and_previews_are_drawn(learned):
    folder = learned[1]
    values = {key: value for line in metrics(folder) for key, value in line.items()}
    assert values["condition_sensitivity"] > 0.05 * values["held_out_error"]
    assert sorted((folder / "previews").glob("step_0000100*.png"))
    assert not list((folder / "previews").glob("*.wav"))


def test_ten_steps_are_five_and_five_more(tmp_path):
    recipe = tiny_recipe("stages.denoise.num_steps=10", "stages.denoise.checkpoint_every=5")
    prepared = tasks.prepare(recipe)
    loop.train_recipe(recipe, prepared, tmp_path / "whole")
    with pytest.raises(StoppedError):
        loop.train_recipe(recipe, prepared, tmp_path / "stopped", report=stop_after("denoise", 7))
    loop.train_recipe(recipe, prepared, tmp_path / "stopped")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "stopped")
    for path in (tmp_path / "whole" / "checkpoints").rglob("*.safetensors"):
        ours = load_file(path)
        theirs = load_file(tmp_path / "stopped" / path.relative_to(tmp_path / "whole"))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_model_that_is_told_nothing(tmp_path):
    recipe = tiny_recipe()
    recipe.conditioner = build(Unconditional)
    recipe.denoiser.condition_width = recipe.denoiser.pooled_width = None
    notes = []
    pipeline = trained(recipe, tmp_path, report=lambda said: notes.extend(said.notes))
    assert not pipeline.is_conditional
    assert not any("ignores its condition" in note for note in notes)
    one, other = (pipeline(torch.tensor([label]), guidance_scale=1.0).signal for label in (0, 1))
    assert torch.equal(one, other)


def test_published_vectors_of_class_names_tell_it_as_well(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(4, 12)).astype(np.float16)
    np.savez(tmp_path / "table.npz", class_names=np.array(COLOURS), embeddings=vectors)
    recipe = longer()
    recipe.conditioner = build(PooledText, table=str(tmp_path / "table.npz"), class_names=COLOURS, width=16)
    pipeline = trained(recipe, tmp_path / "run")
    labels = labels_in_turn(30)
    assert share_of_the_right_colour(pipeline, labels, labels) > 0.9


def test_it_reads_words_and_its_classes_without_the_encoder(tmp_path):
    tower = write_text_tower(tmp_path / "clip")
    recipe = longer()
    recipe.conditioner = build(ClipText, model=str(tower), class_names=COLOURS, template="{}", width=16, num_tokens=12)
    pipeline = trained(recipe, tmp_path / "run")
    labels = labels_in_turn(30)
    assert share_of_the_right_colour(pipeline, labels, labels) > 0.9
    words = pipeline.conditioner.extract_features([COLOURS[label] for label in labels])
    assert share_of_the_right_colour(pipeline, words, labels) > 0.9
    tower.rename(tmp_path / "gone")
    again = Pipeline.load(str(tmp_path / "run"))
    assert torch.equal(again(labels[:3]).signal, pipeline(labels[:3]).signal)


def test_denoisers_are_interchangeable_and_latents_are_trained_on(tmp_path):
    for name in ("images-stl10-dit-debug", "images-stl10-latent-debug"):
        recipe = find_recipe(name, ["stages.denoise.num_steps=3", "stages.denoise.num_warmup_steps=1"])
        pipeline = trained(recipe, tmp_path / name)
        assert pipeline(torch.tensor([0, 9])).signal.shape == (2, 3, 16, 16)
