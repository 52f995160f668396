"""Where weights and caches are: models that ship with the package, folders, and the Hugging Face Hub."""

from __future__ import annotations

import os
from pathlib import Path

from synesthete.types import InputError

SHIPPED = Path(__file__).parent / "models"
MODEL_INDEX = "model_index.json"


def cache_folder() -> Path:
    """Where corpora, prepared data and judges are kept: SYNESTHETE_CACHE, or ~/.cache/synesthete."""
    return Path(os.environ.get("SYNESTHETE_CACHE", "~/.cache/synesthete")).expanduser()


def shipped_models() -> list[str]:
    """Names of the models that came with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{MODEL_INDEX}"))


def find_model(name: str) -> Path:
    """The folder of a pipeline: a run folder, a model folder, a shipped model's name, or a Hub id (downloaded).

    Raises:
        InputError: none of these, or the Hub cannot be reached.
    """
    path = Path(name).expanduser()
    for folder in (path, path / "model", SHIPPED / name):
        if (folder / MODEL_INDEX).is_file():
            return folder
    if (path / "recipe.yaml").is_file():
        raise InputError(
            f"{name}: a run without a finished model; go on with `synesthete train {path / 'recipe.yaml'} --out {path}`"
        )
    if path.exists():
        raise InputError(f"{name}: no {MODEL_INDEX} in it; give a run folder, a model folder, or one of {_known()}")
    if name.count("/") == 1 and not Path(name.split("/")[0]).is_dir() and not name.startswith((".", "/", "~")):
        return download(name)
    raise InputError(
        f"{name}: no such model; give a run folder, a model folder, a Hub id (owner/name) or one of {_known()}"
    )


def download(repository: str, revision: str | None = None) -> Path:
    """A snapshot of a Hub repository: safetensors and json alone.

    Raises:
        InputError: no such repository, no permission, or no connection.
    """
    # Imported here: most commands never download.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    local = Path(os.environ.get("SYNESTHETE_WEIGHTS", cache_folder() / "weights")).expanduser() / repository
    if (local / MODEL_INDEX).is_file():
        return local
    try:
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=["*.safetensors", "*.json", "*.yaml"])
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = "the Hub refused it" if isinstance(error, HfHubHTTPError) else "the Hub cannot be reached"
        raise InputError(
            f"{repository} is not on this machine and {reason}; put its folder at {local} or give a folder's path"
        ) from None


def _known() -> str:
    return ", ".join(shipped_models()) or "the shipped models (none in this installation)"
