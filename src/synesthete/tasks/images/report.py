"""What only the report on pictures shows: the same pictures at other guidance scales."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synesthete.evaluation.metrics.metric import interval
from synesthete.evaluation.reporting.figures import sweep_figure, to_png
from synesthete.evaluation.reporting.report import Medium, Section, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synesthete.evaluation.metrics.set_comparison import SetComparison
    from synesthete.evaluation.search.scoring import Score


def guidance_section(
    scores: Mapping[float, Score], default: float, accuracy_of_real: float, found: SetComparison, num_classes: int
) -> Section:
    """The same classes and noise at other guidance scales, beside real pictures; default: the model's own scale."""
    num, real = next(iter(scores.values())).num, found.sets[found.best]
    ceilings = {"accuracy": accuracy_of_real, "precision": real.precision, "recall": real.recall}
    curves = {
        "accuracy": [(score.accuracy, *interval(score.accuracy, num)) for score in scores.values()],
        **{name: [(getattr(s, name),) * 3 for s in scores.values()] for name in ("precision", "recall")},
    }
    title = f"n = {num} at each scale, same noise; bars: 95%"
    figure = sweep_figure(list(scores), curves, ceilings, 1 / num_classes, title, default, "share")
    rows: list[tuple[Any, ...]] = [
        (
            f"{scale:g}",
            score.accuracy,
            score.kid,
            score.kid / score.kid_floor if score.kid_floor else None,
            score.precision,
            score.recall,
            found.over_real(score.diversity),
            score.seconds_per_picture,
        )
        for scale, score in scores.items()
    ]
    share = found.over_real(real.diversity)
    rows.append(("real pictures", accuracy_of_real, None, 1.0, real.precision, real.recall, share, None))
    columns = (
        "guidance scale",
        "accuracy",
        "balanced KID",
        "over floor",
        "precision",
        "recall",
        "diversity over real",
        "s",
    )
    text = _TEXT.format(num=num, default=default)
    return Section("Guidance", text, [Medium("guidance", to_png(figure)), Table(columns, rows)])


_TEXT = (
    "The first {num} pictures again, on the same noise, at other guidance scales: 0 is not told the class, 1 is told "
    "it and no more, {default:g} is the model's own. More guidance shows the class more clearly, in less variety. "
    "Balanced KID gives every class equal weight; it is no figure to compare with plain KID."
)
