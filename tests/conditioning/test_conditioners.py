"""Labels and the picture stem: tokens, a pooled vector, and a null of their own."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from synesthete.conditioning.labels import Labels
from synesthete.conditioning.pictures import PictureStem
from synesthete.types import InputError


def stem(**settings) -> PictureStem:
    torch.manual_seed(0)
    return PictureStem(**{"widths": (8, 8, 16), "width": 32} | settings).eval()


def pictures(batch: int, channels: int = 1, size: int = 28) -> torch.Tensor:
    return torch.randint(0, 256, (batch, channels, size, size), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )


def conditioners():
    torch.manual_seed(0)
    return [
        (Labels(width=32), torch.tensor([3, 0, 9, 3])),
        (stem(), pictures(4)),
        (stem(channels=3, size=32, fit="cover"), pictures(4, 3, 32)),
    ]


@pytest.mark.parametrize(("conditioner", "raw"), conditioners())
def test_tokens_and_pooled_have_their_shapes_and_so_has_the_null(conditioner, raw):
    told, null = conditioner.encode(raw), conditioner.null(4)
    assert told.pooled.shape == null.pooled.shape == (4, 32)
    assert told.tokens.shape == null.tokens.shape
    assert told.tokens.shape[::2] == (4, 32)
    assert told.tokens.shape[1] > 1  # over one key softmax is 1, and cross-attention a constant
    assert told.mask is None and null.mask is None
    for part in ("tokens", "pooled"):
        values = getattr(null, part)
        assert torch.equal(values[0], values[3])
        assert not torch.allclose(values, getattr(told, part), atol=1e-2)
        assert values.requires_grad  # the null is trained


@pytest.mark.parametrize(("conditioner", "raw"), conditioners())
def test_a_batch_equals_its_singles(conditioner, raw):
    batch = conditioner.encode(raw)
    for i in range(4):
        single = conditioner.encode(raw[i : i + 1])
        torch.testing.assert_close(single.tokens[0], batch.tokens[i], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(single.pooled[0], batch.pooled[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("conditioner", "raw"), conditioners())
def test_another_sample_is_told_otherwise_in_both_ways(conditioner, raw):
    told = conditioner.encode(raw)
    assert (told.tokens[0] - told.tokens[1]).abs().mean() > 1e-2
    assert (told.pooled[0] - told.pooled[1]).abs().mean() > 1e-2


@pytest.mark.parametrize(("conditioner", "raw"), conditioners())
def test_saved_and_loaded_it_says_the_same(conditioner, raw, tmp_path):
    conditioner.save_pretrained(tmp_path)
    again = type(conditioner).from_pretrained(tmp_path).eval()
    assert torch.equal(again.encode(raw).tokens, conditioner.encode(raw).tokens)
    assert torch.equal(again.null(2).pooled, conditioner.null(2).pooled)


@pytest.mark.parametrize("label", [-1, 10, 11])
def test_a_label_out_of_range_is_one_line(label):
    """Ten is the null: a caller that counts from 1 would sample it without noticing."""
    with pytest.raises(InputError, match=rf"label \[3, {label}\]: out of range; this model has classes 0 to 9$"):
        Labels(width=32).encode(torch.tensor([3, label]))


def test_no_labels_are_no_error():
    assert Labels(width=32).encode(torch.zeros(0, dtype=torch.int64)).pooled.shape == (0, 32)


def test_pictures_may_be_bytes_or_floats():
    conditioner, raw = stem(), pictures(2)
    from_floats = conditioner.encode(raw.float() / 127.5 - 1)
    torch.testing.assert_close(conditioner.encode(raw).tokens, from_floats.tokens)


def test_preprocess_takes_any_pictures_to_one_batch():
    made = [
        Image.new(mode, size) for mode, size in (("L", (8, 8)), ("RGB", (300, 200)), ("RGBA", (28, 28)), ("P", (9, 1)))
    ]
    raw = stem().preprocess(made)
    assert (raw.shape, raw.dtype) == ((4, 1, 28, 28), torch.uint8)
    colour = stem(channels=3, size=32, fit="cover")
    raw = colour.preprocess(made)
    assert (raw.shape, raw.dtype) == ((4, 3, 32, 32), torch.uint8)
    assert torch.isfinite(colour.encode(raw).tokens).all()
