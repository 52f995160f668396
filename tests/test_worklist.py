"""Files that are made elsewhere, and what is told of them."""

from __future__ import annotations

import errno
import json
import re
import threading
from typing import TYPE_CHECKING

import pytest
import safetensors.torch
from typer.testing import CliRunner

from paired_files import write_picture
from synesthete.cli.app import app
from synesthete.codecs.pixels import PixelCodec
from synesthete.data.picture import PictureFile
from synesthete.data.pictures import Pictures
from synesthete.data.preprocessed import preprocess_images
from synesthete.data.rows import compute_rows
from synesthete.executors import Local, Lost, using
from synesthete.io import locked
from synesthete.types import InputError
from synesthete.worklist import Failure, standings

if TYPE_CHECKING:
    from pathlib import Path

    from synesthete.data.rows import Rows


class Elsewhere:
    """Another machine, that does everything twice, and the first time loses one job and forgets to say of another."""

    name = "elsewhere"

    def __init__(self, shares: bool = True) -> None:
        self.shares, self.num_rounds = shares, 0

    def run(self, work, jobs, how, at_most=None):
        self.num_rounds += 1
        for place, (path, job) in enumerate(jobs.items()):
            if self.num_rounds == 1 and place == 0:
                yield path, Lost("its machine went away")
            elif self.num_rounds > 1 or place != 1:
                for _ in range(2 if self.shares else 0):
                    work(job)
                yield path, None


def rows_in(folder: Path, compute) -> Rows:
    return compute_rows(10, 4, lambda number, _: folder / f"{number}.safetensors", compute, step="rows")


def double(places):
    return 2.0 * places[:, None]


def test_shards_made_elsewhere_are_the_same_bytes_and_the_worklist_tells_of_them(tmp_path):
    rows_in(tmp_path / "here", double)
    with using(Elsewhere()):
        found = rows_in(tmp_path / "there", double)
    assert found[:].flatten().tolist() == [2.0 * i for i in range(10)]
    for path in (tmp_path / "here").glob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes()
    (tmp_path / "there" / "0.safetensors").unlink()
    (tmp_path / "there" / "2.safetensors").unlink()
    [standing] = standings(tmp_path)[1:]
    assert (standing.step, standing.total, standing.done, standing.left) == ("rows", 3, 1, 1)
    assert standing.failed == (Failure("0.safetensors", "its machine went away", 1),)
    assert standing.rate > 0


def test_two_clusters_on_one_folder_make_everything_once(tmp_path):
    made, rows = [], [None, None]

    def compute(places):
        made.append(places.tolist())
        return double(places)

    def one_of_two(number: int) -> None:
        with using(Local()), locked(tmp_path, wait=True):
            rows[number] = rows_in(tmp_path, compute)[:]

    threads = [threading.Thread(target=one_of_two, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert rows[0].equal(rows[1]) and not [*tmp_path.glob("*.partial")]


def test_what_a_full_disk_kept_this_process_from_making_is_told(tmp_path, monkeypatch):
    """Of shards of numbers and of pictures; room made, the same command goes on."""
    written = safetensors.torch.save_file

    def until_full(tensors, path):
        if re.match(r"1\.|fitted-00001", path.name):
            raise OSError(errno.ENOSPC, "No space left on device")
        written(tensors, path)

    monkeypatch.setattr("synesthete.data.preprocessed.SHARD_ROWS", 2)
    files = [PictureFile(str(write_picture(tmp_path / "in" / f"{i}.png", i))) for i in range(6)]

    def fitted():
        pictures = Pictures(list(files), ["a"] * 6)
        return preprocess_images(pictures, PixelCodec(size=8, channels=3), tmp_path / "pictures", "fitted")

    for folder, make in (("numbers", lambda: rows_in(tmp_path / "numbers", double)), ("pictures", fitted)):
        with monkeypatch.context() as full:
            full.setattr("safetensors.torch.save_file", until_full)
            with pytest.raises(InputError, match="No space left"):
                make()
        [standing] = standings(tmp_path / folder)
        assert (standing.done, standing.left, standing.total) == (1, 1, 3)
        assert "No space left" in standing.failed[0].why and standing.failed[0].tries == 1
        make()
        [standing] = standings(tmp_path / folder)
        assert (standing.done, standing.failed) == (3, ())


def test_a_folder_that_is_not_shared_is_said(tmp_path):
    with using(Elsewhere(shares=False)), pytest.raises(InputError, match=r"made by elsewhere and not here; .* share"):
        rows_in(tmp_path, double)


def test_the_command_tells_how_far_it_has_come(tmp_path):
    rows_in(tmp_path / "out" / "latents", double)
    (tmp_path / "out" / "latents" / "1.safetensors").unlink()
    told = CliRunner().invoke(app, ["prepare", "--status", str(tmp_path / "out"), "--json"])
    [step] = json.loads(told.stdout)["steps"]
    assert (step["step"], step["total"], step["done"], step["failed"], step["left"]) == ("rows", 3, 2, [], 1)
    bad = ["prepare", "images-digits", "--on", "x"]
    for wrong in (["prepare", "--status", str(tmp_path / "no")], ["prepare"], bad):
        assert CliRunner().invoke(app, wrong).exit_code != 0
