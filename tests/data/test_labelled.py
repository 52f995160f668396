"""Labelled pictures: three splits that share nothing, all classes in each, limits, and batches by their draws."""

from __future__ import annotations

import pytest
import torch

from synesthete import seeding
from synesthete.data.augmentation import FlipCrop
from synesthete.data.labelled import PARTS, LabelledPictures, PictureSamples, in_turn
from synesthete.data.pictures import BuiltInDigits
from synesthete.data.synthetic import Swatches
from synesthete.types import InputError

NAMES = ("ash", "birch", "cedar")


def swatches(**fields) -> LabelledPictures:
    source = Swatches(class_names=NAMES, num_train=10, num_test=3)
    return LabelledPictures(sources=(source,), class_names=NAMES, **fields)


def test_no_picture_is_in_two_splits_and_none_is_lost():
    data = swatches(num_classifier=6)
    names = {part: {file.name for file in data.pictures(part)[0].files} for part in PARTS}
    assert [len(names[part]) for part in PARTS] == [24, 6, 9]
    assert len(set.union(*names.values())) == 39
    for part in PARTS:
        assert set(data.pictures(part)[1].tolist()) == {0, 1, 2}


def test_the_classifier_gets_a_fifth_where_nothing_is_said_and_as_many_of_each_class():
    labels = LabelledPictures(sources=(BuiltInDigits(),)).pictures("classifier")[1]
    assert len(labels) == 1500 // 5
    assert torch.bincount(labels).tolist() == [30] * 10


def test_the_splits_do_not_change_with_the_seed_of_a_run():
    for part in PARTS:
        one, other = (swatches(seed=seed).pictures(part)[0] for seed in (0, 1))
        assert [file.name for file in one.files] == [file.name for file in other.files]


def test_a_limit_leaves_every_class():
    pictures, labels = swatches(limit=4, num_classifier=6).pictures("train")
    assert len(pictures) == 4
    assert set(labels.tolist()) == {0, 1, 2}


def test_classes_take_turns():
    labels = torch.tensor([0] * 5 + [1] * 2)
    order = in_turn(labels, seed=3)
    assert sorted(order.tolist()) == list(range(7))
    assert labels[order][:4].bincount().tolist() == [2, 2]
    assert labels[order][4:].tolist() == [0, 0, 0]


def test_a_classifier_that_takes_all_is_refused():
    with pytest.raises(InputError, match=r"data\.num_classifier 30: of 30 training pictures"):
        swatches(num_classifier=30).pictures("train")


def test_a_folder_takes_the_place_of_sources_and_classes(tmp_path):
    for name in ("oak", "pine"):
        (tmp_path / name).mkdir()
        for i in range(5):
            Swatches(class_names=NAMES).pictures("train").files[i].read().save(tmp_path / name / f"{i}.png")
    data = LabelledPictures(sources=(BuiltInDigits(),), class_names=NAMES, folder=str(tmp_path))
    assert data.class_names == ("oak", "pine")


def test_an_empty_class_folder_is_named(tmp_path):
    (tmp_path / "oak").mkdir()
    with pytest.raises(InputError, match="oak: a class folder without pictures") as caught:
        LabelledPictures(folder=str(tmp_path)).pictures("train")
    assert "\n" not in str(caught.value)


def test_a_batch_is_augmented_by_its_own_draws():
    pictures = torch.arange(4 * 3 * 8 * 8).remainder(256).to(torch.uint8).view(4, 3, 8, 8)
    samples = PictureSamples(pictures, torch.arange(4), FlipCrop(padding=2))
    one, same, other = (samples.batch(torch.tensor([2, 0, 1]), seeding.generator(0, seed)) for seed in (1, 1, 2))
    assert torch.equal(one.signal, same.signal)
    assert not torch.equal(one.signal, other.signal)
    assert one.raw.tolist() == one.label.tolist() == [2, 0, 1]
    assert not one.encoded


def test_a_batch_of_encoded_pictures_takes_one_view_of_each_by_chance():
    views = torch.arange(6).float().view(2, 3, 1, 1, 1)
    samples = PictureSamples(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), x_0=views)
    seen = {
        tuple(samples.batch(torch.tensor([0, 1]), seeding.generator(seed)).signal.flatten().tolist())
        for seed in range(60)
    }
    assert samples.batch(torch.tensor([0]), seeding.generator(0)).encoded
    assert seen == {(a, b) for a in (0.0, 1.0, 2.0) for b in (3.0, 4.0, 5.0)}
