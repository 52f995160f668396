"""What speaks: the contract of a speech engine, and engines by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import BeforeValidator

from synesthete.config import build
from synesthete.data.speech.espeak import Espeak
from synesthete.data.speech.piper import Piper
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from synesthete.data.speech.voices import Voice

ENGINES = {"espeak": Espeak, "piper": Piper}


class Engine(Protocol):
    """Speaks a text; the same call gives the same samples. It can be sent to another process."""

    def identity(self) -> str:
        """The engine, its version and what else decides its sound but the name of a voice."""
        ...

    def split_voices(self) -> Mapping[str, tuple[Voice, ...]]:
        """The voices to speak with, by split (train, classifier, test); no voice is in two."""
        ...

    def check_voice(self, voice: str, pitch: int = 50, semitones: float = 0.0) -> None:
        """Make sure that there is such a voice, and that it reaches that pitch.

        Raises:
            InputError: there is none, or it does not.
        """
        ...

    def speak(self, text: str, voice: str, rate: int, pitch: int, semitones: float = 0.0) -> tuple[Tensor, int]:
        """The waveform (S,) float32 in [-1, 1], and its sample rate in Hz.

        rate in words a minute, at the same pitch. pitch 0 to 99, 50 the voice's own. semitones: higher than that, at
        the same duration.

        Raises:
            InputError: no such voice, or a rate or pitch out of reach.
            RuntimeError: the engine failed, or the text left nothing to say.
        """
        ...


def named_engine(engine: Any) -> Any:
    """A build of the engine of that name; anything but a name as it is.

    Raises:
        InputError: no engine of that name.
    """
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise InputError(f"no speech engine {engine!r}; give {' or '.join(ENGINES)}")
    return build(ENGINES[engine])


# A name is looked up when a recipe's field is set, so that the engine's own fields can be set next.
EngineChoice = Annotated[Any, BeforeValidator(named_engine)]
