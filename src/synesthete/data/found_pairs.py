"""Pictures, sounds and what belongs together, as a source finds them; and which split each goes to."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TypeVar

from synesthete import seeding

if TYPE_CHECKING:
    from synesthete.data.picture import Picture
    from synesthete.data.recordings import Recording
    from synesthete.types import Progress

K = TypeVar("K")
PairPart = Literal["train", "classifier", "test", "speakers"]
STRICTEST: tuple[PairPart, ...] = ("speakers", "test", "classifier", "train")


class ImageEntry(NamedTuple):
    """A picture as a source finds it. place: its name inside the source. text: a caption of its own."""

    picture: Picture
    label: str
    place: str
    split: str | None = None
    text: str | None = None


class AudioEntry(NamedTuple):
    """A sound as a source finds it. group: sounds of one group are never in two splits. split: the source's own."""

    recording: Recording
    label: str
    group: str
    speaker: str | None = None
    split: str | None = None


@dataclass
class FoundPairs:
    """What sources have.

    pairs: (picture, sound) by number, which belong together; a picture that is in none goes with any sound of its
    class. skipped, notes: a line for each file that cannot be used, and what else is to be said.
    """

    pictures: list[ImageEntry] = field(default_factory=list)
    sounds: list[AudioEntry] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def extend(self, other: FoundPairs) -> None:
        """Add what another source has."""
        num_pictures, num_sounds = len(self.pictures), len(self.sounds)
        self.pairs += [(picture + num_pictures, sound + num_sounds) for picture, sound in other.pairs]
        self.pictures += other.pictures
        self.sounds += other.sounds
        self.skipped += other.skipped
        self.notes += other.notes

    def undecided(self) -> FoundPairs:
        """Itself; where all are to be trained on, without a split, so that some of each class will be held out."""
        if {one.split for one in self.pictures} | {one.split for one in self.sounds} == {"train"}:
            self.pictures = [entry._replace(split=None) for entry in self.pictures]
            self.sounds = [entry._replace(split=None) for entry in self.sounds]
        return self

    def keep(self, pictures: Sequence[bool], sounds: Sequence[bool]) -> FoundPairs:
        """Those that are True; a picture all of whose own sounds are not goes with them."""
        pairs = [(picture, sound) for picture, sound in self.pairs if pictures[picture] and sounds[sound]]
        lost = {picture for picture, _ in self.pairs} - {picture for picture, _ in pairs}
        left = [i for i, kept in enumerate(pictures) if kept and i not in lost]
        heard = [i for i, kept in enumerate(sounds) if kept]
        new_pictures, new_sounds = ({old: new for new, old in enumerate(places)} for places in (left, heard))
        return FoundPairs(
            [self.pictures[i] for i in left],
            [self.sounds[i] for i in heard],
            [(new_pictures[picture], new_sounds[sound]) for picture, sound in pairs],
            self.skipped,
            self.notes,
        )


class PairSource:
    """Where pictures, sounds, or pairs of both come from.

    Attributes:
        asks: the fields without which it gives nothing, and what to set them to.
    """

    asks: ClassVar[dict[str, str]] = {}

    def pairs(self, folder: Path, progress: Progress) -> FoundPairs:
        """All that it has; nothing is decoded. folder: for what it has to make first.

        Raises:
            InputError: it cannot be read.
        """
        raise NotImplementedError


def divide_pairs(
    found: FoundPairs,
    contents: Sequence[str],
    test_share: float,
    classifier_share: float,
    held_out: Collection[str] = (),
) -> tuple[list[PairPart], list[PairPart]]:
    """The split of every picture and of every sound.

    Sounds of one group or with the same content, and all that is paired with them, go together: where the source says,
    else to `speakers` if one is by a speaker of `held_out`, else by a number drawn from their names, class by class. Of
    pictures without a pair the source says, or the number drawn from their own place; the classifier's are taken later.

    contents: a name for what each sound holds. test_share, classifier_share: of the units of each class.
    """
    from scipy.cluster.hierarchy import DisjointSet  # imported where it is used: it takes a while

    together: list[tuple[Hashable, Hashable]] = []
    for number, (sound, content) in enumerate(zip(found.sounds, contents, strict=True)):
        together += [(("sound", number), ("group", sound.group)), (("sound", number), ("content", content))]
    for picture, number in found.pairs:
        together.append((("picture", picture), ("sound", number)))
        together.append((("picture", picture), ("place", found.pictures[picture].place)))
    units = DisjointSet(one for pair in together for one in pair)
    for pair in together:
        units.merge(*pair)
    told: dict[Hashable, set[str | None]] = {}
    names: dict[Hashable, tuple[str, str]] = {}
    for number, sound in enumerate(found.sounds):
        unit = units[("sound", number)]
        told.setdefault(unit, set()).add("speakers" if sound.speaker in held_out else sound.split)
        names[unit] = min(names.get(unit, (sound.label, sound.group)), (sound.label, sound.group))
    paired = {picture: units[("picture", picture)] for picture, _ in found.pairs}
    for picture, unit in paired.items():
        told[unit].add(found.pictures[picture].split)
    parts = draw_parts(told, names, set(paired.values()), test_share, classifier_share)
    alone = {i: (shown.label, shown.place) for i, shown in enumerate(found.pictures) if i not in paired}
    drawn = draw_parts({i: {found.pictures[i].split} for i in alone}, alone, set(), test_share, classifier_share=0)
    picture_parts = [parts[paired[i]] if i in paired else drawn[i] for i in range(len(found.pictures))]
    return picture_parts, [parts[units[("sound", number)]] for number in range(len(found.sounds))]


def draw_parts(
    told: Mapping[K, set[str | None]],
    names: Mapping[K, tuple[str, str]],
    paired: set[K],
    test_share: float,
    classifier_share: float,
) -> dict[K, PairPart]:
    """The split of every unit, named (class, name). The classifier gets a share of those with pictures."""
    parts: dict[K, PairPart] = {}
    of_class: dict[str, list[K]] = {}
    for unit, (label, _) in names.items():
        of_class.setdefault(label, []).append(unit)
    for members in of_class.values():
        order = sorted(members, key=lambda unit: seeding.derive(0, "split", names[unit][1]))
        undecided = []
        for unit in order:
            # The strictest of what its members say: nothing held out is trained on.
            part = next((part for part in STRICTEST if part in told[unit]), None)
            if part is None:
                undecided.append(unit)
            else:
                parts[unit] = part if part != "classifier" or unit in paired else "train"
        num_test = min(max(1, round(test_share * len(undecided))), len(undecided) - 1) if test_share else 0
        for place, unit in enumerate(undecided):
            parts[unit] = "test" if place < num_test else "train"
        left = [unit for unit in reversed(order) if parts[unit] == "train" and unit in paired]
        if not any(parts[unit] == "classifier" for unit in order):
            for unit in left[: min(round(classifier_share * len(left)), len(left) - 1)]:
                parts[unit] = "classifier"
    return parts
