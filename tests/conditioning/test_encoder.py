"""Frozen vision encoders as conditioners: read as published, never trained, never saved, the same however asked."""

from __future__ import annotations

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from towers import TOWERS, write_tower
from transformers import AutoImageProcessor, AutoModel, CLIPModel, Dinov2Model, Qwen3VLForConditionalGeneration

from synesthete import hub
from synesthete.codecs.mel import MelCodec
from synesthete.conditioning.vision import KNOWN, VisionEncoder, qwen_patches
from synesthete.config import build
from synesthete.denoisers.dit import DiT
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import make_scheduler
from synesthete.pipeline import Pipeline
from synesthete.recipes.fit import check_fit
from synesthete.types import Condition, InputError
from tiny import debug_recipe

WIDTH = 32


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Every tower written once; to be read only."""
    root = tmp_path_factory.mktemp("towers")
    return {name: write_tower(name, root / name) for name in TOWERS}


@pytest.fixture(params=list(TOWERS))
def name(request):
    return request.param


def encoder(folder, size=None) -> VisionEncoder:
    torch.manual_seed(0)
    return VisionEncoder(str(folder), width=WIDTH, size=size)


@pytest.fixture
def conditioner(folders, name) -> VisionEncoder:
    return encoder(folders[name], TOWERS[name][2])


def photographs(num: int = 4) -> list[Image.Image]:
    """Of several sizes and shapes."""
    generator = np.random.default_rng(0)
    sizes = [(40, 60), (96, 50), (32, 32), (20, 31)]
    return [Image.fromarray(generator.integers(0, 256, (*sizes[i % 4], 3), dtype=np.uint8)) for i in range(num)]


def test_pictures_become_what_the_encoders_own_preprocessor_makes_of_them(folders, name):
    """Except for the towers that read any size: they are given one, to which pictures are scaled and cropped."""
    conditioner = encoder(folders[name], TOWERS[name][2])
    raw = conditioner.preprocess(photographs())
    side = TOWERS[name][2] or 32
    assert (raw.shape, raw.dtype) == ((4, 3, side, side), torch.uint8)
    processor = AutoImageProcessor.from_pretrained(folders[name], backend="pil")
    normalised = conditioner.tower.normalise(raw)
    if "qwen" in name:
        square = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in raw]
        seen = processor(square, return_tensors="pt")
        patches, grids = qwen_patches(normalised, conditioner.tower.network.config)
        torch.testing.assert_close(patches, seen["pixel_values"])
        assert torch.equal(grids, seen["image_grid_thw"])
    else:
        torch.testing.assert_close(normalised, processor(photographs(), return_tensors="pt")["pixel_values"])


def test_what_is_seen_is_what_the_published_model_gives(folders):
    """Also where the tower stands in a file beside a text model."""
    clip = encoder(folders["clip"])
    raw = clip.preprocess(photographs())
    whole = CLIPModel.from_pretrained(folders["clip"])
    seen = whole.vision_model(pixel_values=clip.tower.normalise(raw))
    torch.testing.assert_close(clip.extract_features(raw)[:, 0], seen.pooler_output)
    torch.testing.assert_close(
        clip.extract_features(raw)[:, 1:], seen.last_hidden_state[:, 1:]
    )  # the class token is no place

    dino = encoder(folders["dinov2"])
    seen = Dinov2Model.from_pretrained(folders["dinov2"])(pixel_values=dino.tower.normalise(raw))
    torch.testing.assert_close(dino.extract_features(raw)[:, 0], seen.pooler_output)
    torch.testing.assert_close(dino.extract_features(raw)[:, 1:], seen.last_hidden_state[:, 1:])

    registers = encoder(folders["dinov2-registers"])
    seen = AutoModel.from_pretrained(folders["dinov2-registers"])(pixel_values=registers.tower.normalise(raw))
    assert seen.last_hidden_state.shape[1] == 1 + 4 + 16
    torch.testing.assert_close(registers.extract_features(raw)[:, 1:], seen.last_hidden_state[:, 5:])


def test_qwen_sees_what_its_language_model_would_read(folders):
    qwen = encoder(folders["qwen3-vl"], 64)
    raw = qwen.preprocess(photographs())
    square = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in raw]
    inputs = AutoImageProcessor.from_pretrained(folders["qwen3-vl"], backend="pil")(square, return_tensors="pt")
    whole = Qwen3VLForConditionalGeneration.from_pretrained(folders["qwen3-vl"])
    seen = torch.stack(tuple(whole.get_image_features(**inputs).pooler_output))  # 4 of (16, 24)
    torch.testing.assert_close(qwen.extract_features(raw)[:, 1:], seen, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(qwen.extract_features(raw)[:, 0], seen.mean(dim=1), rtol=1e-4, atol=1e-5)


def test_shapes_of_the_condition_and_of_its_null(conditioner):
    told, null = conditioner.encode(conditioner.preprocess(photographs())), conditioner.null(4)
    assert told.tokens.shape == null.tokens.shape == (4, 16, WIDTH)
    assert told.pooled.shape == null.pooled.shape == (4, WIDTH)
    assert (told.tokens[0] - told.tokens[1]).abs().mean() > 1e-2
    assert (told.pooled[0] - told.pooled[1]).abs().mean() > 1e-2


def test_a_batch_of_four_equals_four_singles(conditioner):
    raw = conditioner.preprocess(photographs())
    batch = conditioner.encode(raw)
    singles = Condition.concatenate([conditioner.encode(raw[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(singles.tokens, batch.tokens, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(singles.pooled, batch.pooled, rtol=1e-3, atol=1e-4)


def test_more_pictures_than_go_through_at_once(folders, monkeypatch):
    conditioner = encoder(folders["siglip"])
    raw = conditioner.preprocess(photographs(7))
    whole = conditioner.extract_features(raw)
    monkeypatch.setattr("synesthete.conditioning.vision.CHUNK", 3)
    torch.testing.assert_close(conditioner.extract_features(raw), whole, rtol=1e-4, atol=1e-5)


def test_features_computed_beforehand_say_the_same(conditioner):
    raw = conditioner.preprocess(photographs())
    features = conditioner.extract_features(raw)
    assert features.dtype == torch.float32 and not features.requires_grad
    told, again = conditioner.encode(raw), conditioner.encode(features)
    assert torch.equal(told.tokens, again.tokens)
    assert torch.equal(told.pooled, again.pooled)
    assert torch.equal(conditioner.extract_features(features.half()), features.half())  # as they are kept
    with torch.autocast("cpu", torch.bfloat16):  # as in training
        assert torch.equal(conditioner.extract_features(raw), features)


def test_every_parameter_learns_and_none_of_the_encoders_does(conditioner):
    raw = conditioner.preprocess(photographs())
    conditioner.train()
    frozen = {key: value.clone() for key, value in conditioner.tower.network.state_dict().items()}
    denoiser = DiT((8, 16), (8, 4), width=32, depth=2, num_heads=2, condition_width=WIDTH, pooled_width=WIDTH)
    for parameter in denoiser.parameters():
        if not parameter.any():
            parameter.data.normal_(std=0.1)
    optimiser = torch.optim.AdamW([*conditioner.parameters(), *denoiser.parameters()], lr=1e-2)
    keep = torch.tensor([True, False, True, False])
    condition = Condition.where(keep, conditioner.encode(raw), conditioner.null(4))
    denoiser(torch.randn(4, 1, 8, 16), torch.full((4,), 500), condition).square().mean().backward()
    for key, parameter in conditioner.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key
    optimiser.step()
    network = conditioner.tower.network
    assert not network.training
    for key, parameter in network.named_parameters():
        assert not parameter.requires_grad and parameter.grad is None, key
    for key, value in network.state_dict().items():
        assert torch.equal(value, frozen[key]), key


def test_the_encoder_is_no_part_of_what_is_saved(conditioner, tmp_path):
    raw = conditioner.preprocess(photographs())
    told = conditioner.encode(raw)
    trained = {"null_tokens", "null_pooled"} | {
        f"to_{way}.{i}.{kind}" for way in ("tokens", "pooled") for i in (0, 1) for kind in ("weight", "bias")
    }
    assert conditioner.state_dict().keys() == trained == dict(conditioner.named_parameters()).keys()
    conditioner.save_pretrained(tmp_path)
    assert load_file(tmp_path / "diffusion_pytorch_model.safetensors").keys() == trained
    again = VisionEncoder.from_pretrained(tmp_path)
    assert torch.equal(again.encode(raw).tokens, told.tokens)
    assert torch.equal(again.encode(raw).pooled, told.pooled)


def test_a_pipeline_is_saved_and_loaded_around_it(folders, tmp_path):
    folder = shutil.copytree(folders["siglip"], tmp_path / "siglip")
    conditioner = encoder(folder)
    codec = MelCodec(num_samples=16 * 256 - 1)
    denoiser = DiT((100, 16), width=32, depth=1, num_heads=2, condition_width=WIDTH, pooled_width=WIDTH)
    torch.nn.init.normal_(denoiser.to_out.weight, std=0.1)
    process = Process(schedule="flow", prediction_type="sample", loss_space="flow")
    scheduler = make_scheduler("flow-euler", process)
    pipeline = Pipeline(codec, conditioner, denoiser, scheduler, process.settings(), {"num_inference_steps": 2})
    raw = pipeline.preprocess(photographs(2))
    before = pipeline(raw).x_0
    pipeline.save(tmp_path / "model")
    assert sum(path.stat().st_size for path in (tmp_path / "model/conditioner").iterdir()) < 20_000
    again = Pipeline.load(str(tmp_path / "model"))
    assert torch.equal(again(raw).x_0, before)
    assert torch.equal(again(again.preprocess(photographs(2))).x_0, before)
    assert torch.equal(again(conditioner.extract_features(raw)).x_0, before)

    shutil.rmtree(folder)  # loading asks for nothing of the encoder; only looking does
    again = Pipeline.load(str(tmp_path / "model"))
    assert torch.equal(again(conditioner.extract_features(raw)).x_0, before)
    with pytest.raises(InputError, match="siglip: no such folder"):
        again(raw)


def test_copies_share_the_encoder_and_keep_its_precision(folders):
    conditioner = encoder(folders["clip"])
    raw = conditioner.preprocess(photographs())
    told = conditioner.encode(raw)
    other = copy.deepcopy(conditioner).to(torch.float64)
    assert other.tower is conditioner.tower
    assert {p.dtype for p in other.tower.network.parameters()} == {torch.float32}
    assert other.encode(raw).tokens.dtype == torch.float64
    torch.testing.assert_close(other.encode(raw).tokens.float(), told.tokens)


@pytest.mark.gpu
def test_the_encoder_goes_where_the_conditioner_goes(folders, name):
    conditioner = encoder(folders[name], TOWERS[name][2])
    raw = conditioner.preprocess(photographs())
    told = conditioner.encode(raw)
    conditioner.to("cuda")
    assert {p.device.type for p in conditioner.tower.network.parameters()} == {"cuda"}
    torch.testing.assert_close(conditioner.encode(raw.cuda()).tokens.cpu(), told.tokens, rtol=1e-2, atol=1e-2)
    conditioner.to("cpu")
    assert {p.device.type for p in conditioner.tower.network.parameters()} == {"cpu"}


def test_other_weights_are_another_identity(folders, tmp_path):
    folder = shutil.copytree(folders["clip"], tmp_path / "clip")
    first = encoder(folder).identity()
    assert first == encoder(folder).identity() == json.loads(json.dumps(first))
    assert first["model"] == str(folder)
    weights = load_file(folder / "model.safetensors")
    weights["vision_model.post_layernorm.bias"] += 1
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert encoder(folder).identity() != first
    assert encoder(folder, 48).identity() != encoder(folder).identity()


@pytest.mark.parametrize("name", ["clip", "siglip", "dinov2"])
def test_another_size_gives_more_tokens(folders, name):
    conditioner = encoder(folders[name], 64)
    raw = conditioner.preprocess(photographs())
    assert raw.shape == (4, 3, 64, 64)
    assert conditioner.encode(raw).tokens.shape == conditioner.null(4).tokens.shape == (4, 64, WIDTH)


@pytest.mark.parametrize("model", list(KNOWN))
def test_a_known_encoder_is_made_without_a_look_at_the_disk(model, monkeypatch):
    """As a recipe is checked: on no device, before anything is downloaded."""

    def fail(*_, **__):
        raise AssertionError("asked for files")

    for asked in ("find_weights", "local_weights", "download"):
        monkeypatch.setattr(hub, asked, fail)
    with torch.device("meta"):
        conditioner = VisionEncoder(model, width=WIDTH)
    assert 49 <= conditioner.null(1).tokens.shape[1] <= 729
    assert conditioner.config.num_tokens == conditioner.null(1).tokens.shape[1]
    assert conditioner.config.encoder_width == conditioner.to_tokens[1].in_features == KNOWN[model].width


def test_it_fits_a_recipe(folders):
    recipe = debug_recipe()
    recipe.conditioner = build(VisionEncoder, model=str(folders["clip"]), width=WIDTH)
    check_fit(recipe)
    recipe.conditioner.width = 64
    with pytest.raises(InputError, match=r"a condition 64 wide, denoiser\.condition_width is 32"):
        check_fit(recipe)


def one_line(caught: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("model", ["openai/clip-vit-base-patch32", "someone/elses-encoder"])
def test_an_id_that_cannot_be_had_is_one_line(model, monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise OSError("no connection")

    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(InputError) as caught:
        VisionEncoder(model, width=WIDTH).extract_features(torch.zeros(1, 3, 224, 224, dtype=torch.uint8))
    assert one_line(caught).startswith(f"{model} is not on this machine and the Hub cannot be reached; put its files")
    assert str(tmp_path / model) in str(caught.value)
    assert "--set conditioner.model=PATH" in str(caught.value)


def test_an_id_is_found_where_weights_are_put_by_hand(folders, monkeypatch, tmp_path):
    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path))
    shutil.copytree(folders["dinov2"], tmp_path / "someone/dino")
    conditioner = VisionEncoder("someone/dino", width=WIDTH)
    assert conditioner.encode(conditioner.preprocess(photographs())).tokens.shape == (4, 16, WIDTH)


def test_a_published_bin_is_read_as_tensors_alone(folders, tmp_path):
    folder = shutil.copytree(folders["clip-vision"], tmp_path / "clip")
    raw = encoder(folder).preprocess(photographs())
    expected = encoder(folder).extract_features(raw)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert torch.equal(encoder(folder).extract_features(raw), expected)
    torch.save({**weights, "trap": Trap(tmp_path)}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be read as a vision encoder"):
        encoder(folder).extract_features(raw)
    assert not (tmp_path / "sprung").exists()


class Trap:
    """A pickle that writes a file when it is opened."""

    def __init__(self, folder) -> None:
        self.folder = folder

    def __reduce__(self):
        return (type(self.folder).touch, (self.folder / "sprung",))


def test_code_in_a_models_folder_is_never_run(folders, tmp_path):
    folder = shutil.copytree(folders["dinov2"], tmp_path / "own")
    settings = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\nclass Own: pass\n")
    with pytest.raises(InputError, match="own: cannot be read as a vision encoder") as caught:
        encoder(folder)
    one_line(caught)
    assert not (tmp_path / "sprung").exists()


def without_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["layernorm.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def text_model(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (without_weight, "lacks layernorm.weight; download the model again"),
        (text_model, "a bert is no vision transformer that can be read here; give CLIP, "),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"none"), "cannot be read as a vision encoder"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read as a vision encoder"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "cannot be read as a vision encoder"),
    ],
)
def test_damaged_files_are_one_line(folders, tmp_path, damage, named):
    folder = shutil.copytree(folders["dinov2"], tmp_path / "dino")
    damage(folder)
    with pytest.raises(InputError) as caught:
        conditioner = encoder(folder)
        conditioner.extract_features(conditioner.preprocess(photographs()))
    assert named in one_line(caught)


@pytest.mark.parametrize(
    ("name", "size", "named"),
    [
        ("qwen3-vl", None, "reads pictures of any size; choose one with --set conditioner.size=448$"),
        ("qwen3-vl", 60, "squares of 16 pixels; --set conditioner.size=64$"),
        ("clip", 8, "squares of 8 pixels; --set conditioner.size=16$"),
    ],
)
def test_a_size_that_cannot_be_is_one_line(folders, name, size, named):
    with pytest.raises(InputError, match=named) as caught:
        encoder(folders[name], size)
    one_line(caught)


def test_features_of_another_encoder_are_one_line(folders):
    conditioner = encoder(folders["clip"])
    with pytest.raises(InputError, match=r"features of shape \(17, 24\) for .* gives \(17, 16\); prepare"):
        conditioner.encode(torch.zeros(2, 17, 24))
