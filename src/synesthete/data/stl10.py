"""STL-10 from the folder of binary files that it is published as."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from synesthete.data.pictures import Pictures, split_indices
from synesthete.data.stl10_files import FOLD_FILE, UNLABELED, WHERE, map_pictures, read_fold, read_part
from synesthete.types import InputError

if TYPE_CHECKING:
    from synesthete.data.pictures import Split


class Stl10:
    """STL-10 (Coates, Ng & Lee 2011): 5,000 training and 8,000 test pictures of ten classes, 96x96, 100,000 of none.

    Read from `train_X.bin`, `train_y.bin`, `test_X.bin` and `test_y.bin`, and where asked for `unlabeled_X.bin` and
    `fold_indices.txt`; files of the same layout with any number of pictures and classes are read as well. Classes go by
    `class_names.txt`, or by the published names where it is missing. Files are mapped, pictures decoded one by one.

    Args:
        path: the folder `stl10_binary`, or its parent.
        fold: train on one of the ten published folds of 1,000 training pictures, 0 to 9; None takes all.
        num_test: hold out so many of the test pictures and train on the others as well; None holds out all of them.
        unlabeled: in place of the classes, the pictures without one, named "unlabeled"; a tenth of them is the test
            split, or `num_test`.
    """

    def __init__(
        self,
        path: str | None = None,
        fold: int | None = None,
        num_test: int | None = None,
        unlabeled: bool = False,
    ) -> None:
        self.path, self.fold, self.num_test, self.unlabeled = path, fold, num_test, unlabeled

    def pictures(self, split: Split) -> Pictures:
        """The split's pictures, in the order of the files.

        Raises:
            InputError: no folder, a missing file, one of another size, labels that no class has, an unknown fold, or
                more pictures to hold out than there are.
        """
        folder = find_folder(self.path)
        if self.unlabeled:
            if self.fold is not None:
                raise InputError("STL-10's folds are of pictures with a class; leave out either fold or unlabeled")
            stored = map_pictures(folder / f"{UNLABELED}_X.bin")
            num_test = len(stored) // 10 if self.num_test is None else self._held_out(len(stored))
            chosen = split_indices(len(stored), num_test, split)
            return Pictures([stored[i] for i in chosen], [UNLABELED] * len(chosen))
        if split == "train":
            found = read_part(folder, "train")
            if self.fold is not None:
                found = found.take(read_fold(folder / FOLD_FILE, self.fold, len(found)))
            if self.num_test is None:
                return found
            found.extend(self._tests(folder, split))
            return found
        return self._tests(folder, split)

    def _tests(self, folder: Path, split: Split) -> Pictures:
        """Those of the test pictures that belong to a split."""
        found = read_part(folder, "test")
        if self.num_test is None:
            return found
        return found.take(split_indices(len(found), self._held_out(len(found)), split))

    def _held_out(self, num: int) -> int:
        num_test = self.num_test or 0
        if not 0 <= num_test <= num:
            raise InputError(f"num_test {num_test}: STL-10's files hold {num} pictures to hold out; give 0 to {num}")
        return num_test


def find_folder(path: str | None) -> Path:
    """The folder that holds the binary files.

    Raises:
        InputError: none given, or no such folder.
    """
    if path is None:
        raise InputError(f"STL-10: no folder given; unpack {WHERE} (2.6 GB) and give the path of its stl10_binary")
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; unpack {WHERE} (2.6 GB) there")
    return folder / "stl10_binary" if (folder / "stl10_binary").is_dir() else folder
