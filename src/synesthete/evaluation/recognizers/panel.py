"""Who says what a sound says: the classifier of log-mels, pocketsphinx, and Whisper where its weights are at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete.evaluation.classifiers.speech import SpeechClassifier, log_mel_of
from synesthete.evaluation.recognizers.grammar import GrammarRecognizer, nearest_class, phrases_of
from synesthete.evaluation.recognizers.whisper import WhisperRecognizer, local_whisper
from synesthete.evaluation.samples import Generated, encode_signals
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from synesthete.evaluation.classifiers.classifier import TrainedClassifier


X_0, DECODED = "mel classifier on x_0", "mel classifier on the decoded sound"
LISTENER, WHISPER = "pocketsphinx on the decoded sound", "Whisper on the decoded sound"
BATCH_SIZE = 50  # sounds that are encoded at once


class RecognizerPanel:
    """The classifier and, where there are such, the recognisers; phrases: what may be said for each class.

    Args:
        codec: of the sounds. trained: the classifier. words: what is said for each class, one phrase or several.
        listener: "auto", pocketsphinx and whichever Whisper is on this machine; "pocketsphinx" alone; "none"; or the
            folder or Hub id of a Whisper, beside pocketsphinx. notes say where pocketsphinx cannot be part of it.

    Raises:
        InputError: a named Whisper that cannot be had.
    """

    def __init__(
        self,
        codec: Any,
        trained: TrainedClassifier[SpeechClassifier],
        words: Sequence[str | Sequence[str]],
        listener: str = "auto",
    ) -> None:
        self.codec, self.trained, self.phrases = codec, trained, phrases_of(words)
        self.notes: list[str] = []
        self.grammar: GrammarRecognizer | None = None
        named = listener if listener not in ("auto", "pocketsphinx", "none") else None
        whisper = local_whisper() if listener == "auto" else named
        self.whisper = WhisperRecognizer(whisper) if whisper else None
        if listener != "none":
            try:
                self.grammar = GrammarRecognizer([phrase for own in self.phrases for phrase in own])
            except InputError as error:
                self.notes.append(f"no pocketsphinx: {error}")

    def answers(self, speech: Generated, progress: Callable[[int, int], None] | None = None) -> dict[str, Tensor]:
        """What each hears in each of n sounds, (n,) by name: a class, or -1. Whisper is too slow to be among them."""
        classifier, codec = self.trained.classifier, self.codec
        again = encode_signals(codec, speech.signal, BATCH_SIZE)
        found = {name: classifier.classify(log_mel_of(codec, x)) for name, x in ((X_0, speech.x_0), (DECODED, again))}
        if self.grammar is not None:
            found[LISTENER] = self.grammar_answers(speech.signal, progress)
        return found

    def grammar_answers(self, waveforms: Tensor, progress: Callable[[int, int], None] | None = None) -> Tensor:
        """The answers of pocketsphinx alone, (n,)."""
        assert self.grammar is not None
        meant = {phrase: i for i, own in enumerate(self.phrases) for phrase in own}
        heard = self.grammar.recognize_all(waveforms, self.codec.spec.sample_rate, progress)
        return torch.tensor([meant.get(phrase, -1) if phrase else -1 for phrase in heard])

    def transcribe(
        self, waveforms: Tensor, progress: Callable[[int, int], None] | None = None
    ) -> tuple[list[str], Tensor]:
        """What Whisper writes, and the classes of the nearest phrases (n,), -1 for none of them."""
        assert self.whisper is not None
        written = self.whisper.recognize_all(waveforms, self.codec.spec.sample_rate, progress)
        return written, torch.tensor([nearest_class(text, self.phrases) for text in written])

    def choose(self, waveforms: Tensor, progress: Callable[[int, int], None] | None = None) -> Tensor:
        """The classes of the phrases that Whisper finds likeliest (n,), -1 where there is no sound."""
        assert self.whisper is not None
        phrases = [(phrase, i) for i, own in enumerate(self.phrases) for phrase in own]
        named, classes = [phrase for phrase, _ in phrases], torch.tensor([i for _, i in phrases])
        found = self.whisper.log_likelihoods(waveforms, self.codec.spec.sample_rate, named, progress)  # (n, phrases)
        return classes[found.argmax(dim=1)].where(found.isfinite().all(dim=1), -1)
