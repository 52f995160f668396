"""Shards at an address: what is read there is what was prepared, checked, in bounds, in one order, from any step on."""

from __future__ import annotations

import json
import pickle
import threading
import time
from itertools import chain

import fsspec
import pytest
import torch
from typer.testing import CliRunner

from synesthete.cli.app import app
from synesthete.data import streaming
from synesthete.data.labelled import PictureSamples
from synesthete.data.rows import Rows
from synesthete.data.samples import Steps
from synesthete.data.streaming import Store, StreamedShards, write_rows
from synesthete.tasks import prepare
from synesthete.tasks.preparation import write_prepared
from synesthete.training import loop
from synesthete.types import InputError
from tiny_pictures import tiny_recipe

NUM = 200


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An address in memory, a cache of its own, and shards that are small."""
    monkeypatch.setenv("SYNESTHETE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(streaming, "SHARD_BYTES", 2048)
    monkeypatch.setattr(streaming, "WINDOW", 3)
    monkeypatch.setattr(streaming, "MAPPED", 4)
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield "memory://bucket/data"
    for thread in threading.enumerate():
        if thread.name == "window":
            thread.join()


def streamed(place: str, num_rows: int = 10) -> PictureSamples:
    """Pictures that are their own number, NUM of them."""
    pictures = torch.arange(NUM, dtype=torch.uint8).view(NUM, 1, 1, 1).expand(NUM, 3, 8, 8)
    store = Store(place)
    rows = Rows(StreamedShards(store, write_rows(store, "pictures", pictures, num_rows)))
    return PictureSamples(rows, torch.arange(NUM))


def numbers(steps: Steps, first: int, last: int, **settings) -> list[list[int]]:
    return [batch.signal[:, 0, 0, 0].tolist() for batch in steps.loader(first, last, **settings)]


def kept(tmp_path) -> list:
    return [*(tmp_path / "cache" / "streamed").glob("*.safetensors")]


def test_an_epoch_goes_through_windows_of_shards_in_an_order_of_seed_and_epoch(place):
    steps = Steps(streamed(place), 20, seed=0)
    seen = numbers(steps, 0, 20)
    for epoch in ([*chain(*seen[:10])], [*chain(*seen[10:])]):
        assert sorted(epoch) == list(range(NUM))
        drawn = [{number // 10 for number in epoch[first : first + 30]} for first in range(0, NUM, 30)]
        assert max(map(len, drawn)) <= 2 * streaming.WINDOW - 1  # the last window may be a smaller one
        assert epoch[:30] != sorted(epoch[:30])
        assert sorted({number // 10 for number in epoch[:30]}) != [0, 1, 2]
    assert seen[:10] != seen[10:]
    assert numbers(Steps(streamed(place), 20, seed=1), 0, 1) != seen[:1]
    assert numbers(steps, 7, 13) == seen[7:13]  # begun in the middle of an epoch
    assert numbers(steps, 7, 13, num_workers=2) == seen[7:13]
    ranks = [numbers(Steps(streamed(place), 20, seed=0, rank=rank, world_size=2), 0, 3) for rank in range(2)]
    assert [a + b for a, b in zip(*ranks, strict=True)] == seen[:3]


def test_the_next_window_is_fetched_before_it_is_asked_for(place, tmp_path, monkeypatch):
    samples = streamed(place)
    steps = Steps(samples, 10, seed=0)
    assert len(kept(tmp_path)) == 1  # which tells the shape
    first = steps[0]
    deadline = time.monotonic() + 60
    while len(kept(tmp_path)) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(kept(tmp_path)) >= 6  # two windows of three
    assert len(set(first.signal[:, 0, 0, 0].tolist())) == 10
    files, whole = samples.pictures.shards.store.files, samples.pictures.shards.store.files.cat_file
    monkeypatch.setattr(files, "cat_file", lambda path: whole(path)[:-7])
    seen, refused = [], 0
    for step in (*range(20), *range(20)):  # also when it is begun again
        try:
            seen += steps[step].signal[:, 0, 0, 0].tolist()
        except InputError:
            refused += 1
            monkeypatch.setattr(files, "cat_file", whole)
            seen += steps[step].signal[:, 0, 0, 0].tolist()
    assert refused in (1, 2) and seen[:NUM] == seen[NUM:] and sorted(seen[:NUM]) == list(range(NUM))


def test_rows_from_all_over_the_place_are_read_beside_a_walk_through_windows(place):
    samples = streamed(place)
    steps = Steps(samples, 10, seed=0)
    walked = [*chain(*numbers(steps, 0, 20))]
    between = []
    for step in range(20):
        between += steps[step].signal[:, 0, 0, 0].tolist()
        drawn = torch.randperm(NUM, generator=torch.Generator().manual_seed(step))[:7]
        assert samples.pictures[drawn][:, 0, 0, 0].tolist() == drawn.tolist()
    assert between == walked
    few = PictureSamples(samples.pictures.take(torch.arange(50)), torch.arange(50))
    assert sorted(chain(*numbers(Steps(few, 10, seed=0), 0, 5))) == list(range(50))
    assert samples.pictures[[199, 3]][:, 0, 0, 0].tolist() == [199, 3]
    samples.follow(torch.zeros(999, dtype=torch.int64))
    assert samples.pictures[[199, 3]][:, 0, 0, 0].tolist() == [199, 3]
    copy = pickle.loads(pickle.dumps(samples))
    assert copy.pictures[[5, 170]][:, 0, 0, 0].tolist() == [5, 170]


def test_what_is_kept_here_and_what_is_mapped_are_bounded(place, tmp_path, monkeypatch):
    samples = streamed(place)
    size = samples.pictures.shards.shards[0].num_bytes
    monkeypatch.setenv("SYNESTHETE_STREAM_GB", str(5.5 * size / 1e9))
    seen = [*chain(*numbers(Steps(samples, 20, seed=0), 0, 10))]
    assert sorted(seen) == list(range(NUM))
    assert 0 < len(kept(tmp_path)) <= 5
    assert samples.pictures.shards._mapped.cache_info().currsize <= 4
    monkeypatch.setenv("SYNESTHETE_STREAM_GB", "much")
    with pytest.raises(InputError, match="SYNESTHETE_STREAM_GB is 'much'; give a number of gigabytes"):
        numbers(Steps(samples, 20, seed=0), 0, 10)


def test_a_shard_cut_short_is_named_and_fetched_again(place, tmp_path, monkeypatch, caplog):
    samples = streamed(place)
    shard = samples.pictures.shards.shards[1]
    whole, files = samples.pictures.shards.store.files.cat_file, samples.pictures.shards.store.files
    answers = [lambda path: whole(path)[:-7], whole]
    monkeypatch.setattr(files, "cat_file", lambda path: answers.pop(0)(path))
    assert samples.pictures[13][0, 0, 0] == 13
    assert f"{place}/{shard.name}: cut short" in caplog.text
    path = tmp_path / "cache" / "streamed" / shard.name  # and what is kept here
    path.write_bytes(path.read_bytes()[:100])
    answers[:] = [whole]
    assert streamed(place).pictures[13][0, 0, 0] == 13
    path.unlink()
    answers[:] = 3 * [lambda path: whole(path)[:-7]]
    with pytest.raises(InputError, match=f"{shard.name}: cut short .*, 3 times"):
        streamed(place).pictures[13]
    monkeypatch.setattr(streaming, "SECONDS", 0.02)
    answers[:] = 3 * [lambda path: time.sleep(1)]
    with pytest.raises(InputError, match=f"{shard.name}: no answer within 0.02 s, 3 times"):
        streamed(place).pictures[13]


def test_a_length_or_a_number_of_rows_that_is_a_lie_is_one_line(place, tmp_path):
    shards = streamed(place).pictures.shards
    for name, lie in (("num_bytes", 7), ("num_rows", 9)):
        told = [shard._replace(**{name: getattr(shard, name) + lie}) for shard in shards.shards]
        with pytest.raises(InputError) as said:
            Rows(StreamedShards(Store(place), told))[[0, 1]]
        assert told[0].name in str(said.value) and "\n" not in str(said.value)


def test_prepared_data_at_an_address_train_to_the_same_bit_and_go_on_in_mid_epoch(place, tmp_path):
    recipe = tiny_recipe("stages.denoise.num_steps=4", "stages.denoise.checkpoint_every=2")
    recipe.stages[0].batch_size = 16  # three steps an epoch
    prepared = prepare(recipe, tmp_path / "data")
    write_prepared(prepared, recipe, place, lambda *_: None)
    found = prepare(recipe, place)
    assert type(found.train) is PictureSamples
    assert found.class_names == prepared.class_names
    assert all(torch.equal(found.statistics[name], value) for name, value in prepared.statistics.items())
    places = torch.tensor([5, 0, 31])
    for part in ("train", "test", "classifier"):
        both = (getattr(one, part) for one in (found, prepared))
        ours, theirs = (one.batch(places % 12, torch.Generator().manual_seed(0)) for one in both)
        assert torch.equal(ours.signal, theirs.signal)
        assert torch.equal(ours.raw, theirs.raw)

    def stop(said):
        if said.step == 2:
            raise KeyboardInterrupt

    loop.train_recipe(recipe, found, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        loop.train_recipe(recipe, found, tmp_path / "cut", report=stop)
    loop.train_recipe(recipe, prepare(recipe, place), tmp_path / "cut")
    name = "model/denoiser/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_an_address_that_is_not_what_it_says_is_one_line(place):
    recipe = tiny_recipe()
    with pytest.raises(InputError, match=r"index.json: not there; give the address of `prepare --out ADDRESS`"):
        prepare(recipe, place)
    write_prepared(prepare(recipe), recipe, place, lambda *_: None)
    with pytest.raises(InputError, match="prepared for other data, codec or conditioner than tiny-pictures's"):
        prepare(tiny_recipe("data.seed=1"), place)
    store = Store(place)
    index = json.loads(store.read("index.json"))
    for name in ("../../stolen-000000000000000000000000.safetensors", 7, None):
        index["parts"]["train"]["fields"]["pictures"]["rows"][0][0] = name
        store.write("index.json", json.dumps(index).encode())
        with pytest.raises(InputError, match=r"index\.json: damaged"):
            prepare(recipe, place)
    for address in ("nonsense://there", "s3://bucket"):
        with pytest.raises(InputError, match=address):
            prepare(recipe, address)


def test_commands_take_an_address(place, tmp_path):
    runs, recipe = CliRunner(), tmp_path / "recipe.yaml"
    recipe.write_text(tiny_recipe().to_yaml())
    made = runs.invoke(app, ["prepare", str(recipe), "--out", place, "--json"])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout.splitlines()[-1])["folder"] == place
    other = runs.invoke(
        app, ["train", str(recipe), "--set", "data.seed=1", "--data", place, "--out", str(tmp_path / "run")]
    )
    assert str(other.exception).startswith(f"{place}: prepared for other data")
