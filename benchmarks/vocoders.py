"""A vocoder trained here against Griffin-Lim, on sounds that it never heard.

    python -m benchmarks.vocoders --minutes 30 --json
    python -m benchmarks.vocoders --minutes 30 --data RECORDINGS --sample-rate 32000 --n-fft 2048 --hop-length 512 \
        --n-mels 128 --json
    python -m benchmarks.vocoders --corpus tones --minutes 0.5 --json
    python -m benchmarks.vocoders --vocoder out/vocoders/codec --json

trains a `VocoderCodec` by the `vocoding` objective for so many minutes, on spoken digits made by espeak, on a folder of
recordings or on synthetic tones, and takes held-out clips (of other voices, or of other recordings) through their
log-mel and back. Every side starts from the same log-mel. Distances are of magnitudes, so that a shift of phase, which
no ear can tell and no vocoder can know, costs nothing: the log-spectral distance in dB of cells down to 80 dB below
full scale, of the frames that are not silent; the multi-resolution STFT distance; the error of the log-mel. Beside them
another clip of the same test (what chance gives) and, of speech, the share of words that pocketsphinx understands.
Writes the trained codec to OUT/codec, its network to OUT/network (`--set codec.vocoder=vocos codec.vocos=OUT/network`
uses it in a recipe of the same log-mel), and clips of every side to OUT/listen.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from synesthete import seeding, tasks
from synesthete.codecs.mel import VocoderCodec
from synesthete.config import build
from synesthete.data.audio import as_float, write_audio
from synesthete.data.pictures import DIGITS
from synesthete.data.speech.corpus import build_speech_corpus, load_clips
from synesthete.data.synthetic import Tones
from synesthete.diffusion.process import Process
from synesthete.evaluation.recognizers import GrammarRecognizer, normalise
from synesthete.nn.part import keep_freed_memory
from synesthete.objectives import Parts, Vocoding
from synesthete.objectives.autoencoding import log_spectral_distance
from synesthete.objectives.vocoding import QUIETEST, spectral_distance
from synesthete.recipes.music import music_vocoder
from synesthete.types import AudioSpec, Batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

FLOOR_DB = -80.0  # below full scale
SILENT_DB = -60.0  # a frame without a cell above this is not compared
NUM_WRITTEN = 8
NUM_WARMUP_STEPS = 100
SECONDS = {"speech": 0.8, "music": 4.0}


@dataclass
class Sounds:
    """What is trained on and what is held out. draw(n, generator) -> waveforms (n, S) float in [-1, 1].

    test: (m, S). words: what is said in each of them; None where nobody speaks.
    """

    name: str
    draw: Callable[[int, torch.Generator], Tensor]
    test: Tensor
    words: list[str] | None = None


def main() -> None:
    """Train, compare, print a line a side, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, preparation not counted")
    parser.add_argument("--corpus", choices=("speech", "tones"), default="speech", help="what is built in")
    parser.add_argument("--data", type=Path, help="a folder of recordings, in place of the corpus")
    parser.add_argument("--takes", type=int, default=12, help="of a word by a voice, in the speech corpus")
    parser.add_argument("--sample-rate", type=int, default=24_000)
    parser.add_argument("--n-fft", type=int, default=1024)
    parser.add_argument("--hop-length", type=int, default=256)
    parser.add_argument("--n-mels", type=int, default=100)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--num-layers", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--crop", type=int, default=8192, help="samples of each clip in a step")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--adversarial-weight", type=float, default=0.0, help="above 0 trains a discriminator as well")
    parser.add_argument("--vocoder", help="a codec, run or model that is trained already")
    parser.add_argument("--num", type=int, default=120, help="held-out clips")
    parser.add_argument("--out", type=Path, default=Path("out/vocoders"))
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object as the last line")
    options = parser.parse_args()
    keep_freed_memory()
    codec = make_codec(options)
    sounds = read_sounds(options, codec)
    torch.manual_seed(0)
    codec.fit(as_batches(sounds))
    trained = {"steps": 0, "seconds": 0.0} if options.vocoder else train(codec, sounds, options)
    codec.eval().save_pretrained(options.out / "codec")
    codec.network.save_pretrained(options.out / "network")
    values = describe(codec, sounds) | trained | {"sides": compare(codec, sounds, options.out / "listen")}
    for side, found in values["sides"].items():
        print(f"{side:12}" + "  ".join(f"{name} {value:.4g}" for name, value in found.items()), file=sys.stderr)
    if options.as_json:
        print(json.dumps(values))


