"""What is measured of pieces, against pieces of which it is known; and that a model is measured so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from synesthete.data.scores.score import KEY_NAMES, Note, Score, to_grid
from synesthete.data.scores.sources import SyntheticChorales
from synesthete.evaluation.metrics.metric import METRICS
from synesthete.recipes import find_recipe
from synesthete.tasks import prepare, task_of
from synesthete.tasks.music_compose.measures import (
    FIGURES,
    Harmony,
    count_leaps,
    count_parallels,
    measure_piece,
    nearest_shares,
    random_chords,
    random_notes,
    shuffle_notes,
    sounding_key,
)
from synesthete.training import assembly
from tiny import awake

PIECES = [one.read() for one in SyntheticChorales(num=8, num_bars=(4, 4)).scores()]
GRIDS = torch.stack([to_grid(piece)[..., :64] for piece in PIECES])
KEYS = torch.tensor([KEY_NAMES.index(f"{KEY_NAMES[p.key[0]].split()[0]} {p.key[1]}") for p in PIECES if p.key])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_c_major_scale_is_measured_as_one():
    scale = [60, 62, 64, 65, 67, 69, 71, 72]
    found = measure_piece(to_grid(Score(tuple(Note(p, float(i), 1.0) for i, p in enumerate(scale))), 1))
    assert found["in_scale"] == found["columns_with_note"] == found["notes_at_once"] == found["groove_consistency"] == 1
    assert found["pitch_class_entropy"] == pytest.approx(2.75)
    assert found["parallels"] == found["leaps"] == 0
    assert set(found) == set(FIGURES) <= set(METRICS)


@pytest.mark.parametrize("silent", [True, False])
def test_a_piece_of_nothing_or_one_note_has_figures(silent):
    grid = torch.zeros(4, 2, 32, dtype=torch.uint8)
    if not silent:
        grid[0, :, 3] = torch.tensor([60, 1])
    assert all(np.isfinite(value) for value in measure_piece(grid).values())


def test_parallels_and_leaps_are_counted():
    upper, lower = [67, 69, 71, 69, 67], [60, 62, 62, 62, 48]
    assert count_parallels(np.array([upper, lower])) == 2  # from fifth to fifth, up and down
    assert count_parallels(np.array([[72, 74, 74], [60, 62, 62]])) == 1
    assert count_leaps(np.array([upper, lower])) == 1


def test_figures_tell_pieces_from_the_same_notes_in_another_order_and_from_noise():
    def mean(grids, key):
        return np.mean([measure_piece(grid)[key] for grid in grids])

    noise = [random_notes(grid, rng()) for grid in GRIDS]
    mixed = [shuffle_notes(grid, rng()) for grid in GRIDS]
    assert mean(noise, "in_scale") < 0.85 < mean(GRIDS, "in_scale")
    assert mean(noise, "key_correlation") < mean(GRIDS, "key_correlation")
    for grid, other in zip(GRIDS, mixed, strict=True):
        assert not torch.equal(grid, other)
        assert torch.equal(grid[:, 0].sort().values, other[:, 0].sort().values)


def test_the_key_is_heard_and_chords_are_those_of_the_pieces():
    heard = torch.tensor([sounding_key(grid) for grid in GRIDS])
    assert (heard == KEYS).float().mean() >= 0.5
    harmony = Harmony.of(torch.cat([GRIDS, GRIDS]), torch.cat([KEYS, KEYS]), torch.arange(16))
    assert np.mean(harmony.share(GRIDS, KEYS.tolist())) == 1
    drawn = [random_chords(grid, key, rng()) for grid, key in zip(GRIDS, KEYS.tolist(), strict=True)]
    assert np.mean(harmony.share(drawn, KEYS.tolist())) < 0.5
    assert all(torch.equal(a[0], b[0]) for a, b in zip(GRIDS, drawn, strict=True))


def test_a_copy_is_found_in_another_key_and_nothing_else_is_one():
    moved = GRIDS[:1].clone()
    moved[:, :, 0] = torch.where(moved[:, :, 0] > 0, moved[:, :, 0] - 3, 0)
    shares, places = nearest_shares(moved, GRIDS)
    assert (shares.tolist(), places.tolist()) == ([1.0], [0])
    assert nearest_shares(GRIDS[:1], GRIDS[1:])[0][0] < 0.9


def test_a_model_is_evaluated(cache, tmp_path):
    recipe = find_recipe("music-compose-debug")
    prepared = prepare(recipe)
    parts = awake(assembly.make_parts(recipe, prepared))
    pipeline = assembly.make_pipeline(recipe, parts, prepared.class_names)
    held_out = replace(prepared, test=prepared.test.take(torch.arange(3)))
    evaluator = task_of(recipe).evaluator(pipeline, held_out, recipe, "debug", num=4, seed=1)
    found = evaluator.evaluate(tmp_path, model="debug")
    assert found.data["melodies_kept"]
    for key in (*FIGURES, "key_accuracy", "harmonised", "copied_notes"):
        assert found.metric(key).ceiling is not None
        assert found.metric(key).chance is not None
    assert found.metric("in_scale").ceiling > found.metric("in_scale").chance
    assert (tmp_path / "report.html").is_file()
