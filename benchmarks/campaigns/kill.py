"""Commands killed at any moment, then called again: nothing lost, nothing left behind, and the result that it was.

    python -m benchmarks.campaigns.kill --kills 200 --commands train export --out out/kill

Half of the kills come at a change of files whose number is drawn, each number once before any comes again (`changes.c`
counts them: opening to write, writing, of which half is done, renaming, removing), half at a moment that is drawn. Each
command is called whole twice to know what it makes; of everything in its folder and the cache, names and contents have
to be the same after a kill and another call. Time stands still in them (`still.py`). One process has imported
everything and forks for each call; torchrun's are started as they are. Called again with the same seed and folder, the
campaign goes on. Linux, with gcc.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import importlib
import json
import os
import pkgutil
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import synesthete
from benchmarks.campaigns.results import Trial, report
from benchmarks.campaigns.still import stand_still
from synesthete.io import LOCK

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANGES = Path(__file__).with_name("changes.c")
# What two files tell of the call that wrote them: how long it took, and how much of a search was measured by it.
OWN = {"metrics.jsonl": rb'"seconds(_left)?": [-\d.e]+'} | dict.fromkeys(
    ("report.html", "report.md", "report.json"), rb'"num_new": \d+|\d+ of them now'
)
EVENTS = "events.out.tfevents"
PATIENCE = 600  # seconds of a whole command
LINGER = 20  # seconds that a process may outlive the one that started it
GOOD = ("same", "whole", "done before")
RECIPE = ("images-digits-debug", "--set", "data.limit=40", "--set", "stages.0.precision='no'")
TRAIN = ("train", *RECIPE, "--set", "stages.0.checkpoint_every=2", "--no-watch", "--out", "OUT")
FEW = ("--set", "sampling.num_inference_steps=2")
# OUT and MODEL stand for a folder to write, and one that was trained before.
COMMANDS: dict[str, Sequence[str]] = {
    "prepare": ("prepare", *RECIPE, "--out", "OUT"),
    "train": TRAIN,
    "sample": ("draw", "MODEL", "--label", "all", "--num", "2", "--steps", "2", "--out", "OUT"),
    "export": ("export", "MODEL", "--part", "conditioner,decoder", "--out", "OUT"),
    "evaluate": ("evaluate", "MODEL", "--num", "10", *FEW, "--out", "OUT"),
    "diagnose": ("diagnose", "MODEL", "--only", "denoising,classes", "--num", "4", *FEW, "--out", "OUT"),
    "sweep": ("sweep", "MODEL", "--cfg", "1,2", "--steps", "2", "--num", "2", "--labels", "3", "--out", "OUT"),
    "tune": ("tune", "MODEL", "--minutes", "0.01", "--num", "24", "--no-write", "--out", "OUT"),
    "torchrun": TRAIN,
}
COMMANDS["evaluate-cold"] = COMMANDS["evaluate"]
# What is found in the cache by the others, half of the time: a classifier takes longer to train than all else.
COLD = ("prepare", "train", "sample", "export", "torchrun", "evaluate-cold")
# Of a round of kills, how many are of a command; about as often as it is quick. One that is not here: when it is asked.
TURNS = {"prepare": 5, "train": 4, "sample": 5, "sweep": 4, "export": 3, "evaluate": 2, "diagnose": 2, "tune": 1}
TURNS |= {"torchrun": 1}
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "benchmarks.campaigns.still")


@dataclass(frozen=True)
class Ended:
    """How a call ended. code: of its exit; negative: killed. changes: of files. lingers: a process of it is left."""

    code: int
    seconds: float
    changes: int = 0
    said: str = ""
    lingers: bool = False


@dataclass
class Place:
    """Where the calls are made, each in the same folder. wholes: of each command what it makes, in how long."""

    root: Path
    wholes: dict[str, tuple[dict[str, str], Ended]] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """Everything that a command may change."""
        return self.root / "work"

    def clear(self, cache: Path | None = None) -> None:
        """Nothing is there, or a cache."""
        shutil.rmtree(self.work, ignore_errors=True)
        (self.work / "tmp").mkdir(parents=True)
        if cache and cache.is_dir():
            shutil.copytree(cache, self.work / "cache")

    def call(self, name: str, *, at: int = 0, moment: float | None = None, alone: bool = True) -> Ended:
        """A command, killed at its change number `at`, or after `moment` seconds, with all that it started or alone.

        Of torchrun, who starts two that do the work, one of these is killed alone.
        """
        paths = {"OUT": str(self.work / "out"), "MODEL": str(self.root / "model")}
        words, started = [paths.get(word, word) for word in COMMANDS[name]], time.monotonic()
        count, family = self.root / ("count.0" if name == "torchrun" else "count"), []
        count.unlink(missing_ok=True)
        pid = os.fork()
        if not pid:
            try:
                self.run(words, at, real=name == "torchrun")
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            os._exit(70)
        status = wait(pid, PATIENCE if moment is None else moment)
        if status is None:
            family = descendants(pid)
            victims = family if not alone or moment is None else family[-1:] if name == "torchrun" else family[:1]
            for victim in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
            status = wait(pid, PATIENCE)
        seconds, lingers = time.monotonic() - started, not are_gone(pid, family)
        said = (self.root / "said").read_text(errors="replace").strip().splitlines()
        code = -signal.SIGKILL if status is None else os.waitstatus_to_exitcode(status)
        if code in (0, 2):
            return Ended(code, seconds, int(count.read_text()), said[-1] if said else "", lingers)
        return Ended(code, seconds, 0, said[-1] if said else "", lingers)

    def run(self, words: Sequence[str], at: int, real: bool) -> None:
        """In a process of its own: the command, from its beginning to the end of the process."""
        os.setsid()
        for number, flags in ((0, os.O_RDONLY), (1, os.O_RDWR | os.O_CREAT | os.O_TRUNC)):
            os.dup2(os.open(os.devnull if number == 0 else self.root / "said", flags, 0o666), number)
        os.dup2(1, 2)
        os.chdir(self.work)
        os.environ |= {"SYNESTHETE_CACHE": str(self.work / "cache"), "TMPDIR": str(self.work / "tmp")}
        if real:
            told = {"CHANGES_BELOW": str(self.work), "CHANGES_AT": str(at), "CHANGES_RANK": "0"}
            paths = [str(CHANGES.parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
            os.environ |= told | {"CHANGES_COUNT": str(self.root / "count"), "PYTHONPATH": os.pathsep.join(paths)}
            os.execv(sys.executable, [sys.executable, *TORCHRUN, *words])
        from synesthete.cli.app import main

        tempfile.tempdir, sys.argv, changes = None, ["synesthete", *words], ctypes.CDLL(None)
        stand_still()
        changes.changes_arm(os.fsencode(self.work), ctypes.c_long(at))
        try:
            main()
        except SystemExit as ended:
            (self.root / "count").write_text(str(changes.changes_count()))
            (self.root / "modules").write_text("\n".join(sys.modules))
            sys.stdout.flush()
            os._exit(ended.code if isinstance(ended.code, int) else 1)

    def whole(self, name: str) -> tuple[dict[str, str], Ended]:
        """What a command makes that nothing ends early, and how; the cache is kept for later calls.

        Raises:
            SystemExit: it fails, or makes something else the second time.
        """
        if name not in self.wholes:
            found: list[tuple[dict[str, str], Ended]] = []
            cache = None if name in COLD else self.root / "cache"
            for _ in range(2):
                self.clear(cache)
                ended = self.call(name)
                if ended.code or ended.lingers:
                    raise SystemExit(f"{name}: fails without a kill: {ended}")
                found.append((self.contents(), ended))
                if (self.work / "cache").is_dir():  # some commands keep nothing there
                    shutil.copytree(self.work / "cache", cache or self.root / f"cache-{name}", dirs_exist_ok=True)
                import_late((self.root / "modules").read_text().splitlines())
            # The first of those that share a cache may have filled it.
            if other := [one for one in differing(found[0][0], found[1][0]) if not (cache and one.startswith("cache"))]:
                raise SystemExit(f"{name}: not the same without a kill: {', '.join(other)}")
            self.wholes[name] = found[1]
        return self.wholes[name]

    def contents(self) -> dict[str, str]:
        """Everything that a command may change, by its name: a hash of what it holds."""
        found = {}
        for path in sorted(self.work.rglob("*")):
            # Two processes that wait for a lock of the cache have to find the same file; torchrun keeps its logs.
            if (path.name == LOCK and self.work / "cache" in path.parents) or "torchelastic_" in str(path):
                continue
            name = path.relative_to(self.work).as_posix()
            if EVENTS in name:
                found[f"{name.partition(EVENTS)[0]}{EVENTS}"] = named_events(path.parent)
                continue
            found[name] = "" if path.is_dir() or path.name == LOCK else named_content(path)  # a lock tells the process
        return found

    def stamps(self) -> dict[str, tuple[int, int]]:
        """Of every file which one it is and when it was written."""
        found = {path: path.lstat() for path in self.work.rglob("*") if not path.is_dir()}
        return {
            path.relative_to(self.work).as_posix(): (status.st_ino, status.st_mtime_ns)
            for path, status in found.items()
        }


def named_content(path: Path) -> str:
    """A name for what a file holds, without what tells how long a run took and how much of it was there already."""
    content = re.sub(OWN.get(path.name, rb"^$"), b"", path.read_bytes())
    return hashlib.sha256(content).hexdigest()[:16]


def named_events(folder: Path) -> str:
    """A name for the figures and pictures in TensorBoard's files, of which each session has one of its own."""
    from tensorboard.compat.proto.event_pb2 import Event

    kept: list[Any] = []
    for path in sorted(folder.glob(f"{EVENTS}*")):
        content, first = path.read_bytes(), 0
        while (last := first + 16 + int.from_bytes(content[first : first + 8], "little")) <= len(content) > first:
            event, first = Event.FromString(content[first + 12 : last - 4]), last
            if event.HasField("session_log"):  # forgets what an earlier one says of later steps
                kept = [(step, value) for step, value in kept if step < event.step]
            told = (value for value in event.summary.value if not value.tag.startswith("seconds"))
            kept += [(event.step, value.SerializeToString()) for value in told]
    return hashlib.sha256(repr(kept).encode()).hexdigest()[:16]


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """The names that stand for different contents, or in one alone."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def wait(pid: int, seconds: float) -> int | None:
    """How a process ended; None: it has not, after so long."""
    end = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        if time.monotonic() >= end:
            return None
        time.sleep(0.002)


def descendants(pid: int) -> list[int]:
    """The process and all that come of it, those that it started first."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return found


