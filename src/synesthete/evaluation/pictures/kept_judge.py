"""The picture judge that is kept with a model, so that whoever samples from it is told what the pictures show."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from synesthete.evaluation.judge_folder import RESULT_NAME, check_kind, write_judge
from synesthete.evaluation.metrics.classification import accuracy
from synesthete.evaluation.metrics.intervals import interval
from synesthete.evaluation.metrics.metric import Metric
from synesthete.evaluation.pictures.judge import PictureJudge, load_or_train_picture_judge, measure
from synesthete.evaluation.speech.model_judge import FOLDER
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from synesthete.types import Prepared

    Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class KeptPictureJudge:
    """A judge beside a model. It learned from real pictures that the model never saw.

    accuracy: on `num_test` real pictures that neither saw.
    """

    judge: PictureJudge
    accuracy: float
    num_test: int

    def metric(self, pictures: Tensor, labels: Tensor) -> Metric:
        """Its accuracy on real pictures uint8 (n, C, H, W), measured now."""
        share = accuracy(labels, self.judge.judge(pictures))
        name = f"accuracy of the judge kept with the model (held-out pictures, n = {len(labels)})"
        return Metric(name, share, interval(share, len(labels)), 1 / len(self.judge.config.class_names))


def keep_picture_judge(
    prepared: Prepared, model: Path, *, num_steps: int | None = None, progress: Progress | None = None
) -> KeptPictureJudge:
    """Train a judge on the pictures that no model sees, and write it into the model's folder, in half precision.

    num_steps: as `train_picture_judge`. A judge that was trained on the same pictures is taken from the cache.

    Raises:
        InputError: data without pictures for a judge, or a folder that cannot be written.
    """
    if prepared.judge is None or not len(prepared.judge):
        raise InputError("no pictures for a judge; --set data.num_judge=400")
    trained = load_or_train_picture_judge(
        prepared.judge, prepared.test, prepared.class_names, num_steps=num_steps, progress=progress
    )
    half = nn.Module.to(copy.deepcopy(trained.judge), torch.float16)
    rounded = nn.Module.to(copy.deepcopy(half), torch.float32)
    kept = KeptPictureJudge(rounded, measure(rounded, prepared.test), len(prepared.test))
    write_judge(half, {"accuracy": kept.accuracy, "num_test": kept.num_test}, model / FOLDER)
    return kept


def read_picture_judge(model: Path) -> KeptPictureJudge | None:
    """The judge in a model's folder, or None where there is none.

    Raises:
        InputError: damaged files, or a judge of speech.
    """
    folder = model / FOLDER
    if not (folder / RESULT_NAME).is_file():
        return None
    check_kind(folder, PictureJudge, "pictures")
    try:
        result = json.loads((folder / RESULT_NAME).read_text(encoding="utf-8"))
        judge = nn.Module.to(PictureJudge.from_pretrained(folder), torch.float32).eval()
        return KeptPictureJudge(judge, result["accuracy"], result["num_test"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{folder}: cannot be loaded ({reason}); remove it and train the model's run again") from None
