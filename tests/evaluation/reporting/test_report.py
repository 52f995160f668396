"""The report: whole in one file, the same numbers in all three, and the old one kept until the new one is there."""

from __future__ import annotations

import html
import json
import math
import re

import pytest
import torch
from pages import Page, check_media

from synesthete.evaluation.metrics.metric import Metric
from synesthete.evaluation.reporting.figures import confusion_figure, to_png
from synesthete.evaluation.reporting.media import encode_wav
from synesthete.evaluation.reporting.report import (
    Card,
    Gallery,
    Medium,
    Report,
    Section,
    Table,
    headline,
    number,
    write_report,
)
from synesthete.types import InputError


@pytest.fixture
def report() -> Report:
    counts = torch.tensor([[3, 1, 0], [0, 4, 0]])
    card = Card(
        'a "cat" & <dog>',
        [
            Medium("confusion", to_png(confusion_figure(counts, ["cat", "dog"], "n = 8")), "counts"),
            Medium("beep", encode_wav(torch.sin(torch.arange(2400) * 0.1), 24_000), "listen", "wav"),
        ],
        ["pocketsphinx: nothing"],
    )
    return Report(
        title="Does it <speak>?",
        summary="It does.",
        facts={"model": "a|b", "seed": 0},
        metrics=[
            Metric("accuracy (mel classifier, n = 8)", 0.875, (0.529, 0.978), 0.5, 0.4583333, 1.0),
            Metric("MSE (n = 8)", 0.0123456),
        ],
        sections=[Section("Heard", "Listen.", [Gallery([card]), Table(("class", "share"), [("cat", math.nan)])])],
        data={"more": {"snr": math.inf}},
    )


def test_the_page_needs_no_other_file(report, tmp_path):
    path = write_report(report, tmp_path / "report")
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    assert check_media(page) == 2
    assert "Does it <speak>?" in page.text  # escaped in the file, whole when read
    assert "<script" not in path.read_text()


def test_json_markdown_and_page_say_the_same(report, tmp_path):
    folder = write_report(report, tmp_path / "report").parent
    found = json.loads((folder / "report.json").read_text())
    markdown = (folder / "report.md").read_text()
    page = Page((folder / "report.html").read_text())
    for metric in found["metrics"]:
        row = next(line for line in markdown.splitlines() if line.startswith(f"| {metric['title']} |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1] == number(metric["value"])
        assert cells[3:] == [number(metric[key]) for key in ("chance", "shuffled", "ceiling")]
        for cell in cells:
            assert html.unescape(cell) in page.text
    assert found["metrics"][0]["value"] == 0.875
    assert found["more"]["snr"] is None
    assert found["tables"]["Heard"] == [{"class": "cat", "share": None}]


def test_neither_lets_a_name_be_markup(report, tmp_path):
    """A class, a caption or a command with < in it stays what it says."""
    folder = write_report(report, tmp_path / "report").parent
    for written in ("Does it <speak>?", 'a "cat" & <dog>'):
        assert written in Page((folder / "report.html").read_text()).text
        markdown = (folder / "report.md").read_text()
        assert written not in markdown
        assert written in html.unescape(markdown)


def test_what_the_markdown_shows_is_there(report, tmp_path):
    folder = write_report(report, tmp_path / "report").parent
    markdown = (folder / "report.md").read_text()
    for name in ("pictures/confusion.png", "sounds/beep.wav"):
        assert f"]({name})" in markdown
        assert (folder / name).stat().st_size > 0


def test_an_old_report_stays_until_the_new_one_is_whole(report, tmp_path, monkeypatch):
    folder = tmp_path / "report"
    write_report(report, folder)
    before = (folder / "report.md").read_text()
    report.summary = "Changed."
    with monkeypatch.context() as patch:
        patch.setattr(
            "synesthete.evaluation.reporting.report.to_json", lambda _: (_ for _ in ()).throw(OSError(28, "No space"))
        )
        with pytest.raises(InputError, match="cannot be written"):
            write_report(report, folder)
    assert (folder / "report.md").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    write_report(report, folder)
    assert "Changed." in (folder / "report.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_folder_of_something_else_is_left_alone(report, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="no report"):
        write_report(report, tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_numbers():
    values = (0.9716, 0.0041, 12345, 0.0, None, math.nan, 3.14159, "cat", True)
    assert [number(value) for value in values] == [
        "0.972",
        "0.0041",
        "12345",
        "0.000",
        "-",
        "-",
        "3.142",
        "cat",
        "True",
    ]


def test_every_metric_has_its_place_in_the_headline():
    table = headline([Metric("x", 0.5, (0.4, 0.6), 0.1, 0.2, 0.9)])
    assert list(zip(table.columns, table.rows[0], strict=True)) == [
        ("metric", "x"),
        ("value", 0.5),
        ("95% interval", "0.400 to 0.600"),
        ("chance", 0.1),
        ("shuffled", 0.2),
        ("ceiling", 0.9),
    ]


def test_two_metrics_of_one_key_are_refused(report, tmp_path):
    report.metrics = [Metric(title, 0.5, key="accuracy_whisper") for title in ("one", "another")]
    with pytest.raises(InputError, match="accuracy_whisper"):
        write_report(report, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_markdown_takes_no_name_for_a_link_a_picture_or_a_heading(tmp_path):
    name = "![x](http://else.where)[y](z) \\[q\\](r)\n# \x1b[31mred"
    page = Report(name, sections=[Section(name, name, [Table((name,), [(name,)], name)])])
    markdown = (write_report(page, tmp_path / "report").parent / "report.md").read_text()
    assert "\x1b" not in markdown
    assert not re.search(r"(?<!\\)(\\\\)*\]\(", markdown)  # no bracket that ends a link is left as it was
    assert sum(line.startswith("#") for line in markdown.splitlines()) == 2
