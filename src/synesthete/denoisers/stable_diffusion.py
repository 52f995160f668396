"""Stable Diffusion as a denoiser that hears."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from synesthete import hub
from synesthete.denoisers import gated_attention
from synesthete.denoisers.denoiser import Denoiser
from synesthete.denoisers.gated_attention import GatedAttention
from synesthete.io import read_json
from synesthete.nn.layers import load_weights
from synesthete.types import Condition, InputError

FIELD = "denoiser.model"
BASE = "stable-diffusion-v1-5/stable-diffusion-v1-5"
# What the networks of well-known bases are beside the fields of `StableDiffusion`: a recipe is checked without a file.
KNOWN: dict[str, dict[str, Any]] = {BASE: {}}
FILE = "diffusion_pytorch_model"
PLACES = ("unet/", "")
CONFIGS = tuple(f"{place}config.json" for place in PLACES)
PUBLISHED = tuple(f"{place}{FILE}.safetensors" for place in PLACES)  # full precision: what is downloaded
AT_HAND = (*PUBLISHED, *(f"{place}{FILE}{kind}.safetensors" for kind in (".fp16", "-*-of-*") for place in PLACES))
# Networks that are told more than tokens, or attend to them in another way, are other models than Stable Diffusion.
FOREIGN = (
    *("class_embed_type", "addition_embed_type", "encoder_hid_dim", "encoder_hid_dim_type", "time_cond_proj_dim"),
    *("only_cross_attention", "dual_cross_attention", "cross_attention_norm", "attention_type", "num_class_embeds"),
)
FAMILIAR = {f"{kind}{way}Block2D" for kind in ("", "CrossAttn", "Attn") for way in ("Down", "Up")}


def read_unet(model: str) -> dict[str, Any]:
    """What the network of a Hub id or folder is, in arguments of `UNet2DConditionModel` that are not its defaults."""
    if model in KNOWN:
        return dict(KNOWN[model])
    folder = _inner(hub.find_weights(model, CONFIGS, field=FIELD))
    try:
        config = dict(read_json(folder / "config.json"))
    except (OSError, ValueError, TypeError):
        raise InputError(f"{folder / 'config.json'}: damaged; copy it again") from None
    if config.get("_class_name") != UNet2DConditionModel.__name__:
        raise InputError(
            f"{model}: a {config.get('_class_name')}, not a {UNet2DConditionModel.__name__}; give a Stable Diffusion 1 "
            f"or 2 as {FIELD}"
        )
    return changed_settings(config)


def changed_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a network that are not `UNet2DConditionModel`'s defaults, but for sample_size: any will do."""
    defaults = {name: p.default for name, p in inspect.signature(UNet2DConditionModel.__init__).parameters.items()}
    chosen = {key: _listed(value) for key, value in config.items() if not key.startswith("_") and key != "sample_size"}
    return {key: value for key, value in chosen.items() if key not in defaults or value != _listed(defaults[key])}


def make_unet(network: Mapping[str, Any], settings: Mapping[str, Any]) -> UNet2DConditionModel:
    """A network with fresh weights. settings: those that have fields of their own."""
    fields = {"in_channels": "in_channels", "out_channels": "in_channels", "cross_attention_dim": "condition_width"}
    for key, field in fields.items():
        if network.get(key, settings[key]) != settings[key]:
            raise InputError(
                f"denoiser.{field} {settings[key]}: this network has {key} {network[key]}; "
                f"--set denoiser.{field}={network[key]}"
            )
    known = inspect.signature(UNet2DConditionModel.__init__).parameters
    if strange := [key for key in network if key not in known]:
        raise InputError(f"denoiser.network: {UNet2DConditionModel.__name__} has no argument {strange[0]!r}")
    told = changed_settings(network)
    foreign = {key: told[key] for key in FOREIGN if told.get(key)}
    foreign |= {key: told[key] for key in ("down_block_types", "up_block_types") if set(told.get(key, ())) - FAMILIAR}
    if foreign:
        key, value = foreign.popitem()
        raise InputError(f"{FIELD}: a network with {key} {value}; give a Stable Diffusion 1 or 2")
    return UNet2DConditionModel.from_config({**network, **settings})


