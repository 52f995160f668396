"""Small encoders of sound and of text that learn with the model, and words that are told by one."""

from __future__ import annotations

import difflib
import logging
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete.conditioning.conditioner import Conditioner, are_within
from synesthete.config.build import shorten
from synesthete.nn.layers import ResidualConv
from synesthete.nn.part import Part
from synesthete.nn.spectrum import mel_filterbank, mel_spectrogram
from synesthete.types import Condition, InputError

RANGE_DB = 80.0
# A clip whose loudest cell is below this, a full-scale sine being near 0, is not made louder: silence stays silent.
QUIETEST_DB = -60.0


class SoundEncoder(Part):
    """Waveforms (B, S) -> (B, width), vectors of length 1: what `objectives.Alignment` teaches it to tell apart.

    The log-mel, 80 dB below its own loudest cell, goes through residual convolutions; then every column of features
    is weighed by what it says (attentive pooling, Okabe et al. 2018) and the loudest of each is kept beside that mean,
    so loudness makes no difference, and where in a clip something sounds little. No batch norm: a clip has the same
    vector in any company, in training too.

    Args:
        sample_rate: in Hz, of the waveforms. num_samples: what it listens to; longer clips are cut, shorter ones padded
            with silence. n_fft, hop_length: in samples. n_mels: bands.
        channels: of the convolutions' levels; each halves bands and columns, after the third only bands.
        width: E of the vector. num_masks: bands and times hidden in training, of each (SpecAugment, Park et al. 2019).

    Raises:
        InputError: less than one window of samples, or fewer bands than the levels halve.
    """

    is_frozen = False

    def __init__(
        self,
        sample_rate: int = 16_000,
        num_samples: int = 16_000,
        n_fft: int = 512,
        hop_length: int = 160,
        n_mels: int = 64,
        channels: tuple[int, ...] = (32, 64, 96, 128),
        width: int = 256,
        num_masks: int = 2,
    ) -> None:
        super().__init__()
        if num_samples < n_fft:
            raise InputError(f"conditioner.sound.num_samples {num_samples}: give at least one window, {n_fft}")
        if n_mels % 2 ** len(channels):
            raise InputError(
                f"conditioner.sound.n_mels {n_mels}: {len(channels)} levels halve it; give a multiple of "
                f"{2 ** len(channels)}"
            )
        self.register_buffer("filterbank", mel_filterbank(sample_rate, n_fft, n_mels), persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.levels = nn.Sequential()
        for level, (above, below) in enumerate(pairwise((1, *channels))):
            stride = (2, 2) if level < 3 else (2, 1)
            self.levels.extend([nn.Conv2d(above, below, 3, stride, 1), nn.GELU(), ResidualConv(below)])
        self.to_columns = nn.Sequential(
            nn.Linear(channels[-1] * (n_mels >> len(channels)), width), nn.LayerNorm(width), nn.GELU()
        )
        self.weigh = nn.Linear(width, width)
        self.to_embedding = nn.Linear(2 * width, width)
        self.width = width

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Waveforms (B, S) -> (B, n_mels, T) in -1 (80 dB below the loudest cell, or silence) to 1."""
        missing = self.config.num_samples - waveform.shape[-1]
        waveform = F.pad(waveform.float(), (0, missing))  # a negative number cuts
        with torch.autocast(waveform.device.type, enabled=False):
            window, filterbank = self.window.float(), self.filterbank.float()
            how: dict[str, Any] = {"full_scale": window.sum() / 2, "power": 2, "pad_mode": "constant"}
            power = mel_spectrogram(waveform, filterbank, window, self.config.hop_length, **how)
            level = 10 * power.clamp(min=1e-14).log10()
        top = level.amax(dim=(1, 2), keepdim=True).clamp(min=QUIETEST_DB)
        return ((level - top) / RANGE_DB).clamp(min=-1) * 2 + 1

    def embed(self, waveform: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Waveforms (B, S) in [-1, 1] -> (B, width), of length 1; gradients flow.

        generator: for the masks; None, and evaluation mode, mask nothing.
        """
        x = self.log_mel(waveform)
        if self.training and generator is not None:
            x = self._masked(x, generator)
        x = self.levels(x.unsqueeze(1).to(self.weigh.weight.dtype))  # (B, C, bands, columns)
        columns = self.to_columns(x.flatten(1, 2).transpose(1, 2))  # (B, columns, width)
        mean = (self.weigh(columns).softmax(dim=1) * columns).sum(dim=1)
        return F.normalize(self.to_embedding(torch.cat([mean, columns.amax(dim=1)], dim=-1)).float(), dim=-1)

    def _masked(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Log-mels (B, n_mels, T) with stripes up to an eighth of either side made silent, drawn for each."""
        for dim in (1, 2):
            size = x.shape[dim]
            places = torch.arange(size, device=x.device)
            for _ in range(self.config.num_masks):
                drawn = torch.rand(2, len(x), 1, generator=generator).to(x.device)
                first = drawn[0] * size
                hidden = (places >= first) & (places < first + drawn[1] * size / 8)  # (B, size)
                x = x.masked_fill(hidden.unsqueeze(3 - dim), -1.0)
        return x


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
        self.width = width

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
        if ids.shape[1:] != self.places.shape[:1] or not are_within(ids, highest):
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
    """Rows of a table of captions (captions, L) by their numbers (B,)."""
    if not are_within(numbers, len(table) - 1):
        known = f"0 to {len(table) - 1}" if len(table) else "none; give it prompts"
        raise InputError(f"caption {numbers.tolist()}: out of range; this model has {known}")
    return table[numbers]


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
        """The words of a prompt that are known; the others are named in a warning."""
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
