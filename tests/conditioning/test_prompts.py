"""Prompts as Stable Diffusion reads them: all 77 last hidden states of its frozen CLIP."""

from __future__ import annotations

import copy
import shutil

import huggingface_hub
import pytest
import torch
from stable_diffusion_texts import NUM_TOKENS, write_texts
from text_towers import write_text_tower
from transformers import CLIPTextModel, CLIPTokenizer

from synesthete import hub
from synesthete.conditioning import clip_text
from synesthete.conditioning.clip_text import BASES, PATTERNS, ClipPrompts, PromptTower
from synesthete.conditioning.clip_text import PROMPT_FIELD as FIELD
from synesthete.types import InputError

PROMPTS = ["a cat", "a photo of a small dog", "", "of"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """To be read only."""
    return write_texts(tmp_path_factory.mktemp("base"))


def make(folder, **fields) -> ClipPrompts:
    return ClipPrompts(str(folder), **fields)


def one_line(caught: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_reads_what_the_published_classes_read(folder):
    """As in diffusers' own pipeline: padded to 77, no mask, the states behind the last norm."""
    reader = make(folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    written = tokenizer(PROMPTS, padding="max_length", max_length=NUM_TOKENS, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = torch.cat([encoder(ids[None])[0] for ids in written])
    assert torch.equal(reader.tokenise(PROMPTS), written)
    tokens, mask = reader.read(written)
    assert torch.equal(tokens, expected)
    assert tokens.shape == (4, 77, reader.width) and mask.shape == (4, 77) and mask.all()
    assert torch.pdist(tokens.flatten(1)).min() > 1e-2


def test_a_batch_equals_its_singles_to_the_bit(folder):
    ids = make(folder).tokenise(PROMPTS)
    together, _ = make(folder).read(ids)
    for i in (2, 0, 3, 1):
        assert torch.equal(make(folder).read(ids[i : i + 1])[0][0], together[i])


def test_numbers_of_captions_are_their_prompts(folder):
    reader = make(folder, captions=("a cat", "a photo of a dog"))
    found, _ = reader.read(torch.tensor([1, 0, 1]))
    assert torch.equal(found, reader.read(reader.tokenise(["a photo of a dog", "a cat", "a photo of a dog"]))[0])


def test_a_prompt_is_read_once_and_a_few_hundred_are_remembered(folder, monkeypatch):
    reader, read = make(folder), []
    true = PromptTower._state
    monkeypatch.setattr(clip_text, "REMEMBERED", 3)
    monkeypatch.setattr(PromptTower, "_state", lambda self, ids, device: read.append(1) or true(self, ids, device))
    ids = reader.tokenise(["a", "b", "c", "d"])
    for rows, count in ((ids[[0, 0, 1]], 2), (ids[:3], 3), (ids, 4), (ids[1:], 4), (ids[:1], 5)):
        reader.read(rows)
        assert len(read) == count
        assert len(reader.tower._said) <= 3


@pytest.mark.parametrize("kind", ["text", "unprojected", "whole"])
def test_a_clip_alone_is_read_too(tmp_path, kind):
    reader = make(write_text_tower(tmp_path / "clip", kind), num_tokens=32)
    assert reader.read(reader.tokenise(["a cat"]))[0].shape == (1, 32, reader.width) == (1, 32, 16)


def test_it_asks_for_no_gradient_and_copies_share_it(folder):
    reader = make(folder).train()
    tokens, _ = reader.read(reader.tokenise(["a cat"]))
    assert not tokens.requires_grad and list(reader.parameters()) == []
    assert copy.deepcopy(reader).tower is reader.tower
    with torch.autocast("cpu", torch.bfloat16):  # as in training
        assert torch.equal(make(folder).read(reader.tokenise(["a cat"]))[0], tokens)


def test_of_a_base_on_the_hub_only_what_reads_text_is_fetched(folder, monkeypatch):
    asked = []

    def snapshot_download(repository, **options):
        if options["local_files_only"]:
            raise FileNotFoundError("not in the cache")
        asked.append((repository, options["allow_patterns"]))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    reader = make("somebody/paints")
    assert reader.width == 16
    assert torch.equal(reader.tokenise(PROMPTS), make(folder).tokenise(PROMPTS))
    assert torch.equal(reader.read(reader.tokenise(["a cat"]))[0], make(folder).read(reader.tokenise(["a cat"]))[0])
    assert asked == [("somebody/paints", list(PATTERNS))]


@pytest.mark.parametrize("model", [*BASES, "openai/clip-vit-large-patch14"])
def test_a_known_model_is_made_without_a_look_at_the_disk(model, monkeypatch):
    def deaf(*_, **__):
        raise AssertionError("the disk was asked")

    for asked in ("find_weights", "local_weights", "download"):
        monkeypatch.setattr(hub, asked, deaf)
    assert ClipPrompts(model).width == BASES.get(model, 768)


def test_a_base_that_cannot_be_had_is_one_line(monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise OSError("no connection")

    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(InputError) as caught:
        ClipPrompts().tokenise([""])
    assert one_line(caught).startswith(f"{next(iter(BASES))} is not on this machine and the Hub cannot be reached")
    assert f"--set {FIELD}=PATH" in one_line(caught)


def test_what_an_interrupted_download_left_is_not_taken_for_the_whole(folder, tmp_path, monkeypatch, kept_by_the_hub):
    kept_by_the_hub("somebody/paints")
    online, left = False, tmp_path / "snapshot"
    shutil.copytree(folder / "tokenizer", left / "tokenizer")

    def snapshot_download(repository, **options):
        if not options["local_files_only"]:
            if not online:
                raise OSError("no connection")
            shutil.copytree(folder / "text_encoder", left / "text_encoder")
        return str(left)

    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(InputError, match="somebody/paints is not on this machine") as caught:
        make("somebody/paints")
    assert one_line(caught).endswith("has no text_encoder/config.json and no text_encoder/model.safetensors")
    online = True
    assert make("somebody/paints").tokenise(["a cat"]).shape == (1, NUM_TOKENS)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (
            lambda f: (f / "text_encoder/config.json").write_text('{"model_type": "bert"}'),
            "text encoder (a bert); give",
        ),
        (lambda f: (f / "text_encoder/model.safetensors").write_bytes(b"none"), "cannot be read as a CLIP text enc"),
        (lambda f: (f / "text_encoder/config.json").unlink(), "no text_encoder/config.json in it, nor a CLIP; give"),
        (lambda f: (f / "text_encoder/model.safetensors").unlink(), "no text_encoder/model.safetensors in it, nor a"),
        (
            lambda f: (f / "text_encoder/model.safetensors").rename(f / "text_encoder/pytorch_model.bin"),
            "text_encoder: only .bin files, which hold more than tensors; put model.safetensors there, or give another",
        ),
        (lambda f: shutil.rmtree(f / "tokenizer"), "no tokenizer.json or vocab.json in it"),
    ],
)
def test_damaged_files_are_one_line(folder, tmp_path, damage, named):
    base = shutil.copytree(folder, tmp_path / "base")
    damage(base)
    with pytest.raises(InputError) as caught:
        make(base).read(make(base).tokenise(["a cat"]))
    assert named in one_line(caught)
    assert "--set" not in one_line(caught) or FIELD in one_line(caught)


@pytest.mark.parametrize(
    ("fields", "text", "named"),
    [
        ({}, "x " * 76, r"prompt 'x x .*\.\.\.': 78 tokens of .*, this model reads 77; shorten it$"),
        ({"num_tokens": 4}, "a cat of a", "6 tokens of .*, this model reads 4; shorten it$"),
        ({"num_tokens": 80}, "a cat", "reads 77 tokens; --set conditioner.text.num_tokens=77"),
        ({}, torch.zeros(1, 5, dtype=torch.int64), r"token ids of \(1, 5\); this model reads \(B, 77\)"),
        ({}, torch.tensor([0]), r"caption \[0\]: out of range; this model has none; give it prompts"),
    ],
)
def test_what_cannot_be_read_is_one_line(folder, fields, text, named):
    reader = make(folder, **fields)
    with pytest.raises(InputError, match=named) as caught:
        reader.read(text if isinstance(text, torch.Tensor) else reader.tokenise([text]))
    one_line(caught)


def test_its_config_has_the_width(folder):
    assert make(folder).fields["encoder_width"] == 16
