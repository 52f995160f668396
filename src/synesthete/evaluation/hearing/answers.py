"""How often a picture shows what was heard: a judge that knows real pictures looks at what was painted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from synesthete.evaluation.hearing.painting import paint
from synesthete.evaluation.hearing.telling import other_class
from synesthete.evaluation.metrics.classification import accuracy, confusion
from synesthete.evaluation.metrics.intervals import interval
from synesthete.evaluation.metrics.metric import Metric
from synesthete.evaluation.subsampling import shuffled

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from synesthete.evaluation.classifiers.image import ImageClassifier
    from synesthete.evaluation.hearing.painting import Painted
    from synesthete.evaluation.hearing.telling import Telling

JUDGE = "picture judge"
TAKES, SPEAKERS = "held-out takes", "speakers never heard"


@dataclass(frozen=True)
class Answers:
    """What the judge sees in the pictures of one split's sounds.

    what: which sounds, in words. seen: (n,) classes. real: the judge's accuracy on the split's real pictures.
    """

    what: str
    telling: Telling
    painted: Painted
    seen: Tensor
    real: float
    num_classes: int
    seed: int

    @property
    def share(self) -> float:
        """Of pictures that show their sound's class."""
        return accuracy(self.telling.labels, self.seen)

    @property
    def spread(self) -> tuple[float, float]:
        """Its 95% interval, as many answers counted as there are different sounds (Wilson 1927)."""
        return interval(self.share, self.telling.num_sounds)

    @property
    def chance(self) -> float:
        """Of guessing."""
        return 1 / self.num_classes

    @property
    def hears(self) -> bool:
        """Whether the pictures are surely better than guessing."""
        return self.spread[0] > self.chance

    def seen_by(self, judge: ImageClassifier) -> Answers:
        """What another judge sees in the same pictures."""
        samples = self.telling.samples
        real = accuracy(samples.labels, judge.classify(samples.pictures))
        return replace(self, seen=judge.classify(self.painted.pictures), real=real)

    def metric(self, judge: str = JUDGE) -> Metric:
        """The class accuracy; shuffled: against the classes of other sounds; ceiling: of real pictures."""
        wrong = accuracy(self.telling.labels[shuffled(len(self.seen), self.seed)], self.seen)
        name = f"class accuracy, {self.what} ({judge}, n = {len(self.seen)} of {self.telling.num_sounds} sounds)"
        return Metric(name, self.share, self.spread, self.chance, wrong, self.real)

    def confusion(self) -> Tensor:
        """How often each class heard was taken for each, (C, C + 1)."""
        return confusion(self.telling.labels, self.seen, self.num_classes)

    def by_speaker(self) -> list[tuple[str, int, float]]:
        """Name, number of pictures and share right of each speaker, the worst first; none where nobody is named."""
        names = self.telling.samples.speakers
        if not any(names):
            return []
        own = [names[i] or "not named" for i in self.telling.sounds.tolist()]
        found = []
        for name in sorted(set(own)):
            places = [i for i, other in enumerate(own) if other == name]
            found.append((name, len(places), accuracy(self.telling.labels[places], self.seen[places])))
        return sorted(found, key=lambda row: row[2])


def answer(
    pipeline: Any,
    judge: ImageClassifier,
    telling: Telling,
    what: str,
    num_classes: int,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> Answers:
    """Paint every sound, told a caption beside it that does not name its class, and ask the judge."""
    painted = paint(pipeline, telling.raw(), seed, progress=lambda *count: progress(f"painting, {what}", *count))
    samples = telling.samples
    real = accuracy(samples.labels, judge.classify(samples.pictures))
    return Answers(what, telling, painted, judge.classify(painted.pictures), real, num_classes, seed)


def text_metrics(
    pipeline: Any,
    judge: ImageClassifier,
    heard: Answers,
    num: int,
    progress: Callable[[str, int, int], None],
) -> list[Metric]:
    """What text does by itself: class accuracy told no sound, by captions without a class, and by ones that name it.

    The former is chance, or the captions tell what they should not. And where a text names another class than the
    sound's, how often the picture shows the one and the other.
    """
    telling = heard.telling.few(num)
    labels, num, chance, seed = telling.labels, len(telling), heard.chance, heard.seed
    found = []

    def ask(name: str, raw: Any, wanted: Tensor, **beside: Any) -> float:
        seen = judge.classify(paint(pipeline, raw, seed, progress=lambda *count: progress(name, *count)).pictures)
        share = accuracy(wanted, seen)
        found.append(Metric(f"{name} ({JUDGE}, n = {num})", share, interval(share, num), chance, **beside))
        return accuracy(labels, seen)

    if telling.captions is not None:
        ask("class accuracy, no sound, captions without a class", telling.raw(silent=True), labels, ceiling=heard.real)
    if telling.naming is not None:
        ask(
            "class accuracy, no sound, captions that name the class",
            telling.raw(silent=True, text=telling.naming),
            labels,
            ceiling=heard.real,
        )
        elsewhere = other_class(labels, shuffled(num, seed))
        name = "class of the text, where the sound is of another class"
        of_sound = ask(name, telling.raw(text=telling.naming[elsewhere]), labels[elsewhere])
        name = "class of the sound, where the text names another"
        found.append(Metric(f"{name} ({JUDGE}, n = {num})", of_sound, interval(of_sound, num), chance))
    return found
