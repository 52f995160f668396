"""Stable Diffusion that hears: the base to the bit where nothing is heard, and what each way adds (laws 4 and 7)."""

from __future__ import annotations

import copy
import itertools
import json
import shutil
from dataclasses import replace
from typing import Any

import huggingface_hub
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from denoisers.tiny_diffusion import (
    NETWORK,
    NUM_SOUND,
    NUM_TEXT,
    SETTINGS,
    WIDTH,
    draw,
    inputs,
    make_denoiser,
    make_unet,
    told,
    write_stable_diffusion,
)
from synesthete import hub
from synesthete.config import build
from synesthete.denoisers.stable_diffusion import BASE, KNOWN, StableDiffusion
from synesthete.types import Condition, InputError

SIZES = [(8, 8), (5, 7), (12, 4), (1, 1)]
WAYS = [{}, {"gated": False}, {"lora_rank": None}, {"gated": False, "lora_rank": None}]
every_way = pytest.mark.parametrize("ways", WAYS, ids=str)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_stable_diffusion(tmp_path_factory.mktemp("sd") / "base")


@pytest.fixture(scope="module")
def unet(folder):
    """The base as diffusers reads it, moved in memory: bits depend on how a file's weights are aligned there."""
    return copy.deepcopy(UNet2DConditionModel.from_pretrained(folder / "unet")).eval()


def plain(unet, x_t, timestep, tokens, mask=None):
    with torch.no_grad():
        return unet(x_t, timestep, tokens, encoder_attention_mask=mask).sample


@torch.no_grad()
def predict(denoiser, condition=None, size=(8, 8), adapter_scale=1.0, batch=2):
    denoiser.adapter_scale = adapter_scale
    return denoiser(*inputs(batch, size), told(batch) if condition is None else condition)


def silent(condition: Condition) -> Condition:
    """The same, its sound masked."""
    mask = torch.ones(condition.tokens.shape[:2], dtype=torch.bool)
    mask[:, -NUM_SOUND:] = False
    return replace(condition, mask=mask)


@every_way
def test_strength_0_is_the_base_to_the_bit(folder, unet, ways):
    denoiser = make_denoiser(folder, awake=True, **ways)
    for size, mask in itertools.product(SIZES, (True, None)):
        condition = told(mask=mask)
        expected = plain(unet, *inputs(size=size), condition.tokens[:, :NUM_TEXT])
        assert torch.equal(predict(denoiser, condition, size, adapter_scale=0.0), expected)
        assert torch.equal(predict(denoiser, denoiser.precompute(condition), size, adapter_scale=0.0), expected)
        assert not torch.equal(predict(denoiser, condition, size), expected)


@every_way
def test_what_has_learned_nothing_is_the_base_with_more_tokens(folder, unet, ways):
    """Gates are 0 and LoRA changes nothing: all there is are the tokens in the base's own attention."""
    condition = told(mask=None)
    assert torch.equal(predict(make_denoiser(folder, **ways), condition), plain(unet, *inputs(), condition.tokens))


