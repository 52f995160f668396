"""A data set encoded once, in shards that a killed run leaves usable, and read back through memory mapping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from synesthete.preparation import labelled, music, paired, spoken
from synesthete.preparation.prepared import Prepared, Progress
from synesthete.preparation.spoken import build_corpus

if TYPE_CHECKING:
    from pathlib import Path

    from synesthete.config import Recipe

__all__ = ["Prepared", "Progress", "build_corpus", "default_folder", "makes", "prepare", "speaks"]


PREPARATIONS = {"speech": spoken, "music": music, "audio-to-image": paired, "pictures": labelled}


def makes(recipe: Recipe) -> Literal["speech", "music", "audio-to-image", "pictures"]:
    """What a recipe's model makes, as its data says: of clips speech, of recordings music, of pairs what one hears."""
    if hasattr(recipe.data.target, "clips"):
        return "speech"
    if hasattr(recipe.data.target, "pairs"):
        return "audio-to-image"
    return "music" if hasattr(recipe.data.target, "recordings") else "pictures"


def speaks(recipe: Recipe) -> bool:
    """Whether a recipe's model makes speech."""
    return makes(recipe) == "speech"


def prepare(recipe: Recipe, folder: Path | None = None, progress: Progress | None = None) -> Prepared:
    """Read, fit and encode all of a recipe's data, and measure the codec on it; what is there already is kept.

    folder: for corpus and shards; a place in the cache, named by the settings, where None.
    progress(what, done, total) is called after every shard.

    Raises:
        InputError: whatever is wrong with the data, in one line.
    """
    return PREPARATIONS[makes(recipe)].prepare(recipe, folder, progress)


def default_folder(recipe: Recipe) -> Path:
    """A folder of the cache for this recipe's data."""
    return PREPARATIONS[makes(recipe)].default_folder(recipe)
