"""Does it hear? By a classifier, hearing and drawing apart, as a set, by what sound and text are worth, by stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from synesthete.codecs.codec import enlarged
from synesthete.data.picture import to_images
from synesthete.evaluation import steps
from synesthete.evaluation.audio_features.spectra import draw_spectrograms
from synesthete.evaluation.features import ClassifierFeatures
from synesthete.evaluation.metrics.metric import accuracy, accuracy_metric, confusion, interval_of_mean
from synesthete.evaluation.metrics.set_comparison import features_of
from synesthete.evaluation.reporting.figures import confusion_figure, to_png
from synesthete.evaluation.reporting.media import draw_sheet, encode_png, encode_wav
from synesthete.evaluation.reporting.report import Card, Gallery, Medium, Section, Table
from synesthete.evaluation.samples import Generated, generate_timed
from synesthete.evaluation.steps import Finding
from synesthete.hub import ADAPTERS_INDEX, MODEL_INDEX
from synesthete.tasks.audio_to_image import eval_conditions
from synesthete.tasks.audio_to_image.eval_conditions import CLASSIFIER, Answers, EvalConditions
from synesthete.tasks.audio_to_image.sensitivity import RIGHT, adapter_finding, measure_sensitivity
from synesthete.tasks.audio_to_image.similarity import clip_clap_scores, retrieve_classes, retrieve_own
from synesthete.tasks.images.evaluation import PictureEvaluator
from synesthete.tasks.task import SECTIONS
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.config import Recipe
    from synesthete.pipeline import Pipeline

TAKES, SPEAKERS = "held-out takes", "speakers never heard"
NUM_TEXTS = 200  # pictures for each figure of text
NUM_NOISED = 200  # pictures for the sensitivity and the validation loss
FEWEST_SOUNDS = 2
PREFIX, ADAPTERS = "after-", "adapters"
NUM_BY_STAGE, NUM_NOISED_BY_STAGE = 200, 64  # sounds for each stage: classified, and noised


class AudioToImageEvaluator(PictureEvaluator):
    """A model of pictures that is told sounds, and texts beside them.

    Every held-out sound is told once before any is told again, with a caption that does not name its class. Chance is
    guessing; shuffled are the classes of other sounds; the ceiling is real held-out pictures of the same split.

    Args:
        stages: loads of the models kept after each stage, by name. Others: as `Evaluator`; `num` is of each split.
    """

    question, verb = "Does it hear?", "knows"
    classifier_name = CLASSIFIER
    reading_remark = (
        "The interval of a class accuracy counts a sound once, however often pictures were made of it. Hearing: a "
        "linear probe on the vector that the model makes of a sound; what it cannot tell, the network was hardly told. "
        "Sensitivity: how much worse one step of the network guesses a noised real picture when told something wrong; "
        "0 is a network that does not listen."
    )

    def __init__(self, *args: Any, stages: Mapping[str, Callable[[], Any]] | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stages = stages or {}

    def answer(self, samples: Any, what: str) -> Answers:
        """What the classifier sees in pictures of a split's sounds, each told a caption that names no class."""
        conditions = eval_conditions.draw_conditions(samples, self.class_names, self.num, self.seed)
        if conditions.num_sounds < FEWEST_SOUNDS:
            raise InputError(f"{conditions.num_sounds} held-out sounds with a held-out picture; raise data.test_share")
        made = self.paint(self.pipeline, conditions, f"sampling, {what}")
        real = accuracy(conditions.samples.labels, self.classifier.classify(conditions.samples.pictures))
        seen = self.classifier.classify(made.signal)
        return Answers(what, conditions, made, seen, real, len(self.class_names), self.seed)

    def paint(self, pipeline: Pipeline, conditions: EvalConditions, what: str) -> Generated:
        """What a model makes of the sounds. what: said of its progress."""
        raw, labels = conditions.raw(), conditions.labels
        return generate_timed(pipeline, raw, seed=self.seed, labels=labels, progress=partial(self.progress, what))

    @cached_property
    def takes(self) -> Answers:
        """Of sounds held out."""
        return self.answer(self.prepared.test, TAKES)

    @cached_property
    def splits(self) -> list[Answers]:
        """The takes, and the speakers never heard where the data tell of any."""
        speakers = self.prepared.speakers
        if speakers is None or len(speakers.sound_labels) < FEWEST_SOUNDS:
            return [self.takes]
        return [self.takes, self.answer(speakers, SPEAKERS)]

    @property
    def is_told(self) -> bool:
        """As every evaluator: a class is what every sound is of."""
        return True

    @cached_property
    def generated(self) -> Generated:
        """What is made of the held-out takes."""
        return self.takes.generated

    def findings(self) -> Iterator[Finding]:
        """As every evaluator."""
        takes, seed, conditions = self.takes, self.seed, self.takes.conditions
        yield Finding(sections=[painted_sheet(self, each) for each in self.splits])
        yield self.classification()
        yield Finding(eval_conditions.hearing_metrics(self.pipeline, self.prepared.train, self.splits, seed))
        yield Finding(eval_conditions.text_metrics(self.pipeline, self.classifier, takes, NUM_TEXTS, self.progress))
        yield self.by_stage()
        yield measure_sensitivity(self.pipeline, conditions.few(NUM_NOISED), seed, self.progress).finding()
        yield adapter_finding(self.pipeline, conditions, seed)
        yield self.retrieval()
        yield steps.set_comparison(self)
        yield steps.memorization(self)
        scores, missing = clip_clap_scores(takes, self.class_names, self.prepared.test.sample_rate, self.progress)
        yield Finding(scores, notes=missing)
        yield steps.speed(self)
        all_named = conditions.captions is None and self.prepared.test.captions is not None
        notes = ["every caption names its class, so sounds are told without text"] if all_named else []
        yield Finding(sections=[self.reading()], notes=notes)

    def classification(self) -> Finding:
        """As every evaluator, for each split, and speaker by speaker."""
        names, labels = self.class_names, self.references.labels
        metrics = [each.metric() for each in self.splits]
        if self.saved is not None:
            # Of a model that learned from other pictures than these data have, it alone knows what they look like.
            saved = self.saved.classifier
            metrics += [each.seen_by(saved).metric("classifier saved with the model") for each in self.splits]
        said = [
            f"{each.share:.1%} of {len(each.seen)} pictures show what was heard, {each.what} ({CLASSIFIER}; chance "
            f"{each.chance:.1%}, real pictures {each.real:.1%})."
            for each in self.splits
        ]
        spread = metrics[0].interval
        hears = spread is not None and spread[0] > self.takes.chance
        if not hears:
            said.append("That is no better than guessing: these pictures do not follow the sound (yet).")
        seen = self.classifier.classify(self.references.held_out)
        tables = self.takes.confusion(), confusion(labels, seen, len(names))
        sections = [
            steps.class_section(names, *tables, self.what),
            steps.confusion_section(names, *tables, "picture"),
            *speaker_sections(self),
        ]
        data = {"hears": hears, "confusion": {each.what: each.confusion().tolist() for each in self.splits}}
        return Finding(metrics, sections, data, sentences=said)

    def retrieval(self) -> Finding:
        """From a sound to real pictures, by the classifier's features."""
        conditions, labels = self.takes.conditions, self.takes.conditions.labels
        features = ClassifierFeatures(self.classifier)
        sets = (self.generated.signal, conditions.samples.pictures)
        made, real = (features_of(features, pictures) for pictures in sets)
        among = real, conditions.samples.labels, conditions.num_sounds
        metrics = retrieve_classes(made, labels, *among, self.seed) + retrieve_own(made, conditions, real, self.seed)
        rows = [(each.title, each.value, each.chance, each.shuffled, each.ceiling) for each in metrics]
        columns = ("", "value", "chance", "shuffled", "real pictures")
        items = [Table(columns, rows)] if rows else []
        return Finding(metrics, [Section("From a sound to real pictures", SECTIONS["paint.retrieval"], items)])

    def by_stage(self) -> Finding:
        """What each stage of training has added, by the same few sounds; one model is in memory at a time."""
        few, noised = (self.takes.conditions.few(num) for num in (NUM_BY_STAGE, NUM_NOISED_BY_STAGE))
        metrics, rows = [], []
        stages: list[dict[str, Any]] = []
        beside: dict[str, Any] = {"ceiling": self.takes.real, "independent": few.num_sounds, "num": few.num_sounds}
        for name, load in self.stages.items():
            pipeline = load()
            seen = self.classifier.classify(self.paint(pipeline, few, f"after {name}").signal)
            told = beside | {"variant": name, "stage": name}
            found = accuracy_metric("class_accuracy_after_stage", few.labels, seen, self.takes.chance, **told)
            sensitivity = measure_sensitivity(pipeline, noised, self.seed, self.progress)
            worth, gates = sensitivity.worth(), list(pipeline.denoiser.gates.values())
            stage = {
                "name": name,
                "share": found.value,
                "num": few.num_sounds,
                "worth": worth.mean().item(),
                "worth_interval": interval_of_mean(worth),
                "loss": sensitivity.losses[RIGHT].mean().item(),
                "gates": sum(map(abs, gates)) / len(gates) if gates else None,
            }
            gain = found.value - stages[-1]["share"] if stages else None
            low, high = found.interval or (0.0, 1.0)
            measured = (stage[key] for key in ("worth", "loss", "gates"))
            rows.append((name, found.value, f"{low:.3f} to {high:.3f}", gain, *measured))
            metrics.append(found)
            stages.append(stage)
        columns = ("after stage", "class accuracy", "95% interval", "gain", "sensitivity to sound", "validation loss")
        table = Table((*columns, "mean |tanh(gate)|"), rows, f"the same {few.num_sounds} sounds and noise")
        sections = [Section("What each stage added", SECTIONS["paint.stages"], [table])] if rows else []
        return Finding(metrics, sections, {"stages": stages})

    def facts(self) -> dict[str, Any]:
        """As every evaluator."""
        told = [f"{len(x.seen)} pictures of {x.conditions.num_sounds} sounds, {x.what}" for x in self.splits]
        return {
            "sounds": f"{'; '.join(told)}; seed {self.seed}",
            "pictures": f"{len(self.references.labels)} of {len(self.prepared.test.labels)} held-out ones to compare "
            f"with, {len(self.prepared.train.labels)} that it was trained on",
        } | self.classifier_facts()


