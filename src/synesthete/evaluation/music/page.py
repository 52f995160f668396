"""The report on a model of music, from its sounds to its page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synesthete.evaluation.audio_features.audio_descriptors import BANDS, NAMES
from synesthete.evaluation.audio_features.bands import octave_names, octave_power, profile
from synesthete.evaluation.audio_features.rhythm import SHORTEST
from synesthete.evaluation.audio_features.spectra import draw_spectrograms, frame_sizes
from synesthete.evaluation.metrics.intervals import interval
from synesthete.evaluation.metrics.memorization import WATCHED
from synesthete.evaluation.music.comparison import CODED, HELD_OUT, MADE, NOISE, REAL, WHITE
from synesthete.evaluation.music.figures import bands_figure, histograms_figure, say_bands
from synesthete.evaluation.music.measures import JUDGE
from synesthete.evaluation.reporting.classes import by_class, confusions
from synesthete.evaluation.reporting.figures import to_png
from synesthete.evaluation.reporting.report import Card, Gallery, Medium, Report, Section, Table, notes_section
from synesthete.evaluation.reporting.sheet import draw_sheet, encode_png
from synesthete.evaluation.reporting.sounds import encode_wav

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.evaluation.music.measures import MusicEvaluation

NUM_HEARD = 12  # made sounds to hear, and half as many real ones
NUM_SEEN = 6  # columns of the sheet, two rows each


def music_report(evaluation: MusicEvaluation, facts: dict[str, Any] | None = None) -> Report:
    """The report on what `evaluate_music` found. facts: what was measured, when and how."""
    sections = [heard(evaluation), seen(evaluation), bands(evaluation), tones(evaluation), as_a_set(evaluation)]
    if evaluation.answers is not None:
        tables, names = (evaluation.confusion(), evaluation.confusion(real=True)), evaluation.class_names
        sections += [by_class(names, *tables, "pieces"), confusions(names, *tables, "piece", "is of")]
    sections = [*evaluation.highs, *sections]
    sections += [
        memory(evaluation),
        codec(evaluation),
        evaluation.denoising.section("pieces"),
        Section("How to read the figures", _READING),
    ]
    sections += notes_section(evaluation.notes)
    return Report(
        title=f"Does it play? {(facts or {}).get('model', '')}".strip(),
        summary=summary(evaluation),
        facts=facts or {},
        metrics=evaluation.metrics,
        sections=sections,
        data=evaluation.to_dict(),
    )


def summary(evaluation: MusicEvaluation) -> str:
    """The finding in a few sentences."""
    sentences = []
    if evaluation.answers is not None:
        metric = evaluation.metric("class accuracy")
        assert metric.chance is not None and metric.ceiling is not None
        sentences.append(
            f"{metric.value:.1%} of {len(evaluation.answers.made)} sounds are of the class that was asked for "
            f"({JUDGE}; chance {metric.chance:.1%}, real pieces {metric.ceiling:.1%})."
        )
        if metric.interval and metric.interval[0] <= metric.chance:
            sentences.append("That is no better than guessing: this model does not play what it is told (yet).")
    found = evaluation.comparison
    made, coded, noise = (found.likeness[name].frechet for name in (MADE, CODED, NOISE))
    sentences.append(
        f"Fréchet distance to held-out pieces {made:.3g}, where other real music scores {coded:.3g} through the same "
        f"codec and noise {noise:.3g} ({found.features}, n = {found.num_equal})."
    )
    sentences.append(say_bands(found.descriptors, HELD_OUT, MADE, evaluation.sample_rate))
    spectra = evaluation.memory.closeness[0]
    share = spectra.closer(WATCHED[-1])
    low, _ = interval(share, len(spectra.made))
    copies = "which looks like copying, or silence" if low > WATCHED[-1] else "which is no sign of copying"
    nearest = f"{share:.1%} are nearer to a training piece than the nearest {WATCHED[-1]:.0%} of held-out ones"
    sentences.append(f"{nearest}, {copies}.")
    return " ".join(sentences)


def name_of(evaluation: MusicEvaluation, place: int) -> str:
    """A made sound's number, and its class where it was asked for one."""
    told = f", {evaluation.class_names[int(evaluation.made.labels[place])]}" if evaluation.answers is not None else ""
    return f"made {place}{told}"


