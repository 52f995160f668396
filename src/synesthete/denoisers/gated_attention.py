"""What is put into the cross-attention of Stable Diffusion: tokens beside the text's, an attention of its own, LoRA."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from synesthete.nn.layers import SHORT, attend, split_heads
from synesthete.types import InputError

if TYPE_CHECKING:
    KeysValues = tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True)
class AudioCrossAttentionInputs:
    """What one forward pass tells every cross-attention layer, as `cross_attention_inputs` puts it together.

    tokens: (B, L, D), text and then `num_sound` of sound. heard: (B, num_sound), True = keep; None keeps all.
    bias: (B, 1, 1, L), added to the attention logits of the base's own layers; None adds nothing.
    keys_values: of all layers in their order, a pair of the base's and one of the gated attention; None where they are
    to be projected as they are needed.
    """

    tokens: Tensor
    num_sound: int
    adapter_scale: float
    heard: Tensor | None = None
    bias: Tensor | None = None
    keys_values: KeysValues | None = None

    @property
    def sound(self) -> Tensor:
        """Its tokens, (B, num_sound, D)."""
        return self.tokens[:, self.tokens.shape[1] - self.num_sound :]


def cross_attention_inputs(
    tokens: Tensor, mask: Tensor | None, num_sound: int, adapter_scale: float
) -> AudioCrossAttentionInputs:
    """Tokens (B, L, D), of which the last `num_sound` are sound, and their mask (B, L), as the layers take them.

    At adapter_scale 0 there is no sound, and nothing that a network without it would not be given. Otherwise it
    multiplies what the sound tokens weigh in the base's softmax beside the text, by log(adapter_scale) on their logits.
    """
    num_text = tokens.shape[1] - num_sound
    if adapter_scale == 0:
        text, kept = tokens[:, :num_text].contiguous(), None if mask is None else mask[:, :num_text]
        bias = None if kept is None or bool(kept.all()) else _bias(text, kept)
        return AudioCrossAttentionInputs(text, 0, adapter_scale, bias=bias)
    bias = None if mask is None and adapter_scale == 1 else _bias(tokens, mask)
    if adapter_scale != 1:
        assert bias is not None
        bias[..., num_text:] += math.log(adapter_scale)
    heard = None if mask is None else mask[:, num_text:]
    return AudioCrossAttentionInputs(tokens, num_sound, adapter_scale, heard, bias)


def _bias(tokens: Tensor, mask: Tensor | None) -> Tensor:
    bias = tokens.new_zeros(len(tokens), 1, 1, tokens.shape[1])
    # Half the least number: a logit may be added to it. Infinity would make NaN of a sample that keeps nothing.
    return bias if mask is None else bias.masked_fill_(~mask[:, None, None, :], torch.finfo(bias.dtype).min / 2)


class GatedAttention(nn.Module):
    """Cross-attention to the sound tokens alone, let in by tanh(gate); the gate starts at 0, so nothing is heard.

    Source: gated cross-attention, Alayrac et al. 2022 (Flamingo, section 2.2), and, in Stable Diffusion, Li et al. 2023
    (GLIGEN, eq. 8).

    Args:
        width: of the layer it stands in. condition_width: D of the tokens. inner_width: of queries, keys and values.
    """

    def __init__(self, width: int, condition_width: int, inner_width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(condition_width)
        # None is called to_q or the like: LoRA for the base's projections finds them by these names.
        self.query = nn.Linear(width, inner_width, bias=False)
        self.key = nn.Linear(condition_width, inner_width, bias=False)
        self.value = nn.Linear(condition_width, inner_width, bias=False)
        self.out = nn.Linear(inner_width, width)
        self.gate = nn.Parameter(torch.zeros(1))

    def keys_values(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, condition_width) -> keys and values, each (B, heads, L, inner_width / heads)."""
        sound = self.norm(sound)
        return split_heads(self.key(sound), self.num_heads), split_heads(self.value(sound), self.num_heads)

    def forward(
        self, x: Tensor, keys_values: tuple[Tensor, Tensor], heard: Tensor | None, adapter_scale: float
    ) -> Tensor:
        """(B, N, width) -> what is added to a layer's output, (B, N, width); 0 for a sample that hears nothing."""
        gate = torch.tanh(self.gate) * adapter_scale
        if heard is not None:
            some = heard.any(dim=1)  # (B,)
            gate = gate * some[:, None, None]
            heard = heard | ~some[:, None]  # no softmax over nothing
        query = split_heads(self.query(x), self.num_heads)
        return self.out(attend(query, *keys_values, heard)) * gate.to(x.dtype)


