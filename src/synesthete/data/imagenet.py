"""ImageNet, as it is published and as it is kept: folders of WordNet ids, or the Hub's Parquet files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from synesthete import hub
from synesthete.data.files import list_folders
from synesthete.data.hub_pictures import list_rows
from synesthete.data.picture import list_pictures
from synesthete.data.pictures import Listed, PictureSource, divide, in_folder
from synesthete.data.speech.phrases import PHRASES
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from synesthete.data.files import Split
    from synesthete.data.pictures import Pictures

NAMES = {phrase.wnid: phrase.name for phrase in PHRASES}
FIRST_TEN = tuple(NAMES)
SPLIT_NAMES = {"train": "train", "val": "test"}
WNID = re.compile(r"n\d{8}")
MAPPING = "LOC_synset_mapping.txt"
ROOTS = (".", "ILSVRC/Data/CLS-LOC")
FIELD = "data.sources.imagenet.path"


class ImageNet(PictureSource):
    """ImageNet (Deng et al. 2009): `train/<wnid>/*.JPEG`, or the Parquet files of a Hub data set.

    A class goes by its name: of `names`, of the ten that this package has phrases for, of the `LOC_synset_mapping.txt`
    beside the folders (the first of its synonyms), or else by its id. Classes of one name are one class. The test split
    is `val/<wnid>`, or the Hub's validation split, where there is one; otherwise it is taken out of the training one.

    Args:
        path: the folder that holds `train`, or its parent as Kaggle ships it, or Parquet files; None asks the Hub.
        classes: those to read, by id or name; None reads all. The first ten of a thousand by default.
        names: id -> name, where the names above will not do.
        repository: the Hub data set, about 150 GB; downloaded as a whole, since every file holds every class.
        num_test: pictures held out where there is no validation split; None holds out a tenth.
    """

    def __init__(
        self,
        path: str | None = None,
        classes: tuple[str, ...] | None = FIRST_TEN,
        names: dict[str, str] | None = None,
        repository: str = "ILSVRC/imagenet-1k",
        num_test: int | None = None,
    ) -> None:
        self.path, self.classes, self.names = path, classes, names or {}
        self.repository, self.num_test = repository, num_test

    def pictures(self, split: Split) -> Pictures:
        """The split's pictures.

        Raises:
            InputError: no such folder, none of that layout, a class that is not in it, or a gated data set.
        """
        if self.path is not None and not Path(self.path).is_dir():
            raise InputError(f"{self.path}: no such folder; give the one that holds ImageNet's train/<wnid>")
        patterns = ("data/train-*.parquet", "data/validation-*.parquet")
        folder = Path(self.path) if self.path else hub.find_weights(self.repository, patterns, field=FIELD)
        parquet = sorted(folder.rglob("*.parquet"))
        listed = self._from_parquet(parquet) if parquet else self._from_folders(folder)
        if len({entry.split for entry in listed}) < 2:
            listed = [entry._replace(split=None) for entry in listed]
        return divide(listed, self.num_test, split)

    def _from_folders(self, folder: Path) -> list[Listed]:
        root = next((folder / root for root in ROOTS if (folder / root / "train").is_dir()), None)
        found = {entry.name for entry in list_folders(root / "train") if WNID.fullmatch(entry.name)} if root else set()
        if root is None or not found:
            raise InputError(f"{folder}: no train/<wnid> in it, such as train/n01440764; give ImageNet's own folder")
        labels = self._chosen(found, read_mapping(folder))
        listed = []
        for name, split in SPLIT_NAMES.items():
            for wnid, label in labels.items():
                if (root / name / wnid).is_dir():
                    files = list_pictures(root / name / wnid)
                    listed += [in_folder(root, file, label, split) for file in files]
        return listed

    def _from_parquet(self, files: Iterable[Path]) -> list[Listed]:
        rows: dict[str, list[Listed]] = {}
        for file in files:
            split = next((own for word, own in SPLIT_NAMES.items() if file.name.startswith(word)), None)
            for row in list_rows(file) if split else ():
                if ids := WNID.findall(row.place):
                    listed = rows.setdefault(ids[-1], [])
                    if self._wants(ids[-1], {}):  # the others, a million, are not kept
                        listed.append(Listed(row, "", row.place, split))
        labels = self._chosen(set(rows), {})
        return [entry._replace(label=label) for wnid, label in labels.items() for entry in rows[wnid]]

    def _chosen(self, found: set[str], mapping: dict[str, str]) -> dict[str, str]:
        """The ids to read, in order, with the names that they go by."""
        labels = {wnid: self._label(wnid, mapping) for wnid in sorted(found)}
        for name in self.classes or ():
            if name not in labels and name not in labels.values():
                raise InputError(
                    f"no pictures of class {name!r} among {len(found)} of ImageNet; give classes by id (n01440764) or "
                    "name, and names for ids that this package has none for"
                )
        return {wnid: label for wnid, label in labels.items() if self._wants(wnid, mapping)}

    def _label(self, wnid: str, mapping: dict[str, str]) -> str:
        return self.names.get(wnid) or NAMES.get(wnid) or mapping.get(wnid, wnid)

    def _wants(self, wnid: str, mapping: dict[str, str]) -> bool:
        return self.classes is None or wnid in self.classes or self._label(wnid, mapping) in self.classes


def read_mapping(folder: Path) -> dict[str, str]:
    """The first synonym of each id in `LOC_synset_mapping.txt` (`n01440764 tench, Tinca tinca`), if it is there."""
    path = folder / MAPPING
    if not path.is_file():
        return {}
    pairs = (line.partition(" ")[::2] for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {wnid: names.partition(",")[0].strip() for wnid, names in pairs if WNID.fullmatch(wnid) and names.strip()}
