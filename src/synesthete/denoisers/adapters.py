"""What was trained beside a base, as small files of its own: saved, loaded, and put into a plain diffusers pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from synesthete.config.build import describe_nested, restore_nested
from synesthete.denoisers import gated_attention
from synesthete.denoisers.gated_attention import ADAPTER
from synesthete.denoisers.stable_diffusion import changed_settings, group_of
from synesthete.hub import ADAPTERS_INDEX, check_files
from synesthete.io import digest, read_json
from synesthete.nn.part import first_misfit
from synesthete.types import Condition, InputError

LORA, GATES, SOUND = "lora.safetensors", "gates.safetensors", "sound.safetensors"
PREFIX = "unet."  # by which diffusers finds the part that weights belong to
METADATA = "lora_adapter_metadata"  # where diffusers looks for the scale
SAMPLED = 4096  # values of a tensor that its digest reads
PRECISIONS = (torch.float32, torch.float16, torch.bfloat16)


def save_adapters(parts: Any, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the LoRA, the gated attentions and the sound tokens' layers of a pipeline (or `Parts`) into a folder.

    `lora.safetensors`, which diffusers' `load_lora_weights` reads, `gates.safetensors`, `sound.safetensors` (the group
    `sound` of the conditioner), and `adapters.json`: the base they belong to and what else it takes to put them back.
    Of a pipeline that includes its codec, process, sampling settings and card.
    """
    unet, conditioner, config = parts.denoiser.unet, parts.conditioner, parts.denoiser.config
    folder.mkdir(parents=True, exist_ok=True)
    sound = sound_parameters(conditioner)
    lora = {"rank": config.lora_rank, "alpha": config.lora_alpha} if config.lora_rank is not None else None
    index = {
        "base": {"model": config.model, "digests": base_digests(unet)},
        "num_sound_tokens": config.num_sound_tokens,
        "gated_width": config.gated_width if config.gated else None,
        "lora": lora,
        "conditioner": describe_nested(conditioner) if sound else None,
        "pipeline": is_whole(parts),
    }
    metadata = {}
    if lora is not None:
        settings = gated_attention.lora_settings(config.lora_rank, config.lora_alpha)
        metadata = {METADATA: json.dumps({PREFIX + key: value for key, value in settings.items()})}
    for file, tensors in ((LORA, lora_of(unet)), (GATES, gates_of(unet)), (SOUND, sound)):
        if tensors:
            held = {name: value.detach().to("cpu", dtype).contiguous() for name, value in tensors.items()}
            save_file(held, folder / file, {"format": "pt", **(metadata if file == LORA else {})})
    (folder / ADAPTERS_INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def is_whole(parts: Any) -> dict[str, Any] | None:
    """What else a model is made of than its base and its conditioner; None of parts without a codec."""
    codec, process = getattr(parts, "codec", None), getattr(parts, "process", None)
    if codec is None or process is None:
        return None
    config = getattr(parts, "config", {})
    measured = {name: value.flatten().tolist() for name, value in codec.named_buffers(recurse=False)}
    return {
        "codec": describe_nested(codec),
        "statistics": measured,
        "process": process.settings(),
        "sampling": dict(config["sampling"]) if "sampling" in config else None,
        "card": dict(config["card"]) if "card" in config else {},
    }


def load_adapters(parts: Any, folder: str | Path) -> None:
    """Put saved adapters into a pipeline (or `Parts`) with the same base.

    Raises:
        InputError: no adapters there, damaged ones, those of another base, or of other ranks or widths.
    """
    index = read_adapter_index(folder)
    unet = parts.denoiser.unet
    check_base(unet, index, folder)
    config, lora = parts.denoiser.config, index["lora"] or {"rank": None}
    for field, here, there in (
        ("lora_rank", config.lora_rank, lora["rank"]),
        ("lora_alpha", config.lora_alpha, lora.get("alpha", config.lora_alpha)),
        ("num_sound_tokens", config.num_sound_tokens, index["num_sound_tokens"]),
    ):
        if here != there:
            said = "null" if there is None else there
            raise InputError(f"{folder}: its {field} is {said}, here {here}; --set denoiser.{field}={said}")
    wanted = {LORA: lora_of(unet), GATES: gates_of(unet), SOUND: sound_parameters(parts.conditioner)}
    given = {file: read(own, Path(folder) / file) for file, own in wanted.items()}
    for file, own in wanted.items():
        fill(own, given[file])


def put_into(pipeline: Any, folder: str | Path, adapter_scale: float = 1.0) -> None:
    """Let a plain diffusers `StableDiffusionPipeline` hear.

    Call it with `prompt_embeds=prompt_embeds(condition)` of the text and the sound, and with
    `negative_prompt_embeds` of the null; with a prompt it makes what the base and the LoRA make of that.
    adapter_scale: as `StableDiffusion.adapter_scale`; call this again to change it, or to put other adapters in
    their place.
    """
    index, unet = read_adapter_index(folder), getattr(pipeline, "unet", None)
    if not isinstance(unet, UNet2DConditionModel):
        raise InputError(f"{type(pipeline).__name__} has no {UNet2DConditionModel.__name__}; give Stable Diffusion")
    check_base(unet, index, folder)
    tokenizer = getattr(pipeline, "tokenizer", None)
    num_text_tokens = getattr(tokenizer, "model_max_length", None)
    made = gated_attention.make_processors(unet, index["num_sound_tokens"], index["gated_width"], num_text_tokens)
    gates = {
        f"{PREFIX}{layer}.processor.{name}": value
        for layer, processor in made.items()
        for name, value in processor.named_parameters()
    }
    # All files are read before the pipeline is touched: a damaged one leaves it as it was.
    given = read(gates, Path(folder) / GATES)
    if index["lora"] is not None:
        places = gated_attention.lora_places(unet, index["lora"]["rank"])
        read({PREFIX + name: value for name, value in places.items()}, Path(folder) / LORA)
    fill(gates, given)
    if ADAPTER in getattr(unet, "peft_config", {}):
        unet.delete_adapters(ADAPTER)
    if index["lora"] is not None:
        pipeline.load_lora_weights(str(folder), weight_name=LORA, adapter_name=ADAPTER)
    for layer, processor in made.items():
        unet.get_submodule(layer).set_processor(processor)
    set_adapter_scale(unet, adapter_scale)


def set_adapter_scale(unet: nn.Module, adapter_scale: float) -> None:
    """How strongly a plain pipeline's network, which has adapters, hears; as `StableDiffusion.adapter_scale`."""
    gated_attention.set_lora_scale(unet, adapter_scale)
    for _, processor in gated_attention.processors(unet):
        processor.adapter_scale = adapter_scale


def prompt_embeds(condition: Condition) -> Tensor:
    """A condition's tokens (B, L, D) as a plain diffusers pipeline takes them: what is masked is zeros."""
    assert condition.tokens is not None
    if condition.mask is None:
        return condition.tokens
    return condition.tokens.masked_fill(~condition.mask[..., None], 0.0)


def load_conditioner(folder: str | Path) -> Any:
    """The conditioner that the adapters were trained with, for whoever has them and its frozen encoders alone."""
    kept = read_adapter_index(folder)["conditioner"]
    if kept is None:
        raise InputError(f"{folder}: adapters without a conditioner; load the model that they were saved with")
    conditioner = restore_nested(
        kept, f"{Path(folder) / ADAPTERS_INDEX}: conditioner", "conditioner", ("encode", "null"), "AudioTextConditioner"
    )
    if others := sorted(set(conditioner.groups()) - {"sound"}):
        raise InputError(f"{folder}: its conditioner's {others[0]} was trained, too; load the model it was saved with")
    own = sound_parameters(conditioner)
    fill(own, read(own, Path(folder) / SOUND))
    return conditioner.eval()


def lora_of(unet: nn.Module) -> dict[str, Tensor]:
    """The LoRA's parameters under the names that diffusers gives them in a file."""
    found = ((name, value) for name, value in unet.named_parameters() if f".{ADAPTER}." in name)
    return {PREFIX + name.replace(f".{ADAPTER}.", "."): value for name, value in found if group_of(name) == "lora"}


def gates_of(unet: nn.Module) -> dict[str, Tensor]:
    """The parameters of the gated attentions by name."""
    return {PREFIX + name: value for name, value in unet.named_parameters() if group_of(name) == "gates"}


def sound_parameters(conditioner: Any) -> dict[str, Tensor]:
    """The parameters of a conditioner's group `sound` by name; empty where it has none."""
    groups = conditioner.groups()
    own = {id(parameter) for parameter in groups.get("sound", ())}
    return {name: value for name, value in conditioner.named_parameters() if id(value) in own}


@torch.no_grad()
def base_digests(unet: Any) -> dict[str, str]:
    """What tells one base from another: of its settings and weights, as each precision rounds them.

    So a base is known again in whichever of them it is loaded. At most 4,096 evenly spaced values of a tensor are read:
    training changes them all.
    """
    settings = json.dumps(changed_settings(unet.config), sort_keys=True)
    contents = {dtype: [settings.encode()] for dtype in PRECISIONS}
    named = {name.replace(".base_layer.", "."): value for name, value in unet.named_parameters()}
    for name, value in sorted(named.items()):
        if group_of(name) != "base":
            continue
        values = value.detach().flatten()
        values = values[:: -(-len(values) // SAMPLED)].cpu()
        for dtype, parts in contents.items():
            parts.append(f"{name} {tuple(value.shape)}".encode())
            parts.append(values.to(dtype).contiguous().view(torch.uint8).numpy().tobytes())
    return {str(dtype).removeprefix("torch."): digest(b"".join(parts), size=16) for dtype, parts in contents.items()}


def check_base(unet: Any, index: Mapping[str, Any], folder: str | Path) -> None:
    """Make sure that adapters were trained beside this base."""
    base = index["base"]
    own = base_digests(unet)
    if not any(own[precision] == digest for precision, digest in base["digests"].items() if precision in own):
        trained = base["model"] or "a base of its own"
        raise InputError(f"{folder}: adapters of {trained}, and this is another base; put them into that one")


def read_adapter_index(folder: str | Path) -> dict[str, Any]:
    """What `adapters.json` says."""
    path = Path(folder) / ADAPTERS_INDEX
    check_files(Path(folder))
    try:
        index = dict(read_json(path))
        if not all(key in index for key in ("base", "num_sound_tokens", "gated_width", "lora", "conditioner")):
            raise ValueError
    except FileNotFoundError:
        raise InputError(
            f"{folder}: no {ADAPTERS_INDEX} in it; give the folder of adapters that a training wrote"
        ) from None
    except (OSError, ValueError, TypeError):
        raise InputError(f"{path}: damaged; copy the adapters again") from None
    return index


def read(own: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """What a file has for parameters of the same names and shapes; for none it may be missing."""
    try:
        given = load_file(file) if file.is_file() else {}
    except (OSError, SafetensorError):
        raise InputError(f"{file}: damaged; copy the adapters again") from None
    if misfit := first_misfit(own, given):
        raise InputError(
            f"{file}: {misfit}; set gated, gated_width and the conditioner as these adapters were trained with"
        )
    return given


@torch.no_grad()
def fill(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Give parameters their values, in their own precision and on their own device."""
    for name, value in given.items():
        own[name].copy_(value)
