"""The curve of the run that made a shipped model: curve.jsonl beside the model, and a table for its page.

    python -m benchmarks.curves RUN image-to-speech-digits

RUN is the run's folder with metrics.jsonl and recipe.yaml. `synesthete doctor` compares runs of the recipe with it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from synesthete import hub
from synesthete.evaluation.doctor.curve import CURVE, curve_points
from synesthete.evaluation.doctor.run import read_run


def main() -> None:
    """Write the curve and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name", choices=hub.shipped_models())
    given = parser.parse_args()
    points = [point for record in read_run(given.run).stages for point in curve_points(record)]
    text = "".join(json.dumps(point) + "\n" for point in points)
    (hub.SHIPPED / given.name / CURVE).write_text(text, encoding="utf-8")
    print("| stage | step | minutes of stepping | loss of a batch (a tenth below, a tenth above) | held out |")
    print("|---|---|---|---|---|")
    for point in points:
        number = [other["step"] for other in points if other["stage"] == point["stage"]].index(point["step"])
        if number in (0, 2) or number % 4 == 3:
            loss = f"{point['loss']:.3f} ({point['low']:.3f} to {point['high']:.3f})"
            held_out = f"{point['held_out_loss']:.3f}" if "held_out_loss" in point else ""
            print(f"| `{point['stage']}` | {point['step']} | {point['seconds'] / 60:.1f} | {loss} | {held_out} |")


if __name__ == "__main__":
    main()
