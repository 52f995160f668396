"""The report on a model of pictures, from its samples to its page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synesthete.data.picture import to_images
from synesthete.evaluation.metrics.intervals import interval
from synesthete.evaluation.metrics.memorization import WATCHED
from synesthete.evaluation.pictures.measures import JUDGE
from synesthete.evaluation.reporting.classes import by_class, confusions
from synesthete.evaluation.reporting.figures import sweep_figure, to_png
from synesthete.evaluation.reporting.report import Medium, Report, Section, Table, notes_section
from synesthete.evaluation.reporting.sheet import draw_sheet, encode_png

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from synesthete.evaluation.metrics.set_metrics import SetMetrics
    from synesthete.evaluation.pictures.likeness import Likenesses
    from synesthete.evaluation.pictures.measures import PictureEvaluation

NUM_CLASSES = 20  # rows of the gallery
NUM_SHOWN = 8  # pictures of a class, made and real each


def picture_report(pipeline: Any, evaluation: PictureEvaluation, facts: dict[str, Any] | None = None) -> Report:
    """The report on what `evaluate_pictures` found. facts: what was measured, when and how."""
    sections = [Section("Made and real", _GALLERY, [gallery(evaluation)])]
    if evaluation.answers is not None:
        sections += class_sections(evaluation)
    sections += [as_a_set(evaluation.likenesses), memory(evaluation)]
    if evaluation.sweep:
        sections.append(guidance(evaluation, pipeline.sampling_settings()["guidance_scale"]))
    sections += [evaluation.denoising.section("pictures"), Section("How to read the figures", _READING)]
    sections += notes_section(evaluation.notes)
    return Report(
        title=f"Are they good pictures? {(facts or {}).get('model', '')}".strip(),
        summary=summary(evaluation),
        facts=facts or {},
        metrics=evaluation.metrics,
        sections=sections,
        data=evaluation.to_dict(),
    )


def summary(evaluation: PictureEvaluation) -> str:
    """The finding in two or three sentences."""
    sentences = []
    if evaluation.answers is not None:
        metric = evaluation.metric("class accuracy")
        assert metric.chance is not None and metric.ceiling is not None
        sentences.append(
            f"{metric.value:.1%} of {len(evaluation.labels)} pictures show what was asked for ({JUDGE}; chance "
            f"{metric.chance:.1%}, real pictures {metric.ceiling:.1%})."
        )
        if metric.interval and metric.interval[0] <= metric.chance:
            sentences.append("That is no better than guessing: this model does not draw what it is told (yet).")
    found = evaluation.likenesses
    times = found.over_floor(found.made.kernel)
    said = f"{times:.1f} times what real pictures score" if times > 1 else "no more than real pictures score"
    worst = f"pixels at random {found.over_floor(found.worst.kernel):.0f} times"
    sentences.append(f"KID to held-out pictures is {said} ({found.features}; {worst}).")
    pixels = evaluation.memory.closeness[0]
    low, _ = interval(pixels.closer(WATCHED[-1]), len(pixels.made))
    share = (
        f"{pixels.closer(WATCHED[-1]):.1%} are nearer to a training picture than the nearest {WATCHED[-1]:.0%} of real"
    )
    copies = "which looks like copying, or blur" if low > WATCHED[-1] else "which is no sign of copying"
    sentences.append(f"{share} held-out ones, {copies}.")
    return " ".join(sentences)


def gallery(evaluation: PictureEvaluation) -> Medium:
    """A row a class: what was made, captioned where the judge sees something else, and real held-out pictures."""
    made, real = to_images(evaluation.made), to_images(evaluation.real.held_out)
    if evaluation.answers is None:
        num = 2 * NUM_SHOWN
        rows: list[list[Image.Image | None]] = [[*made[:num]], [*real[:num]]]
        return Medium("gallery", encode_png(draw_sheet(rows, ["made", "real"])), "above: made; below: real, held out")
    assert evaluation.real_answers is not None
    classes = evaluation.labels.unique()[:NUM_CLASSES].tolist()
    halves = (
        (made, evaluation.labels, evaluation.answers),
        (real, evaluation.real.labels, evaluation.real_answers),
    )
    rows, captions = [], []
    for label in classes:
        row: list[Image.Image | None] = []
        said: list[str] = []
        for number, (pictures, labels, answers) in enumerate(halves):
            places = (labels == label).nonzero().flatten()[:NUM_SHOWN].tolist()
            gap = [None] * (NUM_SHOWN - len(places) + 1 - number)
            row += [*(pictures[i] for i in places), *gap]
            seen = [int(answers[i]) for i in places]
            said += ["" if answer == label else evaluation.class_names[answer] for answer in seen] + [""] * len(gap)
        rows.append(row)
        captions.append(said)
    names = [evaluation.class_names[label] for label in classes]
    title = "left: made; right: real, held out; below: what the judge sees, where it sees something else"
    return Medium("gallery", encode_png(draw_sheet(rows, names, captions=captions, title=title)), title)


def class_sections(evaluation: PictureEvaluation) -> list[Section]:
    """Class by class, and what was taken for what, beside real pictures."""
    tables = evaluation.confusion(), evaluation.confusion(real=True)
    names = evaluation.class_names
    return [by_class(names, *tables, "pictures"), confusions(names, *tables, "picture")]


def as_a_set(found: Likenesses) -> Section:
    """The figures of the set beside those of real pictures and of pixels at random."""

    def row(name: str, likeness: SetMetrics) -> tuple[Any, ...]:
        share = likeness.diversity / found.real_diversity if found.real_diversity else None
        return (
            name,
            likeness.frechet,
            likeness.kernel,
            likeness.spread,
            found.over_floor(likeness.kernel),
            likeness.precision,
            likeness.recall,
            share,
        )

    columns = ("", "FID", "KID", "its spread over subsets", "KID / floor", "precision", "recall", "diversity over real")
    rows = [
        row("made", found.made),
        row("other real pictures", found.real),
        row("pixels of real pictures, at random", found.worst),
    ]
    caption = (
        f"against {found.num_held_out} held-out pictures; {found.features}, {found.width} numbers a picture; FID, "
        f"precision and recall with {found.num_equal} of each set"
    )
    return Section("As a set", _SET.format(floor=found.floor), [Table(columns, rows, caption)])


def memory(evaluation: PictureEvaluation) -> Section:
    """Distances to training pictures, and the pictures that are nearest to one."""
    found = evaluation.memory
    rows = [
        (
            each.space,
            each.made.median().item(),
            each.held_out.median().item(),
            *(value for share in WATCHED for value in (each.limit(share), each.closer(share))),
        )
        for each in found.closeness
    ]
    watched = [name for share in WATCHED for name in (f"{share:.0%} of held-out are below", "of made")]
    table = Table(("distance in", "median, made", "median, held out", *watched), rows)
    pixels = found.closeness[0]
    strips = (
        ("made", evaluation.made, found.suspects, found.copies, pixels.made),
        ("held out", evaluation.real.held_out, found.real_suspects, found.real_copies, pixels.held_out),
    )
    items: list[Table | Medium] = [table]
    for name, pictures, places, copies, distances in strips:
        captions = [[f"{distances[place]:.3f}" for place in places.tolist()], [""] * len(places)]
        sheet = neighbour_strip(pictures[places], copies, name, captions)
        items.append(Medium(f"nearest-{name}", sheet, f"{name}: the nearest to training, and below what they are near"))
    shares = [(name_of(evaluation, place), pixels.made[place].item(), pixels.nearer(place)) for place in found.suspects]
    columns = ("made picture", "distance in pixels", "share of held-out pictures that are nearer")
    return Section("Made or copied", _MEMORY, [*items, Table(columns, shares, "the most suspicious")])


def name_of(evaluation: PictureEvaluation, place: Tensor) -> str:
    """A made picture's number, and its class where it was asked for one."""
    told = f", {evaluation.class_names[int(evaluation.labels[place])]}" if evaluation.answers is not None else ""
    return f"{int(place)}{told}"


