"""There and back: one model speaks a picture, another paints what was said, and a classifier compares the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from synesthete import seeding
from synesthete.data.files import some
from synesthete.data.labelled import in_turn
from synesthete.data.picture import to_images
from synesthete.data.rows import loudest_stretch
from synesthete.evaluation.audio_features.spectra import cut_or_padded, draw_spectrograms
from synesthete.evaluation.classifiers.image import ImageClassifier, load_or_train_image_classifier
from synesthete.evaluation.classifiers.speech import SpeechClassifier, recognise
from synesthete.evaluation.metrics.metric import accuracy, accuracy_metric, confusion
from synesthete.evaluation.reporting import report as reports
from synesthete.evaluation.reporting.figures import confusion_figure, to_png
from synesthete.evaluation.reporting.media import draw_sheet, encode_png, encode_wav
from synesthete.evaluation.reporting.report import Card, Gallery, Medium, Report, Section
from synesthete.evaluation.samples import generate_timed, shuffled
from synesthete.pipeline.canvas import resample
from synesthete.tasks.audio_to_image.eval_conditions import CLASSIFIER, choose_captions
from synesthete.tasks.audio_to_image.evaluation import enlarge_painting
from synesthete.tasks.image_to_speech.evaluation import BATCH_SIZE
from synesthete.tasks.images.evaluation import NO_CLASSIFIER
from synesthete.tasks.task import SECTIONS
from synesthete.types import InputError, Prepared, Progress

if TYPE_CHECKING:
    from synesthete.data.audio_image_pairs import AudioImageSamples
    from synesthete.evaluation.classifiers.classifier import TrainedClassifier
    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.pipeline import Pipeline

NUM_ROWS = 3  # pictures of a class in the sheet
NUM_CLASSES = 20


@dataclass
class Cycle:
    """What became of pictures that were spoken and painted again.

    first, last: (n, C, H, W) uint8. labels: (n,), places in `class_names`. waveforms: (n, S) at `sample_rate`, what was
    said between. seen_first, seen_last: (n,) what the classifier sees.
    """

    class_names: tuple[str, ...]
    first: Tensor
    last: Tensor
    labels: Tensor
    waveforms: Tensor
    sample_rate: int
    seen_first: Tensor
    seen_last: Tensor
    metrics: list[Metric]
    notes: list[str]

    def confusion(self) -> Tensor:
        """How often what the first picture shows became each class in the last, (C, C + 1)."""
        return confusion(self.seen_first, self.seen_last, len(self.class_names))


def evaluate_cycle(
    speech: Pipeline,
    painter: Pipeline,
    prepared: Prepared,
    folder: Path,
    *,
    models: tuple[str, str] = ("", ""),
    seed: int = 0,
    classifier: ImageClassifier | None = None,
    progress: Progress = lambda *_: None,
    **options: Any,
) -> Report:
    """Go round with held-out pictures and write the report into `folder`.

    speech: pictures in, speech out. painter: sound in, pictures out; prepared: its data. classifier: of pictures, such
    as the one saved with the painter; where None, one is trained on `prepared.classifier`. models: what the report
    calls the two. options: num and listener, as `go_round`.
    """
    start = datetime.now(UTC)
    if classifier is None and prepared.classifier is not None and len(prepared.classifier):
        pictures = (prepared.classifier, prepared.test, prepared.class_names)
        classifier = load_or_train_image_classifier(*pictures, progress=progress).classifier
    if classifier is None:
        raise InputError(NO_CLASSIFIER)
    found = go_round(speech, painter, prepared, classifier, seed=seed, report=progress, **options)
    facts = reports.provenance(painter, start, " -> ".join(filter(None, models))) | {
        "speaks": models[0] or str(speech.config.card.get("recipe", "")),
        "paints": models[1] or str(painter.config.card.get("recipe", "")),
        "pictures": f"{len(found.labels)} of {len(prepared.test.labels)} held out by the painter's data, seed {seed}",
    }
    report = cycle_report(found, facts)
    reports.write_report(report, folder)
    return report


def go_round(
    speech: Pipeline,
    painter: Pipeline,
    prepared: Prepared,
    classifier: ImageClassifier,
    *,
    num: int = 200,
    seed: int = 0,
    listener: TrainedClassifier[SpeechClassifier] | None = None,
    report: Progress = lambda *_: None,
) -> Cycle:
    """Speak held-out pictures, paint what was said, and classify both; real recordings between are the ceiling."""
    names, notes = shared_classes(speech, painter)
    samples: AudioImageSamples = prepared.test.plain()
    known = torch.tensor([name in names for name in prepared.class_names])
    there = (known[samples.labels] & torch.isin(samples.labels, samples.sound_labels)).nonzero().flatten()
    if not len(there):
        raise InputError(f"no held-out picture of {some(names, 12)} with a held-out sound; give the painter's own data")
    places = there[in_turn(samples.labels[there], seed)[:num]]
    labels, first = samples.labels[places], samples.pictures[places]
    rate, images = speech.codec.spec.sample_rate, speech.preprocess(to_images(first))
    speak, paint, again = (partial(report, what) for what in ("speaking", "painting", "painting real recordings"))
    said = generate_timed(speech, images, seed=seed, batch_size=BATCH_SIZE, progress=speak).signal
    draws = torch.rand(3, len(places), generator=seeding.generator(seed, "cycle")).tolist()
    captions, _ = choose_captions(samples, tuple(prepared.class_names), places, labels, draws[0], draws[1])
    text = None if captions is None or samples.texts is None else samples.texts[captions]
    heard = samples.tell(hearable(said, rate, samples.sounds.shape[1], samples.sample_rate), text)
    last = generate_timed(painter, heard, seed=seed, progress=paint).signal
    of_class = [(samples.sound_labels == label).nonzero().flatten() for label in labels.tolist()]
    recorded = torch.stack([own[int(draw * len(own))] for own, draw in zip(of_class, draws[2], strict=True)])
    real = generate_timed(painter, samples.tell(samples.waveform(recorded), text), seed=seed, progress=again).signal
    seen = classifier.classify(first), classifier.classify(last), classifier.classify(real)
    metrics = agreement(labels, *seen, len(names), seed)
    if listener is not None:
        metrics.append(said_metric(listener, said, [prepared.class_names[i] for i in labels.tolist()], len(names)))
    return Cycle(tuple(prepared.class_names), first, last, labels, said, rate, *seen[:2], metrics, notes)


def shared_classes(speech: Pipeline, painter: Pipeline) -> tuple[list[str], list[str]]:
    """The classes that both models know, and a note where that is not all."""
    if speech.conditioner.reads != "image" or speech.codec.spec is None:
        raise InputError("the first model speaks no pictures; give one that does, such as image-to-speech-digits")
    if painter.conditioner.reads != "audio_text":
        raise InputError("the second model paints no sounds; give one that does, such as audio-to-image-digits")
    spoken, painted = speech.class_names, painter.class_names
    names = [name for name in painted if name in spoken]
    if len(names) < 2:
        raise InputError(
            f"one model speaks {some(spoken, 12)}, the other paints {some(painted, 12)}; give two that share classes"
        )
    left = [name for name in dict.fromkeys([*spoken, *painted]) if name not in names]
    return names, [f"left out, since only one of the models knows them: {some(left, 12)}"] if left else []


def hearable(waveforms: Tensor, sample_rate: int, length: int, wanted_rate: int) -> Tensor:
    """Sounds (n, S) at another rate and of another length, (n, length): the loudest stretch of each, or padded."""
    moved = resample(waveforms, sample_rate, wanted_rate).clamp(-1, 1)
    return torch.stack([cut_or_padded(loudest_stretch(each, length, wanted_rate), length) for each in moved])


def agreement(labels: Tensor, first: Tensor, last: Tensor, real: Tensor, num_classes: int, seed: int) -> list[Metric]:
    """How often the last picture shows what the first one showed, and what it was, by the classifier."""
    order, chance = shuffled(len(labels), seed), 1 / num_classes
    told: dict[str, Any] = {"classifier": CLASSIFIER}
    found = []
    for variant, what, wanted in (
        ("", "the classifier sees in the first", first),
        ("asked", "the first is of", labels),
    ):
        beside = (chance, wanted[order], accuracy(wanted, real))
        found.append(accuracy_metric("cycle_class", wanted, last, *beside, variant=variant, what=what, **told))
    return [*found, accuracy_metric("cycle_first", labels, first, chance, **told)]


def said_metric(
    listener: TrainedClassifier[SpeechClassifier], waveforms: Tensor, names: Sequence[str], num_classes: int
) -> Metric:
    """How often the speech between says the picture's class, by the classifier kept with the model that speaks."""
    known = listener.classifier.class_names
    words = {name: own[0] if len(own) == 1 else name for name, own in zip(known, listener.words, strict=True)}
    heard = zip(recognise(listener, waveforms), names, strict=True)
    right = torch.tensor([answer.says == words.get(name) for answer, name in heard])
    beside = (1 / num_classes, None, listener.accuracy)
    return accuracy_metric("cycle_speech", torch.ones_like(right), right, *beside, classifier="mel classifier")


