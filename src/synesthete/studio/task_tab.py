"""The tab of a task: its form, and what is made of it when its button is pressed."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image

from synesthete.data.audio import CutShortError, SoundFile, read_audio
from synesthete.data.scores.score import BAR
from synesthete.io import write_file
from synesthete.pipeline.canvas import encode_whole
from synesthete.studio.cards import draw_marked, draw_message, draw_section, draw_status, written_cards
from synesthete.studio.forms import (
    FIRST,
    UPLOAD,
    Field,
    fields_of,
    fill_in,
    fit,
    listed,
    make_widget,
    read_form,
    settings_told_by,
)
from synesthete.studio.shelf import Shelf
from synesthete.studio.work import StoppedError, Work, Works, errors_shown
from synesthete.tasks import Task
from synesthete.tasks.model import Model
from synesthete.tasks.sampling import write_results
from synesthete.types import InputError

LONGEST_SOUND = 600  # seconds of an upload
PICTURED_SECONDS = 60.0  # of a sound that is marked in
PICTURED = 4  # of what is being made at once
REMEMBERED = 12  # times something was made, that a page goes on showing
LARGEST_DRAWING = 2**21  # letters of it
WRONG = "something went wrong that should not; the terminal that runs the studio says what"
NO_DRAWING = "the drawing is none; draw on the canvas, or give a picture"
ONE_AT_A_TIME: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
UNNAMED: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
EXAMPLE_SIDE = 160  # pixels
UNSEEN = "-"  # before a drawing whose tab is not the one that is seen
logger = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What was made at once. settings: of the sampling, all of them; the rest as `Sampled` and `Plan` have it."""

    values: dict[str, Any]
    suffixes: tuple[str, ...]
    notes: list[str]
    told: list[str]
    settings: dict[str, Any]

    @property
    def cards(self) -> list[str]:
        """One for each."""
        return written_cards(self.values, self.suffixes)


