"""Prompts of words that were learned, of emoji, and of what was never read."""

from __future__ import annotations

import logging

import pytest
import torch

from synesthete.conditioning.learned_encoders import Words, spelled
from synesthete.types import InputError

KNOWN = ("food", "red", "apple", "tiger", "a", "with", "smile")


@pytest.fixture(scope="module")
def words() -> Words:
    torch.manual_seed(0)
    return Words(KNOWN, width=16, num_tokens=6, num_heads=2).eval()


def test_an_emoji_is_read_as_its_name(words):
    assert spelled("\N{RED APPLE}!").split() == ["red", "apple", "!"]
    assert torch.equal(
        words.extract_features(["\N{RED APPLE}"]), words.extract_features(["a red apple"])[:, [0, 2, 3, 4, 5, 5]]
    )


def test_a_number_is_its_caption_and_the_empty_prompt_the_null(words):
    assert torch.equal(words.extract_features(torch.tensor([2])), words.extract_features(["Apple"]))
    null, empty = words.null(2), words.encode(["", " "])
    torch.testing.assert_close(null.pooled, empty.pooled)
    assert empty.mask.sum() == 2


def test_an_unknown_word_is_left_out_and_said_with_the_nearest(words, caplog):
    with caplog.at_level(logging.WARNING, "synesthete"):
        ids = words.extract_features(["a cyan aple with smile"])
    assert torch.equal(ids, words.extract_features(["a with smile"]))
    assert "'cyan', 'aple' (near: apple)" in caplog.text


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("word " * 300, "300 words, this model reads 5"),
        ("قطة حمراء", "never read"),
        ("\N{ROCKET}", "never read 'rocket'"),
        ("!?", "never read a word in it"),
    ],
)
def test_a_prompt_that_says_nothing_is_refused_in_a_short_line(words, prompt, says):
    with pytest.raises(InputError, match=says) as caught:
        words.extract_features([prompt])
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


def test_every_parameter_learns(words):
    told = words.encode(["a red apple", "tiger"])
    (told.tokens.square().mean() + told.pooled.square().mean()).backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in words.parameters())
