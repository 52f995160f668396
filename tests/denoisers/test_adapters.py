"""Adapters: a round trip, a base that is not theirs, and plain diffusers that says what ours says."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, StableDiffusionPipeline
from diffusers.utils import logging
from safetensors.torch import load_file
from torch import nn

from denoisers.tiny_diffusion import NETWORK, NUM_TEXT, draw, inputs, make_denoiser, told, wake, write_stable_diffusion
from synesthete.conditioning.audio_text import AudioTextConditioner
from synesthete.conditioning.clip_text import ClipPrompts
from synesthete.conditioning.frozen_sound import Clap
from synesthete.conditioning.learned_encoders import TextTransformer
from synesthete.config import register_class
from synesthete.denoisers.adapters import (
    PREFIX,
    base_digests,
    load_adapters,
    load_conditioner,
    lora_of,
    prompt_embeds,
    put_into,
    save_adapters,
    set_adapter_scale,
)
from synesthete.denoisers.gated_attention import lora_places
from synesthete.hub import ADAPTERS_INDEX
from synesthete.types import Condition, InputError

STEPS = 3


@register_class
class Ears(nn.Module):
    """A conditioner as far as adapters look at it: what makes tokens, and an encoder that is none of theirs."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.to_tokens, self.encoder = nn.Linear(width, 8), nn.Linear(2, width)
        self.fields = {"width": width}

    def groups(self):
        return {"sound": self.to_tokens.parameters(), "encoder": list(self.encoder.parameters())}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_stable_diffusion(tmp_path_factory.mktemp("sd") / "base")


@pytest.fixture(scope="module")
def plain(folder):
    """The published pipeline as diffusers loads it; to be read only."""
    return load_plain(folder)


def load_plain(folder, **kwargs):
    logging.disable_progress_bar()
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, **kwargs)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def make_parts(folder, *, awake=True, **settings):
    torch.manual_seed(4)
    return SimpleNamespace(denoiser=make_denoiser(folder, awake=awake, **settings), conditioner=Ears())


def conditions(batch=2):
    """Text and sound, and the null that guidance starts from: a text, and a sound that is masked."""
    condition, null = told(batch), told(batch, seed=7)
    null.mask[:, NUM_TEXT:] = False
    return condition, null


@torch.no_grad()
def predict(denoiser, condition=None, adapter_scale=1.0):
    denoiser.adapter_scale = adapter_scale
    return denoiser(*inputs(), told() if condition is None else condition)


@torch.no_grad()
def walk(denoiser, condition, null, scheduler_config, scale=4.0):
    """Our network in diffusers' own loop, from the noise that the pipeline is given."""
    scheduler = DDIMScheduler.from_config(scheduler_config)
    scheduler.set_timesteps(STEPS)
    x_t = draw(2, 4, 8, 8)
    both = denoiser.precompute(Condition.concatenate([null, condition]))
    for timestep in scheduler.timesteps:
        without, with_ = denoiser(torch.cat([x_t, x_t]), timestep.expand(4), both).chunk(2)
        x_t = scheduler.step(without + scale * (with_ - without), timestep, x_t).prev_sample
    return x_t


def sampled(pipeline, condition, null, scale=4.0):
    return pipeline(
        prompt_embeds=prompt_embeds(condition),
        negative_prompt_embeds=prompt_embeds(null),
        guidance_scale=scale,
        num_inference_steps=STEPS,
        latents=draw(2, 4, 8, 8),
        output_type="latent",
    ).images


@pytest.mark.parametrize("settings", [{}, {"gated": False}, {"lora_rank": None}], ids=str)
def test_what_was_saved_comes_back(folder, tmp_path, settings):
    parts = make_parts(folder, **settings)
    save_adapters(parts, tmp_path)
    again = make_parts(folder, awake=False, **settings)
    again.conditioner.to_tokens.weight.data.zero_()
    load_adapters(again, tmp_path)
    assert torch.equal(predict(again.denoiser), predict(parts.denoiser))
    assert torch.equal(again.conditioner.to_tokens.weight, parts.conditioner.to_tokens.weight)
    held = {name for file in tmp_path.glob("*.safetensors") for name in load_file(file)}
    assert not any("encoder" in name or "base_layer" in name for name in held)
    assert json.loads((tmp_path / ADAPTERS_INDEX).read_text())["base"]["model"] == str(folder)


