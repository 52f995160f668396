"""What a page asks for: a widget for each field of a task's request and for some sampling settings.

Every file that is made tells how, and fills the form again when it is dropped there.
"""

from __future__ import annotations

import json
import re
from abc import ABCMeta
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from synesthete.data.audio import SoundFile
from synesthete.data.files import legible
from synesthete.diffusion.sampling import SAMPLERS, samplers_of
from synesthete.tasks import Task
from synesthete.tasks.model import ALSO
from synesthete.tasks.sampling import SampleRequest
from synesthete.tasks.task import CHOICE, HELP
from synesthete.types import InputError

KINDS = {  # of files: the endings that a page lets through; what they hold is found out when they are read
    "sound": ["audio"],
    "score": [".mid", ".midi", ".mxl", ".musicxml", ".xml"],
    "picture": ["image"],
}
LABELS = {
    "labels": "What",
    "prompts": "In words of your own",
    "num": "How many",
    "inputs": "{}",
    "init": "Begin with a {}",
    "between": "Between two sounds",
    "goes_on": "Go on after it",
    "is_loop": "Loop",
    "is_gif": "As a GIF, too",
    "fill": "Bars to make anew",
    "remake": "Voices to make anew",
    "gap": "Seconds to make anew",
    "sampler": "Sampler",
    "num_inference_steps": "Steps",
    "guidance_scale": "Guidance",
    "adapter_scale": "How much is heard",
    "num_corrections": "Corrections",
    "num_resamplings": "Resamplings",
}
INFOS = {  # where the help of the command line says more than a form needs
    "labels": "One or several.",
    "prompts": "A line for each.",
    "voice": "Left open, chance chooses.",
    "instrument": "Left open, the model or chance chooses.",
    "key": "Left open, it is drawn, or found in what it begins with.",
    "num": "Of each.",
    "sampler": "How it walks from noise to what is made.",
    "remake": "Such as alto, tenor.",
    "fill": "Such as 3-4, or mark them in the picture of the score.",
    "gap": "From and to, such as 3 4.5, or mark them in the picture of the sound; the rest stays as it is.",
    "strengths": "Such as 0 0.5 1: a picture for each.",
}
SETTINGS = {"sampler": "str", "num_inference_steps": "int", "guidance_scale": "float"}  # of every model
FIRST = ("inputs", "labels", "prompts", "voice", "instrument", "key", "bars", "num")  # the rest is under "More"
LONGEST = 500  # letters of a text
UPLOAD = 160  # pixels: what a file is dropped on, its label above
MOST = 64  # of what is made at once

# An image whose file is handed on as it is: our own decoder is bounded, and says what is wrong. A class statement
# would have gradio write a stub beside this file. A template is an image like any other to the page.
Upload: Any = ABCMeta.__new__(
    type(gr.Image),
    "Upload",
    (gr.Image,),
    {"is_template": True, "preprocess": lambda self, given: None if given is None else given.path},
)


@dataclass
class Field:
    """What is asked for. kind: its type. file: the kind of its file, or "". start: where it says nothing."""

    name: str
    kind: str
    file: str = ""
    is_setting: bool = False
    is_choice: bool = False
    start: Any = None
    widget: Any = None
    second: Any = None  # of two files

    @property
    def label(self) -> str:
        """What people call it."""
        text = LABELS.get(self.name, self.name.replace("_", " ").capitalize()).format(self.file)
        return text[:1].upper() + text[1:]

    @property
    def takes_several(self) -> bool:
        """Whether several of its choices may be chosen."""
        return self.is_choice and self.kind.startswith("Sequence")

    @property
    def unit(self) -> str:
        """Of a stretch of a sound or a score, which can be marked in its picture: "s" or "bars"; else ""."""
        return "s" if self.kind == "tuple[float, float]" else "bars" if self.name == "fill" else ""

    @property
    def may_be_empty(self) -> bool:
        """Whether it is a number that may be left out: gradio's own widget for numbers is never empty, but 0."""
        return self.kind in ("int", "float") and self.name != "num" and not self.is_setting and self.start is None

    def read(self, given: Any) -> Any:
        """What a widget's value asks for; None where it says nothing."""
        if given in (None, "", [], ()) or given is False or given == self.start:
            return None
        if self.file:
            return [Path(given)] if self.kind.startswith("Sequence") else Path(given)
        try:
            if self.kind in ("int", "float"):
                return int(given) if self.kind == "int" else float(given)
            if "float" in self.kind and isinstance(given, str):
                return tuple(float(word) for word in re.split(r"[,;\s]+", given.strip()))
        except ValueError:
            wanted = "numbers; give some, such as 0 0.5 1" if "[" in self.kind else "a number; give one, such as 4"
            raise InputError(f"{self.label}: {given!r} is not {wanted}") from None
        if self.kind.startswith("Sequence") and isinstance(given, str):
            return [line.strip() for line in given.splitlines() if line.strip()]
        return given


