"""A frozen CLAP: fed as its own feature extractor feeds it, each sound alone, never trained, asked once."""

from __future__ import annotations

import copy
import json
import shutil

import huggingface_hub
import numpy as np
import pytest
import soxr
import torch
from claps import AUDIO, RATE, SECONDS, TEXT, WIDTH, write_clap
from safetensors.torch import load_file, save_file
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

from synesthete import hub
from synesthete.conditioning.frozen_sound import Clap, ClapTower
from synesthete.types import InputError

MOST = RATE * SECONDS


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """To be read only."""
    root = tmp_path_factory.mktemp("claps")
    return {fused: write_clap(root / f"fused-{fused}", fused=fused) for fused in (False, True)}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SYNESTHETE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "clap"


def clip(seconds: float, seed: int = 0, rate: int = RATE) -> torch.Tensor:
    """A tone that rises, in noise."""
    time = torch.arange(round(seconds * rate)) / rate
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(seed))
    return 0.3 * torch.sin(2 * torch.pi * (200 + 150 * seed + 200 * time) * time) + 0.02 * noise


def batch(*clips: torch.Tensor) -> torch.Tensor:
    longest = max(len(one) for one in clips)
    return torch.stack([torch.nn.functional.pad(one, (0, longest - len(one))) for one in clips])


def make(folder, **fields) -> Clap:
    return Clap(str(folder), **{"sample_rate": RATE} | fields)


