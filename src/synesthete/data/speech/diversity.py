"""Whether a corpus has enough different sounds that a model needs the picture to know which one is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from synesthete.data.manifest import Entry

# Fewer different sounds a class than this teach a model that the sound does not depend on the picture.
FEW_TARGETS = 8


def count_targets(entries: Iterable[Entry]) -> dict[str, int]:
    """How many different sounds each class has, by what decides one: voice, text, rate and pitch."""
    sounds: dict[str, set[tuple[object, ...]]] = {}
    for entry in entries:
        decides = (entry.speaker, entry.text, entry.rate, entry.pitch, entry.semitones)
        sounds.setdefault(entry.label, set()).add(decides)
    return {label: len(found) for label, found in sounds.items()}


def few_targets(counts: Mapping[str, int]) -> str | None:
    """Why the sounds are too few for a model to need the picture, in plain words; None where every class has enough.

    counts: different clips by class. A denoiser recognises one of a few clips by what the noise leaves of it, from then
    on the picture tells it nothing new: 13,000 pictures on ten sounds left a public model at chance (10%).
    """
    poorest = min(counts, key=lambda label: counts[label], default=None)
    if poorest is None or counts[poorest] >= FEW_TARGETS:
        return None
    return (
        f"{sum(counts.values())} different clips of {len(counts)} classes, {counts[poorest]} of {poorest!r} (fewer "
        f"than {FEW_TARGETS}): a model can learn them by heart and ignore the picture; add voices or takes "
        "(data.takes), phrases (data.words), or vary data.speeds and data.semitones"
    )
