"""Who is let in, what a form asks for, settings that come back, and stopping; no browser."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from synesthete.studio.server import start_studio
from synesthete.tasks import find_task
from synesthete.tasks.results import PictureResult, Sound
from synesthete.types import InputError

HOW = {"label": "7", "seed": 3, "model": "images-digits", "number": 1, "guidance_scale": 2.5, "eta": 0.5}


def test_nobody_else_is_let_in_without_a_password(tmp_path):
    with pytest.raises(InputError, match="others could use this machine; add --password"):
        start_studio(tmp_path, host="0.0.0.0")


def test_without_gradio_it_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match=r"pip install 'synesthete\[studio\]'"):
        start_studio(tmp_path)


@pytest.fixture(scope="module")
def forms() -> Any:
    pytest.importorskip("gradio", reason="needs gradio; pip install 'synesthete[studio]'")
    return importlib.import_module("synesthete.studio.forms")


@pytest.fixture(scope="module")
def shelf(forms, tmp_path_factory) -> Any:
    from synesthete.studio.shelf import Shelf

    return Shelf(runs=tmp_path_factory.mktemp("runs"))


def test_a_form_asks_for_what_the_command_takes_and_says_nothing_where_nothing_is_filled_in(forms, shelf):
    task = find_task("images")
    asked = forms.fields_of(task)
    assert [one.name for one in asked] == [
        "labels",
        "prompts",
        "num",
        "sampler",
        "num_inference_steps",
        "guidance_scale",
    ]
    with shelf.borrow("images-digits") as model:
        own = model.pipeline.sampling_settings()
        given = [["seven"], "a cat", 2, own["sampler"], own["num_inference_steps"] + 1, None]
        request, settings, ignored = forms.read_form(task, asked, given, model.pipeline)
        assert request == {"labels": ["seven"], "num": 2} and ignored == ["In words of your own"]
        assert settings == {"num_inference_steps": own["num_inference_steps"] + 1}
        shown = dict(zip([one.name for one in asked], forms.fit(task, asked, model.pipeline), strict=True))
        assert shown["prompts"]["visible"] is False  # it reads no text
        assert "seven" in shown["labels"]["choices"]
        with pytest.raises(InputError, match="What: no 'cat'"):
            forms.read_form(task, asked, [["cat"], "", 1, None, None, None], model.pipeline)


def test_a_system_from_outside_has_its_tab(shelf, own_additions, tmp_path):
    importlib.import_module("examples.fifth_system")
    from synesthete.studio.page import build_page

    shelf.names["rings"] = "damped-sine"
    try:
        built = build_page(shelf, tmp_path).get_config_file()
    finally:
        del shelf.names["rings"]
    labels = [one["props"].get("label") or one["props"].get("value") for one in built["components"]]
    assert {"Ring", "Speak", "Draw", "Paint", "Play"} <= {label for label in labels if isinstance(label, str)}
    assert "damped_sine" in {one["api_name"] for one in built["dependencies"]}


@pytest.mark.parametrize("suffix", [".png", ".json", ".wav"])
def test_settings_come_back_from_every_kind_of_file(suffix, tmp_path, forms):
    from synesthete.studio.forms import fill_in, settings_told_by

    made: Any = Sound(torch.zeros(100), 8000, Image.new("L", (4, 4)), HOW)
    if suffix != ".wav":
        made = PictureResult(Image.new("L", (4, 4)), HOW)
    told = settings_told_by(made.save(tmp_path / f"one{suffix}"))
    assert (told["model"], told["seed"]) == ("images-digits", "3")
    values, left = fill_in(told, forms.fields_of(find_task("images")))
    assert values == {"labels": ["7"], "num": 2, "guidance_scale": 2.5}
    assert left == ["eta"]


@pytest.mark.parametrize("suffix", [".png", ".json", ".wav"])
def test_a_file_without_settings_is_one_line(suffix, tmp_path, forms):
    from synesthete.studio.forms import settings_told_by

    path = tmp_path / f"other{suffix}"
    path.write_bytes(b"[1, 2")
    with pytest.raises(InputError, match="does not tell how it was made"):
        settings_told_by(path)


def test_a_sampling_stops_at_its_next_step_and_one_model_is_loaded_at_a_time(shelf, tmp_path):
    from synesthete.studio.task_tab import watched
    from synesthete.studio.work import StoppedError, Work

    with shelf.borrow("images-digits") as model:
        work = Work()
        steps: list[int] = []
        request = model.task.request_type(labels=["7"], num=1)
        with watched(model, work, 1):
            for _, made in model.plan(request).results(work.say):
                steps.append(work.step)
                assert made is not None
            work.stop.set()
            with pytest.raises(StoppedError):
                list(model.plan(request).results(work.say))
        assert steps == [model.pipeline.sampling_settings()["num_inference_steps"]]
        assert model.pipeline.on_step is None
    with shelf.borrow("image-to-speech-digits") as other:
        assert shelf.loaded is other
    with pytest.raises(InputError, match="not a model of this studio"), shelf.borrow("/etc"):
        pass


@pytest.fixture(scope="module")
def compare(forms, shelf, tmp_path_factory) -> Any:
    """The tab in which pictures are compared, on a page that nobody sees."""
    import gradio as gr

    from synesthete.studio.compare_tab import CompareTab
    from synesthete.studio.work import Works

    tab = CompareTab(find_task("images"), shelf, tmp_path_factory.mktemp("compared"), Works())
    with gr.Blocks():
        tab.build([])
    return tab


def filled(tab: Any, *varied: str) -> list[Any]:
    """Its form: two zeros, and what is varied."""
    own = {"labels": ["zero"], "num": 2}
    return [*(own.get(one.name) for one in tab.widget_fields), *varied, *[""] * (4 - len(varied))]


def test_a_sweep_of_the_page_is_the_commands(compare, monkeypatch):
    """Of the labels, the seed and the values of the form; its cells can be chosen."""
    from synesthete.evaluation.search.sweep import Made
    from synesthete.studio import compare_tab
    from synesthete.studio.work import Work

    asked: list[Any] = []

    def swept(scorer: Any, plan: Any, samples: Any, *args: Any, **more: Any) -> list[Made]:
        asked.append((samples.labels, samples.seeds))
        return [Made(cell, {"accuracy": 0.5}, len(samples), "cpu") for cell in plan.cells]

    monkeypatch.setattr(compare_tab, "scorer_of", lambda *args: None)  # it would train a classifier
    monkeypatch.setattr(compare_tab, "run_sweep", swept)
    shown, ways = compare.sweep_first(["images-digits"], 5, filled(compare, "num_inference_steps", "2, 3"), Work())
    assert asked == [((0,), (5,))]
    assert [way.settings["num_inference_steps"] for way in ways] == [2, 3]
    assert shown.count("<tr>") == 3 and "contact_sheet.png" in shown
    with pytest.raises(InputError, match="Seed: no part of a sweep"):
        compare.sweep_first(["images-digits"], 5, filled(compare, "seed", "2, 3"), Work())


def test_what_cannot_be_compared_is_one_line_and_a_way_that_cannot_be_made_costs_no_other(compare):
    from synesthete.studio.work import Work

    def make(*varied: str, names: tuple[str, ...] = ("images-digits",)) -> Any:
        return compare.make_each("", names, 0, filled(compare, *varied), Work())

    for varied, said in (
        (("num_inference_steps", ""), "Steps: no values to compare"),
        (("", "1, 2"), "1, 2: values of what"),
        (("eta", "0", "eta", "1"), "Eta: twice"),
        (("num_inference_steps", "x"), "Steps: 'x' is not a number"),
        (("seed", "x"), "Seed: 'x' is not a number"),
        (("seed", ",".join(map(str, range(30)))), "30 ways to make it; give values for at most 24"),
    ):
        with pytest.raises(InputError, match=said):
            make(*varied)
    with pytest.raises(InputError, match="no model to compare"):
        make(names=())
    shown, ways = make("num_inference_steps", "2", "sampler", "euler, flow-euler")
    assert len(ways) == 1 and ways[0].settings["sampler"] == "euler"
    assert shown.count("error") == 1 and shown.count('class="card"') == 2


def test_pictures_are_told_by_the_classifier_beside_their_model(compare):
    """In the table with how sure it is, and below each of them; a strip of several is not one."""
    from synesthete.studio.work import Work
    from synesthete.tasks.model import seen_in

    shown, _ = compare.make_each("", ["images-digits"], 0, filled(compare, "num_inference_steps", "10"), Work())
    assert '<th scope="col">classified</th><th scope="col">sure</th>' in shown
    assert "<td>2 x zero</td>" in shown
    assert shown.count("“zero” (") == 2 * 2  # of a card: the picture's name, and what stands below it
    with compare.shelf.borrow("images-digits") as model:
        assert seen_in(model, [Image.new("L", (64, 32))]) == []


def test_a_stretch_is_marked_in_the_picture_of_a_sound_that_is_not_too_long(shelf, tmp_path, monkeypatch):
    import gradio as gr

    from synesthete.data.audio import write_audio
    from synesthete.studio import task_tab
    from synesthete.studio.work import Works

    clip = write_audio(tmp_path / "clip.wav", torch.linspace(-0.5, 0.5, 24_000), 24_000)
    tab = task_tab.TaskTab(find_task("music"), shelf, tmp_path, Works())
    with gr.Blocks() as page:
        tab.build([])
    shown = tab.show_given(str(clip), "music-notes")
    assert 'data-length="1.0"' in shown and 'data-field="music-gap"' in shown
    assert "music-gap" in [one["props"].get("elem_id") for one in page.get_config_file()["components"]]
    monkeypatch.setattr(task_tab, "LONGEST_SOUND", 0.5)
    assert "clip.wav: longer than the 0.5 s that a sound may be here" in tab.show_given(str(clip), "music-notes")


def test_bars_are_marked_in_the_roll_of_a_score(shelf, tmp_path):
    from synesthete.data.scores.midi import write_midi
    from synesthete.data.scores.score import Note, Score
    from synesthete.studio.task_tab import TaskTab
    from synesthete.studio.work import Works

    write_midi(Score(tuple(Note(67, float(i), 1.0) for i in range(8))), tmp_path / "two_bars.mid")
    tab = TaskTab(find_task("music-compose"), shelf, tmp_path, Works())
    shown = tab.show_given(str(tmp_path / "two_bars.mid"), "music-compose")
    assert 'data-length="2" data-unit="bars"' in shown and 'data-field="music-compose-fill"' in shown


def test_a_drawing_is_a_png_and_nothing_else(forms, tmp_path):
    from synesthete.studio.task_tab import keep_drawing

    for drawing in ("file:///etc/hostname", "data:image/png;base64,!!", "data:text/html;base64,AAAA"):
        with pytest.raises(InputError, match="the drawing is none"):
            keep_drawing(drawing, Path(tmp_path / "drawing.png"))


def test_what_is_shown_is_no_markup(forms):
    from synesthete.studio.cards import draw_card, draw_message, draw_section

    shown = draw_section("<b>", [draw_card({".png": Path("a&b.png")}, "<script>")], ["<i>"]) + draw_message("<u>")
    assert not any(tag in shown for tag in ("<b>", "<script>", "<i>", "<u>"))


def test_what_a_run_folder_tells(forms, tmp_path):
    """Figures of its last stage alone, half a line left out; a name is no path; nobody trains it."""
    from synesthete.studio.train_tab import RunsTab, Trainings, TrainTab

    trainings, run = Trainings(tmp_path), tmp_path / "mine"
    run.mkdir()
    (run / "recipe.yaml").write_text("name: x\n")
    lines = [{"stage": "a", "step": 9, "loss": 5.0}, *({"stage": "b", "step": i, "loss": 1 / i} for i in (1, 2, 3))]
    (run / "metrics.jsonl").write_text("\n".join(json.dumps(one) for one in lines) + '\n{"stage": "b", "st')
    newest, curves = trainings.figures("mine")
    assert newest["step"] == 3 and curves == {"loss": [(1, 1.0), (2, 0.5), (3, 1 / 3)]}
    assert trainings.names() == ["mine"] and trainings.process("mine") is None and not trainings.stop("mine")
    shown = TrainTab(trainings).look("mine")
    assert "is not going on: stage b, step 3" in shown and "<polyline" in shown
    (run / ".lock").write_text(json.dumps({"process": 1, "machine": "another"}))
    assert trainings.process("mine") is None
    for name in ("../other", "a/b", "", ".hidden"):
        with pytest.raises(InputError, match="give a name"):
            trainings.folder(name)
    (run / "report").mkdir()
    (run / "report" / "report.html").write_text("<p>fine</p>")
    tab = RunsTab(trainings)
    assert "&lt;p&gt;fine" in tab.show("mine", "report/report.html") and "sandbox" in tab.show(
        "mine", "report/report.html"
    )
    assert "no report of mine" in tab.show("mine", "../../etc/passwd.html") or "error" in tab.show("mine", "../x.html")
