"""Where work that divides is done: by this process and others of this machine, unless a Ray cluster is chosen.

A job's files are written whole and named by what is in them, so a job may be done twice, or be lost with its worker and
done again: the files say what is done, and they are the same whoever made them. Machines of a cluster share the folder
that is written to.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import multiprocessing
import os
import re
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor as Pool
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextvars import ContextVar
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from synesthete.io import digest, read_tensor
from synesthete.types import InputError, first_line

Name = TypeVar("Name")

# What work is: processes of one thread each do it, threads do (it is outside the interpreter's lock), or one job at a
# time has all of the machine, alone or with a network that goes to an accelerator.
How = Literal["processes", "threads", "alone", "network"]
AT_ONCE = 4  # jobs that wait for each core: enough that none idles
NO_RAY = "--on ray: Ray is not installed; pip install synesthete[cluster]"
TRIES = 5  # of a job whose workers die

logger = logging.getLogger(__name__)


class Lost(NamedTuple):
    """In place of a job's result: why there is none. error: what the work itself said; None where its worker died."""

    why: str
    error: InputError | None = None


class Local:
    """Does jobs by the calling process, and others or threads beside it; base of all that do them elsewhere."""

    name = "local"

    def run(
        self, work: Callable[[Any], Any], jobs: Mapping[Any, Any], how: How, at_most: int | None = None
    ) -> Iterator[tuple[Any, Any]]:
        """(name, work(job)) of each job, in any order; of one that is lost a `Lost`, or nothing at all.

        `work` goes to every worker once, with the network or the voices that it holds, and then serves all its jobs.
        at_most: workers, where they are this machine's; as many as there are cores where None.
        """
        num = at_most or os.cpu_count() or 1
        if num <= 1 or how in ("alone", "network"):
            for name, job in jobs.items():
                yield name, attempt(work, job)
            return
        threads = how == "threads"
        num = min(num, len(jobs))  # one job, too, has a process of its own: it may be what killed another
        with ThreadPoolExecutor(num) if threads else process_pool(work, num) as pool:
            try:
                yield from results(pool, partial(attempt, work) if threads else _work_on, jobs, work)
            finally:
                pool.shutdown(cancel_futures=True)


def attempt(work: Callable[[Any], Any], job: Any) -> Any:
    """What work makes of a job, or why it makes nothing."""
    try:
        return work(job)
    except InputError as error:
        return Lost(str(error), error)


def results(
    pool: Pool, do: Callable[[Any], Any], jobs: Mapping[Any, Any], work: Callable[[Any], Any]
) -> Iterator[tuple[Any, Any]]:
    """(name, do(job)) as they are done; all are submitted, and the workers started, at once."""
    with without_main(work):
        futures = {pool.submit(do, job): name for name, job in jobs.items()}
    for future in as_completed(futures):
        try:
            yield futures.pop(future), future.result()
        except BrokenProcessPool:  # with one worker's death all end
            continue


def process_pool(work: Callable[[Any], Any], num: int) -> ProcessPoolExecutor:
    """Processes that hold `work`."""
    # Not fork: the parent may hold threads and devices. The server imports the work's module once for all workers.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__, *modules_of(work) - {"__main__"}])
    return ProcessPoolExecutor(num, context, _start, (work,))


def modules_of(work: Any) -> set[str]:
    """Where a function and what it was given are defined."""
    if isinstance(work, partial):
        return set().union(*map(modules_of, (work.func, *work.args, *work.keywords.values())))
    return {getattr(work, "__module__", None) or type(work).__module__}


@contextlib.contextmanager
def without_main(work: Callable[[Any], Any]) -> Iterator[None]:
    """Start processes that do not run the caller's script again; work that is defined in it needs it, guard and all."""
    main = sys.modules["__main__"]
    hidden = {} if "__main__" in modules_of(work) else {"__file__": None, "__spec__": None}
    kept = {name: getattr(main, name) for name in hidden if hasattr(main, name)}
    main.__dict__.update(hidden)
    try:
        yield
    finally:
        for name in hidden:
            main.__dict__.pop(name)
        main.__dict__.update(kept)


