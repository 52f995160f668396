"""Pictures that speak: a sound, its spectrogram and what was said for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete.conditioning.voices import ALL, VoicedPicture
from synesthete.data.audio import read_audio
from synesthete.data.files import SOUNDS, legible
from synesthete.data.picture import find_pictures, list_pictures, read_picture
from synesthete.evaluation.classifiers.classifier import load_classifier
from synesthete.evaluation.classifiers.speech import SpeechClassifier, recognise
from synesthete.io import digest
from synesthete.picture_decoder import MAX_PIXELS
from synesthete.tasks.image_to_speech.speakers import load_speaker_encoder
from synesthete.tasks.results import Sound
from synesthete.tasks.sampling import Item, Plan, SampleRequest, find_inputs, name_stems, split_commas
from synesthete.types import InputError, Progress, SpokenPictures

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.pipeline import Pipeline

NUM_TOLD, LEAST_TOLD = 3, 0.01  # voices that a clip is told to be made of
ADD_SPEAKERS = "run `synesthete train` on its run folder again, which adds one, or name a voice"
ADD_CLASSIFIER = "run `synesthete train` on its run folder again, which adds one"


@dataclass(frozen=True)
class SpeechRequest(SampleRequest):
    """Pictures, files of them, or folders of files, and who speaks, how; `help.tsv` says what each field is."""

    inputs: Sequence[Path | Image.Image] = ()
    max_pixels: int = MAX_PIXELS
    voice: str | None = None
    pitch: float | None = None
    rate: float | None = None

    def check(self) -> None:
        """There is a picture."""
        if not self.inputs:
            raise InputError(f"{self.model}: a model that speaks; give it pictures, or folders of pictures")
        find_inputs(self.inputs, "picture", list_pictures)


class SpeechPlan(Plan):
    """A clip for each picture, whose noise is a function of the seed and of what the model sees of it."""

    suffixes = (".wav", ".png")
    cpu_batch_size = 4  # as fast as larger ones

    def __init__(self, pipeline: Pipeline, request: SpeechRequest, folder: Path | None = None) -> None:
        super().__init__(pipeline, request, folder)
        self.classifier = load_classifier(folder, SpeechClassifier) if folder else None
        if self.classifier is None and request.out is not None:
            self.notes.append(f"{request.model}: no classifier with it, so nobody tells what it said; {ADD_CLASSIFIER}")
        found, self.inputs, stems = find_inputs(request.inputs, "picture", list_pictures)
        for given in request.inputs:
            unread = find_pictures(given)[1] if isinstance(given, Path) and given.is_dir() else []
            self.skipped += [f"{legible(str(path))}: a picture of a kind that is not read" for path in unread]
        wanted = {name: one for name in ("voice", "pitch", "rate") if (one := getattr(request, name)) is not None}
        voices = asked_voices(pipeline.conditioner, wanted, request.model)
        self.shares = {name: clip_shares(folder, name, request.model) for name in voices if name and is_clip(name)}
        self.inputs += [Path(name).expanduser() for name in self.shares]
        clips = name_stems([Path(name) for name in self.shares], [])
        names = {name: name for name in voices} | dict(zip(self.shares, map(legible, clips), strict=True))
        # The noise of a picture is the same whoever speaks.
        self.items = [
            Item(f"{stem}_{names[own['voice']]}" if len(voices) > 1 else stem, (), own, raw=picture)
            for stem, picture in zip(stems, found, strict=True)
            for own in (wanted | ({"voice": voice} if voice else {}) for voice in voices)
        ]

    def make(self, items: Sequence[Item], progress: Progress) -> list[Sound | None]:
        """What the pictures say; None for one that cannot be read."""
        fitted: dict[int, Tensor] = {}
        for place, item in enumerate(items):
            try:
                of_file = isinstance(item.raw, Path)
                picture = read_picture(item.raw, self.request.max_pixels) if of_file else item.raw
                fitted[place] = self.pipeline.preprocess([picture])
                item.key = (digest(fitted[place], size=8),)  # what is seen names the noise, under whatever name it lies
            except InputError as error:
                self.skipped += [str(error)] * (str(error) not in self.skipped)  # once, however many voices
        made: list[Sound | None] = [None] * len(items)
        if not fitted:
            return made
        readable, codec = [items[place] for place in fitted], self.pipeline.codec
        generators = self.generators(readable)
        raw, spoken = self.tell([fitted[place] for place in fitted], readable, generators)
        output = self.sampled(raw, generators)
        spectrograms = codec.pictures(output.x_0)
        for place, waveform, spectrogram, voice in zip(fitted, output.signal, spectrograms, spoken, strict=True):
            [verdict] = recognise(self.classifier, waveform[None]) if self.classifier else [None]
            told = {"picture": legible(items[place].raw.name)} if isinstance(items[place].raw, Path) else {}
            told |= items[place].how | voice
            made[place] = Sound(waveform.cpu(), codec.spec.sample_rate, spectrogram, self.how(**told), verdict)
        return made

    def tell(
        self, fitted: Sequence[Tensor], items: Sequence[Item], generators: Sequence[torch.Generator]
    ) -> tuple[Any, list[dict[str, str]]]:
        """The raw condition of pictures (1, C, H, W), and the voice that each is spoken in, where the model has any."""
        conditioner = self.pipeline.conditioner
        if not isinstance(conditioner, VoicedPicture):
            return torch.cat(list(fitted)), [{}] * len(items)
        how = [
            item.how | {"voice": self.shares.get(one, one)} if (one := item.how.get("voice")) else item.how
            for item in items
        ]
        each = [conditioner.compose(picture, **own) for picture, own in zip(fitted, how, strict=True)]
        if self.shares:  # by a clip or by name: all as shares of the voices
            each = [replace(one, voice=conditioner.shares(one.voice)) for one in each]
        raw = conditioner.complete(SpokenPictures.concatenate(each), generators)
        if not self.shares:
            return raw, [{"voice": conditioner.voices[place]} for place in raw.voice.tolist()]
        return raw, [{"voice": self.told_voice(item.how["voice"])} for item in items]

    def told_voice(self, name: str) -> str:
        """A voice for whoever reads a file; of a clip also the voices that it is made of, the larger shares first."""
        if name not in self.shares:
            return name
        shares, places = self.shares[name].topk(min(NUM_TOLD, len(self.shares[name])))
        voices = self.pipeline.conditioner.voices
        told = zip(shares.tolist(), places.tolist(), strict=True)
        of = [f"{voices[place]} {share:.2f}" for share, place in told if share >= LEAST_TOLD]
        return f"{legible(Path(name).name)} ({', '.join(of)})"


def asked_voices(conditioner: Any, wanted: Mapping[str, Any], model: str) -> list[str | None]:
    """The voices that are asked for by name, of each of which every picture is spoken; None where chance decides."""
    if not isinstance(conditioner, VoicedPicture):
        if wanted:
            raise InputError(
                f"{model}: was told of no voices, so there is none to choose, nor pitch or rate; leave "
                f"{' and '.join(f'--{name}' for name in wanted)} out, another --seed gives another voice"
            )
        return [None]
    conditioner.check(**{name: wanted.get(name) for name in ("pitch", "rate")})
    if (asked := wanted.get("voice")) is None:
        return [None]
    if asked == ALL:
        return list(conditioner.voices)
    wanted_ones = [asked] if is_clip(asked) else split_commas([asked])
    if not wanted_ones:
        raise InputError(f"voice {asked!r}: names none; give one of {', '.join(conditioner.voices[:8])}, or {ALL}")
    named = [one if is_clip(one) else conditioner.voices[conditioner.find_voice(one)] for one in wanted_ones]
    return list(dict.fromkeys(named))


def is_clip(voice: str) -> bool:
    """Whether a voice is a sound file and no name: there is such a file, or it ends as one."""
    path = Path(voice).expanduser()
    return path.is_file() or ("," not in voice and path.suffix.lower() in SOUNDS)


def clip_shares(folder: Path | None, clip: str, model: str) -> Tensor:
    """The share (V,) of each of the model's voices in a sound file. folder: of the model."""
    encoder = load_speaker_encoder(folder) if folder else None
    if encoder is None:
        raise InputError(f"{model}: no encoder of speakers with it, so no clip can be its voice; {ADD_SPEAKERS}")
    path = Path(clip).expanduser()
    return encoder.recognise(read_audio(path, encoder.spec.sample_rate), legible(str(path)))
