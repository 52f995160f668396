"""`--cfg 0 1.5 3`, `--cfg 0,1.5,3` and `--cfg 0 --cfg 1.5 --cfg 3` are one and the same."""

from __future__ import annotations

import shlex

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from synesthete.cli.app import app
from synesthete.cli.options import parse_numbers, split_commas, spread_values

NAMES = ("--cfg", "--eta")
COMMAND = typer.main.get_command(app).commands["sweep"]


def parsed(*arguments):
    return COMMAND.make_context("sweep", ["MODEL", *arguments]).params


def test_values_after_one_option_are_repeated_options():
    assert spread_values(["M", "--cfg", "0", "1.5", "--num", "3", "--eta", "1"], NAMES) == [
        *("M", "--cfg", "0", "--cfg", "1.5", "--num", "3", "--eta", "1")
    ]
    assert spread_values(["--cfg", "0", "--", "--eta", "1", "2"], NAMES) == ["--cfg", "0", "--", "--eta", "1", "2"]
    assert spread_values(["--cfg=0", "1", "-1.5", "-.5", "-v"], NAMES) == [
        *("--cfg=0", "--cfg", "1", "--cfg", "-1.5", "--cfg", "-.5", "-v")
    ]


@given(st.lists(st.floats(-9, 9).map(lambda x: f"{x:.2f}"), min_size=1, max_size=5))
def test_all_three_ways_say_the_same(values):
    ways = (
        parsed("--cfg", *values, "--num", "3"),
        parsed(f"--cfg={','.join(values)}", "--num", "3"),
        parsed(*[word for value in values for word in ("--cfg", value)], "--num", "3"),
    )
    assert {tuple(parse_numbers("--cfg", way["cfg"], float)) for way in ways} == {tuple(map(float, values))}


def test_the_originals_command_line_is_understood():
    found = parsed(
        *shlex.split(
            "--schedulers cosine linear --cfg 0 1.5 3 6 9 --eta 0 1 --steps 20 50 --samplers ddim dpmsolver++"
        ),
        *shlex.split("--labels cat dog --seed 42 --num 24 --out OUT"),
    )
    assert found["model"] == "MODEL"
    assert found["schedulers"] == ["cosine", "linear"]
    assert found["cfg"] == ["0", "1.5", "3", "6", "9"]
    assert found["samplers"] == ["ddim", "dpmsolver++"]
    assert found["labels"] == ["cat", "dog"]
    assert found["seeds"] == ["42"]
    assert (found["num"], str(found["out"])) == (24, "OUT")


def test_a_known_value_keeps_its_commas():
    assert split_commas(["tench, Tinca tinca", "cat,dog"], ["tench, Tinca tinca"]) == [
        "tench, Tinca tinca",
        "cat",
        "dog",
    ]
    assert split_commas(["cat, dog,"]) == ["cat", "dog"]
    assert split_commas(None) == []


def test_a_word_is_no_number():
    with pytest.raises(typer.BadParameter, match="'three' is no whole number"):
        parse_numbers("--steps", ["20", "three"], int)
