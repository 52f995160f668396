"""The report on a search for sampling settings, and on two findings of an earlier system: eta 0 and guidance 6."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from synesthete.evaluation.metrics.metric import Metric, interval, metric
from synesthete.evaluation.reporting.figures import COLOURS, Panel, curves_figure, to_png
from synesthete.evaluation.reporting.report import SECTIONS, Medium, Report, Section, Table
from synesthete.evaluation.search.measurements import GOALS, TOLERANCE, Comparison, Measurement
from synesthete.evaluation.search.space import name_of

if TYPE_CHECKING:
    from synesthete.evaluation.search.measurements import SearchConfig
    from synesthete.evaluation.search.tuning import SearchResult

NUM_LISTED = 40
ASKED = 6.0  # the guidance scale that an earlier system found the best
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
        took = f"{winner.seconds_per_picture:.3g} s, by the default {default.seconds_per_picture:.3g} s{late}"
        return (
            f"Best within {budget:g} s a picture: {winner.name}. It {verdict} the model's default, {default.name} "
            f"({reason}; fresh noise, {compared.num_repeats} repeats). A picture takes {took}. {self.remark}"
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

    def areas(shown: Sequence[Measurement]) -> list[float]:
        return [6 + 1.2 * s.num**0.6 for s in shown]

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
    default: dict[str, Any] = {"marker": "s", "s": 110, "facecolors": "none", "edgecolors": "black"}
    winner: dict[str, Any] = {"marker": "*", "s": 230, "color": COLOURS[1]}
    for each, name, style in ((compared.second, "default", default), (compared.first, "winner", winner)):
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
    quality = "KID (lower is better)" if by_kid else "accuracy (higher is better)"
    axes.set(xscale="log", xlabel="seconds per picture", ylabel=quality)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25, which="both")
    figure.legend(fontsize=8, loc="outside lower center", ncols=1, frameon=False)
    return figure


def _say(value: Any) -> str:
    return " to ".join(f"{v:g}" for v in value) if isinstance(value, list | tuple) else str(value)


def steps_of(found: Comparison) -> int:
    """The steps at which etas were compared."""
    return int(found.first.settings["num_inference_steps"])


def scale_of(found: Comparison) -> float:
    """The guidance scale that ASKED was compared with."""
    return float(found.second.settings["guidance_scale"])


def eta_sentence(found: Sequence[Comparison]) -> str:
    """What the eta table says, in words."""
    if not found:
        return "This model walks a flow, where a sampler adds no noise: there is no eta to ask about."
    verdicts: dict[str, list[str]] = {
        kind: [] for kind in ("higher KID (worse)", "lower KID (better)", "KID that differs by no more than noise")
    }
    worse, better, open_ = verdicts.values()
    for f in found:
        (worse if f.kid.low > 0 else better if f.kid.high < 0 else open_).append(f"{steps_of(f)}")
    if worse and better:
        answer = "It depends on the number of steps"
    elif worse:
        answer = "Eta 0 is worse than eta 1 here" + (", but not at every number of steps" if open_ else "")
    elif better:
        answer = "Eta 0 is not worse than eta 1: it is better" + (" or no different" if open_ else "")
    else:
        answer = "Eta 0 is not measurably worse than eta 1"
    said = "; ".join(f"a {verdict} at {', '.join(steps)} steps" for verdict, steps in verdicts.items() if steps)
    return f"{answer}. At equal steps and on the same noise, eta 0 has {said}."


def guidance_sentence(found: Sequence[Comparison]) -> str:
    """What the guidance table says, in words."""
    if not found:
        return "There is nothing to guide this model by: it is told nothing, or has its guidance folded in."
    asked = next(f for f in found if scale_of(f) == ASKED).second
    kid = min(found, key=lambda f: f.second.kid)
    accuracy = max(found, key=lambda f: (f.second.accuracy, -scale_of(f)))
    recall = max(found, key=lambda f: (f.second.recall, -scale_of(f)))
    lead = f"{kid.kid.mean:.2g} (95%: {kid.kid.low:.2g} to {kid.kid.high:.2g})"
    if scale_of(kid) == ASKED:
        answer = "Guidance 6 has the least KID of these scales"
    elif kid.kid.low > 0:
        answer = f"Guidance 6 is not the best: {scale_of(kid):g} has a KID lower by {lead}"
    else:
        answer = f"Guidance 6 is not measurably beaten in KID: {scale_of(kid):g} is lower by {lead}"
    most, its = f"{scale_of(accuracy):g}", f"{accuracy.second.accuracy:.1%}"
    if scale_of(accuracy) == ASKED:
        said = "its accuracy is the highest"
    elif not accuracy.accuracy.is_clear:
        said = f"its accuracy is the highest within noise ({most}: {its}, 6: {asked.accuracy:.1%})"
    else:
        said = f"accuracy is highest at {most} ({its}, at 6 {asked.accuracy:.1%})"
    if recall.second.recall - asked.recall < 0.005:
        covered = f"is not lower at 6 ({asked.recall:.2f}) than at any other"
    else:
        covered = f"is highest at {scale_of(recall):g} ({recall.second.recall:.2f}, at 6 {asked.recall:.2f})"
    return f"{answer}; {said}; recall, the share of real pictures that could have been made, {covered}."


def kid_panel(xlabel: str, x: Sequence[float], curves: dict[str, list[float]], floor: float, **more: Any) -> Panel:
    """KID over something, above that of real pictures against real ones."""
    floors = {f"real against real ({floor:.2g})": floor}
    return Panel("", xlabel, "KID (lower is better)", x, curves, floors, ticks={v: f"{v:g}" for v in x}, **more)


def eta_section(found: Sequence[Comparison], num: int) -> Section:
    """The eta table and its figure. num: pictures of each repeat."""
    if not found:
        return Section("Is eta 0 worse?", eta_sentence(found))
    columns = ("DDIM steps", "KID, eta 0", "KID, eta 1", "eta 0 minus eta 1", "accuracy, eta 0", "accuracy, eta 1")
    rows = [(steps_of(f), f.first.kid, f.second.kid, str(f.kid), f.first.accuracy, f.second.accuracy) for f in found]
    curves = {"eta 0: no noise": [f.first.kid for f in found], "eta 1: all of DDPM's": [f.second.kid for f in found]}
    panel = kid_panel("DDIM steps", [steps_of(f) for f in found], curves, found[0].first.kid_floor, log_x=True)
    figure = Medium("eta", to_png(curves_figure([panel])), "KID of DDIM without and with noise, over its steps.")
    text = f"{eta_sentence(found)} {_ASKED.format(num=num, repeats=found[0].num_repeats)} {_DEFAULT}"
    return Section("Is eta 0 worse?", text, [figure, Table(columns, rows)])


def guidance_section(found: Sequence[Comparison], num: int, default: float) -> Section:
    """The guidance table and its figure. num: pictures of each repeat. default: the model's own scale."""
    title = f"Is guidance {ASKED:g} the best?"
    if not found:
        return Section(title, guidance_sentence(found))
    columns = ("guidance scale", "accuracy", "KID", "precision", "recall", f"KID of {ASKED:g} minus this")
    scales, tried = [scale_of(f) for f in found], [f.second for f in found]
    rows = [
        (scale, each.accuracy, each.kid, each.precision, each.recall, None if scale == ASKED else str(f.kid))
        for scale, each, f in zip(scales, tried, found, strict=True)
    ]
    label, share = "guidance scale (1 = off)", "share (higher is better)"
    shares = {name: [getattr(each, name) for each in tried] for name in ("accuracy", "recall", "precision")}
    ticks = {scale: f"{scale:g}" for scale in scales}
    panels = [
        Panel("", label, share, scales, shares, mark=default, ticks=ticks, least=-0.02, most=1.04),
        kid_panel(label, scales, {"KID": [each.kid for each in tried]}, tried[0].kid_floor, mark=default),
    ]
    figure = Medium("guidance", to_png(curves_figure(panels)), "Figures over guidance.")
    text = f"{guidance_sentence(found)} {_ASKED.format(num=num, repeats=found[0].num_repeats)} {_DEFAULT} {_CHOSEN}"
    return Section(title, text, [figure, Table(columns, rows)])


_PARETO = (
    "Each point is one way to sample; the larger, the more pictures it was measured on. Hollow: few pictures, or "
    f"accuracy lost beyond the {TOLERANCE:.0%} that the goal 'balanced' allows, or the noise of so few. The line "
    "joins settings that no other beats in both quality and time. Seconds are the median over samples, in batches of "
    "32, sampling and decoding; KID and accuracy are means over all pictures of the search."
)
_FEW_REAL = "(on the same real pictures as in the search, because there are too few to divide)"
_ASKED = "Every figure is the mean of {repeats} repeats of {num} pictures; differences are taken repeat by repeat, 95%."
_DEFAULT = "Everything else is as in the model's default."
_CHOSEN = "The scale with the least KID is chosen after seeing the figures, so its lead is a little flattered."
