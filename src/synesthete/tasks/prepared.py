"""Short names for what a preparation depends on."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(settings: Any) -> str:
    """A short name for plain values."""
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=6).hexdigest()
