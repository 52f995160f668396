"""Shards at an address: fetched when they are needed, checked, kept up to a size, and read by memory map."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from synesthete import hub
from synesthete.io import digest, write_file
from synesthete.types import InputError, first_line

SHARD_BYTES = 2**23  # of a shard: enough for an object store, and little enough for a window of them to be mapped
WINDOW = 16  # shards whose samples are mixed, and which are in memory with as many that come next
MAPPED = WINDOW + 4  # shards that are open at once where samples are read in another order
INDEX = "index.json"  # the one file whose content its name does not tell
TRIES, SECONDS = 3, 60.0  # to fetch a file, and for each try
VARIABLE, GIGABYTES = "SYNESTHETE_STREAM_GB", 16.0  # of what is kept of all addresses

logger = logging.getLogger(__name__)


class Shard(NamedTuple):
    """A file of rows: its name, which has a digest of its content, the rows in it and its bytes."""

    name: str
    num_rows: int
    num_bytes: int


def content_name(content: bytes, stem: str) -> str:
    """How a file is called, so that what was fetched can be checked."""
    return f"{stem}-{digest(content, size=12)}.safetensors"


class Store:
    """A folder at an fsspec address. What is fetched is kept on this machine; of all addresses, the newest so used."""

    def __init__(self, address: str) -> None:
        from fsspec.core import url_to_fs

        self.address = address.rstrip("/")
        try:
            self.files, self.root = url_to_fs(self.address)
        except ImportError as error:  # names the package
            raise InputError(f"{address}: {error}") from None
        except Exception as error:  # every kind of address has its own
            raise InputError(f"{address}: no address that can be read ({first_line(error)})") from None
        self.folder = hub.cache_folder() / "streamed"
        self.is_local = "file" in self.files.protocol  # a name, or several

    def read(self, name: str) -> bytes:
        """A whole file."""
        why = ""
        for _ in range(TRIES):
            if why:
                logger.warning("%s/%s: %s; fetched again", self.address, name, why)
            content, why = self._try(name)
            if not why:
                return content
        raise InputError(f"{self.address}/{name}: {why}, {TRIES} times; prepare it again, or try later")

    def _try(self, name: str) -> tuple[bytes, str]:
        """What is fetched, and what is wrong with it; in a thread, since not every kind of address ends by itself."""
        try:
            content = in_background(self.files.cat_file, f"{self.root}/{name}").result(SECONDS)
        except TimeoutError:
            return b"", f"no answer within {SECONDS:g} s"
        except FileNotFoundError:
            raise InputError(f"{self.address}/{name}: not there; give the address of `prepare --out ADDRESS`") from None
        except Exception as error:  # every kind of address has its own
            return b"", f"cannot be read ({first_line(error)})"
        if name not in (INDEX, content_name(content, name.rpartition("-")[0])):
            return b"", f"cut short or changed ({len(content)} bytes)"
        return content, ""

    def path(self, shard: Shard) -> Path:
        """Where a shard lies on this machine; fetched where it is missing or of another length."""
        if self.is_local:
            path = Path(self.root) / shard.name
            if path.is_file() and path.stat().st_size == shard.num_bytes:
                return path
            self.read(shard.name)  # says what is wrong with it
            raise InputError(f"{path}: {path.stat().st_size} of {shard.num_bytes} bytes; prepare it again")
        path = self.folder / shard.name
        try:
            if path.stat().st_size == shard.num_bytes:
                os.utime(path)
                return path
            logger.warning("%s: cut short; fetched again", path)
        except OSError:  # never fetched, or removed to make room
            pass
        content = self.read(shard.name)
        if len(content) != shard.num_bytes:  # or it would be fetched for ever
            raise InputError(
                f"{self.address}/{shard.name}: {len(content)} bytes, and {INDEX} says {shard.num_bytes}; prepare again"
            )
        write_file(path, content)
        make_room(self.folder, path)
        return path

    def write(self, name: str, content: bytes) -> None:
        """Put a file there; one that is there already under a name with a digest is kept."""
        place = f"{self.root}/{name}"
        try:
            if name == INDEX or not self.files.exists(place) or self.files.size(place) != len(content):
                self.files.makedirs(self.root, exist_ok=True)
                self.files.pipe_file(place, content)
        except Exception as error:  # every kind of address has its own
            raise InputError(f"{self.address}/{name}: cannot be written ({first_line(error)})") from None


def make_room(folder: Path, kept: Path) -> None:
    """Remove the files that were not used for the longest time, until the others are not too many; never `kept`."""
    given = os.environ.get(VARIABLE) or GIGABYTES
    try:
        left = float(given) * 1e9
    except ValueError:
        raise InputError(f"{VARIABLE} is {given!r}; give a number of gigabytes") from None
    found = []
    for path in folder.glob("*.safetensors"):
        with contextlib.suppress(OSError):  # removed by another process
            found.append((path != kept, -path.stat().st_mtime_ns, path.stat().st_size, path))
    for _, _, size, path in sorted(found):
        left -= size
        if left < 0 and path != kept:
            path.unlink(missing_ok=True)  # whoever has it mapped keeps it until then


class StreamedShards(Sequence[Tensor]):
    """The rows of shards (n_i, ...), each fetched and mapped when it is asked for, the last MAPPED of them at once.

    Where they are gone through window by window (`follow`), a window is in memory, and the next one on its way.
    """

    def __init__(self, store: Store, shards: Sequence[Shard]) -> None:
        self.store, self.shards = store, tuple(shards)
        self._mapped = lru_cache(MAPPED)(lambda number: self.map(self.shards[number]))
        self._windows, self._bases = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
        self._loaded: dict[int, Future[Tensor]] = {}
        self._at: int | None = None
        self._process = os.getpid()

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return StreamedShards, (self.store, self.shards)

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, number: Any) -> Any:
        """The rows of a shard."""
        return self._mapped(number)

    def map(self, shard: Shard) -> Tensor:
        """The rows of a shard, mapped; fetched where they are missing."""
        path = self.store.path(shard)
        with contextlib.suppress(SafetensorError, KeyError):
            values = load_file(path)["values"]
            if len(values) == shard.num_rows:
                return values
        if not self.store.is_local:
            path.unlink(missing_ok=True)  # damaged here, or there
        raise InputError(f"{self.store.address}/{shard.name}: not {shard.num_rows} rows; run again or prepare it again")

    @property
    def lengths(self) -> list[int]:
        """Rows of each, known before it is fetched."""
        return [shard.num_rows for shard in self.shards]

    def follow(self, windows: Tensor) -> None:
        """Be read window by window from now on: windows (m,) has the number of each of the first m shards'."""
        if len(windows) > len(self.shards):  # of another column, which is in more
            return
        order = windows.argsort(stable=True)
        lengths = torch.tensor(self.lengths)[: len(windows)][order]
        ends, sorted_windows = lengths.cumsum(0), windows[order]
        firsts = (ends - lengths)[torch.searchsorted(sorted_windows, sorted_windows)]
        self._bases = torch.empty_like(windows).index_copy_(0, order, ends - lengths - firsts)
        self._windows, self._at = windows, None
        self._loaded.clear()

    def gather(self, where: Tensor, inside: Tensor) -> Tensor | None:
        """Rows (b, ...), by shard and place in it, out of the window in memory; None of rows from all over."""
        if not len(where) or int(where.max()) >= len(self._windows):
            return None
        own = self._windows[where]
        low, high = (int(one) for one in own.aminmax())
        if high - low > 1 or low not in (self._at, low if self._at is None else self._at + 1):
            return None
        if self._process != os.getpid():
            self._loaded.clear()  # a worker has no threads of the process that it was forked from
        self._at, self._process = low, os.getpid()
        self._loaded = {number: rows for number, rows in self._loaded.items() if number in (low, low + 1)}
        for number in (low, low + 1):
            if number not in self._loaded:
                shards = (self._windows == number).nonzero().flatten().tolist()
                self._loaded[number] = in_background(self._read, [self.shards[i] for i in shards])
        places = self._bases[where] + inside
        if low == high:
            return self._window(low)[places]
        first, later = self._window(low), self._window(high)
        read = torch.empty((len(where), *first.shape[1:]), dtype=first.dtype)
        for number, rows in ((low, first), (high, later)):
            read[own == number] = rows[places[own == number]]
        return read

    def _window(self, number: int) -> Tensor:
        """(n, ...), waited for where it is not there yet."""
        try:
            return self._loaded[number].result()
        except Exception:
            del self._loaded[number]  # whoever asks again has it fetched again
            raise

    def _read(self, shards: Sequence[Shard]) -> Tensor:
        """The rows of some shards one after the other, in memory."""
        rows, done = torch.empty(0), 0
        for shard in shards:
            values = self.map(shard)
            if not done:
                rows = torch.empty((sum(one.num_rows for one in shards), *values.shape[1:]), dtype=values.dtype)
            rows[done : done + len(values)] = values
            done += len(values)
        return rows


