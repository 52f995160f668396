"""Recordings as a trained model is to hear them: just as those that it was trained on."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from synesthete.config import Recipe
from synesthete.data.recordings import RecordingFile
from synesthete.data.rows import Pieces, loudest_start
from synesthete.data.waveforms import LEVELS_PER_SECOND, as_float, keep_waveforms
from synesthete.tasks.audio_to_image.sounds import num_heard, unusable
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.data.recordings import Recording

SILENCE_DB = -60.0  # where no recipe says
REMEDY = "record it louder, or give another"


class Listening(NamedTuple):
    """How a model's sounds are made of recordings.

    sample_rate: in Hz. num_samples: of each. silence_db: what is quieter (RMS, full scale 0) is refused.
    """

    sample_rate: int
    num_samples: int
    silence_db: float = SILENCE_DB

    @staticmethod
    def of(conditioner: Any, folder: Path | None = None) -> Listening:
        """As a conditioner listens; the recipe.yaml in its model's folder, where there is one, may say otherwise."""
        recipe = folder / "recipe.yaml" if folder else None
        fields = Recipe.load(recipe).data.fields if recipe and recipe.is_file() else {}
        length = num_heard(fields.get("seconds"), conditioner)
        return Listening(conditioner.sample_rate, length, fields.get("silence_db", SILENCE_DB))

    @property
    def seconds(self) -> float:
        """Of each sound."""
        return self.num_samples / self.sample_rate

    def hear(self, recording: Recording | Path | str) -> Sound:
        """A recording of any rate, length and channels.

        Raises:
            InputError: it cannot be read, is silent, or has samples that are not finite where it is listened to.
        """
        if isinstance(recording, Path | str):
            recording = RecordingFile(str(recording), Path(recording).name)
        with TemporaryDirectory(prefix="synesthete-") as place:
            path = Path(place) / "sound.safetensors"
            [waveform] = keep_waveforms(path, [recording], self.sample_rate, profiled=False)
            hop = self.sample_rate // LEVELS_PER_SECOND
            start = loudest_start(waveform.energy, len(waveform.samples), self.num_samples, hop)
            pieces = Pieces(
                [waveform.samples], torch.zeros(1, dtype=torch.int64), torch.tensor([start]), self.num_samples
            )
            if reason := unusable(recording.name, waveform, pieces, 0, self.silence_db, remedy=REMEDY):
                raise InputError(reason)
            samples = as_float(pieces[0])
            return Sound(samples, len(waveform.samples) / self.sample_rate, waveform.note)


class Sound(NamedTuple):
    """What is heard of a recording.

    waveform: (S,) float32 in [-1, 1], its loudest stretch, or all of it with silence behind. seconds: of the whole
    recording. note: what was wrong with it, though it can be used.
    """

    waveform: Tensor
    seconds: float
    note: str
