"""Made, or copied? Distances to training samples, and the samples that are nearest to one, with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synesthete.evaluation.metrics.memorization import WATCHED
from synesthete.evaluation.reporting.report import Medium, Section, Table
from synesthete.evaluation.reporting.sheet import draw_sheet, encode_png

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL import Image
    from torch import Tensor

    from synesthete.evaluation.metrics.memorization import Memorization
    from synesthete.evaluation.reporting.report import Gallery


def made_or_copied(
    found: Memorization,
    made: Tensor,
    held_out: Tensor,
    draw: Callable[[Tensor], Sequence[Image.Image]],
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
    return Section("Made or copied", f"{_TEXT.format(what=what)} {remark}".strip(), [*items, *more])


_TEXT = (
    "How far it is to the nearest training sample. Real held-out {what} are near to some, too, so they are the "
    "measure: of a model that copies, many more {what} are as near as the nearest few of theirs."
)
