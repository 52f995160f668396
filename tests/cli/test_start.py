"""What starting a command imports: names and help need no torch, a shown recipe nothing that its parts do not use."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from synesthete.recipes import RECIPES, describe_recipes, images

HEAVY = ("torch", "diffusers", "transformers", "peft", "scipy", "matplotlib", "librosa", "sklearn", "pandas")
PROBE = """
import json, sys
from synesthete.cli.app import main
sys.argv = ["synesthete", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    code = end.code
print(json.dumps([code or 0, [name for name in {heavy} if name in sys.modules]]), file=sys.stderr)
"""


def imported(*arguments: str) -> tuple[int, list[str]]:
    """The exit code of a command in a fresh process, and which heavy libraries it imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.replace("{heavy}", repr(HEAVY)), *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    code, found = json.loads(done.stderr.splitlines()[-1])
    return code, found


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--help",), 0),
        (("sample", "--help"), 0),
        (("recipes",), 0),
        (("show", "no-such-recipe"), 2),
        (("train", "no-such-recipe"), 2),
        (("show", "images-digits", "--no-such-option"), 2),
        (("sample", "no-such-model", "x.png"), 2),
    ],
)
def test_names_help_and_lists_import_no_library(arguments, code):
    assert imported(*arguments) == (code, [])


@pytest.mark.parametrize("name", ["images-digits", "image-to-speech-digits", "music"])
def test_a_recipe_is_shown_without_the_libraries_of_others(name):
    code, found = imported("show", name)
    assert code == 0
    assert {"diffusers", "transformers", "peft", "matplotlib", "sklearn", "pandas"}.isdisjoint(found)


def test_recipes_are_described_by_their_docstrings():
    described = describe_recipes()
    assert list(described) == list(RECIPES)
    for name, function in (("images-stl10", images.images_stl10), ("images-stl10-debug", images.debug)):
        assert described[name] == function.__doc__.splitlines()[0]
    assert all(described.values())
