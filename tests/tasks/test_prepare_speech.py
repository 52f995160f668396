"""A data set encoded once: kept, resumed, and honest about itself."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from synesthete import tasks
from synesthete.conditioning.pictures import PictureStem
from synesthete.config import build
from synesthete.data.augmentation import FlipCrop
from synesthete.data.labelled import ImageSpeechSamples
from synesthete.tasks import find_task
from synesthete.tasks.image_to_speech import task
from synesthete.tasks.image_to_speech.task import repeated_targets
from synesthete.types import InputError
from tiny import debug_recipe


@pytest.fixture(scope="module")
def folder(prepared, tmp_path_factory):
    """A place of their own for tests that break things: the same corpus, prepared anew."""
    made = tmp_path_factory.mktemp("prepared")
    corpus = tasks.find_task("image-to-speech").default_folder(debug_recipe()) / "corpus"
    shutil.copytree(corpus, made / "corpus")
    tasks.prepare(debug_recipe(), made)
    return made


@pytest.fixture
def again(folder):
    """Prepare once more; returns the data and the files that were written anew."""

    def run(*assignments):
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
        made = tasks.prepare(debug_recipe(*assignments), folder)
        after = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
        return made, sorted(path.name for path in after if after[path] != before.get(path))

    return run


def assert_same(made, prepared) -> None:
    for split in ("train", "test"):
        for part in ("x_0", "clip_labels", "pictures", "labels"):
            assert torch.equal(getattr(getattr(made, split), part)[:], getattr(getattr(prepared, split), part)[:])
    assert made.statistics.keys() == prepared.statistics.keys()
    assert all(torch.equal(made.statistics[k], v) for k, v in prepared.statistics.items())


def test_what_is_there_is_kept(again, prepared):
    made, written = again()
    assert_same(made, prepared)
    assert not written


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("clips-train-00000", damage) for damage in ("gone", "cut", "empty")),
        *(("clips-test-00000", "gone"), ("pictures-train-00000", "empty"), ("statistics", "cut")),
    ],
)
def test_a_missing_or_damaged_shard_is_made_again(again, prepared, folder, name, damage):
    [path] = folder.rglob(f"{name}*.safetensors")
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    made, written = again()
    assert_same(made, prepared)
    assert written == [path.name]
    assert path.read_bytes() == content


def test_killed_in_the_middle_it_goes_on(tmp_path, prepared, monkeypatch):
    monkeypatch.setattr(task, "SHARD", 100)
    seen: list[tuple[str, int, int]] = []

    class KilledError(Exception):
        pass

    def stop(what, done, total):
        seen.append((what, done, total))
        if (what, done) == ("clips-train", 200):
            raise KilledError

    with pytest.raises(KilledError):
        tasks.prepare(debug_recipe(), tmp_path, stop)
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("clips-*.safetensors")}
    assert len(finished) == 2
    made = tasks.prepare(debug_recipe(), tmp_path, lambda *said: seen.append(said))
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert_same(made, prepared)  # in shards of another size the same values
    assert ("pictures-test", 256, 256) in seen
    assert not list(tmp_path.rglob(".*.partial"))


def test_the_same_settings_have_the_same_place_and_others_another():
    place = tasks.find_task("image-to-speech").default_folder
    assert place(debug_recipe()) == place(debug_recipe()) == place(debug_recipe("denoiser.depth=9", "seed=3"))
    assert place(debug_recipe()) == place(debug_recipe("data.limit=9", "data.augmentation.degrees=1"))
    assert place(debug_recipe()) != place(debug_recipe("data.takes=2"))
    assert place(debug_recipe()) != place(debug_recipe("data.seed=1"))


@pytest.mark.parametrize(
    ("change", "written"),
    [
        ("denoiser.depth=9", ()),
        ("stages.0.num_steps=1", ()),
        ("data.augmentation.degrees=1", ()),
        ("codec.floor=1e-5", ("clips-test", "clips-train", "statistics")),
        ("conditioner.fit=cover", ("pictures-test", "pictures-train")),
        ("data.limit=50", ("clips-test", "clips-train", "pictures-test", "pictures-train", "statistics")),
    ],
)
def test_what_a_change_does_not_touch_is_not_made_again(again, change, written):
    made, found = again(change)
    assert tuple(name.removesuffix(".safetensors").partition("-00000")[0] for name in found) == written
    assert len(made.train) == (50 if "limit" in change else 256)


def samples(num_clips: int, num_classes: int = 10, copies: int = 1) -> ImageSpeechSamples:
    x_0 = torch.randn(num_clips, 1, 4, 4, generator=torch.Generator().manual_seed(0)).repeat(copies, 1, 1, 1)
    labels = (torch.arange(num_clips) % num_classes).repeat(copies)
    return ImageSpeechSamples(
        x_0, labels, torch.zeros(1000, 1, 2, 2, dtype=torch.uint8), torch.arange(1000) % num_classes
    )


@pytest.mark.parametrize("copies", [1, 20, 100])
def test_ten_clips_for_a_thousand_pictures_are_noted(copies):
    """13,000 pictures on 10 sounds taught a seed to ignore the picture; copies of a clip are no other clips."""
    [note] = repeated_targets(samples(10, copies=copies))
    assert "1000 pictures share 10 different clips of 10 classes" in note
    assert "ignore the picture; add voices or takes" in note


def test_a_rich_set_is_not_noted(prepared):
    assert repeated_targets(samples(200)) == []
    assert repeated_targets(prepared.train) == []
    assert not any("share" in note for note in prepared.notes)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be made .*choose another with --out"):
        tasks.prepare(debug_recipe(), tmp_path / "file" / "data")


WORDS = ("one", "two")


def draw(path, seed: int):
    """Dark ink on white, other for every seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full((20, 20), 255, np.uint8)
    values[4:16, 4:16] = np.random.default_rng(seed).choice([0, 255], (12, 12))
    Image.fromarray(values).save(path)
    return path


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """One's own pictures: two class folders of twenty, and the corpus of their names."""
    made = tmp_path_factory.mktemp("own")
    for number, word in enumerate(WORDS):
        for i in range(20):
            draw(made / "mine" / word / f"{i:02d}.png", 20 * number + i)
    find_task("image-to-speech").build_corpus(own_recipe(made), made / "data")
    return made


