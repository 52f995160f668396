"""Class by class: the share right, and what is mistaken for what, beside real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synesthete.evaluation.reporting.figures import confusion_figure, to_png
from synesthete.evaluation.reporting.report import Medium, Section, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def by_class(class_names: Sequence[str], made: Tensor, real: Tensor, what: str) -> Section:
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
    return Section("By class", "Share that the judge sees as their class, the worst first.", [Table(columns, rows)])


def confusions(class_names: Sequence[str], made: Tensor, real: Tensor, one: str, shows: str = "shows") -> Section:
    """What was made, then real ones: where both are confused, it is the judge.

    made, real: as of `by_class`. one, shows: what is looked at, in the singular, and how it tells its class.
    """
    titles = (f"made, n = {int(made.sum())}", f"real, held out, n = {int(real.sum())}")
    sides = (("asked for", "taken for"), (f"the {one} {shows}", "taken for"))
    items = [
        Medium(f"confusion-{name}", to_png(confusion_figure(table, class_names, title, sides=side)))
        for name, table, title, side in zip(("made", "real"), (made, real), titles, sides, strict=True)
    ]
    text = f"Where real {one}s are confused alike, it is the judge's doing."
    return Section("What was taken for what", text, items)
