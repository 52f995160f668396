"""What the documentation says is true: its python runs, its commands parse, its links lead somewhere."""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from typer.testing import CliRunner

from synesthete.cli.app import app
from synesthete.cli.verbs import VERBS
from synesthete.recipes import RECIPES, find_recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL = ("sh", "bash", "console")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^]]*\]\(([^)\s]+)\)")
INLINE = re.compile(r"`(synesthete [a-z]+ [^`\n]*--set [^`\n]+)`")
EXPECTED = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


class Example(NamedTuple):
    """A fenced block, or a command line in it; `where` is page:line."""

    where: str
    text: str


def blocks(*languages: str) -> list[Example]:
    found = []
    for page in PAGES:
        content = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(content):
            if match[1] in languages:
                line = content.count("\n", 0, match.start(2)) + 1
                found.append(Example(f"{page.relative_to(ROOT)}:{line}", match[2]))
    return found


def command_lines() -> list[Example]:
    """Every line of a shell block that calls the command, continued lines joined; what text sets; helps' examples."""
    found = []
    for where, text in blocks(*SHELL):
        page, first = where.split(":")
        for i, line in enumerate(re.sub(r"\\\n", " ", text).splitlines()):
            if arguments(line):
                found.append(Example(f"{page}:{int(first) + i}", line))
    for page in PAGES:
        content = page.read_text(encoding="utf-8")
        found += [
            Example(f"{page.relative_to(ROOT)}:{content.count(chr(10), 0, match.start()) + 1}", match[1])
            for match in INLINE.finditer(content)
        ]
    for name, command in COMMANDS.items():
        found += [Example(f"{name} --help", line) for line in re.findall(r"`([^`]*synesthete [^`]*)`", command.help)]
    return found


def arguments(line: str) -> list[str]:
    """What follows `synesthete` in a shell line, up to a pipe or a redirection."""
    words = shlex.split(line.removeprefix("$ "), comments=True)
    starts = [i for i, word in enumerate(words) if word == "synesthete"]
    if not starts or (starts[0] and words[0] != "accelerate" and "=" not in words[0] and words[starts[0] - 1] != "-m"):
        return []
    rest = words[starts[0] + 1 :]
    end = next((i for i, word in enumerate(rest) if word in ("|", ">", ">>", "&&", ";", "&")), len(rest))
    return rest[:end]


def parameters(examples: list[Example]) -> Any:
    return pytest.mark.parametrize("example", examples, ids=[example.where for example in examples])


@parameters([block for block in blocks("python") if "export_model" not in block.text])
def test_python_runs_and_prints_what_it_says(example, tmp_path, monkeypatch, capsys, own_additions):
    """A line `print(...)  # text` prints that text."""
    monkeypatch.chdir(tmp_path)
    exec(compile(example.text, example.where, "exec"), {"__name__": "__main__"})
    expected = EXPECTED.findall(example.text)
    if expected and example.where.startswith("docs"):
        assert capsys.readouterr().out.splitlines() == expected


@pytest.mark.slow  # test_export samples smaller models by the same calls
@parameters([block for block in blocks("python") if "export_model" in block.text])
def test_exporting_runs_and_prints_what_it_says(example, tmp_path, monkeypatch, capsys, own_additions):
    test_python_runs_and_prints_what_it_says(example, tmp_path, monkeypatch, capsys, own_additions)


@parameters(command_lines())
def test_commands_have_these_names_and_options(example):
    """Parsed, not run; `--set` is tried on the recipe where that is a named one."""
    words = arguments(example.text)
    while words and words[0] in ("--verbose", "-v", "-vv", "-vvv", "--log"):
        words = words[2 if words[0] == "--log" else 1 :]
    if words in (["--version"], ["--help"], ["-h"]):
        return
    assert words and words[0] in COMMANDS, f"no command in {example.text!r}"
    if words[-1] in ("--help", "-h"):
        words = words[:-1]
        assert len(words) == 1 or words[1] in VERBS[words[0]].others
        return
    given = COMMANDS[words[0]].make_context(words[0], words[1:]).params
    name = given.get("recipe") or given.get("model")
    if name in RECIPES:
        is_a_recipe(name, *(given.get("assignments") or ()), stages=given.get("stages"))


@functools.cache
def is_a_recipe(name: str, *assignments: str, stages: str | None = None) -> None:
    """Whether it can be made with these assignments; many lines name the same."""
    find_recipe(name, assignments, stages and stages.split(","))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    content = FENCE.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for target in LINK.findall(content):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert not broken


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    content = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", content, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(name):
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0
    assert f"synesthete {name}" in COMMANDS[name].help
    assert "synesthete " in shown.output.partition("Usage:")[2]


def test_every_page_can_be_reached_from_the_index():
    reached, waiting = set(), [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or not page.is_file():
            continue
        reached.add(page)
        targets = (target.partition("#")[0] for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))))
        waiting += [(page.parent / t).resolve() for t in targets if t.endswith(".md") and not re.match(r"[a-z]+:", t)]
    assert {page for page in PAGES if page.parent != ROOT} <= reached


def test_no_example_is_lost():
    """A fence without a language is neither run nor marked as text, and is most likely an oversight."""
    assert not [example.where for example in blocks("")]
    assert len(blocks("python")) >= 12
    assert len(command_lines()) >= 20
