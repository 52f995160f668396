"""A finished model: saved, loaded, and the same in a batch as alone (law 7)."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

from synesthete import seeding
from synesthete.data.pictures import DIGITS
from synesthete.nn.part import multiplies_bf16
from synesthete.pipeline import Pipeline
from synesthete.types import InputError


@pytest.fixture
def raw(prepared):
    return prepared.test.pictures[:4]


@pytest.fixture
def folder(pipeline, tmp_path):
    pipeline.save(tmp_path / "model")
    return tmp_path / "model"


def one_line(caught: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_saved_and_loaded_it_makes_the_same(pipeline, folder, raw):
    before = pipeline(raw)
    for again in (Pipeline.load(str(folder)), Pipeline.from_pretrained(folder, torch_dtype=torch.float32)):
        after = again(raw)
        assert torch.equal(after.x_0, before.x_0)
        assert torch.equal(after.signal, before.signal)
        assert again.class_names == pipeline.class_names == list(DIGITS)
        assert again.process.settings() == pipeline.process.settings()
        settings = again.sampling_settings()
        settings["guidance_interval"] = tuple(settings["guidance_interval"])  # json has no tuples
        assert settings == pipeline.sampling_settings()


def test_its_folder_is_that_of_a_diffusers_pipeline_of_four_parts(pipeline, folder):
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "Pipeline"
    parts = {name: value for name, value in index.items() if isinstance(value, list)}
    assert parts.keys() == {"codec", "conditioner", "denoiser", "scheduler"} == pipeline.components.keys()
    assert all((folder / name).is_dir() for name in parts)
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".safetensors", ".yaml", ".md"}


def test_a_run_folder_or_its_model_folder_loads(folder, tmp_path, raw):
    expected = Pipeline.load(str(folder))(raw).x_0
    assert torch.equal(Pipeline.load(str(tmp_path))(raw).x_0, expected)


def test_a_batch_of_four_equals_four_singles(pipeline, raw):
    batch = pipeline(raw, generators=seeding.sample_generators(3, 4))
    assert batch.x_0.shape == (4, *pipeline.codec.shape)
    assert batch.signal.shape == (4, pipeline.codec.config.num_samples)
    for i in range(4):
        single = pipeline(raw[i : i + 1], generators=seeding.sample_generators(3, 1, first=i))
        torch.testing.assert_close(single.x_0[0], batch.x_0[i], rtol=0, atol=1e-4)
        peak = batch.signal[i].abs().max().item()
        torch.testing.assert_close(single.signal[0], batch.signal[i], rtol=0, atol=0.005 * peak)


def test_the_same_seed_makes_the_same_and_another_does_not(pipeline, raw):
    first, again, other = (pipeline(raw[:1], generators=seeding.sample_generators(s, 1)).x_0 for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-2)
    assert torch.equal(pipeline(raw).x_0, pipeline(raw).x_0)  # seed 0 where none is given


def test_given_noise_is_where_it_starts(pipeline, raw):
    noise = seeding.randn(pipeline.codec.shape, seeding.sample_generators(0, 4))
    assert torch.equal(pipeline(raw, noise=noise).x_0, pipeline(raw).x_0)
    steps = list(pipeline.trajectory(raw, noise=noise, num_inference_steps=7))
    assert len(steps) == 7
    assert torch.equal(steps[-1], pipeline(raw, num_inference_steps=7).x_0)
    assert not any(x_t.requires_grad for x_t in steps)


def test_who_looks_at_a_trajectory_keeps_gradients(pipeline, raw):
    for _ in pipeline.trajectory(raw, num_inference_steps=2):
        assert torch.is_grad_enabled()


def test_the_condition_is_encoded_once_a_sample_not_once_a_step(pipeline, raw, monkeypatch):
    calls = []
    for part, name in ((pipeline.conditioner, "encode"), (pipeline.denoiser, "precompute")):
        real = getattr(part, name)
        monkeypatch.setattr(part, name, lambda *a, real=real, name=name: calls.append(name) or real(*a))
    pipeline(raw, num_inference_steps=5)
    assert calls == ["encode", "precompute", "precompute"]  # the condition and the null


def test_guidance_and_the_sampler_are_those_asked_for(pipeline, raw):
    plain = pipeline(raw, guidance_scale=1.0).x_0
    assert not torch.allclose(pipeline(raw, guidance_scale=4.0).x_0, plain, atol=1e-3)
    assert torch.equal(pipeline(raw, guidance_scale=4.0, guidance_interval=(2.0, 3.0)).x_0, plain)
    for sampler in ("flow-heun", "flow-unipc", "flow-dpmsolver++"):
        assert torch.isfinite(pipeline(raw, sampler=sampler).x_0).all()
    assert torch.equal(pipeline(raw, guidance_scale=None).x_0, pipeline(raw).x_0)  # None leaves it as it is


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"guidance": 2.0}, "no sampling setting 'guidance'; there are sampler, num_inference_steps, "),
        ({"num_inference_steps": 0}, "num_inference_steps 0: give at least 1"),
        ({"sampler": "eular"}, "sampler 'eular': unknown; choose from flow-euler"),
        ({"sampler": "ddim"}, "sampler 'ddim': cannot walk a 'flow' schedule"),
    ],
)
def test_a_setting_that_does_not_exist_is_one_line(pipeline, raw, settings, named):
    with pytest.raises(InputError) as caught:
        pipeline(raw, **settings)
    assert named in one_line(caught)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_written_small_load_back_in_float32(pipeline, tmp_path, raw, dtype):
    before = {name: value.clone() for name, value in pipeline.denoiser.state_dict().items()}
    pipeline.save(tmp_path / "full")
    pipeline.save(tmp_path / "small", dtype)
    kept = load_file(tmp_path / "small/denoiser/diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in kept.values()} == {dtype}
    again = Pipeline.load(str(tmp_path / "small"))
    assert again.denoiser.dtype == again.conditioner.dtype == again.codec.mean.dtype == torch.float32
    assert torch.equal(again.codec.mean, pipeline.codec.mean)  # the codec's statistics keep their digits
    torch.testing.assert_close(again(raw).x_0, pipeline(raw).x_0, rtol=0.1, atol=0.1)
    for name, value in pipeline.denoiser.state_dict().items():  # a run that goes on keeps its digits, too
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("part", ["denoiser", "conditioner", "codec"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "gone"])
def test_damaged_weights_are_one_line(folder, part, damage):
    path = folder / part / "diffusion_pytorch_model.safetensors"
    content = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(content[:-20])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("not tensors")
        case "gone":
            path.unlink()
    with pytest.raises(InputError, match=rf"{part}.*(damaged|train or copy the model again)"):
        Pipeline.load(str(folder))


@pytest.mark.parametrize("name", ["model_index.json", "denoiser/config.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, "3"])
def test_damaged_settings_are_one_line(folder, name, content):
    (folder / name).write_text(content)
    with pytest.raises(InputError) as caught:
        Pipeline.load(str(folder))
    assert str(folder) in one_line(caught)


@pytest.mark.parametrize(
    "fields",
    [
        {"process": [3]},
        {"process": {"num_train_timesteps": 10**9}},
        {"sampling": {"eta": "much"}},
        {"sampling": {"timestep_shift": math.inf}},
        {"card": 3},
        {"card": {"class_names": 3}},
        {"codec": ["synesthete", {"a": 1}]},
        {"codec": ["builtins", "eval"]},
    ],
)
def test_an_index_of_other_types_is_one_line(folder, fields):
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(InputError) as caught:
        Pipeline.load(str(folder))
    assert str(folder) in one_line(caught)


def test_weights_of_another_shape_are_one_line(folder):
    path = folder / "denoiser/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"width": 64}))
    with pytest.raises(InputError, match=r"denoiser.*another version, train again"):
        Pipeline.load(str(folder))


def test_a_pickle_is_never_read(folder):
    """A published .bin would be read by diffusers where safetensors are missing."""
    path = folder / "denoiser" / "diffusion_pytorch_model.safetensors"
    torch.save({}, path.with_suffix(".bin"))
    path.unlink()
    with pytest.raises(InputError):
        Pipeline.load(str(folder))


def test_a_model_of_another_kind_names_it(folder):
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(InputError, match="a StableDiffusionPipeline, not a Synesthete model"):
        Pipeline.load(str(folder))


def test_what_is_no_model_is_one_line(folder, tmp_path):
    with pytest.raises(InputError, match="no such model; give a run folder"):
        Pipeline.load("./nowhere")
    with pytest.raises(InputError, match=r"no model_index.json in it"):
        Pipeline.load(str(folder / "denoiser"))
    shutil.rmtree(folder)
    (tmp_path / "recipe.yaml").write_text("")
    with pytest.raises(InputError, match="a run without a finished model; go on with `synesthete train"):
        Pipeline.load(str(tmp_path))


def test_bf16_is_asked_for_and_changes_little(pipeline, raw):
    plain = pipeline(raw).x_0
    assert pipeline.sampling_settings()["precision"] == "no"
    assert torch.equal(pipeline(raw, precision="no").x_0, plain)
    rounded = pipeline(raw, precision="bf16").x_0
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, plain)
    torch.testing.assert_close(rounded, plain, rtol=0.05, atol=0.1)
    assert torch.equal(pipeline(raw).x_0, plain)  # nothing of it stays
    expected = rounded if multiplies_bf16(torch.device("cpu")) else plain
    assert torch.equal(pipeline(raw, precision="auto").x_0, expected)
