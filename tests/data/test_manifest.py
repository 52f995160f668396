"""`metadata.jsonl`, written and read."""

from __future__ import annotations

import csv
import json
import os

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from synesthete.data.files import Entry, read_manifest, write_manifest
from synesthete.types import InputError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
paths = texts.filter(lambda path: not path.startswith("/") and ".." not in path.split("/") and "\0" not in path)
entries = st.builds(
    Entry,
    label=texts.map(str.strip).filter(bool),
    image=st.none() | paths,
    audio=st.none() | paths,
    text=st.none() | texts,
    speaker=st.none() | texts,
    rate=st.none() | st.integers(),
    pitch=st.none() | st.integers(),
    split=st.none() | st.sampled_from(["train", "classifier", "test"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=st.lists(entries, min_size=1, max_size=5))
def test_what_was_written_is_read(tmp_path, written):
    """Whatever stands in it: line breaks, quotes, U+2028, other scripts."""
    assert write_manifest(tmp_path, written) == tmp_path / "metadata.jsonl"
    assert read_manifest(tmp_path) == written
    assert [path.name for path in tmp_path.iterdir()] == ["metadata.jsonl"]


def test_lines_follow_the_folder_convention(tmp_path):
    write_manifest(tmp_path, [Entry("six", image="a/1.png", rate=160), Entry("größe")])
    lines = (tmp_path / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"class": "six", "image": "a/1.png", "rate": 160},
        {"class": "größe"},
    ]
    assert "größe" in lines[1]


def test_other_keys_and_empty_lines_are_passed_over(tmp_path):
    (tmp_path / "metadata.jsonl").write_text('\n{"class": "six", "licence": "CC0", "label": "x"}\n\n{"class": "7"}\n')
    assert read_manifest(tmp_path) == [Entry("six"), Entry("7")]


@pytest.mark.parametrize("line", ["{", "[]", "3", '"six"', "null", "six", "[" * 100_000])
def test_a_line_that_is_no_entry_is_named_with_its_number(tmp_path, line):
    (tmp_path / "metadata.jsonl").write_text('{"class": "six"}\n' + line + "\n")
    with pytest.raises(
        InputError, match=r"metadata.jsonl:2: not a JSON object with a 'class'; mend or remove the line"
    ):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        '{"image": "a.png"}', '{"class": null}', '{"class": ["six"]}', '{"class": 7}', '{"class": true}',
        '{"class": {"name": "six"}}', '{"class": " "}', '{"class": "\\ud800"}', '{"label": 3, "file_name": "a.png"}',
        '{"class": "six", "split": "holdout"}', '{"class": "six", "split": 3}', '{"class": "six", "image": ["a.png"]}',
        '{"class": "six", "image": "../a.png"}', '{"class": "six", "file_name": "/etc/a.png"}',
        '{"class": "six", "image": "a\\u0000.png"}', '{"class": "six", "text": ["words"]}',
    ],
)  # fmt: skip
def test_a_value_that_means_nothing_is_refused_with_its_line(tmp_path, line):
    (tmp_path / "metadata.jsonl").write_text('{"class": "six"}\n' + line + "\n")
    with pytest.raises(InputError, match=r"metadata.jsonl:2: ") as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "odd", [{"class": ["x" * 5000]}, {"split": "x" * 5000}, {"image": "../" * 2000}, {"text": [9] * 5000}]
)
def test_a_value_of_thousands_of_letters_is_shortened_in_the_line(tmp_path, odd):
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"class": "six"} | odd))
    with pytest.raises(InputError) as caught:
        read_manifest(tmp_path)
    assert len(str(caught.value)) < len(str(tmp_path)) + 400


def test_spaces_and_capitals_are_nobodys_class(tmp_path):
    lines = [{"class": " six ", "split": split} for split in ("train", " Train", "VAL", "dev", "valid", "classifier")]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert {entry.label for entry in read_manifest(tmp_path)} == {"six"}
    assert [entry.split for entry in read_manifest(tmp_path)] == ["train"] * 2 + ["test"] * 3 + ["classifier"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_a_mark_tells_the_encoding(tmp_path, encoding, line_break):
    lines = ['{"class": "größe", "image": "a.png"}', '\ufeff{"class": "six"}']  # two files, joined
    (tmp_path / "metadata.jsonl").write_bytes(line_break.join(lines).encode(encoding))
    assert read_manifest(tmp_path) == [Entry("größe", image="a.png"), Entry("six")]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le", "utf-16-be"])
def test_an_encoding_that_nothing_tells_is_named(tmp_path, encoding):
    (tmp_path / "metadata.jsonl").write_bytes('{"class": "größe"}\n'.encode(encoding))
    with pytest.raises(InputError, match=r"metadata.jsonl:.*save it as UTF-8"):
        read_manifest(tmp_path)


ROWS = [{"file_name": "a/1.png", "label": "six"}, {"file_name": "test/b;c.WAV", "label": "a, b", "text": "x"}]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "csv;", "csv\t", "parquet"])
def test_the_convention_of_file_name_is_read_from_every_kind_of_manifest(tmp_path, kind):
    if kind == "jsonl":
        (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif kind == "parquet":
        parquet.write_table(
            pyarrow.Table.from_pylist([{"text": None, **row} for row in ROWS]), tmp_path / "metadata.parquet"
        )
    else:
        with (tmp_path / "metadata.csv").open("w", newline="", encoding="utf-8-sig") as file:
            rows = csv.DictWriter(file, ["file_name", "label", "text"], delimiter=kind[3:] or ",")
            rows.writeheader()
            rows.writerows(ROWS)
    expected = [Entry("six", image="a/1.png"), Entry("a, b", audio="test/b;c.WAV", text="x", split="test")]
    assert read_manifest(tmp_path) == expected


def test_manifests_in_folders_of_splits_are_one(tmp_path):
    for split, name in (("Train", "metadata.csv"), ("validation", "metadata.jsonl")):
        (tmp_path / split).mkdir()
        row = "file_name,class\n0.png,six\n" if name.endswith("csv") else '{"file_name": "0.png", "class": "six"}\n'
        (tmp_path / split / name).write_text(row)
    assert read_manifest(tmp_path) == [
        Entry("six", image="Train/0.png", split="train"),
        Entry("six", image="validation/0.png", split="test"),
    ]


@pytest.mark.parametrize("text", ["file_name\na.png\n", "file_name,class\na.png,\n", 'class\n"a\n' + "x" * 200_000])
def test_a_table_without_classes_is_named(tmp_path, text):
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(InputError, match=r"metadata.csv:\d+: ") as caught:
        read_manifest(tmp_path)
    assert len(str(caught.value)) < 300


def test_no_manifest_and_an_empty_one_are_one_line(tmp_path):
    with pytest.raises(InputError, match="no such manifest; give a folder"):
        read_manifest(tmp_path)
    (tmp_path / "metadata.jsonl").write_text("\n")
    with pytest.raises(InputError, match="empty; write one JSON object a line"):
        read_manifest(tmp_path)


def test_a_kill_while_writing_keeps_the_one_before(tmp_path, monkeypatch):
    write_manifest(tmp_path, [Entry("six")])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        write_manifest(tmp_path, [Entry("seven")])
    assert read_manifest(tmp_path) == [Entry("six")]
