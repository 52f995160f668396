"""A task that says no more than what its samples and the real ones are is evaluated, with floors and ceilings."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from synesthete.evaluation.metrics.metric import METRICS, MetricRow, register_metric
from synesthete.evaluation.samples import Generated, References, generate_timed
from synesthete.executors import using
from synesthete.tasks import Task
from synesthete.types import InputError
from tiny_pictures import tiny_pipeline, tiny_prepared
from unreliable import Unreliable

RATES = torch.tensor([3.0, 7.0, 13.0])
TIME = torch.linspace(0, 1, 200)


def sines(labels: torch.Tensor, seed: int, noise: float = 0.1) -> torch.Tensor:
    """Damped sines (n, 200), one pitch a class."""
    draw = torch.Generator().manual_seed(seed)
    clean = (2 * torch.pi * RATES[labels, None] * TIME).sin() * (-3 * TIME).exp()
    return clean + noise * torch.randn(len(labels), len(TIME), generator=draw)


class Sines(Task):
    """A number in, a damped sine out."""

    name, verb, makes, num_evaluated = "sines", "hum", "sines", 40

    def __init__(self, noise: float = 0.1) -> None:
        self.noise = noise

    def prepare(self, recipe, folder=None, progress=None):
        return tiny_prepared()

    def generate(self, pipeline, prepared, *, num, seed, progress):
        labels = torch.arange(num) % 3
        progress("sampling", num, num)
        return Generated(sines(labels, seed + 1, self.noise), labels, (0.5, 0.5))

    def references(self, pipeline, prepared, *, num, seed):
        labels = torch.arange(num) % 3
        held_out, others, training = (sines(labels, seed + i) for i in (2, 3, 4))
        worst = held_out[:, torch.randperm(200, generator=torch.Generator().manual_seed(0))]
        return References(held_out, labels, others, labels, worst, training=training)

    def thumbnails(self, pipeline, x_0):
        return [Image.fromarray((x[None] * 127 + 128).clamp(0, 255).byte().repeat(20, 1).numpy()) for x in x_0]


@pytest.fixture
def pipeline(cache):
    return tiny_pipeline()


def evaluated(task, pipeline, folder):
    pipeline.codec.encode = lambda signal: signal  # x_0 of a sine is the sine
    return task.evaluate(pipeline, None, folder, model="tiny", folder=folder)


def test_samples_references_and_thumbnails_are_enough(pipeline, tmp_path):
    found = evaluated(Sines(), pipeline, tmp_path / "report")
    for key in ("frechet_distance", "kernel_distance", "precision", "recall", "diversity"):
        metric = found.metric(key)
        assert metric.chance is not None
        assert metric.ceiling is not None
    frechet = found.metric("frechet_distance")
    assert frechet.value < 2 * frechet.ceiling < frechet.chance
    assert found.metric("memorization_distance_values").value == pytest.approx(1, abs=0.2)
    assert found.metric("seconds_per_sample").value == pytest.approx(1 / 40)
    values = json.loads((tmp_path / "report" / "report.json").read_text())
    assert values["facts"]["samples"].startswith("40 made")
    assert (tmp_path / "report" / "pictures" / "gallery.png").is_file()


def test_worse_samples_are_further_away(pipeline, tmp_path):
    good, bad = (evaluated(Sines(noise), pipeline, tmp_path / str(noise)) for noise in (0.1, 0.8))
    for key in ("frechet_distance", "kid_over_floor"):
        assert good.metric(key).value < bad.metric(key).value / 3


def test_a_metric_of_ones_own_is_part_of_it(pipeline, tmp_path):
    """A row with a `compute` is measured of what was made, of other real samples, and of chance."""
    row = MetricRow("loudness", "loudness apart ({against})", "dB", False, lambda real, made: level(made) - level(real))
    level = lambda part: 20 * part.samples.square().mean().sqrt().log10().item()  # noqa: E731
    register_metric(row)
    try:
        found = evaluated(Sines(0.8), pipeline, tmp_path / "report").metric("loudness")
    finally:
        METRICS.pop("loudness")
    assert found.value > 3
    assert abs(found.ceiling) < 0.5
    assert (found.unit, found.higher_is_better) == ("dB", False)
    with pytest.raises(InputError, match="already there"):
        register_metric(MetricRow("fid", "another"))


def test_a_sample_draws_the_same_noise_whatever_the_others_and_the_batch(pipeline):
    labels = torch.tensor([0, 1, 2, 0, 1])
    whole = generate_timed(pipeline, labels, seed=3, keep_x_0=True)
    parts = generate_timed(pipeline, labels, seed=3, batch_size=2, warmed=set())
    assert torch.equal(whole.signal, parts.signal)
    with using(Unreliable()):
        divided = generate_timed(pipeline, labels, seed=3, batch_size=2, keep_x_0=True)
    assert torch.equal(divided.signal, whole.signal) and torch.equal(divided.x_0, whole.x_0)
    assert torch.equal(whole.signal[:2], generate_timed(pipeline, labels[:2], seed=3).signal)
    assert len(whole.x_0) == 5
    assert parts.x_0 is None
    assert len(parts.batch_seconds) == 3
