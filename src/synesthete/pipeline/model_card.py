"""What a model's folder says: model_index.json, read and checked before anything of it is made, and README.md.

The latter as the Hub shows it: what the model is, its figures, data and limits; and the folder's way there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from synesthete import hub
from synesthete.config import Sampling, build, find_class
from synesthete.config.recipe import filled
from synesthete.diffusion.process import Process
from synesthete.io import read_json, write_file
from synesthete.logs import PACKAGE
from synesthete.types import InputError

OURS = "<!-- Written by synesthete, anew when the model is evaluated; without this line the file is left as it is. -->"
UNKNOWN = "unknown"  # a licence that nobody has stated yet, as the Hub calls it
UNSTATED = "Not stated. Whoever publishes the model says it here."
# What a model that reads such things is shown in an example: an option of the command, and an argument from Python.
READ = {
    "image": ("picture.png", '"picture.png"'),
    "sound": ("--init sound.wav", 'init="sound.wav"'),
    "audio_text": ("sound.wav", '"sound.wav"'),
    "score": ("tune.mid", '"tune.mid"'),
    "sketch": ('--key "D minor"', 'key="D minor"'),
}
SOUND = ("image-to-speech", "music", "music-score", "music-compose")  # tasks of which sound comes out
PIPELINE_TAGS = {"images": "unconditional-image-generation"}  # where the Hub has one; of words see below
DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


PIPELINE = "Pipeline"  # the class that one names


def read_index(folder: Path) -> dict[str, Any]:
    """What a folder's model_index.json says."""
    path = folder / hub.MODEL_INDEX
    try:
        index = dict(read_json(path))
    except (OSError, ValueError, TypeError):
        raise InputError(f"{path}: damaged; train or copy the model again") from None
    kind = index.get("_class_name")
    if kind in (PIPELINE, None):
        try:
            check_index(index)
        except (InputError, TypeError, ValueError) as error:
            raise InputError(f"{path}: damaged ({error}); train or copy the model again") from None
    if kind == "Cascade":
        raise InputError(f"{folder}: two models, one after the other; give one of them, {folder}/base or the like")
    if kind != PIPELINE:
        raise InputError(f"{folder}: a {kind}, not a Synesthete model; load it with diffusers, or give another")
    return index


def check_index(index: Mapping[str, Any]) -> None:
    """Make sure that what a model_index.json says beside its parts is of the right types."""
    process, sampling, card = (dict(index.get(key) or {}) for key in ("process", "sampling", "card"))
    kind, arguments = Process.kind_of(process)
    build(kind, **arguments)
    filled(Sampling, sampling, "sampling")
    names = card.get("class_names") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError("card.class_names: no list of names")
    folded = card.get("folded_guidance")
    if isinstance(folded, bool) or not isinstance(folded, int | float | None):
        raise InputError("card.folded_guidance: no number")
    if wrong := [key for key in ("recipe", "task") if not isinstance(card.get(key, ""), str)]:
        raise InputError(f"card.{wrong[0]}: no name")


def find_part_class(named: Any, where: str) -> Any:
    """The class of [library, name] in a model_index.json."""
    if not isinstance(named, list) or len(named) != 2:
        raise InputError(f"{where}: not named in {hub.MODEL_INDEX}; train or copy the model again")
    library, kind = map(str, named)
    if library.split(".")[0] != PACKAGE:
        raise InputError(f"{where}: is of {library!r}; only parts of {PACKAGE} and registered ones are loaded")
    try:
        return find_class(kind if library == PACKAGE else f"{library}.{kind}")
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


@dataclass(frozen=True)
class ModelCard:
    """What a card says that the model's own files do not.

    about: what it is. figures: when, how and on what they were measured, and tables; the rows of the first one whose
    second cell is a number are told to programs, too. data, limits: whatever is to be said of them. All these are
    Markdown. licence: as the Hub writes it. datasets: ids on the Hub. language: of what is said.
    """

    about: str = ""
    figures: str = "None yet: `synesthete evaluate` writes them here."
    data: str = UNSTATED
    limits: str = UNSTATED
    licence: str = UNKNOWN
    datasets: Sequence[str] = ()
    language: str = ""


def write_card(folder: Path, card: ModelCard | None = None, name: str = "") -> None:
    """Write a model's README.md, its `name` in examples or the recipe's, unless there is one that somebody changed."""
    path = folder / hub.CARD
    if not path.is_file() or OURS in path.read_text(encoding="utf-8"):
        write_file(path, render_card(folder, card or ModelCard(), name))


