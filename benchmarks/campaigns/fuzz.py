"""Damaged inputs of every kind: each is read, or refused in one line, in seconds and without filling the memory.

    python -m benchmarks.campaigns.fuzz --inputs 1000 --seed 7 --out out/fuzz

Everything runs in this process. A kind is a source of inputs and the door that they come in by; what fails is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import random
import resource
import shutil
import signal
import tarfile
import tempfile
import time
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import torch
import yaml
from PIL import Image

from benchmarks.campaigns.mutations import ODD, altered, damaged
from benchmarks.campaigns.results import Trial, report
from benchmarks.campaigns.score_files import read_score, write_midi_file, write_musicxml
from synesthete import hub
from synesthete.data.archives import list_archive
from synesthete.data.audio import read_audio
from synesthete.data.files import read_manifest
from synesthete.data.picture import read_picture
from synesthete.data.pictures import ClassFolders, Mnist
from synesthete.data.recordings import Recording
from synesthete.evaluation.compare import comparison_report, read_report
from synesthete.evaluation.doctor.doctor import examine
from synesthete.evaluation.doctor.run import read_run
from synesthete.evaluation.reporting.report import write_report
from synesthete.pipeline import Pipeline
from synesthete.recipes import RECIPES, find_recipe
from synesthete.training.checkpoint import restore, save_checkpoint
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS, GIGABYTES = 20, 4  # of the processor, so that a busy machine changes nothing
PATIENCE = 300  # seconds of waiting for anything else
LONGEST_LINE = 2_000
GOOD = ("read", "refused")
# What a line of metrics.jsonl may hold.
FIGURES = {
    "loss": 0.5,
    "learning_rate": 1e-3,
    "loss_by_timestep": [0.1, None, 0.3],
    "seconds": 1.0,
    "seconds_left": 2.0,
    "gradient_norm": 1.0,
    "data_low": -1.0,
    "data_high": 1.0,
    "data_share_clipped": 0.0,
    "share_outside": 0.0,
    "output_low": -1.0,
    "output_high": 1.0,
    "share_clipped": 0.0,
    "share_not_finite": 0.0,
    "training_loss": 0.4,
    "held_out_loss": 0.5,
    "raw_held_out_loss": 0.5,
    "held_out_error": 0.5,
    "condition_sensitivity": 0.1,
}
DEBUG = ("images-digits-debug", "image-to-speech-digits-debug", "music-debug", "audio-to-image-digits-debug")


def write_picture(chance: random.Random, folder: Path) -> Path:
    """A picture of any format and mode, damaged."""
    suffix = chance.choice((".png", ".jpg", ".gif", ".bmp", ".tif", ".webp", ".ppm", ".ico"))
    mode = chance.choice(("RGB", "L", "RGBA", "P", "1", "CMYK", "I;16", "F", "LA"))
    picture, content = Image.new(mode, (chance.randint(1, 40), chance.randint(1, 40))), io.BytesIO()
    try:
        picture.save(content, Image.registered_extensions()[suffix])
    except (OSError, ValueError):
        picture.convert("RGB").save(content, "PNG")
    return kept(folder / f"picture{suffix}", damaged(content.getvalue(), chance))


def write_sound(chance: random.Random, folder: Path) -> Path:
    """A sound of any format, damaged."""
    suffix, samples = chance.choice((".wav", ".flac", ".ogg", ".mp3", ".aiff")), np.zeros(chance.randint(0, 9000), "f4")
    content, values = io.BytesIO(), samples + np.float32(chance.random())
    with contextlib.suppress(soundfile.LibsndfileError, ValueError):
        soundfile.write(content, values, 16_000, format=suffix[1:].upper())
    return kept(folder / f"sound{suffix}", damaged(content.getvalue(), chance))


def write_recipe(chance: random.Random, folder: Path) -> Path:
    """A recipe with other values, or other bytes."""
    values = RECIPES[chance.choice(DEBUG)]().to_dict()
    if chance.random() < 0.3:
        return kept(folder / "recipe.yaml", damaged(yaml.safe_dump(values, sort_keys=False).encode(), chance))
    return kept(folder / "recipe.yaml", yaml.safe_dump(altered(values, chance), sort_keys=False).encode())


def write_assignment(chance: random.Random, folder: Path) -> Path:
    """A recipe's name and what `--set` is to change of it, a line each."""
    name, path = chance.choice(DEBUG), []
    values: Any = RECIPES[name]().to_dict()
    while isinstance(values, dict | list) and values and (not path or chance.random() < 0.8):
        path.append(chance.choice([*values] if isinstance(values, dict) else range(len(values))))
        values = values[path[-1]]
    value = chance.choice((json.dumps(chance.choice(ODD)), "[" * 100, "9" * 5000, "&a [*a]", "!!python/name:os.system"))
    return kept(folder / "assignment", f"{name}\n{'.'.join(map(str, path))}={value}".encode())


