"""The same noise under rising guidance, and where it is too much: contrast and saturation beside real pictures'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from synesthete.evaluation.metrics.metric import interval_of_mean
from synesthete.evaluation.reporting.media import draw_sheet, encode_png
from synesthete.evaluation.reporting.report import Medium, Section, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from synesthete.evaluation.diagnostics.model_under_test import ModelUnderTest

SCALES = (0.0, 1.0, 1.5, 3.0, 6.0, 9.0)
HOW = (
    "Each row is one class from one noise; from left to right guidance rises (0: told nothing, 1: off). More of it "
    "makes a picture more like its class, and at last too bright, too dark and all alike."
)
FIGURES = (
    "Against real held-out pictures: share of values at black or white, how far x_0 is beyond black or white before it "
    "is cut (0 in real pictures), contrast (standard deviation of a picture's values), and colour (largest minus least "
    "channel), all but the first in 8-bit levels."
)
# Over-guided: contrast so many times real ones', or so much larger a share of values at black or white.
MOST_CONTRAST, MOST_ENDS = 1.15, 0.05


@dataclass(frozen=True)
class Saturation:
    """Of each of n pictures (n,): share of values at black or white; excess beyond, contrast and colour in levels."""

    ends: Tensor
    excess: Tensor
    contrast: Tensor
    colour: Tensor

    def row(self, name: str) -> tuple[str | float, ...]:
        """Means, and the interval of the contrast."""
        low, high = interval_of_mean(self.contrast)
        means = [values.double().mean().item() for values in (self.ends, self.excess, self.contrast, self.colour)]
        return (name, *means[:3], f"{low:.1f} to {high:.1f}", means[3])


def measure_saturation(pictures: Tensor, levels: Tensor | None = None) -> Saturation:
    """Of pictures (n, C, H, W) uint8. levels: the same before they were cut, black 0 and white 1; None: not known."""
    values = pictures.flatten(1).float()
    excess = values.new_zeros(len(values))
    if levels is not None:
        beyond = (levels - 1).clamp(min=0) + (-levels).clamp(min=0)
        excess = 255 * beyond.flatten(1).mean(dim=1).cpu()
    spread = pictures.float().amax(dim=1) - pictures.float().amin(dim=1)
    ends = ((values == 0) | (values == 255)).float().mean(dim=1)
    return Saturation(ends, excess, values.std(dim=1, correction=0), spread.flatten(1).mean(dim=1))


def guidance(model: ModelUnderTest, scales: Sequence[float] = SCALES) -> Section:
    """The strip, and a row of figures a scale; the model's own scale is among them.

    Raises:
        InputError: a model that is told nothing.
    """
    model.check_conditional("guidance")
    own = float(model.pipeline.sampling_settings(**model.settings)["guidance_scale"])
    scales = sorted({*map(float, scales), own})
    names = [f"{scale:g} (own)" if scale == own else f"{scale:g}" for scale in scales]
    labels = model.classes()
    made = [model.draw(labels, guidance_scale=scale) for scale in scales]
    rows = list(zip(*map(model.images, made), strict=True))
    sheet = draw_sheet(rows, model.names(labels), names, title="guidance")
    medium = Medium("guidance", encode_png(sheet), "the same noise under rising guidance, a class a row")
    if not model.makes_pictures:
        return Section("Guidance", HOW, [medium])
    codec = model.pipeline.codec
    found = []
    for x_0 in (x_0.to(model.device) for x_0 in made):
        levels = codec.levels(x_0)
        found.append(measure_saturation(codec.decode(x_0).cpu(), None if levels is None else levels.cpu()))
    real = measure_saturation(model.pictures(model.held_out()))
    columns = ("guidance", "at black or white", "beyond", "contrast", "95% interval", "colour")
    caption = f"n = {len(labels)} a scale, {len(real.ends)} real"
    table = [real.row("real"), *(own.row(name) for name, own in zip(names, found, strict=True))]
    text = f"{HOW} {FIGURES} {say_where_too_much(scales, found, real, own)}"
    return Section("Guidance", text, [medium, Table(columns, table, caption)])


def say_where_too_much(scales: Sequence[float], found: Sequence[Saturation], real: Saturation, own: float) -> str:
    """From which scale on pictures are over-guided, and whether the model's own scale is among them.

    What is too much without guidance as well is not guidance's doing: compared with real ones and with scale 1.
    """
    real_contrast = real.contrast.mean().clamp(min=1e-6)
    contrast = {scale: (s.contrast.mean() / real_contrast).item() for scale, s in zip(scales, found, strict=True)}
    ends = {scale: (s.ends.mean() - real.ends.mean()).item() for scale, s in zip(scales, found, strict=True)}
    most_contrast = MOST_CONTRAST * max(1.0, contrast.get(1.0, 1.0))
    most_ends = MOST_ENDS + max(0.0, ends.get(1.0, 0.0))
    too_much = [scale for scale in scales if scale > 1 and (contrast[scale] > most_contrast or ends[scale] > most_ends)]
    at_own = f"at the model's own {own:g} contrast is {contrast[own]:.2f} of real ones'"
    if not too_much:
        return f"None of these scales is too much; {at_own}."
    first = too_much[0]
    said = (
        f"Over-guided from {first:g} on: contrast {contrast[first]:.2f} of real ones', share of values at black or "
        f"white {100 * ends[first]:+.1f} points"
    )
    return f"{said}; {'its own scale is among them' if own in too_much else at_own}."
