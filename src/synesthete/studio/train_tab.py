"""The tabs Train and Runs: a run's training, how it comes along, and the reports in its folder."""

from __future__ import annotations

import html
import subprocess
import sys
from typing import Any

import gradio as gr

from synesthete.data.files import legible
from synesthete.data.picture import read_picture
from synesthete.recipes import describe_recipes
from synesthete.studio.cards import draw_message, embed
from synesthete.studio.task_tab import UNNAMED
from synesthete.studio.trainings import Trainings
from synesthete.types import InputError

EVERY = 2.0  # seconds between looks
WIDE, HIGH = 600, 160  # of a curve
COLOURS = {"loss": "#7c3aed", "held_out_loss": "#0891b2", "condition_sensitivity": "#d97706"}
PATIENCE = 600  # seconds for the doctor
BIGGEST_REPORT = 32_000_000  # bytes


def draw_curve(points: list[tuple[int, float]], name: str) -> str:
    """A curve as SVG, with what it is and where it is now in words."""
    steps, values = [step for step, _ in points], [value for _, value in points]
    low, high, first, last = min(values), max(values), min(steps), max(steps)
    across, up = WIDE / max(last - first, 1), HIGH / ((high - low) or 1.0)
    line = " ".join(f"{(step - first) * across:.1f},{HIGH - (value - low) * up:.1f}" for step, value in points)
    told = html.escape(f"{name.replace('_', ' ')}: {values[-1]:.4g} at step {last}; {low:.4g} to {high:.4g}")
    return (
        f'<figure class="curve"><figcaption>{told}</figcaption><svg viewBox="0 -4 {WIDE} {HIGH + 8}" role="img" '
        f'aria-label="{told}"><polyline points="{line}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/></svg>'
        "</figure>"
    )


class TrainTab:
    """Start, watch, stop and go on; what is going is found again, whoever started it."""

    def __init__(self, trainings: Trainings) -> None:
        self.trainings = trainings

    def build(self, seen: Any) -> None:
        """Put it where the page stands. seen: when it is."""
        recipes = [(f"{name}: {text}"[:90], name) for name, text in describe_recipes().items()]
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                recipe = gr.Dropdown(recipes, value="images-digits-debug", label="Recipe", elem_id="train-recipe")
                name = gr.Dropdown(
                    self.trainings.names(),
                    value=None,
                    allow_custom_value=True,
                    label="Run",
                    info=f"A name for a new one; or one that is in {self.trainings.runs}, to watch it or go on.",
                    elem_id="train-run",
                )
                data = gr.Textbox(label="Folder of your own", info="With its data, for recipes that have data.folder.")
                changes = gr.Textbox(
                    label="Changes", lines=2, info="A line each, such as stages.denoise.num_steps=500."
                )
                with gr.Row():
                    go = gr.Button("Train or go on", variant="primary", elem_id="train-go", min_width=90)
                    stop = gr.Button("Stop", elem_id="train-stop", min_width=90)
            with gr.Column(scale=3, min_width=320):
                state = gr.HTML(draw_message("It trains in a process of its own: closing the page stops nothing."))
        go.click(self.start, [recipe, name, data, changes], [state, name], queue=False, **UNNAMED)
        stop.click(self.stop, name, state, queue=False, **UNNAMED)
        seen(self.find, name, name, queue=False, **UNNAMED)
        name.change(self.look, name, state, queue=False, **UNNAMED)
        gr.Timer(EVERY).tick(self.look, name, state, queue=False, **UNNAMED)

    def find(self, name: str | None) -> Any:
        """The runs that there are by now; one that is going where none is chosen."""
        names = self.trainings.names()
        going = None if name else next((one for one in names if self.trainings.process(one) is not None), None)
        return gr.update(choices=names, value=going) if going else gr.update(choices=names)  # what is typed stays

    def start(self, recipe: str, name: str, data: str, changes: str) -> tuple[Any, Any]:
        """Start it, or go on with it."""
        try:
            self.trainings.start(recipe, name or recipe, data, changes)
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None
        return self.look(name or recipe), gr.update(choices=self.trainings.names(), value=name or recipe)

    def stop(self, name: str) -> Any:
        """Interrupt it."""
        try:
            stopped = bool(name) and self.trainings.stop(name)
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None
        return draw_message("Stopping; the same button goes on." if stopped else "There is nothing to stop.")

    def look(self, name: str | None) -> Any:
        """How a run comes along."""
        if not name:
            return gr.skip()
        try:
            is_going = self.trainings.process(name) is not None
            newest, curves = self.trainings.figures(name)
        except InputError as error:
            return draw_message(str(error), "error")
        said = self.trainings.last_line(name)
        is_done = ": done;" in said
        told = "is training" if is_going else "is done" if is_done else "is not going on"
        if "step" in newest:
            told += f": stage {newest['stage']}, step {newest['step']}"
        if is_going and newest.get("seconds_left"):
            told += f", {newest['seconds_left'] / 60:.0f} min left"
        pictures = "".join(
            f'<img src="{embed(read_picture(path))}" alt="{html.escape(path.stem)}">'
            for path in self.trainings.previews(name)
        )
        drawn = "".join(draw_curve(points, key) for key, points in curves.items() if len(points) > 1)
        below = f'<p class="said">{html.escape(said)}</p>{drawn}<div class="previews">{pictures}</div>'
        return draw_message(f"{name} {told}.") + below