class TaskTab:
    """A form beside what is made of it, in the folder `out`."""

    kind = ""  # tells its elements from those of the task's other tab

    def __init__(self, task: Task, shelf: Shelf, out: Path, works: Works) -> None:
        self.task, self.shelf, self.out, self.works = task, shelf, out, works
        self.asked = fields_of(task)
        self.name = f"{self.kind}{task.name}"
        self.pad = f"pad-{self.name}"
        self.marked: Any = None  # where a stretch of a sound or a score is marked

    def build(self, moments: Sequence[Any]) -> None:
        """Put it where the page stands. moments: when it is first seen."""
        names = self.shelf.of(self.task)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                drawing = self.add_first()
                with gr.Row():
                    go, stop = self.add_buttons(self.task.verb.capitalize())
                model = gr.Dropdown(names, value=names[0], label="Model", info="Loaded when it is needed.")
                seed = self.add_more()
                with gr.Accordion("Settings of a file", open=False):
                    kinds = [".png", ".wav", ".json"]
                    label = "Drop what was made here: its settings come back"
                    old = gr.File(file_types=kinds, type="filepath", label=label, height=UPLOAD)
            with gr.Column(scale=3, min_width=320):
                status = gr.HTML(draw_message(f"What is made is shown here, and kept in {self.out}."))
                results = gr.HTML(elem_id=f"made-{self.name}")
        widgets = self.widgets
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
        for given in (one.widget for one in self.asked if self.marked and one.file in ("sound", "score")):
            given.change(self.show_given, [given, model], self.marked, **UNNAMED, **ONE_AT_A_TIME)
        gr.on(moments, self.find_models, None, model, queue=False, **UNNAMED)

    @property
    def widget_fields(self) -> list[Field]:
        """The field of each widget."""
        return [one for one in self.asked for _ in range(1 if one.second is None else 2)]

    @property
    def widgets(self) -> list[Any]:
        """Of all fields, in their order; two for two files."""
        return [one for field in self.asked for one in (field.widget, field.second) if one is not None]

    def add_first(self) -> Any:
        """The fields that are always seen; returns what holds the drawing."""
        drawing = gr.Textbox(visible=False, label="drawing")
        for field in self.asked:
            if field.name in FIRST:
                (self.add_picture if field.file == "picture" else partial(make_widget, self.task))(field)
        return drawing

    def add_more(self) -> Any:
        """The others, folded away; returns the seed's."""
        with gr.Accordion("More", open=False):
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, info="Other seeds give others.")
            for field in self.asked:
                if field.name not in FIRST:
                    make_widget(self.task, field)
                    if field.unit:
                        field.widget.elem_id = f"{self.name}-{field.name}"
                        self.marked = gr.HTML()
        return seed

    def add_buttons(self, label: str) -> tuple[Any, Any]:
        """The one that makes, and the one that stops."""
        go = gr.Button(label, variant="primary", elem_id=f"go-{self.name}", min_width=90)
        return go, gr.Button("Stop", elem_id=f"stop-{self.name}", min_width=90)

    def find_models(self) -> Any:
        """Those that there are by now."""
        self.shelf.look()
        return gr.update(choices=self.shelf.of(self.task))

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
        """What puts the drawing among what a button sends."""
        if not any(one.file == "picture" for one in self.asked):
            return None
        return f"(...given) => {{ given[1] = studioDrawing('{self.pad}'); return given; }}"

    def make(
        self, request: gr.Request, past: list[str], drawing: str, name: str, seed: int, *given: Any
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Make what is asked for; yields the status, all that was made so far, and what is remembered of it."""
        for status, made in self.follow(request, partial(self.write, drawing, name, int(seed or 0), given)):
            if made is None:
                yield status, gr.skip(), gr.skip()
            else:
                past = [made, *past][:REMEMBERED]
                yield status, "".join(past), past

    def follow(self, request: gr.Request, function: Callable[[Work], Any]) -> Iterator[tuple[str, Any]]:
        """Call the function; yields how far it is, and last what it returned; an error is one line and a message."""
        with self.works.of(request) as work:
            try:
                for made in work.follow(partial(function, work)):
                    yield (draw_status(work), None) if made is None else (draw_message("Done."), made)
            except StoppedError:
                yield draw_message("Stopped."), None
            except InputError as error:
                yield draw_message(str(error), "error"), None
                raise gr.Error(str(error), print_exception=False) from None
            except Exception:
                logger.exception("a page asked for something that failed")
                yield draw_message(WRONG, "error"), None
                raise gr.Error(WRONG, print_exception=False) from None

    def new_folder(self, kind: str) -> Path:
        """One for what is made next, which nobody can guess."""
        return self.out / kind / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(8)}"

    def write(self, drawing: str, name: str, seed: int, given: Sequence[Any], work: Work) -> str:
        """Make and write it as the command line does; returns a section of the page."""
        made = self.sample(drawing, name, seed, given, self.new_folder(self.task.verb), work)
        title = " · ".join([name, *made.told, f"seed {seed}", f"{made.values['seconds']:.1f} s"])
        return draw_section(title, made.cards, made.notes)

    def sample(self, drawing: str, name: str, seed: int, given: Sequence[Any], folder: Path, work: Work) -> Outcome:
        """Make and write what the widgets of a form ask for, and a drawing as `studioDrawing` gives it."""
        kind = self.task.request_type
        with self.shelf.borrow(name) as model:
            asked, settings, ignored = read_form(self.task, self.asked, given, model.pipeline)
            values = [one for key, value in asked.items() if key != "inputs" for one in listed(value)]
            told = [one.name if isinstance(one, Path) else str(one) for one in values]
            notes = [f"“{label}” is left out: {name} is told no such thing" for label in ignored]
            if drawing and "inputs" in kind.own_fields():
                is_seen = not drawing.startswith(UNSEEN)
                if "inputs" in asked:
                    notes.append(
                        f"there are two: the {'picture' if is_seen else 'drawing'}, which is not seen, is left out"
                    )
                if is_seen or "inputs" not in asked:
                    path = folder / "given" / "drawing.png"
                    asked["inputs"] = [keep_drawing(drawing.removeprefix(UNSEEN), path)]
            for field in (one for one in self.asked if one.file == "sound"):
                for path in listed(asked.get(field.name, [])):
                    check_seconds(path)
            request = kind(model=name, out=folder, seed=seed, settings=settings, **asked)
            request.check()
            plan = model.plan(request)
            with watched(model, work, min(PICTURED, len(plan.items))):
                made = write_results(plan, work.say)
            own = getattr(model.pipeline, "base", model.pipeline).sampling_settings(**settings)
        notes += [*made.values["notes"], *made.values["skipped"]]
        for path in (one for value in asked.values() for one in listed(value) if isinstance(one, Path)):
            notes = [note.replace(str(path), path.name) for note in notes]  # where an upload lies is no matter
        return Outcome(made.values, plan.suffixes, notes, told, own)

    @errors_shown()
    def show_model(self, name: str) -> list[Any]:
        """The form as a model has it."""
        with self.shelf.borrow(name) as model:
            return fit(self.task, self.asked, model.pipeline)

    def show_given(self, path: str | None, name: str) -> str:
        """A sound or a score as picture, in which what is to be made anew can be marked; an error as a line."""
        if not path:
            return ""
        span = next(one for one in self.asked if one.unit)
        try:
            with self.shelf.borrow(name) as model:
                picture, length = (self.picture_score if span.unit == "bars" else self.picture_sound)(model, Path(path))
        except InputError as error:
            return draw_message(str(error).replace(path, Path(path).name), "error")
        return draw_marked(picture, length, span.unit, f"{self.name}-{span.name}", span.label)

    def picture_sound(self, model: Model, path: Path) -> tuple[Image.Image, float]:
        """Its spectrogram, or that of its beginning, and the seconds that it shows."""
        check_seconds(path)
        codec = getattr(model.pipeline, "base", model.pipeline).codec
        sound = read_audio(path, codec.spec.sample_rate)[: round(PICTURED_SECONDS * codec.spec.sample_rate)]
        picture = codec.pictures(encode_whole(codec, sound[None].to(model.pipeline.device)))[0]
        return picture, len(sound) / codec.spec.sample_rate

    def picture_score(self, model: Model, path: Path) -> tuple[Image.Image, int]:
        """Its roll and its bars, as the model reads it."""
        asked: dict[str, Any] = {"init": path, "fill": "1"}
        plan: Any = model.plan(self.task.request_type(model=model.name, **asked))
        codec = model.pipeline.codec
        return codec.pictures(codec.encode(plan.grid[None].to(model.pipeline.device)))[0], plan.grid.shape[-1] // BAR

    @errors_shown()
    def bring_back(self, path: str, name: str) -> list[Any]:
        """The form as it was when a file was made, but for files that it was made of; first a line that says so."""
        told = settings_told_by(Path(path))
        of_name = [one for one in self.shelf.of(self.task) if Path(one).name == told["model"]]
        if not of_name:
            raise InputError(f"made by {told['model']}, which is none of the models of this tab")
        with self.shelf.borrow(of_name[0] if name not in of_name else name) as model:
            updates = fit(self.task, self.asked, model.pipeline)
            own = getattr(model.pipeline, "base", model.pipeline).sampling_settings()
        values, left = fill_in(told, self.asked)
        updates = [
            update | {"value": values[field.name]} if field.name in values else update
            for field, update in zip(self.widget_fields, updates, strict=True)
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


def check_seconds(path: Path) -> None:
    """Make sure that a sound is none of hours."""
    with SoundFile(path) as sound, contextlib.suppress(CutShortError):
        num = 0
        for block in sound.blocks():
            num += len(block)
            if num > LONGEST_SOUND * sound.sample_rate:
                raise InputError(f"{path.name}: longer than the {LONGEST_SOUND} s that a sound may be here; cut it")


def keep_drawing(drawing: str, path: Path) -> Path:
    """Write a drawing that came as a `data:` address."""
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
        from synesthete.data.picture import write_picture

        held_out = BuiltInDigits().pictures("test")
        for name, path in zip(DIGITS, paths, strict=True):
            picture = held_out.images[held_out.labels.index(name)]
            write_picture(path, picture.resize((EXAMPLE_SIDE, EXAMPLE_SIDE), Image.Resampling.NEAREST))
    return paths
