"""The task of composing: scores read once, put on a grid, split by piece and cut into windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from synesthete.data.scores.corpus import ScoreSamples
from synesthete.data.scores.rendering import Partials
from synesthete.data.scores.score import BAR, KEY_NAMES
from synesthete.io import digest
from synesthete.tasks.music_compose.given import voice_names
from synesthete.tasks.music_compose.sampling import ComposePlan, ComposeRequest
from synesthete.tasks.preparation import cached, say_notes
from synesthete.tasks.task import CHOICE, Task, register
from synesthete.types import InputError, Prepared, Progress

if TYPE_CHECKING:
    from synesthete.config import Recipe, Stage
    from synesthete.data.scores.corpus import Scores


PARTS = ("train", "test")


class MusicCompose(Task):
    """A key, some of the notes, or nothing in, a score out."""

    name = "music-compose"
    verb = "play"
    makes = "scores"
    num_evaluated = 100
    evaluator_type = "synesthete.tasks.music_compose.evaluation:ComposeEvaluator"
    request_type = ComposeRequest
    plan_type = ComposePlan
    form: ClassVar[Any] = {"key": CHOICE, "init": "score", "voice": CHOICE, "instrument": CHOICE, "player": None}

    def choices(self, pipeline: Any) -> dict[str, Sequence[Any]]:
        """Keys, voices, and the instruments of our own."""
        voices = voice_names(pipeline.codec.config.num_voices)
        return {"key": KEY_NAMES, "voice": voices, "instrument": Partials().names}

    def gather(self, recipe: Recipe, folder: Path, progress: Progress) -> Prepared:
        """Scores read and cut into windows of the codec's length; nothing is measured."""
        data: Scores = recipe.data()
        codec = recipe.codec()
        num_voices, _, num_columns = codec.shape
        if num_columns % BAR:
            raise InputError(f"codec.num_columns {num_columns}: no whole bars; give a multiple of {BAR}")
        pieces, notes = data.pieces(folder, progress)
        if num_voices != (found := len(pieces[0].grid)):
            raise InputError(f"scores of {found} voices, a codec of {num_voices}; --set codec.num_voices={found}")
        parts = data.divide(pieces)
        train = data.windows(parts["train"], num_columns, is_training=True)
        test = data.windows(parts["test"], num_columns, is_training=False)
        return Prepared(train, test, codec.state_dict(), data.class_names, say_notes(notes, ()))

    def default_folder(self, recipe: Recipe) -> Path:
        """One for all recipes; what is kept is named by its scores."""
        return cached(f"{self.name}-{digest('grid of sixteenths, 4 voices')}")

    def describe_prepared(self, prepared: Prepared) -> tuple[dict[str, Any], str]:
        """Windows and pieces of each split."""
        values: dict[str, Any] = {}
        for part in PARTS:
            samples: ScoreSamples = getattr(prepared, part)
            values |= {f"{part}_windows": len(samples), f"{part}_pieces": len(samples.pieces.unique())}
        told = {part: f"{values[f'{part}_windows']} windows ({values[f'{part}_pieces']} pieces)" for part in PARTS}
        return values, f"{told['train']} to train on, {told['test']} held out (no melody in two of them)"

    def request_for(self, pipeline: Any, inputs: Sequence[Any]) -> dict[str, Any]:
        """A score to go on from, to mend or to harmonise."""
        if len(inputs) > 1 or not isinstance(inputs[0], str | Path):
            raise InputError("a model that composes reads one score; give the path of a MIDI or MusicXML file")
        return {"init": Path(inputs[0])}

    def dummy_batch(self, recipe: Recipe, stage: Stage, num: int) -> Any:
        """Rests, none of which may be moved."""
        num_voices, _, num_columns = recipe.codec().shape
        grids = torch.zeros(num, num_voices, 2, num_columns, dtype=torch.uint8)
        zeros = torch.zeros(num, dtype=torch.int64)
        names = (KEY_NAMES[0],)
        return ScoreSamples(grids, zeros, zeros, zeros, torch.zeros(num, 2, dtype=torch.int64), zeros, names)


register(MusicCompose())
