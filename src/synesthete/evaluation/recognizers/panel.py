"""Who says what a sound says: the classifier of log-mels, pocketsphinx, and Whisper where its weights are at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from synesthete import hub
from synesthete.evaluation.classifiers.speech import log_mel_of
from synesthete.evaluation.recognizers.grammar import SAMPLE_RATE, GrammarRecognizer, level, nearest_class, phrases_of
from synesthete.evaluation.samples import encode_signals
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from synesthete.evaluation.classifiers.classifier import TrainedClassifier
    from synesthete.evaluation.classifiers.speech import SpeechClassifier
    from synesthete.evaluation.samples import Generated


AT_HAND = ("openai/whisper-base", "openai/whisper-tiny.en")  # looked for on this machine, the better one first
NUM_AT_ONCE = 8
NUM_TOKENS = 40  # of a transcript; a phrase of ten words has about fifteen
X_0, DECODED = "mel classifier on x_0", "mel classifier on the decoded sound"
LISTENER, WHISPER = "pocketsphinx on the decoded sound", "Whisper on the decoded sound"
BATCH_SIZE = 50  # sounds that are encoded at once


def local_whisper() -> str | None:
    """The Hub id of a Whisper that is on this machine, or None; nothing is downloaded."""
    return next((name for name in AT_HAND if hub.local_weights(name)), None)


class WhisperRecognizer:
    """Whisper (Radford et al. 2022), greedy, told that the language is English; it is not told which words there are.

    name: a folder in the layout of transformers, or a Hub id.

    Raises:
        InputError: no such weights, or files that make no Whisper.
    """

    def __init__(self, name: str, device: torch.device | str = "cpu") -> None:
        folder = hub.find_weights(name)
        try:
            self.processor = WhisperProcessor.from_pretrained(folder)
            self.model = WhisperForConditionalGeneration.from_pretrained(folder, use_safetensors=True)
        except Exception as error:  # whatever another model's files make transformers say
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(f"{folder}: no Whisper as transformers saves it ({reason}); give another") from None
        self.model.to(device).eval()
        self.name = name

    @torch.no_grad()
    def recognize_all(
        self, waveforms: torch.Tensor, sample_rate: int, progress: Callable[[int, int], None] | None = None
    ) -> list[str]:
        """What it writes down for each of (n, S), empty where there is no sound.

        Raises:
            InputError: samples that are not finite.
        """
        heard: list[str] = []
        # English-only models refuse to be told a language.
        several = getattr(self.model.generation_config, "is_multilingual", False)
        told = {"language": "en", "task": "transcribe"} if several else {}
        for part in waveforms.split(NUM_AT_ONCE):
            sounds = [level(waveform.cpu(), sample_rate) for waveform in part]
            # One sample of silence stands in for no sound at all, which the feature extractor refuses.
            filled = [sound if len(sound) else [0.0] for sound in sounds]
            features = self.processor(filled, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
            tokens = self.model.generate(features.to(self.model.device), max_new_tokens=NUM_TOKENS, **told)
            texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
            heard += [text.strip() if len(sound) else "" for text, sound in zip(texts, sounds, strict=True)]
            if progress:
                progress(len(heard), len(waveforms))
        return heard


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
