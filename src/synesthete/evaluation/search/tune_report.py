"""The report on a search for sampling settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from synesthete.evaluation.metrics.metric import Metric, interval, metric
from synesthete.evaluation.reporting.figures import COLOURS, to_png
from synesthete.evaluation.reporting.report import SECTIONS, Medium, Report, Section, Table
from synesthete.evaluation.search.findings import eta_section, eta_sentence, guidance_section, guidance_sentence
from synesthete.evaluation.search.measurements import GOALS, TOLERANCE, Comparison, Measurement
from synesthete.evaluation.search.space import name_of

if TYPE_CHECKING:
    from synesthete.evaluation.search.measurements import SearchConfig
    from synesthete.evaluation.search.tuning import SearchResult

NUM_LISTED = 40
COLUMNS = ("settings", "seconds per picture", "pictures", "accuracy", "KID", "precision", "recall")


@dataclass
class Tuning:
    """A search's outcome.

    old: the default before, in full. eta, guidance: the two findings; num_asked: pictures of each of their repeats.
    num_new: measurements made now. features: what the distances were measured on. fresh: whether the comparison had
    real pictures of its own. written: whether the winner is the model's default now; remark: why, in words.
    """

    found: SearchResult
    config: SearchConfig
    old: dict[str, Any]
    eta: list[Comparison]
    guidance: list[Comparison]
    num_asked: int
    measurements: list[Measurement]
    num_new: int
    features: str = ""
    num_classes: int = 1
    fresh: bool = False
    written: bool = False
    remark: str = ""

    def summary(self) -> str:
        """The outcome in a few sentences."""
        compared, reason, budget = self.found.comparison, self.found.reason, self.config.budget
        winner, default = compared.first, compared.second
        if winner.name == default.name:
            return f"The model's default, {default.name}, stays: {reason}. {self.remark}"
        verdict = "is better than" if self.found.better else "is not measurably better than"
        late = ", more than the budget" if default.seconds_per_picture > budget else ""
        return (
            f"Best within {budget:g} s a picture: {winner.name}. It {verdict} the model's default, {default.name} "
            f"({reason}; fresh noise, {compared.num_repeats} repeats). A picture takes "
            f"{winner.seconds_per_picture:.3g} s, by the default {default.seconds_per_picture:.3g} s{late}. "
            f"{self.remark}"
        )

    def metrics(self) -> list[Metric]:
        """The figures of the comparison, each beside what it is to be read against."""
        compared, metrics = self.found.comparison, []
        for who, each in (("winner", compared.first), ("old default", compared.second)):
            said: dict[str, Any] = {"who": who, "variant": who}
            if math.isfinite(each.accuracy):
                figures = each.accuracy, interval(each.accuracy, each.num), 1 / self.num_classes, None
                metrics.append(metric("searched_accuracy", *figures, self.config.ceiling, num=each.num, **said))
            against = f"{self.features}, n = {compared.num_repeats} x {each.num // compared.num_repeats}"
            metrics += [
                metric("searched_kid", each.kid, ceiling=each.kid_floor, against=against, **said),
                metric("searched_recall", each.recall, against=against, **said),
                metric("searched_seconds", each.seconds_per_picture, **said),
            ]
        for name, found in (("KID", compared.kid), ("accuracy", compared.accuracy)):
            if math.isfinite(found.mean):
                spread = found.low, found.high
                metrics.append(metric("searched_difference", found.mean, spread, what=name, variant=name))
        return metrics

    def to_dict(self) -> dict[str, Any]:
        """What report.json has beside the tables."""
        compared = self.found.comparison
        return {
            "goal": self.config.goal,
            "budget_seconds_per_picture": self.config.budget,
            "old_default": self.old,
            "winner": self.found.winner,
            "better": self.found.better,
            "reason": self.found.reason,
            "written": self.written,
            "differences": {"kid": vars(compared.kid), "accuracy": vars(compared.accuracy)},
            "front": [aggregate.settings for aggregate in self.found.front],
            "findings": {"eta": eta_sentence(self.eta), "guidance": guidance_sentence(self.guidance)},
            "measurements": [asdict(measurement) for measurement in self.measurements],
        }

    def report(self, provenance: Mapping[str, Any], facts: Mapping[str, Any]) -> Report:
        """The page. provenance: what was measured, when and how. facts: what is to be said beside that of a search."""
        config, found, winner = self.config, self.found, self.found.winner
        own = {
            "goal": f"{config.goal}: {GOALS[config.goal]}",
            "budget": f"{config.budget:g} s per picture",
            "old default": name_of(self.old),
            "features": self.features,
            "seed": config.seed,
            "measured": f"{len(self.measurements)} samples, {self.num_new} of them now, the others kept from before",
        }
        settings = [(name, _say(self.old[name]), _say(winner[name])) for name in self.old if name in winner]
        merit = "accuracy" if config.goal == "accuracy" else "kid"
        pareto = Medium("pareto", to_png(pareto_figure(found, merit, config.budget)), "Every settings tried.")
        real = "on real pictures that the search did not see" if self.fresh else _FEW_REAL
        order = sorted(found.aggregates, key=lambda s: (-s.num, s.kid))
        rest = len(order) - NUM_LISTED
        listed = f"The {NUM_LISTED} with most pictures; {rest} more are in report.json."
        goal = f"Goal {config.goal!r}: {GOALS[config.goal]}. {self.remark}"
        search = SECTIONS["tune_report.search"].format(repeats=found.comparison.num_repeats, own=real)
        sections = [
            Section("Settings", goal, [Table(("setting", "old default", "winner"), settings)]),
            Section("Score over seconds", _PARETO, [pareto, table_of(found.front, "The front")]),
            eta_section(self.eta, self.num_asked),
            guidance_section(self.guidance, self.num_asked, float(self.old["guidance_scale"])),
            Section("The search", search, [Table(("round", "settings", "pictures each"), found.rounds)]),
            Section("Settings tried", listed if rest > 0 else "", [table_of(order[:NUM_LISTED])]),
        ]
        title, known = f"Tuned sampling: {provenance.get('model', '')}".strip(": "), {**provenance, **own, **facts}
        return Report(title, self.summary(), known, self.metrics(), sections, data=self.to_dict())


def table_of(aggregates: Sequence[Measurement], caption: str = "") -> Table:
    """A row each, under COLUMNS."""
    rows = [(a.name, a.seconds_per_picture, a.num, a.accuracy, a.kid, a.precision, a.recall) for a in aggregates]
    return Table(COLUMNS, rows, caption)


def pareto_figure(found: SearchResult, figure_of_merit: str, budget: float) -> Figure:
    """Every settings tried, by "kid" or "accuracy" over seconds a picture, those not kept hollow, larger of more."""
    aggregates, by_kid = found.aggregates, figure_of_merit == "kid"
    figure = Figure(figsize=(8.0, 5.2), layout="constrained")
    axes = figure.add_subplot()

    def places(shown: Sequence[Measurement]) -> tuple[list[float], list[float]]:
        return [s.seconds_per_picture for s in shown], [getattr(s, figure_of_merit) for s in shown]

    def areas(shown: Sequence[Measurement]) -> np.ndarray:
        return 6 + 1.2 * np.sqrt(np.array([s.num for s in shown], dtype=float)) ** 1.2

    own = {aggregate.name for aggregate in found.kept}
    solid, hollow = ([s for s in aggregates if (s.name in own) is kept] for kept in (True, False))
    axes.scatter(*places(hollow), s=areas(hollow), facecolors="none", edgecolors="0.65")
    other = [s.accuracy if by_kid else s.kid for s in solid]
    shades: dict[str, Any] = {"color": COLOURS[0]}
    if np.isfinite(other).any():
        shades = {"c": other, "cmap": "viridis" if by_kid else "viridis_r"}
    drawn = axes.scatter(*places(solid), s=areas(solid), edgecolors="0.3", linewidths=0.5, **shades)
    if "c" in shades:
        figure.colorbar(drawn, ax=axes, label="accuracy" if by_kid else "KID", pad=0.02)
    axes.plot(*places(found.front), color=COLOURS[0], linewidth=1.4, label="front: nothing beats these")
    # As the search had them, to be drawn among the others of the search.
    tried, compared = {aggregate.name: aggregate for aggregate in aggregates}, found.comparison
    styles: tuple[tuple[Measurement, str, dict[str, Any]], ...] = (
        (compared.second, "default", {"marker": "s", "s": 110, "facecolors": "none", "edgecolors": "black"}),
        (compared.first, "winner", {"marker": "*", "s": 230, "facecolors": COLOURS[1], "edgecolors": COLOURS[1]}),
    )
    for each, name, style in styles:
        place = places([tried.get(each.name, each)])
        axes.scatter(*place, linewidths=1.6, zorder=4, label=f"{name}: {each.name}", **style)
    axes.axvline(budget, color=COLOURS[2], linestyle="--", linewidth=1, label=f"budget: {budget:g} s")
    if by_kid:
        floor = max((s.kid_floor for s in aggregates if math.isfinite(s.kid_floor)), default=0.0)
        if floor:
            axes.axhline(floor, color="0.4", linestyle=":", linewidth=1.2, label=f"real against real ({floor:.2g})")
        # Below the floor a KID is noise around 0 and may be negative, which no logarithm takes.
        linear = floor or 1e-3
        axes.set_yscale("symlog", linthresh=linear)
        # Between the two logarithms there is room for 0 alone.
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}" if not 0 < abs(value) < linear else "")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("seconds per picture")
    axes.set_ylabel("KID (lower is better)" if by_kid else "accuracy (higher is better)")
    axes.grid(alpha=0.25, which="both")
    figure.legend(fontsize=8, loc="outside lower center", ncols=1, frameon=False)
    return figure


def _say(value: Any) -> str:
    return " to ".join(f"{v:g}" for v in value) if isinstance(value, list | tuple) else str(value)


_PARETO = (
    "Each point is one way to sample; the larger, the more pictures it was measured on. Hollow: few pictures, or "
    f"accuracy lost beyond the {TOLERANCE:.0%} that the goal 'balanced' allows, or the noise of so few. The line "
    "joins settings that no other beats in both quality and time. Seconds are the median over samples, in batches of "
    "32, sampling and decoding; KID and accuracy are means over all pictures of the search."
)
_FEW_REAL = "(on the same real pictures as in the search, because there are too few to divide)"