def are_gone(group: int, family: Sequence[int]) -> bool:
    """Whether no process of a group or family is left after LINGER; what is left is ended."""
    end = time.monotonic() + LINGER
    while left := [pid for pid in (-group, *family) if is_there(pid)]:
        if time.monotonic() > end:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            return False
        time.sleep(0.01)
    return True


def is_there(pid: int) -> bool:
    """Whether a process, or one of the group of -pid, is there and has not ended."""
    try:
        os.kill(pid, 0)
        return pid < 0 or " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def trial(place: Place, name: str, number: int, seed: int) -> Trial:
    """Kill number `number` of a command, and the same command again."""
    wanted, ended = place.whole(name)
    chance = random.Random(f"{seed} {name} {number}")
    order = random.Random(f"{seed} {name}").sample(range(1, ended.changes + 1), ended.changes)
    # A cold cache is killed while it is filled.
    place.clear(None if name in COLD and number % 4 >= 2 else place.root / f"cache{f'-{name}' * (name in COLD)}")
    at, moment = order[number // 2 % len(order)], chance.random() * ended.seconds
    when = f"at change {at} of {ended.changes}" if number % 2 else f"after {moment:.2f} of {ended.seconds:.2f} s"
    first = place.call(name, at=at) if number % 2 else place.call(name, moment=moment, alone=chance.random() < 0.5)
    if first.code >= 0 and not (name == "torchrun" and first.code == 1):  # which says that one of its own was killed
        return Trial(name, "done before" if not first.code else "stopped", f"{when}: {first.said}", first.seconds)
    before = place.stamps()
    again = place.call(name)
    after, found = place.stamps(), place.contents()
    kept = sum(name in wanted and after.get(name) == stamp for name, stamp in before.items())
    lost, left = [own for own in differing(wanted, found) if own in wanted], sorted(found.keys() - wanted.keys())
    is_same = not lost and not left
    outcome = "outlived" if first.lingers or again.lingers else "differs" if lost else "left" if left else "same"
    if again.code:  # of what refuses to write what is there: nothing was missing
        outcome = "whole" if is_same and again.code == 2 else "refused" if again.code == 2 else "failed"
    facts = (
        f"killed {when}",
        f"went on: {f'no, {again.said[:200]}' if again.code else 'yes'}",
        f"kept {kept} of {len(before)} files",
        f"lost: {', '.join(lost) or 'nothing'}",
        f"left: {', '.join(left) or 'nothing'}",
    )
    return Trial(name, outcome, "; ".join(facts), again.seconds)


def run_kills(num: int, seed: int, names: Sequence[str], out: Path | None = None) -> tuple[list[Trial], Place]:
    """`num` kills of the names in turn, those in `out` taken as they are."""
    journal, done = out / f"kills-{seed}.jsonl" if out else None, []
    if journal and journal.exists():
        done = [Trial(**json.loads(line)) for line in journal.read_text().splitlines()]
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        place = Place(Path(folder).resolve())
        make_model(place)
        for number in range(len(done), num):
            name = names[number % len(names)]
            before = number // len(names) * names.count(name) + names[: number % len(names)].count(name)
            done.append(trial(place, name, before, seed))
            print(f"{number + 1}/{num} {name}: {done[-1].outcome} {done[-1].said}", file=sys.stderr, flush=True)
            if journal:
                journal.parent.mkdir(parents=True, exist_ok=True)
                with journal.open("a") as file:
                    file.write(json.dumps(asdict(done[-1])) + "\n")
        return done, place


def make_model(place: Place) -> None:
    """What is sampled, evaluated and exported: trained for a few steps, with the same command as is killed."""
    place.whole("train")
    shutil.copytree(place.work / "out" / "model", place.root / "model")


def import_all() -> None:
    """Everything that a command may import, so that a process that is forked does not have to."""
    for module in pkgutil.walk_packages(synesthete.__path__, "synesthete."):
        if not module.name.startswith(("synesthete.studio", "synesthete.__main__")):
            with contextlib.suppress(ImportError):  # of an extra that is not installed
                importlib.import_module(module.name)


def import_late(names: Sequence[str]) -> None:
    """What a command imported as it went, so that those after it do not have to."""
    for name in names:
        if name not in sys.modules:
            with contextlib.suppress(Exception):  # of a name that stands for something made
                importlib.import_module(name)


def compiled(folder: Path) -> Path:
    """`changes.c` as a library in the folder.

    Raises:
        SystemExit: gcc is missing.
    """
    library = folder / "changes.so"
    words = ["gcc", "-shared", "-fPIC", "-O1", "-D_FORTIFY_SOURCE=0", "-o", str(library), str(CHANGES), "-ldl"]
    try:
        subprocess.run(words, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{CHANGES.name} cannot be compiled: {error}") from None
    return library


def with_changes() -> None:
    """Begin this program again with `changes.c` before every library."""
    if "changes.so" in os.environ.get("LD_PRELOAD", ""):
        return
    library = compiled(Path(tempfile.mkdtemp(prefix="changes-")))  # of a few kilobytes, which stays
    # One thread, so that sums are the same, and no process of a pool is copied.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = os.environ | threads | {"LD_PRELOAD": str(library), "HF_HUB_OFFLINE": "1"}
    os.execve(sys.executable, [sys.executable, "-m", "benchmarks.campaigns.kill", *sys.argv[1:]], environment)


def main() -> int:
    """Run the campaign as the command line asks for it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commands", nargs="+", choices=[*COMMANDS], default=[*TURNS])
    parser.add_argument("--out", type=Path, default=Path("out/kill"))
    asked = parser.parse_args()
    with_changes()
    import_all()
    turns = {name: TURNS.get(name, 1) if len(asked.commands) > 1 else 1 for name in asked.commands}
    names = [name for turn in range(max(turns.values())) for name in asked.commands if turn < turns[name]]
    trials, place = run_kills(asked.kills, asked.seed, names, asked.out.resolve())
    changes = {name: whole[1].changes for name, whole in place.wholes.items()}
    return report(trials, GOOD, asked.out, seed=asked.seed, changes=changes)


if __name__ == "__main__":
    raise SystemExit(main())