# What a worker process does, with what it holds for it.
_work: Callable[[Any], Any]


def _start(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    # Killed, the process that asked cannot tell its workers, who would wait for it for ever.
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    single_threaded()


def single_threaded() -> None:
    """One thread for a worker: they fill the cores already, and threads that wait made it five times slower."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for what is imported later
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def _end_with(process: Any) -> None:
    process.join()
    os._exit(1)


def _work_on(job: Any) -> Any:
    return attempt(_work, job)


LOCAL = Local()
_chosen: ContextVar[Local] = ContextVar("executor", default=LOCAL)


def executor() -> Local:
    """The one that was chosen."""
    return _chosen.get()


@contextlib.contextmanager
def using(chosen: Local) -> Iterator[Local]:
    """Divided work is done by `chosen` as long as the context lasts."""
    token = _chosen.set(chosen)
    try:
        yield chosen
    finally:
        _chosen.reset(token)


def divide_ahead(
    work: Callable[[Any], Any],
    jobs: Mapping[Path, Any],
    how: How,
    fail: Callable[[Path, str], None] = lambda path, why: None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Let workers elsewhere make the files that this process would make one by one, where it reads them.

    jobs: by the file of each; those that are there are left. fail: as of `divide`. report(done, total) in files.

    Raises:
        InputError: as `divide`, or a file that was made is not seen here.
    """
    if executor() is LOCAL:
        return
    missing = {path: job for path, job in jobs.items() if not path.is_file()}
    for done, (path, _) in enumerate(divide(work, missing, how, fail=fail), len(jobs) - len(missing) + 1):
        if not path.is_file():
            raise InputError(f"{path}: made by {executor().name} and not here; give a folder that all machines share")
        report(done, len(jobs))


def divide(
    work: Callable[[Any], Any],
    jobs: Mapping[Name, Any],
    how: How = "processes",
    at_most: int | None = None,
    fail: Callable[[Name, str], None] = lambda name, why: None,
) -> Iterator[tuple[Name, Any]]:
    """(name, work(job)) of every job, each once, as they are done by the chosen executor.

    A job that is lost with its worker is done again, after those that are left. at_most: as `Local.run`. fail(name,
    why) is called of each that is lost or refused.

    Raises:
        InputError: as `work`, or a job whose workers died TRIES times.
    """
    left = dict(jobs)
    for _ in range(TRIES):
        for name, result in executor().run(work, dict(left), how, at_most) if left else ():
            if isinstance(result, Lost):
                fail(name, result.why)
                if result.error:
                    raise result.error
            elif name in left:  # not done a second time
                del left[name]
                yield name, result
        left = dict(reversed(left.items()))
    if left:
        raise InputError(f"{next(iter(left))}: {TRIES} workers that were at it died; free some memory and run again")


def working_on(name: str) -> contextlib.AbstractContextManager[Local]:
    """Divided work is done by what is named as long as the context lasts: local, ray, or ray://HOST:PORT.

    Raises:
        InputError: another name, no Ray, or no cluster there.
    """
    if name != "local" and name != "ray" and not name.startswith("ray://"):
        raise InputError(f"--on {name}: give local, ray, or ray://HOST:PORT")
    return using(LOCAL if name == "local" else Ray(None if name == "ray" else name))


class Ray(Local):
    """Every core of a cluster; one that joins is used, what was done on one that is lost is done again.

    Args:
        address: of the cluster, ray://HOST:PORT as `ray start --head` says it. None: the one that this machine, or
            RAY_ADDRESS, knows, and one of this machine alone where there is none.

    Raises:
        InputError: no Ray, or no cluster there.
    """

    def __init__(self, address: str | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise InputError(NO_RAY) from None
        self.ray, self.name = ray, address or "ray"
        if ray.is_initialized():
            return
        where = address or os.environ.get("RAY_ADDRESS", "")
        try:
            if found := re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", where):  # Ray would wait for minutes
                socket.create_connection((found[1], int(found[2])), timeout=10).close()
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # of many kinds, by what is wrong and by version
            raise InputError(
                f"{where or 'this machine'}: no cluster ({first_line(error)[:200]}); check the address, or start one "
                "there with `ray start --head`"
            ) from None

    def run(
        self, work: Callable[[Any], Any], jobs: Mapping[Any, Any], how: How, at_most: int | None = None
    ) -> Iterator[tuple[Any, Any]]:
        """As every executor. A network gets an accelerator where the cluster has any, other work a core."""
        ray, token, identity = self.ray, secrets.token_hex(8), package_identity()
        gpus = int(how == "network" and ray.cluster_resources().get("GPU", 0) >= 1)
        # max_calls: a process that holds a network stays.
        do = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0, max_calls=0)(serve)
        shipped = [ray.put(pack(work))]  # in a list, or it would be fetched for every job
        waiting, running = iter(jobs.items()), dict[Any, Any]()
        try:
            yield from self.collect(waiting, running, lambda job: do.remote(shipped, token, identity, pack(job)))
        finally:  # nothing is written after the one who asked has gone
            for reference in running:
                with contextlib.suppress(Exception):
                    ray.cancel(reference)

    def collect(
        self, waiting: Iterator[tuple[Any, Any]], running: dict[Any, Any], start: Callable[[Any], Any]
    ) -> Iterator[tuple[Any, Any]]:
        """(name, result) as they come; as many jobs are started as the cores of the moment have work with."""
        ray = self.ray
        while True:
            room = AT_ONCE * max(1, int(ray.cluster_resources().get("CPU", 0))) - len(running)
            for name, job in islice(waiting, max(0, room)):
                running[start(job)] = name
            if not running:
                return
            done, _ = ray.wait(list(running), timeout=5)
            for reference in done:
                name = running.pop(reference)
                yield name, self.result(reference)

    def result(self, reference: Any) -> Any:
        """What came of a job."""
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ImportError | AttributeError) or "import" in str(error.cause):
                raise InputError(
                    f"{self.name}: a machine without this package ({error.cause}); install "
                    f"{package_identity()} on all of them"
                ) from None
            raise
        except self.ray.exceptions.RayError as error:
            why = type(error).__name__
            logger.warning("a worker died (%s); what it was doing is done again", why)
            return Lost(why)


