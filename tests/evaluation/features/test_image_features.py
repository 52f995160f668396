"""What pictures are compared by: the published Inception to its last figure, CLIP, and which is taken when."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from published_inception import published_weights
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from synesthete import hub
from synesthete.evaluation.classifiers.image import ImageClassifier
from synesthete.evaluation.features import ClassifierFeatures, ClipFeatures, InceptionFeatures, find_features
from synesthete.evaluation.inception import (
    FILES,
    MODEL,
    POOLS,
    find_inception,
    local_inception,
    read_inception,
    resize,
)
from synesthete.types import InputError

# Of the weights of `published_weights` and the pictures below, computed by torch-fidelity 0.4's extractor.
PLACES = [3, 500, 1000, 1500, 2000]
FIDELITY = [[0.353662, 0.920163, 0.0, 0.526938, 1.891201], [0.356552, 0.966415, 0.0, 0.539985, 1.927403]]
FIDELITY_MEANS = [0.441742, 0.443693]

VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION |= {"image_size": 32, "patch_size": 16, "initializer_factor": 5.0}
PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 32},
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "resample": 3,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("inception") / FILES[0]
    torch.save(published_weights(), path)
    return path


@pytest.fixture(scope="module")
def inception(weights) -> InceptionFeatures:
    return InceptionFeatures(weights)


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No weights on this machine, and no connection; what was asked for is written down."""
    asked: list[tuple[str, ...]] = []

    def refuse(*call, **_):
        asked.append(call)
        raise OSError("Network is unreachable\nand more")

    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    return asked


def pictures(num: int = 2, channels: int = 3, height: int = 32, width: int = 40) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (num, channels, height, width), generator=draw, dtype=torch.uint8)


def test_the_features_are_those_of_torch_fidelity(inception):
    found = inception(pictures())
    assert found.shape == (2, 2048)
    torch.testing.assert_close(found[:, PLACES], torch.tensor(FIDELITY), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.mean(dim=1), torch.tensor(FIDELITY_MEANS), atol=1e-5, rtol=1e-5)


