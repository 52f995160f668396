"""What can be asked of the systems, in words: one line for each field of a request and each sampling setting."""

from __future__ import annotations

from pathlib import Path

from synesthete.io import tab_separated

HELP: dict[str, str] = dict(tab_separated(Path(__file__).with_name("help.tsv")))
