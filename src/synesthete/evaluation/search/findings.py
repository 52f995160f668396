"""Two findings of an earlier system, asked again: whether eta 0 is worse, and guidance 6 the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from synesthete.evaluation.reporting.figures import COLOURS, to_png
from synesthete.evaluation.reporting.report import Medium, Section, Table
from synesthete.evaluation.search.measurements import paired, together

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes

    from synesthete.evaluation.search.measurements import Aggregate, Measurement, Measurements, PairedDifference
    from synesthete.evaluation.search.space import Space

    Settings = dict[str, Any]

NUM_REPEATS = 4
ETA_STEPS = (5, 10, 20, 50)
SCALES = (1.0, 1.5, 2.0, 3.0, 4.5, 6.0, 8.0)
SPARED = (4.5, 1.5, 3.0)  # scales that are left out, one after the other, where there is no time for all
ASKED = 6.0
FEWEST_PICTURES = 24


@dataclass(frozen=True)
class EtaFinding:
    """DDIM without noise and with all of it, at equal steps. kid, accuracy: eta 0 minus eta 1, on the same noise."""

    num_steps: int
    without: Aggregate
    with_noise: Aggregate
    kid: PairedDifference
    accuracy: PairedDifference


@dataclass(frozen=True)
class GuidanceFinding:
    """A guidance scale, everything else as the model's default. kid, accuracy: scale 6 minus this one."""

    scale: float
    aggregate: Aggregate
    kid: PairedDifference
    accuracy: PairedDifference


def eta_settings(space: Space, num_steps: int) -> tuple[Settings, Settings] | None:
    """DDIM of that many steps at eta 0 and at eta 1; None where the model cannot be walked by it."""
    ddim = {"sampler": "ddim", "num_inference_steps": num_steps}
    pair = [space.settled(space.default | ddim | {"eta": eta}) for eta in (0.0, 1.0)]
    return (pair[0], pair[1]) if pair[0] and pair[1] else None


def guidance_settings(space: Space, num_spared: int = 0) -> dict[float, Settings]:
    """The model's default at every guidance scale but those spared; none for a model that is told nothing."""
    if len(space.knobs["guidance_scale"]) == 1:
        return {}
    scales = sorted({*SCALES, float(space.default["guidance_scale"])}.difference(SPARED[:num_spared]))
    found = {scale: space.settled(space.default | {"guidance_scale": scale}) for scale in scales}
    return {scale: settings for scale, settings in found.items() if settings}


def afford(
    space: Space, cost: Callable[[int], float], seconds: float, num: int, fewest: int = FEWEST_PICTURES
) -> tuple[list[int], int, int]:
    """The step counts to ask of DDIM, the scales to spare, and the pictures of each repeat, that the time allows.

    Most steps go first, then scales. cost(evaluations) -> seconds per picture. num, fewest: pictures, at most and at
    least.
    """
    steps, spared = [n for n in ETA_STEPS if eta_settings(space, n)], 0
    while True:
        asked = [settings for n in steps for settings in eta_settings(space, n) or ()]
        asked += guidance_settings(space, spared).values()
        total = sum(cost(space.evaluations(settings)) for settings in asked)
        affordable = int(seconds / max(total * NUM_REPEATS, 1e-12))
        if affordable >= fewest or (len(steps) <= 2 and spared == len(SPARED)):
            return steps, spared, min(num, max(fewest, affordable))
        if len(steps) > 2:
            steps.pop()
        else:
            spared += 1


def ask_eta(
    space: Space,
    measurements: Measurements,
    num_steps: Sequence[int],
    num: int,
    seed: Callable[..., int],
    count: Callable[[], None],
) -> list[EtaFinding]:
    """Eta 0 against eta 1 at each step count. count() is called after each measurement."""
    found = []
    for steps in num_steps:
        settings = eta_settings(space, steps)
        if settings is None:
            continue
        without, with_noise = (repeats(measurements, s, num, seed, count) for s in settings)
        kid, accuracy = differences(without, with_noise)
        found.append(EtaFinding(steps, together(without), together(with_noise), kid, accuracy))
    return found


