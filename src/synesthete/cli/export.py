"""`synesthete export` and `synesthete push`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from synesthete import hub
from synesthete.cli.options import AsJson, ModelName, Overwrite, finish, split_commas


def export(
    model: ModelName,
    *,
    out: Annotated[Path, typer.Option(help="Folder for OUT/denoiser.onnx, OUT/decoder.onnx and OUT/conditioner.onnx.")],
    parts: Annotated[
        list[str] | None,
        typer.Option("--part", help="Some of conditioner, denoiser and decoder, with commas between; all by default."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write a model's networks as ONNX files, for any batch, and check each against torch.

    Each file is run by onnxruntime before it gets its name, and holds what is needed to sample it: process, sampling
    settings, classes, the codec and its statistics. A model that is told classes has a conditioner, label to tokens; of
    one that reads pictures, words or sound, the denoiser takes the tokens as they are. A decoder ends where a phase has
    to be guessed.

    Examples: `synesthete export images-digits --out exported`,
    `synesthete export runs/mine --part denoiser --out exported --overwrite --json`
    """
    from synesthete.export import PARTS, export_model
    from synesthete.pipeline import Pipeline

    files = export_model(Pipeline.load(model), out, split_commas(parts) or PARTS, overwrite=overwrite)
    values = [{**asdict(file), "path": str(file.path), "bytes": file.path.stat().st_size} for file in files]
    lines = [
        f"{file.path}  {file.path.stat().st_size / 1e6:.1f} MB  {named(file.inputs)} -> {named(file.outputs)}; "
        f"differs from torch by {file.difference:.1g} (tolerance {file.tolerance:.1g})"
        for file in files
    ]
    finish(as_json, {"files": values}, "\n".join(lines), [file.path for file in files])


def push(
    model: ModelName,
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A repository, made if need be.")],
    private: Annotated[bool, typer.Option("--private", help="Where it is made: only for who may see it.")] = False,
    licence: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="As the Hub writes it, for the card: apache-2.0, mit.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a model into a repository of the Hugging Face Hub: weights, settings, recipe, classifier and card.

    What `recipe.yaml` says goes along, names of folders included. The token is that of `hf auth login`, or HF_TOKEN.
    The card is the model's README.md, into which `evaluate` writes the figures. Any command then finds the
    model by the repository's name.

    Examples: `synesthete push runs/mine me/speaks-birds --license mit`,
    `synesthete push images-digits me/digits --private`
    """
    from synesthete.pipeline.model_card import upload

    address = upload(hub.find_model(model), repository, private=private, licence=licence)
    finish(as_json, {"address": address}, address)


def named(tensors: dict[str, list[int | str]]) -> str:
    """Names with their shapes: `x_t (batch, 1, 32, 32), timestep (batch)`."""
    return ", ".join(f"{name} ({', '.join(map(str, shape))})" for name, shape in tensors.items())
