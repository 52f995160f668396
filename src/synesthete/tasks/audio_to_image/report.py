"""What only the report on sounds that become pictures shows: sounds beside their pictures, speakers, retrieval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from synesthete.data.picture import to_images
from synesthete.evaluation.audio_features.spectra import draw_spectrograms
from synesthete.evaluation.reporting.figures import confusion_figure, to_png
from synesthete.evaluation.reporting.media import draw_sheet, encode_png, encode_wav
from synesthete.evaluation.reporting.report import Card, Gallery, Medium, Section, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.tasks.audio_to_image.eval_conditions import Answers
    from synesthete.tasks.audio_to_image.evaluation import AudioToImageEvaluator

NUM_CLASSES = 20  # rows of the sheet
NUM_SHOWN = 6  # made pictures of a class
SIDE = 96  # pixels of the shorter side of what is shown


def painted_sheet(found: AudioToImageEvaluator, answers: Answers) -> Section:
    """A row a class: a sound's spectrogram, what was made of its like, and a real picture; then to hear."""
    conditions, names, rate = answers.conditions, found.class_names, found.prepared.test.sample_rate
    rows: list[list[Image.Image | None]] = []
    captions, cards, shown = [], [], []
    most = min(NUM_SHOWN, int(conditions.labels.bincount().max()))
    for label in conditions.labels.unique()[:NUM_CLASSES].tolist():
        name, places = names[label], (conditions.labels == label).nonzero().flatten()[:most]
        waveform = conditions.samples.waveform(conditions.sounds[places[:1]])
        real = enlarge_painting(to_images(conditions.samples.pictures[conditions.pictures[places[:1]]])[0])
        heard = draw_spectrograms(waveform, rate)[0].resize(real.size, Image.Resampling.LANCZOS)
        made = [enlarge_painting(picture) for picture in to_images(answers.generated.signal[places])]
        seen = [names[int(answers.seen[i])] for i in places]
        gap: list[Image.Image | None] = [None] * (most - len(places))
        rows.append([heard, *made, *gap, real])
        captions.append(["", *("" if each == name else each for each in seen), *[""] * len(gap), ""])
        shown.append(name)
        lines = [line for line in (conditions.caption(int(places[0])), f"the classifier sees {seen[0]}") if line]
        slug = f"{answers.what}-{name}"
        sound = Medium(f"sound-{slug}", encode_wav(waveform[0], rate), f"heard: {name}", "wav")
        picture = Medium(f"painted-{slug}", encode_png(made[0]), f"painted of it: {name}", pixelated=True)
        cards.append(Card(name, [sound, picture], lines))
    columns = ["a sound", "painted of it", *["of others"] * (most - 1), "real"]
    title = f"{answers.what}; below: what the classifier sees, where it sees something else"
    medium = encode_png(draw_sheet(rows, shown, columns, captions=captions, title=title))
    items: list[Medium | Gallery] = [Medium(f"sheet-{answers.what}", medium, title), Gallery(cards)]
    return Section(f"Heard and painted: {answers.what}", _SHEET, items)


def enlarge_painting(picture: Image.Image) -> Image.Image:
    """A picture so large that it can be seen, every pixel a square."""
    times = max(1, SIDE // min(picture.size))
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)


def speakers(found: AudioToImageEvaluator) -> list[Section]:
    """Speaker by speaker; nothing where no speaker is named and none was kept apart."""
    rows = [(each.what, *row) for each in found.splits for row in each.by_speaker()]
    items: list[Table | Medium] = [Table(("sounds", "speaker", "n", "share right"), rows)] if rows else []
    for each in found.splits[1:]:
        title = f"{each.what}, n = {len(each.seen)}"
        figure = confusion_figure(each.confusion(), found.class_names, title, sides=("heard", "taken for"))
        items.append(Medium("confusion-speakers", to_png(figure)))
    return [Section("By speaker", "The worst first.", items)] if items else []


def retrieval(metrics: Sequence[Metric]) -> Section:
    """Where the right real picture was found, beside other sounds' pictures and a random order."""
    rows = [(each.title, each.value, each.chance, each.shuffled, each.ceiling) for each in metrics]
    columns = ("", "value", "chance", "shuffled", "real pictures")
    return Section("From a sound to real pictures", _RETRIEVAL, [Table(columns, rows)] if rows else [])


_SHEET = (
    "For each class a sound that was held out, what the model painted of it and of other sounds of the class (the "
    "first ones, not the best), and a real picture that it never saw. Beside the sound it was told a caption that does "
    "not name the class."
)
_RETRIEVAL = (
    "The picture painted of a sound looks for its like among real held-out pictures, by the classifier's features: one "
    "of each class, drawn anew for every sound, where the one of the sound's class is right; and, where sounds were "
    "recorded with pictures, among those, where its own is right. Rank 1 is the best. Shuffled: a picture painted of "
    "another sound looks. Ceiling: another real picture of the class looks."
)