@every_way
def test_sound_that_is_masked_is_not_heard(folder, unet, ways):
    condition = silent(told())
    expected = plain(unet, *inputs(), condition.tokens[:, :NUM_TEXT])
    torch.testing.assert_close(predict(make_denoiser(folder, **ways), condition), expected)
    awake = make_denoiser(folder, awake=True, **ways)
    louder = replace(condition, tokens=condition.tokens.clone())
    louder.tokens[:, -NUM_SOUND:] *= 100
    assert torch.equal(predict(awake, condition), predict(awake, louder))
    if not ways.get("lora_rank", True):
        torch.testing.assert_close(predict(awake, condition), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_sample_that_keeps_nothing_is_finite_in_few_bits(folder, dtype):
    """Half of float32's least number is infinite in fp16, and NaN where all of a sample's keys are so."""
    condition = told()
    condition.mask[0] = False
    with torch.autocast("cpu", dtype):
        found = predict(make_denoiser(folder, awake=True), condition)
    assert found.isfinite().all()


def test_a_mask_of_text_is_followed(folder, unet):
    condition = silent(told())
    condition.mask[0, 4:NUM_TEXT] = False
    expected = plain(unet, *inputs(), condition.tokens[:, :NUM_TEXT], condition.mask[:, :NUM_TEXT])
    torch.testing.assert_close(predict(make_denoiser(folder), condition), expected)
    torch.testing.assert_close(predict(make_denoiser(folder, awake=True), condition, adapter_scale=0.0), expected)
    condition.mask[:] = False
    assert predict(make_denoiser(folder, awake=True), condition).isfinite().all()


def test_strength_weighs_the_sound_tokens_beside_the_text(folder):
    """A token of adapter_scale 2 is that token twice; of adapter_scale 1/2, one of two that are equal."""
    denoiser, condition = make_denoiser(folder, gated=False, lora_rank=None), told()
    text, sound = condition.tokens[:, :NUM_TEXT], condition.tokens[:, NUM_TEXT:]
    twice = make_denoiser(folder, gated=False, lora_rank=None, num_sound_tokens=2 * NUM_SOUND)
    doubled = Condition(tokens=torch.cat([text, sound, sound], dim=1))
    torch.testing.assert_close(predict(denoiser, condition, adapter_scale=2.0), predict(twice, doubled))
    torch.testing.assert_close(predict(denoiser, condition), predict(twice, doubled, adapter_scale=0.5))


@pytest.mark.parametrize("ways", [*WAYS[1:3], {}], ids=str)
def test_the_stronger_the_further_from_the_base(folder, ways):
    denoiser = make_denoiser(folder, awake=True, **ways)
    base = predict(denoiser, adapter_scale=0.0)
    moved = [(predict(denoiser, adapter_scale=s) - base).square().mean() for s in (0.0, 0.25, 0.5, 1.0)]
    assert moved[0] == 0
    assert moved == sorted(moved)
    near = (predict(denoiser, adapter_scale=1e-6) - base).abs().max()
    assert near < 1e-3  # no jump at 0


def test_each_way_of_hearing_reaches_the_output(folder):
    """Another sound changes the picture by the tokens alone, and by the gates alone."""
    other = told(seed=5)
    other = replace(other, tokens=torch.cat([told().tokens[:, :NUM_TEXT], other.tokens[:, NUM_TEXT:]], dim=1))
    tokens_only = make_denoiser(folder, awake=True, gated=False)
    assert (predict(tokens_only, other) - predict(tokens_only)).abs().max() > 1e-3
    gated = make_denoiser(folder, lora_rank=None)
    for parameter in gated.groups()["gates"]:
        if parameter.shape == (1,):
            parameter.data.fill_(1.0)
    difference = predict(gated, other) - predict(gated)
    plain = make_denoiser(folder, lora_rank=None)
    assert (difference - (predict(plain, other) - predict(plain))).abs().max() > 1e-3
    assert list(gated.gates.values()) == [pytest.approx(0.7616, abs=1e-4)] * 4
    assert set(plain.gates.values()) == {0.0}


@every_way
def test_precomputed_keys_and_values_give_the_same(folder, ways):
    denoiser = make_denoiser(folder, awake=True, **ways)
    for adapter_scale in (0.0, 0.3, 1.0):
        denoiser.adapter_scale = adapter_scale
        once = denoiser.precompute(told())
        torch.testing.assert_close(
            predict(denoiser, once, adapter_scale=adapter_scale), predict(denoiser, adapter_scale=adapter_scale)
        )
        half = Condition.concatenate([once[:1], denoiser.precompute(silent(told()))[1:]])
        again = Condition.concatenate([told()[:1], silent(told())[1:]])
        torch.testing.assert_close(
            predict(denoiser, half, adapter_scale=adapter_scale), predict(denoiser, again, adapter_scale=adapter_scale)
        )


def test_precomputing_saves_the_projections(folder):
    denoiser = make_denoiser(folder)
    ready = denoiser.precompute(told())

    def count(condition):
        with FlopCounterMode(display=False) as flops:
            predict(denoiser, condition)
        return flops.get_total_flops()

    layers, width = 4, NETWORK["block_out_channels"]
    widths = (width[0], width[0], width[0], width[1])
    tokens = 2 * (NUM_TEXT + NUM_SOUND)
    base = sum(2 * 2 * tokens * WIDTH * w for w in widths)
    assert len(ready.keys_values) == 2 * layers
    assert count(told()) - count(ready) > base


def test_keys_and_values_of_another_strength_are_not_taken_for_none(folder):
    """They hold LoRA's share and the sound: at adapter_scale 0, and from it, they are computed anew."""
    denoiser = make_denoiser(folder, awake=True)
    expected = {adapter_scale: predict(denoiser, adapter_scale=adapter_scale) for adapter_scale in (0.0, 1.0)}
    for before, after in ((0.0, 1.0), (1.0, 0.0)):
        denoiser.adapter_scale = before
        torch.testing.assert_close(predict(denoiser, denoiser.precompute(told()), adapter_scale=after), expected[after])


@every_way
def test_a_batch_equals_its_singles(folder, ways):
    denoiser = make_denoiser(folder, awake=True, **ways)
    condition = told(4)
    condition.mask[1, -NUM_SOUND:] = False
    condition.mask[2, 3:NUM_TEXT] = False
    x_t, timestep = inputs(4)
    denoiser.adapter_scale = 0.7
    with torch.no_grad():
        whole = denoiser(x_t, timestep, condition)
        singles = [denoiser(x_t[i : i + 1], timestep[i : i + 1], condition[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(torch.cat(singles), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_parameter_learns(folder, checkpointing):
    denoiser = make_denoiser(folder).train()
    if checkpointing:
        denoiser.enable_gradient_checkpointing()
    optimiser = torch.optim.AdamW(denoiser.parameters(), lr=1e-2)
    waiting = dict(denoiser.named_parameters())
    x_t, timestep = inputs()
    for _ in range(3):
        optimiser.zero_grad()
        (denoiser(x_t, timestep, told()) - draw(*x_t.shape, seed=5)).square().mean().backward()
        waiting = {name: p for name, p in waiting.items() if p.grad is None or not p.grad.any()}
        optimiser.step()
    assert not waiting


@pytest.mark.parametrize("trained", ["base", "lora", "gates"])
def test_a_group_is_trained_alone(folder, trained):
    denoiser = make_denoiser(folder).train()
    groups = denoiser.groups()
    assert sum(map(len, groups.values())) == len(list(denoiser.parameters()))
    denoiser.requires_grad_(False)
    for parameter in groups[trained]:
        parameter.requires_grad_(True)
    before = {name: p.detach().clone() for name, p in denoiser.named_parameters()}
    optimiser = torch.optim.AdamW([p for p in denoiser.parameters() if p.requires_grad], lr=1e-2)
    x_t, timestep = inputs()
    for _ in range(3):
        optimiser.zero_grad()
        (denoiser(x_t, timestep, told()) - draw(*x_t.shape, seed=5)).square().mean().backward()
        optimiser.step()
    own = {id(p) for p in groups[trained]}
    for name, parameter in denoiser.named_parameters():
        assert torch.equal(parameter, before[name]) != (id(parameter) in own), name
        assert (parameter.grad is None) != (id(parameter) in own), name


def test_the_sound_alone_is_trained_through_a_frozen_network(folder):
    """As the first stage does; with checkpointing, too, the gradients are the same."""
    denoiser = make_denoiser(folder, awake=True).train().requires_grad_(False)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            denoiser.enable_gradient_checkpointing()
        condition = told()
        sound = condition.tokens[:, NUM_TEXT:].clone().requires_grad_()
        tokens = torch.cat([condition.tokens[:, :NUM_TEXT], sound], dim=1)
        denoiser(*inputs(), replace(condition, tokens=tokens)).square().mean().backward()
        gradients.append(sound.grad)
    assert (gradients[0].abs().amax(dim=(0, 2)) > 0).all()
    torch.testing.assert_close(*gradients)


def test_it_learns_in_bf16_what_it_learns_in_float32(folder):
    denoiser = make_denoiser(folder, awake=True)
    losses, gradients = [], []
    for enabled in (False, True):
        denoiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = denoiser(*inputs(), told()).float().square().mean()
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in denoiser.groups()["gates"]]))
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.98


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_from_zero_makes_pixels(channels):
    denoiser = make_denoiser(in_channels=channels, sample_size=(6, 9), awake=True)
    x_t, timestep = inputs(size=(6, 9), channels=channels)
    out = denoiser(x_t, timestep, told())
    assert out.shape == x_t.shape
    assert out.isfinite().all()


def test_the_same_seed_makes_the_same_network(folder):
    first, second = make_denoiser(folder), make_denoiser(folder)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@every_way
def test_a_saved_model_needs_no_file_of_the_base(folder, tmp_path, ways):
    shutil.copytree(folder, tmp_path / "base")
    denoiser = make_denoiser(tmp_path / "base", awake=True, **ways)
    expected = predict(denoiser, adapter_scale=0.5)
    denoiser.save_pretrained(tmp_path / "saved")
    shutil.rmtree(tmp_path / "base")
    again = StableDiffusion.from_pretrained(tmp_path / "saved").eval()
    assert again.adapter_scale == 1.0  # a setting of sampling, which is not saved
    assert "adapter_scale" not in json.loads((tmp_path / "saved" / "config.json").read_text())
    assert torch.equal(predict(again, adapter_scale=0.5), expected)
    assert torch.equal(predict(copy.deepcopy(again), adapter_scale=0.5), expected)


@pytest.mark.parametrize("inside", ["", "unet"])
def test_a_folder_may_be_the_pipeline_or_the_network_alone(folder, unet, inside):
    condition = told()
    expected = plain(unet, *inputs(), condition.tokens[:, :NUM_TEXT])
    assert torch.equal(predict(make_denoiser(folder / inside), condition, adapter_scale=0.0), expected)


@pytest.mark.parametrize("how", ["half", "shards", "beside others"])
def test_other_layouts_of_safetensors_are_read(tmp_path, how):
    made = make_unet()
    if how == "half":
        made.half().save_pretrained(tmp_path / "unet", variant="fp16")
        made.float()
    elif how == "shards":
        made.save_pretrained(tmp_path / "unet", max_shard_size="20KB")
        assert len(list((tmp_path / "unet").glob("*.safetensors"))) > 1
    else:  # as published: the same in half precision, and one that was averaged over less
        make_unet(seed=3).save_pretrained(tmp_path / "unet", variant="non_ema")
        copy.deepcopy(made).half().save_pretrained(tmp_path / "unet", variant="fp16")
        made.save_pretrained(tmp_path / "unet")
    condition = told()
    expected = plain(made, *inputs(), condition.tokens[:, :NUM_TEXT])
    assert torch.equal(predict(make_denoiser(tmp_path), condition, adapter_scale=0.0), expected)


@pytest.mark.parametrize("where", ["by hand", "on the Hub"])
def test_a_hub_id_is_found(folder, unet, tmp_path, monkeypatch, where):
    """On the Hub only what is needed is asked for, at the revision that is pinned."""
    asked: list[dict[str, Any]] = []

    def snapshot_download(repository: str, **options: Any) -> str:
        if options["local_files_only"]:
            raise FileNotFoundError
        asked.append({"repository": repository, **options})
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path))
    monkeypatch.setitem(KNOWN, BASE, NETWORK)
    if where == "by hand":
        shutil.copytree(folder, tmp_path / BASE)
    condition = told()
    expected = plain(unet, *inputs(), condition.tokens[:, :NUM_TEXT])
    assert torch.equal(predict(make_denoiser(BASE), condition, adapter_scale=0.0), expected)
    if where == "by hand":
        assert not asked
        return
    (call,) = asked
    assert call["revision"] == hub.PRETRAINED[BASE].revision
    assert call["allow_patterns"] == [
        "unet/diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.safetensors",
    ]


