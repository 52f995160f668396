"""The tab Compare: the same input through several models and settings, side by side, and what becomes the default."""

from __future__ import annotations

import contextlib
import html
import itertools
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from synesthete.data.picture import read_picture
from synesthete.evaluation.search.space import find_labels, plan_sweep
from synesthete.evaluation.search.sweep import SweepSamples, run_sweep
from synesthete.evaluation.search.tune import write_sampling
from synesthete.studio.cards import address, draw_message, draw_section, draw_table
from synesthete.studio.forms import Field, listed
from synesthete.studio.shelf import Shelf
from synesthete.studio.task_tab import ONE_AT_A_TIME, UNNAMED, TaskTab, watched
from synesthete.studio.train_tab import Trainings
from synesthete.studio.work import Work, Works, errors_shown
from synesthete.tasks import Task
from synesthete.tasks.model import recipe_of, scorer_of, seen_in
from synesthete.tasks.sampling import split_commas
from synesthete.tasks.task import model_folder
from synesthete.types import InputError

MOST = 24  # made for one comparison
SEED = "seed"
# Of a sweep: its names, by those of the settings.
SWEPT = {"sampler": "samplers", "guidance_scale": "guidance", "eta": "etas", "num_inference_steps": "steps"}
SWEEP_NUM = 8  # pictures of each label


@dataclass
class Variant:
    """One way to make it: changes by the name of a widget; settings of the sampling, all of them, once it is made."""

    model: str
    label: str
    changes: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)


