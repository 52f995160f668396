"""Latents of an autoencoder trained here, over codecs of sound and of pictures."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from synesthete.codecs.latent import LatentCodec
from synesthete.codecs.mel import MelCodec
from synesthete.codecs.pixels import PixelCodec
from synesthete.codecs.stft import StftCodec
from synesthete.config import Recipe, build
from synesthete.recipes import RECIPES
from synesthete.recipes.music import music_latent
from synesthete.types import InputError

SMALL = {"latent_channels": 3, "channels": (8, 8), "patch_size": 2}
# No side is a multiple of 4, which the network needs.
STFT = {"num_samples": 2000, "sample_rate": 8000, "n_fft": 64, "hop_length": 32, "num_iterations": 1}
BASES = {
    "magnitude": lambda: StftCodec(**STFT, num_bins=30, num_frames=61),
    "complex": lambda: StftCodec(**STFT, kind="complex", scaling="band"),
    "mel": lambda: MelCodec(2000, 8000, 64, 32, n_mels=18, num_iterations=1, vocoder="griffin-lim"),
    "pixels": lambda: PixelCodec((10, 15)),
}


def signals(name: str, num: int = 3) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(num, 3, 10, 15) if name == "pixels" else 0.1 * torch.randn(num, 2000)


@pytest.fixture(params=BASES)
def name(request):
    return request.param


@pytest.fixture
def codec(name):
    torch.manual_seed(0)
    codec = LatentCodec(BASES[name](), **SMALL).eval()
    return codec.fit([signals(name)]).whiten([signals(name)])


def test_latents_are_white_and_their_grid_is_rounded_up(codec, name):
    x_0 = codec.encode(signals(name))
    _, height, width = codec.base.shape
    assert tuple(x_0.shape[1:]) == codec.shape == (3, -(-height // 4), -(-width // 4))
    assert x_0.mean(dim=(0, 2, 3)) == pytest.approx(0, abs=1e-4)
    assert x_0.std(dim=(0, 2, 3), correction=0) == pytest.approx(1, abs=1e-3)
    assert codec.compression == pytest.approx(codec.base.shape[0] * height * width / x_0[0].numel())


def test_what_is_decoded_is_shaped_as_the_signal(codec, name):
    signal = signals(name)
    decoded = codec.decode(codec.encode(signal))
    assert decoded.shape == signal.shape
    assert codec.grid(codec.encode(signal)).shape[1:] == codec.base.shape
    assert codec.pictures(codec.encode(signal))[0].size == codec.base.pictures(codec.base.encode(signal))[0].size


def test_a_batch_is_its_singles(codec, name):
    signal = signals(name)
    singles = torch.cat([codec.encode(one[None]) for one in signal])
    torch.testing.assert_close(codec.encode(signal), singles, rtol=1e-4, atol=1e-4)


def test_it_can_be_saved_and_loaded_with_its_base(codec, name, tmp_path):
    codec.save_pretrained(tmp_path)
    loaded = LatentCodec.from_pretrained(tmp_path)
    assert type(loaded.base) is type(codec.base)
    assert torch.equal(loaded.encode(signals(name)), codec.encode(signals(name)))
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["base"]["class"] == type(codec.base).__name__
    assert "num_samples" not in written  # a field of the base, not its own


def test_a_base_from_elsewhere_is_not_made(tmp_path):
    LatentCodec(PixelCodec(8), **SMALL).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    for name, said in (("os.path.join", "not a class of synesthete"), ("Labels", "no codec")):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"base": {"class": name}}))
        with pytest.raises(InputError, match=said):
            LatentCodec.from_pretrained(tmp_path)


@pytest.mark.parametrize("fields", [{"channels": ()}, {"latent_channels": 0}, {"patch_size": 0}, {"base": "mel"}])
def test_what_is_no_autoencoder_is_refused(fields):
    with pytest.raises(InputError, match="codec"):
        LatentCodec(**{"base": PixelCodec(8), **fields})


def test_sound_and_pictures_are_told_apart():
    """Whoever dispatches on a codec asks for these."""
    sound, picture = (LatentCodec(BASES[name](), **SMALL) for name in ("magnitude", "pixels"))
    assert sound.spec.sample_rate == 8000 and sound.config.num_samples == 2000
    assert picture.spec is None and not hasattr(picture.base, "silence")
    assert picture.base.decibels(torch.zeros(1, 3, 10, 15)) is None
    assert copy.deepcopy(sound).shape == sound.shape


@pytest.mark.parametrize("name", ["magnitude", "complex", "mel"], indirect=True)
def test_silence_is_one_x_0(codec):
    torch.testing.assert_close(codec.encode(torch.zeros(1, 2000))[0], codec.silence, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["magnitude"], indirect=True)
def test_any_number_of_columns_is_decoded(codec):
    x_0 = codec.encode(signals("magnitude"))
    longer = torch.cat([x_0, x_0], dim=-1)  # (3, c, h, 32)
    assert codec.grid(longer).shape == (3, 1, 30, 128)
    assert codec.decode(longer).shape == (3, codec.spec.num_samples(128))
    assert codec.decode(longer, num_samples=3000).shape == (3, 3000)


@pytest.mark.parametrize("name", ["magnitude"], indirect=True)
@pytest.mark.parametrize("spoil", [lambda x_0: x_0[:, :2], lambda x_0: x_0[:, :, 1:], lambda x_0: x_0 * float("nan")])
def test_x_0_of_another_kind_is_refused(codec, spoil):
    with pytest.raises(InputError, match="x_0"):
        codec.decode(spoil(torch.zeros(1, *codec.shape)))


@pytest.mark.parametrize("name", ["magnitude"], indirect=True)
def test_nothing_is_on_the_output(codec):
    """A network that could only say values of one sign or size would cost what lies beyond (DESIGN law 2)."""
    restored = codec.restore(100 * torch.randn(1, 3, 8, 16, generator=torch.Generator().manual_seed(0)), 61)
    assert restored.min() < 0 < restored.max()
    doubled = codec.autoencoder.decoder.conv_out
    doubled.weight.data *= 1000
    doubled.bias.data *= 1000
    again = codec.restore(100 * torch.randn(1, 3, 8, 16, generator=torch.Generator().manual_seed(0)), 61)
    torch.testing.assert_close(again, 1000 * restored, rtol=1e-3, atol=1e-2)


def test_levels_are_those_of_the_base():
    codec = LatentCodec(BASES["magnitude"](), **SMALL)
    tone = 0.5 * torch.sin(2 * torch.pi * 1000 * torch.arange(2000) / 8000)[None]
    levels = codec.base.decibels(codec.signal_grid(tone))
    assert levels.shape == (1, 30, 61)
    assert levels.max().item() == pytest.approx(-6, abs=0.5)  # a sine of amplitude 1 is 0 dB
    mel = LatentCodec(BASES["mel"](), **SMALL)
    louder, softer = (mel.base.decibels(mel.signal_grid(gain * tone)).max().item() for gain in (1.0, 0.1))
    assert louder - softer == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize("make", [music_latent, RECIPES["music-latent-debug"]])
def test_a_recipe_of_it_is_the_same_from_yaml(make, tmp_path):
    recipe = make()
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    read = Recipe.load(path)
    assert read.to_dict() == recipe.to_dict()
    assert read.codec().shape == recipe.codec().shape == (recipe.denoiser.in_channels, *recipe.denoiser.sample_size)
    read.set("codec.base.floor_db=-60")
    assert read.codec().base.config.floor_db == -60


def test_latents_of_latents():
    inner = build(LatentCodec, base=build(PixelCodec, size=16), **SMALL)
    codec = build(LatentCodec, base=inner, **SMALL)()
    assert codec.shape == (3, 1, 1)
    assert codec.decode(codec.encode(torch.rand(2, 3, 16, 16))).shape == (2, 3, 16, 16)
