"""What a model made, in memory: it shows itself in a notebook, says in one line what it is, and saves itself."""

from __future__ import annotations

import base64
import html
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


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
        """Write the sound to PATH.wav or .flac, or its spectrogram to PATH.png, by the suffix.

        Raises:
            InputError: another suffix, a full disk, or a folder that cannot be written.
        """
        from synesthete.data.audio import write_audio

        path = Path(path)
        return write_png(path, self) if path.suffix == ".png" else write_audio(path, self.waveform, self.sample_rate)

    def __repr__(self) -> str:
        """One line."""
        said = f", {self.heard}" if self.heard is not None else ""
        return f"<Sound: {self.seconds:.2f} s at {self.sample_rate} Hz{said}>"

    def _repr_html_(self) -> str:
        """A player and the spectrogram, for notebooks."""
        import soundfile

        from synesthete.data.audio import to_int16

        wav = io.BytesIO()
        soundfile.write(wav, to_int16(self.waveform).numpy(), self.sample_rate, subtype="PCM_16", format="WAV")
        player = f'<audio controls src="data:audio/wav;base64,{base64.b64encode(wav.getvalue()).decode()}"></audio>'
        return figure(f"{to_shown(self.picture)}<br>{player}", repr(self))


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
        """Write it as a PNG that tells how it was made.

        Raises:
            InputError: a full disk, or a folder that cannot be written.
        """
        return write_png(Path(path), self)

    def __repr__(self) -> str:
        """One line."""
        of = next((f", of {self.how[key]!r}" for key in ("label", "prompt", "sound") if key in self.how), "")
        return f"<Picture: {self.image.width} x {self.image.height}{of}>"

    def _repr_html_(self) -> str:
        """The picture, for notebooks."""
        return figure(to_shown(self.image), repr(self))


class Results(list[Any]):
    """Several of them: a list that shows itself as each of them does."""

    def save(self, folder: Path | str, suffix: str | None = None) -> list[Path]:
        """Write each as FOLDER/000.wav or .png, ..., by its kind or by the suffix."""
        places = [
            Path(folder) / f"{i:03d}{suffix or ('.wav' if isinstance(one, Sound) else '.png')}"
            for i, one in enumerate(self)
        ]
        return [one.save(place) for one, place in zip(self, places, strict=True)]

    def _repr_html_(self) -> str:
        """All of them beside each other, for notebooks."""
        return f'<div style="display:flex;flex-wrap:wrap">{"".join(one._repr_html_() for one in self)}</div>'


def write_png(path: Path, made: Sound | PictureResult) -> Path:
    """Its picture as a PNG, with a text chunk for each thing that made it."""
    from synesthete.data.picture import write_picture

    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in made.how.items()}
    return write_picture(path, made.picture, texts)


def write_files(made: Sound | PictureResult, target: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """It at TARGET with each of the suffixes: sound, picture, and what made it as JSON."""
    from synesthete.io import write_file

    written = []
    for suffix in suffixes:
        path = target.with_name(target.name + suffix)
        if suffix == ".json":
            write_file(path, f"{json.dumps(made.how, indent=2, ensure_ascii=False)}\n")
        elif suffix == ".gif" and isinstance(made, PictureResult):
            from synesthete.evaluation.reporting.media import encode_gif

            write_file(path, encode_gif(made.frames, milliseconds=250))
        else:
            made.save(path)
        written.append(path)
    return written


def to_shown(image: Image.Image) -> str:
    """An image as HTML; a small one enlarged, every pixel a square."""
    content = io.BytesIO()
    image.save(content, "PNG")
    width = max(image.width, min(128, 8 * image.width))
    source = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
    return f'<img width="{width}" style="image-rendering:pixelated" src="{source}">'


def figure(content: str, caption: str) -> str:
    """HTML with a caption below it."""
    return f'<figure style="margin:8px">{content}<figcaption>{html.escape(caption)}</figcaption></figure>'
