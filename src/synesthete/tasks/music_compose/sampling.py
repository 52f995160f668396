"""Pieces as they are asked for: in a key, of so many bars, on a melody, after a beginning, or with a gap to fill."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete import seeding
from synesthete.data.files import legible
from synesthete.data.scores import score as scores
from synesthete.data.scores.rendering import Instruments, Partials, SoundFont, render
from synesthete.data.scores.score import BAR, MODES, TEMPO, Mode
from synesthete.pipeline import Pipeline
from synesthete.pipeline.long_form import inpaint
from synesthete.tasks.music_compose.given import read_given, voice_names
from synesthete.tasks.music_score.sampling import ModelInstruments
from synesthete.tasks.results import Composition
from synesthete.tasks.sampling import Item, Plan, SampleRequest, split_commas
from synesthete.tasks.task import model_folder, model_task_name
from synesthete.types import InputError, Progress, ScoreSketch

NUM = 4  # pieces
MOST_BARS = 400
SAMPLE_RATE = 24_000  # of what our own instruments play
SOUND_FONTS = (".sf2", ".sf3")


@dataclass(frozen=True)
class ComposeRequest(SampleRequest):
    """What the pieces are to be, of which everything may be left out; `help.tsv` says what each field is."""

    bars: int | None = None
    key: str | None = None
    num: int | None = None
    init: Path | None = None
    harmonise: bool = False
    voice: str | None = None
    goes_on: bool = False
    fill: str | None = None
    remake: str | None = None
    tempo: float | None = None
    instrument: str | None = None
    player: str | None = None

    def check(self) -> None:
        """The options fit each other and are in range."""
        ways = {"--harmonise": self.harmonise, "--continue": self.goes_on, "--fill": self.fill, "--remake": self.remake}
        given = [name for name, value in ways.items() if value]
        if given and self.init is None:
            raise InputError(f"{given[0]}: of which score? give --init FILE")
        if self.init is not None and not given:
            raise InputError(f"--init: what is to be done with it? give one of {', '.join(ways)}")
        if len(given) > 1 and given != ["--fill", "--remake"]:
            raise InputError(f"{given[0]} and {given[1]}: give one of them")
        if self.goes_on and self.bars is None:
            raise InputError("--continue: to which length? give --bars, of the score and what follows it")
        if self.voice is not None and not (self.harmonise or self.goes_on):
            raise InputError("--voice: says who sings a melody; give --harmonise")
        if self.bars is not None and not 1 <= self.bars <= MOST_BARS:
            raise InputError(f"--bars {self.bars}: give 1 to {MOST_BARS}")
        least, most = scores.MIN_TEMPO, scores.MAX_TEMPO
        if self.tempo is not None and not least <= self.tempo <= most:
            raise InputError(f"--tempo {self.tempo:g}: give {least:g} to {most:g} quarter notes a minute")
        if self.key is not None:
            scores.read_key(self.key)
        if self.fill is not None:
            self.filled()

    def filled(self) -> tuple[int, int]:
        """The first of the bars to be filled, from 0, and the one after the last."""
        found = re.fullmatch(r"\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?", str(self.fill))
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= first <= last:
            raise InputError(f"--fill {self.fill}: give a bar or the first and the last, such as 3 or 3-4")
        return first - 1, last

    def told(self) -> dict[str, Any]:
        """What of it a file tells."""
        what = {
            "init": self.init and legible(Path(self.init).name),
            "harmonise": self.harmonise or None,
            "voice": self.voice,
            "continue": self.goes_on or None,
            "fill": self.fill,
            "remake": self.remake,
        }
        return {name: value for name, value in what.items() if value is not None}


class ComposePlan(Plan):
    """`num` pieces, all on the same given notes."""

    unit = "piece"
    suffixes = (".mid", ".wav", ".png", ".json")
    batch_size = 8
    cpu_batch_size = 2

    def __init__(self, pipeline: Pipeline, request: ComposeRequest, folder: Path | None = None) -> None:
        super().__init__(pipeline, request, folder)
        self.instruments, self.instrument = choose_instrument(
            request.player, request.instrument, str(self.pipeline.device), request.seed
        )
        if request.player and isinstance(self.instruments, ModelInstruments):
            self.models.append(model_folder(request.player))
        self.tempo = TEMPO
        key = scores.read_key(request.key) if request.key else None
        if request.init is None:
            num_bars = request.bars or pipeline.codec.config.num_columns // BAR
            num_voices = pipeline.codec.config.num_voices
            self.grid = torch.zeros(num_voices, 2, num_bars * BAR, dtype=torch.uint8)
            self.known = torch.zeros(num_voices, num_bars * BAR, dtype=torch.bool)
        else:
            key = self._hold(key)
        self.tempo = request.tempo or self.tempo
        self.items = [self._item(number, key) for number in range(request.num or NUM)]
        told = ", ".join(dict.fromkeys(item.group for item in self.items))
        self.notes.append(f"in {told}" + ("" if key else "; --key asks for one"))

    def make(self, items: Sequence[Item], progress: Progress) -> list[Composition]:
        """A piece of each."""
        rows = self.rows(len(items), self.batch_size)
        spare = [seeding.generator(0, "spare") for _ in rows[len(items) :]]
        keys = torch.tensor([items[row].raw for row in rows])
        grids = self.grid.expand(len(rows), -1, -1, -1)
        told = grids, self.known, keys, [*self.generators(items), *spare], partial(progress, "windows")
        made = compose(self.pipeline, *told, **self.request.settings)
        return [self._composition(item, grid) for item, grid in zip(items, made, strict=False)]

    def _composition(self, item: Item, grid: Tensor) -> Composition:
        """A piece (V, 2, T) as notes, sound and picture."""
        key = (item.raw % 12, MODES[item.raw // 12])
        score = scores.begun_at_first_note(scores.to_score(grid, key, self.tempo, item.group))
        waveform = torch.zeros(SAMPLE_RATE)
        if score.notes:
            waveform = torch.from_numpy(render(score, self.instruments, self.instrument, SAMPLE_RATE))
        picture = self.pipeline.codec.pictures(self.pipeline.codec.encode(grid[None].to(self.pipeline.device)))[0]
        return Composition(waveform, SAMPLE_RATE, picture, self.how(**item.how), score=score)

    def how(self, **own: Any) -> dict[str, Any]:
        """As of every plan, with what was asked for."""
        num_bars = self.known.shape[-1] // BAR
        said = {"bars": num_bars, "tempo": self.tempo, "instrument": self.instrument}
        return {**super().how(**own, **said), **self.request.told()}

    def _item(self, number: int, key: tuple[int, Mode] | None) -> Item:
        if key is None:
            chance = seeding.generator(self.request.seed, "key", number)
            drawn = int(torch.randint(len(scores.KEY_NAMES), (), generator=chance))
        else:
            drawn = 12 * MODES.index(key[1]) + key[0]
        name = scores.KEY_NAMES[drawn]
        return Item(f"{number:03d}", (number,), {"key": name, "number": number}, name, drawn)

    def _hold(self, key: tuple[int, Mode] | None) -> tuple[int, Mode]:
        """Take what is held from the score that was given; the key, which is found in it where None."""
        asked, config = self.request, self.pipeline.codec.config
        names = voice_names(config.num_voices)
        melody = find_voice(asked.voice, names) if asked.voice else 0
        rows = (config.lowest, config.num_pitches, config.num_voices)
        given = read_given(Path(asked.init), *rows, melody, alone=asked.harmonise)
        num_bars = asked.bars or given.num_bars
        if num_bars < given.num_bars or (asked.goes_on and num_bars == given.num_bars):
            more = "more than " if asked.goes_on else ""
            raise InputError(f"--bars {num_bars}: {legible(str(asked.init))} has {given.num_bars}; give {more}that")
        num_columns = num_bars * BAR
        self.grid = torch.zeros(config.num_voices, 2, num_columns, dtype=torch.uint8)
        self.grid[..., : given.grid.shape[-1]] = given.grid
        # A score that is as long as asked for ends as it does; one that is gone on from is known to its last note.
        end = given.length if num_bars > given.num_bars else num_columns
        self.known = given.sung[:, None] & (torch.arange(num_columns) < end)
        self._forget(given.num_bars, given.sung, names)
        self.tempo, self.inputs = given.tempo, [Path(asked.init)]
        self.notes += given.notes
        return key or given.key

    def _forget(self, num_bars: int, sung: Tensor, names: Sequence[str]) -> None:
        """Take out the bars and the voices that are to be made anew."""
        asked = self.request
        if not (asked.fill or asked.remake):
            return
        first, end = asked.filled() if asked.fill else (0, num_bars)
        if end > num_bars:
            raise InputError(f"--fill {asked.fill}: {legible(str(asked.init))} has {num_bars} bars")
        voices = (
            [find_voice(name, names) for name in split_commas([asked.remake])] if asked.remake else range(len(names))
        )
        if asked.remake and not bool(sung.all()):
            raise InputError(f"--remake: {legible(str(asked.init))} is a melody; give --harmonise, which adds voices")
        for voice in voices:
            self.known[voice, first * BAR : end * BAR] = False
        if asked.remake and bool((~self.known).all()):
            raise InputError(f"--remake {asked.remake}: no voice is left to be held; name fewer")


def find_voice(name: str, names: Sequence[str]) -> int:
    """The place of a voice among those of the model."""
    if name.lower() not in names:
        raise InputError(f"voice {name!r}: there are {', '.join(names)}")
    return names.index(name.lower())


def choose_instrument(
    player: str | None, name: str | None, device: str = "cpu", seed: int = 0
) -> tuple[Instruments, str]:
    """What plays: our own instruments, a SoundFont or a model that plays scores; and which of them, an organ if any."""
    instruments: Any = Partials()
    if player is not None:
        is_font = Path(player).suffix.lower() in SOUND_FONTS
        instruments = SoundFont(player) if is_font else load_player(player, device, seed)
    chosen = name or ("organ" if "organ" in instruments.names else instruments.names[0])
    if chosen not in instruments.names:
        raise InputError(f"instrument {chosen!r}: there are {', '.join(instruments.names)}")
    return instruments, chosen


def load_player(model: str, device: str, seed: int) -> Instruments:
    """The instruments of a model that plays scores, by its name."""
    try:
        task = model_task_name(model_folder(model))
    except InputError as error:
        raise InputError(f"--with {model}: no SoundFont ({' or '.join(SOUND_FONTS)}), nor a model: {error}") from None
    if task != "music-score":
        raise InputError(f"--with {model}: a model of {task}; give one of music-score, or a SoundFont")
    return ModelInstruments(Pipeline.load(model, device), seed)


def compose(
    pipeline: Pipeline,
    grids: Tensor,
    known: Tensor,
    keys: Tensor,
    generators: Sequence[torch.Generator],
    progress: Callable[[int, int], None] = lambda *_: None,
    **sampling: Any,
) -> Tensor:
    """The pieces (B, V, 2, T) uint8, what is known as it was; a note that is known is never held on into what is made.

    grids: (B, V, 2, T) as `to_grid` has them. known: (V, T), which of it is there in all of them. keys: (B,) int64, 12
    * mode + tonic. generators: one a piece, so that a batch equals its singles. sampling: settings other than the
    model's own.
    """
    room, total, num = pipeline.codec.config.num_columns, known.shape[-1], len(grids)
    padding = max(room - total, 0)  # a piece shorter than a window rests after its end, as those of training do
    grids, known = F.pad(grids.clone(), (0, padding)), F.pad(known.clone(), (0, padding), value=True)
    starts = plan_windows(known, room // BAR)
    for done, bar in enumerate(starts, 1):
        here = slice(bar * BAR, bar * BAR + room)
        given, held = grids[..., here], known[:, here]  # (B, V, 2, W), (V, W)
        hints = {"begins": int(bar == 0), "ends": int(here.stop >= total)}
        told = {name: torch.full((num,), value) for name, value in hints.items()}
        sketch = ScoreSketch(tonic=keys % 12, mode=keys // 12, voices=given, held=held.expand(num, -1, -1), **told)
        around = None
        if held.any():
            x_0 = pipeline.codec.encode(given.where(held[:, None], 0).to(pipeline.device))
            around = inpaint(pipeline.process, x_0, held[:, None].expand(num, -1, -1, -1), num_corrections=0)
        made = pipeline(sketch, generators=generators, around=around, **sampling).signal.cpu()
        after_held = F.pad(held[:, :-1], (1, 0)) & ~held
        made[:, :, 1] |= (after_held & (made[:, :, 0] > 0)).to(made)  # else a held note would sound longer
        grids[..., here] = torch.where(held[:, None], given, made)
        known[:, here] = True
        progress(done, len(starts))
    return grids[..., :total]


def plan_windows(known: Tensor, room: int) -> list[int]:
    """First bars of windows of `room` bars that make whatever is not known (V, T), from left to right.

    What is known lies on both sides of a gap, as far as there is room, and half a window of it before a longer one.
    """
    left = (~known).any(0).view(-1, BAR).any(1).tolist()  # bars that lack something
    starts: list[int] = []
    while True in left:
        first = left.index(True)
        run = [*left[first:], False].index(False)
        before = max((room - run) // 2, 0) if run <= room // 2 else room // 2
        start = max(min(first - before, len(left) - room), 0)
        starts.append(start)
        left[start : start + room] = [False] * len(left[start : start + room])
    return starts
