"""The autoencoder codec: published layouts by name, latents of mean 0 and spread 1, models that need no Hub."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from huggingface_hub.utils import filter_repo_objects
from PIL import Image

from synesthete.codecs.autoencoder import KL, TINY, AutoencoderCodec, TinyAutoencoder, read_autoencoder
from synesthete.types import InputError

SMALL = {
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "latent_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
}
SHARED = Path(__file__).parents[3] / "shared"
TAEF2 = SHARED / "models" / "taef2"


@pytest.fixture
def published(tmp_path):
    """A folder of diffusers' own class, as its authors publish one."""
    torch.manual_seed(0)
    network = AutoencoderKL(**SMALL).eval()
    network.save_pretrained(tmp_path / "vae")
    return tmp_path, network


def pictures(num: int = 5, size: int = 16) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (num, 3, size, size), np.uint8))


@pytest.mark.parametrize("inside", ["", "vae"])
def test_it_gives_what_the_published_network_gives(published, inside):
    folder, network = published
    codec = AutoencoderCodec(str(folder / inside), 16).fit([pictures()])
    unit = pictures().float() / 255
    with torch.no_grad():
        latents = network.encode(2 * unit - 1).latent_dist.mode()
        rebuilt = (network.decode(latents).sample + 1) / 2
    x_0 = codec.encode(pictures())
    assert x_0.shape[1:] == codec.shape == (3, 8, 8)
    torch.testing.assert_close(x_0 * codec.scale + codec.mean, latents, atol=1e-4, rtol=1e-4)
    assert x_0.transpose(0, 1).flatten(1).mean(1).abs().max() < 1e-4
    assert (x_0.transpose(0, 1).flatten(1).std(1, correction=0) - 1).abs().max() < 1e-3
    assert (codec.decode(x_0).float() - rebuilt * 255).clamp(-255, 255).abs().median() <= 1
    assert codec.pictures(x_0, scale=2)[0].size == (32, 32)


