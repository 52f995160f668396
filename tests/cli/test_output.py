"""What is data goes to standard output, and nothing else."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import synesthete

# Who may write there: the last words of every command, a recipe as YAML, the version, where the studio is.
SPEAKERS = {"cli/options.finish", "cli/recipes.show", "cli/app.options", "cli/studio.studio"}


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
    assert "\x1b" not in command(*arguments)[1]
