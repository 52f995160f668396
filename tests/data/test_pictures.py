"""Pictures from wherever they are, and splits that share none."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import Image

from synesthete.data.files import Entry, list_files, write_manifest
from synesthete.data.labelled import LabelledPictures
from synesthete.data.picture import PictureArray, PictureFile, content, list_pictures, read_picture
from synesthete.data.pictures import DIGITS, BuiltInDigits, ClassFolders, Mnist, Pictures, list_sources, split_indices
from synesthete.types import InputError


def picture(seed: int, size=(28, 28)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, size[::-1], dtype=np.uint8))


def make_folders(folder, classes=("cat", "dog"), num=4, first=0):
    for i, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for j in range(num):
            picture(first + 100 * i + j).save(folder / name / f"{j}.png")
    return folder


def one_line(caught: pytest.ExceptionInfo[InputError], *named) -> None:
    message = str(caught.value)
    assert "\n" not in message
    assert all(str(part) in message for part in named), message


def shown(pictures) -> set[str]:
    return {content(image) for image in pictures.images}


def test_built_in_digits_need_no_file_and_share_none():
    train, test = (BuiltInDigits().pictures(split) for split in ("train", "test"))
    assert (len(train), len(test)) == (1500, 297)
    assert set(train.labels) == set(test.labels) == set(DIGITS)
    assert train.images[0].size == (8, 8)
    assert not shown(train) & shown(test)
    assert BuiltInDigits(num_test=10).pictures("test").labels == BuiltInDigits(num_test=10).pictures("test").labels


def test_splits_are_drawn_once_and_for_all():
    train, test = split_indices(100, 30, "train"), split_indices(100, 30, "test")
    assert sorted(train + test) == list(range(100))
    assert len(test) == 30
    assert test != list(range(30))
    assert split_indices(100, 0, "train") == list(range(100))


def test_class_folders_are_the_classes(tmp_path):
    found = ClassFolders(str(make_folders(tmp_path))).pictures("train")
    assert found.labels == ["cat"] * 4 + ["dog"] * 4
    train, test = (ClassFolders(str(tmp_path), num_test=3).pictures(split) for split in ("train", "test"))
    assert (len(train), len(test)) == (5, 3)
    assert not shown(train) & shown(test)
    assert shown(train) | shown(test) == shown(found)


def test_a_broken_file_among_many_is_skipped_and_named(tmp_path, caplog):
    make_folders(tmp_path)
    whole = (tmp_path / "cat/0.png").read_bytes()
    (tmp_path / "cat/0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "dog/1.png").write_text("not a picture")
    (tmp_path / "dog/notes.txt").write_text("no picture by its name, so it is no part of the class")
    (tmp_path / "dog/.hidden.png").write_text("")
    (tmp_path / ".cache").mkdir()
    found = ClassFolders(str(tmp_path)).pictures("train")
    assert (len(found), found.skipped) == (8, [])  # none was read yet
    with caplog.at_level(logging.WARNING):
        read = dict(found.read())
    assert [found.labels[place] for place in read] == ["cat"] * 3 + ["dog"] * 3
    assert found.skipped == [str(tmp_path / "cat/0.png"), str(tmp_path / "dog/1.png")]
    assert "skipped 2 unreadable" in caplog.text
    with pytest.raises(InputError, match="damaged"):
        found.images[0]


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path):
    with pytest.raises(InputError) as caught:
        ClassFolders(str(tmp_path / "no")).pictures("train")
    one_line(caught, tmp_path / "no", "no such folder")
    with pytest.raises(InputError) as caught:
        ClassFolders(str(tmp_path)).pictures("train")
    one_line(caught, tmp_path, "no class folders in it")
    make_folders(tmp_path)
    (tmp_path / "emu").mkdir()
    with pytest.raises(InputError) as caught:
        ClassFolders(str(tmp_path)).pictures("train")
    one_line(caught, tmp_path / "emu", "a class folder without pictures; add some (.png, .jpg, .jpeg) or remove it")


def test_a_manifest_goes_before_folders(tmp_path):
    make_folders(tmp_path)
    write_manifest(
        tmp_path, [Entry("lion", image="cat/1.png"), Entry("wolf", image="dog/2.png"), Entry("wolf", audio="a.wav")]
    )
    found = ClassFolders(str(tmp_path)).pictures("train")
    assert found.labels == ["lion", "wolf"]
    assert content(found.images[1]) == content(read_picture(tmp_path / "dog/2.png"))


def make_mnist(folder, num=20, **changes):
    images = np.stack([np.asarray(picture(1000 + i)) for i in range(num)])
    np.savez(folder / "digits.npz", **{"images": images, "labels": np.arange(num) % 10} | changes)
    return images


def test_mnist_holds_out_a_part_of_its_own(tmp_path):
    make_mnist(tmp_path)
    for path in (tmp_path, tmp_path / "digits.npz"):
        train, test = (Mnist(str(path), num_test=5).pictures(split) for split in ("train", "test"))
        assert (len(train), len(test)) == (15, 5)
        assert not shown(train) & shown(test)
        assert set(train.labels + test.labels) == set(DIGITS)
    assert len(Mnist().pictures("train")) == 0


def test_mnist_pictures_beside_it_are_the_test_and_out_of_training(tmp_path):
    images = make_mnist(tmp_path)
    for i in (3, 7, 14):
        (tmp_path / "png" / str(i % 10)).mkdir(parents=True)
        Image.fromarray(images[i]).save(tmp_path / "png" / str(i % 10) / f"{i}.png")
    for path in (tmp_path, tmp_path / "digits.npz"):
        train, test = (Mnist(str(path)).pictures(split) for split in ("train", "test"))
        assert sorted(test.labels) == ["four", "seven", "three"]
        assert len(train) == 17
        assert not shown(train) & shown(test)


@pytest.mark.parametrize(
    "changes",
    [
        {"images": np.zeros((20, 28), np.uint8)},
        {"images": np.zeros((20, 28, 28), np.float32)},
        {"images": np.zeros((19, 28, 28), np.uint8)},
        {"images": np.zeros((0, 28, 28), np.uint8), "labels": np.zeros(0, int)},
        {"labels": np.arange(20)},
        {"labels": np.arange(20) % 10 - 1},
        {"labels": np.zeros((20, 1), int)},
        {"labels": np.array([{}] * 20, dtype=object)},
        {"labels": np.array(["one"] * 20)},
        {"labels": np.full(20, 0.5)},
    ],
)
def test_an_archive_of_another_layout_is_one_line(tmp_path, changes):
    make_mnist(tmp_path, **changes)
    with pytest.raises(InputError) as caught:
        Mnist(str(tmp_path)).pictures("train")
    one_line(caught, tmp_path / "digits.npz")


def test_what_is_no_archive_is_one_line(tmp_path):
    with pytest.raises(InputError) as caught:
        Mnist(str(tmp_path)).pictures("train")
    one_line(caught, tmp_path, "no .npz file in it")
    with pytest.raises(InputError) as caught:
        Mnist(str(tmp_path / "no.npz")).pictures("train")
    one_line(caught, tmp_path / "no.npz", "no such file")
    for content_of_file in (b"", b"text", b"PK\x03\x04 cut"):
        (tmp_path / "digits.npz").write_bytes(content_of_file)
        with pytest.raises(InputError) as caught:
            Mnist(str(tmp_path)).pictures("train")
        one_line(caught, tmp_path / "digits.npz", "not an .npz with images")
    make_mnist(tmp_path)
    whole = (tmp_path / "digits.npz").read_bytes()
    (tmp_path / "digits.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError):
        Mnist(str(tmp_path)).pictures("train")


def test_folders_of_splits_are_the_splits(tmp_path):
    make_folders(tmp_path / "train")
    make_folders(tmp_path / "val", num=2, first=50)
    train, test = (ClassFolders(str(tmp_path)).pictures(split) for split in ("train", "test"))
    assert (train.labels, test.labels) == (["cat"] * 4 + ["dog"] * 4, ["cat"] * 2 + ["dog"] * 2)
    assert all("/val/" in file.name for file in test.files)


def split(folder) -> list[list[str]]:
    return [sorted(ClassFolders(str(folder)).pictures(part).labels) for part in ("train", "test")]


@pytest.mark.parametrize("names", [("Train", "Test"), ("TRAIN", "valid"), ("training", "Dev"), ("train", "Validation")])
def test_splits_are_told_in_any_case(tmp_path, names):
    for number, name in enumerate(names):
        make_folders(tmp_path / name, num=3 - number, first=100 * number)
    assert split(tmp_path) == [["cat"] * 3 + ["dog"] * 3, ["cat"] * 2 + ["dog"] * 2]


def test_of_train_alone_a_share_is_held_out_and_that_is_said(tmp_path):
    make_folders(tmp_path / "data" / "train", num=10)
    for folder in (tmp_path, tmp_path / "data"):  # one level up, as it was unpacked
        train, test = split(folder)
        assert (len(train), len(test)) == (18, 2)
        assert set(train) == {"cat", "dog"}
    assert LabelledPictures(folder=str(tmp_path)).notes == ["no test split: 2 of 20 training pictures are held out"]


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("test/cat", "val/dog"), "of a test split, and there are no others; add train"),
        (("train", "test"), "a split without class folders"),
        (("Train",), "a split without class folders"),
        (("train/cat", "holdout/cat"), "holdout: beside train, but none of the splits"),
        (("train/cat", "test/cat", "holdout/cat"), "holdout: beside t.*, but none of the splits"),
    ],
)
def test_what_cannot_be_splits_is_refused(tmp_path, folders, said):
    for number, name in enumerate(folders):
        (tmp_path / name).mkdir(parents=True)
        picture(number).save(tmp_path / name / "0.png")
    with pytest.raises(InputError, match=said) as caught:
        ClassFolders(str(tmp_path)).pictures("train")
    one_line(caught, tmp_path)


def test_a_class_may_be_called_as_a_split_is(tmp_path):
    make_folders(tmp_path, ("train", "ship"))
    assert set(ClassFolders(str(tmp_path)).pictures("train").labels) == {"train", "ship"}


def test_what_is_left_out_is_counted_and_named(tmp_path):
    make_folders(tmp_path / "train")
    make_folders(tmp_path / "val", num=2, first=50)
    picture(7).save(tmp_path / "train" / "loose.png")
    (tmp_path / "test").mkdir()
    picture(8).save(tmp_path / "test" / "unlabelled.png")
    (tmp_path / "train/cat/a.heic").write_bytes(b"....ftypheic")
    (tmp_path / "train/cat/a.CR2").write_bytes(b"II*\0")
    (tmp_path / "train/cat/notes.txt").write_text("words")
    data = LabelledPictures(folder=str(tmp_path))
    train = data.pictures("train")[0]
    assert [line.partition(": ")[0].rpartition("/")[2] for line in train.skipped] == ["a.CR2", "a.heic"]
    assert not data.pictures("classifier")[0].skipped and not data.pictures("test")[0].skipped
    assert [note.split()[0] for note in data.notes] == ["1", "1"]
    assert "loose.png" in data.notes[1] and "test" in data.notes[0]
    (tmp_path / "train/cow").mkdir()
    (tmp_path / "train/cow/a.heic").touch()
    with pytest.raises(InputError, match=r"without pictures \(a.heic is not read\)"):
        ClassFolders(str(tmp_path)).pictures("train")


def test_pictures_are_known_by_what_they_hold_where_the_name_does_not_tell(tmp_path):
    make_folders(tmp_path, num=1)
    for name, kind in (
        ("a.jfif", "JPEG"),
        ("b.avif", "AVIF"),
        ("c.jp2", "JPEG2000"),
        ("d.tga", "TGA"),
        ("e.pnm", "PPM"),
    ):
        picture(1).save(tmp_path / "cat" / name, format=kind)
    for name, kind in (("photo", "JPEG"), ("photo.jpg?width=200", "JPEG"), ("x.part", "PNG"), ("x.1", "WEBP")):
        picture(2).save(tmp_path / "cat" / name, format=kind)
    found = ClassFolders(str(tmp_path), num_test=0).pictures("train")
    assert (len(found), len(dict(found.read()))) == (11, 11)


def test_what_is_hidden_or_put_there_by_others_is_nobodys(tmp_path):
    make_folders(tmp_path)
    for name in ("cat/.ipynb_checkpoints", "cat/deep/.thumbs/more", "dog/@eaDir/0.png", "__MACOSX/cat", ".git/x"):
        make_folders(tmp_path / name, ("a",), num=1)
    picture(3).save(tmp_path / "cat" / "._0.png")
    assert split(tmp_path)[0] == ["cat"] * 4 + ["dog"] * 4


def test_links_are_followed_once_and_not_upwards(tmp_path):
    photos, elsewhere = make_folders(tmp_path / "photos"), make_folders(tmp_path / "elsewhere", ("deep",), first=500)
    (photos / "emu").mkdir()
    (photos / "emu" / "linked").symlink_to(elsewhere, target_is_directory=True)
    (photos / "emu" / "again").symlink_to(elsewhere / "deep", target_is_directory=True)
    (elsewhere / "deep" / "round").symlink_to(elsewhere, target_is_directory=True)
    (photos / "cat" / "up").symlink_to(photos, target_is_directory=True)
    (photos / "cat" / "self").symlink_to(photos / "cat" / "self")
    (photos / "cat" / "same.png").symlink_to(photos / "cat" / "0.png")
    (photos / "cat" / "hard.png").hardlink_to(photos / "cat" / "1.png")
    (photos / "dog" / "nowhere.png").symlink_to(tmp_path / "no.png")
    found = ClassFolders(str(photos), num_test=0).pictures("train")
    assert {name: found.labels.count(name) for name in set(found.labels)} == {"cat": 4, "dog": 5, "emu": 4}
    assert len(dict(found.read())) == 12
    assert found.skipped == [str(photos / "dog" / "nowhere.png")]
    assert len(list_files(photos / "cat")) == 4 + 1  # the link to itself, which no suffix leaves out


def test_names_that_are_not_utf_8_work(tmp_path):
    import os

    make_folders(tmp_path, num=9)
    for name in (b"caf\xe9", "café".encode()):
        folder = os.fsencode(tmp_path) + b"/" + name
        os.mkdir(folder)  # noqa: PTH102
        for i in range(5):
            picture(900 + i).save(os.fsdecode(folder + b"/\xe9%d%d.png" % (len(name), i)))
    data = LabelledPictures(folder=str(tmp_path))
    assert data.class_names == ("café", "cat", "dog")
    pictures = [data.pictures(part)[0] for part in ("train", "classifier", "test")]
    assert sum(map(len, pictures)) == 28
    for found in pictures:
        assert len(dict(found.read())) == len(found)
        for file in found.files:
            (file.name + file.stamp()).encode()


def test_lines_of_a_manifest_are_used_once_and_none_is_lost(tmp_path):
    make_folders(tmp_path)
    (tmp_path / "cat" / "link.png").symlink_to(tmp_path / "cat" / "0.png")
    lines = [("cat", "cat/0.png", "train"), ("cat", "./cat/0.png", "Train"), ("cat", "cat/link.png", "train")]
    lines += [("dog", f"dog/{i}.png", split) for i, split in enumerate(("train", "val", "dev", "classifier"))]
    entries = [Entry(label, image=image, split=split) for label, image, split in lines]
    write_manifest(
        tmp_path, [*entries, Entry("dog", audio="dog/a.wav"), Entry("dog", image="dog/no.png", split="train")]
    )
    train, test = (ClassFolders(str(tmp_path)).pictures(part) for part in ("train", "test"))
    assert (train.labels, test.labels) == (["cat", "dog", "dog"], ["dog", "dog"])
    assert train.skipped == ["dog/3.png: a line of split classifier", "dog/a.wav: a line without an image"]
    assert train.notes == ["2 lines left out whose picture another line has already"]
    assert len(dict(train.read())) == 2


def test_a_picture_added_later_leaves_the_others_in_their_splits(tmp_path):
    make_folders(tmp_path, num=20)
    before = {file.name for file in ClassFolders(str(tmp_path)).pictures("test").files}
    picture(9999).save(tmp_path / "cat" / "00.png")
    after = {file.name for file in ClassFolders(str(tmp_path)).pictures("test").files}
    assert len(before) == len(after) == 4
    assert len(before & after) >= 3


def test_listing_reads_no_picture_and_reading_holds_one(tmp_path, monkeypatch):
    make_folders(tmp_path)
    opened: list[str] = []
    monkeypatch.setattr(PictureFile, "read", lambda self, max_pixels: opened.append(self.path) or picture(0))
    found = list_sources((ClassFolders(str(tmp_path)), BuiltInDigits()), "train")
    assert found.take([0, 2]).labels == ["cat", "cat"]
    assert not opened
    reader = found.read([2, 1])
    assert next(reader)[0] == 2
    assert opened == [str(tmp_path / "cat/2.png")]


def test_a_stamp_changes_with_the_picture_alone(tmp_path):
    make_folders(tmp_path)
    file, other = PictureFile(str(tmp_path / "cat/0.png")), PictureFile(str(tmp_path / "cat/1.png"))
    stamp = file.stamp()
    assert stamp == PictureFile(file.path).stamp() != other.stamp()
    picture(7, (9, 9)).save(file.path)
    assert file.stamp() != stamp
    values = np.zeros((4, 4), np.uint8)
    assert PictureArray("a", values).stamp() == PictureArray("b", values.copy()).stamp()
    assert PictureArray("a", values).stamp() != PictureArray("a", values + 1).stamp()
    assert "gone" in PictureFile(str(tmp_path / "no.png")).stamp()


def test_pictures_of_several_sources_stand_one_after_the_other(tmp_path):
    make_folders(tmp_path)
    found = list_sources((ClassFolders(str(tmp_path)), BuiltInDigits()), "train")
    assert found.labels[:8] == ["cat"] * 4 + ["dog"] * 4
    assert len(found) == len(found.images) == 1508
    assert Pictures().images[:3] == []


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".webp", ".tif", ".ppm", ".JPG"])
def test_the_usual_formats_are_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    picture(0).convert("RGB").save(path)
    assert read_picture(path).size == (28, 28)
    assert list_pictures(tmp_path) == list_pictures(path) == [path]


def test_one_picture_that_cannot_be_read_is_one_line(tmp_path):
    for name, content_of_file, named in (("text.png", b"words", "no picture"), ("empty.png", b"", "no picture")):
        (tmp_path / name).write_bytes(content_of_file)
        with pytest.raises(InputError) as caught:
            read_picture(tmp_path / name)
        one_line(caught, tmp_path / name, named)
    with pytest.raises(InputError, match="no such file; give a picture or a folder"):
        read_picture(tmp_path / "no.png")
    picture(0).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:300])
    with pytest.raises(InputError) as caught:
        read_picture(tmp_path / "cut.png")
    one_line(caught, tmp_path / "cut.png", "a damaged picture")
    with pytest.raises(InputError):
        read_picture(tmp_path)


def test_the_mnist_beside_the_project_is_split_without_overlap(shared_data):
    train, test = (Mnist(str(shared_data / "mnist")).pictures(split) for split in ("train", "test"))
    assert len(test) == 1000
    assert len(train) >= 13_000
    assert not shown(train) & shown(test)
