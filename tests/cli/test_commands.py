"""The command line as a user meets it: what is printed and written, and one line where something is wrong."""

from __future__ import annotations

import base64
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from synesthete import hub, seeding
from synesthete.data.pictures import DIGITS, BuiltInDigits
from synesthete.evaluation.classifiers.speech import SpeechClassifier
from synesthete.recipes import RECIPES
from synesthete.tasks.image_to_speech.sampling import SpeechPlan
from synesthete.tasks.results import Sound

SHIPPED = "image-to-speech-digits"


@pytest.fixture
def model(pipeline, tmp_path) -> Path:
    pipeline.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def drawings(tmp_path) -> Path:
    folder = tmp_path / "drawings"
    folder.mkdir()
    for number, image in enumerate(BuiltInDigits().pictures("test").images[:3]):
        image.save(folder / f"digit_{number}.png")
    return folder


def add_classifier(model: Path) -> None:
    """An untrained classifier of digits beside a model."""
    torch.manual_seed(0)
    SpeechClassifier(DIGITS, width=4).save_pretrained(model / "classifier")
    words = [[f"the number {name}"] for name in DIGITS]
    result = {"accuracy": 0.9, "num_test": 10, "num_voices": 2, "words": words}
    (model / "classifier" / "classifier.json").write_text(json.dumps(result))


def refused(result: tuple[int, str, str], *words: str) -> None:
    """Exit code 2 and one line on standard error that has every word."""
    code, _, err = result
    lines = [line for line in err.splitlines() if line.startswith("synesthete: ")]
    assert code == 2
    assert len(lines) == 1
    assert "Traceback" not in err
    for word in words:
        assert word in lines[0]


def test_recipes_are_listed_for_people_and_machines(command):
    code, out, _ = command("recipes")
    assert code == 0
    assert SHIPPED in out
    listed = json.loads(command("recipes", "--json")[1].splitlines()[-1])
    assert listed["recipes"].keys() == RECIPES.keys()


def test_show_counts_the_parameters_and_gives_yaml_that_loads(command, tmp_path):
    shown = json.loads(command("show", SHIPPED, "--json")[1].splitlines()[-1])
    assert shown["parameters"]["denoiser"] > 10 * 256 * 256
    written = tmp_path / "mine.yaml"
    written.write_text(command("show", SHIPPED, "--set", "denoiser.depth=3", "--yaml")[1])
    again = json.loads(command("show", written, "--json")[1].splitlines()[-1])
    assert again["recipe"]["denoiser"]["depth"] == 3
    assert again["parameters"]["denoiser"] < shown["parameters"]["denoiser"]


def test_every_picture_gets_its_sound_and_spectrogram(command, model, drawings, tmp_path):
    out = tmp_path / "spoken"
    code, printed, _ = command("sample", model, drawings, "--out", out, "--json")
    assert code == 0
    values = json.loads(printed.splitlines()[-1])
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"digit_{i}.{suffix}" for i in range(3) for suffix in ("wav", "png")
    )
    assert [Path(name).stem for name in values["written"]] == ["digit_0", "digit_1", "digit_2"]
    found = soundfile.info(out / "digit_0.wav")
    assert (found.samplerate, found.channels, found.frames) == (24_000, 1, 16_383)


def test_what_was_said_is_printed_with_how_sure_the_classifier_is(command, model, drawings, tmp_path):
    """An untrained model of digits with a classifier of digits: the two likeliest digits are named."""
    code, printed, said = command("sample", model, drawings, "--out", tmp_path / "a")
    assert code == 0
    assert printed.splitlines() == [str(tmp_path / "a" / f"digit_{i}.wav") for i in range(3)]
    assert "no classifier with it" in said
    assert "synesthete train" in said
    add_classifier(model)
    lines = command("sample", model, drawings, "--out", tmp_path / "b")[2].splitlines()[-4:]
    pattern = r"digit_0.png: says 'the number \w+' \(classifier [01]\.\d\d; next 'the number \w+' 0\.\d\d\)"
    assert re.fullmatch(pattern, lines[0])
    values = json.loads(command("sample", model, drawings, "--out", tmp_path / "c", "--json")[1].splitlines()[-1])
    assert [Path(said["picture"]).name for said in values["said"]] == [f"digit_{i}.png" for i in range(3)]
    for said in values["said"]:
        assert 0 <= said["next_confidence"] <= said["confidence"] <= 1
        assert said["says"] != said["next_says"]
    assert (tmp_path / "b" / "digit_1.wav").read_bytes() == (tmp_path / "a" / "digit_1.wav").read_bytes()


