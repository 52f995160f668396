"""How well a listener that never heard the voices understands each of them; the figures of `speech/voices.py`.

    python benchmarks/screen_voices.py                      # the voices in the file
    python benchmarks/screen_voices.py en-us+f3 en-029+m1   # any others
    python benchmarks/screen_voices.py --accents en-us en-gb --variants f1 f2 m1

Every voice says zero to nine at 130 and 165 words a minute and default pitch; pocketsphinx (its own English model, a
grammar of the ten words) writes down what it hears. Chance is 0.10. About 0.3 s a voice on one core.
"""

from __future__ import annotations

import argparse
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr

from synesthete.data.speech.espeak import Espeak
from synesthete.data.speech.voices import split_voices
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATES = (130, 165)
SAMPLE_RATE = 16_000  # of the listener's model
PADDING = 0.2  # seconds of quiet on both sides
# Quiet, not silence: with 40 dB less of it the same clips were understood to 0.65 where this, together with leaving out
# the listener's second pass (bestpath), gave 0.94 (13 voices, 130 utterances).
NOISE = 0.0045


def make_listener() -> Any:
    """A pocketsphinx decoder that can only hear one of the ten words, or nothing."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL", lm=None, bestpath=False)
    decoder.add_jsgf_string("word", f"#JSGF V1.0; grammar word; public <word> = {' | '.join(WORDS)};")
    decoder.activate_search("word")
    return decoder


def hear(decoder: Any, waveform: np.ndarray, sample_rate: int) -> str:
    """The word heard in a waveform (S,), or "" for none."""
    samples = soxr.resample(waveform, sample_rate, SAMPLE_RATE)
    padded = np.pad(0.9 * samples / np.abs(samples).max(), round(PADDING * SAMPLE_RATE))
    noise = np.random.default_rng(0).normal(0, NOISE, padded.shape)
    decoder.start_utt()
    decoder.process_raw((np.clip(padded + noise, -1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return hypothesis.hypstr if hypothesis else ""


def heard_share(engine: Espeak, decoder: Any, voice: str) -> tuple[float, list[str]]:
    """The share of the 20 utterances heard right, and the wrong ones as said>heard."""
    wrong = []
    for rate, word in product(RATES, WORDS):
        waveform, sample_rate = engine.speak(word, voice, rate)
        heard = hear(decoder, waveform.numpy(), sample_rate)
        if heard != word:
            wrong.append(f"{word}>{heard or '-'}")
    return 1 - len(wrong) / (len(RATES) * len(WORDS)), wrong


def voice_names(arguments: Sequence[str] | None = None) -> list[str]:
    """The voices asked for on the command line, or those of the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voices", nargs="*", help="voices such as en-us+f3; the package's own when left out")
    parser.add_argument("--accents", nargs="*", default=[], help="crossed with --variants")
    parser.add_argument("--variants", nargs="*", default=[])
    options = parser.parse_args(arguments)
    names = options.voices + [f"{accent}+{variant}" for accent, variant in product(options.accents, options.variants)]
    return names or [voice.name for voices in split_voices().values() for voice in voices]


def main() -> None:
    """Print one line a voice: its name, the share heard, and what was misheard."""
    engine, decoder = Espeak(), make_listener()
    for name in voice_names():
        try:
            share, wrong = heard_share(engine, decoder, name)
            print(f"{name:<32} {share:.2f}  {' '.join(wrong)}", flush=True)
        except (InputError, RuntimeError) as error:
            print(f"{name:<32} -     {error}", flush=True)


if __name__ == "__main__":
    main()
