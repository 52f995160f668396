"""Embeddings: a vector for every class and the null, t-SNE that keeps clusters, and samples among real pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from synesthete.evaluation.diagnostics import find_diagnostic
from synesthete.evaluation.diagnostics.embeddings import (
    Embedding,
    condition_embeddings,
    condition_figure,
    draw_embedding,
    project,
    sample_embedding,
    similarity,
)
from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
from synesthete.types import Condition, InputError
from tiny_pictures import COLOURS, tiny_pipeline


@pytest.fixture(scope="module")
def model(data):
    return ModelUnderTest(tiny_pipeline(), data, num=12)


def test_every_class_and_the_null_have_a_vector(model):
    pooled, tokens = condition_embeddings(model)
    assert (pooled.name, tokens.name) == ("pooled", "mean token")
    assert pooled.names == [*COLOURS, "null"]
    conditioner = model.pipeline.conditioner
    condition = conditioner.encode(torch.tensor([1]))
    assert torch.allclose(pooled.vectors[1], condition.pooled[0])
    assert torch.allclose(tokens.vectors[1], condition.tokens[0].mean(dim=0), atol=1e-6)
    assert torch.allclose(pooled.vectors[3], conditioner.null(1).pooled[0])


def test_padding_has_no_part_in_the_mean_token():
    tokens = torch.tensor([[[1.0, 3.0], [3.0, 5.0], [100.0, 100.0]]])
    found = Condition(tokens=tokens, mask=torch.tensor([[True, True, False]])).mean_vectors()
    assert found["mean token"].tolist() == [[2.0, 4.0]]
    assert "pooled" not in found


def test_clusters_stay_together_in_the_plane():
    draw = torch.Generator().manual_seed(0)
    centres = 20 * torch.randn(3, 16, generator=draw)
    vectors = centres.repeat_interleave(15, dim=0) + torch.randn(45, 16, generator=draw)
    places, how = project(vectors, seed=0)
    assert "t-SNE" in how
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (distances.argmin(axis=1) // 15 == np.arange(45) // 15).all()
    assert np.array_equal(project(vectors, seed=0)[0], places)


@pytest.mark.parametrize(
    ("num", "width", "how"), [(11, 8, "perplexity 3.33"), (4, 8, "PCA"), (1, 8, "PCA"), (9, 1, "PCA")]
)
def test_few_points_are_placed_too(num, width, how):
    places, said = project(torch.randn(num, width, generator=torch.Generator().manual_seed(0)), seed=0)
    assert how in said
    assert places.shape == (num, 2)
    assert np.isfinite(places).all()


def test_cosines_are_those_of_class_means():
    vectors = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    cosine, names = similarity(Embedding("pooled", vectors, ["a", "a", "b", "null"], ["condition"] * 4))
    assert names == ["a", "b", "null"]
    assert torch.allclose(cosine, torch.tensor([[1.0, 0, -1], [0, 1, 0], [-1, 0, 1]]), atol=1e-6)


@pytest.mark.parametrize(("num", "labelled"), [(3, True), (30, True), (100, False)])
def test_names_are_written_while_there_is_room(num, labelled):
    names = [f"class {i}" for i in range(num)]
    vectors = torch.randn(num + 1, 8, generator=torch.Generator().manual_seed(0))
    found = Embedding("pooled", vectors, [*names, "null"], [*["condition"] * num, "null"])
    scatter, matrix, *_ = condition_figure(found, seed=0).axes
    texts = [text.get_text() for text in scatter.texts]
    assert texts == ([*names, "null"] if num == 3 else [])
    assert ("class 1" in [label.get_text() for label in matrix.get_yticklabels()]) == labelled
    assert len(matrix.texts) == (16 if num == 3 else 0)


def test_many_pictures_of_few_classes_get_a_legend():
    names = ["cat", "dog"] * 20
    found = Embedding("pooled", torch.randn(41, 8), [*names, "null"], [*["condition"] * 40, "null"])
    legend = condition_figure(found, seed=0).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["cat", "dog", "null"]


class Colour:
    """Features of a picture: its mean colour."""

    name = "colour"

    def __call__(self, pictures):
        return pictures.float().mean(dim=(2, 3))


def test_samples_are_shown_among_as_many_real_pictures(model):
    own = ModelUnderTest(model.pipeline, model.prepared, num=6, features=Colour())
    found = sample_embedding(own)
    assert found.marks == ["generated"] * 6 + ["real"] * 6
    assert found.names == ["red", "red", "green", "green", "blue", "blue", *COLOURS, *COLOURS]
    assert torch.allclose(found.vectors[:6], Colour()(own.samples().signal))
    axes = Figure().add_subplot()
    draw_embedding(axes, found, 0)
    assert "generated" in axes.get_xlabel()
    section = find_diagnostic("embeddings")(own)
    names = [medium.name for medium in section.items]
    assert names == ["embeddings-pooled", "embeddings-mean token", "embeddings-samples"]
    assert sample_embedding(model) is None
    assert len(find_diagnostic("embeddings")(model).items) == 2


def test_a_model_that_is_told_nothing_has_no_conditions_but_samples(silent, data):
    with pytest.raises(InputError, match="told nothing"):
        find_diagnostic("embeddings")(ModelUnderTest(silent, data))
    own = ModelUnderTest(silent, data, num=6, features=Colour())
    [medium] = find_diagnostic("embeddings")(own).items
    assert medium.name == "embeddings-samples"
    assert sample_embedding(own).names[:6] == ["sample"] * 6