def test_a_damaged_classifier_is_one_line(command, model, drawings, tmp_path):
    (model / "classifier").mkdir()
    (model / "classifier" / "classifier.json").write_text("{}")
    refused(command("sample", model, drawings, "--out", tmp_path / "out"), "classifier", "cannot be loaded")


def test_seeds_and_settings_change_the_sound_and_nothing_else_does(command, model, drawings, tmp_path):
    def sound(name: str, *options: object) -> bytes:
        command("sample", model, drawings, "--out", tmp_path / name, *options)
        return (tmp_path / name / "digit_1.wav").read_bytes()

    plain = sound("a")
    assert sound("b") == plain
    assert sound("c", "--seed", 1) != plain
    assert sound("d", "--steps", 2) != plain
    assert sound("e", "--set", "timestep_shift=1") != plain


def test_pictures_together_are_what_each_is_alone(command, model, drawings, tmp_path, monkeypatch):
    """To the bit, in any order, among others and under another name, and so is what the classifier hears."""
    add_classifier(model)
    drawn: dict[str, list[bytes]] = {}
    randn = seeding.randn

    def noise(shape, generators):
        rows = randn(shape, generators)
        drawn[name] = [row.numpy().tobytes() for row in rows[:3]]  # of the fourth nothing is kept
        return rows

    monkeypatch.setattr(seeding, "randn", noise)
    files = sorted(drawings.iterdir())
    calls = {"together": files, "reversed": files[::-1], "folder": [drawings], **{file.stem: [file] for file in files}}
    (tmp_path / "other.png").write_bytes(files[1].read_bytes())
    calls |= {"renamed": [tmp_path / "other.png"]}
    said = {}
    for name, given in calls.items():
        code, printed, _ = command("speak", model, *given, "--out", tmp_path / name, "--json")
        assert code == 0
        said |= {(name, Path(one["picture"]).stem): one for one in json.loads(printed.splitlines()[-1])["said"]}
    alone = [drawn[file.stem][0] for file in files]
    assert len(set(alone)) == 3
    assert drawn["together"] == drawn["folder"] == alone == drawn["reversed"][::-1]
    assert drawn["renamed"][0] == alone[1]
    for name, stem in said:
        of = "digit_1" if name == "renamed" else stem
        one, other = tmp_path / name / stem, tmp_path / of / of
        assert one.with_suffix(".wav").read_bytes() == other.with_suffix(".wav").read_bytes()
        pictures = [np.asarray(Image.open(path.with_suffix(".png"))) for path in (one, other)]
        assert np.array_equal(*pictures)
        assert said[name, stem] | {"picture": ""} == said[of, of] | {"picture": ""}


def test_speaking_goes_on_where_it_was_killed(command, model, drawings, tmp_path, monkeypatch):
    """What is whole is not made again, and in the end all is as if it had not been interrupted."""
    add_classifier(model)
    monkeypatch.setattr(SpeechPlan, "cpu_batch_size", 1)
    (drawings / "digit_00.png").write_text("not a picture")
    options = ("speak", model, drawings, "--json", "--out")
    save, made = Sound.save, []

    def saved(self, path):
        made.append(path.name)
        if len(made) == 5:
            raise KeyboardInterrupt
        return save(self, path)

    monkeypatch.setattr(Sound, "save", saved)
    assert command(*options, tmp_path / "out")[0] != 0
    assert made.pop() == "digit_2.wav"
    made.append("")
    code, printed, _ = command(*options, tmp_path / "out")
    assert code == 0
    assert made[5:] == ["digit_2.wav", "digit_2.png"]
    whole = json.loads(command(*options, tmp_path / "whole")[1].splitlines()[-1])
    found = json.loads(printed.splitlines()[-1])
    assert [Path(path).name for path in found["written"]] == [Path(path).name for path in whole["written"]]
    same = ("said", "skipped", "notes", "seconds_of_sound")
    assert [found[name] for name in same] == [whole[name] for name in same]
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "out")]
    assert files[0] == files[1]


