"""Data sets of the Hub, in miniature: Parquet files in a folder, in the cache and behind a faked Hub."""

from __future__ import annotations

import io
import json
import shutil

import huggingface_hub
import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from synesthete.config import build, plain
from synesthete.config.build import resolved
from synesthete.data.labelled import LabelledPictures
from synesthete.data.published_pictures import HubPictures, place_of
from synesthete.types import InputError

NAME = "somebody/animals"
CLASSES = ["cat", "dog", "a big frog"]


def values(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def png(seed: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(values(seed)).save(encoded, format="PNG")
    return encoded.getvalue()


def write(path, seeds, labels, *, names=CLASSES, image="image", label="label", plain=False, **options):
    """As the Hub writes them: encoded pictures, numbers of classes, and their names in the schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [png(seed) if plain else {"bytes": png(seed), "path": None} for seed in seeds]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = {image: pyarrow.array(pictures, pyarrow.binary() if plain else kind), label: list(labels)}
    table = pyarrow.table(columns)
    if names:
        features = {label: {"names": names, "_type": "ClassLabel"}, image: {"_type": "Image"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path, **options)


def animals(folder):
    """Twelve training pictures in two files, three test ones."""
    write(folder / "data" / "train-00000-of-00002.parquet", range(7), [i % 3 for i in range(7)], row_group_size=2)
    write(folder / "data" / "train-00001-of-00002.parquet", range(7, 12), [i % 3 for i in range(7, 12)])
    write(folder / "data" / "test-00000-of-00001.parquet", range(100, 103), [2, 1, 0])
    return folder


def refused(source: HubPictures, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        source.pictures("train")
    assert "\n" not in str(caught.value)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    return tmp_path


def test_a_folder_of_parquet_is_read_in_order_with_its_own_names(tmp_path):
    source = HubPictures(str(animals(tmp_path)))
    train, test = source.pictures("train"), source.pictures("test")
    assert train.labels == [CLASSES[i % 3] for i in range(12)]
    assert test.labels == ["a big frog", "dog", "cat"]
    for place in (0, 3, 6, 7, 11):
        np.testing.assert_array_equal(np.asarray(train.images[place]), values(place))
    np.testing.assert_array_equal(np.asarray(test.images[1]), values(101))
    assert len({file.stamp() for file in (*train.files, *test.files)}) == 15
    assert len({file.name for file in train.files}) == 12


def test_columns_text_and_bytes_alone(tmp_path):
    write(
        tmp_path / "train.parquet", range(4), ["b", "a", None, "b"], names=None, image="img", label="kind", plain=True
    )
    source = HubPictures(str(tmp_path), image="img", label="kind", num_test=0)
    found = source.pictures("train")
    assert found.labels == ["b", "a", "b"]
    np.testing.assert_array_equal(np.asarray(found.images[2]), values(3))
    refused(HubPictures(str(tmp_path), label="kind"), "no column 'image'; set image to one of 'img', 'kind'")
    refused(HubPictures(str(tmp_path), image="img"), "no column 'label'; set label to one of 'img', 'kind'")
    refused(HubPictures(str(tmp_path), image="kind", label="kind"), "column 'kind' holds string, no encoded pictures")


def test_without_a_test_split_a_tenth_is_held_out(tmp_path):
    write(tmp_path / "train.parquet", range(30), [i % 2 for i in range(30)], names=None)
    train, test = (HubPictures(str(tmp_path)).pictures(split) for split in ("train", "test"))
    assert (len(train), len(test)) == (27, 3)
    assert not {file.stamp() for file in train.files} & {file.stamp() for file in test.files}
    assert set(train.labels) == {"0", "1"}


def test_a_hidden_test_split_gives_way_to_the_validation_split(tmp_path):
    animals(tmp_path)
    write(tmp_path / "data" / "test-00000-of-00001.parquet", range(100, 103), [-1, -1, -1])
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", range(200, 202), [1, 1])
    assert HubPictures(str(tmp_path)).pictures("test").labels == ["dog", "dog"]
    chosen = HubPictures(str(tmp_path), splits={"train": "validation", "test": "train"})
    assert (len(chosen.pictures("train")), len(chosen.pictures("test"))) == (2, 12)


def test_subsets_are_told_apart(tmp_path):
    for subset, num in (("small", 4), ("large", 6)):
        write(tmp_path / subset / "train" / "0000.parquet", range(num), [0] * num)
        write(tmp_path / subset / "test" / "0000.parquet", range(50, 52), [1, 1])
    refused(HubPictures(str(tmp_path)), "several subsets; set subset to one of large, small")
    assert len(HubPictures(str(tmp_path), subset="small").pictures("train")) == 4


@pytest.mark.parametrize(
    ("path", "split", "subset"),
    [
        ("data/train-00000-of-00002.parquet", "train", "data"),
        ("train-00000-of-00001-a09b74b3ef9c3b56.parquet", "train", "."),
        ("plain_text/test/0000.parquet", "test", "plain_text"),
        ("train_small-0-of-1.parquet", "train_small", "."),
    ],
)
def test_the_split_is_told_by_the_path(tmp_path, path, split, subset):
    assert place_of((tmp_path / path).relative_to(tmp_path)) == (split, subset)


def test_a_data_set_that_was_downloaded_before_needs_no_network(offline):
    snapshot = offline / "hf" / "datasets--somebody--animals" / "snapshots" / ("a" * 40)
    animals(snapshot)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    assert len(HubPictures(NAME).pictures("train")) == 12


def test_offline_it_says_what_to_put_where(offline):
    refused(
        HubPictures(NAME),
        f"{NAME} is not on this machine and the Hub cannot be reached; put its files at .*weights/{NAME} .* "
        "or pass --set data.sources.hubpictures.name=PATH",
    )
    refused(HubPictures("no such folder"), "no such folder; give a data set's folder or its Hub id")


def test_the_hub_is_asked_for_the_data_set_and_for_these_splits_alone(offline, monkeypatch):
    asked = []

    def snapshot_download(repository, **options):
        if options["local_files_only"]:
            raise FileNotFoundError("not in the cache")
        asked.append((repository, options))
        return str(animals(offline / "downloaded"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert len(HubPictures(NAME, splits={"test": "test"}).pictures("test")) == 3
    repository, options = asked[0]
    assert (repository, options["repo_type"]) == (NAME, "dataset")
    assert options["allow_patterns"] == ["*train*.parquet", "*test*.parquet"]


def test_a_download_that_was_cut_short_is_taken_up_again(offline, monkeypatch, kept_by_the_hub):
    kept_by_the_hub(NAME, "dataset")
    whole, cut = animals(offline / "whole"), animals(offline / "cut")
    (cut / "data" / "train-00001-of-00002.parquet").unlink()
    asked = []

    def snapshot_download(repository, **options):
        asked.append(options["local_files_only"])
        return str(cut if options["local_files_only"] else whole)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert len(HubPictures(NAME).pictures("train")) == 12
    assert asked == [True, False]
    refused(HubPictures(str(cut)), "1 of 2 Parquet files of 'train'; download the others")


def test_another_layout_is_one_line(tmp_path):
    refused(HubPictures(str(tmp_path)), "no Parquet files of split 'train'; set splits to what it has: none")
    write(tmp_path / "everything.parquet", range(2), [0, 1])
    refused(HubPictures(str(tmp_path)), "no Parquet files of split 'train'; set splits to what it has: everything")
    source = HubPictures(str(tmp_path), splits={"train": "everything"}, num_test=0)
    assert len(source.pictures("train")) == 2
    refused(
        HubPictures(str(tmp_path), splits={"train": "everything", "test": "no"}), "no split 'no'; there: everything"
    )
    with pytest.raises(InputError, match="no split 'val' here"):
        HubPictures(NAME, splits={"val": "train"})
    write(tmp_path / "train.parquet", range(2), [-1, -1])
    refused(HubPictures(str(tmp_path)), "no row of its training split has a class; set label")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 cut")
    refused(HubPictures(str(tmp_path)), "no Parquet with a column of pictures")


def test_labels_beyond_the_names_are_refused(tmp_path):
    write(tmp_path / "train.parquet", range(2), [0, 7])
    refused(HubPictures(str(tmp_path)), "label 7 of 3 named classes")


def test_it_is_a_source_of_a_recipe(tmp_path):
    animals(tmp_path)
    source = resolved(plain(build(HubPictures, name=str(tmp_path))), "data")
    data = LabelledPictures(sources=(source(),), num_classifier=0)
    pictures, labels = data.pictures("train")
    assert data.class_names == ("a big frog", "cat", "dog")
    assert (len(pictures), labels.tolist()[:3]) == (12, [1, 2, 0])


def test_a_picture_that_cannot_be_read_is_skipped_and_named(tmp_path):
    animals(tmp_path)
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    rows = [
        {"bytes": png(0), "path": "a.png"},
        {"bytes": b"cut", "path": "b.png"},
        {"bytes": None, "path": "c.png"},
        None,
    ]
    shutil.rmtree(tmp_path / "data")
    parquet.write_table(
        pyarrow.table({"image": pyarrow.array(rows, kind), "label": [0] * 4}), tmp_path / "train.parquet"
    )
    found = HubPictures(str(tmp_path), num_test=0).pictures("train")
    assert len(dict(found.read())) == 1
    assert [name.rpartition("/")[2] for name in found.skipped] == ["b.png", "c.png", "3"]
