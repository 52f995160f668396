"""Does it speak? By a classifier, by recognizers, beside single real clips, by its voices and by its own loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.conditioning.voices import VoicedPicture
from synesthete.data.labelled import ImageSpeechSamples
from synesthete.evaluation import samples
from synesthete.evaluation.audio_features.spectra import signal_difference
from synesthete.evaluation.classifiers.speech import load_or_train_speech_classifier, log_mel_of
from synesthete.evaluation.metrics import metric as figures
from synesthete.evaluation.metrics.metric import Metric, accuracy, accuracy_metric, interval, metric
from synesthete.evaluation.recognizers import LISTENER, WHISPER, X_0, RecognizerPanel
from synesthete.evaluation.reporting.figures import QUIETEST
from synesthete.evaluation.runner import Evaluator, check_classes
from synesthete.evaluation.samples import Generated, drawn, first_of_each, shuffled
from synesthete.evaluation.steps import FRACTIONS, Finding, denoising_finding, one_step
from synesthete.tasks.image_to_speech import measures, report
from synesthete.tasks.image_to_speech.measures import Pairing, pair, preprocessed, training_features
from synesthete.tasks.image_to_speech.voices import asked_findings
from synesthete.types import InputError, Progress

if TYPE_CHECKING:
    from synesthete.conditioning.speakers import SpeakerEncoder

    Curve = dict[str, tuple[float, float, float]]  # by classifier: share right, low, high
    from synesthete.data.labelled import ImageSpeechPairs
    from synesthete.data.speech.corpus import Clips

GUIDANCE = (1.0, 1.5, 3.0, 5.0, 7.5)
NUM_SWEPT = 200  # samples at each guidance scale
NUM_RESTORED = 4  # pictures in the figure of clips denoised in one step
NUM_WHISPERED = 100  # sounds that Whisper hears; on a CPU it needs about a second for each
NUM_REAL, CLIPS_PER_CLASS = 1000, 12  # real clips: the larger of both, and no fewer than pictures
BATCH_SIZE = 50


class SpeechEvaluator(Evaluator):
    """A model that says what pictures show; what it makes are waveforms (n, S).

    Floors: chance is one over the number of classes; shuffled counts a sample as right if it says what another
    picture, drawn at random, shows. Ceiling: at most `num` real clips through the same codec (encoded for the
    classifier; encoded, decoded and heard for the recognizers).

    Args:
        prepared: `SpeechData`, at most `num` pictures of which are drawn. listener: as `RecognizerPanel`. guidance:
            scales at which the first pictures are spoken again. speakers: the encoder beside the model. Others: as
            `Evaluator`.

    Raises:
        InputError: a class without a real clip, clips that the codec does not hold, or a model of other classes.
    """

    question, verb, what, classifier_name = "Does it speak?", "names", "samples", "mel classifier"

    def __init__(
        self,
        pipeline: Any,
        prepared: SpeechData,
        *,
        listener: str = "auto",
        guidance: Sequence[float] = GUIDANCE,
        speakers: SpeakerEncoder | None = None,
        **options: Any,
    ) -> None:
        super().__init__(pipeline, prepared, **options)
        self.codec, self.num_classes, self.guidance = pipeline.codec, len(self.class_names), guidance
        self.speakers = speakers
        chosen = drawn(len(prepared.pictures), self.num, self.seed, "pictures")
        self.pictures, self.labels = prepared.pictures[chosen], prepared.labels[chosen]
        self.other = shuffled(len(self.labels), self.seed)
        self.panel = RecognizerPanel(self.codec, self.trained, prepared.words or prepared.class_names, listener)
        self.notes += self.panel.notes
        most = max(self.num, NUM_REAL, CLIPS_PER_CLASS * self.num_classes)
        self.real = measures.thinned(prepared.real, most, self.seed)
        self.kept = drawn(len(self.real), self.num, self.seed, "clips")
        self.true = self.real.labels[self.kept]

    def train_classifier(self) -> Any:
        """As every evaluator."""
        how: dict[str, Any] = {"spec": self.pipeline.codec.spec, "seed": self.seed, "progress": self.progress}
        return load_or_train_speech_classifier(self.prepared.clips, self.prepared.real, **how)

    def saved_metric(self) -> Metric:
        """As every evaluator."""
        real = self.prepared.real
        what = f"real clips of {len(set(real.speakers))} unheard voices"
        return self.saved.metric(real.waveforms, real.labels, what)

    def speak(self, pictures: Any, what: str, *, seed: int | None = None, **sampling: Any) -> Generated:
        """What the model says to pictures, or to `SpokenPictures`."""
        how: dict[str, Any] = {"batch_size": BATCH_SIZE, "keep_x_0": True, "progress": partial(self.progress, what)}
        how["seed"] = self.seed if seed is None else seed
        return samples.generate_timed(self.pipeline, pictures, **how, **sampling)

    @cached_property
    def generated(self) -> Generated:
        """As every evaluator."""
        return replace(self.speak(self.pictures, "speaking"), labels=self.labels)

    @cached_property
    def sounds(self) -> Tensor:
        """Real clips (m, S) as the codec takes them, at most `num`."""
        return measures.pad(self.real.waveforms[self.kept], self.codec)

    @cached_property
    def rebuilt(self) -> Generated:
        """The real clips through the codec."""
        return self.through_codec(self.sounds, self.true)

    def through_codec(self, waveforms: Tensor, labels: Tensor) -> Generated:
        """Real waveforms (n, S) float, encoded and decoded."""
        return self.decoded(samples.encode_signals(self.codec, waveforms, BATCH_SIZE), labels)

    def decoded(self, x_0: Tensor, labels: Tensor) -> Generated:
        """What x_0 (n, 1, F, T) sounds like."""
        return Generated(samples.decode(self.codec, x_0, self.seed, BATCH_SIZE), labels, (), x_0)

    @cached_property
    def real_x_0(self) -> Tensor:
        """All real clips encoded: a few drawn at random may lack a class that the pictures have."""
        return samples.encode_signals(self.codec, measures.pad(self.real.waveforms, self.codec), BATCH_SIZE)

    @cached_property
    def heard(self) -> dict[str, Tensor]:
        """What each classifier hears in each sample (n,): a class, or -1."""
        return self.panel.answers(self.generated, partial(self.progress, "listening"))

    @cached_property
    def ceilings(self) -> dict[str, float]:
        """What each classifier hears rightly of the real clips."""
        found = self.panel.answers(self.rebuilt, partial(self.progress, "listening to real clips"))
        return {name: accuracy(self.true, answers) for name, answers in found.items()}

    @cached_property
    def accuracies(self) -> dict[str, Metric]:
        """The share right by each classifier, with its floors and its ceiling."""
        return {name: self.accuracy_by(name, answers, self.ceilings[name]) for name, answers in self.heard.items()}

    def accuracy_by(self, name: str, answers: Tensor, ceiling: float, variant: str = "") -> Metric:
        """The share of the first answers (k,) that are what the pictures show."""
        num = len(answers)
        beside = (1 / self.num_classes, self.labels[self.other[:num]], ceiling)
        told: dict[str, Any] = {"variant": variant or name, "classifier": name}
        return accuracy_metric("accuracy", self.labels[:num], answers, *beside, **told)

    @cached_property
    def seen(self) -> Tensor | None:
        """What a probe reads from the condition (n,); None where there is nothing that it could learn from."""
        if self.prepared.trained_on is None:
            return None
        features, labels = self.prepared.trained_on
        probe = figures.fit_linear_probe(features, labels, self.seed)
        return probe.classify(measures.condition_features(self.pipeline, self.pictures))

    @cached_property
    def transcripts(self) -> tuple[list[Metric], list[str], Tensor] | None:
        """Where Whisper listens: its accuracies on the first sounds, what it wrote, and the classes of that (k,)."""
        if self.panel.whisper is None:
            return None
        made, real = self.generated.signal[:NUM_WHISPERED], self.rebuilt.signal[:NUM_WHISPERED]
        written, answers = self.panel.transcribe(made, partial(self.progress, "Whisper"))
        _, again = self.panel.transcribe(real, partial(self.progress, "Whisper, real"))
        chosen = self.panel.choose(made, partial(self.progress, "Whisper, by likelihood"))
        best = self.panel.choose(real, partial(self.progress, "Whisper, real, by likelihood"))
        metrics = [
            self.accuracy_by(f"{WHISPER}, {how}", heard, accuracy(self.true[:NUM_WHISPERED], of_real), variant)
            for how, heard, of_real, variant in (
                ("nearest phrase", answers, again, "whisper"),
                ("likeliest phrase", chosen, best, "whisper, likeliest"),
            )
        ]
        return metrics, written, answers

    @cached_property
    def pairing(self) -> Pairing:
        """Real clips for the samples."""
        return pair(self.labels, self.real.labels, self.real.speakers, self.seed)

    def findings(self) -> Iterator[Finding]:
        """As every evaluator."""
        yield Finding(sections=report.heard_words_section(self))
        yield self.classification()
        yield self.voices()
        yield from asked_findings(self)
        made, real = self.generated, self.rebuilt
        yield Finding(measures.quality_metrics(made, real, self.codec.spec.sample_rate, self.progress))
        yield self.of_ones_own()
        yield self.sweep()
        yield self.traced()
        yield self.beside_clips()
        yield self.codec_alone()
        yield self.speed()

    def classification(self) -> Finding:
        """How many say what their picture shows, by every classifier, and what the probe sees."""
        metrics, said, labels = list(self.accuracies.values()), report.say_accuracy(self), self.labels
        if self.transcripts is not None:
            metrics += self.transcripts[0]
        if self.seen is not None:
            heard = {name: self.heard[name] for name in (X_0, LISTENER) if name in self.heard}
            found = measures.seeing_metrics(self.seen, labels, self.other, heard, self.num_classes, self.ceilings)
            metrics += found
            said.append(
                f"A linear probe on the condition names {found[0].value:.1%} of them; what the probe saw is what is "
                f"heard in {found[1].value:.1%}."
            )
        names = self.class_names
        metrics += measures.nearest_metrics(self.codec, self.generated, self.other, self.rebuilt, self.prepared.clips)
        tables = {name: figures.confusion(labels, own, len(names)) for name, own in self.heard.items()}
        shares = {name: figures.per_class(labels, own, len(names)) for name, own in self.heard.items()}
        over = {name: each.value / each.ceiling if each.ceiling else None for name, each in self.accuracies.items()}
        data = {"confusion": {name: table.tolist() for name, table in tables.items()}, "share_of_ceiling": over}
        sections = [report.by_class(names, labels, shares, self.seen), report.confusions(names, tables)]
        sections += report.transcripts(self)
        return Finding(metrics, sections, data, sentences=said)

    def voices(self) -> Finding:
        """Many voices, or one averaged voice."""
        labels = self.labels
        classes = labels.unique()[: measures.NUM_PICTURES]
        repeated = first_of_each(labels)[: measures.NUM_PICTURES].repeat_interleave(measures.NUM_SEEDS)
        said = self.speak(self.pictures[repeated], "voices", seed=seeding.derive(self.seed, "voices"))
        waveforms = measures.draw_real([self.real, self.prepared.clips], classes, measures.NUM_SEEDS, self.seed)
        sets = [self.through_codec(measures.pad(clips, self.codec), own) for clips, own in waveforms]
        return measures.voices_finding(replace(said, labels=labels[repeated]), sets, self.codec, self.class_names)

    def of_ones_own(self) -> Finding:
        """The metrics that were registered with a `compute`."""
        sides = self.generated, self.rebuilt, self.prepared.clips
        return Finding(measures.own_metrics(*sides, self.codec, self.through_codec, self.seed))

    def sweep(self) -> Finding:
        """The same pictures and noise at other guidance scales; what was said is reused."""
        default, found = self.pipeline.sampling_settings()["guidance_scale"], {}
        pictures, labels, made = self.pictures[:NUM_SWEPT], self.labels[:NUM_SWEPT], self.generated
        for scale in sorted({default, *(self.guidance if self.pipeline.can_be_guided else ())}):
            if scale == default:
                said = replace(made, signal=made.signal[:NUM_SWEPT], x_0=made.x_0[:NUM_SWEPT], labels=labels)
            else:
                said = self.speak(pictures, f"guidance {scale:g}", guidance_scale=scale)
            shares = {name: accuracy(labels, answers) for name, answers in self.panel.answers(said).items()}
            found[scale] = {name: (share, *interval(share, len(labels))) for name, share in shares.items()}
        return Finding(sections=[report.speech_guidance_section(self, found, len(labels), default)])

    def traced(self) -> Finding:
        """What one step of the network makes of noised real clips, told the right picture, another, and none."""
        clips = ImageSpeechSamples(self.real_x_0, self.real.labels, self.pictures, self.labels)
        pairs = clips.batch(torch.arange(len(self.labels)), seeding.generator(self.seed, "pairs"))
        named = {"what": "real clips", "whose": " of unheard voices"}
        return denoising_finding(self, pairs, mean_of=self.rebuilt.x_0, num_sensed=len(self.labels), **named)

    def beside_clips(self) -> Finding:
        """The error against single real clips, and clips denoised in one step."""
        beside = self.real_x_0, self.other, self.pairing
        metrics, errors = measures.generation_metrics(self.codec, self.generated, *beside)
        sections = [report.restored_section(self, self.restored()), report.errors(errors)]
        return Finding(metrics, sections, {"generation_error": {name: list(pair) for name, pair in errors.items()}})

    def restored(self) -> dict[str, Generated]:
        """The figure of i2m: real clips, what was generated for their pictures, and the clips denoised in one step."""
        places, made = first_of_each(self.labels)[:NUM_RESTORED], self.generated
        x_0, labels = self.real_x_0[self.pairing.paired[places]], self.labels[places]
        said = Generated(made.signal[places], labels, (), made.x_0[places])
        found = {"original, through the codec": self.decoded(x_0, labels), "generated from the picture": said}
        for fraction in FRACTIONS:
            again = one_step(self.pipeline, x_0, self.pictures[places], fraction, self.seed)
            found[f"denoised from t = {fraction * 1000:.0f}"] = self.decoded(again, labels)
        return found

    def codec_alone(self) -> Finding:
        """Real clips against themselves through the codec, and what is heard of them."""
        again = samples.encode_signals(self.codec, self.rebuilt.signal, BATCH_SIZE)
        before, after = (log_mel_of(self.codec, x_0).squeeze(1) for x_0 in (self.rebuilt.x_0, again))
        loud = before > QUIETEST
        compared = {
            "log-mel (nepers)": (before, after),
            "log-mel where it can be heard (nepers)": (before[loud], after[loud]),
            "mel magnitude": (before.exp(), after.exp()),
            "waveform": (self.sounds, self.rebuilt.signal),
        }
        trip = {name: signal_difference(*pair) for name, pair in compared.items()}
        heard = accuracy(self.true, self.panel.grammar_answers(self.sounds)) if self.panel.grammar else None
        return Finding(sections=[report.speech_codec_section(self, trip, heard, before[0], after[0])])

    def speed(self) -> Finding:
        """The median over whole batches after the first; one more batch where there was only one."""
        size = min(BATCH_SIZE, len(self.pictures))
        whole = self.generated.batch_seconds[1 : len(self.pictures) // BATCH_SIZE]
        times = whole or self.speak(self.pictures[:size], "speed").batch_seconds
        seconds = torch.tensor(times).median().item() / size
        factor = seconds * self.codec.spec.sample_rate / self.generated.signal.shape[-1]
        how = f"batch of {size}, sampling and decoding"
        each = metric("seconds_per_sample", seconds, sample="sample", how=how)
        metrics = [each, metric("real_time_factor", factor, how=how)]
        return Finding(metrics, data={"seconds_per_sample": seconds, "real_time_factor": factor})

    def facts(self) -> dict[str, Any]:
        """As every evaluator."""
        data, classifier = self.prepared, self.trained
        clips, there = data.clips, data.num_there or len(data.pictures)
        return {
            "pictures": f"{len(self.labels)} of {there} of the test split, seed {self.seed}",
            "vocoder": self.codec.vocoder_in_use,
            self.classifier_name: f"trained in {classifier.seconds:.0f} s on {len(clips)} real clips of "
            f"{len(set(clips.speakers))} voices; {classifier.accuracy:.3f} of {classifier.num_test} real clips of "
            f"{classifier.num_voices} other voices",
        }


@dataclass(frozen=True)
class SpeechData:
    """What a model is shown, and the real speech beside what it says.

    pictures: (n, C, H, W) uint8 as `pipeline.preprocess` makes them, never seen in training, with labels (n,). real:
    clips of voices that neither the model nor the classifier was trained on. clips: what the classifier is trained on.
    words: what is said for each class, one phrase or several; its name where None. trained_on: features (k, D) and
    labels (k,) of training pictures, for the probe that tells seeing from speaking; None leaves it out. num_there:
    pictures that these were drawn from; none where 0. skipped: files that could not be read. spoken: clips of the
    voices that the model can be asked for, its own training data; None where it knows no voices.
    """

    pictures: Tensor
    labels: Tensor
    real: Clips
    clips: Clips
    words: Sequence[str | Sequence[str]] | None = None
    trained_on: tuple[Tensor, Tensor] | None = None
    num_there: int = 0
    skipped: tuple[str, ...] = ()
    spoken: Clips | None = None

    def __post_init__(self) -> None:
        if not len(self.pictures):
            raise InputError("no pictures to speak; give a test split with some")
        if self.real.class_names != self.clips.class_names:
            raise InputError("the splits 'test' and 'classifier' have other classes; build the corpus again")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of pictures and clips."""
        return tuple(self.real.class_names)

    @property
    def notes(self) -> list[str]:
        """What a reader has to know."""
        return [f"skipped {name}" for name in self.skipped]


def read_speech_data(
    pipeline: Any, data: ImageSpeechPairs, corpus_folder: Path, *, num: int, seed: int, progress: Progress | None = None
) -> SpeechData:
    """Some of the data's test pictures, and its clips. corpus_folder: where `data.build` spoke the corpus."""
    check_classes(pipeline, data.class_names, SpeechEvaluator.verb)
    track = progress or (lambda *_: None)
    pictures, labels = data.pictures("test")
    chosen = drawn(len(pictures), num, seed, "test pictures")
    readable = list(preprocessed(pipeline, pictures, chosen, partial(track, "pictures")))
    if not readable:
        raise InputError("not one readable picture to speak; give a test split with some")
    real, clips = (data.clips(corpus_folder, split) for split in ("test", "classifier"))
    shown = torch.cat([part for _, part in readable]), labels[[at for places, _ in readable for at in places]]
    words = [data.words.get(name, name) for name in data.class_names]
    seen, skipped = training_features(pipeline, data, seed, track), (*pictures.skipped, *real.skipped)
    spoken = data.clips(corpus_folder, "train") if isinstance(pipeline.conditioner, VoicedPicture) else None
    return SpeechData(*shown, real, clips, words, seen, len(pictures), skipped, spoken)
