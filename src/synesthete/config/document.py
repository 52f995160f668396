"""What files say: YAML as plain values alone, no more than a recipe can hold, and classes by their short names."""

from __future__ import annotations

import difflib
import importlib
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from yaml.resolver import Resolver

from synesthete.io import tab_separated
from synesthete.logs import PACKAGE
from synesthete.types import InputError

LONGEST = 1 << 20  # bytes of a file
MOST_VALUES = 50_000  # what an alias stands for counted wherever it stands
DEEPEST = 32  # lists and mappings inside each other
MOST_DIGITS = 19  # of a whole number, which has to fit 64 bits
TAGS = {name: f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}
# The module of each class that a recipe or a saved model may name, which is imported when it is asked for.
MODULES = {
    name: module for module, names in tab_separated(Path(__file__).with_name("classes.tsv")) for name in names.split()
}
_registered: dict[str, type] = {}

Class = TypeVar("Class", bound=type)


class Loader(yaml.SafeLoader):
    """Text, numbers, truth values, null, lists, and mappings by text; no dates, which are text here."""

    yaml_constructors = {  # noqa: RUF012 (as in the class above)
        tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag in {*TAGS.values(), None}
    }
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag in TAGS.values()]
        for first, resolvers in Resolver.yaml_implicit_resolvers.items()
    }

    def __init__(self, content: bytes | str) -> None:
        super().__init__(content)
        self.num = self.level = 0
        self.known: dict[int, tuple[int, int]] = {}  # values in a node and levels below it, once it is read

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node, and how much there is in it."""
        mark, is_alias, before = self.peek_event().start_mark, self.check_event(yaml.AliasEvent), self.num
        self.level += 1
        if self.level > DEEPEST:
            raise refused(mark, f"more than {DEEPEST} lists or mappings inside each other")
        node = super().compose_node(parent, index)
        if is_alias and id(node) not in self.known:
            raise refused(mark, "an alias inside of what it stands for")
        inside, levels = self.known.get(id(node), (1, 0))
        self.num += inside
        if self.num > MOST_VALUES:
            raise refused(mark, f"more than {MOST_VALUES:,} values")
        if self.level + levels > DEEPEST:
            raise refused(mark, f"more than {DEEPEST} lists or mappings inside each other")
        if not is_alias:
            children = [
                child
                for item in (node.value if node else ())
                for child in (item if isinstance(item, tuple) else (item,))
            ]
            below = [self.known[id(child)][1] for child in children if isinstance(child, yaml.Node)]
            self.known[id(node)] = self.num - before, 1 + max(below, default=0)
        self.level -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        """A mapping whose keys are text as they are written, each once: a class may be called 7, or no."""
        node, seen = super().compose_mapping_node(anchor), set()
        for place, (key, value) in enumerate(node.value):
            if not isinstance(key, yaml.ScalarNode):
                raise refused(key.start_mark, "a list or mapping as a key; give text")
            if key.value in seen:
                raise refused(key.start_mark, f"{key.value!r} twice; leave one out")
            seen.add(key.value)
            if key.tag != TAGS["merge"]:
                text = yaml.ScalarNode(TAGS["str"], key.value, key.start_mark, key.end_mark)
                node.value[place] = text, value
                self.known[id(text)] = 1, 1
        return node

    def construct_int(self, node: Any) -> int:
        """A whole number that others can hold, too."""
        if sum(map(str.isalnum, node.value)) > MOST_DIGITS + 3:
            raise refused(node.start_mark, f"a whole number of {len(node.value):,} digits; give {MOST_DIGITS} at most")
        return super().construct_yaml_int(node)

    def construct_text(self, node: Any) -> str:
        """Text that can be written into a file."""
        text = self.construct_scalar(node)
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise refused(node.start_mark, f"{text!r}, which is no text that a file can hold")
        return text


Loader.add_constructor(TAGS["int"], Loader.construct_int)
Loader.add_constructor(TAGS["str"], Loader.construct_text)


def refused(mark: Any, problem: str) -> yaml.MarkedYAMLError:
    """What is wrong with a document, and where."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def read_yaml(content: bytes | str) -> Any:
    """The plain values of one document."""
    try:
        return Loader(content).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InputError(f"not YAML that can be read ({where}{error.problem or error.context})") from None
    except (yaml.YAMLError, ValueError, KeyError, IndexError, OverflowError) as error:
        # of a tag over what it is not, such as !!bool maybe
        raise InputError(f"not YAML ({' '.join(str(error).split()) or type(error).__name__})") from None


