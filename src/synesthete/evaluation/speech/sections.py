"""Sections of the report on speech: the classes, the voices, the errors against single clips, the figure of i2m."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from synesthete.evaluation.classifiers.speech import log_mel_of
from synesthete.evaluation.recognizers.panel import DECODED, X_0
from synesthete.evaluation.reporting.figures import confusion_figure, pitch_figure, spectrogram_figure, to_png
from synesthete.evaluation.reporting.report import Card, Gallery, Medium, Section, Table
from synesthete.evaluation.reporting.sounds import encode_wav
from synesthete.evaluation.speech.references import COPY, FELLOW, GENERATED, MEAN, SHUFFLED, STRANGER

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.speech.measures import SpeechEvaluation

NUM_PAIRS = 10  # most frequent confusions listed
NUM_TRANSCRIPTS = 30


def by_class(evaluation: SpeechEvaluation) -> Section:
    """The share right of each class, the worst first, and how much of it is lost before anything is spoken."""
    counts = torch.bincount(evaluation.labels, minlength=len(evaluation.class_names)).tolist()
    shares = list(zip(*evaluation.per_class.values(), strict=True))
    columns: tuple[str, ...] = ("class", "n", *evaluation.per_class)
    rows = [(name, n, *row) for name, n, row in zip(evaluation.class_names, counts, shares, strict=True)]
    if evaluation.seen is not None:
        columns = (*columns, "seen by the probe")
        right = (evaluation.seen == evaluation.labels).double()
        seen = [right[evaluation.labels == i].mean().item() for i in range(len(rows))]
        rows = [(*row, share) for row, share in zip(rows, seen, strict=True)]
    worst = sorted((row for row in rows if row[1]), key=lambda row: row[2])
    return Section("By class", "Share right of each class, the worst first.", [Table(columns, worst)])


def confusions(evaluation: SpeechEvaluation) -> Section:
    """A picture for each judge and, of the first, the commonest mistakes as a table."""
    num, names = len(evaluation.labels), evaluation.class_names
    items: list[Table | Medium] = [
        Medium(f"confusion {name}", to_png(confusion_figure(table, names, f"{name}, n = {num}")))
        for name, table in evaluation.confusions.items()
        if name != DECODED
    ]
    table = evaluation.confusions[X_0].clone()
    table.fill_diagonal_(0)
    most = table.flatten().argsort(descending=True, stable=True)[:NUM_PAIRS].tolist()
    heard = [*names, "nothing"]
    rows = [(names[i // len(heard)], heard[i % len(heard)], int(table.flatten()[i])) for i in most]
    rows = [row for row in rows if row[2]]
    if rows:
        items.append(Table(("the picture shows", "heard as", "times"), rows, f"commonest mistakes, {X_0}"))
    return Section("What was taken for what", "", items)


def voices(evaluation: SpeechEvaluation) -> Section:
    """How far apart the model's voices are, against real ones."""
    found = evaluation.diversity
    clear = Table(
        ("", "generated", "real voices"),
        [("share with a clear pitch", *found.voiced), ("mean periodicity, 0 to 1", *found.periodicity)],
    )
    rows = [(name, *values) for name, values in found.spreads.items()]
    spreads = Table(("spread of", "generated", "real voices", "real voices again"), rows)
    columns = ("class", "pitch, generated", "pitch, real", "timbre, generated", "timbre, real")
    classes = Table(columns, found.by_class, "by class (semitones, dB)")
    title = f"{found.num_pictures} pictures, {found.num_seeds} seeds each"
    pitches = Medium("pitch", to_png(pitch_figure(*found.pitches, title)))
    return Section("Voices", _VOICES, [clear, spreads, pitches, classes])


def errors(evaluation: SpeechEvaluation) -> Section:
    """The error of generation beside what real clips and averages score."""
    order = (COPY, MEAN, FELLOW, GENERATED, SHUFFLED, STRANGER)
    rows = [(name, *evaluation.errors[name]) for name in order]
    columns = ("against a real clip of the class", "as i2m computed it (nepers squared)", "x_0, unit variance")
    return Section("Generation error", _ERRORS, [Table(columns, rows)])


