"""Models of pictures whose worth is known beforehand."""

from __future__ import annotations

import numpy as np
import torch

from synesthete.data.synthetic import Swatches
from synesthete.pipeline import Output, Pipeline
from tiny_pictures import COLOURS


class Painter(Pipeline):
    """Draws one of the given pictures instead of what its network makes: of the class told, or without listening."""

    def draw_from(self, pictures, labels, listens: bool = True) -> Painter:
        self.pool, self.pool_labels, self.listens = pictures, labels, listens
        return self

    def __call__(self, raw, *, generators=None, noise=None, **sampling):
        chosen = []
        for wanted, generator in zip(raw, generators, strict=True):
            right = self.pool_labels == wanted if self.listens else self.pool_labels >= 0
            places = right.nonzero().flatten()
            chosen.append(places[torch.randint(len(places), (), generator=generator)])
        signal = self.pool[torch.stack(chosen)]
        return Output(signal, self.codec.encode(signal))


def make_painter(pipeline: Pipeline, pictures, labels, listens: bool = True) -> Painter:
    parts = {name: getattr(pipeline, name) for name in ("codec", "conditioner", "denoiser", "scheduler")}
    settings = {name: dict(pipeline.config[name]) for name in ("process", "sampling", "card")}
    return Painter(**parts, **settings).draw_from(pictures, labels, listens)


def unseen_swatches(num: int = 60, size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """As many of each class, of the same colours as the data's, in no split: what a perfect model draws."""
    found = Swatches(COLOURS, num_test=num, size=size).pictures("more")
    pictures = torch.stack([torch.from_numpy(np.array(file.read())).permute(2, 0, 1) for file in found.files])
    return pictures, torch.tensor([COLOURS.index(name) for name in found.labels])
