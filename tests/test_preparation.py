"""A data set encoded once: kept, resumed, and honest about itself."""

from __future__ import annotations

import shutil

import pytest
import torch

from synesthete import preparation
from synesthete.data.spoken import PairedSamples
from synesthete.types import InputError
from tiny import debug_recipe


@pytest.fixture(scope="module")
def folder(prepared, tmp_path_factory):
    """A place of their own for tests that break things: the same corpus, prepared anew."""
    made = tmp_path_factory.mktemp("prepared")
    corpus = preparation.default_folder(debug_recipe()) / "corpus"
    shutil.copytree(corpus, made / "corpus")
    preparation.prepare(debug_recipe(), made)
    return made


@pytest.fixture
def again(folder):
    """Prepare once more; returns the data and the files that were written anew."""

    def run(*assignments):
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
        made = preparation.prepare(debug_recipe(*assignments), folder)
        after = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
        return made, sorted(path.name for path in after if after[path] != before.get(path))

    return run


def assert_same(made, prepared) -> None:
    for split in ("train", "test"):
        for part in ("x_0", "clip_labels", "pictures", "picture_labels"):
            assert torch.equal(getattr(getattr(made, split), part), getattr(getattr(prepared, split), part))
    assert made.statistics.keys() == prepared.statistics.keys()
    assert all(torch.equal(made.statistics[k], v) for k, v in prepared.statistics.items())


def test_what_is_there_is_kept(again, prepared):
    made, written = again()
    assert_same(made, prepared)
    assert not written


@pytest.mark.parametrize("name", ["clips-train-00000", "clips-test-00000", "pictures-train-00000", "statistics"])
@pytest.mark.parametrize("damage", ["gone", "cut", "empty"])
def test_a_missing_or_damaged_shard_is_made_again(again, prepared, folder, name, damage):
    [path] = folder.rglob(f"{name}.safetensors")
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
    monkeypatch.setattr(preparation, "SHARD", 100)
    seen: list[tuple[str, int, int]] = []

    class KilledError(Exception):
        pass

    def stop(what, done, total):
        seen.append((what, done, total))
        if (what, done) == ("clips-train", 200):
            raise KilledError

    with pytest.raises(KilledError):
        preparation.prepare(debug_recipe(), tmp_path, stop)
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("clips-*.safetensors")}
    assert len(finished) == 2
    made = preparation.prepare(debug_recipe(), tmp_path, lambda *said: seen.append(said))
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert_same(made, prepared)  # in shards of another size the same values
    assert ("pictures-test", 256, 256) in seen
    assert not list(tmp_path.rglob(".*.partial"))


def test_the_same_settings_have_the_same_place_and_others_another():
    place = preparation.default_folder
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
    assert tuple(name.removesuffix(".safetensors").removesuffix("-00000") for name in found) == written
    assert len(made.train) == (50 if "limit" in change else 256)


def samples(num_clips: int, num_classes: int = 10, copies: int = 1) -> PairedSamples:
    x_0 = torch.randn(num_clips, 1, 4, 4, generator=torch.Generator().manual_seed(0)).repeat(copies, 1, 1, 1)
    labels = (torch.arange(num_clips) % num_classes).repeat(copies)
    return PairedSamples(x_0, labels, torch.zeros(1000, 1, 2, 2, dtype=torch.uint8), torch.arange(1000) % num_classes)


@pytest.mark.parametrize("copies", [1, 20, 100])
def test_ten_clips_for_a_thousand_pictures_are_noted(copies):
    """13,000 pictures on 10 sounds taught a seed to ignore the picture; copies of a clip are no other clips."""
    [note] = preparation.repeated_targets(samples(10, copies=copies))
    assert "1000 pictures share 10 different clips of 10 classes" in note
    assert "ignore the picture; add voices or takes" in note


def test_a_rich_set_is_not_noted(prepared):
    assert preparation.repeated_targets(samples(200)) == []
    assert preparation.repeated_targets(prepared.train) == []
    assert not any("share" in note for note in prepared.notes)


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, prepared, monkeypatch):
    def full(tensors, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preparation, "save_file", full)
    with pytest.raises(InputError, match=r"cannot be written .*No space left.* free some space") as caught:
        preparation._kept(tmp_path / "a.safetensors", lambda: {"values": torch.zeros(2)})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be made .*choose another with --out"):
        preparation.prepare(debug_recipe(), tmp_path / "file" / "data")