def fields_of(task: Task) -> list[Field]:
    """What a task is asked: its request's fields, then the sampling settings."""
    shared = {one.name for one in fields(SampleRequest)}
    kinds = {one.name: str(one.type) for one in fields(task.request_type) if one.name not in shared}
    wanted = {name: kind for name, kind in kinds.items() if task.form.get(name, "") is not None}
    settings = SETTINGS | {name: "float" for name in task.form if name not in kinds}
    found = []
    for name, kind in (wanted | settings).items():
        how = task.form.get(name, "")
        field = Field(name, kind.removesuffix(" | None"), is_setting=name in settings, is_choice=how == CHOICE)
        if isinstance(how, tuple):
            field.start = how[2]
        elif not field.is_choice:
            field.file = str(how)
        found.append(field)
    return sorted(found, key=lambda one: FIRST.index(one.name) if one.name in FIRST else len(FIRST))


def make_widget(task: Task, field: Field) -> None:
    """Put the widget of a field where the page stands."""
    info = say_help(field)
    about: dict[str, Any] = {"label": field.label, "interactive": True}
    how = task.form.get(field.name)
    if field.file:
        if field.kind.startswith("tuple"):
            field.widget = file_widget(field.file, f"{field.label}: the first")
            field.second = file_widget(field.file, f"{field.label}: the second")
        else:
            field.widget = file_widget(field.file, field.label)
    elif isinstance(how, tuple):
        field.widget = gr.Slider(how[0], how[1], value=how[2], info=info, **about)
    elif field.name == "sampler":
        field.widget = gr.Dropdown(list(SAMPLERS), value=None, allow_custom_value=True, info=info, **about)
    elif field.is_choice:
        several = field.takes_several
        field.widget = gr.Dropdown([], value=None, multiselect=several, allow_custom_value=True, info=info, **about)
    elif field.kind == "bool":
        field.widget = gr.Checkbox(info=info, **about)
    elif field.kind in ("int", "float") and not field.may_be_empty:
        value = (4 if task.plan_type.unit == "picture" else 1) if field.name == "num" else None
        most = MOST if field.name == "num" else None
        precision = 0 if field.kind == "int" else None
        field.widget = gr.Number(value, precision=precision, maximum=most, info=info, **about)
    else:
        field.widget = gr.Textbox(max_length=LONGEST, info=info, **about)


def file_widget(kind: str, label: str) -> Any:
    """What takes a file of a kind, or in its place a microphone or a camera; nothing that sends it elsewhere."""
    if kind == "sound":
        return gr.Audio(sources=["microphone", "upload"], buttons=["download"], type="filepath", label=label)
    if kind == "picture":
        return Upload(
            sources=["upload", "webcam", "clipboard"],
            webcam_options=gr.WebcamOptions(mirror=False),  # else a digit that is held before it is taken mirrored
            buttons=["fullscreen"],
            type="filepath",
            label=label,
            height=280,
        )
    return gr.File(file_types=KINDS.get(kind), type="filepath", label=label, height=UPLOAD)


def say_help(field: Field) -> str | None:
    """What stands below its label: the help of the command line, with fields in place of options, or less."""

    def on_page(option: re.Match[str]) -> str:
        name = {"continue": "goes_on"}.get(option[1], option[1].replace("-", "_"))
        return f"“{LABELS.get(name, name.replace('_', ' ').capitalize()).format('file')}”"

    text = INFOS.get(field.name) or HELP.get("steps" if field.name == "num_inference_steps" else field.name)
    return None if text is None else re.sub(r"--([a-z-]+)", on_page, text)


