"""What is public is what docs/api documents: the names of `__all__`, and the classes that a recipe may name."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

import synesthete
from synesthete.config.document import MODULES

ROOT = Path(__file__).parents[1]
SOURCE = Path(synesthete.__file__).parent
PAGES = sorted((ROOT / "docs" / "api").glob("*.md"))
DOCUMENTED = [name for page in PAGES for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = [
    match
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for match in FENCE.findall(page.read_text("utf-8"))
]
SHOWN += [path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*.py")]


def bound(tree: ast.Module) -> set[str]:
    """The names that a module's source binds at its top."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        else:
            found |= {
                part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            }
    return found


@pytest.fixture(scope="module")
def public() -> set[str]:
    """The names of every `__all__` with their modules, all of which are there."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "\n__all__ = " not in text:
            continue
        tree = ast.parse(text)
        [names] = (
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        )
        assert set(names) <= bound(tree), path
        module = ".".join(["synesthete", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")
        found |= {f"{module}.{name}" for name in names}
    return found


def test_each_public_name_is_documented_once_and_nothing_else_is(public):
    public |= {f"synesthete.{module}.{name}" for name, module in MODULES.items() if not module.startswith("objectives")}
    assert sorted(DOCUMENTED) == sorted(public)
    assert {f"synesthete.{name}" for name in synesthete.__all__} <= set(DOCUMENTED)


def test_a_class_that_a_recipe_may_name_is_documented_once():
    named = Counter(name.rpartition(".")[2] for name in DOCUMENTED)
    assert {name for name in MODULES if named[name] != 1} == set()


def test_nothing_private_is_documented():
    assert not [name for name in DOCUMENTED if re.search(r"\._(?!_version__)", name)]


def test_what_pages_and_examples_import_is_documented():
    """And of modules that they import, such as `seeding`, what they use of them."""
    used = set()
    for tree in map(ast.parse, SHOWN):
        imported = [
            (f"{node.module}.{alias.name}", alias.asname or alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "synesthete"
            for alias in node.names
        ]
        for path, name in imported:
            if any(there.startswith(f"{path}.") for there in DOCUMENTED):
                calls = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
                used |= {f"{path}.{node.attr}" for node in calls if ast.unparse(node.value) == name}
            else:
                used.add(path)
    assert len(used) > 80
    assert used <= set(DOCUMENTED), used - set(DOCUMENTED)


def test_what_benchmarks_tests_and_examples_import_is_there():
    """Names that move take those along which no type checker reads, and no collection of tests stops at them."""
    modules = {
        ".".join(["synesthete", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__"): path
        for path in SOURCE.rglob("*.py")
    }
    there = set(modules)
    for module, path in modules.items():
        text = path.read_text(encoding="utf-8")
        there |= {f"{module}.{name}" for name in bound(ast.parse(text))}
    there |= {f"synesthete.{name}" for name in synesthete.__all__}  # found when they are asked for
    missing = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.module}.{alias.name}"
        for folder in ("benchmarks", "examples", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "synesthete"
        for alias in node.names
        if f"{node.module}.{alias.name}" not in there
    ]
    assert not missing
