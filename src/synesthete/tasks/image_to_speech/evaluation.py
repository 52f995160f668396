"""Does it speak? By a classifier, by recognizers, beside single real clips, by its voices and by its own loss."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from synesthete import seeding
from synesthete.data.image_speech_pairs import ImageSpeechSamples
from synesthete.evaluation.classifiers.speech import log_mel_of
from synesthete.evaluation.denoising import (
    FRACTIONS,
    TRACED,
    denoising_errors,
    denoising_metrics,
    one_step,
    sensitivity_metric,
)
from synesthete.evaluation.metrics.classification import accuracy, confusion, fit_linear_probe, per_class
from synesthete.evaluation.metrics.metric import interval, metric
from synesthete.evaluation.metrics.round_trip import signal_difference
from synesthete.evaluation.recognizers.panel import X_0, make_panel, whisper_metric
from synesthete.evaluation.reporting.figures import QUIETEST
from synesthete.evaluation.runner import Evaluator, check_classes
from synesthete.evaluation.samples import (
    Generated,
    decode,
    drawn,
    encode_signals,
    first_of_each,
    generate_timed,
    shuffled,
)
from synesthete.evaluation.steps import Finding
from synesthete.tasks.image_to_speech import report
from synesthete.tasks.image_to_speech.measures import (
    NUM_PICTURES,
    NUM_SEEDS,
    condition_features,
    draw_real,
    generation_metrics,
    measure_diversity,
    nearest_metrics,
    pad,
    pair,
    preprocessed,
    quality_metrics,
    seeing_metrics,
    thinned,
    training_features,
)
from synesthete.types import InputError, Prepared

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from synesthete.data.image_speech_pairs import ImageSpeechPairs
    from synesthete.data.speech.corpus import Clips
    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.evaluation.recognizers.panel import Transcripts
    from synesthete.tasks.image_to_speech.measures import Pairing

    Curve = dict[str, tuple[float, float, float]]  # by classifier: share right, low, high

GUIDANCE = (1.0, 1.5, 3.0, 5.0, 7.5)
NUM_SWEPT = 200  # samples at each guidance scale
NUM_TRACED = 100  # samples for the loss by timestep
NUM_RESTORED = 4  # pictures in the figure of clips denoised in one step
NUM_REAL, CLIPS_PER_CLASS = 1000, 12  # real clips: the larger of both, and no fewer than pictures
BATCH_SIZE = 50


class SpeechEvaluator(Evaluator):
    """A model that says what pictures show; what it makes are waveforms (n, S).

    Floors: chance is one over the number of classes; shuffled counts a sample as right if it says what another
    picture, drawn at random, shows. Ceiling: at most `num` real clips through the same codec (encoded for the
    classifier; encoded, decoded and heard for the recognizers).

    Args:
        pictures: (n, C, H, W) uint8 as `pipeline.preprocess` makes them, never seen in training; at most `num` are
            drawn. labels: (n,). real: clips of voices that neither the model nor the classifier was trained on.
            classifier_clips: what the classifier is trained on, unless `classifier` is given. words: what is said for
            each class, one phrase or several; its name where None. listener: as `make_panel`. guidance: scales at which
            the first pictures are spoken again. trained_on: features (k, D) and labels (k,) of training pictures, for
            the probe that tells seeing from speaking; None leaves it out. num_there: pictures that were drawn from.
        Others: as `Evaluator`.

    Raises:
        InputError: no pictures, a class without a real clip, clips that the codec does not hold, or a model of other
            classes.
    """

    question, verb, what, classifier_name = "Does it speak?", "names", "samples", "mel classifier"

    def __init__(
        self,
        pipeline: Any,
        pictures: Tensor,
        labels: Tensor,
        real: Clips,
        classifier_clips: Clips,
        *,
        words: Sequence[str | Sequence[str]] | None = None,
        listener: str = "auto",
        guidance: Sequence[float] = GUIDANCE,
        trained_on: tuple[Tensor, Tensor] | None = None,
        num_there: int | None = None,
        skipped: Sequence[str] = (),
        num: int = 500,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if not len(pictures):
            raise InputError("no pictures to speak; give a test split with some")
        if real.class_names != classifier_clips.class_names:
            raise InputError("the splits 'test' and 'classifier' have other classes; build the corpus again")
        self.all_real, self.classifier_clips, self.guidance = real, classifier_clips, guidance
        self.trained_on, self.num_there = trained_on, num_there or len(pictures)
        chosen = drawn(len(pictures), num, seed, "pictures")
        self.pictures, self.labels = pictures[chosen], labels[chosen]
        self.other = shuffled(len(self.labels), seed)
        notes = tuple(f"skipped {name}" for name in skipped)
        prepared = Prepared(None, None, {}, real.class_names, notes=notes, skipped=tuple(skipped))
        super().__init__(pipeline, prepared, num=num, seed=seed, **options)
        self.codec, self.num_classes = pipeline.codec, len(self.class_names)
        hearing = (words, self.trained, listener, seed, self.progress)
        self.panel, found = make_panel(self.codec, real, classifier_clips, *hearing)
        self.trained = self.panel.trained
        self.notes += found
        self.real = thinned(real, max(num, NUM_REAL, CLIPS_PER_CLASS * self.num_classes), seed)
        self.kept = drawn(len(self.real), num, seed, "clips")
        self.true = self.real.labels[self.kept]

    def saved_metric(self) -> Metric:
        """As every evaluator."""
        real = self.all_real
        what = f"real clips of {len(set(real.speakers))} unheard voices"
        return self.saved.metric(real.waveforms, real.labels, what)

    def speak(self, pictures: Tensor, what: str, *, seed: int | None = None, **sampling: Any) -> Generated:
        """What the model says to pictures."""
        return generate_timed(
            self.pipeline,
            pictures,
            seed=self.seed if seed is None else seed,
            batch_size=BATCH_SIZE,
            keep_x_0=True,
            progress=lambda *count: self.progress(what, *count),
            **sampling,
        )

    def generate(self) -> Generated:
        """As every evaluator."""
        return replace(self.speak(self.pictures, "speaking"), labels=self.labels)

    @cached_property
    def sounds(self) -> Tensor:
        """Real clips (m, S) as the codec takes them, at most `num`."""
        return pad(self.real.waveforms[self.kept], self.codec)

    @cached_property
    def rebuilt(self) -> Generated:
        """The real clips through the codec."""
        return self.through_codec(self.sounds, self.true)

    def through_codec(self, waveforms: Tensor, labels: Tensor) -> Generated:
        """Real waveforms (n, S) float, encoded and decoded."""
        return self.decoded(encode_signals(self.codec, waveforms, BATCH_SIZE), labels)

    def decoded(self, x_0: Tensor, labels: Tensor) -> Generated:
        """What x_0 (n, 1, F, T) sounds like."""
        return Generated(decode(self.codec, x_0, self.seed, BATCH_SIZE), labels, (), x_0)

    @cached_property
    def real_x_0(self) -> Tensor:
        """All real clips encoded: a few drawn at random may lack a class that the pictures have."""
        return encode_signals(self.codec, pad(self.real.waveforms, self.codec), BATCH_SIZE)

    @cached_property
    def heard(self) -> dict[str, Tensor]:
        """What each classifier hears in each sample (n,): a class, or -1."""
        return self.panel.answers(self.generated, lambda *count: self.progress("listening", *count))

    @cached_property
    def ceilings(self) -> dict[str, float]:
        """What each classifier hears rightly of the real clips."""
        found = self.panel.answers(self.rebuilt, lambda *count: self.progress("listening to real clips", *count))
        return {name: accuracy(self.true, answers) for name, answers in found.items()}

    @cached_property
    def accuracies(self) -> dict[str, Metric]:
        """The share right by each classifier, with its floors and its ceiling."""
        found = {}
        for name, answers in self.heard.items():
            share, num = accuracy(self.labels, answers), len(self.labels)
            beside = (interval(share, num), 1 / self.num_classes, accuracy(self.labels[self.other], answers))
            found[name] = metric(
                "accuracy", share, *beside, self.ceilings[name], variant=name, classifier=name, num=num
            )
        return found

    @cached_property
    def seen(self) -> Tensor | None:
        """What a probe reads from the condition (n,); None where there is nothing that it could learn from."""
        if self.trained_on is None:
            return None
        probe = fit_linear_probe(*self.trained_on, self.seed)
        return probe.classify(condition_features(self.pipeline, self.pictures))

    @cached_property
    def transcripts(self) -> tuple[Metric, Transcripts] | None:
        """What Whisper wrote, where it listened."""
        if self.panel.whisper is None:
            return None
        return whisper_metric(
            self.panel, self.generated, self.labels, self.other, self.rebuilt, self.true, self.progress
        )

    @cached_property
    def pairing(self) -> Pairing:
        """Real clips for the samples."""
        return pair(self.labels, self.real.labels, self.real.speakers, self.seed)

    def findings(self) -> Iterator[Finding]:
        """As every evaluator."""
        yield Finding(sections=report.heard_words_section(self))
        yield self.classification()
        yield self.voices()
        yield Finding(quality_metrics(self.generated, self.rebuilt, self.codec.spec.sample_rate, self.progress))
        yield self.sweep()
        yield self.traced()
        yield self.beside_clips()
        yield self.codec_alone()
        yield self.speed()

    def classification(self) -> Finding:
        """How many say what their picture shows, by every classifier, and what the probe sees."""
        metrics, said, labels = list(self.accuracies.values()), report.say_accuracy(self), self.labels
        if self.transcripts is not None:
            metrics.append(self.transcripts[0])
        if self.seen is not None:
            heard, ceiling = self.heard[X_0], self.ceilings[X_0]
            found = seeing_metrics(self.seen, labels, self.other, heard, self.num_classes, ceiling)
            metrics += found
            said.append(
                f"A linear probe on the condition names {found[0].value:.1%} of them; what the probe saw is what is "
                f"heard in {found[1].value:.1%}."
            )
        made, clips = self.generated, self.classifier_clips
        metrics += nearest_metrics(self.codec, made, self.other, self.rebuilt, clips)
        tables = {name: confusion(labels, answers, self.num_classes) for name, answers in self.heard.items()}
        shares = {name: per_class(labels, answers, self.num_classes) for name, answers in self.heard.items()}
        data = {
            "confusion": {name: table.tolist() for name, table in tables.items()},
            "share_of_ceiling": {
                name: found.value / found.ceiling if found.ceiling else None for name, found in self.accuracies.items()
            },
        }
        names = self.class_names
        sections = [report.by_class(names, labels, shares, self.seen), report.confusions(names, tables)]
        sections += report.transcripts(self)
        return Finding(metrics, sections, data, sentences=said)

    def voices(self) -> Finding:
        """Many voices, or one averaged voice."""
        labels = self.labels
        classes = labels.unique()[:NUM_PICTURES]
        repeated = first_of_each(labels)[:NUM_PICTURES].repeat_interleave(NUM_SEEDS)
        said = self.speak(self.pictures[repeated], "voices", seed=seeding.derive(self.seed, "voices"))
        waveforms = draw_real([self.real, self.classifier_clips], classes, NUM_SEEDS, self.seed)
        sets = [self.through_codec(pad(clips, self.codec), own) for clips, own in waveforms]
        found = measure_diversity(replace(said, labels=labels[repeated]), sets, self.codec, self.class_names)
        data = {"voice_spread": {name: list(values) for name, values in found.spreads.items()}}
        return Finding(found.metrics(), [report.voices(found)], data)

    def sweep(self) -> Finding:
        """The same pictures and noise at other guidance scales; what was said is reused."""
        default, found = self.pipeline.sampling_settings()["guidance_scale"], {}
        pictures, labels, made = self.pictures[:NUM_SWEPT], self.labels[:NUM_SWEPT], self.generated
        for scale in sorted({*self.guidance, default}):
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
        pairs, few = (
            clips.batch(torch.arange(num), seeding.generator(self.seed, "pairs"))
            for num in (len(self.labels), min(NUM_TRACED, len(self.labels)))
        )
        pipeline, seed, num = self.pipeline, self.seed, len(few.label)
        metrics, mean_error = denoising_metrics(pipeline, pairs, self.rebuilt.x_0, self.other, seed, self.progress)
        metrics.append(sensitivity_metric(pipeline, pairs, seed))
        errors = denoising_errors(pipeline, few, shuffled(num, seed), TRACED, seed, self.progress)
        trace = {name: found.mean(dim=1).tolist() for name, found in errors.items()}
        data = {"error_by_timestep": {"fraction": list(TRACED), **trace, "mean clip": mean_error}}
        return Finding(metrics, [report.trace_section(trace, num, mean_error)], data)

    def beside_clips(self) -> Finding:
        """The error against single real clips, and clips denoised in one step."""
        metrics, errors = generation_metrics(self.codec, self.generated, self.real_x_0, self.other, self.pairing)
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
        again = encode_signals(self.codec, self.rebuilt.signal, BATCH_SIZE)
        before, after = (log_mel_of(self.codec, x_0).squeeze(1) for x_0 in (self.rebuilt.x_0, again))
        trip = {
            "log-mel (nepers)": signal_difference(before, after),
            "log-mel where it can be heard (nepers)": signal_difference(
                before[before > QUIETEST], after[before > QUIETEST]
            ),
            "mel magnitude": signal_difference(before.exp(), after.exp()),
            "waveform": signal_difference(self.sounds, self.rebuilt.signal),
        }
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
        clips, classifier = self.classifier_clips, self.panel.trained
        return {
            "pictures": f"{len(self.labels)} of {self.num_there} of the test split, seed {self.seed}",
            "vocoder": self.codec.vocoder_in_use,
            self.classifier_name: f"trained in {classifier.seconds:.0f} s on {len(clips)} real clips of "
            f"{len(set(clips.speakers))} voices; {classifier.accuracy:.3f} of {classifier.num_test} real clips of "
            f"{classifier.num_voices} other voices",
        }


def speech_evaluator(
    pipeline: Any, data: ImageSpeechPairs, corpus_folder: Path, *, num: int = 500, seed: int = 0, **options: Any
) -> SpeechEvaluator:
    """An evaluator of a model on its data's test pictures. corpus_folder: where `data.build` spoke the corpus.

    Raises:
        InputError: as `SpeechEvaluator`, or not one readable picture.
    """
    check_classes(pipeline, data.class_names, SpeechEvaluator.verb)
    progress = options.get("progress") or (lambda *_: None)
    pictures, labels = data.pictures("test")
    chosen = drawn(len(pictures), num, seed, "test pictures")
    readable = list(preprocessed(pipeline, pictures, chosen, lambda *count: progress("pictures", *count)))
    if not readable:
        raise InputError("not one readable picture to speak; give a test split with some")
    real, clips = data.clips(corpus_folder, "test"), data.clips(corpus_folder, "classifier")
    return SpeechEvaluator(
        pipeline,
        torch.cat([part for _, part in readable]),
        labels[[place for places, _ in readable for place in places]],
        real,
        clips,
        words=[data.words.get(name, name) for name in data.class_names],
        trained_on=training_features(pipeline, data, seed, progress),
        num_there=len(pictures),
        skipped=[*pictures.skipped, *real.skipped],
        num=num,
        seed=seed,
        **options,
    )
