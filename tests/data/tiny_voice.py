"""Voices of a few kilobytes, Piper's and Kokoro's: a hum, as long as the phonemes and the pace it is given say."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SAMPLE_RATE = 16_000
SAMPLES_A_PHONEME = 400
HARMONICS = 12


def write_voice(folder: Path, name: str, hertz: float = 120.0, num_speakers: int = 1) -> Path:
    """NAME.onnx and NAME.onnx.json with Piper's inputs and output; speaker k hums 20 k Hz higher."""
    folder.mkdir(parents=True, exist_ok=True)
    constants: dict[str, tuple[int, list[int], list[float]]] = {
        "samples": (TensorProto.FLOAT, [], [SAMPLES_A_PHONEME]),
        "zero": (TensorProto.FLOAT, [], [0.0]),
        "one": (TensorProto.FLOAT, [], [1.0]),
        "hertz": (TensorProto.FLOAT, [], [hertz]),
        "step": (TensorProto.FLOAT, [], [20.0]),
        "turn": (TensorProto.FLOAT, [], [2 * math.pi / SAMPLE_RATE]),
        "numbers": (TensorProto.FLOAT, [HARMONICS, 1], [float(k) for k in range(1, HARMONICS + 1)]),
        "levels": (TensorProto.FLOAT, [HARMONICS, 1], [math.exp(-abs(k - 5) / 2) for k in range(1, HARMONICS + 1)]),
        "shape": (TensorProto.INT64, [4], [1, 1, 1, -1]),
        "first": (TensorProto.INT64, [], [0]),
        "second": (TensorProto.INT64, [], [1]),
        "axis": (TensorProto.INT64, [1], [0]),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["scales", "first"], ["noise_scale"]),
        node("Gather", ["scales", "second"], ["length_scale"]),
        node("Cast", ["input_lengths"], ["lengths"], to=TensorProto.FLOAT),
        node("ReduceSum", ["lengths"], ["length"], keepdims=0),
        node("Mul", ["length", "samples"], ["plain"]),
        node("Mul", ["plain", "length_scale"], ["num"]),
        node("Range", ["zero", "num", "one"], ["time"]),
        # What is said changes the phase alone.
        node("Cast", ["input"], ["ids"], to=TensorProto.FLOAT),
        node("ReduceMean", ["ids"], ["phase"], keepdims=0),
    ]
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, "phonemes"]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    pitch = "hertz"
    if num_speakers > 1:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, [1]))
        nodes += [
            node("Cast", ["sid"], ["number"], to=TensorProto.FLOAT),
            node("Mul", ["number", "step"], ["higher"]),
            node("Add", ["higher", "hertz"], ["speaker"]),
        ]
        pitch = "speaker"
    nodes += [
        node("Mul", ["time", "turn"], ["turned"]),
        node("Mul", ["turned", pitch], ["angle"]),
        node("Add", ["angle", "phase"], ["whole"]),
        node("Mul", ["numbers", "whole"], ["angles"]),
        node("Sin", ["angles"], ["waves"]),
        node("Mul", ["waves", "levels"], ["leveled"]),
        node("ReduceSum", ["leveled", "axis"], ["hum"], keepdims=0),
        node("RandomNormalLike", ["hum"], ["random"]),
        node("Mul", ["random", "noise_scale"], ["noise"]),
        node("Add", ["hum", "noise"], ["sound"]),
        node("Reshape", ["sound", "shape"], ["output"]),
    ]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 1, "time"])]
    initial = [helper.make_tensor(key, *value) for key, value in constants.items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    settings = {
        "audio": {"sample_rate": SAMPLE_RATE},
        "espeak": {"voice": "en-us"},
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "num_symbols": len(DEFAULT_PHONEME_ID_MAP),
        "num_speakers": num_speakers,
        "speaker_id_map": {},
        "phoneme_id_map": DEFAULT_PHONEME_ID_MAP,
    }
    path.with_name(f"{name}.onnx.json").write_text(json.dumps(settings))
    return path


def write_kokoro(folder: Path, voices: Mapping[str, float], symbols: str, frames: str | None = None) -> Path:
    """onnx/model_quantized.onnx, voices/NAME.bin and tokenizer.json with Kokoro's inputs and output.

    voices: names to Hz, which is the first number of a voice's vector; ten vectors, so ten symbols at most. frames: the
    tensor within the network that tells how long each symbol is: one frame of 600 samples, at every pace.
    """
    node = helper.make_node
    constants: dict[str, tuple[int, list[int], list[float]]] = {
        "samples": (TensorProto.FLOAT, [], [600 if frames else SAMPLES_A_PHONEME]),
        "zero": (TensorProto.FLOAT, [], [0.0]),
        "one": (TensorProto.FLOAT, [], [1.0]),
        "ones": (TensorProto.FLOAT, [1], [1.0]),
        "turn": (TensorProto.FLOAT, [], [2 * math.pi / 24_000]),
        "first": (TensorProto.INT64, [], [0]),
        "second": (TensorProto.INT64, [], [1]),
        "whole": (TensorProto.INT64, [1], [-1]),
    }
    nodes = [
        node("Shape", ["tokens"], ["shape"]),
        node("Gather", ["shape", "second"], ["count"]),
        node("Cast", ["count"], ["length"], to=TensorProto.FLOAT),
        node("Mul", ["length", "samples"], ["plain"]),
        node("Div", ["plain", "ones" if frames else "speed"], ["lengths"]),
        node("Expand", ["ones", "shape"], [frames or "unused"]),
        node("Gather", ["lengths", "first"], ["num"]),
        node("Range", ["zero", "num", "one"], ["time"]),
        node("Cast", ["tokens"], ["ids"], to=TensorProto.FLOAT),
        node("ReduceMean", ["ids"], ["phase"], keepdims=0),  # what is said changes the phase alone
        node("Reshape", ["style", "whole"], ["numbers"]),
        node("Gather", ["numbers", "first"], ["hertz"]),
        node("Mul", ["time", "turn"], ["turned"]),
        node("Mul", ["turned", "hertz"], ["angle"]),
        node("Add", ["angle", "phase"], ["turns"]),
        node("Sin", ["turns"], ["audio"]),
    ]
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, "length"]),
        helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, 256]),
        helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1]),
    ]
    outputs = [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["audio_length"])]
    initial = [helper.make_tensor(key, *value) for key, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "kokoro", inputs, outputs, initial),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    for name in ("onnx", "voices"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "onnx" / "model_quantized.onnx")
    for name, hertz in voices.items():
        styles = np.zeros((10, 1, 256), np.float32)
        styles[..., 0] = hertz + np.arange(10)[:, None]  # a Hz more for each symbol
        styles.tofile(folder / "voices" / f"{name}.bin")
    vocab = {symbol: number for number, symbol in enumerate(symbols, start=1)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}}))
    return folder
