"""Pictures and their sounds: pictures fitted and sounds decoded, once, and heard where the encoder is frozen."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from synesthete import hub
from synesthete.conditioning.audio_text import SoundAndText
from synesthete.config import plain
from synesthete.data.audio_image_pairs import AudioImageSamples, class_note
from synesthete.data.captions import Captions, names_class
from synesthete.data.music import some
from synesthete.data.rows import compute_rows
from synesthete.data.waveforms import as_float
from synesthete.io import alone, digest, load_or_compute
from synesthete.tasks.audio_to_image.shots import Shots
from synesthete.tasks.audio_to_image.sounds import Sounds, num_heard
from synesthete.tasks.images.preparation import encode_once, measure
from synesthete.tasks.music.preparation import decode
from synesthete.types import InputError, Prepared

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from synesthete.config import Recipe
    from synesthete.data.audio_image_pairs import AudioImagePairs, PairListing
    from synesthete.data.found_pairs import PairPart
    from synesthete.data.rows import Rows
    from synesthete.types import Progress

BATCH = 64  # sounds that are listened to at once, and the rows of a shard

logger = logging.getLogger(__name__)


@alone(lambda recipe, folder=None, progress=None: folder or default_folder(recipe))
def prepare(recipe: Recipe, folder: Path | None = None, progress: Progress | None = None) -> Prepared:
    """Gather pictures and sounds, fit the one and decode the other, measure the codec; what is there already is kept.

    Raises:
        InputError: whatever is wrong with the data, in one line.
    """
    data: AudioImagePairs = recipe.data()
    codec, conditioner, place = recipe.codec(), recipe.conditioner(), folder or default_folder(recipe)
    report = progress or (lambda *_: None)
    listing = data.pairs(place, report)
    rate = conditioner.sample_rate
    length = num_heard(data.seconds, conditioner)
    waveforms = decode(listing.entries, place / "recordings", rate, progress, profiled=False)
    sounds = Sounds(data, listing, waveforms, length, rate)
    pictures = Shots(listing, sounds, codec, place, report)
    statistics = load_or_compute(
        place / f"statistics-{digest(plain(recipe.codec))}-{pictures.shown}.safetensors",
        partial(measure, codec, pictures.samples["train"]),
    )
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
                found.x_0 = encode_once(codec, found, place / f"latents-{part}-{named}", part, progress)
    told = Told(data, listing, pictures, conditioner)
    heard = None
    if conditioner.has_fixed_features:
        heard = listen_once(conditioner, sounds, place, report)
        if data.sound_augmentation:
            notes.append("data.sound_augmentation is left out, since the encoder is frozen and sounds are heard once")
    notes += told.notes

    def samples(part: PairPart) -> AudioImageSamples:
        own = pictures.samples[part]
        chosen = sounds.places(part)
        return AudioImageSamples(
            own.pictures,
            own.labels,
            sounds.pieces.take(chosen),
            sounds.labels[chosen],
            SoundAndText,
            own.x_0,
            *told.of(part),
            heard=heard.take(chosen) if heard else None,
            pairs=pictures.pairs(part, chosen),
            augmentation=own.augmentation,
            sound_augmentation=data.sound_augmentation if part == "train" and heard is None else None,
            speakers=tuple(listing.found.sounds[i].speaker or "" for i in chosen.tolist()),
            sample_rate=rate,
            templates=told.templates,
        )

    train = samples("train")
    skipped = [*listing.found.skipped, *sounds.skipped, *pictures.skipped]
    if skipped:
        notes.append(f"skipped {len(skipped)} unusable files: {some(skipped, 10)}")
    for note in notes:
        logger.warning(note)
    return Prepared(
        train.in_balance() if data.balanced_batches else train,
        samples("test"),
        statistics,
        listing.class_names,
        (*notes, *sounds.remarks),
        tuple(skipped),
        classifier=pictures.samples["classifier"],
        speakers=samples("speakers") if "speakers" in pictures.samples else None,
    )


class Told:
    """What may be said of each picture: token ids of every caption, and which of them fit the picture."""

    def __init__(self, data: AudioImagePairs, listing: PairListing, pictures: Shots, conditioner: Any) -> None:
        self.notes: list[str] = []
        self.texts: Tensor | None = None
        self.read: tuple[str, ...] = ()
        self.templates: tuple[str, ...] = () if isinstance(data.captions, str) else data.captions
        self.choices: dict[PairPart, Tensor] = {}
        if not data.captions or conditioner.reads != "audio_text":
            return
        parts: tuple[PairPart, ...] = ("train", "test", "speakers")
        there = [part for part in parts if part in pictures.samples]
        if data.captions == "text":
            own = {part: [listing.found.pictures[i].text or "" for i in pictures.numbers[part]] for part in there}
            self.read = tuple(sorted({text for texts in own.values() for text in texts}))
            if self.read == ("",):
                raise InputError(
                    "data.captions 'text': no line of the manifest has a 'text'; give captions of your own"
                )
            number = {text: place for place, text in enumerate(self.read)}
            self.choices = {part: torch.tensor([number[t] for t in texts])[:, None] for part, texts in own.items()}
        else:
            captions = Captions(data.captions, listing.class_names)
            self.read = captions.texts
            train = pictures.samples["train"]
            captions.fit(train.pictures, train.labels)
            for part in there:
                self.choices[part] = captions.choose(pictures.samples[part].pictures, pictures.samples[part].labels)
        named = [text for text in self.read if any(names_class(text, name) for name in listing.class_names)]
        if named:
            self.notes.append(class_note(named))
        self.texts = conditioner.compose(prompts=self.read).text

    def of(self, part: PairPart) -> tuple[Tensor | None, Tensor | None, tuple[str, ...]]:
        """Of a split: captions of each picture (n, T), token ids of all (k, L), and the captions."""
        return self.choices.get(part), self.texts, self.read


@torch.no_grad()
def listen_once(conditioner: Any, sounds: Sounds, place: Path, report: Progress) -> Rows:
    """What the conditioner's frozen encoder makes of every sound (m, E), a shard of BATCH sounds at a time."""
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    conditioner.eval().to(device)
    # Silent and broken ones are rows as well, so that the numbers stay: of zeros, which no batch takes.
    used = sounds.used.tolist()
    contents = [entry.content if used[i] else "" for i, entry in enumerate(sounds.listing.entries)]
    named = digest([conditioner.identity(), sounds.length, sounds.rate])
    folder = place / f"heard-{named}"

    def listen(places: Tensor) -> Tensor:
        sound = as_float(sounds.pieces[places]).to(device)
        return conditioner.extract_features(SoundAndText(sound=sound)).sound.float().cpu()

    return compute_rows(
        len(contents),
        BATCH,
        lambda _, places: folder / f"{digest([contents[i] for i in places.tolist()])}.safetensors",
        listen,
        partial(report, "sounds heard"),
    )


def default_folder(recipe: Recipe) -> Path:
    """A folder of the cache for pictures as this recipe's codec reads them, and for their sounds."""
    return hub.cache_folder() / "prepared" / f"pairs-{digest(plain(recipe.codec))}"
