"""Models whose accuracy is known beforehand."""

from __future__ import annotations

import torch

from synesthete.codecs.mel import MelCodec
from synesthete.conditioning.pictures import PictureStem
from synesthete.config import Sampling
from synesthete.denoisers.dit import DiT
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import make_scheduler
from synesthete.pipeline import Output, Pipeline

WORDS = ("two", "four", "six", "seven")
NUM_SAMPLES = 64 * 256 - 1
NUM_STEPS = 70  # of the classifier


class Speaker(Pipeline):
    """Says a real clip instead of what its network makes: of the picture's class, or of one drawn without looking."""

    def answer_with(self, clips, looks: bool) -> Speaker:
        self.clips, self.looks = clips, looks
        return self

    def __call__(self, raw, *, generators=None, noise=None, **sampling):
        classes = raw.float().mean(dim=(1, 2, 3)).div(50).round().long()
        chosen = []
        for wanted, generator in zip(classes, generators, strict=True):
            if not self.looks:
                wanted = torch.randint(len(WORDS), (), generator=generator)
            places = (self.clips.labels == wanted).nonzero().flatten()
            chosen.append(places[torch.randint(len(places), (), generator=generator)])
        x_0 = self.codec.encode(self.clips.waveforms[torch.stack(chosen)].float() / 32768)
        return Output(self.codec.decode(x_0, generators), x_0)


def pictures_of(labels: torch.Tensor) -> torch.Tensor:
    """Pictures whose brightness is their class, (n, 1, 8, 8)."""
    return (labels * 50).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()


def make_speaker(real, looks: bool) -> Speaker:
    torch.manual_seed(0)
    process = Process()
    class_names = list(real.class_names)
    speaker = Speaker(
        MelCodec(num_samples=NUM_SAMPLES, num_iterations=4),
        PictureStem(size=8, widths=(8, 16), width=16, fit="cover"),
        DiT(sample_size=(100, 64), width=16, depth=1, num_heads=2, condition_width=16, pooled_width=16),
        make_scheduler("flow-euler", process),
        process=process.settings(),
        sampling=dict(vars(Sampling())),
        card={"class_names": class_names, "recipe": "speaker"},
    )
    return speaker.answer_with(real, looks)
