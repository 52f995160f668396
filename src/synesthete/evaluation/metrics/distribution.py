"""How two sets of samples differ as sets, in any features: Fréchet and kernel distance, precision, recall, diversity.

Features are (n, D), one row a sample; everything is computed in float64, a bounded block of memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from synesthete import seeding
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.data.rows import Rows

# Not torchmetrics: its KID is a mean over subsets with neither a floor nor equal weights of classes, its FID a root of
# a rounded matrix, off where there are fewer samples than dimensions.
ROWS = 1024  # at once, where they are not too wide
VALUES = 2**23  # at once, 64 MB in float64
NUM_SPLITS = 100  # of real samples into halves, for a floor
MAX_SPLIT = 2000  # real samples that the class-balanced floor is estimated on


class KernelDistance(NamedTuple):
    """Squared maximum mean discrepancy; may be below 0, since its expectation is 0 for equal distributions.

    std: over random subsets, which are smaller, so it is larger than the standard error of `value`.
    """

    value: float
    std: float


class Coverage(NamedTuple):
    """Shares, 0 to 1: made samples that look real (precision), real ones that could have been made (recall)."""

    precision: float
    recall: float


def frechet(real: Tensor, made: Tensor) -> float:
    """Fréchet distance of the Gaussians with the features' means and covariances; on Inception features the FID.

    Heusel et al. 2017, section 2: |m - w|^2 + Tr(C + E - 2 (C E)^(1/2)). It is biased upwards, the more the fewer
    samples there are, so compare only figures of equal n.

    Raises:
        InputError: fewer than two samples in a set, or features of other widths.
    """
    # The root's trace is the sum of the singular values of R S' where C = R'R and E = S'S: no covariance is formed and
    # no root of a rounded negative number taken, so fewer samples than dimensions do no harm.
    _check(real, made)
    (mean, root), (other_mean, other_root) = _moments(real), _moments(made)
    shared = torch.linalg.svdvals(root @ other_root.T).sum()
    distance = (mean - other_mean).square().sum() + root.square().sum() + other_root.square().sum() - 2 * shared
    return max(distance.item(), 0.0)


def kernel(
    real: Tensor, made: Tensor, *, num_subsets: int = 100, subset_size: int | None = None, seed: int = 0
) -> KernelDistance:
    """Squared maximum mean discrepancy under the kernel (x'y / D + 1)^3, unbiased; on Inception features the KID.

    Bińkowski et al. 2018, section 3, on all samples, which has the expectation of the mean over subsets and less noise;
    the std over `num_subsets` random subsets of `subset_size` (None: half the smaller set, at most 1000).
    """
    _check(real, made)
    smaller = min(len(real), len(made))
    size = max(2, min(1000, smaller // 2)) if subset_size is None else subset_size
    if not 2 <= size <= smaller:
        raise InputError(f"subsets of {size} of {smaller} samples; give a subset size from 2 to {smaller}")
    generator = seeding.generator(seed, "kernel subsets")
    # The first column is all samples, each other one a subset.
    chosen = [
        torch.cat([torch.ones(len(x), 1), (_orders(len(x), num_subsets, generator) < size).float()], dim=1).to(x)
        for x in (real, made)
    ]
    within, other = (_kernel_sums(x, x, picked, picked) for x, picked in zip((real, made), chosen, strict=True))
    sizes = (picked.sum(dim=0) for picked in chosen)
    found = _discrepancies(within, other, _kernel_sums(real, made, *chosen), *sizes)
    return KernelDistance(found[0].item(), found[1:].std().item() if num_subsets > 1 else math.nan)


def kernel_floor(real: Tensor, n: int, *, num_splits: int = NUM_SPLITS, seed: int = 0) -> float:
    """How far `kernel(real, made).value` strays from 0 where n made samples are as good as real ones.

    The root mean square of the same estimate between random halves of the real samples, carried over to `len(real)`
    against n by its spread, which goes with 1/n + 1/m (Gretton et al. 2012, theorem 12).
    """
    _check(real, real)
    if len(real) < 4 or n < 2:
        raise InputError(f"a floor from {len(real)} real samples for n = {n}; give at least 4 and n of at least 2")
    half = len(real) // 2
    order = _orders(len(real), num_splits, seeding.generator(seed, "kernel floor"))
    first, second = ((order >= low) & (order < low + half) for low in (0, half))
    left, right = (torch.cat(parts, dim=1).to(real) for parts in ((first, second, first), (first, second, second)))
    within, other, across = _kernel_sums(real, real, left, right).chunk(3)
    size = torch.tensor(half)
    spread = _discrepancies(within, other, across, size, size).square().mean().sqrt().item()
    return spread * (1 / len(real) + 1 / n) / (2 / half)


def precision_recall(real: Tensor, made: Tensor, k: int = 3) -> Coverage:
    """Share of made samples inside the real ones' manifold, and of real ones inside the made ones'.

    That is the union of balls around a set's samples, each reaching to the k-th nearest other (Kynkäänniemi et al.
    2019, section 3). Both grow with n, so compare only figures of equal n.
    """
    _check(real, made)
    if not 1 <= k < min(len(real), len(made)):
        raise InputError(f"k = {k} nearest of {min(len(real), len(made))} samples; give k from 1 to below their number")
    shares = []
    for samples, centres in ((made, real), (real, made)):
        # Each is its own nearest, at 0.
        radii = torch.cat([block.kthvalue(k + 1, dim=1).values for block in _distances(centres, centres)])
        inside = sum((block <= radii).any(dim=1).sum().item() for block in _distances(samples, centres))
        shares.append(inside / len(samples))
    return Coverage(*shares)


def diversity(features: Tensor, labels: Tensor) -> float:
    """Mean distance between two samples of a class, averaged over the classes that have two; NaN where none has."""
    found = []
    for label in labels.unique():
        own = features[labels == label]
        if len(own) > 1:
            total = sum(block.sum().item() for block in _distances(own, own))
            found.append(total / (len(own) * (len(own) - 1)))
    return sum(found) / len(found) if found else math.nan


def nearest(queries: Tensor, references: Tensor | Rows) -> tuple[Tensor, Tensor]:
    """Euclidean distance (n,) of each query to the nearest reference of its shape, 0 of a copy, and its place (n,)."""
    if not len(references) or queries.shape[1:] != references.shape[1:]:
        raise InputError(
            f"nearest of {tuple(queries.shape)} among {tuple(references.shape)}; give equal shapes and at least one"
        )
    device = queries.device
    closest = torch.full((len(queries),), math.inf, dtype=torch.float64, device=device)
    places = torch.zeros(len(queries), dtype=torch.int64, device=device)
    for rows in _blocks(queries):
        own = _flat(queries[rows])
        for part in _blocks(references):
            found = torch.cdist(own, _flat(references[part])).min(dim=1)
            better = found.values < closest[rows]
            closest[rows] = found.values.where(better, closest[rows])
            places[rows] = (found.indices + part.start).where(better, places[rows])
        # Distances by a matrix product are off by rounding; the one that counts is computed as it is defined.
        closest[rows] = (own - _flat(references[places[rows]])).norm(dim=1)
    return closest, places


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (D,) and a root R (min(n, D), D) of the covariance R'R, by QR of a block of rows after the other."""
    mean = sum(part.double().sum(dim=0) for part in features.split(ROWS)) / len(features)
    root = mean.new_zeros(0, len(mean))
    for part in features.split(ROWS):
        root = torch.linalg.qr(torch.cat([root, part.double() - mean]), mode="r").R
    return mean, root / math.sqrt(len(features) - 1)


