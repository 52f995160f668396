"""Scores as they are asked to be played: files of them, or scores in memory, each on one instrument or on all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from synesthete import seeding
from synesthete.data.files import legible, list_files
from synesthete.data.scores.sources import MIDI, MUSICXML, ScoreFile
from synesthete.tasks.music_score.playing import LONGEST, Passage, Played, check_passage, play_passages
from synesthete.tasks.results import Sound
from synesthete.tasks.sampling import Item, Plan, SampleRequest, find_inputs, split_commas
from synesthete.types import InputError, Progress

if TYPE_CHECKING:
    from synesthete.data.scores.score import Score
    from synesthete.pipeline import Pipeline

ALL = "all"
PICTURED = 60.0  # seconds that a picture shows
MARGIN, SCALE = 3, 2  # of the picture: semitones beyond the highest and lowest note, and pixels a cell


@dataclass(frozen=True)
class ScoreRequest(SampleRequest):
    """inputs: scores, MIDI or MusicXML files, or folders of these. seconds: of each, from its beginning.

    instrument: one of the model's, several with commas between them, or `all`; None leaves it to chance.
    """

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
            chosen: list[str | None] = [*asked] or [drawn_instrument(names, request.seed, Passage(score).key)]
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


def drawn_instrument(names: Sequence[str], seed: int, key: str) -> str | None:
    """Any of the instruments, by a seed and the notes that are played; None of none."""
    if not names:
        return None
    return names[int(torch.randint(len(names), (), generator=seeding.generator(seed, "instrument", key)))]


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
