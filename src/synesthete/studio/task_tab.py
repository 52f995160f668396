"""The tab of a task: its form, and what is made of it when its button is pressed."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from synesthete.io import write_file
from synesthete.studio.cards import draw_message, draw_section, draw_status, written_cards
from synesthete.studio.forms import FIRST, Field, fields_of, fit, listed, make_widget, read_form
from synesthete.studio.settings import fill_in, settings_told_by
from synesthete.studio.shelf import Shelf
from synesthete.studio.work import StoppedError, Work, Works
from synesthete.tasks import Task
from synesthete.tasks.model import Model
from synesthete.tasks.sampling import write_results
from synesthete.types import InputError

PICTURED = 4  # of what is being made at once
REMEMBERED = 12  # times something was made, that a page goes on showing
LARGEST_DRAWING = 2**21  # letters of it
WRONG = "something went wrong that should not; the terminal that runs the studio says what"
NO_DRAWING = "the drawing is none; draw on the canvas, or give a picture"
ONE_AT_A_TIME: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
UNNAMED: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
EXAMPLE_SIDE = 160  # pixels
logger = logging.getLogger(__name__)


class TaskTab:
    """A form beside what is made.

    shelf: the models. out: the folder of all that is made. works: what sessions are having made.
    """

    def __init__(self, task: Task, shelf: Shelf, out: Path, works: Works) -> None:
        self.task, self.shelf, self.out, self.works = task, shelf, out, works
        self.asked = fields_of(task)
        self.pad = f"pad-{task.name}"

    def build(self, moments: Sequence[Any]) -> None:
        """Put it where the page stands. moments: when it is first seen."""
        names = self.shelf.of(self.task)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                drawing = gr.Textbox(visible=False, label="drawing")
                for field in self.asked:
                    if field.name in FIRST:
                        (self.add_picture if field.file == "picture" else partial(make_widget, self.task))(field)
                with gr.Row():
                    go = gr.Button(
                        self.task.verb.capitalize(), variant="primary", elem_id=f"go-{self.task.name}", min_width=90
                    )
                    stop = gr.Button("Stop", elem_id=f"stop-{self.task.name}", min_width=90)
                model = gr.Dropdown(names, value=names[0], label="Model", info="Loaded when it is needed.")
                with gr.Accordion("More", open=False):
                    seed = gr.Number(0, label="Seed", precision=0, minimum=0, info="Other seeds give others.")
                    for field in self.asked:
                        if field.name not in FIRST:
                            make_widget(self.task, field)
                with gr.Accordion("Settings of a file", open=False):
                    kinds = [".png", ".wav", ".json"]
                    label = "Drop what was made here: its settings come back"
                    old = gr.File(file_types=kinds, type="filepath", label=label, height=120)
            with gr.Column(scale=3, min_width=320):
                status = gr.HTML(draw_message(f"What is made is shown here, and kept in {self.out}."))
                results = gr.HTML(elem_id=f"made-{self.task.name}")
        widgets = [one for field in self.asked for one in (field.widget, field.second) if one is not None]
        past = gr.State([])
        go.click(
            self.make,
            [past, drawing, model, seed, *widgets],
            [status, results, past],
            js=self.take_drawing(),
            show_progress="hidden",
            api_name=self.task.name.replace("-", "_"),
            **ONE_AT_A_TIME,
        )
        stop.click(self.works.stop, None, status, queue=False, **UNNAMED)
        old.upload(self.bring_back, [old, model], [status, model, seed, *widgets], **UNNAMED, **ONE_AT_A_TIME)
        gr.on([model.input, *moments], self.show_model, model, widgets, **UNNAMED, **ONE_AT_A_TIME)

    def add_picture(self, field: Field) -> None:
        """Two ways to give a picture, of which the one that is seen counts."""
        about = "Draw here with mouse, pen or finger; or give a picture in the tab beside"
        with gr.Tabs():
            with gr.Tab("Draw it"):
                gr.HTML(
                    f'<canvas class="pad" id="{self.pad}" width="280" height="280" role="img" aria-label="{about}">'
                    "</canvas>"
                )
                gr.Button("Clear the drawing", size="sm").click(None, js=f"() => studioClear('{self.pad}')")
            with gr.Tab("A picture"):
                make_widget(self.task, field)
                examples = [[str(path)] for path in example_pictures(self.out / "examples")]
                gr.Examples(examples, field.widget, label="Examples")

    def take_drawing(self) -> str | None:
        """What puts the drawing among what a button sends, and leaves out the picture of the tab that is not seen."""
        place = next((i for i, one in enumerate(self.asked) if one.file == "picture"), None)
        if place is None:
            return None
        return (
            f"(...given) => {{ given[1] = studioDrawing('{self.pad}'); "
            f"if (studioSeen('{self.pad}')) given[{4 + place}] = null; return given; }}"
        )

    def make(
        self, request: gr.Request, past: list[str], drawing: str, name: str, seed: int, *given: Any
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Make what is asked for; yields the status, all that was made so far, and what is remembered of it."""
        same = gr.skip(), gr.skip()
        with self.works.of(request) as work:
            try:
                for made in work.follow(partial(self.write, work, drawing, name, int(seed or 0), given)):
                    if made is None:
                        yield draw_status(work), *same
                past = [str(made), *past][:REMEMBERED]
                yield draw_message("Done."), "".join(past), past
            except StoppedError:
                yield draw_message("Stopped."), *same
            except InputError as error:
                yield draw_message(str(error), "error"), *same
                raise gr.Error(str(error), print_exception=False) from None
            except Exception:
                logger.exception("a page asked for something that failed")
                yield draw_message(WRONG, "error"), *same
                raise gr.Error(WRONG, print_exception=False) from None

    def write(self, work: Work, drawing: str, name: str, seed: int, given: Sequence[Any]) -> str:
        """Make and write it as the command line does; returns a section of the page.

        Raises:
            InputError: what the command line would refuse. StoppedError: it was stopped.
        """
        folder = self.out / self.task.verb / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(8)}"
        kind = self.task.request_type
        with self.shelf.borrow(name) as model:
            asked, settings = read_form(self.task, self.asked, given, model.pipeline)
            told = [str(one) for key, value in asked.items() if key != "inputs" for one in listed(value)]
            if drawing and "inputs" in kind.own_fields():
                asked.setdefault("inputs", [keep_drawing(drawing, folder / "given" / "drawing.png")])
            request = kind(model=name, out=folder, seed=seed, settings=settings, **asked)
            request.check()
            plan = model.plan(request)
            with watched(model, work, min(PICTURED, len(plan.items))):
                made = write_results(plan, work.say)
        values = made.values
        title = " · ".join([name, *told, f"seed {seed}", f"{values['seconds']:.1f} s"])
        notes = [*values["notes"], *values["skipped"]]
        for path in (one for value in asked.values() for one in listed(value) if isinstance(one, Path)):
            notes = [note.replace(str(path), path.name) for note in notes]  # where an upload lies is no matter
        return draw_section(title, written_cards(values, plan.suffixes), notes)

    def show_model(self, name: str) -> list[Any]:
        """The form as a model has it."""
        try:
            with self.shelf.borrow(name) as model:
                return fit(self.task, self.asked, model.pipeline)
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None

    def bring_back(self, path: str, name: str) -> list[Any]:
        """The form as it was when a file was made, but for files that it was made of; first a line that says so."""
        try:
            told = settings_told_by(Path(path))
            of_name = [one for one in self.shelf.of(self.task) if Path(one).name == told["model"]]
            if not of_name:
                raise InputError(f"made by {told['model']}, which is none of the models of this tab")
            with self.shelf.borrow(of_name[0] if name not in of_name else name) as model:
                updates = fit(self.task, self.asked, model.pipeline)
                own = getattr(model.pipeline, "base", model.pipeline).sampling_settings()
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None
        values, left = fill_in(told, self.asked)
        fields = [one for field in self.asked for one in [field] * (1 if field.second is None else 2)]
        updates = [
            update | {"value": values[field.name]} if field.name in values else update
            for field, update in zip(fields, updates, strict=True)
        ]
        left = [key for key in left if key not in own or json.dumps(own[key]) != told[key] != own[key]]
        message = "The settings are back." + (f" Not in this form: {', '.join(left)}." if left else "")
        return [draw_message(message), model.name, int(told["seed"]), *updates]


