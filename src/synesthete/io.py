"""Files that are whole or not there, names for contents, caches on disk, and folders that one process has to itself."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import logging
import os
import platform
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from filelock import FileLock, SoftFileLock, Timeout
from safetensors import SafetensorError

from synesthete.logs import DETAIL
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["load_or_compute"]

LOCK = ".lock"
PARTIAL = ".partial"  # the suffix, after a dot at the beginning, of what is being written
STALE_SECONDS = 3600  # without a change, after which what a process of another machine was writing is removed
ROWS = 256  # of a tensor that are in memory at a time while it is named
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux' renameat2

logger = logging.getLogger(__name__)
# What this process holds, by thread: whoever holds a folder may ask for it again.
held: set[tuple[Path, int]] = set()
# The names of what this process is writing.
writing: set[str] = set()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write a file to, which takes the place of `path` when the context ends without an error.

    Missing folders are made; after an error nothing is left and an older file stays. Two processes may write one file.
    It is in a folder of its own beside `path`, for what libraries write beside a file. The folder's name cannot be
    foreseen, and nothing is written through a link: one in the file's place is replaced.

    Raises:
        InputError: a full disk, or a folder that cannot be written.
    """
    with _making(path) as partial:
        yield partial / path.name
        _let_read(partial / path.name, partial.stat().st_mode & 0o666)
        os.replace(partial / path.name, path)


@contextlib.contextmanager
def _making(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, which is gone when the context ends; what cannot be written is said in one line."""
    partial = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        yield partial
    except (OSError, SafetensorError) as error:
        raise cannot_write(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            _remove(partial)
        writing.discard(partial.name)


def append_to(path: Path) -> TextIO:
    """A text file opened at its end, made where it is missing; a link in its place is not followed.

    Raises:
        OSError: a link, or a file that cannot be written.
    """
    flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The plain values of a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: damaged, or nested deeper than anything is.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("lists inside each other without end") from None


def tab_separated(path: Path) -> list[list[str]]:
    """The rows of tab-separated values that this package brings, without those that begin with #."""
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line[:1] not in ("", "#")]


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file whole, or not at all, as `replacing`; text as UTF-8."""
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write into a new folder beside `folder`, then put it in its place: it is whole, or it is not there.

    A folder that was there is replaced in one step where the system can exchange two names (Linux); elsewhere a kill
    between two renames can leave none, which `recover_folder` mends.

    Raises:
        InputError: a full disk, or a place that cannot be written; what was there before is kept.
    """
    with _making(folder) as partial:
        remove_leftovers(folder.parent, deep=False)
        fill(partial)
        for path in partial.rglob("*"):
            if path.is_file():
                _let_read(path, partial.stat().st_mode & 0o666)
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        _put(partial, folder)  # after an exchange what was there before is in its place


def recover_folder(folder: Path) -> None:
    """Finish what a kill between the two renames of `write_folder` left: the old folder goes back."""
    old = _old(folder)
    if old.is_dir() and not folder.exists():
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            os.replace(old, folder)


def remove_partial(folder: Path) -> None:
    """Remove what a killed process was writing below a folder; only for who has the folder locked."""
    for path in [*folder.rglob(f".*{PARTIAL}")]:
        _remove(path)


def cannot_write(path: Path, error: Exception) -> InputError:
    """What to say, in one line, of a file or folder that could not be written."""
    denied = getattr(error, "errno", None) not in (None, errno.ENOSPC, errno.EDQUOT)
    remedy = "choose another folder" if denied else "free some space"
    reason = getattr(error, "strerror", None) or error
    return InputError(f"{path}: cannot be written ({reason}); {remedy} and run again")


def _let_read(path: Path, mode: int) -> None:
    """Give a file the rights that files have here: safetensors writes for the owner alone."""
    with contextlib.suppress(OSError):  # a file system that knows no rights
        path.chmod(mode)


def _beside(path: Path) -> Path:
    """A name that cannot be foreseen, and tells whose it is."""
    short = os.fsdecode(os.fsencode(path.name)[:100])
    partial = path.with_name(f".{short}.{secrets.token_hex(8)}.{machine()}-{os.getpid()}{PARTIAL}")
    writing.add(partial.name)
    return partial


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def remove_leftovers(folder: Path, *, deep: bool = True) -> None:
    """Remove what processes that are gone were writing in a folder. deep: and below it."""
    for parent, folders, files in os.walk(folder):
        partials = {name for name in (*folders, *files) if name.startswith(".") and name.endswith(PARTIAL)}
        for name in partials:
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                if _is_left(Path(parent, name)):
                    _remove(Path(parent, name))
        folders[:] = [name for name in folders if deep and name not in partials]


