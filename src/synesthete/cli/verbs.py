"""The commands that sample: what each can be asked, and what its help says."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import typer

from synesthete.cli.options import AsJson, Device, Overwrite
from synesthete.types import InputError

OF_SOUND = ("audio_guidance_scale", "adapter_scale")  # sampling settings of models that hear


def option(kind: Any, help: str, *names: str, **more: Any) -> Any:
    """The annotation of an option. names: where it is not called as its parameter is."""
    return Annotated[kind, typer.Option(*names, help=help, **more)]


# What a command may be asked, by the fields of the tasks' requests and the sampling settings.
OPTIONS: dict[str, Any] = {
    "labels": option(
        list[str] | None, "A class by name or number; several by commas or given again; or all.", "--label"
    ),
    "prompts": option(list[str] | None, "Words of your own, for a model that reads text; again for more.", "--prompt"),
    "num": option(int | None, "How many of each.", min=1),
    "loudness": option(float | None, "In dB, such as -20; or drawn.", metavar="DB"),
    "seconds": option(float | None, "Length of each sound; the model's own by default."),
    "bars": option(int | None, "Length of each piece; 8 by default."),
    "key": option(str | None, "Such as 'D minor'; else drawn, or found in --init."),
    "tempo": option(float | None, "Quarter notes a minute; 84, or those of --init."),
    "init": option(Path | None, "A sound or a score to vary, mend or go on from."),
    "harmonise": option(bool, "Hold the melody of --init and make the other voices.", "--harmonise"),
    "fill": option(str | None, "Bars of --init to be made anew, such as 3-4.", metavar="BARS"),
    "remake": option(str | None, "Voices of --init to be made anew: soprano, alto, tenor, bass.", metavar="VOICES"),
    "strength": option(float | None, "How far --init is varied, above 0 to 1, which keeps nothing; 0.6 by default."),
    "gap": option(
        tuple[float, float] | None, "Seconds of --init to be made anew; the rest stays as it is.", metavar="START END"
    ),
    "goes_on": option(bool, "Go on after --init, up to --seconds or --bars in all.", "--continue"),
    "is_loop": option(bool, "Music whose end meets its beginning.", "--loop"),
    "upsampler": option(str | None, "A second model, which adds highs to the music of the first.", metavar="MODEL"),
    "overlap": option(float | None, "Seconds that a window of long music shares with the one before; a quarter."),
    "num_corrections": option(
        int | None, "Backward passes a step that fit what is made to what is held; 2.", "--corrections", min=0
    ),
    "num_resamplings": option(
        int | None, "Rounds that blend what is made with what was given.", "--resamplings", min=0
    ),
    "negative_prompt": option(str | None, "What a picture is to be led away from.", metavar="TEXT"),
    "audio_guidance_scale": option(
        float | None, "How far the sound leads, beside --guidance-scale for the text, which else is for both."
    ),
    "adapter_scale": option(float | None, "How much is heard: 0 is deaf, 1 as it was trained, at most 2."),
    "between": option(
        tuple[Path, Path] | None, "A strip of pictures from one sound to another.", metavar="FIRST SECOND"
    ),
    "frames": option(int | None, "Pictures of that strip; 7 by default."),
    "strengths": option(list[str] | None, "A strip of each sound, a picture for each strength.", metavar="NUMBERS"),
    "is_gif": option(bool, "The strip as a GIF, too.", "--gif"),
    "voice": option(
        str | None,
        "Who speaks: a voice of the model or a clip, several by commas, or all; else chance. Or who sings a melody.",
    ),
    "instrument": option(
        str | None,
        "What a score is played on; of music-score also several by commas, or all. An unknown one lists them.",
        metavar="NAME",
    ),
    "player": option(
        str | None,
        "What plays it in place of plain tones: music-score or another such model, or a SoundFont (.sf2).",
        "--with",
        metavar="MODEL",
    ),
    "pitch": option(float | None, "How high, 0 to 99; 50 is the voice's own."),
    "rate": option(float | None, "How fast, in words a minute."),
    "max_pixels": option(int | None, "Pixels of a picture from which on it is not decoded; 100 million.", min=1),
    "out": option(Path, "Folder for what is made."),
    "seed": option(int, "Other seeds give others."),
    "sampler": option(str | None, "Such as ddim or flow-heun; an unknown name lists them all."),
    "steps": option(int | None, "Number of sampling steps."),
    "guidance_scale": option(float | None, "1.0 is off; higher follows the condition more; 0.0 does without it."),
    "assignments": option(
        list[str] | None, "Any other sampling setting, such as eta=0.5.", "--set", metavar="KEY=VALUE"
    ),
    "device": Device,
    "overwrite": Overwrite,
    "as_json": AsJson,
}
EVERYWHERE = tuple(OPTIONS)[tuple(OPTIONS).index("out") :]  # of every command
DEFAULTS: dict[str, Any] = {
    "seed": 0,
    "device": "auto",
    **dict.fromkeys(("goes_on", "harmonise", "is_loop", "is_gif", "overwrite", "as_json"), False),
}


class Verb(NamedTuple):
    """A command that samples. about: for its help. examples: what the help begins with.

    default: the model where none is named; "" of the general form. reads: the kind of files that it takes. options: of
    OPTIONS, beside those of every command. others: what its help says of the models of another task, by the task.
    """

    about: str
    examples: tuple[str, ...]
    default: str
    reads: str
    options: tuple[str, ...]
    others: Mapping[str, Verb] = MappingProxyType({})

    @property
    def all_options(self) -> tuple[str, ...]:
        """Those of all tasks, each once."""
        return tuple(dict.fromkeys(name for verb in (self, *self.others.values()) for name in verb.options))

    def of(self, args: Sequence[str]) -> Verb:
        """The verb as it is for the first argument that is a task or a model."""
        from synesthete.tasks.task import model_folder, model_task_name

        for arg in args:
            if arg in self.others or Path(arg).is_dir():
                with contextlib.suppress(InputError):
                    return self.others.get(arg if arg in self.others else model_task_name(model_folder(arg)), self)
        return self

    @property
    def help(self) -> str:
        """The examples, then what it does."""
        return "".join(f"- `{line}`\n" for line in self.examples) + f"\n{self.about}"


COMPOSE = Verb(
    "Compose: 000.mid, .wav, its notes as .png, and .json, ... (4 pieces), of nothing, in a key, or of a score.",
    (
        'synesthete play music-compose --bars 16 --key "D minor"',
        "synesthete play music-compose --init melody.mid --harmonise",
        "synesthete play music-compose --init tune.mid --fill 3-4 --out mended",
    ),
    "music-compose",
    "",
    (
        *("bars", "key", "num", "tempo", "init", "harmonise", "voice", "goes_on", "fill", "remake"),
        *("instrument", "player"),
    ),
)

SCORE = Verb(
    "Play scores, MIDI or MusicXML files of any length: STEM.wav, .png (notes and spectrogram) and .json of each.",
    (
        "synesthete play music-score tune.mid --instrument strings",
        "synesthete play music-score tune.mxl --instrument all --seconds 30",
        "synesthete play runs/score scores/ --out played --seed 3",
    ),
    "music-score",
    "score",
    ("instrument", "seconds"),
)

VERBS = {
    "speak": Verb(
        "Let pictures speak: STEM.wav and its spectrogram STEM.png for each, and the words that its classifier hears.",
        (
            "synesthete speak seven.png --voice bf_emma",
            "synesthete speak runs/mine drawings/ --out spoken --seed 3",
            "synesthete speak image-to-speech-photos dog.jpg --guidance-scale 2",
        ),
        "image-to-speech-voices",
        "picture",
        ("voice", "pitch", "rate", "max_pixels"),
    ),
    "draw": Verb(
        "Draw pictures of labels or words: LABEL_000.png, ... (8 of each), and a contact sheet.",
        (
            "synesthete draw --label 7",
            "synesthete draw images-digits --label all --num 4 --sampler ddim --steps 50",
            'synesthete draw runs/clip --prompt "a photo of a red cat" --out drawn',
        ),
        "images-digits",
        "",
        ("labels", "prompts", "num"),
    ),
    "paint": Verb(
        "Paint what is heard: STEM.png, STEM_1.png, ... and STEM.json of each sound, or a strip of pictures.",
        (
            "synesthete paint seven.wav",
            'synesthete paint runs/audio-to-image dog.wav --prompt "in the snow" --num 4',
            "synesthete paint --between one.wav two.wav --gif --out heard",
        ),
        "audio-to-image-digits",
        "sound",
        ("prompts", "negative_prompt", "num", *OF_SOUND, "between", "frames", "strengths", "is_gif"),
    ),
    "play": Verb(
        "Play: 000.wav, 000.png and 000.json, ... (4 of each label), of nothing, of a label, or of a clip. Models that "
        "compose or play scores take other options: `synesthete play music-compose --help`, `play music-score --help`.",
        (
            "synesthete play --label piano --num 1",
            "synesthete play runs/music --seconds 30 --loop",
            "synesthete play runs/music --init clip.wav --gap 3 4.5 --out mended",
        ),
        "music-notes",
        "score",
        (
            *("labels", "loudness", "num", "seconds", "init", "strength", "gap", "goes_on", "is_loop", "upsampler"),
            *("overlap", "num_corrections", "num_resamplings"),
        ),
        {"music-compose": COMPOSE, "music-score": SCORE},
    ),
    "sample": Verb(
        """Sample from any model. `speak`, `draw`, `paint` and `play` do so with the options of their kind alone.

Pictures that speak become STEM.wav and STEM.png; labels LABEL_000.png, ... and a contact sheet; music 000.wav,
000.png and 000.json, ...; sounds STEM.png, STEM_1.png, ... and STEM.json. Each file tells how it was made, and
sample 5 of a label is the same whatever else is asked for.""",
        (
            "synesthete sample image-to-speech-digits seven.png --out spoken",
            "synesthete sample images-digits --label 7 --num 64 --out drawn",
            "synesthete sample runs/music --init clip.wav --gap 3 4.5 --out mended",
            'synesthete sample runs/audio-to-image dog.wav --prompt "in the snow" --num 4',
        ),
        "",
        "",
        tuple(name for name in OPTIONS if name not in EVERYWHERE),
    ),
}
