"""A small text encoder of the words in its captions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synesthete.conditioning.learned_encoders import TextTransformer, words_of
from synesthete.types import InputError

CAPTIONS = ("a handwritten digit", "A digit, written by hand.", "somebody's digit")


def make(**fields) -> TextTransformer:
    torch.manual_seed(0)
    return TextTransformer(**{"captions": CAPTIONS, "width": 32, "num_tokens": 8} | fields).eval()


def test_its_vocabulary_is_the_words_of_its_captions():
    assert make().vocabulary == ["a", "by", "digit", "hand", "handwritten", "somebody's", "written"]
    assert words_of("A cat's  bowl -- 3 times!") == ["a", "cat's", "bowl", "3", "times"]
    assert make(captions=tuple(reversed(CAPTIONS))).vocabulary == make().vocabulary


def test_case_and_punctuation_make_no_difference():
    words = make()
    assert torch.equal(words.tokenise(["A DIGIT, by hand"]), words.tokenise(["a digit by hand!"]))


@given(st.lists(st.sampled_from(make().vocabulary), max_size=7))
def test_the_mask_keeps_the_start_and_the_words(text):
    words = make()
    ids = words.tokenise([" ".join(text)])
    tokens, mask = words.read(ids)
    assert mask.sum().item() == 1 + len(text)
    assert tokens.shape == (1, 8, 32) and tokens.isfinite().all()
    assert ids[0, mask[0]].tolist() == [1, *(2 + words.vocabulary.index(word) for word in text)]


def test_numbers_of_captions_are_their_words():
    words = make()
    numbered, written = words.read(torch.tensor([2, 0])), words.read(words.tokenise([CAPTIONS[2], CAPTIONS[0]]))
    assert torch.equal(numbered[0], written[0]) and torch.equal(numbered[1], written[1])


def test_what_a_text_says_depends_on_its_words_and_their_order_and_on_no_padding():
    words = make()
    tokens, mask = words.read(words.tokenise(["a written hand", "a hand written", "a written digit"]))
    assert (tokens[0, 0] - tokens[1, 0]).abs().max() > 1e-3  # the start sees the words, and where they stand
    assert (tokens[0, 0] - tokens[2, 0]).abs().max() > 1e-3
    changed = words.places.data
    changed[4:] += 1  # of the padding
    again, _ = words.read(words.tokenise(["a written hand"]))
    torch.testing.assert_close(again[0, mask[0]], tokens[0, mask[0]])


def test_a_batch_equals_its_singles():
    words = make()
    ids = words.tokenise([*CAPTIONS, ""])
    together, _ = words.read(ids)
    for i in range(len(ids)):
        torch.testing.assert_close(words.read(ids[i : i + 1])[0][0], together[i], rtol=1e-5, atol=1e-6)


def test_every_parameter_learns():
    words = make().train()
    tokens, mask = words.read(words.tokenise([*CAPTIONS, "a by written hand digit handwritten somebody's"]))
    (tokens[mask] * torch.randn_like(tokens[mask])).sum().backward()
    for name, parameter in words.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("fields", "text", "named"),
    [
        ({}, "a handwriten digit", "has never read 'handwriten'; did you mean 'handwritten'\\?$"),
        ({}, "a zebra", "prompt 'a zebra': this model has never read 'zebra'; it knows a, by, digit"),
        ({}, "a a a a a a a a", "8 words, this model reads 7; shorten it"),
        ({"captions": ()}, "a digit", "has never read 'a'; it reads no text but the empty one$"),
    ],
)
def test_what_cannot_be_read_is_one_line(fields, text, named):
    with pytest.raises(InputError, match=named) as caught:
        make(**fields).tokenise(["", text])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (torch.tensor([3]), r"caption \[3\]: out of range; this model has 0 to 2"),
        (torch.zeros(2, 7, dtype=torch.int64), r"token ids of \(2, 7\); this model reads \(B, 8\) from 0 to 8"),
        (torch.full((1, 8), 9), "from 0 to 8"),
    ],
)
def test_ids_of_another_model_are_one_line(text, named):
    with pytest.raises(InputError, match=named):
        make().read(text)


def test_a_saved_one_reads_the_same(tmp_path):
    words = make()
    words.save_pretrained(tmp_path)
    again = TextTransformer.from_pretrained(tmp_path)
    ids = words.tokenise(CAPTIONS)
    assert torch.equal(again.tokenise(CAPTIONS), ids)
    assert torch.equal(again.read(ids)[0], words.read(ids)[0])
    assert torch.equal(again.read(torch.tensor([1]))[0], words.read(ids[1:2])[0])
