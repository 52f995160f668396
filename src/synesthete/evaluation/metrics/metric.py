"""A figure with what it is to be read against, and the row of a table that says what kind of figure it is."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from synesthete.evaluation.metrics.set_comparison import SampleSet

__all__ = ["Metric", "MetricRow", "interval", "metric", "register_metric"]


@dataclass(frozen=True)
class Metric:
    """A figure with what it is to be read against.

    title: says the classifier and n. interval: 95%. chance: by guessing. shuffled: with the conditions of other
    samples.
    ceiling: of real data. key: the same in every report, whatever n, so that figures of two reports can be joined.
    unit: "share" is from 0 to 1, "" has none. higher_is_better: None where neither is.
    """

    title: str
    value: float
    interval: tuple[float, float] | None = None
    chance: float | None = None
    shuffled: float | None = None
    ceiling: float | None = None
    key: str = ""
    unit: str = ""
    higher_is_better: bool | None = None


@dataclass(frozen=True)
class MetricRow:
    """A kind of figure: its key, the title with places for what differs, unit, and which way is better.

    depends_on_num: whether its expectation does, so that only figures of equal n can be compared.
    compute: value of a set of samples beside real ones, (real, made) -> float, for what every evaluation computes by
    itself, of what was made, of chance and of real samples; None where an evaluation knows more than sets.
    """

    key: str
    title: str
    unit: str = ""
    higher_is_better: bool | None = None
    compute: Callable[[SampleSet, SampleSet], float] | None = None
    depends_on_num: bool = False


def by_key(metrics: Sequence[Metric], key: str) -> Metric:
    """The metric of that key."""
    for metric in metrics:
        if metric.key == key:
            return metric
    keys = [metric.key for metric in metrics]
    near = ", ".join(difflib.get_close_matches(key, keys, n=3, cutoff=0.3)) or ", ".join(keys) or "there are none"
    raise InputError(f"no metric '{key}'; there are: {near}")


# Titles by key, for each unit and which way is better.
_TITLES: dict[tuple[str, bool | None], dict[str, str]] = {
    ("share", True): {
        "class_accuracy": "class accuracy ({classifier}, n = {num})",
        "class_accuracy_of_codec": "class accuracy of real pieces through the codec ({classifier}, n = {num})",
        "class_accuracy_heard": "class accuracy, {what} ({classifier}, n = {num})",
        "class_accuracy_after_stage": "class accuracy after stage {stage} (n = {num})",
        "class_accuracy_zero_shot": "class accuracy by {model}, n = {num})",
        "accuracy": "accuracy ({classifier}, n = {num})",
        "saved_classifier_accuracy": "accuracy of the classifier kept with the model ({what}, n = {num})",
        "probe_accuracy": "{title}: accuracy of a linear probe on the {what} (n = {num})",
        "probe_agreement": "{title} what the probe {verb} ({what}n = {num})",
        "precision": "precision ({against})",
        "recall": "recall ({against})",
        "retrieval_recall": "retrieval, recall at {k} ({against})",
        "clip_voice_accuracy": "speaks in the voice of a clip that was given ({classifier}, n = {num})",
        "voice_accuracy": "speaks in the voice that was asked for ({classifier}, n = {num})",
        "voiced": "voiced: share of sounds with a clear pitch ({against})",
        "cycle_class": "cycle: the last picture shows the class that {what} ({classifier}, n = {num})",
        "cycle_speech": "cycle: the speech between says the class of the first picture ({classifier}, n = {num})",
        "cycle_first": "accuracy of the classifier on the first pictures ({classifier}, n = {num})",
        "note_f1": "F1 of the notes heard against those asked for ({listener}, n = {num})",
        "note_frame_f1": "F1 of the keys heard to sound, frame by frame ({listener}, n = {num})",
        "searched_accuracy": "accuracy, {who} (n = {num})",
        "searched_recall": "recall, {who} ({against})",
        "key_accuracy": "sounds in the key that was asked for (profiles of Krumhansl and Kessler, n = {num})",
        "harmonised": "melodies harmonised: beats whose chord the scores trained on have under that note (n = {num})",
    },
    ("", False): {
        "fid": "FID ({against})",
        "kid": "KID ({against})",
        "frechet_distance": "Fréchet distance ({against})",
        "kernel_distance": "kernel distance ({against})",
        "audio_descriptor": "{what} ({against})",
        "parallels": "{what} (n = {num})",
        "leaps": "{what} (n = {num})",
        "validation_loss": "validation loss, fixed noise and timesteps ({against})",
        "adapter_off": "strength 0 told a sound, largest difference in x_0 from the base network (n = {num}; chance: "
        "at strength 1)",
        "generation_mse": "generation MSE ({how}, n = {num})",
        "generation_mse_i2m": "generation MSE as i2m computed it ({how}, n = {num})",
        "searched_kid": "KID, {who} ({against})",
        "real_time_factor": "real-time factor (seconds of work a second of sound, {how})",
    },
    ("", None): {
        "notes_at_once": "{what} (n = {num})",
        "pitch_class_entropy": "{what} (n = {num})",
        "adapter_gates": "gates, mean |tanh| of {num} (where they start: chance)",
        "searched_difference": "{what}, winner minus old default",
        "sweep_best": "{which} {what}: {cell}",
    },
    ("s", False): {
        "searched_seconds": "seconds per picture, {who}",
        "seconds_per_sample": "seconds a {sample} ({how})",
        "seconds_to_upsample": "seconds to upsample a second of sound (n = {num})",
    },
    ("ratio", True): {
        "class_accuracy_over_real": (
            "class accuracy over that of real {what} ({classifier}, n = {num}, {num_real} real)"
        ),
        "note_f1_over_ceiling": "F1 of notes over that of the real sounds ({listener}, n = {num})",
        "memorization_distance": "memorisation: distance to the nearest one over held-out's ({against})",
    },
    ("share", None): {
        "class_of_the_text": "class of the text, where the sound is of another class ({classifier}, n = {num})",
        "in_scale": "{what} (n = {num})",
        "columns_with_note": "{what} (n = {num})",
        "groove_consistency": "{what} (n = {num})",
        "class_of_the_sound": "class of the sound, where the text names another ({classifier}, n = {num})",
    },
    ("ratio", False): {
        "kid_over_floor": "KID over its real-vs-real floor ({against})",
        "seam_jump": "{which} jump of {what} where windows meet, over that elsewhere (n = {num})",
        "balanced_kid_over_floor": "class-balanced KID over its floor ({against})",
    },
    ("ratio", None): {
        "diversity": "diversity within {within} over that of real {what} ({against})",
        "voice_diversity": "voice diversity, {what} (spread over that of real voices, {against})",
    },
    ("dB", None): {
        "octave_level": "level of {octave}, made minus real, in dB ({against})",
        "recorded_octave_level": "level of {octave} under the octave at the band's end, in dB ({against})",
    },
    ("correlation", True): {
        "key_correlation": "{what} (n = {num})",
        "asked_against_made": "{what} asked for against {what} made, correlation within a {within} (n = {num})",
    },
    ("cosine", True): {"class_cosine_zero_shot": "cosine to the class's name by {model}, n = {num})"},
    ("share", False): {
        "copied_notes": "notes that the nearest of {num_training} windows trained on has, in any key (n = {num})",
        "memorization_share": "memorisation: share as near as the nearest {share} of held-out ({against})",
    },
    ("variance of x_0", False): {"denoising_mse": "MSE of x_0 at t = {t} ({what}, n = {num})"},
    ("", True): {
        "condition_sensitivity": "condition sensitivity{what} (MSE of x_0{how}, n = {num})",
        **{f"dnsmos_{name}": "{what}, 1 to 5 (n = {num})" for name in ("overall", "signal", "background")},
        "p808": "{what}, 1 to 5 (n = {num})",
    },
    ("rank", False): {"retrieval_mean_rank": "retrieval, mean rank ({against})"},
    ("dB", True): {"codec_snr": "SNR of the codec alone in dB (held-out pieces, median, n = {num})"},
    ("dB", False): {"log_spectral_distance": "log-spectral distance{what} in dB ({against})"},
}
_OF_NUM = {"fid", "frechet_distance", "precision", "recall"}  # their expectation depends on n

METRICS: dict[str, MetricRow] = {
    key: MetricRow(key, title, unit, higher_is_better, depends_on_num=key in _OF_NUM)
    for (unit, higher_is_better), titles in _TITLES.items()
    for key, title in titles.items()
}


def register_metric(row: MetricRow) -> MetricRow:
    """Add a row; one with `compute` is then part of every evaluation that compares sets of samples.

    Raises:
        InputError: its key is taken, or is no lower-case name.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", row.key):
        raise InputError(f"metric key '{row.key}'; give lower-case letters, digits and _")
    if METRICS.setdefault(row.key, row) != row:
        raise InputError(f"metric '{row.key}' is already there ({METRICS[row.key].title}); give another key")
    return row