def fit(task: Task, asked: Iterable[Field], pipeline: Any) -> list[Any]:
    """The widgets as a loaded model has them: its choices, its ranges, its own settings; in their order."""
    base = getattr(pipeline, "base", pipeline)
    choices, own, updates = task.choices(pipeline), base.sampling_settings(), []
    for field in asked:
        values: Sequence[Any] | None = choices.get(field.name)
        if field.name == "sampler":
            updates.append(gr.update(choices=samplers_of(base.process), value=own["sampler"]))
        elif field.is_setting and values is None:
            updates.append(gr.update(value=own[field.name]))
        elif values is None:
            updates.append(gr.update(visible=True))
        elif not len(values):
            updates.append(gr.update(visible=False) | ({"value": []} if field.takes_several else {}))
        elif field.is_choice:
            several = field.takes_several
            updates.append(gr.update(choices=list(values), value=[values[0]] if several else None, visible=True))
        else:
            updates.append(gr.update(minimum=values[0], maximum=values[1], visible=True))
        updates += [gr.update()] if field.second is not None else []
    return updates


def read_form(
    task: Task, asked: Sequence[Field], given: Sequence[Any], pipeline: Any
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """The request's fields and sampling settings that a filled form asks for, and the labels of what is left out."""
    base = getattr(pipeline, "base", pipeline)
    choices, own, values = task.choices(pipeline), base.sampling_settings(), iter(given)
    request: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    ignored = []
    for field in asked:
        value = field.read(next(values))
        if field.second is not None:
            second = field.read(next(values))
            if (value is None) != (second is None):
                raise InputError(f"{field.label}: only one is there; give two, or take it away")
            value = None if value is None else (value, second)
        known = choices.get(field.name)
        if value is not None and known is not None and not len(known):
            ignored.append(field.label)
            continue
        if value is None:
            continue
        if field.is_choice and known and (wrong := [one for one in listed(value) if one not in known]):
            raise InputError(f"{field.label}: no {wrong[0]!r}; choose from {', '.join(map(str, known))}")
        if not field.is_setting:
            request[field.name] = value
        elif value != own[field.name]:
            settings[field.name] = value
    return request, settings, ignored


def listed(value: Any) -> list[Any]:
    """A value, or those in a list of them."""
    return list(value) if isinstance(value, list | tuple) else [value]


LARGEST = 2**20  # bytes of a file that is nothing but settings


def settings_told_by(path: Path) -> dict[str, str]:
    """What a file tells of how it was made, every value as text. path: .png, .wav, .flac or .json."""
    suffix, name = path.suffix.lower(), legible(path.name)
    try:
        if suffix == ".png":
            with Image.open(path, formats=["PNG"]) as picture:
                told: Mapping[str, Any] = {str(key): value for key, value in picture.info.items()}
        elif suffix in (".wav", ".flac"):
            with SoundFile(path) as sound:
                told = json.loads(sound.comment or "{}")
        else:
            told = json.loads(path.read_bytes()[:LARGEST])
        found = {key: value if isinstance(value, str) else json.dumps(value) for key, value in told.items()}
    except (OSError, ValueError, AttributeError, TypeError, SyntaxError):  # whatever a damaged file makes them say
        found = {}
    if "model" not in found or "seed" not in found:
        raise InputError(f"{name}: does not tell how it was made; give a png, wav or json that was made here")
    return found


def fill_in(told: Mapping[str, str], asked: Sequence[Field]) -> tuple[dict[str, Any], list[str]]:
    """The values of widgets that a file tells, by field, and the names of what none of them can show."""
    values: dict[str, Any] = {}
    fields = {field.name: field for field in asked}
    left = []
    for key, text in told.items():
        name = ALSO.get(key, key)
        if key == "number":
            values["num"] = float(text) + 1
        elif name in fields and not fields[name].file:
            try:
                values[name] = to_widget(fields[name], text)
            except (ValueError, TypeError):
                left.append(key)
        elif key not in ("model", "seed"):
            left.append(key)
    return values, left


def to_widget(field: Field, text: str) -> Any:
    """A value, told as text, as its widget shows it."""
    if "float" in field.kind and field.kind != "float":  # several numbers
        return " ".join(f"{float(value):g}" for value in json.loads(text))
    if field.kind in ("int", "float"):
        return f"{float(text):g}" if field.may_be_empty else float(text)
    if field.kind == "bool":
        return bool(json.loads(text))
    return [text] if field.takes_several else text
