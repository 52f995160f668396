"""What each stage of training has added: the models as they were after it, evaluated by the same few sounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synesthete.denoisers.adapters import INDEX
from synesthete.evaluation.metrics.classification import accuracy
from synesthete.evaluation.metrics.metric import interval, interval_of_mean, metric
from synesthete.evaluation.reporting.report import Section, Table
from synesthete.evaluation.samples import generate
from synesthete.hub import MODEL_INDEX
from synesthete.tasks.audio_to_image.sensitivity import RIGHT, WRONG, measure_sensitivity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from synesthete.config import Recipe
    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.evaluation.reporting.report import Medium
    from synesthete.tasks.audio_to_image.eval_conditions import EvalConditions
    from synesthete.types import Progress

PREFIX, ADAPTERS = "after-", "adapters"
NUM_CLASSIFIED, NUM_NOISED = 200, 64


@dataclass(frozen=True)
class StageResult:
    """A model as it was after a stage: the share of pictures that show their sound's class, of `num` sounds.

    worth: mean sensitivity to the sound, with its interval. gates: mean |tanh|; None where there are none.
    """

    name: str
    share: float
    num: int
    worth: float
    worth_interval: tuple[float, float]
    loss: float
    gates: float | None

    @property
    def spread(self) -> tuple[float, float]:
        """95% interval of the share."""
        return interval(self.share, self.num)


def find_stages(run: Path, recipe: Recipe) -> dict[str, Path]:
    """The models kept after a stage in a run folder, by the stage's name, in the order that they were trained in.

    Of a published base a run keeps the adapters alone.
    """
    found = {}
    for stage in recipe.stages:
        folder = run / f"{PREFIX}{stage.name}"
        for place in (folder, folder / ADAPTERS):
            if (place / MODEL_INDEX).is_file() or (place / INDEX).is_file():
                found[stage.name] = place
                break
    return found


def measure_stages(
    models: Mapping[str, Callable[[], Any]],
    classifier: Any,
    conditions: EvalConditions,
    seed: int,
    progress: Progress,
) -> list[StageResult]:
    """Measure each model by the same few samples; models: called one after the other, so that one is in memory."""
    few, noised = conditions.few(NUM_CLASSIFIED), conditions.few(NUM_NOISED)
    found = []
    for name, load in models.items():
        pipeline = load()
        what = f"after {name}"
        made = generate(pipeline, few.raw(), seed=seed, progress=lambda *count, what=what: progress(what, *count))
        sensitivity = measure_sensitivity(pipeline, noised, seed, progress)
        worth = sensitivity.worth(RIGHT, WRONG)
        gates = list(pipeline.denoiser.gates.values())
        found.append(
            StageResult(
                name=name,
                share=accuracy(few.labels, classifier.classify(made.signal)),
                num=few.num_sounds,
                worth=worth.mean().item(),
                worth_interval=interval_of_mean(worth),
                loss=sensitivity.losses[RIGHT].mean().item(),
                gates=sum(map(abs, gates)) / len(gates) if gates else None,
            )
        )
    return found


def stage_metrics(results: list[StageResult], chance: float, ceiling: float) -> list[Metric]:
    """The class accuracy after each stage."""
    return [
        metric(
            "class_accuracy_after_stage",
            each.share,
            each.spread,
            chance,
            ceiling=ceiling,
            variant=each.name,
            stage=each.name,
            num=each.num,
        )
        for each in results
    ]


def stage_section(results: list[StageResult]) -> Section:
    """A row a stage: what it reached, and what it added to the one before."""
    rows = []
    before: float | None = None
    for each in results:
        low, high = each.spread
        gain = None if before is None else each.share - before
        rows.append((each.name, each.share, f"{low:.3f} to {high:.3f}", gain, each.worth, each.loss, each.gates))
        before = each.share
    columns = (
        "after stage",
        "class accuracy",
        "95% interval",
        "gain",
        "sensitivity to sound",
        "validation loss",
        "mean |tanh(gate)|",
    )
    items: list[Table | Medium] = [Table(columns, rows, f"the same {results[0].num} sounds and noise")]
    return Section("What each stage added", _TEXT, items)


_TEXT = (
    "The models that training kept after its stages, by the same sounds, captions and noise as each other. Gains "
    "smaller than the intervals say nothing."
)
