"""What only the report on music shows: sounds to hear and to see, bands, rhythm and pitch, the codec alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from synesthete.evaluation.audio_features import audio_descriptors, spectra
from synesthete.evaluation.audio_features.audio_descriptors import BANDS, LOWEST, NAMES, AudioDescriptors
from synesthete.evaluation.metrics.set_comparison import HELD_OUT, MADE
from synesthete.evaluation.reporting.figures import COLOURS, to_png
from synesthete.evaluation.reporting.media import draw_sheet, encode_png, encode_wav
from synesthete.evaluation.reporting.report import Card, Gallery, Medium, Section, Table
from synesthete.tasks.music.references import CODED, NOISE, REAL, WHITE
from synesthete.tasks.task import SECTIONS

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.metrics.memorization import NearestTrainingDistance
    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.tasks.music.evaluation import MusicEvaluator

TONES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
LIMIT_DB = 3.0  # the difference of an octave's level that is hardly heard
NUM_HEARD = 12  # made sounds to hear, and half as many real ones
NUM_SEEN = 6  # columns of the sheet, two rows each


def bands_figure(descriptors: Mapping[str, AudioDescriptors], sample_rate: int, title: str) -> Figure:
    """Level of each third of an octave of every set, and how much louder each octave of MADE is than of HELD_OUT."""
    figure = Figure(figsize=(7.4, 5.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=(2, 1))
    edges = spectra.third_edges(sample_rate).double()
    centres = (edges[:-1] * edges[1:]).sqrt().tolist()
    levels = {name: spectra.profile(found.thirds) for name, found in descriptors.items()}
    for (name, level), colour in zip(levels.items(), COLOURS, strict=False):
        top.plot(centres, level.tolist(), color=colour, linewidth=2 if name in (MADE, HELD_OUT) else 1, label=name)
    loudest = max(float(level.max()) for level in levels.values())
    top.set_ylim(loudest - 90, loudest + 5)
    top.fill_between(centres, levels[MADE].tolist(), levels[HELD_OUT].tolist(), color="0.5", alpha=0.15)
    top.set_ylabel("level of a third of an octave (dB)")
    top.grid(alpha=0.25)
    top.legend(fontsize=8, frameon=False)
    top.set_title(title, fontsize=10)
    apart, lows = octaves_apart(descriptors), edges[: -1 : spectra.THIRDS].tolist()
    widths = np.diff([*lows, edges[-1].item()])
    colours = [COLOURS[1] if abs(value) > LIMIT_DB else COLOURS[0] for value in apart]
    bottom.bar(lows, apart, widths, align="edge", color=colours, edgecolor="white")
    bottom.axhspan(-LIMIT_DB, LIMIT_DB, color="0.5", alpha=0.12)
    bottom.axhline(0, color="0.3", linewidth=0.8)
    bottom.set_ylabel(f"{MADE} - {HELD_OUT} (dB)")
    shown = [edges[0].item() * 2**octave for octave in range(int(math.log2(edges[-1] / edges[0])) + 1)]
    for axes in (top, bottom):
        axes.set_xscale("log")
        axes.set_xticks(shown, [f"{hertz / 1000:g}k" if hertz >= 1000 else f"{hertz:.0f}" for hertz in shown])
        axes.set_xticks([], minor=True)
        axes.set_xlim(edges[0].item(), edges[-1].item())
        axes.set_xlabel("frequency (Hz)")
    return figure


def octaves_apart(descriptors: Mapping[str, AudioDescriptors]) -> list[float]:
    """How much louder each octave of what was made is than that of held-out pieces, in dB."""
    made, real = (spectra.octave_power(descriptors[name].thirds) for name in (MADE, HELD_OUT))
    return spectra.band_differences(made, real).tolist()


def histograms_figure(descriptors: Mapping[str, AudioDescriptors], frame_rate: float, first_lag: int) -> Figure:
    """Tempogram of lags from `first_lag` frames, `frame_rate` a second, onsets a second, pitches and pitch classes."""
    figure = Figure(figsize=(9.6, 5.8), layout="constrained")
    (tempo, onsets), (pitches, classes) = figure.subplots(2, 2)
    width = 0.8 / len(descriptors)
    most = max(float(found.onsets.max()) for found in descriptors.values())
    edges = np.linspace(0, max(most, 1.0), 16)
    for i, ((name, found), colour) in enumerate(zip(descriptors.items(), COLOURS, strict=False)):
        if found.tempogram.shape[1]:
            lags = (np.arange(found.tempogram.shape[1]) + first_lag) / frame_rate
            tempo.plot(lags, found.tempogram.mean(dim=0), color=colour, linewidth=1.2, label=name)
        values = found.onsets.numpy()
        onsets.hist(values, edges, weights=np.full(len(values), 1 / len(values)), histtype="step", color=colour)
        shares = audio_descriptors.mean_histogram(found.pitches)
        pitches.plot(np.arange(len(shares)) + LOWEST, shares, color=colour, linewidth=1.2)
        places = np.arange(12) + (i - (len(descriptors) - 1) / 2) * width
        classes.bar(places, audio_descriptors.mean_histogram(found.pitch_classes), width, color=colour)
    tempo.set_xlabel("time until onsets come again (s)")
    onsets.set_xlabel("onsets a second")
    pitches.set_xlabel("partial (MIDI number; 69 is 440 Hz)")
    classes.set_xlabel("pitch class")
    classes.set_xticks(range(12), TONES, fontsize=8)
    for axes in (tempo, onsets, pitches, classes):
        axes.set_ylabel("correlation" if axes is tempo else "share")
        axes.grid(alpha=0.25)
    handles = list(tempo.get_lines())
    if handles:
        figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def say_octaves(found: MusicEvaluator) -> str:
    """Which octaves are more than LIMIT_DB too loud or too quiet, in plain words."""
    apart = zip(spectra.octave_names(found.sample_rate), octaves_apart(found.descriptors), strict=True)
    far = [f"{name} ({value:+.1f} dB)" for name, value in apart if abs(value) > LIMIT_DB]
    if not far:
        return f"Every octave is within {LIMIT_DB:g} dB of real pieces."
    return f"Octaves more than {LIMIT_DB:g} dB from real pieces: {', '.join(far)}."


def sound_card(waveform: Tensor, sample_rate: int, name: str, *lines: str) -> Card:
    """A sound (S,) to see and to hear."""
    picture, slug = encode_png(spectra.draw_spectrograms(waveform[None], sample_rate)[0]), name.replace(",", "")
    sound = Medium(f"sound-{slug}", encode_wav(waveform, sample_rate), name, "wav")
    return Card(name, [Medium(f"spectrogram-{slug}", picture, name), sound], lines)


def heard_music_section(found: MusicEvaluator) -> Section:
    """The first sounds that were made, and real ones, to hear."""
    made, real, names, rate = found.generated, found.references, found.class_names, found.sample_rate
    heard = found.answers[0][:NUM_HEARD].tolist() if found.is_classified else []
    said = [[f"the classifier hears {names[answer]}"] for answer in heard] or [[] for _ in made.signal[:NUM_HEARD]]
    cards = [sound_card(made.signal[i], rate, f"made {found.name_of(i)}", *lines) for i, lines in enumerate(said)]
    others = [
        sound_card(real.held_out[place], rate, f"real {place}{f', {names[int(real.labels[place])]}' if names else ''}")
        for place in range(min(NUM_HEARD // 2, len(real.labels)))
    ]
    return Section("Heard", _HEARD, [Gallery(cards), Gallery(others)])


def seen(found: MusicEvaluator) -> Section:
    """Spectrograms of what was made above real ones."""
    rows, names = [], []
    for name, sounds in (("made", found.generated.signal), ("real", found.references.held_out)):
        pictures = found.thumbnails(sounds[: 2 * NUM_SEEN])
        for first in range(0, len(pictures), NUM_SEEN):
            rows.append(pictures[first : first + NUM_SEEN])
            names.append(name)
    title = "log-mel, low bands at the bottom, -80 to 0 dB"
    sheet = encode_png(draw_sheet(rows, names, title=title))
    return Section("Seen", "", [Medium("spectrograms", sheet, f"above: made; below: real, held out; {title}")])


def bands(found: MusicEvaluator, floor: float) -> Section:
    """The level of each band, as a picture and octave by octave. floor: between halves of the held-out pieces."""
    rate, shown = found.sample_rate, {name: found.descriptors[name] for name in (MADE, HELD_OUT, CODED, REAL)}
    title = f"{found.comparison.num} made, {found.comparison.num_held_out} held out"
    figure = bands_figure(shown, rate, title)
    levels = {name: spectra.profile(spectra.octave_power(each.thirds)).tolist() for name, each in shown.items()}
    rows = [
        (octave, *(levels[name][i] for name in shown), levels[MADE][i] - levels[HELD_OUT][i])
        for i, octave in enumerate(spectra.octave_names(rate))
    ]
    table = Table(("octave", *(f"{name} (dB)" for name in shown), "made - held out (dB)"), rows, "mean power by octave")
    text = f"{SECTIONS['music.bands'].format(floor=floor)} {say_octaves(found)}"
    return Section("Bands", text, [Medium("octave-bands", to_png(figure)), table])


def tones(found: MusicEvaluator) -> Section:
    """Rhythm and pitch as histograms, and how far they are apart."""
    frame_rate = found.sample_rate / spectra.frame_sizes(found.sample_rate)[1]
    shown = {name: found.descriptors[name] for name in (MADE, HELD_OUT, NOISE)}
    figure = histograms_figure(shown, frame_rate, round(audio_descriptors.SHORTEST * frame_rate))
    names = (MADE, CODED, REAL, NOISE, WHITE)
    rows = [(measure, *(found.apart[name][measure] for name in names)) for measure in NAMES if measure != BANDS]
    rates = [(f"onsets a second, {name}", each.onsets.mean().item()) for name, each in found.descriptors.items()]
    tables = [Table(("distance from held-out pieces", *names), rows), Table(("", "mean"), rates)]
    return Section("Rhythm and pitch", SECTIONS["music.tones"], [Medium("rhythm-and-pitch", to_png(figure)), *tables])


def suspects(evaluator: MusicEvaluator, found: NearestTrainingDistance) -> Gallery:
    """The sounds that are nearest to a training piece, each with it, to hear."""
    cards, rate, places = [], evaluator.sample_rate, found.suspects(evaluator.num_suspects)
    for place, copy in zip(places.tolist(), evaluator.references.training[found.places[places]], strict=True):
        said = f"{found.nearer(place):.0%} of held-out pieces are nearer to a training piece"
        cards.append(sound_card(evaluator.generated.signal[place], rate, f"suspect {place}", said))
        cards.append(sound_card(copy, rate, f"nearest to {place}"))
    return Gallery(cards, columns=2)


def music_codec_section(found: MusicEvaluator, accuracy: Metric | None) -> Section:
    """What the codec alone costs, with pairs to hear. accuracy: of the classifier through it."""
    trip, rate = found.round_trip, found.sample_rate
    rows: dict[str, Any] = {"SNR of the waveform (dB, median)": trip.snr_db}
    rows["log-spectral distance (dB)"] = trip.spectral_db
    if accuracy is not None:
        rows |= {"class accuracy": accuracy.value, "class accuracy of the pieces as they are": accuracy.ceiling}
    sides = dict(zip(("as it is", "through the codec"), trip.pairs, strict=True))
    cards = [
        sound_card(x[i], rate, f"piece {i} {name}") for i in range(len(trip.pairs[0])) for name, x in sides.items()
    ]
    table = Table(("", "held-out pieces"), list(rows.items()), f"n = {trip.num}")
    return Section("The codec alone", SECTIONS["music.codec"], [table, Gallery(cards, columns=2)])


_HEARD = "The first sounds that were made, not the best ones, then real ones that the model never heard."
