"""`synesthete compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synesthete.cli.options import AsJson, finish


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN RUN...", help="Runs or models that were evaluated, report folders or report.json."),
    ],
    out: Annotated[Path, typer.Option(help="The report's folder.")] = Path("out/compare"),
    as_json: AsJson = False,
) -> None:
    """Compare reports metric by metric: differences from the first one, with 95% intervals, and a picture.

    Metrics are joined by key, also where the numbers of samples differ. A report there already is replaced.

    Examples: `synesthete compare runs/mine runs/other`,
    `synesthete compare out/report/images-digits runs/mine/report runs/other/report/report.json --out out/compare`
    """
    from synesthete.evaluation.compare import comparison_report, read_report
    from synesthete.evaluation.reporting.report import check_place, finite, write_report

    report = comparison_report([read_report(run) for run in runs])
    check_place(out)
    page = write_report(report, out)
    table = report.sections[0].items[0]
    lines = [f"{row[0]:<60.60} " + "   ".join(str(cell) for cell in row[2:-2]) for row in table.rows]  # type: ignore[union-attr]
    finish(as_json, finite({**report.data, "report": str(out)}), "\n".join([*lines, "", report.summary, str(page)]))