@contextlib.contextmanager
def watched(model: Model, work: Work, num: int) -> Iterator[None]:
    """The model shows what it samples for as long as the context lasts. num: pictures at once."""
    whole = model.pipeline
    pipelines = [getattr(whole, part) for part in ("base", "upsampler") if hasattr(whole, part)] or [whole]

    def look(pipeline: Any, x_t: Any, step: int, num_steps: int) -> None:
        is_network = getattr(pipeline.codec, "caches_latents", False)  # whose pictures take as long as steps
        work.show(step, num_steps, lambda: [] if is_network else model.task.thumbnails(pipeline, x_t[:num]))

    for pipeline in pipelines:
        pipeline.on_step = partial(look, pipeline)
    try:
        yield
    finally:
        for pipeline in pipelines:
            pipeline.on_step = None


def keep_drawing(drawing: str, path: Path) -> Path:
    """Write a drawing that came as a `data:` address.

    Raises:
        InputError: too large, or none.
    """
    head, _, content = drawing.partition(",")
    if len(drawing) > LARGEST_DRAWING or head != "data:image/png;base64":
        raise InputError(NO_DRAWING)
    try:
        write_file(path, base64.b64decode(content, validate=True))
    except ValueError:
        raise InputError(NO_DRAWING) from None
    return path


def example_pictures(folder: Path) -> list[Path]:
    """Handwritten digits that no model was trained on, one of each, written once."""
    from synesthete.data.pictures import DIGITS, BuiltInDigits

    paths = [folder / f"{name}.png" for name in DIGITS]
    if not all(path.is_file() for path in paths):
        from PIL import Image

        from synesthete.data.picture import write_picture

        held_out = BuiltInDigits().pictures("test")
        for name, path in zip(DIGITS, paths, strict=True):
            picture = held_out.images[held_out.labels.index(name)]
            write_picture(path, picture.resize((EXAMPLE_SIDE, EXAMPLE_SIDE), Image.Resampling.NEAREST))
    return paths