def ask_guidance(
    measurements: Measurements,
    settings: Mapping[float, Settings],
    num: int,
    seed: Callable[..., int],
    count: Callable[[], None],
) -> list[GuidanceFinding]:
    """Guidance scales, with their settings, against ASKED. count() is called after each measurement."""
    made = {scale: repeats(measurements, own, num, seed, count) for scale, own in settings.items()}
    return [GuidanceFinding(s, together(own), *differences(made[ASKED], own)) for s, own in made.items()]


def repeats(
    measurements: Measurements,
    settings: Mapping[str, Any],
    num: int,
    seed: Callable[..., int],
    count: Callable[[], None],
) -> list[Measurement]:
    """NUM_REPEATS measurements, each of fresh noise that all settings share."""
    found = []
    for i in range(NUM_REPEATS):
        found.append(measurements.measure(settings, num, seed("finding", i)))
        count()
    return found


def differences(
    first: Sequence[Measurement], second: Sequence[Measurement]
) -> tuple[PairedDifference, PairedDifference]:
    """First minus second, in KID and in accuracy."""
    return (
        paired([m.kid for m in first], [m.kid for m in second]),
        paired([m.accuracy for m in first], [m.accuracy for m in second]),
    )


def eta_sentence(found: Sequence[EtaFinding]) -> str:
    """What the eta table says, in words."""
    if not found:
        return "This model walks a flow, where a sampler adds no noise: there is no eta to ask about."
    worse = [f"{f.num_steps}" for f in found if f.kid.low > 0]
    better = [f"{f.num_steps}" for f in found if f.kid.high < 0]
    open_ = [f"{f.num_steps}" for f in found if not f.kid.is_clear]
    parts = [
        f"{verdict} at {', '.join(steps)} steps"
        for verdict, steps in (
            ("a higher KID (worse)", worse),
            ("a lower KID (better)", better),
            ("a KID that differs by no more than noise", open_),
        )
        if steps
    ]
    if worse and not better:
        answer = "Eta 0 is worse than eta 1 here" + ("" if not open_ else ", but not at every number of steps")
    elif better and not worse:
        answer = "Eta 0 is not worse than eta 1: it is better" + ("" if not open_ else " or no different")
    elif worse:
        answer = "It depends on the number of steps"
    else:
        answer = "Eta 0 is not measurably worse than eta 1"
    return f"{answer}. At equal steps and on the same noise, eta 0 has {'; '.join(parts)}."


def guidance_sentence(found: Sequence[GuidanceFinding]) -> str:
    """What the guidance table says, in words."""
    if not found:
        return "This model is told nothing, so there is nothing to guide it by."
    asked = next(f for f in found if f.scale == ASKED)
    kid = min(found, key=lambda f: f.aggregate.kid)
    accuracy = max(found, key=lambda f: (f.aggregate.accuracy, -f.scale))
    recall = max(found, key=lambda f: (f.aggregate.recall, -f.scale))
    if kid is asked:
        answer = "Guidance 6 has the least KID of these scales"
    elif kid.kid.low > 0:
        answer = f"Guidance 6 is not the best: {kid.scale:g} has a KID lower by {_spread(kid.kid)}"
    else:
        answer = f"Guidance 6 is not measurably beaten in KID: {kid.scale:g} is lower by {_spread(kid.kid)}"
    if accuracy.scale == ASKED:
        most = "its accuracy is the highest"
    elif not accuracy.accuracy.is_clear:
        most = (
            f"its accuracy is the highest within noise ({accuracy.scale:g}: {_percent(accuracy)}, 6: {_percent(asked)})"
        )
    else:
        most = f"accuracy is highest at {accuracy.scale:g} ({_percent(accuracy)}, at 6 {_percent(asked)})"
    covered = "recall, the share of real pictures that could have been made, "
    if recall.aggregate.recall - asked.aggregate.recall < 0.005:
        covered += f"is not lower at 6 ({asked.aggregate.recall:.2f}) than at any other"
    else:
        covered += f"is highest at {recall.scale:g} ({recall.aggregate.recall:.2f}, at 6 {asked.aggregate.recall:.2f})"
    return f"{answer}; {most}; {covered}."


def _spread(difference: PairedDifference) -> str:
    return f"{difference.mean:.2g} (95%: {difference.low:.2g} to {difference.high:.2g})"


def _percent(found: GuidanceFinding) -> str:
    return f"{found.aggregate.accuracy:.1%}"


