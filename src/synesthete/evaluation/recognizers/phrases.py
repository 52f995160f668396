"""What is said for each class, one phrase or several, in the letters that a recogniser writes."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from rapidfuzz.distance import Levenshtein

if TYPE_CHECKING:
    from collections.abc import Sequence

# A transcript further than this from every phrase, in edits a letter, is none of them.
FARTHEST = 0.5
SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def phrases_of(words: Sequence[str | Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The phrases of each class as `normalise` writes them; a class may have one, as a string, or several."""
    several = ([own] if isinstance(own, str) else own for own in words)
    return tuple(tuple(dict.fromkeys(map(normalise, own))) for own in several)


# Whisper's own normaliser, in transformers, writes numbers as digits: of one letter each, edits a letter tell nothing.
def normalise(phrase: str) -> str:
    """Small letters, single spaces, no accents or punctuation, numbers below a hundred in words.

    `"A goldfish, bright orange fish!"` is `"a goldfish bright orange fish"`, `"7."` is `"seven"`.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", phrase.lower()) if not unicodedata.combining(c))
    plain = re.sub(r"[,.!?:;\"()\[\]…“”]+", " ", plain.replace("\u2019", "'"))
    return re.sub(r"\b\d{1,2}\b", lambda found: _number(int(found[0])), " ".join(plain.split()))


def _number(value: int) -> str:
    if value < len(SMALL):
        return SMALL[value]
    tens, ones = TENS[value // 10 - 2], value % 10
    return f"{tens} {SMALL[ones]}" if ones else tens


def nearest_class(transcript: str, phrases: Sequence[Sequence[str]], farthest: float = FARTHEST) -> int:
    """The class whose phrase has the least edits a letter (Levenshtein 1966) to what was heard.

    -1 where all are further than `farthest`, or where two classes are equally near: then it cannot be told which was
    meant. phrases: as `phrases_of` makes them.
    """
    heard = normalise(transcript)
    distances = [min(Levenshtein.normalized_distance(heard, one) for one in own) for own in phrases]
    least = min(distances)
    return distances.index(least) if least <= farthest and distances.count(least) == 1 else -1
