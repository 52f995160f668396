"""The report on a search for sampling settings."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from synesthete.evaluation.metrics.metric import interval, metric
from synesthete.evaluation.reporting.figures import COLOURS, to_png
from synesthete.evaluation.reporting.report import Medium, Report, Section, Table
from synesthete.evaluation.search.findings import eta_section, eta_sentence, guidance_section, guidance_sentence
from synesthete.evaluation.search.measurements import GOALS, TOLERANCE
from synesthete.evaluation.search.space import name_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.evaluation.search.findings import (
        EtaFinding,
        GuidanceFinding,
    )
    from synesthete.evaluation.search.measurements import Aggregate, Measurement
    from synesthete.evaluation.search.tuning import SearchConfig, SearchResult

NUM_LISTED = 40


@dataclass
class Tuning:
    """A search's outcome.

    old: the default before, in full. written: whether the winner is the model's default now; remark: why, in words.
    features: what the distances were measured on. fresh: whether the comparison had real pictures of its own.
    """

    found: SearchResult
    config: SearchConfig
    old: dict[str, Any]
    features: str
    written: bool
    remark: str
    fresh: bool
    num_classes: int
    eta: list[EtaFinding]
    guidance: list[GuidanceFinding]
    num_asked: int
    measurements: list[Measurement] = field(default_factory=list)
    num_new: int = 0

    @property
    def winner(self) -> dict[str, Any]:
        """The settings that the search chose, in full."""
        return self.found.winner

    @property
    def better(self) -> bool:
        """Whether the winner beats the old default by the goal, beyond noise."""
        return self.found.comparison.better

    def summary(self) -> str:
        """The outcome in a few sentences."""
        compared, budget = self.found.comparison, self.config.budget
        if compared.winner.name == compared.default.name:
            first = f"The model's default, {compared.default.name}, stays: {compared.reason}."
            return f"{first} {self.remark}"
        verdict = "is better than" if compared.better else "is not measurably better than"
        late = compared.default.seconds_per_picture > budget
        return (
            f"Best within {budget:g} s a picture: {compared.winner.name}. It {verdict} the model's default, "
            f"{compared.default.name} ({compared.reason}; fresh noise, {compared.num_repeats} repeats). "
            f"A picture takes {compared.winner.seconds_per_picture:.3g} s, by the default "
            f"{compared.default.seconds_per_picture:.3g} s{', more than the budget' if late else ''}. {self.remark}"
        )

    def eta_says(self) -> str:
        """Whether eta 0 is worse, in a sentence or two."""
        return eta_sentence(self.eta)

    def guidance_says(self) -> str:
        """Whether guidance 6 is the best, in a sentence."""
        return guidance_sentence(self.guidance)

    def metrics(self) -> list[Metric]:
        """The figures of the comparison, each beside what it is to be read against."""
        compared, metrics = self.found.comparison, []
        for who, aggregate in (("winner", compared.winner), ("old default", compared.default)):
            said: dict[str, Any] = {"who": who, "variant": who}
            if math.isfinite(aggregate.accuracy):
                spread = interval(aggregate.accuracy, aggregate.num)
                figures = aggregate.accuracy, spread, 1 / self.num_classes, None, self.config.ceiling
                metrics.append(metric("searched_accuracy", *figures, num=aggregate.num, **said))
            against = f"{self.features}, n = {compared.num_repeats} x {aggregate.num // compared.num_repeats}"
            metrics += [
                metric("searched_kid", aggregate.kid, ceiling=aggregate.kid_floor, against=against, **said),
                metric("searched_recall", aggregate.recall, against=against, **said),
                metric("searched_seconds", aggregate.seconds_per_picture, **said),
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
            "winner": self.winner,
            "better": compared.better,
            "reason": compared.reason,
            "written": self.written,
            "differences": {"kid": vars(compared.kid), "accuracy": vars(compared.accuracy)},
            "front": [aggregate.settings for aggregate in self.found.front],
            "findings": {"eta": self.eta_says(), "guidance": self.guidance_says()},
            "measurements": [asdict(measurement) for measurement in self.measurements],
        }

    def report(self, facts: Mapping[str, Any]) -> Report:
        """The page. facts: what was measured, when and how."""
        guidance = guidance_section(self.guidance, self.num_asked, float(self.old["guidance_scale"]))
        return Report(
            title=f"Tuned sampling: {facts.get('model', '')}".strip(": "),
            summary=self.summary(),
            facts=dict(facts),
            metrics=self.metrics(),
            sections=[
                self._settings(),
                self._pareto(),
                eta_section(self.eta, self.num_asked),
                guidance,
                self._search(),
                self._tried(),
            ],
            data=self.to_dict(),
        )

    def _settings(self) -> Section:
        rows = [(name, _say(self.old[name]), _say(self.winner[name])) for name in self.old if name in self.winner]
        text = f"Goal {self.config.goal!r}: {GOALS[self.config.goal]}. {self.remark}"
        return Section("Settings", text, [Table(("setting", "old default", "winner"), rows)])

    def _pareto(self) -> Section:
        merit = "accuracy" if self.config.goal == "accuracy" else "kid"
        figure = pareto_figure(self.found, merit, self.config.budget)
        table = Table(COLUMNS, [row(aggregate) for aggregate in self.found.front], "The front")
        return Section(
            "Score over seconds", _PARETO, [Medium("pareto", to_png(figure), "Every settings tried."), table]
        )

    def _search(self) -> Section:
        rows = [(what, num, pictures) for what, num, pictures in self.found.rounds]
        own = "on real pictures that the search did not see" if self.fresh else _FEW_REAL
        text = _SEARCH.format(repeats=self.found.comparison.num_repeats, own=own)
        return Section("The search", text, [Table(("round", "settings", "pictures each"), rows)])

    def _tried(self) -> Section:
        order = sorted(self.found.aggregates, key=lambda s: (-s.num, s.kid))
        rest = len(order) - NUM_LISTED
        text = f"The {NUM_LISTED} with most pictures; {rest} more are in report.json." if rest > 0 else ""
        return Section("Settings tried", text, [Table(COLUMNS, [row(aggregate) for aggregate in order[:NUM_LISTED]])])


def pareto_figure(found: SearchResult, figure_of_merit: str, budget: float) -> Figure:
    """Every settings tried, over the seconds that a picture takes.

    figure_of_merit: "kid" or "accuracy", up the side. Those that the front cannot be made of (few pictures, or accuracy
    lost) are drawn hollow. The area of a point grows with its pictures.
    """
    aggregates, compared = found.aggregates, found.comparison
    # As the search had them, to be drawn among the others of the search.
    tried = {aggregate.name: aggregate for aggregate in aggregates}
    winner, default = (tried.get(each.name, each) for each in (compared.winner, compared.default))
    figure = Figure(figsize=(8.0, 5.2), layout="constrained")
    axes = figure.add_subplot()
    own = {aggregate.name for aggregate in found.kept}
    solid = [s for s in aggregates if s.name in own]
    hollow = [s for s in aggregates if s.name not in own]
    axes.scatter(*_places(hollow, figure_of_merit), s=_areas(hollow), facecolors="none", edgecolors="0.65")
    other = [s.accuracy if figure_of_merit == "kid" else s.kid for s in solid]
    shades: dict[str, Any] = {"color": COLOURS[0]}
    if np.isfinite(other).any():
        shades = {"c": other, "cmap": "viridis" if figure_of_merit == "kid" else "viridis_r"}
    drawn = axes.scatter(*_places(solid, figure_of_merit), s=_areas(solid), edgecolors="0.3", linewidths=0.5, **shades)
    if "c" in shades:
        figure.colorbar(drawn, ax=axes, label="accuracy" if figure_of_merit == "kid" else "KID", pad=0.02)
    axes.plot(
        *_places(found.front, figure_of_merit), color=COLOURS[0], linewidth=1.4, label="front: nothing beats these"
    )
    for aggregate, marker, colour, name in ((default, "s", "black", "default"), (winner, "*", COLOURS[1], "winner")):
        axes.scatter(
            *_places([aggregate], figure_of_merit),
            s=230 if marker == "*" else 110,
            marker=marker,
            facecolors="none" if marker == "s" else colour,
            edgecolors=colour,
            linewidths=1.6,
            zorder=4,
            label=f"{name}: {aggregate.name}",
        )
    axes.axvline(budget, color=COLOURS[2], linestyle="--", linewidth=1, label=f"budget: {budget:g} s")
    floor = max((s.kid_floor for s in aggregates if math.isfinite(s.kid_floor)), default=0.0)
    if figure_of_merit == "kid":
        if floor:
            axes.axhline(floor, color="0.4", linestyle=":", linewidth=1.2, label=f"real against real ({floor:.2g})")
        # Below the floor a KID is noise around 0 and may be negative, which no logarithm takes.
        linear = floor or 1e-3
        axes.set_yscale("symlog", linthresh=linear)
        # Between the two logarithms there is room for 0 alone.
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:g}" if not 0 < abs(value) < linear else "")
        )
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("seconds per picture")
    axes.set_ylabel("KID (lower is better)" if figure_of_merit == "kid" else "accuracy (higher is better)")
    axes.grid(alpha=0.25, which="both")
    figure.legend(fontsize=8, loc="outside lower center", ncols=1, frameon=False)
    return figure


def _places(aggregates: Sequence[Aggregate], figure_of_merit: str) -> tuple[list[float], list[float]]:
    return [s.seconds_per_picture for s in aggregates], [getattr(s, figure_of_merit) for s in aggregates]


def _areas(aggregates: Sequence[Aggregate]) -> np.ndarray:
    return 6 + 1.2 * np.sqrt(np.array([s.num for s in aggregates], dtype=float)) ** 1.2


COLUMNS = ("settings", "seconds per picture", "pictures", "accuracy", "KID", "precision", "recall")


def row(each: Aggregate) -> tuple[Any, ...]:
    """An aggregate under COLUMNS."""
    return each.name, each.seconds_per_picture, each.num, each.accuracy, each.kid, each.precision, each.recall


def _say(value: Any) -> str:
    return " to ".join(f"{v:g}" for v in value) if isinstance(value, list | tuple) else str(value)


def facts_of(tuning: Tuning) -> dict[str, Any]:
    """The facts of a search beside those of any report."""
    config = tuning.config
    return {
        "goal": f"{config.goal}: {GOALS[config.goal]}",
        "budget": f"{config.budget:g} s per picture",
        "old default": name_of(tuning.old),
        "features": tuning.features,
        "seed": config.seed,
        "measured": f"{len(tuning.measurements)} samples, {tuning.num_new} of them now, the others kept from before",
    }


_PARETO = (
    "Each point is one way to sample; the larger, the more pictures it was measured on. Hollow: few pictures, or "
    f"accuracy lost beyond the {TOLERANCE:.0%} that the goal 'balanced' allows, or the noise of so few. The line "
    "joins settings that no other beats in both quality and time. Seconds are the median over samples, in batches of "
    "32, sampling and decoding; KID and accuracy are means over all pictures of the search."
)
_SEARCH = (
    "Successive halving (Jamieson & Talwalkar 2016; Li et al. 2018): a third of the settings go on from one rung to "
    "the next, where each makes three times the pictures, from fresh noise that all in a rung share; up to a quarter "
    "of the seats is kept for the cheapest settings that nothing beats. First settings drawn by chance, then what a "
    "tree-structured Parzen estimator proposes (Bergstra et al. 2011). The winner and the default are then "
    "compared {own}, on fresh noise in {repeats} repeats, with Student's interval of the differences in pairs."
)
_FEW_REAL = "(on the same real pictures as in the search, because there are too few to divide)"
