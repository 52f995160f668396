"""The judge of sound that is kept with a model, so that whoever samples from it is told what a sample is like."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from synesthete.evaluation.judge_folder import RESULT_NAME, check_kind, write_judge
from synesthete.evaluation.metrics.classification import accuracy
from synesthete.evaluation.metrics.intervals import interval
from synesthete.evaluation.metrics.metric import Metric
from synesthete.evaluation.music.judge import SoundJudge, load_or_train_sound_judge, measure
from synesthete.evaluation.speech.model_judge import FOLDER
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from synesthete.evaluation.audio_features.spectra import Sounds
    from synesthete.types import Prepared

    Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class KeptSoundJudge:
    """A judge beside a model. It learned from real recordings that the model never heard.

    accuracy: on `num_test` real pieces that neither heard; NaN of one that knows no classes, only recordings.
    """

    judge: SoundJudge
    accuracy: float
    num_test: int

    @property
    def knows_classes(self) -> bool:
        """Whether its answers are classes; otherwise only its features say something."""
        return self.judge.config.hears == "classes"

    def metric(self, waveforms: Sounds, labels: Tensor) -> Metric:
        """Its accuracy on real pieces (n, S), measured now."""
        share = accuracy(labels, self.judge.judge(waveforms))
        name = f"accuracy of the judge kept with the model (held-out pieces, n = {len(labels)})"
        return Metric(name, share, interval(share, len(labels)), 1 / len(self.judge.config.class_names))


def keep_sound_judge(
    prepared: Prepared, model: Path, sample_rate: int, *, num_steps: int | None = None, progress: Progress | None = None
) -> KeptSoundJudge:
    """Train a judge on the recordings that no model hears, and write it into the model's folder, in half precision.

    sample_rate: in Hz, of the prepared pieces. num_steps: as `train_sound_judge`. A judge that was trained on the same
    pieces is taken from the cache.

    Raises:
        InputError: data with too few classes or recordings for a judge, or a folder that cannot be written.
    """
    if prepared.judge is None or not len(prepared.judge):
        raise InputError("no recordings for a judge; --set data.judge_share=0.15")
    trained = load_or_train_sound_judge(
        prepared.judge, prepared.test, prepared.class_names, sample_rate, num_steps=num_steps, progress=progress
    )
    half = nn.Module.to(copy.deepcopy(trained.judge), torch.float16)
    rounded = nn.Module.to(copy.deepcopy(half), torch.float32)
    kept = KeptSoundJudge(rounded, measure(rounded, prepared.test), trained.num_test)
    plain = None if math.isnan(kept.accuracy) else kept.accuracy
    write_judge(half, {"accuracy": plain, "num_test": kept.num_test}, model / FOLDER)
    return kept


def read_sound_judge(model: Path) -> KeptSoundJudge | None:
    """The judge in a model's folder, or None where there is none.

    Raises:
        InputError: damaged files, or a judge of speech or of pictures.
    """
    folder = model / FOLDER
    if not (folder / RESULT_NAME).is_file():
        return None
    check_kind(folder, SoundJudge, "music")
    try:
        result = json.loads((folder / RESULT_NAME).read_text(encoding="utf-8"))
        judge = nn.Module.to(SoundJudge.from_pretrained(folder), torch.float32).eval()
        known = math.nan if result["accuracy"] is None else float(result["accuracy"])
        return KeptSoundJudge(judge, known, result["num_test"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{folder}: cannot be loaded ({reason}); remove it and train the model's run again") from None
