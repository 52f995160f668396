"""Where the conditions lie: the classes as the conditioner says them, and the samples as a classifier sees them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from torch import Tensor
from torch.nn import functional as F

from synesthete.evaluation.diagnostics.model_under_test import BATCH_SIZE, ModelUnderTest
from synesthete.evaluation.reporting.figures import draw_matrix, to_png
from synesthete.evaluation.reporting.report import SECTIONS, Medium, Section
from synesthete.types import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NULL = "null"
MANY = 500  # held-out pictures whose conditions are shown at most, where the condition is a picture
FEWEST = 5  # points that t-SNE is worth: of fewer, the two directions of largest spread are drawn
NAMED = 24  # points that have room for a name each
EXACT = 1000  # points up to which t-SNE takes no short cuts


@dataclass(frozen=True)
class Embedding:
    """Vectors (n, D) of one kind, on the CPU. names: the class of each, or `null`. marks: what else each is."""

    name: str
    vectors: Tensor
    names: list[str]
    marks: list[str]

    def metadata(self) -> dict[str, list[str]]:
        """What each vector is, column by column."""
        return {"class": self.names, "kind": self.marks}


@torch.no_grad()
def condition_embeddings(model: ModelUnderTest) -> list[Embedding]:
    """The pooled vector and the mean token, if any, of every class and of the null; many a class where they vary."""
    model.check("embeddings", "condition")
    conditioner, names = model.pipeline.conditioner, list(model.prepared.class_names)
    raw = torch.arange(len(names))
    if not model.reads_classes:
        batch = model.held_out(min(MANY, 8 * model.num))
        raw, names = batch.raw, model.names(batch.label)
    parts = [raw[places].to(model.pipeline.device) for places in torch.arange(len(raw)).split(BATCH_SIZE)]
    found, null = [conditioner.encode(part).mean_vectors() for part in parts], conditioner.null(1).mean_vectors()
    marks = ["condition"] * len(names) + [NULL]
    return [
        Embedding(kind, torch.cat([*(part[kind] for part in found), null[kind]]), [*names, NULL], marks)
        for kind in null
    ]


def sample_embedding(model: ModelUnderTest) -> Embedding | None:
    """The classifier's features of samples and of as many real held-out pictures; None without a classifier."""
    if model.features is None or not model.pipeline.codec.makes_pictures:
        return None
    made, real = model.samples().signal, model.held_out(len(model.labels()))
    vectors = torch.cat([model.features(made), model.features(model.pictures(real))]).float().cpu()
    names = model.names(model.labels()) if model.pipeline.is_conditional else ["sample"] * len(made)
    marks = ["generated"] * len(made) + ["real"] * len(real.label)
    return Embedding(f"features of {model.features.name}", vectors, [*names, *model.names(real.label)], marks)


def embeddings(model: ModelUnderTest) -> Section:
    """t-SNE and cosine similarity of conditions, and t-SNE of what a classifier sees in samples and real pictures."""
    samples, items, told = sample_embedding(model), [], model.pipeline.is_conditional
    if told or samples is None:
        for found in condition_embeddings(model):
            picture = to_png(condition_figure(found, model.seed))
            items.append(Medium(f"embeddings-{found.name}", picture, f"Conditions, {found.name}"))
    if samples is not None:
        figure = Figure(figsize=(7.2, 5.2), layout="constrained")
        draw_embedding(figure.add_subplot(), samples, model.seed)
        items.append(Medium("embeddings-samples", to_png(figure), f"Samples among real pictures, {samples.name}"))
    if not items:
        raise InputError("embeddings: the condition has no vectors; leave this diagnostic out")
    said = [SECTIONS[f"embeddings.{name}"] for name in (*(["conditions"] if told else []), "samples")]
    return Section("Embeddings", " ".join(said), items)


