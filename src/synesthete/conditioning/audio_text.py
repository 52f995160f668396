"""A sound and a text, told together: what a batch holds of them, and the condition that is made of both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from synesthete.conditioning.conditioner import Conditioner
from synesthete.config import is_a
from synesthete.config.build import describe_nested, restore_nested
from synesthete.nn.spectrum import check_waveform
from synesthete.types import Condition, InputError, Tensors

__all__ = ["AudioTextConditioner", "SoundAndText"]

NEARLY_ALIKE = 1e-4  # radians, below which an arc is a line; opposite vectors have no shortest arc either


def slerp(first: Tensor, second: Tensor, shares: Tensor) -> Tensor:
    """Vectors (n, E) on the arc from `first` to `second`, each (E,), at `shares` (n,) of the way; lengths on a line.

    Source: Shoemake 1985, section 3.3.
    """
    shares = shares.unsqueeze(1).to(first)
    lengths = torch.lerp(first.norm(), second.norm(), shares)
    a, b = (F.normalize(vector, dim=0) for vector in (first, second))
    angle = torch.atan2((a - b).norm(), (a + b).norm()) * 2
    if angle.sin().abs() < NEARLY_ALIKE:
        return torch.lerp(first, second, shares)
    arc = (torch.sin((1 - shares) * angle) * a + torch.sin(shares * angle) * b) / angle.sin()
    return lengths * arc


class SoundTokens(nn.Module):
    """A sound's vector (B, E), of any length -> (B, num_tokens, width).

    A perceptron E -> hidden -> hidden -> num_tokens * width with LayerNorm, GELU and dropout behind its inner layers,
    a LayerNorm over every token, then what tells the tokens from each other (their places) and from those of a text
    (their kind). Only the direction of the vector is read: published encoders give it no other meaning.
    """

    def __init__(
        self, embedding_width: int, width: int, num_tokens: int = 8, hidden: int = 1024, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.num_tokens, self.scale = num_tokens, math.sqrt(embedding_width)
        self.mlp = nn.Sequential()
        for wide in (embedding_width, hidden):
            self.mlp.extend([nn.Linear(wide, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(dropout)])
        self.mlp.append(nn.Linear(hidden, num_tokens * width))
        self.norm = nn.LayerNorm(width)
        self.places = nn.Parameter(0.02 * torch.randn(num_tokens, width))
        self.kind = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, E) -> (B, num_tokens, width)."""
        x = self.scale * F.normalize(embedding, dim=-1)  # about 1 in every number, as layers are initialised for
        tokens = self.norm(self.mlp(x).unflatten(-1, (self.num_tokens, -1)))  # (B, num_tokens, width)
        return tokens + self.places + self.kind


@dataclass(frozen=True)
class SoundAndText(Tensors):
    """What is told of samples before any encoder has read it; either may be None, which says nothing of that kind.

    sound: waveforms (B, S) float32 in [-1, 1], shorter ones with zeros behind them; where `is_embedded`, what the
    encoder made of them, (B, E). text: token ids (B, L) int64, or numbers (B,) of the text encoder's captions.
    """

    sound: Tensor | None = None
    text: Tensor | None = None
    is_embedded: bool = False


