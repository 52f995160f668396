"""What a model made, in memory: it shows itself in a notebook, says in one line what it is, and saves itself."""

from __future__ import annotations

import base64
import html
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from synesthete.data.scores.score import Score

__all__ = ["Composition", "PictureResult", "Results", "Sound"]

NAMES = ("picture", "score", "init")  # of the files that a sound was made of: under any name it is the same, to the bit


@dataclass
class Sound:
    """A sound that a model made.

    waveform: (S,) float32 in [-1, 1], on the CPU. picture: its spectrogram, low frequencies below. how: what made it,
    as its files tell. heard: what the model's classifier takes it for; None without one.
    """

    waveform: Tensor
    sample_rate: int
    picture: Image.Image
    how: dict[str, Any] = field(default_factory=dict)
    heard: Any | None = None
    num: ClassVar[int] = 1

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.waveform.shape[-1] / self.sample_rate

    @property
    def words(self) -> str | None:
        """What it most likely says, as the classifier beside the model hears it; None where there is none."""
        return self.heard.says if self.heard is not None else None

    def spectrogram(self) -> Image.Image:
        """The spectrogram as the model made it, time to the right, low frequencies below."""
        return self.picture

    def save(self, path: Path | str) -> Path:
        """Write the sound to PATH.wav or .flac, its spectrogram to PATH.png, or how it was made to PATH.json.

        Each tells how it was made: a sound in its comment, a picture in text chunks.

        Raises:
            InputError: another suffix, a full disk, or a folder that cannot be written.
        """
        from synesthete.data.audio import write_audio

        path = Path(path)
        if path.suffix in (".png", ".json"):
            return save_picture(path, self.picture, self.how)
        told = {key: value for key, value in self.how.items() if key not in NAMES}
        return write_audio(path, self.waveform, self.sample_rate, json.dumps(told) if told else "")

    def __repr__(self) -> str:
        """One line."""
        said = f", {self.heard}" if self.heard is not None else ""
        return f"<Sound: {self.seconds:.2f} s at {self.sample_rate} Hz{said}>"

    def _repr_html_(self) -> str:
        """A player and the spectrogram, for notebooks."""
        from synesthete.evaluation.reporting.media import encode_wav

        wav = base64.b64encode(encode_wav(self.waveform, self.sample_rate)).decode()
        return figure(
            f'{shown(self.picture)}<br><audio controls src="data:audio/wav;base64,{wav}"></audio>', repr(self)
        )


@dataclass
class Composition(Sound):
    """A piece that a model composed: its notes, the sound of them, and its roll as picture."""

    score: Score | None = None

    def save(self, path: Path | str) -> Path:
        """As every sound, and its notes to PATH.mid."""
        from synesthete.data.scores.midi import write_midi

        path = Path(path)
        if path.suffix in (".mid", ".midi") and self.score is not None:
            write_midi(self.score, path)
            return path
        return super().save(path)

    def __repr__(self) -> str:
        """One line."""
        return f"<Composition: {self.how.get('bars')} bars in {self.how.get('key')}, {self.seconds:.2f} s>"


@dataclass
class PictureResult:
    """A picture that a model made.

    how: what made it, as its files tell. frames: of a strip, to be shown in motion. num: pictures in it, of a strip.
    """

    image: Image.Image
    how: dict[str, Any] = field(default_factory=dict)
    frames: list[Image.Image] = field(default_factory=list)
    num: int = 1

    @property
    def picture(self) -> Image.Image:
        """The image, as of a sound its spectrogram."""
        return self.image

    def save(self, path: Path | str) -> Path:
        """Write it as a PNG that tells how it was made; to PATH.gif its frames, to PATH.json how it was made alone.

        Raises:
            InputError: a full disk, or a folder that cannot be written.
        """
        path = Path(path)
        if path.suffix == ".gif" and self.frames:
            from synesthete.evaluation.reporting.media import encode_gif
            from synesthete.io import write_file

            write_file(path, encode_gif(self.frames, milliseconds=250))
            return path
        return save_picture(path, self.image, self.how)

    def __repr__(self) -> str:
        """One line."""
        of = next((f", of {self.how[key]!r}" for key in ("label", "prompt", "sound") if key in self.how), "")
        return f"<Picture: {self.image.width} x {self.image.height}{of}>"

    def _repr_html_(self) -> str:
        """The picture, for notebooks."""
        return figure(shown(self.image), repr(self))


class Results(list[Any]):
    """Several of them: a list that shows itself as each of them does."""

    def save(self, folder: Path | str, suffix: str | None = None) -> list[Path]:
        """Write each as FOLDER/000.wav or .png, ..., by its kind or by the suffix."""
        return [
            one.save(Path(folder) / f"{i:03d}{suffix or ('.wav' if isinstance(one, Sound) else '.png')}")
            for i, one in enumerate(self)
        ]

    def _repr_html_(self) -> str:
        """All of them beside each other, for notebooks."""
        return f'<div style="display:flex;flex-wrap:wrap">{"".join(one._repr_html_() for one in self)}</div>'


def save_picture(path: Path, picture: Image.Image, how: dict[str, Any]) -> Path:
    """The picture as a PNG, with a text chunk for each thing that made it; or these things as JSON."""
    from synesthete.data.picture import write_picture
    from synesthete.io import write_file

    if path.suffix == ".json":
        write_file(path, f"{json.dumps(how, indent=2, ensure_ascii=False)}\n")
        return path
    return write_picture(path, picture, {k: v if isinstance(v, str) else json.dumps(v) for k, v in how.items()})


def shown(image: Image.Image) -> str:
    """An image as HTML; a small one enlarged, every pixel a square."""
    from synesthete.evaluation.reporting.media import encode_png

    width = max(image.width, min(128, 8 * image.width))
    source = f"data:image/png;base64,{base64.b64encode(encode_png(image)).decode()}"
    return f'<img width="{width}" style="image-rendering:pixelated" src="{source}">'


def figure(content: str, caption: str) -> str:
    """HTML with a caption below it."""
    return f'<figure style="margin:8px">{content}<figcaption>{html.escape(caption)}</figcaption></figure>'
