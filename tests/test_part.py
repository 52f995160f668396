"""The base of parts: fields kept, files as diffusers has them, weights as they were."""

from __future__ import annotations

import copy
import json
import math
import re

import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file, save_file
from torch import nn

from synesthete.codecs.latent import LatentCodec
from synesthete.codecs.mel import MelCodec
from synesthete.codecs.pixels import PixelCodec
from synesthete.codecs.stft import StftCodec
from synesthete.diffusion.process import Process
from synesthete.nn.part import WEIGHTS, Part, without_values
from synesthete.types import InputError


class Small(Part):
    """A layer, a statistic, and a table that is computed."""

    def __init__(self, size: int, names: tuple[str, ...] = ("a",), scale: float = 2.0) -> None:
        super().__init__()
        assert self.config.size == size  # known before the constructor is done
        self.layer = nn.Linear(size, size)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("table", torch.full((size,), scale), persistent=False)


class Under(Part):
    """What several have in common; its arguments are no fields of theirs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)


class Over(Under):
    """Half as wide as the one below."""

    def __init__(self, half: int = 2) -> None:
        super().__init__(2 * half)


BAD = [
    (MelCodec, {"num_iterations": "many"}, "MelCodec.num_iterations: 'many' does not fit int"),
    (MelCodec, {"num_samples": [3, 4]}, "MelCodec.num_samples: [3, 4] does not fit int"),
    (MelCodec, {"num_samples": 10**9}, "MelCodec.num_samples: 1000000000 is more than"),
    (MelCodec, {"num_iterations": 1e9}, "give 10,000 at most"),
    (MelCodec, {"floor": "quiet"}, "MelCodec.floor"),
    (MelCodec, {"floor": math.nan}, "MelCodec.floor"),
    (StftCodec, {"hop_length": None}, "StftCodec.hop_length"),
    (StftCodec, {"n_fft": 10**9}, "give 65,536 at most"),
    (PixelCodec, {"size": 10**9}, "PixelCodec.size"),
    (PixelCodec, {"size": [4, 10**9]}, "PixelCodec.size"),
    (LatentCodec, {"base": {"class": "PixelCodec", "size": "large"}}, "PixelCodec.size"),
    (LatentCodec, {"base": {"class": "UNet"}}, "UNet is no codec"),
    (LatentCodec, {"base": 3}, "3 is no codec"),
]


@pytest.mark.parametrize(("kind", "fields", "named"), BAD)
def test_fields_of_another_type_or_size_are_refused_before_anything_is_made(kind, fields, named):
    with pytest.raises(InputError) as caught:
        kind.from_config(fields)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_file_whose_fields_do_not_fit_is_named(tmp_path):
    PixelCodec(size=4, channels=1).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"size": "large", "channels": 1}))
    with pytest.raises(InputError, match=rf"{re.escape(str(tmp_path))}/config.json: PixelCodec.size: 'large'"):
        PixelCodec.from_pretrained(tmp_path)


def make() -> Small:
    torch.manual_seed(0)
    return Small(4, scale=3.0)


def test_its_fields_are_the_arguments_of_its_own_constructor():
    assert Small(3).fields == {"size": 3, "names": ("a",), "scale": 2.0}
    assert Small(3, scale=1.0).config.scale == 1.0
    with pytest.raises(AttributeError, match="no field 'width'"):
        _ = Small(3).config.width
    with pytest.raises(AttributeError):
        Small(3).config.size = 4
    with pytest.raises(TypeError):
        Small()


def test_a_constructor_that_calls_another_keeps_its_own():
    assert Over(half=3).fields == {"half": 3}
    assert Under(4).fields == {"width": 4}


def test_it_is_saved_and_loaded_with_values_and_fields(tmp_path):
    part = make()
    part.mean.fill_(5.0)
    part.save_pretrained(tmp_path)
    state = torch.random.get_rng_state()
    again = Small.from_pretrained(tmp_path)
    assert torch.equal(state, torch.random.get_rng_state())  # nothing is drawn for weights that are read
    assert again.fields == part.fields
    assert not again.training
    assert {p.device.type for p in (*again.parameters(), *again.buffers())} == {"cpu"}
    for name, value in (*part.named_parameters(), *part.named_buffers()):
        assert torch.equal(again.get_parameter(name) if name.startswith("layer") else again.get_buffer(name), value)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config == {"_class_name": "Small", "size": 4, "names": ["a"], "scale": 3.0}
    assert load_file(tmp_path / WEIGHTS).keys() == part.state_dict().keys()


def test_half_precision_is_read_as_float32_unless_asked_for(tmp_path):
    make().half().save_pretrained(tmp_path)
    assert Small.from_pretrained(tmp_path).dtype == torch.float32
    assert Small.from_pretrained(tmp_path, torch_dtype=torch.float16).dtype == torch.float16


def test_a_copy_has_the_fields():
    part = make()
    twin = copy.deepcopy(part)
    assert twin.fields == part.fields
    assert torch.equal(twin.layer.weight, part.layer.weight)


@pytest.mark.parametrize("change", ["lacks", "has", "shape", "field", "config", "gone"])
def test_what_does_not_fit_is_one_line(change, tmp_path):
    make().save_pretrained(tmp_path)
    tensors, config = load_file(tmp_path / WEIGHTS), json.loads((tmp_path / "config.json").read_text())
    match change:
        case "lacks":
            del tensors["mean"]
        case "has":
            tensors["more"] = torch.ones(1)
        case "shape":
            tensors["mean"] = torch.ones(5)
        case "field":
            config["colour"] = "red"
        case "config":
            config = []
    save_file(tensors, tmp_path / WEIGHTS)
    (tmp_path / "config.json").write_text(json.dumps(config))
    if change == "gone":
        (tmp_path / WEIGHTS).unlink()
    with pytest.raises(InputError) as caught:
        Small.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)
    assert "train" in str(caught.value)


def test_parameters_without_values_have_no_memory_and_buffers_do():
    with without_values():
        part = Small(4)
    assert all(p.is_meta for p in part.parameters())
    assert torch.equal(part.table, torch.full((4,), 2.0))
    assert not nn.Linear(2, 2).weight.is_meta


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "cosine"])
@pytest.mark.parametrize("ends_in_noise", [False, True])
@pytest.mark.parametrize("num", [10, 500, 1000])
def test_signal_levels_are_diffusers_to_the_bit(schedule, ends_in_noise, num):
    process = Process(schedule, "v_prediction", num_train_timesteps=num, zero_terminal_snr=ends_in_noise)
    expected = DDPMScheduler(**process.scheduler_config()).alphas_cumprod
    assert torch.equal(process.alphas_cumprod, expected)
