"""The five diagnostics that a training shows: each shows what it says, on fixed noise, for every kind of model."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from synesthete.diffusion.process import Process
from synesthete.evaluation.diagnostics import find_diagnostic
from synesthete.evaluation.diagnostics.by_timestep import denoise_from, reconstruct
from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
from synesthete.evaluation.diagnostics.sampling import Step, nearest_steps, recorded, walk
from synesthete.evaluation.reporting.report import Medium, Table
from synesthete.types import Condition, InputError
from tiny_pictures import COLOURS, tiny_pipeline, tiny_recipe

FIVE = ("embeddings", "denoising", "classes", "reconstruction", "reconstruction-sweep")


@pytest.fixture(scope="module")
def model(data):
    """A model of three colours, untrained."""
    return ModelUnderTest(tiny_pipeline(), data, num=12, num_seeds=2, num_shown=4, num_steps=6)


@pytest.fixture(scope="module")
def told_nothing(silent, data):
    return ModelUnderTest(silent, data, num=12, num_seeds=2, num_shown=4, num_steps=6)


@pytest.fixture
def sheets(monkeypatch):
    """What is drawn on each sheet: rows, row names, column names and the rest."""
    drawn = []

    def draw(rows, row_names, column_names=(), **rest):
        drawn.append(SimpleNamespace(rows=list(rows), row_names=row_names, column_names=column_names, **rest))
        return Image.new("RGB", (8, 8))

    for name in FIVE[1:]:
        monkeypatch.setattr(sys.modules[find_diagnostic(name).__module__], "draw_sheet", draw)
    return drawn


def mean_colour(pictures):
    """Features of a picture."""
    return pictures.float().mean(dim=(2, 3))


mean_colour.name = "colour"


def pixels(images):
    return np.stack([np.asarray(image) for image in images])


# The model


def test_the_same_noise_in_any_batch(model):
    assert torch.equal(model.noise(5)[:2], model.noise(2))
    assert torch.equal(model.noise(2), ModelUnderTest(model.pipeline, model.prepared).noise(2))
    assert not torch.equal(model.noise(2), ModelUnderTest(model.pipeline, model.prepared, seed=1).noise(2))


def test_held_out_pictures_come_one_of_each_class_then_another(model):
    batch = model.held_out(7)
    assert batch.label.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert torch.equal(batch.signal, model.held_out().signal[:7])
    assert len(batch.signal.flatten(1).unique(dim=0)) == 7
    kept = model.prepared.test.pictures[:]
    assert all((kept == picture).flatten(1).all(1).any() for picture in batch.signal)


def test_of_many_classes_some_are_shown_evenly(model):
    assert model.classes().tolist() == [0, 1, 2]
    assert model.names(model.classes()) == list(COLOURS)
    many = ModelUnderTest(model.pipeline, SimpleNamespace(class_names=[str(i) for i in range(1000)]))
    shown = many.classes().tolist()
    assert (shown[0], shown[-1], len(set(shown))) == (0, 999, 12)


def test_samples_are_made_once_and_are_those_of_the_pipeline(model):
    output = replace(model, num=7).samples()
    assert model.samples() is model.samples()
    assert replace(model, num=7).labels().tolist() == [0, 0, 1, 1, 2, 2]
    single = model.pipeline(torch.tensor([1]), generators=model.generators(4)[3:])
    assert torch.allclose(output.x_0[3], single.x_0[0], atol=1e-4)
    assert (output.signal.shape, output.signal.dtype) == ((6, 3, 8, 8), torch.uint8)
    assert not torch.equal(model.draw(torch.tensor([1]), guidance_scale=5.0), single.x_0)


def test_pictures_come_through_the_codec_where_only_x_0_was_kept(model):
    batch = model.held_out(3)
    assert torch.equal(model.pictures(batch), batch.signal)
    x_0 = model.x_0(batch)
    encoded = SimpleNamespace(signal=x_0, encoded=True)
    assert torch.equal(model.x_0(encoded), x_0)
    assert torch.equal(model.pictures(encoded), batch.signal)


def test_what_has_diverged_can_be_looked_at(model):
    x_0 = torch.full((1, 3, 8, 8), float("nan"))
    x_0[0, 0] = float("inf")
    assert np.ptp(pixels(model.images(x_0))[..., 0]) == 0


# Denoising


@pytest.mark.parametrize(
    ("schedule", "prediction_type"),
    [("flow", "sample"), ("flow", "flow"), ("cosine", "v_prediction"), ("linear", "epsilon"), ("cosine", "sample")],
)
def test_a_perfect_network_predicts_x_0_at_every_step(schedule, prediction_type):
    process = Process(schedule=schedule, prediction_type=prediction_type)
    x_0, noise = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    # On a flow the sampler is given a velocity, whatever the network predicts.
    space = "flow" if schedule == "flow" else prediction_type
    steps = []
    watched = recorded(lambda x, t: process.target(x_0, noise, t, space), process, steps)
    for fraction in (0.9, 0.5, 0.1):
        timestep = process.at(torch.tensor([fraction]))
        watched(process.add_noise(x_0, noise, timestep), timestep)
    assert [step.fraction for step in steps] == pytest.approx([0.9, 0.5, 0.1], abs=0.002)
    for step in steps:
        assert torch.allclose(step.x_0.float(), x_0, atol=0.02)


def test_steps_too_near_to_each_other_are_left_out_and_a_better_guess_replaces_a_worse():
    process = Process(schedule="cosine", prediction_type="sample")
    steps = []
    for timestep, value in ((999, 1.0), (995, 2.0), (500, 3.0), (500, 4.0)):
        watched = recorded(lambda x, t, value=value: torch.full_like(x, value), process, steps)
        watched(torch.zeros(1, 1, 2, 2), torch.tensor(timestep))
    assert [(step.fraction, float(step.x_0.mean())) for step in steps] == [(0.999, 1.0), (0.5, 4.0)]


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "euler", "heun", "dpmsolver++"])
def test_the_way_from_noise_ends_at_the_sample(data, sampler):
    zero_snr = sampler not in ("euler", "heun")
    pipeline = tiny_pipeline(prediction_type="v_prediction", schedule="cosine", zero_terminal_snr=zero_snr)
    settings = {"sampler": sampler, "num_inference_steps": 5, "timestep_shift": 1.0}
    own = ModelUnderTest(pipeline, data, settings=settings)
    labels = torch.tensor([0, 2])
    steps = walk(own, labels)
    assert torch.equal(steps[-1].x_0, own.draw(labels))
    assert steps[0].fraction > 0.95  # law 3: the first step is at the terminal timestep
    # As the network sees it: unit variance, not that of a sampler that lets it explode.
    assert steps[0].x_t.float().std() == pytest.approx(1, abs=0.2)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions, reverse=True)
    assert len(set(fractions)) == len(fractions)


def test_a_flows_way_from_noise_ends_at_the_sample(data):
    recipe = tiny_recipe("sampling.sampler=flow-euler")
    pipeline = tiny_pipeline(recipe, prediction_type="flow", schedule="flow", zero_terminal_snr=False)
    own = ModelUnderTest(pipeline, data, settings={"num_inference_steps": 4})
    steps = walk(own, torch.tensor([1]))
    assert [step.fraction for step in steps] == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])
    assert torch.equal(steps[-1].x_0, own.draw(torch.tensor([1])))
    assert torch.allclose(steps[0].x_t.float(), own.noise(1), atol=1e-2)


def test_nearest_steps_are_in_order_and_none_is_twice():
    steps = [Step(fraction, torch.zeros(1), torch.zeros(1)) for fraction in (0.99, 0.66, 0.33, 0.0)]
    assert [step.fraction for step in nearest_steps(steps, (0.998, 0.8, 0.6, 0.03, 0.0))] == [0.99, 0.66, 0.0]


def test_the_collage_has_a_row_a_class_and_a_column_a_timestep(model, sheets):
    section = find_diagnostic("denoising")(model)
    noisy, clean = sheets[:2]
    assert noisy.row_names == list(COLOURS)
    assert noisy.column_names == clean.column_names
    assert (noisy.column_names[0], noisy.column_names[-1]) == ("t = 999", "t = 0")
    total = model.pipeline.process.num_train_timesteps
    assert f"T = {total}" in noisy.title
    # At the end both are the sample.
    assert np.array_equal(pixels([row[-1] for row in noisy.rows]), pixels([row[-1] for row in clean.rows]))
    assert not np.array_equal(pixels([row[0] for row in noisy.rows]), pixels([row[0] for row in clean.rows]))
    assert [medium.kind for medium in section.items] == ["png", "png", "gif"]
    frames = sheets[2:]
    assert [frame.row_names for frame in frames] == [["x_t", "x_0"]] * len(frames)
    assert len(frames) > 3


def test_the_animation_plays(model):
    *_, medium = find_diagnostic("denoising")(model).items
    with Image.open(io.BytesIO(medium.content)) as image:
        assert image.n_frames > 3
        first = np.asarray(image.convert("RGB"))
        image.seek(image.n_frames - 1)
        assert not np.array_equal(first, np.asarray(image.convert("RGB")))


# Classes


def test_rows_are_noises_and_columns_classes_after_the_unconditional_one(model, sheets):
    find_diagnostic("classes")(model)
    [sheet] = sheets
    assert sheet.column_names == ["no class", *COLOURS]
    assert sheet.row_names == ["noise 0", "noise 1"]
    for label in range(3):
        own = model.pipeline(torch.tensor([label, label]), generators=model.generators(2)).x_0
        assert np.array_equal(pixels([row[1 + label] for row in sheet.rows]), pixels(model.images(own)))
    alone = model.pipeline(torch.tensor([2, 2]), generators=model.generators(2), guidance_scale=0.0).x_0
    assert np.array_equal(pixels([row[0] for row in sheet.rows]), pixels(model.images(alone)))


# Reconstruction


@pytest.mark.parametrize(
    ("schedule", "prediction_type"),
    [("flow", "sample"), ("flow", "flow"), ("cosine", "v_prediction"), ("linear", "epsilon"), ("cosine", "sample")],
)
def test_gaussian_data_keeps_its_spread_on_the_way_back(schedule, prediction_type):
    """x_0 ~ N(0, 0.5^2) with its ideal denoiser: the walk keeps the deviation, one step shrinks it to the mean."""
    process, std = Process(schedule=schedule, prediction_type=prediction_type), 0.5

    class Ideal:
        dtype = torch.float32

        def __call__(self, x_t, timestep, condition):
            alpha, sigma = process.alpha_sigma(timestep)
            x_0 = alpha * std**2 / (alpha**2 * std**2 + sigma**2) * x_t
            return process.target(x_0, (x_t - alpha * x_0) / sigma, timestep, prediction_type)

    x_0, noise = torch.randn(2, 4096, 1, 2, 1, generator=torch.Generator().manual_seed(0))
    x_0 = std * x_0
    x_t = process.add_noise(x_0, noise, process.at(torch.tensor([0.7])))
    model = SimpleNamespace(pipeline=SimpleNamespace(process=process, denoiser=Ideal()))
    back, at_once = denoise_from(model, x_t, 0.7, Condition(), 200)
    assert back.std() == pytest.approx(std, rel=0.03)
    assert at_once.std() < 0.9 * std
    assert (at_once - x_0).square().mean() < (back - x_0).square().mean()


def test_less_noise_costs_less_and_the_pictures_are_the_same(model):
    little, much = reconstruct(model, 0.2), reconstruct(model, 0.7)
    assert torch.equal(little.x_0, much.x_0)
    assert (little.errors() < much.errors()).all()
    assert (little.errors("x_t") < much.errors("x_t")).all()
    assert little.names == [*COLOURS * 4]
    assert little.mean_error == pytest.approx(little.x_0.var(dim=0, correction=0).mean().item(), rel=1e-4)
    assert torch.equal(reconstruct(model, 0.2).back, little.back)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 7])
def test_a_place_that_is_not_on_the_way_is_refused(model, fraction):
    with pytest.raises(InputError, match="between 0 and 1"):
        ModelUnderTest(model.pipeline, model.prepared, reconstruct_from=fraction)


def test_the_original_is_above_and_errors_below(model, sheets):
    section = find_diagnostic("reconstruction")(model)
    [sheet] = sheets
    assert sheet.row_names == ["original", "noised", "denoised", "in one step"]
    assert sheet.column_names == ["red", "green", "blue", "red"]
    assert np.array_equal(pixels(sheet.rows[0]), model.held_out(4).signal.permute(0, 2, 3, 1).numpy())
    found = reconstruct(model, 0.6)
    assert sheet.captions[2] == [f"{error:.3f}" for error in found.errors()[:4].tolist()]
    assert "t = 600 of 1000" in sheet.title
    [row] = next(item for item in section.items if isinstance(item, Table)).rows
    assert row[2:4] == pytest.approx((found.errors().mean().item(), found.errors("at_once").mean().item()))


def test_the_start_of_a_reconstruction_is_an_option(model, sheets):
    own = ModelUnderTest(model.pipeline, model.prepared, num=3, num_steps=2, reconstruct_from=0.25)
    find_diagnostic("reconstruction")(own)
    assert "t = 250 of 1000" in sheets[0].title


def test_the_sweep_has_a_row_a_start_and_a_curve(model, sheets):
    section = find_diagnostic("reconstruction-sweep")(model)
    assert sheets[0].row_names == ["original", "t = 200", "t = 300", "t = 500", "t = 700"]
    table = next(item for item in section.items if isinstance(item, Table))
    errors = [row[2] for row in table.rows]
    assert errors == sorted(errors)
    assert [item.name for item in section.items if isinstance(item, Medium)] == [
        "reconstruction-sweep",
        "reconstruction-error",
    ]


# Models of other kinds


@pytest.mark.parametrize("name", FIVE[1:])
def test_a_model_that_is_told_nothing_is_shown_without_classes(told_nothing, sheets, name):
    section = find_diagnostic(name)(told_nothing)
    assert section.items
    if name == "classes":
        assert len(sheets[0].rows) == 2
        assert len(sheets[0].rows[0]) == 4
        assert not any(sheets[0].row_names)
    if name == "denoising":
        assert sheets[0].row_names == ["noise 0", "noise 1"]


@pytest.mark.parametrize("name", FIVE)
def test_a_model_of_speech_shows_its_spectrograms(pipeline, prepared, name):
    speech = ModelUnderTest(pipeline, prepared, num=6, num_seeds=1, num_shown=2, num_steps=2, features=mean_colour)
    assert not speech.pipeline.codec.makes_pictures
    media = [item for item in find_diagnostic(name)(speech).items if isinstance(item, Medium)]
    assert media
    for medium in media:
        with Image.open(io.BytesIO(medium.content)) as image:
            assert min(image.size) > 60
    assert "embeddings-samples" not in [medium.name for medium in media]


def test_every_instrument_is_the_same_twice(model):
    for name in FIVE:
        first, second = (find_diagnostic(name)(model).items for _ in range(2))
        assert [getattr(a, "content", None) for a in first] == [getattr(b, "content", None) for b in second]
