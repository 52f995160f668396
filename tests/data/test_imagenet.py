"""ImageNet's layouts, in miniature: the folders, and the Hub's Parquet files."""

from __future__ import annotations

import io

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from synesthete import hub
from synesthete.data.published_pictures import FIRST_TEN, ImageNet
from synesthete.data.speech.clips import PHRASES
from synesthete.types import InputError

OTHERS = {"n02012849": "crane, bird", "n02123045": "tabby, tabby cat"}


def jpeg(seed: int) -> bytes:
    encoded = io.BytesIO()
    values = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(values).save(encoded, format="JPEG")
    return encoded.getvalue()


def make_folders(root, wnids=FIRST_TEN, num=4, split="train"):
    for i, wnid in enumerate(wnids):
        (root / split / wnid).mkdir(parents=True)
        for j in range(num):
            (root / split / wnid / f"{wnid}_{j}.JPEG").write_bytes(jpeg(100 * i + j))
    return root


def labels(source: ImageNet, split="train") -> list[str]:
    return sorted(set(source.pictures(split).labels))


def test_the_first_ten_classes_are_read_by_default_and_by_name(tmp_path):
    make_folders(tmp_path, (*FIRST_TEN, *OTHERS))
    source = ImageNet(str(tmp_path))
    train, test = source.pictures("train"), source.pictures("test")
    assert (len(train), len(test)) == (36, 4)
    assert set(train.labels) == {phrase.name for phrase in PHRASES}
    assert {"tench", "great white shark", "rooster", "ostrich"} <= set(train.labels)
    assert train.images[0].size == (12, 12)
    names = {file.name for file in train.files}
    assert not names & {file.name for file in test.files}


@pytest.mark.parametrize("root", [".", "ILSVRC/Data/CLS-LOC"])
def test_a_choice_of_classes_by_id_or_name(tmp_path, root):
    make_folders(tmp_path / root, (*FIRST_TEN, *OTHERS))
    mapping = "".join(f"{wnid} {names}\n" for wnid, names in OTHERS.items())
    (tmp_path / "LOC_synset_mapping.txt").write_text(mapping)
    assert labels(ImageNet(str(tmp_path), classes=("crane", "n01443537"))) == ["crane", "goldfish"]
    everything = labels(ImageNet(str(tmp_path), classes=None))
    assert len(everything) == 12
    assert {"crane", "tabby", "hen"} <= set(everything)
    own = ImageNet(str(tmp_path), classes=("a cat",), names={"n02123045": "a cat"})
    assert labels(own) == ["a cat"]


def test_without_a_table_a_class_goes_by_its_id(tmp_path):
    make_folders(tmp_path, OTHERS)
    assert labels(ImageNet(str(tmp_path), classes=None)) == sorted(OTHERS)


def test_validation_folders_are_the_test_split(tmp_path):
    make_folders(make_folders(tmp_path), num=2, split="val")
    train, test = (ImageNet(str(tmp_path)).pictures(split) for split in ("train", "test"))
    assert (len(train), len(test)) == (40, 20)
    assert all("/val/" in file.name for file in test.files)


def test_another_folder_is_one_line(tmp_path):
    refused(ImageNet(str(tmp_path / "no")), "no such folder")
    refused(ImageNet(str(tmp_path)), "no train/<wnid> in it")
    (tmp_path / "train" / "cat").mkdir(parents=True)
    refused(ImageNet(str(tmp_path)), "no train/<wnid> in it")
    make_folders(tmp_path, FIRST_TEN[:3])
    refused(ImageNet(str(tmp_path)), "no pictures of class 'n01491361' among 3 of ImageNet")


def refused(source: ImageNet, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        source.pictures("train")
    assert "\n" not in str(caught.value)


def test_a_gated_data_set_is_one_line(monkeypatch, tmp_path):
    from httpx2 import Request, Response
    from huggingface_hub.errors import GatedRepoError

    def gated(*_, **__):
        raise GatedRepoError("403", response=Response(403, request=Request("GET", "https://huggingface.co")))

    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(hub, "_snapshot", gated)
    said = "ILSVRC/imagenet-1k is gated: accept its licence at .* or pass --set data.sources.imagenet.path=PATH"
    refused(ImageNet(), said)


def make_parquet(path, rows, **options) -> None:
    """As the Hub writes them: a column `image` of bytes and path, and a column `label`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": content, "path": name} for name, content, _ in rows]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.table({"image": pyarrow.array(images, kind), "label": [label for *_, label in rows]})
    parquet.write_table(table, path, **options)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A Hub data set put at SYNESTHETE_WEIGHTS by hand."""
    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path))
    data = tmp_path / "ILSVRC" / "imagenet-1k" / "data"
    wnids = [*FIRST_TEN, *OTHERS]
    rows = [(f"{w}_{j}_{w}.JPEG", jpeg(100 * i + j), i) for j in range(5) for i, w in enumerate(wnids)]
    rows[13] = (rows[13][0], rows[13][1][:99], rows[13][2])  # n01443537_1, cut
    make_parquet(data / "train-00000-of-00002.parquet", rows[:30], row_group_size=7)
    make_parquet(data / "train-00001-of-00002.parquet", rows[30:])
    held = [(f"ILSVRC2012_val_0000000{i}_{w}.JPEG", jpeg(9000 + i), i) for i, w in enumerate(wnids)]
    make_parquet(data / "validation-00000-of-00001.parquet", held)
    make_parquet(data / "test-00000-of-00001.parquet", [("ILSVRC2012_test_1.JPEG", jpeg(1), -1)])
    return data


def test_the_hubs_files_are_read_row_by_row(published):
    train, test = (ImageNet().pictures(split) for split in ("train", "test"))
    assert (len(train), len(test)) == (50, 10)
    assert train.labels[:5] == ["tench"] * 5
    expected = Image.open(io.BytesIO(jpeg(203)))  # the third class, its fourth picture
    place = next(i for i, file in enumerate(train.files) if file.name.endswith("/n01484850_3_n01484850.JPEG"))
    assert train.labels[place] == "great white shark"
    assert train.images[place].tobytes() == expected.tobytes()
    assert len(dict(train.read())) == 49
    assert [name.rpartition("/")[2] for name in train.skipped] == ["n01443537_1_n01443537.JPEG"]
    assert len({file.stamp() for file in train.files}) == 50


def test_parquet_files_may_lie_in_any_folder(published):
    assert len(ImageNet(str(published), classes=("hen",)).pictures("train")) == 5


def test_a_damaged_file_is_one_line(published):
    (published / "train-00001-of-00002.parquet").write_bytes(b"PAR1 cut")
    refused(ImageNet(), "no Parquet with a column of pictures")
    make_parquet(published / "train-00001-of-00002.parquet", [("a.JPEG", b"", 0)])
    assert len(ImageNet(classes=("tench",)).pictures("train")) > 0