def heard(evaluation: MusicEvaluation) -> Section:
    """The first sounds that were made, and real ones, to hear."""
    cards = []
    for place in range(min(NUM_HEARD, len(evaluation.made.labels))):
        said = []
        if evaluation.answers is not None:
            said = [f"the judge hears {evaluation.class_names[int(evaluation.answers.made[place])]}"]
        cards.append(sound_card(evaluation, evaluation.made.waveforms[place], name_of(evaluation, place), said))
    real = []
    for place in range(min(NUM_HEARD // 2, len(evaluation.real.labels))):
        told = f", {evaluation.class_names[int(evaluation.real.labels[place])]}" if evaluation.class_names else ""
        real.append(sound_card(evaluation, evaluation.real.held_out[place], f"real {place}{told}"))
    return Section("Heard", _HEARD, [Gallery(cards), Gallery(real)])


def sound_card(evaluation: MusicEvaluation, waveform: Tensor, name: str, lines: list[str] | None = None) -> Card:
    """A sound to see and to hear."""
    rate = evaluation.sample_rate
    picture = encode_png(draw_spectrograms(waveform[None], rate)[0])
    slug = name.replace(",", "")
    media = [
        Medium(f"spectrogram-{slug}", picture, name),
        Medium(f"sound-{slug}", encode_wav(waveform, rate), name, "wav"),
    ]
    return Card(name, media, lines or [])


def seen(evaluation: MusicEvaluation) -> Section:
    """Spectrograms of what was made above real ones."""
    rows, names = [], []
    for name, waveforms in (("made", evaluation.made.waveforms), ("real", evaluation.real.held_out)):
        pictures = draw_spectrograms(waveforms[: 2 * NUM_SEEN], evaluation.sample_rate)
        for first in range(0, len(pictures), NUM_SEEN):
            rows.append(pictures[first : first + NUM_SEEN])
            names.append(name)
    title = "log-mel, low bands at the bottom, -80 to 0 dB"
    sheet = encode_png(draw_sheet(rows, names, title=title))
    return Section("Seen", "", [Medium("spectrograms", sheet, f"above: made; below: real, held out; {title}")])


def bands(evaluation: MusicEvaluation) -> Section:
    """The level of each band, as a picture and octave by octave."""
    found, rate = evaluation.comparison, evaluation.sample_rate
    shown = {name: found.descriptors[name] for name in (MADE, HELD_OUT, CODED, REAL)}
    title = f"{found.num} made, {found.num_held_out} held out"
    figure = bands_figure(shown, HELD_OUT, MADE, rate, title)
    levels = {name: profile(octave_power(each.thirds)).tolist() for name, each in shown.items()}
    rows = [
        (octave, *(levels[name][i] for name in shown), levels[MADE][i] - levels[HELD_OUT][i])
        for i, octave in enumerate(octave_names(rate))
    ]
    table = Table(("octave", *(f"{name} (dB)" for name in shown), "made - held out (dB)"), rows, "mean power by octave")
    text = f"{_BANDS.format(floor=found.band_floor)} {say_bands(found.descriptors, HELD_OUT, MADE, rate)}"
    return Section("Bands", text, [Medium("octave-bands", to_png(figure)), table])


def tones(evaluation: MusicEvaluation) -> Section:
    """Rhythm and pitch as histograms, and how far they are apart."""
    found = evaluation.comparison
    frame_rate = evaluation.sample_rate / frame_sizes(evaluation.sample_rate)[1]
    shown = {name: found.descriptors[name] for name in (MADE, HELD_OUT, NOISE)}
    figure = histograms_figure(shown, frame_rate, round(SHORTEST * frame_rate))
    names = (MADE, CODED, REAL, NOISE, WHITE)
    rows = [(measure, *(found.apart[name][measure] for name in names)) for measure in NAMES if measure != BANDS]
    rates = [(f"onsets a second, {name}", each.onsets.mean().item()) for name, each in found.descriptors.items()]
    return Section(
        "Rhythm and pitch",
        _TONES,
        [
            Medium("rhythm-and-pitch", to_png(figure)),
            Table(("distance from held-out pieces", *names), rows),
            Table(("", "mean"), rates),
        ],
    )


def as_a_set(evaluation: MusicEvaluation) -> Section:
    """The figures of the set beside those of real pieces and of noise."""
    found = evaluation.comparison
    rows = [
        (
            name,
            each.frechet,
            each.kernel,
            each.spread,
            each.precision,
            each.recall,
            found.over_real(each.diversity),
            found.apart[name][BANDS],
        )
        for name, each in found.likeness.items()
    ]
    columns = ("", "Fréchet", "kernel", "its spread over subsets", "precision", "recall", "diversity over real", BANDS)
    caption = (
        f"against {found.num_held_out} held-out pieces; {found.features}, {found.width} numbers a sound; Fréchet "
        f"distance, precision and recall with {found.num_equal} of each set"
    )
    return Section("As a set", _SET.format(floor=found.floor), [Table(columns, rows, caption)])


def memory(evaluation: MusicEvaluation) -> Section:
    """Distances to training pieces, and the sounds that are nearest to one, with it."""
    found = evaluation.memory
    rows = [
        (
            each.space,
            each.made.median().item(),
            each.held_out.median().item(),
            *(value for share in WATCHED for value in (each.limit(share), each.closer(share))),
        )
        for each in found.closeness
    ]
    watched = [name for share in WATCHED for name in (f"{share:.0%} of held-out are below", "of made")]
    items: list[Table | Medium | Gallery] = [Table(("distance in", "median, made", "median, held out", *watched), rows)]
    spectra = found.closeness[0]
    strips = (
        ("made", evaluation.made.waveforms, found.suspects, found.copies, spectra.made),
        ("held out", evaluation.real.held_out, found.real_suspects, found.real_copies, spectra.held_out),
    )
    for name, waveforms, places, copies, distances in strips:
        pictures = [draw_spectrograms(x, evaluation.sample_rate) for x in (waveforms[places], copies)]
        captions = [[f"{distances[place]:.2f} dB" for place in places.tolist()], [""] * len(places)]
        sheet = encode_png(draw_sheet(pictures, [name, "training"], captions=captions))
        items.append(Medium(f"nearest-{name}", sheet, f"{name}: the nearest to training, and below what they are near"))
    cards = []
    for place, copy in zip(found.suspects.tolist(), found.copies, strict=True):
        said = f"{spectra.nearer(place):.0%} of held-out pieces are nearer to a training piece"
        cards.append(sound_card(evaluation, evaluation.made.waveforms[place], f"suspect {place}", [said]))
        cards.append(sound_card(evaluation, copy, f"nearest to {place}"))
    return Section("Made or copied", _MEMORY, [*items, Gallery(cards, columns=2)])


def codec(evaluation: MusicEvaluation) -> Section:
    """What the codec alone costs, with pairs to hear."""
    trip = evaluation.round_trip
    rows: list[tuple[str, Any]] = [
        ("SNR of the waveform (dB, median)", trip.snr_db),
        ("log-spectral distance (dB)", trip.spectral_db),
    ]
    if evaluation.answers is not None:
        metric = evaluation.metric("class accuracy of real pieces through the codec")
        rows.append(("class accuracy", metric.value))
        rows.append(("class accuracy of the pieces as they are", metric.ceiling))
    cards = []
    for number, pair in enumerate(zip(*trip.pairs, strict=True)):
        for name, waveform in zip(("as it is", "through the codec"), pair, strict=True):
            cards.append(sound_card(evaluation, waveform, f"piece {number} {name}"))
    table = Table(("", "held-out pieces"), rows, f"n = {trip.num}")
    return Section("The codec alone", _CODEC, [table, Gallery(cards, columns=2)])


_HEARD = "The first sounds that were made, not the best ones, then real ones that the model never heard."
_READING = (
    "Chance is the worst that a figure can be: for class accuracy a judge that guesses; for distances between sets, "
    "precision and recall, rhythm and pitch, noise of the real pieces' mean spectrum, each as loud as one of them; for "
    "the octaves white noise; for diversity one sound over and over; for memorisation copies of training pieces; for "
    "errors of one step the mean piece. Shuffled: the classes, or conditions, of other sounds. The ceiling of class "
    "accuracy is that of real held-out pieces. The ceiling of what compares sets is as many real pieces of the "
    "recordings that the model was trained on, through the codec: a model that had learned all of them, without a "
    "fault, would score that. The Fréchet distance is biased by the number of sounds, and figures in other features "
    "are no figures of the same thing: both are in its name."
)
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
_SET = (
    "Fréchet: how far the mean and covariance of the features are from real pieces' (Heusel et al. 2017; Kilgour et "
    "al. 2019 for sound). Kernel: how far the features' distributions are apart by a cubic kernel, without bias "
    "(Bińkowski et al. 2018); random halves of the held-out pieces, which share recordings, are {floor:.3g} apart. "
    "Precision: made sounds that lie among real ones. Recall: real pieces that lie among made ones (Kynkäänniemi et "
    "al. 2019). The others are pieces of the recordings that the model was trained on."
)
_MEMORY = (
    "How far it is to the nearest training piece. Real held-out pieces are near to some, too, so they are the measure: "
    "of a model that copies, many more sounds are as near as the nearest few of theirs. In spectrograms the distance "
    "is the root mean square difference in dB of log-mels averaged over sixteenths of a piece, to which a copy that "
    "begins at another moment is no copy. Band statistics, the mean and deviation over time of each band in dB, do not "
    "know when something sounds."
)
_CODEC = (
    "Real held-out pieces encoded and decoded, without any model: no model of this codec's x_0 can sound better. A "
    "guessed phase has no SNR to speak of, since its waveform is another one that sounds alike."
)
