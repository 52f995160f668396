"""Does it play what is written? Held-out pieces played again: notes, instruments, octaves, seams beside their own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.data.audio import as_float, to_int16
from synesthete.evaluation.audio_features import spectra
from synesthete.evaluation.audio_features.audio_descriptors import BANDS
from synesthete.evaluation.audio_features.notes import BasicPitch, NoteListener, asked_keys, frame_f1, note_f1
from synesthete.evaluation.classifiers.transcriber import Transcriber, load_or_train_transcriber
from synesthete.evaluation.features import find_features
from synesthete.evaluation.metrics.metric import accuracy, accuracy_metric, fit_linear_probe, interval_of_mean, metric
from synesthete.evaluation.metrics.set_comparison import HELD_OUT, MADE
from synesthete.evaluation.reporting.report import Section, Table
from synesthete.evaluation.samples import Generated, References, drawn, shuffled
from synesthete.evaluation.steps import Finding
from synesthete.pipeline.canvas import Frames, encode_whole, find_overlap
from synesthete.tasks.music import report
from synesthete.tasks.music.evaluation import MusicEvaluator
from synesthete.tasks.music.references import NOISE, WHITE, noise_like
from synesthete.tasks.music_score import stretches
from synesthete.tasks.music_score.sampling import play_rolls
from synesthete.tasks.task import SECTIONS
from synesthete.types import Batch, Progress, ScoreWindows, counted

if TYPE_CHECKING:
    from synesthete.config import Recipe
    from synesthete.data.files import Split
    from synesthete.evaluation.classifiers.classifier import TrainedClassifier
    from synesthete.tasks.music_score.stretches import Stretches

NUM_LEARNED = 150  # stretches of training pieces that the transcriber and the probe learn from
BATCH_SIZE = 4
CODED_HELD_OUT = "held out, through the codec"


class ScoreEvaluator(MusicEvaluator):
    """A model that plays scores: stretches of held-out performances, asked for again by their notes and instruments.

    The ceiling of notes, instruments and octaves are these very performances through the codec.

    Args:
        recipe: of the data, to play them again. listener: a path to basic-pitch, which then hears notes, too. Others:
            as `Evaluator`.
    """

    question, verb = "Does it play what is written?", "plays"
    what, made_one, one = "stretches", "stretch", "stretch"
    batch_size = BATCH_SIZE
    worst_is = "noise of their mean spectrum (for the octaves, white noise)"
    set_remark = "The others are stretches of pieces that the model was trained on."

    def __init__(self, *args: Any, recipe: Recipe, listener: str = "auto", **options: Any) -> None:
        self.recipe, self.basic_pitch = recipe, None if listener in ("auto", "none") else BasicPitch(listener)
        super().__init__(*args, **options)
        spec = self.pipeline.codec.spec
        self.hop_length, self.frame_seconds = spec.hop_length, spec.hop_length / spec.sample_rate
        self._performances = recipe.data().performances()

    @property
    def classifier(self) -> Any:
        """None: what is saved with the model hears notes, no classes."""
        return None

    def train_classifier(self) -> Any:
        """None."""
        return None

    def find_features(self, name: str) -> Any:
        """Of spectra, unless told otherwise."""
        return find_features(name, None, sample_rate=self.sample_rate, real=self.learned.waveforms)

    def stretches(self, split: Split, num: int) -> Stretches:
        """Some of a split's, played."""
        how: dict[str, Any] = {"num": num, "seed": self.seed, "progress": self.progress}
        return stretches.draw_stretches(self.recipe, self._performances, split, **how)

    @cached_property
    def asked(self) -> Stretches:
        """What is played again."""
        return self.stretches("test", self.num)

    @cached_property
    def learned(self) -> Stretches:
        """What the listeners learn from."""
        return self.stretches("train", max(NUM_LEARNED, self.num))

    @cached_property
    def generated(self) -> Generated:
        """Every stretch by the model, told its notes and its instrument."""
        asked, length = self.asked, self.asked.waveforms.shape[1]
        signals, seconds = [], []
        generators = seeding.sample_generators(self.seed, len(asked))
        for first in range(0, len(asked), BATCH_SIZE):
            part = slice(first, first + BATCH_SIZE)
            told = ScoreWindows(asked.rolls[part], asked.labels[part], *self.nothing(len(asked.labels[part])))
            start = time.perf_counter()
            played = play_rolls(self.pipeline, told, [length] * len(told), generators[part])
            seconds.append(time.perf_counter() - start)
            signals += [one.waveform for one in played]
            self.progress("sampling", min(first + BATCH_SIZE, len(asked)), len(asked))
        made = torch.stack(signals)
        return Generated(to_int16(made.nan_to_num(0.0, 0.0, 0.0)), asked.labels, tuple(seconds))

    def nothing(self, size: int) -> tuple[Tensor, Tensor]:
        """What is known of windows before they are made."""
        channels, height, frames = self.pipeline.codec.shape
        return torch.zeros(size, channels, height, frames), torch.zeros(size, frames, dtype=torch.bool)

    @cached_property
    def references(self) -> References:
        """The held-out stretches, and as many of training pieces."""
        others, held_out = self.learned, self.asked
        num = min(len(others), len(held_out))
        worst = noise_like(others.waveforms[:num], self.seed)
        return References(held_out.waveforms, held_out.labels, others.waveforms[:num], others.labels[:num], worst)

    @cached_property
    def coded(self) -> tuple[Tensor, Tensor]:
        """The others and the held-out stretches through the codec."""
        real = self.references
        return self.through_codec(real.others), self.through_codec(real.held_out)

    @torch.no_grad()
    def through_codec(self, waveforms: Tensor) -> Tensor:
        """Stretches (n, S) int16 encoded and decoded, of any length."""
        codec, found = self.pipeline.codec, []
        generators = seeding.sample_generators(seeding.derive(self.seed, "codec"), len(waveforms))
        report = partial(self.progress, "codec")
        for waveform, generator in counted([*zip(waveforms, generators, strict=True)], report):
            x_0 = encode_whole(codec, as_float(waveform[None]).to(codec.device))
            found.append(to_int16(codec.decode(x_0, [generator], num_samples=len(waveform)).cpu()))
        return torch.cat(found)

    @torch.no_grad()
    def held_out_pairs(self) -> Batch:
        """Windows of held-out pieces of which nothing is known before."""
        test = replace(self.prepared.test.plain(), context=None)
        places = drawn(len(test), self.num_denoised, self.seed, "pairs")
        return test.batch(places, seeding.generator(self.seed, "pairs"))

    @cached_property
    def listeners(self) -> list[NoteListener]:
        """What hears notes: the transcriber, saved or trained now, and basic-pitch where it was given."""
        saved = self.saved
        if saved is None or saved.classifier.config.sample_rate != self.sample_rate:
            few = Transcriber.training_settings.few(sum(stage.num_steps for stage in self.recipe.stages))
            saved = learn_transcriber(self.recipe, learned=self.learned, num_steps=few, progress=self.progress)
        return [saved.classifier, *([self.basic_pitch] if self.basic_pitch else [])]

    def findings(self) -> Iterator[Finding]:
        """Notes, instruments, octaves, seams, then what every model of music has."""
        for listener in self.listeners:
            yield self.notes_heard(listener)
        yield Finding(sections=[report.heard_music_section(self), report.seen(self)])
        yield self.instruments_told()
        yield self.octaves()
        yield self.seams()
        yield from self.shared_findings()
        yield self.described()
        yield self.codec_alone()
        yield Finding(sections=[self.reading()])

    def notes_heard(self, listener: NoteListener) -> Finding:
        """How many of the notes that were asked for are heard, and how many others."""
        sounds = {MADE: self.generated.signal, CODED_HELD_OUT: self.coded[1], HELD_OUT: self.asked.waveforms}
        sounds[NOISE] = noise_like(self.asked.waveforms, self.seed)
        heard = {
            name: listener.hear(each, self.sample_rate, partial(self.progress, f"{listener.name}, {name}"))
            for name, each in sounds.items()
        }
        asked = asked_keys(self.asked.rolls, self.frame_seconds, heard[MADE].begins.shape[-1])
        other = asked[shuffled(len(asked), self.seed)]
        sounding, beginning = listener.thresholds
        found, rows, data = [], [], {}
        for key, measure, threshold in (("note_f1", note_f1, beginning), ("note_frame_f1", frame_f1, sounding)):
            f1s = {name: measure(each, asked, threshold) for name, each in heard.items()}
            wrong = float(measure(heard[MADE], other, threshold).mean())
            means = {name: float(each.mean()) for name, each in f1s.items()}
            spread = interval_of_mean(f1s[MADE])
            told: dict[str, Any] = {"variant": "" if listener is self.listeners[0] else listener.name}
            told |= {"listener": listener.name, "num": len(asked)}
            found.append(metric(key, means[MADE], spread, means[NOISE], wrong, means[CODED_HELD_OUT], **told))
            if key == "note_f1":
                over = means[CODED_HELD_OUT] or float("nan")
                figures = (means[MADE] / over, (spread[0] / over, spread[1] / over), means[NOISE] / over, wrong / over)
                found.append(metric("note_f1_over_ceiling", *figures, 1.0, **told))
            rows.append((key, *(means[name] for name in sounds), wrong))
            data[key] = means | {"of another stretch": wrong}
        table = Table(("", *sounds, "made, against another stretch"), rows, f"n = {len(asked)}, by {listener.name}")
        said = (
            f"{listener.name} finds the notes that were asked for with F1 {found[0].value:.2f}; in the same stretches "
            f"through the codec {found[0].ceiling:.2f}, against another stretch's notes {found[0].shuffled:.2f}."
        )
        section = Section(f"Notes, by {listener.name}", SECTIONS["score.notes"], [table])
        return Finding(found, [section], {f"notes_{listener.name}": data}, sentences=[said])

    def instruments_told(self) -> Finding:
        """Whether what is heard is the instrument that was asked for, by a linear probe."""
        if len(self.asked.labels.unique()) < 2:
            return Finding(notes=["Fewer than two instruments are held out: none are told apart."])
        learned, asked = self.learned, self.asked
        probe = fit_linear_probe(self.statistics(learned.waveforms), learned.labels, self.seed)
        made, real = (probe.classify(self.statistics(each)) for each in (self.generated.signal, self.coded[1]))
        other, labels = asked.labels[shuffled(len(asked), self.seed)], asked.labels
        told: dict[str, Any] = {"classifier": "linear probe on the level of bands"}
        chance = 1 / len(self.class_names)
        return Finding([accuracy_metric("class_accuracy", labels, made, chance, other, accuracy(labels, real), **told)])

    def statistics(self, waveforms: Tensor) -> Tensor:
        """Mean and deviation of each band, (n, 2 F)."""
        levels = (spectra.log_mel(part, self.sample_rate) for part in spectra.parts(waveforms))
        return torch.cat([*map(spectra.band_statistics, levels)])

    def octaves(self) -> Finding:
        """How much louder each octave from 62 Hz up is than in the very stretches that were asked for."""
        real, names = spectra.octave_power(self.descriptors[HELD_OUT].thirds), spectra.octave_names(self.sample_rate)
        coded = [spectra.third_power(part, self.sample_rate) for part in spectra.parts(self.coded[1])]
        sets = map(
            spectra.octave_power, (self.descriptors[MADE].thirds, torch.cat(coded), self.descriptors[WHITE].thirds)
        )
        made, through, white = (spectra.band_differences(each, real).tolist() for each in sets)
        found, against = [], f"n = {len(self.asked)}, the same stretches rendered"
        first = next(place for place, name in enumerate(names) if float(name.split()[0]) > spectra.LOWEST * 1.5)
        for place in range(first, len(names)):
            told: dict[str, Any] = {"variant": names[place], "octave": names[place], "against": against}
            found.append(metric("octave_level", made[place], ceiling=through[place], **told))
        worst = [max(abs(value) for value in each[first:]) for each in (made, white, through)]
        name = f"{BANDS}, from 62 Hz up"
        told = {"variant": name, "what": name, "against": against}
        return Finding([metric("audio_descriptor", worst[0], chance=worst[1], ceiling=worst[2], **told), *found])

    def seams(self) -> Finding:
        """Jumps where windows meet, over those elsewhere; beside those of held-out stretches at the same places.

        The floor are windows that know nothing of each other: made and held out in turn, of the same notes.
        """
        frames = Frames.of(self.pipeline.codec)
        total = frames.covering(self.asked.waveforms.shape[1])
        borders = stretches.window_borders(frames, find_overlap(frames), total)
        if not borders:
            return Finding(notes=["One window holds a stretch: there are no seams to look for."])
        made, real, rate = self.generated.signal, self.coded[1], self.sample_rate
        sets = [stretches.jumps(each, rate) for each in (made, stretches.butted(made, real, borders, rate), real)]
        found = []
        for name in sets[0]:
            figures = [stretches.over_elsewhere(*stretches.about_borders(each[name], borders, rate)) for each in sets]
            for which in figures[0]:
                told: dict[str, Any] = {"variant": f"{which} {name}", "which": which, "what": name}
                told["num"] = len(made) * len(borders)
                value, floor, ceiling = (each[which] for each in figures)
                found.append(metric("seam_jump", value, chance=floor, ceiling=ceiling, **told))
        return Finding(found)

    def facts(self) -> dict[str, Any]:
        """What was measured and on what."""
        seconds = self.asked.waveforms.shape[1] / self.sample_rate
        return {
            "sounds": f"{len(self.asked)} stretches of {seconds:.3g} s of held-out pieces, seed {self.seed}",
            "listeners": f"{', '.join(one.name for one in self.listeners)}; learned from {len(self.learned)} stretches "
            "of pieces that the model was trained on",
            "features": f"{self.comparison.features}, {self.comparison.width} numbers a sound",
            "decoded by": self.pipeline.codec.vocoder_in_use,
        }


def learn_transcriber(
    recipe: Recipe,
    *,
    learned: Stretches | None = None,
    num_steps: int | None = None,
    progress: Progress | None = None,
) -> TrainedClassifier[Any]:
    """What hears notes, of training performances, or of those of them that are `learned`."""
    if learned is None:
        performances = recipe.data().performances()
        learned = stretches.draw_stretches(recipe, performances, "train", num=NUM_LEARNED, seed=0, progress=progress)
    spec = recipe.codec().spec
    frame = spec.hop_length / spec.sample_rate
    return load_or_train_transcriber(
        learned.waveforms, learned.rolls, spec.sample_rate, frame, num_steps=num_steps, progress=progress
    )
