"""HiFi-GAN: the published layout by name, its own log-mel, and the choice of it as a vocoder."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import librosa
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from synesthete.codecs.mel import MelCodec
from synesthete.codecs.vocoders import HifiGan
from synesthete.types import AudioSpec, InputError

if TYPE_CHECKING:
    from pathlib import Path

CONFIG: dict[str, Any] = {
    "resblock": "1",
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "upsample_initial_channel": 8,
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5]],
    "num_mels": 10,
    "n_fft": 64,
    "hop_size": 8,
    "win_size": 64,
    "sampling_rate": 8000,
    "fmin": 0,
    "fmax": 3000,
}
SPEC = AudioSpec(8000, 64, 8, 10, "slaney", 3000)
FITS = {"sample_rate": 8000, "n_fft": 64, "hop_length": 8, "n_mels": 10, "mel_scale": "slaney", "fmax": 3000}
NUM_SAMPLES = 20 * 8 + 7  # 21 frames, and as much of a rest as there can be


def published_weights() -> dict[str, torch.Tensor]:
    """Random tensors under the published names and in the published shapes, with weight norm."""
    chance = torch.Generator().manual_seed(0)
    shapes = {"conv_pre": (8, 10, 7), "conv_post": (1, 2, 7), "ups.0": (8, 4, 8), "ups.1": (4, 2, 4)}
    for place, width in ((0, 4), (1, 4), (2, 2), (3, 2)):
        for layer in range(3):
            for kind in ("convs1", "convs2"):
                shapes[f"resblocks.{place}.{kind}.{layer}"] = (width, width, (3, 5)[place % 2])
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}.weight_v"] = torch.randn(shape, generator=chance)
        weights[f"{name}.weight_g"] = torch.rand(shape[0], 1, 1, generator=chance) + 0.5
        outputs = shape[1] if name.startswith("ups") else shape[0]
        weights[f"{name}.bias"] = 0.1 * torch.randn(outputs, generator=chance)
    return weights


def publish(folder: Path, name: str = "g_02500000", config: Any = CONFIG, **changed: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    weights = published_weights() | changed
    if name.endswith(".safetensors"):
        save_file(weights, folder / name)
    else:
        torch.save({"generator": weights}, folder / name)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def as_published(log_mel: torch.Tensor) -> torch.Tensor:
    """The generator of section 2.2 in plain functions: (B, 10, T) -> (B, 8 T)."""
    w = published_weights()

    def weight(name: str) -> torch.Tensor:
        v = w[f"{name}.weight_v"]
        return w[f"{name}.weight_g"] * v / v.flatten(1).norm(dim=1).view(-1, 1, 1)

    def convolve(x: torch.Tensor, name: str, dilation: int = 1) -> torch.Tensor:
        k = weight(name)
        return F.conv1d(x, k, w[f"{name}.bias"], padding=dilation * (k.shape[-1] - 1) // 2, dilation=dilation)

    x = convolve(log_mel, "conv_pre")
    for i, (rate, kernel) in enumerate(((4, 8), (2, 4))):
        x = F.leaky_relu(x, 0.1)
        x = F.conv_transpose1d(x, weight(f"ups.{i}"), w[f"ups.{i}.bias"], rate, (kernel - rate) // 2)
        total = torch.zeros(())
        for j in (2 * i, 2 * i + 1):
            y = x
            for layer, dilation in enumerate((1, 3, 5)):
                inner = convolve(F.leaky_relu(y, 0.1), f"resblocks.{j}.convs1.{layer}", dilation)
                y = y + convolve(F.leaky_relu(inner, 0.1), f"resblocks.{j}.convs2.{layer}")
            total = total + y
        x = total / 2
    return convolve(F.leaky_relu(x), "conv_post").tanh()[:, 0]


@pytest.mark.parametrize("name", ["g_02500000", "generator_universal.pth.tar", "generator.safetensors"])
def test_the_published_layout_decodes_what_its_own_log_mel_says(name, tmp_path):
    """The mel is librosa's, Slaney's with area norm up to fmax; what is made of a frame lies around its centre."""
    publish(tmp_path, name)
    codec = MelCodec(NUM_SAMPLES, vocoder="hifigan", hifigan=str(tmp_path), **FITS)
    sound = 0.1 * torch.randn(2, NUM_SAMPLES, generator=torch.Generator().manual_seed(1))
    sound[:, 90:] = 0  # under the floor
    stft = torch.stft(sound, 64, 8, window=torch.hann_window(64), pad_mode="reflect", return_complex=True)
    bands = torch.from_numpy(librosa.filters.mel(sr=8000, n_fft=64, n_mels=10, fmin=0, fmax=3000))
    log_mel = (bands @ stft.abs()).clamp(min=1e-5).log()
    assert log_mel.min() == pytest.approx(math.log(1e-5))
    wanted = as_published(F.pad(log_mel, (0, 1), value=math.log(1e-5)))[:, 4 : 4 + NUM_SAMPLES]
    assert wanted.std() > 0.01
    torch.testing.assert_close(codec.decode(codec.encode(sound)), wanted, rtol=1e-3, atol=1e-4)
    assert codec.vocoder_in_use == f"HiFi-GAN ({tmp_path})"
    assert set(codec.state_dict()) == {"mean", "scale"}


def test_any_number_of_frames_is_as_long_as_it_says(tmp_path):
    codec = MelCodec(NUM_SAMPLES, vocoder="hifigan", hifigan=str(publish(tmp_path) / "g_02500000"), **FITS)
    x_0 = torch.full((1, 1, 10, 30), 0.5)
    assert codec.decode(x_0).shape == (1, 29 * 8)
    assert codec.decode(x_0[..., :3]).shape == (1, NUM_SAMPLES)
    assert codec.decode(1e4 * x_0, num_samples=50).isfinite().all()


def test_a_log_mel_that_does_not_fit_is_told_field_by_field(tmp_path):
    codec = MelCodec(vocoder="hifigan", hifigan=str(publish(tmp_path)))
    with pytest.raises(InputError) as caught:
        codec.decode(torch.zeros(1, *codec.shape))
    assert (
        "sample_rate 24000 (its is 8000), n_fft 1024 (its is 64), window 1024 (its is 64), hop_length 256 (its is 8), "
        "n_mels 100 (its is 10), mel_scale htk (its is slaney), fmax 12000.0 (its is 3000)" in str(caught.value)
    )
    assert str(caught.value) in codec.vocoder_in_use
    loud = MelCodec(NUM_SAMPLES, vocoder="hifigan", hifigan=str(tmp_path), floor=0.1, **FITS)
    with pytest.raises(InputError, match=r"floor 0.1 \(at most 0.002\)"):
        loud.decode(torch.zeros(1, *loud.shape))


@pytest.mark.parametrize(
    ("name", "config", "changed", "named"),
    [
        ("g_1", CONFIG | {"resblock": "2"}, {}, "HiFi-GAN of resblock 2; only"),
        ("g_1", CONFIG | {"hop_size": 16}, {}, "makes 8 samples of a frame, and its hop_size is 16"),
        ("g_1", {"num_mels": 10}, {}, "config.json: not there, or not as HiFi-GAN publishes it"),
        ("g_1", CONFIG | {"num_mels": "ten"}, {}, "not as HiFi-GAN publishes it"),
        ("g_1", CONFIG | {"upsample_kernel_sizes": [8, "x"]}, {}, "its settings make no HiFi-GAN"),
        ("g_1", CONFIG, {"conv_pre.bias": torch.zeros(9)}, r"not this HiFi-GAN's \(size mismatch for conv_pre.bias"),
        ("g_1", CONFIG, {"extra": torch.zeros(9)}, r"not this HiFi-GAN's \(Unexpected key"),
        ("weights.txt", CONFIG, {}, "no file like"),
    ],
)
def test_what_is_no_hifigan_is_one_line(name, config, changed, named, tmp_path):
    with pytest.raises(InputError, match=named) as caught:
        HifiGan.load(str(publish(tmp_path, name, config, **changed)), SPEC, 1e-7)
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_damaged_or_two(tmp_path):
    with pytest.raises(InputError, match="which one"):
        HifiGan.load(None, SPEC, 1e-7)
    assert MelCodec(vocoder="hifigan").vocoder_in_use == "HiFi-GAN (codec.hifigan is not on this machine)"
    folder = publish(tmp_path / "two")
    (folder / "g_9").write_bytes(b"no tensors")
    with pytest.raises(InputError, match=r"2 files of weights \(g_02500000, g_9\); name the one"):
        HifiGan.load(str(folder), SPEC, 1e-7)
    with pytest.raises(InputError, match="g_9: damaged, or more than tensors"):
        HifiGan.load(str(folder / "g_9"), SPEC, 1e-7)
