"""Which task a recipe and a model are of, and how one from outside becomes known."""

from __future__ import annotations

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
    with pytest.raises(InputError, match="image-to-speech, images"):
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