def test_it_is_small_beside_its_base(folder, tmp_path):
    parts = make_parts(folder)
    save_adapters(parts, tmp_path / "full")
    save_adapters(parts, tmp_path / "half", torch.float16)
    full, half = (
        sum(file.stat().st_size for file in (tmp_path / name).glob("*.safetensors")) for name in ("full", "half")
    )
    assert full < (folder / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size
    assert half < 0.8 * full
    again = make_parts(folder, awake=False)
    load_adapters(again, tmp_path / "half")
    torch.testing.assert_close(predict(again.denoiser), predict(parts.denoiser), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("settings", [{}, {"gated": False}, {"lora_rank": None}], ids=str)
def test_a_plain_pipeline_makes_what_ours_makes(folder, tmp_path, settings):
    parts, pipeline = make_parts(folder, **settings), load_plain(folder)
    save_adapters(parts, tmp_path)
    condition, null = conditions()
    for adapter_scale in (1.0, 0.4):
        put_into(pipeline, tmp_path, adapter_scale)
        parts.denoiser.adapter_scale = adapter_scale
        expected = walk(parts.denoiser, condition, null, pipeline.scheduler.config)
        torch.testing.assert_close(sampled(pipeline, condition, null), expected, atol=1e-4, rtol=1e-3)


def test_a_plain_pipeline_hears(folder, plain, tmp_path):
    save_adapters(make_parts(folder), tmp_path)
    pipeline = load_plain(folder)
    put_into(pipeline, tmp_path)
    condition, null = conditions()
    heard, other = sampled(pipeline, condition, null), sampled(pipeline, told(seed=5), null)
    assert (heard - other).abs().max() > 1e-2
    set_adapter_scale(pipeline.unet, 0.0)
    text, nothing = (
        Condition(tokens=told_.tokens[:, :NUM_TEXT], mask=told_.mask[:, :NUM_TEXT]) for told_ in (condition, null)
    )
    torch.testing.assert_close(sampled(pipeline, condition, null), sampled(plain, text, nothing))


def test_a_plain_pipeline_still_reads_prompts(folder, plain, tmp_path):
    """With no sound to tell, what is left is the LoRA; at adapter_scale 0 the base."""
    save_adapters(make_parts(folder), tmp_path)
    pipeline = load_plain(folder)
    put_into(pipeline, tmp_path)
    asked = {"num_inference_steps": STEPS, "output_type": "latent", "latents": draw(1, 4, 8, 8)}
    with_lora = pipeline("a b c", **asked).images
    expected = plain("a b c", **asked).images
    assert with_lora.isfinite().all()
    assert not torch.equal(with_lora, expected)
    set_adapter_scale(pipeline.unet, 0.0)
    torch.testing.assert_close(pipeline("a b c", **asked).images, expected)


def test_other_adapters_take_the_place_of_the_first(folder, tmp_path):
    first, second = make_parts(folder), make_parts(folder)
    for parameter in (*second.denoiser.groups()["lora"], *second.denoiser.groups()["gates"]):
        parameter.data *= -1
    for name, parts in (("first", first), ("second", second)):
        save_adapters(parts, tmp_path / name)
    once, twice = load_plain(folder), load_plain(folder)
    put_into(once, tmp_path / "second")
    put_into(twice, tmp_path / "first")
    put_into(twice, tmp_path / "second")
    torch.testing.assert_close(sampled(twice, *conditions()), sampled(once, *conditions()))


def test_diffusers_reads_the_lora_alone_with_its_scale(folder, tmp_path):
    parts = make_parts(folder, gated=False)
    save_adapters(parts, tmp_path)
    pipeline = load_plain(folder)
    pipeline.load_lora_weights(str(tmp_path), weight_name="lora.safetensors")
    tokens = told().tokens
    with torch.no_grad():
        expected = pipeline.unet(*inputs(), tokens).sample
    torch.testing.assert_close(predict(parts.denoiser, Condition(tokens=tokens)), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_base_is_known_again_in_half_precision(folder, plain, tmp_path, dtype):
    pipeline = load_plain(folder, torch_dtype=dtype)
    saved, rounded = base_digests(plain.unet), base_digests(pipeline.unet)
    name = str(dtype).removeprefix("torch.")
    assert saved[name] == rounded[name]
    save_adapters(make_parts(folder), tmp_path)
    put_into(pipeline, tmp_path)
    assert {p.dtype for n, p in pipeline.unet.named_parameters() if ".processor." in n} == {dtype}


def test_a_base_has_one_digest_whatever_is_beside_it(folder, plain):
    expected = base_digests(plain.unet)
    assert base_digests(make_denoiser(folder, awake=True).unet) == expected
    assert base_digests(make_denoiser(folder, gated=False, lora_rank=None).unet) == expected
    changed = make_denoiser(folder)
    changed.groups()["base"][5].data.mul_(1.01)
    assert not set(base_digests(changed.unet).values()) & set(expected.values())


def test_adapters_of_another_base_are_refused(folder, tmp_path):
    save_adapters(make_parts(folder), tmp_path / "adapters")
    other = write_stable_diffusion(tmp_path / "other", seed=3)
    for attempt in (
        lambda: load_adapters(make_parts(other), tmp_path / "adapters"),
        lambda: put_into(load_plain(other), tmp_path / "adapters"),
    ):
        with pytest.raises(InputError, match=f"adapters of {folder}, and this is another base; put them") as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_a_base_of_ones_own_has_adapters_too(tmp_path):
    parts = SimpleNamespace(denoiser=wake(make_denoiser(network=NETWORK)), conditioner=Ears())
    save_adapters(parts, tmp_path)
    again = SimpleNamespace(denoiser=make_denoiser(network=NETWORK), conditioner=Ears())
    load_adapters(again, tmp_path)  # the same seed made the same base
    assert torch.equal(predict(again.denoiser), predict(parts.denoiser))
    again.denoiser.groups()["base"][0].data.add_(1)
    with pytest.raises(InputError, match="adapters of a base of its own, and this is another"):
        load_adapters(again, tmp_path)


def damage(folder):
    (folder / "gates.safetensors").write_bytes(b"no weights")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (damage, "gates.safetensors: damaged; copy the adapters again"),
        (lambda folder: (folder / ADAPTERS_INDEX).unlink(), "no adapters.json in it; give the folder of adapters"),
        (lambda folder: (folder / ADAPTERS_INDEX).write_text("{}"), "adapters.json: damaged"),
        (lambda folder: (folder / ADAPTERS_INDEX).write_text("["), "adapters.json: damaged"),
        (lambda folder: (folder / "sound.safetensors").unlink(), r"sound.safetensors: to_tokens.\w+ is not there"),
    ],
)
def test_a_damaged_folder_is_one_line(folder, tmp_path, spoil, message):
    save_adapters(make_parts(folder), tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        load_adapters(make_parts(folder), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("hears", [False, True])
@pytest.mark.parametrize("file", ["gates.safetensors", "lora.safetensors"])
def test_a_damaged_file_leaves_a_plain_pipeline_as_it_was(folder, tmp_path, file, hears):
    save_adapters(make_parts(folder), tmp_path / "whole")
    broken = shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    (broken / file).write_bytes((broken / file).read_bytes()[:100])
    pipeline = load_plain(folder)
    if hears:
        put_into(pipeline, tmp_path / "whole")
    before = {name: value.clone() for name, value in pipeline.unet.state_dict().items()}
    with pytest.raises(InputError, match=f"{file}: damaged; copy the adapters again"):
        put_into(pipeline, broken, 0.4)
    after = pipeline.unet.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_the_places_of_a_lora_are_known_before_and_after_it_is_there(folder, plain):
    denoiser = make_denoiser(folder)
    expected = {name: value.shape for name, value in lora_of(denoiser.unet).items()}
    for unet in (plain.unet, denoiser.unet):
        assert {PREFIX + name: value.shape for name, value in lora_places(unet, 2).items()} == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora_rank": 4}, "its lora_rank is 2, here 4; --set denoiser.lora_rank=2"),
        ({"lora_rank": None}, "its lora_rank is 2, here None; --set denoiser.lora_rank=2"),
        ({"lora_alpha": 16}, r"its lora_alpha is 32(\.0)?, here 16"),
        ({"num_sound_tokens": 4}, "its num_sound_tokens is 3, here 4"),
        ({"gated": False}, r"gates.safetensors: .* is .* there, not here; set gated, gated_width"),
        ({"gated_width": 4}, r"gates.safetensors: .* is \(8, 8\) there, \(4, 8\) here; set gated, gated_width"),
    ],
)
def test_adapters_of_another_make_are_refused_and_nothing_is_lost(folder, tmp_path, settings, message):
    save_adapters(make_parts(folder), tmp_path)
    parts = make_parts(folder, **settings)
    before = {name: value.clone() for name, value in parts.denoiser.state_dict().items()}
    with pytest.raises(InputError, match=message):
        load_adapters(parts, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in parts.denoiser.state_dict().items())


def test_a_pipeline_without_the_network_is_refused(folder, tmp_path):
    save_adapters(make_parts(folder), tmp_path)
    with pytest.raises(InputError, match="DiffusionPipeline has no UNet2DConditionModel"):
        put_into(DiffusionPipeline(), tmp_path)


def test_a_conditioner_of_frozen_encoders_comes_with_the_adapters(folder, tmp_path):
    parts = make_parts(folder)
    parts.conditioner = AudioTextConditioner(Clap(), ClipPrompts(), num_sound_tokens=3, hidden=8)
    save_adapters(parts, tmp_path)
    again = load_conditioner(tmp_path)
    assert isinstance(again, AudioTextConditioner)
    for name, value in parts.conditioner.named_parameters():
        assert torch.equal(dict(again.named_parameters())[name], value)


def test_a_conditioner_that_was_trained_itself_does_not(folder, tmp_path):
    parts = make_parts(folder)
    parts.conditioner = AudioTextConditioner(
        Clap(), TextTransformer(("a", "b"), width=16), width=16, num_sound_tokens=3, hidden=8
    )
    save_adapters(parts, tmp_path)
    with pytest.raises(InputError, match="its conditioner's text was trained, too; load the model"):
        load_conditioner(tmp_path)
