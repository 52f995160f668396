"""The report on a model that paints sounds, from its samples to its page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

from synesthete.data.picture import to_images
from synesthete.evaluation.audio_features.spectra import draw_spectrograms
from synesthete.evaluation.hearing.answers import JUDGE
from synesthete.evaluation.hearing.sensitivity import RIGHT, TEXT_ALONE, WRONG, WRONG_ALONE
from synesthete.evaluation.hearing.stages import stage_section
from synesthete.evaluation.metrics.classification import confusion
from synesthete.evaluation.pictures.page import as_a_set, neighbour_strip
from synesthete.evaluation.reporting.classes import by_class, confusions
from synesthete.evaluation.reporting.figures import confusion_figure, to_png
from synesthete.evaluation.reporting.report import Card, Gallery, Medium, Report, Section, Table, notes_section
from synesthete.evaluation.reporting.sheet import draw_sheet, encode_png
from synesthete.evaluation.reporting.sounds import encode_wav

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.hearing.answers import Answers
    from synesthete.evaluation.hearing.measures import HearingEvaluation

NUM_CLASSES = 20  # rows of the sheet
NUM_SHOWN = 6  # painted pictures of a class
SIDE = 96  # pixels of the shorter side of what is shown


def hearing_report(evaluation: HearingEvaluation, facts: dict[str, Any] | None = None) -> Report:
    """The report on what `evaluate_hearing` found. facts: what was measured, when and how."""
    sections = [sheet(evaluation, each) for each in evaluation.splits()]
    sections += class_sections(evaluation)
    if evaluation.stages:
        sections.append(stage_section(evaluation.stages))
    sections.append(evaluation.sensitivity.section())
    if evaluation.base is not None:
        sections.append(evaluation.base.section())
    sections += [retrieval(evaluation), as_a_set(evaluation.likenesses), memory(evaluation)]
    sections.append(Section("How to read the figures", _READING))
    sections += notes_section(evaluation.notes)
    return Report(
        title=f"Does it hear? {(facts or {}).get('model', '')}".strip(),
        summary=summary(evaluation),
        facts=facts or {},
        metrics=evaluation.metrics,
        sections=sections,
        data=evaluation.to_dict(),
    )


def summary(evaluation: HearingEvaluation) -> str:
    """The finding in a few sentences."""
    sentences = [
        f"{each.share:.1%} of {len(each.seen)} pictures show what was heard, {each.what} ({JUDGE}; chance "
        f"{each.chance:.1%}, real pictures {each.real:.1%})."
        for each in evaluation.splits()
    ]
    sensitivity = evaluation.sensitivity
    if not evaluation.hears:
        sentences.append("That is no better than guessing: this model does not paint what it hears (yet).")
    if sensitivity.used(RIGHT, WRONG):
        sentences.append("Its network uses the sound.")
    else:
        sentences.append("Its network ignores the sound: it guesses no worse when told one of another class.")
    if WRONG_ALONE in sensitivity.errors:
        used = sensitivity.used(TEXT_ALONE, WRONG_ALONE)
        sentences.append(f"It {'uses' if used else 'ignores'} the text.")
    if evaluation.base is not None and not evaluation.base.is_kept:
        sentences.append("At strength 0 it is not its base: something of the sound leaks.")
    found = evaluation.likenesses
    times = found.over_floor(found.made.kernel)
    said = f"{times:.1f} times what real pictures score" if times > 1 else "no more than real pictures score"
    sentences.append(f"KID to held-out pictures is {said} ({found.features}).")
    return " ".join(sentences)


def sheet(evaluation: HearingEvaluation, answers: Answers) -> Section:
    """A row a class: a sound's spectrogram, what was painted of its like, and a real picture; then to hear."""
    telling, names = answers.telling, evaluation.class_names
    rows: list[list[Image.Image | None]] = []
    captions, cards, shown = [], [], []
    most = min(NUM_SHOWN, int(telling.labels.bincount().max()))
    for label in telling.labels.unique()[:NUM_CLASSES].tolist():
        places = (telling.labels == label).nonzero().flatten()[:most]
        waveform = telling.samples.waveform(telling.sounds[places[:1]])
        real = enlarged(to_images(telling.samples.pictures[telling.pictures[places[:1]]])[0])
        heard = draw_spectrograms(waveform, evaluation.sample_rate)[0].resize(real.size, Image.Resampling.LANCZOS)
        painted = [enlarged(picture) for picture in to_images(answers.painted.pictures[places])]
        seen = [names[int(answers.seen[i])] for i in places]
        gap: list[Image.Image | None] = [None] * (most - len(places))
        rows.append([heard, *painted, *gap, real])
        captions.append(["", *("" if name == names[label] else name for name in seen), *[""] * len(gap), ""])
        shown.append(names[label])
        place = int(places[0])
        lines = [line for line in (telling.caption(place), f"the judge sees {seen[0]}") if line]
        slug = f"{answers.what}-{names[label]}"
        cards.append(
            Card(
                names[label],
                [
                    Medium(
                        f"sound-{slug}",
                        encode_wav(waveform[0], evaluation.sample_rate),
                        f"heard: {names[label]}",
                        "wav",
                    ),
                    Medium(f"painted-{slug}", encode_png(painted[0]), f"painted of it: {names[label]}", pixelated=True),
                ],
                lines,
            )
        )
    columns = ["a sound", "painted of it", *["of others"] * (most - 1), "real"]
    title = f"{answers.what}; below: what the judge sees, where it sees something else"
    picture = encode_png(draw_sheet(rows, shown, columns, captions=captions, title=title))
    medium = Medium(f"sheet-{answers.what}", picture, title)
    return Section(f"Heard and painted: {answers.what}", _SHEET, [medium, Gallery(cards)])