def metric(
    key: str,
    value: float,
    interval: tuple[float, float] | None = None,
    chance: float | None = None,
    shuffled: float | None = None,
    ceiling: float | None = None,
    *,
    variant: str = "",
    **title: Any,
) -> Metric:
    """A metric of the row `key`.

    variant: what sets it apart from others of the same row in one report (a classifier, a timestep); part of its key.
    title: what the places in the row's title say, for example classifier and num.

    Raises:
        InputError: no such row. KeyError: a place in its title that nothing is said for.
    """
    if key not in METRICS:
        raise InputError(f"no metric '{key}'; register it with register_metric, or use one of {', '.join(METRICS)}")
    row = METRICS[key]
    full_key = f"{key}_{slug(variant)}" if variant else key
    name = row.title.format(**title)
    return Metric(name, value, interval, chance, shuffled, ceiling, full_key, row.unit, row.higher_is_better)


def slug(text: str) -> str:
    """The text as part of a key: lower-case letters and digits, joined by _."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


Z_95 = 1.959964  # of the normal distribution, two-sided


def interval(value: float, num: int) -> tuple[float, float]:
    """95% interval of a share `value` of `num` independent answers (Wilson 1927), which is sound at 0 and 1 too."""
    # Not scipy's: it counts whole answers, and a share of sounds painted several times each is of none.
    if num < 1:
        return 0.0, 1.0
    centre = (value + Z_95**2 / (2 * num)) / (1 + Z_95**2 / num)
    half = Z_95 / (1 + Z_95**2 / num) * math.sqrt(value * (1 - value) / num + Z_95**2 / (4 * num**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def interval_of_mean(values: Tensor) -> tuple[float, float]:
    """95% interval of the mean of (n,) independent values, by the normal approximation."""
    values = values.double()
    half = Z_95 * values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.inf
    mean = values.mean().item()
    return mean - half, mean + half
