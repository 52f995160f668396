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

from synesthete.evaluation.recognizers import AT_HAND, WhisperRecognizer, level, local_whisper
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
    letters = sorted({*"".join(TAUGHT.values()), "Ġ", "."})  # Ġ: a space, in byte pairs
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
            [*([3, 4] if several else []), 2, *(vocabulary[letter] for letter in f"Ġ{word}"), 0]
            for word in TAUGHT.values()
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
    if several:
        (place / "several").touch()
    processor.save_pretrained(place)
    return place


def test_it_writes_down_what_it_learned(folder):
    listener = WhisperRecognizer(str(folder))
    calls = []
    clips = torch.stack([tone(3000), tone(200), tone(3000, 0.05), torch.zeros(SAMPLE_RATE // 2)])
    heard = listener.recognize_all(clips, SAMPLE_RATE, lambda *call: calls.append(call))
    assert heard == ["seven", "two", "seven", ""]
    assert calls == [(4, 4)]


def listen(folder):
    """transformers leaves out of what it saves what was changed of how it generates."""
    listener = WhisperRecognizer(str(folder))
    listener.model.generation_config.is_multilingual = (folder / "several").exists()
    return listener


def test_of_the_phrases_it_is_given_it_chooses_what_it_learned(folder):
    listener = listen(folder)
    clips = torch.stack([tone(3000), tone(200), torch.zeros(SAMPLE_RATE // 2)])
    calls = []
    found = listener.log_likelihoods(clips, SAMPLE_RATE, ["two", "wet", "seven"], lambda *call: calls.append(call))
    assert found.argmax(dim=1)[:2].tolist() == [2, 0]
    assert found[2].tolist() == [-torch.inf] * 3
    assert calls[-1] == (3, 3)


def test_a_phrase_is_as_likely_as_its_tokens_by_hand(folder):
    """One token after the other, each after the sound and those before it; phrases together as alone."""
    listener = listen(folder)
    found = listener.log_likelihoods(tone(3000)[None], SAMPLE_RATE, ["two", "seven"])
    sound = level(tone(3000), SAMPLE_RATE)
    features = listener.processor(sound, sampling_rate=16_000, return_tensors="pt").input_features
    start = [1, 3, 4, 2] if listener.knows_languages else [1, 2]
    for phrase, value in zip(("two", "seven"), found[0].tolist(), strict=True):
        means = []
        for written in (f"Ġ{phrase}", f"Ġ{phrase.capitalize()}."):
            known = listener.processor.tokenizer.get_vocab()
            ids = [known[letter] for letter in written if letter in known]  # of capitals there are none
            tokens, total = list(start), 0.0
            for each in (*ids, 0):
                with torch.no_grad():
                    logits = listener.model(features, decoder_input_ids=torch.tensor([tokens])).logits
                total += logits[0, -1].log_softmax(0)[each].item()
                tokens.append(each)
            means.append(total / (len(ids) + 1))
        assert value == pytest.approx(max(means), abs=1e-4)
        assert listener.log_likelihoods(tone(3000)[None], SAMPLE_RATE, [phrase]).item() == pytest.approx(
            value, abs=1e-4
        )


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
