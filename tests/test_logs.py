"""One level between DEBUG and INFO shows our detail and not the libraries'."""

from __future__ import annotations

import logging
import sys

import pytest
import torch

from synesthete.cli.app import choose_level, main
from synesthete.cli.options import finish
from synesthete.io import load_or_compute
from synesthete.logs import DETAIL, LEVELS, StandardError, listen, visible
from synesthete.types import InputError

OURS, THEIRS = "synesthete.training.trainer", "library.module"
RECORDS = (("DEBUG", logging.DEBUG), ("DETAIL", DETAIL), ("INFO", logging.INFO), ("WARNING", logging.WARNING))


@pytest.fixture
def bare():
    """Takes all handlers away, as in a program that has just begun; they and the levels come back afterwards.

    Called in the test: pytest puts handlers of its own in place after the fixtures.
    """
    root, package = logging.getLogger(), logging.getLogger("synesthete")
    before: list = [root.level, package.level, None]

    def take_away():
        before[2], root.handlers[:] = root.handlers[:], []

    yield take_away
    root.setLevel(before[0])
    package.setLevel(before[1])
    if before[2] is not None:
        root.handlers[:] = [handler for handler in before[2] if handler in root.handlers]


def said(capsys):
    """(logger, level) of every record that reaches standard error."""
    for name in (OURS, THEIRS):
        for level, number in RECORDS:
            logging.getLogger(name).log(number, "%s/%s", name, level)
    lines = [line.rpartition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    return [tuple(line.split("/")) for line in lines]


def from_level(*names):
    return [
        (logger, level) for logger, first in zip((OURS, THEIRS), names, strict=True) for level in levels_from(first)
    ]


def levels_from(first):
    names = [name for name, _ in RECORDS]
    return names[names.index(first) :] if first else []


@pytest.mark.parametrize(
    ("level", "ours", "theirs"),
    [
        ("error", None, None),
        ("warning", "WARNING", "WARNING"),
        ("info", "INFO", "WARNING"),
        ("detail", "DETAIL", "WARNING"),
        ("debug", "DEBUG", "DEBUG"),
    ],
)
def test_each_level_shows_ours_and_theirs_as_it_says(level, ours, theirs, capsys, bare):
    bare()
    listen(level)
    assert said(capsys) == from_level(ours, theirs)


def test_detail_lies_between_debug_and_info_and_has_a_name():
    assert logging.DEBUG < DETAIL < logging.INFO
    assert logging.getLevelName(DETAIL) == "DETAIL"
    assert list(LEVELS) == ["error", "warning", "info", "detail", "debug"]


def test_a_plain_logger_of_the_package_is_enough(capsys, bare):
    """In a program of one's own: handlers as one likes, one level, nothing of this package called."""
    bare()
    logging.basicConfig(format="%(name)s/%(levelname)s", stream=sys.stderr)
    logging.getLogger("synesthete").setLevel("DETAIL")
    assert said(capsys) == from_level("DETAIL", "WARNING")


def test_handlers_of_ones_own_are_kept(capsys, bare):
    bare()
    logging.basicConfig(format="mine %(name)s/%(levelname)s", stream=sys.stderr)
    listen("detail")
    assert not any(isinstance(handler, StandardError) for handler in logging.getLogger().handlers)
    assert said(capsys) == from_level("DETAIL", "WARNING")


def test_lines_go_where_standard_error_is_now(monkeypatch, bare):
    """A progress bar puts itself in its place while it is drawn."""
    bare()
    lines = []
    listen("info")

    class Bar:
        def write(self, text):
            lines.append(text)

    monkeypatch.setattr(sys, "stderr", Bar())
    logging.getLogger(OURS).info("between the bars")
    assert lines == ["between the bars\n"]


@pytest.mark.parametrize(
    ("log", "verbose", "variable", "level"),
    [
        (None, 0, None, "warning"),
        (None, 1, None, "info"),
        (None, 2, None, "detail"),
        (None, 5, None, "debug"),
        (None, 0, "Detail", "detail"),
        (None, 1, "debug", "info"),
        ("error", 2, "debug", "error"),
        (None, 0, "", "warning"),
    ],
)
def test_the_option_comes_before_the_letters_before_the_variable(log, verbose, variable, level, monkeypatch):
    monkeypatch.delenv("SYNESTHETE_LOG", raising=False)
    if variable is not None:
        monkeypatch.setenv("SYNESTHETE_LOG", variable)
    assert choose_level(log, verbose) == level


def test_a_level_that_there_is_not_is_one_line(monkeypatch, capsys):
    with pytest.raises(InputError, match="--log 'loud': no such level; give one of error, warning, info"):
        choose_level("loud", 0)
    monkeypatch.setenv("SYNESTHETE_LOG", "loud")
    monkeypatch.setattr(sys, "argv", ["synesthete", "recipes"])
    with pytest.raises(SystemExit) as stopped:
        main()
    [line] = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2
    assert line.startswith("synesthete: SYNESTHETE_LOG 'loud': no such level")


@pytest.mark.parametrize(("arguments", "level"), [(("-vv",), DETAIL), (("--log", "detail"), DETAIL), (("-v",), 20)])
def test_the_command_line_sets_the_level(arguments, level, monkeypatch, capsys, bare):
    bare()
    monkeypatch.delenv("SYNESTHETE_LOG", raising=False)
    monkeypatch.setattr(sys, "argv", ["synesthete", *arguments, "recipes"])
    with pytest.raises(SystemExit):
        main()
    assert logging.getLogger("synesthete").level == level
    assert logging.getLogger().level == logging.WARNING


def test_every_shard_of_a_preparation_is_detail(tmp_path, capsys, bare):
    bare()
    for level, lines in (("info", []), ("detail", [f"{tmp_path / 'detail.safetensors'}: written"])):
        logging.getLogger().handlers[:] = []
        listen(level)
        load_or_compute(tmp_path / f"{level}.safetensors", lambda: {"values": torch.zeros(2)})
        assert capsys.readouterr().err.splitlines() == lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\x9b31m\r", "\\x9b31m\\r"),
        ("a\tb\nc", "a\tb\nc"),
        ("Zwölf 犬 👩\u200d🚀", "Zwölf 犬 👩\u200d🚀"),
    ],
)
def test_what_would_steer_a_terminal_is_written_out(text, shown, capsys, bare):
    assert visible(text) == shown
    bare()
    listen("warning")
    logging.getLogger("synesthete").warning("%s", text)
    finish(False, {}, text)
    said = capsys.readouterr()
    assert shown in said.err
    assert shown in said.out
    assert "\x1b" not in said.err + said.out