def write_manifest(chance: random.Random, folder: Path) -> Path:
    """A folder of pictures with a manifest of them, damaged."""
    lines: list[Any] = [{"file_name": f"{n}.png", "class": "ab"[n % 2], "split": "train"} for n in range(4)]
    for n in range(4):
        Image.new("L", (4, 4)).save(folder / f"{n}.png")
    if chance.random() < 0.5:
        lines = [altered(line, chance) if chance.random() < 0.5 else line for line in lines]
        return kept(folder / "metadata.jsonl", "\n".join(map(json.dumps, lines)).encode()).parent
    return kept(folder / "metadata.jsonl", damaged("\n".join(map(json.dumps, lines)).encode(), chance)).parent


def write_tar(chance: random.Random, folder: Path) -> Path:
    """A tar of class folders, damaged."""
    content, picture = io.BytesIO(), io.BytesIO()
    Image.new("L", (4, 4)).save(picture, "PNG")
    with tarfile.open(fileobj=content, mode=chance.choice(("w", "w:gz"))) as tar:
        for name in ("a/0.png", "a/1.png", "b/0.png", str(chance.choice(ODD))[:90].replace("\0", "0") or "c"):
            entry = tarfile.TarInfo(name)
            entry.size = len(picture.getvalue())
            tar.addfile(entry, io.BytesIO(picture.getvalue()))
    return kept(folder / "pictures.tar", damaged(content.getvalue(), chance))


def write_model(chance: random.Random, folder: Path) -> Path:
    """A model that ships, one of its files damaged; the others are linked."""
    source, model = hub.SHIPPED / chance.choice(hub.shipped_models()), folder / "model"
    files = [path for path in source.rglob("*") if path.is_file() and path.name != "recipe.yaml"]
    victim = chance.choice([path for path in files if chance.random() < 0.5 or path.suffix == ".json"])
    for path in files:
        place = model / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path != victim:
            place.symlink_to(path)
        elif path.suffix == ".json" and chance.random() < 0.7:
            place.write_text(json.dumps(altered(json.loads(path.read_text()), chance)))
        else:
            head = path.read_bytes()  # of weights, what describes them stands first
            place.write_bytes(damaged(head[:4096], chance) + head[4096:])
    return model


