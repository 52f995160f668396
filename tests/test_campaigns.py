"""A share of the campaigns, with a fixed seed: what is damaged or meant to harm is read, or refused in one line."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from benchmarks.campaigns import fuzz, hostile, kill
from benchmarks.campaigns.results import Trial, report

pytestmark = pytest.mark.usefixtures("undrawn")

FEW = {"model": 4, "recipe": 6, "--set": 6, "run": 8, "report": 8}  # of what takes a tenth of a second each


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_damaged_inputs_are_read_or_refused_in_a_line(kind, tmp_path):
    trials = fuzz.run_fuzz(FEW.get(kind, 16), seed=15, kinds=[kind], keep=tmp_path)
    assert {trial.outcome for trial in trials} <= set(fuzz.GOOD), [t for t in trials if t.outcome not in fuzz.GOOD]


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_nothing_that_is_meant_to_harm_does(kind):
    trials = hostile.run_attempts([kind])
    assert {trial.outcome for trial in trials} <= set(hostile.GOOD), [
        t for t in trials if t.outcome not in hostile.GOOD
    ]


@pytest.mark.skipif(not sys.platform.startswith("linux") or shutil.which("gcc") is None, reason="no gcc")
def test_a_program_is_killed_at_each_of_its_changes(tmp_path):
    """Made, opened, written by half, renamed: each before the kill that has its number, and no more."""
    library, program = (
        kill.compiled(tmp_path),
        "import os; os.mkdir('a'); f = open('a/b', 'w'); f.write('1234'); f.close()",
    )
    left = []
    for at in range(1, 6):
        work = tmp_path / str(at)
        work.mkdir()
        told = {"LD_PRELOAD": str(library), "CHANGES_BELOW": str(work), "CHANGES_AT": str(at)}
        words = [sys.executable, "-ISc", f"{program}; os.replace('a/b', 'a/c')"]
        code = subprocess.run(words, cwd=work, env=told, check=False).returncode
        left.append((code, {path.name: path.read_text() for path in work.rglob("*") if path.is_file()}))
    assert left == [(-9, {}), (-9, {}), (-9, {"b": "12"}), (-9, {"b": "1234"}), (0, {"c": "1234"})]


def test_an_input_is_a_function_of_seed_kind_and_number(tmp_path):
    contents = []
    for kinds in (["picture", "sound"], ["picture", "recipe"]):
        chance_of = fuzz.run_fuzz(2, seed=3, kinds=kinds)
        contents.append((chance_of[0].kind, chance_of[0].outcome, chance_of[0].said.rpartition("/")[2]))
    assert contents[0] == contents[1]


def test_what_is_not_good_is_counted_and_ends_with_code_1(tmp_path, capsys):
    trials = [Trial("model", "read"), Trial("model", "traceback", "KeyError: 'x'\x1b[2J"), Trial("tar", "refused")]
    assert report(trials, fuzz.GOOD, tmp_path, seed=3) == 1
    printed = capsys.readouterr().out
    assert "3 trials, 1 of them bad; seed 3" in printed
    assert "\x1b" not in printed
    assert (tmp_path / "trials.json").is_file()
    assert report([trials[0]], fuzz.GOOD, None) == 0
