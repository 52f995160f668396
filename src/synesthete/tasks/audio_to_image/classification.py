"""How often a picture shows what was heard, what text alone does, and what is lost to hearing and to drawing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from synesthete.evaluation.metrics.classification import accuracy, confusion
from synesthete.evaluation.metrics.metric import interval, metric
from synesthete.evaluation.samples import generate, shuffled
from synesthete.tasks.audio_to_image.eval_conditions import other_class

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.evaluation.samples import Generated
    from synesthete.tasks.audio_to_image.eval_conditions import EvalConditions
    from synesthete.types import Progress

CLASSIFIER = "picture classifier"


@dataclass(frozen=True)
class Answers:
    """What a classifier sees in the pictures of one split's sounds.

    what: which sounds, in words. seen: (n,) classes. real: the classifier's accuracy on the split's real pictures.
    """

    what: str
    conditions: EvalConditions
    generated: Generated
    seen: Tensor
    real: float
    num_classes: int
    seed: int

    @property
    def share(self) -> float:
        """Of pictures that show their sound's class."""
        return accuracy(self.conditions.labels, self.seen)

    @property
    def spread(self) -> tuple[float, float]:
        """Its 95% interval, as many answers counted as there are different sounds (Wilson 1927)."""
        return interval(self.share, self.conditions.num_sounds)

    @property
    def chance(self) -> float:
        """Of guessing."""
        return 1 / self.num_classes

    def seen_by(self, classifier: Any) -> Answers:
        """What another classifier sees in the same pictures."""
        samples = self.conditions.samples
        seen, real = (classifier.classify(x) for x in (self.generated.signal, samples.pictures))
        return replace(self, seen=seen, real=accuracy(samples.labels, real))

    def metric(self, classifier: str = CLASSIFIER) -> Metric:
        """The class accuracy; shuffled: against the classes of other sounds; ceiling: of real pictures."""
        wrong = accuracy(self.conditions.labels[shuffled(len(self.seen), self.seed)], self.seen)
        told = {
            "what": self.what,
            "classifier": classifier,
            "num": f"{len(self.seen)} of {self.conditions.num_sounds} sounds",
        }
        variant = self.what if classifier == CLASSIFIER else f"{self.what} {classifier}"
        return metric(
            "class_accuracy_heard", self.share, self.spread, self.chance, wrong, self.real, variant=variant, **told
        )

    def confusion(self) -> Tensor:
        """How often each class heard was taken for each, (C, C + 1)."""
        return confusion(self.conditions.labels, self.seen, self.num_classes)

    def by_speaker(self) -> list[tuple[str, int, float]]:
        """Name, number of pictures and share right of each speaker, the worst first; none where nobody is named."""
        names = self.conditions.samples.speakers
        if not any(names):
            return []
        own = [names[i] or "not named" for i in self.conditions.sounds.tolist()]
        found = []
        for name in sorted(set(own)):
            places = [i for i, other in enumerate(own) if other == name]
            found.append((name, len(places), accuracy(self.conditions.labels[places], self.seen[places])))
        return sorted(found, key=lambda row: row[2])


def text_metrics(pipeline: Any, classifier: Any, heard: Answers, num: int, progress: Progress) -> list[Metric]:
    """What text does by itself: class accuracy told no sound, by captions without a class, and by ones that name it.

    The former is chance, or the captions tell what they should not. And where a text names another class than the
    sound's, how often the picture shows the one and the other.
    """
    conditions = heard.conditions.few(num)
    labels, num, seed, found = conditions.labels, len(conditions), heard.seed, []

    def seen(what: str, raw: Any) -> Tensor:
        made = generate(pipeline, raw, seed=seed, progress=lambda *count: progress(what, *count))
        return classifier.classify(made.signal)

    def add(key: str, wanted: Tensor, seen: Tensor, **told: Any) -> None:
        share = accuracy(wanted, seen)
        found.append(metric(key, share, interval(share, num), heard.chance, classifier=CLASSIFIER, num=num, **told))

    silent = {"no sound, captions without a class": conditions.captions}
    silent |= {"no sound, captions that name the class": conditions.naming}
    for what, captions in silent.items():
        if captions is not None:
            told = {"what": what, "variant": what, "ceiling": heard.real}
            add("class_accuracy_heard", labels, seen(what, conditions.raw(silent=True, text=captions)), **told)
    if conditions.naming is not None:
        elsewhere = other_class(labels, shuffled(num, seed))
        answers = seen("text of another class", conditions.raw(text=conditions.naming[elsewhere]))
        add("class_of_the_text", labels[elsewhere], answers)
        add("class_of_the_sound", labels, answers)
    return found
