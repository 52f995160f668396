"""VGGSound: ten seconds of 200,000 videos in which what sounds is seen, in 309 classes (Chen et al. 2020)."""

from __future__ import annotations

import csv
import difflib
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from synesthete.data.files import list_files
from synesthete.data.found_pairs import FoundPairs, PairSource
from synesthete.data.videos import SUFFIXES, Clip, check_cut, cut_clips
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SECONDS = 10.0
WHERE = "https://www.robots.ox.ac.uk/~vgg/data/vggsound/vggsound.csv"
# Eight classes that are told by ear and by eye, and the data set's labels that are one of them.
EIGHT: dict[str, tuple[str, ...]] = {
    "ocean_waves": ("sea waves", "ocean burbling"),
    "dog_barking": ("dog barking",),
    "thunder": ("thunder",),
    "fire": ("fire crackling",),
    "engine": ("engine accelerating, revving, vroom",),
    "rain": ("raining",),
    "helicopter": ("helicopter",),
    "siren": ("police car (siren)", "ambulance siren", "fire truck siren"),
}


class ClipRow(NamedTuple):
    """A line of the list."""

    video: str
    start: int
    label: str
    split: str


class VggSound(PairSource):
    """The clips of VGGSound that are on this machine: its list, and a folder of videos.

    A video is found by its name, of whatever kind it is: `<id>_<start>` with the start in six digits or as it is, or
    `<id>_<start>_<end>`, are ten seconds cut already; `<id>` alone is the whole video, and is cut here. The list's own
    test clips are held out, and of one video there are never clips in two splits.

    Args:
        list_file: vggsound.csv, lines of (YouTube id, start in seconds, label, train or test). None gives nothing.
        clips: the folder of videos, those in folders within it included.
        classes: class name -> labels of the list; None takes all labels as they are.
        num_frames: pictures of each clip, evenly spaced.
    """

    asks: ClassVar[dict[str, str]] = {"list_file": "vggsound.csv", "clips": "FOLDER"}

    def __init__(
        self,
        list_file: str | None = None,
        clips: str | None = None,
        classes: dict[str, tuple[str, ...]] | None = EIGHT,
        num_frames: int = 1,
    ) -> None:
        check_cut(num_frames, SECONDS)
        self.list_file, self.clips, self.classes, self.num_frames = list_file, clips, classes, num_frames

    def pairs(self, folder: Path, progress: Callable[[str, int, int], None]) -> FoundPairs:
        """Sounds and frames of the clips, cut into the folder where they are missing; clips that are absent are said.

        Raises:
            InputError: a list that cannot be read, a label it does not have, no such folder, none of its clips in it.
        """
        if self.list_file is None:
            return FoundPairs()
        if self.clips is None or not Path(self.clips).is_dir():
            raise InputError(f"{self.clips or 'clips'}: no such folder; give the one of the videos of {self.list_file}")
        rows = self._chosen(read_rows(Path(self.list_file)))
        videos = {path.stem: path for path in list_files(Path(self.clips), SUFFIXES)}
        clips, missing = [], []
        for row, name in rows:
            if (clip := find_clip(row, name, videos)) is None:
                missing.append(f"{row.video}_{row.start:06d}")
            else:
                clips.append(clip)
        if not clips:
            raise InputError(
                f"{self.clips}: none of {len(rows)} clips in it, such as {missing[0]}.mp4; check the folder"
            )
        found = cut_clips(clips, folder, self.num_frames, SECONDS, progress)
        if missing:
            found.notes.append(
                f"{len(missing)} of {len(rows)} clips of {self.list_file} are not there: {missing[0]}, ..."
            )
        return found

    def _chosen(self, rows: list[ClipRow]) -> list[tuple[ClipRow, str]]:
        """The rows of the classes asked for, each with its class's name."""
        if self.classes is None:
            return [(row, row.label) for row in rows]
        labels = {row.label for row in rows}
        name_of = {label: name for name, own in self.classes.items() for label in own}
        check_listed(name_of, labels, self.list_file)
        return [(row, name_of[row.label]) for row in rows if row.label in name_of]


def check_listed(name_of: Mapping[str, str], labels: set[str], list_file: str | None) -> None:
    """Refuse labels that the list has not; those of the eight classes may be missing, for a list of few clips."""
    known = {label for own in EIGHT.values() for label in own}
    if not labels & name_of.keys():
        raise InputError(f"{list_file}: no line of {', '.join(list(name_of)[:3])}, ...; give classes of its labels")
    for label in name_of.keys() - labels - known:
        near = difflib.get_close_matches(label, labels, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see its third column"
        raise InputError(f"{list_file}: no line of {label!r}; {hint}")


def find_clip(row: ClipRow, name: str, videos: Mapping[str, Path]) -> Clip | None:
    """The clip of a row among videos by the stems of their names; None where it is not."""
    end = row.start + round(SECONDS)
    place = f"{row.video}_{row.start:06d}"
    for stem in (place, f"{row.video}_{row.start}", f"{row.video}_{row.start}_{end}", f"{place}_{end:06d}"):
        if stem in videos:
            return Clip(videos[stem], name, place, row.video, None, row.split)
    if row.video in videos:
        return Clip(videos[row.video], name, place, row.video, float(row.start), row.split)
    return None


def read_rows(path: Path) -> list[ClipRow]:
    """The lines of vggsound.csv; one of column names at the top is passed over.

    Raises:
        InputError: no such file, not a text of comma-separated values, or a line of another kind.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; VGGSound's list is in {WHERE}")
    rows: list[ClipRow] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, values in enumerate(csv.reader(file), 1):
                if not values:
                    continue
                cells = [value.strip() for value in values]
                if len(cells) != 4 or not cells[1].isdecimal() or cells[3] not in ("train", "test"):
                    if number == 1 and len(cells) == 4:
                        continue
                    raise InputError(f"{path}:{number}: not (YouTube id, start, label, train or test); mend the line")
                rows.append(ClipRow(cells[0], int(cells[1]), cells[2], cells[3]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a list ({error}); copy it again from {WHERE}") from None
    if not rows:
        raise InputError(f"{path}: no lines; copy it again from {WHERE}")
    return rows
