"""A small text encoder that learns with the model: the words of its captions, and how they stand together."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from synesthete.nn.part import Part
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

PADDING, START = 0, 1  # before the ids of words


class TextTransformer(Part):
    """Texts of the words that its captions are made of -> a token a word, behind one that starts every text.

    A word is what stands between spaces and punctuation, in small letters. Words that no caption has are refused: it
    has learned nothing of them. The empty text is the start alone.

    Args:
        captions: what the model is trained on, in the order of the numbers that stand for them in a batch.
        width: D. num_tokens: L, the start included; longer texts are refused, shorter ones masked.
        depth, num_heads: of the transformer that lets words see each other.

    Raises:
        InputError: a caption of more than `num_tokens` tokens.
    """

    is_frozen = False

    def __init__(
        self,
        captions: tuple[str, ...] = (),
        width: int = 128,
        num_tokens: int = 16,
        depth: int = 1,
        num_heads: int = 4,
    ) -> None:
        super().__init__()
        self.vocabulary = sorted({word for caption in captions for word in words_of(caption)})
        self._ids = {word: START + 1 + place for place, word in enumerate(self.vocabulary)}
        self.embed = nn.Embedding(START + 1 + len(self.vocabulary), width)
        nn.init.normal_(self.embed.weight, std=0.5)
        self.places = nn.Parameter(0.1 * torch.randn(num_tokens, width))
        block = nn.TransformerEncoderLayer(
            width, num_heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        table = self.tokenise(captions) if captions else torch.zeros(0, num_tokens, dtype=torch.int64, device="cpu")
        self.register_buffer("table", table, persistent=False)  # (captions, L)

    @property
    def width(self) -> int:
        """D of its tokens."""
        return self.config.width

    def tokenise(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (B, L) int64: the start, the words, then padding.

        Raises:
            InputError: a text too long, or a word that is not in the vocabulary.
        """
        ids = torch.full((len(texts), self.config.num_tokens), PADDING, device="cpu")
        for row, text in zip(ids, texts, strict=True):
            words = words_of(text)
            if unknown := [word for word in words if word not in self._ids]:
                raise InputError(f"prompt {text!r}: this model has never read {unknown[0]!r}{self._hint(unknown[0])}")
            if len(words) >= len(row):
                raise InputError(f"prompt {text!r}: {len(words)} words, this model reads {len(row) - 1}; shorten it")
            row[: 1 + len(words)] = torch.tensor([START, *(self._ids[word] for word in words)], device="cpu")
        return ids

    def read(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids (B, L) int64, or numbers of captions (B,) -> tokens (B, L, D) and their mask (B, L).

        Raises:
            InputError: a number or an id out of range, or ids of another length.
        """
        ids = in_table(self.table, text) if text.ndim == 1 else text
        highest = self.embed.num_embeddings - 1
        if ids.shape[1:] != self.places.shape[:1] or (
            len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) <= highest
        ):
            raise InputError(
                f"token ids of {tuple(ids.shape)}; this model reads (B, {len(self.places)}) from 0 to {highest}"
            )
        mask = ids != PADDING
        tokens = self.blocks(self.embed(ids) + self.places, src_key_padding_mask=~mask)
        return tokens, mask

    def _hint(self, word: str) -> str:
        near = difflib.get_close_matches(word, self.vocabulary, n=1)
        if near:
            return f"; did you mean {near[0]!r}?"
        known = ", ".join(self.vocabulary[:20]) + (", ..." if len(self.vocabulary) > 20 else "")
        return f"; it knows {known}" if known else "; it reads no text but the empty one"


def words_of(text: str) -> list[str]:
    """`A cat's bowl, 3 times` -> a, cat's, bowl, 3, times."""
    return re.findall(r"\w+(?:'\w+)*", text.lower())


def in_table(table: Any, numbers: Tensor) -> Tensor:
    """Rows of a table of captions (captions, L) by their numbers (B,).

    Raises:
        InputError: a number out of range.
    """
    if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(table):
        known = f"0 to {len(table) - 1}" if len(table) else "none; give it prompts"
        raise InputError(f"caption {numbers.tolist()}: out of range; this model has {known}")
    return table[numbers]
