"""`synesthete sweep` as a user meets it."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from functools import partial

import pytest

from synesthete.evaluation.classifiers.image import ImageClassifier
from tiny_pictures import tiny_pipeline, tiny_recipe

TRIED = shlex.split("--samplers ddim dpmsolver++ --cfg 1 2 --eta 0 1 --steps 2 --labels red 2 --seeds 42 43 --num 1")


@pytest.fixture(scope="module")
def model(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("swept") / "model"
    recipe = tiny_recipe()
    tiny_pipeline(recipe).save(folder)
    (folder / "recipe.yaml").write_text(recipe.to_yaml())
    return folder


@pytest.fixture
def call(command, monkeypatch):
    few = replace(ImageClassifier.training_settings, fewest_steps=10, num_passes=1)
    monkeypatch.setattr(ImageClassifier, "training_settings", few)
    return partial(command, "sweep")


def test_a_sweep_is_made_resumed_and_added_to(call, model, tmp_path):
    out = tmp_path / "out"
    code, text, err = call(model, *TRIED, "--out", out, "--json")
    assert code == 0
    found = json.loads(text.splitlines()[-1])
    assert len(found["cells"]) == 6
    assert len(found["notes"]) == 1
    assert "dpmsolver++: has no eta" in err
    assert "6 cells of 4 pictures" in err
    assert (out / "report" / "report.html").is_file()
    code, text, err = call(model, *TRIED, "--cfg", "3", "--out", out)
    assert code == 0
    assert "9 cells of 4 pictures, 6 of them there already" in err
    assert str(out / "report" / "report.html") in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--schedulers", "cosin"), ("scheduler 'cosin'", "cosine")),
        (("--schedulers", "linear"), ("trained with 'cosine'", "--untrained-schedules")),
        (("--samplers", "dimm"), ("sampler 'dimm'", "ddim")),
        (("--labels", "red", "purple"), ("label 'purple'", "0 to 2")),
        (("--labels", "3"), ("label '3'",)),
        (("--cfg", "0", "big"), ("'--cfg'", "'big' is no number")),
        (("--cfg", "nan"), ("nan is no finite number",)),
        (("--steps", "2.5"), ("'2.5' is no whole number",)),
        (("--num", "0"), ("'--num'",)),
        (("--set", "sampling.guidance_rescal=1"), ("sampling.guidance_rescale",)),
        (("--features", "inceptoin"), ("inceptoin",)),
        (("--features", "none"), ("none",)),
        (("--on", "slurm"), ("--on slurm", "ray://HOST:PORT")),
    ],
)
def test_a_wrong_wish_is_one_line_and_leaves_nothing(call, model, tmp_path, arguments, words):
    code, _, err = call(model, *arguments, "--out", tmp_path / "out")
    assert code == 2
    [line] = [line for line in err.splitlines() if line.startswith("synesthete: ")]
    assert "Traceback" not in err
    for word in words:
        assert word in line
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_pictures_is_refused(call, model, tmp_path):
    arguments = ("--samplers", "ddim", "--steps", "2", "--num", "1", "--out", tmp_path / "out")
    assert call(model, *arguments)[0] == 0
    code, _, err = call(model, *arguments, "--seeds", "5")
    assert code == 2
    assert "other seeds (0; now 5)" in err.splitlines()[-1]
