"""What a model is told of held-out sounds, and how often what it paints shows what was heard or what a text says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.data.captions import names_class
from synesthete.data.labelled import in_turn
from synesthete.evaluation.metrics.classification import accuracy, confusion, fit_linear_probe, probe_metrics
from synesthete.evaluation.metrics.metric import interval, metric
from synesthete.evaluation.samples import generate_timed, shuffled

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.data.audio_image_pairs import AudioImageSamples
    from synesthete.evaluation.metrics.classification import LinearProbe
    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.evaluation.samples import Generated
    from synesthete.types import Progress

BATCH_SIZE = 64
CLASSIFIER = "picture classifier"
NUM_TRAINING = 2000  # sounds that the probe learns from


@dataclass(frozen=True)
class EvalConditions:
    """Sounds drawn from a split, each with a real picture that it may be told with, and what may be said of that.

    sounds, labels, pictures: (n,), places in `samples` and classes; a sound may come more than once. captions: (n,),
    numbers in `samples.texts` of captions that do not name the class; naming: of ones that do. None: there are none.
    """

    samples: AudioImageSamples
    sounds: Tensor
    labels: Tensor
    pictures: Tensor
    captions: Tensor | None = None
    naming: Tensor | None = None

    def __len__(self) -> int:
        return len(self.sounds)

    @property
    def num_sounds(self) -> int:
        """How many different sounds there are: a sound that comes again is no independent answer."""
        return len(self.sounds.unique())

    def few(self, num: int) -> EvalConditions:
        """The first `num`."""
        captions, naming = (None if x is None else x[:num] for x in (self.captions, self.naming))
        return EvalConditions(self.samples, self.sounds[:num], self.labels[:num], self.pictures[:num], captions, naming)

    def raw(
        self, *, sound: Tensor | None = None, text: Tensor | None = None, silent: bool = False, mute: bool = False
    ) -> Any:
        """What the conditioner reads of all of them.

        sound: (n,) whose sound each is told in place of its own. text: (n,) captions by number in place of the class-
        less ones. silent: without sound. mute: without text.
        """
        chosen = self.sounds if sound is None else self.sounds[sound]
        heard = None if silent else torch.cat([self.samples.listened(part) for part in chosen.split(BATCH_SIZE)])
        captions = self.captions if text is None else text
        texts = self.samples.texts
        read = None if mute or captions is None or texts is None else texts[captions]
        return self.samples.tell(heard, read, self.samples.heard is not None)

    def caption(self, place: int) -> str:
        """What is said of a sample, as people read it."""
        return "" if self.captions is None else self.samples.texts_read[int(self.captions[place])]


def draw_conditions(samples: AudioImageSamples, class_names: tuple[str, ...], num: int, seed: int) -> EvalConditions:
    """`num` sounds of a split, every one before any comes again, each with a picture and captions drawn by chance.

    Classes take turns, so that the first few are as many of each. Sounds of classes that no picture of the split shows
    are left out.
    """
    samples = replace(samples.plain(), order=None)
    generator = seeding.generator(seed, "telling")  # names the draw: another one draws other pictures
    partners = picture_partners(samples)
    there = torch.tensor([i for i, own in enumerate(partners) if own], dtype=torch.int64)
    own, size = samples.sound_labels[there], max(1, len(there))
    rounds = [there[in_turn(own, seeding.derive(seed, "sounds", i))] for i in range(-(-num // size))]
    sounds = torch.cat(rounds)[:num]
    draws = torch.rand(3, len(sounds), generator=generator).tolist()
    pictures = torch.tensor(
        [
            partners[sound][int(draw * len(partners[sound]))]
            for sound, draw in zip(sounds.tolist(), draws[0], strict=True)
        ]
    )
    labels = samples.sound_labels[sounds]
    captions, naming = choose_captions(samples, class_names, pictures, labels, draws[1], draws[2])
    return EvalConditions(samples, sounds, labels, pictures, captions, naming)


def picture_partners(samples: AudioImageSamples) -> list[list[int]]:
    """For each sound the places of the pictures that may be told with it: those it is paired with, or of its class."""
    own: dict[int, list[int]] = {}
    for picture, sound in [] if samples.pairs is None else samples.pairs.tolist():
        own.setdefault(sound, []).append(picture)
    of_class = {
        label: (samples.labels == label).nonzero().flatten().tolist() for label in samples.labels.unique().tolist()
    }
    return [own.get(i) or of_class.get(label, []) for i, label in enumerate(samples.sound_labels.tolist())]


def choose_captions(
    samples: AudioImageSamples,
    class_names: tuple[str, ...],
    pictures: Tensor,
    labels: Tensor,
    draws: list[float],
    naming_draws: list[float],
) -> tuple[Tensor | None, Tensor | None]:
    """Numbers (n,) of captions of pictures (n,) that name no class, and of ones that name theirs; None where one lacks.

    draws: (n,) each, in [0, 1).
    """
    if samples.captions is None or samples.texts is None:
        return None, None
    tells = [[names_class(text, name) for name in class_names] for text in samples.texts_read]
    quiet, named = [], []
    for place, label, draw, naming_draw in zip(pictures.tolist(), labels.tolist(), draws, naming_draws, strict=True):
        own = list(dict.fromkeys(samples.captions[place].tolist()))
        without = [number for number in own if not any(tells[number])]
        naming = [number for number in own if tells[number][label] and sum(tells[number]) == 1]
        quiet.append(without[int(draw * len(without))] if without else -1)
        named.append(naming[int(naming_draw * len(naming))] if naming else -1)
    found = [torch.tensor(numbers) for numbers in (quiet, named)]
    first, second = (None if len(x) == 0 or bool((x < 0).any()) else x for x in found)
    return first, second


def other_captions(captions: Tensor, order: Tensor) -> Tensor | None:
    """For each caption (n,) another one of them: that of `order` (n,), or else the next that differs; None of one."""
    found = captions.unique()
    if len(found) < 2:
        return None
    other = captions[order]
    same = other == captions
    following = found[(torch.searchsorted(found, captions) + 1) % len(found)]
    return torch.where(same, following, other)


def other_class(labels: Tensor, order: Tensor) -> Tensor:
    """For each sample (n,) the place of one of another class: the first on the way along `order`, which is one ring.

    Where all are of one class, what `order` says.
    """
    if len(labels.unique()) < 2:
        return order
    places = order.clone()
    for i in range(len(labels)):
        while labels[places[i]] == labels[i]:
            places[i] = order[places[i]]
    return places


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
        made = generate_timed(pipeline, raw, seed=seed, progress=lambda *count: progress(what, *count))
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


def fit_sound_probe(pipeline: Any, train: AudioImageSamples, seed: int) -> LinearProbe | None:
    """A probe on the vectors of training sounds, as they are; None of a conditioner that has no such vectors."""
    if pipeline.conditioner.reads != "audio_text":
        return None
    order = torch.randperm(len(train.sound_labels), generator=seeding.generator(seed, "ear"))[:NUM_TRAINING]
    return fit_linear_probe(vectors(pipeline, train, order), train.sound_labels[order], seed)


@torch.no_grad()
def vectors(pipeline: Any, samples: AudioImageSamples, sounds: Tensor) -> Tensor:
    """What the conditioner's encoder makes of sounds by number (n,), (n, E)."""
    plain, conditioner = samples.plain(), pipeline.conditioner
    heard = [conditioner.embed_audio(plain.sounds_alone(part).to(pipeline.device)) for part in sounds.split(BATCH_SIZE)]
    return torch.cat([x.float().cpu() for x in heard])


def hearing_metrics(pipeline: Any, probe: LinearProbe, answers: Answers) -> list[Metric]:
    """The probe's accuracy on sounds that were held out, and how often the picture shows what the probe heard."""
    conditions = answers.conditions
    return probe_metrics(
        probe.classify(vectors(pipeline, conditions.samples, conditions.sounds)),
        conditions.labels,
        answers.seen,
        shuffled(len(conditions), answers.seed),
        num=conditions.num_sounds,
        chance=answers.chance,
        ceiling=answers.real,
        reading=("hearing", f"sound's vector, {answers.what}"),
        agreeing=("drawing: the picture shows", f"{answers.what}, {CLASSIFIER}, ", "heard"),
        variant=answers.what,
    )
