"""Whose features the sounds of all sides are compared on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synesthete.evaluation.music.judge import load_or_train_sound_judge

if TYPE_CHECKING:
    from synesthete.evaluation.music.judge import SoundJudge
    from synesthete.types import Prepared


def judge_of(prepared: Prepared, sample_rate: int) -> SoundJudge:
    """A classifier of the pieces that are kept from all training but its own."""
    return load_or_train_sound_judge(prepared.judge, prepared.test, prepared.class_names, sample_rate).judge
