"""The task of scores that become sound: every performance rendered or read, encoded once, its roll beside it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from synesthete.config import Recipe, Stage, plain
from synesthete.data.files import SPLITS, Split
from synesthete.data.scores.performances import PerformanceSamples, ScoredSounds, packed, place_windows
from synesthete.data.scores.score import Score
from synesthete.io import digest, load_or_compute
from synesthete.pipeline.canvas import encode_whole, silent_frames
from synesthete.tasks.music_score.sampling import ALL, ScorePlan, ScoreRequest
from synesthete.tasks.preparation import cached, measure_codec, say_notes
from synesthete.tasks.task import CHOICE, Task, register
from synesthete.types import InputError, Prepared, Progress

if TYPE_CHECKING:
    from synesthete.data.scores.performances import Performance
    from synesthete.evaluation.runner import Evaluator


SHARD = 16  # performances a file
NUM_MEASURED = 48  # training performances that the codec is measured on


class MusicScoreTask(Task):
    """A score and an instrument in, its sound out."""

    name = "music-score"
    verb = "play"
    makes = "music from scores"
    num_evaluated = 48
    evaluation_options = ("features", "listener")
    saved_classifier = "synesthete.evaluation.classifiers.transcriber:Transcriber"
    request_type = ScoreRequest
    plan_type = ScorePlan
    input_types, input_words = (str, Path, Score), "a path, a Score, or a list of them"
    form: ClassVar[Any] = {"inputs": "score", "instrument": CHOICE}

    def choices(self, pipeline: Any) -> dict[str, Sequence[Any]]:
        """Its instruments."""
        return {"instrument": (*pipeline.conditioner.instruments, ALL)}

    def gather(self, recipe: Recipe, folder: Path, progress: Progress) -> Prepared:
        """Performances played, the codec measured on some of them, all of them encoded beside their rolls."""
        data: ScoredSounds = recipe.data()
        names, codec = data.class_names, recipe.codec()
        told = find_instruments(recipe, names)
        performances = data.performances()
        chosen = performances["train"][:NUM_MEASURED]
        rate, key = codec.spec.sample_rate, digest([plain(recipe.codec), [one.stamp for one in chosen]])
        path = folder / f"statistics-{key}.safetensors"
        played = measure_codec(codec, path, lambda: (torch.from_numpy(one.sound(rate))[None] for one in chosen))
        codec.load_state_dict(played)
        samples = {
            split: encode(recipe, codec, found, folder, split, progress) for split, found in performances.items()
        }
        for found in samples.values():
            found.context = round(data.context * codec.spec.sample_rate / codec.spec.hop_length)
        samples["train"].jitter = stride_of(recipe, codec) // 2
        statistics = {name: value.clone() for name, value in codec.state_dict().items()}
        missing = [name for number, name in enumerate(names) if not (samples["train"].labels == number).any()]
        silent = [f"nothing to train on is played on {', '.join(missing)}, which learn nothing"] if missing else []
        notes = say_notes([*data.notes, *silent], ())
        return Prepared(samples["train"], samples["test"], statistics, names, notes, told=told)

    def default_folder(self, recipe: Recipe) -> Path:
        """Named by the sample rate."""
        return cached(f"music-score-{recipe.codec().spec.sample_rate}")

    def describe_prepared(self, prepared: Prepared) -> tuple[dict[str, Any], str]:
        """Performances, windows and seconds of each split."""
        values: dict[str, Any] = {}
        told = {}
        for split in SPLITS:
            samples: PerformanceSamples = getattr(prepared, split)
            num, windows = len(samples.encoded), len(samples)
            counts = {"performances": num, "windows": windows, "seconds": round(samples.seconds)}
            values |= {f"{split}_{what}": count for what, count in counts.items()}
            told[split] = f"{num} performances ({samples.seconds / 60:.0f} minutes, {windows} windows)"
        instruments = ", ".join(prepared.class_names)
        return values, f"{told['train']} to train on, {told['test']} held out (no piece in both), on {instruments}"

    def fit_classifier(self, recipe: Recipe, prepared: Prepared, data: Path | None, **options: Any) -> Any:
        """One of performances that the model is trained on; evaluations tell what it hears in held-out ones."""
        from synesthete.tasks.music_score.evaluation import learn_transcriber

        return learn_transcriber(recipe, **options), (), torch.zeros(0)

    def evaluator(self, pipeline: Any, prepared: Prepared, recipe: Recipe, model: str, **options: Any) -> Evaluator:
        """What it plays of held-out scores, beside their performances."""
        from synesthete.tasks.music_score.evaluation import ScoreEvaluator

        return ScoreEvaluator(pipeline, prepared, recipe=recipe, **options)

    def dummy_batch(self, recipe: Recipe, stage: Stage, num: int) -> Any:
        """Noise, and a note in each."""
        codec = recipe.codec()
        channels, height, num_frames = codec.shape
        roll = torch.zeros(num_frames, 128, dtype=torch.uint8)
        roll[:, 60] = 1
        numbers, none = torch.arange(num), torch.full((num,), -1)
        noise = tuple(torch.randn(num_frames, channels, height).half() for _ in range(num))
        silence = silent_frames(codec, 1)[..., 0]
        told = numbers, 0 * numbers, none, silence, num_frames, codec.spec.hop_length / codec.spec.sample_rate
        return PerformanceSamples(noise, (roll,) * num, *told, context=num_frames // 4)


def find_instruments(recipe: Recipe, names: tuple[str, ...]) -> dict[str, Any]:
    """The instruments that the data decide, where the conditioner leaves them open."""
    known = recipe.conditioner.instruments
    if known is None:
        return {"instruments": names}
    if tuple(known) != names:
        raise InputError(
            f"recipe {recipe.name}: sounds of {', '.join(names)}, a conditioner of {', '.join(known)}; "
            f"--set conditioner.instruments='{list(names)}'"
        )
    return {}


def stride_of(recipe: Recipe, codec: Any) -> int:
    """Frames between the starts of windows."""
    return max(round(recipe.data.stride * codec.spec.sample_rate / codec.spec.hop_length), 1)


def encode(
    recipe: Recipe, codec: Any, performances: Sequence[Performance], folder: Path, split: Split, progress: Progress
) -> PerformanceSamples:
    """The windows of a split; x_0 and rolls of its performances are kept in shards, each whole or not there."""
    encoded, rolls = [], []
    for first in range(0, len(performances), SHARD):
        group = performances[first : first + SHARD]
        key = digest([plain(recipe.codec), [one.stamp for one in group]], codec)
        kept = load_or_compute(folder / f"{split}-{key}.safetensors", partial(encode_group, codec, group))
        lengths = kept["lengths"].tolist()
        encoded += kept["x_0"].split(lengths)
        rolls += kept["rolls"].split(lengths)
        progress(f"performances encoded, {split}", first + len(group), len(performances))
    num_frames, names = codec.shape[-1], recipe.data().class_names
    starts = [place_windows(len(one), num_frames, stride_of(recipe, codec)) for one in encoded]
    which = torch.arange(len(starts)).repeat_interleave(torch.tensor([len(one) for one in starts]))
    labels = torch.tensor([names.index(one.instrument) for one in performances])
    windows = which, torch.cat(starts), labels[which], silent_frames(codec, 1)[..., 0], num_frames
    seconds, called = codec.spec.hop_length / codec.spec.sample_rate, tuple(one.name for one in performances)
    return PerformanceSamples(tuple(encoded), tuple(rolls), *windows, seconds, called)


@torch.no_grad()
def encode_group(codec: Any, performances: Sequence[Performance]) -> dict[str, Tensor]:
    """x_0 (T, C, H) float16 and rolls (T, 128) uint8 of performances, one after the other, and the length of each."""
    rate, hop = codec.spec.sample_rate, codec.spec.hop_length
    encoded, rolls = [], []
    for one in performances:
        x_0 = encode_whole(codec, torch.from_numpy(one.sound(rate))[None])[0]  # (C, H, T)
        encoded.append(x_0.permute(2, 0, 1).half())
        rolls.append(packed(one.score.frames(x_0.shape[-1], hop / rate, start=-one.lead)))
    lengths = torch.tensor([len(one) for one in encoded])
    return {"x_0": torch.cat(encoded), "rolls": torch.cat(rolls), "lengths": lengths}


register(MusicScoreTask())