def load_unet(unet: nn.Module, model: str) -> None:
    """The published weights of `model` into its network, in float32."""
    tensors: dict[str, Tensor] = {}
    for file in find_base_files(model):
        try:
            tensors |= {name: value.float() for name, value in load_file(file).items()}
        except (OSError, SafetensorError):
            raise InputError(f"{file}: damaged; download it again") from None
    load_weights(unet, tensors, f"{model}: its weights do not fit its settings ({{}}); copy it again")


def find_base_files(model: str) -> list[Path]:
    """The safetensors of the network of a Hub id or folder: of several precisions the full one."""
    found = hub.local_weights(model, AT_HAND)
    if found is None:
        pickled = hub.local_weights(model, tuple(f"{place}*.bin" for place in PLACES))
        if pickled is not None and any(_inner(pickled).glob("*.bin")):
            raise InputError(
                f"{_inner(pickled)}: only .bin files, which hold more than tensors; put {FILE}.safetensors there, or "
                f"give another {FIELD}"
            )
        found = hub.find_weights(model, PUBLISHED, field=FIELD)
    folder = _inner(found)
    for pattern in (f"{FILE}.safetensors", f"{FILE}-*-of-*.safetensors", f"{FILE}.fp16.safetensors"):
        if files := sorted(folder.glob(pattern)):
            return files
    raise InputError(f"{folder}: no {FILE}.safetensors in it; give another {FIELD}")


def _inner(folder: Path) -> Path:
    """The network's own folder in that of a whole pipeline."""
    return folder / "unet" if (folder / "unet").is_dir() else folder


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