def project(vectors: Tensor, seed: int) -> tuple[np.ndarray, str]:
    """Vectors (n, D) -> (places (n, 2), how they were found). t-SNE: van der Maaten & Hinton 2008."""
    values = np.asarray(vectors, dtype=np.float64)
    values = values - values.mean(axis=0)
    if len(values) < FEWEST or values.shape[1] < 2:
        left, sizes, _ = np.linalg.svd(values, full_matrices=False)
        places = np.zeros((len(values), 2))
        num = min(2, len(sizes))
        places[:, :num] = (left * sizes)[:, :num]
        return places, "PCA"
    # Every point should have a few times as many others as it has neighbours.
    perplexity = min(30.0, (len(values) - 1) / 3)
    method = "exact" if len(values) <= EXACT else "barnes_hut"
    solver = TSNE(perplexity=perplexity, init="pca", random_state=seed, method=method, learning_rate="auto")
    return solver.fit_transform(values), f"t-SNE, perplexity {perplexity:.3g}"


def similarity(found: Embedding) -> tuple[Tensor, list[str]]:
    """Cosine similarity (k, k) of the classes' mean vectors, and the names of the k."""
    names = list(dict.fromkeys(found.names))
    means = [found.vectors[[name == own for own in found.names]].mean(dim=0) for name in names]
    unit = F.normalize(torch.stack(means), dim=-1)
    return unit @ unit.T, names


def condition_figure(found: Embedding, seed: int) -> Figure:
    """Two panels: where the conditions lie, and how alike they are."""
    cosine, names = similarity(found)
    side = 3.6 + 0.12 * max(0, min(len(names), 40) - 11)
    figure = Figure(figsize=(2 * side + 1.8, side + 0.6), layout="constrained")
    scatter, matrix = figure.subplots(1, 2)
    draw_embedding(scatter, found, seed)
    few, size = len(names) <= 12, 8 if len(names) <= NAMED else 4
    texts = {place: f"{v:.2f}".replace("0.", ".") for place, v in np.ndenumerate(cosine.numpy()) if few}
    shown = names if len(names) <= 60 else []
    how: dict[str, Any] = {"text_size": 6, "name_size": size, "dark": 0.6, "cmap": "RdBu_r", "vmin": -1, "vmax": 1}
    image = draw_matrix(matrix, cosine.numpy(), texts, shown, shown, **how)
    matrix.set_title(f"{found.name}: cosine similarity", fontsize=10)
    figure.colorbar(image, ax=matrix, shrink=0.8, pad=0.02)
    return figure


def draw_embedding(axes: Axes, found: Embedding, seed: int) -> None:
    """Points coloured by class and shaped by mark; few are named in place, many in a legend."""
    places, how = project(found.vectors, seed)
    classes = [name for name in dict.fromkeys(found.names) if name != NULL]
    shades = colormaps["turbo"](np.linspace(0.05, 0.95, max(1, len(classes))))
    colours = dict(zip(classes, map(tuple, shades), strict=False)) | {NULL: (0.0, 0.0, 0.0, 1.0)}
    marks, few = list(dict.fromkeys(found.marks)), len(places) <= NAMED
    shapes = dict(zip(marks, "o+^", strict=False)) | {NULL: "X"}
    of_each = list(zip(found.names, found.marks, strict=True))
    for (mark, shape), (name, colour) in product(shapes.items(), colours.items()):
        here = places[[each == (name, mark) for each in of_each]]
        if len(here):
            size, label = 46 if few or mark == NULL else 18, name if mark in (marks[0], NULL) else None
            axes.scatter(here[:, 0], here[:, 1], color=colour, marker=shape, s=size, label=label)
    if few:
        for place, name in zip(places, found.names, strict=True):
            axes.annotate(name, tuple(place), xytext=(5, 4), textcoords="offset points", fontsize=8)
        axes.margins(0.18)
    elif len(classes) <= NAMED:
        axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    if NULL not in marks and len(marks) > 1:
        said = [f"{'dot' if shapes[mark] == 'o' else 'cross'}: {mark}" for mark in marks]
        axes.set_xlabel("   ".join(said), fontsize=9)
    axes.set(xticks=[], yticks=[])
    axes.set_title(f"{found.name}: {how} (n = {len(places)})", fontsize=10)