def make_codec(options: argparse.Namespace) -> VocoderCodec:
    """The codec that the options ask for, or that `--vocoder` names."""
    seconds = SECONDS["speech" if is_speech(options) else "music"]
    if options.vocoder:
        folder = Path(options.vocoder)
        folder = next((place for place in (folder / "model/codec", folder / "codec") if place.is_dir()), folder)
        config = VocoderCodec.load_config(str(folder))
        return VocoderCodec.from_config({**config, "weights": options.vocoder})
    return VocoderCodec(
        num_samples=round(seconds * options.sample_rate),
        sample_rate=options.sample_rate,
        n_fft=options.n_fft,
        hop_length=options.hop_length,
        n_mels=options.n_mels,
        dim=options.dim,
        intermediate_dim=3 * options.dim,
        num_layers=options.num_layers,
    )


def is_speech(options: argparse.Namespace) -> bool:
    """Whether words are spoken."""
    return options.data is None and options.corpus == "speech"


def read_sounds(options: argparse.Namespace, codec: VocoderCodec) -> Sounds:
    """The sounds that the options name, at the codec's rate, `--num` of those held out."""
    if is_speech(options):
        return read_speech(options, codec)
    recipe = music_vocoder()
    recipe.data.sources, recipe.data.folder = (build(Tones, num=12),), options.data and str(options.data)
    codec_fields = {name: codec.config[name] for name in recipe.codec.fields if name in codec.config}
    recipe.codec = build(VocoderCodec, **codec_fields | {"weights": None})
    prepared = tasks.prepare(recipe, options.out / "data")
    train, test = prepared.train, prepared.test
    places = torch.randperm(len(test), generator=seeding.generator(0, "clips"))[: options.num]

    def draw(num: int, generator: torch.Generator) -> Tensor:
        return train.waveform(torch.randint(len(train), (num,), generator=generator))

    return Sounds(str(options.data.name) if options.data else "tones", draw, test.waveform(places))


def read_speech(options: argparse.Namespace, codec: VocoderCodec) -> Sounds:
    """Spoken digits; those held out are by voices that are in no training clip."""
    folder, num_samples = options.out / f"speech-{options.takes}", codec.config.num_samples
    spec = AudioSpec(sample_rate=codec.spec.sample_rate)
    seconds = num_samples / spec.sample_rate
    words = {name: name for name in DIGITS}
    build_speech_corpus(words, folder, seconds=seconds, takes=options.takes, spec=spec, allow_few_targets=True)
    clips, held_out = (load_clips(folder, split, spec, num_samples=num_samples) for split in ("train", "test"))
    places = torch.randperm(len(held_out), generator=seeding.generator(0, "clips"))[: options.num]

    def draw(num: int, generator: torch.Generator) -> Tensor:
        return as_float(clips.waveforms[torch.randint(len(clips), (num,), generator=generator)])

    said = [held_out.class_names[label] for label in held_out.labels[places].tolist()]
    return Sounds("spoken digits", draw, as_float(held_out.waveforms[places]), said)


def as_batches(sounds: Sounds) -> list[Tensor]:
    """Some training clips for the codec to be measured on."""
    generator = seeding.generator(0, "fit")
    return [sounds.draw(32, generator) for _ in range(8)]


def train(codec: VocoderCodec, sounds: Sounds, options: argparse.Namespace) -> dict[str, Any]:
    """The vocoder trained for `--minutes`; its learning rate follows half a cosine of the time that is gone."""
    objective = Vocoding(crop=options.crop, adversarial_weight=options.adversarial_weight)
    objective.attach(Parts(codec, nn.Identity(), nn.Identity(), Process())).train()
    optimiser = torch.optim.AdamW(objective.parameters(), betas=(0.8, 0.99), weight_decay=0.01, fused=True)
    started, step, gone = time.perf_counter(), 0, 0.0
    label = torch.zeros(options.batch_size, dtype=torch.int64)
    while gone < 1:
        share = min(1, (step + 1) / NUM_WARMUP_STEPS) * (0.02 + 0.49 * (1 + math.cos(math.pi * gone)))
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * share
        generator = seeding.generator(0, "vocoders", step)
        waveforms = sounds.draw(options.batch_size, generator)
        losses = objective(Batch(waveforms, label, label), generator)
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(objective.parameters(), 10.0)
        optimiser.step()
        optimiser.zero_grad()
        step += 1
        gone = (time.perf_counter() - started) / (60 * options.minutes)
        if step % 100 == 0:
            told = "  ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
            print(f"step {step}, {gone:.0%}: {told}", file=sys.stderr)
    seconds = time.perf_counter() - started
    return {"steps": step, "seconds": seconds, "seconds_a_step": seconds / step, "batch_size": options.batch_size}


