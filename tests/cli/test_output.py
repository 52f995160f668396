"""What is data goes to standard output, and nothing else; colour and width are those of the terminal."""

from __future__ import annotations

import ast
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from PIL import Image

import synesthete
from sound_files import write_melody
from synesthete.cli.app import app
from synesthete.evaluation.classifiers.image import ImageClassifier
from synesthete.evaluation.metrics.metric import Metric
from tiny_pictures import tiny_recipe

# Who may write there: the last words of every command, a recipe as YAML, the version.
SPEAKERS = {"cli/options.finish", "cli/recipes.show", "cli/app.options"}
# Each command, in an order in which one leaves what the next one reads. What it writes are paths, or the answer to what
# was asked; `studio` is started in tests/studio.
TWO_STEPS = ("--num", 1, "--steps", 2)
PATHS = {
    "new": ("pictures", "--no-cost"),
    "prepare": ("tiny.yaml", "--out", "data"),
    "train": ("tiny.yaml", "--data", "data", "--out", "run", "--no-watch"),
    "draw": ("run", "--label", "red", *TWO_STEPS),
    "sample": ("run", "--label", "red", *TWO_STEPS),
    "speak": ("image-to-speech-digits", "pictures/red/0.png", "--steps", 2),
    "play": ("--label", "strings", *TWO_STEPS),
    "paint": ("melody.wav", *TWO_STEPS),
    "diagnose": ("run", "--num", 4, "--only", "denoising", "--features", "none"),
    "sweep": ("run", "--steps", 2, "--num", 2, "--features", "classifier"),
    "tune": ("run", "--features", "classifier"),
    "export": ("run", "--out", "onnx", "--part", "conditioner"),
    "demo": (),
}
ANSWERS = {
    "recipes": (),
    "show": ("images-digits-debug",),
    "evaluate": ("run", "--num", 10, "--features", "classifier"),
    "compare": ("run", "run/report/report.json"),
    "doctor": ("run",),
    "cycle": ("image-to-speech-digits", "run"),
    "push": ("run", "me/tiny"),
}
# Command lines after one another in a process whose terminal this is.
TERMINAL = """
import functools, shlex, sys, typer.main
from synesthete.cli.app import main
typer.main.get_command = functools.cache(typer.main.get_command)
for line in sys.argv[1:]:
    sys.argv = ["synesthete", *shlex.split(line)]
    try:
        main()
    except SystemExit:
        pass
"""
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3\d|4\d|9\d|10\d)[;m]")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def writes(node: ast.AST) -> bool:
    """Whether this is a call that writes to standard output."""
    if isinstance(node, ast.Attribute):
        return ast.unparse(node) in ("sys.stdout.write", "sys.stdout.buffer")
    if not isinstance(node, ast.Call):
        return False
    name, names = ast.unparse(node.func), {word.arg for word in node.keywords}
    return (name == "print" and "file" not in names) or (name in ("typer.echo", "typer.secho") and "err" not in names)


def test_no_command_writes_anything_else_to_standard_output():
    root, found = Path(synesthete.__file__).parent, set()
    for path in root.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef) and any(map(writes, ast.walk(function))):
                found.add(f"{path.relative_to(root).with_suffix('').as_posix()}.{function.name}")
    assert found == SPEAKERS


