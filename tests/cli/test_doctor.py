"""`synesthete doctor` of runs, models and the installation, as a user meets it."""

from __future__ import annotations

import json
import shutil
from functools import partial
from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from synesthete.config import Recipe
from synesthete.evaluation.doctor import check as doctor_check
from synesthete.evaluation.doctor.check import Check, readable, worst
from synesthete.evaluation.doctor.doctor import examine, examine_model, some_conditions, told_apart
from synesthete.evaluation.doctor.run import read_run, seconds_left
from synesthete.evaluation.reporting.report import duration
from synesthete.io import locked
from synesthete.training import loop
from tiny_pictures import tiny_pipeline, tiny_prepared, tiny_recipe

if TYPE_CHECKING:
    from pathlib import Path

SETS = (
    "stages.denoise.num_steps=8",
    "stages.denoise.batch_size=4",
    "stages.denoise.preview_every=4",
    "stages.denoise.checkpoint_every=4",
    "stages.denoise.log_every=1",
    "sampling.num_inference_steps=2",
    "weights=float32",
)
# Eight steps teach nothing.
UNTRAINED = {"output range", "condition", "model: output range", "model: condition"}
WEIGHTS = "model/denoiser/diffusion_pytorch_model.safetensors"


class StoppedError(Exception):
    """The run was killed here."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory, cache):
    """A finished run and one that was killed after its sixth step."""
    folder = tmp_path_factory.mktemp("runs")

    def stop(said):
        if said.step == 6:
            raise StoppedError

    data = tiny_prepared()
    loop.train_recipe(tiny_recipe(*SETS), data, folder / "finished")
    with pytest.raises(StoppedError):
        loop.train_recipe(tiny_recipe(*SETS), data, folder / "interrupted", report=stop)
    return folder


@pytest.fixture
def runs(kept, tmp_path):
    """Copies, to be broken."""
    shutil.copytree(kept, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def run(command):
    """`run("runs/x", ...)` -> (exit code, standard output, standard error)."""
    return partial(command, "doctor")


@pytest.fixture
def checks(run):
    """`checks("runs/x")` -> (exit code, check by name)."""

    def call(*arguments: object) -> tuple[int, dict[str, dict]]:
        code, out, _ = run(*arguments, "--json")
        values = json.loads(out.splitlines()[-1])
        assert values["verdict"] == worst(Check(c["name"], c["verdict"], "") for c in values["checks"])
        assert (code == 1) == (values["verdict"] == "bad")
        return code, {check["name"]: check for check in values["checks"]}

    return call


def rewrite(path: Path, change) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(line)) + "\n" for line in lines))


# runs


def test_a_finished_run_is_looked_at_whole(checks, runs):
    _, found = checks(runs / "finished")
    assert found["progress"]["found"] == "finished: stage denoise, step 8 of 8"
    assert {name for name, check in found.items() if check["verdict"] == "bad"} <= UNTRAINED
    names = ["progress", "last checkpoint", "disk", "loss", "spikes", "gradient", "output range", "condition"]
    assert list(found)[:8] == names
    assert {"averaged weights", "over-fitting", "model: weights"} <= found.keys()
    assert found["last checkpoint"]["figures"]["step"] == 8
    assert found["spikes"]["found"] == "none that lasted"
    for check in found.values():
        assert bool(check["advice"]) >= (check["verdict"] != "ok"), check


def test_an_interrupted_run_tells_how_to_go_on_and_how_long_it_takes(checks, runs):
    _, found = checks(runs / "interrupted")
    progress = found["progress"]
    assert progress["found"].startswith("interrupted: stage denoise, step 6 of 8, ")
    assert progress["found"].endswith(" to the end of the stage at its rate")
    assert progress["advice"] == (
        f"go on with `synesthete train {runs}/interrupted/recipe.yaml --out {runs}/interrupted`"
    )
    assert found["last checkpoint"]["found"].startswith("step_0000004 of stage denoise, ")
    with locked(runs / "interrupted"):
        _, found = checks(runs / "interrupted")
    assert found["progress"]["found"].startswith("training: ")
    assert found["progress"]["advice"] == ""


def test_time_to_the_end_follows_the_measured_rate(runs):
    def slow(line):
        line.pop("seconds_left", None)
        return line | ({"seconds": 10.0 * line["step"]} if "seconds" in line else {})

    rewrite(runs / "interrupted" / "metrics.jsonl", slow)
    assert seconds_left(read_run(runs / "interrupted").current) == pytest.approx(20)
    # Where previews measured it, theirs counts, which has looks and checkpoints in it.
    with (runs / "interrupted" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"stage": "denoise", "step": 4, "seconds_left": 100.0}) + "\n")
    assert seconds_left(read_run(runs / "interrupted").current) == pytest.approx(50)


def test_spikes_are_told_and_a_run_that_is_stuck_is_bad(checks, runs):
    path = runs / "interrupted/checkpoints/0-denoise/rollbacks.json"
    one = {"step": 6, "to": 4, "figure": "gradient_norm", "level": 0.1, "reached": 30.0}
    path.write_text(json.dumps([one]))
    _, found = checks(runs / "interrupted")
    assert found["spikes"]["verdict"] == "warn"
    assert found["spikes"]["found"] == (
        "1 that lasted, the last at step 6: the gradient norm rose from 0.1 to 30; went back to step 4"
    )
    path.write_text(json.dumps([one] * 4))
    code, found = checks(runs / "interrupted")
    assert (code, found["spikes"]["verdict"]) == (1, "bad")
    assert "lower learning_rate (now 0.0" in found["spikes"]["advice"]


@pytest.mark.parametrize(
    ("change", "name", "verdict"),
    [
        ({"share_outside": 0.0, "output_low": -1100.0, "output_high": 1100.0}, "output range", "bad"),
        ({"share_outside": 0.05, "output_low": 0.0, "output_high": 0.0}, "output range", "warn"),
        ({"share_not_finite": 0.1}, "output range", "bad"),
        ({"condition_sensitivity": 0.0}, "condition", "bad"),
        ({"condition_sensitivity": 1.0}, "condition", "ok"),
        ({"held_out_loss": 2.0, "raw_held_out_loss": 1.0}, "averaged weights", "warn"),
        ({"held_out_loss": 2.0, "training_loss": 1.0}, "over-fitting", "warn"),
        ({"gradient_norm": 1000.0}, "gradient", "warn"),
    ],
)
def test_what_previews_wrote_is_evaluated(runs, change, name, verdict):
    path = runs / "interrupted" / "metrics.jsonl"
    rewrite(path, lambda line: line | {k: v for k, v in change.items() if k in line})
    found = {check.name: check for check in examine(read_run(runs / "interrupted"), None)}
    assert found[name].verdict == verdict


@pytest.mark.parametrize(("times", "verdict"), [(1.2, "ok"), (2.0, "warn"), (10.0, "bad")])
def test_a_loss_that_climbs_slowly_is_found_though_no_spike_is(runs, times, verdict):
    path = runs / "finished" / "metrics.jsonl"
    losses = [1 - 0.9 * min(step, 100) / 100 for step in range(200)]
    losses += [0.1 * times ** (step / 200) for step in range(1, 221)]
    lines = [{"stage": "denoise", "step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = {check.name: check for check in examine(read_run(runs / "finished"), None)}
    assert found["loss"].verdict == verdict
    rewrite(path, lambda line: line | ({"loss": float("inf")} if line["step"] == 7 else {}))
    found = {check.name: check for check in examine(read_run(runs / "finished"), None)}
    assert (found["loss"].verdict, found["loss"].found) == ("bad", "not finite at step 7")


@pytest.mark.parametrize("damage", ["cut off", "not finite", "no state"])
def test_a_damaged_checkpoint_is_bad_and_the_one_before_it_is_named(checks, runs, damage):
    path = runs / "interrupted/checkpoints/0-denoise/step_0000004/model.safetensors"
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "not finite":
        save_file({name: value * float("nan") for name, value in load_file(path).items()}, path)
    else:
        (path.parent / "state.json").write_text("{")
    code, found = checks(runs / "interrupted")
    assert (code, found["last checkpoint"]["verdict"]) == (1, "bad")
    assert found["last checkpoint"]["advice"] == "remove that folder to go on from the checkpoint before"


def test_half_written_lines_and_an_older_run_are_read_all_the_same(checks, runs):
    """Runs of before this command have neither ranges nor averages in their figures, nor a state of spikes."""
    path = runs / "interrupted" / "metrics.jsonl"
    old = {"stage", "step", "loss", "gradient_norm", "learning_rate", "seconds"}
    rewrite(path, lambda line: {k: v for k, v in line.items() if k in old})
    path.write_text(path.read_text() + '{"stage": "denoise", "st')
    recipe = (runs / "interrupted" / "recipe.yaml").read_text()
    kept = [line for line in recipe.splitlines() if "spike_patience" not in line and "max_rollbacks" not in line]
    (runs / "interrupted" / "recipe.yaml").write_text("\n".join(kept))
    assert Recipe.load(runs / "interrupted" / "recipe.yaml").stages[0].spike_patience == 20
    _, found = checks(runs / "interrupted")
    assert found["loss"]["verdict"] == "ok"
    assert "averaged weights" not in found


@pytest.mark.parametrize("odd", ["a", None, [], {}, True, 10**30, [[1]], float("inf")])
def test_figures_that_are_none_are_left_out(runs, odd, tmp_path):
    """Whatever stands in the files of a run that somebody sends."""
    folder = runs / "interrupted"
    rewrite(folder / "metrics.jsonl", lambda line: {k: v if k in ("stage", "step") else odd for k, v in line.items()})
    (folder / "checkpoints" / "0-denoise" / "rollbacks.json").write_text(json.dumps([odd, {"step": odd}]))
    assert {check.name for check in examine(read_run(folder), None, tmp_path / "out")} >= {"progress", "spikes"}


def test_a_run_that_has_not_begun_is_told_so(checks, tmp_path):
    (tmp_path / "recipe.yaml").write_text(tiny_recipe().to_yaml())
    code, found = checks(tmp_path)
    assert code == 0
    assert found["progress"]["found"].startswith("interrupted: stage denoise, step 0 of ")
    assert list(found) == ["progress", "disk"]


# models


def test_a_model_without_its_run_is_sampled(checks, runs):
    _, found = checks(runs / "finished" / "model", "--num", 3)
    assert list(found) == ["weights", "output range", "condition"]
    assert found["weights"]["verdict"] == "ok"
    assert "no data at hand" in found["output range"]["found"]
    assert "of the prediction" in found["condition"]["found"]


def test_with_data_samples_are_held_against_them(checks, runs, monkeypatch):
    """--prepare finds the data that the run was trained on; here those of the tests' cache."""
    _, found = checks(runs / "finished", "--prepare", "--num", 2)
    assert "against held-out data" in found["model: output range"]["found"]
    assert "of the error" in found["model: condition"]["found"]
    assert found["model: averaged weights"]["figures"]["raw"] == pytest.approx(
        found["averaged weights"]["figures"]["raw"], rel=0.5
    )