def test_the_known_base_is_made_without_a_look_at_the_disk(monkeypatch):
    """As a recipe is checked: on no device, before anything is downloaded; 860M parameters of Stable Diffusion 1."""

    def deaf(*_, **__):
        raise AssertionError("was asked")

    for asked in ("find_weights", "local_weights", "download"):
        monkeypatch.setattr(hub, asked, deaf)
    with torch.device("meta"):
        denoiser = StableDiffusion()
    sizes = {name: sum(p.numel() for p in group) for name, group in denoiser.groups().items()}
    assert sizes["base"] == 859_520_964  # as counted of the published weights
    assert sizes["lora"] < 4e6
    assert sizes["gates"] < 3e7
    assert sum(parameter.shape == (1,) for parameter in denoiser.groups()["gates"]) == 16


def test_it_stands_in_a_recipe_as_plain_values(folder):
    made = build(StableDiffusion, model=str(folder), condition_width=WIDTH, lora_rank=2)
    made.network = {**NETWORK}
    assert made().config.lora_rank == 2


def test_its_own_weights_are_apart_from_another_networks(folder):
    """Strength is set for one denoiser, not for all that were made."""
    first, second = make_denoiser(folder, awake=True), make_denoiser(folder, awake=True)
    expected = predict(second)
    first.adapter_scale = 0.0
    assert torch.equal(second(*inputs(), told()).detach(), expected)


