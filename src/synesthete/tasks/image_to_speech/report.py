"""What only the report on speech shows: pictures and what is said to them, mistakes, voices, the figure of i2m."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synesthete.data.picture import to_images
from synesthete.evaluation.classifiers.speech import log_mel_of
from synesthete.evaluation.recognizers import DECODED, LISTENER, X_0
from synesthete.evaluation.reporting import figures
from synesthete.evaluation.reporting.figures import to_png
from synesthete.evaluation.reporting.media import encode_png, encode_wav
from synesthete.evaluation.reporting.report import Card, Gallery, Medium, Section, Table
from synesthete.evaluation.samples import Generated, first_of_each
from synesthete.tasks.image_to_speech.measures import COPY, FELLOW, GENERATED, MEAN, SHUFFLED, STRANGER
from synesthete.tasks.task import SECTIONS

if TYPE_CHECKING:
    from synesthete.evaluation.audio_features.spectra import SignalDifference
    from synesthete.tasks.image_to_speech.evaluation import Curve, SpeechEvaluator

NUM_SHOWN = 20  # classes with a sample to see and hear
NUM_FAILURES = 6
NUM_PAIRS = 10  # most frequent confusions listed
NUM_TRANSCRIPTS = 30


def say_accuracy(found: SpeechEvaluator) -> list[str]:
    """How many pictures are named rightly, in words."""
    said = [
        f"{each.value:.1%} of {len(found.labels)} pictures are named rightly ({name}; chance {each.chance:.1%}, real "
        f"clips {each.ceiling:.1%})."
        for name, each in found.accuracies.items()
        if name != DECODED
    ]
    best = found.accuracies[X_0]
    if best.interval and best.chance is not None and best.interval[0] <= best.chance:
        said.append("That is no better than guessing: this model does not speak (yet).")
    return said


def shown_places(labels: Tensor) -> list[int]:
    """The first sample of each class that has one; of many classes, of some of them, evenly."""
    places = first_of_each(labels).tolist()
    num = min(NUM_SHOWN, len(places))
    return [places[i * len(places) // num] for i in range(num)]


def heard_words_section(found: SpeechEvaluator) -> list[Section]:
    """A sample of each class, and those that were misheard, the ones that most classifiers misheard first."""
    sections = [Section("Heard", SECTIONS["speech.heard"], [gallery(found, shown_places(found.labels))])]
    wrong = torch.stack([answers != found.labels for answers in found.heard.values()]).sum(dim=0)
    order = wrong.argsort(descending=True, stable=True)[:NUM_FAILURES]
    if places := [int(place) for place in order if wrong[place]]:
        text = f"{int((wrong > 0).sum())} of {len(wrong)} samples were misheard at least once; the worst first."
        sections.append(Section("Misheard", text, [gallery(found, places)]))
    return sections


def gallery(found: SpeechEvaluator, places: Sequence[int]) -> Gallery:
    """Picture, spectrogram, sound and what was heard, for the samples at `places`."""
    made, names, cards = found.generated, [*found.class_names, "nothing"], []
    for place in places:
        word, given = names[int(found.labels[place])], found.pictures[place]
        if given.is_floating_point():  # in [-1, 1]
            given = (given.clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
        shown = encode_png(to_images(given[None, :3].cpu())[0])
        picture = Medium(f"picture-{place}", shown, f"the picture given: {word}", pixelated=True)
        lines = [f"{name}: {names[int(answers[place])]}" for name, answers in found.heard.items()]  # -1 is the last
        called = {f"spectrogram-{place}": "", f"sound-{place}": "listen"}
        media = sound_media(found, made.x_0[place], made.signal[place], called, 110)
        cards.append(Card(word, [picture, *media], lines))
    return Gallery(cards)


def sound_media(
    found: SpeechEvaluator, x_0: Tensor, waveform: Tensor, called: dict[str, str], dpi: int
) -> list[Medium]:
    """A spectrogram and a sound. called: names and captions of the two."""
    spec, log_mel = found.codec.spec, log_mel_of(found.codec, x_0[None])[0, 0]
    picture = to_png(figures.spectrogram_figure(log_mel, spec, size=(3.4, 2.5)), dpi)
    (seen, shown), (heard, played) = called.items()
    return [Medium(seen, picture, shown), Medium(heard, encode_wav(waveform, spec.sample_rate), played, "wav")]


def by_class(
    class_names: Sequence[str], labels: Tensor, shares: Mapping[str, Sequence[float]], seen: Tensor | None
) -> Section:
    """The share right of each class by each listener, the worst first, and how much is lost before speaking."""
    counts = torch.bincount(labels, minlength=len(class_names)).tolist()
    columns = {**shares}
    if seen is not None:
        right = (seen == labels).double()
        columns["seen by the probe"] = [right[labels == i].mean().item() for i in range(len(class_names))]
    rows = [(name, n, *row) for name, n, *row in zip(class_names, counts, *columns.values(), strict=True)]
    worst = sorted((row for row in rows if row[1]), key=lambda row: row[2])
    return Section("By class", "Share right of each class, the worst first.", [Table(("class", "n", *columns), worst)])


def confusions(class_names: Sequence[str], tables: Mapping[str, Tensor]) -> Section:
    """A picture for each listener and the commonest mistakes of the first; tables: (C, C + 1) by listener."""
    items: list[Table | Medium] = []
    for name in [name for name in tables if name != DECODED]:
        figure = figures.confusion_figure(tables[name], class_names, f"{name}, n = {int(tables[name].sum())}")
        items.append(Medium(f"confusion {name}", to_png(figure)))
    table = tables[X_0].clone()
    table.fill_diagonal_(0)
    most = table.flatten().argsort(descending=True, stable=True)[:NUM_PAIRS].tolist()
    taken = [*class_names, "nothing"]
    rows = [(class_names[i // len(taken)], taken[i % len(taken)], int(table.flatten()[i])) for i in most]
    if rows := [row for row in rows if row[2]]:
        items.append(Table(("the picture shows", "heard as", "times"), rows, f"commonest mistakes, {X_0}"))
    return Section("What was taken for what", "", items)


def transcripts(found: SpeechEvaluator) -> list[Section]:
    """What Whisper wrote, where it listened."""
    if found.transcripts is None or found.panel.whisper is None:
        return []
    (_, written, answers), names = found.transcripts, [*found.class_names, "none of them"]
    rows = [
        (names[int(label)], text or "(nothing)", names[int(answer)])
        for label, text, answer in zip(found.labels, written, answers, strict=False)
    ][:NUM_TRANSCRIPTS]
    table = Table(("the picture shows", "Whisper wrote", "taken for"), rows)
    return [Section("What Whisper wrote", SECTIONS["speech.whisper"].format(name=found.panel.whisper.name), [table])]


def speech_guidance_section(found: SpeechEvaluator, sweep: Mapping[float, Curve], num: int, default: float) -> Section:
    """The same pictures and noise at other guidance scales; default: the model's own."""
    names, scales = list(found.heard), list(sweep)
    curves = {name: [sweep[scale][name] for scale in scales] for name in names if name != DECODED}
    title = f"n = {num} at each scale, same noise; shaded: 95%"
    figure = figures.sweep_figure(scales, curves, found.ceilings, 1 / found.num_classes, title, default)
    table = Table(("guidance scale", *names), [(scale, *(sweep[scale][name][0] for name in names)) for scale in scales])
    return Section("Guidance", _SWEEP.format(num=num), [Medium("guidance", to_png(figure)), table])


