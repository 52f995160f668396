"""A frozen CLIP text encoder as conditioner: read as published, never trained or saved, asked once for each prompt."""

from __future__ import annotations

import copy
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from text_towers import VOCABULARY, write_text_tower
from transformers import CLIPModel, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from synesthete import hub
from synesthete.codecs.mel import MelCodec
from synesthete.conditioning import clip_text
from synesthete.conditioning.clip_text import KNOWN, ClipText
from synesthete.config import build
from synesthete.denoisers.dit import DiT
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import make_scheduler
from synesthete.pipeline import Pipeline
from synesthete.recipes.fit import check_fit
from synesthete.types import Condition, InputError
from tiny import debug_recipe

WIDTH = 32
NAMES = ("cat", "dog", "horse")
PROMPTS = ["a cat", "a photo of a small dog", "", "of"]
LABELS = torch.tensor([0, 1, 2, 0])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """To be read only."""
    root = tmp_path_factory.mktemp("text-towers")
    return {kind: write_text_tower(root / kind, kind) for kind in ("text", "unprojected", "whole")}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SYNESTHETE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "clip-text"


def make(folder, **fields) -> ClipText:
    torch.manual_seed(0)
    return ClipText(str(folder), **{"class_names": NAMES, "width": WIDTH, "num_tokens": 24} | fields)


def deaf(*_, **__):
    raise AssertionError("the encoder was asked")


