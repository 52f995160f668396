"""Pictures and sounds in WebDataset tars, Parquet and Arrow files, each made here as its library makes it."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pyarrow
import soundfile
from PIL import Image
from pyarrow import parquet

from synesthete.data.sample_shards import SampleShards

CLASSES = ["cat", "dog"]
NUM = 24


def shown(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def picture(number: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(shown(number)).save(encoded, format="PNG")
    return encoded.getvalue()


def heard(number: int) -> np.ndarray:
    return np.random.default_rng(1000 + number).integers(-9999, 9999, 800, dtype=np.int16)


def sound(number: int, kind: str = "WAV") -> bytes:
    encoded = io.BytesIO()
    soundfile.write(encoded, heard(number), 8000, format=kind, subtype="PCM_16" if kind != "OGG" else "VORBIS")
    return encoded.getvalue()


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def members(numbers, told=lambda number: {"cls": str(number % 2).encode()}):
    for number in numbers:
        key = f"some/{number:04d}"
        yield f"{key}.PNG", picture(number)
        yield f"{key}.flac", sound(number, "FLAC")
        for ending, content in told(number).items():
            yield f"{key}.{ending}", content


def table(numbers):
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = {
        "shown": pyarrow.array([{"bytes": picture(n), "path": f"{n}.png"} for n in numbers], kind),
        "heard": pyarrow.array([{"bytes": sound(n), "path": None} for n in numbers], kind),
        "kind": [n % 2 for n in numbers],
        "caption": [f"number {n}" for n in numbers],
    }
    kinds = {"shown": {"_type": "Image"}, "heard": {"_type": "Audio"}, "caption": {"_type": "Value", "dtype": "string"}}
    features = {**kinds, "kind": {"_type": "ClassLabel", "names": CLASSES}}
    told = json.dumps({"info": {"features": features}})
    return pyarrow.table(columns).replace_schema_metadata({"huggingface": told})


def write_arrow(path, numbers):
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = table(numbers)
    with pyarrow.ipc.new_stream(path, whole.schema) as writer:
        writer.write_table(whole, max_chunksize=5)


def as_tars(folder):
    write_tar(folder / "train-000000.tar", members(range(10)))
    write_tar(folder / "train-000001.tar", members(range(10, NUM)))
    write_tar(folder / "val-000000.tar", members(range(NUM, NUM + 6)))
    return SampleShards(str(folder), names={"0": "cat", "1": "dog"})


def as_parquet(folder):
    (folder / "data").mkdir(parents=True)
    parquet.write_table(table(range(NUM)), folder / "data" / "train-00000-of-00001.parquet", row_group_size=5)
    parquet.write_table(table(range(NUM, NUM + 6)), folder / "data" / "validation-00000-of-00001.parquet")
    return SampleShards(str(folder))


def as_saved(folder):
    """The layout of `DatasetDict.save_to_disk`."""
    write_arrow(folder / "train" / "data-00000-of-00001.arrow", range(NUM))
    write_arrow(folder / "train" / "cache-1a2b.arrow", range(3))
    write_arrow(folder / "validation" / "data-00000-of-00001.arrow", range(NUM, NUM + 6))
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    return SampleShards(str(folder))
