"""Which task a recipe and a model are of, and how one from outside becomes known."""

from __future__ import annotations

import subprocess
import sys

import pytest

from synesthete.recipes import RECIPES, find_recipe
from synesthete.tasks import Task, find_task, register, task_names, task_of
from synesthete.types import InputError


@pytest.mark.parametrize("name", ["image-to-speech-digits", "music-debug", "audio-to-image-digits", "images-digits"])
def test_a_recipe_says_its_task(name):
    task = task_of(find_recipe(name))
    assert name.startswith(task.name)
    assert find_task(task.name) is task


def test_every_recipe_has_a_task_with_a_verb():
    assert {task_of(make()).verb for make in RECIPES.values()} == {"speak", "play", "paint", "draw"}


def test_a_model_says_its_task(pipeline):
    assert task_of(pipeline).name == "image-to-speech"


def test_an_unknown_task_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="image-to-speech, music"):
        find_task("dance")


def test_a_task_from_outside_is_known_once_registered(monkeypatch):
    monkeypatch.setattr("synesthete.tasks.task._TASKS", {})

    class Dance(Task):
        name, verb, makes = "dance", "dance", "steps"

    task = register(Dance())
    assert find_task("dance") is task
    assert register(Dance()) is task
    assert "dance" in task_names()

    class Other(Task):
        name, verb, makes = "dance", "jump", "jumps"

    with pytest.raises(ValueError, match="dance"):
        register(Other())


def test_asking_for_the_tasks_imports_no_torch():
    code = "import synesthete.tasks, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_plain_script_prepares_without_a_main_guard(tmp_path):
    """The workers that speak the corpus must not run the script again, and wait for its lock for ever."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from synesthete import tasks\n"
        "from synesthete.recipes import find_recipe\n"
        "print('ran')\n"
        "recipe = find_recipe('image-to-speech-digits-debug')\n"
        "print(len(tasks.prepare(recipe, Path(sys.argv[1])).train))\n"
    )
    command = [sys.executable, str(script), str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.split()[0] == "ran"
    assert done.stdout.count("ran") == 1
