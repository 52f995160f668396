"""Checks: what was looked at, the verdict, the figure it rests on and what to do; and those of the installation."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

import torch

from synesthete import hub
from synesthete.evaluation.reporting.report import Table, device_name
from synesthete.nn.part import find_device, multiplies_bf16
from synesthete.objectives.ranges import Verdict

PACKAGES = ("synesthete", "torch", "diffusers", "transformers", "accelerate", "safetensors", "numpy")
# What each extra installs, and what it is for.
EXTRAS = {
    "speech": (("espeakng-loader", "pocketsphinx"), "speech corpora, and a listener that evaluates them"),
    "piper": (("piper-tts",), "neural voices"),
    "export": (("onnx", "onnxscript", "onnxruntime"), "export to ONNX"),
    "studio": (("gradio",), "the studio"),
}
NEEDED = ("speech",)
LITTLE, TOO_LITTLE = 5e9, 1e9  # bytes free


@dataclass(frozen=True)
class Check:
    """What was looked at, and how it is: the figure in words, what to do, and the figures that the verdict rests on."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""
    figures: dict[str, Any] | None = None

    def __str__(self) -> str:
        """One line, and one more with the advice where there is some."""
        return f"{self.verdict:<4}  {self.name}: {self.found}" + (f"\n      {self.advice}" if self.advice else "")


def check(name: str, found: str, *, bad: bool = False, warn: bool = False, advice: str = "", **more: Any) -> Check:
    """A check that is bad, or a warning, or neither, and then needs no advice."""
    return Check(name, "bad" if bad else "warn" if warn else "ok", found, advice if bad or warn else "", **more)


def worst(checks: Iterable[Check]) -> Verdict:
    """The worst verdict of all; "ok" where nothing was looked at."""
    verdicts: Sequence[Verdict] = get_args(Verdict)
    return max((check.verdict for check in checks), key=verdicts.index, default="ok")


def table(checks: Sequence[Check]) -> Table:
    """The checks as a report shows them."""
    return Table(("verdict", "what", "found", "what to do"), [(c.verdict, c.name, c.found, c.advice) for c in checks])


def readable(num_bytes: float) -> str:
    """A size as people say it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" or num_bytes >= 100 else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def examine_installation() -> list[Check]:
    """Versions, processors, precision, extras, the cache and the disk; nothing is downloaded, made or changed."""
    device = find_device("auto")
    cache, larger = hub.cache_folder(), "set SYNESTHETE_CACHE to a folder on a larger disk"
    found = [_versions(), *_processor(device), *map(_extra, EXTRAS), _models(), _cache(cache)]
    return [*found, disk(cache, LITTLE, TOO_LITTLE, larger)]


def _installed(packages: Iterable[str]) -> tuple[dict[str, str | None], list[str]]:
    """The versions of packages, None where one is missing, and those that are."""
    found: dict[str, str | None] = dict.fromkeys(packages)
    for package in found:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found, [package for package, number in found.items() if number is None]


def _versions() -> Check:
    found, missing = _installed(PACKAGES)
    found["python"] = platform.python_version()
    said = ", ".join(f"{package} {number or 'not installed'}" for package, number in found.items())
    advice = f"install {', '.join(missing)}, or the package again"
    return check("versions", said, bad=bool(missing), advice=advice, figures=found)


def _processor(device: torch.device) -> list[Check]:
    """What computes, with how many threads and in which precision."""
    found, fast = device_name(device), multiplies_bf16(device)
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        found += f" with {readable(memory)}, {torch.cuda.device_count()} of them"
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    variables = "OMP_NUM_THREADS" if "OMP_NUM_THREADS" in os.environ else "OMP_NUM_THREADS or OMP_PROC_BIND"
    said, idle = f"{threads} for matrix products, {cores} cores", threads == 1 < cores and device.type == "cpu"
    advice, figures = f"unset {variables}: one core alone computes", {"threads": threads, "cores": cores}
    precision = "bf16 in hardware, which precision=auto takes" if fast else "float32; no bf16 in hardware"
    return [
        check("device", found, figures={"device": str(device)}),
        check("threads", said, warn=idle, advice=advice, figures=figures),
        check("precision", precision, figures={"bf16": fast}),
    ]


def _extra(name: str) -> Check:
    packages, purpose = EXTRAS[name]
    found, missing = _installed(packages)
    if not missing:
        return check(f"extra {name}", ", ".join(f"{key} {number}" for key, number in found.items()), figures=found)
    advice = f"for {purpose}: pip install 'synesthete[{name}]'"  # also where nothing is wrong
    verdict: Verdict = "warn" if name in NEEDED else "ok"
    return Check(f"extra {name}", verdict, f"{', '.join(missing)} not installed", advice, found)


def _models() -> Check:
    shipped = hub.shipped_models()
    here = [name for name, found in hub.PRETRAINED.items() if hub.local_weights(name, hub.PICKLED, kind=found.kind)]
    found = f"{len(shipped)} shipped, {len(here)} of {len(hub.PRETRAINED)} published ones on this machine"
    advice = "install the package again: its own models are missing"
    return check("models", found, warn=not shipped, advice=advice, figures={"shipped": shipped, "published": here})


def _cache(folder: Path) -> Check:
    if not os.access(_existing(folder), os.W_OK):
        advice = "set SYNESTHETE_CACHE to a folder that you may write"
        return check("cache", f"{folder} cannot be written", bad=True, advice=advice)
    size = folder_size(folder)
    found = f"{folder}, {readable(size)}" if folder.is_dir() else f"{folder}, not made yet"
    return check("cache", found, figures={"folder": str(folder), "bytes": size})


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def folder_size(folder: Path) -> int:
    """Bytes in all files of a folder; one that vanishes meanwhile counts as nothing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size if path.is_file() else 0
    return total


def disk(folder: Path, little: float, too_little: float, advice: str) -> Check:
    """Free space where a folder is or will be, in bytes, against what would be little."""
    free = shutil.disk_usage(_existing(folder)).free
    found, figures = f"{readable(free)} free", {"bytes_free": free}
    return check("disk", found, bad=free < too_little, warn=free < little, advice=advice, figures=figures)
