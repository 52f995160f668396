"""A model tuned from end to end, and its settings written into it."""

from __future__ import annotations

import json
import os
import shutil
import stat
from dataclasses import replace
from types import SimpleNamespace

import optuna
import pytest
import torch
from scored import basis_of

from synesthete import hub
from synesthete.config import Recipe, Sampling
from synesthete.evaluation.classifiers.image import ImageClassifier
from synesthete.evaluation.search import space, tune, tuning
from synesthete.evaluation.search.measurements import SearchConfig
from synesthete.evaluation.search.scoring import Scorer
from synesthete.evaluation.search.space import Space
from synesthete.evaluation.search.tune import (
    check_config,
    check_writable,
    classes_of,
    halves,
    run_tune,
    settle,
    write_sampling,
)
from synesthete.pipeline import Pipeline
from synesthete.types import InputError
from tiny_pictures import COLOURS, labels_in_turn, tiny_pipeline, tiny_prepared, tiny_recipe

CONFIG = SearchConfig("kid", budget=30.0, num=24, minutes=0.01)
WINNER = vars(Sampling(sampler="heun", num_inference_steps=7, guidance_scale=2.5, guidance_interval=(0.0, 0.8)))


class Colours:
    """The mean of each channel, scaled: features that know the swatches."""

    name = "colours"

    def __call__(self, pictures):
        return pictures.float().mean(dim=(2, 3)) / 64


@pytest.fixture(scope="module")
def prepared():
    return tiny_prepared()


@pytest.fixture
def scorer(prepared):
    torch.manual_seed(0)
    return Scorer(tiny_pipeline(), basis_of(prepared, Colours(), ImageClassifier(COLOURS, 3, 8, width=8).eval()))


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    tiny_pipeline().save(folder)
    (folder / "recipe.yaml").write_text(tiny_recipe().to_yaml())
    return folder


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(space, "NUM_STEPS", (2, 3, 4))
    monkeypatch.setattr(tune, "ETA_STEPS", (2, 4))
    monkeypatch.setattr(tune, "SCALES", (1.0, 6.0))
    monkeypatch.setattr(tune, "FEWEST_PICTURES", 8)
    monkeypatch.setattr(tuning, "FEWEST_SETTINGS", 6)
    for module in (tuning, tune):
        monkeypatch.setattr(module, "NUM_REPEATS", 3)


def test_a_model_is_tuned_and_a_second_call_measures_nothing(scorer, few, tmp_path, monkeypatch):
    found = run_tune(scorer, tmp_path, model="tiny", config=CONFIG)
    report, winner = json.loads((tmp_path / "report" / "report.json").read_text()), found.found.winner
    assert report["winner"] == winner == Space(scorer.pipeline.process, winner).settled(winner)
    assert report["old_default"]["sampler"] == scorer.pipeline.sampling_settings()["sampler"]
    assert len(report["measurements"]) == len(list((tmp_path / "measured").glob("*.json")))
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("data:image/png") == 3 - (not found.eta)
    assert "Is eta 0 worse?" in page
    assert not found.fresh  # 24 held-out pictures are too few to divide
    monkeypatch.setattr(Scorer, "score", None)
    again = run_tune(scorer, tmp_path, model="tiny", config=CONFIG)
    assert again.to_dict() == found.to_dict()
    assert again.num_new == 0


def test_network_evaluations_are_counted_as_the_network_counts_them(scorer, monkeypatch):
    pipeline, asked = scorer.pipeline, []
    forward = type(pipeline.denoiser).forward

    def counted(self, x_t, *arguments):
        asked.append(len(x_t))
        return forward(self, x_t, *arguments)

    monkeypatch.setattr(type(pipeline.denoiser), "forward", counted)
    own = Space(pipeline.process, pipeline.sampling_settings())
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(3))
    proposed = [own.suggest(study.ask()) for _ in range(60)]
    for settings in [found for found in proposed if found and found["num_inference_steps"] < 12][:12]:
        asked.clear()
        pipeline(labels_in_turn(2), **settings)
        assert sum(asked) == 2 * own.evaluations(settings), settings