# What a worker process holds: the token of the work that it was sent last, and the work.
_held: tuple[str, Any] = ("", None)


def serve(shipped: list[Any], token: str, identity: str, job: bytes) -> Any:
    """Do one job, in a process of a cluster; the work is fetched with the first."""
    global _held
    import ray

    where = f"(on {ray.util.get_node_ip_address()})"
    if (own := package_identity()) != identity:
        reason = f"synesthete {own} there, {identity} here {where}; install the same on all machines"
        return Lost(reason, InputError(reason))
    if _held[0] != token:
        _held = ("", None)  # what it held is let go first
        _held = (token, ray.cloudpickle.loads(ray.get(shipped[0])))
        single_threaded()
    result = attempt(_held[1], ray.cloudpickle.loads(job))
    if not isinstance(result, Lost):
        return result
    reason = f"{result.why} {where}"
    return Lost(reason, InputError(reason))


@functools.cache
def package_identity() -> str:
    """The version of this package and a name for its source, which between two releases has the same version."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return f"{version('synesthete')}+{digest(*files)}"


def pack(value: Any) -> bytes:
    """The value for another machine; tensors that were read from files as the places in those."""
    from ray.cloudpickle import CloudPickler

    class Packer(CloudPickler):
        def reducer_override(self, one: Any) -> Any:
            """A tensor of a file by its file."""
            file = getattr(one, "__dict__", {}).get("file") if type(one).__name__ == "Tensor" else None
            return (read_tensor, file) if file else super().reducer_override(one)

    packed = io.BytesIO()
    Packer(packed).dump(value)
    return packed.getvalue()
