"""The base of every part with weights or statistics: its fields in config.json, its tensors in safetensors.

Files and names of methods are those of diffusers' `ModelMixin` and `ConfigMixin`. The classes are not: importing these
takes longer than importing torch, for quantisation, adapters and compilers that no part needs. And where a part
computes, in how many bits, and how a CPU gets memory for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import inspect
import json
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from torch import nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from synesthete import hub
from synesthete.config.build import checked
from synesthete.io import read_json
from synesthete.types import InputError

__all__ = ["Part"]

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"


class Config(dict[str, Any]):
    """Fields by name, also as attributes; changed by `Part.register_to_config` alone."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no field {name!r}; there are {', '.join(self)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} is a field of a part that is made; make another, or call register_to_config")


class Part(nn.Module):
    """A module whose constructor's arguments are its fields: kept in `config`, saved and loaded with its tensors.

    A subclass writes an `__init__` with named arguments of plain values, and nothing else for that. What is learned or
    measured is a parameter or a persistent buffer; other buffers are computed by the constructor.
    """

    _config: Config

    if TYPE_CHECKING:  # a part says what its parts are by making them

        def __getattr__(self, name: str) -> Any: ...
        def to(self, *args: Any, **kwargs: Any) -> Self: ...  # noqa: D102

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "__init__" in cls.__dict__:
            cls.__init__ = keeping_fields(cls.__init__)  # type: ignore[method-assign]

    @property
    def config(self) -> Config:
        """The constructor's arguments."""
        return self._config

    @property
    def fields(self) -> dict[str, Any]:
        """Its own fields alone, from which it can be made again."""
        return dict(self._config)

    def register_to_config(self, **fields: Any) -> None:
        """Change what is kept of fields: where one was found out that need not be found again."""
        object.__setattr__(self, "_config", Config({**self._config, **fields}))

    @property
    def dtype(self) -> torch.dtype:
        """Of its first floating tensor."""
        floating = (t.dtype for t in chain(self.parameters(), self.buffers()) if t.is_floating_point())
        return next(floating, torch.float32)

    @property
    def device(self) -> torch.device:
        """Of its first tensor."""
        return next((t.device for t in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    def groups(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """Its parameters by what a stage can train alone; none where it is trained whole."""
        return {}

    def save_pretrained(self, folder: str | Path, **_: Any) -> None:
        """Write the folder: config.json, and every parameter and persistent buffer."""
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"_class_name": type(self).__name__, **self.fields}
        (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        tensors: dict[str, torch.Tensor] = {}
        for name, value in self.state_dict().items():
            shared = any(value.data_ptr() == other.data_ptr() for other in tensors.values() if value.numel())
            tensors[name] = value.clone() if shared else value.contiguous()
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})

    @classmethod
    def load_config(cls, name: str | Path, **_: Any) -> dict[str, Any]:
        """What a folder's config.json says.

        Raises:
            InputError: none there, or damaged.
        """
        path = Path(name) / CONFIG
        try:
            return dict(read_json(path))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); give the folder of a part") from None
        except (ValueError, TypeError):
            raise InputError(f"{path}: damaged; train or copy the model again") from None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The part that a config describes, its weights new.

        Raises:
            InputError: fields that it does not have, lacks, or that are of another type.
        """
        fields = {name: value for name, value in config.items() if not name.startswith("_")}
        try:
            inspect.signature(cls).bind(**fields)
        except TypeError as error:
            raise InputError(f"{cls.__name__}: {error}; saved by another version, train again") from None
        return cls(**{name: checked(cls, name, value) for name, value in fields.items()})

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        subfolder: str = "",
        revision: str | None = None,
        torch_dtype: torch.dtype | None = None,
        **_: Any,
    ) -> Self:
        """The part in a folder or a Hub repository, in evaluation mode; float32, unless `torch_dtype` says otherwise.

        Raises:
            InputError: no such folder, damaged files, or tensors that are not those of its fields.
        """
        folder = hub.download(str(name), revision) if not Path(name).is_dir() and hub.is_hub_id(str(name)) else name
        folder = Path(folder) / subfolder
        config = cls.load_config(folder)
        try:
            with without_values():
                part = cls.from_config(config)
        except InputError as error:
            raise InputError(f"{folder / CONFIG}: {error}") from None
        if not (folder / WEIGHTS).is_file():  # no other form is read
            raise InputError(f"{folder}: no {WEIGHTS} in it; train or copy the model again")
        saved, wanted = hub.read_weights(folder), part.state_dict()
        if misfit := first_misfit(wanted, saved):
            raise InputError(f"{folder}: {misfit}; made by another version, train again")
        part.load_state_dict({key: value.to(wanted[key].dtype) for key, value in saved.items()}, assign=True)
        return (part if torch_dtype is None else nn.Module.to(part, torch_dtype)).eval()


def first_misfit(wanted: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> str | None:
    """`to_out.weight is (32, 64) there, (32, 32) here`, or None where all names and shapes are equal."""
    for key in {**wanted, **given}:
        there, here = (f"({', '.join(map(str, w[key].shape))})" if key in w else "not" for w in (given, wanted))
        if there != here:
            return f"{key} is {there} there, {here} here"
    return None


def keeping_fields(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that keeps its arguments as the part's fields first; those of the classes above do not."""

    @functools.wraps(init)
    def construct(part: Part, *args: Any, **arguments: Any) -> None:
        if "_config" not in part.__dict__:
            bound = inspect.signature(init).bind(part, *args, **arguments)
            bound.apply_defaults()
            _, *named = bound.arguments.items()
            object.__setattr__(part, "_config", Config(named))
        init(part, *args, **arguments)

    return construct


