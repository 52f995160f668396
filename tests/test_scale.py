"""The page on what many GPUs would need says what its arithmetic says."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.scale import INPUTS, machine, tables

PAGE = Path(__file__).parents[1] / "docs" / "concepts" / "scale.md"


def test_the_page_has_the_tables_and_their_figures():
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    for table in tables():
        assert " ".join(table.split()) in page
    ten, thousand = machine(10), machine(1_000)
    gradients = machine(1_000, INPUTS | {"gradient": (2, "", "")})
    said = {
        "train {:.0f} times as fast": ten["training"] / thousand["training"],
        "at about {:,.0f},000 pairs": INPUTS["batch"][0] / thousand["busy"] / 1000,
        "to {:.0%};": gradients["busy"],
        "{:.1f} times what the GPUs": ten["decoding"] / (ten["encoding"] + ten["training"]),
        "{:.2f} TB are left": ten["kept"] / 1e12,
        "left of {:.0f}.": (ten["kept"] + ten["sounds"]) / 1e12,
    }
    assert [words for words, value in said.items() if words.format(value) not in page] == []


def test_one_gpu_waits_for_nobody_and_time_falls_as_the_number_grows():
    alone, pair = machine(1), machine(2)
    assert alone["averaging"] == 0 and alone["busy"] == 1
    assert pair["computing"] == pytest.approx(alone["computing"] / 2)
    assert pair["failing"] == pytest.approx(alone["failing"] / 2)