def describe(codec: VocoderCodec, sounds: Sounds) -> dict[str, Any]:
    """What was compared, on what."""
    return {
        "data": sounds.name,
        "num": len(sounds.test),
        "sample_rate": codec.spec.sample_rate,
        "n_fft": codec.spec.n_fft,
        "hop_length": codec.spec.hop_length,
        "n_mels": codec.spec.n_mels,
        "parameters": sum(parameter.numel() for parameter in codec.network.parameters()),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


@torch.no_grad()
def compare(codec: VocoderCodec, sounds: Sounds, folder: Path) -> dict[str, dict[str, float]]:
    """Every side's figures; the first clips of each are written to `folder`."""
    griffin_lim = copy.deepcopy(codec)
    griffin_lim.register_to_config(vocoder="griffin-lim")
    x_0, rate = codec.encode(sounds.test), codec.spec.sample_rate
    name = f"griffin-lim {codec.config.num_iterations}"
    sides: dict[str, tuple[Tensor, float | None]] = {
        name: timed(griffin_lim, x_0),
        "vocoder": timed(codec, x_0),
        "original": (sounds.test, None),
        "another": (sounds.test.roll(1, dims=0), None),
    }
    listener = GrammarRecognizer(sorted(set(sounds.words))) if sounds.words else None
    found = {}
    for side, (made, seconds) in sides.items():
        found[side] = distances(codec, sounds.test, made)
        if listener and sounds.words:
            heard = listener.recognize_all(made, rate)
            right = [word == normalise(said) for word, said in zip(heard, sounds.words, strict=True)]
            found[side]["understood"] = sum(right) / len(right)
        if seconds is not None:
            found[side]["seconds_a_second"] = seconds * rate / sounds.test.numel()
        for number, waveform in enumerate(made[:NUM_WRITTEN]):
            if side != "another":
                write_audio(folder / f"{number:03d}_{side.replace(' ', '-')}.wav", waveform, rate)
    return found


def timed(codec: VocoderCodec, x_0: Tensor) -> tuple[Tensor, float]:
    """What a codec makes of x_0, clip by clip, and the seconds it takes."""
    codec.decode(x_0[:1])
    started = time.perf_counter()
    made = torch.cat([codec.decode(one) for one in x_0.split(1)])
    return made, time.perf_counter() - started


def distances(codec: VocoderCodec, real: Tensor, made: Tensor) -> dict[str, float]:
    """How far waveforms (n, S) are from the real ones, whatever their phases."""
    true, guess = levels(real), levels(made)
    sounding = (true.amax(dim=1) > SILENT_DB).flatten()  # (n * T,)
    kept = [x.mT.flatten(0, 1)[sounding].mT.unsqueeze(0) for x in (true, guess)]  # (1, F, frames)
    stft = spectral_distance(real, made)
    return {
        "log_spectral_distance": log_spectral_distance(*kept),
        "spectral_convergence": stft.convergence.item(),
        "log_magnitude": stft.log_magnitude.item(),
        "mel": (codec.log_mel(real).clamp(min=QUIETEST) - codec.log_mel(made).clamp(min=QUIETEST)).abs().mean().item(),
    }


def levels(waveform: Tensor) -> Tensor:
    """Levels (n, F, T) in dB of full scale, from FLOOR_DB up, in frames of 1024 samples."""
    window = torch.hann_window(1024)
    stft = torch.stft(waveform, 1024, 256, window=window, return_complex=True).abs() / (window.sum() / 2)
    return 20 * stft.clamp(min=10 ** (FLOOR_DB / 20)).log10()


if __name__ == "__main__":
    main()