def restored_section(found: SpeechEvaluator, sounds: Mapping[str, Generated]) -> Section:
    """The figure of i2m, a row a picture: original, generated, and denoised in one step, to see and to hear."""
    galleries = []
    for row in range(min(map(len, sounds.values()))):
        cards = []
        for name, sound in sounds.items():
            word = found.class_names[int(sound.labels[row])]
            title, slug = f"{word}: {name}", f"restored-{word}-{name}"
            called = {f"{slug}-spectrogram": title, slug: title}
            media = sound_media(found, sound.x_0[row], sound.signal[row], called, 90)
            cards.append(Card(f"{word}, {name}", media))
        galleries.append(Gallery(cards, columns=len(cards)))
    return Section("Generated against denoised", SECTIONS["speech.restored"], galleries)


def errors(found: Mapping[str, tuple[float, float]]) -> Section:
    """The error of generation beside what real clips and averages score."""
    rows = [(name, *found[name]) for name in (COPY, MEAN, FELLOW, GENERATED, SHUFFLED, STRANGER)]
    columns = ("against a real clip of the class", "as i2m computed it (nepers squared)", "x_0, unit variance")
    return Section("Generation error", SECTIONS["speech.errors"], [Table(columns, rows)])


def speech_codec_section(
    found: SpeechEvaluator, trip: Mapping[str, SignalDifference], heard: float | None, before: Tensor, after: Tensor
) -> Section:
    """Real clips through the codec. heard: the share that is right as recorded. before, after: a log-mel (F, T)."""
    rows = [(name, *vars(each).values()) for name, each in trip.items()]
    columns = ("compared", "mean absolute", "mean square", "largest", "SNR (dB)", "Pearson")
    items: list[Table | Medium] = [Table(columns, rows)]
    num = len(found.true)
    if heard is not None:
        shares = [("as recorded", heard, num), ("through the codec", found.ceilings[LISTENER], num)]
        items.append(Table(("real clips, heard by pocketsphinx", "accuracy", "n"), shares))
    figure = figures.difference_figure(before, after, found.codec.spec, "a real clip")
    items.append(Medium("codec-difference", to_png(figure)))
    return Section("The codec alone", SECTIONS["speech.codec"].format(num=num), items)


_SWEEP = "The first {num} pictures again, on the same noise, at other guidance scales. Table: share right."