class CompareTab(TaskTab):
    """A task's form, the models and values that are compared, and what each makes."""

    kind = "compare-"

    def __init__(self, task: Task, shelf: Shelf, out: Path, works: Works) -> None:
        super().__init__(task, shelf, out, works)
        self.asked.append(Field("eta", "float", is_setting=True))
        self.is_scorable = False
        with contextlib.suppress(InputError):
            task.check_scorable()
            self.is_scorable = True

    def build(self, moments: Sequence[Any]) -> None:
        """Put it where the page stands. moments: when it is first seen."""
        names = self.shelf.of(self.task)
        choices = [(one.label, one.name) for one in self.asked if not one.file and one.kind != "bool"]
        choices.append(("Seed", SEED))
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                drawing = self.add_first()
                seed = self.add_more()
            with gr.Column(scale=3, min_width=320):
                models = gr.Dropdown(names, value=names[:1], multiselect=True, label="Models", info="One or several.")
                varied: list[Any] = []
                for which in ("First", "Second"):
                    with gr.Row():
                        varied.append(gr.Dropdown([("nothing", ""), *choices], value="", label=f"{which}: compare"))
                        varied.append(gr.Textbox(label=f"{which}: its values", info="Such as 5, 10, 20."))
                with gr.Row():
                    go, stop = self.add_buttons("Compare")
                    if self.is_scorable:
                        sweep = gr.Button("Sweep", elem_id=f"sweep-{self.name}", min_width=90)
                if self.is_scorable:
                    gr.Markdown(
                        f"*Sweep* makes {SWEEP_NUM} of each label of the first model and scores them against held-out "
                        "pictures, as `synesthete sweep` does."
                    )
                status = gr.HTML(draw_message(f"At most {MOST} at once; all of them from the same noise."))
        results = gr.HTML(elem_id=f"made-{self.name}")
        variants = gr.State([])
        with gr.Row():
            chosen = gr.Dropdown([], value=None, label="Of these", info="Its way of sampling.", scale=2)
            copy = gr.Textbox(label="In a copy called", info="What ships stays as it is; a copy is put among the runs.")
            settle = gr.Button("Make this the default", elem_id=f"settle-{self.name}")
        given = [variants, drawing, models, seed, *self.widgets, *varied]
        shown = [status, results, variants, chosen]
        go.click(self.compare, given, shown, js=self.take_drawing(), **UNNAMED, **ONE_AT_A_TIME)
        if self.is_scorable:
            sweep.click(self.sweep, given, shown, **UNNAMED, **ONE_AT_A_TIME)
        stop.click(self.works.stop, None, status, queue=False, **UNNAMED)
        settle.click(self.settle, [variants, chosen, copy], [status, models], **UNNAMED, **ONE_AT_A_TIME)
        gr.on([models.input, *moments], self.show_first, models, self.widgets, **UNNAMED, **ONE_AT_A_TIME)
        gr.on(moments, self.find_models, None, models, queue=False, **UNNAMED)

    def show_first(self, names: list[str]) -> list[Any]:
        """The form as the first of the models has it."""
        return self.show_model(names[0]) if names else [gr.skip()] * len(self.widgets)

    def compare(
        self, request: gr.Request, _: Any, drawing: str, names: list[str], seed: int, *given: Any
    ) -> Iterator[tuple[Any, ...]]:
        """Make what the form asks for in every way; yields the status, all that was made, and the ways."""
        yield from self.told(request, partial(self.make_each, drawing, names, int(seed or 0), given))

    def sweep(
        self, request: gr.Request, _: Any, drawing: str, names: list[str], seed: int, *given: Any
    ) -> Iterator[tuple[Any, ...]]:
        """As `synesthete sweep`; yields as `compare`."""
        yield from self.told(request, partial(self.sweep_first, names, int(seed or 0), given))

    def told(self, request: gr.Request, function: Any) -> Iterator[tuple[Any, ...]]:
        """What the page shows while the function works, and of what it returns."""
        for status, made in self.follow(request, function):
            if made is None:
                yield status, gr.skip(), gr.skip(), gr.skip()
            else:
                shown, variants = made
                labels = [one.label for one in variants]
                yield status, shown, variants, gr.update(choices=labels, value=None)

    def values_of(self, given: Sequence[Any]) -> tuple[list[Any], list[tuple[str, list[str]]]]:
        """The widgets' values, and the values that are compared of one or two of what the form asks for."""
        *own, first, first_values, second, second_values = given
        found = []
        for name, text in ((first, first_values), (second, second_values)):
            values = list(dict.fromkeys(split_commas((text or "").splitlines())))
            if name and not values:
                raise InputError(f"{self.label_of(name)}: no values to compare; give some, such as 5, 10, 20")
            if name:
                found.append((name, values))
            elif values:
                raise InputError(f"{', '.join(values)}: values of what? choose a setting beside them")
        if len(found) == 2 and found[0][0] == found[1][0]:
            raise InputError(f"{self.label_of(first)}: twice; give all its values at once")
        return own, found

    def label_of(self, name: str) -> str:
        """What people call what is varied."""
        return next((one.label for one in self.asked if one.name == name), name.capitalize())

    def variants_of(self, names: Sequence[str], varied: Sequence[tuple[str, list[str]]]) -> list[Variant]:
        """Every way, the models one after the other, so that each is loaded once."""
        if not names:
            raise InputError("no model to compare; choose one or several")
        found = []
        for values in itertools.product(names, *(values for _, values in varied)):
            changes = dict(zip([name for name, _ in varied], values[1:], strict=True))
            told = [f"{self.label_of(name)} {value}" for name, value in changes.items()]
            found.append(
                Variant(values[0], " · ".join([*([values[0]] if len(names) > 1 or not told else []), *told]), changes)
            )
        if len(found) > MOST:
            raise InputError(f"{len(found)} ways to make it; give values for at most {MOST}")
        return found

    def make_each(
        self, drawing: str, names: Sequence[str], seed: int, given: Sequence[Any], work: Work
    ) -> tuple[str, list[Variant]]:
        """A section of the page for each way, a table of figures above them, and the ways."""
        own, varied = self.values_of(given)
        places = {one.name: place for place, one in enumerate(self.widget_fields)}
        variants, folder = self.variants_of(names, varied), self.new_folder("compare")
        rows, sections, wrong = [], [], []
        for number, variant in enumerate(variants):
            filled = [*own]
            for name, value in variant.changes.items():
                if name != SEED:
                    filled[places[name]] = value
            try:
                own_seed = int(variant.changes.get(SEED, seed))
            except ValueError:
                raise InputError(f"Seed: {variant.changes[SEED]!r} is not a number; give one, such as 4") from None
            try:
                made = self.sample(drawing, variant.model, own_seed, filled, folder / f"{number:02d}", work)
            except InputError as error:  # a model may know less than another
                wrong.append(error)
                sections.append(draw_section(variant.label, [draw_message(str(error), "error")]))
                continue
            variant.settings = made.settings
            with self.shelf.borrow(variant.model) as model:
                seen = seen_in(model, (read_picture(Path(path)) for path in made.values["written"]))
            made.values["said"] = made.values["said"] or list(map(asdict, seen))
            rows.append({"": variant.label} | figures_of(made.values))
            sections.append(draw_section(variant.label, made.cards, made.notes))
        if not rows:
            raise wrong[0]
        columns = len(varied[-1][1]) if len(varied) == 2 else min(len(variants), 4)
        shown = f'<div class="variants" style="--columns: {columns}">{"".join(sections)}</div>'
        return draw_table(rows) + shown, [one for one in variants if one.settings]

    def sweep_first(
        self, names: Sequence[str], seed: int, given: Sequence[Any], work: Work
    ) -> tuple[str, list[Variant]]:
        """`synesthete sweep` of the first model: its contact sheet and its figures, and the ways."""
        own, varied = self.values_of(given)
        if not names:
            raise InputError("no model to sweep; choose one")
        if wrong := [name for name, _ in varied if name not in SWEPT]:
            known = ", ".join(map(self.label_of, SWEPT))
            raise InputError(f"{self.label_of(wrong[0])}: no part of a sweep; choose from {known}, or press Compare")
        fields = {one.name: one for one in self.asked}
        tried: dict[str, Any] = {SWEPT[name]: [fields[name].read(value) for value in values] for name, values in varied}
        labels: Any = next(
            (value for one, value in zip(self.widget_fields, own, strict=True) if one.name == "labels"), []
        )
        folder = self.new_folder("sweep")
        with self.shelf.borrow(names[0]) as model:
            pipeline, recipe = model.pipeline, recipe_of(model.pipeline, model.folder)
            classes = pipeline.class_names or list(recipe.data().class_names)
            samples = SweepSamples(
                tuple(find_labels(split_commas(listed(labels or []), classes), classes)), (seed,), SWEEP_NUM
            )
            plan = plan_sweep(pipeline, **tried)
            if len(plan.cells) > MOST:
                raise InputError(f"{len(plan.cells)} cells; give values for at most {MOST}")
            scorer = scorer_of(pipeline, model.folder, recipe, work.say)
            with watched(model, work, 4):
                found = run_sweep(scorer, plan, samples, folder, model=names[0], progress=work.say)
            variants = [
                Variant(names[0], made.cell.title, {}, pipeline.sampling_settings(**made.cell.settings()))
                for made in found
            ]
        sheet, report = address(folder / "contact_sheet.png"), address(folder / "report" / "report.html")
        rows = [{"": made.cell.title} | made.figures for made in found]
        links = f'<p class="said"><a href="{report}" target="_blank">the report</a></p>'
        picture = f'<img class="sheet" src="{sheet}" alt="{html.escape(", ".join(one.label for one in variants))}">'
        return draw_table(rows) + links + picture, variants

    @errors_shown()
    def settle(self, variants: Sequence[Variant], chosen: str | None, copy: str) -> tuple[str, Any]:
        """Make a way of sampling its model's own, or that of a copy of it."""
        variant = next((one for one in variants if one.label == chosen), None)
        if variant is None:
            raise InputError("nothing is chosen; compare something, and choose one of what was made")
        name, folder = variant.model, model_folder(variant.model)
        with self.shelf.borrow(name) as model:
            process = getattr(model.pipeline, "base", model.pipeline).process
        if copy.strip():
            target = copy_model(folder, Trainings(self.shelf.runs).folder(copy.strip()))
            name, folder = str(target.parent), target
        write_sampling(folder, variant.settings, process)
        self.shelf.forget(name)
        return draw_message(f"{name} samples so from now on: {variant.label}."), self.find_models()


def copy_model(folder: Path, run: Path) -> Path:
    """A copy of a model as the finished one of a run that there is not yet; returns where the model is."""
    if run.exists():
        raise InputError(f"{run}: there already; give another name")
    try:
        return Path(shutil.copytree(folder, run / "model"))
    except OSError as error:
        raise InputError(f"{run}: {error.strerror or error}; the copy is not whole, remove it") from None


def figures_of(values: dict[str, Any]) -> dict[str, Any]:
    """What the classifier takes what was made for and how sure it is of it on average, then every number."""
    said = [one for one in values["said"] if one.get("says")]
    found: dict[str, Any] = {}
    if said:
        counts = Counter(one["says"] for one in said).most_common()
        found = {"classified": ", ".join(f"{num} x {name}" if num > 1 else name for name, num in counts)}
        found["sure"] = sum(one["confidence"] for one in said) / len(said)
    return found | {name: value for name, value in values.items() if isinstance(value, int | float)}
