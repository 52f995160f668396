"""What passes between the layers, and the letters their shapes are written in.

B batch, L condition tokens, D width of a token, C channels, H x W a picture, F bands x T frames a spectrogram,
N denoiser tokens, S samples of a waveform. Spectrograms are pictures: `(B, 1, F, T)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AudioSpec", "Batch", "Condition", "InputError", "Prepared", "Progress"]

Progress = Callable[[str, int, int], None]  # progress(what, done, total)


def counted(items: Any, progress: Callable[[int, int], None] | None) -> Iterator[Any]:
    """The items one after the other; progress(done, total) is called behind each."""
    for done, item in enumerate(items, 1):
        yield item
        if progress:
            progress(done, len(items))


class InputError(ValueError):
    """Something the user gave cannot be used. The message is one line: what, where, and what to do instead."""


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@dataclass(frozen=True)
class AudioSpec:
    """How sound is sampled and cut into frames; written once and handed to all who need it.

    sample_rate in Hz, n_fft and hop_length in samples, n_mels the number of mel bands, on that scale and up to fmax in
    Hz; None is half the sample rate.

    Raises:
        InputError: another scale, or a fmax that the sample rate does not reach.
    """

    sample_rate: int = 24_000
    n_fft: int = 1024
    hop_length: int = 256
    n_mels: int = 100
    mel_scale: Literal["htk", "slaney"] = "htk"
    fmax: float | None = None

    def __post_init__(self) -> None:
        if self.mel_scale not in ("htk", "slaney"):
            raise InputError(f"mel_scale {self.mel_scale!r}: it is 'htk' or 'slaney'")
        if self.fmax is not None and not 0 < self.fmax <= self.sample_rate / 2:
            raise InputError(f"fmax {self.fmax:g}: give Hz up to {self.sample_rate / 2:g}, half the sample rate")

    def num_frames(self, num_samples: int) -> int:
        """Frames of a centred short-time Fourier transform of that many samples."""
        return num_samples // self.hop_length + 1

    def num_samples(self, num_frames: int) -> int:
        """Samples that give exactly that many centred frames."""
        return (num_frames - 1) * self.hop_length


@dataclass(frozen=True)
class Tensors:
    """Base of fields that are tensors with the batch first, or tuples of such; any may be None, a bool says how."""

    def apply(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same with `function` applied to every tensor it holds."""
        from torch.utils._pytree import tree_map

        return replace(self, **{name: tree_map(function, value) for name, value in self._parts()})

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Every tensor through `Tensor.to`; a dtype leaves masks and numbers as they are."""
        import torch

        device, *_ = torch._C._nn._parse_to(*args, **kwargs)  # as `nn.Module.to` reads its arguments
        return self.apply(lambda t: t.to(*args, **kwargs) if t.is_floating_point() else t.to(device or t.device))

    def __getitem__(self, index: Any) -> Self:
        """Samples chosen along the batch, as a tensor is indexed."""
        return self.apply(lambda t: t[index])

    def __len__(self) -> int:
        """The batch size."""
        for _, value in self._parts():
            return len(value[0][0]) if isinstance(value, tuple) else len(value)
        raise ValueError(f"an empty {type(self).__name__} has no batch size")

    @classmethod
    def concatenate(cls, batches: Sequence[Self]) -> Self:
        """Those of the same make, one batch after the other."""
        import torch
        from torch.utils._pytree import tree_map

        def joined(name: str) -> Any:
            return tree_map(lambda *values: torch.cat(values), *(getattr(one, name) for one in batches))

        return replace(batches[0], **{name: joined(name) for name, _ in batches[0]._parts()})

    def _parts(self) -> list[tuple[str, Any]]:
        return [(name, value) for name, value in vars(self).items() if not isinstance(value, bool | None)]


@dataclass(frozen=True)
class Condition(Tensors):
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

    def mean_vectors(self) -> dict[str, Tensor]:
        """{"pooled" (B, D), "mean token" (B, D)}, whichever there is, float32 on the CPU."""
        vectors = {}
        if self.pooled is not None:
            vectors["pooled"] = self.pooled.float().cpu()
        if self.tokens is not None:
            tokens = self.tokens.float()
            keep = tokens.new_ones(tokens[..., :1].shape) if self.mask is None else self.mask[..., None].to(tokens)
            vectors["mean token"] = ((tokens * keep).sum(dim=1) / keep.sum(dim=1).clamp(min=1)).cpu()
        return vectors

    @staticmethod
    def where(keep: Tensor, chosen: Condition, other: Condition) -> Condition:
        """Per sample: `chosen` where keep (B,) is True, `other` elsewhere (condition dropout, drawn per sample)."""
        mixed: dict[str, Any] = {}
        for name, value in chosen._parts():
            if name == "keys_values":
                raise ValueError("mix conditions before their keys and values are computed")
            mixed[name] = value.where(keep.to(value.device).view(-1, *[1] * (value.ndim - 1)), getattr(other, name))
        return replace(chosen, **mixed)


@dataclass(frozen=True)
class SpokenPictures(Tensors):
    """Pictures, and how each is to be spoken.

    pictures: (B, C, H, W), or what a frozen encoder saw in them. voice: (B,) int64, a place among the voices of the
    model, or -1; or (B, V) float, a share of each of them. pitch (0 to 99, 50 a voice's own) and rate (words a minute):
    (B,) float32, or NaN. -1 and NaN say nothing.
    """

    pictures: Tensor
    voice: Tensor
    pitch: Tensor
    rate: Tensor


@dataclass(frozen=True)
class ScoreWindows(Tensors):
    """Stretches of scores, each as long as a window of x_0, and how they are to sound.

    roll: (B, 2, 128, T) uint8, 1 where a pitch sounds in a frame and where it begins, a row a MIDI pitch; None says
    nothing of the notes. instrument: (B,) int64, a place among the instruments of the model, or -1, which says nothing.
    before: x_0 (B, C, H, T), of which the frames that are `known` (B, T) are told, as the end of the window before is.
    """

    roll: Tensor | None
    instrument: Tensor
    before: Tensor
    known: Tensor


@dataclass(frozen=True)
class ScoreSketch(Tensors):
    """What is told of a score that is to be made, and what there is of it already.

    tonic (0 to 11, 0 is C), mode (0 major, 1 minor), begins and ends (whether the piece does, 0 or 1): (B,) int64, -1
    says nothing. voices: (B, V, 2, T) uint8, pitches (0: rest) and beginnings, where held (B, V, T) is True; what they
    are elsewhere is not looked at.
    """

    tonic: Tensor
    mode: Tensor
    begins: Tensor
    ends: Tensor
    voices: Tensor
    held: Tensor


@dataclass(frozen=True)
class Batch:
    """Samples on their way into training: the signal, its raw condition and the class both belong to.

    signal: waveform (B, S) or picture (B, C, H, W), or x_0 where it was encoded beforehand (`encoded`).
    raw: what the conditioner reads. label: (B,) int64. noise: that x_0 was made of, as it; None where none is known.
    """

    signal: Tensor
    raw: Any
    label: Tensor
    encoded: bool = False
    noise: Tensor | None = None

    def encode(self, codec: Any) -> Tensor:
        """x_0 (B, C, H, W), encoded now unless that was done beforehand."""
        return self.signal if self.encoded else codec.encode(self.signal)

    def to(self, device: Any) -> Batch:
        """The batch on another device."""
        noise = None if self.noise is None else self.noise.to(device)
        signal, raw, label = (x.to(device) for x in (self.signal, self.raw, self.label))
        return replace(self, signal=signal, raw=raw, label=label, noise=noise)


@dataclass
class Prepared:
    """A recipe's data, encoded. statistics: the codec's buffers as measured on the training data.

    train, test: `Samples` of the system's kind. classifier: pictures that only the classifier of a picture model learns
    from; None where something else is evaluated. skipped: the files that could not be read. speakers: as `test`, of
    speakers who are in no other; None where the sources tell of none. told: fields of the conditioner that the data
    decide, where the recipe leaves them open.
    """

    train: Any
    test: Any
    statistics: dict[str, Tensor]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    classifier: Any = None
    speakers: Any = None
    told: Mapping[str, Any] = field(default_factory=dict)