@pytest.mark.usefixtures("undrawn")
def test_every_command_that_is_piped_writes_data_alone(command, tmp_path, monkeypatch):
    """The paths of what it made, each of which is there, or the rows of what it was asked for."""
    assert {*PATHS, *ANSWERS, "studio"} == {*typer.main.get_command(app).commands}
    monkeypatch.chdir(tmp_path)
    quick = replace(ImageClassifier.training_settings, fewest_steps=10, num_passes=1)
    monkeypatch.setattr(ImageClassifier, "training_settings", quick)
    # Of these four only the last words are looked at here: they need the Hub, or long, and have tests of their own.
    digit = {"picture": "one", "wav": "out/one.wav", "heard": "one"}
    demo = {"digits": [digit], "voices": [], "right": 1, "notes": ["a note"], "systems": [], "page": "tiny.yaml"}
    found = SimpleNamespace(
        metrics=[Metric("agreement", 0.5)],
        summary=lambda: "the best",
        to_dict={"measurements": [], "findings": {"steps": "few do"}}.copy,
        data={},
    )
    for place, made in {
        "pipeline.model_card.upload": "https://hub/me/tiny",
        "tasks.cycle.evaluate_cycle": found,
        "tasks.cycle.shared_classes": ("red",),
        "tasks.demo.show_digits": demo | {"seconds": 1.0},
        "evaluation.search.tune.run_tune": found,
    }.items():
        monkeypatch.setattr(f"synesthete.{place}", lambda *_, made=made, **__: made)
    Path("tiny.yaml").write_text(tiny_recipe().to_yaml())
    write_melody(Path("melody.wav"), 1.0)
    for name, level in (("red", 60), ("blue", 200)):
        Path("pictures", name).mkdir(parents=True)
        for i in range(12):
            Image.new("L", (28, 28), level + i).save(Path("pictures", name, f"{i}.png"))
    for name, arguments in [*PATHS.items(), *ANSWERS.items()]:
        code, printed, said = command(name, *arguments)
        lines = printed.splitlines()
        assert code == 0 or name == "doctor", (name, said)
        assert lines and not re.search(r"[\x00-\x09\x0b-\x1f]", printed), name
        if name in PATHS:
            assert name == "tune" or all(Path(line).exists() for line in lines), (name, lines)
        assert not {*filter(None, lines)} & {*said.splitlines()}, name


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_summary_is_for_people(command, tmp_path, monkeypatch, is_terminal):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: is_terminal)
    _, printed, said = command("draw", "--label", "7", *TWO_STEPS)
    [summary] = [line for line in (printed if is_terminal else said).splitlines() if "2 files" in line]
    assert printed == (f"{summary}\n" if is_terminal else "out/draw/7_000.png\n")


@pytest.mark.parametrize(
    "arguments",
    [("recipes",), ("show", "images-digits-debug"), ("draw", "--label", "7", "--num", "1", "--steps", "2")],
    ids=lambda arguments: arguments[0],
)
def test_with_json_it_is_one_object(arguments, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, printed, _ = command(*arguments, "--json")
    assert code == 0 and len(printed.splitlines()) == 1
    assert isinstance(json.loads(printed), dict)


def on_terminal(folder: Path, *lines: str, width: int = 50, **variables: str) -> str:
    """What a terminal of so many columns is sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    plain = {"NO_COLOR", "COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS"}
    own = {name: value for name, value in os.environ.items() if name not in plain}
    own |= {"TERM": "xterm-256color", **variables}
    process = subprocess.Popen(
        [sys.executable, "-c", TERMINAL, *lines], cwd=folder, env=own, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said = io.BytesIO()
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # nobody holds the other end
            break
        if not part:
            break
        said.write(part)
    process.wait()
    os.close(ours)
    return said.getvalue().decode()


def widest(said: str) -> int:
    return max(map(len, CONTROL.sub("", said).splitlines()))


def test_colour_and_width_are_those_of_the_terminal(tmp_path):
    """Of the help of every command, of a wrong option and of a bar."""
    helps = [f"{name} --help" for name in ("", *typer.main.get_command(app).commands)]
    as_it_is = on_terminal(tmp_path, *helps)
    assert COLOUR.search(as_it_is) and 40 < widest(as_it_is) <= 50
    assert 50 < widest(on_terminal(tmp_path, *helps, COLUMNS="70")) <= 70
    draws = "draw --label 7 --num 1 --steps 2"
    assert COLOUR.search(on_terminal(tmp_path, draws))
    plain = on_terminal(tmp_path, *helps, "show --nothing", f"{draws} --out again", NO_COLOR="1")
    assert "2 files" in plain and "7_000.png" not in plain  # the summary
    assert not COLOUR.search(plain)
    assert "\x1b" not in on_terminal(tmp_path, *helps, TERM="dumb")
