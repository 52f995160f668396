"""What only the report on music shows: sounds to hear and to see, bands, rhythm and pitch, the codec alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synesthete.evaluation.audio_features.audio_descriptors import BANDS, NAMES, SHORTEST
from synesthete.evaluation.audio_features.bands import octave_names, octave_power, profile
from synesthete.evaluation.audio_features.spectra import draw_spectrograms, frame_sizes
from synesthete.evaluation.metrics.set_comparison import HELD_OUT, MADE
from synesthete.evaluation.reporting.figures import to_png
from synesthete.evaluation.reporting.media import draw_sheet, encode_png, encode_wav
from synesthete.evaluation.reporting.report import Card, Gallery, Medium, Section, Table
from synesthete.tasks.music.figures import bands_figure, histograms_figure, say_bands
from synesthete.tasks.music.references import CODED, NOISE, REAL, WHITE

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.metrics.memorization import Memorization
    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.tasks.music.evaluation import MusicEvaluator

NUM_HEARD = 12  # made sounds to hear, and half as many real ones
NUM_SEEN = 6  # columns of the sheet, two rows each


def sound_card(waveform: Tensor, sample_rate: int, name: str, *lines: str) -> Card:
    """A sound (S,) to see and to hear."""
    picture, slug = encode_png(draw_spectrograms(waveform[None], sample_rate)[0]), name.replace(",", "")
    sound = Medium(f"sound-{slug}", encode_wav(waveform, sample_rate), name, "wav")
    return Card(name, [Medium(f"spectrogram-{slug}", picture, name), sound], lines)


def heard(found: MusicEvaluator) -> Section:
    """The first sounds that were made, and real ones, to hear."""
    made, real, names, rate = found.generated, found.references, found.class_names, found.sample_rate
    cards = []
    for place in range(min(NUM_HEARD, len(made))):
        said = [f"the classifier hears {names[int(found.answers[0][place])]}"] if found.is_classified else []
        cards.append(sound_card(made.signal[place], rate, f"made {found.name_of(place)}", *said))
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


def say_octaves(found: MusicEvaluator) -> str:
    """Which octaves are too loud or too quiet, in plain words."""
    return say_bands(found.descriptors, HELD_OUT, MADE, found.sample_rate)


def bands(found: MusicEvaluator, floor: float) -> Section:
    """The level of each band, as a picture and octave by octave. floor: between halves of the held-out pieces."""
    rate, shown = found.sample_rate, {name: found.descriptors[name] for name in (MADE, HELD_OUT, CODED, REAL)}
    title = f"{found.comparison.num} made, {found.comparison.num_held_out} held out"
    figure = bands_figure(shown, HELD_OUT, MADE, rate, title)
    levels = {name: profile(octave_power(each.thirds)).tolist() for name, each in shown.items()}
    rows = [
        (octave, *(levels[name][i] for name in shown), levels[MADE][i] - levels[HELD_OUT][i])
        for i, octave in enumerate(octave_names(rate))
    ]
    table = Table(("octave", *(f"{name} (dB)" for name in shown), "made - held out (dB)"), rows, "mean power by octave")
    text = f"{_BANDS.format(floor=floor)} {say_octaves(found)}"
    return Section("Bands", text, [Medium("octave-bands", to_png(figure)), table])


def tones(found: MusicEvaluator) -> Section:
    """Rhythm and pitch as histograms, and how far they are apart."""
    frame_rate = found.sample_rate / frame_sizes(found.sample_rate)[1]
    shown = {name: found.descriptors[name] for name in (MADE, HELD_OUT, NOISE)}
    figure = histograms_figure(shown, frame_rate, round(SHORTEST * frame_rate))
    names = (MADE, CODED, REAL, NOISE, WHITE)
    rows = [(measure, *(found.apart[name][measure] for name in names)) for measure in NAMES if measure != BANDS]
    rates = [(f"onsets a second, {name}", each.onsets.mean().item()) for name, each in found.descriptors.items()]
    tables = [Table(("distance from held-out pieces", *names), rows), Table(("", "mean"), rates)]
    return Section("Rhythm and pitch", _TONES, [Medium("rhythm-and-pitch", to_png(figure)), *tables])


def suspects(evaluator: MusicEvaluator, found: Memorization) -> Gallery:
    """The sounds that are nearest to a training piece, each with it, to hear."""
    cards, rate = [], evaluator.sample_rate
    for place, copy in zip(found.suspects.tolist(), found.copies, strict=True):
        said = f"{found.distances[0].nearer(place):.0%} of held-out pieces are nearer to a training piece"
        cards.append(sound_card(evaluator.generated.signal[place], rate, f"suspect {place}", said))
        cards.append(sound_card(copy, rate, f"nearest to {place}"))
    return Gallery(cards, columns=2)


def codec(found: MusicEvaluator, accuracy: Metric | None) -> Section:
    """What the codec alone costs, with pairs to hear. accuracy: of the classifier through it."""
    trip, cards = found.round_trip, []
    rows: list[tuple[str, Any]] = [
        ("SNR of the waveform (dB, median)", trip.snr_db),
        ("log-spectral distance (dB)", trip.spectral_db),
    ]
    if accuracy is not None:
        rows.append(("class accuracy", accuracy.value))
        rows.append(("class accuracy of the pieces as they are", accuracy.ceiling))
    for number, pair in enumerate(zip(*trip.pairs, strict=True)):
        for name, waveform in zip(("as it is", "through the codec"), pair, strict=True):
            cards.append(sound_card(waveform, found.sample_rate, f"piece {number} {name}"))
    table = Table(("", "held-out pieces"), rows, f"n = {trip.num}")
    return Section("The codec alone", _CODEC, [table, Gallery(cards, columns=2)])


_HEARD = "The first sounds that were made, not the best ones, then real ones that the model never heard."
_BANDS = (
    "Mean power of all sounds in each octave, and in thirds of one in the picture. What is 80 dB under the whole of "
    "the real pieces counts as silent. Two random halves of the held-out pieces are {floor:.2f} dB apart in their "
    "worst octave."
)
_TONES = (
    "Tempogram: after which times onsets come again, by the autocorrelation of the spectral flux. Onsets a second: how "
    "far the sounds' own rates have to be moved to be distributed as real ones'. Pitches: the peaks of the spectrum by "
    "semitone, then whatever the octave, then the intervals between those of a sound, whatever the key. The distance "
    "is how much further the histograms of two sounds of different sets are apart, by total variation (0 equal, 1 "
    "nothing in common), than those of two of one set; about 0, also below, where sets are alike. The picture shows "
    "the means of the sets."
)
_CODEC = (
    "Real held-out pieces encoded and decoded, without any model: no model of this codec's x_0 can sound better. A "
    "guessed phase has no SNR to speak of, since its waveform is another one that sounds alike."
)
