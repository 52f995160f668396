"""Distances between sets: closed forms, and every figure goes up where it should and down where it should."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg

from synesthete.data.rows import Rows
from synesthete.evaluation.metrics import distribution
from synesthete.evaluation.metrics.distribution import (
    diversity,
    frechet,
    kernel,
    kernel_floor,
    nearest,
    precision_recall,
)
from synesthete.types import InputError

WIDTH = 16


def draw(n: int, seed: int, mean: float = 0.0, std: float = 1.0) -> torch.Tensor:
    return mean + std * torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(seed))


REAL = draw(300, 0)
# What a generator may do: as good as real, washed out, one picture over and over, and copies of the real ones.
MADE = {
    "fresh": draw(300, 1),
    "shifted": draw(300, 2, mean=1.0),
    "collapsed": REAL[:1] + draw(300, 3, std=0.01),
    "copied": REAL.clone(),
}


def with_moments(n: int, mean: torch.Tensor, covariance: torch.Tensor, seed: int) -> torch.Tensor:
    """Rows whose mean and covariance are these exactly."""
    x = torch.randn(n, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = torch.linalg.qr(x - x.mean(dim=0)).Q * math.sqrt(n - 1)
    return mean + x @ torch.linalg.cholesky(covariance).T


def random_covariance(width: int, seed: int) -> torch.Tensor:
    root = torch.randn(width, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.T / width + 0.1 * torch.eye(width, dtype=torch.float64)


def test_frechet_of_gaussians_on_one_axis():
    """(m - w)^2 + (s - t)^2 in each dimension, where the covariances are diagonal."""
    mean, other = torch.tensor([0.0, 1.0]).double(), torch.tensor([3.0, 1.0]).double()
    one = with_moments(50, mean, torch.diag(torch.tensor([4.0, 1.0]).double()), 0)
    two = with_moments(70, other, torch.diag(torch.tensor([1.0, 9.0]).double()), 1)
    assert frechet(one, two) == pytest.approx(9 + (2 - 1) ** 2 + (1 - 3) ** 2, rel=1e-9)


@given(width=st.integers(1, 12), seed=st.integers(0, 1000))
def test_frechet_is_that_of_the_covariances(width, seed):
    """Against scipy's matrix square root of the product, as the paper writes it."""
    covariances = [random_covariance(width, seed + i) for i in range(2)]
    mean = torch.zeros(width).double()
    found = frechet(
        with_moments(40, mean, covariances[0], seed), with_moments(30, mean + 0.5, covariances[1], seed + 9)
    )
    root = linalg.sqrtm((covariances[0] @ covariances[1]).numpy())
    expected = 0.25 * width + sum(float(c.trace()) for c in covariances) - 2 * float(np.trace(root).real)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_frechet_with_fewer_pictures_than_dimensions():
    """Singular covariances: 0 to itself, symmetric, and blind to a turn of the space."""
    one, two = torch.randn(2, 10, 200, generator=torch.Generator().manual_seed(0))
    turned = torch.linalg.qr(torch.randn(200, 200, generator=torch.Generator().manual_seed(1))).Q
    assert frechet(one, one) == pytest.approx(0, abs=1e-4)
    assert frechet(one, two) == pytest.approx(frechet(two, one), rel=1e-9)
    assert frechet(one, two) == pytest.approx(frechet(one @ turned, two @ turned), rel=1e-4)


