"""Who says what a sound says: the mel judge, pocketsphinx, and Whisper where its weights are at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from synesthete.evaluation.classifiers.speech import load_or_train_speech_classifier, log_mel_of
from synesthete.evaluation.metrics.classification import accuracy
from synesthete.evaluation.metrics.intervals import interval
from synesthete.evaluation.metrics.metric import Metric
from synesthete.evaluation.speech.listeners import WordListener
from synesthete.evaluation.speech.phrases import nearest_class, phrases_of
from synesthete.evaluation.speech.speaking import encoded
from synesthete.evaluation.speech.whisper import WhisperListener, whisper_at_hand
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from synesthete.data.speech.clips import Clips
    from synesthete.evaluation.classifiers.saved import TrainedClassifier
    from synesthete.evaluation.classifiers.speech import SpeechClassifier
    from synesthete.evaluation.speech.speaking import Speech

    Progress = Callable[[str, int, int], None]

X_0, DECODED, LISTENER = "mel judge on x_0", "mel judge on the decoded sound", "pocketsphinx on the decoded sound"
WHISPER = "Whisper on the decoded sound"
NUM_WHISPERED = 100  # sounds that Whisper hears; on a CPU it needs about a second for each


@dataclass(frozen=True)
class Jury:
    """The mel judge and, where there are such, the listeners; phrases: what may be said for each class."""

    codec: Any
    training: TrainedClassifier[SpeechClassifier]
    listener: WordListener | None
    phrases: tuple[tuple[str, ...], ...]
    whisper: WhisperListener | None = None

    def answers(self, speech: Speech, progress: Callable[[int, int], None] | None = None) -> dict[str, Tensor]:
        """What each hears in each of n sounds, (n,) by judge: a class, or -1. Whisper is too slow to be among them."""
        judge, codec = self.training.classifier, self.codec
        again = log_mel_of(codec, encoded(codec, speech.waveforms))
        found = {X_0: judge.classify(log_mel_of(codec, speech.x_0)), DECODED: judge.classify(again)}
        if self.listener is not None:
            found[LISTENER] = self.heard(speech.waveforms, progress)
        return found

    def heard(self, waveforms: Tensor, progress: Callable[[int, int], None] | None = None) -> Tensor:
        """The answers of pocketsphinx alone, (n,)."""
        assert self.listener is not None
        meant = {phrase: i for i, own in enumerate(self.phrases) for phrase in own}
        heard = self.listener.hear_all(waveforms, self.codec.spec.sample_rate, progress)
        return torch.tensor([meant.get(phrase, -1) if phrase else -1 for phrase in heard])

    def whispered(
        self, waveforms: Tensor, progress: Callable[[int, int], None] | None = None
    ) -> tuple[Tensor, list[str]]:
        """Whisper's answers (n,), -1 where it wrote none of the phrases, and what it wrote."""
        assert self.whisper is not None
        written = self.whisper.hear_all(waveforms, self.codec.spec.sample_rate, progress)
        return torch.tensor([nearest_class(text, self.phrases) for text in written]), written


@dataclass(frozen=True)
class Transcripts:
    """What Whisper wrote, and the class of the nearest phrase: (n,), -1 for none of them."""

    listener: str
    written: list[str]
    answers: Tensor


def make_jury(
    codec: Any,
    real: Clips,
    judge_clips: Clips,
    words: Sequence[str | Sequence[str]] | None,
    judge: TrainedClassifier[SpeechClassifier] | None,
    listener: str,
    seed: int,
    progress: Progress,
) -> tuple[Jury, list[str]]:
    """The judges, and a note where pocketsphinx cannot be one of them.

    listener: "auto", pocketsphinx and whichever Whisper is on this machine; "pocketsphinx" alone; "none"; or the
    folder or Hub id of a Whisper, beside pocketsphinx.

    Raises:
        InputError: a named Whisper that cannot be had.
    """
    phrases = phrases_of(words or real.class_names)
    notes, words_heard, whisper = [], None, None
    if listener not in ("auto", "pocketsphinx", "none"):
        whisper = WhisperListener(listener)
    elif listener == "auto" and (name := whisper_at_hand()):
        whisper = WhisperListener(name)
    if listener != "none":
        try:
            words_heard = WordListener([phrase for own in phrases for phrase in own])
        except InputError as error:
            notes.append(f"no pocketsphinx: {error}")
    judge = judge or load_or_train_speech_classifier(judge_clips, real, spec=codec.spec, seed=seed, progress=progress)
    return Jury(codec, judge, words_heard, phrases, whisper), notes


def whisper_metric(
    jury: Jury, speech: Speech, labels: Tensor, other: Tensor, rebuilt: Speech, true: Tensor, progress: Progress
) -> tuple[Metric, Transcripts]:
    """Accuracy by Whisper of the first sounds, with floors and the ceiling of real clips through the codec."""
    num, num_real = min(NUM_WHISPERED, len(labels)), min(NUM_WHISPERED, len(true))
    answers, written = jury.whispered(speech.waveforms[:num], lambda done, all_: progress("Whisper", done, all_))
    ceiling = accuracy(
        true[:num_real],
        jury.whispered(rebuilt.waveforms[:num_real], lambda done, all_: progress("Whisper, real", done, all_))[0],
    )
    share, wrong = accuracy(labels[:num], answers), accuracy(labels[other[:num]], answers)
    name = f"accuracy ({WHISPER}, nearest phrase, n = {num})"
    metric = Metric(name, share, interval(share, num), 1 / len(jury.phrases), wrong, ceiling)
    assert jury.whisper is not None
    return metric, Transcripts(jury.whisper.name, written, answers)
