"""A listening page: what a model plays or says, as small sound files with their spectrograms, in one Markdown file.

    python -m benchmarks.listening music-notes --out docs/listening/music-notes
    python -m benchmarks.listening runs/music --num 6 --seed 0 --out docs/listening/music
    python -m benchmarks.listening runs/music-low --upsampler runs/music-upsampler --out docs/listening/music-cascade
    python -m benchmarks.listening image-to-speech-digits --before old_model --out docs/listening/speech
    python -m benchmarks.listening runs/compose --name music-compose --num 3 --out docs/listening/chorales
    python -m benchmarks.listening music-score --score tune.mxl --sound-font fluid.sf3 --out docs/listening/scores

The first samples of the seed, not the best ones: of a model that is told classes, the first of each class; of one that
speaks, a held-out picture of each digit, beside what another model says to it, and one digit in five voices; of one
that composes, pieces among held-out ones, which are which at the end; of one that plays scores, the beginning of a
score on each of its instruments, beside what a SoundFont makes of it.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import soundfile
import torch
from PIL import Image

from synesthete import seeding
from synesthete.data.pictures import DIGITS, BuiltInDigits
from synesthete.data.scores.rendering import SoundFont, render
from synesthete.data.scores.sources import ScoreFile
from synesthete.evaluation.audio_features.spectra import draw_spectrograms
from synesthete.pipeline import Pipeline
from synesthete.pipeline.canvas import encode_whole
from synesthete.pipeline.cascade import Cascade
from synesthete.pipeline.long_form import fade_ends
from synesthete.tasks import prepare
from synesthete.tasks.demo import CHORUS, NUM_VOICES, choose_picture, choose_voices
from synesthete.tasks.demo_page import enlarge
from synesthete.tasks.model import load, recipe_of
from synesthete.tasks.music_score.sampling import Played, draw_played

if TYPE_CHECKING:
    from torch import Tensor

    from synesthete.tasks.results import Sound

BATCH = 8
TITLE = "What {name} plays"
SPEECH = "The first samples of seed {seed} to held-out pictures, not the best ones. Low frequencies are at the bottom."
CHORALES = (
    "{num} pieces on an organ of a few partials, in an order that was drawn: the first {made} of seed {seed} that "
    "{name} composed, not the best ones, told the keys of held-out windows, and as many held-out windows. Eight bars "
    "each, which may begin and end anywhere in a piece. Which are which stands at the end."
)
PLAYED = (
    "The first {seconds:.0f} seconds of {score}, which {name} has never heard, on each instrument it has, seed {seed}; "
    "and by the SoundFont that it learned from. Above each spectrogram stand the notes that were asked for."
)
SECONDS = 12.0  # of a score that is played
HOW = "The first samples of seed {seed}, not the best ones: {settings}. Low frequencies are at the bottom, -80 to 0 dB."


def main() -> None:
    """Sample, write sounds and pictures, and the page that shows them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model's name or folder")
    parser.add_argument("--upsampler", help="a model that makes the highs of what the first one plays")
    parser.add_argument("--before", help="a model of digits that speak, to be heard beside")
    parser.add_argument("--name", help="what the page calls it")
    parser.add_argument("--num", type=int, default=6, help="sounds of a model that is told nothing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="where `prepare --out` put the scores of a model that composes")
    parser.add_argument("--score", type=Path, help="what a model that plays scores plays: MIDI or MusicXML")
    parser.add_argument("--sound-font", help="what plays it beside the model")
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    options = parser.parse_args()
    if options.num < 1:
        parser.error("--num: give at least 1")
    try:
        options.out.mkdir(parents=True)
    except FileExistsError:
        parser.error(f"--out {options.out}: exists; give another folder")
    if (speaker := load(options.model)).task.verb == "speak":
        page = write_speech(options.out, speaker, load(options.before) if options.before else None, options.seed)
        (options.out / "README.md").write_text(page, encoding="utf-8")
        return
    if speaker.task.name == "music-compose":
        name = options.name or Path(options.model).name
        page = write_pieces(options.out, speaker, name, options.num, options.seed, options.data)
        (options.out / "README.md").write_text(page, encoding="utf-8")
        return
    if speaker.task.name == "music-score":
        page = write_played(options.out, speaker, options.score, options.sound_font, options.seed)
        (options.out / "README.md").write_text(page, encoding="utf-8")
        return
    pipeline = Pipeline.load(options.model)
    whole = Cascade(pipeline, Pipeline.load(options.upsampler)) if options.upsampler else None
    names = list(pipeline.class_names) if pipeline.class_names else [f"{i:03}" for i in range(options.num)]
    rate = whole.sample_rate if whole else pipeline.codec.spec.sample_rate
    sounds = fade_ends(play(pipeline, len(names), options.seed, whole), rate)
    write_sounds(options.out, names, sounds, rate)
    page = write_page(options.name or Path(options.model).name, names, pipeline.sampling_settings(), options.seed)
    (options.out / "README.md").write_text(page, encoding="utf-8")


def play(pipeline: Pipeline, num: int, seed: int, whole: Cascade | None = None) -> Tensor:
    """Sounds (num, S) in [-1, 1], sound i of class i; by the cascade that the model begins, where there is one."""
    found, maker = [], whole or pipeline
    for places in torch.arange(num).split(BATCH):
        generators = [seeding.sample_generators(seed, num)[i] for i in places.tolist()]
        reads = pipeline.conditioner.reads
        told = pipeline.conditioner.compose(len(places)) if reads == "level" else places * (reads == "label")
        found.append(maker(told, generators=generators).signal)
    return torch.cat(found).cpu().clamp(-1, 1)


def write_sounds(out: Path, names: list[str], sounds: Tensor, rate: int) -> None:
    """NAME.ogg and NAME.png, its spectrogram, of each sound (n, S)."""
    for name, sound, picture in zip(names, sounds, draw_spectrograms(sounds, rate), strict=True):
        soundfile.write(out / f"{name}.ogg", sound.numpy(), rate, format="OGG", subtype="VORBIS")
        picture.resize((2 * picture.width, 2 * picture.height)).convert("P").save(out / f"{name}.png")


def write_speech(out: Path, speaker: Any, before: Any | None, seed: int) -> str:
    """Ten pictures, what is said to each, before and now, and one of them in several voices; Markdown."""
    held_out = BuiltInDigits().pictures("test")
    pictures = {name: held_out.images[choose_picture(held_out.labels, name, seed)] for name in DIGITS}
    voices = [voice for voice in choose_voices(speaker.pipeline.conditioner, NUM_VOICES, seed) if voice]
    columns = {"before": before, "now": speaker} if before else {"now": speaker}
    rows = []
    for name, picture in pictures.items():
        enlarge(picture, 64).save(out / f"{name}_picture.png")
        cells = [f"![a {name}]({name}_picture.png)"]
        for column, model in columns.items():
            cells.append(heard(out, f"{name}_{column}", model(picture, seed=seed)))
        rows.append(f"| {' | '.join(cells)} |")
    head = f"| picture | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}"
    page = [f"# What {speaker.name} says", SPEECH.format(seed=seed), "\n".join([head, *rows])]
    if voices:
        said = [heard(out, f"{CHORUS}_{v}", speaker(pictures[CHORUS], seed=seed, voice=v)) for v in voices]
        spoken = "\n".join(f"| {voice} | {cell} |" for voice, cell in zip(voices, said, strict=True))
        page += [f"## The same {CHORUS} in other voices", f"| voice | sound |\n|---|---|\n{spoken}"]
    return "\n\n".join(page) + "\n"


def write_pieces(out: Path, composer: Any, name: str, num: int, seed: int, data: Path | None) -> str:
    """`num` pieces that were made among as many held-out ones, as sounds and rolls; Markdown, with the answers."""
    recipe = recipe_of(composer.pipeline, composer.folder)
    judge: Any = composer.task.evaluator(composer.pipeline, prepare(recipe, data), recipe, "", num=num, seed=seed)
    given = judge.held_out
    composed = judge.generated
    keys = [judge.class_names[label] for label in composed.labels]
    made = [(grid, f"made, told {key}") for grid, key in zip(composed.signal, keys, strict=True)]
    titles = [Path(given.names[piece]).name for piece in given.pieces]
    real = [(grid, f"held out, {title}") for grid, title in zip(given.grids, titles, strict=True)]
    pieces = [*made, *real]
    order = torch.randperm(len(pieces), generator=seeding.generator(seed, "which is which")).tolist()
    rows, answers = [], []
    for number, place in enumerate(order, 1):
        grid, answer = pieces[place]
        for medium in judge.card(str(number), grid).media:
            if medium.kind == "wav":
                sound, rate = soundfile.read(io.BytesIO(medium.content))
                soundfile.write(out / f"{number}.ogg", sound, rate, format="OGG", subtype="VORBIS")
            else:
                (out / f"{number}.png").write_bytes(medium.content)
        rows.append(f"| {player(str(number))} | ![notes of {number}]({number}.png) |")
        answers.append(f"{number}. {answer}")
    told = CHORALES.format(num=len(pieces), made=num, seed=seed, name=name)
    table = "\n".join(["| piece | notes |", "|---|---|", *rows])
    hidden = "\n".join(["<details><summary>Which are which</summary>", "", *answers, "", "</details>"])
    return f"# Chorales, made and composed\n\n{told}\n\n{table}\n\n{hidden}\n"


def write_played(out: Path, player: Any, score: Path, sound_font: str, seed: int) -> str:
    """The beginning of a score on each instrument by the model, and by a SoundFont; Markdown."""
    codec, font, rows = player.pipeline.codec, SoundFont(sound_font), []
    rate, read = codec.spec.sample_rate, ScoreFile(str(score)).read()
    for made in player(score, instrument="all", seconds=SECONDS, seed=seed):
        name = made.how["instrument"]
        sound = torch.from_numpy(render(read, font, name, rate))[: made.waveform.shape[-1]]
        [x_0] = encode_whole(codec, sound[None])
        roll = read.frames(x_0.shape[-1], codec.spec.hop_length / rate)
        real = draw_played(player.pipeline, Played(sound, x_0, roll))
        cells = []
        for kind, waveform, picture in (("made", made.waveform, made.spectrogram()), ("rendered", sound, real)):
            stem = f"{name}_{kind}"
            soundfile.write(out / f"{stem}.ogg", waveform.clamp(-1, 1).numpy(), rate, format="OGG", subtype="VORBIS")
            picture.quantize(128, dither=Image.Dither.NONE).save(out / f"{stem}.png")
            player_html = f'<audio controls preload="none" src="{stem}.ogg"></audio>'
            cells.append(f"{player_html} [{stem}]({stem}.ogg) ![notes and spectrogram of {stem}]({stem}.png)")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    told = PLAYED.format(seconds=SECONDS, score=read.title or score.stem, name=player.name, seed=seed)
    table = "\n".join(["| instrument | made | by the SoundFont |", "|---|---|---|", *rows])
    return f"# {TITLE.format(name=player.name)}\n\n{told}\n\n{table}\n"


def heard(out: Path, name: str, sound: Sound) -> str:
    """Write a sound and its spectrogram; the cell of a table that plays and shows them."""
    write_sounds(out, [name], sound.waveform[None].clamp(-1, 1), sound.sample_rate)
    by = f", {sound.how['voice']}" if "voice" in sound.how else ""
    return f"{player(name)}{by} ![spectrogram of {name}]({name}.png)"


def player(name: str) -> str:
    """What plays NAME.ogg, and a link to it."""
    return f'<audio controls preload="none" src="{name}.ogg"></audio> [{name}]({name}.ogg)'


def write_page(model: str, names: list[str], settings: dict[str, object], seed: int) -> str:
    """Markdown: a row a sound."""
    told = ", ".join(f"{key} {settings[key]}" for key in ("sampler", "num_inference_steps", "guidance_scale"))
    rows = "\n".join(f"| {player(name)} | ![spectrogram of {name}]({name}.png) |" for name in names)
    how = HOW.format(seed=seed, settings=told)
    return f"# {TITLE.format(name=model)}\n\n{how}\n\n| sound | spectrogram |\n|---|---|\n{rows}\n"


if __name__ == "__main__":
    main()
