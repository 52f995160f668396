"""Scores: the same noise whatever else changes, figures that tell good from bad, and nothing measured twice."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scored import Copier, Means, basis_of

from synesthete.data.labelled import PictureSamples
from synesthete.evaluation.search.scoring import Scorer, ScoringBasis, noise_sources
from synesthete.types import InputError, Prepared
from tiny_pictures import labels_in_turn, tiny_pipeline, tiny_prepared


@pytest.fixture(scope="module")
def data(cache):
    return tiny_prepared()


@pytest.fixture(scope="module")
def model(data):
    return tiny_pipeline()


def scorer(data, pipeline, features=None, **settings):
    return Scorer(pipeline, basis_of(data, features or Means()), **settings)


def test_a_picture_has_its_noise_whatever_the_settings_the_batch_and_the_other_labels(data, model):
    settings = {"num_inference_steps": 2}
    whole = scorer(data, model)
    pictures = whole.score(settings, torch.tensor([0, 1, 1, 2]), 7).samples
    others = scorer(data, model, batch_size=3).score(settings, torch.tensor([2, 1, 2, 1]), 7).samples
    for here, there in ((1, 1), (2, 3), (3, 0)):
        assert (pictures[here].int() - others[there].int()).abs().max() <= 1
    again = whole.score(settings, torch.tensor([1, 1]), [8, 7]).samples
    assert (again[1].int() - pictures[1].int()).abs().max() <= 1
    assert not torch.equal(again[0], pictures[1])
    noises = [noise_sources(torch.tensor([1, 1, 0]), 7), noise_sources(torch.tensor([1, 0, 1]), 7)]
    assert set(noises[0]) == set(noises[1])
    assert len(set(noises[0])) == 3


def test_real_pictures_score_as_real_and_the_wrong_class_as_wrong(data):
    labels = labels_in_turn(12)
    good = scorer(data, Copier(data.test)).score({}, labels)
    assert good.accuracy == 1.0
    assert good.kid <= 3 * good.kid_floor
    assert good.precision == 1.0
    assert good.samples.shape == (12, 3, 8, 8)
    assert len(good.samples) == 12
    wrong = scorer(data, Copier(data.test, wrong=True)).score({}, torch.zeros(12, dtype=torch.int64))
    assert wrong.accuracy == 0.0
    assert wrong.precision == 0.0
    assert wrong.kid > 10 * wrong.kid_floor


def test_only_pictures_of_the_classes_asked_for_are_compared_with(data):
    """Held-out pictures of other classes would make two classes look like a lack of variety."""
    features = Means()
    found = scorer(data, Copier(data.test), features).score({}, torch.tensor([0, 1] * 6))
    assert features.num_seen < 12 + len(data.test)
    assert found.recall > 0.9


def test_what_does_not_depend_on_the_settings_is_computed_once(data):
    features = Means()
    own = scorer(data, Copier(data.test), features)
    labels = labels_in_turn(6)
    own.score({}, labels)
    first = features.num_seen
    own.score({"guidance_scale": 2.0}, labels)
    assert features.num_seen == first + len(labels)
    assert own.pipeline.calls == [{}, {"guidance_scale": 2.0}]


def test_seconds_are_of_sampling_alone(data):
    slow = scorer(data, Copier(data.test), Means(seconds=0.2))
    assert slow.score({}, labels_in_turn(6)).seconds_per_picture < 0.02


def test_too_few_pictures_for_a_figure_leave_it_out(data):
    found = scorer(data, Copier(data.test)).score({}, torch.tensor([1]))
    assert found.accuracy == 1.0
    assert all(map(math.isnan, (found.kid, found.kid_floor, found.precision, found.recall, found.diversity)))


def test_a_model_that_is_told_nothing_has_no_class_accuracy(data):
    silent = Copier(data.test)
    silent.is_conditional = False
    assert math.isnan(scorer(data, silent).score({}, labels_in_turn(6)).accuracy)


def test_a_class_without_held_out_pictures_is_named(data):
    kept = data.test.labels != 1
    rows = PictureSamples(data.test.pictures[kept.nonzero().flatten()], data.test.labels[kept])
    lacking = Prepared(data.train, rows, data.statistics, data.class_names)
    with pytest.raises(InputError, match="'green'"):
        scorer(lacking, Copier(data.test)).score({}, torch.tensor([0, 1]))


def test_the_reference_is_of_real_pictures(data):
    found = scorer(data, Copier(data.test)).reference(labels_in_turn(12))
    assert found["accuracy"] == 1.0
    assert found["diversity"] > 0
    assert 0 <= found["precision"] <= 1


def test_samples_need_not_be_pictures(data):
    """Tones (n, S), classified and described by how often they cross zero."""

    class Crossings:
        name = "crossings"

        def __call__(self, tones):
            return (tones.diff().sign().diff(dim=-1) != 0).float().mean(dim=-1, keepdim=True).expand(-1, 4)

        def classify(self, tones):
            return (self(tones)[:, 0] > 0.1).long()

    time = torch.arange(256) / 256
    labels = labels_in_turn(24) % 2
    tones = torch.sin(2 * torch.pi * (4 + 28 * labels[:, None]) * time + torch.arange(24)[:, None])
    basis = ScoringBasis(tones, labels, ("low", "high"), Crossings(), Crossings())
    copier = Copier(PictureSamples(tones, labels))
    found = Scorer(copier, basis).score({}, labels)
    assert (found.accuracy, found.precision) == (1.0, 1.0)
    assert len(basis.part(torch.arange(6))) == 6
    assert math.isnan(Scorer(copier, replace(basis, classifier=None)).score({}, labels).accuracy)
