"""The recipes of the cascade: parts that fit, said in one line where they do not, and twins that train to the end."""

from __future__ import annotations

import pytest
import torch

from synesthete import tasks
from synesthete.config import build
from synesthete.denoisers.dit import DiT
from synesthete.pipeline import Pipeline
from synesthete.pipeline.cascade import Cascade, upsample
from synesthete.recipes import RECIPES, find_recipe
from synesthete.recipes.fit import check_fit
from synesthete.recipes.music import music_low, music_upsampler
from synesthete.training.loop import train_recipe
from synesthete.types import InputError

LOW, HIGH = "music-low-debug", "music-upsampler-debug"


@pytest.mark.parametrize("name", ["music-low", LOW, "music-upsampler", HIGH])
def test_the_parts_fit(name):
    recipe = find_recipe(name)
    codec = recipe.codec()
    assert tuple(codec.shape[1:]) == tuple(recipe.denoiser.sample_size)
    with torch.device("meta"):
        told, denoiser = recipe.conditioner().null(1), recipe.denoiser()
        x_0 = torch.zeros(1, *codec.shape)
        assert denoiser(x_0, torch.zeros(1), told).shape == x_0.shape


def test_the_base_makes_what_the_upsampler_reads():
    assert music_low().codec.sample_rate == music_upsampler().conditioner.low_rate == 8_000
    assert music_upsampler().codec.sample_rate == 32_000
    low, high = music_low().codec, music_upsampler().codec
    assert low.num_samples / low.sample_rate == high.num_samples / high.sample_rate == 4


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "denoiser.spatial_channels=null",
            r"LowBand lays 2 channels .* --set denoiser\.spatial_channels=2",
        ),
        ("conditioner.kind=complex", r"lays 3 channels beside x_0, the denoiser reads 2; --set denoiser\.spatial_ch"),
        ("conditioner.num_frames=16", r"the conditioner lays 64 x 16 beside it; --set conditioner\.num_bins=64"),
        ("conditioner.num_samples=400", r"codec\.num_samples is 8000, conditioner\.num_samples 400; --set conditioner"),
        ("conditioner.low_rate=8000", "conditioner.low_rate 8000: give one under sample_rate 8000"),
    ],
)
def test_parts_that_do_not_fit_are_told_what_to_set(assignment, message):
    with pytest.raises(InputError, match=message) as caught:
        find_recipe(HIGH, [assignment])
    assert "\n" not in str(caught.value)


def test_a_denoiser_that_reads_no_channels_is_named():
    recipe = RECIPES[HIGH]()
    recipe.denoiser = build(
        DiT, sample_size=(64, 124), patch_size=(64, 4), width=32, depth=1, condition_width=None, pooled_width=None
    )
    with pytest.raises(InputError, match="LowBand lays channels beside x_0, DiT reads none"):
        check_fit(recipe)


def test_channels_that_nobody_says_are_refused():
    with pytest.raises(InputError, match=r"Unconditional lays no channels .* --set denoiser\.spatial_channels=null"):
        find_recipe(LOW, ["denoiser.spatial_channels=2"])


def test_both_halves_train_and_make_a_cascade(tmp_path):
    models = {}
    for name in (LOW, HIGH):
        recipe = RECIPES[name]()
        for stage in recipe.stages:
            stage.precision = "no"
        if name == LOW:
            recipe.codec.sample_rate, recipe.codec.num_samples = 2_000, 2_000
            recipe.codec.num_frames, recipe.denoiser.sample_size = 32, (64, 32)
        prepared = tasks.prepare(recipe, tmp_path / f"{recipe.name}-data")
        notes = []
        folder = train_recipe(
            recipe, prepared, tmp_path / recipe.name, report=lambda step, notes=notes: notes.extend(step.notes)
        )
        models[name] = Pipeline.load(str(folder))
        assert list((tmp_path / recipe.name / "previews").iterdir())
        if name == HIGH:
            assert prepared.train.reads == "sound"
            assert any("condition sensitivity" in note for note in notes)
    base, upsampler = models.values()
    assert upsample(upsampler, torch.randn(5_000), 2_000).shape == (20_000,)
    output = Cascade(base, upsampler)(torch.zeros(2, dtype=torch.int64))
    assert output.signal.shape == (2, 8_000)
    assert output.signal.isfinite().all()
