"""A pipeline to ONNX files: written beside, checked against torch, and renamed; each says enough to sample it.

And a denoiser that onnxruntime runs in place of torch, inside the one loop of sampling.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from synesthete import hub
from synesthete.diffusion.sampling import scheduler_for
from synesthete.export.graphs import (
    BATCH,
    TOLERANCE,
    Graph,
    Predict,
    conditioner_graph,
    decoder_graph,
    denoiser_graph,
    flattened,
)
from synesthete.io import digest, replacing
from synesthete.logs import PACKAGE
from synesthete.nn.part import CastOnce, autocast
from synesthete.pipeline.cascade import Cascade
from synesthete.types import Condition, InputError
from synesthete.worklist import going_on

if TYPE_CHECKING:
    from synesthete.pipeline import Pipeline

Engine = Literal["torch", "onnx"]
CACHE = "onnx"  # in the cache folder
STATISTICS = ("mean", "scale")  # buffers of codecs, by the last part of their names
PARTS: dict[str, Callable[[Pipeline], Graph | None]] = {
    "conditioner": conditioner_graph,
    "denoiser": denoiser_graph,
    "decoder": lambda pipeline: decoder_graph(pipeline.codec),
}
NEEDED = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18
CHECKED_BATCHES = (1, 3)  # neither is that of the example
MOST_BYTES = 2**31 - 2**20  # of weights in one file: protobuf's own limit, less room for the graph


def describe_export(pipeline: Pipeline) -> dict[str, str]:
    """Recipe, classes, process, sampling settings, the steps of the plain sampler, the codec and its statistics.

    Every value is text; all but "recipe" are JSON.
    """
    codec = pipeline.codec
    measured = {name: x for name, x in codec.state_dict().items() if name.rpartition(".")[2] in STATISTICS}
    values: dict[str, Any] = {
        "class_names": pipeline.class_names,
        "process": dict(pipeline.config.process),
        "sampling": pipeline.sampling_settings(),
        "steps": plain_steps(pipeline),
        "codec": {"class": type(codec).__name__} | codec.fields,
        "codec_statistics": {name: value.tolist() for name, value in measured.items()},
    }
    recipe = str(pipeline.config.card.get("recipe", ""))
    return {"recipe": recipe} | {name: json.dumps(value, default=dict) for name, value in values.items()}


def plain_steps(pipeline: Pipeline) -> dict[str, list[float]]:
    """Timesteps of the first-order deterministic sampler at the model's own number of steps, with their levels.

    That is DDIM at eta 0, and Euler's method on a flow: x_t' = alpha' x_0 + sigma' noise for both. alpha and sigma hold
    one number more than timestep: clean data, 1 and 0. Of notes that become unknown no such sampler is; nothing then.
    """
    if not pipeline.process.is_gaussian:
        return {}
    flow = pipeline.process.schedule == "flow"
    changes = {"sampler": "flow-euler" if flow else "ddim", "eta": 0.0, "solver_order": None}
    scheduler = scheduler_for(pipeline.sampling_settings() | changes, pipeline.process)
    timestep = scheduler.timesteps
    alpha, sigma = (level.flatten().tolist() for level in pipeline.process.alpha_sigma(timestep))
    return {"timestep": timestep.tolist(), "alpha": [*alpha, 1.0], "sigma": [*sigma, 0.0]}


@dataclass(frozen=True)
class Written:
    """One file.

    inputs, outputs: name -> shape, "batch" first. difference: the largest between torch and onnxruntime, as a share of
    the largest value (of uint8: in levels), and `tolerance`, what it may be.
    """

    path: Path
    inputs: dict[str, list[Any]]
    outputs: dict[str, list[Any]]
    difference: float
    tolerance: float


def export_model(
    pipeline: Pipeline, folder: Path, parts: Collection[str] = tuple(PARTS), *, overwrite: bool = False
) -> list[Written]:
    """Write `folder`/PART.onnx for each of `parts`, run each by onnxruntime and compare it with torch.

    A model that is told nothing, or by another network than a table of classes, has no conditioner.onnx. The pipeline
    is left as it is; the files compute in float32. One that was killed is called again: files that it has evaluated are
    kept.

    Raises:
        InputError: onnx, onnxscript or onnxruntime are not installed, an unknown part, a file that is there already,
            weights too large for one file, a codec without a graph, a file that differs from torch, or another process
            at work in the folder.
    """
    check_installed(*NEEDED)
    if unknown := [part for part in parts if part not in PARTS]:
        raise InputError(f"no part {unknown[0]!r}; choose from {', '.join(PARTS)}")
    still = detached(pipeline)
    graphs = {part: graph for part in parts if (graph := PARTS[part](still)) is not None}
    paths = {part: folder / f"{part}.onnx" for part in graphs}

    def check() -> None:
        if not overwrite and (there := [path for path in paths.values() if path.exists()]):
            raise InputError(f"{there[0]}: there already; give --overwrite or another --out")

    said = describe_export(still)
    weights = [getattr(still, part).state_dict() for part in ("codec", "conditioner", "denoiser")]
    request = digest(said, [*graphs], *(tensor for own in weights for tensor in own.values()))
    written = []
    with going_on(folder, request, [*paths.values()], check) as left:
        for part, graph in graphs.items():
            if (told := left.recall(part)) is None:
                file = write_part(graph, paths[part], {"part": part, **said})
                told = {name: value for name, value in asdict(file).items() if name != "path"}
                left.record(part, [paths[part]], told)
            written.append(Written(paths[part], **told))
    return written


def check_installed(*names: str) -> None:
    """Make sure that libraries are there."""
    if missing := [name for name in names if importlib.util.find_spec(name) is None]:
        raise InputError(f"{' and '.join(missing)} not installed; pip install 'synesthete[export]'")


def detached(pipeline: Pipeline) -> Pipeline:
    """A copy on the CPU in float32, to be evaluated: the parts themselves may be training, on a device, or rounded."""
    parts = {name: copy.deepcopy(getattr(pipeline, name)) for name in ("codec", "conditioner", "denoiser")}
    for part in parts.values():
        nn.Module.to(part, "cpu", torch.float32).eval().requires_grad_(False)
    return type(pipeline)(scheduler=pipeline.scheduler, **parts, **pipeline.config)


def write_part(graph: Graph, path: Path, said: dict[str, str]) -> Written:
    """One graph to one file, which is there only if onnxruntime gives what torch gives."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in graph.module.state_dict().values())
    if size > MOST_BYTES:
        raise InputError(f"{path}: {size / 1e9:.1f} GB of weights; one ONNX file holds 2 GB, export a smaller model")
    with replacing(path) as partial:
        partial.write_bytes(serialised(graph, said | {name: json.dumps(fact) for name, fact in graph.facts.items()}))
        return compared(graph, partial, path)


