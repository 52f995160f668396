"""Sets of sounds beside real held-out ones: what was made, other real pieces, those through the codec, and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synesthete.evaluation.audio_features.audio_descriptors import BANDS, NAMES, apart, describe
from synesthete.evaluation.audio_features.bands import band_error, band_floor
from synesthete.evaluation.metrics.distribution import diversity, kernel_floor
from synesthete.evaluation.metrics.metric import Metric
from synesthete.evaluation.metrics.set_metrics import compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from synesthete.evaluation.audio_features.audio_descriptors import AudioDescriptors
    from synesthete.evaluation.features.features import Features
    from synesthete.evaluation.metrics.set_metrics import SetMetrics

    Progress = Callable[[str, int, int], None]

MADE, HELD_OUT, CODED, REAL = "made", "held out", "others, through the codec", "others, real"
NOISE, WHITE = "noise of their spectrum", "white noise"


@dataclass(frozen=True)
class Comparison:
    """Sets of sounds against those HELD_OUT, by features and by descriptors; `descriptors` holds these, too.

    features: by what sounds are described; width: numbers a sound. num_equal: of each set for the Fréchet distance,
    precision and recall. floor: of the kernel distance, between random halves of the held-out pieces. band_floor: of
    the octave band error, likewise. real_diversity: of the held-out pieces themselves.
    """

    features: str
    width: int
    num: int
    num_held_out: int
    num_equal: int
    likeness: dict[str, SetMetrics]
    descriptors: dict[str, AudioDescriptors]
    apart: dict[str, dict[str, float]]
    floor: float
    band_floor: float
    real_diversity: float
    within: str

    def metrics(self) -> list[Metric]:
        """Every figure: chance is noise, the ceiling real pieces of other recordings through the codec."""
        equal, against = f"{self.features}, n = {self.num_equal}", f"n = {self.num}, {self.num_held_out} real"
        described = f"{self.features}, {against}"
        made, coded, noise = (self.likeness[name] for name in (MADE, CODED, NOISE))
        found = [
            Metric(f"Fréchet distance ({equal})", made.frechet, chance=noise.frechet, ceiling=coded.frechet),
            Metric(f"kernel distance ({described})", made.kernel, chance=noise.kernel, ceiling=coded.kernel),
            Metric(f"precision ({equal})", made.precision, chance=noise.precision, ceiling=coded.precision),
            Metric(f"recall ({equal})", made.recall, chance=noise.recall, ceiling=coded.recall),
            Metric(
                f"diversity within {self.within} over that of real pieces ({described})",
                self.over_real(made.diversity),
                chance=0.0,
                ceiling=self.over_real(coded.diversity),
            ),
        ]
        for name in NAMES:
            worst = self.apart[WHITE if name == BANDS else NOISE][name]
            value, best = self.apart[MADE][name], self.apart[CODED][name]
            if not math.isnan(value):
                found.append(Metric(f"{name} ({against})", value, chance=worst, ceiling=best))
        # Held-out recordings may be of another balance than any others; what was learned is that of these.
        errors = [
            band_error(self.descriptors[name].thirds, self.descriptors[REAL].thirds) for name in (MADE, WHITE, CODED)
        ]
        name = f"{BANDS}, against recordings trained on (n = {self.num}, {len(self.descriptors[REAL].thirds)} real)"
        return [*found, Metric(name, errors[0], chance=errors[1], ceiling=errors[2])]

    def over_real(self, value: float) -> float:
        """A diversity as a share of that of held-out pieces."""
        return value / self.real_diversity if self.real_diversity else math.nan


def measure_comparison(
    features: Features,
    sets: dict[str, tuple[Tensor, Tensor]],
    sample_rate: int,
    *,
    within: str,
    seed: int,
    report: Progress,
) -> Comparison:
    """Compare every set of sounds (n, S) int16 with labels (n,), by name, with the one called HELD_OUT."""
    described, descriptors = {}, {}
    for done, (name, (waveforms, _)) in enumerate(sets.items()):
        described[name], descriptors[name] = features(waveforms), describe(waveforms, sample_rate)
        report("features, bands, rhythm, pitch", done + 1, len(sets))
    held_out, labels = described[HELD_OUT], sets[HELD_OUT][1]
    others = [name for name in sets if name != HELD_OUT]
    num_equal = min(map(len, described.values()))
    return Comparison(
        features=features.name,
        width=held_out.shape[1],
        num=len(described[MADE]),
        num_held_out=len(held_out),
        num_equal=num_equal,
        likeness={name: compare(held_out, labels, described[name], sets[name][1], num_equal, seed) for name in others},
        descriptors=descriptors,
        apart={name: apart(descriptors[name], descriptors[HELD_OUT]) for name in others},
        floor=kernel_floor(held_out, len(described[MADE]), seed=seed),
        band_floor=band_floor(descriptors[HELD_OUT].thirds, seed),
        real_diversity=diversity(held_out, labels),
        within=within,
    )
