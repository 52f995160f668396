"""Two runs are evaluated, every figure beside its floor and its ceiling, and compared."""

from pathlib import Path

from synesthete import tasks
from synesthete.evaluation.compare import comparison_report, join, read_report
from synesthete.evaluation.reporting.report import write_report
from synesthete.pipeline import Pipeline
from synesthete.recipes import find_recipe
from synesthete.training.loop import train_recipe

OUT = Path("out/compare_runs")


def train_and_evaluate(name: str, *changes: str, num: int = 20) -> None:
    """A run of the debug recipe with some `--set` changes, and its report in OUT/name/report."""
    recipe = find_recipe("images-digits-debug", changes)
    task = tasks.task_of(recipe)
    model = train_recipe(recipe, task.prepare(recipe, OUT / "data"), OUT / name)
    found = task.evaluate(
        Pipeline.load(str(model)), recipe, OUT / name / "report", model=name, folder=model, data=OUT / "data", num=num
    )
    for metric in found.metrics:  # no figure stands alone
        beside = {"chance": metric.chance, "shuffled": metric.shuffled, "ceiling": metric.ceiling}
        told = ", ".join(f"{key} {value:.3g}" for key, value in beside.items() if value is not None)
        print(f"{name:<6} {metric.title:<60} {metric.value:.3g} ({told})")


def main() -> None:
    """The second run trains longer; what that is worth is told with intervals, or that it is not sure."""
    train_and_evaluate("short", "stages.denoise.num_steps=2", "data.limit=40")
    train_and_evaluate("longer", "stages.denoise.num_steps=6", "data.limit=40")
    reports = [read_report(OUT / name) for name in ("short", "longer")]
    for row in join(reports):
        print(f"{row.title:<60} {row.differences[0]}")
    print(write_report(comparison_report(reports), OUT / "comparison"))


if __name__ == "__main__":
    main()
