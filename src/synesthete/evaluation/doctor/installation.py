"""The machine and what is installed on it."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import torch

from synesthete import hub
from synesthete.evaluation.doctor.check import Check, readable
from synesthete.evaluation.reporting.provenance import device_name
from synesthete.nn.device import find_device
from synesthete.nn.precision import multiplies_bf16

if TYPE_CHECKING:
    from pathlib import Path

    from synesthete.objectives import Verdict

PACKAGES = ("synesthete", "torch", "diffusers", "transformers", "accelerate", "safetensors", "numpy")
# What each extra installs, and what it is for.
EXTRAS = {
    "speech": (("espeakng-loader", "pocketsphinx"), "speech corpora, and a listener that judges them"),
    "piper": (("piper-tts",), "neural voices"),
    "export": (("onnx", "onnxscript", "onnxruntime"), "export to ONNX"),
    "studio": (("gradio",), "the studio"),
}
NEEDED = ("speech",)
LITTLE, TOO_LITTLE = 5e9, 1e9  # bytes free


def examine_installation() -> list[Check]:
    """Versions, processors, precision, extras, the cache and the disk; nothing is downloaded, made or changed."""
    device = find_device("auto")
    return [
        _versions(),
        _device(device),
        _threads(),
        _precision(device),
        *(_extra(name) for name in EXTRAS),
        _models(),
        _cache(hub.cache_folder()),
        disk(hub.cache_folder(), LITTLE, TOO_LITTLE, "set SYNESTHETE_CACHE to a folder on a larger disk"),
    ]


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _versions() -> Check:
    found = {package: _installed(package) for package in PACKAGES} | {"python": platform.python_version()}
    missing = [package for package, number in found.items() if number is None]
    said = ", ".join(f"{package} {number or 'not installed'}" for package, number in found.items())
    advice = f"install {', '.join(missing)}, or the package again" if missing else ""
    return Check("versions", "bad" if missing else "ok", said, advice, found)


def _device(device: torch.device) -> Check:
    found = device_name(device)
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        found += f" with {readable(memory)}, {torch.cuda.device_count()} of them"
    return Check("device", "ok", found, figures={"device": str(device)})


def _threads() -> Check:
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    found = f"{threads} for matrix products, {cores} cores"
    few = threads == 1 < cores and find_device("auto").type == "cpu"
    said = "OMP_NUM_THREADS" in os.environ
    advice = f"unset OMP_NUM_THREADS{'' if said else ' or OMP_PROC_BIND'}: one core alone computes" if few else ""
    return Check("threads", "warn" if few else "ok", found, advice, {"threads": threads, "cores": cores})


def _precision(device: torch.device) -> Check:
    fast = multiplies_bf16(device)
    found = "bf16 in hardware, which precision=auto takes" if fast else "float32; no bf16 in hardware"
    return Check("precision", "ok", found, figures={"bf16": fast})


def _extra(name: str) -> Check:
    packages, purpose = EXTRAS[name]
    found = {package: _installed(package) for package in packages}
    missing = [package for package, number in found.items() if number is None]
    if not missing:
        said = ", ".join(f"{package} {number}" for package, number in found.items())
        return Check(f"extra {name}", "ok", said, figures=found)
    advice = f"for {purpose}: pip install 'synesthete[{name}]'"
    verdict: Verdict = "warn" if name in NEEDED else "ok"
    return Check(f"extra {name}", verdict, f"{', '.join(missing)} not installed", advice, found)


def _models() -> Check:
    shipped = hub.shipped_models()
    here = [name for name, found in hub.PRETRAINED.items() if hub.local_weights(name, hub.PICKLED, kind=found.kind)]
    found = f"{len(shipped)} shipped, {len(here)} of {len(hub.PRETRAINED)} published ones on this machine"
    advice = "" if shipped else "install the package again: its own models are missing"
    return Check("models", "ok" if shipped else "warn", found, advice, {"shipped": shipped, "published": here})


def _cache(folder: Path) -> Check:
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(above, os.W_OK):
        advice = "set SYNESTHETE_CACHE to a folder that you may write"
        return Check("cache", "bad", f"{folder} cannot be written", advice)
    size = folder_size(folder)
    found = f"{folder}, {readable(size)}" if folder.is_dir() else f"{folder}, not made yet"
    return Check("cache", "ok", found, figures={"folder": str(folder), "bytes": size})


def folder_size(folder: Path) -> int:
    """Bytes in all files of a folder; one that vanishes meanwhile counts as nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


def disk(folder: Path, little: float, too_little: float, advice: str) -> Check:
    """Free space where a folder is or will be, in bytes, against what would be little."""
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(above).free
    verdict: Verdict = "bad" if free < too_little else "warn" if free < little else "ok"
    found = f"{readable(free)} free"
    return Check("disk", verdict, found, advice if verdict != "ok" else "", {"bytes_free": free})