def neighbour_strip(pictures: Tensor, copies: Tensor, name: str, captions: list[list[str]]) -> bytes:
    """Pictures above the training pictures that they are nearest to, as a PNG file."""
    return encode_png(draw_sheet([to_images(pictures), to_images(copies)], [name, "training"], captions=captions))


def guidance(evaluation: PictureEvaluation, default: float) -> Section:
    """The same classes and noise at other guidance scales, beside real pictures."""
    sweep, found = evaluation.sweep, evaluation.likenesses
    num = next(iter(sweep.values())).num
    metric = evaluation.metric("class accuracy")
    ceilings = {"accuracy": metric.ceiling or 0.0, "precision": found.real.precision, "recall": found.real.recall}
    curves = {
        "accuracy": [(score.accuracy, *interval(score.accuracy, num)) for score in sweep.values()],
        **{name: [(getattr(s, name),) * 3 for s in sweep.values()] for name in ("precision", "recall")},
    }
    chance = 1 / len(evaluation.class_names)
    title = f"n = {num} at each scale, same noise; bars: 95%"
    figure = sweep_figure(list(sweep), curves, ceilings, chance, title, default, "share")
    rows: list[tuple[Any, ...]] = [
        (
            f"{scale:g}",
            score.accuracy,
            score.kid,
            score.kid / score.kid_floor if score.kid_floor else None,
            score.precision,
            score.recall,
            score.diversity / found.real_diversity if found.real_diversity else None,
            score.seconds_per_picture,
        )
        for scale, score in sweep.items()
    ]
    real_share = found.real.diversity / found.real_diversity if found.real_diversity else None
    rows.append(("real pictures", metric.ceiling, None, 1.0, found.real.precision, found.real.recall, real_share, None))
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
    text = _GUIDANCE.format(num=num, default=default)
    return Section("Guidance", text, [Medium("guidance", to_png(figure)), Table(columns, rows)])


