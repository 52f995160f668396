"""Words, read by a transformer that learns with the model."""

from __future__ import annotations

import difflib
import logging
import unicodedata
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from synesthete.conditioning.conditioner import Conditioner
from synesthete.conditioning.learned_encoders import TextTransformer, words_of
from synesthete.config.build import shorten
from synesthete.types import Condition, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)


class Words(Conditioner):
    """Prompts of the words that it learned with -> a token a word, and one pooled vector, their mean through a layer.

    An emoji in a prompt is read as its name. Words that it never read are left out, which is said; a prompt of nothing
    but such words is refused. The null is the empty prompt.

    Args:
        captions: those that numbers stand for, then whatever else has to be known, word by word: what the data told.
        width: D of tokens and pooled. num_tokens, depth, num_heads: as `TextTransformer`.
    """

    reads_text = True

    def __init__(
        self,
        captions: tuple[str, ...] = (),
        width: int = 192,
        num_tokens: int = 16,
        depth: int = 2,
        num_heads: int = 4,
    ) -> None:
        super().__init__()
        self.text = TextTransformer(captions, width, num_tokens, depth, num_heads)
        self.to_pooled = nn.Linear(width, width)

    def extract_features(self, raw: Tensor | Sequence[str]) -> Tensor:
        """Prompts, or numbers of captions (B,) int64 -> token ids (B, L) int64; those are left as they are.

        Raises:
            InputError: a prompt too long, or without a word that is known.
        """
        if isinstance(raw, Tensor):
            return self.text.table[raw.cpu()] if raw.ndim == 1 else raw
        return self.text.tokenise([self.readable(prompt) for prompt in raw])

    def readable(self, prompt: str) -> str:
        """The words of a prompt that are known; the others are named in a warning.

        Raises:
            InputError: as `extract_features`.
        """
        words, vocabulary = words_of(spelled(prompt)), self.text.vocabulary
        if len(words) >= self.config.num_tokens:
            most = self.config.num_tokens - 1
            raise InputError(f"prompt {shorten(prompt)}: {len(words)} words, this model reads {most}; shorten it")
        unknown = [word for word in dict.fromkeys(words) if word not in vocabulary]
        if prompt.strip() and len(unknown) == len(set(words)):
            first = self._nearest(unknown[0]) if unknown else "a word in it"
            raise InputError(
                f"prompt {shorten(prompt)}: this model has never read {first}; give some of its {len(vocabulary)} "
                "English words"
            )
        if unknown:
            said = ", ".join(map(self._nearest, unknown))
            logger.warning("prompt %s: left out what this model has never read: %s", shorten(prompt), said)
        return " ".join(word for word in words if word not in unknown)

    def _nearest(self, word: str) -> str:
        """A word that is not known, with those that it may have been meant for."""
        near = difflib.get_close_matches(word, self.text.vocabulary, n=3)
        return repr(word) + (f" (near: {', '.join(near)})" if near else "")

    def encode(self, raw: Tensor | Sequence[str], generator: torch.Generator | None = None) -> Condition:
        """raw: token ids (B, L), numbers of captions (B,), both int64, or prompts.

        Raises:
            InputError: as `extract_features`, or a number or an id out of range.
        """
        tokens, mask = self.text.read((raw if isinstance(raw, Tensor) else self.extract_features(raw)).to(self.device))
        keep = mask[..., None].to(tokens.dtype)
        return Condition(tokens=tokens, mask=mask, pooled=self.to_pooled((tokens * keep).sum(1) / keep.sum(1)))

    def null(self, batch_size: int) -> Condition:
        """The condition of the empty prompt, (batch_size, ...)."""
        return self.encode([""]).apply(lambda x: x.expand(batch_size, *x.shape[1:]))


def spelled(prompt: str) -> str:
    """A prompt with every emoji in it as its name."""
    return "".join(
        f" {unicodedata.name(sign, '').lower()} " if unicodedata.category(sign) == "So" else sign for sign in prompt
    )
