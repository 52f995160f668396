"""A published CLIP text encoder, frozen: prompts as it was trained to read them, and what it says of them, kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from synesthete import hub
from synesthete.conditioning import kept
from synesthete.conditioning.vision_families import FIELD
from synesthete.conditioning.vision_tower import find_folder, one_line
from synesthete.io import digest
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

# Prompts that go through the encoder at once.
CHUNK = 64
KEPT = "clip-text"  # in the cache folder
ENCODER = "a CLIP text encoder"


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


class TextTower:
    """The text encoder of a CLIP, found and read when it is first asked; never trained.

    Copies share it. It has no place in a module's parameters, so no optimiser, checkpoint or model folder holds it.
    What it says of a prompt is kept in the cache folder, by the model's id, the digest of its files, and the prompt.

    Args:
        model: a Hub id, or a folder with config.json, vocab.json, merges.txt and weights. field: of the recipe, which
            the model came from.
    """

    def __init__(self, model: str, field: str = FIELD) -> None:
        self.model, self.field = model, field

    def __deepcopy__(self, memo: dict[int, Any]) -> TextTower:
        return self

    @cached_property
    def folder(self) -> Path:
        """Where its files are; a CLIP's pictures and texts are read from the same ones."""
        return find_folder(self.model, self.field)

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

    @cached_property
    def network(self) -> Any:
        """The encoder in float32, in evaluation mode, asking for no gradient."""
        return read_network(self.model, self.folder, self.field)

    def to(self, device: torch.device) -> None:
        """Move the network, if it was read already."""
        if "network" in self.__dict__ and device.type != "meta":
            self.network.to(device)

    def look(self, prompts: Sequence[str], device: torch.device, max_tokens: int) -> list[Tensor]:
        """Of each prompt (1 + l, E) float32 on the CPU: the pooled vector, then its l tokens, the end of text last.

        E is the wider of tokens and pooled vector; the narrower end in zeros. Prompts said before are not read again.

        Raises:
            InputError: a prompt of more than max_tokens tokens, or files that are missing or damaged.
        """
        said: dict[str, Tensor | None] = {prompt: self._recall(prompt) for prompt in prompts}
        new = [prompt for prompt, seen in said.items() if seen is None]
        for first in range(0, len(new), CHUNK):
            part = new[first : first + CHUNK]
            for prompt, seen in zip(part, self._read(part, device, max_tokens), strict=True):
                said[prompt] = seen
                self._keep(prompt, seen)
        found = []
        for prompt in prompts:
            features = said[prompt]
            assert features is not None
            check_length(self.model, prompt, len(features) - 1, max_tokens)
            found.append(features)
        return found

    @torch.no_grad()
    def _read(self, prompts: Sequence[str], device: torch.device, max_tokens: int) -> list[Tensor]:
        """As `look`, by the network."""
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

    @cached_property
    def _weights(self) -> str:
        return hub.weights_digest(self.folder)

    def _key(self, prompt: str) -> str:
        return digest([self.model, self._weights, prompt], size=16)

    def _recall(self, prompt: str) -> Tensor | None:
        """What was said of a prompt before; None where it was not, or the file is damaged."""
        return kept.recall(KEPT, self._key(prompt))

    def _keep(self, prompt: str, seen: Tensor) -> None:
        about = {"model": self.model, "weights": self._weights, "prompt": prompt}
        kept.keep(KEPT, self._key(prompt), seen, about)


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


def read_network(model: str, folder: Path, field: str = FIELD) -> Any:
    """The text encoder of a model's folder, alone, frozen, in float32.

    Raises:
        InputError: files that cannot be read, or lack some of its weights.
    """
    from transformers import CLIPTextModelWithProjection

    config, projected = read_config(model, folder, field)
    with one_line(model, ENCODER, field):
        network, loading = CLIPTextModelWithProjection.from_pretrained(
            folder, config=config, dtype=torch.float32, weights_only=True, output_loading_info=True
        )
    missing = set(loading["missing_keys"])
    if not projected:
        network.text_projection = torch.nn.Identity()
        missing.discard("text_projection.weight")
    if missing:
        raise InputError(f"{folder}: lacks {min(missing)}; download the model again")
    return network.eval().requires_grad_(False)
