"""The decoded sounds of a listing: which of them can be used, and what of each is heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from synesthete.data.music import some
from synesthete.data.rows import Pieces, loudest_start
from synesthete.data.waveforms import LEVELS_PER_SECOND, as_float
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from synesthete.data.audio_image_pairs import AudioImagePairs, PairListing
    from synesthete.data.found_pairs import PairPart
    from synesthete.data.waveforms import Waveform

SECONDS = 10.0  # of a sound, where neither data nor encoder says
PARTS: tuple[PairPart, ...] = ("train", "classifier", "test", "speakers")


def num_heard(seconds: float | None, conditioner: Any) -> int:
    """Samples of every sound: as the data say, or as many as the encoder hears."""
    if seconds is not None:
        return round(seconds * conditioner.sample_rate)
    own = getattr(getattr(conditioner, "audio_encoder", conditioner), "config", {}).get("num_samples")
    return own or round(SECONDS * conditioner.sample_rate)


class Sounds:
    """The decoded sounds that can be used, each cut or padded to one length.

    Of a longer one the loudest stretch is taken: many begin with nothing to hear.

    Attributes:
        pieces: (m, S), numbered as the listing numbers them; labels: (m,). used: (m,), whether each can be.
        notes, remarks: what is to be said aloud, and what need not be. skipped: a line for each that is left out.

    Raises:
        InputError: none of a class is left to train on, or none at all is held out.
    """

    def __init__(
        self, data: AudioImagePairs, listing: PairListing, waveforms: Sequence[Waveform], length: int, rate: int
    ) -> None:
        self.listing, self.rate, self.length = listing, rate, length
        hop = rate // LEVELS_PER_SECOND
        starts = torch.tensor([loudest_start(w.energy, len(w.samples), length, hop) for w in waveforms])
        self.pieces = Pieces([w.samples for w in waveforms], torch.arange(len(waveforms)), starts, length)
        self.labels = torch.tensor([entry.label for entry in listing.entries], dtype=torch.int64)
        self.notes: list[str] = []
        self.remarks: list[str] = []
        reasons = [
            unusable(entry.recording.name, waveform, self.pieces, place, data.silence_db)
            for place, (entry, waveform) in enumerate(zip(listing.entries, waveforms, strict=True))
        ]
        self.skipped = [reason for reason in reasons if reason]
        self.used = torch.tensor([not reason for reason in reasons])
        self._in_part = {part: torch.tensor([own == part for own in listing.sound_parts]) for part in PARTS}
        used = [waveform for waveform, reason in zip(waveforms, reasons, strict=True) if not reason]
        if cut := [waveform.note for waveform in used if waveform.note]:
            self.notes.append(f"{len(cut)} sounds used as far as they go: {some(cut)}")
        if short := [len(waveform.samples) / rate for waveform in used if len(waveform.samples) < length]:
            self.remarks.append(
                f"{len(short)} of {len(used)} sounds are shorter than {length / rate:g} s, down to {min(short):.2g} s: "
                "silence follows them"
            )
        there = set(self.labels[self.places("train")].tolist())
        for label, name in enumerate(listing.class_names):
            if label not in there:
                lost = (r for r, entry in zip(reasons, listing.entries, strict=True) if r and entry.label == label)
                why = next((f" ({reason})" for reason in lost), "")
                raise InputError(f"class {name!r}: pictures but no sound to train on{why}; add sounds of it")

    def places(self, part: PairPart) -> Tensor:
        """The numbers of a split's sounds."""
        return (self._in_part[part] & self.used).nonzero().flatten()


def unusable(
    name: str, waveform: Waveform, pieces: Pieces, place: int, silence_db: float, *, remedy: str | None = None
) -> str:
    """Why a sound, the piece at `place`, cannot be used, or nothing. remedy: of silence."""
    if not len(waveform.samples):
        return waveform.note
    first, length = int(pieces.starts[place]), min(pieces.shape[1], len(waveform.samples))
    if any(begin < first + length and end > first for begin, end in waveform.damaged):
        return f"{name}: NaN or infinite samples; write it again as 16-bit PCM, or remove it"
    level = 10 * torch.log10(as_float(pieces.cut(place, 0, length)).square().mean().clamp(min=1e-20))
    if level < silence_db:
        remedy = remedy or f"remove it or lower data.silence_db (now {silence_db:g})"
        return f"{name}: silent ({level:.0f} dB); {remedy}"
    return ""
