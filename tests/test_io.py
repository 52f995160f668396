"""Files and folders are whole or not there; a second process in a folder is refused, or says that it waits."""

from __future__ import annotations

import logging
import os
import platform
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors import torch as safetensors

from synesthete import io
from synesthete.data.rows import Rows
from synesthete.io import (
    append_to,
    digest,
    load_or_compute,
    locked,
    recover_folder,
    remove_leftovers,
    remove_partial,
    replacing,
    write_file,
    write_folder,
)
from synesthete.types import InputError

HOLD = """
import sys
from pathlib import Path
from synesthete.io import locked
with locked(Path(sys.argv[1]), wait=True):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def elsewhere(tmp_path):
    """Another process that holds tmp_path until it is told something."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_folder_in_use_is_refused_in_one_line_that_names_the_process(elsewhere, tmp_path):
    with pytest.raises(InputError) as caught, locked(tmp_path):
        pass
    assert f"{tmp_path}: process {elsewhere.pid} is writing to it; wait for it or choose another" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_killed_process_held_is_free_at_once(elsewhere, tmp_path):
    elsewhere.kill()
    elsewhere.wait()
    assert (tmp_path / ".lock").is_file()
    with locked(tmp_path):
        assert (tmp_path / ".lock").is_file()
    assert not list(tmp_path.iterdir())


def test_waiting_says_so_and_goes_on_when_the_other_ends(elsewhere, tmp_path, caplog):
    timer = threading.Timer(0.3, elsewhere.kill)
    timer.start()
    with caplog.at_level(logging.WARNING), locked(tmp_path, wait=True):
        assert not timer.is_alive()
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: process {elsewhere.pid} is preparing it; waiting"
    ]


def test_another_machine_is_told_apart_and_not_named(tmp_path, monkeypatch):
    lock = FileLock(tmp_path / ".lock")
    with lock, monkeypatch.context() as patch:
        patch.setattr(platform, "node", lambda: "secret-host")
        io.take(FileLock(tmp_path / "free.lock"), tmp_path, wait=False)  # writes the notes of that machine
        assert "secret" not in (tmp_path / ".lock").read_text()
        patch.undo()
        with pytest.raises(InputError, match="of another machine"), locked(tmp_path):
            pass


def test_whoever_holds_a_folder_may_ask_again_but_no_other_thread(tmp_path):
    with locked(tmp_path):
        with locked(tmp_path):
            pass
        found = []

        def ask():
            try:
                with locked(tmp_path):
                    found.append("entered")
            except InputError:
                found.append("refused")

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        assert found == ["refused"]


def test_an_error_inside_frees_the_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass


def test_a_file_system_without_locks_is_said_and_no_reason_to_stop(tmp_path, monkeypatch, caplog):
    def acquire(*_, **__):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with caplog.at_level(logging.WARNING), locked(tmp_path):
        pass
    assert "cannot be locked ([Errno 37] No locks available); let nothing else write there" in caplog.text


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"), locked(tmp_path / "file"):
        pass


