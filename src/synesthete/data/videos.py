"""Videos: a sound and frames of each, cut once with ffmpeg."""

from __future__ import annotations

import contextlib
import csv
import difflib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

from synesthete.data.audio import SoundFile
from synesthete.data.files import find_classes, list_files
from synesthete.data.found_pairs import AudioEntry, FoundPairs, ImageEntry, PairSource
from synesthete.data.picture import PictureFile
from synesthete.data.recordings import Recording
from synesthete.executors import divide
from synesthete.io import digest, replacing
from synesthete.types import InputError, Progress

SUFFIXES = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".flv", ".ogv", ".wmv", ".3gp")
# What ffmpeg calls these kinds: among its others are lists, which open the files and addresses that they name.
FORMATS = "mov,mp4,matroska,webm,avi,flv,mpeg,mpegvideo,mpegts,asf,ogg"
SAMPLE_RATE = 48_000
PATIENCE = 300.0  # seconds that one clip may take
NO_FFMPEG = (
    "ffmpeg: not found on the PATH; install it (ffmpeg.org), or give sounds and frames that are cut already "
    "in a metadata.jsonl"
)


class Clip(NamedTuple):
    """A stretch of a video. place: its name inside the source. start: in seconds, None for a file cut already.

    group: clips of one group are never in two splits.
    """

    path: Path
    label: str
    place: str
    group: str
    start: float | None = None
    split: str | None = None


class Videos(PairSource):
    """A folder with one folder of videos a class; or with these in a folder `train` and one of `test` or `val`.

    Args:
        path: the folder. None gives nothing. num_frames: pictures of each, evenly spaced. seconds: of sound, from its
            beginning.
    """

    def __init__(self, path: str | None = None, num_frames: int = 1, seconds: float = 10.0) -> None:
        check_cut(num_frames, seconds)
        self.path, self.num_frames, self.seconds = path, num_frames, seconds

    def pairs(self, folder: Path, progress: Progress) -> FoundPairs:
        """Sounds and frames of all videos, cut into the folder where they are missing.

        Raises:
            InputError: no such folder, no videos in it, none that can be cut, or no ffmpeg.
        """
        if self.path is None:
            return FoundPairs()
        root = Path(self.path)
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; give one with a folder of videos for each class")
        clips = []
        layout = find_classes(root)
        for entry, split in layout.classes:
            for path in list_files(entry, SUFFIXES):
                place = path.relative_to(root).as_posix()
                clips.append(Clip(path, entry.name, place, place, split=split))
        if not clips:
            kinds = ", ".join(SUFFIXES[:3])
            raise InputError(f"{root}: no class folders with videos in it ({kinds}); put each class's into one")
        found = cut_clips(clips, folder, self.num_frames, self.seconds, progress)
        found.notes += layout.notes
        return found.undecided()


def check_cut(num_frames: int, seconds: float) -> None:
    """Refuse less than a frame, or no sound."""
    if num_frames < 1 or not seconds > 0:
        raise InputError(f"num_frames {num_frames}, seconds {seconds}: give one frame or more, and some seconds")


def cut_clips(clips: Sequence[Clip], folder: Path, num_frames: int, seconds: float, progress: Progress) -> FoundPairs:
    """The sound (`seconds` at most, mono, 48 kHz, flac) and frames of each clip, in a folder `cut` of the folder.

    What is there is kept, so a killed run goes on. A clip without a sound or a frame is left out and named.
    """
    place = folder / "cut"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{place}: cannot be made ({error.strerror}); choose another with --out") from None
    found = FoundPairs()

    cut: dict[int, tuple[Path, list[Path]] | str] = {}
    for i, clip in enumerate(clips):  # 200,000 that are there cost no worker
        with contextlib.suppress(CutError):
            sound, frames = cut_files(clip, place, num_frames, seconds)
            if all(path.is_file() for path in (sound, *frames)):
                cut[i] = sound, frames
    left = {i: clip for i, clip in enumerate(clips) if i not in cut}
    for i, made in divide(partial(cut_or_reason, place, num_frames, seconds), left, "threads"):
        cut[i] = made
        progress("videos cut", len(cut), len(clips))
    for i, clip in enumerate(clips):
        if isinstance(made := cut[i], str):
            found.skipped.append(made)
            continue
        sound, frames = made
        heard = Recording(str(sound), clip.place)
        found.sounds.append(AudioEntry(heard, clip.label, clip.group, split=clip.split))
        for number, frame in enumerate(frames):
            found.pairs.append((len(found.pictures), len(found.sounds) - 1))
            shown = f"{clip.place} {number}"
            found.pictures.append(ImageEntry(PictureFile(str(frame)), clip.label, shown, clip.split))
    if not found.sounds:
        raise InputError(f"not one of {len(clips)} videos can be cut; the first: {found.skipped[0]}")
    return found


