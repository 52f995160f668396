"""What a campaign found: a row a trial, counted by kind and by what came of it, as a table and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from synesthete.io import write_file
from synesthete.logs import visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Trial:
    """One trial. kind: of input or command. outcome: one word. said: the line that it ended with. kept: its input."""

    kind: str
    outcome: str
    said: str = ""
    seconds: float = 0.0
    kept: str = ""


def table(trials: Sequence[Trial]) -> str:
    """How many of each kind came to what."""
    outcomes = sorted({trial.outcome for trial in trials})
    rows = [["", *outcomes, "slowest"]]
    for kind in dict.fromkeys(trial.kind for trial in trials):
        own = [trial for trial in trials if trial.kind == kind]
        counts = Counter(trial.outcome for trial in own)
        numbers = [str(counts[outcome] or "") for outcome in outcomes]
        rows.append([kind, *numbers, f"{max(trial.seconds for trial in own):.1f} s"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def report(trials: Sequence[Trial], good: Sequence[str], out: Path | None, **facts: object) -> int:
    """Print the table and what is not good, and write all of it as JSON; 1 where something is not good, else 0."""
    print(table(trials))
    bad = [trial for trial in trials if trial.outcome not in good]
    for trial in bad:
        print(visible(f"{trial.kind}: {trial.outcome}: {trial.said} {trial.kept}"))
    about = "".join(f"; {key} {value}" for key, value in facts.items())
    print(f"{len(trials)} trials, {len(bad)} of them bad{about}")
    if out:
        write_file(out / "trials.json", json.dumps({**facts, "trials": [*map(asdict, trials)]}, indent=1) + "\n")
    return int(bool(bad))
