"""Music as it is asked for: of nothing, of a class, or of a clip to vary, to mend, to go on from, to add highs to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from synesthete import hub
from synesthete.data.audio import SoundFile, read_audio
from synesthete.data.files import legible
from synesthete.pipeline import Canvas, Cascade, Output, Pipeline, long_form_steps
from synesthete.pipeline.canvas import Frames, encode_whole, find_overlap
from synesthete.pipeline.cascade import upsample
from synesthete.pipeline.long_form import decode_canvas, fade_ends
from synesthete.tasks.images.sampling import NOTHING, find_subjects, items_of
from synesthete.tasks.results import Sound
from synesthete.tasks.sampling import Item, Plan, SampleRequest
from synesthete.types import InputError, Progress

NUM = 4  # sounds of each label
PICTURED = 60.0  # seconds that a spectrogram shows
STRENGTH = 0.6  # of a variation
LONGEST = 3600.0  # seconds of one sound


@dataclass(frozen=True)
class MusicRequest(SampleRequest):
    """What the sound is to be, of which everything may be left out; `help.tsv` says what each field is."""

    labels: Sequence[str] = ()
    loudness: float | None = None
    num: int | None = None
    seconds: float | None = None
    init: Path | None = None
    strength: float | None = None
    gap: tuple[float, float] | None = None
    goes_on: bool = False
    is_loop: bool = False
    upsampler: str | None = None
    overlap: float | None = None
    num_corrections: int | None = None
    num_resamplings: int = 0

    def check(self) -> None:
        """The options fit each other and are in range."""
        if self.seconds is not None and not 0 < self.seconds <= LONGEST:
            raise InputError(f"--seconds {self.seconds:g}: give more than 0 and at most {LONGEST:g}")
        if self.strength is not None and not 0 < self.strength <= 1:
            raise InputError(f"--strength {self.strength:g}: give more than 0 and at most 1, which keeps nothing")
        if self.gap is not None and not 0 <= self.gap[0] < self.gap[1] < math.inf:
            raise InputError(f"--gap {self.gap[0]:g} {self.gap[1]:g}: give seconds of the clip, 0 <= START < END")
        changing = {"--strength": self.strength, "--gap": self.gap, "--continue": self.goes_on or None}
        given = [name for name, value in changing.items() if value is not None]
        if given and self.init is None:
            raise InputError(f"{given[0]}: of which sound? give --init FILE")
        if self.goes_on and len(given) > 1:
            raise InputError(f"--continue goes on after the clip and leaves it as it is; leave out {given[0]}")
        if self.goes_on and self.seconds is None:
            raise InputError("--continue: to which length? give --seconds, of the clip and what follows it")
        if self.gap is not None and self.is_loop:
            raise InputError("--gap leaves the clip's ends as they are, which --loop would join; leave out one of them")

    def told(self) -> dict[str, Any]:
        """What of it a file tells."""
        what = {
            "loudness": self.loudness,
            "seconds": self.seconds,
            "init": self.init and legible(self.init.name),
            "strength": self.used_strength if self.init and not self.goes_on else None,
            "gap": self.gap and list(self.gap),
            "continue": self.goes_on or None,
            "loop": self.is_loop or None,
            "overlap": self.overlap,
            "num_corrections": self.num_corrections,
            "num_resamplings": self.num_resamplings or None,
        }
        return {name: value for name, value in what.items() if value is not None}

    @property
    def used_strength(self) -> float:
        """How much of the walk is made: all of it but in a variation, a gap's only if asked for."""
        if self.strength is not None:
            return self.strength
        return STRENGTH if self.init is not None and self.gap is None and not self.goes_on else 1.0