def without_safetensors(folder):
    for file in (folder / "unet").glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))


def of_another_class(folder):
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": "UNet2DModel"}))


def with_time_ids(folder):
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "addition_embed_type": "text_time"}))


def with_damaged_weights(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights")


def with_damaged_settings(folder):
    (folder / "unet" / "config.json").write_text("{")


def with_other_weights(folder):
    make_unet(block_out_channels=[8, 24]).save_pretrained(folder / "other")
    shutil.copy(folder / "other" / "diffusion_pytorch_model.safetensors", folder / "unet")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_safetensors, "unet: only .bin files, which hold more than tensors; put diffusion_pytorch_model.safe"),
        (of_another_class, "a UNet2DModel, not a UNet2DConditionModel; give a Stable Diffusion 1 or 2 as denoiser"),
        (with_time_ids, "a network with addition_embed_type text_time; give a Stable Diffusion 1 or 2"),
        (with_damaged_weights, "diffusion_pytorch_model.safetensors: damaged; download it again"),
        (with_damaged_settings, "config.json: damaged; copy it again"),
        (with_other_weights, r"its weights do not fit its settings \(.+\); copy it again"),
    ],
)
def test_a_base_that_cannot_be_used_is_one_line(folder, tmp_path, damage, message):
    shutil.copytree(folder, tmp_path / "base")
    damage(tmp_path / "base")
    with pytest.raises(InputError, match=message) as caught:
        make_denoiser(tmp_path / "base")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": None, "network": None}, "none given, and no denoiser.network; give a Hub id, a folder"),
        ({"model": "/nowhere/base", "network": None}, "/nowhere/base: no such folder"),
        ({"network": {**NETWORK, "heads": 4}}, "has no argument 'heads'"),
        ({"network": {**NETWORK, "down_block_types": ["SimpleCrossAttnDownBlock2D"] * 2}}, "give a Stable Diffusion 1"),
        ({"network": {**NETWORK, "class_embed_type": "timestep"}}, "a network with class_embed_type timestep"),
        (
            {"network": {**NETWORK, "down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2,
                         "mid_block_type": None}},
            "no cross-attention that could hear",
        ),
        ({"network": {**NETWORK, "in_channels": 3}}, "has in_channels 3; --set denoiser.in_channels=3"),
        ({"num_sound_tokens": 0}, "num_sound_tokens 0"),
        ({"lora_rank": 0}, "lora_rank=null leave"),
    ],
)  # fmt: skip
def test_fields_that_contradict_each_other_are_one_line(settings, message):
    with pytest.raises(InputError, match=message) as caught:
        make_denoiser(**settings)
    assert "\n" not in str(caught.value)