def finish_axes(axes: Axes, floor: float | None) -> None:
    """The KID of real pictures against real ones, a grid and a legend."""
    if floor is not None:
        axes.axhline(floor, color="0.4", linestyle=":", linewidth=1.2, label=f"real against real ({floor:.2g})")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False)


def eta_figure(found: Sequence[EtaFinding]) -> Figure:
    """KID over steps, without noise and with it."""
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    steps = [f.num_steps for f in found]
    for name, marker, colour, values in (
        ("eta 0: no noise", "o", COLOURS[0], [f.without.kid for f in found]),
        ("eta 1: all of DDPM's", "s", COLOURS[1], [f.with_noise.kid for f in found]),
    ):
        axes.plot(steps, values, marker=marker, markersize=5, color=colour, label=name)
    finish_axes(axes, found[0].without.kid_floor)
    axes.set_xscale("log")
    axes.set_xticks(steps, [str(n) for n in steps])
    axes.minorticks_off()
    axes.set_xlabel("DDIM steps")
    axes.set_ylabel("KID (lower is better)")
    return figure


def guidance_figure(found: Sequence[GuidanceFinding], default: float) -> Figure:
    """Accuracy, recall and KID over the guidance scale."""
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    scales = [f.scale for f in found]
    for name, marker, colour in (("accuracy", "o", COLOURS[0]), ("recall", "s", COLOURS[2]), ("precision", "^", "0.6")):
        values = [getattr(f.aggregate, name) for f in found]
        upper.plot(scales, values, marker=marker, markersize=5, color=colour, label=name)
    lower.plot(scales, [f.aggregate.kid for f in found], marker="D", markersize=5, color=COLOURS[1], label="KID")
    for axes, floor in ((upper, None), (lower, found[0].aggregate.kid_floor)):
        axes.axvline(default, color="0.9", linewidth=6, zorder=0)
        finish_axes(axes, floor)
    upper.set_ylim(-0.02, 1.04)
    upper.set_ylabel("share (higher is better)")
    lower.set_ylabel("KID (lower is better)")
    lower.set_xlabel("guidance scale (1 = off; grey: the model's default)")
    lower.set_xticks(scales, [f"{scale:g}" for scale in scales])
    return figure


def eta_section(found: Sequence[EtaFinding], num: int) -> Section:
    """The eta table and its figure. num: pictures of each repeat."""
    if not found:
        return Section("Is eta 0 worse?", eta_sentence(found))
    columns = ("DDIM steps", "KID, eta 0", "KID, eta 1", "eta 0 minus eta 1", "accuracy, eta 0", "accuracy, eta 1")
    rows = [
        (f.num_steps, f.without.kid, f.with_noise.kid, str(f.kid), f.without.accuracy, f.with_noise.accuracy)
        for f in found
    ]
    figure = Medium("eta", to_png(eta_figure(found)), "KID of DDIM without and with noise, over its steps.")
    text = f"{eta_sentence(found)} {_ASKED.format(num=num, repeats=NUM_REPEATS)} {_ETA}"
    return Section("Is eta 0 worse?", text, [figure, Table(columns, rows)])


def guidance_section(found: Sequence[GuidanceFinding], num: int, default: float) -> Section:
    """The guidance table and its figure. num: pictures of each repeat. default: the model's own scale."""
    title = f"Is guidance {ASKED:g} the best?"
    if not found:
        return Section(title, guidance_sentence(found))
    columns = ("guidance scale", "accuracy", "KID", "precision", "recall", f"KID of {ASKED:g} minus this")
    rows = [
        (
            f.scale,
            f.aggregate.accuracy,
            f.aggregate.kid,
            f.aggregate.precision,
            f.aggregate.recall,
            None if f.scale == ASKED else str(f.kid),
        )
        for f in found
    ]
    figure = guidance_figure(found, default)
    text = f"{guidance_sentence(found)} {_ASKED.format(num=num, repeats=NUM_REPEATS)} {_GUIDANCE}"
    return Section(title, text, [Medium("guidance", to_png(figure), "Figures over guidance."), Table(columns, rows)])


_ASKED = "Every figure is the mean of {repeats} repeats of {num} pictures; differences are taken repeat by repeat, 95%."
_ETA = "Everything else is as in the model's default."
_GUIDANCE = (
    "Everything else is as in the model's default. The scale with the least KID is chosen after seeing the figures, so "
    "its lead is a little flattered."
)
