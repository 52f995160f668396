"""What is packed in WebDataset tars, Parquet and Arrow files comes out as it was."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pyarrow
import pytest
import soundfile
from pyarrow import parquet

from data.packed_files import (
    CLASSES,
    NUM,
    as_parquet,
    as_saved,
    as_tars,
    heard,
    members,
    picture,
    shown,
    sound,
    table,
    write_tar,
)
from synesthete.data.audio import SoundFile
from synesthete.data.audio_image_pairs import AudioImagePairs
from synesthete.data.labelled import LabelledPictures
from synesthete.data.music import Music
from synesthete.data.recordings import open_recordings
from synesthete.data.sample_shards import SampleShards
from synesthete.types import InputError

MADE = pytest.mark.parametrize("make", [as_tars, as_parquet, as_saved])


@MADE
def test_pictures_sounds_classes_and_splits_are_those_that_were_packed(tmp_path, make):
    source = make(tmp_path)
    found = pickle.loads(pickle.dumps(source.listing()))  # another machine reads them, too
    assert found.pairs == [(i, i) for i in range(NUM + 6)] and not found.skipped
    for number, (one, other) in enumerate(zip(found.pictures, found.sounds, strict=True)):
        assert (one.label, other.label) == (CLASSES[number % 2],) * 2
        assert one.split == other.split == ("train" if number < NUM else "test")
        assert np.array_equal(np.asarray(one.picture.read()), shown(number))
        [block] = other.recording.blocks()
        assert np.array_equal(block[:, 0] * 32768, heard(number))
        assert other.recording.sample_rate == 8000 and other.recording.num_samples() == 800
    assert len({p.picture.stamp() for p in found.pictures} | {s.recording.stamp() for s in found.sounds}) == 2 * (
        NUM + 6
    )
    assert len({entry.place for entry in found.pictures}) == NUM + 6
    if make is not as_tars:
        assert found.pictures[3].text == "number 3"


@MADE
def test_every_kind_of_data_reads_them(tmp_path, make):
    source = make(tmp_path / "packed")
    train, test = (LabelledPictures(sources=(source,)).sources[0].pictures(split) for split in ("train", "test"))
    assert (len(train), len(test)) == (NUM, 6)
    pairs = AudioImagePairs(sources=(source,), seconds=0.1).pairs(tmp_path)
    assert len(pairs.entries) == NUM + 6 and pairs.class_names == ("cat", "dog")
    assert pairs.picture_parts.count("test") == 6
    music = Music(sources=(source,), classes="folders")
    assert music.class_names == ("cat", "dog") and len(music.listing.entries) == NUM + 6


def test_a_folder_of_ones_own_may_hold_them(tmp_path):
    as_parquet(tmp_path)
    assert len(AudioImagePairs(folder=str(tmp_path), seconds=0.1).pairs(tmp_path).entries) == NUM + 6
    one = write_tar(tmp_path / "one.tar", members(range(8), lambda n: {"json": b'{"label": "a"}'}))
    found = AudioImagePairs(folder=str(one), seconds=0.1).pairs(tmp_path)
    assert found.class_names == ("a",) and {"train", "test"} <= set(found.picture_parts)


def test_members_tell_in_many_ways(tmp_path):
    told = [
        {"json": b'{"class": "cat", "caption": "a cat", "speaker": 7}'},
        {"cls": b"dog\n", "txt": "ein Hünd".encode()},
        {"json": b'{"label": 3}', "txt": b""},
        {"txt": b"nobody says what"},
    ]
    path = write_tar(tmp_path / "a.tar", [("__MACOSX/x.png", b""), *members(range(4), lambda n: told[n])])
    found = SampleShards(str(path), names={"3": "bat"}).listing()
    assert [entry.label for entry in found.pictures] == ["cat", "dog", "bat"]
    assert [entry.text for entry in found.pictures] == ["a cat", "ein Hünd", None]
    assert [entry.speaker for entry in found.sounds] == ["7", None, None]
    assert len(found.notes) == 1 and "1 samples without a class" in found.notes[0]
    assert len(SampleShards(str(path), names={"3": "bat"}).recordings()) == 4
    by_text = SampleShards(str(path), label="txt", image="png", audio="ogg").listing()
    assert len(by_text.pictures) == 2 and not by_text.sounds


def test_what_is_no_picture_or_sound_is_named_and_costs_itself(tmp_path):
    bad = {"some/0001.PNG": b"no picture", "some/0002.flac": b"no sound", "some/0003.flac": sound(3, "FLAC")[:300]}
    path = write_tar(tmp_path / "a.tar", [(name, bad.get(name, content)) for name, content in members(range(12))])
    source = SampleShards(str(path), num_test=0)
    pictures = source.pictures("train")
    assert len(list(pictures.read())) == 11 and pictures.skipped == [f"{path}/some/0001.PNG"]
    opened = open_recordings(source.recordings())
    assert [place for place, one in enumerate(opened) if isinstance(one, str)] == [2, 3]


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_sounds_of_every_kind_are_those_of_files(tmp_path, kind):
    encoded = io.BytesIO()
    soundfile.write(encoded, np.sin(np.arange(8000) / 9), 16_000, format=kind)
    (tmp_path / f"a.{kind.lower()}").write_bytes(encoded.getvalue())
    path = write_tar(tmp_path / "a.tar", [(f"a.{kind.lower()}", encoded.getvalue())])
    [packed] = SampleShards(str(path)).recordings()
    with SoundFile(tmp_path / f"a.{kind.lower()}") as file:
        assert np.array_equal(np.concatenate([*packed.blocks()]), np.concatenate([*file.blocks()]))


@pytest.mark.parametrize("keep", [0.5, 0.9, -700, -1024, 10])
def test_a_tar_that_is_cut_short_is_refused(tmp_path, keep):
    path = write_tar(tmp_path / "a.tar", members(range(6)))
    content = path.read_bytes().rstrip(b"\0") + bytes(1024)
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    refused(SampleShards(str(path)), str(path))


def refused(source: SampleShards, *words: str) -> None:
    for read in (source.listing, source.recordings):
        with pytest.raises(InputError) as caught:
            read()
        assert "\n" not in str(caught.value)
        for word in words:
            assert word in str(caught.value)


def test_what_cannot_be_read_is_one_line(tmp_path):
    refused(SampleShards(str(tmp_path / "none")), "none")
    refused(SampleShards(str(tmp_path)), str(tmp_path))
    for name in ("a.tar", "a.parquet", "a.arrow"):
        (tmp_path / name).write_bytes(b"nothing of the kind" * 99)
        refused(SampleShards(str(tmp_path / name)), name)
    (tmp_path / "b.tar.gz").write_bytes(b"")
    refused(SampleShards(str(tmp_path / "b.tar.gz")), "b.tar.gz")
    for content in (b"[1]", b"{", b'"' + b"x" * 2**21 + b'"', b"[" * 10**5, b'{"label": [1]}'):
        told = write_tar(tmp_path / "j.tar", members(range(1), lambda _, told=content: {"json": told}))
        refused(SampleShards(str(told)), "0000")
    parquet.write_table(pyarrow.table({"x": [1, 2], "label": ["a", "b"]}), tmp_path / "c.parquet")
    refused(SampleShards(str(tmp_path / "c.parquet")), "c.parquet", "'x'")
    parquet.write_table(table(range(3)), tmp_path / "d.parquet")
    refused(SampleShards(str(tmp_path / "d.parquet"), image="caption"), "'caption'", "'shown'")
    refused(SampleShards(str(tmp_path / "d.parquet"), label="breed"), "'breed'", "'kind'")
    with pytest.raises(InputError, match="set label"):
        SampleShards(str(write_tar(tmp_path / "n.tar", members(range(2), lambda _: {})))).listing()


def test_a_row_that_names_a_file_instead_of_holding_it_is_skipped(tmp_path):
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    rows = [{"bytes": None, "path": "/etc/passwd"}, {"bytes": picture(1), "path": None}, None]
    for name in ("a.parquet", "a.arrow"):
        whole = pyarrow.table({"image": pyarrow.array(rows, kind), "label": ["a", "a", "a"]})
        if name.endswith("parquet"):
            parquet.write_table(whole, tmp_path / name)
        else:
            with pyarrow.ipc.new_file(tmp_path / name, whole.schema) as writer:
                writer.write_table(whole)
        found = SampleShards(str(tmp_path / name), num_test=0).pictures("train")
        assert [place for place, _ in found.read()] == [1] and len(found.skipped) == 2
