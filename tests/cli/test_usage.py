"""Wrong options and missing arguments: one line and code 2, as every other mistake."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train",), ("Missing argument 'RECIPE'", "synesthete train --help")),
        (("sample",), ("Missing argument 'MODEL'", "synesthete sample --help")),
        (("train", "x", "--bogus", "3"), ("--bogus", "synesthete train --help")),
        (("evaluate", "x", "--num", "three"), ("'--num'", "synesthete evaluate --help")),
        (("evaluate", "x", "--num", "3"), ("'--num'", "10", "synesthete evaluate --help")),
        (("traim", "x"), ("traim", "synesthete --help")),
        (("--bogus",), ("--bogus", "synesthete --help")),
        (("demo", "--device", "toaster"), ("device 'toaster'", "choose from auto, cpu")),
    ],
)
def test_a_wrong_call_is_one_line_and_code_2(arguments, words, command):
    code, out, err = command(*arguments)
    assert code == 2
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("synesthete: ")
    for word in words:
        assert word in line


def test_no_command_at_all_shows_the_help(command):
    code, out, err = command()
    assert code == 2
    assert "Usage: " in out + err


def test_version_and_help_succeed(command):
    assert command("--version")[0] == 0
    assert command("train", "--help")[0] == 0
