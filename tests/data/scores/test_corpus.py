"""Chorales on their grid, in splits, in windows and in batches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from synesthete.data.scores.corpus import RANGES, Scores, draw_held, transpose
from synesthete.data.scores.midi import write_midi
from synesthete.data.scores.score import BAR, KEY_NAMES, Note, Score, find_key, to_grid, to_score
from synesthete.data.scores.sources import BachChorales, SyntheticChorales
from synesthete.types import InputError

CHORALES = [entry.read() for entry in SyntheticChorales(12).scores()]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    data = Scores((SyntheticChorales(12),), test_share=0.3)
    pieces, notes = data.pieces(tmp_path_factory.mktemp("scores"))
    assert not notes
    return data, pieces


@pytest.mark.parametrize("score", CHORALES[:4], ids=lambda score: score.title)
def test_a_score_comes_back_from_its_grid(score):
    grid = to_grid(score)
    assert grid.shape[-1] % BAR == 0
    lead = BAR / 4 - score.upbeat if score.upbeat else 0
    moved = [replace(note, start=note.start + lead) for note in score.notes]
    assert to_score(grid).notes == Score(tuple(moved)).notes
    assert torch.equal(to_grid(to_score(grid)), grid)


def test_an_upbeat_ends_the_first_bar_and_a_note_struck_again_begins_again():
    voices = [Note(pitch, start, 1, voice=voice) for voice, pitch in enumerate((72, 67, 60, 48)) for start in (0, 1)]
    grid = to_grid(Score(tuple(voices), upbeat=1.0))
    assert grid.shape == (4, 2, 2 * BAR)
    assert grid[0, 0].nonzero().flatten().tolist() == list(range(12, 20))
    assert grid[0, 1].nonzero().flatten().tolist() == [12, 16]
    assert [len(to_score(grid[..., 14:]).notes), len(to_score(grid).notes)] == [8, 8]  # cut, the first begins anew


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: replace(s, beats_per_bar=3.0), "4 quarter notes"),
        (lambda s: replace(s, notes=tuple(n for n in s.notes if n.voice)), "not of 4 voices"),
        (lambda s: replace(s, notes=(*s.notes, *(replace(n, pitch=n.pitch + 1) for n in s.notes))), "chords in one"),
    ],
)
def test_what_is_no_chorale_is_refused(change, said):
    with pytest.raises(InputError, match=said):
        to_grid(change(CHORALES[0]))


def test_the_key_is_found_by_the_notes():
    found = [find_key(score) for score in CHORALES]
    assert sum(key == score.key for key, score in zip(found, CHORALES, strict=True)) >= 11
    for semitones in (1, 5):
        tonic, mode = find_key(CHORALES[0].transposed(semitones))
        assert (tonic - semitones) % 12 == found[0][0]
        assert mode == found[0][1]


def test_a_piece_is_in_one_split_in_every_key(corpus):
    data, pieces = corpus
    parts = data.divide(pieces)
    assert len(parts["train"]) + len(parts["test"]) == len(pieces) == 12
    assert parts["test"]
    piece = pieces[0]
    moved = replace(piece, grid=transpose(piece.grid[None], torch.tensor([3]))[0])
    assert moved.share == piece.share
    assert moved.content() == piece.content()
    assert len({one.content() for one in pieces}) == 12
    with pytest.raises(InputError, match="on one melody"):
        data.divide(pieces[:1])


def test_windows_are_whole_bars_and_know_where_the_piece_begins_and_ends(corpus):
    data, pieces = corpus
    samples = data.windows(pieces, 9 * BAR, is_training=True)
    for number, piece in enumerate(pieces):
        mine = samples.take(samples.pieces == number)
        bars = piece.grid.shape[-1] // BAR
        assert len(mine) == max(bars - 8, 1)
        assert mine.begins.tolist() == [1] + [0] * (len(mine) - 1)
        assert mine.ends.tolist() == [0] * (len(mine) - 1) + [1]
        whole = mine.grids[-1][..., : min(bars, 9) * BAR]
        assert torch.equal(whole, piece.grid[..., -9 * BAR :])


def test_a_batch_is_moved_within_the_voices_ranges_and_its_key_with_it(corpus):
    data, pieces = corpus
    samples = data.windows(pieces, 2 * BAR, is_training=True)
    places = torch.arange(len(samples))
    batch = samples.batch(places, torch.Generator().manual_seed(0))
    before, after = samples.grids[:, :, 0].long(), batch.signal[:, :, 0].long()
    moved = (after - before)[:, 3]
    shift = torch.where(moved.amax(-1) > 0, moved.amax(-1), moved.amin(-1))  # rests are not moved
    assert len(shift.unique()) > 6
    assert torch.equal((after > 0), (before > 0))
    for (low, high), voice in zip(RANGES, after.transpose(0, 1), strict=True):
        assert low <= voice[voice > 0].min() <= voice.max() <= high
    assert torch.equal((batch.raw.tonic - samples.labels) % 12, shift % 12)
    assert torch.equal(batch.raw.mode, samples.labels // 12)
    assert torch.equal(batch.label, 12 * batch.raw.mode + batch.raw.tonic)
    again = samples.batch(places, torch.Generator().manual_seed(0))
    assert torch.equal(again.signal, batch.signal)
    assert torch.equal(again.raw.held, batch.raw.held)
    assert torch.equal(samples.plain().batch(places, torch.Generator()).signal, samples.grids)


def test_what_is_held_is_nothing_voices_bars_or_both():
    held = draw_held(4000, 4, 8 * BAR, torch.Generator().manual_seed(0))
    by_bar = held.unflatten(-1, (8, BAR))
    assert torch.equal(by_bar.all(-1), by_bar.any(-1))  # whole bars
    bars = by_bar.all(-1)  # (B, V, 8)
    whole_voices, whole_bars = bars.all(-1), bars.all(1)
    nothing = ~bars.flatten(1).any(1)
    assert nothing.float().mean() == pytest.approx(0.5, abs=0.05)
    some_voices = whole_voices.any(1) & ~whole_voices.all(1)
    some_bars = whole_bars.any(1) & ~whole_bars.all(1)
    assert 0.2 < some_voices.float().mean() < 0.4
    assert 0.2 < some_bars.float().mean() < 0.4
    assert (some_voices & some_bars).any()
    assert bars.flatten(1).all(1).float().mean() < 0.1
    assert set(whole_voices[some_voices & ~some_bars].sum(1).tolist()) == {1, 2, 3}


def test_a_folder_is_read_once_and_what_cannot_be_used_is_said(tmp_path, caplog):
    for number, score in enumerate(CHORALES[:4]):
        write_midi(score, tmp_path / "in" / f"{number}.mid")
    write_midi(CHORALES[0].transposed(1), tmp_path / "in" / "copy.mid")
    write_midi(replace(CHORALES[1], beats_per_bar=3.0, upbeat=0.0), tmp_path / "in" / "waltz.mid")
    (tmp_path / "in" / "broken.mid").write_bytes(b"MThd")
    data = Scores(folder=str(tmp_path / "in"))
    pieces, notes = data.pieces(tmp_path / "out")
    assert len(pieces) == 4
    assert [KEY_NAMES[piece.key].split()[1] for piece in pieces] == [score.key[1] for score in CHORALES[:4]]
    assert sorted(note.partition(" (")[0] for note in notes) == [
        "1 scores left out: copies of others",
        "1 scores left out: cut short or damaged; export it again",
        "1 scores left out: not in bars of 4 quarter notes",
    ]
    kept = next((tmp_path / "out").iterdir()).stat().st_mtime_ns
    again, _ = data.pieces(tmp_path / "out")
    assert next((tmp_path / "out").iterdir()).stat().st_mtime_ns == kept
    assert all(torch.equal(one.grid, other.grid) for one, other in zip(pieces, again, strict=True))


def test_no_scores_and_no_corpus(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no scores of four voices"):
        Scores(folder=str(tmp_path)).pieces(tmp_path)
    monkeypatch.setattr("synesthete.data.scores.sources.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'synesthete\[scores\]'"):
        BachChorales().scores()
