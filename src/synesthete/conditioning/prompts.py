"""Prompts as Stable Diffusion reads them: the last hidden states of a frozen CLIP, one for each of 77 tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from synesthete import hub
from synesthete.conditioning import trial_towers
from synesthete.conditioning.clip_text import KNOWN, TextTower, check_length, read_text_config
from synesthete.conditioning.frozen_encoder import find_folder
from synesthete.conditioning.learned_encoders import in_table
from synesthete.nn.part import Part
from synesthete.types import InputError

FIELD = "conditioner.text.model"
ENCODER_FOLDER, TOKENIZER_FOLDER = "text_encoder", "tokenizer"
# Of a whole Stable Diffusion only what reads text.
WEIGHTS = f"{ENCODER_FOLDER}/model.safetensors"
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
            encoder_width = BASES.get(model) or KNOWN.get(model) or self.tower.width
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
        super().__init__(model, FIELD)
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
            return find_folder(model, FIELD)
        if given.is_dir():
            raise InputError(f"{model}: no {' and no '.join(missing)} in it, nor a CLIP; give another {FIELD}")
        try:
            return hub.find_weights(model, PATTERNS, field=FIELD)
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

    @property
    def width(self) -> int:
        """D of its tokens, as its settings say."""
        return read_text_config(self.model, self.folder, FIELD)[0].hidden_size

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
            f"{FIELD}"
        )
    config = f"{ENCODER_FOLDER}/config.json"
    return [path for path, there in ((config, (folder / config).is_file()), (WEIGHTS, weights)) if not there]
