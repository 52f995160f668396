"""Published text embeddings of class names as conditioner: the right row for each class, several tokens from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from synesthete.conditioning.labels import PooledText, read_table
from synesthete.config import build
from synesthete.denoisers.dit import DiT
from synesthete.recipes.fit import check_fit
from synesthete.types import Condition, InputError
from tiny import debug_recipe

WIDTH = 32
NAMES = ["airplane", "tabby cat", "fire truck", "dog"]
SHARED = Path(__file__).parents[3] / "shared" / "models" / "clip_text"


def embeddings() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(NAMES) + 1, 12)).astype(np.float16)


@pytest.fixture(params=["npz", "safetensors"])
def table(request, tmp_path):
    path = tmp_path / f"table.{request.param}"
    if request.param == "npz":
        np.savez(path, class_names=np.array(NAMES), embeddings=embeddings())
    else:
        save_file({"embeddings": torch.from_numpy(embeddings())}, path, {"class_names": json.dumps(NAMES)})
    return path


def make(table, **fields) -> PooledText:
    torch.manual_seed(0)
    return PooledText(str(table), **{"width": WIDTH} | fields)


def one_line(caught: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_each_class_has_its_row_and_the_null_the_last(table):
    conditioner = make(table, class_names=("dog", "Fire_Truck"))
    vectors = torch.from_numpy(embeddings()).float()
    assert torch.equal(conditioner.vectors, vectors[[3, 2, 4]])
    whole = make(table)
    assert list(whole.config.class_names) == NAMES
    assert torch.equal(whole.vectors, vectors)
    assert torch.equal(whole.encode(torch.tensor([3, 2])).pooled, conditioner.encode(torch.tensor([0, 1])).pooled)
    torch.testing.assert_close(whole.null(2).pooled, whole.to_pooled(whole.norm(vectors[[4, 4]])))


def test_several_tokens_that_differ_by_class(table):
    conditioner = make(table, num_tokens=3)
    told, null = conditioner.encode(torch.tensor([0, 1, 0])), conditioner.null(3)
    assert told.tokens.shape == null.tokens.shape == (3, 3, WIDTH)
    assert told.pooled.shape == null.pooled.shape == (3, WIDTH)
    assert torch.equal(told.tokens[0], told.tokens[2])
    for other in (told.tokens[1], null.tokens[0]):
        assert (told.tokens[0] - other).abs().mean() > 1e-2
    assert (told.tokens[0, 0] - told.tokens[0, 1]).abs().mean() > 1e-2
    singles = Condition.concatenate([conditioner.encode(torch.tensor([label])) for label in (0, 1, 0)])
    torch.testing.assert_close(singles.tokens, told.tokens)
    torch.testing.assert_close(singles.pooled, told.pooled)


def test_every_parameter_learns_by_attention_too(table):
    """Over one token the queries and keys of cross-attention would learn nothing."""
    conditioner = make(table)
    denoiser = DiT((8, 16), (8, 4), width=32, depth=2, num_heads=2, condition_width=WIDTH, pooled_width=WIDTH)
    for parameter in denoiser.parameters():
        if not parameter.any():
            parameter.data.normal_(std=0.1)
    keep = torch.tensor([True, False, True, False])
    condition = Condition.where(keep, conditioner.encode(torch.tensor([0, 1, 2, 3])), conditioner.null(4))
    denoiser(torch.randn(4, 1, 8, 16), torch.full((4,), 500), condition).square().mean().backward()
    for part in (conditioner, denoiser):
        for key, parameter in part.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key
    assert not conditioner.vectors.requires_grad


def test_a_saved_model_needs_no_table(table, tmp_path):
    conditioner = make(table, class_names=("dog", "airplane"))
    labels = torch.tensor([1, 0])
    told, null = conditioner.encode(labels), conditioner.null(1)
    conditioner.save_pretrained(tmp_path / "saved")
    assert "vectors" in load_file(tmp_path / "saved/diffusion_pytorch_model.safetensors")
    table.unlink()
    again = PooledText.from_pretrained(tmp_path / "saved")
    assert torch.equal(again.encode(labels).tokens, told.tokens)
    assert torch.equal(again.encode(labels).pooled, told.pooled)
    assert torch.equal(again.null(1).tokens, null.tokens)


def test_a_width_that_is_given_only_puts_the_reading_off(table):
    early, late = make(table, class_names=("dog",)), make(table, class_names=("dog",), table_width=12)
    label = torch.tensor([0])
    assert torch.equal(late.encode(label).tokens, early.encode(label).tokens)
    with pytest.raises(InputError, match=r"vectors 12 wide, .* --set conditioner\.table_width=12$"):
        make(table, class_names=("dog",), table_width=13).null(1)


def test_it_fits_a_recipe(table):
    recipe = debug_recipe()
    recipe.conditioner = build(PooledText, table=str(table), width=WIDTH)
    check_fit(recipe)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("airplan", "there are 'airplane'$"), ("cat", "there are 'tabby cat'$"), ("zzz", "it has 4 others$")],
)
def test_an_unknown_class_is_one_line_with_those_near(table, name, hint):
    with pytest.raises(InputError, match=f"no class '{name}' in it; {hint}") as caught:
        make(table, class_names=("dog", name))
    one_line(caught)


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        (
            {"class_names": np.array(NAMES), "embeddings": np.ones((4, 12))},
            "give 5 rows, that of the empty prompt last",
        ),
        ({"class_names": np.array(NAMES)}, "no `class_names` and `embeddings` to be read in it"),
        ({"class_names": np.array(NAMES, dtype=object), "embeddings": np.ones((5, 12))}, "no `class_names` and"),
        ({"class_names": np.array(NAMES), "embeddings": np.full((5, 12), np.nan)}, "not finite"),
    ],
)
def test_another_kind_of_file_is_one_line(tmp_path, arrays, named):
    np.savez(tmp_path / "table.npz", **arrays)
    with pytest.raises(InputError, match=named) as caught:
        make(tmp_path / "table.npz")
    one_line(caught)


def test_bad_input_is_one_line(table, tmp_path):
    with pytest.raises(InputError, match=r"no such file; give a table .* --set conditioner\.table=PATH$"):
        make(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"label \[4\]: out of range; this model has classes 0 to 3$"):
        make(table).encode(torch.tensor([4]))
    with pytest.raises(InputError, match="num_tokens 1: attention over one token is a constant"):
        make(table, num_tokens=1)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published tables are not at hand")
def test_the_published_tables_load():
    stl10 = make(SHARED / "clip_vitb32_text_stl10.npz")
    assert len(stl10.config.class_names) == 10 and stl10.vectors.shape == (11, 512)
    names, vectors = read_table(str(SHARED / "clip_vitb32_text_imagenet.npz"))
    assert len(names) == 1000 and torch.equal(vectors[-1], stl10.vectors[-1])  # the empty prompt is one
    told = stl10.encode(torch.arange(10))
    gaps = torch.cdist(told.pooled, told.pooled) + 10 * torch.eye(10)
    assert gaps.min() > 0.1
    with pytest.raises(InputError, match=r"no class 'airplane' in it; there are .*'airliner'"):
        make(SHARED / "clip_vitb32_text_imagenet.npz", class_names=("airplane",))
