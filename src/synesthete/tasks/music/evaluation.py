"""Does it play? By a classifier, as a set, by bands, rhythm and pitch, as copies, and by one step of denoising."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from synesthete import seeding
from synesthete.data.audio import to_int16
from synesthete.evaluation.audio_features import audio_descriptors, spectra
from synesthete.evaluation.audio_features.audio_descriptors import BANDS, NAMES, AudioDescriptors, apart
from synesthete.evaluation.classifiers.sound import load_or_train_sound_classifier
from synesthete.evaluation.features import ClassifierFeatures, find_features
from synesthete.evaluation.metrics.memorization import NearestTrainingDistance, nearest_training_distance
from synesthete.evaluation.metrics.metric import accuracy, accuracy_metric, metric
from synesthete.evaluation.metrics.set_comparison import HELD_OUT, MADE
from synesthete.evaluation.runner import Evaluator
from synesthete.evaluation.samples import Generated, References, draw_with_replacement, encode_signals, generate_timed
from synesthete.evaluation.steps import Finding
from synesthete.pipeline.cascade import check_upsampler
from synesthete.tasks.music import references, report
from synesthete.tasks.music.references import CODED, NOISE, REAL, WHITE
from synesthete.tasks.music.upsampling import evaluate_upsampling
from synesthete.types import Batch, InputError

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.evaluation.audio_features.spectra import Sounds
    from synesthete.evaluation.reporting.report import Gallery
    from synesthete.tasks.music.references import CodecRoundTrip

SPECTROGRAM, STATISTICS = "spectrogram", "band statistics"
NUM_FITTED = 500  # training pieces that features without a classifier are standardised over
THUMBNAIL = 16  # frames of a spectrogram that is compared with others, 4 a second of the usual 4
BATCH_SIZE, CHUNK = 16, 8  # pieces made at once, and encoded at once


class MusicEvaluator(Evaluator):
    """A model of music, told a class, a sound or nothing; sounds are int16 (n, S).

    Chance is noise of the real pieces' mean spectrum for what compares sets, and white noise for the bands. The ceiling
    of sets is pieces of the training recordings through the codec against the held-out ones, at the same n.

    Args:
        recorded: for an upsampler, a folder of sound that was recorded at its low rate. Others: as `Evaluator`.
    """

    question, verb = "Does it play?", "plays"
    what, classifier_name = "pieces", "sound classifier"
    best, worst = CODED, NOISE
    worst_is = "noise of the real pieces' mean spectrum, each as loud as one of them (for the octaves, white noise)"
    best_is = (
        "as many real pieces of the recordings that the model was trained on, through the codec: a model that had "
        "learned all of them, without a fault, would score that"
    )
    floor_is_ceiling = False  # random halves of the held-out pieces share recordings, which a model's pieces do not
    batch_size, num_suspects, num_denoised, num_traced = BATCH_SIZE, 4, 32, 16
    set_remark = "The others are pieces of the recordings that the model was trained on."
    copy_remark = (
        "In spectrograms the distance is the root mean square difference in dB of log-mels averaged over sixteenths of "
        "a piece, to which a copy that begins at another moment is no copy. Band statistics, the mean and deviation "
        "over time of each band in dB, do not know when something sounds."
    )

    def __init__(self, *args: Any, recorded: Path | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.recorded, self.sample_rate = recorded, self.pipeline.codec.spec.sample_rate
        if recorded is not None:
            check_upsampler(self.pipeline)

    @property
    def reads_sound(self) -> bool:
        """Whether the model is told a sound, as an upsampler is."""
        return getattr(type(self.pipeline.conditioner), "reads", "label") == "sound"

    @property
    def is_classified(self) -> bool:
        """As every evaluator: a classifier of recordings knows no classes."""
        return super().is_classified and self.classifier.knows_classes

    def train_classifier(self) -> Any:
        """As every evaluator; a note where there are too few recordings for one."""
        data, rate, note = self.prepared, self.pipeline.codec.spec.sample_rate, "No classifier was trained: "
        if data.classifier is None or not len(data.classifier):
            self.notes.append(f"{note}the data keep no recordings for one (data.classifier_share).")
            return None
        sets = (data.classifier, data.test, data.class_names)
        try:
            return load_or_train_sound_classifier(*sets, rate, progress=self.progress)
        except InputError as error:
            self.notes.append(f"{note}{error}. Sets are compared by what needs none.")
            return None

    def find_features(self, name: str) -> Any:
        """As every evaluator."""
        train = self.prepared.train
        return find_features(name, self.classifier, sample_rate=self.sample_rate, real=train.waveforms[:NUM_FITTED])

    @cached_property
    def generated(self) -> Generated:
        """As is asked for by held-out pieces, drawn anew each time: by their classes, levels or sounds."""
        test = self.prepared.test
        places = draw_with_replacement(len(test), self.num, self.seed, "asked for")
        labels, report = test.labels[places], partial(self.progress, "sampling")
        raw = test.waveform(places) if self.reads_sound else test.told(places)
        how: dict[str, Any] = {"seed": self.seed, "batch_size": BATCH_SIZE, "warmed": set(), "progress": report}
        found = generate_timed(self.pipeline, raw, labels=labels, **how)
        broken = int((~found.signal.isfinite()).any(dim=1).sum())
        signal = found.signal.nan_to_num(0.0, 0.0, 0.0)
        clipped = int((signal.abs() > 1).any(dim=1).sum())
        if broken:
            self.notes.append(f"{broken} sounds held samples that are not finite; they are silent here.")
        if clipped:
            self.notes.append(f"{clipped} of {self.num} sounds go beyond full scale; they are clipped here.")
        return replace(found, signal=to_int16(signal), counts={"num_broken": broken, "num_clipped": clipped})

    @cached_property
    def references(self) -> References:
        """Held-out pieces, and training pieces as others: halves of the held-out ones would share recordings."""
        return self.held_out_and_others("waveforms", references.noise_like)

    @cached_property
    def coded(self) -> tuple[Tensor, Tensor]:
        """The other pieces, and the held-out ones, through the codec."""
        codec, seed, real = self.pipeline.codec, seeding.derive(self.seed, "codec"), self.references
        others = references.through_codec(codec, real.others, seed, partial(self.progress, "codec, others"))
        return others, references.through_codec(codec, real.held_out, seed, partial(self.progress, "codec, held out"))

    def sets(self) -> dict[str, tuple[Any, Tensor]]:
        """As every evaluator, and the others as they are, and white noise."""
        sets, (real, labels) = super().sets(), (self.references.others, self.groups(self.references.other_labels))
        beside = {REAL: real, NOISE: sets.pop(NOISE)[0], WHITE: references.noise_like(real, self.seed, coloured=False)}
        return sets | {CODED: (self.coded[0], labels)} | {name: (sounds, labels) for name, sounds in beside.items()}

    @cached_property
    def descriptors(self) -> dict[str, AudioDescriptors]:
        """Bands, rhythm and pitch of every set, by name."""
        found = {}
        for done, (name, (sounds, _)) in enumerate(self.sets().items()):
            found[name] = audio_descriptors.describe_sounds(sounds, self.sample_rate)
            self.progress("bands, rhythm, pitch", done + 1, 6)
        return found

    @cached_property
    def apart(self) -> dict[str, dict[str, float]]:
        """How far the descriptors of each set are from those of held-out pieces, by set and NAMES."""
        held_out = self.descriptors[HELD_OUT]
        return {name: apart(each, held_out) for name, each in self.descriptors.items() if name != HELD_OUT}

    def set_columns(self) -> dict[str, dict[str, float]]:
        """As every evaluator."""
        return {BANDS: {name: each[BANDS] for name, each in self.apart.items()}}

    def distances(self) -> Iterator[NearestTrainingDistance]:
        """In spectrograms, in statistics of bands, and in the classifier's features."""
        sets: list[Sounds] = [self.generated.signal, self.references.held_out, self.prepared.train.waveforms]
        outlines = [self.outlines(sounds) for sounds in sets]
        for space, described in zip((SPECTROGRAM, STATISTICS), zip(*outlines, strict=True), strict=True):
            yield nearest_training_distance(space, *described, unit=math.sqrt(described[0].shape[1]), what=self.what)
        if self.classifier is not None:
            features = ClassifierFeatures(self.classifier)
            yield nearest_training_distance(features.name, *map(features, sets), what=self.what)

    def outlines(self, sounds: Sounds) -> tuple[Tensor, Tensor]:
        """Of log-mels (F, T) of sounds (n, S), the means of THUMBNAIL stretches (n, F * THUMBNAIL), and statistics."""
        thumbnails, statistics, done = [], [], 0
        for part in spectra.parts(sounds):
            levels = spectra.log_mel(part, self.sample_rate)
            thumbnails.append(adaptive_avg_pool2d(levels, (levels.shape[1], THUMBNAIL)).flatten(1))
            statistics.append(spectra.band_statistics(levels))
            done += len(part)
            self.progress("nearest training pieces", done, len(sounds))
        return torch.cat(thumbnails), torch.cat(statistics)

    def thumbnails(self, samples: Any) -> Sequence[Image.Image]:
        """Spectrograms."""
        return spectra.draw_spectrograms(samples, self.sample_rate)

    def suspect_items(self, found: NearestTrainingDistance) -> Sequence[Gallery]:
        """The sounds that are nearest to a training piece, with it, to hear."""
        return [report.suspects(self, found)]

    @torch.no_grad()
    def held_out_pairs(self) -> Batch:
        """As every evaluator."""
        assert self.references.places is not None
        places, samples = self.references.places[: self.num_denoised], self.prepared.test.plain()
        found = [samples.batch(part, seeding.generator(self.seed, "pairs")) for part in places.split(CHUNK)]
        codec = self.pipeline.codec
        x_0 = [batch.signal if batch.encoded else encode_signals(codec, batch.signal) for batch in found]
        raw, label = (torch.cat([getattr(batch, name) for batch in found]) for name in ("raw", "label"))
        return Batch(torch.cat(x_0), raw, label, encoded=True)

    @cached_property
    def round_trip(self) -> CodecRoundTrip:
        """What the codec alone costs."""
        return references.measure_codec_round_trip(self.references.held_out, self.coded[1], self.sample_rate)

    def findings(self) -> Iterator[Finding]:
        """As every evaluator."""
        if self.reads_sound:
            how: dict[str, Any] = {"recorded": self.recorded, "progress": self.progress}
            yield evaluate_upsampling(self.pipeline, self.prepared, num=self.num, seed=self.seed, **how)
        yield Finding(sections=[report.heard_music_section(self), report.seen(self)], data=dict(self.generated.counts))
        yield from self.shared_findings()
        yield self.described()
        yield self.codec_alone()
        notes = []
        if not self.is_told:
            notes.append("This model is told no class: class accuracy and confusions are left out.")
        elif self.classifier is None:
            notes.append("There is no classifier, so class accuracy and confusions are left out.")
        yield Finding(sections=[self.reading()], notes=notes)

    def described(self) -> Finding:
        """Bands, rhythm and pitch beside held-out pieces."""
        apart, num = self.apart, self.comparison.num
        figures = {name: [apart[each][name] for each in (MADE, NOISE, CODED)] for name in NAMES}
        figures[BANDS][1] = apart[WHITE][BANDS]
        against = dict.fromkeys(NAMES, f"n = {num}, {self.comparison.num_held_out} real")
        # Held-out recordings may be of another balance than any others; what was learned is that of these.
        trained_on, name = self.descriptors[REAL].thirds, f"{BANDS}, against recordings trained on"
        figures[name] = [spectra.band_error(self.descriptors[each].thirds, trained_on) for each in (MADE, WHITE, CODED)]
        against[name] = f"n = {num}, {len(trained_on)} real"
        found = []
        for name, (value, chance, best) in figures.items():
            if not math.isnan(value):
                told: dict[str, Any] = {"variant": name, "what": name, "against": against[name]}
                found.append(metric("audio_descriptor", value, chance=chance, ceiling=best, **told))
        floor = spectra.band_floor(self.descriptors[HELD_OUT].thirds, self.seed)
        data = {"apart": self.apart, "octave_band_floor": floor}
        bands = report.bands(self, floor)
        return Finding(found, [bands, report.tones(self)], data, sentences=[report.say_octaves(self)])

    def codec_alone(self) -> Finding:
        """What a perfect model would still lose."""
        trip, found = self.round_trip, []
        if self.is_classified:
            true, answers = self.references.labels, self.classifier.classify(self.coded[1])
            told: dict[str, Any] = {"ceiling": accuracy(true, self.answers[1]), "classifier": self.classifier_name}
            found.append(accuracy_metric("class_accuracy_of_codec", true, answers, 1 / len(self.class_names), **told))
        section = report.music_codec_section(self, found[0] if found else None)
        found.append(metric("codec_snr", trip.snr_db, num=trip.num))
        return Finding(found, [section], {"round_trip": {"snr_db": trip.snr_db, "spectral_db": trip.spectral_db}})

    def facts(self) -> dict[str, Any]:
        """As every evaluator."""
        made, data, codec = self.generated, self.prepared, self.pipeline.codec
        pieces = f"{len(data.classifier) if data.classifier is not None else 0} pieces the model never heard"
        if self.classifier is not None:
            pieces = f"{pieces}, to tell {len(self.classifier.class_names)} {self.classifier.config.targets} apart"
        return {
            "sounds": f"{len(made)} made, seed {self.seed}; {len(self.references.labels)} of {len(data.test)} held-out "
            f"pieces, {len(data.train)} that it was trained on",
            "length": f"{made.signal.shape[1] / self.sample_rate:.3g} s at {self.sample_rate} Hz",
            "features": f"{self.comparison.features}, {self.comparison.width} numbers a sound",
            self.classifier_name: self.classifier_fact(pieces),
            "decoded by": codec.vocoder_in_use or type(codec).__name__,
        }