def test_held_out_pictures_are_divided_evenly_where_there_are_enough(scorer, monkeypatch):
    basis = scorer.basis
    assert halves(basis, 0) == (basis, basis)
    monkeypatch.setattr("synesthete.evaluation.search.tune.FEWEST_REAL", 12)
    first, second = halves(basis, 0)
    assert first.labels.bincount().tolist() == second.labels.bincount().tolist() == [4, 4, 4]
    both = torch.cat([first.samples[:], second.samples[:]])
    assert len(both.flatten(1).unique(dim=0)) == len(basis)
    again = halves(basis, 0)[0].samples[:]
    assert torch.equal(first.samples[:], again)
    assert not torch.equal(again, halves(basis, 1)[0].samples[:])


def test_of_many_classes_some_are_sampled(scorer, monkeypatch):
    assert classes_of(scorer.basis, CONFIG).tolist() == [0, 1, 2]
    monkeypatch.setattr("synesthete.evaluation.search.tune.MOST_CLASSES", 2)
    assert len(classes_of(scorer.basis, CONFIG)) == 2
    many = replace(scorer.basis, class_names=tuple(map(str, range(40))))
    monkeypatch.setattr("synesthete.evaluation.search.tune.MOST_CLASSES", 30)
    with pytest.raises(InputError, match="at least 60"):
        classes_of(many, CONFIG)


def test_a_written_winner_is_what_the_model_samples_with(model):
    weights = (model / "denoiser" / "diffusion_pytorch_model.safetensors").read_bytes()
    before = Pipeline.load(str(model))
    write_sampling(model, WINNER, before.process)
    after = Pipeline.load(str(model))
    assert space.plain_settings(after.sampling_settings()) == space.plain_settings(WINNER)
    assert type(after.scheduler).__name__ == "HeunDiscreteScheduler"
    assert Recipe.load(model / "recipe.yaml").sampling == Sampling(**WINNER)
    assert (model / "denoiser" / "diffusion_pytorch_model.safetensors").read_bytes() == weights
    assert not list(model.rglob("*.partial"))
    made, expected = (pipeline(labels_in_turn(3), **settings) for pipeline, settings in ((after, {}), (before, WINNER)))
    assert torch.equal(made.x_0, expected.x_0)


@pytest.mark.parametrize(
    ("better", "asked", "written"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_only_a_better_winner_is_written_and_only_if_asked(model, better, asked, written):
    before = (model / hub.MODEL_INDEX).read_bytes()
    outcome = SimpleNamespace(found=SimpleNamespace(better=better, winner=WINNER), written=False, remark="")
    settle(outcome, Pipeline.load(str(model)), model if asked else None)
    assert outcome.written is written
    assert ((model / hub.MODEL_INDEX).read_bytes() != before) is written
    assert ("default now" in outcome.remark) is written


@pytest.mark.parametrize("number", range(3))
def test_a_model_killed_while_its_settings_are_written_loads(model, monkeypatch, number):
    def write(path, content, count=[0]):  # noqa: B006
        if count[0] == number:
            raise KeyboardInterrupt
        count[0] += 1
        path.write_text(content)

    monkeypatch.setattr("synesthete.evaluation.search.tune.write_file", write)
    with pytest.raises(KeyboardInterrupt):
        write_sampling(model, WINNER, Pipeline.load(str(model)).process)
    assert Pipeline.load(str(model))(labels_in_turn(1)).signal.shape == (1, 3, 8, 8)


def test_a_shipped_model_is_left_as_it_is(model, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "SHIPPED", tmp_path)
    with pytest.raises(InputError, match=r"ships with the package.*cp -rL.*--no-write"):
        check_writable(model)


def test_a_download_is_left_as_it_is(model, tmp_path):
    shutil.move(model / hub.MODEL_INDEX, tmp_path / "blob")
    (model / hub.MODEL_INDEX).symlink_to(tmp_path / "blob")
    with pytest.raises(InputError, match="a download"):
        write_sampling(model, WINNER, Pipeline.load(str(model)).process)


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write anywhere")
def test_a_model_of_somebody_else_is_one_line(model):
    model.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(InputError, match="cannot be written"):
        check_writable(model)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (SearchConfig("pretty"), "balanced, kid, accuracy"),
        (SearchConfig(budget=0.0), "above 0"),
        (SearchConfig(minutes=-1.0), "above 0"),
        (SearchConfig(num=4), "at least 24"),
    ],
)
def test_a_config_that_cannot_be_met_are_one_line(config, words):
    with pytest.raises(InputError, match=words):
        check_config(config, tiny_pipeline())
