"""What was made as a set, beside real samples and chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synesthete.evaluation.reporting.report import Section, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synesthete.evaluation.metrics.set_comparison import SetComparison


def as_a_set(
    found: SetComparison,
    what: str,
    distances: tuple[str, str],
    *,
    more: Mapping[str, Mapping[str, float]] | None = None,
    remark: str = "",
) -> Section:
    """A row a set.

    what: the samples are, in the plural. distances: how the Fréchet and the kernel distance are called. more: further
    columns, by column and set. remark: at the end of the text.
    """
    more = more or {}
    rows: list[tuple[Any, ...]] = [
        (
            name,
            each.frechet,
            each.kernel,
            each.spread,
            found.over_floor(each.kernel),
            each.precision,
            each.recall,
            found.over_real(each.diversity),
            *(column[name] for column in more.values()),
        )
        for name, each in found.sets.items()
    ]
    frechet, kernel = distances
    columns = ("", frechet, kernel, "its spread over subsets", f"{kernel} / floor", "precision", "recall")
    caption = (
        f"against {found.num_held_out} held-out {what}; {found.features}, {found.width} numbers each; {frechet}, "
        f"precision and recall with {found.num_equal} of each set"
    )
    text = _TEXT.format(frechet=frechet, kernel=kernel, what=what, floor=found.floor)
    return Section(
        "As a set", f"{text} {remark}".strip(), [Table((*columns, "diversity over real", *more), rows, caption)]
    )


_TEXT = (
    "{frechet}: how far the mean and covariance of the features are from those of real {what} (Heusel et al. 2017; "
    "Kilgour et al. 2019 for sound). {kernel}: how far the features' distributions are apart by a cubic kernel, "
    "without bias (Bińkowski et al. 2018); held-out {what} score {floor:.3g} against each other, in part for having by "
    "chance more of one class than of another. Class-balanced, every class has equal weight, so the floor is lower and "
    "smaller faults are seen. Precision: made {what} that lie among real ones. Recall: real {what} that lie among made "
    "ones (Kynkäänniemi et al. 2019)."
)