def test_threads_in_one_folder_take_turns(tmp_path):
    inside = []

    def write(folder, name):
        with locked(folder, wait=True):
            inside.append(name)
            for _ in range(50):
                assert inside == [name]
            inside.remove(name)
        return name

    results: list[str] = []
    threads = [threading.Thread(target=lambda i=i: results.append(write(tmp_path, str(i)))) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [str(i) for i in range(8)]


# files


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "below" / "a.txt"
    write_file(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("ne")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    write_file(path, "é".encode())
    assert path.read_text(encoding="utf-8") == "é"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == (path.parent.stat().st_mode & 0o666)


def test_what_a_library_writes_beside_a_file_is_not_left_by_a_kill(tmp_path):
    """The temporary files of safetensors, whose names say nothing of whose they are."""
    read, write = os.pipe()
    if not os.fork():
        with replacing(tmp_path / "a.safetensors") as partial:
            (partial.parent / ".tmpAbCdEf").write_bytes(b"half")
            os.write(write, b"x")
            os.kill(os.getpid(), signal.SIGKILL)
    os.read(read, 1)
    os.wait()
    assert list(tmp_path.rglob(".tmp*"))
    with locked(tmp_path, wait=True):
        write_file(tmp_path / "a.safetensors", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "a.safetensors"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(tensors, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors, "save_file", full)
    with pytest.raises(InputError, match=r"cannot be written .*No space left.* free some space") as caught:
        load_or_compute(tmp_path / "a.safetensors", lambda: {"values": torch.zeros(2)})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another folder"):
        write_file(tmp_path / "file" / "a.txt", "")
    with pytest.raises(InputError, match="choose another folder"):
        write_folder(tmp_path / "file", lambda partial: None)


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_the_old_one_or_the_new_one(tmp_path, monkeypatch, exchanges):
    if not exchanges:  # another system than Linux
        monkeypatch.setattr(io, "_exchange", lambda one, other: False)
    folder = tmp_path / "model"

    def fill(content, error=None):
        def write(partial):
            (partial / content).write_text(content)
            assert error or not folder.exists() or [path.name for path in folder.iterdir()] == ["old"]
            if error:
                raise error

        return write

    write_folder(folder, fill("old"))
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        with pytest.raises((InputError, KeyboardInterrupt)):
            write_folder(folder, fill("new", error))
        assert [path.name for path in folder.iterdir()] == ["old"]
    write_folder(folder, fill("new"))
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_kill_between_two_renames_is_mended(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    write_folder(folder, lambda partial: write_file(partial / "a", "old"))
    real = os.replace

    def killed(one, other):
        if Path(other) == folder:
            raise KeyboardInterrupt
        real(one, other)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(io, "_exchange", lambda one, other: False)
        patch.setattr(os, "replace", killed)
        write_folder(folder, lambda partial: None)
    assert not folder.exists()
    recover_folder(folder)
    assert (folder / "a").read_text() == "old"


def test_many_write_one_folder_and_one_file_at_once(tmp_path):
    def write(number):
        for _ in range(10):
            write_folder(tmp_path / "folder", lambda partial: write_file(partial / "a", str(number)))
            write_file(tmp_path / "file", str(number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["a"]


def left_by(process: int, name: str = "a") -> str:
    return f".{name}.0a1b2c3d4e5f0a1b.{io.machine()}-{process}.partial"


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_dead_processes_were_writing_is_removed_by_whoever_holds_the_lock(tmp_path, gone):
    living = [left_by(os.getppid()), ".b.0a1b2c3d4e5f0a1b.00ff00ff00ff-1.partial"]
    dead = [left_by(gone), left_by(gone, "x" * 80), left_by(os.getpid()), ".of another machine.partial"]
    for name in (*living, *dead):
        (tmp_path / "below" / name).mkdir(parents=True)
    (tmp_path / left_by(gone)).write_text("half a file")
    os.utime(tmp_path / "below" / dead[-1], (0, 0))
    with locked(tmp_path), replacing(tmp_path / "mine") as partial:
        remove_leftovers(tmp_path)
        assert partial.parent.exists()
        partial.touch()
        assert not (tmp_path / left_by(gone)).exists()
        assert sorted(path.name for path in (tmp_path / "below").iterdir()) == sorted(living)
    remove_partial(tmp_path)
    assert not list((tmp_path / "below").iterdir())
    with locked(tmp_path):
        (tmp_path / "below" / left_by(gone)).mkdir()  # of a worker that died meanwhile
    assert not list((tmp_path / "below").iterdir())


def test_a_folder_that_is_written_takes_what_was_left_beside_it_along(tmp_path, gone):
    (tmp_path / left_by(gone)).mkdir()
    write_folder(tmp_path / "a", lambda partial: None)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_nothing_is_written_through_a_link(tmp_path):
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (other / "precious").write_text("mine")
    for name in ("file", ".lock", "journal"):
        (folder / name).symlink_to(other / "precious")
    (folder / "made").symlink_to(other)
    write_file(folder / "file", "new")
    write_folder(folder / "made", lambda partial: write_file(partial / "precious", "new"))
    with pytest.raises(InputError, match=r"\.lock: a link"), locked(folder):
        pass
    with pytest.raises(OSError, match="symbolic"):
        append_to(folder / "journal")
    assert (other / "precious").read_text() == "mine"
    assert (folder / "file").read_text() == (folder / "made" / "precious").read_text() == "new"
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "file", "journal", "made"]


def test_names_of_what_is_being_written_cannot_be_foreseen(tmp_path):
    names = []
    for _ in range(20):
        with replacing(tmp_path / ("é" * 100)) as partial:
            names.append(partial.parent.name)
            partial.touch()
    assert len(set(names)) == 20
    assert len(re.search(r"\.([0-9a-f]{16})\.", names[0])[1]) == 16


# names and caches


def test_a_name_changes_with_whatever_it_names(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    torch.manual_seed(0)
    values = [1, 1.0, "1", b"one", None, [1], {"a": [1]}, [1, 2], tmp_path / "a", tmp_path / "b"]
    values += [torch.zeros(2), torch.zeros(2).half(), torch.zeros(2, 1), torch.zeros(3), torch.tensor(0.0)]
    values += [torch.tensor([False]), np.zeros(2), np.zeros((2, 1)), torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)]
    names = [digest(value) for value in values]
    assert len(set(names)) == len(names)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(1, 2) not in (digest(2, 1), digest([1, 2]), digest(12))
    assert len(digest("a")) == 12
    assert len(digest("a", size=8)) == 16


def test_rows_on_disk_are_named_as_the_tensor_that_they_are():
    values = torch.arange(3000).view(1000, 3)
    assert digest(Rows([values[:300], values[300:]])) == digest(values) == digest(values.t().contiguous().t())


def test_what_was_computed_is_read_and_what_is_damaged_computed_again(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"values": torch.arange(4).view(2, 2).t()}

    path = tmp_path / "below" / "a.safetensors"
    for _ in range(2):
        assert torch.equal(load_or_compute(path, compute)["values"], torch.arange(4).view(2, 2).t())
    assert len(calls) == 1
    path.write_bytes(path.read_bytes()[:20])
    load_or_compute(path, compute)
    assert len(calls) == 2
    assert list(path.parent.iterdir()) == [path]
