"""Divided work on a Ray cluster, whose machines share the folder that is written to."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete.executors import LOCAL, How, Local, Lost, attempt, single_threaded, using
from synesthete.io import digest, read_tensor
from synesthete.types import InputError, first_line

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

AT_ONCE = 4  # jobs that wait for each core: enough that none idles
NO_RAY = "--on ray: Ray is not installed; pip install synesthete[cluster]"

logger = logging.getLogger(__name__)


def working_on(name: str) -> AbstractContextManager[Local]:
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