class RunsTab:
    """The reports in a run's folder, and the doctor."""

    def __init__(self, trainings: Trainings) -> None:
        self.trainings = trainings

    def build(self, seen: Any) -> None:
        """Put it where the page stands. seen: when it is."""
        names = self.trainings.names()
        with gr.Row():
            name = gr.Dropdown(names, value=None, allow_custom_value=True, label="Run", scale=2)
            report = gr.Dropdown([], value=None, allow_custom_value=True, label="Report", scale=2)
            ask = gr.Button("Ask the doctor", scale=1)
        shown = gr.HTML(draw_message("Reports, diagnoses and other pages that lie in the run's folder are shown here."))
        seen(lambda: gr.update(choices=self.trainings.names()), None, name, queue=False, **UNNAMED)
        name.change(self.find, name, report, queue=False, **UNNAMED)
        report.change(self.show, [name, report], shown, queue=False, **UNNAMED)
        ask.click(self.ask_doctor, name, shown, **UNNAMED)

    def find(self, name: str) -> Any:
        """The pages of a run."""
        try:
            folder = self.trainings.folder(name)
        except InputError:
            return gr.update(choices=[], value=None)
        pages = sorted(str(path.relative_to(folder)) for path in folder.glob("*/*.html"))
        return gr.update(choices=pages, value=pages[0] if pages else None)

    def show(self, name: str, report: str) -> Any:
        """One of them, which may run nothing."""
        if not name or not report:
            return draw_message("No report there yet: `synesthete evaluate`, `diagnose` and `sweep` write some.")
        try:
            folder = self.trainings.folder(name).resolve()
            path = (folder / report).resolve()
            if folder not in path.parents or path.suffix != ".html" or path.stat().st_size > BIGGEST_REPORT:
                raise InputError(f"{legible(report)}: no report of {name}")
            content = html.escape(path.read_text(encoding="utf-8"))
        except (InputError, OSError) as error:
            return draw_message(str(error), "error")
        return f'<iframe class="report" sandbox title="{html.escape(report)}" srcdoc="{content}"></iframe>'

    def ask_doctor(self, name: str) -> Any:
        """What `synesthete doctor` says of a run."""
        try:
            folder = self.trainings.folder(name)
            command = [sys.executable, "-m", "synesthete", "doctor", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        except InputError as error:
            return draw_message(str(error), "error")
        except subprocess.TimeoutExpired:
            return draw_message(f"the doctor took more than {PATIENCE} s; ask on the command line", "error")
        return f'<pre class="said">{html.escape(done.stdout + done.stderr)}</pre>'