def _discrepancies(within: Tensor, other: Tensor, across: Tensor, n: Tensor, m: Tensor) -> Tensor:
    """The unbiased estimate from sums of the kernel over the pairs of different rows of sets of n and m."""
    return within / (n * (n - 1)) + other / (m * (m - 1)) - 2 * across / (n * m)


def _kernel_sums(x: Tensor, y: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Sums (s,) of the kernel over the pairs of rows that left (n, s) and right (m, s) choose, in 0 and 1.

    Where y is x, a row with itself does not count.
    """
    total = left.new_zeros(left.shape[1], dtype=torch.float64)
    for rows in _blocks(x):
        own, chosen = x[rows].double(), left[rows].double()
        for columns in _blocks(y):
            similarity = _cubic(own, y[columns])
            if x is y and rows == columns:
                similarity.fill_diagonal_(0)
            total += (chosen * (similarity @ right[columns].double())).sum(dim=0)
    return total


def _orders(n: int, num: int, generator: torch.Generator) -> Tensor:
    """Random orders of n rows, one a column: (n, num), each row's place in it."""
    return torch.rand(n, num, generator=generator).argsort(dim=0).argsort(dim=0)


def _distances(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Euclidean distances of a block of x's rows after the other to all of y's, (rows, len(y)); 0 to the row itself."""
    num = min(ROWS, max(16, VALUES // max(len(y), 1)))
    for first in range(0, len(x), num):
        own = x[first : first + num].double()
        block = torch.cat([torch.cdist(own, y[part].double()) for part in _blocks(y)], dim=1)
        if x is y:
            block.diagonal(first).zero_()
        yield block


def _blocks(x: Tensor | Rows) -> Iterator[slice]:
    """The rows of x, as many at a time as memory is meant for."""
    num = min(ROWS, max(16, VALUES // max(math.prod(x.shape[1:]), 1)))
    return (slice(first, first + num) for first in range(0, len(x), num))


def _flat(x: Tensor) -> Tensor:
    return x.flatten(1).double()


def _check(real: Tensor, made: Tensor) -> None:
    if min(len(real), len(made)) < 2 or real.shape[1:] != made.shape[1:] or real.ndim != 2:
        raise InputError(
            f"features {tuple(real.shape)} against {tuple(made.shape)}; give two sets of at least 2 rows, equally wide"
        )


def balanced_kernel(real: Tensor, real_labels: Tensor, made: Tensor, made_labels: Tensor) -> float:
    """Squared maximum mean discrepancy of the mixtures of all classes, each of equal weight, under (x'y / D + 1)^3.

    Features (m, D) and (n, D) with labels (m,) and (n,); one label for all is the usual estimate. Unbiased (Bińkowski
    et al. 2018, section 3, by strata), but for classes of one sample; NaN where every class has one.
    """
    # The usual estimate takes the samples for independent draws. In a set with equally many of each class two of them
    # are less often of one class than a sample of one set and one of the other, and real samples score below 0 against
    # real ones: with the built-in digits by twice the floor. Here a pair of classes counts as it does in the mixture.
    weights, within = _mixture(real_labels, lambda chosen: _kernel_sums(real, real, chosen, chosen))
    others, other = _mixture(made_labels, lambda chosen: _kernel_sums(made, made, chosen, chosen))
    return within + other - 2 * _kernel_sums(real, made, weights, others).item()


def balanced_floor(real: Tensor, labels: Tensor, n: int, *, num_splits: int = NUM_SPLITS, seed: int = 0) -> float:
    """How far `balanced_kernel` strays from 0 where n made samples are as good as real ones.

    As `kernel_floor`, by halves of each class of at most MAX_SPLIT real samples; NaN where a class has fewer than four.
    """
    classes = labels.unique()
    num = min(MAX_SPLIT // len(classes), int(torch.bincount(labels)[classes].min()))
    half = num // 2
    if half < 2:
        return math.nan
    generator = seeding.generator(seed, "balanced floor")
    members, squares = [(labels == label).nonzero().flatten() for label in classes], []
    places = torch.stack([own[torch.randperm(len(own), generator=generator)[:num]] for own in members])  # (K, num)
    x = real[places.flatten()]
    similarity = _cubic(x, x).fill_diagonal_(0)
    own = torch.arange(len(classes)).repeat_interleave(half)

    def within(part: Tensor) -> float:
        block = similarity[part][:, part]
        return _mixture(own, lambda chosen: (chosen * (block @ chosen)).sum(dim=0))[1]

    for _ in range(num_splits):
        order = torch.rand(len(classes), num, generator=generator).argsort(dim=1)
        order = order + num * torch.arange(len(classes))[:, None]
        first, second = order[:, :half].flatten(), order[:, half : 2 * half].flatten()
        squares.append((within(first) + within(second) - 2 * similarity[first][:, second].mean().item()) ** 2)
    size = half * len(classes)
    return math.sqrt(sum(squares) / num_splits) * (1 / len(real) + 1 / n) / (2 / size)


def _mixture(labels: Tensor, sums: Callable[[Tensor], Tensor]) -> tuple[Tensor, float]:
    """Weights (n, 1) of samples in a mixture of their classes, and the mean similarity of two different ones of it.

    sums: of similarities of different samples, by columns (n, s) that choose or weigh both, (s,). Of a class of one
    they are taken to be as alike as in the other classes.
    """
    _, places, counts = labels.unique(return_inverse=True, return_counts=True)
    weights = 1 / (len(counts) * counts[places, None].double())
    whole, own = sums(torch.cat([weights, one_hot(places)], dim=1)).split([1, len(counts)])
    pairs, several = counts * (counts - 1), counts > 1
    # The mean over all pairs of a class, itself included, gives way to that over different ones.
    alike = (own[several] / pairs[several]).mean() / len(counts)
    return weights, (whole - (own / counts**2).sum() / len(counts) ** 2 + alike).item()


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    """The kernel (x'y / D + 1)^3 of rows (n, D) and (m, D): (n, m) float64."""
    return (x.double() @ y.double().T / x.shape[1] + 1) ** 3
