"""A sweep's folder: complete, resumed where it stopped, added to, and never mixed with another's."""

from __future__ import annotations

import csv
import json
import math
import re
from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image
from scored import Means, basis_of

from synesthete.evaluation.search.scoring import FIGURES, Scorer
from synesthete.evaluation.search.space import Cell, plan_sweep
from synesthete.evaluation.search.sweep import Made, SweepSamples, run_sweep
from synesthete.evaluation.search.sweep_report import MARK, Findings, draw_mosaic, figures_table, matrix, sweep_summary
from synesthete.executors import using
from synesthete.types import InputError
from tiny_pictures import tiny_pipeline, tiny_prepared
from unreliable import TwoProcesses, Unreliable

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = SweepSamples((0, 2), (42, 43), 2)
TRIED = {"samplers": ["ddim", "dpmsolver++"], "guidance": [1, 3], "etas": [0, 1], "steps": [2]}


@pytest.fixture(scope="module")
def data(cache):
    return tiny_prepared()


@pytest.fixture
def scorer(data):
    return Scorer(tiny_pipeline(), basis_of(data, Means()))


@pytest.fixture
def counted(scorer, monkeypatch):
    """The settings of every cell that is made, in order."""
    made, score = [], scorer.score

    def count(settings, *args, **kwargs):
        made.append(settings)
        return score(settings, *args, **kwargs)

    monkeypatch.setattr(scorer, "score", count)
    return made


def test_a_sweep_leaves_grids_a_contact_sheet_a_table_and_a_report(scorer, tmp_path):
    lines = []
    tried = plan_sweep(scorer.pipeline, schedules=["cosine", "linear"], untrained=True, **TRIED)
    cells = run_sweep(scorer, tried, SAMPLES, tmp_path / "out", progress=lambda *line: lines.append(line))
    assert len(cells) == len(tried.cells) == 12
    out = tmp_path / "out"
    assert (out / "cosine" / "grid_cosine_ddim_cfg3_eta1_steps2.png").is_file()
    assert (out / "linear" / "grid_linear_dpmsolver++_cfg1_eta0_steps2_not-trained-with.png").is_file()
    assert len(list(out.glob("*/grid_*.png"))) == 12
    rows = list(csv.DictReader((out / "table.csv").open()))
    assert len(rows) == 12
    assert {row["trained"] for row in rows} == {"True", "False"}
    assert all((out / row["grid"]).is_file() for row in rows)
    for row in rows:
        assert 0 <= float(row["accuracy"]) <= 1
        assert float(row["seconds_per_picture"]) > 0
        assert row["num"] == "8"
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.height > 6 * 64  # six rows of all but the guidance
    text = (out / "report" / "report.md").read_text()
    assert "linear (not trained with)" in text
    assert "dpmsolver++: has no eta" in text
    assert text.count(MARK) >= 6
    content = json.loads((out / "report" / "report.json").read_text())
    assert len(content["cells"]) == 12
    assert len(list((out / "report" / "pictures").glob("map-*.png"))) == 6
    said = [what for what, _, total in lines if not total]
    assert "12 cells of 8 pictures" in said
    assert any(re.fullmatch(r"about .+ for the 11 cells left", line) for line in said)
    assert lines[-1] == ("cells", 12, 12)


def test_what_was_stopped_goes_on_where_it_stopped(scorer, counted, tmp_path, monkeypatch):
    tried, score = plan_sweep(scorer.pipeline, **TRIED), scorer.score

    def killed(settings, *args, **kwargs):
        if len(counted) == 3:
            raise KeyboardInterrupt
        return score(settings, *args, **kwargs)

    monkeypatch.setattr(scorer, "score", killed)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(scorer, tried, SAMPLES, tmp_path)
    assert len(list(tmp_path.glob("*/cell_*.json"))) == 3
    grids = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/grid_*.png")}
    monkeypatch.setattr(scorer, "score", score)
    assert len(run_sweep(scorer, tried, SAMPLES, tmp_path)) == 6
    assert len(counted) == 6
    assert len({tuple(settings.items()) for settings in counted}) == 6
    assert all(path.stat().st_mtime_ns == time for path, time in grids.items())
    run_sweep(scorer, tried, SAMPLES, tmp_path)
    assert len(counted) == 6


