"""Pictures read one by one, each once, as a conditioner reads them; kept in shards that are mapped, not loaded."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from PIL import Image

from synesthete.data import preprocessed
from synesthete.data.picture import PictureArray, PictureFile, content
from synesthete.data.pictures import ClassFolders, Pictures
from synesthete.data.preprocessed import preprocess_images
from synesthete.data.rows import Rows
from synesthete.io import load_or_compute
from synesthete.types import InputError

NUM = 40


class Corners:
    """Reads the first 4 x 4 pixels, and sees in them their means and their first pixel."""

    looks = 0

    def preprocess(self, pictures):
        return torch.stack([torch.from_numpy(np.array(p.convert("L"))[None, :4, :4].copy()) for p in pictures])

    def extract_features(self, raw):
        self.looks += len(raw)
        return torch.stack([raw.float().mean((1, 2, 3)), raw[:, 0, 0, 0].float()], dim=1)

    def eval(self):
        return self

    def to(self, device):
        return self


@pytest.fixture
def photos(tmp_path) -> Pictures:
    for i in range(NUM):
        (tmp_path / "photos" / "cat").mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(i).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / "photos" / "cat" / f"{i:02d}.png")
    return ClassFolders(str(tmp_path / "photos"), num_test=0).pictures("train")


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(preprocessed, "SHARD_ROWS", 16)
    monkeypatch.setattr(preprocessed, "BATCH_SIZE", 8)


def fit(pictures, folder, **options):
    return preprocess_images(pictures, Corners(), folder / "kept", "pictures-train", **options)


def test_rows_are_the_pictures_in_their_order(photos, tmp_path, small_shards):
    found = fit(photos, tmp_path)
    assert found.places.tolist() == list(range(NUM))
    assert torch.equal(found.rows[:], Corners().preprocess(list(photos.images)))
    assert [shown.hex() for shown in found.contents] == [content(image) for image in photos.images]
    assert len(list((tmp_path / "kept").glob("*.safetensors"))) == 3


def test_the_next_pictures_are_read_while_a_network_looks_at_these(photos, tmp_path, small_shards, monkeypatch):
    read, next_one = PictureFile.read, threading.Event()

    def told(self, max_pixels):
        if self.name.endswith("08.png"):
            next_one.set()
        return read(self, max_pixels)

    class Waits(Corners):
        def extract_features(self, raw):
            assert len(raw) == 1 or next_one.wait(60)  # one is the blank
            return super().extract_features(raw)

    monkeypatch.setattr(PictureFile, "read", told)
    found = preprocess_images(photos, Waits(), tmp_path / "kept", "pictures-train", looked_at=True)
    assert len(found.rows) == NUM


def test_every_picture_is_read_once_and_not_again(photos, tmp_path, small_shards, monkeypatch):
    opened, lock, read = [], threading.Lock(), PictureFile.read

    def counted(self, max_pixels):
        with lock:
            opened.append(self.path)
        return read(self, max_pixels)

    monkeypatch.setattr(PictureFile, "read", counted)
    fit(photos, tmp_path)
    assert sorted(opened) == [file.name for file in photos.files]
    fit(ClassFolders(str(tmp_path / "photos"), num_test=0).pictures("train"), tmp_path)
    assert len(opened) == NUM


def test_a_changed_picture_is_read_again_with_its_shard_alone(photos, tmp_path, small_shards):
    before = fit(photos, tmp_path)
    Image.new("L", (8, 8), 200).save(photos.files[20].name)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").glob("*.safetensors")}
    after = fit(photos, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert len(list((tmp_path / "kept").glob("*.safetensors"))) == 4
    assert (after.rows[20] == 200).all()
    others = torch.arange(NUM) != 20
    assert torch.equal(after.rows[others], before.rows[others])


def test_broken_pictures_are_skipped_named_and_shift_no_other(photos, tmp_path, small_shards):
    whole = fit(photos, tmp_path / "whole").rows[:]
    for i in (0, 17, 39):
        path = tmp_path / "photos" / "cat" / f"{i:02d}.png"
        path.write_bytes(path.read_bytes()[:60])
    found = fit(photos, tmp_path)
    kept = [i for i in range(NUM) if i not in (0, 17, 39)]
    assert found.places.tolist() == kept
    assert [name.rpartition("/")[2] for name in found.skipped] == ["00.png", "17.png", "39.png"]
    assert torch.equal(found.rows[:], whole[kept])
    assert fit(photos, tmp_path).skipped == found.skipped  # read back from the shards, too


def test_a_shard_of_nothing_readable_and_a_picture_that_is_gone(photos, tmp_path, small_shards):
    for file in photos.files[:16]:
        (tmp_path / "photos" / "cat" / file.name.rpartition("/")[2]).unlink()
    found = fit(photos, tmp_path)
    assert found.places.tolist() == list(range(16, NUM))
    assert len(found.skipped) == 16
    assert found.rows[:].shape == (24, 1, 4, 4)


def test_nothing_readable_at_all_is_one_line(photos, tmp_path):
    with pytest.raises(InputError, match="no pictures of split train"):
        fit(Pictures(), tmp_path)
    for file in photos.files:
        (tmp_path / "photos" / "cat" / file.name.rpartition("/")[2]).write_text("")
    with pytest.raises(InputError, match=r"not one of 40 pictures is readable; the first: .*00.png: ") as e:
        fit(photos, tmp_path)
    assert "\n" not in str(e.value)


def test_a_picture_found_odd_only_when_it_is_fitted_stops_nothing(tmp_path):
    class Fussy(Corners):
        def preprocess(self, pictures):
            if pictures[0].size == (3, 3):
                raise ValueError("no such profile")
            return super().preprocess(pictures)

    files = [PictureArray(str(side), np.full((side, side), side, np.uint8)) for side in (8, 3, 9)]
    found = preprocess_images(Pictures(files, ["a"] * 3), Fussy(), tmp_path, "pictures-train")
    assert (found.places.tolist(), found.skipped) == ([0, 2], ["3"])


def test_what_an_encoder_sees_is_kept_in_place_of_pixels(photos, tmp_path, small_shards):
    conditioner = Corners()
    options = {"looked_at": True}
    found = preprocess_images(photos, conditioner, tmp_path / "kept", "pictures-train", **options)
    assert conditioner.looks == NUM + 1  # one to know the shape
    expected = conditioner.extract_features(conditioner.preprocess(list(photos.images))).half()
    assert found.rows.dtype == torch.float16
    assert torch.equal(found.rows[:], expected)
    looked = conditioner.looks
    preprocess_images(photos, conditioner, tmp_path / "kept", "pictures-train", **options)
    assert conditioner.looks == looked + 1


def test_a_killed_run_goes_on_where_it_was(photos, tmp_path, small_shards):
    class KilledError(Exception):
        pass

    said = []

    def stop(done, total):
        said.append((done, total))
        if done == 24:
            raise KilledError

    with pytest.raises(KilledError):
        fit(photos, tmp_path, progress=stop)
    assert said == [(8, NUM), (16, NUM), (24, NUM)]
    assert len(list((tmp_path / "kept").glob("*.safetensors"))) == 1
    assert not list((tmp_path / "kept").glob(".*.partial"))
    said.clear()
    found = fit(photos, tmp_path, progress=lambda *count: said.append(count))
    assert said == [(16, NUM), (24, NUM), (32, NUM), (40, NUM)]
    assert torch.equal(found.rows[:], Corners().preprocess(list(photos.images)))


def test_shards_are_small_whatever_the_size_of_a_row(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(preprocessed, "SHARD_BYTES", 16 * 7)  # seven rows of 4 x 4 bytes
    fit(photos, tmp_path)
    assert len(list((tmp_path / "kept").glob("*.safetensors"))) == 6


def test_pictures_that_show_the_same_are_left_out(photos, tmp_path):
    found = fit(photos, tmp_path)
    kept = found.without({found.contents[3], found.contents[5]})
    assert kept.places.tolist() == [i for i in range(NUM) if i not in (3, 5)]
    assert torch.equal(kept.rows[3], found.rows[4])
    assert len(kept.contents) == len(kept.rows) == 38


@pytest.fixture
def rows(tmp_path) -> tuple[Rows, torch.Tensor]:
    values = torch.arange(60).view(20, 3)
    parts = [values[:7], values[7:7], values[7:19], values[19:]]
    files = [
        load_or_compute(tmp_path / f"{i}.safetensors", lambda part=part: {"v": part.clone()})
        for i, part in enumerate(parts)
    ]
    return Rows([file["v"] for file in files]), values


@pytest.mark.parametrize(
    "index",
    [
        0, 7, 19, -1, slice(None), slice(5, 9), slice(0, 0), slice(None, None, 3), [18, 2, 2, 7],
        torch.tensor([19, 0, 6, 7]), torch.tensor([], dtype=torch.int64), torch.arange(20) % 3 == 0,
    ],
)  # fmt: skip
def test_rows_are_indexed_as_a_tensor_is(rows, index):
    found, values = rows
    assert torch.equal(found[index], values[index])
    assert (len(found), found.shape, found.dtype) == (20, values.shape, values.dtype)
    order = torch.arange(19, 4, -1)
    assert torch.equal(found.take(order)[:], values[order])
    assert torch.equal(found.take(order).take(torch.tensor([0, 3]))[:], values[order][[0, 3]])


def test_rows_end_where_a_tensor_does(rows):
    assert [row.tolist() for row in rows[0]] == rows[1].tolist()
    for index in (20, -21):
        with pytest.raises(IndexError):
            rows[0][index]


def test_a_row_that_was_read_is_a_copy(rows):
    found, values = rows
    found[torch.tensor([1])].zero_()
    found[1].zero_()
    assert torch.equal(found[:], values)


def test_rows_in_half_precision_are_read_within_autocast():
    """Held-out samples are, where a training is in bfloat16."""
    values = torch.randn(9, 2, generator=torch.Generator().manual_seed(0)).half()
    rows = Rows([values[:4], values[4:]])
    with torch.autocast("cpu", torch.bfloat16):
        read = rows[torch.tensor([7, 0, 5, 7])]
    assert torch.equal(read, values[[7, 0, 5, 7]])
