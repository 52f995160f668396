"""Constructor calls not yet made, checked against the signature when written; as plain values in YAML, and back."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import reprlib
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from synesthete.config.document import class_name, find_class
from synesthete.types import InputError

CLASS_KEY = "class"
STRICT = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
# The most that a number can be, by the names of fields: beyond it, parts would be made for ever, or fill the memory.
LIMITS = {
    1 << 28: "num_samples",  # an hour and a half
    1_000_000: "takes batch_size sample_rate",
    100_000: "num",
    1 << 16: "n_fft hop_length num_bins num_frames sample_size num_tokens resolutions discriminator_resolutions",
    1 << 14: "width widths cell_width size patch_size cell_size in_channels channels latent_channels dim "
    "intermediate_dim num_columns n_mels num_features multiple",
    10_000: "num_iterations num_inference_steps num_train_timesteps num_views",
    3_600: "seconds",
    1_000: "depth num_layers num_blocks num_heads frames num_corrections num_resamplings",
}
AT_LEAST_1 = ("sample_size", "patch_size", "cell_size", "merge", "cell_width", "num_cell_blocks")
MOST = {name: most for most, names in LIMITS.items() for name in names.split()}
EXAMPLES: dict[Any, str] = {int: "50", float: "0.5", str: "NAME", bool: "true"}  # of values in a list
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 100  # letters of a value in an error's line
LARGEST = 2**63  # of any whole number


class Build:
    """A constructor call not yet made. Its arguments are attributes: read, set, and checked against the signature."""

    def __init__(self, target: Callable[..., Any], /, **arguments: Any) -> None:
        object.__setattr__(self, "target", target)
        object.__setattr__(self, "arguments", {})
        for name, value in arguments.items():
            setattr(self, name, value)

    @property
    def fields(self) -> dict[str, Any]:
        """Every argument with the value that it has now, defaults included."""
        given = self.arguments
        return {
            name: given.get(name, None if p.default is inspect.Parameter.empty else p.default)
            for name, p in parameters(self.target).items()
        }

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copy and pickle ask of an object that has no attributes yet
            raise AttributeError(name)
        known = self.fields
        if name not in known:
            raise AttributeError(f"{self.target.__name__} has no field {name!r}{suggestion(name, known)}")
        return known[name]

    def __setattr__(self, name: str, value: Any) -> None:
        known = parameters(self.target)
        if name not in known:
            raise InputError(f"{self.target.__name__} has no field {shorten(name)}{suggestion(name, known)}")
        self.arguments[name] = checked(self.target, name, value)

    def __call__(self, **extra: Any) -> Any:
        """Make the call; builds among the arguments are made first."""
        return self.target(**{**{name: made(value) for name, value in self.arguments.items()}, **extra})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Build) and self.target is other.target and self.fields == other.fields

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"build({', '.join([self.target.__name__, *(f'{k}={v!r}' for k, v in self.arguments.items())])})"


def build(target: Callable[..., Any], /, **arguments: Any) -> Any:
    """`target(**arguments)`, to be called later; typed as Any so that its fields can be read and set.

    Raises:
        InputError: an argument that the signature does not have, or of another type.
    """
    return Build(target, **arguments)


def made(value: Any) -> Any:
    """The value with every build in it called."""
    if isinstance(value, Build):
        return value()
    if isinstance(value, list | tuple):
        return type(value)(made(item) for item in value)
    return value


# Kept: these are asked for at every field of every recipe, and took longer than all else of one.
@functools.lru_cache(maxsize=500)
def parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The named parameters of a constructor."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {n: p for n, p in inspect.signature(target).parameters.items() if p.kind not in kinds}


def checked(target: Callable[..., Any], name: str, value: Any) -> Any:
    """The value, converted to the annotated type of the parameter (lists of YAML to tuples, whole floats to int)."""
    annotation = hints(target).get(name, Any)
    where, said = f"{getattr(target, '__name__', target)}.{name}", shorten(value)
    try:
        value = adapter(target, name).validate_python(value)
    except ValidationError as error:
        reason, cause = error.errors()[0]["msg"], error.errors()[0].get("ctx", {}).get("error")
        if isinstance(cause, InputError):  # of a validator in the annotation, which says all there is to say
            raise InputError(f"{where}: {cause}") from None
        if syntax := list_syntax(annotation):
            raise InputError(f"{where}: {said} does not fit; write {syntax}") from None
        raise InputError(f"{where}: {said} does not fit {described(annotation)}: {reason}") from None
    except PydanticSchemaGenerationError:
        return value
    check_size(name, value, where)
    return value


def check_size(name: str, value: Any, where: str) -> None:
    """Make sure that every number in a value is finite, and no smaller or larger than its field can be."""
    most = MOST.get(name, LARGEST)
    for number in numbers_in(value):
        if name in AT_LEAST_1 and number < 1:
            raise InputError(f"{where}: {shorten(value)}; give at least 1")
        if not math.isfinite(number):
            raise InputError(f"{where}: {number} is no finite number; give one")
        if not -LARGEST <= number <= most:
            raise InputError(f"{where}: {shorten(value)} is more than anything can be made of; give {most:,} at most")


def numbers_in(value: Any) -> Iterator[float]:
    """Every number in a value."""
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(item)


def shorten(value: Any) -> str:
    """A value in an error's line."""
    return SHORT.repr(value) if isinstance(value, str | int | list | tuple | dict) else repr(value)


