"""A frozen Whisper: it hears what the published classes hear, in as many seconds as it is told to; never trained."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from synesthete.conditioning.frozen_sound import Whisper, WhisperTower
from synesthete.types import InputError

RATE, WIDTH = 16_000, 16


def write_whisper(folder, seed: int = 0):
    """One of two small layers with random weights, laid out as the published ones."""
    torch.manual_seed(seed)
    sides = {f"{side}_{what}": number for side in ("encoder", "decoder") for what, number in
             {"layers": 2, "attention_heads": 2, "ffn_dim": 24}.items()}  # fmt: skip
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    config = WhisperConfig(vocab_size=8, d_model=WIDTH, num_mel_bins=80, init_std=0.3, **sides, **tokens)
    WhisperModel(config).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """To be read only."""
    return write_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SYNESTHETE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "whisper"


def clip(seconds: float, seed: int = 0, rate: int = RATE) -> torch.Tensor:
    """A tone that rises, in noise."""
    time = torch.arange(round(seconds * rate)) / rate
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(seed))
    return 0.3 * torch.sin(2 * torch.pi * (200 + 150 * seed + 200 * time) * time) + 0.02 * noise


def test_it_hears_what_the_published_classes_hear(folder):
    samples = clip(1.5)
    extractor, encoder = WhisperFeatureExtractor.from_pretrained(folder), WhisperModel.from_pretrained(folder).encoder
    said = []
    for sound in (samples.numpy(), torch.zeros(RATE).numpy()):
        read = extractor(sound, sampling_rate=RATE, return_tensors="pt")
        with torch.no_grad():
            frames = encoder.eval()(read["input_features"]).last_hidden_state[0]
        said.append(torch.stack([frames.mean(dim=0), frames.amax(dim=0)]))
    halves = torch.nn.functional.normalize(said[0] - said[1], dim=1)
    expected = torch.nn.functional.normalize(halves.flatten(), dim=0)
    found = Whisper(str(folder)).embed(samples[None])
    assert found.shape == (1, 2 * WIDTH)
    torch.testing.assert_close(found[0], expected)


def test_seconds_decide_what_is_heard(folder):
    short = Whisper(str(folder), seconds=2)
    one, other = clip(4.0), clip(4.0)
    other[2 * RATE :] = clip(2.0, 9)
    assert torch.equal(*short.embed(torch.stack([one, other])))
    assert not torch.equal(*Whisper(str(folder), seconds=4).embed(torch.stack([one, other])))
    assert short.tower.network.embed_positions.num_embeddings == 100  # of 1,500
    with pytest.raises(InputError, match=r"conditioner\.sound\.seconds 31"):
        Whisper(str(folder), seconds=31)


def test_a_batch_equals_its_singles_to_the_bit(folder):
    whisper = Whisper(str(folder), seconds=2)
    clips = [clip(1.0, 1), clip(0.4, 2), torch.zeros(100)]
    together = whisper.embed(torch.stack([torch.nn.functional.pad(one, (0, RATE - len(one))) for one in clips]))
    for one, found in zip(clips, together, strict=True):
        assert torch.equal(whisper.embed(one[None])[0], found)
    assert together.isfinite().all()
    assert torch.pdist(together).min() > 1e-3


def test_what_was_heard_is_kept_by_rate_and_seconds(folder, cache):
    sounds = clip(1.0)[None]
    for count, fields in enumerate(({}, {"sample_rate": 8000}, {"sample_rate": 8000, "seconds": 3}), 1):
        whisper = Whisper(str(folder), **{"seconds": 2} | fields)
        first = whisper.embed(sounds, keep=True)
        assert len(list(cache.iterdir())) == count
        assert torch.equal(whisper.embed(sounds, keep=True), first)
        assert whisper.identity()["seconds"] == whisper.config.seconds


def test_it_is_not_trained_nor_saved(folder):
    whisper = Whisper(str(folder), seconds=2)
    whisper.train()
    assert not whisper.embed(clip(0.5)[None].requires_grad_()).requires_grad
    assert list(whisper.parameters()) == []
    again = Whisper(**whisper.config)
    assert again.width == 2 * WIDTH and "folder" not in again.tower.__dict__  # no file was asked for


@pytest.mark.parametrize("model", list(WhisperTower.known))
def test_a_known_model_is_made_without_a_look_at_the_disk(model):
    assert Whisper(model).width == WhisperTower.known[model]


@pytest.mark.parametrize(
    ("file", "contents", "named"),
    [
        ("config.json", json.dumps({"model_type": "bert"}), "a Whisper (a bert)"),
        ("model.safetensors", "none", "a Whisper"),
        ("preprocessor_config.json", "{", "a Whisper"),
    ],
)
def test_damaged_files_are_one_line(tmp_path, file, contents, named):
    (write_whisper(tmp_path) / file).write_text(contents)
    with pytest.raises(InputError) as caught:
        Whisper(str(tmp_path)).embed(clip(0.5)[None])
    assert named in str(caught.value) and "\n" not in str(caught.value)


def test_of_silence_nothing_is_heard(folder):
    whisper = Whisper(str(folder), seconds=2)
    assert not whisper.embed(torch.zeros(1, 0)).any()
    assert not whisper.embed(torch.zeros(1, 500)).any()
