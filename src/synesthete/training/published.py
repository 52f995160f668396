"""What published networks are, as their repositories say, and random weights of their shapes in place of a download."""

from __future__ import annotations

import contextlib
import json
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from accelerate.utils import patch_environment

from synesthete import hub
from synesthete.conditioning.trial_towers import write_tokenizer
from synesthete.io import write_file

if TYPE_CHECKING:
    from synesthete.config import Recipe


@dataclass(frozen=True)
class Network:
    """A network of a published repository.

    kind: MODULE:CLASS. fields: of it, or of the configuration that it takes. num_parameters: that it has as published.
    source: where that and the fields are written. file: of its weights in the repository, beside which its config.json
    lies; "" for one that no training waits for.
    """

    kind: str
    fields: Mapping[str, Any]
    num_parameters: int
    source: str
    file: str = ""

    def make(self) -> Any:
        """It, without memory for its weights."""
        import torch  # the table does without

        kind = pkgutil.resolve_name(self.kind)
        config = getattr(kind, "config_class", None)  # of transformers' classes
        with torch.device("meta"):
            return kind(config(**self.fields)) if config else kind(**self.fields)


def write_extractor(folder: Path) -> None:
    """What makes log-mels for CLAP, as its preprocessor_config.json has it: unfused, from 50 Hz up."""
    from transformers import ClapFeatureExtractor

    ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50).save_pretrained(folder)


def autoencoder(file: str, source: str) -> Network:
    """Stable Diffusion's."""
    fields = {
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    }
    return Network("diffusers:AutoencoderKL", fields, 83_653_863, source, file=file)


WEIGHTS = "diffusion_pytorch_model.safetensors"
PUBLISHED: dict[str, tuple[Network, ...]] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": (
        # Its other values are the defaults of the class, which was written for it.
        Network(
            "diffusers:UNet2DConditionModel",
            {"sample_size": 64, "cross_attention_dim": 768},
            859_520_964,
            "unet/config.json",
            file=f"unet/{WEIGHTS}",
        ),
        autoencoder(f"vae/{WEIGHTS}", "vae/config.json"),
        Network(
            "transformers:CLIPTextModel",
            {
                "hidden_size": 768,
                "intermediate_size": 3072,
                "num_hidden_layers": 12,
                "num_attention_heads": 12,
                "projection_dim": 768,
                "vocab_size": 49_408,
            },
            123_060_480,
            "text_encoder/config.json, openai/clip-vit-large-patch14",
            "text_encoder/model.safetensors",
        ),
    ),
    "stabilityai/sd-vae-ft-mse": (autoencoder(WEIGHTS, "config.json"),),
    "laion/larger_clap_music_and_speech": (
        Network(
            "transformers:ClapModel",
            # HTSAT-base; text and projections are the defaults of the class.
            {"audio_config": {"hidden_size": 1024, "patch_embeds_hidden_size": 128, "depths": [2, 2, 12, 2]}},
            193_913_882,
            "config.json; the sizes as diffusers' scripts/convert_original_audioldm2_to_diffusers.py has them",
            "model.safetensors",
        ),
    ),
    "charactr/vocos-mel-24khz": (
        Network(
            "synesthete.codecs.vocoders:Vocos",
            {
                "sample_rate": 24_000,
                "n_fft": 1024,
                "hop_length": 256,
                "n_mels": 100,
                "dim": 512,
                "intermediate_dim": 1536,
                "num_layers": 8,
                "padding": "center",
            },
            13_531_650,
            "config.yaml",
        ),
    ),
    "jik876/hifi-gan": (
        Network(
            "transformers:SpeechT5HifiGan",
            {
                "model_in_dim": 80,
                "upsample_initial_channel": 512,
                "upsample_rates": [8, 8, 2, 2],
                "upsample_kernel_sizes": [16, 16, 4, 4],
                "resblock_kernel_sizes": [3, 7, 11],
                "resblock_dilation_sizes": [[1, 3, 5]] * 3,
            },
            13_926_017,
            "config_v1.json; Kong et al. 2020, table 1: 13.92M",
        ),
    ),
}
# What writes the rest that their readers need into a repository's folder.
REST: dict[str, Callable[[Path], Any]] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": lambda folder: write_tokenizer(folder / "tokenizer"),
    "laion/larger_clap_music_and_speech": write_extractor,
}
# Of hexgrad/Kokoro-82M, which runs as ONNX: config.json, and the shape of a file of voices/.
KOKORO = {"sample_rate": 24_000, "style_dim": 128, "voice": (510, 1, 256), "n_token": 178}


def missing_weights(recipe: Recipe) -> list[str]:
    """The repositories that a recipe names, whose weights this machine lacks and whose networks are known."""
    named = json.dumps(recipe.to_dict())
    return [
        name
        for name, networks in PUBLISHED.items()
        if f'"{name}"' in named and any(one.file and not hub.local_weights(name, (one.file,)) for one in networks)
    ]


@contextlib.contextmanager
def stand_ins(recipe: Recipe, folder: Path) -> Iterator[list[str]]:
    """Random weights, laid out as published and found as if they were, for what a recipe would download; their names.

    folder: to write them to, new. What this machine has is used as it is.
    """
    before, missing = hub.weights_folder(), missing_weights(recipe)
    for name in missing:
        lay_out_repository(name, folder / name)
    for there in before.glob("*/*"):
        place = folder / there.relative_to(before)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(there.resolve())
    with patch_environment(SYNESTHETE_WEIGHTS=folder):
        yield missing


def lay_out_repository(name: str, folder: Path) -> None:
    """Write what a repository holds, its weights random."""
    for network in PUBLISHED[name]:
        made, file = network.make(), folder / network.file
        settings = dict(made.config if isinstance(made.config, dict) else made.config.to_dict())
        settings |= {"_class_name": type(made).__name__, "architectures": [type(made).__name__]}
        write_file(file.parent / "config.json", json.dumps(settings, default=str))
        write_random(file, {name: tuple(value.shape) for name, value in made.state_dict().items()})
    REST.get(name, lambda folder: None)(folder)


def write_random(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """A safetensors file of float32 with these tensors, written one after the other; as large as layers are drawn.

    Its values are one block repeated: a billion that are drawn take longer than what is tried with them.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = np.random.default_rng(0).standard_normal(1_000_003, dtype=np.float32)  # a prime: no two rows are alike
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            if len(shape) > 1:
                values = np.resize(block * np.float32(np.prod(shape[1:]) ** -0.5), shape)
            else:  # scales of norms are 1, what is added is 0
                values = np.full(shape, float(name.endswith(("weight", "running_var"))), dtype=np.float32)
            values.tofile(out)
