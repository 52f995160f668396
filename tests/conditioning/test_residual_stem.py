"""The stem for photographs: what it sees can be kept, frozen, and computed at other sizes."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from synesthete.conditioning.pictures import ResidualStem


def stem(**settings) -> ResidualStem:
    torch.manual_seed(0)
    return ResidualStem(**{"widths": (8, 8, 16), "width": 32} | settings)


def photographs(batch: int = 4, size: int = 32, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, channels, size, size), generator=generator, dtype=torch.uint8)


def test_tokens_and_pooled_have_their_shapes_and_so_has_the_null():
    network = stem().eval()
    told, null = network.encode(photographs()), network.null(4)
    assert told.tokens.shape == null.tokens.shape == (4, 16, 32)
    assert told.pooled.shape == null.pooled.shape == (4, 32)


def test_a_batch_equals_its_singles():
    network, raw = stem().eval(), photographs()
    batch = network.encode(raw)
    for i in range(4):
        single = network.encode(raw[i : i + 1])
        torch.testing.assert_close(single.tokens[0], batch.tokens[i], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(single.pooled[0], batch.pooled[i], rtol=1e-4, atol=1e-5)


def test_what_was_seen_is_read_as_the_picture_itself():
    network, raw = stem().eval(), photographs()
    seen = network.extract_features(raw)
    assert seen.shape == (4, 16, 4, 4)
    shown, kept = network.encode(raw), network.encode(seen)
    assert torch.equal(shown.tokens, kept.tokens) and torch.equal(shown.pooled, kept.pooled)


def test_another_place_in_the_picture_is_another_token():
    network, raw = stem().eval(), photographs(1)
    changed = raw.clone()
    changed[..., :8, :8] = 255 - changed[..., :8, :8]
    difference = (network.encode(raw).tokens - network.encode(changed).tokens).abs().sum(-1).view(4, 4)
    assert difference[0, 0] > 0
    assert difference[3, 3] == 0


@pytest.mark.parametrize("size", [32, 64, 96])
def test_the_same_weights_look_at_other_sizes(size):
    network = stem().eval()
    network.load_state_dict(stem(size=size).state_dict())
    assert network.encode(photographs(size=size)).tokens.shape == (4, 16, 32)


def test_pictures_of_any_size_and_mode_are_fitted():
    pictures = [Image.new(mode, size, 128) for mode, size in (("RGB", (50, 90)), ("L", (7, 9)), ("P", (32, 32)))]
    raw = stem().preprocess(pictures)
    assert raw.shape == (3, 3, 32, 32)
    assert raw.dtype == torch.uint8


def test_every_parameter_learns():
    network = stem().train()
    told, null = network.encode(photographs()), network.null(4)
    (told.tokens.square().sum() + told.pooled.sin().sum() + null.tokens.sum() + null.pooled.sum()).backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]


def test_a_frozen_stem_sees_the_same_whatever_it_is_trained_on():
    network, raw = stem().train(), photographs()
    network.freeze()
    before = network.extract_features(raw).clone()
    network.train()
    told = network.encode(photographs(8))
    told.tokens.sum().backward()
    assert torch.equal(network.extract_features(raw), before)
    assert all(p.grad is None for p in network.backbone.parameters())
    assert network.to_tokens.weight.grad.any()


def test_a_freed_stem_measures_its_batches_again():
    network = stem().train()
    network.freeze()
    network.freeze(False)
    before = network.backbone[1].running_mean.clone()
    network.extract_features(photographs())
    assert not torch.equal(network.backbone[1].running_mean, before)