def test_a_picture_of_more_pixels_than_allowed_is_skipped(command, model, drawings, tmp_path):
    number = 28 * 28
    Image.new("L", (29, 28)).save(drawings / "large.png")
    code, printed, _ = command("speak", model, drawings, "--max-pixels", number, "--out", tmp_path / "out", "--json")
    values = json.loads(printed.splitlines()[-1])
    assert code == 0 and len(values["written"]) == 3
    [line] = values["skipped"]
    assert "large.png: over 784 pixels; make it smaller, or raise" in line and "--max-pixels" in line
    assert command("speak", model, drawings, "--max-pixels", number + 28, "--out", tmp_path / "all")[0] == 0
    assert (tmp_path / "all" / "large.wav").is_file()


def test_nothing_is_overwritten_unasked(command, model, drawings, tmp_path):
    out = tmp_path / "spoken"
    command("sample", model, drawings, "--out", out)
    before = (out / "digit_0.wav").read_bytes()
    refused(command("sample", model, drawings, "--out", out, "--seed", 5), "digit_0.wav", "--overwrite")
    assert (out / "digit_0.wav").read_bytes() == before
    assert command("sample", model, drawings, "--out", out, "--seed", 5, "--overwrite")[0] == 0
    assert (out / "digit_0.wav").read_bytes() != before


def test_one_broken_picture_is_skipped_counted_and_named(command, model, drawings, tmp_path):
    whole = (drawings / "digit_0.png").read_bytes()
    (drawings / "broken.png").write_bytes(whole[: len(whole) // 2])
    (drawings / "notes.png").write_text("not a picture")
    code, printed, _ = command("sample", model, drawings, "--out", tmp_path / "spoken", "--json")
    values = json.loads(printed.splitlines()[-1])
    assert code == 0
    assert len(values["written"]) == 3
    assert [line.partition(":")[0].rpartition("/")[2] for line in values["skipped"]] == ["broken.png", "notes.png"]
    assert not (tmp_path / "spoken" / "broken.wav").exists()


def test_pictures_of_one_name_in_two_folders_both_speak(command, model, drawings, tmp_path):
    for name in ("a", "b"):
        (drawings / name).mkdir()
        Image.new("L", (28, 28)).save(drawings / name / "same.png")
    assert command("sample", model, drawings, "--out", tmp_path / "spoken")[0] == 0
    assert (tmp_path / "spoken" / "a" / "same.wav").is_file()
    assert (tmp_path / "spoken" / "b" / "same.wav").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "image-to-speech-digit"), ("did you mean 'image-to-speech-digits'",)),
        (("show", "nothing.yaml"), ("nothing.yaml", "cannot be read")),
        (("show", SHIPPED, "--set", "denoiser.chanels=3"), ("denoiser.chanels", "did you mean")),
        (("show", SHIPPED, "--set", "denoiser.depth=deep"), ("denoiser.depth", "'deep'", "int")),
        (("show", SHIPPED, "--set", "depth"), ("key=value",)),
        (("show", SHIPPED, "--set", "data.num_samples=72000"), ("codec.num_samples=72000",)),
        (("train", SHIPPED, "--set", "data.sources.mnist.path=nowhere"), ("nowhere", "no such file")),
        (("train", SHIPPED, "--from", "nowhere"), ("nowhere", "no such model")),
        (("sample", SHIPPED, ".", "--out", "out"), ("no pictures",)),
        (("sample", SHIPPED, "nothing.png", "--out", "out"), ("nothing.png", "no such file")),
        (("evaluate", "nowhere"), ("nowhere", "no such model")),
        (("demo", "--model", "nowhere"), ("nowhere", "no such model")),
    ],
)
def test_bad_input_is_one_line_and_code_2(command, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(command(*arguments), *words)


def test_a_class_folder_without_pictures(command, tmp_path):
    (tmp_path / "classes" / "seven").mkdir(parents=True)
    recipe = tmp_path / "mine.yaml"
    text = command("show", f"{SHIPPED}-debug", "--yaml")[1]
    recipe.write_text(
        text.replace(
            "Mnist\n    path: null",
            f"ClassFolders\n    path: {tmp_path / 'classes'}",
        ).replace("    num_test: 1000\n", "")
    )
    refused(command("prepare", recipe, "--out", tmp_path / "data"), "seven", "without pictures")


def test_a_model_of_another_kind(command, drawings, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / hub.MODEL_INDEX).write_text('{"_class_name": "StableDiffusionPipeline"}')
    refused(command("sample", tmp_path / "other", drawings, "--out", tmp_path / "out"), "StableDiffusionPipeline")


def test_a_hub_model_offline_says_what_to_put_where(command, drawings, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path / "weights"))
    result = command("sample", "somebody/speaks", drawings, "--out", tmp_path / "out")
    refused(result, "somebody/speaks", str(tmp_path / "weights"))


