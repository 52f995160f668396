"""How clips of one voice and phrase differ: in speed at the same pitch, and in pitch at the same duration."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from synesthete.types import InputError

KINDS = ("none", "speed", "pitch", "both")
SHARES = (0.1, 0.3, 0.3, 0.3)


@dataclass(frozen=True)
class Variation:
    """What is drawn for a clip.

    speeds: how many times faster than the rate drawn, drawn evenly between the two, in hundredths. semitones: how much
    higher, drawn evenly, in tenths. shares: of the clips with neither, with another speed, with another pitch, and with
    both. A pair that is None is left as it is, whatever its share.
    """

    speeds: tuple[float, float] | None = None
    semitones: tuple[float, float] | None = None
    shares: tuple[float, float, float, float] = SHARES

    def __post_init__(self) -> None:
        for name, pair, least, most in (("speeds", self.speeds, 0.5, 2.0), ("semitones", self.semitones, -6, 6)):
            if pair is not None and not least <= pair[0] <= pair[1] <= most:
                raise InputError(
                    f"{name} {pair[0]:g} to {pair[1]:g}: give two numbers from {least:g} to {most:g}, the lower first"
                )
        if min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6:
            raise InputError(f"shares {self.shares}: give those of {', '.join(KINDS)}, 1 together")

    @property
    def is_on(self) -> bool:
        """Whether anything is varied."""
        return self.speeds is not None or self.semitones is not None

    def draw(self, chance: torch.Generator) -> tuple[float, float]:
        """A speed and a pitch in semitones, 1 and 0 where the kind drawn leaves them."""
        kind, speed, semitones = torch.rand(3, generator=chance, dtype=torch.float64).tolist()
        _, faster, higher, both = self.shares
        with_speed = kind < faster or faster + higher <= kind < faster + higher + both
        with_pitch = faster <= kind < faster + higher + both
        return (
            round(_between(self.speeds, speed), 2) if self.speeds and with_speed else 1.0,
            round(_between(self.semitones, semitones), 1) if self.semitones and with_pitch else 0.0,
        )


def _between(pair: tuple[float, float], share: float) -> float:
    return pair[0] + share * (pair[1] - pair[0])