class MusicPlan(Plan):
    """`num` sounds of each label; the clip is read once."""

    unit = "sound"
    suffixes = (".wav", ".png", ".json")
    batch_size = 4
    cpu_batch_size = 1  # a fifth slower than 4
    has_sheet = True

    def __init__(self, model: Pipeline | Cascade, request: MusicRequest, folder: Path | None = None) -> None:
        if isinstance(model, Cascade):
            if request.upsampler is not None:
                raise InputError(
                    f"{request.model}: has an upsampler of its own; leave out --upsampler, or give it "
                    f"{request.model}/base"
                )
            base, self.cascade = model.base, model
        else:
            base = model
            upsampler = Pipeline.load(request.upsampler, str(base.device)) if request.upsampler else None
            self.cascade = Cascade(base, upsampler) if upsampler else None  # type: ignore[assignment]
        super().__init__(base, request, folder)
        self.models += [hub.find_model(request.upsampler)] if request.upsampler else []
        self.last: Pipeline = self.cascade.upsampler if self.cascade else base
        self.sample_rate: int = self.last.codec.spec.sample_rate
        self.adds_highs = base.conditioner.reads == "sound"
        find_overlap(Frames.of(base.codec), request.overlap)
        self.clip, self.clip_rate = self._read_clip()
        if self.adds_highs:
            self._check_upsampler()
        subjects = [NOTHING] if self.adds_highs else self._subjects(base)
        self.canvas = None if self.adds_highs else self._begin()
        self.items = items_of([one if one.how else replace(one, stem="") for one in subjects], request.num or NUM)
        self.inputs = [request.init] if request.init is not None else []

    def make(self, items: Sequence[Item], progress: Progress) -> list[Sound]:
        """A sound of each."""
        raw, report = torch.cat([item.raw for item in items]), self.among_all(items, progress)
        output = self._sample(raw, self.generators(items), report)
        return [
            Sound(waveform.cpu(), self.sample_rate, picture, self.how(**item.how))
            for item, waveform, picture in zip(items, output.signal, self._pictures(output.x_0), strict=True)
        ]

    def how(self, **own: Any) -> dict[str, Any]:
        """As of every plan, with what was asked for."""
        return {**super().how(**own), **self.request.told()}

    def _subjects(self, base: Pipeline) -> list[Item]:
        """What there are to be sounds of: labels, or a loudness, or nothing."""
        asked = self.request
        if base.conditioner.reads == "level":
            if asked.labels:
                raise InputError(f"{asked.model}: is told how loud, and has no labels; leave out --label")
            return [replace(NOTHING, raw=base.conditioner.compose(1, asked.loudness))]
        if asked.loudness is not None:
            raise InputError(f"{asked.model}: is not told how loud it is to be; leave out --loudness")
        return find_subjects(base, asked.model, asked.labels)

    def _check_upsampler(self) -> None:
        """An upsampler alone makes of a clip the same with highs, and nothing else."""
        model, asked = self.request.model, self.request
        if asked.labels:
            raise InputError(f"{model}: reads sound, and has no labels; leave out --label")
        own = {name: (getattr(asked, name), unset) for name, unset in asked.own_fields().items()}
        if {name for name, (value, unset) in own.items() if value and value != unset} - {"num"} != {"init"}:
            raise InputError(
                f"{model}: adds highs to a low-rate sound; give it --init FILE and nothing else of that kind"
            )

    def _begin(self) -> Canvas:
        """What is known of a sound, and what is to be made."""
        codec, asked, rate = self.pipeline.codec, self.request, self.pipeline.codec.spec.sample_rate
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
            raise InputError(f"{legible(str(asked.init))}: {error}") from None

    def _sample(self, raw: torch.Tensor, generators: list[torch.Generator], progress: Progress) -> Output:
        """The sounds of a batch of conditions."""
        changes, asked, count_windows = self.request.settings, self.request, partial(progress, "windows of highs")
        if self.canvas is None:
            assert self.clip is not None
            low = self.clip.expand(len(raw), -1)
            signal = upsample(
                self.pipeline, low, self.clip_rate, generators=generators, progress=count_windows, **changes
            )
            return Output(signal, encode_whole(self.pipeline.codec, signal.to(self.pipeline.device)))
        canvas = self.canvas.copies(len(raw))
        how: dict[str, Any] = {
            "overlap": asked.overlap,
            "num_resamplings": asked.num_resamplings,
            "strength": asked.used_strength,
        }
        if asked.num_corrections is not None:
            how["num_corrections"] = asked.num_corrections
        for now, total in long_form_steps(self.pipeline, raw, canvas, generators=generators, **how, **changes):
            progress("steps", now, total)
        with torch.no_grad():
            signal = decode_canvas(self.pipeline.codec, canvas, generators)
        output = Output(signal, canvas.x_0)
        if self.cascade is not None:
            output = self.cascade.add_highs(signal, generators, is_loop=canvas.is_loop, progress=count_windows)
        if not canvas.is_loop:  # what was given is left as it is
            given = {at for first, end in canvas.kept for at in (first, min(end, canvas.num_samples))}
            ends = {"begins": 0 not in given, "ends": canvas.num_samples not in given}
            output.signal = fade_ends(output.signal, self.sample_rate, **ends)
        return output

    def _pictures(self, x_0: torch.Tensor) -> list[Any]:
        """The spectrogram of each, of its first minute."""
        frames = Frames.of(self.last.codec)
        shown = min(x_0.shape[-1], frames.covering(round(PICTURED * self.sample_rate)))
        return self.last.codec.pictures(x_0[..., :shown].to(self.last.device))

    def _read_clip(self) -> tuple[torch.Tensor | None, int]:
        """The clip (1, S) and its rate: the model's own, or for an upsampler alone the file's."""
        if self.request.init is None:
            return None, 0
        rate = self.pipeline.codec.spec.sample_rate
        if self.adds_highs:
            with SoundFile(self.request.init) as file:
                rate = file.sample_rate
        return read_audio(self.request.init, rate).unsqueeze(0), rate
