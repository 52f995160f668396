"""Does it play? What a model of music is worth: by a judge, as a set, by its bands, as a copyist, by its own loss."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from synesthete import seeding
from synesthete.evaluation.classifiers.sound import load_or_train_sound_classifier
from synesthete.evaluation.features.features import find_features
from synesthete.evaluation.metrics.metric import Metric
from synesthete.evaluation.music.comparison import CODED, HELD_OUT, MADE, NOISE, REAL, WHITE, measure_comparison
from synesthete.evaluation.music.making import BATCH_SIZE, make
from synesthete.evaluation.music.measures import MusicEvaluation, measure_classes, measure_denoising
from synesthete.evaluation.music.memory import measure_memory
from synesthete.evaluation.music.page import music_report
from synesthete.evaluation.music.real_sounds import draw_real, noise_like, through_codec
from synesthete.evaluation.music.round_trip import measure_round_trip
from synesthete.evaluation.music.upsampling import evaluate_upsampling
from synesthete.evaluation.reporting.provenance import listed, provenance
from synesthete.evaluation.reporting.report import write_report
from synesthete.pipeline.upsampling import check_upsampler
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from synesthete.evaluation.classifiers.saved import TrainedClassifier
    from synesthete.evaluation.classifiers.sound import SoundClassifier
    from synesthete.evaluation.features.features import Features
    from synesthete.evaluation.music.comparison import Comparison
    from synesthete.evaluation.music.making import Made
    from synesthete.pipeline import Pipeline
    from synesthete.types import Prepared

    Progress = Callable[[str, int, int], None]

NUM_FITTED = 500  # training pieces that features without a judge are standardised over


def evaluate(
    pipeline: Pipeline,
    prepared: Prepared,
    folder: Path,
    *,
    model: str = "",
    num: int = 100,
    seed: int = 0,
    features: str = "auto",
    judge: TrainedClassifier[SoundClassifier] | None = None,
    own_judge: TrainedClassifier[SoundClassifier] | None = None,
    recorded: Path | None = None,
    command: str | None = None,
    progress: Progress | None = None,
) -> MusicEvaluation:
    """Evaluate a model of music beside its data's held-out pieces and write the report into `folder`.

    model, command: how the report calls them; the command line of this process where None. num: sounds to make.
    features: what sets are compared by, as `find_features`. judge: in place of the one that is trained on
    `prepared.judge` or found in the cache. own_judge: the one kept with the model, which is then measured as well, and
    stands in where the data have too few recordings for a judge. recorded: for an upsampler, a folder of sound that was
    recorded at its low rate. progress(what, done, total).

    Raises:
        InputError: a model of other classes than the data's, too few real pieces, unknown features, and as
            `write_report`.
    """
    if pipeline.class_names and tuple(pipeline.class_names) != tuple(prepared.class_names):
        raise InputError(
            f"the model plays {listed(pipeline.class_names)}, the data {listed(prepared.class_names) or 'no classes'}; "
            "evaluate it on the data of its own recipe"
        )
    if recorded is not None:
        check_upsampler(pipeline)
    start = datetime.now(UTC)
    report = progress or (lambda *_: None)
    sample_rate, notes = pipeline.codec.spec.sample_rate, []
    if judge is None and prepared.judge is not None and len(prepared.judge):
        try:
            judge = load_or_train_sound_classifier(
                prepared.judge, prepared.test, prepared.class_names, sample_rate, progress=report
            )
        except InputError as error:
            notes.append(f"No judge was trained: {error}. Sets are compared by what needs none.")
    elif judge is None:
        notes.append("No judge was trained: the data keep no recordings for one (data.judge_share).")
    hears = judge.classifier if judge else own_judge.classifier if own_judge else None
    fitted = prepared.train.waveforms[: min(NUM_FITTED, len(prepared.train))]
    described = find_features(features, hears, sample_rate=sample_rate, real=fitted)
    found = evaluate_music(pipeline, prepared, hears, described, num=num, seed=seed, progress=report)
    found.judge = judge
    if getattr(type(pipeline.conditioner), "reads", "label") == "sound":
        measured, found.highs = evaluate_upsampling(
            pipeline, prepared, num=num, seed=seed, recorded=recorded, progress=report
        )
        found.metrics[:0] = measured
    if own_judge is not None and own_judge.classifier.knows_classes:
        found.metrics.append(own_judge.metric(found.real.held_out, found.real.labels, "held-out pieces"))
    found.skipped = list(prepared.skipped)
    found.notes += [*notes, *prepared.notes]
    vocoder = pipeline.codec.vocoder_in_use or type(pipeline.codec).__name__
    facts = provenance(pipeline, start, model, command) | {
        "sounds": f"{len(found.made.labels)} made, seed {seed}; {len(found.real.labels)} of {len(prepared.test)} "
        f"held-out pieces, {len(prepared.train)} that it was trained on",
        "length": f"{found.made.waveforms.shape[1] / sample_rate:.3g} s at {sample_rate} Hz",
        "features": f"{found.comparison.features}, {found.comparison.width} numbers a sound",
        "sound judge": judge_fact(judge, prepared) if judge else "the one kept with the model" if hears else "none",
        "decoded by": vocoder,
        "weights": "as they are saved: the average over training (EMA) where the recipe keeps one",
    }
    write_report(music_report(found, facts), Path(folder))
    return found


def evaluate_music(
    pipeline: Pipeline,
    prepared: Prepared,
    judge: SoundClassifier | None,
    features: Features,
    *,
    num: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
) -> MusicEvaluation:
    """Every figure of a model of music, each with its floor and its ceiling, on fixed noise and timesteps.

    What is asked for (classes, or sounds where the conditioner reads them) is drawn at random from held-out pieces.
    Chance is guessing (one over the number of classes) for the judge, noise of the real pieces' mean spectrum for what
    compares sets, and white noise for the bands. The ceiling is real: the judge on held-out pieces; for sets, pieces of
    the training recordings through the codec against the held-out ones, at the same n.

    Raises:
        InputError: too few real pieces.
    """
    report = progress or (lambda *_: None)
    names, rate = tuple(prepared.class_names), pipeline.codec.spec.sample_rate
    real = draw_real(prepared, num, seed)
    made = make(pipeline, prepared, num, seed, lambda *count: report("sampling", *count))
    coding = seeding.derive(seed, "codec")
    coded = through_codec(pipeline.codec, real.others, coding, lambda *count: report("codec, others", *count))
    again = through_codec(pipeline.codec, real.held_out, coding, lambda *count: report("codec, held out", *count))

    metrics: list[Metric] = []
    answers = None
    told = pipeline.is_conditional and len(names) > 1
    if told and judge is not None and judge.knows_classes:
        answers, metrics = measure_classes(judge, made, real, again, names, seed)
    grouped: Callable[[Tensor], Tensor] = (lambda labels: labels) if told else torch.zeros_like
    others = grouped(real.other_labels)
    sets = {
        HELD_OUT: (real.held_out, grouped(real.labels)),
        MADE: (made.waveforms, grouped(made.labels)),
        CODED: (coded, others),
        REAL: (real.others, others),
        NOISE: (noise_like(real.others, seed), others),
        WHITE: (noise_like(real.others, seed, coloured=False), others),
    }
    within = "a class" if told else "all pieces"
    comparison = measure_comparison(features, sets, rate, within=within, seed=seed, report=report)
    metrics += comparison.metrics()
    memory = measure_memory(prepared, judge, made.waveforms, real, rate, report)
    metrics += [metric for found in memory.closeness for metric in found.metrics()]
    trip = measure_round_trip(real.held_out, again, rate)
    metrics.append(Metric(f"SNR of the codec alone in dB (held-out pieces, median, n = {trip.num})", trip.snr_db))
    denoising = measure_denoising(pipeline, prepared, real, seed, report)
    metrics += denoising.metrics
    settings = pipeline.sampling_settings()
    speed = f"batch of {min(BATCH_SIZE, num)}, {settings['num_inference_steps']} steps of {settings['sampler']}"
    metrics.append(Metric(f"seconds a sample ({speed}, sampling and decoding)", made.seconds))
    return MusicEvaluation(
        class_names=names,
        sample_rate=rate,
        made=made,
        real=real,
        metrics=metrics,
        comparison=comparison,
        memory=memory,
        denoising=denoising,
        round_trip=trip,
        answers=answers,
        notes=remarks(made, comparison, told, judge is not None),
    )


def remarks(made: Made, comparison: Comparison, told: bool, judged: bool) -> list[str]:
    """What a reader has to know about these figures, in plain words."""
    found = []
    if made.num_broken:
        found.append(f"{made.num_broken} sounds held samples that are not finite; they are silent here.")
    if made.num_clipped:
        found.append(f"{made.num_clipped} of {len(made.labels)} sounds go beyond full scale; they are clipped here.")
    if not told:
        found.append("This model is told no class: class accuracy and confusions are left out.")
    elif not judged:
        found.append("There is no judge, so class accuracy and confusions are left out.")
    if comparison.num_equal <= comparison.width:
        found.append(
            f"Fréchet distance of {comparison.num_equal} sounds in {comparison.width} dimensions: fewer sounds than "
            "dimensions, so it says more of their number than of the model. Read it beside its ceiling alone."
        )
    return found


def judge_fact(judge: TrainedClassifier[SoundClassifier], prepared: Prepared) -> str:
    """How the judge came to be, in one line."""
    known = f"; accuracy {judge.accuracy:.3f} on {judge.num_test} held-out ones" if judge.num_test else ""
    names, targets = judge.classifier.class_names, judge.classifier.config.targets
    return (
        f"trained in {judge.seconds:.0f} s to tell {len(names)} {targets} "
        f"apart, on {len(prepared.judge)} pieces of recordings that the model never heard{known}"
    )