def own_recipe(own, *assignments):
    return debug_recipe(f"data.folder={own / 'mine'}", "data.limit=null", *assignments)


@pytest.fixture
def mine(own, tmp_path):
    """A copy, to be changed; `prepare()` it."""
    shutil.copytree(own, tmp_path / "own")

    def prepare(*assignments):
        return tasks.prepare(own_recipe(tmp_path / "own", *assignments), tmp_path / "own" / "data")

    prepare.folder = tmp_path / "own" / "mine"
    prepare.shards = tmp_path / "own" / "data"
    return prepare


def test_ones_own_folders_are_the_classes_and_their_names_the_words(mine):
    made = mine()
    assert made.class_names == WORDS
    assert (len(made.train), len(made.test)) == (36, 4)
    assert torch.bincount(made.train.clip_labels).tolist() == [22, 22]
    assert made.skipped == ()


def test_a_broken_picture_is_counted_and_shifts_no_label(mine):
    before = mine().train
    broken = [mine.folder / "one" / f"{i:02d}.png" for i in (1, 2, 3)]
    for path in broken:
        path.write_bytes(path.read_bytes()[:40])
    made = mine()
    assert set(made.skipped) == set(map(str, broken))
    assert len(made.train) + len(made.test) == 37
    assert any(note.startswith("skipped 3 unreadable files: ") for note in made.notes)
    assert labelled(made.train).items() <= labelled(before).items()


def labelled(samples) -> dict[bytes, int]:
    pairs = zip(samples.pictures, samples.labels.tolist(), strict=True)
    return {picture.numpy().tobytes(): label for picture, label in pairs}


def test_a_test_picture_is_in_no_training_whatever_it_is_called(mine):
    """The same photograph twice, once to train on and once as test."""
    listed, _ = own_recipe(mine.folder.parent).data().pictures("test")
    for i, file in enumerate(listed.files):
        shutil.copy(file.name, mine.folder / "two" / f"copy_{i}.png")
    made = mine()
    shown = [{picture.numpy().tobytes() for picture in part.pictures} for part in (made.train, made.test)]
    assert not shown[0] & shown[1]
    assert len(made.train.pictures) == len(made.train.labels)


def test_a_class_of_broken_pictures_is_one_line(mine):
    for path in (mine.folder / "two").iterdir():
        path.write_text("")
    with pytest.raises(
        InputError, match="not one readable training picture of class 'two'; mend some or take"
    ) as caught:
        mine()
    assert "\n" not in str(caught.value)


class Seeing(PictureStem):
    """A stem with a part that never changes, as the frozen encoders are."""

    has_fixed_features = True

    def identity(self):
        return {"model": "means", "weights": "1"}

    def extract_features(self, raw):
        return raw.float().mean(dim=(2, 3))


def test_what_a_frozen_encoder_sees_is_kept_unless_an_augmentation_changes_the_pictures(mine, monkeypatch):
    recipe = own_recipe(mine.folder.parent, "data.augmentation=null")
    recipe.conditioner = build(Seeing, size=28)
    made = tasks.prepare(recipe, mine.shards)
    pixels = mine().train.pictures
    assert (made.train.pictures.dtype, made.train.pictures.shape) == (torch.float16, (36, 1))
    torch.testing.assert_close(made.train.pictures[:], Seeing().extract_features(pixels[:]).half())
    batch = made.train.batch(torch.arange(8), torch.Generator().manual_seed(0))
    assert batch.raw.shape == (8, 1)
    recipe.data.augmentation = build(FlipCrop, padding=1)
    moved = tasks.prepare(recipe, mine.shards).train
    assert torch.equal(moved.pictures[:], pixels[:])
    monkeypatch.setattr(Seeing, "identity", lambda self: {"model": "means", "weights": "2"})
    before = set(mine.shards.rglob("pictures-train-*"))
    recipe.data.augmentation = None
    tasks.prepare(recipe, mine.shards)
    assert len(set(mine.shards.rglob("pictures-train-*")) - before) == 1  # other weights see otherwise


def test_other_clips_do_not_ask_for_the_pictures_again(mine, cache):
    """In the cache pictures lie beside the corpora: what is said of them does not change what is seen."""
    places = []
    for takes in (1, 2):
        recipe = own_recipe(mine.folder.parent, f"data.takes={takes}")
        tasks.prepare(recipe)
        places.append(tasks.task_of(recipe).default_folder(recipe))
        assert not list(places[-1].rglob("pictures-*"))
    assert places[0] != places[1]
    kept = [load_file(path) for path in (cache / "prepared").glob("pictures-*/pictures-train-*")]
    assert sum(len(shard["places"]) == 36 for shard in kept) == 1
