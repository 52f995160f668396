"""Labelled pictures prepared: fitted once, measured, apart from each other, and encoded where a network encodes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from synesthete import tasks
from synesthete.codecs.latent import LatentCodec
from synesthete.conditioning.labels import PooledText
from synesthete.config import build
from synesthete.data.augmentation import FlipCrop
from synesthete.data.pictures import ClassFolders
from synesthete.data.synthetic import Swatches
from synesthete.nn.part import autocast
from synesthete.recipes import find_recipe
from synesthete.training.assembly import make_parts
from synesthete.types import InputError
from tiny_pictures import COLOURS, tiny_recipe


def test_each_split_is_fitted_to_the_codec(tmp_path):
    found = tasks.prepare(tiny_recipe(), tmp_path)
    assert [len(part) for part in (found.train, found.classifier, found.test)] == [48, 12, 24]
    for part in (found.train, found.classifier, found.test):
        assert (part.pictures.shape[1:], part.pictures.dtype) == ((3, 8, 8), torch.uint8)
    assert isinstance(found.train.augmentation, FlipCrop)
    assert found.test.augmentation is found.classifier.augmentation is None
    assert found.class_names == COLOURS


def test_the_codec_is_measured_on_what_is_trained_on(tmp_path):
    recipe = tiny_recipe()
    found = tasks.prepare(recipe, tmp_path)
    x_0 = make_parts(recipe, found).codec.encode(found.train.pictures[:])
    assert x_0.mean((0, 2, 3)).abs().max() < 1e-4
    assert (x_0.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-3


def test_another_codec_in_the_same_folder_is_measured_itself(tmp_path):
    first = tasks.prepare(tiny_recipe(), tmp_path)
    recipe = tiny_recipe()
    recipe.codec = build(LatentCodec, base=recipe.codec, latent_channels=2, channels=(8,), patch_size=1)
    found = tasks.prepare(recipe, tmp_path)
    assert make_parts(recipe, found).codec.shape[0] == 2
    assert torch.equal(found.statistics["base.mean"], first.statistics["mean"])


def test_what_is_there_is_kept(tmp_path):
    tasks.prepare(tiny_recipe(), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    tasks.prepare(tiny_recipe(), tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}


def test_a_picture_that_is_in_two_splits_is_taken_out_of_training(tmp_path):
    images = Swatches(class_names=COLOURS, num_train=6, num_test=1, size=8).pictures("train")
    for number, (image, name) in enumerate(zip(images.images, images.labels, strict=True)):
        for split in ("train", "test") if number % 6 == 0 else ("train",):
            (tmp_path / "all" / split / name).mkdir(parents=True, exist_ok=True)
            image.save(tmp_path / "all" / split / name / f"{number}.png")
    recipe = tiny_recipe("data.num_classifier=3")
    recipe.data.sources = (build(ClassFolders, path=str(tmp_path / "all")),)
    found = tasks.prepare(recipe, tmp_path / "prepared")
    assert len(found.test) == 3
    assert len(found.train) + len(found.classifier) == 18 - 3


def test_the_conditioner_has_to_know_the_classes(tmp_path):
    with pytest.raises(InputError, match=r"a conditioner of 4; --set conditioner\.num_classes=3") as caught:
        tasks.prepare(tiny_recipe("conditioner.num_classes=4"), tmp_path)
    assert "\n" not in str(caught.value)


def test_vectors_of_the_classes_in_another_order_are_refused(tmp_path):
    """By their numbers the classes would be told each other's names, and nothing would show it."""
    names, vectors = np.array(COLOURS[::-1]), np.eye(4, 12, dtype=np.float16)
    np.savez(tmp_path / "table.npz", class_names=names, embeddings=vectors)
    recipe = tiny_recipe()
    recipe.conditioner = build(PooledText, table=str(tmp_path / "table.npz"), width=16)
    with pytest.raises(InputError, match=r"a conditioner of blue, green, red; --set conditioner\.class_names"):
        tasks.prepare(recipe, tmp_path)
    recipe.conditioner.class_names = COLOURS
    tasks.prepare(recipe, tmp_path)


def test_latents_are_kept_with_augmented_views_and_evaluated_by_their_pictures(tmp_path):
    recipe = find_recipe("images-stl10-latent-debug")
    found = tasks.prepare(recipe, tmp_path)
    codec = make_parts(recipe, found).codec
    views = found.train.x_0[:4].float()
    assert views.shape == (4, 4, *codec.shape)
    with autocast(torch.device("cpu"), "auto"):
        x_0 = codec.encode(found.train.pictures[:4])
    torch.testing.assert_close(views[:, 0], x_0, atol=5e-3, rtol=5e-3)
    assert not torch.equal(views[:, 0], views[:, 1])
    assert found.test.x_0.shape[1] == 1
    assert found.classifier.x_0 is None
    batch = found.train.batch(torch.arange(3), torch.Generator().manual_seed(0))
    assert batch.encoded
    assert batch.signal.shape == (3, *codec.shape)


def test_captions_of_a_manifest_are_told_one_of_each_picture_a_batch(tmp_path):
    swatches = Swatches(class_names=COLOURS, num_train=4, num_test=1, size=8).pictures("train")
    lines = []
    for number, (image, name) in enumerate(zip(swatches.images, swatches.labels, strict=True)):
        image.save(tmp_path / f"{number}.png")
        split, text = ("train", f"a {name} square\n{name}") if number % 4 else ("test", f"an unheard {name}")
        lines.append(json.dumps({"file_name": f"{number}.png", "label": name, "text": text, "split": split}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    recipe = find_recipe("images-emoji-debug", [f"data.folder={tmp_path}", "data.class_names=null"])
    recipe.data.num_classifier = 0
    found = tasks.prepare(recipe, tmp_path / "prepared")
    text = recipe.conditioner(**found.told).text
    assert text.vocabulary == ["a", *sorted((*COLOURS, "square"))] and len(found.classifier) == len(found.train) == 9
    told = {tuple(ids) for step in range(20) for ids in batch(found.train, step).raw.tolist()}
    lines = [line for name in COLOURS for line in (name, f"a {name} square")]
    assert told == {tuple(ids) for ids in text.tokenise(lines).tolist()}
    names = text.tokenise(found.class_names)
    told = found.test.told(found.test.labels.argsort())  # in the order of the classes, without "an unheard"
    assert torch.equal(told, names)
    assert torch.equal(make_parts(recipe, found).conditioner.text.table[:3], names)


def batch(samples, step):
    return samples.batch(torch.arange(len(samples)), torch.Generator().manual_seed(step))
