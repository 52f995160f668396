"""What every side of the comparison is given, and what each hands back."""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import Tensor, nn

CLOSE, TOLERANCE, WIDEST = 0.05, 0.1, 256


class BudgetSpentError(Exception):
    """The time is over: raised between two steps of a loop that would go on."""


@dataclass(frozen=True)
class Task:
    """The same pictures, the same time and about as many parameters for every side.

    folder: with the pictures to train on. shape: (C, H, W). parameters: of our network, which the others come within
    TOLERANCE of. flips: whether mirror images are as good. seconds: to train for. num: pictures to sample, in batches
    of batch_size, at num_inference_steps. num_samplers: how many of a side's samplers, its own first; None: all.
    """

    folder: str
    recipe: str
    assignments: tuple[str, ...]
    shape: tuple[int, int, int]
    num_classes: int
    parameters: int
    flips: bool
    seconds: float
    num: int
    num_inference_steps: int
    batch_size: int = 64
    seed: int = 0
    num_samplers: int | None = None

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def read(path: Path) -> Task:
        """What `write` wrote."""
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return Task(**fields)

    @property
    def picture_folder(self) -> Path:
        """The pictures to train on, a PNG each."""
        return Path(self.folder) / "png"

    def pictures(self) -> tuple[Tensor, Tensor]:
        """The same pictures (n, C, H, W) uint8, and their labels (n,)."""
        kept = load_file(Path(self.folder) / "pictures.safetensors")
        return kept["pictures"], kept["labels"]

    def labels(self) -> Tensor:
        """What is to be sampled, (num,): one class after the other."""
        return torch.arange(self.num) % self.num_classes


@dataclass
class Trained:
    """What a side has after its time.

    steps, samples: what it went through in `seconds`. peak_bytes: the most that its process held resident meanwhile;
    working_bytes: less what it held before the network was made. samplers: ways to sample it, its own first, each
    (labels (B,), seed) -> pictures (B, C, H, W) uint8. conditional: whether it is told a class. settings: for the
    reader.
    """

    parameters: int
    steps: int
    samples: int
    seconds: float
    peak_bytes: int
    working_bytes: int
    samplers: dict[str, Callable[[Tensor, int], Tensor]]
    conditional: bool
    settings: dict[str, Any] = field(default_factory=dict)


class Budget:
    """So many seconds from now on, by the clock that is given: `time.process_time` leaves out what others take."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds, self.clock, self.started = seconds, clock, clock()

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.started

    def until_spent(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches, one at least, as long as there is time; then BudgetSpentError, in place of the next."""
        for number, batch in enumerate(batches):
            if number and self.spent >= self.seconds:
                raise BudgetSpentError
            yield batch


def fit_width(make: Callable[[int], nn.Module], parameters: int) -> int:
    """The roundest width, up to WIDEST, whose network comes within CLOSE of `parameters`, or the nearest of all.

    Round widths are faster, and are what people choose.

    Raises:
        InputError: none within TOLERANCE.
    """
    counts: dict[int, int] = {}
    for step in (32, 16, 8, 4, 2):
        for width in range(step, WIDEST + 1, step):
            if width not in counts:
                with torch.device("meta"), warnings.catch_warnings(action="ignore"):
                    counts[width] = count(make(width))
            if counts[width] > parameters:
                break
        nearest = min(counts, key=lambda width: abs(counts[width] - parameters))
        off = abs(counts[nearest] / parameters - 1)
        if off <= CLOSE:
            break
    if off <= TOLERANCE:
        return nearest
    raise InputError(
        f"no network of this peer within {TOLERANCE:.0%} of {parameters:,} parameters, the nearest has "
        f"{counts[nearest]:,}; change ours with --set denoiser.channels=[...]"
    )


def count(network: nn.Module) -> int:
    """Its parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
