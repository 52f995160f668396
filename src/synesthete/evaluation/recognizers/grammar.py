"""Which word a listener hears that no part of this package trained, and what may be said for each class."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr
from rapidfuzz.distance import Levenshtein

from synesthete.data.speech.espeak import Espeak
from synesthete.io import tab_separated
from synesthete.types import InputError, counted

if TYPE_CHECKING:
    import torch

PHONES = dict(tab_separated(Path(__file__).with_name("phones.tsv")))  # the engine's alphabet as phones of CMUdict
_PHONE = re.compile("|".join(map(re.escape, PHONES)))
_UNSPOKEN = re.compile("[ˈˌ ]")


def phones_of(word: str) -> str | None:
    """The phones of an English word by the speech engine's rules, such as "D UW G AO NG".

    None of what is no word (other than small letters, or no vowel), of a sound that CMUdict has no phone for, and where
    there is no engine.
    """
    if not re.fullmatch(r"[a-z']*[aeiouy][a-z']*", word):
        return None
    try:
        said = _UNSPOKEN.sub("", Espeak().phonemes(word))
    except InputError:
        return None
    found = _PHONE.findall(said)
    return " ".join(PHONES[one] for one in found) if "".join(found) == said else None


# A transcript further than this from every phrase, in edits a letter, is none of them.
FARTHEST = 0.5
SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SAMPLE_RATE = 16_000  # Hz, of the listener's model
PEAK = 0.9
PADDING = 0.2  # seconds of quiet on both sides
# Quiet, not silence: with 40 dB less of it the same clips were understood to 0.65 where this, together with leaving out
# the listener's second pass (bestpath), gave 0.94 (13 voices, 130 utterances).
NOISE = 0.0045


def phrases_of(words: Sequence[str | Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The phrases of each class as `normalise` writes them; a class may have one, as a string, or several."""
    several = ([own] if isinstance(own, str) else own for own in words)
    return tuple(tuple(dict.fromkeys(map(normalise, own))) for own in several)


# Whisper's own normaliser, in transformers, writes numbers as digits: of one letter each, edits a letter tell nothing.
def normalise(phrase: str) -> str:
    """Small letters, single spaces, no accents or punctuation, numbers below a hundred in words.

    `"A goldfish, bright orange fish!"` is `"a goldfish bright orange fish"`, `"7."` is `"seven"`.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", phrase.lower()) if not unicodedata.combining(c))
    plain = re.sub(r"[,.!?:;\"()\[\]…“”]+", " ", plain.replace("\u2019", "'"))
    return re.sub(r"\b\d{1,2}\b", lambda found: _number(int(found[0])), " ".join(plain.split()))


def _number(value: int) -> str:
    if value < len(SMALL):
        return SMALL[value]
    tens, ones = TENS[value // 10 - 2], value % 10
    return f"{tens} {SMALL[ones]}" if ones else tens


def nearest_class(transcript: str, phrases: Sequence[Sequence[str]], farthest: float = FARTHEST) -> int:
    """The class whose phrase has the least edits a letter (Levenshtein 1966) to what was heard.

    -1 where all are further than `farthest`, or where two classes are equally near: then it cannot be told which was
    meant. phrases: as `phrases_of` makes them.
    """
    heard = normalise(transcript)
    distances = [min(Levenshtein.normalized_distance(heard, one) for one in own) for own in phrases]
    least = min(distances)
    return distances.index(least) if least <= farthest and distances.count(least) == 1 else -1


class GrammarRecognizer:
    """pocketsphinx with its own English model and a grammar of the given words: it hears one of them, or nothing.

    What it hears in a clip does not depend on what it heard before. A word may be a phrase; `words` keeps them as
    `phrases.normalise` writes them, which is how they are heard.

    Raises:
        InputError: pocketsphinx is not installed, no words, or one that its dictionary lacks and nobody can say.
    """

    name = "pocketsphinx"

    def __init__(self, words: Sequence[str]) -> None:
        try:
            from pocketsphinx import Decoder  # the speech extra, which not every installation has
        except ImportError:
            raise InputError("pocketsphinx is not installed; pip install 'synesthete[speech]'") from None
        self.words = tuple(map(normalise, words))
        if not self.words:
            raise InputError("a listener without words; give it at least one")
        self._decoder = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL", lm=None, bestpath=False)
        for phrase in self.words:
            for word in phrase.split() or [phrase]:
                if not word or not self._knows(word):
                    raise InputError(
                        f"{word!r} is not in pocketsphinx's dictionary; spell it as English words in data.words"
                    )
        grammar = " | ".join(dict.fromkeys(self.words))
        self._decoder.add_jsgf_string("words", f"#JSGF V1.0; grammar words; public <words> = {grammar};")
        self._decoder.activate_search("words")

    def _knows(self, word: str) -> bool:
        """Whether it is in the dictionary, is made of two words that are (stingray), or can be said by rule (dugong).

        Either of the latter is added.
        """
        if self._decoder.lookup_word(word) is not None:
            return True
        for cut in range(3, len(word) - 2):
            parts = [self._decoder.lookup_word(part) for part in (word[:cut].rstrip("-"), word[cut:].lstrip("-"))]
            if all(parts):
                self._decoder.add_word(word, " ".join(parts), True)
                return True
        if phones := phones_of(word):
            self._decoder.add_word(word, phones, True)
        return phones is not None

    def recognize(self, waveform: torch.Tensor | np.ndarray, sample_rate: int) -> str | None:
        """The word in a waveform (S,) of any level, or None where it hears none; exact zeros at the ends are left out.

        Raises:
            InputError: samples that are not finite.
        """
        samples = level(waveform, sample_rate)
        if not len(samples):
            return None
        padded = np.pad(samples, round(PADDING * SAMPLE_RATE))
        noise = np.random.default_rng(0).normal(0, NOISE, padded.shape)
        content = (np.clip(padded + noise, -1, 1) * 32767).astype(np.int16).tobytes()
        # It adapts to the channel from one utterance to the next, whatever its setting `cmn` says. Started anew for
        # each clip it understood 0.93 of 294 real ones; after hearing the clip itself once 0.95, as many as after all
        # the clips before it.
        self._decoder.reinit_feat()
        self._understand(content)
        return self._understand(content)

    def _understand(self, content: bytes) -> str | None:
        self._decoder.start_utt()
        self._decoder.process_raw(content, full_utt=True)
        self._decoder.end_utt()
        heard = self._decoder.hyp()
        return heard.hypstr or None if heard else None

    def recognize_all(
        self, waveforms: torch.Tensor, sample_rate: int, progress: Callable[[int, int], None] | None = None
    ) -> list[str | None]:
        """What it hears in each of (n, S); progress(done, total) is called after every clip."""
        return [self.recognize(waveform.cpu(), sample_rate) for waveform in counted(waveforms, progress)]


def level(waveform: torch.Tensor | np.ndarray, sample_rate: int) -> np.ndarray:
    """A waveform (S,) as listeners take it: at their rate, its peak at PEAK, exact zeros at the ends left out."""
    samples = np.trim_zeros(np.asarray(waveform, dtype=np.float32))
    if not np.isfinite(samples).all():
        raise InputError("waveform with NaN or infinite samples; there is nothing to hear in it")
    if not len(samples):
        return samples
    samples = soxr.resample(samples, sample_rate, SAMPLE_RATE)
    return PEAK * samples / max(float(np.abs(samples).max()), 1e-9)
