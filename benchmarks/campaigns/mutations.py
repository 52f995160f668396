"""Inputs changed at random: bytes, and plain values as YAML and JSON hold them."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

ODD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 10**9, 10**30, -(2**63), 1e308, 1e-308, math.nan, math.inf, 0.5),
    *(
        "",
        " ",
        "x" * 1500,
        "\0",
        "../../../etc/passwd",
        "/etc/passwd",
        "\x1b[2J",
        "<script>",
        "ß犬",
        "no",
        "1e3",
        "nan",
    ),
    *([], {}, [[[[[]]]]], [1, 2, 3], [None], {"a": 1}, {"class": "Mnist"}, {"class": "UNet"}, {"class": "os.system"}),
    *({"class": None}, {"self": 1, "target": 2}, "9999-99-99", "2026-01-01", [10**9, 10**9], list(range(200))),
)
BYTES = (b"", b"\0" * 16, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"%PDF", b"\n", b"[" * 2000, b"'", b"&a *a")


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The bytes with one to four of them, or of their parts, changed, cut out, doubled or put in."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        first = chance.randrange(len(changed) + 1)
        last = min(len(changed), first + chance.choice((1, 1, 2, 4, 16, 256)))
        match chance.randrange(6):
            case 0:
                changed[first:last] = chance.randbytes(last - first)
            case 1:
                del changed[first:last]
            case 2:
                changed[first:first] = changed[first:last]
            case 3:
                changed[first:last] = chance.choice(BYTES)
            case 4:
                del changed[first:]
            case _ if first < len(changed):
                changed[first] ^= 1 << chance.randrange(8)
    return bytes(changed)


def altered(values: Any, chance: random.Random) -> Any:
    """Plain values with one to three of them changed, left out, doubled or put elsewhere."""
    values = copy.deepcopy(values)
    for _ in range(chance.randint(1, 3)):
        holders = [holder for holder in inside(values) if holder]
        if not holders:
            return chance.choice(ODD)
        holder = chance.choice(holders)
        key = chance.choice(list(holder)) if isinstance(holder, dict) else chance.randrange(len(holder))
        match chance.randrange(5):
            case 0 | 1:
                holder[key] = copy.deepcopy(chance.choice(ODD))
            case 2:
                del holder[key]
            case 3:
                other = chance.choice(holders)
                holder[key] = copy.deepcopy(chance.choice([*other.values()] if isinstance(other, dict) else other))
            case _ if isinstance(holder, dict):
                holder[str(chance.choice(ODD))] = copy.deepcopy(chance.choice(ODD))
            case _:
                holder.insert(key, copy.deepcopy(holder[key]))
    return values


def inside(values: Any) -> list[Any]:
    """Every list and mapping in plain values."""
    if not isinstance(values, list | dict):
        return []
    children = values.values() if isinstance(values, dict) else values
    return [values, *(found for child in children for found in inside(child))]
