"""A published CLIP text encoder, frozen: what it says of a class or of free text, kept, and that as a condition.

And prompts as Stable Diffusion reads them: its last hidden states, one for each of 77 tokens.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synesthete import hub
from synesthete.conditioning import trial_towers
from synesthete.conditioning.conditioner import Conditioner, check_labels, projection
from synesthete.conditioning.frozen_encoder import FIELD, FrozenEncoder, find_folder, one_line, recall
from synesthete.conditioning.learned_encoders import in_table
from synesthete.io import digest, read_json
from synesthete.nn.part import Part
from synesthete.types import Condition, InputError

CHUNK = 64  # prompts that go through the encoder at once
CACHE = "clip-text"  # in the cache folder
PROJECTION = "text_projection.weight"

# The width of tokens, which is that of the pooled vector too, as their config.json on the Hub say.
KNOWN = {
    "openai/clip-vit-base-patch32": 512,
    "openai/clip-vit-base-patch16": 512,
    "openai/clip-vit-large-patch14": 768,
}


class TextTower(FrozenEncoder):
    """The text encoder of a CLIP.

    What it says of a prompt is kept in the cache folder, by the model's id, the digest of its files, and the prompt.
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
            if model in KNOWN:
                encoder_width = encoder_pooled_width = KNOWN[model]
            else:
                folder = hub.find_weights(model, ("config.json",), field=FIELD)
                config, projected = read_text_config(model, folder)
                encoder_width = config.hidden_size
                encoder_pooled_width = config.projection_dim if projected else config.hidden_size
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


PROMPT_FIELD = "conditioner.text.model"
ENCODER_FOLDER, TOKENIZER_FOLDER = "text_encoder", "tokenizer"
WEIGHTS = f"{ENCODER_FOLDER}/model.safetensors"  # of a whole Stable Diffusion only what reads text
# The tokenizer's by their kinds: a download that broke off after them is not taken for the whole.
PATTERNS = (WEIGHTS, f"{ENCODER_FOLDER}/config.json", f"{TOKENIZER_FOLDER}/*.json", f"{TOKENIZER_FOLDER}/*.txt")
BASES = {  # widths of tokens
    "stable-diffusion-v1-5/stable-diffusion-v1-5": 768,
    trial_towers.PROMPTS: trial_towers.PROMPT_WIDTH,
}
REMEMBERED = 256  # prompts, of 77 x 768 numbers about 60 MB


