"""The two figures of i2m, by hand, and what real speech scores on them."""

from __future__ import annotations

import pytest
import torch

from synesthete.codecs.mel import MelCodec
from synesthete.tasks.image_to_speech.measures import (
    COPY,
    FELLOW,
    GENERATED,
    MEAN,
    SHUFFLED,
    STRANGER,
    Pairing,
    generation_errors,
    nearest_references,
    pair,
    reference_places,
)

SILENCE = -16.118096


def test_references_are_by_one_voice_then_by_many():
    labels = torch.tensor([0, 1, 0, 1, 0, 1, 0])
    speakers = ["b", "b", "a", "a", "a", "c", "b"]
    assert reference_places(labels, speakers, 1).tolist() == [2, 3]
    assert reference_places(labels, speakers, 2).tolist() == [2, 0, 3, 1]
    assert sorted(reference_places(labels, speakers, 9).tolist()) == list(range(7))


def test_the_nearest_reference_is_the_one_with_the_least_error():
    references = torch.tensor([0.0, 1.0, 4.0]).view(3, 1, 1, 1).expand(3, 1, 2, 5)
    heard = torch.tensor([0.4, 0.6, 2.4, 2.6, 9.0]).view(5, 1, 1, 1).expand(5, 1, 2, 5)
    assert nearest_references(heard, references, torch.tensor([7, 8, 9])).tolist() == [7, 8, 8, 9, 9]


def test_pairs_are_of_the_class_fellows_of_another_voice_strangers_of_another_class():
    clip_labels = torch.tensor([0, 0, 0, 1, 1, 2])
    speakers = ["a", "a", "b", "a", "b", "a"]
    labels = torch.tensor([0, 1, 2] * 20)
    found = pair(labels, clip_labels, speakers, seed=0)
    assert torch.equal(clip_labels[found.paired], labels)
    assert (clip_labels[found.stranger] != labels).all()
    for label, paired, fellow in zip(labels.tolist(), found.paired.tolist(), found.fellow.tolist(), strict=True):
        if label == 2:  # said by one voice alone
            assert fellow == -1
        else:
            assert clip_labels[fellow] == label
            assert speakers[fellow] != speakers[paired]
    assert torch.equal(pair(labels, clip_labels, speakers, seed=0).paired, found.paired)


@pytest.fixture
def scored():
    """Clips half silent, half at level 1 (class 0) or 3 (class 1), of two voices 0.5 apart."""
    codec = MelCodec(num_samples=9 * 256)
    log_mel = torch.full((4, 1, 100, 10), SILENCE)
    for i, level in enumerate((1.0, 1.5, 3.0, 3.5)):
        log_mel[i, ..., 5:] = level
    real = (log_mel - codec.mean) / codec.scale
    pairing = Pairing(paired=torch.tensor([0, 2]), fellow=torch.tensor([1, 3]), stranger=torch.tensor([2, 0]))
    return codec, real, pairing


def test_silence_under_the_clamp_costs_37_a_cell(scored):
    codec, real, pairing = scored
    other = torch.tensor([1, 0])
    seed = generation_errors(codec, real[pairing.paired], real, other, pairing, as_i2m=True)
    cost = (SILENCE + 10) ** 2 / 2  # half the cells
    assert cost * 2 == pytest.approx(37.4, abs=0.1)
    for name, voiced in ((GENERATED, 0.0), (COPY, 0.0), (FELLOW, 0.125), (STRANGER, 2.0), (SHUFFLED, 2.0)):
        assert seed[name].tolist() == pytest.approx([cost + voiced] * 2, rel=1e-4)
    # The mean of the levels, 2.25, is 1.25 from the first and 0.75 from the third.
    assert seed[MEAN].tolist() == pytest.approx([cost + 1.25**2 / 2, cost + 0.75**2 / 2], rel=1e-4)


def test_rightly_scaled_a_copy_costs_nothing(scored):
    codec, real, pairing = scored
    found = generation_errors(codec, real[pairing.paired], real, torch.tensor([1, 0]), pairing, as_i2m=False)
    assert found[COPY].tolist() == found[GENERATED].tolist() == [0.0, 0.0]
    assert found[FELLOW].tolist() == pytest.approx([0.125 / codec.scale.item() ** 2] * 2)
    assert found[STRANGER].tolist() == pytest.approx([2 / codec.scale.item() ** 2] * 2)


def test_without_another_voice_there_is_no_ceiling(scored):
    codec, real, pairing = scored
    alone = Pairing(pairing.paired, torch.tensor([-1, 3]), pairing.stranger)
    found = generation_errors(codec, real[alone.paired], real, torch.tensor([1, 0]), alone, as_i2m=False)
    assert len(found[FELLOW]) == 1