class SoundProcessor(nn.Module):
    """diffusers' attention processor of a cross-attention layer that reads text and sound.

    It computes what `AttnProcessor2_0` computes, and adds the gated attention. In a `StableDiffusion` it is given a
    `AudioCrossAttentionInputs`; in a plain diffusers pipeline a tensor (B, L, D), whose tokens of zeros are not there.

    Args:
        index: the place of its layer among those with a processor like this.
        gated: None leaves the sound to the base's own attention.
        num_text_tokens: how many tokens a plain pipeline gives that has no sound to tell.
    """

    def __init__(
        self, index: int, gated: GatedAttention | None, num_sound: int = 0, num_text_tokens: int | None = None
    ) -> None:
        super().__init__()
        self.index, self.gated, self.num_sound, self.num_text_tokens = index, gated, num_sound, num_text_tokens
        self.adapter_scale = 1.0  # of a plain pipeline's sound

    def forward(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Any = None, *_: Any, **__: Any
    ) -> Tensor:
        """(B, N, width) -> (B, N, width)."""
        told = encoder_hidden_states
        if not isinstance(told, AudioCrossAttentionInputs):
            told = self._read(told)
        (key, value), *own = self._keys_values(attn, told)
        query = split_heads(attn.to_q(hidden_states), attn.heads)
        x = attn.to_out[1](attn.to_out[0](attend_to_all(query, key, value, told.bias)))
        if own:
            assert self.gated is not None
            x = x + self.gated(hidden_states, own[0], told.heard, told.adapter_scale)
        return x

    def keys_values(self, attn: Any, told: AudioCrossAttentionInputs) -> KeysValues:
        """Of the layer `attn`, and of the gated attention where there is one that hears: (B, heads, L, D / heads)."""
        tokens = told.tokens
        base = split_heads(attn.to_k(tokens), attn.heads), split_heads(attn.to_v(tokens), attn.heads)
        return (base, self.gated.keys_values(told.sound)) if self.gated is not None and told.num_sound else (base,)

    def _keys_values(self, attn: Any, told: AudioCrossAttentionInputs) -> KeysValues:
        if told.keys_values is None:
            return self.keys_values(attn, told)
        num = 2 if self.gated is not None and told.num_sound else 1
        return told.keys_values[self.index * num : (self.index + 1) * num]

    def _read(self, tokens: Tensor) -> AudioCrossAttentionInputs:
        if tokens.shape[1] == self.num_text_tokens:
            return AudioCrossAttentionInputs(tokens, 0, self.adapter_scale)
        return cross_attention_inputs(tokens, tokens.ne(0).any(dim=-1), self.num_sound, self.adapter_scale)


def attend_to_all(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Attention with a bias (B, 1, 1, L) on its logits, heads joined: (B, N, D).

    By the kernel that diffusers takes, so that the result is its to the bit. Where a CPU trains in bf16 on few keys,
    another one is more than twice as fast, backward pass included: 16 ms against 38 for 32 x 4 heads of 256 x 13.
    """
    if bias is not None:
        # Autocast to fp16 would make infinity of float32's least numbers, and NaN of a sample that keeps nothing.
        bias = bias.clamp(min=torch.finfo(query.dtype).min / 2).to(query.dtype)
    trains = torch.is_grad_enabled() and query.dtype == torch.bfloat16
    if trains and query.device.type == "cpu" and key.shape[-2] <= SHORT:
        with sdpa_kernel(SDPBackend.MATH):
            x = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    else:
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return x.transpose(1, 2).flatten(2)


def processors(unet: Any) -> list[tuple[Any, SoundProcessor]]:
    """The layers of a network that hear, with their processors, in their order."""
    layers = (module for module in unet.modules() if isinstance(getattr(module, "processor", None), SoundProcessor))
    return sorted(((layer, layer.processor) for layer in layers), key=lambda pair: pair[1].index)


def make_processors(
    unet: Any, num_sound: int, gated_width: int | None, num_text_tokens: int | None = None
) -> dict[str, SoundProcessor]:
    """A processor for every cross-attention layer of a `UNet2DConditionModel`, by the layer's name.

    gated_width: of the gated attentions' queries, keys and values, no more than the layer's own width; None: no such
    attention. num_text_tokens: as `SoundProcessor`.
    """
    layers = {name: layer for name, layer in unet.named_modules() if name.endswith(".attn2")}
    if not layers:
        raise InputError("denoiser.network: no cross-attention that could hear; give it CrossAttnDownBlock2D blocks")
    made = {}
    for index, (name, layer) in enumerate(layers.items()):
        gated = None
        if gated_width is not None:
            width, inner = layer.query_dim, min(gated_width, layer.query_dim)
            gated = GatedAttention(width, layer.cross_attention_dim, inner, math.gcd(inner, layer.heads))
        processor = SoundProcessor(index, gated, num_sound, num_text_tokens)
        made[name] = processor.to(layer.to_q.weight.device, layer.to_q.weight.dtype)
    return made


ADAPTER = "sound"
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


def add_lora(unet: nn.Module, rank: int, alpha: float) -> None:
    """Low-rank changes beside every projection of every attention layer, which start as none (Hu et al. 2021)."""
    inject_adapter_in_model(LoraConfig(**lora_settings(rank, alpha)), unet, adapter_name=ADAPTER)


def lora_places(unet: nn.Module, rank: int) -> dict[str, Tensor]:
    """What `add_lora` would add, by name without the adapter's own: shapes, no values; nothing is added here."""
    found: dict[str, Tensor] = {}
    for name, layer in unet.named_modules():
        if name.endswith(tuple(f".{target}" for target in TARGETS)):
            projection: Any = layer
            found[f"{name}.lora_A.weight"] = torch.empty(rank, projection.in_features, device="meta")
            found[f"{name}.lora_B.weight"] = torch.empty(projection.out_features, rank, device="meta")
    return found


def lora_settings(rank: int, alpha: float) -> dict[str, Any]:
    """What peft needs to be told, of which a file of such weights keeps a copy."""
    return {"r": rank, "lora_alpha": alpha, "target_modules": TARGETS}


def set_lora_scale(unet: nn.Module, adapter_scale: float) -> None:
    """Multiply the changes by `adapter_scale`, beside their own scale of alpha / rank."""
    for module in unet.modules():
        if isinstance(module, LoraLayer) and ADAPTER in module.scaling:
            module.set_scale(ADAPTER, adapter_scale)
