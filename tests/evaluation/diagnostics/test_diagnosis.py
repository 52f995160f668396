"""Every diagnostic on one model: a report that opens, says what was left out, and refuses what it cannot do."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from synesthete.evaluation import diagnostics
from synesthete.evaluation.classifiers.classifier import save_classifier
from synesthete.evaluation.classifiers.image import load_or_train_image_classifier
from synesthete.evaluation.diagnostics import DIAGNOSTICS, register_diagnostic
from synesthete.evaluation.diagnostics import diagnosis as module
from synesthete.evaluation.diagnostics.diagnosis import choose_features, chosen, run_diagnostics
from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest
from synesthete.evaluation.reporting.report import Medium, Section
from synesthete.executors import LOCAL, using
from synesthete.types import InputError
from tiny_pictures import tiny_pipeline
from unreliable import TwoProcesses, Unreliable


def dot(name, kind="png"):
    encoded = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(encoded, kind)
    return Medium(name, encoded.getvalue(), f"a {kind}", kind)


@pytest.fixture(scope="module")
def pipeline(data):
    return tiny_pipeline()


@pytest.fixture
def quick(monkeypatch):
    """Three diagnostics that see in no time, one of them nothing."""

    def refuse(model):
        raise InputError("third: this model has nothing to show")

    seen = []

    def first(model):
        seen.append(model)
        model.progress(1, 2)
        return Section("First", "text", [dot("one"), dot("moving", "gif")])

    found = {"first": first, "second": lambda model: Section("Second", "", [dot("two")]), "third": refuse}
    monkeypatch.setattr(module, "DIAGNOSTICS", found)
    monkeypatch.setattr(diagnostics, "DIAGNOSTICS", found)
    return seen


def test_diagnostics_that_are_divided_show_the_same(pipeline, data, tmp_path):
    seen = {}
    for executor in (LOCAL, Unreliable(), TwoProcesses()):
        model = ModelUnderTest(pipeline, data, seed=3, num=8, settings={"num_inference_steps": 2})
        with using(executor):
            run_diagnostics(model, tmp_path / type(executor).__name__)
        folder = tmp_path / type(executor).__name__
        values = json.loads((folder / "report.json").read_text())
        pictures = {path.name: path.read_bytes() for path in (folder / "pictures").iterdir()}
        seen[type(executor).__name__] = (values["diagnostics"], values["left_out"], pictures)
    assert seen["Unreliable"] == seen["Local"] and seen["TwoProcesses"] == seen["Local"]
    assert len(seen["Local"][0]) + len(seen["Local"][1]) == len(DIAGNOSTICS)


def test_a_report_of_pictures_is_written(pipeline, data, tmp_path, quick):
    counted = []
    own = ModelUnderTest(pipeline, data, seed=3, num=5)
    run_diagnostics(own, tmp_path / "out", name="mine", progress=lambda *count: counted.append(count))
    assert sorted(path.name for path in (tmp_path / "out" / "pictures").iterdir()) == [
        "moving.gif",
        "one.png",
        "two.png",
    ]
    values = json.loads((tmp_path / "out" / "report.json").read_text())
    assert values["diagnostics"] == ["first", "second"]
    assert values["left_out"] == {"third": "third: this model has nothing to show"}
    assert (values["facts"]["seed"], values["facts"]["model"]) == (3, "mine")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "nothing to show" in page
    [gif] = [part for part in page.split('src="') if part.startswith("data:image/gif")]
    content = base64.b64decode(gif.split(",", 1)[1].split('"', 1)[0])
    assert content == (tmp_path / "out" / "pictures" / "moving.gif").read_bytes()
    assert "<h2>Figures</h2>" not in page  # there are none, so no empty table
    markdown = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "![a gif](pictures/moving.gif)" in markdown
    assert "## Figures" not in markdown
    assert counted[:2] == [("first", 1, 2), ("diagnostics", 1, 3)]
    assert (quick[0].seed, quick[0].num) == (3, 5)


def test_only_what_is_asked_for(pipeline, data, tmp_path, quick):
    run_diagnostics(ModelUnderTest(pipeline, data), tmp_path / "out", only=["second"])
    assert json.loads((tmp_path / "out" / "report.json").read_text())["diagnostics"] == ["second"]
    # Asked for by name, it is not passed over in silence.
    with pytest.raises(InputError, match="nothing to show"):
        run_diagnostics(ModelUnderTest(pipeline, data), tmp_path / "other", only=["third"])
    assert not (tmp_path / "other").exists()


def test_diagnostics_come_in_their_order_whatever_is_asked_first():
    assert chosen(["classes", "embeddings"]) == ["embeddings", "classes"]
    assert chosen([]) == list(DIAGNOSTICS)


def test_one_from_outside_is_shown_like_any_other(pipeline, data, tmp_path, monkeypatch):
    monkeypatch.setattr(diagnostics, "DIAGNOSTICS", dict(DIAGNOSTICS))
    monkeypatch.setattr(module, "DIAGNOSTICS", diagnostics.DIAGNOSTICS)

    def mine(model):
        return Section("Mine", "", [dot("mine")])

    register_diagnostic("mine", mine)
    run_diagnostics(ModelUnderTest(pipeline, data), tmp_path, only=["mine"])
    assert (tmp_path / "pictures" / "mine.png").is_file()
    with pytest.raises(InputError, match="'spectrum'"):
        register_diagnostic("spectrum", mine)


@pytest.mark.parametrize(("name", "nearest"), [("denosing", "'denoising'"), ("xyz", "embeddings, denoising")])
def test_an_unknown_instrument_is_named_with_the_nearest(name, nearest):
    with pytest.raises(InputError, match=nearest) as caught:
        chosen(["classes", name])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"settings": {"sampler": "flow-euler"}}, "flow-euler"), ({"reconstruct_from": 1.0}, "between 0 and 1")],
)
def test_what_cannot_be_is_refused_before_anything_is_made(pipeline, data, tmp_path, quick, changes, words):
    with pytest.raises(InputError, match=words):
        run_diagnostics(ModelUnderTest(pipeline, data, **changes), tmp_path / "out")
    assert not quick
    assert not (tmp_path / "out").exists()


def test_data_of_other_classes_are_refused(pipeline, data, tmp_path):
    other = replace(data, class_names=("cat", "dog", "hen"))
    with pytest.raises(InputError, match=r"red, green, blue.*cat, dog, hen"):
        run_diagnostics(ModelUnderTest(pipeline, other), tmp_path / "out")


def test_of_a_model_that_is_told_nothing_conditions_are_left_out(silent, data, tmp_path):
    own = ModelUnderTest(silent, data, num=4, settings={"num_inference_steps": 2})
    found = run_diagnostics(own, tmp_path / "out")
    assert "embeddings" in found.data["left_out"]
    assert {"denoising", "classes", "reconstruction", "reconstruction-sweep"} <= set(found.data["diagnostics"])


def test_the_classifier_beside_the_model_is_taken_and_none_is_trained(data, tmp_path, monkeypatch):
    trained = load_or_train_image_classifier(data.classifier, data.test, data.class_names, num_steps=2)
    save_classifier(trained, tmp_path, data.test.pictures, data.test.labels)
    monkeypatch.setattr(module, "load_or_train_image_classifier", lambda *_, **__: pytest.fail("trained"))
    features = choose_features("classifier", ["embeddings"], data, tmp_path)
    assert features.name == "classifier-3"
    assert features(torch.zeros(2, 3, 8, 8, dtype=torch.uint8)).shape[0] == 2


def test_no_classifier_is_trained_where_nobody_asks_it(data, tmp_path):
    assert choose_features("classifier", ["denoising", "classes"], data, tmp_path) is None
    assert choose_features("none", ["embeddings"], data, tmp_path) is None
    assert choose_features("classifier", ["embeddings"], replace(data, classifier=None), tmp_path) is None
