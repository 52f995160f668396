"""Where pictures and their sounds come from: manifests and lists, folders of sounds, spoken digits, voices."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Literal

from synesthete import seeding
from synesthete.config.build import shorten
from synesthete.data.files import find_classes, legible, read_manifest
from synesthete.data.found_pairs import AudioEntry, FoundPairs, ImageEntry, PairSource
from synesthete.data.picture import PictureFile
from synesthete.data.pictures import DIGITS
from synesthete.data.recordings import Recording, Recordings
from synesthete.data.speech.clips import SHARES, Variation
from synesthete.data.speech.corpus import build_speech_corpus
from synesthete.data.speech.engines import (
    EngineChoice,
    Espeak,
)
from synesthete.types import AudioSpec, InputError, Progress

# Of a spoken corpus: the voices of its classifier are more to learn from, those of its test are never heard.
VOICE_SPLITS = {"train": "train", "classifier": "train", "test": "speakers"}


class PairManifest(PairSource):
    """A `metadata.jsonl` or any list of its kind: lines of `class`, `image` and `audio`, perhaps `text` and `speaker`.

    Args:
        path: the folder of a `metadata.jsonl`, or a .jsonl file of any name. None gives nothing.
        root: the folder that its paths start from; None: the manifest's own.
        pairing: "fixed": the picture and the sound of a line belong together. "class": any picture of a class goes with
            any sound of it, and a line may have one alone.
        speaker, group: regular expressions on a sound's path, whose first group is who speaks, or what recording it
            was cut from; what was cut from one is never in two splits. None: the line's `speaker`, and the file.
        names: other names for the classes, old to new.
    """

    def __init__(
        self,
        path: str | None = None,
        root: str | None = None,
        pairing: Literal["fixed", "class"] = "fixed",
        speaker: str | None = None,
        group: str | None = None,
        names: dict[str, str] | None = None,
    ) -> None:
        self.path, self.root, self.pairing = path, root, pairing
        self.speaker, self.group = compiled(speaker, "speaker"), compiled(group, "group")
        self.names = names or {}

    def pairs(self, folder: Path, progress: Progress) -> FoundPairs:
        """The pictures and sounds of all lines, each once.

        Raises:
            InputError: no such manifest, a line that is not one, or where pairs are fixed one without image or audio.
        """
        if self.path is None:
            return FoundPairs()
        path = Path(self.path)
        root = Path(self.root) if self.root else path if path.is_dir() else path.parent
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; give the root of the paths in {path}")
        found = FoundPairs()
        pictures: dict[tuple[str, str], int] = {}
        sounds: dict[tuple[str, str], int] = {}
        for entry in read_manifest(path):
            label = self.names.get(entry.label, entry.label)
            for key, value, other in (("audio", entry.audio, entry.image), ("image", entry.image, entry.audio)):
                if value is None and (self.pairing == "fixed" or other is None):
                    named = f"the line of {other}" if other else f"a line of class {shorten(entry.label)}"
                    raise InputError(f"{path}: {named} has no {key!r}; add it, remove the line, or set pairing=class")
            if entry.image is not None and (entry.image, label) not in pictures:
                pictures[entry.image, label] = len(found.pictures)
                picture = PictureFile(str(root / entry.image))
                found.pictures.append(ImageEntry(picture, label, entry.image, entry.split, entry.text))
            if entry.audio is not None and (entry.audio, label) not in sounds:
                sounds[entry.audio, label] = len(found.sounds)
                speaker = entry.speaker or first_group(self.speaker, entry.audio)
                group = first_group(self.group, entry.audio) or entry.audio
                sound = Recording(str(root / entry.audio), entry.audio)
                found.sounds.append(AudioEntry(sound, label, group, speaker, entry.split))
            if self.pairing == "fixed":
                found.pairs.append((pictures[str(entry.image), label], sounds[str(entry.audio), label]))
        return found


class SoundFolders(PairSource):
    """A folder with one folder of sounds a class; or with these in folders that are named as splits are.

    Args:
        path: the folder. None gives nothing. speaker, group, names: as of `PairManifest`.
    """

    def __init__(
        self,
        path: str | None = None,
        speaker: str | None = None,
        group: str | None = None,
        names: dict[str, str] | None = None,
    ) -> None:
        self.path, self.names = path, names or {}
        self.speaker, self.group = compiled(speaker, "speaker"), compiled(group, "group")

    def pairs(self, folder: Path, progress: Progress) -> FoundPairs:
        """The sounds; those outside of the classes' folders are left out, and that is said.

        Raises:
            InputError: no such folder, or no class with sounds in it.
        """
        if self.path is None:
            return FoundPairs()
        found, outside = FoundPairs(), []
        listed = Recordings(self.path).recordings()
        layout = find_classes(Path(self.path))
        classes = dict(layout.classes)
        for recording in listed:
            own = next((parent for parent in (self.path / Path(recording.place)).parents if parent in classes), None)
            if own is None:
                outside.append(recording.name)
                continue
            name, split = legible(own.name).strip(), classes[own]
            group = first_group(self.group, recording.place) or recording.place
            speaker = first_group(self.speaker, recording.place)
            found.sounds.append(AudioEntry(recording, self.names.get(name, name), group, speaker, split))
        if not found.sounds:
            raise InputError(f"{self.path}: no class folders with sounds in it; put each class's into one of its name")
        found.notes += layout.notes
        if outside:
            found.notes.append(f"{len(outside)} sounds outside of the classes' folders left out: {outside[0]}")
        return found.undecided()


class Fsdd(PairSource):
    """Spoken digits of the Free Spoken Digit Dataset: `<digit>_<speaker>_<take>.wav`, classes "zero" to "nine".

    Args:
        path: the folder of these files, or the one that holds it as `recordings`. None gives nothing.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path

    def pairs(self, folder: Path, progress: Progress) -> FoundPairs:
        """The takes, each with its speaker.

        Raises:
            InputError: no such folder, or no file of that name in it.
        """
        if self.path is None:
            return FoundPairs()
        root = Path(self.path)
        root = root / "recordings" if (root / "recordings").is_dir() else root
        found = FoundPairs()
        for recording in Recordings(str(root)).recordings():
            if match := re.fullmatch(r"(\d)_(.+)_(\d+)", PurePosixPath(recording.place).stem):
                found.sounds.append(AudioEntry(recording, DIGITS[int(match[1])], recording.place, match[2]))
        if not found.sounds:
            raise InputError(f"{root}: no file such as 7_jackson_12.wav in it; give FSDD's recordings")
        return found


