"""What reading a million samples from shards costs beside a tensor in memory.

    python -m benchmarks.streaming --out out/streaming

makes pictures of noise, puts them at `file://`, and reads 2,000 batches of 64 from there and from memory, each in a
process of its own: seconds until the first batch, samples a second of the processor, and how the resident memory
grows. A tenth of the batches warms up. --train: with the step of a very small network for each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from synesthete.data.labelled import PictureSamples
from synesthete.data.rows import Rows
from synesthete.data.samples import Steps
from synesthete.data.streaming import Shard, Store, StreamedShards, rows_in_shard, write_rows

SIDE, BATCH_SIZE = 32, 64


def main() -> None:
    """Make the samples where they are missing, read them both ways, print a line of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=1_000_000)
    parser.add_argument("--num-steps", type=int, default=2_000)
    parser.add_argument("--out", type=Path, default=Path("out/streaming"))
    parser.add_argument("--train", action="store_true", help="A step of three small convolutions for each batch.")
    parser.add_argument("--way", choices=["memory", "shards"])
    options = parser.parse_args()
    address, index, whole = f"file://{options.out.resolve()}/shards", options.out / "shards.json", options.out / "whole"
    if options.way:
        print(json.dumps(read(options.way, address, index, whole, options.num, options.num_steps, options.train)))
        return
    if not index.exists():
        options.out.mkdir(parents=True, exist_ok=True)
        pictures = torch.randint(256, (options.num, 1, SIDE, SIDE), dtype=torch.uint8)
        save_file({"values": pictures}, whole)
        shards = write_rows(Store(address), "pictures", pictures, rows_in_shard([pictures]))
        index.write_text(json.dumps(shards))
        del pictures
    for way in ("memory", "shards"):
        subprocess.run([sys.executable, "-m", "benchmarks.streaming", *sys.argv[1:], "--way", way], check=True)


def read(
    way: str, address: str, index: Path, whole: Path, num: int, num_steps: int, train: bool
) -> dict[str, float | str]:
    """Go through the batches one way."""
    began = time.perf_counter()
    if way == "shards":
        shards = [Shard(*each) for each in json.loads(index.read_text())]
        pictures = Rows(StreamedShards(Store(address), shards))
    else:
        pictures = load_file(whole)["values"].clone()
    batches = iter(Steps(PictureSamples(pictures, torch.arange(num) % 10), BATCH_SIZE, seed=0).loader(0, num_steps))
    next(batches)
    start, warm = time.perf_counter() - began, num_steps // 10
    for _ in range(warm):
        next(batches)
    resident, most, used = resident_mb(), 0.0, time.process_time()
    sizes = (1, 16, 16, 1)
    network = nn.Sequential(*(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(sizes)))
    optimiser = torch.optim.AdamW(network.parameters())
    for number, batch in enumerate(batches):
        if train:
            network(batch.signal / 255).square().mean().backward()
            optimiser.step()
            optimiser.zero_grad()
        if number % 50 == 0:
            most = max(most, resident_mb())
    used = time.process_time() - used
    grown = {"resident_mb": resident, "most_mb": max(most, resident_mb())}
    return {"way": way, "start_s": start, **grown, "samples_a_second": (num_steps - 1 - warm) * BATCH_SIZE / used}


def resident_mb() -> float:
    """Of this process, as Linux tells it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
