"""The probe: it reads what is in the condition and nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from synesthete.data.picture import PictureFile
from synesthete.data.pictures import Pictures
from synesthete.evaluation.metrics.metric import fit_linear_probe
from synesthete.tasks.image_to_speech.measures import condition_features, preprocessed, seeing_metrics
from synesthete.types import Condition


def clouds(num: int, distance: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features around one point a class, in units of their own spread, on scales that differ by a million."""
    labels = torch.arange(num) % 3
    noise = torch.randn(num, 5, generator=torch.Generator().manual_seed(seed))
    points = torch.randn(3, 5, generator=torch.Generator().manual_seed(9))
    return (noise + distance * points[labels]) * torch.tensor([1e-3, 1.0, 1e3, 1.0, 1.0]) + 5, labels


def test_what_is_there_is_read_and_what_is_not_is_guessed():
    held_out = clouds(300, 5.0, seed=2)
    probe = fit_linear_probe(*clouds(300, 5.0, seed=1))
    assert (probe.classify(held_out[0]) == held_out[1]).float().mean() > 0.95
    blind = fit_linear_probe(*clouds(300, 0.0, seed=1))
    assert (blind.classify(held_out[0]) == held_out[1]).float().mean() < 0.7
    assert (blind.classify(clouds(300, 0.0, seed=2)[0]) == held_out[1]).float().mean() == pytest.approx(1 / 3, abs=0.12)


def test_more_features_than_pictures_and_constant_ones_do_no_harm():
    features, labels = clouds(30, 5.0, seed=1)
    wide = torch.cat([features, torch.randn(30, 60, generator=torch.Generator().manual_seed(3)), torch.ones(30, 2)], 1)
    probe = fit_linear_probe(wide, labels)
    assert (probe.classify(wide) == labels).float().mean() > 0.9


def test_features_are_the_pooled_vector_and_the_mean_of_the_tokens_that_are_there():
    tokens = torch.tensor([[[1.0], [3.0], [100.0]]])
    mask = torch.tensor([[True, True, False]])
    pipeline = SimpleNamespace(device="cpu", conditioner=SimpleNamespace())
    for condition, expected in (
        (Condition(tokens=tokens, mask=mask, pooled=torch.tensor([[7.0]])), [7.0, 2.0]),
        (Condition(pooled=torch.tensor([[7.0]])), [7.0]),
        (Condition(tokens=tokens[:, :2]), [2.0]),
    ):
        pipeline.conditioner.encode = lambda raw, condition=condition: condition
        assert condition_features(pipeline, torch.zeros(1, 1, 2, 2)).tolist() == [expected]


def test_a_broken_picture_is_left_out(tmp_path):
    for i in range(3):
        Image.new("L", (4, 4), i).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_bytes(b"no picture")
    pictures = Pictures([PictureFile(str(tmp_path / f"{i}.png")) for i in range(3)], ["a"] * 3)
    pipeline = SimpleNamespace(preprocess=lambda images: torch.tensor([image.getpixel((0, 0)) for image in images]))
    calls = []
    found = list(preprocessed(pipeline, pictures, torch.tensor([2, 1, 0]), lambda *call: calls.append(call)))
    assert [(places, raw.tolist()) for places, raw in found] == [([2, 0], [2, 0])]
    assert calls == [(3, 3)]
    assert len(pictures.skipped) == 1


def test_seeing_and_speaking_are_told_apart():
    """Two of four pictures are seen rightly; everything that was seen is spoken, the mistakes as well."""
    labels, seen = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 3, 2])
    seeing, speaking = seeing_metrics(seen, labels, torch.tensor([1, 2, 3, 0]), {"ear": seen.clone()}, 4, {"ear": 0.9})
    assert (seeing.value, speaking.value) == (0.5, 1.0)
    assert (seeing.chance, speaking.chance, speaking.ceiling) == (0.25, 0.25, 0.9)
    assert speaking.shuffled == 0.0


def test_classes_in_a_row_are_not_hidden_by_their_neighbours():
    """Four levels of one feature: least squares on the classes would never choose the middle ones."""
    labels = torch.arange(80) % 4
    features = labels[:, None].float()
    assert torch.equal(fit_linear_probe(features, labels).classify(features), labels)


def test_of_one_class_there_is_nothing_to_tell():
    features, labels = clouds(30, 5.0, seed=1)
    assert fit_linear_probe(features, torch.full_like(labels, 2)).classify(features).unique().tolist() == [2]
