"""Pictures of what is heard, drawn batch by batch as a command asks for them, and written with how they were made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from PIL import Image

    from synesthete.conditioning.audio_text import SoundAndText
    from synesthete.pipeline import Pipeline

    Show = Callable[[str, int, int, str], None]

BATCH, LARGE_BATCH = 32, 4
LARGE = 100_000_000  # parameters of a network from which on the smaller batch is used


class Work:
    """Pictures of one call of the command: what is the same for all of them."""

    def __init__(
        self, pipeline: Pipeline, seed: int, negative: str | None, changes: dict[str, Any], show: Show
    ) -> None:
        self.pipeline, self.seed, self.negative, self.changes, self.show = pipeline, seed, negative, changes, show
        self.num_drawn = 0
        large = sum(parameter.numel() for parameter in pipeline.denoiser.parameters()) >= LARGE
        self.batch = LARGE_BATCH if large else BATCH

    def settings(self, **changes: Any) -> dict[str, Any]:
        """All sampling settings as they are used."""
        return self.pipeline.sampling_settings(**{**self.changes, **changes})

    def draw(
        self, raw: SoundAndText, numbers: Sequence[int], done: int = 0, total: int | None = None, **changes: Any
    ) -> list[Image.Image]:
        """A picture of each sample of raw (n, ...), from the noise of its number.

        done, total: samples drawn before and in all, where this is a part of something.
        """
        import torch

        from synesthete import seeding
        from synesthete.data.picture import to_images

        steps = self.settings(**changes)["num_inference_steps"]
        pictures: list[Image.Image] = []
        total = total or len(numbers)
        for first in range(0, len(numbers), self.batch):
            chosen = slice(first, first + self.batch)
            generators = [seeding.generator(self.seed, "sample", i) for i in numbers[chosen]]
            trajectory = self.pipeline.trajectory(
                raw[chosen], generators=generators, negative=self.negative, **{**self.changes, **changes}
            )
            now = done + first
            for step, x_t in enumerate(trajectory, 1):
                x_0 = x_t
                share = min(step / steps, 1) * len(numbers[chosen])
                self.show("pictures", min(now + int(share), total), total, f"step {min(step, steps)}/{steps}")
            with torch.no_grad():
                pictures += to_images(self.pipeline.codec.decode(x_0, generators).cpu())
        self.num_drawn += len(pictures)
        return pictures


def write_told(path: Path, picture: Image.Image, told: dict[str, Any]) -> None:
    """A PNG that tells how it was made, and the same as JSON beside it."""
    from synesthete.data.picture import write_picture
    from synesthete.io import write_file

    how = json.dumps(told, indent=2, ensure_ascii=False)
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in json.loads(how).items()}
    write_picture(path, picture, texts)
    write_file(path.with_suffix(".json"), f"{how}\n")
