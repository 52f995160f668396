"""Class folders in a tar, whatever it is compressed by."""

from __future__ import annotations

import io
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from synesthete.data import archives
from synesthete.data.archives import ClassTar
from synesthete.data.picture import content
from synesthete.types import InputError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """The cache is part of what is tested."""
    monkeypatch.setenv("SYNESTHETE_CACHE", str(tmp_path / "cache"))


def jpeg(seed: int) -> bytes:
    encoded = io.BytesIO()
    values = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(values).save(encoded, format="JPEG")
    return encoded.getvalue()


def make_tar(path, names, mode="w", **others: bytes):
    with tarfile.open(path, mode) as tar:
        for i, name in enumerate(names):
            add(tar, name, jpeg(i))
        for name, values in others.items():
            add(tar, name, values)
    return path


def add(tar, name: str, values: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(values)
    tar.addfile(member, io.BytesIO(values))


def names(classes=("cat", "dog"), num=10, above="train") -> list[str]:
    return [f"{above}/{label}/{i:03d}.jpg".lstrip("/") for label in classes for i in range(num)]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_the_pictures_are_those_that_were_put_in_whatever_the_compression(tmp_path, mode):
    source = ClassTar(str(make_tar(tmp_path / "photos.tar", names(), mode)), num_test=4)
    train, test = source.pictures("train"), source.pictures("test")
    assert (len(train), len(test)) == (16, 4)
    found = {
        file.name: content(image) for part in (train, test) for file, image in zip(part.files, part.images, strict=True)
    }
    expected = {
        f"{tmp_path}/photos.tar/{name}": content(Image.open(io.BytesIO(jpeg(i)))) for i, name in enumerate(names())
    }
    assert found == expected
    assert all(f"/{label}/" in file.name for label, file in zip(train.labels, train.files, strict=True))
    copies = list((tmp_path / "cache").rglob("pictures.bin"))
    assert len(copies) == (mode != "w")  # a plain archive is read where it lies


def test_of_chosen_classes_the_same_pictures_are_held_out(tmp_path):
    """A model that goes on from one of all classes is tested with pictures that neither has learned from."""
    archive = str(make_tar(tmp_path / "photos.tar", names(("cat", "cow", "dog"))))
    for split in ("train", "test"):
        every, some = (
            ClassTar(archive, num_test=9, classes=classes).pictures(split) for classes in (None, ("cat", "dog"))
        )
        assert [file.name for file in some.files] == [file.name for file in every.files if "/cow/" not in file.name]
        assert set(some.labels) == {"cat", "dog"}
    with pytest.raises(InputError, match="no pictures of class 'bat'; add some, or leave it out"):
        ClassTar(archive, classes=("bat", "cat")).pictures("train")


def test_a_compressed_archive_is_gone_through_once(tmp_path, monkeypatch):
    source = ClassTar(str(make_tar(tmp_path / "photos.tar.xz", names(), "w:xz")))
    before = source.pictures("train")
    monkeypatch.setattr(archives, "unpack", None)
    again = ClassTar(source.path).pictures("train")
    assert [file.stamp() for file in again.files] == [file.stamp() for file in before.files]
    assert again.images[3].tobytes() == before.images[3].tobytes()


def test_a_changed_archive_is_another_and_so_are_its_stamps(tmp_path):
    path = make_tar(tmp_path / "photos.tar.gz", names(num=2), "w:gz")
    before = ClassTar(str(path), num_test=0).pictures("train")
    make_tar(path, names(num=3), "w:gz")
    os.utime(path, ns=(1, 1))
    after = ClassTar(str(path), num_test=0).pictures("train")
    assert (len(before), len(after)) == (4, 6)
    assert not {file.stamp() for file in before.files} & {file.stamp() for file in after.files}


def test_splits_are_the_archives_own_where_it_has_both(tmp_path):
    path = make_tar(tmp_path / "photos.tar", [*names(above="data/train"), *names(num=3, above="data/val")])
    train, test = (ClassTar(str(path)).pictures(split) for split in ("train", "test"))
    assert (len(train), len(test)) == (20, 6)
    assert set(test.labels) == {"cat", "dog"}


def test_a_class_may_be_called_as_a_split_is(tmp_path):
    """A train is a vehicle, too."""
    path = make_tar(tmp_path / "photos.tar", names(("train", "ship"), above=""))
    assert set(ClassTar(str(path), num_test=0).pictures("train").labels) == {"train", "ship"}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_kinds_splits_and_names_are_told_as_of_folders(tmp_path, mode):
    """Any case and only `train`; a picture by its content; the last of one name; what is not read is named."""
    others = {
        "Train/cat/a.jfif": jpeg(90), "Train/cat/photo": jpeg(91), "Train/cat/000.jpg": jpeg(92),
        "Train/cat/a.heic": b"heic", "Train/cat/a.txt": b"words", "Train/caf\udce9/\udce9.jpg": jpeg(93),
        "__MACOSX/cat/000.jpg": jpeg(94),
    }  # fmt: skip
    path = make_tar(tmp_path / "photos.tar", names(above="Train"), mode, **others)
    train, test = (ClassTar(str(path)).pictures(split) for split in ("train", "test"))
    assert (len(train), len(test)) == (21, 2)
    assert set(train.labels + test.labels) == {"cat", "dog", "café"}
    assert train.skipped == [f"{path}/Train/cat/a.heic: empty, or of a kind that is not read"]
    assert train.notes == ["no test split: 2 of 23 training pictures are held out"]
    shown = [content(image) for part in (train, test) for image in part.images]
    assert content(Image.open(io.BytesIO(jpeg(92)))) in shown
    assert content(Image.open(io.BytesIO(jpeg(0)))) not in shown


def test_splits_without_class_folders_are_refused(tmp_path):
    refused(make_tar(tmp_path / "a.tar", ["train/0.jpg", "test/0.jpg"]), "class 'test' is a split")
    refused(make_tar(tmp_path / "b.tar", names(above="val")), "of a test split, and there are no others")


def test_what_is_no_picture_in_a_class_folder_is_left_out(tmp_path):
    strange = {"README.txt": b"read me", "loose.jpg": jpeg(0), "train/cat/.hidden.jpg": b"", "../cat/up.jpg": b""}
    path = make_tar(tmp_path / "photos.tar", names(num=2), **strange)
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("train/cat/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    found = ClassTar(str(path), num_test=0).pictures("train")
    assert sorted(file.name for file in found.files) == [f"{path}/{name}" for name in sorted(names(num=2))]


def test_a_broken_picture_inside_is_skipped_and_named(tmp_path):
    path = make_tar(tmp_path / "photos.tar.xz", names(num=2), "w:xz", **{"train/cat/cut.jpg": jpeg(9)[:200]})
    found = ClassTar(str(path), num_test=0).pictures("train")
    assert len(dict(found.read())) == 4
    assert found.skipped == [f"{path}/train/cat/cut.jpg"]


def test_without_a_path_there_are_no_pictures():
    assert len(ClassTar().pictures("train")) == 0


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_cut_archive_is_one_line_and_leaves_nothing_half(tmp_path, mode):
    path = make_tar(tmp_path / "photos.tar", names(), mode)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path, "not a whole tar")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_what_is_no_archive_of_pictures_is_one_line(tmp_path):
    refused(tmp_path / "no.tar", "no such file")
    (tmp_path / "text.tar").write_text("words" * 1000)
    refused(tmp_path / "text.tar", "not a whole tar")
    (tmp_path / "nothing.tar").write_bytes(b"")
    refused(tmp_path / "nothing.tar", "not a whole tar")
    refused(make_tar(tmp_path / "loose.tar", ["a.jpg"]), "no pictures in class folders")
    refused(make_tar(tmp_path / "loose.tar.xz", ["a.jpg"], "w:xz"), "no pictures in class folders")


def refused(path, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        ClassTar(str(path)).pictures("train")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.slow
def test_the_photographs_beside_the_project_are_50000(shared_data, cache, monkeypatch):
    monkeypatch.setenv("SYNESTHETE_CACHE", str(cache))
    found = ClassTar(str(shared_data / "cifar10" / "cifar10_train_50000_jpeg.tar.xz"), num_test=5000)
    train, test = found.pictures("train"), found.pictures("test")
    assert (len(train), len(test)) == (45_000, 5_000)
    assert len(set(train.labels)) == 10
    assert test.images[0].size == (32, 32)
