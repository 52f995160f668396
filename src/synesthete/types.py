"""What passes between the layers, and the letters their shapes are written in.

B batch, L condition tokens, D width of a token, C channels, H x W a picture, F bands x T frames a spectrogram,
N denoiser tokens, S samples of a waveform. Spectrograms are pictures: `(B, 1, F, T)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


Progress = Callable[[str, int, int], None]  # progress(what, done, total)


class InputError(ValueError):
    """Something the user gave cannot be used. The message is one line: what, where, and what to do instead."""


@dataclass(frozen=True)
class AudioSpec:
    """How sound is sampled and cut into frames; written once and handed to all who need it.

    sample_rate in Hz, n_fft and hop_length in samples, n_mels the number of mel bands.
    """

    sample_rate: int = 24_000
    n_fft: int = 1024
    hop_length: int = 256
    n_mels: int = 100

    def num_frames(self, num_samples: int) -> int:
        """Frames of a centred short-time Fourier transform of that many samples."""
        return num_samples // self.hop_length + 1

    def num_samples(self, num_frames: int) -> int:
        """Samples that give exactly that many centred frames."""
        return (num_frames - 1) * self.hop_length


@dataclass(frozen=True)
class Condition:
    """What a denoiser is told about the sample it is to make; any part may be None.

    tokens: (B, L, D), read by cross-attention. mask: (B, L), True = keep; None keeps all.
    pooled: (B, D), read by adaptive normalisation. spatial: (B, C, H, W), joined to the input as channels.
    keys_values: one pair of (B, heads, L, D / heads) a layer, written by `Denoiser.precompute`.
    """

    tokens: Tensor | None = None
    mask: Tensor | None = None
    pooled: Tensor | None = None
    spatial: Tensor | None = None
    keys_values: tuple[tuple[Tensor, Tensor], ...] | None = None

    def apply(self, function: Callable[[Tensor], Tensor]) -> Condition:
        """The same condition with `function` applied to every tensor it holds."""
        changed: dict[str, Any] = {name: each(function, value) for name, value in self._parts()}
        return replace(self, **changed)

    def to(self, *args: Any, **kwargs: Any) -> Condition:
        """Every tensor through `Tensor.to`; a dtype leaves the boolean mask as it is."""
        return self.apply(
            lambda t: t.to(*args, **kwargs) if t.is_floating_point() else t.to(device_of(args, kwargs, t))
        )

    def __getitem__(self, index: Any) -> Condition:
        """Samples chosen along the batch, as a tensor is indexed."""
        return self.apply(lambda t: t[index])

    def __len__(self) -> int:
        """The batch size."""
        for _, value in self._parts():
            return len(value[0][0]) if isinstance(value, tuple) else len(value)
        raise ValueError("an empty Condition has no batch size")

    def _parts(self) -> list[tuple[str, Any]]:
        return [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) is not None]

    @staticmethod
    def concatenate(conditions: Sequence[Condition]) -> Condition:
        """Conditions of the same make, one batch after the other."""
        import torch

        first = conditions[0]
        joined: dict[str, Any] = {
            name: each(lambda *values: torch.cat(values), *(getattr(one, name) for one in conditions))
            for name, _ in first._parts()
        }
        return replace(first, **joined)

    @staticmethod
    def where(keep: Tensor, chosen: Condition, other: Condition) -> Condition:
        """Per sample: `chosen` where keep (B,) is True, `other` elsewhere (condition dropout, drawn per sample)."""
        mixed: dict[str, Any] = {}
        for name, value in chosen._parts():
            if name == "keys_values":
                raise ValueError("mix conditions before their keys and values are computed")
            mixed[name] = value.where(keep.to(value.device).view(-1, *[1] * (value.ndim - 1)), getattr(other, name))
        return replace(chosen, **mixed)


def each(function: Callable[..., Tensor], *values: Any) -> Any:
    """The function of tensors, or of those in the same place of tuples."""
    if isinstance(values[0], tuple):
        return tuple(each(function, *parts) for parts in zip(*values, strict=True))
    return function(*values)


def device_of(args: tuple[Any, ...], kwargs: dict[str, Any], tensor: Tensor) -> Any:
    """The device named in the arguments of a `Tensor.to` call, or the tensor's own."""
    import torch

    for value in (*args, *kwargs.values()):
        if isinstance(value, str | torch.device):
            return value
    return tensor.device


@dataclass(frozen=True)
class Batch:
    """Samples on their way into training: the signal, its raw condition and the class both belong to.

    signal: waveform (B, S) or picture (B, C, H, W), or x_0 where it was encoded beforehand (`encoded`).
    raw: what the conditioner reads. label: (B,) int64.
    """

    signal: Tensor
    raw: Any
    label: Tensor
    encoded: bool = False

    def to(self, device: Any) -> Batch:
        """The batch on another device."""
        return replace(self, signal=self.signal.to(device), raw=self.raw.to(device), label=self.label.to(device))


@dataclass
class Prepared:
    """A recipe's data, encoded. statistics: the codec's buffers as measured on the training data.

    train, test: `Samples` of the system's kind. classifier: pictures that only the classifier of a picture model learns
    from; None where something else is evaluated. skipped: the files that could not be read. speakers: as `test`, of
    speakers who are in no other; None where the sources tell of none.
    """

    train: Any
    test: Any
    statistics: dict[str, Tensor]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    classifier: Any = None
    speakers: Any = None
