"""What one step keeps of harmonics is measured: a right guess keeps them, a blurred one is called what it is."""

from __future__ import annotations

import pytest
import torch

from synesthete.diffusion.process import Process
from synesthete.evaluation.diagnostics import find_diagnostic
from synesthete.evaluation.diagnostics.fine_structure import FRACTIONS, say_kept
from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
from synesthete.nn.part import Part
from synesthete.nn.spectrum import cosine_basis
from synesthete.types import InputError
from tiny_pictures import tiny_pipeline, tiny_prepared

KEPT = 20  # coefficients of a blurred guess


class Knowing(Part):
    """A denoiser that guesses what it was made with."""

    def __init__(self) -> None:
        super().__init__()
        self.guess = torch.zeros(1)

    def precompute(self, condition):
        return condition

    def forward(self, x_t, timestep, condition):
        return self.guess


@pytest.fixture
def model(pipeline, prepared, monkeypatch):
    found = ModelUnderTest(pipeline, prepared, num=12)
    monkeypatch.setattr(pipeline, "process", Process("flow", "sample"))
    monkeypatch.setattr(pipeline, "denoiser", Knowing())
    pipeline.denoiser.guess = found.x_0(found.held_out(12))
    return found


def rows(section):
    table = section.items[1]
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_a_guess_that_is_right_keeps_everything(model):
    section = find_diagnostic("fine-structure")(model)
    *steps, real = rows(section)
    assert len(steps) == len(FRACTIONS)
    assert real["voiced"] > 0.5
    for step in steps:
        assert step["voiced"] == real["voiced"]
        assert [v for k, v in step.items() if k.startswith(("index", "MSE"))] == pytest.approx([0] * 6, abs=1e-6)
    assert "The network keeps it" in section.text


def test_a_guess_without_harmonics_is_called_what_it_is(model):
    codec = model.pipeline.codec
    log_mel, basis = codec.denormalise(model.pipeline.denoiser.guess), cosine_basis(100)
    kept = (torch.arange(100) < KEPT).float()[:, None]
    model.pipeline.denoiser.guess = codec._normalise(basis.T @ (kept * (basis @ log_mel)))
    section = find_diagnostic("fine-structure")(model)
    *steps, real = rows(section)
    for step in steps:
        assert [step["index 0 to 4"], step["index 10 to 19"]] == pytest.approx([0, 0], abs=1e-4)
        assert step["index 20 to 34"] > 0.9
        assert step["index 35 to 99"] > 0.9
        assert step["voiced"] < real["voiced"]
    assert "The network loses it" in section.text


def test_a_model_of_pictures_has_none(cache):
    with pytest.raises(InputError, match="only of models that make sound"):
        find_diagnostic("fine-structure")(ModelUnderTest(tiny_pipeline(), tiny_prepared(), num=4))


@pytest.mark.parametrize(("error", "voiced", "kept"), [(0.001, 0.8, True), (0.004, 0.8, False), (0.001, 0.6, False)])
def test_the_verdict_is_of_low_noise_alone(error, voiced, kept):
    total = [error if f <= 0.3 else 1.0 for f in FRACTIONS]
    share = [voiced if f <= 0.3 else 0.0 for f in FRACTIONS]
    assert say_kept(total, share, real=0.9).startswith("The network keeps it") == kept