def write_checkpoint(chance: random.Random, folder: Path) -> Path:
    """A checkpoint of a small network, one of its files damaged."""
    network, optimiser = small_network()
    network(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    groups = [{**group, "params": ["weight", "bias"]} for group in optimiser.param_groups]
    state = {name: optimiser.state[value] for name, value in network.named_parameters()}
    save_checkpoint(folder / "step", network.state_dict(), {"state": state, "param_groups": groups}, None, {"step": 1})
    victim = chance.choice(sorted((folder / "step").iterdir()))
    if victim.suffix == ".json" and chance.random() < 0.7:
        victim.write_text(json.dumps(altered(json.loads(victim.read_text()), chance)))
    else:
        victim.write_bytes(damaged(victim.read_bytes(), chance))
    return folder / "step"


def write_digits(chance: random.Random, folder: Path) -> Path:
    """An archive of digits, one of its arrays, or its bytes, damaged."""
    content, arrays = io.BytesIO(), {"images": np.zeros((8, 28, 28), "u1"), "labels": np.arange(8)}
    np.savez_compressed(content, **arrays)
    if chance.random() < 0.5:
        return kept(folder / "digits.npz", damaged(content.getvalue(), chance))
    for name, values in arrays.items():
        array = io.BytesIO()
        np.save(array, values)
        shape = str(values.shape).encode()
        other = chance.choice((shape, b"(99999999, 99, 99)", b"()", b"(8,)", b"(0, 28, 28)", b"(-1, 28, 28)"))
        head = array.getvalue()[:128].replace(shape, other).replace(b" " * (len(other) - len(shape)) + b"\n", b"\n")
        arrays[name] = np.frombuffer(damaged(head, chance) + array.getvalue()[128:], "u1")
    with zipfile.ZipFile(folder / "digits.npz", "w") as file:
        for name, values in arrays.items():
            file.writestr(f"{name}.npy", values.tobytes())
    return folder / "digits.npz"


def write_evaluated(chance: random.Random, folder: Path) -> Path:
    """A report as an evaluation writes it, with other values or other bytes."""
    metric = {"title": "accuracy, n = 10", "value": 0.5, "interval": [0.4, 0.6], "key": "accuracy", "unit": "share"}
    fid = {"title": "KID", "value": None, "interval": None, "ceiling": 0.1, "key": "kid", "higher_is_better": False}
    values = {"metrics": [metric, fid], "facts": {"made on": "2026-11-29", "took": "3 s"}}
    if chance.random() < 0.3:
        return kept(folder / "report.json", damaged(json.dumps(values).encode(), chance))
    return kept(folder / "report.json", json.dumps(altered(values, chance)).encode())


def write_run(chance: random.Random, folder: Path) -> Path:
    """A run folder whose figures, rollbacks or state are damaged."""
    recipe = RECIPES["images-digits-debug"]()
    checkpoint = folder / "run" / "checkpoints" / f"0-{recipe.stages[0].name}" / "step_0000004"
    spike = {"figure": "loss", "level": 0.1, "reached": 2.0, "step": 3, "to": 2}
    lines: list[Any] = [{"stage": recipe.stages[0].name, "step": step, **FIGURES} for step in range(1, 5)]
    files: dict[Path, list[Any]] = {
        folder / "run" / "metrics.jsonl": lines,
        checkpoint.parent / "rollbacks.json": [[spike]],
        checkpoint / "state.json": [{"step": 4}],
    }
    checkpoint.mkdir(parents=True)
    kept(folder / "run" / "recipe.yaml", recipe.to_yaml().encode())
    victim = chance.choice([*files])
    for path, values in files.items():
        found = [altered(value, chance) for value in values] if path == victim else values
        content = "\n".join(map(json.dumps, found)).encode()
        kept(path, damaged(content, chance) if path == victim and chance.random() < 0.3 else content)
    return folder / "run"


def small_network() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """A layer and its optimiser."""
    network = torch.nn.Linear(3, 2)
    return network, torch.optim.AdamW(network.parameters())


def read_assignment(path: Path) -> None:
    """The recipe with the assignment."""
    name, _, assignment = path.read_text().partition("\n")
    find_recipe(name, [assignment])


def read_folder(path: Path) -> None:
    """The manifest, and the folder as classes."""
    with contextlib.suppress(InputError):
        read_manifest(path)
    ClassFolders(str(path)).pictures("train")


def read_recording(path: Path) -> None:
    """The sound whole, and in blocks."""
    read_audio(path, 16_000)
    for _ in Recording(str(path), path.name).blocks():
        pass


def compare_reports(path: Path) -> None:
    """The report beside itself."""
    found = read_report(path)
    write_report(comparison_report([found, found]), path.parent / "compared")


# Of each kind, what writes an input into a folder, and what reads it.
KINDS: dict[str, tuple[Callable[[random.Random, Path], Path], Callable[[Path], Any]]] = {
    "picture": (write_picture, read_picture),
    "sound": (write_sound, read_recording),
    "recipe": (write_recipe, lambda path: find_recipe(str(path))),
    "--set": (write_assignment, read_assignment),
    "manifest": (write_manifest, read_folder),
    "tar": (write_tar, list_archive),
    "model": (write_model, lambda path: Pipeline.load(str(path))),
    "checkpoint": (write_checkpoint, lambda path: restore(*small_network(), path)),
    "digits": (write_digits, lambda path: Mnist(str(path)).pictures("train")),
    "midi": (write_midi_file, read_score),
    "musicxml": (write_musicxml, read_score),
    "report": (write_evaluated, compare_reports),
    "run": (write_run, lambda path: examine(read_run(path), None, path.parent / "examined")),
}


def run_fuzz(num: int, seed: int, kinds: list[str], keep: Path | None = None) -> list[Trial]:
    """`num` inputs of the kinds in turn, each a function of the seed, its kind and its number alone."""
    trials = []
    with quiet():
        for number in range(num):
            kind = kinds[number % len(kinds)]
            with tempfile.TemporaryDirectory() as folder:
                # By its name alone, so that an input is found again: of a number of its own, not of those before it.
                chance = random.Random(f"{seed} {kind} {number}")
                path = KINDS[kind][0](chance, Path(folder))
                trial = Trial(kind, *attempt(KINDS[kind][1], path))
                if trial.outcome not in GOOD and keep:
                    place = keep / f"{kind.strip('-')}-{seed}-{number}"
                    shutil.copytree(folder, place, dirs_exist_ok=True)
                    trial = Trial(trial.kind, trial.outcome, trial.said, trial.seconds, str(place))
                trials.append(trial)
    return trials


def attempt(read: Callable[[Path], Any], path: Path) -> tuple[str, str, float]:
    """What came of reading an input, what was said, and how long it took."""
    started, outcome, said = time.process_time(), "read", ""
    before = [(number, signal.signal(number, stop)) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(PATIENCE)
    try:
        read(path)
    except InputError as error:
        outcome, said = "refused", str(error)
        if "\n" in said or len(said) > LONGEST_LINE:
            outcome = "untidy"
    except TimeoutError:
        outcome = "hang"
    except Exception as error:
        outcome, said = "traceback", f"{type(error).__name__}: {error}"[:LONGEST_LINE]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for number, handler in before:
            signal.signal(number, handler)
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > GIGABYTES << 20:
        outcome = "memory"
    return outcome, said, time.process_time() - started


def stop(*_: Any) -> None:
    """End what takes too long."""
    raise TimeoutError


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what libraries say of damaged files."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def kept(path: Path, content: bytes) -> Path:
    """The file with the content."""
    path.write_bytes(content)
    return path


def main() -> int:
    """Run the campaign as the command line asks for it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31), help="a new one by default")
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS], default=[*KINDS])
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"))
    asked = parser.parse_args()
    trials = run_fuzz(asked.inputs, asked.seed, asked.kinds, asked.out / "kept")
    return report(trials, GOOD, asked.out, seed=asked.seed)


if __name__ == "__main__":
    raise SystemExit(main())
