"""What is asked of a model that paints what it hears, and what of it fits together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STRONGEST = 2.0


@dataclass(frozen=True)
class HeardRequest:
    """What is told beside the sounds, and whether the pictures stand in a strip.

    between: two sounds, from the one to the other in `frames` pictures. strengths: of the sound, a picture each.
    """

    negative: str | None = None
    audio_guidance_scale: float | None = None
    adapter_scale: float | None = None
    between: tuple[Path, Path] | None = None
    frames: int | None = None
    strengths: tuple[float, ...] = ()
    is_gif: bool = False

    def options(self) -> list[str]:
        """The command's options that were given."""
        given = {
            "--negative-prompt": self.negative,
            "--audio-guidance-scale": self.audio_guidance_scale,
            "--adapter-scale": self.adapter_scale,
            "--between": self.between,
            "--frames": self.frames,
            "--strengths": self.strengths or None,
            "--gif": self.is_gif or None,
        }
        return [option for option, value in given.items() if value is not None]

    def check(self, inputs: Sequence[Path]) -> None:
        """Make sure that the options fit each other, before anything is loaded.

        Raises:
            InputError: they do not, or one is out of range.
        """
        for option, values in (("--adapter-scale", [self.adapter_scale or 0.0]), ("--strengths", self.strengths)):
            for value in values:
                if not 0 <= value <= STRONGEST:
                    raise InputError(
                        f"{option} {value:g}: give 0, which is deaf, to {STRONGEST:g}; 1 is as it was trained"
                    )
        if self.audio_guidance_scale is not None and not math.isfinite(self.audio_guidance_scale):
            raise InputError(f"--audio-guidance-scale {self.audio_guidance_scale}: give a number")
        if self.strengths and self.adapter_scale is not None:
            raise InputError("--strengths has the strength of every picture; leave out --adapter-scale")
        if self.between and self.strengths:
            raise InputError("--between and --strengths: one strip at a time; leave out one of them")
        if self.between and inputs:
            raise InputError(f"--between names its two sounds; leave out {inputs[0]}")
        if self.frames is not None and not self.between:
            raise InputError("--frames: between which sounds? give --between FIRST SECOND")
        if self.frames is not None and self.frames < 2:
            raise InputError(f"--frames {self.frames}: give at least 2, the two sounds themselves")
        if self.is_gif and not self.between and not self.strengths:
            raise InputError("--gif shows a strip in motion; give --between FIRST SECOND or --strengths 0 0.5 1")

    def told(self) -> dict[str, Any]:
        """What of it a file tells beside the sampling settings."""
        return {} if self.negative is None else {"negative_prompt": self.negative}
