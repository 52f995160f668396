"""What the same request goes on with after a kill or an error, and what no other takes for its own."""

from __future__ import annotations

import pytest

from synesthete.io import LOCK, write_file
from synesthete.types import InputError
from synesthete.worklist import UNFINISHED, going_on


def test_the_same_request_goes_on_after_a_kill_and_no_other_does(tmp_path):
    folder, paths = tmp_path / "out", [tmp_path / "out" / "a", tmp_path / "out" / "b"]

    def check():
        if any(path.exists() for path in paths):
            raise InputError("there already")

    with pytest.raises(KeyboardInterrupt), going_on(folder, "seed 0", paths, check):
        write_file(paths[0], "whole")
        raise KeyboardInterrupt
    with pytest.raises(InputError, match="there already"), going_on(folder, "seed 1", paths, check):
        pass
    with going_on(folder, "seed 0", paths, check):
        write_file(paths[1], "whole")
    assert sorted(folder.iterdir()) == paths  # neither mark nor lock
    (folder / LOCK).write_text("{}")  # of a process that was killed after the last of its files
    with pytest.raises(InputError, match="there already"), going_on(folder, "seed 0", paths, check):
        pass
    assert sorted(folder.iterdir()) == paths


def test_what_fails_before_anything_is_written_leaves_no_folder(tmp_path):
    with pytest.raises(InputError), going_on(tmp_path / "out", "seed 0", [tmp_path / "out" / "a"], lambda: None):
        raise InputError("not one input that can be used")
    assert not (tmp_path / "out").exists()


def test_what_is_whole_is_recalled_and_what_has_changed_is_not(tmp_path):
    """Also after a kill in the middle of a line of the mark, and not by another request."""
    paths = [tmp_path / name for name in "abc"]
    with pytest.raises(KeyboardInterrupt), going_on(tmp_path, "seed 0", paths, lambda: None) as left:
        for path in paths:
            write_file(path, path.name)
            left.record(path.name, [path], {"num": 1})
        raise KeyboardInterrupt
    mark = tmp_path / UNFINISHED
    mark.write_text(mark.read_text()[:-9])
    paths[0].write_text("other")
    told = []
    for request in ("seed 0", "seed 0", "seed 1"):
        with pytest.raises(KeyboardInterrupt), going_on(tmp_path, request, paths, lambda: None) as left:
            told.append([left.recall(path.name) for path in paths])
            left.record("c", [paths[2]], {"num": 2})
            raise KeyboardInterrupt
    assert told == [[None, {"num": 1}, None], [None, {"num": 1}, {"num": 2}], [None, None, None]]
    with going_on(tmp_path, "seed 1", paths, lambda: None):
        pass
    assert sorted(tmp_path.iterdir()) == paths
