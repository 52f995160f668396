"""What can be trained on a folder of one's own: recipes of the package, and what to change in each, with the reason."""

from __future__ import annotations

import glob
import json
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete.data.audio_image_pairs import AudioImagePairs, own_sources
from synesthete.data.captions import spell, spoken
from synesthete.data.files import SPLITS, find_manifests, list_files, read_manifest, some
from synesthete.data.labelled import LabelledPictures
from synesthete.data.music import Music
from synesthete.data.pair_sources import SoundFolders
from synesthete.data.picture import SUFFIXES as PICTURES
from synesthete.data.pictures import ClassFolders, list_sources
from synesthete.data.recordings import SUFFIXES as RECORDINGS
from synesthete.data.recordings import Recordings
from synesthete.data.sample_shards import SampleShards, holds_shards
from synesthete.data.scores.corpus import Scores
from synesthete.data.scores.performances import RecordedScores, ScoredSounds
from synesthete.data.scores.sources import MIDI, MUSICXML
from synesthete.data.videos import SUFFIXES as VIDEOS
from synesthete.recipes import RECIPES
from synesthete.recipes.fit import check_fit
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.config import Recipe

__all__ = ["Proposal", "propose"]

LOOKED_AT = 12  # pictures that are opened to see how they are
LONG = 8.0  # seconds of a recording from which on it is a piece, and no note
MOST_LISTED = 2000  # files that a recipe may name one by one


@dataclass
class Proposal:
    """What one kind of system can learn from a folder.

    learns: what. recipes: that fit, the best first. found: what there is for it. num: of it to train on, in units.
    changes: field of the recipe -> its value and why.
    """

    learns: str
    recipes: tuple[str, ...]
    found: str
    num: int
    unit: str
    changes: dict[str, tuple[Any, str]] = field(default_factory=dict)

    def fits(self, name: str) -> bool:
        """Whether a recipe, or its debug twin, is among those that fit."""
        return name.removesuffix("-debug") in self.recipes

    def recipe(self, name: str, called: str) -> Recipe:
        """A recipe of the package with the changes, under a name of its own.

        Raises:
            InputError: changes that do not fit together.
        """
        made = RECIPES[name]()
        made.set(f"name={json.dumps(called)}")
        for key, (value, _) in self.changes.items():
            made.set(f"{key}={json.dumps(value)}")
        check_fit(made)
        return made