def read_yaml_file(path: Path, remedy: str) -> Any:
    """The plain values of a file. remedy: what to do where it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
    except (OSError, ValueError) as error:  # a name with a zero in it
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); {remedy}") from None
    if len(content) > LONGEST:
        raise InputError(f"{path}: longer than {LONGEST:,} bytes; {remedy}")
    try:
        return read_yaml(content)
    except InputError as error:
        raise InputError(f"{path}: {error}; {remedy}") from None


def annotate(text: str, reasons: dict[str, str], head: Sequence[str]) -> str:
    """A recipe's YAML with a line of comment above each field that has a reason, and `head` before all of it."""
    left, path = dict(reasons), list[str]()
    lines = [part for line in head for part in comment(line)] + [""]
    for line in text.splitlines():
        if key := re.match(r"( *)(?:- )?(\w+):", line):
            path[len(key[1]) // 2 :] = [key[2]]
            if reason := left.pop(".".join(path), None):
                lines += comment(reason, key[1])
        lines.append(line)
    return "\n".join(lines) + "\n"


def comment(text: str, indent: str = "") -> list[str]:
    """Lines of a comment, none longer than a line of YAML."""
    start = f"{indent}# "
    return textwrap.wrap(" ".join(text.split()), 118, initial_indent=start, subsequent_indent=start) or [start.rstrip()]


def first_difference(old: Any, new: Any, where: str = "") -> str | None:
    """`denoiser.depth is 4 there, 6 here`, or None where the two are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = ((f"{where}.{key}".strip("."), old.get(key), new.get(key)) for key in {**old, **new})
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = ((f"{where}.{i}", a, b) for i, (a, b) in enumerate(zip(old, new, strict=True)))
    else:
        return None if old == new else f"{where} is {old} there, {new} here"
    return next((found for key, a, b in pairs if (found := first_difference(a, b, key))), None)


def register_class(cls: Class, name: str | None = None) -> Class:
    """Let recipes and saved models name a class from outside the package; a decorator, too.

    Whoever loads them has to import the module that registers it first. name: the class's own where None.

    Raises:
        InputError: a name that another class has, or that is none.
    """
    name = name or cls.__name__
    if not name.isidentifier():
        raise InputError(f"{name!r} cannot name a class; give letters, digits and underscores")
    if name in MODULES or _registered.get(name, cls) is not cls:
        other = f"{PACKAGE}.{MODULES[name]}" if name in MODULES else _registered[name].__module__
        raise InputError(
            f"{name!r} is a class of {other}; register {cls.__module__}.{cls.__qualname__} by another name"
        )
    _registered[name] = cls
    return cls


def find_class(name: Any) -> Callable[..., Any]:
    """The class of a short name: of this package, or registered.

    Raises:
        InputError: no such name.
    """
    if isinstance(name, str) and name in _registered:
        return _registered[name]
    if isinstance(name, str) and name in MODULES:
        return getattr(importlib.import_module(f"{PACKAGE}.{MODULES[name]}"), name)
    if isinstance(name, str) and re.fullmatch(rf"{PACKAGE}(\.\w+)+", name):
        raise InputError(
            f"class {name!r} is a module's path, which recipes and models of an earlier version hold; "
            "name the class alone, or train again"
        )
    near = difflib.get_close_matches(str(name), [*MODULES, *_registered], n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"register your own with {PACKAGE}.config.register_class"
    raise InputError(f"{name!r} is not a class of {PACKAGE} that a recipe or model may name; {hint}")


def class_name(cls: type) -> str:
    """The short name of a class.

    Raises:
        InputError: a class that is neither in the table nor registered.
    """
    for name, registered in _registered.items():
        if registered is cls:
            return name
    name = cls.__name__
    if cls.__module__ == f"{PACKAGE}.{MODULES.get(name)}":
        return name
    raise InputError(
        f"{cls.__module__}.{cls.__qualname__} has no name that could be saved; "
        f"call {PACKAGE}.config.register_class({cls.__name__}) where it is defined"
    )