def find_stages(run: Path, recipe: Recipe) -> dict[str, Path]:
    """The models kept after each stage of a run, by its name, in order; of a published base the adapters alone."""
    found = {}
    for stage in recipe.stages:
        folder = run / f"{PREFIX}{stage.name}"
        for place in (folder, folder / ADAPTERS):
            if (place / MODEL_INDEX).is_file() or (place / ADAPTERS_INDEX).is_file():
                found[stage.name] = place
                break
    return found


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
    return Section(f"Heard and painted: {answers.what}", SECTIONS["paint.sheet"], items)


def enlarge_painting(picture: Image.Image) -> Image.Image:
    """A picture so large that it can be seen, every pixel a square."""
    return enlarged([picture], max(1, SIDE // min(picture.size)))[0]


def speaker_sections(found: AudioToImageEvaluator) -> list[Section]:
    """Speaker by speaker; nothing where no speaker is named and none was kept apart."""
    rows = [(each.what, *row) for each in found.splits for row in each.by_speaker()]
    items: list[Table | Medium] = [Table(("sounds", "speaker", "n", "share right"), rows)] if rows else []
    for each in found.splits[1:]:
        title = f"{each.what}, n = {len(each.seen)}"
        figure = confusion_figure(each.confusion(), found.class_names, title, sides=("heard", "taken for"))
        items.append(Medium("confusion-speakers", to_png(figure)))
    return [Section("By speaker", "The worst first.", items)] if items else []
