"""Reports side by side: joined by key whatever n, and a difference is called one only where it is surely one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from synesthete.evaluation.compare import comparison_report, metric_difference, read_report, without_n
from synesthete.evaluation.metrics.metric import Metric, interval, interval_of_mean, metric
from synesthete.evaluation.reporting.report import Report, write_report
from synesthete.types import InputError

if TYPE_CHECKING:
    from pathlib import Path


def accuracy(share: float, num: int) -> Metric:
    return metric("accuracy", share, interval(share, num), 0.1, None, 0.99, classifier="mel classifier", num=num)


def write(folder: Path, *metrics: Metric) -> Path:
    return write_report(Report("A report", facts={"model": folder.name}, metrics=list(metrics)), folder).parent


@pytest.fixture
def three(tmp_path) -> list[Path]:
    fid = [metric("fid", value, against=f"inception, n = {num}") for value, num in ((30.0, 100), (20.0, 1000))]
    return [
        write(tmp_path / "first" / "report", accuracy(0.5, 100), fid[0]),
        write(tmp_path / "second" / "report", accuracy(0.9, 1000), fid[1]),
        write(tmp_path / "third" / "report", accuracy(0.52, 100)),
    ]


def test_rows_are_joined_by_key_whatever_n(three):
    report = comparison_report([read_report(folder) for folder in three])
    rows = {row["key"]: row for row in report.data["compared"]}
    assert list(rows) == ["accuracy", "fid"]
    second, third = (rows["accuracy"]["differences"][name] for name in ("second", "third"))
    assert second["value"] == pytest.approx(0.4)
    assert (second["differs"], second["better"]) == (True, True)
    assert third["differs"] is False
    assert rows["fid"]["differences"]["second"] == {"value": -10.0, "interval": None, "differs": None, "better": True}
    assert "third" not in rows["fid"]["values"]
    (note,) = [section for section in report.sections if section.title == "Notes"]
    assert "FID" in str(note.items[0])  # of 100 and of 1000: no figures of the same thing


def test_the_interval_of_a_difference_covers_it():
    """Two samples of one distribution differ beyond the interval as often as promised, or less."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(400):
        values = [torch.randn(60, generator=generator) for _ in range(2)]
        found.append(metric_difference(*(Metric("mean", v.mean().item(), interval_of_mean(v)) for v in values)).differs)
        right = [(torch.rand(60, generator=generator) < 0.9).float().mean().item() for _ in range(2)]
        found.append(metric_difference(*(Metric("share", share, interval(share, 60)) for share in right)).differs)
    assert sum(map(bool, found)) / len(found) < 0.07


def test_a_title_without_n():
    assert without_n("accuracy (mel classifier, n = 40)") == "accuracy (mel classifier)"
    assert without_n("KID (inception, n = 50, 20 real)") == "KID (inception)"
    assert without_n("seeing: accuracy of a linear probe on the condition (n = 8)").endswith("the condition")


def test_the_command_takes_runs_folders_and_files(three, command, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        code, said, _ = command("compare", three[0].parent, three[1], three[2] / "report.json", "--out", out, "--json")
        assert code == 0
    values = json.loads(said.splitlines()[-1])
    assert values["report"] == str(out)
    assert {path.name for path in out.iterdir()} == {"report.md", "report.html", "report.json", "pictures"}
    assert (out / "pictures" / "comparison.png").stat().st_size > 1000


def test_what_cannot_be_compared_is_refused_in_a_line(three, command, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "report.json").write_text('{"metrics": [{"name": "accuracy", "value": 1.0}]}')
    (tmp_path / "torn.json").write_text('{"metrics": [')
    other = write(tmp_path / "other", metric("seconds_per_sample", 1.0, sample="picture", how="alone"))
    odd = [{"value": 1, "title": []}, {"value": 1, "key": {}}, {"value": "a"}, {"value": 1, "interval": [1, "a"]}]
    for number, values in enumerate(odd):
        metric_values = {"title": "accuracy", "key": "accuracy", "interval": None, **values}
        (tmp_path / f"odd{number}.json").write_text(json.dumps({"metrics": [metric_values]}))
    odd_pairs = [[three[0], tmp_path / f"odd{number}.json"] for number in range(len(odd))]
    for given in ([three[0]], [three[0], tmp_path / "none"], [tmp_path / "old"], [tmp_path / "torn.json"], *odd_pairs):
        code, _, error = command("compare", *given, "--out", tmp_path / "out")
        assert (code, len(error.splitlines())) == (2, 1)
    with pytest.raises(InputError, match="in common"):
        comparison_report([read_report(three[0]), read_report(other)])
    assert not (tmp_path / "out").exists()