def test_weights_that_are_not_finite_are_bad(checks, runs):
    path = runs / "finished" / WEIGHTS
    tensors = {name: value.clone() for name, value in load_file(path).items()}
    name = next(iter(tensors))
    tensors[name].view(-1)[0] = float("nan")
    save_file(tensors, path)
    code, found = checks(runs / "finished")
    assert (code, found["model: weights"]["verdict"]) == (1, "bad")
    assert found["model: weights"]["found"] == f"denoiser.{name} is not finite"


def test_a_model_that_is_told_nothing_by_its_condition_is_bad(cache):
    pipeline = tiny_pipeline()
    assert told_apart(pipeline, some_conditions(pipeline, 4)) > 1e-3
    for table in (pipeline.conditioner.tokens, pipeline.conditioner.pooled):
        table.weight.data[:] = table.weight.data[:1]
    assert told_apart(pipeline, some_conditions(pipeline, 4)) < 1e-6
    found = {check.name: check for check in examine_model(pipeline, num=2)[0]}
    assert found["condition"].verdict == "bad"


def test_outputs_far_off_are_bad_for_a_model_too(cache):
    pipeline = tiny_pipeline()
    for parameter in pipeline.denoiser.parameters():
        parameter.data.mul_(30)
    found = {check.name: check for check in examine_model(pipeline, num=2)[0]}
    assert found["output range"].verdict == "bad"


