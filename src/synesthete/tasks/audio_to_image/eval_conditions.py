"""What a model is told of held-out sounds, and how often what it paints shows what was heard or what a text says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.data.captions import names_class
from synesthete.data.labelled import in_turn
from synesthete.evaluation.metrics.metric import accuracy, accuracy_metric, confusion, fit_linear_probe
from synesthete.evaluation.samples import Generated, generate_timed, shuffled

if TYPE_CHECKING:
    from synesthete.data.audio_image_pairs import AudioImageSamples
    from synesthete.evaluation.metrics.metric import Metric
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
        told: dict[str, Any] = {name: each for name, each in vars(self).items() if torch.is_tensor(each)}
        return replace(self, **{name: each[:num] for name, each in told.items()})

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
    pairs = zip((partners[sound] for sound in sounds.tolist()), draws[0], strict=True)
    pictures = torch.tensor([own[int(draw * len(own))] for own, draw in pairs])
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
    """Numbers (n,) of captions of pictures that name no class, and of ones that name theirs; None where one lacks."""
    if samples.captions is None or samples.texts is None:
        return None, None
    tells = [[names_class(text, name) for name in class_names] for text in samples.texts_read]
    own = [list(dict.fromkeys(samples.captions[place].tolist())) for place in pictures.tolist()]

    def drawn(draws: list[float], fits: Callable[[list[bool], int], bool]) -> Tensor | None:
        found = []
        for numbers, label, draw in zip(own, labels.tolist(), draws, strict=True):
            fitting = [number for number in numbers if fits(tells[number], label)]
            found.append(fitting[int(draw * len(fitting))] if fitting else -1)
        return torch.tensor(found) if found and min(found) >= 0 else None

    named = drawn(naming_draws, lambda told, label: told[label] and sum(told) == 1)
    return drawn(draws, lambda told, _: not any(told)), named


def other_captions(captions: Tensor, order: Tensor) -> Tensor | None:
    """For each caption (n,) another one of them: that of `order` (n,), or else the next that differs; None of one."""
    found = captions.unique()
    if len(found) < 2:
        return None
    following = found[(torch.searchsorted(found, captions) + 1) % len(found)]
    return torch.where(captions[order] == captions, following, captions[order])


def other_class(labels: Tensor, order: Tensor) -> Tensor:
    """For each sample (n,) the next along the ring `order` that is of another class; `order` where all are of one."""
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
    def chance(self) -> float:
        """Of guessing."""
        return 1 / self.num_classes

    def seen_by(self, classifier: Any) -> Answers:
        """What another classifier sees in the same pictures."""
        samples = self.conditions.samples
        seen, real = (classifier.classify(x) for x in (self.generated.signal, samples.pictures))
        return replace(self, seen=seen, real=accuracy(samples.labels, real))

    def metric(self, classifier: str = CLASSIFIER) -> Metric:
        """The class accuracy, its interval by number of sounds; shuffled: other sounds; ceiling: real pictures."""
        labels, num = self.conditions.labels, self.conditions.num_sounds
        told: dict[str, Any] = {"classifier": classifier, "num": f"{len(self.seen)} of {num} sounds", "what": self.what}
        told["variant"] = self.what if classifier == CLASSIFIER else f"{self.what} {classifier}"
        beside = self.chance, labels[shuffled(len(labels), self.seed)], self.real
        return accuracy_metric("class_accuracy_heard", labels, self.seen, *beside, independent=num, **told)

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
    labels, found = conditions.labels, []
    told: dict[str, Any] = {"classifier": CLASSIFIER}

    def seen(what: str, raw: Any) -> Tensor:
        made = generate_timed(pipeline, raw, seed=heard.seed, progress=partial(progress, what))
        return classifier.classify(made.signal)

    silent = {"without a class": conditions.captions, "that name the class": conditions.naming}
    for which, captions in silent.items():
        if captions is not None:
            what = f"no sound, captions {which}"
            answers = seen(what, conditions.raw(silent=True, text=captions))
            beside = heard.chance, None, heard.real
            metric = accuracy_metric("class_accuracy_heard", labels, answers, *beside, what=what, variant=what, **told)
            found.append(metric)
    if conditions.naming is not None:
        elsewhere = other_class(labels, shuffled(len(labels), heard.seed))
        answers = seen("text of another class", conditions.raw(text=conditions.naming[elsewhere]))
        for key, wanted in (("class_of_the_text", labels[elsewhere]), ("class_of_the_sound", labels)):
            found.append(accuracy_metric(key, wanted, answers, heard.chance, **told))
    return found


def hearing_metrics(pipeline: Any, train: AudioImageSamples, splits: Sequence[Answers], seed: int) -> list[Metric]:
    """What is lost to hearing, and what to drawing, by a linear probe on vectors of sounds, where there are any."""
    if pipeline.conditioner.reads != "audio_text":
        return []
    order = torch.randperm(len(train.sound_labels), generator=seeding.generator(seed, "ear"))[:NUM_TRAINING]
    probe = fit_linear_probe(vectors(pipeline, train, order), train.sound_labels[order], seed)
    found = []
    for answers in splits:
        conditions, what, chance = answers.conditions, answers.what, answers.chance
        labels, num = conditions.labels, conditions.num_sounds
        heard = probe.classify(vectors(pipeline, conditions.samples, conditions.sounds))
        other = shuffled(len(conditions), answers.seed)
        how: dict[str, Any] = {"independent": num, "variant": what}
        told = how | {"title": "hearing", "what": f"sound's vector, {what}", "num": num}
        found.append(accuracy_metric("probe_accuracy", labels, heard, chance, labels[other], 1.0, **told))
        told = how | {"title": "drawing: the picture shows", "what": f"{what}, {CLASSIFIER}, ", "verb": "heard"}
        beside = (chance, heard[other], answers.real)
        found.append(accuracy_metric("probe_agreement", heard, answers.seen, *beside, **told))
    return found


@torch.no_grad()
def vectors(pipeline: Any, samples: AudioImageSamples, sounds: Tensor) -> Tensor:
    """What the conditioner's encoder makes of sounds by number (n,), (n, E)."""
    plain, conditioner = samples.plain(), pipeline.conditioner
    heard = [conditioner.embed_audio(plain.sounds_alone(part).to(pipeline.device)) for part in sounds.split(BATCH_SIZE)]
    return torch.cat([x.float().cpu() for x in heard])
