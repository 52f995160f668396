"""Music prepared: decoded once, cut, measured, encoded, and whole again after a kill."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sound_files import melody, write
from synesthete import tasks
from synesthete.cli.app import app
from synesthete.conditioning.labels import Labels, Loudness, quantiles
from synesthete.config import Stage, build
from synesthete.data import rows
from synesthete.data.audio import as_float
from synesthete.data.augmentation import AudioAugmentation
from synesthete.data.synthetic import TIMBRES
from synesthete.objectives import Denoising
from synesthete.tasks import preparation
from synesthete.tasks.music import cutting
from synesthete.tasks.music.upsampling import read_low_rate
from synesthete.types import InputError
from tiny_music import LENGTH, RATE, tiny_music

PARTS = ("train", "classifier", "test")


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def folder_of(tmp_path, *seconds, rate=RATE):
    for number, length in enumerate(seconds):
        write(tmp_path / "in" / f"{number}.wav", melody(length, rate, number), rate)
    return str(tmp_path / "in")


def test_each_split_has_pieces_of_its_own_recordings(tmp_path):
    recipe = tiny_music(classes="folders")
    found = tasks.prepare(recipe, tmp_path)
    assert found.class_names == tuple(sorted(TIMBRES))
    names = [set(getattr(found, part).recording_names) for part in PARTS]
    assert sum(map(len, names)) == len(set.union(*names)) == 28
    for part in PARTS:
        samples = getattr(found, part)
        assert samples.waveforms.shape[1] == LENGTH
        assert samples.waveforms.dtype == torch.int16
        assert set(samples.labels.tolist()) == {0, 1, 2, 3}
        timbre = samples.recording_names[samples.recordings[0]].split()[0]
        assert found.class_names[samples.labels[0]] == timbre
        assert samples.sample_rate == RATE
    codec = recipe.codec()
    codec.load_state_dict(found.statistics)
    x_0 = codec.encode(found.train.waveform(torch.arange(len(found.train))))
    assert x_0.mean().abs() < 0.01
    assert x_0.std() == pytest.approx(1, abs=0.01)
    for samples in (found.train, found.test):
        assert samples.x_0.shape == (len(samples), 1, *codec.shape)
        assert samples.x_0.dtype == torch.float16
        torch.testing.assert_close(
            samples.x_0[:3][:, 0].float(), codec.encode(samples.waveform(torch.arange(3))), atol=5e-3, rtol=5e-3
        )
    assert found.classifier.x_0 is None


def test_what_is_there_is_kept_and_a_killed_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(cutting, "SHARD_SECONDS", 8.0)
    whole = tasks.prepare(tiny_music(), tmp_path / "whole")
    written = preparation.load_or_compute
    left = 3

    def killed(path, make):
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        return written(path, make)

    for module in (preparation, rows):
        monkeypatch.setattr(module, "load_or_compute", killed)
    with pytest.raises(KeyboardInterrupt):
        tasks.prepare(tiny_music(), tmp_path / "killed")
    for module in (preparation, rows):
        monkeypatch.setattr(module, "load_or_compute", written)
    before = files(tmp_path / "killed")
    assert 7 <= len(before) < len(files(tmp_path / "whole"))
    again = tasks.prepare(tiny_music(), tmp_path / "killed")
    after = files(tmp_path / "killed")
    assert before.items() <= after.items()
    assert {path.name for path in after} == {path.name for path in files(tmp_path / "whole")}
    assert torch.equal(again.train.x_0[:], whole.train.x_0[:])
    tasks.prepare(tiny_music(), tmp_path / "killed")
    assert files(tmp_path / "killed") == after


def test_progress_ends_at_the_end(tmp_path):
    told = {}
    tasks.prepare(tiny_music(), tmp_path, lambda what, *counts: told.setdefault(what, []).append(counts))
    assert set(told) == {
        "seconds of sound decoded", "quarter seconds compared", "pieces encoded, train", "pieces encoded, test"
    }  # fmt: skip
    for steps in told.values():
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1]


def test_views_are_augmented_once_and_for_training_alone(tmp_path):
    recipe = tiny_music(augmentation=build(AudioAugmentation, semitones=(-4.0, 4.0)), num_views=3)
    found = tasks.prepare(recipe, tmp_path)
    assert found.train.x_0.shape[1] == 3
    assert found.test.x_0.shape[1] == 1
    views = found.train.x_0[:8].float()
    assert not torch.equal(views[:, 0], views[:, 1])
    codec = recipe.codec()
    codec.load_state_dict(found.statistics)
    seen = codec.encode(found.train.views(torch.arange(8), torch.full((8,), 2)))
    torch.testing.assert_close(views[:, 2], seen, atol=5e-3, rtol=5e-3)
    recipe.data.num_views = 1
    assert any("--set data.num_views=4" in note for note in tasks.prepare(recipe, tmp_path).notes)


def test_a_codec_that_is_trained_gets_waveforms(tmp_path):
    recipe = tiny_music()
    recipe.stages.insert(0, Stage("code", build(Denoising), train=("codec",)))
    found = tasks.prepare(recipe, tmp_path)
    assert found.train.x_0 is found.test.x_0 is None
    batch = found.train.batch(torch.arange(3), torch.Generator().manual_seed(0))
    assert batch.signal.shape == (3, LENGTH)
    assert not batch.encoded


def test_a_limit_keeps_as_many_of_each_class(tmp_path):
    found = tasks.prepare(tiny_music(classes="folders", limit=8), tmp_path)
    assert torch.bincount(found.train.labels).tolist() == [2, 2, 2, 2]
    assert len(found.classifier) == len(found.test) == 8


def test_names_that_are_not_utf_8_are_legible(tmp_path):
    for label in (b"caf\xe9", b"bar"):
        folder = tmp_path / "in" / os.fsdecode(label)
        folder.mkdir(parents=True)
        for number in range(4):
            path = write(tmp_path / "made.wav", melody(2.0, RATE, 10 * len(label) + number), RATE)
            path.rename(folder / os.fsdecode(b"\xe9%d.wav" % number))
    recipe = tiny_music(folder=str(tmp_path / "in"), sources=(), classes="folders")
    found = tasks.prepare(recipe, tmp_path / "out")
    assert found.class_names == ("bar", "café")
    names = [name for part in PARTS for name in getattr(found, part).recording_names]
    assert len(names) == 8 and all("/é" in name for name in names)
    assert read_low_rate(tmp_path / "in", RATE, 1.0, 3).shape == (3, RATE)


def test_the_conditioner_has_to_know_the_classes(tmp_path):
    recipe = tiny_music(classes="folders")
    recipe.conditioner = build(Labels, num_classes=3)
    with pytest.raises(
        InputError, match=r"recordings of 4 classes, a conditioner of 3; --set conditioner\.num_classes=4"
    ):
        tasks.prepare(recipe, tmp_path)


# --- what people bring -------------------------------------------------------------------------------------------


def test_broken_recordings_are_named_and_the_others_used(tmp_path):
    folder = folder_of(tmp_path, 2.0, 2.0, 2.0, 2.0)
    (tmp_path / "in" / "words.wav").write_text("these are words")
    write(tmp_path / "in" / "empty.wav", np.zeros(0, np.float32), RATE)
    write(tmp_path / "in" / "silent.wav", np.zeros(4 * RATE, np.float32), RATE)
    cut = write(tmp_path / "in" / "cut.wav", melody(3.0, RATE, 77), RATE)
    cut.write_bytes(cut.read_bytes()[:-8000])
    found = tasks.prepare(tiny_music(folder=folder, sources=()), tmp_path / "out")
    assert sorted(line.split(":")[0].rsplit("/", 1)[1] for line in found.skipped) == ["empty.wav", "words.wav"]
    notes = "\n".join(found.notes)
    assert "skipped 2 unreadable recordings: " in notes
    assert "1 recordings used as far as they go: " in notes
    assert "cut.wav: cut short by 8000 bytes" in notes
    assert "nothing left of 1 recordings, silent or damaged throughout: " in notes
    assert "silent.wav" in notes
    used = {name for part in PARTS for name in getattr(found, part).recording_names}
    assert any(name.endswith("cut.wav") for name in used)


def test_pieces_with_nan_are_left_out_and_the_rest_of_the_recording_stays(tmp_path):
    folder = folder_of(tmp_path, 2.0, 2.0, 1.0)
    sound = melody(3.0, RATE, 50)
    sound[int(1.2 * RATE)] = np.nan
    write(tmp_path / "in" / "nan.wav", sound, RATE, subtype="FLOAT")
    found = tasks.prepare(tiny_music(folder=folder, sources=()), tmp_path / "out")
    assert any(note.startswith("1 of 6 pieces of ") and "nan.wav left out: NaN" in note for note in found.notes)
    starts = [
        start
        for part in PARTS
        for start, which in zip(getattr(found, part).waveforms.starts, getattr(found, part).recordings, strict=True)
        if getattr(found, part).recording_names[which].endswith("nan.wav")
    ]
    assert sorted(int(start) for start in starts) == [0, 2000, 6000, 8000, 10_000]


def test_recordings_of_every_rate_and_channel_count(tmp_path):
    folder = folder_of(tmp_path, 2.0, 2.0)
    write(tmp_path / "in" / "low.wav", melody(2.0, 2000, 60), 2000)
    write(tmp_path / "in" / "high.flac", melody(2.0, 96_000, 61), 96_000)
    write(tmp_path / "in" / "six.wav", np.repeat(melody(2.0, RATE, 62)[:, None], 6, 1), RATE)
    found = tasks.prepare(tiny_music(folder=folder, sources=()), tmp_path / "out")
    assert sum(len(getattr(found, part)) for part in PARTS) == 5 * 4
    assert any(
        "1 of 5 recordings have a lower sample rate than the codec's 4000 Hz, down to 2000 Hz" in n for n in found.notes
    )


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        ([3.0], r"nothing is held out of 1 recordings.*cut this one into two files"),
        ([], r"no recordings in it; put some there"),
    ],
)
def test_too_few_recordings(tmp_path, seconds, message):
    folder = folder_of(tmp_path, *seconds)
    (tmp_path / "in").mkdir(exist_ok=True)
    with pytest.raises(InputError, match=message) as caught:
        tasks.prepare(tiny_music(folder=folder, sources=()), tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_silence_alone_is_refused(tmp_path):
    for number in range(4):
        write(tmp_path / "in" / f"{number}.wav", 1e-4 * melody(1.0, RATE, number), RATE, subtype="FLOAT")
    recipe = tiny_music(folder=str(tmp_path / "in"), sources=())
    with pytest.raises(InputError, match=r"every piece is quiet or damaged; lower data\.silence_db \(now -60\)"):
        tasks.prepare(recipe, tmp_path / "out")
    recipe.data.silence_db = -100.0
    assert len(tasks.prepare(recipe, tmp_path / "out").train)


def test_lone_beats_are_left_out_where_a_piece_is_to_sound(tmp_path):
    folder = folder_of(tmp_path, *[1.0] * 8)
    for number in range(4):  # a tenth of the half second that is a piece
        write(tmp_path / "in" / f"beat {number}.wav", melody(0.05, RATE, number), RATE)
    recipe = tiny_music(folder=folder, sources=(), silence_db=-50.0)

    def used() -> list[str]:
        found = tasks.prepare(recipe, tmp_path)
        samples = [getattr(found, part) for part in PARTS]
        return [one.recording_names[i].rpartition("/")[2] for one in samples for i in one.recordings.unique()]

    assert sum("beat" in name for name in used()) >= 3  # two of them sound alike
    recipe.data.sounding = 0.25
    assert sorted(used()) == [f"{number}.wav" for number in range(8)]
    recipe.data.sounding = 1.5
    with pytest.raises(InputError, match=r"data\.sounding 1\.5: give a share of a piece, from 0 to 1"):
        tasks.prepare(recipe, tmp_path)


def test_a_model_that_is_told_how_loud_learns_the_levels_of_its_pieces(tmp_path):
    recipe = tiny_music()
    recipe.conditioner = build(Loudness, width=8)
    found = tasks.prepare(recipe, tmp_path)
    places = torch.arange(len(found.train))
    level = 10 * found.train.waveform(places).square().mean(dim=1).log10()
    batch = found.train.batch(places, torch.Generator())
    torch.testing.assert_close(batch.raw, level, rtol=0, atol=0.1)
    assert found.told["levels"] == pytest.approx(quantiles(level), abs=0.1)
    assert torch.equal(found.train.take(places[3:5]).levels, batch.raw[3:5])
    recipe.conditioner.levels = (-30.0, -10.0)
    assert not tasks.prepare(recipe, tmp_path).told


def test_a_copy_in_another_split_is_left_out_of_it_and_named(tmp_path):
    folder = folder_of(tmp_path, *[1.0] * 24)
    recipe = tiny_music(folder=folder, sources=(), classes=None)
    first = tasks.prepare(recipe, tmp_path / "out")
    held_out = first.test.recording_names[0]
    sound = as_float(first.test.waveforms.sounds[0]).numpy()
    for level in np.linspace(0.3, 0.6, 6):  # whatever splits these fall into, one of them is in training
        write(tmp_path / "in" / f"once more {level:.2f}.flac", level * sound, RATE)
    found = tasks.prepare(recipe, tmp_path / "out")
    assert any("recordings sound alike: " in note and held_out in note for note in found.notes)
    copies = {held_out} | {
        name for part in PARTS for name in getattr(found, part).recording_names if "once more" in name
    }
    kept = {
        part
        for part in PARTS
        for which in getattr(found, part).recordings.tolist()
        if getattr(found, part).recording_names[which] in copies
    }
    assert kept == {"train"}


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path, monkeypatch):
    tasks.prepare(tiny_music(), tmp_path)
    before = files(tmp_path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("synesthete.data.waveforms.write_shard", full)
    with pytest.raises(InputError, match=r"cannot be written \(.*No space left.*\); free some space") as caught:
        tasks.prepare(tiny_music(folder=folder_of(tmp_path, 1.0, 1.0), sources=()), tmp_path)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == before
    assert not list(tmp_path.rglob("*.partial"))


def test_a_long_recording_is_decoded_alone_and_read_in_pieces(tmp_path, monkeypatch):
    """An hour in one shard; of it no more than a batch is ever in memory."""
    monkeypatch.setattr(cutting, "SHARD_SECONDS", 60.0)
    second = melody(1.0, 100, 3)
    write(tmp_path / "in" / "mix.wav", np.tile(second, 3600), 100)
    folder = folder_of(tmp_path, 1.0, 1.0)
    recipe = tiny_music(folder=folder, sources=(), stride=600.0)
    recipe.codec.sample_rate, recipe.codec.num_samples, recipe.codec.n_fft = 100, 400, 32
    recipe.codec.hop_length, recipe.codec.num_bins = 16, 16
    found = tasks.prepare(recipe, tmp_path / "out")
    assert len(found.train) == 6
    assert found.train.recording_names[0].endswith("mix.wav")
    assert len(list((tmp_path / "out" / "recordings").glob("*.safetensors"))) == 2
    torch.testing.assert_close(
        found.train.waveform(torch.tensor([5]))[0, :100], torch.from_numpy(second), atol=1e-4, rtol=0
    )


def test_the_shared_recordings(shared_data, tmp_path):
    folder = shared_data / "notes_vsco"
    recipe = tiny_music(folder=str(folder), sources=(), classes=None, stride=4.0)
    found = tasks.prepare(recipe, tmp_path)
    assert sum(getattr(found, part).num_recordings for part in PARTS) > 180
    assert not found.skipped


def test_the_command_counts(tmp_path):
    (tmp_path / "tiny.yaml").write_text(tiny_music().to_yaml())
    result = CliRunner().invoke(app, ["prepare", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "out"), "--json"])
    values = json.loads(result.stdout.splitlines()[-1])
    assert values["train_recordings"] + values["classifier_recordings"] + values["test_recordings"] == 28
    assert values["train_pieces"] == 4 * values["train_recordings"]
    assert values["train_seconds"] == 2.0 * values["train_recordings"]