def untimed(folder: Path) -> dict[str, object]:
    """What a sweep's folder holds, but for what is measured by a clock or drawn of that."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("*/*_*.png")}
    for path in folder.glob("*/cell_*.json"):
        values = json.loads(path.read_text())
        assert values["figures"].pop("seconds_per_picture") > 0
        found[path.name] = values
    rows = list(csv.DictReader((folder / "table.csv").open()))
    return found | {"table": [{**row, "seconds_per_picture": ""} for row in rows]}


def test_a_sweep_that_is_divided_is_the_same(scorer, tmp_path):
    schedules, lines = {"schedules": ["cosine", "linear"], "untrained": True}, []
    tried = plan_sweep(scorer.pipeline, samplers=["ddim"], guidance=[1, 3], steps=[2], **schedules)
    one = run_sweep(scorer, tried, SAMPLES, tmp_path / "local")
    for executor in (Unreliable(), TwoProcesses()):
        folder = tmp_path / type(executor).__name__
        with using(executor):
            cells = run_sweep(scorer, tried, SAMPLES, folder, progress=lambda *line: lines.append(line))
        assert [made.cell for made in cells] == [made.cell for made in one]
        assert untimed(folder) == untimed(tmp_path / "local")
        done = [line[1] for line in lines if line[0] == "cells"]
        assert done == [0, 1, 2, 3, 4]
        lines.clear()


def test_cells_are_added_and_the_report_shows_all(scorer, counted, tmp_path):
    run_sweep(scorer, plan_sweep(scorer.pipeline, samplers=["ddim"], guidance=[1], steps=[2]), SAMPLES, tmp_path)
    cells = run_sweep(
        scorer, plan_sweep(scorer.pipeline, samplers=["ddim"], guidance=[2], steps=[2, 3]), SAMPLES, tmp_path
    )
    assert len(counted) == 3
    assert {(made.cell.guidance_scale, made.cell.num_inference_steps) for made in cells} == {(1, 2), (2, 2), (2, 3)}
    rows, columns, places = matrix(cells)
    assert (len(rows), columns, len(places)) == (2, [1.0, 2.0], 3)


@pytest.mark.parametrize("kind", ["cell", "grid", "mosaic"])
def test_a_cell_that_is_damaged_or_incomplete_is_made_again(scorer, counted, tmp_path, kind):
    tried = plan_sweep(scorer.pipeline, samplers=["ddim"], guidance=[1, 2], steps=[2])
    run_sweep(scorer, tried, SAMPLES, tmp_path)
    path = next(iter(sorted(tmp_path.glob(f"*/{kind}_*"))))
    if kind == "cell":
        path.write_text('{"cell": {}')
    else:
        path.unlink()
    assert len(run_sweep(scorer, tried, SAMPLES, tmp_path)) == 2
    assert len(counted) == 3


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (SweepSamples((0, 1), (42, 43), 2), "other labels (red, blue; now red, green)"),
        (SweepSamples((0, 2), (42,), 2), "other seeds (42, 43; now 42)"),
        (SweepSamples((0, 2), (42, 43), 3), "other num (2; now 3)"),
    ],
)
def test_a_folder_of_other_settings_is_refused(scorer, tmp_path, samples, words):
    tried = plan_sweep(scorer.pipeline, samplers=["ddim"], steps=[2])
    run_sweep(scorer, tried, SAMPLES, tmp_path)
    with pytest.raises(InputError, match=re.escape(words)):
        run_sweep(scorer, tried, samples, tmp_path)


def test_a_folder_of_another_model_is_refused(scorer, tmp_path):
    tried = plan_sweep(scorer.pipeline, samplers=["ddim"], steps=[2])
    run_sweep(scorer, tried, SAMPLES, tmp_path)
    next(scorer.pipeline.denoiser.parameters()).data.add_(0.1)
    with pytest.raises(InputError, match="a sweep of another model"):
        run_sweep(scorer, tried, SAMPLES, tmp_path)


def test_settings_that_are_the_same_in_all_cells_are_used_and_kept(scorer, counted, tmp_path):
    changes = {"guidance_rescale": 0.5}
    tried = plan_sweep(scorer.pipeline, samplers=["ddim"], steps=[2], changes=changes)
    run_sweep(scorer, tried, SAMPLES, tmp_path)
    assert counted[0]["guidance_rescale"] == 0.5
    with pytest.raises(InputError, match="other sampling"):
        run_sweep(scorer, plan_sweep(scorer.pipeline, samplers=["ddim"], steps=[2]), SAMPLES, tmp_path)


def test_a_folder_of_something_else_is_left_alone(scorer, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="no sweep"):
        run_sweep(scorer, plan_sweep(scorer.pipeline, steps=[2]), SAMPLES, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_every_cell_starts_from_the_same_noise(scorer):
    """One step from the same noise with guidance off is the same whatever the sampler's name for it."""
    labels, seeds = SAMPLES.all_labels(), SAMPLES.all_seeds()
    assert labels.tolist() == [0] * 4 + [2] * 4
    assert seeds == [42, 42, 43, 43] * 2
    one = {"num_inference_steps": 1, "guidance_scale": 1.0}
    first = scorer.score({"sampler": "ddim", **one}, labels, seeds).samples
    second = scorer.score({"sampler": "dpmsolver++", **one}, labels, seeds).samples
    assert (first.int() - second.int()).abs().max() <= 1
    assert SAMPLES.arranged(first).shape == (2, 2, 2, 3, 8, 8)
    assert torch.equal(SAMPLES.arranged(first)[1, 0, 1], first[5])


