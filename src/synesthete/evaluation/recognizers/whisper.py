"""Whisper as a listener: it writes down what it hears, and the nearest class phrase is what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from synesthete import hub
from synesthete.evaluation.recognizers.grammar import SAMPLE_RATE, level
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

AT_HAND = ("openai/whisper-base", "openai/whisper-tiny.en")  # looked for on this machine, the better one first
BATCH_SIZE = 8
NUM_TOKENS = 40  # of a transcript; a phrase of ten words has about fifteen


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
        for part in waveforms.split(BATCH_SIZE):
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
