"""One forward pass of the 96x96 U-Net: of the network it goes back to, and of ours.

    python -m benchmarks.unet_forward --json
    python -m benchmarks.unet_forward --batch-size 4 --rounds 1

The original (`peers.seed_unet`) ran float32 on a CPU. Ours is what `images-stl10` trains: bf16 where the processor
multiplies it in hardware, channels-last, and the condition's keys and values projected in the same pass, although a
sampler does that once and not in every step; `ours_float32` is the same in float32. Weights are random and awake. Every
round is a process a side, the sides taking turns; each warms up and counts its fastest pass, and the fastest of all
rounds is kept, since other work on the machine only ever adds. The peak is what a product of two square matrices
reaches in these same processes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.peers.seed_unet import CONTEXT_WIDTH, SeedUNet
from synesthete.nn.part import autocast
from synesthete.recipes import find_recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from synesthete.config import Recipe

RECIPE = "images-stl10"
SIDES = ("seed", "ours", "ours_float32")
CPU = torch.device("cpu")


def count_attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
    """Operations of two products, from shapes (B, heads, N or L, D)."""
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[2] * (width + value[3])


# torch's counter knows the fused attention of accelerators alone.
UNCOUNTED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: count_attention}


def main() -> None:
    """Time both sides in turn; print a line each, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=RECIPE)
    parser.add_argument("--set", action="append", default=[], dest="assignments", metavar="KEY=VALUE")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--size", type=int, default=96, help="side of the pictures in pixels")
    parser.add_argument("--rounds", type=int, default=3, help="processes a side")
    parser.add_argument("--passes", type=int, default=5, help="forward passes a process, after a first one")
    parser.add_argument("--matrix-size", type=int, default=2048, help="of the products whose speed is the peak")
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object as the last line")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    numbers = (options.batch_size, options.rounds, options.passes, options.matrix_size)
    if min(numbers) < 1 or options.size < 4 or options.size % 4:
        parser.error("--batch-size, --rounds, --passes and --matrix-size: give at least 1; --size: a multiple of 4")
    if options.side:
        print(json.dumps(measure(options.side, options)))
        return
    values = compare(options)
    for side in SIDES:
        share = values["share_of_peak"][side]
        print(
            f"{side}: {values[f'{side}_seconds']:.3f} s in {values['precision'][side]}, "
            f"{values['flops'][side] / 1e9:.0f} GFLOP, {100 * share:.0f}% of the matrix peak",
            file=sys.stderr,
        )
    print(json.dumps(values) if options.as_json else f"speedup {values['speedup']:.1f}")


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """The fastest pass of both sides over all rounds, and what share of the machine's peak each reaches."""
    rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side in SIDES:
            rounds[side].append(start(side, options))
    every = [found for side in SIDES for found in rounds[side]]
    peaks = {kind: max(found["peaks"][kind] for found in every) for kind in ("float32", "bf16")}
    best = {side: min(rounds[side], key=lambda found: found["seconds"]) for side in SIDES}
    seconds = {side: best[side]["seconds"] for side in SIDES}
    return {
        "recipe": options.recipe,
        "batch_size": options.batch_size,
        "size": options.size,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **{f"{side}_seconds": seconds[side] for side in SIDES},
        "speedup": seconds["seed"] / seconds["ours"],
        "speedup_float32": seconds["seed"] / seconds["ours_float32"],
        **{f"{side}_parameters": best[side]["parameters"] for side in SIDES[:2]},
        "flops": {side: best[side]["flops"] for side in SIDES},
        "precision": {side: best[side]["precision"] for side in SIDES},
        **{f"matrix_peak_gflops_{kind}": peak for kind, peak in peaks.items()},
        "share_of_peak": {
            side: best[side]["flops"] / seconds[side] / 1e9 / peaks[best[side]["precision"]] for side in SIDES
        },
        "all_seconds": {side: [found["seconds"] for found in rounds[side]] for side in SIDES},
    }


def start(side: str, options: argparse.Namespace) -> dict[str, Any]:
    """One side in a process of its own."""
    own = ["--side", side, "--recipe", options.recipe, *(f"--set={text}" for text in options.assignments)]
    for name in ("batch_size", "size", "passes", "matrix_size"):
        own += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    command = [sys.executable, "-m", "benchmarks.unet_forward", *own]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


@torch.inference_mode()
def measure(side: str, options: argparse.Namespace) -> dict[str, Any]:
    """One side in this process: its fastest pass, what it computes, and the machine's peak."""
    torch.manual_seed(0)
    x_t = torch.randn(options.batch_size, 3, options.size, options.size)
    timestep = torch.full((options.batch_size,), 500.0)
    precision: Any = "no"
    if side == "seed":
        network: torch.nn.Module = SeedUNet().eval()
        condition = torch.randn(options.batch_size, 1, CONTEXT_WIDTH)  # a CLIP vector
    else:
        recipe = find_recipe(options.recipe, options.assignments)
        network = make_awake(recipe)
        condition = recipe.conditioner().eval().null(options.batch_size)
        precision = "no" if side == "ours_float32" else recipe.stages[-1].precision

    def forward() -> None:
        network(x_t, timestep, condition)

    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        forward()
    with autocast(CPU, precision):
        forward()
        seconds = min(clock(forward) for _ in range(options.passes))
        computed = "bf16" if torch.is_autocast_enabled("cpu") else "float32"
    return {
        "seconds": seconds,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "flops": counter.get_total_flops(),
        "precision": computed,
        "peaks": {
            "float32": matrix_peak(torch.float32, options.matrix_size),
            "bf16": matrix_peak(torch.bfloat16, options.matrix_size),
        },
    }


def make_awake(recipe: Recipe) -> torch.nn.Module:
    """The recipe's network with random weights, also where they start at zero and would leave the blocks closed."""
    network = recipe.denoiser().eval()
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    return network


def matrix_peak(dtype: torch.dtype, size: int, repeats: int = 6) -> float:
    """GFLOP/s of the fastest product of two square matrices."""
    left, right = (torch.randn(size, size, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(clock(lambda: left @ right) for _ in range(repeats)) / 1e9


def clock(run: Callable[[], object]) -> float:
    """Seconds of one run."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