def test_a_batch_equals_its_singles_and_grey_is_colour(inception):
    grey = pictures(2, channels=1, height=16, width=16)
    together = inception(grey)
    torch.testing.assert_close(together[1:], inception(grey[1:]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together[:1], inception(grey[:1].expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)
    assert inception(grey[:0]).shape == (0, 2048)
    with pytest.raises(InputError, match="uint8"):
        inception(grey.float())


@pytest.mark.parametrize(("size", "side"), [(3, 7), (32, 299), (96, 40), (9, 9)])
def test_pictures_are_resized_as_tensorflow_did(size, side):
    """Place i of the new row is at i * size / side of the old one, between two pixels; the last is repeated."""
    row = torch.rand(size, generator=torch.Generator().manual_seed(0))
    expected = []
    for i in range(side):
        place = i * size / side
        low = int(place)
        expected.append(row[low] + (row[min(low + 1, size - 1)] - row[low]) * (place - low))
    across = resize(row.expand(1, 1, 5, size), side)
    torch.testing.assert_close(across[0, 0, 2], torch.stack(expected), atol=1e-4, rtol=0)
    torch.testing.assert_close(resize(row[:, None].expand(1, 1, size, 5), side)[0, 0, :, 2], torch.stack(expected))


def test_average_pools_leave_the_padding_out():
    assert torch.equal(POOLS["average"](torch.ones(1, 1, 5, 5)), torch.ones(1, 1, 5, 5))


def test_safetensors_are_read_too(inception, tmp_path):
    save_file(inception.network.state_dict(), tmp_path / "inception.safetensors")
    again = read_inception(tmp_path / "inception.safetensors")
    for name, value in inception.network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert not again.training


class Harmful:
    def __reduce__(self):
        return Path.touch, (Path("harm"),)


@pytest.mark.parametrize("content", [b"cut", pickle.dumps(Harmful())])
def test_a_file_of_more_than_tensors_is_not_opened(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("weights.pth").write_bytes(content)
    with pytest.raises(InputError, match="damaged, or more than tensors"):
        read_inception(Path("weights.pth"))
    assert not Path("harm").exists()


def test_weights_of_another_network_are_named(tmp_path):
    torch.save({"Conv2d_1a_3x3.conv.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="lacks Conv2d_2a_3x3"):
        read_inception(tmp_path / "other.pth")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(InputError, match=r"list\.pth"):
        read_inception(tmp_path / "list.pth")
    with pytest.raises(InputError, match="no such file"):
        read_inception(tmp_path / "none.pth")


def test_the_weights_are_found_wherever_they_are_kept(nowhere, tmp_path, monkeypatch):
    assert local_inception() is None
    by_others = tmp_path / "torch" / "hub" / "checkpoints"  # where torch-fidelity leaves its copy
    by_others.mkdir(parents=True)
    (by_others / "resnet18.pth").touch()
    assert local_inception() is None
    (by_others / FILES[1]).touch()
    assert local_inception() == by_others / FILES[1]
    by_hand = tmp_path / "weights" / MODEL
    by_hand.mkdir(parents=True)
    (by_hand / "renamed.pth").touch()
    assert local_inception() == find_inception() == by_hand / "renamed.pth"
    assert local_inception(str(by_hand)) == local_inception(str(by_hand / "renamed.pth")) == by_hand / "renamed.pth"
    assert all("url" not in str(call) for call in nowhere)


def test_a_copy_in_the_hubs_cache_is_found(nowhere, tmp_path, monkeypatch, kept_by_the_hub):
    kept_by_the_hub("somebody/inception")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path / "snapshot"))
    (tmp_path / "snapshot").mkdir()
    assert local_inception("somebody/inception") is None
    (tmp_path / "snapshot" / FILES[0]).touch()
    assert local_inception("somebody/inception") == tmp_path / "snapshot" / FILES[0]


def test_the_published_file_is_downloaded_and_checked(nowhere, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"put https://github\.com/mseitzer/pytorch-fid/releases") as raised:
        InceptionFeatures()
    assert "Network is unreachable" in str(raised.value)
    assert "\n" not in str(raised.value)
    calls = []

    def give(url, place, digest, progress):
        calls.append((url, digest))
        Path(place).touch()

    monkeypatch.setattr("torch.hub.download_url_to_file", give)
    found = find_inception()
    assert found.parent == hub.weights_folder() / MODEL
    assert calls == [(hub.PRETRAINED[MODEL].url, found.stem.rpartition("-")[2])]
    assert find_inception() == found
    assert len(calls) == 1


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> dict[str, Path]:
    """A tiny CLIP, whole and its vision encoder alone, in folders laid out as the published ones."""
    torch.manual_seed(0)
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    whole = CLIPModel(CLIPConfig(text_config=text | {"vocab_size": 99}, vision_config=VISION, projection_dim=24))
    alone = CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION, projection_dim=24))
    alone.load_state_dict({name: value for name, value in whole.state_dict().items() if name in alone.state_dict()})
    folders = {}
    for name, model in (("whole", whole), ("alone", alone)):
        folders[name] = tmp_path_factory.mktemp("clips") / f"tiny-{name}"
        model.save_pretrained(folders[name])
        (folders[name] / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return folders


def test_clip_features_are_its_picture_vectors(clip):
    shown = pictures(3, height=32, width=32)
    features = ClipFeatures(clip["whole"])
    assert features.name == "tiny-whole"
    whole = CLIPModel.from_pretrained(clip["whole"]).eval()
    mean, std = (torch.tensor(PREPROCESSOR[name]).view(3, 1, 1) for name in ("image_mean", "image_std"))
    with torch.no_grad():
        expected = whole.visual_projection(whole.vision_model((shown / 255 - mean) / std).pooler_output)
    torch.testing.assert_close(features(shown), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ClipFeatures(clip["alone"])(shown), expected, atol=1e-4, rtol=1e-4)
    assert expected.std(dim=0).min() > 1e-3


def test_clip_reads_grey_pictures_of_any_size_and_a_batch_as_its_singles(clip):
    grey = pictures(3, channels=1, height=50, width=20)
    features = ClipFeatures(clip["alone"])
    torch.testing.assert_close(features(grey)[1:2], features(grey[1:2]), atol=1e-5, rtol=1e-5)
    assert features(grey).shape == (3, 24)
    assert features(grey[:0]).shape == (0, 24)


def test_the_best_features_at_hand_are_taken(nowhere, inception, weights, clip, tmp_path, monkeypatch):
    monkeypatch.setattr("synesthete.evaluation.features.read_inception", lambda path: inception.network)
    classifier = ImageClassifier(("a", "b", "c"), channels=1)
    assert find_features("auto", classifier).name == find_features("classifier", classifier).name == "classifier-3"
    assert isinstance(find_features("auto", classifier), ClassifierFeatures)
    by_hand = tmp_path / "weights" / MODEL
    by_hand.mkdir(parents=True)
    (by_hand / weights.name).symlink_to(weights)
    for choice in ("auto", "inception", str(weights), str(weights.parent), MODEL):
        assert find_features(choice, classifier).name == "inception"
    assert find_features("classifier", classifier).name == "classifier-3"
    assert find_features(str(clip["whole"]), None).name == "tiny-whole"


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ("incepton", "no features 'incepton'; give auto, classifier, inception, clip"),
        ("classifier", "no classifier to describe pictures by"),
        ("auto", "no classifier to describe pictures by"),
        ("clip", "openai/clip-vit-base-patch32 is not on this machine"),
        ("empty", "no .*safetensors there"),
    ],
)
def test_features_that_are_not_to_be_had_are_one_line(nowhere, choice, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(InputError, match=reason) as raised:
        find_features(choice, None)
    assert "\n" not in str(raised.value)
    assert "conditioner" not in str(raised.value)


def test_a_folder_of_another_model_is_no_clip(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dinov2"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot be read as a CLIP \(a dinov2\); --features takes"):
        find_features(str(tmp_path), None)
