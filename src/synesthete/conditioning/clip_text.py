"""A published CLIP text encoder, frozen: what it says of a class or of free text, kept, and that as a condition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synesthete import hub
from synesthete.conditioning.conditioner import Conditioner, check_labels, projection
from synesthete.conditioning.frozen_encoder import FIELD, FrozenEncoder, one_line, recall
from synesthete.io import digest, read_json
from synesthete.types import Condition, InputError

# Prompts that go through the encoder at once.
CHUNK = 64
CACHE = "clip-text"  # in the cache folder
PROJECTION = "text_projection.weight"

# The width of tokens, which is that of the pooled vector too, as their config.json on the Hub say.
KNOWN = {
    "openai/clip-vit-base-patch32": 512,
    "openai/clip-vit-base-patch16": 512,
    "openai/clip-vit-large-patch14": 768,
}


def find_text_widths(model: str) -> tuple[int, int]:
    """The widths of an encoder's tokens and pooled vector by Hub id or folder: known, or read from its config.json."""
    if model in KNOWN:
        return KNOWN[model], KNOWN[model]
    config, projected = read_text_config(model, hub.find_weights(model, ("config.json",), field=FIELD))
    return config.hidden_size, config.projection_dim if projected else config.hidden_size


class TextTower(FrozenEncoder):
    """The text encoder of a CLIP.

    What it says of a prompt is kept in the cache folder, by the model's id, the digest of its files, and the prompt.

    Args:
        model: a Hub id, or a folder with config.json, vocab.json, merges.txt and weights. field: as of every encoder.
    """

    kind = "a CLIP text encoder"

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
        with self.reading():
            return CLIPTokenizer.from_pretrained(folder)

    def _read_network(self) -> Any:
        from transformers import CLIPTextModelWithProjection

        config, projected = read_text_config(self.model, self.folder, self.field)
        network = self.read(CLIPTextModelWithProjection, config, may_lack=None if projected else PROJECTION)
        if not projected:
            network.text_projection = torch.nn.Identity()
        return network

    def extract_features(self, prompts: Sequence[str], device: torch.device, max_tokens: int) -> list[Tensor]:
        """Of each prompt (1 + l, E) float32 on the CPU: the pooled vector, then its l tokens, the end of text last.

        E is the wider of tokens and pooled vector; the narrower end in zeros. Prompts said before are not read again.
        """

        def read(places: list[int]) -> Iterator[Tensor]:
            for first in range(0, len(places), CHUNK):
                yield from self._read([prompts[at] for at in places[first : first + CHUNK]], device, max_tokens)

        keys = [digest([self.model, self.digest, prompt], size=16) for prompt in prompts]
        found = recall(CACHE, keys, read)
        for prompt, features in zip(prompts, found, strict=True):
            check_length(self.model, prompt, len(features) - 1, max_tokens)
        return found

    def _read(self, prompts: Sequence[str], device: torch.device, max_tokens: int) -> list[Tensor]:
        """As `extract_features`, by the network."""
        written = self.tokenizer(list(prompts), padding=True, return_tensors="pt", verbose=False)
        lengths = written["attention_mask"].sum(dim=1)  # to the end of text, which is one of them
        limit = min(max_tokens, self.network.config.max_position_embeddings)
        for prompt, length in zip(prompts, lengths.tolist(), strict=True):
            check_length(self.model, prompt, length, limit)
        with self.exact(device) as network:
            inputs = {name: written[name].to(device) for name in ("input_ids", "attention_mask")}
            tokens = network.text_model(**inputs).last_hidden_state.float()  # (B, L, width)
            # By length: where its id is sought, older settings name the wrong one.
            ends = tokens[torch.arange(len(tokens), device=device), lengths.to(device) - 1]
            pooled = network.text_projection(ends).float()
        width = max(tokens.shape[-1], pooled.shape[-1])
        tokens, pooled = (torch.nn.functional.pad(x, (0, width - x.shape[-1])).cpu() for x in (tokens, pooled))
        both = torch.cat([pooled[:, None], tokens], dim=1)
        return [seen[: 1 + length].clone() for seen, length in zip(both, lengths.tolist(), strict=True)]


def check_length(model: str, prompt: str, length: int, limit: int) -> None:
    """Refuse what would have to be cut: the end of a prompt may be what matters."""
    if length > limit:
        short = prompt if len(prompt) <= 40 else f"{prompt[:40]}..."
        raise InputError(f"prompt {short!r}: {length} tokens of {model}, this model reads {limit}; shorten it")


def read_text_config(model: str, folder: Path, field: str = FIELD) -> tuple[Any, bool]:
    """The configuration of the text encoder in a model's folder, and whether its pooled vector is projected."""
    from transformers import CLIPConfig, CLIPTextConfig

    with one_line(model, TextTower.kind, field):
        settings = read_json(folder / "config.json")
        kind = settings.get("model_type")
        if kind not in ("clip", "clip_text_model"):
            raise InputError(f"a {kind or 'model without a type'}")
        if kind == "clip":
            whole = CLIPConfig.from_pretrained(folder)
            whole.text_config.projection_dim = whole.projection_dim
            return whole.text_config, True
        # Published without a projection where only tokens were asked for, as in Stable Diffusion.
        return CLIPTextConfig.from_pretrained(folder), settings.get("architectures") != ["CLIPTextModel"]


