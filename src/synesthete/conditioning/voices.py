"""Pictures that are to be spoken in a voice: what is seen, and beside it who speaks, how high and how fast."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor, nn

from synesthete import seeding
from synesthete.conditioning.conditioner import Conditioner, are_within
from synesthete.config import Fraction, is_a
from synesthete.config.build import describe_nested, restore_nested
from synesthete.types import Condition, InputError, SpokenPictures

if TYPE_CHECKING:
    from PIL import Image

NONE = -1  # the number of no voice
ALL = "all"
PITCHES, RATES = (0, 99), (80, 320)  # where no corpus has told them


class VoicedPicture(Conditioner):
    """Pictures and how they are to be spoken -> the tokens of the picture and one more, and a pooled vector.

    A learned vector of the voice and what a small network makes of pitch and rate are added up. The sum is added to the
    picture's pooled vector, and becomes one more token. Each of the three may be left out: in training it is, for a
    share of the samples, each drawn by itself and beside whatever guidance drops of the whole. A plain tensor of
    pictures says nothing of a voice.

    Args:
        picture: a conditioner of pictures, such as `PictureStem`; in a recipe the build of one.
        voices: names of the voices, in the order of their numbers. pitches, rates: ranges of the numbers that were
            told in training, in the corpus' units (0 to 99, 50 a voice's own; words a minute). None: those of the
            corpus that it is trained on.
        width: D, that of the picture's.
        voice_dropout, number_dropout: shares of the training samples that are not told the voice; nor pitch, nor rate.

    Raises:
        InputError: a picture's part that is none, of another width, or fewer than two voices, or one twice.
    """

    reads = "image"

    def __init__(
        self,
        picture: Annotated[Any, is_a("conditioner of pictures", "encode", "preprocess")],
        voices: tuple[str, ...] | None = None,
        pitches: tuple[float, float] | None = None,
        rates: tuple[float, float] | None = None,
        width: int = 256,
        voice_dropout: Fraction = 0.1,
        number_dropout: Fraction = 0.3,
    ) -> None:
        super().__init__()
        self.picture: Any = restore_nested(
            picture, "conditioner.picture", "conditioner of pictures", ("encode", "preprocess"), "PictureStem"
        )
        self.register_to_config(picture=describe_nested(self.picture))
        if (wide := self.picture.config.width) != width:
            raise InputError(f"conditioner.width {width}: its picture's is {wide}; --set conditioner.width={wide}")
        if voices is not None and len(set(voices)) < max(2, len(voices)):
            raise InputError(
                f"conditioner.voices {', '.join(voices) or 'empty'}: none to choose from; give two or more, each once, "
                "or the conditioner.picture alone in place of this"
            )
        self.voices = tuple(voices or ())
        self.ranges = (pitches or PITCHES, rates or RATES)
        self.voice = nn.Embedding(len(self.voices) + 1, width)  # the last is of no voice
        nn.init.normal_(self.voice.weight, std=0.5)
        self.numbers = nn.Sequential(nn.Linear(4, width), nn.SiLU(), nn.Linear(width, width))
        self.to_token = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))

    @property
    def has_fixed_features(self) -> bool:
        """As of its picture's part."""
        return bool(self.picture.has_fixed_features)

    @property
    def towers(self) -> Sequence[Any]:
        """Those that it sees through."""
        return list(self.picture.towers)

    def identity(self) -> dict[str, Any] | None:
        """What decides what is seen."""
        return self.picture.identity()

    def groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """`picture`, and `voice` for the rest."""
        spoken = (self.voice, self.numbers, self.to_token)
        return {
            "picture": list(self.picture.parameters()),
            "voice": [parameter for part in spoken for parameter in part.parameters()],
        }

    @torch.no_grad()
    def weights_of(self, other: Conditioner) -> dict[str, Tensor]:
        """Of one with voices: all, and the vectors of those that are called the same. Of another: what it sees with."""
        if not isinstance(other, VoicedPicture):
            return self.state_dict() | {f"picture.{name}": weight for name, weight in other.state_dict().items()}
        if other.voice.weight.shape[1] != self.voice.weight.shape[1]:
            return other.state_dict()  # which does not fit, and is refused as any other
        vectors = dict(zip((*other.voices, None), other.voice.weight, strict=True))
        own = zip((*self.voices, None), self.voice.weight, strict=True)
        return other.state_dict() | {"voice.weight": torch.stack([vectors.get(name, mine) for name, mine in own])}

    def freeze(self, frozen: bool = True) -> None:
        """As its picture's part."""
        self.picture.freeze(frozen)

    def preprocess(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size and mode -> (B, C, H, W) uint8."""
        return self.picture.preprocess(pictures)

    def extract_features(self, raw: Any) -> Any:
        """The same with what a frozen part sees in the pictures in their place."""
        if isinstance(raw, SpokenPictures):
            return replace(raw, pictures=self.picture.extract_features(raw.pictures))
        return self.picture.extract_features(raw)

    def compose(
        self, pictures: Tensor, voice: str | Tensor | None = None, pitch: float | None = None, rate: float | None = None
    ) -> SpokenPictures:
        """Pictures (B, C, H, W), all to be spoken so; None leaves pitch or rate to the model, a voice to chance.

        voice: one of `voices`, a plus sign as good as a hyphen, or a share of each (V,). pitch: 0 to 99, 50 the voice's
        own. rate: in words a minute.

        Raises:
            InputError: no such voice, or a number beyond those that were learned.
        """
        size = len(pictures)
        self.check(pitch, rate)
        numbers = (torch.full((size,), torch.nan if number is None else float(number)) for number in (pitch, rate))
        if isinstance(voice, torch.Tensor):
            return SpokenPictures(pictures, voice.float().expand(size, -1), *numbers)
        place = NONE if voice is None else self.find_voice(voice)
        return SpokenPictures(pictures, torch.full((size,), place), *numbers)

    def shares(self, voice: Tensor) -> Tensor:
        """Voices (B,) by number, or shares of them (B, V) as they are -> shares; of no voice all are 0."""
        if voice.is_floating_point():
            return voice
        return nn.functional.one_hot(voice - NONE, len(self.voices) + 1)[:, 1:].float()

    def check(self, pitch: float | None = None, rate: float | None = None) -> None:
        """Make sure that pitch and rate are such as were learned.

        Raises:
            InputError: they are not.
        """
        for what, number, (low, high) in zip(("pitch", "rate"), (pitch, rate), self.ranges, strict=True):
            if number is not None and not low <= number <= high:
                if low == high:
                    raise InputError(f"{what} {number:g}: the voices of this model have one {what} each; leave it out")
                unit = " words a minute" if what == "rate" else ""
                raise InputError(f"{what} {number:g}: this model learned {low:g} to {high:g}{unit}; give one of these")

    def find_voice(self, name: str) -> int:
        """The number of a voice.

        Raises:
            InputError: it has no such voice; its nearest are named.
        """
        plain = name.strip().replace("+", "-").casefold()
        known = [voice.casefold() for voice in self.voices]
        if plain in known:
            return known.index(plain)
        # By spelling, then by a part in common: `en-us-f3` for `f3`.
        near = difflib.get_close_matches(plain, known, n=4)
        near += [voice for voice in known if voice not in near and set(plain.split("-")) & set(voice.split("-"))]
        named = ", ".join(self.voices[known.index(voice)] for voice in near[:4]) or ", ".join(self.voices[:8])
        raise InputError(f"voice {name!r}: none of this model's {len(known)}, such as {named}; or give {ALL}")

    def complete(self, raw: Any, generators: Sequence[torch.Generator]) -> Any:
        """A voice for each that has none yet, any of them, by the seed of its generator; the noise stays as it is."""
        raw = raw if isinstance(raw, SpokenPictures) else self.compose(raw)
        if not self.voices or raw.voice.is_floating_point():
            return raw
        chances = (seeding.generator(one.initial_seed(), "voice") for one in generators)
        drawn = torch.tensor([int(torch.randint(len(self.voices), (), generator=chance)) for chance in chances])
        return replace(raw, voice=raw.voice.where(raw.voice != NONE, drawn.to(raw.voice)))

    def look(self, raw: Any, generator: torch.Generator | None = None) -> Condition:
        """What is told of the pictures alone, whoever speaks."""
        return self.picture.encode(raw.pictures if isinstance(raw, SpokenPictures) else raw, generator)

    def encode(self, raw: Any, generator: torch.Generator | None = None) -> Condition:
        """raw: `SpokenPictures`, or pictures alone (B, C, H, W). generator: draws what is left out in training.

        Raises:
            InputError: a number of a voice that is none, or shares of other voices than the model's.
        """
        seen = self.look(raw, generator)
        if not isinstance(raw, SpokenPictures):
            return self._joined(seen, *self._untold(len(raw)))
        voice, numbers = raw.voice, torch.stack([raw.pitch, raw.rate], dim=1)
        if voice.is_floating_point():
            if voice.shape[1] != len(self.voices):
                raise InputError(f"shares of {voice.shape[1]} voices; this model has {len(self.voices)}")
        elif not are_within(voice - NONE, len(self.voices)):
            raise InputError(f"voice {voice.tolist()}: out of range; this model has {len(self.voices)} voices")
        if generator is not None:
            shares = torch.tensor([self.config.voice_dropout, *[self.config.number_dropout] * 2])
            told = (torch.rand(len(raw), 3, generator=generator) >= shares).to(voice.device)
            voice = voice.where(told[:, 0], NONE) if voice.ndim == 1 else voice * told[:, :1]
            numbers = numbers.where(told[:, 1:], torch.nan)
        return self._joined(seen, voice, numbers)

    def null(self, batch_size: int) -> Condition:
        """The condition that shows nothing and names no voice, (batch_size, ...)."""
        return self._joined(self.picture.null(batch_size), *self._untold(batch_size))

    def _untold(self, size: int) -> tuple[Tensor, Tensor]:
        where = self.voice.weight.device
        return torch.full((size,), NONE, device=where), torch.full((size, 2), torch.nan, device=where)

    def _joined(self, seen: Condition, voice: Tensor, numbers: Tensor) -> Condition:
        """What is seen and, beside it, voice (B,), or shares (B, V), and numbers (B, 2), each where it is told."""
        low, high = numbers.new_tensor(self.ranges).T
        told = numbers.isfinite()
        units = ((2 * numbers - high - low) / (high - low).clamp(min=1)).where(told, 0)  # -1 to 1
        units = torch.cat([units, told.to(units)], dim=1).to(self.voice.weight.dtype)  # (B, 4)
        if voice.is_floating_point():  # what is missing from 1 is of no voice
            every = torch.cat([voice, 1 - voice.sum(dim=1, keepdim=True)], dim=1).to(self.voice.weight)
            who = every @ self.voice.weight
        else:
            who = self.voice(voice.where(voice != NONE, len(self.voices)))
        spoken = who + self.numbers(units)  # (B, D)
        assert seen.tokens is not None and seen.pooled is not None
        tokens = torch.cat([seen.tokens, self.to_token(spoken)[:, None]], dim=1)  # (B, L + 1, D)
        return Condition(tokens=tokens, pooled=seen.pooled + spoken)
