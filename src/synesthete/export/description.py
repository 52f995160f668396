"""What an exported file says of its model: enough to sample it with no other file at hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from synesthete.diffusion.sampling import scheduler_for

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.pipeline import Pipeline

STATISTICS = ("mean", "scale")  # buffers of codecs, by the last part of their names


def describe(pipeline: Pipeline) -> dict[str, str]:
    """Recipe, classes, process, sampling settings, the steps of the plain sampler, the codec and its statistics.

    Every value is text; all but "recipe" are JSON.
    """
    codec = pipeline.codec
    values: dict[str, Any] = {
        "class_names": pipeline.class_names,
        "process": dict(pipeline.config.process),
        "sampling": pipeline.sampling_settings(),
        "steps": plain_steps(pipeline),
        "codec": {"class": type(codec).__name__} | fields(codec),
        "codec_statistics": statistics(codec.state_dict()),
    }
    recipe = str(pipeline.config.card.get("recipe", ""))
    return {"recipe": recipe} | {name: json.dumps(value, default=dict) for name, value in values.items()}


def fields(codec: Any) -> dict[str, Any]:
    """A codec's constructor arguments."""
    return {name: value for name, value in dict(codec.config).items() if not name.startswith("_")}


def statistics(state: dict[str, Tensor]) -> dict[str, Any]:
    """The numbers that a codec measured on its corpus, as nested lists."""
    return {name: value.tolist() for name, value in state.items() if name.rpartition(".")[2] in STATISTICS}


def plain_steps(pipeline: Pipeline) -> dict[str, list[float]]:
    """Timesteps of the first-order deterministic sampler at the model's own number of steps, with their levels.

    That is DDIM at eta 0, and Euler's method on a flow: x_t' = alpha' x_0 + sigma' noise for both. alpha and sigma hold
    one number more than timestep: clean data, 1 and 0.
    """
    flow = pipeline.process.schedule == "flow"
    changes = {"sampler": "flow-euler" if flow else "ddim", "eta": 0.0, "solver_order": None}
    scheduler = scheduler_for(pipeline.sampling_settings() | changes, pipeline.process)
    timestep = scheduler.timesteps
    alpha, sigma = (level.flatten().tolist() for level in pipeline.process.alpha_sigma(timestep))
    return {"timestep": timestep.tolist(), "alpha": [*alpha, 1.0], "sigma": [*sigma, 0.0]}
