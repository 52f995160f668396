"""onnxruntime as the engine of sampling: the same samples as by torch, from a graph that is made once and kept."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
from PIL import Image
from tiny_models import COLOURS, flow, pictures

pytest.importorskip("onnxscript", reason="the export extra is not installed")
pytest.importorskip("onnxruntime", reason="the export extra is not installed")

from synesthete import seeding
from synesthete.export import model as exporting
from synesthete.export.model import CACHE, OnnxNetwork, set_engine
from synesthete.types import InputError

# A U-Net by a sampler that draws noise, guided in an interval; a transformer by one of second order, guided throughout.
MAKERS = {"pictures": (pictures, {"sampler": "ddpm"}), "flow": (flow, {"sampler": "flow-heun"})}
TOLERANCE = 2e-3  # of x_0, whose cells are about 1


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(autouse=True)
def use_cache(cache, monkeypatch):
    monkeypatch.setenv("SYNESTHETE_CACHE", str(cache))


def drawn(pipeline, labels, **settings):
    generators = seeding.sample_generators(3, len(labels))
    return pipeline(torch.tensor(labels), generators=generators, precision="no", **settings)


@pytest.mark.parametrize("name", MAKERS)
def test_every_sample_is_what_torch_makes_of_the_same_noise(name):
    make, settings = MAKERS[name]
    pipeline = make(**settings)
    labels = [0, 1, 2, 1, 0]
    expected = drawn(pipeline, labels)
    calls = []
    set_engine(pipeline, "onnx")
    pipeline.denoiser.register_forward_hook(lambda *_: calls.append(1))
    found = drawn(pipeline, labels)
    num_compared = len(calls)
    for one, wanted in zip(found.x_0, expected.x_0, strict=True):
        torch.testing.assert_close(one, wanted, rtol=TOLERANCE, atol=TOLERANCE)
    assert (found.x_0[1] - found.x_0[3]).abs().max() > 0.1  # of one class, and of other noise
    alone = drawn(pipeline, labels[:1])
    torch.testing.assert_close(alone.x_0[0], expected.x_0[0], rtol=TOLERANCE, atol=TOLERANCE)
    assert len(calls) == num_compared  # torch is asked to compare, and not to sample
    plain = drawn(pipeline, labels, guidance_scale=1.0)
    set_engine(pipeline, "torch")
    torch.testing.assert_close(
        drawn(pipeline, labels, guidance_scale=1.0).x_0, plain.x_0, rtol=TOLERANCE, atol=TOLERANCE
    )


def test_a_graph_is_made_once_and_again_where_its_file_is_damaged_or_the_weights_are_others(cache, monkeypatch):
    def draw_one(change=0.0):
        pipeline = pictures()
        next(pipeline.denoiser.parameters()).data += change
        set_engine(pipeline, "onnx")
        drawn(pipeline, [0])

    draw_one()
    kept, written = {path: path.read_bytes() for path in (cache / CACHE).iterdir()}, []

    def write(graph, path, said):
        written.append(path)
        path.write_bytes(kept[written[0]])

    monkeypatch.setattr(exporting, "write_part", write)
    draw_one()
    assert written == []
    for path, content in kept.items():
        path.write_bytes(content[:500])
    draw_one()
    assert len(written) == 1 and written[0] in kept
    draw_one(change=1.0)
    assert len(written) == 2 and written[1] not in kept
    for path, content in kept.items():
        path.write_bytes(content)


def test_a_step_is_timed_by_both_engines():
    found = exporting.time_engines(pictures())
    assert list(found) == ["torch", "onnx"] and min(found.values()) > 0


def test_the_command_draws_with_it_and_says_so(command, tmp_path):
    pictures().save(tmp_path / "model")
    pixels = {}
    for name in ("torch", "onnx"):
        call = ("draw", tmp_path / "model", "--label", "red", "--num", 2, "--out", tmp_path / name)
        code, out, said = command(*call, "--engine", name, "--set", "precision='no'", "--json")
        assert code == 0, said
        assert len(json.loads(out.splitlines()[-1])["written"]) == 2
        picture = Image.open(tmp_path / name / "red_001.png")
        assert picture.text.get("engine") == (None if name == "torch" else "onnx")
        pixels[name] = torch.tensor(list(picture.tobytes()))
    assert (pixels["torch"] - pixels["onnx"]).abs().max() <= 1  # level of 255


def test_what_cannot_compute_is_one_line(command, tmp_path, monkeypatch):
    pictures().save(tmp_path / "model")
    call = ("draw", tmp_path / "model", "--label", COLOURS[0], "--out", tmp_path / "out", "--engine")
    code, _, said = command(*call, "jax")
    assert code == 2 and "jax" in said and "torch, onnx" in said and len(said.splitlines()) == 1
    with pytest.raises(InputError, match="--device cpu"):
        OnnxNetwork(pictures().denoiser.to("meta"))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    code, _, said = command(*call, "onnx")
    assert code == 2 and "onnxruntime" in said and "pip install" in said and len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()
