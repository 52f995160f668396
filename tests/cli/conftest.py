"""What tests of several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def run(command) -> Callable[..., tuple[int, str, list[str]]]:
    """`run("evaluate", ...)` -> (exit code, standard output, the lines that begin with our name)."""

    def call(*arguments: object) -> tuple[int, str, list[str]]:
        code, printed, said = command(*arguments)
        assert "Traceback" not in said
        return code, printed, [line for line in said.splitlines() if line.startswith("synesthete: ")]

    return call
