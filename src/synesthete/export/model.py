"""A pipeline to ONNX files: written beside, checked against torch, and renamed; each says enough to sample it."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from synesthete import hub
from synesthete.diffusion.sampling import scheduler_for
from synesthete.export.graphs import Graph, conditioner_graph, decoder_graph, denoiser_graph, flattened
from synesthete.io import digest, replacing
from synesthete.types import InputError
from synesthete.worklist import going_on

if TYPE_CHECKING:
    from synesthete.pipeline import Pipeline

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
