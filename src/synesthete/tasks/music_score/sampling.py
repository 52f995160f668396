"""Scores as they are asked to be played: files of them, or scores in memory, each on one instrument or on all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from synesthete import seeding
from synesthete.data.files import legible, list_files
from synesthete.data.scores.performances import written
from synesthete.data.scores.rendering import TAIL
from synesthete.data.scores.sources import MIDI, MUSICXML, ScoreFile
from synesthete.io import digest
from synesthete.pipeline import Canvas, Pipeline, long_form_steps
from synesthete.pipeline.canvas import Frames, find_overlap, resample
from synesthete.tasks.results import Sound
from synesthete.tasks.sampling import Item, Plan, SampleRequest, find_inputs, split_commas
from synesthete.types import InputError, Progress, ScoreWindows

if TYPE_CHECKING:
    import numpy as np

    from synesthete.data.scores.score import Score
    from synesthete.pipeline import Pipeline

ALL = "all"
PICTURED = 60.0  # seconds that a picture shows
MARGIN, SCALE = 3, 2  # of the picture: semitones beyond the highest and lowest note, and pixels a cell


@dataclass(frozen=True)
class ScoreRequest(SampleRequest):
    """Scores, MIDI or MusicXML files, or folders of these, and who plays them; `help.tsv` says what each field is."""

    inputs: Sequence[Path | Score] = ()
    instrument: str | None = None
    seconds: float | None = None

    def check(self) -> None:
        """There is a score."""
        if not self.inputs:
            raise InputError(f"{self.model}: a model that plays scores; give it MIDI or MusicXML files, or folders")
        if self.seconds is not None and not 0 < self.seconds <= LONGEST:
            raise InputError(f"--seconds {self.seconds:g}: give more than 0 and at most {LONGEST:g}")
        find_inputs(self.inputs, "score", list_scores)


class ScorePlan(Plan):
    """A sound for each score and instrument. The noise is a function of the seed and the notes, whoever plays them."""

    unit = "sound"
    suffixes = (".wav", ".png", ".json")
    batch_size = 4
    cpu_batch_size = 1

    def __init__(self, pipeline: Pipeline, request: ScoreRequest, folder: Path | None = None) -> None:
        super().__init__(pipeline, request, folder)
        found, self.inputs, stems = find_inputs(request.inputs, "score", list_scores)
        asked, names = asked_instruments(pipeline.conditioner, request.instrument), pipeline.conditioner.instruments
        for stem, given in zip(stems, found, strict=True):
            try:
                score = ScoreFile(str(given)).read() if isinstance(given, Path) else given
                check_passage(Passage(score, seconds=request.seconds))
            except InputError as error:
                self.skipped.append(str(error))
                continue
            self._say_untold(score, given)
            chance = seeding.generator(request.seed, "instrument", Passage(score).key)
            drawn = names[int(torch.randint(len(names), (), generator=chance))] if names else None
            chosen: list[str | None] = [*asked] or [drawn]
            told = {"score": legible(given.name)} if isinstance(given, Path) else {}
            for name in chosen:
                part = Passage(score, name, request.seconds)
                how = told | ({"instrument": name} if name else {}) | {"seconds": round(part.length, 3)}
                self.items.append(Item(f"{stem}_{name}" if len(chosen) > 1 else stem, (part.key,), how, raw=part))
        if not self.items:
            raise self.unusable()

    def make(self, items: Sequence[Item], progress: Progress) -> list[Sound]:
        """A sound of each."""
        parts, report = [item.raw for item in items], self.among_all(items, progress)
        made = play_passages(self.pipeline, parts, self.generators(items), progress=report, **self.request.settings)
        rate = self.pipeline.codec.spec.sample_rate
        return [
            Sound(one.waveform, rate, draw_played(self.pipeline, one), self.how(**item.how))
            for item, one in zip(items, made, strict=True)
        ]

    def _say_untold(self, score: Score, given: Path | Score) -> None:
        """A note where the model is not told all notes of a score."""
        config = self.pipeline.conditioner.config
        low, high = config.lowest, min(config.lowest + config.num_bins, 128) - 1
        if outside := sum(not low <= note.pitch <= high for note in score.notes):
            name = legible(given.name) if isinstance(given, Path) else score.title or "a score"
            self.notes.append(
                f"{name}: {outside} of {len(score.notes)} notes are left out; this model plays MIDI pitches "
                f"{low} to {high}"
            )


def list_scores(path: Path) -> list[Path]:
    """The MIDI and MusicXML files that a path names or holds, in order of name."""
    return list_files(path, (*MIDI, *MUSICXML)) if path.is_dir() else [path]


def asked_instruments(conditioner: Any, asked: str | None) -> list[str]:
    """The instruments that are asked for by name; none where chance decides."""
    names = conditioner.instruments
    if asked is None:
        return []
    if asked == ALL:
        return list(names)
    chosen = [names[conditioner.find_instrument(name)] for name in split_commas([asked], names)]
    if not chosen:
        raise InputError(f"instrument {asked!r}: names none; give one of {', '.join(names)}, or {ALL}")
    return list(dict.fromkeys(chosen))


def draw_played(pipeline: Pipeline, made: Played) -> Image.Image:
    """The roll that was asked for above the spectrogram of what was made, of its first minute."""
    codec = pipeline.codec
    num = min(made.x_0.shape[-1], round(PICTURED * codec.spec.sample_rate / codec.spec.hop_length))
    [below] = codec.pictures(made.x_0[None, ..., :num].to(codec.device), scale=SCALE)
    above = draw_roll(pipeline.conditioner, made.roll[..., :num])
    sheet = Image.new("RGB", (below.width, above.height + SCALE + below.height), "white")
    sheet.paste(above, (0, 0))
    sheet.paste(below, (0, above.height + SCALE))
    return sheet


def draw_roll(conditioner: Any, roll: Tensor) -> Image.Image:
    """A roll (2, 128, T), of the pitches that are in it, high ones at the top."""
    [whole] = conditioner.pictures(conditioner.compose(roll[None]), scale=SCALE)
    first = conditioner.config.lowest
    pitches = (roll[0].any(dim=-1).nonzero().flatten() - first).tolist() or [0]
    num = whole.height // SCALE
    top, bottom = num - 1 - min(max(pitches) + MARGIN, num - 1), num - max(min(pitches) - MARGIN, 0)
    return whole.crop((0, SCALE * top, whole.width, SCALE * max(bottom, top + 1)))


LONGEST = 1200.0  # seconds of one sound, which is decoded as a whole
NUM_BLENDED = 4  # frames: else the step into a window is five times that from frame to frame (mean square)


class Passage(NamedTuple):
    """What is to be played: a score, the name of an instrument or None, and how many seconds of it, all where None."""

    score: Score
    instrument: str | None = None
    seconds: float | None = None

    @property
    def length(self) -> float:
        """Seconds that it sounds, the last note dying away."""
        whole = self.score.seconds(self.score.length) + TAIL
        return whole if self.seconds is None else min(whole, self.seconds)

    @property
    def key(self) -> str:
        """A name for its notes, whoever plays them."""
        return digest(written(self.score), size=8)


class Played(NamedTuple):
    """waveform: (S,) float32 on the CPU. x_0: (C, H, T), of the same length. roll: (2, 128, T) uint8, as asked for."""

    waveform: Tensor
    x_0: Tensor
    roll: Tensor


def play_passages(
    pipeline: Pipeline, parts: Sequence[Passage], generators: Sequence[torch.Generator], **how: Any
) -> list[Played]:
    """Each of the parts as sound. Arguments as for `play_rolls`.

    Raises:
        InputError: a part without notes or longer than `LONGEST`, an instrument that the model does not have, and as
            `play_rolls`.
    """
    frames, rate = Frames.of(pipeline.codec), pipeline.codec.spec.sample_rate
    for part in parts:
        check_passage(part)
    lengths = [max(round(part.length * rate), 1) for part in parts]
    num = frames.covering(max(lengths))
    told = []
    for part, length in zip(parts, lengths, strict=True):
        roll = part.score.frames(num, frames.hop / rate)
        roll[..., frames.covering(length) :] = 0
        told.append(pipeline.conditioner.compose(roll[None], part.instrument))
    return play_rolls(pipeline, ScoreWindows.concatenate(told), lengths, generators, **how)


@torch.no_grad()
def play_rolls(
    pipeline: Pipeline,
    told: ScoreWindows,
    lengths: Sequence[int],
    generators: Sequence[torch.Generator],
    *,
    overlap: float | None = None,
    progress: Progress | None = None,
    **sampling: Any,
) -> list[Played]:
    """Rolls (B, 2, 128, T) of any length as sounds of so many samples each, shorter ones silent behind their ends.

    generators: one a sound, so that a batch equals its singles. overlap: as for `long_form_steps`. progress: counts
    steps of sampling. sampling: settings that differ from the model's own.

    Raises:
        InputError: a setting of sampling that does not exist, or an overlap out of range.
    """
    codec = pipeline.codec
    frames = Frames.of(codec)
    canvas = Canvas.in_whole_windows(codec, len(told), max(lengths), find_overlap(frames, overlap))
    # The phases that a decoder begins with do not depend on how many windows there were.
    phases = [seeding.generator(one.initial_seed(), "phases") for one in generators]
    # What is known is told: nothing has to be fitted to it.
    how: dict[str, Any] = {"overlap": overlap, "num_corrections": 0, "num_blended": NUM_BLENDED, **sampling}
    for done, total in long_form_steps(pipeline, told, canvas, generators=generators, **how):
        if progress:
            progress("steps", done, total)
    assert told.roll is not None
    found = []
    for i, length in enumerate(lengths):
        num = frames.covering(length)
        x_0 = canvas.x_0[i, ..., :num]
        waveform = codec.decode(x_0[None].to(codec.device), [phases[i]], num_samples=length)[0]
        found.append(Played(waveform.float().cpu(), x_0, told.roll[i, ..., :num]))
    return found


def check_passage(part: Passage) -> None:
    """Raise InputError where a part cannot be played."""
    title = part.score.title or "a score"
    if not part.score.notes:
        raise InputError(f"{title}: no notes; give one with notes")
    if part.length > LONGEST:
        raise InputError(f"{title}: {part.length / 60:.0f} minutes; give --seconds {LONGEST:g} or less")


class ModelInstruments:
    """The instruments of a model that plays scores, as `rendering.render` takes them.

    Args:
        pipeline: the model. seed: another one plays otherwise. progress: counts steps. sampling: settings that differ
            from the model's own.
    """

    def __init__(self, pipeline: Pipeline, seed: int = 0, progress: Progress | None = None, **sampling: Any) -> None:
        self.pipeline, self.seed, self.progress, self.sampling = pipeline, seed, progress, sampling

    @property
    def names(self) -> tuple[str, ...]:
        """What the model learned to play."""
        return tuple(self.pipeline.conditioner.instruments)

    def identity(self) -> Any:
        """The model, by its weights, and the seed."""
        return [digest("music-score", self.pipeline.denoiser), self.seed, self.sampling]

    def play(self, score: Score, name: str, num_samples: int, sample_rate: int) -> np.ndarray:
        """The score on one of the instruments, (num_samples,) float32."""
        part = Passage(score, name, num_samples / sample_rate)
        generator = seeding.generator(self.seed, "sample", part.key)
        [made] = play_passages(self.pipeline, [part], [generator], progress=self.progress, **self.sampling)
        sound = resample(made.waveform[None], self.pipeline.codec.spec.sample_rate, sample_rate)[0, :num_samples]
        return torch.nn.functional.pad(sound, (0, num_samples - len(sound))).numpy()