class ClipPrompts(Part):
    """Prompts through a frozen CLIP text encoder -> tokens (B, num_tokens, D), all of them kept, as the base was told.

    Prompts are padded to `num_tokens` as the tokenizer does, and nothing is masked: Stable Diffusion was trained so.
    The encoder is found by its id when it is first needed, and is not saved. Each prompt goes through it alone, so a
    batch equals its singles to the bit, and what it said of the last 256 is remembered.

    Args:
        model: Hub id or folder of a Stable Diffusion (its `text_encoder` and `tokenizer`), or of a CLIP.
        captions: in the order of the numbers that stand for them in a batch; none where prompts are given as ids.
        num_tokens: L, start and end of text included; longer prompts are refused.
        encoder_width: D; None finds it in the encoder's settings.

    Raises:
        InputError: a model whose settings are neither known nor found, or no CLIP text encoder.
    """

    is_frozen = True

    def __init__(
        self,
        model: str = "stable-diffusion-v1-5/stable-diffusion-v1-5",
        captions: tuple[str, ...] = (),
        num_tokens: int = 77,
        encoder_width: int | None = None,
    ) -> None:
        super().__init__()
        self.tower = PromptTower(model)
        if encoder_width is None:
            encoder_width = BASES.get(model) or KNOWN.get(model)
            encoder_width = encoder_width or read_text_config(model, self.tower.folder, PROMPT_FIELD)[0].hidden_size
            # Saved with a model: loading it asks for no file of the encoder.
            self.register_to_config(encoder_width=encoder_width)
        self.width = encoder_width

    def tokenise(self, texts: Sequence[str]) -> Tensor:
        """Prompts -> token ids (B, L) int64, padded.

        Raises:
            InputError: a prompt of more than `num_tokens` tokens, or no such model on this machine or the Hub.
        """
        length = self.config.num_tokens
        written = self.tower.tokenizer(list(texts), padding="max_length", max_length=length, verbose=False)["input_ids"]
        for text, ids in zip(texts, written, strict=True):
            check_length(self.config.model, text, len(ids), length)
        return torch.tensor(written, device="cpu")

    def read(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids (B, L) int64, or numbers of captions (B,) -> tokens (B, L, D) float32 and a mask that keeps all.

        Raises:
            InputError: a number out of range, or ids of another length.
        """
        ids = in_table(self._table, text.cpu()) if text.ndim == 1 else text
        if ids.shape[1:] != (self.config.num_tokens,):
            raise InputError(f"token ids of {tuple(ids.shape)}; this model reads (B, {self.config.num_tokens})")
        tokens = self.tower.states(ids.cpu(), text.device)
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=text.device)

    @cached_property
    def _table(self) -> Tensor:
        """Ids of the captions (captions, L)."""
        captions = self.config.captions
        return self.tokenise(captions) if captions else torch.zeros(0, self.config.num_tokens, dtype=torch.int64)


class PromptTower(TextTower):
    """A frozen CLIP text encoder that stands alone or in a folder of Stable Diffusion."""

    def __init__(self, model: str) -> None:
        super().__init__(model, PROMPT_FIELD)
        self._said: OrderedDict[tuple[int, ...], Tensor] = OrderedDict()

    @cached_property
    def root(self) -> Path:
        """The folder that holds its encoder and its tokenizer, or is both."""
        model, given = self.model, Path(self.model).expanduser()
        local = trial_towers.find_trial(model) or hub.local_weights(model, PATTERNS) or hub.local_weights(model, ("*",))
        missing = missing_files(local or given)
        if local is not None and not missing:
            return local
        plain = hub.local_weights(model) or hub.local_weights(model, hub.PICKLED)
        if model in KNOWN or (plain is not None and (plain / "config.json").is_file()):
            return find_folder(model, PROMPT_FIELD)
        if given.is_dir():
            raise InputError(f"{model}: no {' and no '.join(missing)} in it, nor a CLIP; give another {PROMPT_FIELD}")
        try:
            return hub.find_weights(model, PATTERNS, field=PROMPT_FIELD)
        except InputError as error:
            if local is None:
                raise
            # What an interrupted download left.
            raise InputError(f"{error}; {local} has no {' and no '.join(missing)}") from None

    @property
    def folder(self) -> Path:
        """Where the encoder's files are."""
        return self.root / ENCODER_FOLDER if (self.root / ENCODER_FOLDER).is_dir() else self.root

    @property
    def tokenizer_folder(self) -> Path:
        """Where the tokenizer's files are."""
        return self.root / TOKENIZER_FOLDER if (self.root / TOKENIZER_FOLDER).is_dir() else self.root

    def states(self, ids: Tensor, device: torch.device) -> Tensor:
        """Token ids (B, L) on the CPU -> last hidden states (B, L, D) float32, without gradient."""
        said = []
        for row in ids:
            key = tuple(row.tolist())
            if key not in self._said:
                self._said[key] = self._state(row, device)
            self._said.move_to_end(key)
            said.append(self._said[key].to(device))
        while len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        return torch.stack(said)

    def _state(self, ids: Tensor, device: torch.device) -> Tensor:
        limit = self.network.config.max_position_embeddings
        if len(ids) > limit:
            raise InputError(f"{self.model} reads {limit} tokens; --set conditioner.text.num_tokens={limit}")
        with self.exact(device) as network:
            return network.text_model(input_ids=ids[None].to(device)).last_hidden_state[0].float()


def missing_files(folder: Path) -> list[str]:
    """What the text encoder in the folder of a Stable Diffusion lacks, by paths in it."""
    encoder = folder / ENCODER_FOLDER
    weights = any(encoder.glob("*.safetensors"))
    if not weights and any(encoder.glob("*.bin")):
        raise InputError(
            f"{encoder}: only .bin files, which hold more than tensors; put model.safetensors there, or give another "
            f"{PROMPT_FIELD}"
        )
    config = f"{ENCODER_FOLDER}/config.json"
    return [path for path, there in ((config, (folder / config).is_file()), (WEIGHTS, weights)) if not there]
