"""How well a listener that never heard the voices understands each of them; the figures of `speech/voices.py`.

    python benchmarks/screen_voices.py                      # the voices in the file
    python benchmarks/screen_voices.py en-us+f3 en-029+m1   # any others
    python benchmarks/screen_voices.py --accents en-us en-gb --variants f1 f2 m1

Every voice says zero to nine at 130 and 165 words a minute and default pitch; pocketsphinx (its own English model, a
grammar of the ten words) writes down what it hears. Chance is 0.10. About 0.5 s a voice on one core.
"""

from __future__ import annotations

import argparse
from itertools import product
from typing import TYPE_CHECKING

from synesthete.data.speech.engines import Espeak, split_voices
from synesthete.evaluation.recognizers import GrammarRecognizer
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATES = (130, 165)


def heard_share(engine: Espeak, listener: GrammarRecognizer, voice: str) -> tuple[float, list[str]]:
    """The share of the 20 utterances heard right, and the wrong ones as said>heard."""
    wrong = []
    for rate, word in product(RATES, WORDS):
        waveform, sample_rate = engine.speak(word, voice, rate)
        heard = listener.recognize(waveform, sample_rate)
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
    engine, listener = Espeak(), GrammarRecognizer(WORDS)
    for name in voice_names():
        try:
            share, wrong = heard_share(engine, listener, name)
            print(f"{name:<32} {share:.2f}  {' '.join(wrong)}", flush=True)
        except (InputError, RuntimeError) as error:
            print(f"{name:<32} -     {error}", flush=True)


if __name__ == "__main__":
    main()