def test_a_width_that_the_base_has_not_is_said_with_what_to_set(folder):
    with pytest.raises(InputError, match=r"condition_width 12: .* 16; --set denoiser.condition_width=16"):
        make_denoiser(folder, condition_width=12)


@pytest.mark.parametrize("adapter_scale", [-0.1, float("nan"), float("inf")])
def test_no_such_strength(adapter_scale):
    denoiser = make_denoiser()
    with pytest.raises(InputError, match="give a number from 0"):
        denoiser.adapter_scale = adapter_scale
    assert denoiser.adapter_scale == 1.0


@pytest.mark.parametrize("shape", [(2, NUM_SOUND, WIDTH), (2, NUM_TEXT + NUM_SOUND, WIDTH + 1)])
def test_tokens_that_do_not_fit_are_named(shape):
    with pytest.raises(InputError, match="text and then 3 of sound, each 16 wide"):
        make_denoiser().precompute(Condition(tokens=draw(*shape)))
    with pytest.raises(ValueError, match="tokens"):
        make_denoiser()(*inputs(), Condition(pooled=draw(2, 4)))


def test_what_the_tests_call_defaults_are_the_published_settings():
    """Of Stable Diffusion 1.5 as its unet/config.json has them: `KNOWN` says nothing because diffusers' defaults do."""
    with torch.device("meta"):
        config = StableDiffusion().unet.config
    published = {"attention_head_dim": 8, "cross_attention_dim": 768, "layers_per_block": 2, "sample_size": [64, 64]}
    published |= {"block_out_channels": (320, 640, 1280, 1280), "norm_num_groups": 32, "norm_eps": 1e-5}
    assert {key: config[key] for key in published} == published
    assert set(SETTINGS) <= set(config)