def render_card(folder: Path, card: ModelCard, name: str = "") -> str:
    """The card of the model in a folder, Markdown below YAML."""
    index = read_index(folder)
    told = dict(index.get("card") or {})
    task, classes = str(told.get("task", "")), list(told.get("class_names", []))
    title = name or str(told.get("recipe") or folder.name)
    kind = find_part_class(index.get("conditioner"), f"{folder}: its conditioner")
    reads_text = getattr(kind, "reads_text", False)
    option, argument = READ.get(kind.reads, ("", ""))
    if reads_text and kind.reads == "label":
        option, argument = '--prompt "a red heart"', 'prompts=["a red heart"]'
    elif kind.reads == "label" and classes:
        option, argument = f'--label "{classes[-1]}"', f'"{classes[-1]}"'
    made = "made.wav" if task in SOUND else "made.png"
    tag = "text-to-image" if reads_text and task == "images" else PIPELINE_TAGS.get(task)
    head: dict[str, Any] = {
        "license": card.licence,
        "library_name": PACKAGE,
        "pipeline_tag": tag,
        "tags": ["diffusion", PACKAGE, *([task] if task else [])],
        "language": card.language,
        "datasets": list(card.datasets),
        "model-index": _results(title, task, tag, card),
    }
    head = {key: value for key, value in head.items() if value}
    parts = [(one.name, *_size(one)) for one in sorted(folder.iterdir()) if any(one.rglob("*.safetensors"))]
    kinds = {slot: f"`{value[1]}`" for slot, value in index.items() if isinstance(value, list) and len(value) == 2}
    settings = ", ".join(f"{key} {value}" for key, value in sorted(dict(index.get("sampling") or {}).items()))
    lines = [
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)}---",
        OURS,
        f"# {title}",
        card.about or f"A model of the task {task or 'of nobody'} by the recipe {told.get('recipe') or 'of nobody'}.",
        "\n".join(
            [
                "| part | class | parameters | numbers | MB |",
                "| --- | --- | --- | --- | --- |",
                *(
                    f"| {part} | {kinds.get(part, '-')} | {count:,} | {types} | {size / 1e6:.1f} |"
                    for part, count, types, size in parts
                ),
                f"| all | | {sum(part[1] for part in parts):,} | | {sum(part[3] for part in parts) / 1e6:.1f} |",
            ]
        ),
        *([f"Classes: {', '.join(classes)}."] if classes else []),
        f"Its own sampling settings: {settings}.",
        "## How to use it",
        f"```sh\nsynesthete sample {title} {option}".rstrip() + " --out made\n```",
        f'```python\nimport synesthete\n\nsynesthete.load("{title}")({argument}).save("{made}")\n```',
        "## Figures",
        card.figures,
        "## Data and licences",
        card.data,
        "## Limits",
        card.limits,
    ]
    return "\n\n".join(lines) + "\n"


def first_table(text: str) -> list[list[str]]:
    """The rows of the first table in Markdown, that of the columns' names first; none where there is no table."""
    found = re.search(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    lines = found[0].splitlines() if found else []
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])] for line in lines]
    return rows[:1] + rows[2:]


def as_number(cell: str) -> float | str:
    """A cell as a number, where it is one."""
    try:
        value = float(cell.replace(",", ""))
    except ValueError:
        return cell
    return value if math.isfinite(value) else cell


def _results(title: str, task: str, tag: str | None, card: ModelCard) -> list[dict[str, Any]]:
    """The figures as the Hub reads them: rows whose second cell is a number, what they are read against beside."""
    columns, *rows = first_table(card.figures) or [[]]
    metrics = [
        {
            "type": re.sub(r"[^a-z0-9]+", "_", re.split(r"[(,:]", row[0])[0].lower()).strip("_") or "figure",
            "name": row[0],
            "value": value,
            "args": {
                column: as_number(cell)
                for column, cell in list(zip(columns, row, strict=True))[2:]
                if cell not in ("", "-")
            },
        }
        for row in rows
        if isinstance(value := as_number(row[1]), float)
    ]
    if not metrics:
        return []
    source = {"name": "held-out data of its recipe", "type": (card.datasets or [title])[0]}
    result = {"task": {"type": tag or task, "name": task}, "dataset": source, "metrics": metrics}
    return [{"name": title, "results": [result]}]


def _size(part: Path) -> tuple[int, str, int]:
    """How many numbers a part's safetensors hold, of which types, and how many bytes, read off the heads of files."""
    count, types, size = 0, set(), 0
    for path in part.rglob("*.safetensors"):
        with path.open("rb") as file:
            tensors = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        tensors.pop("__metadata__", None)
        count += sum(math.prod(tensor["shape"]) for tensor in tensors.values())
        types |= {DTYPES.get(tensor["dtype"], tensor["dtype"].lower()) for tensor in tensors.values()}
        size += path.stat().st_size
    return count, ", ".join(sorted(types)), size


# Where a card of ours names the model it is of: heading, command and call.
NAMED = re.compile(r'^(# |synesthete sample |synesthete\.load\(")([^\s"]+)', re.MULTILINE)


def upload(
    folder: Path, repository: str, *, private: bool = False, token: str | None = None, licence: str | None = None
) -> str:
    """Put a model's folder into a repository of the Hub, made if need be, in one commit; returns its address.

    Weights, settings (the recipe among them), classifier and card go along, nothing else that lies there. A card of
    ours names the model by the repository.

    repository: owner/name. private: where it is made. token: the one of `hf auth login` or HF_TOKEN where None.
    licence: as the Hub writes it, in place of the card's.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository if hub.is_hub_id(repository) else "")
    except HFValidationError:
        raise InputError(f"{repository}: no name of a repository; give owner/name") from None
    hub.check_files(folder)
    if not (folder / hub.CARD).is_file():
        write_card(folder)
    card = (folder / hub.CARD).read_text(encoding="utf-8")
    if OURS in card:
        card = NAMED.sub(rf"\g<1>{repository}", card)
    if licence:
        card = re.sub(r"^license: .*$", f"license: {licence}", card, count=1, flags=re.MULTILINE)
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    sent = [name for name in names if any(fnmatch(name, pattern) for pattern in hub.WEIGHTS)]
    files = [CommitOperationAdd(name, str(folder / name)) for name in sent]
    try:
        api = HfApi(token=token)
        address = api.create_repo(repository, private=private, exist_ok=True)
        files.append(CommitOperationAdd(hub.CARD, card.encode()))
        api.create_commit(repository, files, commit_message="A model of synesthete")
    except Exception as error:  # the client lets those of its connection library through, which differ by version
        raise InputError(f"{repository}: not uploaded, {hub.refusal(error)}; the same call does it later") from None
    return str(address)