def test_a_model_of_speech_is_asked_for_its_silence(pipeline):
    found = {check.name: check for check in examine_model(pipeline, num=2)[0]}
    assert found["silence"].verdict == "ok"
    assert found["silence"].figures["decibels"] < -60
    assert {"weights", "output range", "condition"} <= found.keys()
    assert some_conditions(pipeline, 3).shape[0] == 3


def test_a_codec_that_hisses_in_silence_is_bad(pipeline, monkeypatch):
    hiss = 0.1 * torch.randn(1, pipeline.codec.config.num_samples)
    monkeypatch.setattr(type(pipeline.codec), "decode", lambda self, x_0, generators=None: hiss)
    found = {check.name: check for check in examine_model(pipeline, num=1)[0]}
    assert (found["silence"].verdict, found["silence"].found) == ("bad", "comes back at -20 dB of full scale")


# reports and bad input


def test_a_report_has_the_checks_and_the_pictures(run, runs, tmp_path):
    code, out, _ = run(runs / "finished", "--out", tmp_path / "report", "--num", 2)
    assert code in (0, 1)
    lines = out.splitlines()
    assert lines[0] == "ok    progress: finished: stage denoise, step 8 of 8"
    assert (tmp_path / "report" / "report.html").is_file()
    for name in ("loss-denoise", "loss-by-timestep-denoise", "samples"):
        with Image.open(tmp_path / "report" / "pictures" / f"{name}.png") as image:
            assert image.width > 100
    values = json.loads((tmp_path / "report" / "report.json").read_text())
    assert values["checks"][0]["name"] == "progress"
    assert "spikes" in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere",), ("nowhere: no such model", "give a run folder")),
        (("{folder}",), ("no model_index.json in it",)),
        (("{folder}/recipe.yaml",), ("recipe.yaml",)),
        (("images-digits", "--out", "{folder}"), ("holds something that is no report",)),
        (("images-digits", "--device", "toaster"), ("device 'toaster'",)),
    ],
)
def test_bad_input_is_one_line_and_code_2(run, tmp_path, arguments, words):
    (tmp_path / "thesis.txt").write_text("words")
    code, out, err = run(*(argument.format(folder=tmp_path) for argument in arguments))
    [line] = err.splitlines()
    assert (code, out) == (2, "")
    for word in words:
        assert word in line


