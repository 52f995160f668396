"""What a run on many GPUs would need, by arithmetic: the tables of docs/concepts/scale.md.

    python -m benchmarks.scale

Nothing is measured here. INPUTS were measured with this package, published, or are assumed, as the page says of each.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

# name: value, unit, where it is from
INPUTS: dict[str, tuple[float, str, str]] = {
    "pairs": (200e6, "pairs", "the question"),
    "batch": (2_000, "pairs a step", "the question"),
    "parameters": (859_520_964, "numbers", "measured: U-Net of Stable Diffusion 1.5"),
    "forward": (803_273_441_280, "FLOP a pair", "counted: that U-Net, 64 x 64 latents, 77 tokens"),
    "encode": (1_116_658_466_816, "FLOP a picture", "counted: its autoencoder, 512 x 512"),
    "state": (16, "bytes a parameter", "measured: float32 weights, two moments, average"),
    "gradient": (4, "bytes a parameter", "measured: averaged in float32"),
    "latents": (4 * 64 * 64 * 2, "bytes a pair", "measured: kept in float16"),
    "hearing": (512 * 4, "bytes a pair", "measured: CLAP's vector in float32"),
    "sound": (10 * 48_000 * 2, "bytes a pair", "measured: 10 s at 48 kHz in 16 bits"),
    "line": (137, "bytes a pair", "measured: a line of a manifest"),
    "entry": (425, "bytes a picture", "measured: its place in the list that `prepare` makes, n = 100,000"),
    "writing": (5.04e9 / 7.4, "bytes a second", "measured: 5.04 GB in 7.4 processor seconds"),
    "peak": (989.4e12, "FLOP a second", "published: H100 SXM, dense bf16"),
    "network": (400e9 / 8, "bytes a second and GPU", "published: DGX H100, one port of 400 Gb/s a GPU"),
    "between_failures": (54 * 24 * 16_384 / 419, "GPU hours", "published: Llama 3, 419 stops in 54 days of 16,384"),
    "utilisation": (0.3, "of the peak", "assumed"),
    "decoding": (1.0, "core seconds a clip", "assumed: cut, decode, resample a video"),
    "restart": (600.0, "seconds", "assumed: noticed, started, imported, read back"),
}
GPUS = (10, 1_000)
TRAINING, CORES = (
    3,
    13,
)  # forward passes that a step costs; processor cores a GPU of a DGX H100 (112 for 8, rounded down)


def machine(gpus: int, inputs: dict[str, tuple[float, str, str]] = INPUTS) -> dict[str, float]:
    """What a run on so many GPUs comes to, in bytes, seconds and shares, by name."""
    given = SimpleNamespace(**{name: value for name, (value, _, _) in inputs.items()})
    rate = given.peak * given.utilisation
    computing = given.batch / gpus * TRAINING * given.forward / rate
    # A ring sends and receives the gradients about twice, whatever the number of GPUs.
    averaging = 2 * (gpus - 1) / gpus * given.parameters * given.gradient / given.network
    step = max(computing, averaging)  # one behind the other at best
    steps = given.pairs / given.batch
    checkpoint = given.parameters * given.state
    saving = checkpoint / given.writing
    failing = given.between_failures * 3600 / gpus
    interval = math.sqrt(2 * saving * failing)  # Young 1974, Daly 2006
    lost = saving / interval + (interval / 2 + given.restart) / failing
    return {
        "encoding": given.pairs * given.encode / rate / gpus,
        "decoding": given.pairs * given.decoding / (gpus * CORES),
        "kept": given.pairs * (given.latents + given.hearing),
        "sounds": given.pairs * given.sound,
        "manifest": given.pairs * given.line,
        "listing": given.pairs * given.entry,
        "pairs a GPU": given.batch / gpus,
        "computing": computing,
        "averaging": averaging,
        "busy": computing / step,
        "training": steps * step,
        "reading": given.batch / step * (given.latents + given.hearing),
        "model": given.parameters * (given.state + given.gradient),
        "checkpoint": checkpoint,
        "saving": saving,
        "failing": failing,
        "interval": interval,
        "lost": lost,
        "stops": steps * step / failing,
        "start": gpus * given.parameters * 4,
    }


# What is said of each: the words, and how its value is written.
ROWS = {
    "pairs a GPU": "pairs a GPU and step",
    "decoding": "decoding the clips, on the GPUs' processors",
    "encoding": "encoding the pictures",
    "computing": "a step's arithmetic",
    "averaging": "a step's gradients over the network",
    "busy": "share of the time that a GPU computes",
    "training": "training, each pair once",
    "reading": "read from the shards a second, all together",
    "start": "weights read at the start, all together",
    "failing": "between two failures",
    "stops": "failures in that training",
    "saving": "a checkpoint is written in",
    "interval": "best time between checkpoints",
    "lost": "lost to checkpoints and failures",
}
ONCE = {
    "kept": "latents and CLAP's vectors",
    "sounds": "sounds in 16 bits",
    "manifest": "the manifest",
    "listing": "the list of pictures in memory, in `prepare`",
    "model": "weights, moments, average and gradients, on every GPU",
    "checkpoint": "a checkpoint",
}
COUNTS, SHARES = ("pairs a GPU", "stops"), ("busy", "lost")
BYTES = (*ONCE, "reading", "start")


def written(name: str, value: float) -> str:
    """A value as people say it."""
    if name in SHARES:
        return f"{value:.1%}"
    if name in COUNTS:
        return f"{value:.3g}"
    units = (
        (("TB", 1e12), ("GB", 1e9)) if name in BYTES else (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))
    )
    unit, size = next(((unit, size) for unit, size in units if value >= 2 * size), units[-1])
    return f"{value / size:.3g} {unit}"


def tables() -> list[str]:
    """The page's three tables: inputs, what is needed once, and what depends on the number of GPUs."""
    inputs = [
        f"| `{name}` | {f'{value:,.0f}' if 1 < value < 1e9 else f'{value:.4g}'} {unit} | {source} |"
        for name, (value, unit, source) in INPUTS.items()
    ]
    found = [machine(gpus) for gpus in GPUS]
    once = [f"| {words} | {written(name, found[0][name])} |" for name, words in ONCE.items()]
    many = [f"| {words} | {' | '.join(written(name, one[name]) for one in found)} |" for name, words in ROWS.items()]
    heads = (
        "| input | value | from |\n|---|---|---|",
        "| what | bytes |\n|---|---|",
        "| what | 10 GPUs | 1,000 GPUs |\n|---|---|---|",
    )
    return ["\n".join([head, *rows]) for head, rows in zip(heads, (inputs, once, many), strict=True)]


if __name__ == "__main__":
    print("\n\n".join(tables()))