def published(folder, samples: np.ndarray, longer: bool) -> torch.Tensor:
    """By the classes of transformers alone."""
    extractor, model = ClapFeatureExtractor.from_pretrained(folder), ClapModel.from_pretrained(folder).eval()
    np.random.seed(0)
    read = extractor(samples, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        heard = model.get_audio_features(read["input_features"].float(), is_longer=torch.tensor([[longer]]))
    return heard.pooler_output[0]


def one_line(caught: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("seconds", [0.3, 2.0, 3.5])
def test_it_hears_what_the_published_classes_hear(folders, fused, seconds):
    """Shorter than it listens to: repeated and padded; longer: cut, or told in four views where it is made for that."""
    samples = clip(seconds).numpy()
    longer = fused and seconds > SECONDS
    expected = published(folders[fused], samples if fused else samples[:MOST], longer)
    found = make(folders[fused]).embed(torch.from_numpy(samples)[None])
    assert torch.equal(found[0], expected)
    assert found.norm(dim=1).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("fused", [False, True])
def test_a_batch_equals_its_singles_to_the_bit(folders, fused):
    """Another program's CLAP gave a sound another vector in every batch, or on every call."""
    clap = make(folders[fused])
    clips = [clip(0.4, 1), clip(2.0, 2), clip(3.1, 3), torch.zeros(100), clip(0.4, 1)]
    together = clap.embed(batch(*clips))
    for one, found in zip(clips, together, strict=True):
        assert torch.equal(clap.embed(one[None])[0], found)
    assert torch.equal(together[0], together[-1])
    distances = torch.cdist(together[:4], together[:4])[~torch.eye(4, dtype=torch.bool)]
    assert distances.min() > 1e-3  # no two sounds are one to it


@pytest.mark.parametrize("fused", [False, True])
def test_chance_is_left_as_it_was(folders, fused):
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    first = make(folders[fused]).embed(clip(3.5)[None])
    assert np.random.rand() == expected
    assert torch.equal(make(folders[fused]).embed(clip(3.5)[None]), first)


def test_a_long_sound_is_heard_beyond_its_first_seconds_where_views_are_fused(folders):
    one, other = clip(4.0), clip(4.0)
    other[MOST:] = clip(2.0, 9)
    for fused, clap in ((fused, make(folder)) for fused, folder in folders.items()):
        assert torch.equal(*clap.embed(batch(one, other))) == (not fused)


def test_other_rates_are_resampled(folders):
    fast = clip(1.5, rate=22050)
    expected = make(folders[False]).embed(torch.from_numpy(soxr.resample(fast.numpy(), 22050, RATE))[None])
    assert torch.equal(make(folders[False], sample_rate=22050).embed(fast[None]), expected)


def test_silence_has_a_vector_of_its_own(folders):
    silent = make(folders[False]).embed(torch.zeros(2, 500))
    assert silent.isfinite().all()
    assert torch.equal(silent[0], published(folders[False], np.zeros(MOST, dtype=np.float32), False))


def test_it_listens_to_ten_seconds_at_48_khz_as_the_published_models_do(tmp_path):
    torch.manual_seed(0)
    config = ClapConfig(text_config=TEXT, audio_config=AUDIO | {"spec_size": 256}, projection_dim=WIDTH)
    ClapModel(config).save_pretrained(tmp_path)
    ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(tmp_path)
    tower = ClapTower(str(tmp_path), 48_000)
    features, longer = tower.features(clip(3.0, rate=48_000).numpy())
    assert features.shape == (1, 1, 1001, 64) and not longer.item()
    rows = features[0, 0]
    torch.testing.assert_close(rows[10:250], rows[310:550], rtol=1e-3, atol=0.05)  # three times, then silence
    assert rows[910:].max() < -90
    assert Clap(str(tmp_path)).embed(clip(3.0, rate=48_000)[None]).shape == (1, WIDTH)


def test_what_was_heard_is_kept_where_that_is_asked_for(folders, cache, monkeypatch):
    sounds = batch(clip(0.5, 1), clip(0.8, 2))
    first = make(folders[False]).embed(sounds)
    assert not cache.exists()  # sounds that are varied in training would fill the disk
    assert torch.equal(make(folders[False]).embed(sounds, keep=True), first)
    assert len(list(cache.iterdir())) == 2

    def deaf(*_):
        raise AssertionError("the encoder was asked")

    with monkeypatch.context() as without:
        without.setattr(ClapTower, "_hear", deaf)
        assert torch.equal(make(folders[False]).embed(sounds), first)
        with pytest.raises(AssertionError, match="was asked"):  # at another rate it is another sound
            make(folders[False], sample_rate=2 * RATE).embed(sounds)
    for file in cache.iterdir():
        file.write_bytes(b"damaged")
    assert torch.equal(make(folders[False]).embed(sounds), first)


def test_it_is_told_from_another_with_other_weights(folders, tmp_path):
    sounds, here = clip(0.5)[None], tmp_path / "clap"
    first = make(shutil.copytree(folders[False], here)).embed(sounds, keep=True)
    shutil.rmtree(here)
    assert not torch.allclose(make(write_clap(here, seed=1)).embed(sounds), first, atol=1e-2)


def test_it_asks_for_no_gradient_and_copies_share_it(folders):
    clap = make(folders[False])
    clap.train()
    found = clap.embed(clip(0.5)[None].requires_grad_())
    assert not found.requires_grad and not clap.tower.network.training
    assert list(clap.parameters()) == []
    assert copy.deepcopy(clap).tower is clap.tower
    with torch.autocast("cpu", torch.bfloat16):  # as in training
        assert torch.equal(clap.embed(clip(0.5)[None]), found)


@pytest.mark.parametrize("model", list(ClapTower.known))
def test_a_known_model_is_made_without_a_look_at_the_disk(model, monkeypatch):
    def deaf(*_, **__):
        raise AssertionError("the disk was asked")

    for asked in ("find_weights", "local_weights", "download"):
        monkeypatch.setattr(hub, asked, deaf)
    assert Clap(model).width == ClapTower.known[model]


def test_it_is_found_by_its_hub_id(folders, monkeypatch):
    asked = []

    def snapshot_download(repository, **options):
        if options["local_files_only"]:
            raise FileNotFoundError("not in the cache")
        asked.append(repository)
        return str(folders[False])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    clap = make("somebody/hears")
    assert clap.width == WIDTH
    assert torch.equal(clap.embed(clip(1.0)[None]), make(folders[False]).embed(clip(1.0)[None]))
    assert set(asked) == {"somebody/hears"}


def test_an_id_that_cannot_be_had_is_one_line(monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise OSError("no connection")

    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    model = "laion/larger_clap_music_and_speech"
    with pytest.raises(InputError) as caught:
        Clap(model).embed(clip(0.5)[None])
    assert one_line(caught).startswith(f"{model} is not on this machine and the Hub cannot be reached; put its files")
    assert "--set conditioner.sound.model=PATH" in one_line(caught)


def without_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["audio_projection.linear1.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (without_weight, "lacks audio_projection.linear1.weight; download the model again"),
        (lambda folder: (folder / "config.json").write_text(json.dumps({"model_type": "bert"})), "a CLAP (a bert); gi"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read as a CLAP"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"none"), "cannot be read as a CLAP"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "cannot be read as a CLAP"),
    ],
)
def test_damaged_files_are_one_line(folders, tmp_path, damage, named):
    folder = shutil.copytree(folders[False], tmp_path / "clap")
    damage(folder)
    with pytest.raises(InputError) as caught:
        make(folder).embed(clip(0.5)[None])
    assert named in one_line(caught)


def test_another_width_than_it_was_made_for_is_one_line(folders):
    with pytest.raises(InputError, match=r"vectors 24 wide, not 512; --set conditioner\.sound\.embedding_width=24"):
        make(folders[False], embedding_width=512).embed(clip(0.5)[None])