def one_line(caught: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["text", "unprojected", "whole"])
def test_what_is_said_is_what_the_published_model_gives(folders, kind):
    """One prompt at a time and without padding."""
    conditioner = make(folders[kind])
    pooled_width = {"text": 24, "unprojected": 16, "whole": 8}[kind]
    assert (conditioner.config.encoder_width, conditioner.config.encoder_pooled_width) == (16, pooled_width)
    tokenizer = CLIPTokenizer.from_pretrained(folders[kind])
    published = {"text": CLIPTextModelWithProjection, "unprojected": CLIPTextModel, "whole": CLIPModel}[kind]
    network = published.from_pretrained(folders[kind]).eval()
    for prompt, seen in zip(PROMPTS, conditioner.extract_features(PROMPTS), strict=True):
        inputs = tokenizer(prompt, return_tensors="pt")
        if kind == "whole":
            expected = network.text_model(**inputs)
            pooled = network.text_projection(expected.pooler_output)
        else:
            expected = network(**inputs)
            pooled = expected.text_embeds if kind == "text" else expected.pooler_output
        length = inputs["input_ids"].shape[1]
        torch.testing.assert_close(seen[1 : 1 + length, :16], expected.last_hidden_state[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(seen[0, :pooled_width], pooled[0], rtol=1e-4, atol=1e-5)
        assert not seen[1 + length :].any()


def test_the_byte_pairs_are_those_of_the_folder(folders):
    start, end = len(VOCABULARY) - 2, len(VOCABULARY) - 1
    written = make(folders["text"]).tower.tokenizer(["Cat", ""])["input_ids"]
    assert written == [[start, VOCABULARY.index("cat</w>"), end], [start, end]]


def test_shapes_and_mask_of_the_condition_and_of_its_null(folders):
    conditioner = make(folders["text"])
    told, null = conditioner.encode(LABELS), conditioner.null(4)
    assert told.tokens.shape == null.tokens.shape == (4, 24, WIDTH)
    assert told.pooled.shape == null.pooled.shape == (4, WIDTH)
    assert told.mask.dtype == null.mask.dtype == torch.bool
    lengths = [len(ids) for ids in conditioner.tower.tokenizer(conditioner.prompts)["input_ids"]]
    assert told.mask.sum(dim=1).tolist() == [lengths[label] for label in LABELS]
    assert null.mask.sum(dim=1).tolist() == [lengths[-1]] * 4 == [2] * 4  # start and end
    assert all(mask[:n].all() for mask, n in zip(told.mask, told.mask.sum(dim=1), strict=True))


def test_a_class_is_its_prompt_and_the_null_is_the_empty_one(folders):
    conditioner = make(folders["text"], template="the {} here")
    told = conditioner.encode(torch.tensor([1, 0]))
    prompted = conditioner.encode(conditioner.extract_features(["the dog here", "the cat here"]))
    null, empty = conditioner.null(1), conditioner.encode(conditioner.extract_features([""]))
    for one, other in ((told, prompted), (null, empty)):
        torch.testing.assert_close(one.tokens, other.tokens)
        torch.testing.assert_close(one.pooled, other.pooled)
        assert torch.equal(one.mask, other.mask)
    assert torch.equal(
        conditioner.extract_features("the dog here"), conditioner.extract_features(["the dog here"])
    )  # not letter by letter


def test_another_prompt_is_another_condition(folders):
    conditioner = make(folders["text"])
    told = conditioner.encode(conditioner.extract_features(["a cat", "a dog", "a dog a cat"]))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        both = told.mask[i] & told.mask[j]
        # A token sees what stands before it, so the first ones are the same.
        assert torch.equal(told.tokens[i][0], told.tokens[j][0])
        assert (told.tokens[i] - told.tokens[j])[both].abs().mean() > 1e-2
        assert (told.pooled[i] - told.pooled[j]).abs().mean() > 1e-2
        assert (told.pooled[i] - conditioner.null(1).pooled[0]).abs().mean() > 1e-2


def test_a_batch_of_four_equals_four_singles(folders, cache):
    batch = make(folders["text"]).extract_features(PROMPTS)
    shutil.rmtree(cache)
    conditioner = make(folders["text"])
    singles = []
    for prompt in PROMPTS:
        singles.append(conditioner.extract_features([prompt]))
    torch.testing.assert_close(torch.cat(singles), batch, rtol=1e-4, atol=1e-5)
    told = conditioner.encode(batch)
    alone = Condition.concatenate([conditioner.encode(batch[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(alone.tokens, told.tokens, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone.pooled, told.pooled, rtol=1e-4, atol=1e-5)
    assert torch.equal(alone.mask, told.mask)


def test_more_prompts_than_go_through_at_once(folders, cache, monkeypatch):
    whole = make(folders["text"]).extract_features(PROMPTS)
    shutil.rmtree(cache)
    monkeypatch.setattr(clip_text, "CHUNK", 3)
    torch.testing.assert_close(make(folders["text"]).extract_features(PROMPTS), whole, rtol=1e-4, atol=1e-5)


def awake_denoiser() -> DiT:
    torch.manual_seed(1)
    denoiser = DiT((8, 16), (8, 4), width=32, depth=2, num_heads=2, condition_width=WIDTH, pooled_width=WIDTH)
    for parameter in denoiser.parameters():
        if not parameter.any():
            parameter.data.normal_(std=0.1)
    return denoiser


def test_padding_changes_nothing_of_a_prompt(folders):
    short, long = make(folders["text"]), make(folders["text"], num_tokens=32)
    long.load_state_dict({k: v for k, v in short.state_dict().items() if k != "features"}, strict=False)
    told, padded = short.encode(PROMPTS), long.encode(PROMPTS)
    assert torch.equal(padded.mask.sum(dim=1), told.mask.sum(dim=1))
    torch.testing.assert_close(padded.tokens[padded.mask], told.tokens[told.mask])
    denoiser, x_t, timestep = awake_denoiser(), torch.randn(4, 1, 8, 16), torch.full((4,), 500)
    torch.testing.assert_close(denoiser(x_t, timestep, padded), denoiser(x_t, timestep, told), rtol=1e-4, atol=1e-5)


def test_every_parameter_learns_and_none_of_the_encoders_does(folders):
    conditioner, denoiser = make(folders["text"]), awake_denoiser()
    conditioner.train()
    frozen = {key: value.clone() for key, value in conditioner.tower.network.state_dict().items()}
    optimiser = torch.optim.AdamW([*conditioner.parameters(), *denoiser.parameters()], lr=1e-2)
    keep = torch.tensor([True, False, True, False])
    condition = Condition.where(keep, conditioner.encode(LABELS), conditioner.null(4))
    denoiser(torch.randn(4, 1, 8, 16), torch.full((4,), 500), condition).square().mean().backward()
    for key, parameter in conditioner.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key
    before = conditioner.features.clone()
    optimiser.step()
    network = conditioner.tower.network
    assert not network.training and torch.equal(conditioner.features, before)
    for key, parameter in network.named_parameters():
        assert not parameter.requires_grad and parameter.grad is None, key
    for key, value in network.state_dict().items():
        assert torch.equal(value, frozen[key]), key


def test_the_null_branch_is_trained(folders):
    conditioner = make(folders["text"])
    null = conditioner.null(2)
    (null.tokens[null.mask].square().mean() + null.pooled.square().mean()).backward()
    for key, parameter in conditioner.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key


def test_a_saved_model_tells_its_classes_without_the_encoder(folders, cache, tmp_path):
    folder = shutil.copytree(folders["text"], tmp_path / "clip")
    conditioner = make(folder)
    told, null = conditioner.encode(LABELS), conditioner.null(4)
    trained = {f"to_{way}.{i}.{kind}" for way in ("tokens", "pooled") for i in (0, 1) for kind in ("weight", "bias")}
    assert dict(conditioner.named_parameters()).keys() == trained
    conditioner.save_pretrained(tmp_path / "saved")
    assert load_file(tmp_path / "saved/diffusion_pytorch_model.safetensors").keys() == trained | {"features"}
    shutil.rmtree(folder)
    shutil.rmtree(cache)
    again = ClipText.from_pretrained(tmp_path / "saved")
    for one, other in ((again.encode(LABELS), told), (again.null(4), null)):
        assert torch.equal(one.tokens, other.tokens)
        assert torch.equal(one.mask, other.mask)
        assert torch.equal(one.pooled, other.pooled)
    with pytest.raises(InputError, match="clip: no such folder"):  # words of one's own need it
        again.encode(["a cat"])


def test_a_pipeline_reads_class_numbers_and_features_of_prompts(folders, tmp_path):
    conditioner, codec = make(folders["text"]), MelCodec(num_samples=16 * 256 - 1)
    denoiser = DiT((100, 16), width=32, depth=1, num_heads=2, condition_width=WIDTH, pooled_width=WIDTH)
    for layer in (denoiser.to_out, *denoiser.modulations, denoiser.modulate_out):
        torch.nn.init.normal_(layer.weight, std=0.1)
    process = Process(schedule="flow", prediction_type="sample", loss_space="flow")
    sampling = {"num_inference_steps": 2, "guidance_scale": 2.0}
    pipeline = Pipeline(
        codec, conditioner, denoiser, make_scheduler("flow-euler", process), process.settings(), sampling
    )
    labels = torch.tensor([0, 1])
    expected = pipeline(labels).x_0
    pipeline.save(tmp_path / "model")
    again = Pipeline.load(str(tmp_path / "model"))
    assert torch.equal(again(labels).x_0, expected)
    prompted = again(again.conditioner.extract_features(["a photo of a cat", "a photo of a dog"])).x_0
    torch.testing.assert_close(prompted, expected)
    assert (again(again.conditioner.extract_features(["a horse", "a frog"])).x_0 - expected).abs().mean() > 1e-3


def test_a_prompt_is_read_once_and_kept_by_weights_and_words(folders, cache, monkeypatch, tmp_path):
    first = make(folders["text"]).extract_features(PROMPTS)
    assert len(list(cache.iterdir())) == len(PROMPTS)
    other = write_text_tower(tmp_path / "other", seed=1)
    assert not torch.allclose(make(other).extract_features(PROMPTS), first)
    with monkeypatch.context() as without:
        without.setattr(clip_text.TextTower, "_read", deaf)
        assert torch.equal(make(folders["text"]).extract_features(PROMPTS), first)
        with pytest.raises(AssertionError, match="was asked"):
            make(folders["text"]).extract_features(["a horse"])
    for file in cache.iterdir():
        file.write_bytes(b"damaged")
    torch.testing.assert_close(make(folders["text"]).extract_features(PROMPTS), first)


def test_a_cache_that_cannot_be_written_is_no_error(folders, cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    assert make(folders["text"]).extract_features(["a cat"]).any()


def test_classes_are_read_once_by_one_conditioner(folders, monkeypatch):
    conditioner = make(folders["text"])
    first = conditioner.encode(LABELS)
    monkeypatch.setattr(clip_text.TextTower, "extract_features", deaf)
    assert torch.equal(conditioner.encode(LABELS).tokens, first.tokens)
    assert conditioner.null(2).pooled.shape == (2, WIDTH)


def test_features_say_the_same_under_autocast_and_in_half(folders, cache):
    conditioner = make(folders["text"])
    features = conditioner.extract_features(PROMPTS)
    assert features.dtype == torch.float32 and not features.requires_grad
    assert torch.equal(conditioner.extract_features(features), features)
    half = conditioner.encode(features.half())
    assert torch.equal(half.mask, conditioner.encode(features).mask)
    shutil.rmtree(cache)
    with torch.autocast("cpu", torch.bfloat16):  # as in training
        assert torch.equal(make(folders["text"]).extract_features(PROMPTS), features)


def test_copies_share_the_encoder_and_keep_its_precision(folders):
    conditioner = make(folders["text"])
    other = copy.deepcopy(conditioner).to(torch.float64)
    assert other.tower is conditioner.tower
    told = other.encode(LABELS)
    assert {p.dtype for p in other.tower.network.parameters()} == {torch.float32}
    assert told.tokens.dtype == torch.float64 and told.mask.dtype == torch.bool
    torch.testing.assert_close(told.tokens.float(), conditioner.encode(LABELS).tokens)


@pytest.mark.parametrize("model", list(KNOWN))
def test_a_known_encoder_is_made_without_a_look_at_the_disk(model, monkeypatch):
    """As a recipe is checked: on no device, before anything is downloaded."""
    for asked in ("find_weights", "local_weights", "download"):
        monkeypatch.setattr(hub, asked, deaf)
    with torch.device("meta"):
        conditioner = ClipText(model, class_names=NAMES)
    assert conditioner.to_tokens[1].in_features == conditioner.config.encoder_width == KNOWN[model]


def test_it_fits_a_recipe(folders):
    recipe = debug_recipe()
    recipe.conditioner = build(ClipText, model=str(folders["text"]), class_names=NAMES, width=WIDTH)
    check_fit(recipe)


@pytest.mark.parametrize("model", ["openai/clip-vit-base-patch32", "someone/elses-clip"])
def test_an_id_that_cannot_be_had_is_one_line(model, monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise OSError("no connection")

    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(InputError) as caught:
        ClipText(model, class_names=NAMES).null(1)
    assert one_line(caught).startswith(f"{model} is not on this machine and the Hub cannot be reached; put its files")
    assert str(tmp_path / model) in str(caught.value)
    assert "--set conditioner.model=PATH" in str(caught.value)


def without_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (without_weight, "lacks text_projection.weight; download the model again"),
        (
            lambda folder: (folder / "config.json").write_text(json.dumps({"model_type": "bert"})),
            "encoder (a bert); gi",
        ),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read as a CLIP text encoder"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"none"), "cannot be read as a CLIP text encoder"),
        (lambda folder: (folder / "vocab.json").unlink(), "no tokenizer.json or vocab.json in it"),
    ],
)
def test_damaged_files_are_one_line(folders, tmp_path, damage, named):
    folder = shutil.copytree(folders["text"], tmp_path / "clip")
    damage(folder)
    with pytest.raises(InputError) as caught:
        make(folder).null(1)
    assert named in one_line(caught)


@pytest.mark.parametrize(
    ("fields", "raw", "named"),
    [
        ({}, torch.tensor([3]), r"label \[3\]: out of range; this model has classes 0 to 2$"),
        ({"class_names": ()}, torch.tensor([0]), "this model has no classes; give it prompts$"),
        ({}, ["x" * 40], "42 tokens of .*, this model reads 24; shorten it$"),
        ({"num_tokens": 77}, ["x" * 40], "this model reads 32; shorten it$"),
        ({}, torch.zeros(2, 17, 24), r"features of shape \(17, 24\) for .* gives \(25, 24\)"),
        ({"template": "a photo"}, LABELS, "conditioner.template 'a photo': write {} once"),
        ({"num_tokens": 1}, LABELS, "conditioner.num_tokens 1: give at least 2"),
    ],
)
def test_what_cannot_be_told_is_one_line(folders, fields, raw, named):
    with pytest.raises(InputError, match=named) as caught:
        make(folders["text"], **fields).encode(raw)
    one_line(caught)


def test_a_prompt_kept_for_longer_models_is_refused_by_a_shorter(folders):
    make(folders["text"]).extract_features(["a photo of a dog"])
    with pytest.raises(InputError, match="this model reads 4; shorten it"):
        make(folders["text"], num_tokens=4, class_names=()).extract_features(["a photo of a dog"])


@pytest.mark.gpu
def test_the_encoder_goes_where_the_conditioner_goes(folders):
    conditioner = make(folders["text"])
    told = conditioner.encode(LABELS)
    conditioner.to("cuda")
    assert {p.device.type for p in conditioner.tower.network.parameters()} == {"cuda"}
    torch.testing.assert_close(conditioner.encode(LABELS.cuda()).tokens.cpu(), told.tokens, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(
        conditioner.encode(["a new cat"]).pooled.cpu(),
        conditioner.cpu().encode(["a new cat"]).pooled,
        rtol=1e-2,
        atol=1e-2,
    )