class StableDiffusion(Denoiser):
    """A `UNet2DConditionModel` whose cross-attention reads text and sound; pixels or latents of any size.

    The last `num_sound_tokens` of a condition's tokens are sound. They are heard in two ways: beside the text tokens in
    the base's own cross-attention, and in a gated cross-attention of their own in each of these layers. LoRA (Hu et al.
    2021) lets the base's projections follow. `adapter_scale` holds for all three: 0 is the base to the bit, as if it
    had been given the text alone.

    Its text is read as the condition's mask says. A published base was trained on 77 tokens, padding among them.

    Args:
        model: Hub id or folder of a Stable Diffusion 1 or 2 (`unet/config.json` and safetensors), or of its network
            alone. None: fresh weights, to be trained.
        network: what the network is, in arguments of `UNet2DConditionModel` beside the next three; None reads it, and
            its weights, from the model's files. A saved model has it, and is loaded without the base's files.
        sample_size: (H, W) of x_t, as the codec gives it; other sizes run as well.
        in_channels: C of x_t. condition_width: D of `Condition.tokens`.
        gated: whether there are gated attentions; `gated_width` bounds the width of their queries, keys and values.
        lora_rank: of the low-rank changes to the base's to_q, to_k, to_v and to_out; None: none. lora_alpha / lora_rank
            is their scale.

    Raises:
        InputError: no such model, one of another kind or without safetensors, or fields that contradict it.
    """

    has_base = True

    def __init__(
        self,
        model: str | None = BASE,
        network: dict[str, Any] | None = None,
        sample_size: tuple[int, int] = (64, 64),
        in_channels: int = 4,
        condition_width: int = 768,
        num_sound_tokens: int = 8,
        gated: bool = True,
        gated_width: int = 512,
        lora_rank: int | None = 8,
        lora_alpha: float = 32.0,
    ) -> None:
        super().__init__()
        if num_sound_tokens < 1 or gated_width < 1 or (lora_rank is not None and lora_rank < 1):
            raise InputError(
                f"denoiser.num_sound_tokens {num_sound_tokens}, gated_width {gated_width}, lora_rank {lora_rank}: "
                "give at least 1; gated=false and lora_rank=null leave those out"
            )
        published = model if network is None else None
        if network is None:
            if model is None:
                raise InputError(f"{FIELD}: none given, and no denoiser.network; give a Hub id, a folder or a network")
            network = read_unet(model)
            self.register_to_config(network=network)  # saved with a model: loading it asks for no file of the base
        settings = {"sample_size": list(sample_size), "in_channels": in_channels, "out_channels": in_channels}
        self.unet = make_unet(network, settings | {"cross_attention_dim": condition_width})
        probe = torch.empty(0)  # has no values where a recipe is checked or its memory counted
        if published is not None and type(probe) is Tensor and not probe.is_meta:
            load_unet(self.unet, published)
        made = gated_attention.make_processors(self.unet, num_sound_tokens, gated_width if gated else None)
        for name, processor in made.items():
            self.unet.get_submodule(name).set_processor(processor)
        if lora_rank is not None:
            gated_attention.add_lora(self.unet, lora_rank, lora_alpha)
        self.requires_grad_(True)  # peft has frozen all but its own; a stage says what is trained
        self.adapter_scale = 1.0

    @property
    def adapter_scale(self) -> float:
        """How strongly sound is heard: 0 not at all, 1 as in training; a setting of sampling that is not saved.

        Set it before `precompute`: keys and values hold LoRA's share.

        Raises:
            InputError: set to less than 0, or to no number.
        """
        return self._strength

    @adapter_scale.setter
    def adapter_scale(self, value: float) -> None:
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"sound adapter_scale {value}: give a number from 0 (the base alone); 1 is as in training")
        self._strength = float(value)
        gated_attention.set_lora_scale(self.unet, self._strength)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Its parameters by what a stage may train: the `base`, `lora`, and the `gates` with their attentions."""
        found: dict[str, list[nn.Parameter]] = {"base": [], "lora": [], "gates": []}
        for name, parameter in self.unet.named_parameters():
            found[group_of(name)].append(parameter)
        return found

    @property
    def gates(self) -> dict[str, float]:
        """tanh(gate) of each gated attention, by the name of its place in the network."""
        found = ((name, module) for name, module in self.unet.named_modules() if isinstance(module, GatedAttention))
        return {name.split(".transformer_blocks")[0]: float(module.gate.detach().tanh()) for name, module in found}

    def precompute(self, condition: Condition) -> Condition:
        """The condition with the keys and values of every cross-attention layer, for the adapter_scale that is set.

        Raises:
            ValueError: no tokens. InputError: tokens of another width, or none beside the sound's.
        """
        told = self._inputs(condition)
        pairs = (processor.keys_values(layer, told) for layer, processor in gated_attention.processors(self.unet))
        return replace(condition, keys_values=tuple(pair for layer in pairs for pair in layer))

    def forward(self, x_t: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """x_t: (B, C, H, W). timestep: (B,) in 0..1000, 0 = clean. Returns the prediction, shaped as x_t."""
        told = self._inputs(condition)
        if condition.keys_values is not None:
            first, _ = condition.keys_values[0]
            if first.shape[2] == told.tokens.shape[1]:  # else precomputed with sound, and now without, or so
                told = replace(told, keys_values=condition.keys_values)
        return self.unet(x_t, timestep.expand(len(x_t)), told, return_dict=False)[0]

    def _inputs(self, condition: Condition) -> Any:
        tokens, num_sound = condition.tokens, self.config.num_sound_tokens
        if tokens is None:
            raise ValueError("StableDiffusion reads a condition's tokens, which are None")
        if tokens.shape[2] != self.config.condition_width or tokens.shape[1] <= num_sound:
            raise InputError(
                f"tokens {tuple(tokens.shape[1:])} for a denoiser that reads text and then {num_sound} of sound, each "
                f"{self.config.condition_width} wide; set condition_width and num_sound_tokens as the conditioner's"
            )
        return gated_attention.cross_attention_inputs(
            tokens.to(self.unet.conv_in.weight.dtype), condition.mask, num_sound, self.adapter_scale
        )


def group_of(name: str) -> str:
    """The group that a parameter of the network belongs to, by its name."""
    if ".lora_" in name:
        return "lora"
    return "gates" if ".processor." in name else "base"
