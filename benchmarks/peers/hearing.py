"""Whose features the sounds of all sides are compared on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synesthete.evaluation.classifiers.sound import load_or_train_sound_classifier

if TYPE_CHECKING:
    from synesthete.evaluation.classifiers.sound import SoundClassifier
    from synesthete.types import Prepared


def classifier_of(prepared: Prepared, sample_rate: int) -> SoundClassifier:
    """A classifier of the pieces that are kept from all training but its own."""
    return load_or_train_sound_classifier(
        prepared.classifier, prepared.test, prepared.class_names, sample_rate
    ).classifier