_GALLERY = "The first pictures that were made, not the best ones, beside real ones that the model never saw."
_READING = (
    "Chance is the worst that a figure can be: for class accuracy a judge that guesses; for FID, KID, precision and "
    "recall all pixels of real pictures dealt out at random; for diversity one picture over and over; for memorisation "
    "copies of training pictures; for errors of one step the mean picture. Shuffled: the classes, or conditions, of "
    "other pictures. The ceiling is what real pictures score: judged, or another set of them compared with the "
    "held-out ones, at the same numbers; of KID, whose expectation is then 0, the root mean square. FID is biased by "
    "the number of pictures, and figures in other features are no figures of the same thing: both are in its name."
)
_SET = (
    "FID: how far the mean and covariance of the features are from real pictures' (Heusel et al. 2017). KID: how far "
    "the features' distributions are apart by a cubic kernel, without bias (Bińkowski et al. 2018); real pictures "
    "score {floor:.3g} against real ones, in part for having by chance more of one class than of another. "
    "Class-balanced KID gives every class equal weight, so its floor is lower and it sees smaller faults. Precision: "
    "made pictures that lie among real ones. Recall: real pictures that lie among made ones (Kynkäänniemi et al. 2019)."
)
_MEMORY = (
    "How far it is to the nearest training picture. Real held-out pictures are near to some, too, so they are the "
    "measure: of a model that copies, many more pictures are as near as the nearest few of theirs. In pixels the "
    "distance is the root mean square difference, 0 to 1; smooth or blurred pictures are near to everything in it."
)
_GUIDANCE = (
    "The first {num} pictures again, on the same noise, at other guidance scales: 0 is not told the class, 1 is told "
    "it and no more, {default:g} is the model's own. More guidance shows the class more clearly, in less variety. "
    "Balanced KID gives every class equal weight; it is no figure to compare with plain KID."
)
