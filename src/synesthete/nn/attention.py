"""Multi-head attention over torch's scaled_dot_product_attention, keys and values projected apart from the query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

if TYPE_CHECKING:
    from torch import Tensor


# On a CPU the fused kernel's backward pass loses to plain matrix products below about this many keys: 11 ms against
# 2 ms for 64 x 4 heads of 16 tokens, 42 against 15 for 71 tokens, on two cores.
SHORT = 128


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, N, D) -> (B, heads, N, D / heads)."""
    batch, length, width = x.shape
    return x.view(batch, length, num_heads, width // num_heads).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention, heads joined: three (B, heads, N or L, D / heads) -> (B, N, D); mask (B, L), True = keep."""
    if mask is not None:
        mask = mask[:, None, None, :]  # (B, 1, 1, L)
    if query.device.type == "cpu" and key.shape[-2] <= SHORT:
        with sdpa_kernel(SDPBackend.MATH):
            x = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    else:
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return x.transpose(1, 2).flatten(2)  # (B, N, D)


class SelfAttention(nn.Module):
    """Tokens attend to each other; queries and keys are RMS-normalised (Dehghani et al. 2023): bf16 stays calm."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_qkv = nn.Linear(width, 3 * width)
        self.norm_query = nn.RMSNorm(width // num_heads, elementwise_affine=False)
        self.norm_key = nn.RMSNorm(width // num_heads, elementwise_affine=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        query, key, value = (split_heads(part, self.num_heads) for part in self.to_qkv(x).chunk(3, dim=-1))
        return self.to_out(attend(self.norm_query(query), self.norm_key(key), value))


class CrossAttention(nn.Module):
    """Tokens attend to a condition, whose keys and values are computed once per sample by `keys_values`."""

    def __init__(self, width: int, condition_width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_query = nn.Linear(width, width)
        self.to_key_value = nn.Linear(condition_width, 2 * width)
        self.norm_query = nn.RMSNorm(width // num_heads, elementwise_affine=False)
        self.norm_key = nn.RMSNorm(width // num_heads, elementwise_affine=False)
        self.to_out = nn.Linear(width, width)

    def keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, condition width) -> keys and values, each (B, heads, L, D / heads)."""
        key, value = (split_heads(part, self.num_heads) for part in self.to_key_value(tokens).chunk(2, dim=-1))
        return self.norm_key(key), value

    def forward(self, x: Tensor, keys_values: tuple[Tensor, Tensor], mask: Tensor | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        query = self.norm_query(split_heads(self.to_query(x), self.num_heads))
        return self.to_out(attend(query, *keys_values, mask))