# the installation


def test_without_arguments_the_installation_is_looked_at(checks):
    _, found = checks()
    names = ["versions", "device", "threads", "precision", "extra speech"]
    assert list(found)[:5] == names
    assert {"models", "cache", "disk"} <= found.keys()
    assert found["versions"]["figures"]["torch"] == torch.__version__
    assert found["device"]["figures"]["device"] in ("cpu", "cuda")
    assert found["disk"]["figures"]["bytes_free"] > 0


def test_what_is_missing_is_told_with_what_to_do(monkeypatch, tmp_path):
    real = doctor_check.version

    def version(name):
        if name == "pocketsphinx":
            raise PackageNotFoundError
        return real(name)

    monkeypatch.setattr(doctor_check, "version", version)
    monkeypatch.setenv("SYNESTHETE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(doctor_check.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1e12, 1e12, 5e8))
    found = {check.name: check for check in doctor_check.examine_installation()}
    assert found["extra speech"].verdict == "warn"
    assert "pip install 'synesthete[speech]'" in found["extra speech"].advice
    assert found["cache"].found == f"{tmp_path / 'cache'}, not made yet"
    assert not (tmp_path / "cache").exists()
    assert (found["disk"].verdict, found["disk"].found) == ("bad", "500 MB free")


def test_sizes_and_times_as_people_say_them():
    assert [readable(n) for n in (0, 999, 1500, 2_500_000, 123_000_000, 5e12)] == [
        *("0 bytes", "999 bytes", "1.5 kB", "2.5 MB", "123 MB", "5.0 TB"),
    ]
    assert [duration(s) for s in (3, 119, 600, 9000)] == ["3 s", "119 s", "10 min", "2.5 h"]


def test_the_worst_verdict_counts():
    def verdict(*verdicts):
        return worst(Check("", v, "") for v in verdicts)

    assert [verdict(), verdict("ok"), verdict("ok", "warn"), verdict("warn", "bad", "ok")] == [
        *("ok", "ok", "warn", "bad"),
    ]
