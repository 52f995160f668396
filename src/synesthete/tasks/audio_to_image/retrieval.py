"""From a sound to real pictures: what was made of it looks for its like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from synesthete import seeding
from synesthete.evaluation.metrics.metric import interval, interval_of_mean, metric
from synesthete.evaluation.samples import shuffled

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.tasks.audio_to_image.eval_conditions import EvalConditions

LARGEST = 100  # pictures that one's own is looked for among
NEAREST = (1, 5)


@dataclass(frozen=True)
class Retrieval:
    """The ranks (n,) at which the one right picture of a gallery of `num` is found, the most alike being first.

    shuffled: where the pictures painted of other sounds look for it; real: where another real picture of the class
    does; None where there is none to look.
    """

    what: str
    num: int
    ranks: Tensor
    shuffled: Tensor
    real: Tensor | None = None

    def recall(self, ranks: Tensor, k: int) -> float:
        """Share of queries whose picture is among the first k."""
        return (ranks <= k).double().mean().item()

    def metrics(self, num_sounds: int) -> list[Metric]:
        """Mean rank and recall at 1 and 5; chance is a random order of the gallery."""
        told: dict[str, Any] = {"against": f"{self.what} among {self.num}, n = {len(self.ranks)}"}
        value, wrong, ceiling = (
            None if ranks is None else ranks.double().mean().item() for ranks in (self.ranks, self.shuffled, self.real)
        )
        spread, chance = interval_of_mean(self.ranks.double()), (self.num + 1) / 2
        assert value is not None
        found = [metric("retrieval_mean_rank", value, spread, chance, wrong, ceiling, variant=self.what, **told)]
        for k in [k for k in NEAREST if k < self.num]:
            share, wrong = self.recall(self.ranks, k), self.recall(self.shuffled, k)
            ceiling = None if self.real is None else self.recall(self.real, k)
            beside = (interval(share, num_sounds), k / self.num, wrong, ceiling)
            found.append(metric("retrieval_recall", share, *beside, variant=f"{self.what} {k}", k=k, **told))
        return found


def retrieve_classes(made: Tensor, labels: Tensor, real: Tensor, real_labels: Tensor, seed: int) -> Retrieval | None:
    """Each painted picture looks for the one of its class among real pictures, one of every class, drawn for it alone.

    made: features (n, D). labels: (n,) heard. real, real_labels: (m, D), (m,) of held-out pictures. None where fewer
    than two classes are there.
    """
    classes = real_labels.unique()
    if len(classes) < 2:
        return None
    generator = seeding.generator(seed, "galleries")
    of_class = [(real_labels == label).nonzero().flatten() for label in classes.tolist()]
    galleries = torch.stack(
        [own[torch.randint(len(own), (len(made),), generator=generator)] for own in of_class], dim=1
    )  # (n, classes)
    right = torch.searchsorted(classes, labels)
    order = shuffled(len(made), seed)
    # Another real picture of the class, where there is one, looks through the same gallery.
    own = galleries.gather(1, right[:, None]).flatten()
    others = torch.tensor(
        [_other(of_class[place], int(taken), generator) for place, taken in zip(right.tolist(), own, strict=True)]
    )
    queries = real[others.clamp(min=0)]
    ceiling = rank(queries, real[galleries], right)[others >= 0]
    return Retrieval(
        "the class",
        len(classes),
        rank(made, real[galleries], right),
        rank(made[order], real[galleries], right),
        ceiling if len(ceiling) else None,
    )


def retrieve_own(made: Tensor, conditions: EvalConditions, real: Tensor, seed: int) -> Retrieval | None:
    """Each painted picture looks for the real one that its sound was recorded with; None where nothing is so paired.

    made: features (n, D). real: (m, D), of the pictures of the split.
    """
    pairs = conditions.samples.pairs
    if pairs is None:
        return None
    own = {sound: picture for picture, sound in pairs.flip(0).tolist()}
    first: dict[int, int] = {}
    for row, sound in enumerate(conditions.sounds.tolist()):
        if sound in own and own[sound] not in first.values():
            first[row] = own[sound]
    rows, places = list(first)[:LARGEST], list(first.values())[:LARGEST]
    if len(rows) < 2:
        return None
    queries, gallery = made[rows], real[places].expand(len(rows), -1, -1)
    right = torch.arange(len(rows))
    order = shuffled(len(rows), seed)
    return Retrieval("its own picture", len(rows), rank(queries, gallery, right), rank(queries[order], gallery, right))


def rank(queries: Tensor, galleries: Tensor, right: Tensor) -> Tensor:
    """The rank (n,), 1 the best, of picture `right` (n,) in galleries (n, G, D) by its cosine to queries (n, D).

    Pictures that are as alike share the mean of their ranks, so that pictures which are all one rank as by chance.
    """
    likeness = F.cosine_similarity(queries[:, None], galleries, dim=-1)  # (n, G)
    own = likeness.gather(1, right[:, None])
    better, equal = (likeness > own).sum(dim=1), (likeness == own).sum(dim=1)
    return better + (equal + 1) / 2


def _other(places: Tensor, taken: int, generator: torch.Generator) -> int:
    left = places[places != taken]
    return int(left[torch.randint(len(left), (), generator=generator)]) if len(left) else -1
