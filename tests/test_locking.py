"""Two processes that would write to one folder: the second is refused, or says that it waits."""

from __future__ import annotations

import logging
import platform
import subprocess
import sys
import threading

import pytest
from filelock import FileLock

from synesthete import locking
from synesthete.locking import alone, locked
from synesthete.types import InputError

HOLD = """
import sys
from pathlib import Path
from synesthete.locking import locked
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
        locking.take(FileLock(tmp_path / "free.lock"), tmp_path, wait=False)  # writes the notes of that machine
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


def test_calls_to_one_place_take_turns(tmp_path):
    inside = []

    @alone(lambda folder, name: folder)
    def write(folder, name):
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