class SpokenWords(PairSource):
    """Voices of this machine that say the classes' names; nothing is downloaded.

    Held-out takes are of voices that are trained on; the corpus' test voices are the speakers never heard.

    Args:
        words: class name -> what is said for it; in a recipe a dictionary. None gives nothing.
        takes: clips of a word by a voice. seconds: of the longest clip; a longer one is said faster.
        rates, pitches, speeds, semitones, shares, engine: as of `ImageSpeechPairs`. sample_rate: in Hz.
    """

    def __init__(
        self,
        words: dict[str, str] | None = None,
        takes: int = 12,
        seconds: float = 1.0,
        rates: tuple[int, int] = (130, 190),
        pitches: tuple[int, int] = (30, 70),
        speeds: tuple[float, float] | None = None,
        semitones: tuple[float, float] | None = None,
        shares: tuple[float, float, float, float] = SHARES,
        engine: EngineChoice = None,
        sample_rate: int = 24_000,
        seed: int = 0,
    ) -> None:
        self.words, self.takes, self.seconds = words, takes, seconds
        self.rates, self.pitches, self.variation = rates, pitches, Variation(speeds, semitones, shares)
        self.engine, self.sample_rate, self.seed = engine, sample_rate, seed

    def pairs(self, folder: Path, progress: Progress) -> FoundPairs:
        """The clips, spoken into the folder where they are missing."""
        if not self.words:
            return FoundPairs()
        engine = self.engine or Espeak()
        said = repr([engine.identity(), {k: v for k, v in vars(self).items() if k not in ("engine", "variation")}])
        corpus = folder / f"spoken-{seeding.derive(self.seed, said, repr(vars(self.variation))):016x}"
        corpus.mkdir(parents=True, exist_ok=True)
        summary = build_speech_corpus(
            self.words,
            corpus,
            seconds=self.seconds,
            takes=self.takes,
            engine=engine,
            rates=self.rates,
            pitches=self.pitches,
            variation=self.variation,
            allow_few_targets=True,  # nothing here is to be said by a model
            spec=AudioSpec(sample_rate=self.sample_rate),
            seed=self.seed,
            progress=lambda done, total: progress("speaking", done, total),
        )
        found = FoundPairs(skipped=list(summary.skipped))
        for entry in read_manifest(corpus):
            # None: which takes are held out is drawn with all other sounds of the class.
            split = None if VOICE_SPLITS[str(entry.split)] == "train" else VOICE_SPLITS[str(entry.split)]
            recording = Recording(str(corpus / str(entry.audio)), str(entry.audio))
            found.sounds.append(AudioEntry(recording, entry.label, recording.place, entry.speaker, split))
        return found


def compiled(pattern: str | None, name: str) -> re.Pattern[str] | None:
    """A pattern with one group or more."""
    if pattern is None:
        return None
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise InputError(f"{name} {pattern!r}: no regular expression ({error})") from None
    if not found.groups:
        raise InputError(f"{name} {pattern!r}: no group in it; put what names the {name} into parentheses")
    return found


def first_group(pattern: re.Pattern[str] | None, path: str) -> str | None:
    """What the pattern's first group finds in a path."""
    match = pattern.search(path) if pattern else None
    return match[1] if match else None
