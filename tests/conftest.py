"""What many tests share: the tiny recipe and its data, made once a session, and the larger data where it is at hand."""

from __future__ import annotations

import functools
import gc
import importlib.util
import io
import json
import os
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before torch is loaded: the order of a sum, and so its last bit, depends on the number of threads. Inherited by the
# processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
import typer
from hypothesis import settings
from PIL import Image

from synesthete import tasks
from synesthete.config import document
from synesthete.diffusion.sampling import SAMPLERS
from synesthete.evaluation.metrics.metric import METRICS
from synesthete.recipes import RECIPES
from synesthete.tasks import task
from synesthete.training import assembly
from tiny import awake, debug_recipe, shorten_looks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from synesthete.config import Recipe
    from synesthete.objectives import Parts
    from synesthete.pipeline import Pipeline
    from synesthete.types import Prepared

SHARED = Path(__file__).parents[2] / "shared" / "data"
GOLDEN = Path(__file__).parent / "golden"

torch.set_num_threads(1)
settings.register_profile("suite", deadline=None, max_examples=15, derandomize=True, database=None)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    gc.disable()  # what is collected is no garbage, and looking for some takes a fifth of that time
    parser.addoption("--update-golden", action="store_true", help="write the golden values anew instead of comparing")


def pytest_collection_finish() -> None:
    gc.freeze()  # the libraries' own objects, which each collection would go through again
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the session's own, for this process and those it starts; no weights that this machine may have."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNESTHETE_CACHE", str(folder))
        patch.delenv("SYNESTHETE_WEIGHTS", raising=False)
        patch.setenv("TORCH_HOME", str(folder / "torch"))
        patch.setenv("HF_HUB_CACHE", str(folder / "hub"))
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub"))  # read when it was imported
        yield folder


@pytest.fixture(scope="session", autouse=True)
def short_looks() -> Iterator[None]:
    """No run looks at itself for long."""
    with pytest.MonkeyPatch.context() as patch:
        shorten_looks(patch.setattr)
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_checksums() -> Iterator[None]:
    """TensorBoard's check sums, which it counts byte by byte in Python, are zlib's, to its reader as well."""
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("tensorboard"):
            patch.setattr("tensorboard.compat.tensorflow_stub.pywrap_tensorflow.crc32c", zlib.crc32)
        yield


@pytest.fixture(scope="session", autouse=True)
def commands_made_once() -> Iterator[None]:
    """What typer makes of the command line's functions takes longer than many a command."""
    with pytest.MonkeyPatch.context() as patch:
        made = functools.cache(typer.main.get_command)
        patch.setattr(typer.main, "get_command", made)
        patch.setattr("typer.testing._get_command", made)
        yield


@pytest.fixture(scope="module")
def undrawn() -> Iterator[None]:
    """Figures of reports are made and not drawn, which takes most of a small evaluation; test_figures draws each."""
    pixel = io.BytesIO()
    Image.new("RGB", (1, 1)).save(pixel, "PNG")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda _, file, **__: file.write(pixel.getvalue()))
        yield


@pytest.fixture(scope="module")
def own_additions() -> Iterator[None]:
    """What a module registers from outside the package is forgotten after it, so that tables are as they ship."""
    tables: list[Any] = [RECIPES, SAMPLERS, METRICS, document._registered, task._TASKS]
    before = [set(table) for table in tables]
    yield
    for table, names in zip(tables, before, strict=True):
        for name in set(table) - names - set(task.VERBS):  # tasks of the package are registered when first asked for
            del table[name]
    sys.modules.pop("examples.fifth_system", None)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`command("sample", ...)` -> (exit code, standard output, standard error) of `synesthete`."""
    from synesthete.cli.app import main

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["synesthete", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        code = stopped.value.code
        return code if isinstance(code, int) else 0, *capsys.readouterr()

    return call


@pytest.fixture
def kept_by_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`kept_by_the_hub(name)`: the Hub's client has a folder for it, so that it is asked what it has of it."""

    def keep(name: str, kind: str = "model") -> None:
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        (tmp_path / "hub" / f"{kind}s--{name.replace('/', '--')}").mkdir(parents=True)

    return keep


@pytest.fixture
def recipe() -> Recipe:
    """The debug twin in float32, to be changed at will."""
    return debug_recipe()


@pytest.fixture(scope="session")
def prepared(cache: Path) -> Prepared:
    """The debug twin's data, in its place in the cache; to be read only."""
    pytest.importorskip("espeakng_loader", reason="the speech extra is not installed")
    return tasks.prepare(debug_recipe())


@pytest.fixture
def parts(recipe: Recipe, prepared: Prepared) -> Parts:
    """The debug twin's parts; the output layer, zero at the start, is given weights so that it says something."""
    return awake(assembly.make_parts(recipe, prepared))


@pytest.fixture
def pipeline(recipe: Recipe, parts: Parts) -> Pipeline:
    """The parts as a pipeline of four steps."""
    recipe.sampling.num_inference_steps = 4
    return assembly.make_pipeline(recipe, parts, recipe.data.class_names)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The larger data sets that lie beside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not on this machine")
    return SHARED


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`golden(name, values)`: compares numbers with those kept, or keeps them with --update-golden."""

    def compare(name: str, values: list[Any], rel: float = 1e-3, abs: float = 1e-4) -> None:
        path = GOLDEN / f"{name}.json"
        if request.config.getoption("--update-golden"):
            path.write_text(json.dumps([round(value, 6) for value in values]) + "\n")
        assert values == pytest.approx(json.loads(path.read_text()), rel=rel, abs=abs)

    return compare
