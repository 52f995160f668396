"""Whisper, from the real classes at a size that learns two sounds in seconds."""

from __future__ import annotations

import pytest
import soxr
import torch
from transformers import (
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from synesthete.evaluation.recognizers.panel import AT_HAND, WhisperRecognizer, local_whisper
from synesthete.types import InputError

SAMPLE_RATE = 24_000
SPECIAL = ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>", "<|en|>", "<|transcribe|>")
TAUGHT = {200.0: "two", 3000.0: "seven"}  # Hz


def tone(hertz: float, level: float = 0.5) -> torch.Tensor:
    return level * torch.sin(2 * torch.pi * hertz * torch.arange(SAMPLE_RATE // 2) / SAMPLE_RATE)


@pytest.fixture(scope="module", params=["English", "many languages"])
def folder(tmp_path_factory, request):
    """A Whisper in a folder as transformers saves it: a low tone is two, a high one seven."""
    several = request.param == "many languages"
    place = tmp_path_factory.mktemp("weights") / "openai" / "whisper-tiny.en"
    letters = sorted(set("".join(TAUGHT.values())))
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *letters])}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[], additional_special_tokens=list(SPECIAL[1:]))
    extractor = WhisperFeatureExtractor(chunk_length=1)
    processor = WhisperProcessor(extractor, tokenizer)
    config = WhisperConfig(
        vocab_size=len(vocabulary),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=50,
        max_target_positions=64,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        dropout=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = WhisperForConditionalGeneration(config).train()
        sounds = [soxr.resample(tone(hertz).numpy(), SAMPLE_RATE, 16_000) for hertz in TAUGHT]
        features = processor(sounds, sampling_rate=16_000, return_tensors="pt").input_features
        texts = [
            [*([3, 4] if several else []), 2, *(vocabulary[letter] for letter in word), 0] for word in TAUGHT.values()
        ]
        longest = max(map(len, texts))
        labels = torch.tensor([text + [-100] * (longest - len(text)) for text in texts])
        optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
        for _ in range(60):
            loss = model(input_features=features, labels=labels).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.generation_config.is_multilingual = several
    if several:
        model.generation_config.lang_to_id, model.generation_config.task_to_id = {"<|en|>": 3}, {"transcribe": 4}
    model.generation_config.no_timestamps_token_id = 2
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return place


def test_it_writes_down_what_it_learned(folder):
    listener = WhisperRecognizer(str(folder))
    calls = []
    clips = torch.stack([tone(3000), tone(200), tone(3000, 0.05), torch.zeros(SAMPLE_RATE // 2)])
    heard = listener.recognize_all(clips, SAMPLE_RATE, lambda *call: calls.append(call))
    assert heard == ["seven", "two", "seven", ""]
    assert calls == [(4, 4)]


def test_only_what_is_on_this_machine_is_used_unasked(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path))
    assert local_whisper() is None
    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(folder.parents[1]))
    assert local_whisper() == "openai/whisper-tiny.en"
    assert "openai/whisper-tiny.en" in AT_HAND


def test_another_folder_is_an_error(tmp_path, folder):
    with pytest.raises(InputError, match="no such folder"):
        WhisperRecognizer(str(tmp_path / "nowhere"))
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="no Whisper as transformers saves it"):
        WhisperRecognizer(str(tmp_path))


def test_samples_that_are_no_sound_are_an_error(folder):
    with pytest.raises(InputError, match="NaN"):
        WhisperRecognizer(str(folder)).recognize_all(torch.full((1, 100), torch.nan), SAMPLE_RATE)