def in_background(work: Callable[[Any], Any], value: Any) -> Future[Any]:
    """What work makes of a value, in a thread that the process does not wait for at its end."""
    made: Future[Any] = Future()

    def make() -> None:
        try:
            made.set_result(work(value))
        except Exception as error:  # said to whoever asks for it
            made.set_exception(error)

    threading.Thread(target=make, name="window", daemon=True).start()
    return made


def write_rows(store: Store, stem: str, rows: Any, num_rows: int) -> list[Shard]:
    """A tensor, or what is read like one, (n, ...), in shards of `num_rows`."""
    shards = []
    for first in range(0, len(rows), num_rows):
        values = rows[first : first + num_rows].contiguous()
        content = save({"values": values})
        shards.append(Shard(content_name(content, stem), len(values), len(content)))
        store.write(shards[-1].name, content)
    return shards


def rows_in_shard(columns: Sequence[Any]) -> int:
    """How many rows a shard has, where some columns of the same rows are in shards of their own."""
    widest = max((columns[i][:1].nbytes for i in range(len(columns))), default=1)
    return max(1, SHARD_BYTES // max(1, widest))


def draw_windows(num_shards: int, generator: torch.Generator) -> Tensor:
    """(num_shards,), the number of each shard's window: WINDOW of them, drawn at random, come one after the other."""
    return torch.randperm(num_shards, generator=generator) // WINDOW
