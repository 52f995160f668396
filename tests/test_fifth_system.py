"""A system defined outside the package, through the command line's own functions: nothing inside knows it."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import synesthete
from synesthete.cli.app import main
from synesthete.evaluation.metrics.metric import METRICS
from synesthete.tasks import find_task

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("undrawn")

CHANGES = ("stages.denoise.num_steps=6", "denoiser.channels=[8]", "denoiser.attention_levels=[0]", "data.num=8")
SMALL = tuple(word for change in CHANGES for word in ("--set", change))


def call(*arguments: object) -> int:
    """The exit code of `synesthete` with these arguments."""
    before = sys.argv
    sys.argv = ["synesthete", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as stopped:
            main()
    finally:
        sys.argv = before
    return int(stopped.value.code or 0)


@pytest.fixture(scope="module", autouse=True)
def fifth_system(own_additions) -> Any:
    """The example, imported, which registers what it defines."""
    return importlib.import_module("examples.fifth_system")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of six steps, stopped after three of them and gone on with."""
    place = tmp_path_factory.mktemp("fifth")
    assert call("prepare", "damped-sine", "--out", place / "data", *SMALL) == 0
    options = ("--data", place / "data", "--out", place / "run", "--no-watch", *SMALL)
    checkpoints = ("--set", "stages.denoise.checkpoint_every=3")
    assert call("train", "damped-sine", *options, *checkpoints) == 0
    weights = (place / "run" / "model" / "denoiser" / "diffusion_pytorch_model.safetensors").read_bytes()
    shutil.rmtree(place / "run" / "model")
    shutil.rmtree(place / "run" / "checkpoints" / "0-denoise" / "step_0000006")
    assert call("train", "damped-sine", *options, *checkpoints) == 0
    again = place / "run" / "model" / "denoiser" / "diffusion_pytorch_model.safetensors"
    assert again.read_bytes() == weights  # it went on from its last checkpoint, to the bit
    return place / "run"


def test_a_note_rings(run, tmp_path):
    assert call("sample", run, "--label", "3", "--num", 2, "--out", tmp_path / "rung") == 0
    assert sorted(path.name for path in (tmp_path / "rung").iterdir()) == [
        f"note_3_{i}.{suffix}" for i in range(2) for suffix in ("png", "wav")
    ]


def test_its_own_sampler_and_python(run, fifth_system):
    model = synesthete.load(str(run))
    sound = model(3)
    assert sound.waveform.shape == (fifth_system.LENGTH,)
    assert sound.sample_rate == fifth_system.SPEC.sample_rate
    again = model([3, 3], sampler="renoising", num_inference_steps=2)
    assert len(again) == 2
    assert not again[0].waveform.allclose(sound.waveform)


def test_its_own_metric_stands_in_the_report(run, tmp_path):
    assert call("evaluate", run, "--num", 10, "--data", run.parent / "data", "--out", tmp_path / "report") == 0
    metrics = {one["key"]: one for one in json.loads((tmp_path / "report" / "report.json").read_text())["metrics"]}
    assert metrics["pitch_error"]["ceiling"] < 0.1 < metrics["pitch_error"]["shuffled"]  # real sines have their pitch
    assert {"class_accuracy", "seconds_per_sample"} & set(metrics)  # and what every model is measured by
    assert len(metrics) > 3


def test_sweep_diagnose_doctor_and_export(run, tmp_path):
    data = ("--data", run.parent / "data")
    assert call("sweep", run, *data, "--steps", 2, "--cfg", 1, "--num", 2, "--out", tmp_path / "sweep") == 0
    assert (tmp_path / "sweep" / "report" / "report.html").is_file()
    assert call("diagnose", run, *data, "--num", 10, "--out", tmp_path / "diagnosis") == 0
    # Those that look at pictures, and one that listens.
    assert json.loads((tmp_path / "diagnosis" / "report.json").read_text())["left_out"].keys() == {
        "fine-structure",
        "neighbours",
        "spectrum",
    }
    assert call("doctor", run, *data, "--out", tmp_path / "doctor") in (0, 1)  # a few steps teach nothing
    assert (tmp_path / "doctor" / "pictures" / "samples.png").is_file()
    assert call("export", run, "--out", tmp_path / "exported", "--part", "denoiser") == 0
    assert (tmp_path / "exported" / "denoiser.onnx").is_file()


def test_what_it_adds_is_known_by_name():
    task: Any = find_task("damped-sine")
    assert (task.verb, METRICS["pitch_error"].unit) == ("ring", "octaves")


def test_nothing_in_the_package_knows_it():
    """The package alone refuses its recipe; only importing the file makes it known."""
    code = "from synesthete.recipes import find_recipe; find_recipe('damped-sine')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode and "no recipe 'damped-sine'" in done.stderr
