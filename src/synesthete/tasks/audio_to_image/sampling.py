"""Sounds that paint: how a model hears them, and pictures of each, every file telling how it was made, or strips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from synesthete import seeding
from synesthete.codecs.codec import enlarged
from synesthete.conditioning.audio_text import SoundAndText, slerp
from synesthete.config import Recipe
from synesthete.data.audio import as_float
from synesthete.data.files import legible, list_files
from synesthete.data.picture import to_images
from synesthete.data.recordings import SUFFIXES, Recording
from synesthete.data.rows import Pieces, loudest_start
from synesthete.data.waveforms import LEVELS_PER_SECOND, keep_waveforms
from synesthete.evaluation.reporting.media import draw_sheet
from synesthete.tasks.audio_to_image.preparation import num_heard, unusable
from synesthete.tasks.results import PictureResult
from synesthete.tasks.sampling import Item, Plan, SampleRequest, find_files, name_stems
from synesthete.types import InputError, Progress

if TYPE_CHECKING:
    from synesthete.pipeline import Pipeline

__all__ = ["Listening"]

LISTENED = 32  # sounds in memory at once
STRONGEST = 2.0
LARGE_BATCH = 4  # pictures at once of a large network, off the CPU
SILENCE_DB = -60.0  # where no recipe says
REMEDY = "record it louder, or give another"
NUM_FRAMES = 7  # of a strip between two sounds
ENLARGED = 256  # pixels of a picture in a GIF, at least


@dataclass(frozen=True)
class PaintRequest(SampleRequest):
    """Sounds, or folders of them, what is told beside each, or a strip; `help.tsv` says what each field is."""

    inputs: Sequence[Path] = ()
    prompts: Sequence[str] = ()
    num: int | None = None
    negative_prompt: str | None = None
    between: tuple[Path, Path] | None = None
    frames: int | None = None
    strengths: Sequence[float] = ()
    is_gif: bool = False

    @property
    def prompt(self) -> str | None:
        """The words beside the sounds."""
        return self.prompts[0] if self.prompts else None

    def check(self) -> None:
        """The options fit each other and are in range."""
        if wrong := [value for value in self.strengths if not 0 <= value <= STRONGEST]:
            raise InputError(
                f"--strengths {wrong[0]:g}: give 0, which is deaf, to {STRONGEST:g}; 1 is as it was trained"
            )
        told, strip = self.between or self.inputs, self.between or self.strengths
        frames, leads = self.frames, self.settings.get("audio_guidance_scale")
        scaled = self.strengths and self.settings.get("adapter_scale") is not None
        for refused, reason in (
            (not math.isfinite(leads or 0.0), f"--audio-guidance-scale {leads}: give a number"),
            (scaled, "--strengths has the strength of every picture; leave out --adapter-scale"),
            (self.between and self.strengths, "--between and --strengths: one strip at a time; leave out one of them"),
            (
                self.between and self.inputs,
                f"--between names its two sounds; leave out {', '.join(legible(str(given)) for given in self.inputs)}",
            ),
            (frames is not None and not self.between, "--frames: between which sounds? give --between FIRST SECOND"),
            (frames is not None and frames < 2, f"--frames {frames}: give at least 2, the two sounds themselves"),
            (
                self.is_gif and not strip,
                "--gif shows a strip in motion; give --between FIRST SECOND or --strengths 0 0.5 1",
            ),
            (len(self.prompts) > 1, f"--prompt: one beside a sound, not {len(self.prompts)}; call it for each"),
            (not told, f"{self.model}: paints what it hears; give it sounds, or folders of sounds"),
        ):
            if refused:
                raise InputError(reason)
        find_sounds(told)


class PaintPlan(Plan):
    """`num` pictures of each sound, or a strip of `num` rows; picture i of every sound begins with the same noise."""

    def __init__(self, pipeline: Pipeline, request: PaintRequest, folder: Path | None = None) -> None:
        super().__init__(pipeline, request, folder)
        for text in (request.prompt, request.negative_prompt):  # refused before an hour of listening
            if text is not None:
                pipeline.conditioner.text_encoder.tokenise([text])
        self.num = request.num or 1
        self.is_strip = bool(request.between or request.strengths)
        self.suffixes = (".png", ".json", ".gif") if request.is_gif else (".png", ".json")
        self.listening = Listening.of(pipeline.conditioner, folder)
        self.sounds = self.inputs = find_sounds(request.between or request.inputs)
        self.vectors: dict[Path, torch.Tensor] = {}
        if self.is_large and not self.on_cpu:
            self.batch_size = LARGE_BATCH
        self.network_batch = self.batch_size
        if self.is_strip:
            self.batch_size = 1
        self.done = 0  # pictures drawn so far
        if request.between:
            if len(self.sounds) != 2:
                raise InputError("--between: give two different sounds, not folders of them")
            first, second = (legible(sound.stem) for sound in self.sounds)
            self.items = [Item(f"{first}_to_{second}", (), raw=self.sounds)]
            return
        stems = zip(map(legible, name_stems(self.sounds, request.inputs)), self.sounds, strict=True)
        if request.strengths:
            self.items = [Item(f"{stem}_strengths", (), raw=path) for stem, path in stems]
            return
        self.items = [
            Item(f"{stem}_{i}" if i else stem, (i,), {"sound": name, "number": i}, str(Path(name).stem), path)
            for stem, path in stems
            for name in [legible(path.name)]
            for i in range(self.num)
        ]
        self.has_sheet = len(self.items) > 1

    @property
    def num_pictures(self) -> int:
        """Pictures in all, those of strips counted each."""
        request = self.request
        if not self.is_strip:
            return len(self.items)
        return len(self.items) * self.num * (len(request.strengths) or request.frames or NUM_FRAMES)

    def begin(self, progress: Progress) -> None:
        """Listen to every sound; one that cannot be used is skipped, but for one of a pair."""
        conditioner = self.pipeline.conditioner
        lengths: dict[Path, float] = {}
        num = 1 if self.on_cpu else LISTENED  # as for pictures, one alone is heard as among others
        for first in range(0, len(self.sounds), num):
            heard = {}
            for path in self.sounds[first : first + num]:
                try:
                    heard[path] = self.listening.hear(path)
                except InputError as error:
                    self.skipped.append(str(error))
            if heard:
                raw = conditioner.compose([sound.waveform for sound in heard.values()]).to(self.pipeline.device)
                self.vectors |= zip(heard, conditioner.extract_features(raw).sound, strict=True)
                lengths |= {path: sound.seconds for path, sound in heard.items()}
                self.notes += [sound.note for sound in heard.values() if sound.note]
            progress("sounds", min(first + num, len(self.sounds)), len(self.sounds))
        if self.skipped and (self.request.between or not self.vectors):
            raise self.unusable()
        self.notes += say_lengths(lengths, self.listening.seconds)
        self.items = [item for item in self.items if isinstance(item.raw, list) or item.raw in self.vectors]

    def make(self, items: Sequence[Item], progress: Progress) -> list[PictureResult]:
        """A picture of each, or its strip."""
        if self.is_strip:
            return [draw_strip(self, item, progress) for item in items]
        images = self.draw(self.raw([item.raw for item in items]), [item.key[0] for item in items], progress)
        return [PictureResult(image, self.how(**item.how)) for item, image in zip(items, images, strict=True)]

    def raw(self, paths: Sequence[Path]) -> SoundAndText:
        """What the conditioner reads of sounds (n,): each one's vector, with the prompt."""
        return self.with_prompt(torch.stack([self.vectors[path] for path in paths]))

    def with_prompt(self, vectors: torch.Tensor) -> SoundAndText:
        """Vectors of sounds (n, E), each with the prompt."""
        prompt = self.request.prompt
        text = None if prompt is None else self.pipeline.conditioner.text_encoder.tokenise([prompt])
        return SoundAndText(vectors, None if text is None else text.expand(len(vectors), -1), is_embedded=True)

    def how(self, **own: Any) -> dict[str, Any]:
        """As of every plan, with the prompts."""
        told = {"prompt": self.request.prompt, "negative_prompt": self.request.negative_prompt}
        return super().how(**own, **{name: value for name, value in told.items() if value is not None})

    def draw(self, raw: SoundAndText, numbers: Sequence[int], progress: Progress, **changes: Any) -> list[Image.Image]:
        """A picture of each sample of raw (n, ...), from the noise of its number. changes: of the sampling settings."""
        settings = {**self.request.settings, **changes}
        steps = self.pipeline.sampling_settings(**settings)["num_inference_steps"]
        total = steps * math.ceil(self.num_pictures / self.network_batch)
        images: list[Image.Image] = []
        for first in range(0, len(numbers), self.network_batch):
            num = min(self.network_batch, len(numbers) - first)
            chosen = [first + row for row in self.rows(num, self.network_batch)]
            generators = [seeding.generator(self.request.seed, "sample", numbers[i]) for i in chosen]
            trajectory = self.pipeline.trajectory(
                raw[chosen], generators=generators, negative=self.request.negative_prompt, **settings
            )
            before = steps * (self.done // self.network_batch)
            for step, x_t in enumerate(trajectory, 1):
                x_0 = x_t
                progress("steps", min(before + step, total), total)
            with torch.no_grad():
                images += to_images(self.pipeline.codec.decode(x_0, generators)[:num].cpu())
            self.done += num
        return images


def find_sounds(inputs: Sequence[Path]) -> list[Path]:
    """Every sound among the inputs and in the folders among them, each once."""

    def listed(path: Path) -> list[Path]:
        return [path] if path.is_file() else list_files(path, SUFFIXES)

    return list(dict.fromkeys(sound for path in inputs for sound in find_files(path, "sound", listed)))


def say_lengths(lengths: dict[Path, float], seconds: float) -> list[str]:
    """What was done to sounds that are not as long as the model listens."""
    said = []
    for what, done, chosen in (
        ("shorter", "padded", [p for p, length in lengths.items() if length < seconds * 0.999]),
        ("longer", "its loudest part is heard", [p for p, length in lengths.items() if length > seconds * 1.001]),
    ):
        if len(chosen) == 1:
            name, length = legible(str(chosen[0])), lengths[chosen[0]]
            said.append(f"{name}: {length:.2f} s, {what} than the {seconds:g} s heard: {done}")
        elif chosen:
            said.append(f"{len(chosen)} of {len(lengths)} sounds are {what} than the {seconds:g} s heard: {done}")
    return said


class Listening(NamedTuple):
    """How a model's sounds are made of recordings.

    sample_rate: in Hz. num_samples: of each. silence_db: what is quieter (RMS, full scale 0) is refused.
    """

    sample_rate: int
    num_samples: int
    silence_db: float = SILENCE_DB

    @staticmethod
    def of(conditioner: Any, folder: Path | None = None) -> Listening:
        """As a conditioner listens; the recipe.yaml in its model's folder, where there is one, may say otherwise."""
        recipe = folder / "recipe.yaml" if folder else None
        fields = Recipe.load(recipe).data.fields if recipe and recipe.is_file() else {}
        length = num_heard(fields.get("seconds"), conditioner)
        return Listening(conditioner.sample_rate, length, fields.get("silence_db", SILENCE_DB))

    @property
    def seconds(self) -> float:
        """Of each sound."""
        return self.num_samples / self.sample_rate

    def hear(self, recording: Recording | Path | str) -> HeardSound:
        """A recording of any rate, length and channels.

        Raises:
            InputError: it cannot be read, is silent, or has samples that are not finite where it is listened to.
        """
        if isinstance(recording, Path | str):
            recording = Recording(str(recording), Path(recording).name)
        with TemporaryDirectory(prefix="synesthete-") as place:
            path = Path(place) / "sound.safetensors"
            [waveform] = keep_waveforms(path, [recording], self.sample_rate, profiled=False)
            hop = self.sample_rate // LEVELS_PER_SECOND
            start = loudest_start(waveform.energy, len(waveform.samples), self.num_samples, hop)
            pieces = Pieces(
                [waveform.samples], torch.zeros(1, dtype=torch.int64), torch.tensor([start]), self.num_samples
            )
            if reason := unusable(recording.name, waveform, pieces, 0, self.silence_db, remedy=REMEDY):
                raise InputError(reason)
            samples = as_float(pieces[0])
            return HeardSound(samples, len(waveform.samples) / self.sample_rate, waveform.note)


class HeardSound(NamedTuple):
    """Of a recording its loudest stretch (S,) in [-1, 1], silence behind; the seconds of all of it; what was wrong."""

    waveform: Tensor
    seconds: float
    note: str


def draw_strip(plan: PaintPlan, item: Item, progress: Progress) -> PictureResult:
    """The strip of an item, a row for each noise: between two sounds, or of one with each strength."""
    request, num = plan.request, plan.num
    draw = interpolation_strip if request.between else at_strengths
    rows, captions, title, how = draw(plan, item, progress)
    title += f', "{request.prompt}"' if request.prompt else ""
    names = [f"seed {request.seed}, {i}" if num > 1 else "" for i in range(num)]
    times = -(-ENLARGED // max(rows[0][0].size))
    frames = [
        draw_sheet([enlarged([row[x] for row in rows], times)], [""], captions=[[caption] * num])
        for x, caption in enumerate(captions)
        if request.is_gif
    ]
    return PictureResult(
        draw_sheet(rows, names, title=title, captions=[captions] * num), how, frames, num * len(captions)
    )


Strip = tuple[list[list[Image.Image]], list[str], str, dict[str, Any]]  # rows, captions, title, how it was made


def interpolation_strip(plan: PaintPlan, item: Item, progress: Progress) -> Strip:
    """From one sound to another along the sphere of what is heard, from the same noise."""
    num_frames = plan.request.frames or NUM_FRAMES
    first, second = item.raw
    shares = torch.linspace(0, 1, num_frames)
    vectors = slerp(plan.vectors[first], plan.vectors[second], shares)
    raw = plan.with_prompt(vectors.repeat(plan.num, 1))
    pictures = plan.draw(raw, [i for i in range(plan.num) for _ in shares], progress)
    rows = [pictures[i * num_frames : (i + 1) * num_frames] for i in range(plan.num)]
    names = [legible(sound.stem) for sound in item.raw]
    captions = [names[0], *(f"{share:.0%}" for share in shares[1:-1].tolist()), names[1]]
    told = {
        "sounds": [legible(sound.name) for sound in item.raw],
        "shares": [round(s, 4) for s in shares.tolist()],
        "num": plan.num,
    }
    return rows, captions, " to ".join(names), plan.how(**told)


def at_strengths(plan: PaintPlan, item: Item, progress: Progress) -> Strip:
    """One sound heard as strongly as each of the strengths says, from the same noise."""
    strengths = list(plan.request.strengths)
    raw = plan.raw([item.raw] * plan.num)
    columns = [plan.draw(raw, range(plan.num), progress, adapter_scale=strength) for strength in strengths]
    rows = [[column[i] for column in columns] for i in range(plan.num)]
    how = plan.how(sound=legible(item.raw.name), strengths=strengths, num=plan.num)
    how.pop("adapter_scale")
    return rows, [f"strength {strength:g}" for strength in strengths], legible(item.raw.stem), how
