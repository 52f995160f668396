"""The pictures of a listing: fitted, read once, and none in two splits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from synesthete.data.labelled import PictureSamples
from synesthete.data.music import some
from synesthete.data.pictures import Pictures
from synesthete.data.preprocessed import preprocess_images
from synesthete.io import digest
from synesthete.tasks.audio_to_image.sounds import PARTS
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from synesthete.data.audio_image_pairs import PairListing
    from synesthete.data.found_pairs import PairPart
    from synesthete.data.preprocessed import PreprocessedImages
    from synesthete.tasks.audio_to_image.sounds import Sounds
    from synesthete.types import Progress


class Shots:
    """The pictures of each split as the codec reads them, each read once; none is in two splits.

    Attributes:
        samples: by split. order: a name for what the pictures of each show, one after the other. shown: a name for
            what those to train on show, in any order.

    Raises:
        InputError: no readable training picture of a class, no picture held out, and as `preprocess_images`.
    """

    def __init__(self, listing: PairListing, sounds: Sounds, codec: Any, place: Path, report: Progress) -> None:
        self.listing, self.sounds = listing, sounds
        self.notes: list[str] = []
        self.skipped: list[str] = []
        found = listing.found
        own: dict[int, list[int]] = {}
        for picture, sound in found.pairs:
            own.setdefault(picture, []).append(sound)
        self.own = {picture: [s for s in partners if sounds.used[s]] for picture, partners in own.items()}
        places: dict[PairPart, list[int]] = {}
        heard = {part: set(sounds.labels[sounds.places(part)].tolist()) for part in PARTS}
        for part in PARTS:
            listed = [i for i, its in enumerate(listing.picture_parts) if its == part and self.own.get(i, True)]
            if part == "speakers" and not listed and heard["speakers"]:
                listed = [i for i in places["test"] if i not in own]  # shown with their sounds as well
            if part != "classifier":
                listed = self._audible(part, listed, heard[part])
            places[part] = listed
        if not places["test"]:
            raise InputError(
                "nothing is held out: no test picture of a class with a test sound; add pictures and sounds, or raise "
                "data.test_share"
            )
        self.numbers: dict[PairPart, list[int]] = {}
        self.samples: dict[PairPart, PictureSamples] = {}
        fitted = {part: self._fit(part, places[part], codec, place, report) for part in PARTS if places[part]}
        unseen = set(fitted["test"].contents)
        unseen |= set(fitted["speakers"].contents) if "speakers" in fitted else set()
        if "classifier" in fitted:
            fitted["classifier"] = fitted["classifier"].without(unseen)
            unseen |= set(fitted["classifier"].contents)
        if "train" not in fitted:
            raise InputError("no pictures to train on; add some, or lower data.num_classifier")
        fitted["train"] = fitted["train"].without(unseen)
        self.order: dict[PairPart, str] = {}
        for part, rows in fitted.items():
            self.order[part] = digest(b"".join(rows.contents))
            self.numbers[part] = [places[part][i] for i in rows.places.tolist()]
            self.samples[part] = PictureSamples(rows.rows, self._labels(self.numbers[part]))
        if "classifier" not in self.samples:
            train = self.samples["train"]
            none = torch.zeros(0, dtype=torch.int64)
            rows_of: Any = train.pictures
            self.samples["classifier"] = PictureSamples(rows_of.take(none), none)
            self.notes.append(
                "no pictures left for the classifier alone; add some to have samples evaluated by a classifier"
            )
        kept = set(self.samples["train"].labels.tolist())
        for label, name in enumerate(listing.class_names):
            if label not in kept:
                raise InputError(f"class {name!r}: no readable picture to train on; mend some or take the class out")
        self.shown = digest(b"".join(sorted(fitted["train"].contents)))

    def pairs(self, part: PairPart, chosen: Tensor) -> Tensor | None:
        """Fixed pairs (p, 2) of a split, by the numbers of its samples. chosen: (m',) the split's sounds."""
        if not self.own:
            return None
        new = {old: place for place, old in enumerate(chosen.tolist())}
        pairs = [
            (row, new[sound])
            for row, picture in enumerate(self.numbers[part])
            for sound in self.own.get(picture, ())
            if sound in new
        ]
        return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)

    def _audible(self, part: PairPart, places: list[int], heard: set[int]) -> list[int]:
        """The pictures of classes that have a sound in the split; the others are said."""
        silent: dict[str, int] = {}
        kept = []
        for i, label in zip(places, self._labels(places).tolist(), strict=True):
            if i in self.own or label in heard:
                kept.append(i)
            else:
                name = self.listing.class_names[label]
                silent[name] = silent.get(name, 0) + 1
        if silent and part == "test":
            self.notes.append(f"test leaves out {len(silent)} classes without a held-out sound: {some(list(silent))}")
        return kept

    def _fit(self, part: PairPart, places: list[int], codec: Any, place: Path, report: Progress) -> PreprocessedImages:
        shown = [self.listing.found.pictures[i] for i in places]
        pictures = Pictures([one.picture for one in shown], [one.label for one in shown])
        name = f"pictures-{part}"
        fitted = preprocess_images(pictures, codec, place, name, progress=partial(report, name))
        self.skipped += [f"{line}: no readable picture" for line in fitted.skipped]
        return fitted

    def _labels(self, places: Sequence[int]) -> Tensor:
        names = self.listing.class_names
        return torch.tensor([names.index(self.listing.found.pictures[i].label) for i in places], dtype=torch.int64)
