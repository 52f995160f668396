"""`synesthete diagnose` and `synesthete train --watch` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tiny_pictures import tiny_pipeline, tiny_recipe

QUICK = ("--num", "6", "--features", "none", "--only", "denoising,classes")


@pytest.fixture
def model(tmp_path) -> Path:
    """A run folder, as far as a model in it goes."""
    recipe = tiny_recipe("sampling.num_inference_steps=2")
    folder = tmp_path / "runs" / "mine"
    tiny_pipeline(recipe).save(folder / "model")
    (folder / "model" / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    return folder


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, _, err = result
    lines = [line for line in err.splitlines() if line.startswith("synesthete: ")]
    assert (code, len(lines)) == (2, 1)
    assert "Traceback" not in err
    for word in words:
        assert word in lines[0]


def test_pictures_report_and_tensorboard_are_in_the_run_folder(command, model):
    code, out, _ = command("diagnose", model, *QUICK, "--json")
    assert code == 0
    values = json.loads(out.splitlines()[-1])
    place = model / "diagnose"
    assert values["report"] == str(place)
    assert values["diagnostics"] == ["denoising", "classes"]
    assert values["left_out"] == {}
    names = ["classes.png", "denoising-x_0.png", "denoising-x_t.png", "denoising.gif"]
    assert [Path(path).name for path in values["pictures"]] == names
    assert all(Path(path).is_file() for path in values["pictures"])
    assert {path.name for path in place.iterdir()} == {
        *("report.md", "report.html", "report.json"),
        *("pictures", "tensorboard"),
    }
    assert (place / "tensorboard" / "projector_config.pbtxt").is_file()
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(place / "tensorboard")).Reload()
    assert sorted(events.Tags()["images"]) == ["classes", "denoising-x_0", "denoising-x_t"]
    refused(command("diagnose", model, *QUICK), "holds a report already", "--overwrite")
    code, out, _ = command("diagnose", model, *QUICK, "--overwrite", "--seed", 1)
    assert (code, out.strip()) == (0, f"{place}/report.html")
    assert json.loads((place / "report.json").read_text())["facts"]["seed"] == 1
    assert (place / "tensorboard").is_dir()


def test_stopped_before_all_of_it_is_written_there_is_no_report(command, model, monkeypatch):
    """The same command then makes it, instead of refusing a report that is not whole."""
    with monkeypatch.context() as patch:
        patch.setattr("synesthete.cli.diagnose.write_tensorboard", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert command("diagnose", model, "--num", 6, "--only", "classes")[0] == 130
    assert not (model / "diagnose").exists()
    assert command("diagnose", model, "--num", 6, "--only", "classes")[0] == 0


def test_a_model_folder_is_diagnosed_under_out(command, model, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert command("diagnose", model / "model", "--num", 6, "--only", "classes")[0] == 0
    assert (tmp_path / "out" / "diagnose" / "model" / "report.html").is_file()


def test_settings_and_data_can_be_changed(command, model, tmp_path):
    changes = ("--set", "sampling.guidance_scale=4", "--set", "data.limit=3")
    assert command("diagnose", model, "--only", "classes", "--num", 6, *changes, "--out", tmp_path / "a")[0] == 0
    assert command("diagnose", model, "--only", "classes", "--num", 6, "--out", tmp_path / "b")[0] == 0
    first, second = ((tmp_path / name / "pictures" / "classes.png").read_bytes() for name in "ab")
    assert first != second


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "denosing"], ["'denosing'", "did you mean 'denoising'"]),
        (["--set", "sampling.sampler=flow-euler"], ["flow-euler", "choose from"]),
        (["--set", "sampling.guidance=4"], ["sampling.guidance_scale"]),
        (["--reconstruct-from", "2"], ["reconstruct"]),
        (["--num", "1"], ["num"]),
        (["--features", "nonesuch"], ["'nonesuch'"]),
    ],
)
def test_what_cannot_be_is_one_line(command, model, arguments, words):
    refused(command("diagnose", model, *arguments), *words)
    assert not (model / "diagnose").exists()


def test_a_folder_of_something_else_is_not_replaced(command, model, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    refused(command("diagnose", model, "--out", tmp_path, "--overwrite"), "holds something that is no report")
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(("option", "watched"), [("--watch", True), ("--no-watch", False)])
def test_watching_can_be_switched_off(command, tmp_path, option, watched):
    recipe = tiny_recipe("stages.denoise.num_steps=2", "stages.denoise.batch_size=4", "sampling.num_inference_steps=2")
    (tmp_path / "mine.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    code, _, err = command("train", tmp_path / "mine.yaml", "--out", tmp_path / "run", "--no-classifier", option)
    assert code == 0, err
    names = {path.name for path in (tmp_path / "run" / "previews").iterdir()}
    assert "step_0000002.png" in names
    assert ("step_0000002-denoising-x_0.png" in names) == watched