def test_of_a_base_on_the_hub_only_its_autoencoder_is_fetched(published, tmp_path, monkeypatch, kept_by_the_hub):
    """A bare *.safetensors would be 23 GB of Stable Diffusion 1.5; and its network in the cache is no autoencoder."""
    kept_by_the_hub("somebody/paints")
    folder, network = published
    cache, asked = tmp_path / "cache", []
    (cache / "unet").mkdir(parents=True)
    for name in ("v1-5-pruned.safetensors", "unet/diffusion_pytorch_model.safetensors", "vae/more.fp16.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    shutil.copy(folder / "unet/diffusion_pytorch_model.safetensors", cache / "unet")

    def snapshot_download(repository, **options):
        if not options["local_files_only"]:
            asked.append(repository)
            names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
            for name in filter_repo_objects(names, allow_patterns=options["allow_patterns"]):
                (cache / name).parent.mkdir(exist_ok=True)
                shutil.copy(folder / name, cache / name)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    codec = AutoencoderCodec("somebody/paints", 16).fit([pictures()])
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in codec.autoencoder.state_dict().items())
    assert {path.name for path in (cache / "vae").iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert not (cache / "v1-5-pruned.safetensors").exists()
    assert asked == ["somebody/paints"]


@pytest.mark.parametrize(("size", "num"), [(16, 16), (256, 16), (512, 4), (4096, 1)])
def test_large_pictures_go_through_few_at_once(size, num):
    """Sixteen of 512 x 512 would hold 4 GB for one layer's output alone."""
    codec = AutoencoderCodec(None, size, network={"kind": KL, **SMALL})
    assert codec.num_at_once == num


def test_a_batch_equals_its_singles(published):
    codec = AutoencoderCodec(str(published[0]), 16).fit([pictures()])
    whole = codec.encode(pictures())
    torch.testing.assert_close(torch.cat([codec.encode(one[None]) for one in pictures()]), whole, atol=1e-5, rtol=1e-5)


def test_a_saved_codec_needs_no_file_of_the_network(published, tmp_path):
    folder, _ = published
    codec = AutoencoderCodec(str(folder), 16).fit([pictures()])
    x_0 = codec.encode(pictures())
    codec.save_pretrained(tmp_path / "saved")
    (folder / "vae").rename(folder / "gone")
    again = AutoencoderCodec.from_pretrained(tmp_path / "saved")
    assert torch.equal(again.encode(pictures()), x_0)
    assert torch.equal(again.decode(x_0), codec.decode(x_0))


def test_a_published_scale_takes_the_place_of_a_measured_one(published):
    """What Stable Diffusion's network was trained on: latents times 0.18215, their mean left in."""
    codec = AutoencoderCodec(str(published[0]), 16, scaling_factor=0.18215).fit([pictures()])
    with torch.no_grad():
        latents = published[1].encode(2 * pictures().float() / 255 - 1).latent_dist.mode()
    torch.testing.assert_close(codec.encode(pictures()), 0.18215 * latents, atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match="scaling_factor 0: give more than 0"):
        AutoencoderCodec(str(published[0]), 16, scaling_factor=0)


def test_nothing_of_it_is_trained(published):
    codec = AutoencoderCodec(str(published[0]), 16)
    assert not any(parameter.requires_grad for parameter in codec.parameters())


def test_the_tiny_layout_is_read_by_name(tmp_path):
    torch.manual_seed(0)
    network = TinyAutoencoder(latent_channels=6, pools=True)
    torch.save(network.encoder.state_dict(), tmp_path / "some_encoder.pth")
    torch.save(network.decoder.state_dict(), tmp_path / "some_decoder.pth")
    assert read_autoencoder(str(tmp_path)) == {"kind": TINY, "latent_channels": 6, "pools": True}
    codec = AutoencoderCodec(str(tmp_path), 16).fit([pictures()])
    with torch.no_grad():
        latents = network.encoder(pictures().float() / 255)
    torch.testing.assert_close(codec.encode(pictures()) * codec.scale + codec.mean, latents, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not TAEF2.is_dir(), reason="needs ../shared/models/taef2")
def test_the_published_tiny_autoencoder_restores_photographs():
    """Its weights restore 96x96 photographs at 26.3 dB by the data's README; a layer in the wrong place costs 10 dB."""
    files = sorted((SHARED / "data" / "stl10_like96").glob("*/*.*"))[::100]
    codec = AutoencoderCodec(str(TAEF2), 96)
    photographs = codec.preprocess([Image.open(file) for file in files])
    codec.fit([photographs])
    error = (codec.decode(codec.encode(photographs)).float() - photographs.float()).div(255).square().flatten(1).mean(1)
    assert -10 * error.log10().mean() > 25
    assert codec.shape == (32, 12, 12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: AutoencoderCodec(str(p / "vae"), 15), "multiples of 2 pixels"),
        (lambda p: AutoencoderCodec(str(p), 16, channels=1), "takes 3; --set codec.channels=3"),
        (lambda p: AutoencoderCodec(str(p / "none"), 16), "none"),
        (lambda p: AutoencoderCodec(None, 16), "give a Hub id or a folder"),
        (lambda p: AutoencoderCodec(None, 16, network={"kind": "VQModel"}), f"give {KL} or {TINY}"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(published, make, message):
    with pytest.raises(InputError, match=message) as caught:
        make(published[0])
    assert "\n" not in str(caught.value)


def test_damaged_weights_are_named(tmp_path):
    network = TinyAutoencoder()
    torch.save(network.encoder.state_dict(), tmp_path / "a_encoder.pth")
    (tmp_path / "a_decoder.pth").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"a_decoder\.pth: damaged, or more than tensors in it"):
        AutoencoderCodec(str(tmp_path), 16).fit([pictures()])


def test_x_0_of_another_shape_or_without_values_is_refused(published):
    codec = AutoencoderCodec(str(published[0]), 16).fit([pictures()])
    with pytest.raises(InputError, match="needs \\(B, 3, 8, 8\\)"):
        codec.decode(torch.zeros(1, 3, 4, 4))
    with pytest.raises(InputError, match="diverged"):
        codec.decode(torch.full((1, 3, 8, 8), torch.nan))