def _is_left(partial: Path) -> bool:
    """Whether whoever was writing it is gone."""
    whose = re.search(r"\.([0-9a-f]+)-([0-9]{1,9})$", partial.name.removesuffix(PARTIAL))
    if whose is None or whose[1] != machine() or os.name != "posix":
        return time.time() - max(path.lstat().st_mtime for path in (partial, *partial.rglob("*"))) > STALE_SECONDS
    if int(whose[2]) == os.getpid():  # this process, or one of before the machine counted anew
        return partial.name not in writing
    try:
        os.kill(int(whose[2]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's
        return False
    return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _put(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        if _exchange(partial, folder):
            return
        old = _old(folder)
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
        try:
            os.replace(partial, folder)
        except OSError:
            os.replace(old, folder)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step; False where the system or the file system cannot."""
    try:
        call = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return call(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


def is_address(place: Any) -> bool:
    """Whether a place of data is an address such as `s3://bucket/folder`, and no folder."""
    return isinstance(place, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", place) is not None


def digest(*values: Any, size: int = 6) -> str:
    """A name for values by content, `size` bytes in hexadecimal: another whenever one of them is another.

    A value is bytes; a `Path`, which stands for the content of its file; a tensor, an array or `Rows`, by dtype, shape
    and content; a module, by its state dictionary; or anything that JSON holds (what is in it otherwise, by `str`).
    """
    total = blake2b(digest_size=size)
    for number, value in enumerate(values):
        if number:
            total.update(b"\0")
        for content in _contents(value):
            total.update(content)
    return total.hexdigest()


def _contents(value: Any) -> Iterator[Any]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, Path):
        with value.open("rb") as file:
            while content := file.read(1 << 20):
                yield content
    elif value is None or isinstance(value, str | int | float | list | tuple | dict):
        yield json.dumps(value, sort_keys=True, default=str).encode()
    else:
        import torch  # which plain values do without

        if isinstance(value, torch.nn.Module):
            for name, tensor in value.state_dict().items():
                yield name.encode()
                yield from _contents(tensor)
            return
        yield f"{value.dtype} {tuple(value.shape)}".encode()
        rows = value if value.shape else value[None]
        for first in range(0, len(rows), ROWS):
            part = rows[first : first + ROWS]
            if isinstance(part, torch.Tensor):
                yield part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
            else:
                yield part.tobytes()


def load_or_compute(path: Path, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors in a file, memory-mapped; computed and written where it is missing or damaged.

    Raises:
        InputError: a full disk, or a folder that cannot be written.
    """
    from safetensors.torch import load_file, save_file  # imports torch, which locks do without

    def read() -> dict[str, Tensor]:
        tensors = load_file(path)
        for name, tensor in tensors.items():
            tensor.__dict__["file"] = (path, name)  # by which it is told to another machine
        return tensors

    if path.is_file():
        try:
            return read()
        except (SafetensorError, OSError):
            logger.info("%s: damaged, made again", path)
    tensors = {name: value.contiguous() for name, value in compute().items()}
    remove_leftovers(path.parent, deep=False)
    with replacing(path) as partial:
        save_file(tensors, partial)
    logger.log(DETAIL, "%s: written", path)
    return read()


def read_tensor(path: Path, name: str, first: int = 0, num: int | None = None) -> Tensor:
    """A tensor of a file, memory-mapped, or `num` of its rows."""
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            tensor = file.get_tensor(name)
    except (SafetensorError, OSError):
        raise InputError(f"{path}: cannot be read here; give a folder that all machines share") from None
    return tensor if num is None else tensor[first : first + num]


@contextlib.contextmanager
def locked(folder: Path, wait: bool = False, deep: bool = True) -> Iterator[None]:
    """Alone in a folder for as long as the context lasts; the folder is made where it is missing.

    The lock is the operating system's, on the file `.lock`: one that a killed process left is free at once. What dead
    processes were writing is removed first, and what workers that died meanwhile were, last. The file tells the process
    and a hash of the machine's name, for the message. wait: say so and wait, instead of refusing. deep: whether
    leftovers are removed below the folders in it, too.
    """
    key = (folder.resolve(), threading.get_ident())
    if key in held:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another with --out") from None
    lock = FileLock(folder / LOCK, mode=0o666)
    taken = take(lock, folder, wait)
    held.add(key)
    try:
        if taken:
            remove_leftovers(folder, deep=deep)
        yield
    finally:
        held.discard(key)
        if taken:
            remove_leftovers(folder, deep=deep)  # of workers that died meanwhile
            if not wait and not isinstance(lock, SoftFileLock):
                with contextlib.suppress(OSError):  # Windows does not let go of an open file
                    (folder / LOCK).unlink()
            lock.release()


def take(lock: FileLock, folder: Path, wait: bool) -> bool:
    """Take the lock; False where the file system knows none, which is said and no reason to stop."""
    if (folder / LOCK).is_symlink():
        raise InputError(f"{folder / LOCK}: a link, which would be written through; remove it")
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise InputError(f"{folder}: {owner(folder)} is writing to it; wait for it or choose another") from None
            logger.warning("%s: %s is preparing it; waiting", folder, owner(folder))
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        logger.warning("%s: cannot be locked (%s); let nothing else write there", folder, error)
        return False
    if not isinstance(lock, SoftFileLock):  # which keeps notes of its own in the file
        with contextlib.suppress(OSError):
            (folder / LOCK).write_text(json.dumps({"process": os.getpid(), "machine": machine()}))
    return True


def owner(folder: Path) -> str:
    """Who holds a folder, as far as its lock tells."""
    try:
        notes = read_json(folder / LOCK)
        return f"process {notes['process']}" + ("" if notes["machine"] == machine() else " of another machine")
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def machine() -> str:
    """The machine, without its name."""
    return digest(platform.node().encode(), size=6)
