"""Any picture of a class with any clip of that class, drawn anew each time."""

from __future__ import annotations

import pytest
import torch

from synesthete import tasks
from synesthete.data.augmentation import Affine
from synesthete.data.labelled import ImageSpeechPairs, ImageSpeechSamples
from synesthete.data.pictures import DIGITS, BuiltInDigits
from synesthete.data.samples import Steps
from synesthete.types import InputError
from tiny import debug_recipe


def paired(num_classes=3, clips=5, pictures=4, augmentation=None) -> ImageSpeechSamples:
    """Clips and pictures that tell their class and their number."""
    clip_labels = torch.arange(num_classes).repeat(clips)
    labels = torch.arange(num_classes).repeat_interleave(pictures)
    return ImageSpeechSamples(
        x_0=torch.arange(len(clip_labels)).view(-1, 1, 1, 1).half(),
        clip_labels=clip_labels,
        pictures=torch.arange(len(labels)).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).to(torch.uint8).contiguous(),
        labels=labels,
        augmentation=augmentation,
    )


def batch_of(samples, indices, seed=0):
    return samples.batch(torch.as_tensor(indices), torch.Generator().manual_seed(seed))


def test_a_picture_is_paired_with_a_clip_of_its_class():
    samples = paired()
    for seed in range(20):
        batch = batch_of(samples, range(12), seed)
        clips = batch.signal.flatten().long()
        assert torch.equal(samples.clip_labels[clips], batch.label)
        assert torch.equal(batch.label, samples.labels)
        assert torch.equal(batch.raw, samples.pictures)
    assert batch.encoded
    assert (batch.signal.dtype, batch.raw.dtype, batch.label.dtype) == (torch.float32, torch.uint8, torch.int64)


def test_every_clip_of_the_class_has_its_turn():
    samples = paired()
    seen = torch.cat([batch_of(samples, [0], seed).signal.flatten() for seed in range(100)])
    assert sorted(seen.unique().tolist()) == [0, 3, 6, 9, 12]
    assert torch.bincount(seen.long()).max() < 40  # about evenly


def test_pairs_are_drawn_anew_each_epoch_and_are_a_function_of_the_step():
    samples = paired(clips=50)
    pairs = []
    for batch in Steps(samples, 12, seed=0).loader(0, 3):
        order = batch.raw[:, 0, 0, 0].long().argsort()
        pairs.append(batch.signal.flatten()[order].tolist())
    assert len({tuple(epoch) for epoch in pairs}) == 3
    again = Steps(samples, 12, seed=0)[2]
    assert torch.equal(again.signal, Steps(samples, 12, seed=0)[2].signal)


def test_augmentation_moves_pictures_by_the_same_draws_and_keeps_clips():
    samples, plain = paired(augmentation=Affine()), paired()
    samples.pictures[:] = plain.pictures[:] = torch.randint(0, 256, plain.pictures.shape).to(torch.uint8)
    moved, again, other = (batch_of(samples, range(12), seed) for seed in (0, 0, 1))
    assert torch.equal(moved.raw, again.raw)
    assert not torch.equal(moved.raw, other.raw)
    assert torch.equal(moved.signal, batch_of(plain, range(12)).signal)
    assert (moved.raw.dtype, moved.raw.shape) == (torch.uint8, plain.pictures.shape)
    off = Affine(degrees=0, scale=0, shear=0, shift=0)
    torch.testing.assert_close(off(plain.pictures, torch.Generator()), plain.pictures)


def test_a_class_without_a_clip_is_one_line():
    samples = paired()
    keep = samples.clip_labels != 1
    with pytest.raises(InputError, match="class number 1: pictures but no clip; build the corpus with that class"):
        ImageSpeechSamples(samples.x_0[keep], samples.clip_labels[keep], samples.pictures, samples.labels)


def test_a_class_without_a_picture_is_one_line():
    data = ImageSpeechPairs((BuiltInDigits(),), (*DIGITS, "ten"))
    with pytest.raises(
        InputError, match=r"no training picture of class 'ten'; add some or take it from data.class_names"
    ):
        data.pictures("train")
    assert len(data.pictures("test")[0]) == 297


def test_a_picture_of_no_class_is_one_line():
    with pytest.raises(
        InputError, match=r"pictures of class 'nine', which data.class_names lacks; add it or remove them"
    ):
        ImageSpeechPairs((BuiltInDigits(),), DIGITS[:9]).pictures("train")


def test_labels_are_places_in_the_class_names_whatever_their_order():
    backwards = DIGITS[::-1]
    pictures, labels = ImageSpeechPairs((BuiltInDigits(),), backwards).pictures("test")
    assert [backwards[label] for label in labels] == pictures.labels


def test_a_limit_keeps_the_same_few(prepared, cache):
    limited = ImageSpeechPairs((BuiltInDigits(),), DIGITS, limit=100)
    pictures, labels = limited.pictures("train")
    assert len(pictures) == len(labels) == len(pictures.labels) == 100
    assert torch.bincount(labels).tolist() == [10] * 10  # a small limit leaves no class without a sample
    assert torch.equal(limited.pictures("train")[1], labels)
    corpus = tasks.find_task("image-to-speech").default_folder(debug_recipe()) / "corpus"
    data = debug_recipe("data.limit=40").data()
    clips = data.clips(corpus, "train")
    assert len(clips.waveforms) == len(clips.labels) == len(clips.speakers) == 40
    assert torch.bincount(clips.labels).tolist() == [4] * 10
    whole = debug_recipe("data.limit=null").data().clips(corpus, "train")
    assert len(whole) == 220
    assert len(debug_recipe("data.limit=1000").data().clips(corpus, "train")) == 220


def test_splits_of_a_corpus_share_no_voice(prepared, cache):
    corpus = tasks.find_task("image-to-speech").default_folder(debug_recipe()) / "corpus"
    data = debug_recipe("data.limit=null").data()
    voices = {split: set(data.clips(corpus, split).speakers) for split in ("train", "classifier", "test")}
    assert {split: len(found) for split, found in voices.items()} == {"train": 22, "classifier": 10, "test": 6}
    assert not voices["train"] & voices["test"]
    assert not voices["train"] & voices["classifier"]
    assert not voices["classifier"] & voices["test"]


def test_clips_are_labelled_by_what_they_say(prepared, cache):
    corpus = tasks.find_task("image-to-speech").default_folder(debug_recipe()) / "corpus"
    data = debug_recipe().data()
    data.class_names = DIGITS[::-1]
    clips = data.clips(corpus, "test")
    forward = debug_recipe().data().clips(corpus, "test")
    assert torch.equal(clips.waveforms[:], forward.waveforms[:])
    assert torch.equal(clips.labels, 9 - forward.labels)


def test_a_conditioner_that_reads_classes_is_given_classes(prepared, cache):
    labels = "conditioner={class: Labels, width: 32}"
    samples = tasks.prepare(debug_recipe(labels)).train
    batch = samples.batch(torch.arange(20), torch.Generator().manual_seed(0))
    assert torch.equal(batch.raw, batch.label)
    assert debug_recipe(labels).conditioner().encode(batch.raw).tokens.shape == (20, 4, 32)