DRAWING = {"normal_", "uniform_", "kaiming_uniform_", "xavier_uniform_"}


class Undrawn(TorchFunctionMode):
    """Nothing is drawn for tensors without memory, nor scaled, for which torch would import its compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """`func`, unless it draws or fills, or multiplies what has no values by a number."""
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        tensor: Any = args[0] if args else kwargs.get("tensor")
        if name in DRAWING and tensor.is_meta:
            return tensor
        if name == "mul" and tensor.is_meta and tensor.is_floating_point() and isinstance(args[1], float):
            return tensor
        if name in ("randn", "rand", "hann_window") and torch.get_default_device().type == "meta":
            return torch.empty(*args, **kwargs)
        return func(*args, **kwargs)


@contextlib.contextmanager
def without_values() -> Iterator[None]:
    """Parameters made in here have no memory and are not drawn, for they will be read; buffers are made as ever."""
    register = nn.Module.register_parameter

    def register_empty(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:
            parameter = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = register_empty  # type: ignore[method-assign, assignment]
    try:
        with Undrawn():
            yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


# From malloc.h: names of the options of mallopt.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_KEPT = 2**31 - 1


def find_device(name: str = "auto") -> torch.device:
    """The device called `name`: cpu, cuda, cuda:1, mps, ...; "auto" is CUDA where there is some, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    here = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    known = ["auto", "cpu"] + ([here.type] if here else [])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device and device.type == "cpu":
        return torch.device("cpu")
    if device and here and device.type == here.type and (device.index or 0) < torch.accelerator.device_count():
        return device
    raise InputError(f"device {name!r}: not on this machine; choose from {', '.join(known)}")


def keep_freed_memory() -> bool:
    """Let glibc keep what tensors give back instead of asking the kernel for zeroed pages in every step.

    A convolutional step of 256 photographs took 0.36 s instead of 0.43 s on two cores. True where it was done.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    options = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, 64 * 2**20))
    taken = [library.mallopt(option, value) == 1 for option, value in options]
    return all(taken)


Precision = Literal["auto", "no", "bf16"]


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware (CPU: AVX512-BF16 or AMX); elsewhere bf16 only costs digits."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Matrix products in bf16 for as long as the context lasts; "auto": where the device multiplies it in hardware."""
    if precision == "no" or (precision == "auto" and not multiplies_bf16(device)):
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


class CastOnce:
    """A network under autocast, the weights of its linear layers cast when this is made.

    Autocast itself casts them anew whenever it is entered, that is, in every step: a third of a small network's time.
    Those of frozen layers are left out, as autocast keeps none of them either; so nothing takes more memory than there.
    """

    def __init__(self, network: Any) -> None:
        self.network = network
        # What calls a network without being a module has its weights cast as ever.
        self.weights = cast_weights(network) if isinstance(network, nn.Module) else {}

    @property
    def dtype(self) -> torch.dtype:
        """The network's own."""
        return self.network.dtype

    def __call__(self, *arguments: Any) -> Any:
        """What the network returns."""
        return functional_call(self.network, self.weights, arguments) if self.weights else self.network(*arguments)


def cast_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """By name, what autocast makes of the weights of linear layers that are trained; nothing outside of autocast."""
    device = next((weight.device.type for weight in network.parameters()), "cpu")
    if not torch.is_autocast_enabled(device):
        return {}
    return {
        f"{place}.{name}": weight.detach().to(torch.get_autocast_dtype(device))
        for place, layer in network.named_modules()
        if type(layer) is nn.Linear
        for name, weight in layer.named_parameters(recurse=False)
        if weight.requires_grad and weight.dtype == torch.float32
    }