def test_a_hub_model_put_there_by_hand_is_found(command, model, drawings, tmp_path, monkeypatch):
    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights" / "somebody").mkdir(parents=True)
    model.rename(tmp_path / "weights" / "somebody" / "speaks")
    assert command("sample", "somebody/speaks", drawings, "--out", tmp_path / "out")[0] == 0


def test_a_full_disk_leaves_nothing_that_looks_whole(command, model, drawings, tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    refused(command("sample", model, drawings, "--out", tmp_path / "out"), "No space left", "free some space")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_train_says_where_the_model_is_and_goes_on_when_asked_again(command, tmp_path, monkeypatch):
    few = replace(SpeechClassifier.training_settings, fewest_steps=10, most_steps=10)
    monkeypatch.setattr(SpeechClassifier, "training_settings", few)
    code, printed, err = command("train", f"{SHIPPED}-debug", "--out", tmp_path / "run", "--no-watch", "--json")
    assert code == 0
    values = json.loads(printed.splitlines()[-1])
    assert (Path(values["model"]) / hub.MODEL_INDEX).is_file()
    assert "loss" in err
    assert any("ignores its condition" in note for note in values["notes"])  # after six steps it must
    classifier = Path(values["model"]) / "classifier"
    found = json.loads((classifier / "classifier.json").read_text())
    assert found["num_voices"] == 6
    assert 0 <= found["accuracy"] <= 1
    shutil.rmtree(classifier)  # as a model that was trained without one
    assert command("train", f"{SHIPPED}-debug", "--out", tmp_path / "run", "--no-classifier")[0] == 0
    assert not classifier.is_dir()
    assert command("train", f"{SHIPPED}-debug", "--out", tmp_path / "run")[0] == 0
    assert json.loads((classifier / "classifier.json").read_text()) == found
    refused(
        command("train", f"{SHIPPED}-debug", "--out", tmp_path / "run", "--set", "seed=1"), "seed is 0 there, 1 here"
    )


@pytest.mark.usefixtures("undrawn")
def test_the_demo_speaks_ten_digits_that_a_recogniser_understands(command, tmp_path):
    pytest.importorskip("pocketsphinx", reason="the speech extra is not installed")
    code, printed, err = command("demo", "--out", tmp_path, "--json")
    values = json.loads(printed)
    assert code == 0
    assert err.splitlines()[0].endswith(str(tmp_path / "zero.wav"))  # while the rest is made
    assert values["right"] >= 8
    assert sum(row["classifier"]["says"] == row["picture"] for row in values["digits"]) >= 8
    assert len(list(tmp_path.glob("*.wav"))) == 16  # one of them by five others, and a note
    assert (tmp_path / "demo.png").is_file()
    assert [row["verb"] for row in values["systems"]] == ["speak", "paint", "draw", "play"]
    page = (tmp_path / "index.html").read_text()
    for path in (Path(row[kind]) for row in values["systems"] for kind in ("png", "wav") if kind in row):
        assert base64.b64encode(path.read_bytes()).decode() in page


@pytest.mark.parametrize("name", [SHIPPED, "image-to-speech-voices"])
def test_the_shipped_model_is_small_and_names_no_folder(name):
    folder = hub.find_model(name)
    assert sum(path.stat().st_size for path in folder.rglob("*.safetensors")) <= 16_000_000
    assert not [path for path in folder.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    assert sum(path.stat().st_size for path in (folder / "classifier").iterdir()) < 1_000_000
    assert json.loads((folder / "classifier" / "classifier.json").read_text())["accuracy"] > 0.95
    assert "path: null" in (folder / "recipe.yaml").read_text()
