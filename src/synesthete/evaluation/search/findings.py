"""Two findings of an earlier system, asked again: whether eta 0 is worse, and guidance 6 the best.

Each is a list of `Comparison`s on shared noise: of DDIM, eta 0 with eta 1 at equal steps; of the model's default,
guidance 6 with every other scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from synesthete.evaluation.reporting.figures import Panel, curves_figure, to_png
from synesthete.evaluation.reporting.report import Medium, Section, Table
from synesthete.evaluation.search.measurements import Comparison, Measurements, compare_repeats
from synesthete.evaluation.search.space import Space, name_of

if TYPE_CHECKING:
    Settings = dict[str, Any]

NUM_REPEATS = 4
ETA_STEPS = (5, 10, 20, 50)
SCALES = (1.0, 1.5, 2.0, 3.0, 4.5, 6.0, 8.0)
SPARED = (4.5, 1.5, 3.0)  # scales that are left out, one after the other, where there is no time for all
ASKED = 6.0
FEWEST_PICTURES = 24


class Questions(NamedTuple):
    """What there is time to ask, of `num` pictures a repeat: pairs at eta 0 and 1, and settings by guidance scale."""

    eta: list[tuple[Settings, Settings]]
    guidance: dict[float, Settings]
    num: int

    @property
    def settings(self) -> list[Settings]:
        """All that have to be measured."""
        return [*(settings for pair in self.eta for settings in pair), *self.guidance.values()]


def afford(
    space: Space, cost: Callable[[Settings], float], seconds: float, num: int, fewest: int = FEWEST_PICTURES
) -> Questions:
    """The questions that the seconds allow, by cost(settings) of a picture, of `num` down to `fewest` pictures each."""
    pairs, spared = [], 0
    for steps in ETA_STEPS:
        ddim = {"sampler": "ddim", "num_inference_steps": steps}
        without, with_noise = (space.settled(space.default | ddim | {"eta": eta}) for eta in (0.0, 1.0))
        if without and with_noise:
            pairs.append((without, with_noise))
    while True:
        questions = Questions(pairs, guidance_settings(space, spared), num)
        total = sum(map(cost, questions.settings))
        affordable = int(seconds / max(total * NUM_REPEATS, 1e-12))
        if affordable >= fewest or (len(pairs) <= 2 and spared == len(SPARED)):
            return questions._replace(num=min(num, max(fewest, affordable)))
        if len(pairs) > 2:  # most steps of DDIM go first, then scales
            pairs.pop()
        else:
            spared += 1


def guidance_settings(space: Space, num_spared: int = 0) -> dict[float, Settings]:
    """The model's default at every guidance scale but those spared; none for a model that is told nothing."""
    if len(space.knobs["guidance_scale"]) == 1:
        return {}
    scales = sorted({*SCALES, float(space.default["guidance_scale"])}.difference(SPARED[:num_spared]))
    found = {scale: space.settled(space.default | {"guidance_scale": scale}) for scale in scales}
    return {scale: settings for scale, settings in found.items() if settings}


def compare_findings(
    questions: Questions, final: Measurements, seed: Callable[..., int], count: Callable[[], None]
) -> tuple[list[Comparison], list[Comparison]]:
    """The comparisons of eta and of guidance, each repeat of fresh noise that all share; count() after each."""
    several, seeds = questions.settings, [seed("finding", i) for i in range(NUM_REPEATS)]
    repeats = dict(zip(map(name_of, several), final.repeats(several, questions.num, seeds, count), strict=True))
    pairs = [*questions.eta, *((questions.guidance[ASKED], settings) for settings in questions.guidance.values())]
    found = [compare_repeats(*(repeats[name_of(settings)] for settings in pair)) for pair in pairs]
    return found[: len(questions.eta)], found[len(questions.eta) :]


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
    text = f"{eta_sentence(found)} {_ASKED.format(num=num, repeats=NUM_REPEATS)} {_DEFAULT}"
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
    text = f"{guidance_sentence(found)} {_ASKED.format(num=num, repeats=NUM_REPEATS)} {_DEFAULT} {_CHOSEN}"
    return Section(title, text, [figure, Table(columns, rows)])


_ASKED = "Every figure is the mean of {repeats} repeats of {num} pictures; differences are taken repeat by repeat, 95%."
_DEFAULT = "Everything else is as in the model's default."
_CHOSEN = "The scale with the least KID is chosen after seeing the figures, so its lead is a little flattered."
