"""Sections of every evaluation: as a set, class by class, made or copied, and a gallery of made and real samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synesthete.evaluation.metrics.memorization import WATCHED, Memorization
from synesthete.evaluation.reporting.figures import confusion_figure, to_png
from synesthete.evaluation.reporting.media import draw_sheet, encode_png
from synesthete.evaluation.reporting.report import Gallery, Medium, Section, Table

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from synesthete.evaluation.metrics.set_comparison import SetComparison

    Draw = Callable[[Any], Sequence[Image.Image]]

NUM_CLASSES = 20  # rows of the gallery
NUM_SHOWN = 8  # samples of a class, made and real each


def set_section(
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
    text = _AS_A_SET.format(frechet=frechet, kernel=kernel, what=what, floor=found.floor)
    return Section(
        "As a set", f"{text} {remark}".strip(), [Table((*columns, "diversity over real", *more), rows, caption)]
    )


_AS_A_SET = (
    "{frechet}: how far the mean and covariance of the features are from those of real {what} (Heusel et al. 2017; "
    "Kilgour et al. 2019 for sound). {kernel}: how far the features' distributions are apart by a cubic kernel, "
    "without bias (Bińkowski et al. 2018); held-out {what} score {floor:.3g} against each other, in part for having by "
    "chance more of one class than of another. Class-balanced, every class has equal weight, so the floor is lower and "
    "smaller faults are seen. Precision: made {what} that lie among real ones. Recall: real {what} that lie among made "
    "ones (Kynkäänniemi et al. 2019)."
)


def class_section(class_names: Sequence[str], made: Tensor, real: Tensor, what: str) -> Section:
    """The share right of each class, the worst first, beside that of real ones, and what it is mistaken for.

    made, real: counts (C, C + 1) as `distances.confusion` makes them. what: they are of, in the plural.
    """
    rows = []
    for label, name in enumerate(class_names):
        counts, others = made[label].clone(), real[label]
        num, right = int(counts.sum()), int(counts[label])
        counts[label] = 0
        mistaken = f"{class_names[int(counts.argmax())]} ({int(counts.max())})" if counts.any() else None
        if num:
            share = others[label].item() / int(others.sum()) if others.any() else None
            rows.append((name, num, right / num, share, mistaken))
    rows.sort(key=lambda row: row[2])
    columns = ("class", "n", "share right", f"share right of real {what}", "most often taken for")
    return Section(
        "By class", "Share that the classifier sees as their class, the worst first.", [Table(columns, rows)]
    )


def confusion_section(
    class_names: Sequence[str], made: Tensor, real: Tensor, one: str, shows: str = "shows"
) -> Section:
    """What was made, then real ones: where both are confused, it is the classifier.

    made, real: as of `by_class`. one, shows: what is looked at, in the singular, and how it tells its class.
    """
    titles = (f"made, n = {int(made.sum())}", f"real, held out, n = {int(real.sum())}")
    sides = (("asked for", "taken for"), (f"the {one} {shows}", "taken for"))
    items = [
        Medium(f"confusion-{name}", to_png(confusion_figure(table, class_names, title, sides=side)))
        for name, table, title, side in zip(("made", "real"), (made, real), titles, sides, strict=True)
    ]
    text = f"Where real {one}s are confused alike, it is the classifier's doing."
    return Section("What was taken for what", text, items)


def copies_section(
    found: Memorization,
    made: Tensor,
    held_out: Tensor,
    draw: Draw,
    *,
    what: str,
    name_of: Callable[[int], str],
    remark: str = "",
    more: Sequence[Gallery] = (),
) -> Section:
    """The distances as a table, the nearest as strips, and the most suspicious.

    made, held_out: samples (n, ...). draw: a picture of each. what: they are, in the plural. name_of: a made one, by
    its place. remark: at the end of the text. more: what follows.
    """
    rows = [
        (
            each.space,
            each.made.median().item(),
            each.held_out.median().item(),
            *(value for share in WATCHED for value in (each.limit(share), each.closer(share))),
        )
        for each in found.distances
    ]
    watched = [name for share in WATCHED for name in (f"{share:.0%} of held-out are below", "of made")]
    items: list[Table | Medium | Gallery] = [Table(("distance in", "median, made", "median, held out", *watched), rows)]
    first = found.distances[0]
    strips = (
        ("made", made, found.suspects, found.copies, first.made),
        ("held out", held_out, found.real_suspects, found.real_copies, first.held_out),
    )
    for name, samples, places, copies, distances in strips:
        captions = [[f"{distances[place]:.3f}" for place in places.tolist()], [""] * len(places)]
        sheet = draw_sheet([draw(samples[places]), draw(copies)], [name, "training"], captions=captions)
        caption = f"{name}: the nearest to training, and below what they are near"
        items.append(Medium(f"nearest-{name}", encode_png(sheet), caption))
    shares = [(name_of(place), first.made[place].item(), first.nearer(place)) for place in found.suspects.tolist()]
    columns = (
        f"made {what.removesuffix('s')}",
        f"distance in {first.space}",
        f"share of held-out {what} that are nearer",
    )
    items.append(Table(columns, shares, "the most suspicious"))
    return Section("Made or copied", f"{_COPIED.format(what=what)} {remark}".strip(), [*items, *more])


_COPIED = (
    "How far it is to the nearest training sample. Real held-out {what} are near to some, too, so they are the "
    "measure: of a model that copies, many more {what} are as near as the nearest few of theirs."
)


def plain_gallery(sides: Sequence[Any], draw: Draw) -> Medium:
    """The first made samples above the first real ones; draw: a picture of each."""
    rows = [draw(samples[: 2 * NUM_SHOWN]) for samples in sides]
    return Medium("gallery", encode_png(draw_sheet(rows, ["made", "real"])), "above: made; below: real, held out")


def class_gallery(halves: Sequence[tuple[Any, Tensor, Tensor]], class_names: Sequence[str], draw: Draw) -> Medium:
    """A row a class: what was made, captioned where the classifier sees something else, and real held-out samples.

    halves: samples (n, ...), their classes (n,), and what the classifier takes them for (n,), made and real. draw: a
    picture of each.
    """
    classes = halves[0][1].unique()[:NUM_CLASSES].tolist()
    rows: list[list[Image.Image | None]] = []
    captions = []
    for label in classes:
        row: list[Image.Image | None] = []
        said: list[str] = []
        for number, (samples, labels, answers) in enumerate(halves):
            places = (labels == label).nonzero().flatten()[:NUM_SHOWN]
            gap = [None] * (NUM_SHOWN - len(places) + 1 - number)
            row += [*draw(samples[places]), *gap]
            seen = answers[places].tolist()
            said += ["" if answer == label else class_names[answer] for answer in seen] + [""] * len(gap)
        rows.append(row)
        captions.append(said)
    title = "left: made; right: real, held out; below: what the classifier sees, where it sees something else"
    sheet = draw_sheet(rows, [class_names[label] for label in classes], captions=captions, title=title)
    return Medium("gallery", encode_png(sheet), title)
