"""What a measurement finds, and the measurements that every kind of model has, with what the report says of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synesthete.evaluation.metrics.classification import confusion
from synesthete.evaluation.metrics.memorization import WATCHED, Memorization
from synesthete.evaluation.metrics.metric import Metric, by_key, interval, metric
from synesthete.evaluation.metrics.set_comparison import MADE
from synesthete.evaluation.reporting.sections import class_section, confusion_section, copies_section, set_section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synesthete.evaluation.reporting.report import Report, Section
    from synesthete.evaluation.runner import Evaluator

__all__ = ["Finding"]


@dataclass
class Finding:
    """What one measurement found: metrics, what the page shows of it, and further figures for report.json.

    notes: what a reader has to know. sentences: of the summary.
    """

    metrics: Sequence[Metric] = ()
    sections: Sequence[Section] = ()
    data: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    sentences: Sequence[str] = ()


@dataclass
class Evaluation:
    """Everything that was found about a model. skipped: files that could not be read."""

    report: Report
    skipped: tuple[str, ...] = ()

    @property
    def metrics(self) -> list[Metric]:
        """Every figure, in the report's order."""
        return self.report.metrics

    def metric(self, key: str) -> Metric:
        """The metric of that key.

        Raises:
            InputError: there is none.
        """
        return by_key(self.metrics, key)

    def to_dict(self) -> dict[str, Any]:
        """The figures that are in no table of the report, as plain values."""
        return self.report.data


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
    sections = [
        class_section(of.class_names, made, real, of.what),
        confusion_section(of.class_names, made, real, of.one),
    ]
    data = {"confusion": made.tolist(), "confusion_of_real": real.tolist()}
    return Finding(of.class_metrics, sections, data, sentences=said)


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
    return Finding(
        found.metrics(of.what, inception=of.is_picture, floor_is_ceiling=of.floor_is_ceiling),
        [set_section(found, of.what, of.distance_names, more=of.set_columns(), remark=of.set_remark)],
        {"features": {"name": found.features, "width": found.width}, floor: found.floor},
        notes,
        [said],
    )


def memorization(of: Evaluator) -> Finding:
    """How near to training samples the made ones come, beside held-out ones."""
    found = Memorization(list(of.distances()), of.references.training, of.num_suspects)
    first, (*_, watched) = found.distances[0], WATCHED
    low, _ = interval(first.closer(watched), len(first.made))
    copies = "which looks like copying, or blur" if low > watched else "which is no sign of copying"
    share = (
        f"{first.closer(watched):.1%} are nearer to a training {of.one} than the nearest {watched:.0%} of real "
        f"held-out ones, {copies}."
    )
    made, real = of.generated.signal, of.references.held_out
    naming: dict[str, Any] = {"what": of.what, "name_of": of.name_of, "remark": of.copy_remark}
    section = copies_section(found, made, real, of.thumbnails, more=of.suspect_items(found), **naming)
    return Finding([each for one in found.distances for each in one.metrics()], [section], sentences=[share])


def speed(of: Evaluator) -> Finding:
    """What a sample takes."""
    settings, one = of.pipeline.sampling_settings(), of.made_one
    steps = f"{settings['num_inference_steps']} steps of {settings['sampler']}"
    how = f"batch of {min(of.batch_size, of.num)}, {steps}, sampling and decoding"
    seconds = of.generated.seconds
    return Finding([metric("seconds_per_sample", seconds, sample=one, how=how)], data={f"seconds_per_{one}": seconds})
