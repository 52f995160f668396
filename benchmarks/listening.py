"""A listening page: what a model plays, as small sound files with their spectrograms, in one Markdown file.

    python -m benchmarks.listening music-notes --out docs/listening/music-notes
    python -m benchmarks.listening runs/music --num 6 --seed 0 --out docs/listening/music
    python -m benchmarks.listening runs/music-low --upsampler runs/music-upsampler --out docs/listening/music-cascade

The first samples of the seed, not the best ones: of a model that is told classes, the first of each class.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import soundfile
import torch

from synesthete import seeding
from synesthete.evaluation.audio_features.spectra import draw_spectrograms
from synesthete.pipeline import Pipeline
from synesthete.pipeline.cascade import Cascade

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 8
TITLE = "What {name} plays"
HOW = "The first samples of seed {seed}, not the best ones: {settings}. Low frequencies are at the bottom, -80 to 0 dB."


def main() -> None:
    """Sample, write sounds and pictures, and the page that shows them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model's name or folder")
    parser.add_argument("--upsampler", help="a model that makes the highs of what the first one plays")
    parser.add_argument("--name", help="what the page calls it")
    parser.add_argument("--num", type=int, default=6, help="sounds of a model that is told nothing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    options = parser.parse_args()
    if options.num < 1:
        parser.error("--num: give at least 1")
    try:
        options.out.mkdir(parents=True)
    except FileExistsError:
        parser.error(f"--out {options.out}: exists; give another folder")
    pipeline = Pipeline.load(options.model)
    whole = Cascade(pipeline, Pipeline.load(options.upsampler)) if options.upsampler else None
    names = list(pipeline.class_names) if pipeline.is_conditional else [f"{i:03}" for i in range(options.num)]
    sounds = play(pipeline, len(names), options.seed, whole)
    rate = whole.sample_rate if whole else pipeline.codec.spec.sample_rate
    for name, sound, picture in zip(names, sounds, draw_spectrograms(sounds, rate), strict=True):
        soundfile.write(options.out / f"{name}.ogg", sound.numpy(), rate, format="OGG", subtype="VORBIS")
        picture.resize((2 * picture.width, 2 * picture.height)).convert("P").save(options.out / f"{name}.png")
    page = write_page(options.name or Path(options.model).name, names, pipeline.sampling_settings(), options.seed)
    (options.out / "README.md").write_text(page, encoding="utf-8")


def play(pipeline: Pipeline, num: int, seed: int, whole: Cascade | None = None) -> Tensor:
    """Sounds (num, S) in [-1, 1], sound i of class i; by the cascade that the model begins, where there is one."""
    found, maker = [], whole or pipeline
    for places in torch.arange(num).split(BATCH):
        generators = [seeding.sample_generators(seed, num)[i] for i in places.tolist()]
        found.append(maker(places if pipeline.is_conditional else places * 0, generators=generators).signal)
    return torch.cat(found).cpu().clamp(-1, 1)


def write_page(model: str, names: list[str], settings: dict[str, object], seed: int) -> str:
    """Markdown: a row a sound."""
    told = ", ".join(f"{key} {settings[key]}" for key in ("sampler", "num_inference_steps", "guidance_scale"))
    rows = "\n".join(f"| [{name}]({name}.ogg) | ![spectrogram of {name}]({name}.png) |" for name in names)
    how = HOW.format(seed=seed, settings=told)
    return f"# {TITLE.format(name=model)}\n\n{how}\n\n| sound | spectrogram |\n|---|---|\n{rows}\n"


if __name__ == "__main__":
    main()
