"""What a published CLIP and CLAP make of pictures and sounds, and what is said where they are not here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hearers import COLOURS, RATE, paired
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPImageProcessor, PreTrainedTokenizerFast

from synesthete.tasks.audio_to_image.eval_conditions import Answers, draw_conditions
from synesthete.tasks.audio_to_image.similarity import clip_clap_scores, zero_shot

sys.path.append(str(Path(__file__).parents[2] / "conditioning"))

from claps import TEXT, write_clap
from text_towers import write_text_tower

QUIET = lambda *_: None  # noqa: E731


@pytest.fixture(scope="module")
def answers():
    conditions = draw_conditions(paired("test", 4, 0), COLOURS, 16, 0)
    made = SimpleNamespace(signal=conditions.samples.pictures[conditions.pictures])
    return Answers("held-out takes", conditions, made, conditions.labels, 1.0, 4, 0)


def test_what_fits_its_name_is_at_the_ceiling_and_noise_at_chance(answers):
    labels = answers.conditions.labels
    right = torch.eye(4)[labels]
    share, cosine = zero_shot("CLIP (", right, labels, answers, right)
    assert (share.value, share.ceiling, share.chance) == (1, 1, 0.25)
    assert (cosine.value, cosine.ceiling) == (1, 1)
    assert cosine.chance == 0.25
    wrong = torch.eye(4)[(labels + 1) % 4]
    share, cosine = zero_shot("CLIP (", wrong, labels, answers, right)
    assert share.value == cosine.value == 0
    assert share.ceiling == 1


def test_weights_that_are_here_are_asked(answers, tmp_path):
    clip, clap = write_text_tower(tmp_path / "clip", "whole"), write_clap(tmp_path / "clap")
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(clip)
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 2, "the": 3, "sound": 4, "red": 5, "blue": 6}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>").save_pretrained(clap)
    assert TEXT["vocab_size"] > 6
    metrics, notes = clip_clap_scores(answers, COLOURS, RATE, QUIET, clip=str(clip), clap=str(clap))
    assert not notes
    assert [metric.title.split(" (")[0] for metric in metrics] == [
        "class accuracy by CLIP, pictures",
        "cosine to the class's name by CLIP, pictures",
        "class accuracy by CLAP, sounds",
        "cosine to the class's name by CLAP, sounds",
    ]
    assert all(-1 <= metric.value <= 1 for metric in metrics)
    assert metrics[0].value == metrics[0].ceiling  # what was "painted" are the real pictures


def test_weights_that_are_not_here_are_named(answers):
    metrics, notes = clip_clap_scores(answers, COLOURS, RATE, QUIET)
    assert not metrics
    assert len(notes) == 2
    assert "openai/clip-vit-base-patch32 is not on this machine" in notes[0]
