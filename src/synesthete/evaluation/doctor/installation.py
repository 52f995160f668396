"""The machine and what is installed on it."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import torch

from synesthete import hub
from synesthete.evaluation.doctor.check import check, readable
from synesthete.evaluation.reporting.provenance import device_name
from synesthete.nn.device import find_device
from synesthete.nn.precision import multiplies_bf16

if TYPE_CHECKING:
    from pathlib import Path

    from synesthete.evaluation.doctor.check import Check

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
    advice = f"install {', '.join(missing)}, or the package again"
    return check("versions", said, bad=bool(missing), advice=advice, figures=found)


def _device(device: torch.device) -> Check:
    found = device_name(device)
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        found += f" with {readable(memory)}, {torch.cuda.device_count()} of them"
    return check("device", found, figures={"device": str(device)})


def _threads() -> Check:
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    few = threads == 1 < cores and find_device("auto").type == "cpu"
    variables = "OMP_NUM_THREADS" if "OMP_NUM_THREADS" in os.environ else "OMP_NUM_THREADS or OMP_PROC_BIND"
    found, figures = f"{threads} for matrix products, {cores} cores", {"threads": threads, "cores": cores}
    return check("threads", found, warn=few, advice=f"unset {variables}: one core alone computes", figures=figures)


def _precision(device: torch.device) -> Check:
    fast = multiplies_bf16(device)
    found = "bf16 in hardware, which precision=auto takes" if fast else "float32; no bf16 in hardware"
    return check("precision", found, figures={"bf16": fast})


def _extra(name: str) -> Check:
    packages, purpose = EXTRAS[name]
    found = {package: _installed(package) for package in packages}
    missing = [package for package, number in found.items() if number is None]
    if not missing:
        return check(f"extra {name}", ", ".join(f"{key} {number}" for key, number in found.items()), figures=found)
    said, advice = f"{', '.join(missing)} not installed", f"for {purpose}: pip install 'synesthete[{name}]'"
    looked_at = check(f"extra {name}", said, warn=name in NEEDED, figures=found)
    return replace(looked_at, advice=advice)  # also where nothing is wrong


def _models() -> Check:
    shipped = hub.shipped_models()
    here = [name for name, found in hub.PRETRAINED.items() if hub.local_weights(name, hub.PICKLED, kind=found.kind)]
    found = f"{len(shipped)} shipped, {len(here)} of {len(hub.PRETRAINED)} published ones on this machine"
    advice = "install the package again: its own models are missing"
    figures = {"shipped": shipped, "published": here}
    return check("models", found, warn=not shipped, advice=advice, figures=figures)


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
        try:
            total += path.lstat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


def disk(folder: Path, little: float, too_little: float, advice: str) -> Check:
    """Free space where a folder is or will be, in bytes, against what would be little."""
    free = shutil.disk_usage(_existing(folder)).free
    found, figures = f"{readable(free)} free", {"bytes_free": free}
    return check("disk", found, bad=free < too_little, warn=free < little, advice=advice, figures=figures)