def transcripts(evaluation: SpeechEvaluation) -> list[Section]:
    """What Whisper wrote, where it listened."""
    found = evaluation.transcripts
    if found is None:
        return []
    names = [*evaluation.class_names, "none of them"]
    rows = [
        (names[int(label)], text or "(nothing)", names[int(answer)])
        for label, text, answer in zip(evaluation.labels, found.written, found.answers, strict=False)
    ][:NUM_TRANSCRIPTS]
    table = Table(("the picture shows", "Whisper wrote", "taken for"), rows)
    return [Section("What Whisper wrote", _WHISPER.format(name=found.listener), [table])]


def restored(pipeline: Any, evaluation: SpeechEvaluation) -> Section:
    """The figure of i2m, a row a picture: original, generated, and denoised in one step, to see and to hear."""
    spec, galleries = pipeline.codec.spec, []
    shown = evaluation.first_of_each()
    num = min(len(speech.x_0) for speech in evaluation.restored.values())
    for row in range(num):
        word, cards = evaluation.class_names[int(evaluation.labels[shown[row]])], []
        for name, speech in evaluation.restored.items():
            log_mel = log_mel_of(pipeline.codec, speech.x_0[row : row + 1])[0, 0]
            medium = f"restored-{word}-{name}"
            picture = to_png(spectrogram_figure(log_mel, spec, size=(3.4, 2.5)), 90)
            media = [
                Medium(f"{medium}-spectrogram", picture, f"{word}: {name}"),
                Medium(medium, encode_wav(speech.waveforms[row], spec.sample_rate), f"{word}: {name}", "wav"),
            ]
            cards.append(Card(f"{word}, {name}", media))
        galleries.append(Gallery(cards, columns=len(cards)))
    return Section("Generated against denoised", _RESTORED, galleries)


def picture_png(picture: Tensor) -> bytes:
    """A picture (C, H, W) uint8, or float in [-1, 1], as a PNG file."""
    if picture.is_floating_point():
        picture = (picture.clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
    values = picture[0] if len(picture) == 1 else picture[:3].permute(1, 2, 0)
    encoded = io.BytesIO()
    Image.fromarray(values.cpu().numpy()).save(encoded, "PNG")
    return encoded.getvalue()


_VOICES = (
    "One picture of each class spoken with several seeds. Spread: standard deviation around the mean of the same "
    "picture, of the median pitch and of the mean spectrum of the audible frames. A model that says everything in one "
    "averaged voice has none. Real voices: as many clips of each class by the judge's and the test voices, through the "
    "same codec; the model learned from other voices, so a ratio of one is not owed to it. Periodicity is the height "
    "of the autocorrelation at the pitch's period in the loud frames: 1 for a clear voice, about 0.3 for noise. One "
    "below 0.5 has no pitch to speak of, it is whispered, and is left out of the pitches."
)
_ERRORS = (
    "Mean square error between what was said and one real clip of its class by a voice drawn at random. Voices differ, "
    "so real speech by another voice is far from it too, and the mean of all clips, which is no speech, is nearer: a "
    "lower figure is not a better model. The seed compared log-mels that its sampler had clamped at -10 with clips "
    "whose silence is -16.1, which costs 37.4 for every silent cell: even a perfect copy scores what the first line "
    "says."
)
_WHISPER = (
    "{name} is not told which words there are. A transcript is taken for the class whose phrase needs the fewest edits "
    "a letter, and for none of them where that is more than half a letter, or where two are as near."
)
_RESTORED = (
    "Of a few pictures: a real clip of the class by a voice that the model never heard, what the model says to the "
    "picture from nothing but noise, and the real clip noised to t = 300, 500 and 800 of 1,000 and denoised in a "
    "single step with the picture given. One step from little noise is easy: it says little of what is generated."
)
