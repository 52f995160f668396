"""`synesthete sample` of a model that makes music: a sound, a spectrogram and what made them for each."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete.cli.options import check_unwritten, progress_bar
from synesthete.cli.sample_pictures import SHEET, find_wishes, folded
from synesthete.io import write_file
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from PIL import Image

    from synesthete.cli.music_request import Asked
    from synesthete.pipeline import Canvas, Output, Pipeline

NUM = 4  # sounds of each label
BATCH = 4
PICTURED = 60.0  # seconds that a spectrogram shows
SHEET_WIDTH = 1600  # pixels of spectrograms beside each other


def play(
    pipeline: Pipeline,
    upsampler: Pipeline | None,
    model: str,
    labels: Sequence[str],
    asked: Asked,
    *,
    out: Path,
    num: int,
    seed: int,
    changes: dict[str, Any],
    overwrite: bool = False,
) -> tuple[dict[str, Any], str]:
    """Write `num` sounds of each label; the command's last words as values and as text.

    Raises:
        InputError: labels that the model does not know, a clip that cannot be used, or files that are there already.
    """
    import torch

    from synesthete import seeding
    from synesthete.data.audio import write_audio
    from synesthete.data.picture import write_picture
    from synesthete.evaluation.reporting.sheet import draw_sheet

    maker = Maker(pipeline, upsampler, asked, changes)
    wishes = find_wishes(pipeline, model, labels, []) if not maker.reads_sound else [maker.wish(labels, model)]
    stems = {wish.stem: f"{wish.stem}_" if wish.told else "" for wish in wishes}
    places = [(wish, i, out / f"{stems[wish.stem]}{i:03d}.wav") for wish in wishes for i in range(num)]
    targets = [path.with_suffix(suffix) for _, _, path in places for suffix in (".wav", ".png", ".json")]
    if asked.init is not None and asked.init.resolve() in {path.resolve() for path in targets}:
        raise InputError(f"{asked.init}: would be replaced by what is made of it; give another --out")
    check_unwritten([*targets, out / SHEET], overwrite)
    settings = pipeline.sampling_settings(**changes)
    drawn: dict[str, list[Image.Image]] = {wish.stem: [] for wish in wishes}
    started, length = time.perf_counter(), 0.0
    with progress_bar() as show:
        batches = [places[first : first + BATCH] for first in range(0, len(places), BATCH)]
        for done, batch in enumerate(batches):
            output = maker.make(
                torch.cat([wish.raw for wish, _, _ in batch]),
                [seeding.generator(seed, "sample", wish.key, i) for wish, i, _ in batch],
                lambda what, now, total, done=done: show(what, done * total + now, len(batches) * total, ""),  # type: ignore[misc]
            )
            pictures = maker.pictures(output.x_0)
            for (wish, i, path), waveform, picture in zip(batch, output.signal, pictures, strict=True):
                told = {**wish.told, "number": i, "seed": seed, "model": Path(model).name, **asked.told(), **settings}
                how = json.dumps(told, indent=2)
                write_audio(path, waveform, maker.sample_rate)
                write_picture(
                    path.with_suffix(".png"), picture, {k: str(value) for k, value in json.loads(how).items()}
                )
                write_file(path.with_suffix(".json"), f"{how}\n")
                drawn[wish.stem].append(picture)
                length += waveform.shape[-1] / maker.sample_rate
    seconds = time.perf_counter() - started
    columns = max(SHEET_WIDTH // next(iter(drawn.values()))[0].width, 1)
    rows, names = folded(drawn, {wish.stem: next(iter(wish.told.values()), "") for wish in wishes}, columns)
    write_picture(out / SHEET, draw_sheet(rows, names))
    values = {
        "written": [str(path) for _, _, path in places],
        "contact_sheet": str(out / SHEET),
        "seconds": round(seconds, 3),
        "seconds_of_sound": round(length, 3),
        "sound_per_second": round(length / seconds, 3),
    }
    text = (
        f"{out}: {len(places)} sounds of {length / len(places):.2f} s, {values['sound_per_second']} s of sound a "
        f"second; all of their spectrograms: {out / SHEET}"
    )
    return values, text


class Maker:
    """A model, perhaps with an upsampler behind it, about to make sounds as they are asked for; the clip is read once.

    Raises:
        InputError: an unreadable clip, or one that does not fit what is asked for.
    """

    def __init__(self, pipeline: Pipeline, upsampler: Pipeline | None, asked: Asked, changes: dict[str, Any]) -> None:
        from synesthete.pipeline import Cascade
        from synesthete.pipeline.windows import Frames, find_overlap

        self.pipeline, self.asked, self.changes = pipeline, asked, changes
        self.cascade = None if upsampler is None else Cascade(pipeline, upsampler)
        self.last = upsampler or pipeline
        self.sample_rate: int = self.last.codec.spec.sample_rate
        self.reads_sound = pipeline.conditioner.reads == "sound"
        find_overlap(Frames.of(pipeline.codec), asked.overlap)
        self.clip, self.clip_rate = self._read_clip()
        self.canvas = None if self.reads_sound else self._begin()

    def wish(self, labels: Sequence[str], model: str) -> Any:
        """What an upsampler alone is asked for: the clip with its highs.

        Raises:
            InputError: labels, no clip, or anything to be done to it but this.
        """
        import torch

        from synesthete.cli.sample_pictures import Wish

        if labels:
            raise InputError(f"{model}: reads sound, and has no labels; leave out --label")
        if self.asked.options() != ["--init"] or self.cascade is not None:
            raise InputError(
                f"{model}: adds highs to a low-rate sound; give it --init FILE and nothing else of that kind"
            )
        return Wish("sample", {}, "", torch.zeros(1, dtype=torch.int64))

    def _begin(self) -> Canvas:
        """What is known of a sound, and what is to be made."""
        from synesthete.pipeline import Canvas

        codec, asked, rate = self.pipeline.codec, self.asked, self.pipeline.codec.spec.sample_rate
        num_samples = None if asked.seconds is None else round(asked.seconds * rate)
        if self.clip is None:
            return Canvas.unconditional(codec, 1, num_samples, is_loop=asked.is_loop)
        waveform = self.clip.to(self.pipeline.device)
        try:
            if asked.goes_on:
                assert num_samples is not None
                return Canvas.continuation(codec, waveform, num_samples, is_loop=asked.is_loop)
            if num_samples is not None and num_samples > waveform.shape[-1]:
                raise InputError(
                    f"{waveform.shape[-1] / rate:.2f} s, shorter than --seconds; give --continue to go on after it"
                )
            waveform = waveform[:, :num_samples]
            if asked.gap is not None:
                start, end = (round(second * rate) for second in asked.gap)
                return Canvas.inpaint(codec, waveform, start, end)
            return Canvas.variation(codec, waveform, is_loop=asked.is_loop)
        except InputError as error:
            raise InputError(f"{asked.init}: {error}") from None

    def make(
        self, raw: torch.Tensor, generators: list[torch.Generator], progress: Callable[[str, int, int], None]
    ) -> Output:
        """The sounds of a batch of conditions."""
        import torch

        from synesthete.pipeline import Output, long_form_steps
        from synesthete.pipeline.decode_audio import decode_canvas
        from synesthete.pipeline.upsampling import upsample
        from synesthete.pipeline.windows import encode

        def count_windows(now: int, total: int) -> None:
            progress("windows of highs", now, total)

        if self.canvas is None:
            assert self.clip is not None
            low = self.clip.expand(len(raw), -1)
            signal = upsample(
                self.pipeline, low, self.clip_rate, generators=generators, progress=count_windows, **self.changes
            )
            return Output(signal, encode(self.pipeline.codec, signal.to(self.pipeline.device)))
        canvas = self.canvas.copies(len(raw))
        asked = self.asked
        how: dict[str, Any] = {
            "overlap": asked.overlap,
            "num_resamplings": asked.num_resamplings,
            "strength": asked.shown_strength,
        }
        if asked.num_corrections is not None:
            how["num_corrections"] = asked.num_corrections
        for now, total in long_form_steps(self.pipeline, raw, canvas, generators=generators, **how, **self.changes):
            progress("steps", now, total)
        with torch.no_grad():
            signal = decode_canvas(self.pipeline.codec, canvas, generators)
        if self.cascade is None:
            return Output(signal, canvas.x_0)
        return self.cascade.add_highs(signal, generators, is_loop=canvas.is_loop, progress=count_windows)

    def pictures(self, x_0: torch.Tensor) -> list[Image.Image]:
        """The spectrogram of each, of its first minute."""
        from synesthete.pipeline.windows import Frames

        frames = Frames.of(self.last.codec)
        shown = min(x_0.shape[-1], frames.covering(round(PICTURED * self.sample_rate)))
        return self.last.codec.pictures(x_0[..., :shown].to(self.last.device))

    def _read_clip(self) -> tuple[torch.Tensor | None, int]:
        """The clip (1, S) and its rate: the model's own, or for an upsampler alone the file's."""
        from synesthete.data.audio import read_audio, read_samples

        if self.asked.init is None:
            return None, 0
        rate = self.pipeline.codec.spec.sample_rate
        if self.reads_sound:
            _, rate = read_samples(self.asked.init, "float32")
        return read_audio(self.asked.init, rate).unsqueeze(0), rate


def load_models(model: str, upsampler: str | None, device: str) -> tuple[Pipeline, Pipeline | None]:
    """The model and what adds its highs, from a cascade's folder or from two.

    Raises:
        InputError: no such model, or an upsampler to a cascade, which has its own.
    """
    from synesthete import hub
    from synesthete.pipeline import Cascade, Pipeline
    from synesthete.pipeline.adapted import find_adapters
    from synesthete.pipeline.cascade import is_cascade

    if find_adapters(model) is None and is_cascade(hub.find_model(model)):
        if upsampler is not None:
            raise InputError(f"{model}: has an upsampler of its own; leave out --upsampler, or give it {model}/base")
        both = Cascade.load(model, device)
        return both.base, both.upsampler
    return Pipeline.load(model, device), None if upsampler is None else Pipeline.load(upsampler, device)
