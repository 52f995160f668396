"""What every conditioner is, and what can be asked of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from synesthete.nn.part import Part
from synesthete.types import Condition, InputError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Conditioner"]


class Conditioner(Part):
    """Base of all conditioners: raw conditions to `Condition`, and the null of each.

    Attributes:
        reads: what a raw condition is: class numbers (B,), pictures (B, C, H, W) uint8 as `preprocess` makes them (or,
            of a `VoicedPicture`, `SpokenPictures`), waveforms (B, S), a `SoundAndText`, `ScoreWindows`, a
            `ScoreSketch`, or levels (B,) in dB; "nothing" of a model that is told nothing.
        reads_text: whether prompts of one's own stand for raw conditions, through `extract_features`.
        tower: the published encoder that it reads through, none of its parts; None where it has none.
    """

    reads: ClassVar[Literal["label", "image", "sound", "audio_text", "score", "sketch", "level", "nothing"]] = "label"
    reads_text: bool = False
    tower: Any = None

    @property
    def has_fixed_features(self) -> bool:
        """Whether `extract_features` never changes, so that what it gives is worth keeping, under `identity`."""
        return False

    @property
    def spatial_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of `Condition.spatial`; None where there is none."""
        return None

    def encode(self, raw: Any, generator: torch.Generator | None = None) -> Condition:
        """What is told of a batch of raw conditions. generator: for what is drawn in training; None draws nothing."""
        raise NotImplementedError

    def null(self, batch_size: int) -> Condition:
        """The condition that says nothing, (batch_size, ...)."""
        raise NotImplementedError

    def look(self, raw: Any, generator: torch.Generator | None = None) -> Condition:
        """As `encode`, without what tells how a picture is to be spoken."""
        return self.encode(raw, generator)

    def complete(self, raw: Any, generators: Sequence[torch.Generator]) -> Any:
        """Raw, and what it leaves to chance drawn by the seeds of the samples' generators, which stay as they are."""
        return raw

    def branches(self, raw: Any, negative: str | Sequence[str] | None = None) -> tuple[Condition, Condition, Condition]:
        """What guidance weighs against each other: told nothing, told a part, told all; two may be the same object.

        negative: what to be led away from, of a conditioner that reads prompts beside sounds.
        """
        told = self.encode(raw)
        return self.untold(told, len(raw)), told, told

    def untold(self, condition: Condition, batch_size: int) -> Condition:
        """What guidance leads away from, and training puts in a condition's place: null, but for what always stays."""
        return self.null(batch_size)

    def drop(
        self,
        condition: Condition,
        raw: Any,
        generator: torch.Generator,
        share: float,
        sound_share: float | None = None,
    ) -> Condition:
        """The condition, `untold` for a share of the samples, each drawn. sound_share: as `AudioTextConditioner`."""
        keep = torch.rand(len(raw), generator=generator) >= share
        return Condition.where(keep, condition, self.untold(condition, len(raw)))

    def pictures(self, raw: Any) -> list[Image.Image]:
        """Each raw condition as a picture to lay beside what was made of it; none where there is nothing to be seen."""
        return []

    def extract_features(self, raw: Any) -> Any:
        """What a frozen part makes of raw conditions, which stands for them; raw itself where there is no such part."""
        return raw

    def weights_of(self, other: Conditioner) -> dict[str, Tensor]:
        """What of another conditioner's weights this one can begin with, its own for the rest; all may not fit."""
        return other.state_dict()

    def identity(self) -> dict[str, Any] | None:
        """What decides the features of a raw condition; None where they change in training, so that none are kept."""
        return None

    def freeze(self, frozen: bool = True) -> None:
        """From now on `extract_features` learns nothing more and always gives the same, until it is freed again.

        Raises:
            InputError: a conditioner that has no such part.
        """
        if frozen:
            raise InputError(
                f"num_views: a {type(self).__name__} has no part that could be frozen apart from the one that learns; "
                "set num_views=0 for this stage"
            )

    @property
    def towers(self) -> Sequence[Any]:
        """Every published encoder that it reads through."""
        return [] if self.tower is None else [self.tower]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """As every module; published encoders go to the same device and keep their precision."""
        super()._apply(fn, recurse)
        for tower in self.towers:
            tower.to(self.device)
        return self


def projection(width_in: int, width: int) -> nn.Sequential:
    """What is trained beside a frozen encoder: its tokens or its pooled vector to those of the denoiser."""
    return nn.Sequential(nn.LayerNorm(width_in), nn.Linear(width_in, width))


def are_within(numbers: Tensor, highest: int) -> bool:
    """Whether all are from 0 to `highest`; those on the meta device, which have no values, are."""
    return numbers.is_meta or not numbers.numel() or 0 <= int(numbers.min()) <= int(numbers.max()) <= highest


def check_labels(raw: Tensor, num_classes: int) -> Tensor:
    """Class numbers (B,) int64 as they are."""
    if not are_within(raw, num_classes - 1):
        known = f"has classes 0 to {num_classes - 1}" if num_classes else "has no classes; give it prompts"
        raise InputError(f"label {raw.tolist()}: out of range; this model {known}")
    return raw
