"""The tabs Train and Runs: trainings as processes of their own, how they come along, and the reports of a run."""

from __future__ import annotations

import html
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import gradio as gr

from synesthete.data.files import legible
from synesthete.data.picture import read_picture
from synesthete.io import LOCK, machine, read_json
from synesthete.recipes import describe_recipes
from synesthete.studio.cards import draw_message, embed
from synesthete.studio.task_tab import UNNAMED
from synesthete.studio.work import errors_shown
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

    @errors_shown()
    def start(self, recipe: str, name: str, data: str, changes: str) -> tuple[Any, Any]:
        """Start it, or go on with it."""
        self.trainings.start(recipe, name or recipe, data, changes)
        return self.look(name or recipe), gr.update(choices=self.trainings.names(), value=name or recipe)

    @errors_shown()
    def stop(self, name: str) -> Any:
        """Interrupt it."""
        stopped = bool(name) and self.trainings.stop(name)
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


NAME = r"[\w][\w.-]{0,59}"
SHOWN = 400  # points of a curve at most
LAST_BYTES = 2000  # of a log, in which its last line is looked for


class Trainings:
    """The runs in a folder. The commands that were started here are remembered until this process ends."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.started: dict[str, subprocess.Popen[bytes]] = {}

    def names(self) -> list[str]:
        """Every run, the newest first."""
        found = [path.parent for path in self.runs.glob("*/recipe.yaml")]
        return [path.name for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]

    def folder(self, name: str) -> Path:
        """Where a run is."""
        if not re.fullmatch(NAME, name or ""):
            raise InputError(f"run {name!r}: give a name of letters, digits, '-' and '_'")
        return self.runs / name

    def log(self, name: str) -> Path:
        """Where what a training says is written: beside its folder, in which nothing else may lie before it begins."""
        return self.runs / f"{self.folder(name).name}.log"

    def start(self, recipe: str, name: str, data: str = "", changes: str = "") -> None:
        """`synesthete train`, or the same again, which goes on; it outlives us. changes: KEY=VALUE, one a line."""
        folder = self.folder(name)
        if self.process(name) is not None:
            raise InputError(f"{folder}: is being trained already; stop it, or choose another name")
        assignments = [line.strip() for line in changes.splitlines() if line.strip()]
        assignments += [f"data.folder={data.strip()}"] if data.strip() else []
        if not assignments and (folder / "recipe.yaml").is_file():
            recipe = str(folder / "recipe.yaml")  # as it was
        options = [word for one in assignments for word in ("--set", one)]
        self.runs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("wb") as log:
            self.started[name] = subprocess.Popen(
                [sys.executable, "-m", "synesthete", "train", "--out", str(folder), *options, "--", recipe],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def process(self, name: str) -> int | None:
        """The number of the process that trains a run, whoever started it; None where there is none."""
        own = self.started.get(name)
        if own is not None and own.poll() is None:
            return own.pid
        try:
            notes = read_json(self.folder(name) / LOCK)
            number = int(notes["process"])
            if notes["machine"] != machine() or number <= 1:
                return None
            os.kill(number, 0)
            command = Path(f"/proc/{number}/cmdline")
            is_ours = not command.parent.parent.is_dir() or b"synesthete" in command.read_bytes()
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return number if is_ours else None

    def stop(self, name: str) -> bool:
        """Interrupt the training of a run, which keeps its last checkpoint; False where there is none."""
        number = self.process(name)
        if number is None:
            return False
        os.kill(number, signal.SIGTERM)  # SIGINT is ignored by what a script started in the background
        return True

    def last_line(self, name: str) -> str:
        """What it said last."""
        try:
            with self.log(name).open("rb") as log:
                log.seek(max(log.seek(0, os.SEEK_END) - LAST_BYTES, 0))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def figures(self, name: str) -> tuple[dict[str, Any], dict[str, list[tuple[int, float]]]]:
        """The newest of every figure of a run's last stage, and its curves: (step, value) by name."""
        newest: dict[str, Any] = {}
        curves: dict[str, list[tuple[int, float]]] = {}
        try:
            lines = (self.folder(name) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = []
        for line in lines:
            try:
                told = dict(json.loads(line))
                if told.get("stage") != newest.get("stage"):
                    newest, curves = {}, {}
                for key, value in told.items():
                    if key in ("loss", "held_out_loss", "condition_sensitivity"):
                        curves.setdefault(key, []).append((int(told["step"]), float(value)))
                newest |= told
            except (ValueError, TypeError, KeyError):  # the end of a line that is being written
                continue
        thinned = {key: points[:: max(len(points) // SHOWN, 1)] for key, points in curves.items()}
        return newest, thinned

    def previews(self, name: str) -> list[Path]:
        """The newest pictures of a run."""
        found = sorted((self.folder(name) / "previews").glob("step_*.png"))
        return [path for path in found if path.name.split("-")[0].removesuffix(".png") == found[-1].name[:12]][:4]
