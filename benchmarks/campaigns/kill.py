"""Commands killed at any moment, then called again: nothing lost, nothing left behind, and the result that it was.

    python -m benchmarks.campaigns.kill --kills 200 --commands train export --out out/kill

Half of the kills come before a write, a rename or a removal, whose number is drawn (`kill_shim` counts them), half at a
moment that is drawn. Each command is called whole once to know what it makes, and its changes. Of each kill is said
when it was, whether the second call went on, what of the results was kept from before it, what was lost, and what was
left behind.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.campaigns.results import Trial, report

if TYPE_CHECKING:
    from collections.abc import Sequence

SHIM = Path(__file__).parent / "kill_shim"
PATIENCE = 1200  # seconds of a whole command
GOOD = ("same", "done before")
RECIPE = ("images-digits-debug", "--set", "data.limit=40", "--set", "stages.0.precision='no'")
DIGITS, MODEL, PICTURES = "images-digits", "model/**/*.safetensors", "pictures/*.png"
QUICK = ("--set", "sampling.num_inference_steps=2")


@dataclass(frozen=True)
class Command:
    """A command to be killed. arguments: OUT stands for its folder. same: the files that have to be the same after."""

    arguments: Sequence[str]
    same: str


COMMANDS = {
    "prepare": Command(("prepare", *RECIPE, "--out", "OUT"), "**/*.safetensors"),
    "train": Command(("train", *RECIPE, "--set", "stages.0.checkpoint_every=2", "--out", "OUT"), MODEL),
    "sample": Command(("draw", "--label", "all", "--num", "2", "--steps", "2", "--out", "OUT"), "*.png"),
    "export": Command(("export", DIGITS, "--out", "OUT"), "*.onnx"),
    "evaluate": Command(("evaluate", DIGITS, "--num", "20", *QUICK, "--out", "OUT"), PICTURES),
    "diagnose": Command(("diagnose", DIGITS, "--num", "4", "--features", "none", "--out", "OUT"), PICTURES),
    "sweep": Command(
        ("sweep", DIGITS, "--cfg", "1,2", "--steps", "2", "--num", "2", "--labels", "3", "--out", "OUT"),
        "*/grid_*.png",
    ),
    "tune": Command(("tune", DIGITS, "--minutes", "0.2", "--num", "16", "--no-write", "--out", "OUT"), "no result"),
}


class Folder:
    """A folder of its own for a command, with a copy of the cache that a whole call filled."""

    def __init__(self, command: Command, cache: Path | None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="kill-"))
        self.out, self.command = self.root / "out", command
        if cache and cache.is_dir():  # some commands keep nothing there
            shutil.copytree(cache, self.root / "cache")

    def start(self, at: int = 0) -> subprocess.Popen[str]:
        """The command, killed before its change number `at`."""
        arguments = [str(self.out) if word == "OUT" else word for word in self.command.arguments]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(SHIM), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "SYNESTHETE_CACHE": str(self.root / "cache"),
            "HF_HUB_OFFLINE": "1",
            "KILL_AT": str(at),
            "KILL_ONLY": str(self.root),
            "KILL_COUNT": str(self.root / "count"),
        }
        words = [sys.executable, "-m", "synesthete", *arguments]
        return subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def results(self) -> dict[str, str]:
        """The files that have to be the same, each with a hash of what it holds."""
        paths = (path for path in sorted(self.out.glob(self.command.same)) if path.is_file())
        return {
            path.relative_to(self.out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in paths
            if not any(part.startswith(".") for part in path.relative_to(self.out).parts)  # of what is being written
        }

    def stamps(self) -> dict[str, tuple[int, int]]:
        """Of each of these files, which one it is and when it was written."""
        found = {name: (self.out / name).stat() for name in self.results()}
        return {name: (status.st_ino, status.st_mtime_ns) for name, status in found.items()}

    def left(self) -> set[str]:
        """What a process that is gone may leave behind."""
        found = [path for path in self.root.rglob(".*") if path.name.endswith((".partial", ".old", ".lock", ".tmp"))]
        # Locks of the cache stay: two processes that wait for one have to find the same file.
        keep = [path for path in found if self.out in path.parents or path.name != ".lock"]
        return {path.relative_to(self.root).as_posix() for path in keep}

    def remove(self) -> None:
        """The folder is no longer needed."""
        shutil.rmtree(self.root, ignore_errors=True)


def trial(name: str, command: Command, whole: Folder, num: int, seconds: float, chance: random.Random) -> Trial:
    """One kill, and the same command again."""
    # Half of them find a cache; a cold one is killed while it is filled.
    folder = Folder(command, whole.root / "cache" if chance.random() < 0.5 and name != "prepare" else None)
    try:
        at = chance.randint(1, num) if chance.random() < 0.5 else 0
        moment = chance.random() * seconds
        process = folder.start(at)
        try:
            process.communicate(timeout=PATIENCE if at else moment)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL) if at else process.kill()
            process.communicate(timeout=PATIENCE)  # ends when no process of it is left that holds the pipe
        when = f"before change {at} of {num}" if at else f"after {moment:.1f} of {seconds:.1f} s"
        if process.returncode == 0:
            return Trial(name, "done before", when)
        before, again = folder.stamps(), folder.start()
        printed, _ = again.communicate(timeout=PATIENCE)
        after, found, wanted = folder.stamps(), folder.results(), whole.results()
        kept = sum(after.get(own) == stamp for own, stamp in before.items())
        lost = sorted(own for own in wanted.keys() | found.keys() if found.get(own) != wanted.get(own))
        left = sorted(folder.left() - whole.left())
        outcome = "refused" if again.returncode else "differs" if lost else "left" if left else "same"
        last = printed.strip().splitlines()[-1][:200] if again.returncode and printed.strip() else ""
        facts = (
            f"killed {when}",
            f"went on: {f'no, {last}' if again.returncode else 'yes'}",
            f"kept {kept} of {len(before)} results",
            f"lost: {', '.join(lost) or 'nothing'}",
            f"left: {', '.join(left) or 'nothing'}",
        )
        return Trial(name, outcome, "; ".join(facts))
    except subprocess.TimeoutExpired:
        return Trial(name, "hangs", "a process of it is left")
    finally:
        folder.remove()


def run_kills(num: int, seed: int, names: Sequence[str]) -> list[Trial]:
    """`num` kills of the commands in turn."""
    wholes: dict[str, tuple[Folder, int, float]] = {}
    trials = []
    try:
        for number in range(num):
            name = names[number % len(names)]
            if name not in wholes:
                folder, started = Folder(COMMANDS[name], None), time.monotonic()
                process = folder.start()
                said, _ = process.communicate(timeout=PATIENCE)
                if process.returncode:
                    raise SystemExit(f"{name}: fails without a kill: {said[-500:]}")
                wholes[name] = folder, int((folder.root / "count").read_text()), time.monotonic() - started
            whole, changes, seconds = wholes[name]
            trials.append(trial(name, COMMANDS[name], whole, changes, seconds, random.Random(f"{seed} {number}")))
            print(f"{number + 1}/{num} {name}: {trials[-1].outcome} {trials[-1].said}", file=sys.stderr)
    finally:
        for folder, _, _ in wholes.values():
            folder.remove()
    return trials


def main() -> int:
    """Run the campaign as the command line asks for it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31), help="a new one by default")
    parser.add_argument("--commands", nargs="+", choices=[*COMMANDS], default=[*COMMANDS])
    parser.add_argument("--out", type=Path, default=Path("out/kill"))
    asked = parser.parse_args()
    return report(run_kills(asked.kills, asked.seed, asked.commands), GOOD, asked.out, seed=asked.seed)


if __name__ == "__main__":
    raise SystemExit(main())
