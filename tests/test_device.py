"""Devices by name, and models on them."""

from __future__ import annotations

import pytest
import torch

from synesthete import seeding
from synesthete.denoisers.hourglass import Hourglass
from synesthete.nn.part import CastOnce, find_device
from synesthete.pipeline import Pipeline
from synesthete.types import Condition, InputError


@pytest.fixture
def machine(monkeypatch):
    """`machine("cuda", 2)`: as if there were such devices."""

    def pretend(kind: str | None, count: int = 1) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: kind == "cuda")
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: kind is not None)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind))
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)

    return pretend


def test_auto_is_cuda_where_there_is_some(machine):
    machine(None)
    assert find_device() == torch.device("cpu")
    machine("cuda")
    assert find_device() == torch.device("cuda")
    machine("mps")  # asked for by its name
    assert find_device() == torch.device("cpu")
    assert find_device("mps") == torch.device("mps")


@pytest.mark.parametrize("name", ["cuda", "cuda:2", "mps", "toaster", ""])
def test_an_absent_device_is_one_line(machine, name):
    machine(None)
    with pytest.raises(InputError, match=r"not on this machine; choose from auto, cpu$"):
        find_device(name)


def test_devices_are_counted(machine):
    machine("cuda", 2)
    assert find_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match="'cuda:2': not on this machine; choose from auto, cpu, cuda"):
        find_device("cuda:2")


def test_a_model_is_loaded_where_it_is_asked_for(pipeline, tmp_path):
    pipeline.save(tmp_path / "model")
    assert Pipeline.load(str(tmp_path / "model"), "cpu").device == torch.device("cpu")
    with pytest.raises(InputError, match="device 'toaster'"):
        Pipeline.load(str(tmp_path / "model"), device="toaster")


def test_weights_cast_once_are_those_that_autocast_casts():
    network = Hourglass((8, 16), (8, 1), cell_width=16, num_cell_blocks=1, width=16, depth=1, condition_width=None)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(weight.numel()))
    generator = torch.Generator().manual_seed(0)
    told = Condition(pooled=torch.randn(2, 256, generator=generator))
    given = torch.randn(2, 1, 8, 16, generator=generator), torch.tensor([100.0, 700.0]), told
    with torch.no_grad():
        assert not CastOnce(network).weights
        with torch.autocast("cpu", torch.bfloat16):
            once = CastOnce(network)
            wanted = network(*given)
            assert once.weights
            assert torch.equal(once(*given), wanted)
            network.requires_grad_(requires_grad=False)
            assert not CastOnce(network).weights
        assert once.dtype == torch.float32
        assert not torch.equal(network(*given), wanted.float())


@pytest.mark.gpu
def test_the_cpu_and_cuda_speak_alike(pipeline, prepared, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pipeline.save(tmp_path / "model")
    raw, found = prepared.test.pictures[torch.arange(2)], []
    for device in ("cpu", "cuda"):
        loaded = Pipeline.load(str(tmp_path / "model"), device)
        found.append(loaded(raw, generators=seeding.sample_generators(3, 2), precision="no").x_0.cpu())
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-3)
