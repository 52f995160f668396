"""`metadata.jsonl`, written and read."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synesthete.data.files import Entry, read_manifest, write_manifest
from synesthete.types import InputError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
entries = st.builds(
    Entry,
    label=texts,
    image=st.none() | texts,
    audio=st.none() | texts,
    text=st.none() | texts,
    speaker=st.none() | texts,
    rate=st.none() | st.integers(),
    pitch=st.none() | st.integers(),
    split=st.none() | st.sampled_from(["train", "classifier", "test"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
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
    (tmp_path / "metadata.jsonl").write_text('\n{"class": "six", "licence": "CC0", "label": "x"}\n\n{"class": 7}\n')
    assert read_manifest(tmp_path) == [Entry("six"), Entry("7")]


@pytest.mark.parametrize("line", ["{", "[]", "3", '"six"', "null", '{"image": "a.png"}', "six"])
def test_a_line_that_is_no_entry_is_named_with_its_number(tmp_path, line):
    (tmp_path / "metadata.jsonl").write_text('{"class": "six"}\n' + line + "\n")
    with pytest.raises(
        InputError, match=r"metadata.jsonl:2: not a JSON object with a 'class'; mend or remove the line"
    ):
        read_manifest(tmp_path)


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
