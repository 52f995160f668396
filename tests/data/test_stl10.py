"""STL-10's binary layout: column by column and channel by channel, labels from 1, and files that are not it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from synesthete.data.pictures import ClassFolders
from synesthete.data.published_pictures import CLASSES, Stl10
from synesthete.types import InputError

NUM_BYTES = 27_648


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (96, 96, 3), dtype=np.uint8))


def published(folder, part="train", num=20):
    """Files as they are published, made byte by byte from the layout's definition, without the writer."""
    for i in range(num):
        with (folder / f"{part}_X.bin").open("ab") as file:
            file.write(bytes((c * 80 + x + y // 32 + i) % 256 for c in range(3) for x in range(96) for y in range(96)))
    (folder / f"{part}_y.bin").write_bytes(bytes(1 + i % 10 for i in range(num)))
    (folder / "class_names.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return folder


def write_stl10(pictures, labels, folder, part, names=CLASSES):
    """Pictures in the published layout; with the training part ten folds of all of them."""
    folder.mkdir(exist_ok=True)
    (folder / f"{part}_X.bin").write_bytes(b"".join(np.asarray(one).transpose(2, 1, 0).tobytes() for one in pictures))
    if labels:
        (folder / f"{part}_y.bin").write_bytes(bytes(1 + names.index(label) for label in labels))
        (folder / "class_names.txt").write_text("".join(f"{name}\n" for name in names))
    if part == "train":
        (folder / "fold_indices.txt").write_text(10 * (" ".join(map(str, range(len(labels)))) + "\n"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """20 training and 12 test pictures, 30 of no class."""
    root = tmp_path_factory.mktemp("stl10") / "stl10_binary"
    write_stl10([noise(i) for i in range(20)], [CLASSES[i % 4] for i in range(20)], root, "train")
    write_stl10([noise(100 + i) for i in range(12)], [CLASSES[i % 3] for i in range(12)], root, "test")
    write_stl10((noise(200 + i) for i in range(30)), None, root, "unlabeled")
    return root


def place(file) -> int:
    """Where in its file a picture lies."""
    return int(file.name.rpartition(" ")[2])


def assert_same(image: Image.Image, other: Image.Image) -> None:
    assert np.array_equal(np.asarray(image), np.asarray(other))


def test_a_picture_is_stored_column_by_column_and_channel_by_channel(tmp_path):
    source = Stl10(str(published(tmp_path)))
    rows, columns = np.indices((96, 96))
    for i, image in enumerate(source.pictures("train").images):
        assert (image.size, image.mode) == ((96, 96), "RGB")
        for channel in range(3):
            expected = (channel * 80 + columns + rows // 32 + i) % 256
            assert np.array_equal(np.asarray(image)[..., channel], expected)


def test_written_pictures_come_back_to_the_pixel(folder):
    source = Stl10(str(folder))
    train, test = source.pictures("train"), source.pictures("test")
    assert (train.labels, test.labels) == ([CLASSES[i % 4] for i in range(20)], [CLASSES[i % 3] for i in range(12)])
    for i, image in enumerate(train.images):
        assert_same(image, noise(i))
    for i, image in enumerate(test.images):
        assert_same(image, noise(100 + i))
    assert [place for place, _ in train.read()] == list(range(20))


def test_the_parent_folder_will_do(folder):
    assert len(Stl10(str(folder.parent)).pictures("test")) == 12


def test_listing_reads_no_picture(tmp_path):
    """As many bytes as the published 100,000 pictures, none of them on the disk."""
    with (tmp_path / "unlabeled_X.bin").open("wb") as file:
        file.truncate(100_000 * NUM_BYTES)
    found = Stl10(str(tmp_path), unlabeled=True, num_test=1000)
    train = found.pictures("train")
    assert (len(train), len(found.pictures("test"))) == (99_000, 1000)
    assert train.images[98_999].getextrema() == ((0, 0),) * 3
    assert len({file.stamp() for file in train.files[:1000]}) == 1000


def test_pictures_without_class_are_divided_and_share_nothing(folder):
    source = Stl10(str(folder), unlabeled=True)
    train, test = source.pictures("train"), source.pictures("test")
    assert (len(train), len(test)) == (27, 3)
    assert set(train.labels + test.labels) == {"unlabeled"}
    assert not {file.name for file in train.files} & {file.name for file in test.files}
    read = {image.tobytes() for image in [*train.images, *test.images]}
    assert read == {noise(200 + i).tobytes() for i in range(30)}


def test_test_pictures_that_are_not_held_out_are_trained_on(folder):
    source = Stl10(str(folder), num_test=5)
    train, test = source.pictures("train"), source.pictures("test")
    assert (len(train), len(test)) == (27, 5)
    assert not {file.name for file in train.files} & {file.name for file in test.files}
    assert len(Stl10(str(folder), num_test=0).pictures("train")) == 32


@pytest.mark.parametrize("fold", [0, 2])
def test_a_fold_is_a_line_of_the_published_indices(tmp_path, fold):
    lines = ["0 5 19 ", "1 2 3", "7 4 11"]
    published(tmp_path).joinpath("fold_indices.txt").write_text("\n".join(lines) + "\n")
    published(tmp_path, "test", num=3)
    everything, source = Stl10(str(tmp_path)).pictures("train"), Stl10(str(tmp_path), fold=fold)
    train = source.pictures("train")
    assert [place(file) for file in train.files] == [int(word) for word in lines[fold].split()]
    for file, label in zip(train.files, train.labels, strict=True):
        assert label == everything.labels[place(file)]
        assert_same(file.read(), everything.images[place(file)])
    assert len(source.pictures("test")) == 3


def test_without_a_list_classes_have_their_published_names(tmp_path):
    published(tmp_path).joinpath("class_names.txt").unlink()
    assert Stl10(str(tmp_path)).pictures("train").labels[:10] == list(CLASSES)


def test_missing_files_are_named_with_where_they_are(tmp_path):
    where = "https://cs.stanford.edu/~acoates/stl10/"
    refused(Stl10(), "no folder given", where)
    refused(Stl10(str(tmp_path / "no")), "no such folder", where)
    refused(Stl10(str(tmp_path)), "train_y.bin: no such file", where)
    refused(Stl10(str(tmp_path), unlabeled=True), "unlabeled_X.bin: no such file", where)
    published(tmp_path).joinpath("train_X.bin").unlink()
    refused(Stl10(str(tmp_path)), "train_X.bin: no such file", where)
    published(tmp_path)
    refused(Stl10(str(tmp_path), fold=0), "fold_indices.txt: no such file", where)


def test_another_size_is_said_with_the_expected_one(tmp_path):
    path = published(tmp_path) / "train_X.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    refused(Stl10(str(tmp_path)), "train_X.bin: 552,959 bytes", "expected 552,960", "20 labels in train_y.bin")
    path.write_bytes(whole[:NUM_BYTES])
    refused(Stl10(str(tmp_path)), "27,648 bytes", "expected 552,960")
    for content in (b"", whole[:1000]):
        (tmp_path / "unlabeled_X.bin").write_bytes(content)
        refused(Stl10(str(tmp_path), unlabeled=True), f"{len(content):,} bytes", "a multiple of 27,648")
    for name in ("train_X.bin", "train_y.bin"):
        (tmp_path / name).write_bytes(b"")
    refused(Stl10(str(tmp_path)), "train_X.bin: 0 bytes")


@pytest.mark.parametrize("label", [0, 11, 255])
def test_labels_of_no_class_are_refused(tmp_path, label):
    path = published(tmp_path) / "train_y.bin"
    path.write_bytes(path.read_bytes()[:7] + bytes([label]) + path.read_bytes()[8:])
    refused(Stl10(str(tmp_path)), f"train_y.bin: label {label} of picture 7", "need 1 to 10")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"fold": 10}, "no fold 10 among its 10"),
        ({"fold": -1}, "no fold -1"),
        ({"num_test": 13}, "num_test 13: STL-10's files hold 12"),
        ({"num_test": -1}, "num_test -1"),
        ({"fold": 0, "unlabeled": True}, "leave out either"),
        ({"num_test": 31, "unlabeled": True}, "hold 30"),
    ],
)
def test_settings_that_do_not_fit_the_files_are_refused(folder, settings, line):
    refused(Stl10(str(folder), **settings), line)


@pytest.mark.parametrize("line", ["", "0 20", "0 -1", "0 one", "0.5"])
def test_a_damaged_fold_is_refused(tmp_path, line):
    published(tmp_path).joinpath("fold_indices.txt").write_text(f"{line}\n3 4\n")
    refused(Stl10(str(tmp_path), fold=0), "numbers from 0 to 19")


def test_photos_at_hand_come_back_to_the_pixel(tmp_path, shared_data):
    folders = ClassFolders(str(shared_data / "stl10_like96")).pictures("test").take(range(40))
    names = sorted(set(folders.labels))
    write_stl10([image.convert("RGB") for image in folders.images], folders.labels, tmp_path, "test", names)
    found = Stl10(str(tmp_path)).pictures("test")
    assert found.labels == folders.labels
    for image, other in zip(found.images, folders.images, strict=True):
        assert_same(image, other.convert("RGB"))


def refused(source, *parts):
    with pytest.raises(InputError) as caught:
        for split in ("train", "test"):
            source.pictures(split)
    assert all(part in str(caught.value) for part in parts), caught.value
    assert "\n" not in str(caught.value)
