"""A kind of system that the package knows nothing of goes through diagnose and doctor: a number in, a sine out."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from synesthete.codecs.codec import Codec
from synesthete.conditioning.conditioner import Conditioner
from synesthete.config import register_class
from synesthete.data.samples import Samples
from synesthete.denoisers.dit import DiT
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import make_scheduler
from synesthete.evaluation.diagnostics import DIAGNOSTICS
from synesthete.evaluation.diagnostics.diagnosis import run_diagnostics
from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
from synesthete.evaluation.doctor.doctor import examine
from synesthete.pipeline import Pipeline
from synesthete.types import Batch, Condition, Prepared

LENGTH = 32
ELSEWHERE = {"neighbours", "spectrum", "fine-structure"}  # of pictures, and of sound
PROCESS = {"schedule": "cosine", "prediction_type": "sample"}


@register_class
class CurveCodec(Codec):
    """Curves (B, LENGTH) as they are."""

    shape = (1, 1, LENGTH)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("unit", torch.ones(1))

    def encode(self, signal):
        return signal.view(-1, *self.shape)

    def decode(self, x_0, generators=None):
        return x_0.flatten(1)

    def pictures(self, x_0, scale=1):
        grey = (127 + 60 * x_0).clamp(0, 255).byte().expand(-1, 1, 8, -1)[:, 0]
        return [Image.fromarray(rows.numpy()).convert("RGB") for rows in grey]


@register_class
class NumberConditioner(Conditioner):
    """A number (B,), through a layer."""

    reads = "number"

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 16)

    def encode(self, raw, generator=None):
        vectors = self.layer(torch.stack([raw, torch.ones_like(raw)], dim=1))
        return Condition(pooled=vectors, tokens=vectors[:, None].repeat(1, 2, 1))

    def null(self, batch_size):
        vectors = self.layer(torch.zeros(batch_size, 2))
        return Condition(pooled=vectors, tokens=vectors[:, None].repeat(1, 2, 1))


@dataclass
class Sines(Samples):
    pitches: torch.Tensor
    labels: torch.Tensor
    augmentation: None = None
    x_0: None = None

    def __len__(self):
        return len(self.pitches)

    def batch(self, indices, generator):
        time = torch.arange(LENGTH) / LENGTH
        pitches = self.pitches[indices]
        curves = (2 * math.pi * pitches[:, None] * time).sin() * (-2 * time).exp()
        return Batch(curves, pitches, self.labels[indices])


def sines(num):
    return Sines(1 + torch.arange(num) / num, torch.zeros(num, dtype=torch.int64))


@pytest.fixture
def system():
    torch.manual_seed(0)
    denoiser = DiT((1, LENGTH), (1, 4), width=16, depth=1, num_heads=2, condition_width=16, pooled_width=16)
    for parameter in denoiser.parameters():
        if not parameter.any():
            parameter.data.normal_(std=0.1)
    process = Process(**PROCESS)
    sampling = {"sampler": "ddim", "num_inference_steps": 3, "guidance_scale": 1.5}
    scheduler = make_scheduler("ddim", process)
    card = {"recipe": "sines", "class_names": []}
    pipeline = Pipeline(CurveCodec(), NumberConditioner(), denoiser, scheduler, PROCESS, sampling, card)
    return pipeline, Prepared(sines(40), sines(12), {}, ())


def test_it_is_diagnosed_by_whatever_needs_no_pictures_and_no_classes(system, tmp_path):
    drawn = []

    def thumbnails(pipeline, x_0):
        drawn.append(len(x_0))
        return pipeline.codec.pictures(x_0)

    run_diagnostics(ModelUnderTest(*system, num=8, task=SimpleNamespace(thumbnails=thumbnails)), tmp_path)
    values = json.loads((tmp_path / "report.json").read_text())
    assert values["left_out"].keys() == ELSEWHERE | {"sensitivity-by-timestep"}
    assert set(values["diagnostics"]) == set(DIAGNOSTICS) - values["left_out"].keys()
    assert drawn  # the task draws what the codec makes


def test_the_doctor_looks_at_it_as_far_as_its_parts_allow(system, tmp_path):
    pipeline, prepared = system
    alone = {check.name: check for check in examine(None, pipeline)}
    assert alone.keys() == {"weights", "samples"}  # nobody knows what it could be told
    found = {check.name: check for check in examine(None, pipeline, tmp_path, prepared=prepared, num=2)}
    assert found.keys() == {"weights", "output range", "condition"}
    assert found["condition"].figures["share_changed"] > 0
    assert (tmp_path / "pictures" / "samples.png").is_file()
