"""The network of a published Stable Diffusion: its settings, its files, and what is no Stable Diffusion."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

from diffusers import UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file

from synesthete import hub
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

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


def read_network(model: str) -> dict[str, Any]:
    """What the network of a Hub id or folder is, in arguments of `UNet2DConditionModel` that are not its defaults.

    Raises:
        InputError: no such model, or another kind of one.
    """
    if model in KNOWN:
        return dict(KNOWN[model])
    folder = _inner(hub.find_weights(model, CONFIGS, field=FIELD))
    try:
        config = dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
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


def make_network(network: Mapping[str, Any], settings: Mapping[str, Any]) -> UNet2DConditionModel:
    """A network with fresh weights. settings: those that have fields of their own.

    Raises:
        InputError: settings that the network contradicts, or one that no Stable Diffusion has.
    """
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


def load_network(unet: nn.Module, model: str) -> None:
    """The published weights of `model` into its network, in float32.

    Raises:
        InputError: no safetensors, or weights that are damaged or do not fit.
    """
    tensors: dict[str, Tensor] = {}
    for file in find_files(model):
        try:
            tensors |= {name: value.float() for name, value in load_file(file).items()}
        except (OSError, SafetensorError):
            raise InputError(f"{file}: damaged; download it again") from None
    try:
        unet.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[1:2] or [str(error)]
        raise InputError(f"{model}: its weights do not fit its settings ({reason[0].strip()}); copy it again") from None


def find_files(model: str) -> list[Path]:
    """The safetensors of the network of a Hub id or folder: of several precisions the full one.

    Raises:
        InputError: no such folder or id, or pickled weights alone.
    """
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
