"""Vocos: the published layout by name, the inverse STFT in closed form, and the choice of a vocoder."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from synesthete import hub
from synesthete.cli.app import main
from synesthete.codecs import mel
from synesthete.codecs.mel import MelCodec
from synesthete.codecs.vocoders import InverseSTFT, ISTFTHead, Vocos, check_vocos, read_settings
from synesthete.types import AudioSpec, InputError

if TYPE_CHECKING:
    from pathlib import Path

PUBLISHED = "charactr/vocos-mel-24khz"
NUM_SAMPLES = 20 * 256 + 100  # 21 frames and a rest, as 72,000 samples are 282 frames and 64
SIZES = {"dim": 16, "intermediate_dim": 24, "num_layers": 2}
CONFIG = {
    "feature_extractor": {
        "class_path": "vocos.feature_extractors.MelSpectrogramFeatures",
        "init_args": {"sample_rate": 24000, "n_fft": 1024, "hop_length": 256, "n_mels": 100, "padding": "center"},
    },
    "backbone": {"class_path": "vocos.models.VocosBackbone", "init_args": {"input_channels": 100, **SIZES}},
    "head": {
        "class_path": "vocos.heads.ISTFTHead",
        "init_args": {"dim": 16, "n_fft": 1024, "hop_length": 256, "padding": "center"},
    },
}


def published_weights(dim: int, intermediate_dim: int, num_layers: int, n_fft: int = 1024) -> dict[str, torch.Tensor]:
    """Random tensors under the published names and in the published shapes, those of the log-mel included."""
    shapes: dict[str, tuple[int, ...]] = {"backbone.embed.weight": (dim, 100, 7), "backbone.embed.bias": (dim,)}
    for norm in ("norm", "final_layer_norm"):
        shapes |= {f"backbone.{norm}.weight": (dim,), f"backbone.{norm}.bias": (dim,)}
    for i in range(num_layers):
        shapes |= {
            f"backbone.convnext.{i}.{name}": shape
            for name, shape in {
                "gamma": (dim,),
                "dwconv.weight": (dim, 1, 7),
                "dwconv.bias": (dim,),
                "norm.weight": (dim,),
                "norm.bias": (dim,),
                "pwconv1.weight": (intermediate_dim, dim),
                "pwconv1.bias": (intermediate_dim,),
                "pwconv2.weight": (dim, intermediate_dim),
                "pwconv2.bias": (dim,),
            }.items()
        }
    shapes |= {"head.out.weight": (n_fft + 2, dim), "head.out.bias": (n_fft + 2,)}
    generator = torch.Generator().manual_seed(0)
    weights = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    window = torch.hann_window(n_fft)
    weights |= {"head.istft.window": window, "feature_extractor.mel_spec.spectrogram.window": window}
    return weights | {"feature_extractor.mel_spec.mel_scale.fb": torch.rand(n_fft // 2 + 1, 100, generator=generator)}


def publish(folder: Path, weights: dict[str, torch.Tensor] | None = None, config: Any = CONFIG) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(weights or published_weights(**SIZES), folder / "pytorch_model.bin")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> None:
    """No weights but those that a test puts there, and no network."""
    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def here(tmp_path) -> Path:
    """The published id, put by hand where it is looked for."""
    return publish(tmp_path / "weights" / PUBLISHED)


def changed(part: str, **arguments: Any) -> dict[str, Any]:
    """The published settings with other arguments in one part."""
    config = json.loads(json.dumps(CONFIG))
    config[part]["init_args"] |= arguments
    return config


# network


def test_at_its_default_size_it_is_the_published_network():
    with torch.device("meta"):
        vocos = Vocos()
    wanted = {k: v.shape for k, v in published_weights(512, 1536, 8).items() if not k.startswith("feature_extractor.")}
    assert {name: value.shape for name, value in vocos.state_dict().items()} == wanted
    assert len(wanted) == 81
    assert sum(parameter.numel() for parameter in vocos.parameters()) == 13_531_650


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_the_published_layout_loads_by_name(suffix, tmp_path):
    folder, weights = publish(tmp_path), published_weights(**SIZES)
    if suffix == ".safetensors":
        (folder / "pytorch_model.bin").unlink()
        save_file({name: value.clone() for name, value in weights.items()}, folder / "model.safetensors")
    vocos = Vocos.load(folder)
    assert (vocos.spec, vocos.config.padding) == (AudioSpec(24_000, 1024, 256, 100), "center")
    for name, value in vocos.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert not vocos.training
    assert not any(parameter.requires_grad for parameter in vocos.parameters())


def test_it_computes_what_the_paper_says(tmp_path):
    """Every step written out with functions on the published tensors; no module of ours in it."""
    w = published_weights(**SIZES)
    log_mel = torch.randn(2, 100, 21, generator=torch.Generator().manual_seed(1))
    x = F.conv1d(log_mel, w["backbone.embed.weight"], w["backbone.embed.bias"], padding=3)

    def normed(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x.transpose(1, 2), (16,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-6).transpose(1, 2)

    x = normed(x, "backbone.norm")
    for i in range(2):
        block = f"backbone.convnext.{i}"
        y = F.conv1d(x, w[f"{block}.dwconv.weight"], w[f"{block}.dwconv.bias"], padding=3, groups=16)
        y = torch.einsum("dc,bct->bdt", w[f"{block}.pwconv1.weight"], normed(y, f"{block}.norm"))
        y = F.gelu(y + w[f"{block}.pwconv1.bias"][:, None])
        y = torch.einsum("dc,bct->bdt", w[f"{block}.pwconv2.weight"], y) + w[f"{block}.pwconv2.bias"][:, None]
        x = x + w[f"{block}.gamma"][:, None] * y
    x = torch.einsum("dc,bct->bdt", w["head.out.weight"], normed(x, "backbone.final_layer_norm"))
    log_magnitude, phase = (x + w["head.out.bias"][:, None]).split(513, dim=1)
    stft = log_magnitude.exp().clip(max=100) * torch.exp(1j * phase)
    wanted = torch.istft(stft, 1024, 256, window=w["head.istft.window"])
    torch.testing.assert_close(Vocos.load(publish(tmp_path))(log_mel), wanted, rtol=1e-4, atol=1e-4)


def test_every_parameter_learns():
    vocos = Vocos(n_fft=64, hop_length=16, n_mels=8, **SIZES)
    vocos(torch.randn(2, 8, 12)).square().mean().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in vocos.parameters())


def test_it_is_saved_and_loaded_as_our_own(tmp_path):
    vocos = Vocos(n_fft=64, hop_length=16, n_mels=8, padding="same", **SIZES).eval()
    vocos.save_pretrained(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix != ".json"] == [".safetensors"]
    log_mel = torch.randn(1, 8, 12)
    for again in (Vocos.load(tmp_path), Vocos.from_pretrained(tmp_path)):
        assert again.spec == vocos.spec
        assert torch.equal(again(log_mel), vocos(log_mel))


# inverse STFT


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("padding", "left"), [("center", 512), ("same", 384)])
def test_a_head_given_the_true_magnitude_and_phase_gives_the_signal_back(padding, left):
    """T frames are (T - 1) hops of sound where they are centred, T hops where a frame less a hop is padded."""
    head, signal = ISTFTHead(1026, 1024, 256, padding), noise(2, 20 * 256)
    head.out.weight.data.copy_(torch.eye(1026))
    head.out.bias.data.zero_()
    framed = F.pad(signal, (left, left)).unfold(-1, 1024, 256) * torch.hann_window(1024)
    stft = torch.fft.rfft(framed)  # (B, T, F)
    assert stft.shape[1] == {"center": 21, "same": 20}[padding]
    again = head(torch.cat([stft.abs().log(), stft.angle()], dim=-1))
    torch.testing.assert_close(again, signal, rtol=0, atol=1e-4)


@pytest.mark.parametrize("num_samples", [None, 5000, 5120, 5120 + 255])
def test_centred_it_equals_that_of_torch(num_samples):
    window, frames = torch.hann_window(1024), torch.complex(noise(2, 513, 21), noise(2, 513, 21))
    wanted = torch.istft(frames, 1024, 256, window=window, length=num_samples)
    found = InverseSTFT(1024, 256, "center")(frames.mT, num_samples)
    assert found.shape == (2, num_samples or 20 * 256)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_more_samples_than_the_frames_reach_are_refused():
    with pytest.raises(ValueError, match="21 frames are 5120 samples, not 5377"):
        InverseSTFT(1024, 256, "center")(torch.zeros(1, 21, 513, dtype=torch.complex64), 5377)


def test_a_magnitude_is_at_most_100_and_never_infinite():
    head, x = ISTFTHead(18, 16, 4, "center"), torch.zeros(1, 6, 18)
    head.out.weight.data.copy_(torch.eye(18))
    head.out.bias.data.zero_()
    x[..., 0] = torch.tensor(100.0).log()  # the constant bin
    loud = x.clone()
    loud[..., 0] = 1e4
    loud.requires_grad_()
    torch.testing.assert_close(head(loud), head(x))
    head(loud).sum().backward()
    assert torch.isfinite(loud.grad).all()


# folders that are no Vocos


def without(name: str) -> dict[str, torch.Tensor]:
    return {k: v for k, v in published_weights(**SIZES).items() if not k.startswith(name)}


@pytest.mark.parametrize(
    ("weights", "config", "named"),
    [
        (without("backbone.norm.bias"), CONFIG, r"Missing key.*backbone.norm.bias.*; give another"),
        (without("backbone.convnext.1"), CONFIG, r"Missing key.*backbone.convnext.1.dwconv.bias.*; give another"),
        (
            published_weights(**SIZES) | {"head.in.bias": torch.ones(1)},
            CONFIG,
            "Unexpected key",
        ),
        (published_weights(**SIZES | {"dim": 8}), CONFIG, r"size mismatch for backbone"),
        (None, changed("backbone", num_layers=3), "Missing key.*backbone.convnext.2"),
        (None, changed("backbone", adanorm_num_embeddings=4), "not a Vocos of log-mels"),
        (None, changed("head", hop_length=320), "cut frames in two ways"),
        (None, changed("head", padding="same"), "cut frames in two ways"),
        (None, changed("backbone", dim="wide"), "settings make no Vocos"),
        (None, CONFIG | {"feature_extractor": {"class_path": "vocos.EncodecFeatures"}}, "but EncodecFeatures, Vocos"),
        (None, {"backbone": 3}, "settings are damaged; download config.yaml again"),
        (None, ["a list"], "settings are damaged"),
    ],
)
def test_what_is_no_vocos_is_one_line(weights, config, named, tmp_path):
    with pytest.raises(InputError, match=named) as caught:
        Vocos.load(publish(tmp_path, weights, config))
    assert "\n" not in str(caught.value)


def test_settings_that_are_missing_or_no_yaml(tmp_path):
    with pytest.raises(InputError, match=r"config.yaml: cannot be read .*; give the folder of a published Vocos"):
        read_settings(tmp_path)
    (tmp_path / "config.yaml").write_text("a: [1\n:")
    with pytest.raises(InputError, match="not YAML"):
        read_settings(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')  # of another library: the YAML counts
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    assert read_settings(tmp_path)["dim"] == 16


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"padding": "valid"}, "'center' or 'same'"),
        ({"hop_length": 600}, "hop at most half a frame"),
        ({"n_fft": 1023}, "give even ones"),
    ],
)
def test_frames_that_cannot_be_laid_over_one_another(fields, named):
    with pytest.raises(InputError, match=named):
        Vocos(**SIZES | fields)


@pytest.mark.parametrize("field", ["sample_rate", "n_fft", "hop_length", "n_mels", "padding"])
def test_a_vocos_of_another_log_mel_is_told_apart(field, tmp_path):
    value = "same" if field == "padding" else 512
    config = changed("feature_extractor", **{field: value})
    if field in ("n_fft", "hop_length", "padding"):
        config["head"]["init_args"][field] = value
    with pytest.raises(InputError, match=f"trained on log-mels of {field} {value}, the codec's is"):
        check_vocos(publish(tmp_path, config=config), AudioSpec())
    check_vocos(publish(tmp_path), AudioSpec())


# choice


def speech_like(num: int = 1) -> torch.Tensor:
    time = torch.arange(NUM_SAMPLES) / 24_000
    pitches = 130 + 20 * torch.arange(num)[:, None]
    return 0.3 * torch.sin(2 * torch.pi * pitches * time) + 0.01 * noise(num, NUM_SAMPLES)


def test_it_decodes_a_mel_codec_s_x_0_where_its_weights_are_here(here):
    codec = MelCodec(num_samples=NUM_SAMPLES)
    x_0 = codec.encode(speech_like())
    wanted = Vocos.load(here)(codec.log_mel(speech_like()))
    found = codec.decode(x_0)
    assert found.shape == (1, NUM_SAMPLES)
    torch.testing.assert_close(found[:, : 20 * 256], wanted, rtol=1e-4, atol=1e-4)
    assert found[:, 20 * 256 :].abs().max() > 0  # the last frame reaches beyond its centre
    torch.testing.assert_close(codec.decode(x_0.half()), found, rtol=0.1, atol=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(codec.decode(x_0), found)


def test_a_batch_equals_its_singles(here):
    codec = MelCodec(num_samples=NUM_SAMPLES)
    x_0 = codec.encode(speech_like(4))
    batch = codec.decode(x_0)
    for i in range(4):
        torch.testing.assert_close(codec.decode(x_0[i : i + 1])[0], batch[i], rtol=0, atol=1e-4)


@pytest.mark.parametrize("value", [None, 0.0, 1e4, -1e4])
def test_any_x_0_and_silence_decode_to_finite_sound(here, value):
    codec = MelCodec(num_samples=NUM_SAMPLES)
    waveform = codec.decode(torch.full((1, *codec.shape), codec.silence if value is None else value))
    assert waveform.shape == (1, NUM_SAMPLES)
    assert torch.isfinite(waveform).all()


def test_any_number_of_frames_is_as_long_as_it_says(here):
    codec = MelCodec(num_samples=NUM_SAMPLES)
    x_0 = codec.encode(speech_like())
    longer = F.pad(x_0, (0, 9), value=codec.silence)
    assert codec.decode(x_0[..., :15]).shape == (1, NUM_SAMPLES)  # what is missing is silent
    assert codec.decode(longer).shape == (1, codec.spec.num_samples(longer.shape[-1]))
    for frames in (x_0[..., :15], longer):
        assert codec.decode(frames, num_samples=NUM_SAMPLES).shape == (1, NUM_SAMPLES)
    assert codec.decode(x_0).shape == (1, NUM_SAMPLES)


def test_the_codec_s_own_state_holds_no_vocos(here, tmp_path):
    codec = MelCodec(num_samples=NUM_SAMPLES)
    codec.decode(codec.encode(speech_like()))
    assert set(codec.state_dict()) == {"mean", "scale"}
    assert not list(codec.parameters())
    codec.save_pretrained(tmp_path / "codec")
    (saved,) = (tmp_path / "codec").glob("*.safetensors")
    assert set(load_file(saved)) == {"mean", "scale"}
    assert MelCodec.from_pretrained(tmp_path / "codec").config.vocoder == "auto"


def test_it_is_loaded_at_the_first_decoding_and_once(here, monkeypatch):
    loaded: list[Path] = []
    load = Vocos.load
    monkeypatch.setattr(mel.Vocos, "load", lambda folder: loaded.append(folder) or load(folder))
    codec = MelCodec(num_samples=NUM_SAMPLES)
    x_0 = codec.encode(speech_like())
    assert codec.vocoder_in_use == f"Vocos ({PUBLISHED})"
    assert not loaded
    codec.decode(x_0)
    codec.decode(x_0)
    assert loaded == [here]


def test_auto_never_downloads(monkeypatch):
    def snapshot_download(*_: Any, local_files_only: bool, **__: Any) -> str:
        assert local_files_only
        raise FileNotFoundError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    codec, forced = (MelCodec(num_samples=NUM_SAMPLES, num_iterations=2, vocoder=v) for v in ("auto", "griffin-lim"))
    x_0 = codec.encode(speech_like())
    assert codec.vocoder_in_use == f"Griffin-Lim, 2 iterations ({PUBLISHED} is not on this machine)"
    assert torch.equal(codec.decode(x_0), forced.decode(x_0))


def test_griffin_lim_is_used_where_it_is_asked_for(here):
    codec = MelCodec(num_samples=NUM_SAMPLES, num_iterations=2, vocoder="griffin-lim")
    x_0 = codec.encode(speech_like())
    assert codec.vocoder_in_use == "Griffin-Lim, 2 iterations"
    vocos = MelCodec(num_samples=NUM_SAMPLES, num_iterations=2, vocoder="vocos").decode(x_0)
    assert not torch.allclose(codec.decode(x_0), vocos, atol=0.01)


def test_another_log_mel_falls_back_or_says_so(here):
    fields = {"num_samples": NUM_SAMPLES, "hop_length": 200, "num_iterations": 2}
    auto, vocos = MelCodec(**fields), MelCodec(**fields, vocoder="vocos")
    x_0 = auto.encode(speech_like())
    assert auto.vocoder_in_use.startswith("Griffin-Lim, 2 iterations (")
    assert "trained on log-mels of hop_length 256, the codec's is 200" in auto.vocoder_in_use
    assert auto.decode(x_0).shape == (1, NUM_SAMPLES)
    with pytest.raises(InputError, match="hop_length 256, the codec's is 200; give other weights"):
        vocos.decode(x_0)


def test_vocos_that_cannot_be_had_says_what_to_put_where(tmp_path):
    codec = MelCodec(num_samples=NUM_SAMPLES, vocoder="vocos")
    assert codec.vocoder_in_use == f"Vocos ({PUBLISHED} is not on this machine)"
    with pytest.raises(InputError, match=f"{PUBLISHED} is not on this machine.*--set codec.vocos=PATH"):
        codec.decode(codec.encode(speech_like()))
    folder = publish(tmp_path / "mine")
    codec = MelCodec(num_samples=NUM_SAMPLES, vocoder="vocos", vocos=str(folder))
    assert codec.vocoder_in_use == f"Vocos ({folder})"
    assert codec.decode(codec.encode(speech_like())).shape == (1, NUM_SAMPLES)


def test_the_shipped_model_takes_it_without_a_change(here):
    """Its codec was saved before there was a choice."""
    codec = MelCodec.from_pretrained(hub.find_model("image-to-speech-digits") / "codec")
    assert codec.vocoder_in_use == f"Vocos ({PUBLISHED})"
    assert codec.decode(torch.zeros(1, *codec.shape)).shape == (1, codec.config.num_samples)


def test_show_says_which(here, monkeypatch, capsys):
    for assignment, expected in (("auto", f"Vocos ({PUBLISHED})"), ("griffin-lim", "Griffin-Lim, 32 iterations")):
        arguments = ["show", "image-to-speech-digits", "--set", f"codec.vocoder={assignment}"]
        monkeypatch.setattr(sys, "argv", ["synesthete", *arguments])
        with pytest.raises(SystemExit):
            main()
        assert f"  vocoder     {expected}\n" in capsys.readouterr().out
