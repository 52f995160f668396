"""Raw patches and the picture stem at sizes other than its own: what they show, and to whom."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from synesthete.conditioning.pictures import PicturePatches, PictureStem
from synesthete.denoisers.dit import DiT
from synesthete.types import Condition, InputError


def patches(**settings) -> PicturePatches:
    torch.manual_seed(0)
    return PicturePatches(**{"size": 32, "patch_size": 4, "width": 32, "num_features": 16} | settings).eval()


def stem(**settings) -> PictureStem:
    torch.manual_seed(0)
    return PictureStem(**{"widths": (8, 8, 16), "width": 32, "channels": 3, "fit": "cover"} | settings).eval()


def pictures(batch: int, size: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, channels, size, size), generator=generator).to(torch.uint8)


CONDITIONERS = {
    "patches": (lambda: patches(), pictures(4, 32)),
    "patches-of-grey": (lambda: patches(channels=1, size=30, patch_size=10), pictures(4, 30, 1)),
    "two-patches-a-side": (lambda: patches(size=8), pictures(4, 8)),
    "stem-96": (lambda: stem(size=96), pictures(4, 96)),
    "stem-odd": (lambda: stem(size=37, widths=(8, 12)), pictures(4, 37)),
    "stem-five-stages": (lambda: stem(size=64, widths=(4, 4, 8, 8, 6)), pictures(4, 64)),
    "stem-one-stage": (lambda: stem(size=9, widths=(3,)), pictures(4, 9)),
}


@pytest.fixture(params=CONDITIONERS, ids=list(CONDITIONERS))
def case(request):
    make, raw = CONDITIONERS[request.param]
    return make(), raw


def test_the_defaults_are_the_seeds_figures():
    """512 pixels, patches of 16: 1024 tokens of 768 values."""
    with torch.device("meta"):
        conditioner = PicturePatches()
        assert conditioner.null(2).tokens.shape == (2, 1024, 768)
        assert conditioner.patchify(torch.zeros(2, 3, 512, 512)).shape == (2, 1024, 768)
        told = conditioner.encode(torch.zeros(2, 3, 512, 512, dtype=torch.uint8))
        assert told.tokens.shape == (2, 1024, 768)
        assert told.pooled.shape == (2, 768)


def test_a_patch_holds_its_colours_one_after_the_other_row_by_row():
    raw = pictures(2, 32)
    cut = patches().patchify(raw)
    assert cut.shape == (2, 64, 48)
    for row, column in ((0, 0), (2, 5), (7, 7)):
        expected = raw[1, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].flatten()  # (C, P, P)
        assert torch.equal(cut[1, 8 * row + column], expected)


def test_tokens_are_one_matrix_over_values_between_minus_one_and_one():
    conditioner, raw = patches(), pictures(1, 32)
    told = conditioner.encode(raw).tokens
    values = raw[0, :, 8:12, 4:8].flatten() / 127.5 - 1  # row 2, column 1
    expected = conditioner.to_tokens.weight @ values + conditioner.to_tokens.bias + conditioner.positions[17]
    torch.testing.assert_close(told[0, 17], expected)
    torch.testing.assert_close(conditioner.encode(raw / 127.5 - 1).tokens, told)


def test_shapes_of_the_condition_and_of_its_null(case):
    conditioner, raw = case
    told, null = conditioner.encode(raw), conditioner.null(4)
    assert told.tokens.shape == null.tokens.shape
    assert told.tokens.shape[1] > 1  # over one key softmax is 1, and cross-attention a constant
    assert told.pooled.shape == null.pooled.shape == (4, 32)
    assert (told.tokens[0] - told.tokens[1]).abs().mean() > 1e-2
    assert (told.pooled[0] - told.pooled[1]).abs().mean() > 1e-2


def test_a_batch_of_four_equals_four_singles(case):
    conditioner, raw = case
    batch = conditioner.encode(raw)
    singles = Condition.concatenate([conditioner.encode(raw[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(singles.tokens, batch.tokens, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(singles.pooled, batch.pooled, rtol=1e-4, atol=1e-5)


def test_every_parameter_learns(case):
    """Through a denoiser, as in training: tokens by cross-attention, pooled by modulation, half of them null."""
    conditioner, raw = case
    denoiser = DiT((8, 16), (8, 4), width=32, depth=2, num_heads=2, condition_width=32, pooled_width=32)
    for parameter in denoiser.parameters():
        if not parameter.any():
            parameter.data.normal_(std=0.1)
    keep = torch.tensor([True, False, True, False])
    condition = Condition.where(keep, conditioner.encode(raw), conditioner.null(4))
    denoiser(torch.randn(4, 1, 8, 16), torch.full((4,), 500), condition).square().mean().backward()
    for name, parameter in conditioner.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("swap", [(0, 7), (0, 63), (9, 36)])
def test_the_pooled_vector_tells_where_things_are(swap):
    """Two patches exchanged leave the mean of the patches as it was."""
    conditioner, raw = patches(), torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    moved = raw.clone()
    for picture, place in ((raw, swap[0]), (moved, swap[1])):
        row, column = divmod(place, 8)
        picture[0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 255
    before, after = conditioner.encode(raw).pooled, conditioner.encode(moved).pooled
    assert (before - after).abs().mean() > 0.01


def test_pictures_of_any_size_and_mode_become_one_batch():
    made = [Image.new(m, s) for m, s in (("L", (8, 8)), ("RGB", (300, 20)), ("RGBA", (28, 28)), ("P", (1, 900)))]
    for conditioner in (patches(), stem(size=96), stem(size=96, fit="stretch")):
        raw = conditioner.preprocess(made)
        assert raw.dtype == torch.uint8
        assert raw.shape == (4, 3, conditioner.config.size, conditioner.config.size)
        assert torch.isfinite(conditioner.encode(raw).tokens).all()


def test_stretched_the_whole_picture_is_seen_covered_only_its_middle():
    picture = Image.new("RGB", (300, 100), "red")
    picture.paste("blue", (100, 0, 200, 100))
    whole = patches(fit="stretch").preprocess([picture])[0].float()
    assert whole[0, :, :8].mean() > 200 and whole[2, :, 12:20].mean() > 200
    assert patches(fit="cover").preprocess([picture])[0, 0].float().mean() < 20


def test_saved_and_loaded_it_says_the_same(case, tmp_path):
    conditioner, raw = case
    conditioner.save_pretrained(tmp_path)
    again = type(conditioner).from_pretrained(tmp_path).eval()
    assert torch.equal(again.encode(raw).tokens, conditioner.encode(raw).tokens)
    assert torch.equal(again.encode(raw).pooled, conditioner.encode(raw).pooled)
    assert torch.equal(again.null(2).tokens, conditioner.null(2).tokens)


def test_a_large_picture_costs_the_pooled_vector_no_larger_matrix():
    with torch.device("meta"):
        small, large = (sum(p.numel() for p in stem(size=size).to_pooled.parameters()) for size in (64, 512))
    assert small == large


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: patches(size=30), "conditioner.size 30 is not two or more whole patches of 4; "),
        (lambda: patches(size=4), "--set conditioner.size=8$"),
        (lambda: patches(width=30), "width 30: .* give a multiple of 4$"),
        (lambda: stem(size=28, widths=(8,) * 5), "5 stages leave 1 x 1 of a size of 28; .* above 32$"),
        (lambda: stem(size=28, widths=()), "0 stages leave 28 x 28 .* at least one stage"),
    ],
)
def test_a_size_that_cannot_be_is_one_line(make, named):
    with pytest.raises(InputError, match=named) as caught:
        make()
    assert "\n" not in str(caught.value)
