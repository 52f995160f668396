"""Listeners that no part of this package trained: which word they hear."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import soxr

from synesthete.evaluation.recognizers.phrases import normalise
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

SAMPLE_RATE = 16_000  # Hz, of the listener's model
PEAK = 0.9
PADDING = 0.2  # seconds of quiet on both sides
# Quiet, not silence: with 40 dB less of it the same clips were understood to 0.65 where this, together with leaving out
# the listener's second pass (bestpath), gave 0.94 (13 voices, 130 utterances).
NOISE = 0.0045


class GrammarRecognizer:
    """pocketsphinx with its own English model and a grammar of the given words: it hears one of them, or nothing.

    What it hears in a clip does not depend on what it heard before. A word may be a phrase; `words` keeps them as
    `phrases.normalise` writes them, which is how they are heard.

    Raises:
        InputError: pocketsphinx is not installed, no words, or a word that its dictionary lacks.
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
        """Whether it is in the dictionary, or is made of two words that are: then it is added (stingray, egg-cup)."""
        if self._decoder.lookup_word(word) is not None:
            return True
        for cut in range(3, len(word) - 2):
            parts = [self._decoder.lookup_word(part) for part in (word[:cut].rstrip("-"), word[cut:].lstrip("-"))]
            if all(parts):
                self._decoder.add_word(word, " ".join(parts), True)
                return True
        return False

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
        heard = []
        for waveform in waveforms:
            heard.append(self.recognize(waveform.cpu(), sample_rate))
            if progress:
                progress(len(heard), len(waveforms))
        return heard


def level(waveform: torch.Tensor | np.ndarray, sample_rate: int) -> np.ndarray:
    """A waveform (S,) as listeners take it: at their sample rate, its peak at PEAK, exact zeros at the ends left out.

    Raises:
        InputError: samples that are not finite.
    """
    samples = np.trim_zeros(np.asarray(waveform, dtype=np.float32))
    if not np.isfinite(samples).all():
        raise InputError("waveform with NaN or infinite samples; there is nothing to hear in it")
    if not len(samples):
        return samples
    samples = soxr.resample(samples, sample_rate, SAMPLE_RATE)
    return PEAK * samples / max(float(np.abs(samples).max()), 1e-9)