class ClipText(Conditioner):
    """Class numbers or prompts through a frozen CLIP text encoder: its whole token sequence and its pooled vector.

    Both go through a LayerNorm and a projection to `width`, all that is trained. The null is the empty prompt, read
    and projected like any other. The encoder is found by its id when it is first needed and is not saved; what it says
    of the classes and of the empty prompt is, so that a saved model samples its classes without it. Prompts of one's
    own need the encoder: `extract_features(prompts)` stands for raw conditions wherever class numbers do.

    Args:
        model: Hub id, or a folder with config.json, vocab.json, merges.txt and weights.
        class_names: in the order of their numbers; none where only prompts will be given.
        template: the prompt of a class, with {} for its name.
        width: D of tokens and pooled.
        num_tokens: L, start and end of text included; longer prompts are refused, shorter ones masked. 77 is all that
            CLIP reads; fewer make attention and the saved model smaller.
        encoder_width, encoder_pooled_width: of the encoder's tokens and pooled vector; None finds them in its settings.

    Raises:
        InputError: a model whose settings are neither known nor found, or a template without a place for the name.
    """

    reads_text = True

    def __init__(
        self,
        model: str = "openai/clip-vit-base-patch32",
        class_names: tuple[str, ...] = (),
        template: str = "a photo of a {}",
        width: int = 256,
        num_tokens: int = 77,
        encoder_width: int | None = None,
        encoder_pooled_width: int | None = None,
    ) -> None:
        super().__init__()
        if template.count("{}") != 1:
            raise InputError(f"conditioner.template {template!r}: write {{}} once, where the class name is to stand")
        if num_tokens < 2:
            raise InputError(f"conditioner.num_tokens {num_tokens}: give at least 2, for start and end of text")
        if encoder_width is None or encoder_pooled_width is None:
            encoder_width, encoder_pooled_width = find_text_widths(model)
            # Saved with a model: loading it asks for no file of the encoder.
            self.register_to_config(encoder_width=encoder_width, encoder_pooled_width=encoder_pooled_width)
        self.tower = TextTower(model)
        self.to_tokens, self.to_pooled = projection(encoder_width, width), projection(encoder_pooled_width, width)
        # Of the classes, then of the empty prompt; zero until they are first needed.
        shape = (len(class_names) + 1, 1 + num_tokens, max(encoder_width, encoder_pooled_width))
        self.register_buffer("features", torch.zeros(shape))

    @property
    def prompts(self) -> list[str]:
        """What the classes are called to the encoder, in the order of their numbers; the empty prompt is the last."""
        return [self.config.template.replace("{}", name) for name in self.config.class_names] + [""]

    def extract_features(self, raw: Tensor | Sequence[str]) -> Tensor:
        """Prompts, or class numbers (B,) int64 -> (B, 1 + L, E), what the frozen encoder says, without gradient.

        The pooled vector comes first, then the tokens; behind the end of text rows are zero, which is how the mask
        travels with them. E is the wider of both. What was seen already (floating) is left as it is.

        Raises:
            InputError: a number out of range, a prompt too long, features of another encoder, or no such model on
                this machine or the Hub.
        """
        if not isinstance(raw, torch.Tensor):
            return self._read([raw] if isinstance(raw, str) else list(raw))
        if not raw.is_floating_point():
            return self._known()[check_labels(raw, len(self.config.class_names))]
        if raw.shape[1:] != self.features.shape[1:]:
            raise InputError(
                f"features of shape {tuple(raw.shape[1:])} for {self.config.model}, which gives "
                f"{tuple(self.features.shape[1:])} here; look at the prompts again with this conditioner"
            )
        return raw

    def encode(self, raw: Tensor | Sequence[str], generator: torch.Generator | None = None) -> Condition:
        """raw: class numbers (B,) int64, what `extract_features` said, (B, 1 + L, E) floating, or prompts.

        The mask keeps all up to and including the end of text.
        """
        seen = self.extract_features(raw)
        tokens, pooled = seen[:, 1:, : self.config.encoder_width], seen[:, 0, : self.config.encoder_pooled_width]
        mask = tokens.ne(0).any(dim=-1)  # (B, L); no token of CLIP's last LayerNorm is zero throughout
        dtype = next(self.to_pooled.parameters()).dtype
        return Condition(tokens=self.to_tokens(tokens.to(dtype)), mask=mask, pooled=self.to_pooled(pooled.to(dtype)))

    def null(self, batch_size: int) -> Condition:
        """The condition of the empty prompt, (batch_size, ...)."""
        return self.encode(self._known()[-1:]).apply(lambda x: x.expand(batch_size, *x.shape[1:]))

    @torch.no_grad()
    def _known(self) -> Tensor:
        """Features of `prompts`, read by the encoder the first time: (num_classes + 1, 1 + L, E)."""
        if not self.features[-1, 0].any():
            self.features.copy_(self._read(self.prompts))
        return self.features

    def _read(self, prompts: list[str]) -> Tensor:
        device = self.features.device
        seen = torch.zeros(len(prompts), *self.features.shape[1:])
        for row, said in zip(seen, self.tower.extract_features(prompts, device, self.config.num_tokens), strict=True):
            row[: len(said)] = said
        return seen.to(device)
