"""Sampling exported files with numpy and onnxruntime alone.

A reference for other languages and devices, short enough to read; it needs nothing of this package and may be copied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

__all__ = ["ExportedModel"]


class ExportedModel:
    """The files that `synesthete export` put into a folder."""

    def __init__(self, folder: str | Path) -> None:
        self.sessions = {
            path.stem: onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            for path in sorted(Path(folder).glob("*.onnx"))
        }
        said = self.sessions["denoiser"].get_modelmeta().custom_metadata_map
        self.said = {name: json.loads(text) for name, text in said.items() if name not in ("part", "recipe")}

    def run(self, part: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of a file by their names."""
        session = self.sessions[part]
        return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs), strict=True))

    def tell(self, labels: Sequence[int]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """What the denoiser is told of classes by their numbers, and of none."""
        null = json.loads(self.sessions["conditioner"].get_modelmeta().custom_metadata_map["null_label"])
        label = np.asarray(labels, dtype=np.int64)
        return self.run("conditioner", label=label), self.run("conditioner", label=np.full_like(label, null))

    def sample(
        self,
        noise: np.ndarray,
        told: Mapping[str, np.ndarray] | None = None,
        null: Mapping[str, np.ndarray] | None = None,
        guidance_scale: float | None = None,
    ) -> np.ndarray:
        """From noise (B, C, H, W), unit Gaussian, to x_0 by DDIM at eta 0, which is Euler's method on a flow.

        told, null: the denoiser's other inputs, such as tokens and pooled; null may be left out where nothing guides.
        """
        steps, settings = self.said["steps"], self.said["sampling"]
        scale = settings["guidance_scale"] if guidance_scale is None else guidance_scale
        low, high = (
            fraction * self.said["process"]["num_train_timesteps"] for fraction in settings["guidance_interval"]
        )
        x_t = noise.astype(np.float32)
        for i, timestep in enumerate(steps["timestep"]):
            now = (x_t, timestep, steps["alpha"][i], steps["sigma"][i])
            prediction = self._predict(*now, null if scale == 0.0 else told)
            if scale not in (0.0, 1.0) and null is not None and low <= timestep <= high:
                prediction = guided_arrays(prediction, self._predict(*now, null), scale, settings["guidance_rescale"])
            x_0, estimate = split_levels(self.space, prediction, x_t, *now[2:])
            x_t = (steps["alpha"][i + 1] * x_0 + steps["sigma"][i + 1] * estimate).astype(np.float32)
        return x_t

    def decode(self, x_0: np.ndarray) -> np.ndarray:
        """x_0 -> what the decoder's one output is: pictures, waveform, magnitude or log_mel."""
        (output,) = self.run("decoder", x_0=x_0).values()
        return output

    @property
    def space(self) -> str:
        """What is guided: a flow's velocity, whatever the network predicts, as by the samplers of a flow."""
        process = self.said["process"]
        return "flow" if process["schedule"] == "flow" else process["prediction_type"]

    def _predict(
        self, x_t: np.ndarray, timestep: float, alpha: float, sigma: float, told: Mapping[str, np.ndarray] | None
    ) -> np.ndarray:
        when = np.full(len(x_t), timestep, dtype=np.float32)
        prediction = self.run("denoiser", x_t=x_t, timestep=when, **(told or {}))["prediction"]
        own = self.said["process"]["prediction_type"]
        if self.space == own:
            return prediction
        x_0, estimate = split_levels(own, prediction, x_t, alpha, sigma)
        return estimate - x_0


def guided_arrays(prediction: np.ndarray, without: np.ndarray, scale: float, rescale: float) -> np.ndarray:
    """Classifier-free guidance (Ho & Salimans 2022), its spread brought back by `rescale` (Lin et al. 2024, 3.4)."""
    moved = without + scale * (prediction - without)
    dims = tuple(range(1, prediction.ndim))
    ratio = prediction.std(dims, keepdims=True) / moved.std(dims, keepdims=True) if rescale else 1.0
    return moved * (rescale * ratio + 1 - rescale)


def split_levels(kind: str, prediction: np.ndarray, x_t: np.ndarray, alpha: float, sigma: float) -> tuple[Any, Any]:
    """(x_0, noise) that a network's prediction at x_t = alpha x_0 + sigma noise implies."""
    match kind:
        case "sample":
            return prediction, (x_t - alpha * prediction) / sigma
        case "epsilon":
            return (x_t - sigma * prediction) / alpha, prediction
        case "v_prediction":
            norm = alpha**2 + sigma**2
            return (alpha * x_t - sigma * prediction) / norm, (sigma * x_t + alpha * prediction) / norm
        case _:  # flow: noise - x_0
            total = alpha + sigma
            return (x_t - sigma * prediction) / total, (x_t + alpha * prediction) / total