def is_a(what: str, *has: str, takes: int | None = None) -> AfterValidator:
    """Of an annotation: a call not yet made, or what one has made, that `has` these attributes and so is a `what`.

    A mapping, as a config.json holds one, is taken for the class that it names. takes: arguments that it is called
    with, where it is called itself.
    """

    def check(value: Any) -> Any:
        kind: Any = find_class(value.get(CLASS_KEY)) if isinstance(value, Mapping) else type(value)
        kind = value.target if isinstance(value, Build) else kind
        # A function is called itself, an object by its class' method, whose first argument it is.
        called = value if inspect.isfunction(value) else kind.__call__
        num = len(parameters(called)) - (called is not value)
        if not all(hasattr(kind, name) for name in has) or takes not in (None, num):
            named = shorten(value) if kind is type(value) else kind.__name__
            raise InputError(f"{named} is no {what}; name the class of one and its fields")
        return value

    return AfterValidator(check)


def holds_build(value: Any) -> bool:
    """Whether the value is, or contains, a call not yet made."""
    return isinstance(value, Build) or (isinstance(value, list | tuple) and any(holds_build(item) for item in value))


@functools.lru_cache(maxsize=2000)
def adapter(target: Callable[..., Any], name: str) -> TypeAdapter[Any]:
    """What a value of that parameter is checked by."""
    return TypeAdapter(hints(target).get(name, Any), config=STRICT)


@functools.lru_cache(maxsize=500)
def hints(target: Callable[..., Any]) -> dict[str, Any]:
    """The resolved annotations of a constructor's parameters."""
    function: Any = inspect.unwrap(target.__init__) if inspect.isclass(target) else inspect.unwrap(target)
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError:
        return {}


def described(annotation: Any) -> str:
    """A type as a reader would write it, without its limits."""
    annotation = getattr(annotation, "__origin__", annotation) if hasattr(annotation, "__metadata__") else annotation
    return getattr(annotation, "__name__", str(annotation)) if inspect.isclass(annotation) else str(annotation)


def list_syntax(annotation: Any) -> str:
    """How `--set` writes a value of a list or tuple of plain types, such as [50,4]; empty for another type."""
    is_choice = typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated)
    for kind in typing.get_args(annotation) if is_choice else (annotation,):
        origin, inner = typing.get_origin(kind), typing.get_args(kind)
        if origin not in (list, tuple) or any(item not in (*EXAMPLES, ...) for item in inner):
            continue
        is_long = origin is list or ... in inner
        items = [EXAMPLES[inner[0]]] * 2 if is_long else [EXAMPLES[item] for item in inner]
        return f"{'a list' if is_long else f'{len(items)} values'} in brackets, such as '[{','.join(items)}]'"
    return ""


def suggestion(name: str, known: Any) -> str:
    """The end of an error about an unknown name: the nearest right one, or all of them."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known)}"


def plain(value: Any) -> Any:
    """Builds, dataclasses and tuples as dictionaries and lists."""
    if isinstance(value, Build):
        return {CLASS_KEY: class_name(value.target)} | {k: plain(v) for k, v in value.fields.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def resolved(value: Any, where: str) -> Any:
    """The inverse of `plain` for builds; only classes that the registry knows are imported."""
    if isinstance(value, dict) and CLASS_KEY in value:
        arguments = {key: resolved(item, where) for key, item in value.items() if key != CLASS_KEY}
        try:
            return Build(find_class(value[CLASS_KEY]), **arguments)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    if isinstance(value, list):
        return [resolved(item, where) for item in value]
    if isinstance(value, dict):
        return {key: resolved(item, where) for key, item in value.items()}
    return value


def restore_nested(part: Any, where: str, what: str, has: tuple[str, ...], such_as: str) -> Any:
    """A part from what `describe_nested` said of it, or the part that was given.

    where: the field it is given as, `codec.base`. what: it has to be, `codec`. has: what makes it one, beside what
    every part has. such_as: the class to name where it is none.
    """
    given = not isinstance(part, Mapping)
    kind: Any = type(part) if given else find_class(part.get(CLASS_KEY))
    if not all(hasattr(kind, name) for name in ("save_pretrained", *has)):
        raise InputError(f"{where}: {kind.__name__} is no {what}; give one such as {such_as}")
    return part if given else Build(kind, **{name: value for name, value in part.items() if name != CLASS_KEY})()


def describe_nested(part: Any) -> dict[str, Any]:
    """A part as its class and the fields of its constructor, plain values."""
    return {CLASS_KEY: class_name(type(part)), **part.fields}
