"""Pictures and their sounds: pictures fitted and sounds decoded, once, and heard where the encoder is frozen."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete.conditioning.audio_text import SoundAndText
from synesthete.config import Recipe, plain
from synesthete.data.audio import as_float
from synesthete.data.audio_image_pairs import AudioImagePairs, AudioImageSamples, PairListing, class_note
from synesthete.data.captions import Captions, names_class
from synesthete.data.files import some
from synesthete.data.labelled import PictureSamples
from synesthete.data.pictures import Pictures
from synesthete.data.preprocessed import PreprocessedImages, preprocess_images
from synesthete.data.rows import Pieces, Rows, compute_rows, loudest_start
from synesthete.data.waveforms import LEVELS_PER_SECOND, Waveform
from synesthete.io import digest
from synesthete.tasks.images.task import batches_of, encode_pictures_once
from synesthete.tasks.music.cutting import decode_recordings
from synesthete.tasks.preparation import accelerator, check_training_classes, measure_codec, say_notes
from synesthete.types import InputError, Prepared, Progress

if TYPE_CHECKING:
    from synesthete.data.found_pairs import PairPart

SECONDS = 10.0  # of a sound, where neither data nor encoder says
PARTS: tuple[PairPart, ...] = ("train", "classifier", "test", "speakers")
BATCH = 64  # sounds that are listened to at once, and the rows of a shard


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
        for label in sorted(set(range(len(listing.class_names))) - there):
            lost = (r for r, entry in zip(reasons, listing.entries, strict=True) if r and entry.label == label)
            why = next((f" ({reason})" for reason in lost), "")
            name = listing.class_names[label]
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


class Shots:
    """The pictures of each split as the codec reads them, each read once; none is in two splits.

    Attributes:
        samples: by split. order: a name for what the pictures of each show, one after the other. shown: a name for
            what those to train on show, in any order.
    """

    def __init__(
        self, listing: PairListing, sounds: Sounds, codec: Any, place: Path, report: Progress, max_pixels: int
    ) -> None:
        self.listing, self.sounds, self.max_pixels = listing, sounds, max_pixels
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
        fitted = {part: self._fit(part, places[part], codec, place, report) for part in PARTS if places[part]}
        if "train" not in fitted:
            raise InputError("no pictures to train on; add some, or lower data.num_classifier")
        unseen = set(fitted["test"].contents)
        for part in ("speakers", "classifier", "train"):
            if part in fitted:
                fitted[part] = fitted[part].without(unseen) if part != "speakers" else fitted[part]
                unseen |= set(fitted[part].contents)
        self.order = {part: digest(b"".join(rows.contents)) for part, rows in fitted.items()}
        self.shown = digest(b"".join(sorted(fitted["train"].contents)))
        self.numbers = {part: [places[part][i] for i in rows.places.tolist()] for part, rows in fitted.items()}
        self.samples = {p: PictureSamples(rows.rows, self._labels(self.numbers[p])) for p, rows in fitted.items()}
        if "classifier" not in self.samples:
            none = torch.zeros(0, dtype=torch.int64)
            self.samples["classifier"] = PictureSamples(fitted["train"].rows.take(none), none)
            self.notes.append(
                "no pictures left for the classifier alone; add some to have samples evaluated by a classifier"
            )
        check_training_classes(listing.class_names, self.samples["train"].labels.tolist())

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
        labels = self._labels(places).tolist()
        audible = [i in self.own or label in heard for i, label in zip(places, labels, strict=True)]
        if part == "test" and not all(audible):
            lost = dict.fromkeys(label for label, is_heard in zip(labels, audible, strict=True) if not is_heard)
            names = [self.listing.class_names[label] for label in lost]
            self.notes.append(f"test leaves out {len(names)} classes without a held-out sound: {some(names)}")
        return list(compress(places, audible))

    def _fit(self, part: PairPart, places: list[int], codec: Any, place: Path, report: Progress) -> PreprocessedImages:
        shown = [self.listing.found.pictures[i] for i in places]
        files, labels = [one.picture for one in shown], [one.label for one in shown]
        pictures = Pictures(files, labels, max_pixels=self.max_pixels)
        name = f"pictures-{part}"
        fitted = preprocess_images(pictures, codec, place, name, progress=partial(report, name))
        self.skipped += [f"{line}: no readable picture" for line in fitted.skipped]
        return fitted

    def _labels(self, places: Sequence[int]) -> Tensor:
        names = self.listing.class_names
        return torch.tensor([names.index(self.listing.found.pictures[i].label) for i in places], dtype=torch.int64)


def prepare_pairs(recipe: Recipe, place: Path, report: Progress) -> Prepared:
    """Pictures fitted, sounds decoded, the codec measured; what is there already is kept."""
    data: AudioImagePairs = recipe.data()
    codec, conditioner = recipe.codec(), recipe.conditioner()
    listing = data.pairs(place, report)
    rate = conditioner.sample_rate
    length = num_heard(data.seconds, conditioner)
    waveforms = decode_recordings(listing.entries, place / "recordings", rate, report, profiled=False)
    sounds = Sounds(data, listing, waveforms, length, rate)
    pictures = Shots(listing, sounds, codec, place, report, data.max_pixels)
    path = place / f"statistics-{digest(plain(recipe.codec))}-{pictures.shown}.safetensors"
    statistics = measure_codec(codec, path, partial(batches_of, pictures.samples["train"]))
    notes = [*listing.notes, *sounds.notes, *pictures.notes]
    pictures.samples["train"].augmentation = data.augmentation
    if codec.caches_latents:
        codec.load_state_dict(statistics)
        for part in ("train", "test", "speakers"):
            if part in pictures.samples:
                found = pictures.samples[part]
                named = digest(
                    [plain(recipe.codec), plain(recipe.data.augmentation), pictures.shown, pictures.order[part]]
                )
                found.x_0 = encode_pictures_once(codec, found, place / f"latents-{part}-{named}", part, report)
    choices, texts, read, remarks = fitting_captions(data, listing, pictures, conditioner)
    templates = () if isinstance(data.captions, str) else data.captions
    heard = None
    if conditioner.has_fixed_features:
        heard = listen_once(conditioner, sounds, place, report)
        if data.sound_augmentation:
            notes.append("data.sound_augmentation is left out, since the encoder is frozen and sounds are heard once")
    notes += remarks

    def samples(part: PairPart) -> AudioImageSamples:
        own = pictures.samples[part]
        chosen = sounds.places(part)
        shown = own.pictures, own.labels, sounds.pieces.take(chosen), sounds.labels[chosen], SoundAndText, own.x_0
        how: dict[str, Any] = {"pairs": pictures.pairs(part, chosen), "sample_rate": rate, "templates": templates}
        how |= {"heard": heard.take(chosen) if heard else None, "augmentation": own.augmentation}
        how["sound_augmentation"] = data.sound_augmentation if part == "train" and heard is None else None
        how["speakers"] = tuple(listing.found.sounds[i].speaker or "" for i in chosen.tolist())
        return AudioImageSamples(*shown, choices.get(part), texts, read, **how)

    train = samples("train")
    skipped = (*listing.found.skipped, *sounds.skipped, *pictures.skipped)
    sides = train.in_balance() if data.balanced_batches else train, samples("test")
    said = (*say_notes(notes, skipped, "unusable"), *sounds.remarks)
    beside: dict[str, Any] = {"classifier": pictures.samples["classifier"]}
    beside["speakers"] = samples("speakers") if "speakers" in pictures.samples else None
    return Prepared(*sides, statistics, listing.class_names, said, skipped, **beside)


def fitting_captions(
    data: AudioImagePairs, listing: PairListing, pictures: Shots, conditioner: Any
) -> tuple[dict[PairPart, Tensor], Tensor | None, tuple[str, ...], list[str]]:
    """Which captions fit each picture (n, T) by split, token ids (k, L) of them all, how these read, and notes."""
    if not data.captions or conditioner.reads != "audio_text":
        return {}, None, (), []
    samples: dict[PairPart, Any] = {part: found for part, found in pictures.samples.items() if part != "classifier"}
    if data.captions == "text":
        own = {part: [listing.found.pictures[i].text or "" for i in pictures.numbers[part]] for part in samples}
        read = tuple(sorted({text for texts in own.values() for text in texts}))
        if read == ("",):
            raise InputError("data.captions 'text': no line of the manifest has a 'text'; give captions of your own")
        number = {text: place for place, text in enumerate(read)}
        choices = {part: torch.tensor([number[t] for t in texts])[:, None] for part, texts in own.items()}
    else:
        captions = Captions(data.captions, listing.class_names)
        captions.fit(samples["train"].pictures, samples["train"].labels)
        read = captions.texts
        choices = {part: captions.choose(found.pictures, found.labels) for part, found in samples.items()}
    named = [text for text in read if any(names_class(text, name) for name in listing.class_names)]
    return choices, conditioner.compose(prompts=read).text, read, [class_note(named)] if named else []


@torch.no_grad()
def listen_once(conditioner: Any, sounds: Sounds, place: Path, report: Progress) -> Rows:
    """What the conditioner's frozen encoder makes of every sound (m, E), a shard of BATCH sounds at a time."""
    conditioner.eval()
    # Silent and broken ones are rows as well, so that the numbers stay: of zeros, which no batch takes.
    used = sounds.used.tolist()
    contents = [entry.content if used[i] else "" for i, entry in enumerate(sounds.listing.entries)]
    named = digest([conditioner.identity(), sounds.length, sounds.rate])

    def listen(places: Tensor) -> Tensor:
        device = accelerator()  # of the machine that listens
        conditioner.to(device)
        sound = as_float(sounds.pieces[places]).to(device)
        return conditioner.extract_features(SoundAndText(sound=sound)).sound.float().cpu()

    def shard(_: int, places: Tensor) -> Path:
        return place / f"heard-{named}" / f"{digest([contents[i] for i in places.tolist()])}.safetensors"

    what = "sounds heard"
    return compute_rows(len(contents), BATCH, shard, listen, partial(report, what), step=what)
