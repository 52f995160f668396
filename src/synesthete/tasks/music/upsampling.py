"""What an upsampler's highs are worth: against the real ones that were taken away, and on sound that never had any."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.data.audio import as_float, read_audio, to_int16
from synesthete.data.recordings import Recordings
from synesthete.evaluation.audio_features import spectra
from synesthete.evaluation.audio_features.spectra import draw_spectrograms
from synesthete.evaluation.metrics.metric import Metric, interval_of_mean, metric
from synesthete.evaluation.reporting.media import draw_sheet, encode_png, encode_wav
from synesthete.evaluation.reporting.report import Card, Gallery, Medium, Section, Table
from synesthete.evaluation.samples import drawn, shuffled
from synesthete.evaluation.steps import Finding
from synesthete.pipeline.canvas import resample
from synesthete.pipeline.cascade import check_upsampler, join_bands, upsample
from synesthete.tasks.music.references import through_codec
from synesthete.tasks.task import SECTIONS
from synesthete.types import InputError, Prepared, Progress

if TYPE_CHECKING:
    from synesthete.pipeline import Pipeline


GIVEN, COPY, MADE, REAL = "band-limited alone", "spectral copy", "upsampled", "real"
OTHER, CODED = "highs of another piece", "real highs through the codec"
NETWORK, DECODED = "upsampled, low band as the network made it", "real, low band through the codec too"
BESIDE = {"chance": GIVEN, "shuffled": OTHER, "ceiling": CODED}
PARTS = ("above", "all", "below")
NUM_TILT = 200  # training pieces that the spectral copy's mean spectrum is measured on
NUM_RECORDED = 16  # sounds that were recorded at the low rate
NUM_SHOWN = 6
BATCH_SIZE = 16


def evaluate_upsampling(
    pipeline: Pipeline,
    prepared: Prepared,
    *,
    num: int = 50,
    seed: int = 0,
    recorded: Path | None = None,
    progress: Progress | None = None,
) -> Finding:
    """Held-out sound resampled to the low rate and upsampled again, beside the real one.

    Chance is the given band alone, shuffled the real highs of another held-out piece over it, and the ceiling the real
    highs through the same codec over it. The spectral copy is what a few lines can do: the band's upper half copied
    upwards, as loud as the mean spectrum of training music has it (after spectral band replication, Dietz et al. 2002).

    recorded: a folder of sound that was recorded at the low rate, read by `read_low_rate`; there are no real highs to
    compare with, so only the level of each octave is measured, beside that of held-out music. progress(what, done,
    total).
    """
    check_upsampler(pipeline)
    if not len(prepared.test):
        raise InputError("no held-out pieces to upsample; give more recordings, or another data.test_share")
    report = progress or (lambda *_: None)
    rate, low_rate = pipeline.codec.spec.sample_rate, pipeline.conditioner.config.low_rate
    length = pipeline.codec.config.num_samples / rate
    low = None if recorded is None else read_low_rate(recorded, low_rate, length, NUM_RECORDED, seed)
    real = prepared.test.waveform(drawn(len(prepared.test), num, seed, "upsampling"))
    sounds, seconds = every_way(pipeline, prepared, real, seed, report)
    distances = {name: spectra.spectral_distances(real, sound, rate, low_rate) for name, sound in sounds.items()}
    octaves = {name: octaves_of(sound, rate) for name, sound in (*sounds.items(), (REAL, real))}
    above = f"above {low_rate / 2000:g} kHz"
    metrics = [
        *distance_metrics(distances, above, len(real)),
        *octave_metrics(octaves, rate, low_rate, len(real)),
        metric("seconds_to_upsample", seconds * rate / real.numel(), num=len(real)),
    ]
    heard = {name: sounds[name] for name in (GIVEN, COPY, MADE, CODED)} | {REAL: real}
    rows = [(name, *(each[part].mean().item() for part in PARTS)) for name, each in distances.items()]
    levels = [(name, *spectra.profile(power, 1e-12).tolist()) for name, power in octaves.items()]
    columns = ("", f"{above} (dB)", "over all (dB)", "given band (dB)")
    tables = [
        Table(columns, rows, "log-spectral distance to the real sound"),
        Table(("", *spectra.octave_names(rate)), levels, "mean power by octave (dB)"),
    ]
    sections = [
        upsampled_section("Upsampled", heard, rate),
        Section("Highs in figures", SECTIONS["music.tabled"], tables),
    ]
    if low is not None:
        found, section = evaluate_recorded(pipeline, low, octaves[REAL], seed, report)
        metrics += found
        sections.append(section)
    return Finding(metrics, sections)


def every_way(
    pipeline: Pipeline, prepared: Prepared, real: Tensor, seed: int, report: Progress
) -> tuple[dict[str, Tensor], float]:
    """Real sounds (n, S), their highs taken away and put back in every way, (n, S) each; the seconds of upsampling."""
    rate, low_rate = pipeline.codec.spec.sample_rate, pipeline.conditioner.config.low_rate
    low = resample(real, rate, low_rate)
    given = spectra.cut_or_padded(resample(low, low_rate, rate), real.shape[-1])
    generators = seeding.sample_generators(seed, len(real))
    start = time.perf_counter()
    whole = upsample(
        pipeline, low, low_rate, generators=generators, join=False, progress=lambda *count: report("upsampling", *count)
    )
    seconds = time.perf_counter() - start
    made = spectra.cut_or_padded(whole, real.shape[-1])
    coded = as_float(through_codec(pipeline.codec, to_int16(real), seed, lambda *count: report("codec", *count)))
    places = drawn(len(prepared.train), NUM_TILT, seed, "mean spectrum")
    tilt = spectra.mean_spectrum(prepared.train.waveform(places), rate)

    def over(highs: Tensor) -> Tensor:
        return join_bands(given, spectra.cut_or_padded(highs, given.shape[-1]), rate, low_rate / 2)

    sounds = {
        GIVEN: given,
        COPY: over(spectra.spectral_copy(given, rate, low_rate, tilt)),
        MADE: over(made),
        NETWORK: made,
        OTHER: over(real[shuffled(len(real), seed)]),
        CODED: over(coded),
        DECODED: spectra.cut_or_padded(coded, real.shape[-1]),
    }
    return sounds, seconds


def octaves_of(waveforms: Tensor, sample_rate: int) -> Tensor:
    """Mean power (n, octaves) of sounds (n, S) in each octave."""
    thirds = [spectra.third_power(part, sample_rate) for part in waveforms.split(BATCH_SIZE)]
    return spectra.octave_power(torch.cat(thirds))


def distance_metrics(distances: dict[str, dict[str, Tensor]], above: str, num: int) -> list[Metric]:
    """The distances of what was made and of the spectral copy, with floor and ceiling."""

    def distance(way: str, part: str, variant: str, what: str, against: str, **beside: str) -> Metric:
        values = distances[way][part]
        others: dict[str, Any] = {name: distances[other][part].mean().item() for name, other in beside.items()}
        told: dict[str, Any] = {"variant": variant, "what": what, "against": f"{against}, n = {num}"}
        return metric("log_spectral_distance", values.mean().item(), interval_of_mean(values), **others, **told)

    own = " of the network's own low band", "before the given one replaces it"
    return [
        *(
            distance(way, part, f"{way} {part}", f"{what} {where}", "held-out pieces", **BESIDE)
            for part, where in (("above", above), ("all", "over all bands"))
            for way, what in ((MADE, ""), (COPY, f" of the {COPY}"))
        ),
        distance(NETWORK, "below", "network below", *own, ceiling=DECODED),
    ]


def octave_metrics(octaves: dict[str, Tensor], sample_rate: int, low_rate: int, num: int) -> list[Metric]:
    """How much louder each made octave is than the real one."""
    louder = {way: spectra.band_differences(octaves[way], octaves[REAL]) for way in (MADE, *BESIDE.values())}
    found = []
    for place, name in made_octaves(sample_rate, low_rate):
        beside: dict[str, Any] = {what: louder[way][place].item() for what, way in BESIDE.items()}
        told: dict[str, Any] = {"variant": name, "octave": name, "against": f"held-out pieces, n = {num}"}
        found.append(metric("octave_level", louder[MADE][place].item(), **beside, **told))
    return found


def made_octaves(sample_rate: int, low_rate: int) -> list[tuple[int, str]]:
    """Places and names of the octaves that reach above the given band."""
    names = spectra.octave_names(sample_rate)
    return [(place, name) for place, name in enumerate(names) if float(name.split()[2]) > low_rate / 2 + 1]


def evaluate_recorded(
    pipeline: Pipeline, low: Tensor, real: Tensor, seed: int, report: Progress
) -> tuple[list[Metric], Section]:
    """Sounds (n, S) recorded at a low rate, upsampled: new octaves beside real ones (m, octaves), and what is kept."""
    rate, low_rate = pipeline.codec.spec.sample_rate, pipeline.conditioner.config.low_rate
    generators = seeding.sample_generators(seed, len(low))
    made = upsample(pipeline, low, low_rate, generators=generators, progress=lambda *c: report("recorded sound", *c))
    given = spectra.cut_or_padded(resample(low, low_rate, rate), made.shape[-1])
    levels = {name: spectra.profile(octaves_of(sound, rate), 1e-12) for name, sound in ((GIVEN, given), (MADE, made))}
    levels[REAL] = spectra.profile(real, 1e-12)
    new = made_octaves(rate, low_rate)
    below = new[0][0] - 1  # the highest octave that was given
    n = f"recorded at {low_rate} Hz, n = {len(low)}"

    metrics = []
    for place, name in new:
        figures = {way: (level[place] - level[below]).item() for way, level in levels.items()}
        beside: dict[str, Any] = {"chance": figures[GIVEN], "ceiling": figures[REAL], "variant": name, "octave": name}
        against = f"{n}; ceiling: held-out music"
        metrics.append(metric("recorded_octave_level", figures[MADE], **beside, against=against))
    kept = spectra.spectral_distances(given, made, rate, low_rate)["below"]
    told: dict[str, Any] = {"variant": "recorded given band", "what": " to the given band", "against": n}
    metrics.append(metric("log_spectral_distance", kept.mean().item(), **told))
    section = upsampled_section(f"Recorded at {low_rate} Hz", {GIVEN: given, MADE: made}, rate)
    rows = [
        (octave, *(levels[name][i].item() for name in (GIVEN, MADE, REAL)))
        for i, octave in enumerate(spectra.octave_names(rate))
    ]
    table = Table(("octave", "given (dB)", "upsampled (dB)", "held-out music (dB)"), rows, "mean power by octave")
    return metrics, Section(section.title, SECTIONS["music.recorded"], [*section.items, table])


def read_low_rate(folder: Path, low_rate: int, seconds: float, num: int, seed: int = 0) -> Tensor:
    """Recordings of that rate in a folder, drawn at random and strung together: (n, S), n <= num, `seconds` each."""
    recordings = [r for r in Recordings(str(folder)).recordings() if r.sample_rate == low_rate]
    if not recordings:
        raise InputError(f"{folder}: nothing in it was recorded at {low_rate} Hz; give another folder")
    root = folder if folder.is_dir() else folder.parent
    length, sounds, there = round(seconds * low_rate), [], 0
    for place in drawn(len(recordings), len(recordings), seed, "recorded").tolist():
        sounds.append(read_audio(root / recordings[place].place, low_rate))
        there += len(sounds[-1])
        if there >= num * length:
            break
    if there < length:
        raise InputError(f"{folder}: {there / low_rate:.1f} s at {low_rate} Hz; give {seconds:g} s or more")
    return torch.cat(sounds)[: min(there // length, num) * length].unflatten(0, (-1, length))


def upsampled_section(title: str, sounds: dict[str, Tensor], sample_rate: int) -> Section:
    """The first sounds in every way, side by side: to see and to hear."""
    rows = [draw_spectrograms(sound[:NUM_SHOWN], sample_rate) for sound in sounds.values()]
    pieces = [f"piece {i}" for i in range(len(rows[0]))]
    sheet = draw_sheet(list(zip(*rows, strict=True)), pieces, list(sounds))
    cards = []
    for i, piece in enumerate(pieces):
        played = {name: encode_wav(sound[i].clamp(-1, 1), sample_rate) for name, sound in sounds.items()}
        cards.append(Card(piece, [Medium(f"{title} {i} {name}", wav, name, "wav") for name, wav in played.items()]))
    names = ", ".join(sounds)
    picture = Medium(f"{title} spectrograms", encode_png(sheet), f"log-mel, low bands at the bottom: {names}")
    return Section(title, SECTIONS["music.shown"].format(names=names), [picture, Gallery(cards)])