def cycle_report(found: Cycle, facts: dict[str, Any]) -> Report:
    """The report on what `go_round` found."""
    share = found.metrics[0]  # that comes back as what it was
    assert share.chance is not None and share.ceiling is not None
    summary = (
        f"{share.value:.1%} of {len(found.labels)} pictures come back as what they were (chance {share.chance:.1%}, "
        f"with real recordings between {share.ceiling:.1%})."
    )
    if share.interval and share.interval[0] <= share.chance:
        summary += " That is no better than guessing."
    sides = ("the first picture shows", "the last shows")
    figure = confusion_figure(found.confusion(), found.class_names, f"n = {len(found.labels)}", sides=sides)
    became = Section("What became what", "", [Medium("confusion", to_png(figure))])
    sections = [cycle_sheet(found), became, Section("How to read the figures", SECTIONS["cycle.reading"])]
    title = f"There and back {facts.get('model', '')}".strip()
    data = {"class_names": list(found.class_names), "confusion": found.confusion().tolist(), "notes": found.notes}
    return Report(title, summary, facts, found.metrics, [*sections, *reports.notes_section(found.notes)], data)


def cycle_sheet(found: Cycle) -> Section:
    """Rows of a picture, what was said of it as a spectrogram, and what was painted of that; then to hear."""
    rows, row_names, captions, cards = [], [], [], []
    for label in found.labels.unique()[:NUM_CLASSES].tolist():
        row: list[Image.Image | None] = []
        said: list[str] = []
        name, places = found.class_names[label], (found.labels == label).nonzero().flatten()[:NUM_ROWS].tolist()
        for place in places:
            first, last = (enlarge_painting(to_images(x[place : place + 1])[0]) for x in (found.first, found.last))
            drawn = draw_spectrograms(found.waveforms[place : place + 1], found.sample_rate)[0]
            row += [first, drawn.resize(first.size, Image.Resampling.LANCZOS), last.resize(first.size)]
            seen = int(found.seen_last[place])
            said += ["", "", "" if seen == label else found.class_names[seen]]
            if place == places[0]:
                sound = encode_wav(found.waveforms[place], found.sample_rate)
                media = [
                    Medium(f"first-{name}", encode_png(first), f"first: {name}", pixelated=True),
                    Medium(f"said-{name}", sound, f"said of it: {name}", "wav"),
                    Medium(f"last-{name}", encode_png(last), f"last: {name}", pixelated=True),
                ]
                cards.append(Card(name, media, [f"the classifier sees {found.class_names[seen]}"]))
        rows.append(row)
        row_names.append(name)
        captions.append(said)
    columns = ["picture", "said", "painted"] * NUM_ROWS
    title = "below: what the classifier sees in the last one, where it is something else"
    captions = [line + [""] * (len(columns) - len(line)) for line in captions]
    picture = encode_png(draw_sheet(rows, row_names, columns, captions=captions, title=title))
    items: list[Medium | Gallery] = [Medium("cycle", picture, title), Gallery(cards)]
    return Section("Picture, speech, picture", SECTIONS["cycle.sheet"], items)