def plain_kernel(one: torch.Tensor, two: torch.Tensor) -> float:
    """As the formula is written, pair by pair."""

    def k(x, y):
        return (float(x.double() @ y.double()) / len(x) + 1) ** 3

    within = [
        sum(k(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j) / (len(s) * (len(s) - 1))
        for s in (one, two)
    ]
    return sum(within) - 2 * sum(k(x, y) for x in one for y in two) / (len(one) * len(two))


def test_kernel_is_the_formula(monkeypatch):
    monkeypatch.setattr(distribution, "ROWS", 16)
    one, two = draw(20, 0), draw(33, 1, mean=0.2)
    assert kernel(one, two).value == pytest.approx(plain_kernel(one, two), rel=1e-9)


def test_kernel_over_subsets_is_its_mean_over_them():
    """A subset as large as the set is the set: no spread."""
    one, two = draw(20, 0), draw(20, 1)
    assert kernel(one, two, subset_size=20).std == pytest.approx(0, abs=1e-12)
    assert math.isnan(kernel(one, two, num_subsets=1).std)
    wide, narrow = (kernel(one, two, subset_size=size).std for size in (4, 16))
    assert wide > 2 * narrow


def test_kernel_is_unbiased():
    """Its mean over many draws of equal distributions is 0, where the biased estimate's is far above."""
    found = [kernel(draw(30, 2 * i), draw(30, 2 * i + 1), num_subsets=0).value for i in range(200)]
    error = statistics.stdev(found) / math.sqrt(len(found))
    assert abs(statistics.mean(found)) < 3 * error


@pytest.mark.parametrize(("num_real", "n"), [(120, 60), (60, 120)])
def test_the_floor_is_what_equal_distributions_score(num_real, n):
    """Foretold from one set of real pictures; found from many pairs of sets."""
    found = [kernel(draw(num_real, 2 * i), draw(n, 2 * i + 1), num_subsets=0).value for i in range(150)]
    spread = math.sqrt(statistics.mean(value**2 for value in found))
    floors = [kernel_floor(draw(num_real, 5000 + i), n, seed=i) for i in range(5)]
    assert statistics.mean(floors) == pytest.approx(spread, rel=0.25)


def test_the_floor_does_not_depend_on_blocks(monkeypatch):
    before = kernel_floor(REAL, 100), kernel(REAL, MADE["fresh"]), precision_recall(REAL, MADE["fresh"])
    monkeypatch.setattr(distribution, "ROWS", 37)
    monkeypatch.setattr(distribution, "VALUES", 1)
    after = kernel_floor(REAL, 100), kernel(REAL, MADE["fresh"]), precision_recall(REAL, MADE["fresh"])
    assert after[0] == pytest.approx(before[0], rel=1e-9)
    assert after[1] == pytest.approx(before[1], rel=1e-9)
    assert after[2] == before[2]


def test_distances_tell_a_good_generator_from_bad_ones():
    far = {name: frechet(REAL, made) for name, made in MADE.items()}
    assert far["copied"] == pytest.approx(0, abs=1e-6)
    assert far["copied"] < far["fresh"] < 0.2 * min(far["shifted"], far["collapsed"])
    kid = {name: kernel(REAL, made).value for name, made in MADE.items()}
    floor = kernel_floor(REAL, 300)
    assert abs(kid["fresh"]) < 3 * floor
    assert min(kid["shifted"], kid["collapsed"]) > 30 * floor


def test_precision_and_recall_tell_what_is_wrong():
    found = {name: precision_recall(REAL, made) for name, made in MADE.items()}
    assert found["copied"] == (1, 1)
    assert found["collapsed"].precision > 0.95
    assert found["collapsed"].recall < 0.05
    assert found["fresh"].precision == pytest.approx(found["fresh"].recall, abs=0.15)
    assert found["fresh"].precision > found["shifted"].precision + 0.3
    # Half of the real pictures are of a kind that is never made.
    halves = torch.cat([REAL, REAL + 100])
    missed = precision_recall(halves, MADE["fresh"])
    assert missed.precision == pytest.approx(found["fresh"].precision, abs=0.05)
    assert missed.recall == pytest.approx(found["fresh"].recall / 2, abs=0.05)


def test_precision_and_recall_by_hand():
    """On a line: real at 0, 1, 2, 3 with balls of radius 1 at k = 1; made at 3.5 (inside), and three outside."""
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    made = torch.tensor([[3.5], [10.0], [11.0], [30.0]])
    assert precision_recall(real, made, k=1) == (0.25, 1.0)  # the ball of 3.5 reaches to 10, so down to -3
    assert precision_recall(real, made[1:], k=1) == (0, 0)


def test_diversity_is_within_a_class():
    features = torch.tensor([[0.0, 0], [3, 4], [100, 0], [100, 2], [100, 4], [9, 9]])
    labels = torch.tensor([0, 0, 1, 1, 1, 2])  # 5 within the first, (2 + 2 + 4) / 3 within the second
    assert diversity(features, labels) == pytest.approx((5 + 8 / 3) / 2)
    assert math.isnan(diversity(features[-1:], labels[-1:]))
    zeros = torch.zeros(300, dtype=torch.int64)
    assert diversity(MADE["collapsed"], zeros) < 0.02 * diversity(REAL, zeros)
    assert diversity(MADE["fresh"], zeros) == pytest.approx(diversity(REAL, zeros), rel=0.05)


def test_nearest_finds_copies_among_many(monkeypatch):
    monkeypatch.setattr(distribution, "ROWS", 64)
    places = torch.tensor([299, 0, 63, 64, 128])
    distances, found = nearest(REAL[places], REAL)
    assert found.tolist() == places.tolist()
    assert distances.tolist() == [0] * 5
    distances, found = nearest(MADE["fresh"], REAL)
    every = (MADE["fresh"][:, None] - REAL[None]).double().norm(dim=2)
    torch.testing.assert_close(distances, every.min(dim=1).values, atol=1e-5, rtol=0)
    assert torch.equal(found, every.argmin(dim=1))
    assert torch.equal(nearest(MADE["fresh"], Rows([REAL[:70], REAL[70:]]))[0], distances)  # from shards on disk


def test_nearest_reads_pictures():
    """uint8 does not wrap: 250 is far from 5."""
    pictures = torch.stack([torch.full((3, 8, 8), value, dtype=torch.uint8) for value in (5, 250)])
    distances, places = nearest(torch.full((1, 3, 8, 8), 20, dtype=torch.uint8), pictures)
    assert places.tolist() == [0]
    assert distances.item() == pytest.approx(15 * math.sqrt(192))
    assert nearest(pictures[:0], pictures)[0].shape == (0,)


def test_the_same_seed_draws_the_same():
    made = MADE["fresh"]
    assert kernel(REAL, made, seed=1) == kernel(REAL, made, seed=1)
    assert kernel(REAL, made, seed=1).std != kernel(REAL, made, seed=2).std
    assert kernel(REAL, made, seed=1).value == kernel(REAL, made, seed=2).value
    assert kernel_floor(REAL, 50, seed=1) == kernel_floor(REAL, 50, seed=1) != kernel_floor(REAL, 50, seed=2)


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (lambda: frechet(REAL[:1], REAL), "at least 2 rows"),
        (lambda: frechet(REAL, REAL[:, :3]), "equally wide"),
        (lambda: kernel(REAL, REAL[:20], subset_size=21), "subset size from 2 to 20"),
        (lambda: kernel_floor(REAL[:3], 10), "at least 4"),
        (lambda: precision_recall(REAL[:3], REAL), "k = 3 nearest of 3"),
        (lambda: nearest(REAL, REAL[:0]), "at least one"),
    ],
)
def test_what_cannot_be_measured_is_one_line(ask, reason):
    with pytest.raises(InputError, match=reason) as raised:
        ask()
    assert "\n" not in str(raised.value)
