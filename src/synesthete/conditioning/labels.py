"""What is told by a number: a class, by learned vectors or published ones, how loud a piece is, or nothing."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from synesthete import seeding
from synesthete.conditioning.conditioner import Conditioner, check_labels
from synesthete.types import Condition, InputError


class Labels(Conditioner):
    """A class number (B,) as `num_tokens` learned tokens and one pooled vector; the null is a class of its own.

    Several tokens, since over a single key softmax is 1 and cross-attention a constant (DESIGN law 4).
    """

    def __init__(self, num_classes: int = 10, width: int = 256, num_tokens: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Embedding(num_classes + 1, num_tokens * width)
        self.pooled = nn.Embedding(num_classes + 1, width)
        nn.init.normal_(self.tokens.weight, std=0.5)
        nn.init.normal_(self.pooled.weight, std=0.5)

    def encode(self, raw: Tensor, generator: torch.Generator | None = None) -> Condition:
        """raw: class numbers (B,) int64 in 0..num_classes - 1.

        Raises:
            InputError: a number out of that range.
        """
        return self._look_up(check_labels(raw, self.config.num_classes))

    def null(self, batch_size: int) -> Condition:
        """The condition that says nothing, (batch_size, ...)."""
        device = self.pooled.weight.device
        return self._look_up(torch.full((batch_size,), self.config.num_classes, device=device))

    def _look_up(self, raw: Tensor) -> Condition:
        tokens = self.tokens(raw).unflatten(-1, (self.config.num_tokens, -1))  # (B, L, D)
        return Condition(tokens=tokens, pooled=self.pooled(raw))


class PooledText(Conditioner):
    """A class number (B,) as the pooled text embedding that was published for its name, and tokens made from it.

    Several tokens, since over a single key softmax is 1 and cross-attention a constant (DESIGN law 4). The null is the
    table's row of the empty prompt. The rows used are saved with a model, which is loaded without the table.

    Args:
        table: a file as `read_table` takes it.
        class_names: in the order of their numbers, each in the table; none takes all of the table's.
        width: D of tokens and pooled. num_tokens: L.
        table_width: of the table's vectors; None finds it in the table.

    Raises:
        InputError: no such table, not such a table, or a class that is not in it.
    """

    def __init__(
        self,
        table: str,
        class_names: tuple[str, ...] = (),
        width: int = 256,
        num_tokens: int = 4,
        table_width: int | None = None,
    ) -> None:
        super().__init__()
        if num_tokens < 2:
            raise InputError(f"conditioner.num_tokens {num_tokens}: attention over one token is a constant; give 2")
        if table_width is None:
            names, vectors = read_table(table)
            class_names = class_names or tuple(names)
            vectors = find_rows(table, names, vectors, class_names)
            table_width = vectors.shape[-1]
            # Saved with a model: loading it asks for no table.
            self.register_to_config(class_names=class_names, table_width=table_width)
        else:
            vectors = torch.zeros(len(class_names) + 1, table_width)
        self.register_buffer("vectors", vectors)  # of the classes, then of the empty prompt
        self.norm = nn.LayerNorm(table_width)
        self.to_tokens = nn.Linear(table_width, num_tokens * width)
        self.to_pooled = nn.Linear(table_width, width)

    def encode(self, raw: Tensor, generator: torch.Generator | None = None) -> Condition:
        """raw: class numbers (B,) int64 in the order of `class_names`.

        Raises:
            InputError: a number out of range.
        """
        return self._project(self._known()[check_labels(raw, len(self.config.class_names))])

    def null(self, batch_size: int) -> Condition:
        """The condition of the empty prompt, (batch_size, ...)."""
        return self._project(self._known()[-1:].expand(batch_size, -1))

    @torch.no_grad()
    def _known(self) -> Tensor:
        """(num_classes + 1, table_width), read from the table where neither it nor a saved model gave them yet."""
        if not self.vectors[-1].any():
            vectors = find_rows(self.config.table, *read_table(self.config.table), self.config.class_names)
            if vectors.shape != self.vectors.shape:
                raise InputError(
                    f"{self.config.table}: vectors {vectors.shape[-1]} wide, conditioner.table_width is "
                    f"{self.config.table_width}; --set conditioner.table_width={vectors.shape[-1]}"
                )
            self.vectors.copy_(vectors)
        return self.vectors

    def _project(self, vectors: Tensor) -> Condition:
        x = self.norm(vectors.to(self.norm.weight.dtype))
        tokens = self.to_tokens(x).unflatten(-1, (self.config.num_tokens, -1))  # (B, L, D)
        return Condition(tokens=tokens, pooled=self.to_pooled(x))


def read_table(table: str) -> tuple[list[str], Tensor]:
    """Class names and their vectors (num_names + 1, width) float32, that of the empty prompt last.

    table: an .npz with arrays `class_names` and `embeddings`, or a .safetensors with a tensor `embeddings` and, in its
    metadata, `class_names` as a JSON list. Nothing pickled is read.
    """
    path = Path(table).expanduser()
    if not path.is_file():
        raise InputError(f"{table}: no such file; give a table of text embeddings with --set conditioner.table=PATH")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                names, vectors = arrays["class_names"].tolist(), torch.from_numpy(arrays["embeddings"]).float()
        else:
            with safe_open(path, "pt") as file:
                names, vectors = json.loads(file.metadata()["class_names"]), file.get_tensor("embeddings").float()
    except Exception:  # numpy, zip, safetensors and json each have their own
        raise InputError(f"{table}: no `class_names` and `embeddings` to be read in it; give another table") from None
    if vectors.ndim != 2 or len(vectors) != len(names) + 1:
        raise InputError(
            f"{table}: {len(names)} names and embeddings of shape {tuple(vectors.shape)}; "
            f"give {len(names) + 1} rows, that of the empty prompt last"
        )
    if not vectors.isfinite().all():
        raise InputError(f"{table}: some embeddings are not finite; make or download the table again")
    return names, vectors


def find_rows(table: str, names: Sequence[str], vectors: Tensor, class_names: Sequence[str]) -> Tensor:
    """The rows of `class_names` and, last, of the empty prompt. Capitals and underscores in names are no difference."""
    rows = {plain_name(name): row for row, name in enumerate(names)}
    wanted = [plain_name(name) for name in class_names]
    for name, plain in zip(class_names, wanted, strict=True):
        if plain not in rows:
            # By spelling, then by a word in common: `tabby cat` for `cat`.
            near = difflib.get_close_matches(plain, rows, n=3)
            near += [known for known in rows if set(plain.split()) & set(known.split()) and known not in near]
            hint = f"there are {', '.join(map(repr, near[:5]))}" if near else f"it has {len(names)} others"
            raise InputError(f"{table}: no class {name!r} in it; {hint}")
    return vectors[[*(rows[plain] for plain in wanted), -1]].clone()


def plain_name(name: str) -> str:
    """A class name as it is compared."""
    return " ".join(name.lower().replace("_", " ").split())


class Unconditional(Conditioner):
    """Says nothing, whatever it is shown: for a denoiser that reads neither tokens nor a pooled vector.

    Such a model has nothing to be guided by: its samples are drawn at guidance_scale 1.
    """

    reads = "nothing"

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("nothing", torch.zeros(1))  # diffusers loads no part without a tensor

    def encode(self, raw: Tensor, generator: torch.Generator | None = None) -> Condition:
        """An empty condition."""
        return Condition()

    def null(self, batch_size: int) -> Condition:
        """An empty condition."""
        return Condition()


LEVELS = (-60.0, -6.0)  # where no data have told them
NUM_TOLD = 50  # quantiles that are kept of the levels of what a model is trained on
RAREST = 0.01  # share at either end that is left out: between two quantiles as many are drawn anywhere


class Loudness(Conditioner):
    """Levels (B,) in dB, root mean square against full scale -> `Condition.pooled` (B, D); NaN says nothing.

    One that is left out is drawn by the seed from the levels of what the model was trained on, so that as many samples
    are as loud as there are such pieces. How loud a piece is would otherwise be decided in the first steps near noise,
    of which there are few: samples were too quiet, and some next to silent.

    Args:
        levels: quantiles of those levels, evenly spaced, from the lowest up; None: of the data that it is trained on.
        width: D.

    Raises:
        InputError: fewer than two levels, or levels that fall.
    """

    reads = "level"

    def __init__(self, levels: tuple[float, ...] | None = None, width: int = 256) -> None:
        super().__init__()
        self.levels = tuple(levels or LEVELS)
        if len(self.levels) < 2 or list(self.levels) != sorted(self.levels):
            raise InputError(f"conditioner.levels {self.levels}: give two or more, in dB, from the lowest up")
        self.network = nn.Sequential(nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width))

    def compose(self, num: int, level: float | None = None) -> Tensor:
        """The same level (num,) for all; None leaves it to chance.

        Raises:
            InputError: a level far beyond those that were learned.
        """
        low, high = self.levels[0], self.levels[-1]
        if level is not None and not low <= level <= high:
            raise InputError(f"loudness {level:g} dB: this model learned {low:.0f} to {high:.0f}; give one of these")
        return torch.full((num,), torch.nan if level is None else float(level))

    def complete(self, raw: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """A level for each that has none, by the seed of its generator; the noise stays as it is."""
        chances = [torch.rand((), generator=seeding.generator(one.initial_seed(), "level")) for one in generators]
        place = torch.stack(chances) * (len(self.levels) - 1)
        below = place.long().clamp(max=len(self.levels) - 2)
        known = torch.tensor(self.levels)
        drawn = torch.lerp(known[below], known[below + 1], place - below)
        return raw.where(~raw.isnan(), drawn.to(raw))

    def encode(self, raw: Tensor, generator: torch.Generator | None = None) -> Condition:
        """raw: levels (B,) in dB, or NaN."""
        told = ~raw.isnan()
        middle, reach = (self.levels[-1] + self.levels[0]) / 2, (self.levels[-1] - self.levels[0]) / 2
        level = torch.where(told, (raw - middle) / max(reach, 1.0), 0.0)
        features = torch.stack([level, told.to(level)], dim=1)  # (B, 2)
        return Condition(pooled=self.network(features.to(self.device, self.dtype)))

    def null(self, batch_size: int) -> Condition:
        """Of no level, (batch_size, ...)."""
        return self.encode(torch.full((batch_size,), torch.nan, device=self.device))


def quantiles(levels: Tensor) -> tuple[float, ...]:
    """Levels (n,) as `Loudness.levels`."""
    return tuple(torch.quantile(levels.float(), torch.linspace(RAREST, 1 - RAREST, NUM_TOLD)).tolist())
