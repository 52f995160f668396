"""What a measurement found, and what all of an evaluation's found together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synesthete.evaluation.metrics.metric import by_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.evaluation.reporting.report import Report, Section


@dataclass
class Finding:
    """What one measurement found: metrics, what the page shows of it, and further figures for report.json.

    notes: what a reader has to know. sentences: of the summary.
    """

    metrics: Sequence[Metric] = ()
    sections: Sequence[Section] = ()
    data: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    sentences: Sequence[str] = ()


@dataclass
class Evaluation:
    """Everything that was found about a model. skipped: files that could not be read."""

    report: Report
    skipped: tuple[str, ...] = ()

    @property
    def metrics(self) -> list[Metric]:
        """Every figure, in the report's order."""
        return self.report.metrics

    def metric(self, key: str) -> Metric:
        """The metric of that key.

        Raises:
            InputError: there is none.
        """
        return by_key(self.metrics, key)

    def to_dict(self) -> dict[str, Any]:
        """The figures that are in no table of the report, as plain values."""
        return self.report.data
