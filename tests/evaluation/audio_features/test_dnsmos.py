"""DNSMOS: windows, scales and files, with networks that the test makes; and the published ones where they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synesthete.data.speech.engines import Espeak
from synesthete.evaluation.audio_features.dnsmos import P808, P835, SAMPLE_RATE, Dnsmos, find_dnsmos
from synesthete.types import InputError

pytest.importorskip("onnxruntime", reason="the quality extra is not installed")
onnx = pytest.importorskip("onnx", reason="the networks of the tests are made with it")

PUBLISHED = find_dnsmos()  # before the tests' own folder of weights


def write_networks(folder):
    """The first says the mean level, twice and three times that; the second the mean of what it is given."""
    folder.mkdir(parents=True, exist_ok=True)
    node, value, floats = onnx.helper.make_node, onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    times = onnx.helper.make_tensor("times", floats, [1, 3], [1.0, 2.0, 3.0])
    graphs = {
        P835: ([node("Abs", ["input_1"], ["level"]), node("ReduceMean", ["level"], ["mean"], keepdims=0)], 3),
        P808: ([node("ReduceMean", ["input_1"], ["mean"], keepdims=0)], 1),
    }
    for name, (nodes, width) in graphs.items():
        shape = [1, "samples"] if width == 3 else [1, "frames", 120]
        last = node("Mul", ["mean", "times"], ["out"]) if width == 3 else node("Reshape", ["mean", "shape"], ["out"])
        initial = [times] if width == 3 else [onnx.helper.make_tensor("shape", onnx.TensorProto.INT64, [2], [1, 1])]
        graph = onnx.helper.make_graph(
            [*nodes, last], "quality", [value("input_1", floats, shape)], [value("out", floats, [1, width])], initial
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, folder / name)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return Dnsmos(write_networks(tmp_path_factory.mktemp("dnsmos")))


def test_levels_become_ratings_on_the_scale_of_listeners(tiny):
    square = torch.ones(2, SAMPLE_RATE) * torch.tensor([[0.1], [0.5]])
    found = tiny.rate(square, SAMPLE_RATE)
    assert set(found) == {"overall", "signal", "background", "p808"}
    for name, times, (a, b, c) in (
        ("signal", 1, (-0.08397278, 1.22083953, 0.0052439)),
        ("background", 2, (-0.13166888, 1.60915514, -0.39604546)),
        ("overall", 3, (-0.06766283, 1.11546468, 0.04602535)),
    ):
        levels = times * np.array([0.1, 0.5])
        assert found[name].numpy() == pytest.approx(a * levels**2 + b * levels + c, abs=1e-4)


def test_of_a_long_sound_windows_a_second_apart_are_rated(tiny):
    sound = torch.cat([torch.full((9 * SAMPLE_RATE,), 0.1), torch.full((3 * SAMPLE_RATE,), 0.5)])[None]
    late, whole = (tiny.rate(x, SAMPLE_RATE)["signal"].item() for x in (sound[:, -145_000:], sound))
    first = tiny.rate(sound[:, :145_000], SAMPLE_RATE)["signal"].item()
    assert first < whole < late


def test_another_rate_rates_alike_and_nothing_has_the_lowest_rating(tiny):
    tone = torch.sin(torch.arange(24_000) * 2 * torch.pi * 220 / 24_000)[None] * 0.3
    same = torch.sin(torch.arange(16_000) * 2 * torch.pi * 220 / 16_000)[None] * 0.3
    assert tiny.rate(tone, 24_000)["signal"].item() == pytest.approx(tiny.rate(same, 16_000)["signal"].item(), abs=0.01)
    assert tiny.rate(torch.zeros(1, 0), 16_000)["overall"].tolist() == [1.0]


def test_files_that_are_not_there_or_damaged_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_dnsmos() is None
    with pytest.raises(InputError, match=P808):
        Dnsmos()
    write_networks(tmp_path / "dnsmos")
    assert find_dnsmos() == tmp_path / "dnsmos"
    (tmp_path / "dnsmos" / P835).write_bytes(b"no network")
    with pytest.raises(InputError, match=P835):
        Dnsmos().rate(torch.zeros(1, 100), SAMPLE_RATE)


@pytest.mark.skipif(PUBLISHED is None, reason="the quality extra is not installed")
def test_the_published_networks_rank_speech_over_speech_in_noise():
    spoken, rate = Espeak().speak("seven")
    noise = torch.randn(len(spoken), generator=torch.Generator().manual_seed(0))
    found = Dnsmos(PUBLISHED).rate(torch.stack([spoken, spoken + 0.05 * noise, 0.1 * noise]).clamp(-1, 1), rate)
    clean, noisy, none = found["background"].tolist()
    assert clean > noisy + 0.3 and found["overall"][0] > found["overall"][2] + 0.3 and none < clean
