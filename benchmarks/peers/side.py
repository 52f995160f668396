"""One side of the comparison in a process of its own: trained, sampled, and written down."""

from __future__ import annotations

import importlib
import json
import time
from typing import TYPE_CHECKING

import torch
from PIL import Image
from safetensors.torch import save_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from benchmarks.peers.task import Task, Trained

# Each with its module and the precision of its matrix products.
SIDES = {
    "ours": ("benchmarks.peers.ours", "auto"),
    "lucidrains": ("benchmarks.peers.lucidrains", "no"),
    "diffusers": ("benchmarks.peers.diffusers_unet", "no"),
    "lucidrains-bf16": ("benchmarks.peers.lucidrains", "bf16"),
    "diffusers-bf16": ("benchmarks.peers.diffusers_unet", "bf16"),
}
FINISHED = "finished.json"
COLUMNS = 10


def run_side(name: str, task: Task, folder: Path) -> None:
    """Train and sample one side, and write its pictures, a sheet of them and its figures.

    Raises:
        InputError: the peer is not installed, or has no network of that many parameters.
    """
    module, precision = SIDES[name]
    folder.mkdir(parents=True, exist_ok=True)
    trained: Trained = importlib.import_module(module).train(task, folder, precision)
    figures = {key: value for key, value in vars(trained).items() if key != "samplers"}
    figures["samples_per_second"] = trained.samples / trained.seconds
    figures["samplers"] = {}
    for sampler, sample in list(trained.samplers.items())[: task.num_samplers]:
        pictures, seconds = draw(sample, task)
        save_file({"pictures": pictures}, folder / f"{sampler}.safetensors")
        make_sheet(pictures[: COLUMNS**2]).save(folder / f"{sampler}.png")
        figures["samplers"][sampler] = {"pictures_per_second": len(pictures) / seconds}
    partial = folder / f".{FINISHED}.partial"
    partial.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / FINISHED)  # last: without it the side has not run


def draw(sample: Callable[[Tensor, int], Tensor], task: Task) -> tuple[Tensor, float]:
    """The task's pictures (num, C, H, W) uint8, and the seconds that they took after a first batch."""
    parts = task.labels().split(task.batch_size)
    sample(parts[0], task.seed)  # chooses kernels and takes memory, which is not the sampler's doing
    started = time.perf_counter()
    pictures = [sample(labels, task.seed + 1 + number) for number, labels in enumerate(parts)]
    return torch.cat(pictures), time.perf_counter() - started


def make_sheet(pictures: Tensor) -> Image.Image:
    """Pictures (n, C, H, W) uint8 side by side, COLUMNS in a row, on white."""
    num, channels, height, width = pictures.shape
    rows = -(-num // COLUMNS)
    sheet = torch.full((rows * COLUMNS, channels, height, width), 255, dtype=torch.uint8)
    sheet[:num] = pictures
    lines = sheet.unflatten(0, (rows, COLUMNS)).permute(2, 0, 3, 1, 4)  # (C, rows, H, columns, W)
    return to_image(lines.reshape(channels, rows * height, COLUMNS * width))


def to_image(picture: Tensor) -> Image.Image:
    """(C, H, W) uint8 as grey or RGB."""
    values = picture.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(values.squeeze(-1) if values.shape[-1] == 1 else values)
