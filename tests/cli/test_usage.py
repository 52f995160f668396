"""Wrong options and missing arguments: one line and code 2, as every other mistake."""

from __future__ import annotations

import sys

import pytest

from synesthete.cli.app import main


def called(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["synesthete", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    captured = capsys.readouterr()
    return stopped.value.code, captured.out, captured.err


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
def test_a_wrong_call_is_one_line_and_code_2(arguments, words, monkeypatch, capsys):
    code, out, err = called(arguments, monkeypatch, capsys)
    assert code == 2
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("synesthete: ")
    for word in words:
        assert word in line


def test_no_command_at_all_shows_the_help(monkeypatch, capsys):
    code, out, err = called((), monkeypatch, capsys)
    assert code == 2
    assert "Usage: " in out + err


def test_version_and_help_succeed(monkeypatch, capsys):
    assert called(("--version",), monkeypatch, capsys)[0] == 0
    assert called(("train", "--help"), monkeypatch, capsys)[0] == 0
