"""A denoiser run by onnxruntime in place of torch, inside the one loop of sampling."""

from __future__ import annotations

import contextlib
import importlib.util
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from synesthete import hub
from synesthete.export.graphs import BATCH, TOLERANCE, Graph, Predict, flattened
from synesthete.export.model import NEEDED, OPSET, check_installed, compared, write_part
from synesthete.io import digest
from synesthete.logs import PACKAGE
from synesthete.nn.part import CastOnce, autocast
from synesthete.pipeline.cascade import Cascade
from synesthete.types import Condition, InputError

Engine = Literal["torch", "onnx"]
CACHE = "onnx"  # in the cache folder


class OnnxNetwork:
    """A denoiser on the CPU that onnxruntime computes, in float32: it is called as the denoiser is.

    A graph is of the sizes that it was first called with, any batch; it is kept in the cache by the name of weights and
    sizes, and compared with torch whenever it is opened. The keys and values of a condition, computed once, are inputs.

    Raises:
        InputError: onnxruntime is not installed, or a denoiser on another device.
    """

    name: Engine = "onnx"
    dtype = torch.float32

    def __init__(self, denoiser: Any) -> None:
        check_installed("onnxruntime")
        if denoiser.device.type != "cpu":
            raise InputError(f"engine onnx: computes on the CPU, not on {denoiser.device.type}; give --device cpu")
        self.denoiser = denoiser
        self._sessions: dict[Any, Any] = {}
        self._weights = ""

    def __call__(self, x_t: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """As `Denoiser.forward`."""
        inputs = {"x_t": x_t, "timestep": timestep.float(), **dict(condition._parts())}
        inputs = {name: value for name, value in inputs.items() if value is not None}
        plain = flattened(inputs)
        sizes = (self.denoiser.adapter_scale, {name: list(value.shape[1:]) for name, value in plain.items()})
        key = repr(sizes)
        if key not in self._sessions:
            self._sessions[key] = self._open(inputs, sizes)
        session, takes = self._sessions[key]
        (prediction,) = session.run(None, {name: plain[name].contiguous().numpy() for name in takes})
        return torch.from_numpy(prediction)

    def _open(self, inputs: dict[str, Any], sizes: tuple[Any, ...]) -> tuple[Any, list[str]]:
        """A session for inputs of such sizes, and the names of what it takes."""
        self._weights = self._weights or digest(self.denoiser)
        kind = type(self.denoiser).__name__, dict(self.denoiser.config), version(PACKAGE), torch.__version__, OPSET
        path = hub.cache_folder() / CACHE / f"{digest(self._weights, kind, sizes)}.onnx"
        graph = network_graph(self.denoiser, inputs)
        if not is_sound(graph, path):
            check_installed(*NEEDED)
            write_part(graph, path, {"part": "denoiser"})
        session = hub.open_network(path, num_threads=torch.get_num_threads())
        return session, [one.name for one in session.get_inputs()]


def network_graph(denoiser: Any, inputs: dict[str, Any]) -> Graph:
    """The graph of a network alone, x_t, timestep and what it is told -> what it outputs, for inputs of these sizes."""
    rows = torch.arange(BATCH)
    module = Predict(denoiser)
    example = tree_map(lambda value: value[rows % len(value)].clone(), inputs)
    return Graph(module, example, ("prediction",), TOLERANCE, oracle=module)


def is_sound(graph: Graph, path: Path) -> bool:
    """Whether a file is there that onnxruntime opens and that says what torch says."""
    if path.is_file():
        with contextlib.suppress(Exception):  # whatever a damaged file makes onnxruntime say: it is written again
            compared(graph, path, path)
            return True
    return False


@torch.no_grad()
def time_engines(pipeline: Any, num: int = 8) -> dict[str, float]:
    """Seconds that the network takes for a step of `num` samples, guided where it is, by each engine there is."""
    settings = pipeline.sampling_settings()
    rows = num * (1 if settings["guidance_scale"] in (0.0, 1.0) else 2)
    x_t, timestep = torch.randn(rows, *pipeline.codec.shape), torch.full((rows,), 500.0)
    engines = ["torch", *(["onnx"] if all(map(importlib.util.find_spec, NEEDED)) else [])]
    found = {}
    for engine in engines:
        precision: Any = settings["precision"] if engine == "torch" else "no"
        with autocast(pipeline.device, precision):
            condition = pipeline.denoiser.precompute(pipeline.conditioner.null(rows))
            network = CastOnce(pipeline.denoiser) if engine == "torch" else OnnxNetwork(pipeline.denoiser)
            network(x_t, timestep, condition)
            times = []
            for _ in range(5):
                started = time.perf_counter()
                network(x_t, timestep, condition)
                times.append(time.perf_counter() - started)
        found[engine] = statistics.median(times)
    return found


def set_engine(made: Any, engine: str) -> None:
    """Let a pipeline, or both of a cascade, be computed by an engine."""
    if engine not in get_args(Engine):
        raise InputError(f"engine {engine!r}: there are {', '.join(get_args(Engine))}")
    pipelines = (made.base, made.upsampler) if isinstance(made, Cascade) else (made,)
    for one in pipelines:
        one.network = None if engine == "torch" else OnnxNetwork(one.denoiser)
