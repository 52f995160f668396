"""`synesthete new`: a folder is looked at, and a recipe is written that loads and trains."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from PIL import Image

from data.packed_files import as_parquet, as_tars, members, write_tar
from paired_files import write_classes, write_pairs, write_picture
from sound_files import write_melody
from synesthete import tasks
from synesthete.data.scores.midi import write_midi
from synesthete.data.scores.sources import SyntheticChorales
from synesthete.recipes import find_recipe
from synesthete.training import cost
from synesthete.training.loop import train_recipe
from tiny_scores import tune

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def pictures(folder: Path) -> None:
    for name in ("moss", "red_apple"):
        for i in range(12):
            write_picture(folder / name / f"{i}.png", len(name) + i, 20)


def drawings(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(12):
            values = np.random.default_rng(ord(name) + i).integers(0, 256, (28, 28), dtype=np.uint8)
            Image.fromarray(values).save(folder / name / f"{i}.png")


def notes(folder: Path) -> None:
    for name in ("bell", "gong", "tick [1]"):
        for i in range(6):
            write_melody(folder / name / f"{name}{i}.wav", 0.8)


def listed_notes(folder: Path) -> None:
    notes(folder / "wav")
    lines = [{"class": p.parent.name, "audio": p.relative_to(folder).as_posix()} for p in folder.rglob("*.wav")]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))


def recordings(folder: Path) -> None:
    for i in range(5):
        write_melody(folder / f"{i}.wav", 3.0)


def scores(folder: Path) -> None:
    folder.mkdir()
    for i, chorale in enumerate(SyntheticChorales(num=6).scores()):
        write_midi(chorale.read(), folder / f"{i}.mid")


def performances(folder: Path) -> None:
    for i in range(4):
        write_melody(folder / "organ" / f"{i}.wav", 2.0)
        write_midi(tune(i), folder / "organ" / f"{i}.mid")


def packed_sounds(folder: Path) -> None:
    """Of no class, and no picture."""
    write_tar(
        folder / "a.tar", [(name, content) for name, content in members(range(9), lambda _: {}) if "flac" in name]
    )


EVERYTHING = ("audio-to-image-events", "images-photos", "image-to-speech-photos", "music-notes", "music")
FOLDERS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "pictures": (pictures, ("images-photos", "image-to-speech-photos")),
    "drawings": (drawings, ("images-digits", "image-to-speech-digits")),
    "notes": (notes, ("music-notes", "music")),
    "listed_notes": (listed_notes, ("music-notes", "music")),
    "recordings": (recordings, ("music",)),
    "pairs": (write_pairs, EVERYTHING),
    "apart": (write_classes, EVERYTHING),
    "scores": (scores, ("music-compose", "music-score")),
    "tars": (as_tars, EVERYTHING),
    "parquet": (as_parquet, EVERYTHING),
    "packed_sounds": (packed_sounds, ("music",)),
    "performances": (performances, ("music-score", "music-notes", "music")),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_what_fits_a_folder_is_told_and_a_recipe_of_it_loads(run, tmp_path, name):
    make, fitting = FOLDERS[name]
    make(tmp_path / name)
    begun = fitting[1] if name == "pictures" else fitting[0]
    code, printed, said = run(
        "new", tmp_path / name, "--recipe", begun, "--out", tmp_path / "my.yaml", "--no-cost", "--json"
    )
    assert code == 0, said
    found = json.loads(printed)
    assert find_recipe(str(tmp_path / "my.yaml")).name == f"{begun}-{name}"
    assert (found["begun_as"], [one["recipes"][0] for one in found["proposals"]]) == (begun, list(fitting))


@pytest.mark.parametrize(
    ("name", "place"), [("pictures", 0), ("listed_notes", 0), ("scores", 0), ("tars", 1), ("parquet", 3)]
)
def test_a_recipe_trains_on_the_folder(run, tmp_path, name, place):
    """Begun as a debug twin, a step of each stage."""
    make, fitting = FOLDERS[name]
    recipe = fitting[place]
    make(tmp_path / name)
    path = tmp_path / "recipe.yaml"
    assert run("new", tmp_path / name, "--recipe", f"{recipe}-debug", "--out", path, "--no-cost")[0] == 0
    written = find_recipe(str(path), ["stages.denoise.num_steps=1"])
    prepared = tasks.prepare(written, tmp_path / "data")
    assert train_recipe(written, prepared, tmp_path / "run").is_dir()


def test_reasons_stand_above_what_they_are_of_and_time_is_told(command, tmp_path, monkeypatch):
    pictures(tmp_path / "mine")
    memory = cost.Memory(10**9, 0, 0, 0)
    monkeypatch.setattr(cost, "predict", lambda recipe, stage, _: cost.Cost(stage.name, 64, 64, memory, 0.06, 64))
    code, printed, said = command("new", tmp_path / "mine", "--out", tmp_path / "recipe.yaml")
    lines = (tmp_path / "recipe.yaml").read_text().splitlines()
    assert code == 0
    assert "24 pictures of 2 classes (moss 12, red_apple 12); 20 x 20 pixels, in colour" in said
    assert printed == f"{tmp_path / 'recipe.yaml'}\n"
    assert any(line.startswith("# Training takes about 7 min") for line in lines)  # 7,000 steps
    assert lines[lines.index("  num_classes: 2") - 1] == "  # as many as there are"
    assert max(map(len, lines)) <= 120


def test_nothing_is_replaced_and_what_cannot_be_used_is_one_line(run, tmp_path):
    (tmp_path / "empty").mkdir()
    write_picture(tmp_path / "loose" / "1.png")
    soundfile.write(tmp_path / "one.wav", np.zeros(800), 8000)
    kept = tmp_path / "kept.yaml"
    kept.write_text("mine")
    pictures(tmp_path / "mine")
    for arguments, message in (
        (("mine", "--out", kept), "there already"),
        (("mine", "--out", "recipe"), "no recipe's name"),
        (("mine", "--recipe", "music"), "nothing in it for --recipe music; there fit images-photos"),
        (("empty",), "no pictures, sounds, videos or scores"),
        (("loose",), "no class folders in it"),
        (("one.wav",), "no such folder"),
        (("nowhere",), "no such folder"),
    ):
        folder, *rest = arguments
        code, _, said = run(
            "new", tmp_path / folder, *rest, *(() if rest[:1] == ["--out"] else ("--out", tmp_path / "x.yaml"))
        )
        assert (code, len(said)) == (2, 1)
        assert message in said[0]
    assert kept.read_text() == "mine"
    assert not (tmp_path / "x.yaml").exists()
