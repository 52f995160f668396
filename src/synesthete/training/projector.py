"""Vectors for TensorBoard's projector, in the files that it reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

CONFIG_NAME = "projector_config.pbtxt"


def write_embedding(folder: Path, name: str, vectors: Tensor, metadata: Mapping[str, Sequence[str]]) -> None:
    """Vectors (n, D) under a name, in place of earlier ones of that name.

    folder: where the event files lie. metadata: column -> what each of the n vectors is. Writes
    `projector/NAME/tensors.tsv`, `metadata.tsv`, and the list of all names in `projector_config.pbtxt`.

    Raises:
        ValueError: more vectors than values in a column, or fewer.
    """
    if wrong := [column for column, values in metadata.items() if len(values) != len(vectors)]:
        raise ValueError(f"{len(vectors)} vectors, {len(metadata[wrong[0]])} of {wrong[0]!r}")
    place = folder / "projector" / re.sub(r"[^A-Za-z0-9_-]+", "-", name)
    place.mkdir(parents=True, exist_ok=True)
    rows = ("\t".join(f"{value:.6g}" for value in vector) for vector in vectors.float().tolist())
    (place / "tensors.tsv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    columns = [[" ".join(str(value).split()) for value in column] for column in metadata.values()]
    # One column stands without a head; of several, each has one.
    heads = ["\t".join(metadata)] if len(metadata) > 1 else []
    lines = [*heads, *("\t".join(row) for row in zip(*columns, strict=True))]
    (place / "metadata.tsv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    config = "".join(_ENTRY.format(name=path.name) for path in sorted(place.parent.iterdir()))
    (folder / CONFIG_NAME).write_text(config, encoding="utf-8")


_ENTRY = """embeddings {{
  tensor_name: "{name}"
  tensor_path: "projector/{name}/tensors.tsv"
  metadata_path: "projector/{name}/metadata.tsv"
}}
"""
