"""What a published CLIP says of a class or of free text, as a condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from synesthete.conditioning.base import Conditioner, check_labels
from synesthete.conditioning.text_tower import TextTower, find_geometry
from synesthete.types import Condition, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


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
            geometry = find_geometry(model)
            encoder_width, encoder_pooled_width = geometry.width, geometry.pooled_width
            # Saved with a model: loading it asks for no file of the encoder.
            self.register_to_config(encoder_width=encoder_width, encoder_pooled_width=encoder_pooled_width)
        self.tower = TextTower(model)
        self.to_tokens = nn.Sequential(nn.LayerNorm(encoder_width), nn.Linear(encoder_width, width))
        self.to_pooled = nn.Sequential(nn.LayerNorm(encoder_pooled_width), nn.Linear(encoder_pooled_width, width))
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
