"""What bash, zsh and fish are told when a name is to be completed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from synesthete import hub
from synesthete.cli.app import app
from synesthete.diffusion.sampling import SAMPLERS
from synesthete.recipes import RECIPES


def complete(line: str, shell: str = "bash") -> list[str]:
    env = {"_SYNESTHETE_COMPLETE": f"complete_{shell}", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    env |= {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    return CliRunner().invoke(app, [], prog_name="synesthete", env=env).output.split()


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("synesthete train images-", [name for name in RECIPES if name.startswith("images-")]),
        ("synesthete evaluate music", [name for name in hub.shipped_models() if name.startswith("music")]),
        ("synesthete speak image-to-speech-d", ["image-to-speech-digits"]),
        ("synesthete speak x.png --voice bf_", ["bf_alice", "bf_emma", "bf_isabella"]),  # of the model by default
        ("synesthete speak image-to-speech-voices x.png --voice am_puck,bf_e", ["am_puck,bf_emma"]),
        ("synesthete speak image-to-speech-digits x.png --voice bf_", []),  # it has none
        ("synesthete draw --label t", ["two", "three"]),
        ("synesthete play music-score x.mid --instrument str", ["strings"]),
        ("synesthete draw --sampler flow", [name for name in SAMPLERS if name.startswith("flow")]),
        ("synesthete sweep images-digits --samplers dp", ["dpmsolver++", "dpmsolver++sde"]),
    ],
)
def test_names_are_completed(line, names):
    assert complete(line) == names


def test_a_finished_run_is_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine" / "model").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "model" / hub.MODEL_INDEX).write_text('{"card": {"class_names": ["moss"]}}')
    assert complete("synesthete evaluate runs/") == ["runs/mine"]
    assert complete("synesthete draw runs/mine --label m") == ["moss"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_told_the_same(shell):
    assert "bf_emma" in " ".join(complete("synesthete speak x.png --voice bf_e", shell))


BY = {
    "bash": "source {script}; COMP_WORDS=({line}); COMP_CWORD=2; _synesthete_completion synesthete; "
    'printf "%s\\n" "${{COMPREPLY[@]}}"',
    "fish": 'source {script}; complete -C "{line}"',
}


@pytest.mark.parametrize("shell", BY)
def test_a_shell_that_reads_the_script_completes(shell, tmp_path):
    """Also where the script was shown by `python -m synesthete`, which is no name of a command."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    ours = [sys.executable, "-m", "synesthete"]
    (tmp_path / "synesthete").write_text(f'#!/bin/sh\nexec {" ".join(ours)} "$@"\n')
    (tmp_path / "synesthete").chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = subprocess.run([*ours, "--show-completion", shell], env=env, capture_output=True, text=True, check=True)
    (tmp_path / "script").write_text(shown.stdout)
    line = BY[shell].format(script=tmp_path / "script", line="synesthete train images-d")
    done = subprocess.run([shell, "-c", line], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["images-digits", "images-digits-debug"], done.stderr