class CutError(Exception):
    """One video cannot be cut; the others can."""


def cut_or_reason(folder: Path, num_frames: int, seconds: float, clip: Clip) -> tuple[Path, list[Path]] | str:
    """As `cut_clip`, or why it cannot be cut."""
    try:
        return cut_clip(clip, folder, num_frames, seconds)
    except CutError as error:
        return str(error)


def cut_files(clip: Clip, folder: Path, num_frames: int, seconds: float) -> tuple[Path, list[Path]]:
    """Where the sound and the frames of a clip are, or will be."""
    try:
        status = clip.path.stat()
    except OSError as error:
        raise CutError(f"{clip.path}: cannot be read ({error.strerror}); check the path") from None
    facts = f"{clip.path} {status.st_size} {status.st_mtime_ns} {clip.start} {seconds}"
    name = f"{clip.path.stem}-{digest(facts.encode())}"
    return folder / f"{name}.flac", [folder / f"{name}-{i + 1}of{num_frames}.jpg" for i in range(num_frames)]


def cut_clip(clip: Clip, folder: Path, num_frames: int, seconds: float) -> tuple[Path, list[Path]]:
    """The sound and frames of one clip, made where they are missing.

    Raises:
        CutError: no sound or no frame can be had of it. InputError: no ffmpeg.
    """
    at = [] if clip.start is None else ["-ss", f"{clip.start:g}"]
    sound, frames = cut_files(clip, folder, num_frames, seconds)
    if not sound.is_file():
        only_sound = ["-t", f"{seconds:g}", "-vn", "-ac", "1", "-ar", str(SAMPLE_RATE), "-c:a", "flac", "-f", "flac"]
        run_ffmpeg(clip.path, at, only_sound, sound, "no sound")
    try:
        with SoundFile(sound) as file:
            length = file.num_samples() / file.sample_rate
    except InputError:
        sound.unlink(missing_ok=True)
        raise CutError(f"{clip.path}: no sound (0 samples); give a video with a sound, or remove it") from None
    for number, frame in enumerate(frames):
        time = (clip.start or 0.0) + length * (number + 0.5) / num_frames
        if not frame.is_file():
            one_frame = ["-frames:v", "1", "-an", "-q:v", "2", "-update", "1", "-c:v", "mjpeg", "-f", "image2"]
            run_ffmpeg(clip.path, ["-ss", f"{time:.3f}"], one_frame, frame, f"no frame at {time:.1f} s")
    return sound, frames


def run_ffmpeg(video: Path, before: list[str], after: list[str], made: Path, missing: str) -> None:
    """Make one file of a video, beside its place, then renamed.

    Raises:
        CutError: ffmpeg failed, or made nothing. InputError: there is no ffmpeg.
    """
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise InputError(NO_FFMPEG)
    with replacing(made) as partial_file:
        # "file:", or a name with a colon is taken for a protocol.
        quiet = [ffmpeg, "-nostdin", "-v", "error", "-y", "-protocol_whitelist", "file", "-format_whitelist", FORMATS]
        command = [*quiet, *before, "-i", f"file:{video}", *after, f"file:{partial_file}"]
        reason = ""
        try:
            told = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
            if told.returncode:
                said = told.stderr.decode(errors="replace").strip().splitlines()
                reason = said[-1].removeprefix("[").strip()[:200] if said else f"ffmpeg ended with {told.returncode}"
        except subprocess.TimeoutExpired:
            reason = f"longer than {PATIENCE:.0f} s"
        except OSError as error:
            raise InputError(f"{ffmpeg}: cannot be run ({error.strerror}); install ffmpeg again") from None
        if reason or not (partial_file.is_file() and partial_file.stat().st_size):
            why = f" ({reason})" if reason else ""
            raise CutError(f"{video}: {missing}{why}; copy the video again or remove it")


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

    def pairs(self, folder: Path, progress: Progress) -> FoundPairs:
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
    """The lines of vggsound.csv; one of column names at the top is passed over."""
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