def made(guidance=1.0, seconds=0.1, **figures):
    known = dict.fromkeys(FIGURES, math.nan) | {"seconds_per_picture": seconds, "kid_floor": 0.01} | figures
    return Made(Cell("cosine", "ddim", guidance, 0.0, 10), known, 8, "a processor")


def findings(*cells):
    real = {"accuracy": 0.99, "precision": 0.8, "recall": 0.8, "diversity": 5.0, "kid_floor": 0.01}
    return Findings(cells, real, 10, "means")


def test_the_best_of_each_figure_is_found():
    low, wild = made(1.0, kid=0.02, diversity=4.9, accuracy=0.5), made(2.0, 0.2, kid=0.05, diversity=9.0, accuracy=0.9)
    found = findings(low, wild)
    assert found.best("kid") is low
    assert found.best("accuracy") is wild
    assert found.best("diversity") is low  # the nearest to real pictures', not the largest
    assert found.best("seconds_per_picture") is low
    assert found.best("recall") is None
    [first, second, _] = figures_table(found).rows
    assert [MARK in str(value) for value in first[5:]] == [False, True, False, False, True, True]
    assert [MARK in str(value) for value in second[5:]] == [True, False, False, False, False, False]


def test_a_faster_cell_within_the_floor_is_pointed_out():
    best, quick, bad = made(1.0, 0.5, kid=0.020), made(2.0, 0.1, kid=0.028), made(3.0, 0.01, kid=0.2)
    found = findings(best, quick, bad)
    assert found.quickest() is quick
    assert "faster: cosine, ddim, eta 0, 10 steps, guidance 2" in sweep_summary(found)


def test_a_mosaic_shows_the_first_pictures_of_the_first_classes():
    pictures = torch.arange(6 * 2 * 3).view(6, 2, 3, 1, 1, 1).expand(6, 2, 3, 1, 8, 8).to(torch.uint8)
    mosaic = draw_mosaic(pictures)
    assert mosaic.size == (32, 32)
    assert mosaic.getpixel((9, 17)) == int(pictures[2, 0, 1, 0, 0, 0])
    assert draw_mosaic(pictures[:1]).size == (32, 16)