class AudioTextConditioner(Conditioner):
    """Sounds and texts -> tokens of both, [text (L) | sound (num_sound_tokens)], and a mask: False where one is absent.

    The text is read by `text`, the sound by `sound`, whose vector becomes tokens by `SoundTokens`. A sound that is not
    there is masked, a text that is not there is the empty one, so either can be dropped, guided by and left out alone.
    There is no pooled vector: Stable Diffusion reads none.

    Args:
        sound: `Clap`, `Whisper` or `SoundEncoder`; text: `ClipPrompts` or `TextTransformer`; in a recipe builds of
            these, in a config.json {"class": ..., and its fields}.
        width: D of all tokens; the text's is its encoder's own. num_sound_tokens: at least 2.
        hidden, dropout: of the perceptron between the sound's vector and its tokens.

    Attributes:
        embedding_width: E of what `embed_audio` gives. sample_rate: of the waveforms that it is given, in Hz.

    Raises:
        InputError: parts that are no such encoders, or a text of another width.
    """

    reads = "audio_text"

    def __init__(
        self,
        sound: Annotated[Any, is_a("encoder of sound", "embed")],
        text: Annotated[Any, is_a("encoder of text", "tokenise", "read")],
        width: int = 768,
        num_sound_tokens: int = 8,
        hidden: int = 1024,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if num_sound_tokens < 2:
            raise InputError(
                f"conditioner.num_sound_tokens {num_sound_tokens}: attention over one is a constant; set 8"
            )
        # Not called as the fields are, which say of what they are made.
        self.audio_encoder: Any = restore_nested(sound, "conditioner.sound", "encoder of sound", ("embed",), "Clap")
        self.text_encoder: Any = restore_nested(
            text, "conditioner.text", "encoder of text", ("tokenise", "read"), "TextTransformer"
        )
        self.register_to_config(sound=describe_nested(self.audio_encoder), text=describe_nested(self.text_encoder))
        if (wide := self.text_encoder.width) != width:
            raise InputError(f"conditioner.width {width}: its text is {wide} wide; --set conditioner.width={wide}")
        self.to_tokens = SoundTokens(self.audio_encoder.width, width, num_sound_tokens, hidden, dropout)
        self.embedding_width, self.sample_rate = self.audio_encoder.width, self.audio_encoder.config.sample_rate

    @property
    def towers(self) -> Sequence[Any]:
        """Those of its frozen encoders."""
        return [part.tower for part in (self.audio_encoder, self.text_encoder) if part.is_frozen]

    @property
    def has_fixed_features(self) -> bool:
        """Whether what it hears in a sound never changes, so that it is worth keeping (`extract_features`)."""
        return self.audio_encoder.is_frozen

    def groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """Its parameters by what a stage can train: `sound` (its tokens), and `encoder` and `text` where they learn."""
        found = {"sound": self.to_tokens, "encoder": self.audio_encoder, "text": self.text_encoder}
        named = {name: list(part.parameters()) for name, part in found.items()}
        return {name: parameters for name, parameters in named.items() if parameters}

    def identity(self) -> dict[str, Any] | None:
        """What decides the vector of a sound; None where the encoder learns."""
        return self.audio_encoder.identity() if self.has_fixed_features else None

    def weights_of(self, other: Conditioner) -> dict[str, Tensor]:
        """Of one that hears by an encoder of another kind: what it reads with. Of any other: all."""
        if not isinstance(other, AudioTextConditioner) or type(other.audio_encoder) is type(self.audio_encoder):
            return other.state_dict()
        text = {name: weight for name, weight in other.state_dict().items() if name.startswith("text_encoder.")}
        return self.state_dict() | text

    def compose(self, sounds: Sequence[Tensor] | None = None, prompts: Sequence[str] | None = None) -> SoundAndText:
        """Sounds, each (S,) at `sample_rate`, and prompts as a raw condition; one of either goes with all of the other.

        Raises:
            InputError: neither, different numbers of them, or a prompt or a sound that cannot be read.
        """
        given = {"sounds": sounds, "prompts": prompts}
        counted = {what: len(items) for what, items in given.items() if items is not None}
        number = max(counted.values(), default=0)
        if not number or set(counted.values()) - {1, number}:
            said = ", ".join(f"{counted.get(what, 0)} {what}" for what in given)
            raise InputError(f"{said}: give as many of both, or one of either")
        raw = SoundAndText(
            None if sounds is None else pad_sequence([sound.float() for sound in sounds], batch_first=True),
            None if prompts is None else self.text_encoder.tokenise(prompts),
        )
        return raw.apply(lambda given: given.expand(number, -1))

    @torch.no_grad()
    def extract_features(self, raw: SoundAndText) -> SoundAndText:
        """The same with what the encoder makes of each sound, (B, E) float32, in its place.

        Of a frozen encoder it is kept in the cache folder, too, so that it is asked once for every sound.
        """
        if raw.sound is None or raw.is_embedded:
            return raw
        how = {"keep": True} if self.audio_encoder.is_frozen else {}
        return replace(raw, sound=self.audio_encoder.embed(check_waveform(raw.sound), **how).float(), is_embedded=True)

    def embed_audio(self, raw: SoundAndText, generator: torch.Generator | None = None) -> Tensor:
        """The encoder's vectors of the sounds, (B, E), of length 1; gradients flow where it learns.

        generator: for what an encoder that learns hides of a sound in training; None hides nothing.

        Raises:
            InputError: vectors of another width, no waveforms, or samples that are not finite.
        """
        assert raw.sound is not None
        if raw.is_embedded:
            if raw.sound.shape[1:] != (self.embedding_width,):
                raise InputError(f"vectors {tuple(raw.sound.shape)}; this encoder's are {self.embedding_width} wide")
            return raw.sound
        how = {} if self.audio_encoder.is_frozen else {"generator": generator}
        return self.audio_encoder.embed(check_waveform(raw.sound), **how)

    def encode(self, raw: SoundAndText, generator: torch.Generator | None = None) -> Condition:
        """Tokens (B, L + num_sound_tokens, D) and their mask. generator: as `embed_audio`.

        Raises:
            InputError: as `embed_audio`, or token ids of another length.
        """
        text = self._empty(len(raw)) if raw.text is None else self._read(raw.text)
        return joined(text, self._no_sound(len(raw)) if raw.sound is None else self._sound(raw, generator))

    def null(self, batch_size: int) -> Condition:
        """The empty text and no sound, (batch_size, ...)."""
        return joined(self._empty(batch_size), self._no_sound(batch_size))

    def branches(
        self, raw: SoundAndText, negative: str | Sequence[str] | None = None
    ) -> tuple[Condition, Condition, Condition]:
        """What guidance weighs against each other: told nothing, told the text, told the text and the sound.

        Where raw lacks one of these, two of the three are one and the same object.

        negative: a prompt for all, or one a sample, in place of the empty one where nothing is told; samples are led
            away from it.

        Raises:
            InputError: as `encode`, or another number of negative prompts.
        """
        num = len(raw)
        empty, silent = self._empty(num), self._no_sound(num)
        none = plain = joined(empty, silent)
        if negative is not None:
            prompts = [negative] if isinstance(negative, str) else list(negative)
            if len(prompts) not in (1, num):
                raise InputError(f"{len(prompts)} negative prompts for {num} samples; give one, or one for each")
            none = joined(self._read(self.text_encoder.tokenise(prompts).expand(num, -1)), silent)
        text = empty if raw.text is None else self._read(raw.text)
        told = plain if raw.text is None else joined(text, silent)
        return none, told, told if raw.sound is None else joined(text, self._sound(raw))

    def drop(
        self,
        condition: Condition,
        raw: SoundAndText,
        generator: torch.Generator,
        share: float,
        sound_share: float | None = None,
    ) -> Condition:
        """The condition without the text, and without the sound, of a share of samples, each drawn by itself.

        So share^2 of the samples are told nothing, and both scales of guidance have what they start from. sound_share:
        that of the sounds; None: `share`.
        """
        size, num = len(condition), self.config.num_sound_tokens
        keep_text, keep_sound = (
            (torch.rand(size, generator=generator) >= one).to(self.device)
            for one in (share, share if sound_share is None else sound_share)
        )
        text, sound = condition.apply(lambda x: x[:, :-num]), condition.apply(lambda x: x[:, -num:])
        return joined(
            Condition.where(keep_text, text, self._empty(size)),
            Condition.where(keep_sound, sound, self._no_sound(size)),
        )

    def _read(self, text: Tensor) -> Condition:
        kind = self.to_tokens.kind
        tokens, mask = self.text_encoder.read(text.to(kind.device))
        return Condition(tokens=tokens.to(kind.dtype), mask=mask)

    def _empty(self, batch_size: int) -> Condition:
        return self._read(self.text_encoder.tokenise([""])).apply(lambda x: x.expand(batch_size, *x.shape[1:]))

    def _sound(self, raw: SoundAndText, generator: torch.Generator | None = None) -> Condition:
        tokens = self.to_tokens(self.embed_audio(raw, generator).to(self.to_tokens.kind.dtype))
        return Condition(tokens=tokens, mask=tokens.new_ones(tokens.shape[:2], dtype=torch.bool))

    def _no_sound(self, batch_size: int) -> Condition:
        kind = self.to_tokens.kind
        tokens = kind.new_zeros(batch_size, self.config.num_sound_tokens, self.config.width)
        return Condition(tokens=tokens, mask=tokens.new_zeros(tokens.shape[:2], dtype=torch.bool))


def joined(text: Condition, sound: Condition) -> Condition:
    """The tokens of a text, then those of a sound."""
    parts: Any = ((text.tokens, sound.tokens), (text.mask, sound.mask))
    tokens, mask = (torch.cat(pair, dim=1) for pair in parts)
    return Condition(tokens=tokens, mask=mask)
