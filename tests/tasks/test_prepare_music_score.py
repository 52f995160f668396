"""Scores prepared: pieces split whatever their key, played, encoded with their rolls beside them, and kept."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from synesthete import tasks
from synesthete.config import build
from synesthete.data.scores.corpus import Scores
from synesthete.data.scores.midi import write_midi
from synesthete.data.scores.performances import (
    PerformanceSamples,
    RecordedScores,
    content_of,
    divide_pieces,
    packed,
    place_windows,
    unpacked,
)
from synesthete.data.scores.rendering import Partials, render
from synesthete.data.scores.score import Note, Score
from synesthete.data.scores.sources import SyntheticChorales
from synesthete.pipeline.canvas import encode_whole
from synesthete.types import InputError
from tiny_scores import BANDS, FRAMES, HOP, NAMES, RATE, Tunes, tiny_scores, tune


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="module")
def found(folder):
    return tasks.prepare(tiny_scores(), folder)


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def test_every_piece_is_in_one_split_with_all_its_takes():
    data = tiny_scores(takes=3).data()
    splits = data.performances()
    pieces = {split: {content_of(one.score) for one in chosen} for split, chosen in splits.items()}
    assert len(pieces["train"] | pieces["test"]) == 12
    assert not pieces["train"] & pieces["test"]
    every = [one for chosen in splits.values() for one in chosen]
    assert len(every) == len({one.stamp for one in every}) == 36
    assert {one.instrument for one in every} == set(NAMES)
    assert min(one.score.tempos[0][1] for one in every) >= 60
    assert len({one.score.tempos for one in every}) > 20
    lowest = {content_of(tune(n)): min(note.pitch for note in tune(n).notes) for n in range(12)}
    moved = {min(note.pitch for note in one.score.notes) - lowest[content_of(one.score)] for one in every}
    assert min(moved) >= -3
    assert max(moved) <= 3
    assert len(moved) > 3


def test_a_piece_stays_in_its_split_beside_others_and_in_another_key():
    few, many = (divide_pieces([tune(n).transposed(n % 5) for n in range(num)], 0.3) for num in (20, 60))
    assert set(few) == {"train", "test"}
    assert many[:20] == few == divide_pieces([tune(n).at_tempo(70) for n in range(20)], 0.3)
    assert content_of(tune(0)) == content_of(tune(0).transposed(5)) == content_of(tune(0).at_tempo(70))
    assert content_of(tune(0)) != content_of(tune(1))
    for share in (0.001, 0.999):
        assert sorted(divide_pieces([tune(0), tune(1)], share)) == ["test", "train"]


def test_a_chorale_is_held_out_by_both_recipes(tmp_path):
    """What one composes is heard on no notes that the other learned from."""
    source = SyntheticChorales(40, num_bars=(2, 4))
    data = Scores(sources=(source,), test_share=0.3)
    composed = data.divide(data.pieces(tmp_path)[0])
    entries = source.scores()
    splits = divide_pieces([entry.read() for entry in entries], 0.3)
    played = {entry.name: split for entry, split in zip(entries, splits, strict=True)}
    assert {played[piece.name] for piece in composed["test"]} == {"test"}
    assert {played[piece.name] for piece in composed["train"]} == {"train"}


def test_x_0_and_roll_of_a_performance_belong_together(found):
    """The windows are cut from one encoding of the whole; statistics are of the training sounds."""
    recipe = tiny_scores()
    codec = recipe.codec()
    codec.load_state_dict(found.statistics)
    one = recipe.data().performances()["train"][0]
    assert found.train.names[0] == one.name
    whole = encode_whole(codec, torch.from_numpy(one.sound(RATE))[None])[0]
    x_0, roll = found.train.window(0, 7)
    assert torch.equal(x_0, whole[..., 7 : 7 + FRAMES].half().float())
    assert torch.equal(roll, one.score.frames(7 + FRAMES, HOP / RATE, start=-one.lead)[..., 7:].to(torch.uint8))
    values = torch.cat([x.flatten() for x in found.train.encoded]).float()
    assert values.mean().abs() < 0.02
    assert values.std() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("start", [0.5, 0.706, 0.811])
def test_a_note_begins_in_x_0_where_its_roll_says(start):
    """Within half a frame: what rises there is centred on the frame of the roll, for an analysis window sees around."""
    codec = tiny_scores().codec()
    score = Score((Note(69, start, 4.0),)).at_tempo(60)
    x_0 = encode_whole(codec, torch.from_numpy(render(score, Partials(), "organ", RATE))[None])
    level = codec.denormalise(x_0)[0].exp().sum(0)
    crossing = int((level > level.max() / 2).float().argmax())
    before, after = level[crossing - 1 : crossing + 1].tolist()
    moment = crossing - 1 + (level.max().item() / 2 - before) / (after - before)  # where half of the window sounds
    frame = score.frames(len(level), HOP / RATE)[1, 69].argmax().item()
    assert abs(moment - frame) <= 0.5


def test_training_windows_move_and_held_out_ones_do_not(found):
    train = found.train
    assert (train.jitter, train.context) == (5, 10)
    assert found.test.jitter is None
    places = torch.arange(len(train))
    draws = [train.batch(places, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draws[0].signal, draws[1].signal)
    assert not torch.equal(draws[0].signal, draws[2].signal)
    still = train.plain().batch(places, torch.Generator().manual_seed(0))
    for row in (0, len(train) // 2, len(train) - 1):
        x_0, roll = train.window(int(train.performances[row]), int(train.starts[row]))
        assert torch.equal(still.signal[row], x_0)
        assert torch.equal(still.raw.roll[row], roll)
    assert still.encoded
    assert torch.equal(still.label, still.raw.instrument)


def test_half_of_the_windows_are_told_how_they_begin(found):
    places = torch.arange(len(found.train)).repeat(1 + 400 // len(found.train))
    batch = found.train.batch(places, torch.Generator().manual_seed(0))
    num = batch.raw.known.sum(1)
    assert (num > 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert set(num.tolist()) == set(range(11))
    assert torch.equal(batch.raw.known, torch.arange(FRAMES) < num[:, None])
    assert torch.equal(batch.raw.before, batch.signal * batch.raw.known[:, None, None])


def test_silence_follows_where_a_performance_ends():
    silence = torch.full((1, BANDS), -2.0)
    roll = packed(Score((Note(60, 0, 9.0),)).frames(10, 0.1))
    short = PerformanceSamples(
        (torch.ones(10, 1, BANDS).half(),), (roll,), *3 * (torch.zeros(1, dtype=torch.int64),), silence, FRAMES, 0.1
    )
    x_0, rolled = short.window(0, 0)
    assert (x_0[..., :10] == 1).all()
    assert (x_0[..., 10:] == -2).all()
    assert rolled[0, 60].tolist() == [1] * 10 + [0] * (FRAMES - 10)
    assert rolled[1, 60].sum() == 1
    assert torch.equal(unpacked(roll), rolled[..., :10])


def test_windows_cover_a_performance():
    assert place_windows(10, 24, 8).tolist() == [0]
    assert place_windows(40, 24, 8).tolist() == [0, 8, 16]
    assert place_windows(43, 24, 8).tolist() == [0, 8, 16, 19]


def test_what_was_prepared_is_kept_and_what_is_damaged_made_again(found, folder):
    before = files(folder)
    assert len(before) == 3
    again = tasks.prepare(tiny_scores(), folder)
    assert files(folder) == before
    assert torch.equal(again.train.encoded[0], found.train.encoded[0])
    shard = next(path for path in before if path.name.startswith("test"))
    content = shard.read_bytes()
    shard.write_bytes(content[:1000])
    tasks.prepare(tiny_scores(), folder)
    assert shard.read_bytes() == content
    louder = tiny_scores()
    louder.data.sources[0].tempos = (90.0, 91.0)
    tasks.prepare(louder, folder)
    assert len(files(folder)) == 6


def test_the_data_decide_the_instruments(found):
    assert found.class_names == NAMES
    assert found.told == {"instruments": NAMES}
    recipe = tiny_scores()
    recipe.conditioner.instruments = ("organ", "harp")
    with pytest.raises(InputError, match="sounds of organ, guitar, a conditioner of organ, harp"):
        tasks.prepare(recipe)


def test_recordings_with_a_midi_file_beside_them_are_pairs(tmp_path):
    for number in range(3):
        place = tmp_path / "recorded" / "harmonium" / f"take{number}"
        place.parent.mkdir(parents=True, exist_ok=True)
        sound = render(tune(number), Partials(), "organ", 16_000)
        soundfile.write(place.with_suffix(".wav"), np.stack([sound, sound], axis=1), 16_000)
        write_midi(tune(number), place.with_suffix(".mid"))
    soundfile.write(tmp_path / "recorded" / "harmonium" / "alone.wav", sound, 16_000)
    recipe = tiny_scores()
    recipe.data.sources = (build(RecordedScores, path=str(tmp_path / "recorded")),)
    found = tasks.prepare(recipe, tmp_path / "prepared")
    assert found.class_names == ("harmonium",)
    assert len(found.train.encoded) + len(found.test.encoded) == 3
    one = recipe.data().performances()["train"][0]
    assert len(one.sound(RATE)) == pytest.approx(len(render(one.score, Partials(), "organ", RATE)), abs=1)
    assert found.train.rolls[0].any()
    (tmp_path / "empty").mkdir()
    soundfile.write(tmp_path / "empty" / "alone.wav", sound, 16_000)
    recipe.data.sources[0].path = str(tmp_path / "empty")
    with pytest.raises(InputError, match=r"no recording with a MIDI file of the same name beside it \(\.mid\)"):
        tasks.prepare(recipe, tmp_path / "prepared")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"instruments": ()}, "no sounds with scores to train on"),
        ({"scores": ()}, "no scores to be played"),
        ({"scores": (build(Tunes, num=1),)}, "no performance of split train among 1"),
    ],
)
def test_what_is_missing_is_said(source, reason, tmp_path):
    with pytest.raises(InputError, match=reason):
        tasks.prepare(tiny_scores(**source), tmp_path)


@pytest.mark.parametrize(
    "settings", [{"takes": 0}, {"transpositions": (3, -3)}, {"tempos": (0.0, 60.0)}, {"test_share": 1.0}]
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(InputError, match="RenderedScores"):
        tiny_scores(**settings).data()
