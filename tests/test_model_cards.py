"""README.md of models: every shipped one says what its page says; figures come from a report; changes by hand stay."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from benchmarks.model_cards import PAGES, card_of
from huggingface_hub import ModelCard as HubCard

from synesthete import hub
from synesthete.cli.app import app
from synesthete.evaluation.metrics.metric import Metric
from synesthete.evaluation.reporting.report import Report, figures_text
from synesthete.pipeline.model_card import OURS, ModelCard, render_card, write_card
from synesthete.recipes import RECIPES
from tiny_pictures import tiny_pipeline

FENCE = re.compile(r"^```sh\n(synesthete .*)\n```$", re.MULTILINE)


def number(cell: float | str) -> float | str:
    try:
        return float(str(cell).replace(",", ""))
    except ValueError:
        return cell


def known(row: list[str]) -> list[float | str]:
    return [number(cell) for cell in row[1:] if cell not in ("", "-")]


@pytest.mark.parametrize("name", hub.shipped_models())
def test_a_shipped_model_carries_the_card_that_its_page_makes(name):
    """`python -m benchmarks.model_cards` writes them anew; figures are rows of the page, with what stands beside."""
    folder = hub.SHIPPED / name
    text = (folder / hub.CARD).read_text(encoding="utf-8")
    assert text == render_card(folder, card_of(name))
    card = HubCard(text)
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "synesthete"
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line[:1] == "|"]
    assert len(card.data.eval_results) >= 6
    for found in card.data.eval_results:
        told = [number(cell) for cell in (found.metric_value, *found.metric_args.values())]
        assert any(row[0] == found.metric_name and told == known(row) for row in rows)
    for heading in ("How to use it", "Figures", "Data and licences", "Limits"):
        assert len(text.partition(f"## {heading}\n")[2].partition("\n## ")[0]) > 60
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 1e6
    assert f"| {size:.1f} |" in text
    for told in re.findall(r"\(([\d.]+) MB", page.partition("## ")[0]):
        assert abs(float(told) - size) < (0.06 if "." in told else 0.5)
    command, *rest = shlex.split(FENCE.search(text)[1])[1:]
    typer.main.get_command(app).commands[command].make_context(command, rest)


def test_every_page_of_a_recipe_that_ships_says_whose_the_data_are():
    assert set(hub.shipped_models()) <= RECIPES.keys()
    for name in hub.shipped_models():
        assert re.search(r"CC|GPL|Apache|MIT|none stated|public domain", card_of(name).data)


def test_a_card_has_no_figures_until_a_report_gives_them_and_is_left_alone_once_changed(tmp_path):
    tiny_pipeline().save(tmp_path)
    card = tmp_path / hub.CARD
    assert HubCard(card.read_text()).data.eval_results is None
    assert "synesthete evaluate" in card.read_text()
    metrics = [
        Metric("class accuracy (n = 40)", 0.875, (0.74, 0.95), 0.333, 0.3, 1.0, "class_accuracy", "share", True),
        Metric("a | b", float("nan"), key="b"),
    ]
    report = Report("?", facts={"made on": "2026-11-30 08:00 UTC", "command": "secret/folder"}, metrics=metrics)
    write_card(tmp_path, ModelCard(figures=figures_text(report)))
    text = card.read_text()
    (found,) = HubCard(text).data.eval_results
    assert (found.metric_type, found.metric_value) == ("class_accuracy", 0.875)
    assert found.metric_args == {"95% interval": "0.740 to 0.950", "chance": 0.333, "shuffled": 0.3, "ceiling": 1.0}
    assert "2026-11-30" in text
    assert "secret" not in text
    card.write_text(text.replace(OURS, "") + "mine\n")
    write_card(tmp_path)
    assert card.read_text().endswith("mine\n")
    tiny_pipeline().save(tmp_path)
    assert card.read_text().endswith("mine\n")


def test_cards_lie_nowhere_but_beside_models():
    assert {path.parent.name for path in Path(hub.SHIPPED).rglob(hub.CARD)} == set(hub.shipped_models())
