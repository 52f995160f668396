"""What a measurement finds, and the measurements that every kind of model has, with what the report says of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.evaluation.metrics.memorization import WATCHED, NearestTrainingDistance
from synesthete.evaluation.metrics.metric import Metric, confusion, interval, interval_of_mean, metric
from synesthete.evaluation.metrics.set_comparison import MADE
from synesthete.evaluation.reporting.figures import confusion_figure, timestep_figure, to_png
from synesthete.evaluation.reporting.media import draw_sheet, encode_png
from synesthete.evaluation.reporting.report import SECTIONS, Gallery, Medium, Section, Table
from synesthete.evaluation.samples import shuffled
from synesthete.objectives.one_step import condition_sensitivity, errors_by_condition, fixed_noise, predict_x_0, split

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.evaluation.runner import Evaluator
    from synesthete.types import Batch, Progress

__all__ = ["Finding"]

NUM_CLASSES = 20  # rows of the gallery
NUM_SHOWN = 8  # samples of a class, made and real each


@dataclass
class Finding:
    """What one measurement found: metrics, sections, figures for report.json, notes, and sentences of the summary."""

    metrics: Sequence[Metric] = ()
    sections: Sequence[Section] = ()
    data: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    sentences: Sequence[str] = ()


def classification(of: Evaluator) -> Finding:
    """How often the classifier sees what was asked for, class by class and on the whole."""
    labels = (of.generated.labels, of.references.labels)
    made, real = (confusion(*both, len(of.class_names)) for both in zip(labels, of.answers, strict=True))
    first = of.class_metrics[0]
    assert first.chance is not None and first.ceiling is not None and first.interval is not None
    said = [
        f"{first.value:.1%} of {len(of.generated)} {of.what} are of the class that was asked for "
        f"({of.classifier_name}; chance {first.chance:.1%}, real {of.what} {first.ceiling:.1%})."
    ]
    if first.interval[0] <= first.chance:
        said.append("That is no better than guessing: this model does not follow what it is told (yet).")
    tables = of.class_names, made, real
    sections = [class_section(*tables, of.what), confusion_section(*tables, of.one)]
    data = {"confusion": made.tolist(), "confusion_of_real": real.tolist()}
    return Finding(of.class_metrics, sections, data, sentences=said)


def class_section(class_names: Sequence[str], made: Tensor, real: Tensor, what: str) -> Section:
    """The share right of each class, the worst first, beside that of real ones, and what it is mistaken for.

    made, real: counts (C, C + 1) as `confusion` makes them. what: they are of, in the plural.
    """
    rows = []
    for label, name in enumerate(class_names):
        counts, others = made[label].clone(), real[label]
        num, right = int(counts.sum()), int(counts[label])
        counts[label] = 0
        mistaken = f"{class_names[int(counts.argmax())]} ({int(counts.max())})" if counts.any() else None
        if num:
            share = others[label].item() / int(others.sum()) if others.any() else None
            rows.append((name, num, right / num, share, mistaken))
    rows.sort(key=lambda row: row[2])
    columns = ("class", "n", "share right", f"share right of real {what}", "most often taken for")
    return Section("By class", _BY_CLASS, [Table(columns, rows)])


def confusion_section(
    class_names: Sequence[str], made: Tensor, real: Tensor, one: str, shows: str = "shows"
) -> Section:
    """What was made, then real ones, as of `class_section`. one, shows: what is looked at, and how it tells."""
    titles = (f"made, n = {int(made.sum())}", f"real, held out, n = {int(real.sum())}")
    sides = (("asked for", "taken for"), (f"the {one} {shows}", "taken for"))
    items = [
        Medium(f"confusion-{name}", to_png(confusion_figure(table, class_names, title, sides=side)))
        for name, table, title, side in zip(("made", "real"), (made, real), titles, sides, strict=True)
    ]
    text = f"Where real {one}s are confused alike, it is the classifier's doing."
    return Section("What was taken for what", text, items)


def set_comparison(of: Evaluator) -> Finding:
    """How like real held-out samples the made ones are as a set."""
    found, (frechet, kernel) = of.comparison, of.distance_names
    floor = "kid_floor" if of.is_picture else "kernel_floor"
    if of.floor_is_ceiling:
        made, worst = (found.over_floor(each.kernel) for each in (found.made, found.sets[of.worst]))
        times = f"{made:.1f} times what" if made > 1 else "no more than"
        said = f"{kernel} to held-out {of.what} is {times} real {of.what} score"
        said = f"{said} ({found.features}; {of.worst} {worst:.0f} times)."
    else:
        made, best, worst = (found.sets[name].frechet for name in (MADE, of.best, of.worst))
        said = f"{frechet} to held-out {of.what} {made:.3g}, where {of.best} score {best:.3g} and {of.worst}"
        said = f"{said} {worst:.3g} ({found.features}, n = {found.num_equal})."
    notes = []
    if found.num_equal <= found.width:
        notes.append(
            f"{frechet} of {found.num_equal} {of.what} in {found.width} dimensions: fewer {of.what} than dimensions, "
            f"so it says more of their number than of the model. Read it beside its ceiling alone, or {kernel} instead."
        )
    if num := of.references.num_training:
        notes.append(
            f"{num} of the {len(of.references.others)} other real {of.what}, which give the ceilings of {frechet}, "
            f"precision, recall and diversity, are training {of.what}: there are no more held-out ones."
        )
    metrics = found.metrics(of.what, inception=of.is_picture, floor_is_ceiling=of.floor_is_ceiling)
    data = {"features": {"name": found.features, "width": found.width}, floor: found.floor}
    return Finding(metrics, [set_section(of)], data, notes, [said])


def set_section(of: Evaluator) -> Section:
    """A row a set."""
    found, more, rows, (frechet, kernel) = of.comparison, of.set_columns(), [], of.distance_names
    for name, each in found.sets.items():
        distances = each.frechet, each.kernel, each.spread, found.over_floor(each.kernel)
        shares = each.precision, each.recall, found.over_real(each.diversity)
        rows.append((name, *distances, *shares, *(column[name] for column in more.values())))
    columns = ("", frechet, kernel, "its spread over subsets", f"{kernel} / floor", "precision", "recall")
    caption = (
        f"against {found.num_held_out} held-out {of.what}; {found.features}, {found.width} numbers each; {frechet}, "
        f"precision and recall with {found.num_equal} of each set"
    )
    text = SECTIONS["steps.as_a_set"].format(frechet=frechet, kernel=kernel, what=of.what, floor=found.floor)
    table = Table((*columns, "diversity over real", *more), rows, caption)
    return Section("As a set", f"{text} {of.set_remark}".strip(), [table])


def memorization(of: Evaluator) -> Finding:
    """How near to training samples the made ones come, beside held-out ones."""
    found, (*_, watched) = list(of.distances()), WATCHED
    first = found[0]
    low, _ = interval(first.closer(watched), len(first.made))
    copies = "which looks like copying, or blur" if low > watched else "which is no sign of copying"
    share = (
        f"{first.closer(watched):.1%} are nearer to a training {of.one} than the nearest {watched:.0%} of real "
        f"held-out ones, {copies}."
    )
    metrics = [each for one in found for each in one.metrics()]
    return Finding(metrics, [copies_section(of, found)], sentences=[share])


def copies_section(of: Evaluator, found: Sequence[NearestTrainingDistance]) -> Section:
    """The distances as a table, the nearest as strips, and the most suspicious."""
    rows = []
    for each in found:
        shares = (value for share in WATCHED for value in (each.limit(share), each.closer(share)))
        rows.append((each.space, each.made.median().item(), each.held_out.median().item(), *shares))
    watched = [name for share in WATCHED for name in (f"{share:.0%} of held-out are below", "of made")]
    items: list[Table | Medium | Gallery] = [Table(("distance in", "median, made", "median, held out", *watched), rows)]
    first, draw, training = found[0], of.thumbnails, of.references.training
    strips = (
        ("made", of.generated.signal, first.made, first.places),
        ("held out", of.references.held_out, first.held_out, first.held_out_places),
    )
    for name, samples, distances, nearest in strips:
        shown = distances.argsort(stable=True)[: of.num_suspects]
        captions = [[f"{distance:.3f}" for distance in distances[shown].tolist()], [""] * len(shown)]
        rows_of = [draw(samples[shown]), draw(training[nearest[shown]])]
        sheet = draw_sheet(rows_of, [name, "training"], captions=captions)
        caption = f"{name}: the nearest to training, and below what they are near"
        items.append(Medium(f"nearest-{name}", encode_png(sheet), caption))
    suspects = first.suspects(of.num_suspects).tolist()
    listed = [(of.name_of(place), first.made[place].item(), first.nearer(place)) for place in suspects]
    columns = f"made {of.one}", f"distance in {first.space}", f"share of held-out {of.what} that are nearer"
    items += [Table(columns, listed, "the most suspicious"), *of.suspect_items(first)]
    return Section("Made or copied", f"{SECTIONS['steps.copied'].format(what=of.what)} {of.copy_remark}".strip(), items)


def speed(of: Evaluator) -> Finding:
    """What a sample takes."""
    settings, one = of.pipeline.sampling_settings(), of.made_one
    steps = f"{settings['num_inference_steps']} steps of {settings['sampler']}"
    how = f"batch of {min(of.batch_size, of.num)}, {steps}, sampling and decoding"
    seconds = of.generated.seconds
    return Finding([metric("seconds_per_sample", seconds, sample=one, how=how)], data={f"seconds_per_{one}": seconds})


def made_and_real(of: Evaluator) -> Medium:
    """The first made samples beside the first real held-out ones, a row a class where a classifier sees them."""
    made, real, draw, class_names = of.generated, of.references, of.thumbnails, of.class_names
    sides = ((made.signal, made.labels), (real.held_out, real.labels))
    if not of.is_classified:
        sheet = draw_sheet([draw(samples[: 2 * NUM_SHOWN]) for samples, _ in sides], ["made", "real"])
        return Medium("gallery", encode_png(sheet), "above: made; below: real, held out")
    halves = [(*side, answers) for side, answers in zip(sides, of.answers, strict=True)]
    classes = halves[0][1].unique()[:NUM_CLASSES].tolist()
    rows: list[list[Image.Image | None]] = [[] for _ in classes]
    captions: list[list[str]] = [[] for _ in classes]
    for label, row, said in zip(classes, rows, captions, strict=True):
        for number, (samples, labels, answers) in enumerate(halves):
            places = (labels == label).nonzero().flatten()[:NUM_SHOWN]
            gap = [None] * (NUM_SHOWN - len(places) + 1 - number)
            row += [*draw(samples[places]), *gap]
            seen = answers[places].tolist()
            said += ["" if answer == label else class_names[answer] for answer in seen] + [""] * len(gap)
    title = "left: made; right: real, held out; below: what the classifier sees, where it sees something else"
    sheet = draw_sheet(rows, [class_names[label] for label in classes], captions=captions, title=title)
    return Medium("gallery", encode_png(sheet), title)


BATCH_SIZE = 50
CELLS = 2**21  # of x_0 at once: a large spectrogram has as many as many pictures
FRACTIONS = (0.3, 0.5, 0.8)  # of the way to noise: t = 300, 500, 800 of 1000
TRACED = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97)
RIGHT, SHUFFLED, NONE = "right condition", "shuffled condition", "no condition"


def denoising_finding(
    of: Evaluator,
    pairs: Batch,
    *,
    mean_of: Tensor | None = None,
    num_sensed: int | None = None,
    what: str = "",
    whose: str = "",
) -> Finding:
    """Errors told the right condition, another one, and none: at FRACTIONS as metrics, by timestep as curves.

    pairs: held-out x_0 with their raw conditions and labels; the first `of.num_traced` for the curves. mean_of: x_0
    whose mean stands in place of a network; the pairs where None. num_sensed: pairs for the sensitivity to the
    condition; as for the curves where None. what: the pairs are, in the plural; whose: more of that, for the section.
    """
    pipeline: Any = of.pipeline
    seed, few, what = of.seed, first(pairs, of.num_traced), what or f"held-out {of.what}"
    mean = (pairs.signal if mean_of is None else mean_of).mean(dim=0)
    mean_error = (pairs.signal - mean).square().mean().item()
    errors = denoising_errors(pipeline, pairs, FRACTIONS, seed, of.progress)
    metrics: list[Metric] = []
    for place, fraction in enumerate(FRACTIONS):
        right, *wrong = (errors[name][place] for name in errors if name != NONE or len(errors) == 1)
        beside = [mean_error, *(each.mean().item() for each in wrong)]
        t = f"{fraction * pipeline.process.num_train_timesteps:.0f}"
        told: dict[str, Any] = {"variant": t, "t": t, "what": what, "num": len(pairs.label)}
        metrics.append(metric("denoising_mse", right.mean().item(), interval_of_mean(right), *beside, **told))
    if pipeline.is_conditional:
        sensed = few if num_sensed is None else first(pairs, num_sensed)  # all of them go through it at once
        worth = condition_sensitivity(pipeline, sensed.to(pipeline.device), seed=seed)["sensitivity"]
        times = " to ".join(f"{fraction * pipeline.process.num_train_timesteps:.0f}" for fraction in (0.5, 0.97))
        told = {"how": f", another class minus the right one, t = {times}", "what": "", "num": len(sensed.label)}
        metrics.append(metric("condition_sensitivity", worth, chance=0.0, **told))
    traced = denoising_errors(pipeline, few, TRACED, seed, of.progress)
    curves = {name: found.mean(dim=1).tolist() for name, found in traced.items()}
    num, one = len(few.label), what.split()[-1].removesuffix("s")
    items = errors_by_timestep(TRACED, curves, f"{what}{whose}, n = {num}", mean_error, f"the mean {one}")
    section = Section("Loss by timestep", SECTIONS["steps.trace"].format(num=num, what=what + whose), items)
    data = {"error_by_timestep": {"fraction": list(TRACED), **curves, f"mean {one}": mean_error}}
    return Finding(metrics, [section], data)


def denoising_errors(
    pipeline: Any, pairs: Batch, fractions: Sequence[float], seed: int, progress: Progress
) -> dict[str, Tensor]:
    """x_0 errors (fractions, n) told the right conditions and others, if any, and none, on one noise."""
    x_0, other = pairs.signal, shuffled(len(pairs.label), seed)
    size = max(1, min(BATCH_SIZE, CELLS // x_0[0].numel()))
    runs = split(len(x_0), size)
    noise = torch.cat([fixed_noise(x_0[run], seeding.derive(seed, "errors", run.start)) for run in runs])
    told = {RIGHT: pairs.raw, SHUFFLED: pairs.raw[other]} if pipeline.is_conditional else {}
    report = partial(progress, "denoising")
    found = errors_by_condition(pipeline, x_0, noise, told | {NONE: None}, fractions, size, report)
    return {name: each.x_0 for name, each in found.items()}


@torch.no_grad()
def one_step(pipeline: Any, x_0: Tensor, raw: Tensor, fraction: float, seed: int) -> Tensor:
    """What the network makes in one step of x_0 (n, C, H, W) that were noised to `fraction` of the way."""
    noise = seeding.randn(x_0.shape[1:], seeding.sample_generators(seed, len(x_0))).to(pipeline.device)
    condition = pipeline.denoiser.precompute(pipeline.conditioner.encode(raw.to(pipeline.device)))
    guess, _ = predict_x_0(pipeline, x_0.to(pipeline.device), noise, condition, fraction)
    return guess.cpu()


def errors_by_timestep(
    fractions: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    title: str,
    mean_error: float,
    guess: str,
    table: Mapping[str, Sequence[float]] | None = None,
) -> list[Medium | Table | Gallery]:
    """Curves of mean x_0 errors, and a table of them, or of more. guess: what mean_error is of."""
    figure, columns = timestep_figure(fractions, curves, title, mean_error, guess), table or curves
    rows = list(zip(fractions, *columns.values(), strict=True))
    return [Medium("loss-by-timestep", to_png(figure)), Table(("t / T", *columns), rows, "MSE of x_0")]


def first(batch: Batch, num: int) -> Batch:
    """The first `num` samples of a batch, or all there are."""
    return replace(batch, signal=batch.signal[:num], raw=batch.raw[:num], label=batch.label[:num])


_BY_CLASS = "Share that the classifier sees as their class, the worst first."