@torch.no_grad()
def serialised(graph: Graph, said: dict[str, str]) -> bytes:
    """The ONNX model of a graph, any batch, as its file's content; `said` are its metadata."""
    import onnx

    batch = torch.export.Dim("batch")
    with quiet():
        program = torch.onnx.export(
            graph.module.eval(),
            kwargs=graph.inputs,
            input_names=list(flattened(graph.inputs)),
            output_names=list(graph.outputs),
            dynamic_shapes=tree_map(lambda _: {0: batch}, graph.inputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    # The exporter notes on every node which lines made it, with the paths of this machine: they tell others nothing.
    for node in (*model.graph.node, *model.graph.value_info, *(node for one in model.functions for node in one.node)):
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    onnx.helper.set_model_props(model, said)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what torch says of its own parts, none of which a user can mend."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@torch.no_grad()
def compared(graph: Graph, file: Path, path: Path) -> Written:
    """Run the file at other batch sizes than it was made with, and compare."""
    session = hub.open_network(file, num_threads=torch.get_num_threads())
    largest = 0.0
    for batch in CHECKED_BATCHES:
        inputs = tree_map(lambda value, num=batch: value[torch.arange(num) % len(value)], graph.inputs)
        expected, plain = graph.oracle(**inputs), flattened(inputs)
        found = session.run(None, {one.name: plain[one.name].numpy() for one in session.get_inputs()})
        for wanted, got in zip(expected if isinstance(expected, tuple) else (expected,), found, strict=True):
            difference = (torch.from_numpy(got).double() - wanted.double()).abs().max()
            whole = 1.0 if wanted.dtype == torch.uint8 else wanted.double().abs().max().clamp(min=1e-6)
            largest = max(largest, float("inf") if not difference.isfinite() else (difference / whole).item())
    if largest > graph.tolerance:
        raise InputError(
            f"{path}: differs from torch by {largest:.2g}, more than {graph.tolerance:.2g}; not written, "
            "try other versions of onnxscript and onnxruntime"
        )
    takes, gives = ({one.name: one.shape for one in side} for side in (session.get_inputs(), session.get_outputs()))
    return Written(path, takes, gives, largest, graph.tolerance)


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
        module, rows = Predict(self.denoiser), torch.arange(BATCH)
        example = tree_map(lambda value: value[rows % len(value)].clone(), inputs)
        graph = Graph(module, example, ("prediction",), TOLERANCE, oracle=module)
        if not is_sound(graph, path):
            check_installed(*NEEDED)
            write_part(graph, path, {"part": "denoiser"})
        session = hub.open_network(path, num_threads=torch.get_num_threads())
        return session, [one.name for one in session.get_inputs()]


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
