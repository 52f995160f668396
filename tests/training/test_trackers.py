"""What trackers of others are told: the figures of metrics.jsonl, in the run of before. All are stand-ins."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate import tracking
from accelerate.utils import LoggerType

from synesthete.training.loop import train_recipe
from synesthete.training.run_log import IDS, RunLog, Trackers
from synesthete.types import InputError
from tiny import debug_recipe
from tiny_pictures import tiny_prepared, tiny_recipe
from training.runs import StoppedError, stop_after


class Kept(tracking.GeneralTracker):
    """A tracker that remembers; fails at the step `fails_at`."""

    name = "kept"
    requires_logging_directory = False
    runs: tuple[Kept, ...] = ()
    fails_at = 10**6

    def __init__(self, project: str) -> None:
        self.project, self.told, self.config, self.is_over = project, {}, {}, False
        Kept.runs = (*Kept.runs, self)

    tracker = None

    def start(self) -> None:
        pass

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.config = values

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        if step >= self.fails_at:
            raise ConnectionError("the server is away")
        self.told.setdefault(step, {}).update(values)

    def finish(self) -> None:
        self.is_over = True


@pytest.fixture
def kept(monkeypatch) -> type[Kept]:
    """The class, known to accelerate under its name, without runs."""
    monkeypatch.setattr(Kept, "runs", ())
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "kept", Kept)
    return Kept


def installed(monkeypatch, name: str, **module: Any) -> None:
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(**module))
    monkeypatch.setattr(tracking, "_available_trackers", [*tracking._available_trackers, LoggerType(name)])


def figures(folder) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        stage, step = line.pop("stage"), line.pop("step")
        for name, value in line.items():
            items = {f"{name}/{i}": one for i, one in enumerate(value)} if isinstance(value, list) else {name: value}
            told = {f"{stage}/{one}": item for one, item in items.items() if isinstance(item, int | float)}
            found.setdefault(step, {}).update(told)
    return found


def test_a_tracker_is_told_what_the_run_writes_and_a_run_that_goes_on_tells_it_the_rest(kept, tmp_path):
    often = ("num_steps=4", "checkpoint_every=2", "log_every=1", "preview_every=100")
    recipe, prepared = tiny_recipe(*(f"stages.0.{one}" for one in often)), tiny_prepared()
    name, last = recipe.stages[0].name, recipe.stages[0].num_steps
    with pytest.raises(StoppedError):
        train_recipe(recipe, prepared, tmp_path, report=stop_after(name, 2), trackers=["kept", "kept", "tensorboard"])
    train_recipe(recipe, prepared, tmp_path, trackers=["kept"])
    first, second = kept.runs
    assert (first.told | second.told) == figures(tmp_path)
    assert (max(first.told), min(second.told), max(second.told)) == (2, 3, last)
    for run in kept.runs:
        assert run.project == "synesthete"
        assert run.config["stages.0.num_steps"] == last
        assert run.config["codec.size"] == 8
        assert run.is_over


def test_one_that_fails_is_left_out_and_the_run_is_whole(kept, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(Kept, "fails_at", 2)
    log = RunLog(tmp_path, "denoise", 0, trackers=Trackers(["kept"], tmp_path, tiny_recipe()))
    for step in (1, 2, 3):
        log.write(step, loss=0.5)
    assert list(kept.runs[0].told) == [1]
    assert list(figures(tmp_path)) == [1, 2, 3]
    said = [record.getMessage() for record in caplog.records if "tracker" in record.getMessage()]
    assert said == ["tracker kept: the server is away; the run goes on without it"]


def test_steps_are_counted_over_stages(kept, tmp_path):
    recipe = debug_recipe()
    trackers = Trackers(["kept"], tmp_path, recipe)
    trackers.log("align", 1, {"loss": 2.0})
    trackers.log("denoise", 1, {"loss": 3.0})
    assert kept.runs[0].told == {1: {"align/loss": 2.0}, recipe.stages[0].num_steps + 1: {"denoise/loss": 3.0}}


def test_weights_and_biases_and_mlflow_go_on_in_the_run_of_before(monkeypatch, tmp_path):
    asked: list[dict[str, Any]] = []
    run = SimpleNamespace(log=lambda values, **how: asked.append(values | how), finish=lambda: None)
    config = SimpleNamespace(update=lambda values, **_: None)
    installed(monkeypatch, "wandb", init=lambda **how: asked.append(how) or run, config=config)
    limits = SimpleNamespace(MAX_PARAM_VAL_LENGTH=500, MAX_PARAMS_TAGS_PER_BATCH=100)
    installed(
        monkeypatch,
        "mlflow",
        search_experiments=lambda **_: [],
        create_experiment=lambda **_: "experiment",
        start_run=lambda **how: asked.append(how) or SimpleNamespace(info=SimpleNamespace(run_id="seven")),
        utils=SimpleNamespace(validation=limits),
        log_params=lambda _: None,
        log_metrics=lambda values, step: asked.append(values | {"step": step}),
        end_run=lambda: None,
    )
    folder = tmp_path / "birds"
    folder.mkdir()
    for _ in range(2):
        trackers = Trackers(["wandb", "mlflow"], folder, tiny_recipe())
        trackers.log("denoise", 3, {"loss": 0.5})
        trackers.finish()
    wandb, mlflow, *logged = asked[:4]
    again, mlflow_again = asked[4:6]
    assert (wandb["project"], wandb["name"], wandb["resume"]) == ("synesthete", "birds", "allow")
    assert again["id"] == wandb["id"] == json.loads((folder / IDS).read_text())["wandb"]
    assert (mlflow["run_name"], mlflow["run_id"], mlflow_again["run_id"]) == ("birds", None, "seven")
    assert all((said["denoise/loss"], said["step"]) == (0.5, 3) for said in logged)
    assert len(logged) == 2


def test_what_is_not_installed_or_not_known_is_one_line(command, kept, monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, "_available_trackers", [])
    monkeypatch.chdir(tmp_path)
    for name, said in (
        ("kept,wandb", "tracker wandb is not installed; `pip install wandb`"),
        ("comet_ml", "tracker comet_ml is not installed; `pip install comet-ml`"),
        ("nothing", "no tracker 'nothing'; there are aim, clearml, comet_ml"),
    ):
        code, _, printed = command("train", "images-photos-debug", "--tracker", name)
        assert code == 2
        assert printed.startswith(f"synesthete: {said}")
        assert printed.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_one_that_cannot_be_started_is_one_line_before_anything_is_trained(kept, monkeypatch, tmp_path):
    def log_in(_: Kept) -> None:
        raise RuntimeError("api key not configured\nmany lines")

    monkeypatch.setattr(Kept, "start", log_in)
    with pytest.raises(InputError, match=r"^tracker kept: api key not configured; set it up, or leave --tracker out$"):
        Trackers(["kept"], tmp_path, tiny_recipe())