def enlarged(picture: Image.Image) -> Image.Image:
    """A picture so large that it can be seen, every pixel a square."""
    times = max(1, SIDE // min(picture.size))
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)


def class_sections(evaluation: HearingEvaluation) -> list[Section]:
    """Class by class, what was taken for what, and speaker by speaker."""
    names, speakers = evaluation.class_names, evaluation.speakers
    real = confusion(evaluation.real.labels, evaluation.real_seen, len(names))
    sections = [
        by_class(names, evaluation.takes.confusion(), real, "pictures"),
        confusions(names, evaluation.takes.confusion(), real, "picture"),
    ]
    rows = [(each.what, *row) for each in evaluation.splits() for row in each.by_speaker()]
    items: list[Table | Medium] = [Table(("sounds", "speaker", "n", "share right"), rows)] if rows else []
    if speakers is not None:
        title = f"{speakers.what}, n = {len(speakers.seen)}"
        figure = confusion_figure(speakers.confusion(), names, title, sides=("heard", "taken for"))
        items.append(Medium("confusion-speakers", to_png(figure)))
    if items:
        sections.append(Section("By speaker", "The worst first.", items))
    return sections


def retrieval(evaluation: HearingEvaluation) -> Section:
    """Where the right real picture was found, beside other sounds' pictures and a random order."""
    rows = [
        (metric.title, metric.value, metric.chance, metric.shuffled, metric.ceiling)
        for metric in evaluation.metrics
        if metric.title.startswith("retrieval")
    ]
    columns = ("", "value", "chance", "shuffled", "real pictures")
    return Section("From a sound to real pictures", _RETRIEVAL, [Table(columns, rows)] if rows else [])


def memory(evaluation: HearingEvaluation) -> Section:
    """The pictures that are nearest to one that was trained on, with it."""
    found = evaluation.memory
    pixels = found.closeness[0]
    items = []
    strips: tuple[tuple[str, Tensor, Tensor, Tensor, Tensor], ...] = (
        ("made", evaluation.takes.painted.pictures, found.suspects, found.copies, pixels.made),
        ("held out", evaluation.real.held_out, found.real_suspects, found.real_copies, pixels.held_out),
    )
    for name, pictures, places, copies, distances in strips:
        said = [[f"{distances[place]:.3f}" for place in places.tolist()], [""] * len(places)]
        strip = neighbour_strip(pictures[places], copies, name, said)
        items.append(Medium(f"nearest-{name}", strip, f"{name}: the nearest to training, and below what they are near"))
    return Section("Made or copied", _MEMORY, items)


_SHEET = (
    "For each class a sound that was held out, what the model painted of it and of other sounds of the class (the "
    "first ones, not the best), and a real picture that it never saw. Beside the sound it was told a caption that does "
    "not name the class."
)
_RETRIEVAL = (
    "The picture painted of a sound looks for its like among real held-out pictures, by the judge's features: one of "
    "each class, drawn anew for every sound, where the one of the sound's class is right; and, where sounds were "
    "recorded with pictures, among those, where its own is right. Rank 1 is the best. Shuffled: a picture painted of "
    "another sound looks. Ceiling: another real picture of the class looks."
)
_MEMORY = (
    "The painted pictures, and the real held-out ones, that are nearest to a picture that was trained on, with the "
    "root mean square difference, 0 to 1. The shares are among the figures above."
)
_READING = (
    "Class accuracy: a classifier that learned from real pictures which the model never saw says what each picture "
    "shows; chance is guessing, shuffled the classes of other sounds, the ceiling real held-out pictures. Its interval "
    "counts a sound once, however often it was painted. Hearing: a linear probe on the vector that the model makes of "
    "a sound; what it cannot tell, the painter was hardly told. FID, KID, precision and recall: chance is the pixels "
    "of real pictures dealt out at random, the ceiling another set of real ones. Sensitivity: how much worse one step "
    "of the network guesses a noised real picture when told something wrong; 0 is a network that does not listen."
)
