"""What sounds are compared by: log-mel statistics, and CLAP as transformers writes it."""

from __future__ import annotations

import pytest
import torch
from players import RATE, chord, low_passed, music_samples

from synesthete.evaluation.features import CLAP, ClapFeatures, SpectrumFeatures, find_features
from synesthete.evaluation.metrics.distribution import frechet
from synesthete.types import InputError


@pytest.fixture(scope="module")
def real():
    return music_samples(range(6)).waveforms


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    """A CLAP of the published layout with random weights, small enough to make here."""
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    folder = tmp_path_factory.mktemp("clap") / "tiny-clap"
    audio = {
        "spec_size": 64,
        "num_mel_bins": 16,
        "window_size": 2,
        "patch_size": 4,
        "patch_stride": [4, 4],
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "patch_embeds_hidden_size": 8,
        "hidden_size": 16,
        "projection_dim": 8,
        "enable_fusion": False,
    }
    text = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 8, "max_position_embeddings": 20, "projection_dim": 8}
    torch.manual_seed(0)
    ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=8)).save_pretrained(folder)
    ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=16_000,
        hop_length=160,
        max_length_s=2,
        fft_window_size=512,
        frequency_max=8000,
        truncation="rand_trunc",
        padding="repeatpad",
    ).save_pretrained(folder)
    return folder


def test_statistics_of_a_spectrum_tell_dull_sounds(real):
    features = find_features("spectrum", None, sample_rate=RATE, real=real)
    assert features.name == "log-mel statistics"
    found = features(real)
    assert found.shape == (len(real), 128)
    assert found.mean(dim=0).abs().max() < 1e-4
    assert frechet(found, found) < 1e-6
    assert frechet(found, features(low_passed(real, 1000))) > 10
    torch.testing.assert_close(features(real[:3]), found[:3])


def test_auto_is_the_spectrum_where_there_is_no_classifier(real):
    assert isinstance(find_features("auto", None, sample_rate=RATE, real=real), SpectrumFeatures)


def test_clap_hears_every_sound_alone(clap, real):
    features = find_features(str(clap), None, sample_rate=RATE, real=real)
    assert isinstance(features, ClapFeatures)
    assert features.name == "tiny-clap"
    found = features(real[:4])
    assert found.shape == (4, 8)
    assert found.norm(dim=1).tolist() == pytest.approx([1] * 4, abs=1e-5)
    torch.testing.assert_close(torch.cat([features(real[i : i + 1]) for i in range(4)]), found, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found[0], found[-1])
    longer = features(chord(440.0, seconds=3.0))  # than it listens to: cut, not drawn at random
    assert torch.equal(longer, features(chord(440.0, seconds=3.0)))


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ("classifier", "no classifier to describe sounds by"),
        ("nowhere", "no features 'nowhere'; give auto, classifier, spectrum, clap"),
        ("clap", CLAP),
    ],
)
def test_what_is_not_there_is_one_line(choice, reason, real, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=reason) as raised:
        find_features(choice, None, sample_rate=RATE, real=real)
    assert "\n" not in str(raised.value)


def test_a_folder_of_something_else_is_refused(tmp_path, real):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="--features takes"):
        find_features(str(tmp_path), None, sample_rate=RATE, real=real)
