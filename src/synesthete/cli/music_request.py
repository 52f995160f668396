"""What is asked of a model that makes music, and what of it fits together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synesthete.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

STRENGTH = 0.6  # of a variation
LONGEST = 3600.0  # seconds of one sound


@dataclass(frozen=True)
class Asked:
    """What the sound is to be, of which every option may be left out.

    seconds: its length. init: a clip to vary, to mend or to go on from. strength: of a variation, in (0, 1]. gap:
    (start, end) of the clip's seconds to be made anew. overlap, num_corrections, num_resamplings: as for `painting`.
    """

    seconds: float | None = None
    init: Path | None = None
    strength: float | None = None
    gap: tuple[float, float] | None = None
    goes_on: bool = False
    is_loop: bool = False
    overlap: float | None = None
    num_corrections: int | None = None
    num_resamplings: int = 0

    def options(self) -> list[str]:
        """The command's options that were given."""
        given = {
            "--seconds": self.seconds,
            "--init": self.init,
            "--strength": self.strength,
            "--gap": self.gap,
            "--continue": self.goes_on or None,
            "--loop": self.is_loop or None,
            "--overlap": self.overlap,
            "--corrections": self.num_corrections,
            "--resamplings": self.num_resamplings or None,
        }
        return [option for option, value in given.items() if value is not None]

    def check(self) -> None:
        """Make sure that the options fit each other, before anything is loaded.

        Raises:
            InputError: they do not, or one is out of range.
        """
        if self.seconds is not None and not 0 < self.seconds <= LONGEST:
            raise InputError(f"--seconds {self.seconds:g}: give more than 0 and at most {LONGEST:g}")
        if self.strength is not None and not 0 < self.strength <= 1:
            raise InputError(f"--strength {self.strength:g}: give more than 0 and at most 1, which keeps nothing")
        if self.gap is not None and not 0 <= self.gap[0] < self.gap[1] < math.inf:
            raise InputError(f"--gap {self.gap[0]:g} {self.gap[1]:g}: give seconds of the clip, 0 <= START < END")
        needy = [option for option in ("--strength", "--gap", "--continue") if option in self.options()]
        if needy and self.init is None:
            raise InputError(f"{needy[0]}: of which sound? give --init FILE")
        if self.goes_on and (wrong := [o for o in ("--strength", "--gap") if o in self.options()]):
            raise InputError(f"--continue goes on after the clip and leaves it as it is; leave out {wrong[0]}")
        if self.goes_on and self.seconds is None:
            raise InputError("--continue: to which length? give --seconds, of the clip and what follows it")
        if self.gap is not None and self.is_loop:
            raise InputError("--gap leaves the clip's ends as they are, which --loop would join; leave out one of them")

    def told(self) -> dict[str, Any]:
        """What of it a file tells."""
        what = {
            "seconds": self.seconds,
            "init": self.init and self.init.name,
            "strength": self.shown_strength if self.init and not self.goes_on else None,
            "gap": self.gap and list(self.gap),
            "continue": self.goes_on or None,
            "loop": self.is_loop or None,
            "overlap": self.overlap,
            "num_corrections": self.num_corrections,
            "num_resamplings": self.num_resamplings or None,
        }
        return {name: value for name, value in what.items() if value is not None}

    @property
    def shown_strength(self) -> float:
        """How much of the walk is made: all of it but in a variation, a gap's only if asked for."""
        if self.strength is not None:
            return self.strength
        return STRENGTH if self.init is not None and self.gap is None and not self.goes_on else 1.0
