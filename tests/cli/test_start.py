"""What starting a command imports: names and help need no torch, a shown recipe nothing that its parts do not use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from synesthete.recipes import RECIPES, describe_recipes, images

HEAVY = ("torch", "diffusers", "transformers", "peft", "scipy", "matplotlib", "librosa", "sklearn", "pandas")
PROBE = """
import json, sys
from synesthete.cli.app import main
said = []
for line in sys.argv[1:]:
    sys.argv = ["synesthete", *line.split()]
    try:
        main()
    except SystemExit as end:
        said.append([line, end.code or 0, [name for name in {heavy} if name in sys.modules]])
print(json.dumps(said), file=sys.stderr)
"""
CODES = {
    "--help": 0,
    "sample --help": 0,
    "recipes": 0,
    "show no-such-recipe": 2,
    "train no-such-recipe": 2,
    "show images-digits --no-such-option": 2,
    "sample no-such-model x.png": 2,
}


def imported(*lines: str) -> list[list[Any]]:
    """Of commands one after the other in a fresh process: each, its exit code and the heavy libraries there are now."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.replace("{heavy}", repr(HEAVY)), *lines],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    found: list[list[Any]] = json.loads(done.stderr.splitlines()[-1])
    return found


def test_names_help_and_lists_import_no_library():
    assert imported(*CODES) == [[line, code, []] for line, code in CODES.items()]


def test_a_recipe_is_shown_without_the_libraries_of_others():
    for line, code, found in imported("show images-digits", "show image-to-speech-digits", "show music"):
        assert code == 0, line
        assert {"diffusers", "transformers", "peft", "matplotlib", "sklearn", "pandas"}.isdisjoint(found), line


def test_recipes_are_described_by_their_docstrings():
    described = describe_recipes()
    assert list(described) == list(RECIPES)
    for name, function in (("images-stl10", images.images_stl10), ("images-stl10-debug", images.debug)):
        assert described[name] == function.__doc__.splitlines()[0]
    assert all(described.values())
