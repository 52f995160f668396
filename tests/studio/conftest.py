"""A studio that is up, for tests in an environment that has gradio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from synesthete.studio.server import start_studio

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str, Path]]:
    """Its page, its address, and the folder of what it makes."""
    pytest.importorskip("gradio", reason="needs gradio; pip install 'synesthete[studio]'")
    out = tmp_path_factory.mktemp("studio")
    page, address = start_studio(out / "made", runs=out / "runs")
    yield page, address, out
    page.close()
    from synesthete.studio.train_tab import Trainings

    left = Trainings(out / "runs")
    for name in left.names():
        left.stop(name)
