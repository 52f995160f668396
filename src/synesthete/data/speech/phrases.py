"""What is said for a class: the phrases of ten ImageNet classes, one's own from a file, or the class's name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator

from synesthete.config.document import read_yaml_file
from synesthete.types import InputError


class Phrase(NamedTuple):
    """A class by its WordNet id, which names its folder in ImageNet, and by name, and what is said for it."""

    wnid: str
    name: str
    text: str


# The first ten classes of ImageNet (Deng et al. 2009).
PHRASES = (
    Phrase("n01440764", "tench", "A tench, a freshwater fish"),
    Phrase("n01443537", "goldfish", "A goldfish, bright orange fish"),
    Phrase("n01484850", "great white shark", "A great white shark, ocean predator"),
    Phrase("n01491361", "tiger shark", "A tiger shark with dark stripes"),
    Phrase("n01494475", "hammerhead", "A hammerhead shark with unique head"),
    Phrase("n01496331", "electric ray", "An electric ray with electric shocks"),
    Phrase("n01498041", "stingray", "A stingray gliding through water"),
    Phrase("n01514668", "rooster", "A rooster with colorful feathers"),
    Phrase("n01514859", "hen", "A hen pecking at seeds"),
    Phrase("n01518878", "ostrich", "An ostrich, the largest bird"),
)
TABLE = "imagenet-10"  # what data.words calls the phrases above


def phrases_for(class_names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The phrase of each class that has one here, by its id or its name (n01440764, tench, 000_tench, tiger_shark)."""
    known = {key: phrase.text for phrase in PHRASES for key in (phrase.wnid, phrase.name)}
    return {name: (known[said],) for name in class_names if (said := spoken_name(name)) in known}


def spoken_name(class_name: str) -> str:
    """A class's name as one says it: `003_tiger_shark` is `tiger shark`; a name without underscores stays as it is."""
    return re.sub(r"^\d+_(?=\D)", "", class_name).replace("_", " ").strip() or class_name


def read_words(words: Any) -> Any:
    """What is said, by class: a YAML or JSON file that holds it, given by its path, is read; the rest is returned."""
    if not isinstance(words, str | Path) or words == TABLE:
        return words
    remedy = "give a YAML or JSON file such as cat: [a cat, a cat asleep]"
    found = read_yaml_file(Path(words).expanduser(), remedy)  # JSON is YAML
    if not isinstance(found, dict):
        raise InputError(f"{words}: no table of classes in it; write a line a class, such as cat: a cat, asleep")
    # A number is said as it is written.
    return {
        str(name): [str(one) for one in said] if isinstance(said, list) else str(said) for name, said in found.items()
    }


def phrases_by_class(class_names: Iterable[str], words: Mapping[str, Any] | str | None) -> dict[str, tuple[str, ...]]:
    """Everything that is said for each class: by `words`, or else its name.

    words: class -> a phrase or several, those of other classes being left out; `imagenet-10` for the table of this
    module; None for names alone.
    """
    names = tuple(class_names)
    given: Mapping[str, Any] = phrases_for(names) if words == TABLE else words if isinstance(words, dict) else {}
    several = {name: given.get(name, spoken_name(name)) for name in names}
    return {name: (said,) if isinstance(said, str) else tuple(said) for name, said in several.items()}


# A path is read when a recipe's field is set, so that the recipe keeps the words and not where they lay.
Words = Annotated[dict[str, str | tuple[str, ...]] | str | None, BeforeValidator(read_words)]
