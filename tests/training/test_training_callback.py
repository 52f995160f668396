"""Diagnostics during training: their pictures are kept, and the run is not changed by being looked at."""

from __future__ import annotations

import logging

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from synesthete.evaluation import diagnostics as table
from synesthete.evaluation.diagnostics import diagnosis
from synesthete.evaluation.reporting.report import Medium, Section
from synesthete.training import loop
from synesthete.types import InputError
from tiny_pictures import tiny_pipeline, tiny_prepared, tiny_recipe

QUICK = (
    "stages.denoise.num_steps=4",
    "stages.denoise.preview_every=2",
    "stages.denoise.batch_size=8",
    "sampling.num_inference_steps=2",
    "weights=float32",
)


@pytest.fixture(scope="module")
def data(cache):
    return tiny_prepared()


def weights(folder):
    return load_file(folder / "model" / "denoiser" / "diffusion_pytorch_model.safetensors")


def test_every_instrument_is_kept_at_each_preview_in_the_folder_and_in_tensorboard(data, tmp_path):
    loop.train_recipe(tiny_recipe(*QUICK), data, tmp_path, watch=diagnosis.show_diagnostics)
    kept = {path.name for path in (tmp_path / "previews").iterdir()}
    names = ("embeddings-pooled", "embeddings-mean-token", "denoising-x_t", "denoising-x_0", "classes")
    names += ("reconstruction", "reconstruction-sweep", "reconstruction-error")
    for step in (2, 4):
        assert {f"step_{step:07d}-{name}.png" for name in names} | {f"step_{step:07d}-denoising.gif"} <= kept
    for path in (tmp_path / "previews").glob("*.png"):
        with Image.open(path) as image:
            image.verify()
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = tmp_path / "tensorboard" / "denoise"
    events = accumulator.EventAccumulator(str(board), size_guidance=accumulator.STORE_EVERYTHING_SIZE_GUIDANCE).Reload()
    assert [event.step for event in events.Images("denoising-x_0")] == [2, 4]
    rows = (board / "projector" / "pooled" / "metadata.tsv").read_text().splitlines()
    assert rows == ["class\tkind", "red\tcondition", "green\tcondition", "blue\tcondition", "null\tnull"]


def test_a_watched_run_is_the_same_to_the_bit(data, tmp_path):
    recipe = tiny_recipe(*QUICK, "stages.denoise.preview_every=3")
    for name, watch in (("watched", diagnosis.show_diagnostics), ("alone", None)):
        loop.train_recipe(recipe, data, tmp_path / name, watch=watch)
    watched, alone = weights(tmp_path / "watched"), weights(tmp_path / "alone")
    assert all(torch.equal(watched[key], alone[key]) for key in alone)
    assert not list((tmp_path / "alone" / "previews").glob("*denoising*"))


def test_the_averaged_weights_are_what_is_watched(data, tmp_path):
    seen = []

    def watch(pipeline, prepared, folder, step, log):
        state = {key: value.clone() for key, value in pipeline.denoiser.state_dict().items()}
        seen.append((step, folder, prepared, pipeline.denoiser.training, state))

    loop.train_recipe(tiny_recipe(*QUICK), data, tmp_path, watch=watch)
    assert [(step, folder) for step, folder, *_ in seen] == [(2, tmp_path / "previews"), (4, tmp_path / "previews")]
    *_, prepared, training, state = seen[-1]
    assert prepared is data
    assert not training
    kept = weights(tmp_path)  # the model is written with the averaged weights
    assert all(torch.equal(state[key], kept[key]) for key in kept)
    learned = load_file(max((tmp_path / "checkpoints" / "0-denoise").glob("step_*")) / "model.safetensors")
    assert any(not torch.equal(learned[f"denoiser.{key}"], kept[key]) for key in kept)


class Log:
    def __init__(self):
        self.pictures, self.embeddings = [], []

    def picture(self, name, image, step):
        self.pictures.append((name, step))

    def embedding(self, name, vectors, metadata):
        self.embeddings.append((name, len(vectors), list(metadata)))


def see(model):
    return Section("Seen", "", [Medium("seen well", blank(), "")])


def shown(monkeypatch, data, folder, log, **diagnostics):
    """The callback with these diagnostics alone, at step 7."""
    monkeypatch.setattr(table, "DIAGNOSTICS", diagnostics)
    monkeypatch.setattr(diagnosis, "AT_PREVIEWS", tuple(diagnostics))
    diagnosis.show_diagnostics(tiny_pipeline(), data, folder, 7, log)


def test_a_diagnostic_that_fails_costs_a_line_not_the_run(data, tmp_path, monkeypatch, caplog):
    def fail(model):
        raise ZeroDivisionError("no pixels")

    def refuse(model):
        raise InputError("not for this model")

    log = Log()
    with caplog.at_level(logging.WARNING):
        shown(monkeypatch, data, tmp_path, log, a=fail, b=refuse, c=see)
    assert [record.getMessage() for record in caplog.records] == [
        "step 7: no picture of a (ZeroDivisionError: no pixels)"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["step_0000007-seen-well.png"]
    assert log.pictures == [("seen well", 7)]
    assert log.embeddings == [("pooled", 4, ["class", "kind"]), ("mean token", 4, ["class", "kind"])]


def test_what_cannot_be_written_or_logged_costs_a_line_not_the_run(data, tmp_path, monkeypatch, caplog):
    """A full disk or a broken log stopped the training."""

    class Broken(Log):
        def embedding(self, name, vectors, metadata):
            raise OSError("no space left")

    occupied = tmp_path / "previews"
    occupied.write_text("a file where the folder should be")
    shown(monkeypatch, data, occupied, Broken(), a=see, b=see)
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(" (")[0] for line in said] == [
        "step 7: no picture of a",
        "step 7: no picture of b",
        "step 7: no embeddings",
    ]


def blank():
    from synesthete.evaluation.reporting.media import encode_png

    return encode_png(Image.new("RGB", (2, 2)))
