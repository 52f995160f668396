"""A published CLIP text encoder: prompts as it was trained to read them, and what it says of them, kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from synesthete import hub
from synesthete.conditioning import feature_cache
from synesthete.conditioning.frozen_encoder import FIELD, FrozenEncoder, one_line
from synesthete.io import digest
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

# Prompts that go through the encoder at once.
CHUNK = 64
CACHE = "clip-text"  # in the cache folder
ENCODER, PROJECTION = "a CLIP text encoder", "text_projection.weight"


@dataclass(frozen=True)
class TextGeometry:
    """What has to be known of a text encoder before its weights are here: the widths of tokens and pooled vector."""

    width: int
    pooled_width: int


# As their config.json on the Hub say.
KNOWN = {
    "openai/clip-vit-base-patch32": TextGeometry(512, 512),
    "openai/clip-vit-base-patch16": TextGeometry(512, 512),
    "openai/clip-vit-large-patch14": TextGeometry(768, 768),
}


def find_geometry(model: str) -> TextGeometry:
    """The widths of a text encoder by Hub id or folder: from the table, else from its config.json, a small file.

    Raises:
        InputError: neither on this machine nor to be had, or no CLIP with a text encoder.
    """
    if model in KNOWN:
        return KNOWN[model]
    config, projected = read_config(model, hub.find_weights(model, ("config.json",), field=FIELD))
    return TextGeometry(config.hidden_size, config.projection_dim if projected else config.hidden_size)


class TextTower(FrozenEncoder):
    """The text encoder of a CLIP.

    What it says of a prompt is kept in the cache folder, by the model's id, the digest of its files, and the prompt.

    Args:
        model: a Hub id, or a folder with config.json, vocab.json, merges.txt and weights. field: as of every encoder.
    """

    kind = ENCODER

    def __init__(self, model: str, field: str = FIELD) -> None:
        super().__init__(model, field)

    @property
    def tokenizer_folder(self) -> Path:
        """Where the files of its tokenizer are."""
        return self.folder

    @cached_property
    def tokenizer(self) -> Any:
        """Its byte-pair encoding of text."""
        # Imported here, as below: most commands read no text.
        from transformers import CLIPTokenizer

        folder = self.tokenizer_folder
        if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            raise InputError(f"{folder}: no tokenizer.json or vocab.json in it; add the tokenizer's files")
        with one_line(self.model, ENCODER, self.field):
            return CLIPTokenizer.from_pretrained(folder)

    def _read_network(self) -> Any:
        from transformers import CLIPTextModelWithProjection

        config, projected = read_config(self.model, self.folder, self.field)
        network = self.read(CLIPTextModelWithProjection, config, may_lack=None if projected else PROJECTION)
        if not projected:
            network.text_projection = torch.nn.Identity()
        return network

    def extract_features(self, prompts: Sequence[str], device: torch.device, max_tokens: int) -> list[Tensor]:
        """Of each prompt (1 + l, E) float32 on the CPU: the pooled vector, then its l tokens, the end of text last.

        E is the wider of tokens and pooled vector; the narrower end in zeros. Prompts said before are not read again.

        Raises:
            InputError: a prompt of more than max_tokens tokens, or files that are missing or damaged.
        """
        said = {prompt: feature_cache.load(CACHE, self._key(prompt)) for prompt in prompts}
        new = [prompt for prompt, seen in said.items() if seen is None]
        for first in range(0, len(new), CHUNK):
            part = new[first : first + CHUNK]
            for prompt, seen in zip(part, self._read(part, device, max_tokens), strict=True):
                said[prompt] = seen
                about = {"model": self.model, "weights": self.digest, "prompt": prompt}
                feature_cache.save(CACHE, self._key(prompt), seen, about)
        found = []
        for prompt in prompts:
            features = said[prompt]
            assert features is not None
            check_length(self.model, prompt, len(features) - 1, max_tokens)
            found.append(features)
        return found

    @torch.no_grad()
    def _read(self, prompts: Sequence[str], device: torch.device, max_tokens: int) -> list[Tensor]:
        """As `extract_features`, by the network."""
        written = self.tokenizer(list(prompts), padding=True, return_tensors="pt", verbose=False)
        lengths = written["attention_mask"].sum(dim=1)  # to the end of text, which is one of them
        network = self.network.to(device)
        limit = min(max_tokens, network.config.max_position_embeddings)
        for prompt, length in zip(prompts, lengths.tolist(), strict=True):
            check_length(self.model, prompt, length, limit)
        # What is kept must be the same whatever precision the caller trains in.
        with torch.autocast(device.type, enabled=False):
            inputs = {name: written[name].to(device) for name in ("input_ids", "attention_mask")}
            tokens = network.text_model(**inputs).last_hidden_state.float()  # (B, L, width)
            # By length: where its id is sought, older settings name the wrong one.
            ends = tokens[torch.arange(len(tokens), device=device), lengths.to(device) - 1]
            pooled = network.text_projection(ends).float()
        width = max(tokens.shape[-1], pooled.shape[-1])
        tokens, pooled = (torch.nn.functional.pad(x, (0, width - x.shape[-1])).cpu() for x in (tokens, pooled))
        both = torch.cat([pooled[:, None], tokens], dim=1)
        return [seen[: 1 + length].clone() for seen, length in zip(both, lengths.tolist(), strict=True)]

    def _key(self, prompt: str) -> str:
        return digest([self.model, self.digest, prompt], size=16)


def check_length(model: str, prompt: str, length: int, limit: int) -> None:
    """Refuse what would have to be cut: the end of a prompt may be what matters."""
    if length > limit:
        short = prompt if len(prompt) <= 40 else f"{prompt[:40]}..."
        raise InputError(f"prompt {short!r}: {length} tokens of {model}, this model reads {limit}; shorten it")


def read_config(model: str, folder: Path, field: str = FIELD) -> tuple[Any, bool]:
    """The configuration of the text encoder in a model's folder, and whether its pooled vector is projected."""
    from transformers import CLIPConfig, CLIPTextConfig

    with one_line(model, ENCODER, field):
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = settings.get("model_type")
        if kind not in ("clip", "clip_text_model"):
            raise InputError(f"a {kind or 'model without a type'}")
        if kind == "clip":
            whole = CLIPConfig.from_pretrained(folder)
            whole.text_config.projection_dim = whole.projection_dim
            return whole.text_config, True
        # Published without a projection where only tokens were asked for, as in Stable Diffusion.
        return CLIPTextConfig.from_pretrained(folder), settings.get("architectures") != ["CLIPTextModel"]