def propose(folder: Path) -> tuple[list[Proposal], list[str]]:
    """What can be trained on a folder, the likeliest first, and why other things that seem to be there cannot.

    Raises:
        InputError: no such folder, or nothing in it to train on.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one of pictures, sounds, scores or videos")
    has = {
        kind: bool(list_files(folder, suffixes))
        for kind, suffixes in {
            "pictures": PICTURES, "sounds": RECORDINGS, "videos": VIDEOS, "midi": MIDI, "scores": (*MIDI, *MUSICXML)
        }.items()
    }  # fmt: skip
    if source := shards_in(folder):
        kinds = source.kinds()
        has |= {"pictures": "image" in kinds, "sounds": "audio" in kinds}
    looks: list[tuple[bool, Callable[[Path], Proposal]]] = [
        (has["videos"], of_videos),
        (has["pictures"] and has["sounds"], of_pairs),
        (has["pictures"], of_pictures),
        (has["pictures"], of_spoken_pictures),
        (has["midi"] and has["sounds"], of_performances),
        (has["scores"], of_scores),
        (has["scores"] and not has["sounds"], of_rendered_scores),
        (has["sounds"], of_notes),
        (has["sounds"], of_recordings),
    ]
    found, refused = [], []
    for _, look in filter(lambda one: one[0], looks):
        try:
            found.append(look(folder))
        except InputError as error:
            refused.append(str(error))
    if not found:
        nothing = f"{folder}: no pictures, sounds, videos or scores in it; put some there, a folder for each class"
        raise InputError(refused[0] if refused else nothing)
    return found, list(dict.fromkeys(refused))


def of_pictures(folder: Path) -> Proposal:
    """A class becomes a picture."""
    place, data, labels = pictures_in(folder)
    is_ink, looks = look_at(data)
    order = ("images-digits", "images-photos") if is_ink else ("images-photos", "images-digits")
    channels = (1, "grey") if is_ink else (3, "in colour")
    changes = {
        **classes_in(place),
        "data.num_classifier": (None, "a fifth is kept for the classifier that evaluates the model"),
        "conditioner.num_classes": (len(data.class_names), "as many as there are"),
        "codec.channels": channels,
        "denoiser.in_channels": channels,
    }
    found, num = count_labels("pictures", labels) + looks, len(data.pictures("train")[0])
    return Proposal("a class becomes a picture", (*order, "images-stl10"), found, num, "pictures", changes)


def of_spoken_pictures(folder: Path) -> Proposal:
    """A picture says the name of its class."""
    place, data, labels = pictures_in(folder, num_classifier=0)  # of whose voices, not pictures, are kept for it
    is_ink, looks = look_at(data)
    longest = max(map(spoken, labels), key=len)
    # "automobile" at the slowest rate takes 92 frames; four are a token.
    num_frames = min(280, max(64, 4 * math.ceil(2.3 * len(longest))))
    why = f"room for {longest!r} spoken slowly: {num_frames * 256 / 24_000:.2f} s"
    changes = {
        **classes_in(place),
        "data.num_samples": (num_frames * 256 - 1, why),
        "codec.num_samples": (num_frames * 256 - 1, "as long as data.num_samples"),
        "denoiser.sample_size": ([100, num_frames], "bands, and frames of as many samples"),
    }
    order = ("image-to-speech-digits", "image-to-speech-photos")[:: 1 if is_ink else -1]
    order += ("image-to-speech-voices", "image-to-speech-100")
    found, num = count_labels("pictures", labels) + looks, len(data.pictures("train")[0])
    return Proposal("a picture says the name of its class", order, found, num, "pictures", changes)


def of_pairs(folder: Path) -> Proposal:
    """A sound becomes a picture of its class, or of its own pair."""
    with tempfile.TemporaryDirectory() as made:
        found = AudioImagePairs(folder=str(folder)).pairs(Path(made))
    labels = [picture.label for picture in found.found.pictures]
    own = f", {len(found.found.pairs)} in pairs of their own" if found.found.pairs else ""
    words = f"{count_labels('pictures', labels)} and {len(found.entries)} sounds{own}"
    num, changes = found.picture_parts.count("train"), sound_changes(folder, found.class_names)
    return Proposal("a sound becomes a picture", ("audio-to-image-events",), words, num, "pictures", changes)


def of_videos(folder: Path) -> Proposal:
    """The sound of a video becomes one of its pictures; nothing is cut yet."""
    if not any(getattr(source, "num_frames", 0) for source in own_sources(folder)):
        raise InputError(f"{folder}: videos outside of class folders; put each class's into a folder of its name")
    labels = [path.relative_to(folder).parts[0] for path in list_files(folder, VIDEOS)]
    learns, words = "the sound of a video becomes a picture", count_labels("videos", labels)
    changes = sound_changes(folder, sorted(set(labels)))
    return Proposal(learns, ("audio-to-image-events",), words, len(labels), "videos", changes)


def sound_changes(folder: Path, names: Sequence[str]) -> dict[str, tuple[Any, str]]:
    """The changes for sounds that become pictures of these classes."""
    templates = RECIPES["audio-to-image-events"]().data.captions
    return {
        "data.folder": (str(folder.resolve()), "pictures and sounds of one's own, in place of the sources"),
        "data.class_names": (list(names), "the classes, in the order of their numbers"),
        "conditioner.text.captions": (list(spell(templates, names)), "what data.captions become of these classes"),
    }


def of_performances(folder: Path) -> Proposal:
    """A score becomes sound, as it was recorded beside it."""
    parts = ScoredSounds((RecordedScores(str(folder)),)).performances()
    labels = [one.instrument for part in parts.values() for one in part]
    source = [{"class": "RecordedScores", "path": str(folder.resolve())}]
    changes = {"data.sources": (source, "recordings, each beside the MIDI file of what is played")}
    learns, words = "a score becomes sound, as it was recorded", count_labels("recorded scores", labels)
    return Proposal(learns, ("music-score",), words, len(parts["train"]), "recordings", changes)


def of_scores(folder: Path) -> Proposal:
    """Scores of four voices are learned to be composed."""
    scores = Scores(folder=str(folder))
    with tempfile.TemporaryDirectory() as made:
        pieces, left_out = scores.pieces(Path(made))
    parts = scores.divide(pieces)
    words = f"{len(pieces)} scores of four voices in bars of four quarter notes" + "".join(f"; {n}" for n in left_out)
    changes = {"data.folder": (str(folder.resolve()), "scores of one's own, in place of Bach's chorales")}
    return Proposal("four voices are composed", ("music-compose",), words, len(parts["train"]), "scores", changes)


def of_rendered_scores(folder: Path) -> Proposal:
    """Scores are learned to be played, as instruments that need no files play them."""
    num = len(list_files(folder, (*MIDI, *MUSICXML)))
    changes: dict[str, tuple[Any, str]] = {
        "data.sources.0.scores": ([{"class": "ScoreFolder", "path": str(folder.resolve())}], "scores of one's own"),
        "data.sources.0.instruments": (
            [{"class": "Partials"}],
            "plain instruments that are computed; {class: SoundFont, path: FILE.sf2} plays better",
        ),
    }
    return Proposal("a score becomes sound", ("music-score",), f"{num} scores", num, "scores", changes)


def of_notes(folder: Path) -> Proposal:
    """The name of a class becomes a sound of it."""
    root = subfolder_of(folder, SoundFolders)
    changes: dict[str, tuple[Any, str]] = {}
    if find_manifests(root):
        listed: dict[str, list[str]] = {}
        for entry in read_manifest(root):
            if entry.audio:
                listed.setdefault(entry.label, []).append(glob.escape(entry.audio))
        if not 0 < sum(map(len, listed.values())) <= MOST_LISTED:
            raise InputError(f"{root}: a manifest without sounds, or of more than {MOST_LISTED}; use class folders")
        sources = [{"class": "Recordings", "path": str(root.resolve())}]
        changes["data.sources"] = sources, "recordings of one's own"
        changes["data.classes"] = listed, "as the manifest has them"
        data = Music((Recordings(str(root)),), classes={name: tuple(globs) for name, globs in listed.items()})
    elif source := shards_in(root):
        changes |= named_source(root, "recordings of one's own, packed")
        changes["data.classes"] = "folders", "as the files have them"
        data = Music((source,), classes="folders")
    else:
        changes["data.folder"] = str(root.resolve()), "recordings of one's own"
        changes["data.classes"] = "folders", "a folder in it is a class"
        data = Music(folder=str(root), classes="folders")
    if not data.class_names:
        raise InputError(f"{root}: recordings without classes; put each class's into a folder of its name")
    entries = data.listing.entries
    changes["conditioner.num_classes"] = len(data.class_names), "as many as there are"
    seconds = sum(entry.seconds for entry in entries) / len(entries)
    if seconds > LONG:
        changes["data.stride"] = 1.0, f"recordings of {seconds:.0f} s, of which a piece begins every second"
    labels = [data.class_names[entry.label] for entry in entries]
    words, num = f"{count_labels('recordings', labels)}, of {seconds:.1f} s in the mean", len(data.recordings("train"))
    return Proposal("a class becomes a sound", ("music-notes",), words, num, "recordings", changes)


def of_recordings(folder: Path) -> Proposal:
    """Four seconds of music, of nothing or of how loud it is."""
    root = subfolder_of(folder, SoundFolders)
    changes: dict[str, tuple[Any, str]] = {"data.folder": (str(root.resolve()), "recordings of one's own")}
    data = Music(folder=str(root))
    if source := shards_in(root):
        changes, data = named_source(root, "recordings of one's own, packed"), Music((source,))
    entries = data.listing.entries
    minutes = sum(entry.seconds for entry in entries) / 60
    others = ("music", "music-stft", "music-low", "music-latent", "music-upsampler")
    words, num = f"{len(entries)} recordings, {minutes:.1f} min in all", len(data.recordings("train"))
    return Proposal("music, from nothing or as loud as one says", others, words, num, "recordings", changes)


def pictures_in(folder: Path, num_classifier: int | None = None) -> tuple[Path, LabelledPictures, list[str]]:
    """The folder that holds the pictures, they as data, and the class of each, those that are held out included."""
    place = subfolder_of(folder, ClassFolders)
    data = LabelledPictures(folder=str(place), num_classifier=num_classifier)
    if source := shards_in(place):
        data = LabelledPictures((source,), num_classifier=num_classifier)
    return place, data, [label for split in SPLITS for label in list_sources(data.sources, split).labels]


def subfolder_of(folder: Path, kind: type[ClassFolders | SoundFolders]) -> Path:
    """The folder that holds the pictures or the sounds, where these lie in folders of their own; else all of it."""
    sources = () if find_manifests(folder) else own_sources(folder)
    return next((Path(str(one.path)) for one in sources if isinstance(one, kind)), folder)


def look_at(data: LabelledPictures) -> tuple[bool, str]:
    """Whether pictures are small and grey as drawings are, and how they are, for people."""
    pictures = data.pictures("train")[0]
    seen = [image for _, image in pictures.read(range(0, len(pictures), math.ceil(len(pictures) / LOOKED_AT)))]
    if not seen:
        raise InputError(f"{pictures.files[0].name}: cannot be read, nor can others; give pictures that can")
    is_ink = all(len({band.tobytes() for band in image.convert("RGB").split()}) == 1 for image in seen)
    width, height = sorted(image.size for image in seen)[len(seen) // 2]
    return is_ink and max(width, height) <= 64, f"; {width} x {height} pixels, {'grey' if is_ink else 'in colour'}"


def classes_in(place: Path) -> dict[str, tuple[Any, str]]:
    """The changes that give a recipe the classes of a folder of pictures."""
    where: dict[str, tuple[Any, str]] = {
        "data.folder": (str(place.resolve()), "pictures of one's own, in place of the sources")
    }
    if shards_in(place):
        where = named_source(place, "pictures of one's own, packed; `names` gives classes that are numbers others")
    return {**where, "data.class_names": (None, "all classes of the folder, by name")}


def shards_in(folder: Path) -> SampleShards | None:
    """The source of a folder of WebDataset tars, Parquet files, or what `datasets` saved; None of other folders."""
    return SampleShards(str(folder)) if holds_shards(folder) else None


def named_source(folder: Path, why: str) -> dict[str, tuple[Any, str]]:
    """The change that makes what is packed in a folder the only source of a recipe."""
    return {"data.sources": ([{"class": "SampleShards", "path": str(folder.resolve())}], why)}


def count_labels(what: str, labels: Sequence[str]) -> str:
    """How many there are of each class."""
    num = Counter(labels)
    each = some([f"{name} {num[name]}" for name in sorted(num)], 8)
    return f"{len(labels)} {what} of {len(num)} class{'es' * (len(num) != 1)} ({each})"
