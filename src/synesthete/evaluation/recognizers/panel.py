"""Who says what a sound says: the classifier of log-mels, pocketsphinx, and Whisper where its weights are at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from synesthete import hub
from synesthete.evaluation.classifiers.speech import SpeechClassifier, log_mel_of
from synesthete.evaluation.recognizers.grammar import SAMPLE_RATE, GrammarRecognizer, level, nearest_class, phrases_of
from synesthete.evaluation.samples import Generated, encode_signals
from synesthete.types import InputError, counted, first_line

if TYPE_CHECKING:
    import numpy as np

    from synesthete.evaluation.classifiers.classifier import TrainedClassifier

AT_HAND = ("openai/whisper-base", "openai/whisper-tiny.en")  # looked for on this machine, the better one first
NUM_AT_ONCE = 8
NUM_TOKENS = 40  # of a transcript; a phrase of ten words has about fifteen
LEFT_OUT = -100  # of labels, in transformers


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
            reason = first_line(error)
            raise InputError(f"{folder}: no Whisper as transformers saves it ({reason}); give another") from None
        self.model.to(device).eval()
        self.name = name

    @torch.no_grad()
    def recognize_all(
        self, waveforms: Tensor, sample_rate: int, progress: Callable[[int, int], None] | None = None
    ) -> list[str]:
        """What it writes down for each of (n, S), empty where there is no sound.

        Raises:
            InputError: samples that are not finite.
        """
        heard: list[str] = []
        # English-only models refuse to be told a language.
        told = {"language": "en", "task": "transcribe"} if self.knows_languages else {}
        for part in waveforms.split(NUM_AT_ONCE):
            sounds, features = self._features(part, sample_rate)
            tokens = self.model.generate(features, max_new_tokens=NUM_TOKENS, **told)
            texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
            heard += [text.strip() if len(sound) else "" for text, sound in zip(texts, sounds, strict=True)]
            if progress:
                progress(len(heard), len(waveforms))
        return heard

    @torch.no_grad()
    def log_likelihoods(
        self,
        waveforms: Tensor,
        sample_rate: int,
        phrases: Sequence[str],
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """How likely the decoder finds each phrase, given each of (n, S) and all its tokens before: (n, num_phrases).

        The mean log-likelihood of its tokens, that of the end among them, so that phrases of more tokens are not put
        back. Each is written as Whisper writes, ` seven` or ` Seven.`, of which the likelier counts. -inf where there
        is no sound.

        Raises:
            InputError: samples that are not finite.
        """
        texts = [text for phrase in phrases for text in (f" {phrase}", f" {phrase[:1].upper()}{phrase[1:]}.")]
        tokens, labels = self._texts(texts)
        rows = []
        for waveform in counted(waveforms, progress):
            [sound], features = self._features(waveform[None], sample_rate)
            heard = self.model.model.encoder(features).last_hidden_state.expand(len(texts), -1, -1)  # (texts, T, D)
            logits = self.model(encoder_outputs=(heard,), decoder_input_ids=tokens).logits  # (texts, L, vocabulary)
            told = labels != LEFT_OUT
            each = logits.float().log_softmax(dim=2).gather(2, labels.where(told, 0)[..., None])[..., 0]  # (texts, L)
            mean = (each * told).sum(dim=1) / told.sum(dim=1)
            best = mean.view(-1, 2).amax(dim=1).cpu()
            rows.append(best if len(sound) else torch.full_like(best, -torch.inf))
        return torch.stack(rows) if rows else torch.zeros(0, len(phrases))

    @property
    def knows_languages(self) -> bool:
        """Whether it has to be told that it hears English."""
        return bool(getattr(self.model.generation_config, "is_multilingual", False))

    def _features(self, waveforms: Tensor, sample_rate: int) -> tuple[list[np.ndarray], Tensor]:
        """Waveforms (n, S) as listeners take them, and what the encoder reads of them, (n, n_mels, T)."""
        sounds = [level(waveform.cpu(), sample_rate) for waveform in waveforms]
        # One sample of silence stands in for no sound at all, which the feature extractor refuses.
        filled = [sound if len(sound) else [0.0] for sound in sounds]
        features = self.processor(filled, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        return sounds, features.to(self.model.device)

    def _texts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What the decoder reads (n, L), and the token that it is to say next at each place, or LEFT_OUT."""
        told = ["<|en|>", "<|transcribe|>"] if self.knows_languages else []
        tokenizer = self.processor.tokenizer
        start = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", *told, "<|notimestamps|>"])
        rows = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
        longest, end = max(map(len, rows)), self.model.config.eos_token_id
        tokens = [[*start, *row, *[end] * (longest - len(row))] for row in rows]
        labels = [[*[LEFT_OUT] * (len(start) - 1), *row, end, *[LEFT_OUT] * (longest - len(row))] for row in rows]
        where = self.model.device
        return torch.tensor(tokens, device=where), torch.tensor(labels, device=where)


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
