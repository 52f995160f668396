"""Two models, one after the other: sound at a low rate, then its highs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch

from synesthete import hub, seeding
from synesthete.io import write_file
from synesthete.pipeline.canvas import Canvas
from synesthete.pipeline.decode_audio import CROSSFADE, WRAP, close_loop
from synesthete.pipeline.long_form import sample_long_form
from synesthete.pipeline.pipeline import Output, Pipeline
from synesthete.pipeline.upsampling import check_upsampler, upsample
from synesthete.pipeline.windows import Frames, encode
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

KIND = "Cascade"


class Cascade:
    """A base that makes sound at a low rate, and an upsampler that adds what lies above it.

    Each is a whole model, trained and judged alone.

    Raises:
        InputError: an upsampler that reads no sound, or rates that do not rise.
    """

    def __init__(self, base: Pipeline, upsampler: Pipeline) -> None:
        check_upsampler(upsampler)
        low, high = Frames.of(base.codec).sample_rate, Frames.of(upsampler.codec).sample_rate
        if low >= high:
            raise InputError(
                f"an upsampler to {high} Hz after a model of {low} Hz: there is nothing to add; leave it out"
            )
        self.base, self.upsampler = base, upsampler

    @property
    def sample_rate(self) -> int:
        """Of what comes out, in Hz."""
        return self.upsampler.codec.spec.sample_rate

    @staticmethod
    def load(model: str, device: str | torch.device = "cpu") -> Cascade:
        """A cascade from the folder that `save` wrote, or from the Hub.

        Raises:
            InputError: no such folder, a folder of one model, or either part damaged.
        """
        folder = hub.find_model(model)
        if not is_cascade(folder):
            raise InputError(f"{model}: one model, not a cascade of two; load it as a Pipeline")
        return Cascade(*(Pipeline.load(str(folder / part), device) for part in ("base", "upsampler")))

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write both model folders, FOLDER/base and FOLDER/upsampler."""
        self.base.save(folder / "base", dtype)
        self.upsampler.save(folder / "upsampler", dtype)
        write_file(folder / hub.MODEL_INDEX, json.dumps({"_class_name": KIND}) + "\n")

    @torch.no_grad()
    def __call__(
        self,
        raw: Tensor,
        *,
        generators: Sequence[torch.Generator] | None = None,
        canvas: Canvas | None = None,
        **how: Any,
    ) -> Output:
        """Samples for a batch of the base's raw conditions: the waveform at `sample_rate`, and its x_0.

        generators: one a sample, of seed 0 where None; the upsampler goes on with them. canvas: what the base is to
            make, of any length; its own clip where None. how: as for `long_form_steps`; sampling settings are the
            base's, the upsampler samples as it was saved.

        Raises:
            InputError: as `long_form_steps`.
        """
        generators = list(generators or seeding.sample_generators(0, len(raw)))
        canvas = canvas or Canvas.unconditional(self.base.codec, len(raw))
        low = sample_long_form(self.base, raw, canvas, generators=generators, **how).signal
        return self.add_highs(low, generators, is_loop=canvas.is_loop)

    @torch.no_grad()
    def add_highs(
        self,
        low: Tensor,
        generators: Sequence[torch.Generator],
        *,
        is_loop: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Output:
        """Sound (B, S) at the base's rate, of any length -> the same at `sample_rate` with highs, and its x_0."""
        rate, generators = self.base.codec.spec.sample_rate, list(generators)
        if not is_loop:
            signal = upsample(self.upsampler, low, rate, generators=generators, progress=progress)
            return self._output(signal)
        num_samples = round(low.shape[-1] * self.sample_rate / rate)
        around = min(round(WRAP * rate), low.shape[-1])
        ring = torch.cat([low[..., -around:], low, low[..., :around]], dim=-1)
        signal = upsample(self.upsampler, ring, rate, generators=generators, progress=progress)
        first, fade = round(around * self.sample_rate / rate), round(CROSSFADE * self.sample_rate)
        return self._output(close_loop(signal[..., first : first + num_samples + fade], num_samples))

    def _output(self, signal: Tensor) -> Output:
        return Output(signal, encode(self.upsampler.codec, signal.to(self.upsampler.device)))


def is_cascade(folder: Path) -> bool:
    """Whether a model folder holds two models."""
    try:
        index = json.loads((folder / hub.MODEL_INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(index, dict) and index.get("_class_name") == KIND
