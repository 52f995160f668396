"""Laws of the whole package, read off its source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import synesthete

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(synesthete.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
HEAVY = ("torch", "diffusers", "transformers", "accelerate", "librosa", "matplotlib", "sklearn", "gradio")


def imported(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_importing_takes_nothing_heavy():
    modules = "synesthete, synesthete.types, synesthete.hub, synesthete.config, synesthete.tasks"
    code = f"import sys, {modules}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_the_version_is_that_of_the_installed_package():
    assert synesthete.__version__.split(".")[0].isdigit()


def refused(tree: ast.AST) -> Iterator[str]:
    """What no module may do."""
    roots = {name.split(".")[0] for name in imported(tree)}
    yield from roots & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    yield from roots & {"torchvision", "torchaudio"}
    yield from roots & {"wandb"}  # a tracker is never required
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, keywords = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
        allowed = {"trust_remote_code": keywords.get("trust_remote_code", "False") == "False"}
        if name == "torch.load":
            allowed["weights_only"] = keywords.get("weights_only") == "True"
        if name in ("np.load", "numpy.load"):
            allowed["allow_pickle"] = keywords.get("allow_pickle") == "False"
        if name.endswith("from_pretrained"):
            allowed["use_safetensors"] = keywords.get("use_safetensors") in ("True", None)
        yield from (f"{name}({keyword})" for keyword, is_allowed in allowed.items() if not is_allowed)
        if name in ("eval", "exec", "torch.save", "yaml.load", "yaml.unsafe_load", "__import__"):
            yield name


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """The source of every module."""
    return {str(path.relative_to(SOURCE)): ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}


def test_no_pickle_no_remote_code_and_no_torchvision(trees):
    """Law 12: we read safetensors, or weights_only; torchvision and torchaudio fail to import beside a CPU torch."""
    assert {name: found for name, tree in trees.items() if (found := [*refused(tree)])} == {}


@pytest.mark.parametrize(
    "call",
    [
        *("import pickle", "from joblib import load", "import torchvision.ops", "import wandb", "eval(text)"),
        *("torch.load(path)", "np.load(path, allow_pickle=True)", "torch.save(x, path)", "yaml.load(text)"),
        *("a.from_pretrained(b, use_safetensors=False)", "a(trust_remote_code=True)"),
    ],
)
def test_what_is_refused_is_seen(call):
    assert [*refused(ast.parse(call))]


def test_a_file_is_a_noun_that_says_what_it_is(trees):
    vague = {"utils", "util", "helpers", "helper", "manager", "misc", "common", "base"}
    assert not [name for name, tree in trees.items() if Path(name).stem in vague or not ast.get_docstring(tree)]


# A recipe's module has a `debug`, the facade and a command the name of what they call.
IN_SEVERAL = {"debug", "load", "prepare"}


def test_a_public_name_is_defined_in_one_module(trees):
    found: dict[str, list[str]] = {}
    for name, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(name)
    assert {name: paths for name, paths in found.items() if len(paths) > 1 and name not in IN_SEVERAL} == {}


def test_what_a_section_says_is_there_and_is_said():
    tables = [path.read_text(encoding="utf-8").splitlines() for path in SOURCE.rglob("sections.tsv")]
    there = [row.split("\t")[0] for table in tables for row in table if not row.startswith("#")]
    used = re.findall(r"SECTIONS\[f?[\"']([a-z_.]+)", "".join(path.read_text(encoding="utf-8") for path in MODULES))
    told = {name.partition(".")[0] for name in used if name.endswith(".")}  # by a name that is put together
    assert len(set(there)) == len(there) > 30
    assert {name for name in there if name.partition(".")[0] not in told} == {name for name in used if name[-1] != "."}


def test_no_secret_and_no_path_of_one_machine_is_in_the_source():
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        for word in ("/home/", "/root/", "C:\\\\", "hf_", "api_key"):
            assert word not in text, f"{path}: {word}"
