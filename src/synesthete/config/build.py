"""Constructor calls not yet made, checked against the signature when written."""

from __future__ import annotations

import difflib
import inspect
import typing
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


class Build:
    """A constructor call not yet made. Its arguments are attributes: read, set, and checked against the signature."""

    def __init__(self, target: Callable[..., Any], **arguments: Any) -> None:
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
            raise InputError(f"{self.target.__name__} has no field {name!r}{suggestion(name, known)}")
        self.arguments[name] = checked(self.target, name, value)

    def __call__(self, **extra: Any) -> Any:
        """Make the call; builds among the arguments are made first."""
        return self.target(**{**{name: made(value) for name, value in self.arguments.items()}, **extra})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Build) and self.target is other.target and self.fields == other.fields

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"build({self.target.__name__}, {', '.join(f'{k}={v!r}' for k, v in self.arguments.items())})"


def build(target: Callable[..., Any], **arguments: Any) -> Any:
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


def parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The named parameters of a constructor."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {n: p for n, p in inspect.signature(target).parameters.items() if p.kind not in kinds}


def checked(target: Callable[..., Any], name: str, value: Any) -> Any:
    """The value, converted to the annotated type of the parameter (lists of YAML to tuples, whole floats to int)."""
    if holds_build(value):
        return tuple(value) if isinstance(value, list) else value
    annotation = hints(target).get(name, Any)
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        reason, cause = error.errors()[0]["msg"], error.errors()[0].get("ctx", {}).get("error")
        if isinstance(cause, InputError):  # of a validator in the annotation, which says all there is to say
            raise InputError(f"{target.__name__}.{name}: {cause}") from None
        raise InputError(
            f"{target.__name__}.{name}: {value!r} does not fit {described(annotation)}: {reason}"
        ) from None
    except PydanticSchemaGenerationError:
        return value


def holds_build(value: Any) -> bool:
    """Whether the value is, or contains, a call not yet made."""
    return isinstance(value, Build) or (isinstance(value, list | tuple) and any(holds_build(item) for item in value))


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


def suggestion(name: str, known: Any) -> str:
    """The end of an error about an unknown name: the nearest right one, or all of them."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known)}"
