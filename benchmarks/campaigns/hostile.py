"""Attempts at harm: files that try to run a program, read or write elsewhere, or steer whoever looks at a report.

    python -m benchmarks.campaigns.hostile --out out/hostile

Each attempt is a file or folder that somebody could send, given to what reads such. Bad are: a program that ran, a file
outside that was written, a secret in what was said or made, memory that a header asked for, markup or an escape that
was passed on, and an error that is no line.
"""

from __future__ import annotations

import argparse
import io
import json
import pickle
import re
import struct
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from PIL import Image

from benchmarks.campaigns.fuzz import attempt, kept, quiet
from benchmarks.campaigns.results import Trial, report
from synesthete import hub
from synesthete.data.archives import unpack
from synesthete.data.audio import read_audio
from synesthete.data.files import read_manifest
from synesthete.data.picture import read_picture
from synesthete.data.pictures import ClassFolders, Mnist
from synesthete.evaluation.reporting.report import Report, Section, Table, write_report
from synesthete.io import append_to, locked, write_file, write_folder
from synesthete.logs import visible
from synesthete.pipeline import Pipeline
from synesthete.recipes import RECIPES, find_recipe
from synesthete.tasks.sampling import file_safe
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "correct-horse-battery-staple"
GOOD = ("refused", "read")
Attempt = tuple[str, "Callable[[Path], Any]"]


class Runs:
    """What is run where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def models() -> Iterator[Attempt]:
    """Model folders."""

    def changed(change: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def attempt(folder: Path) -> Any:
            model = folder / "model"
            for path in (hub.SHIPPED / "images-digits").rglob("*"):
                if path.is_file():
                    kept_at(model / path.relative_to(hub.SHIPPED / "images-digits"), path.read_bytes())
            change(model)
            return Pipeline.load(str(model))

        return attempt

    def index(**fields: Any) -> Callable[[Path], Any]:
        return changed(lambda model: edit(model / "model_index.json", fields))

    def config(part: str, **fields: Any) -> Callable[[Path], Any]:
        return changed(lambda model: edit(model / part / "config.json", fields))

    for suffix in (".py", ".so", ".pkl", ".pt", ".sh"):
        yield f"a {suffix} beside the weights", changed(lambda model, s=suffix: kept_at(model / f"pipeline{s}", b"x"))
    for kind in (
        ["os", "system"],
        ["pipeline", "Pipeline"],
        ["synesthete.io", "locked"],
        ["builtins", "eval"],
        ["", ""],
    ):
        yield f"a denoiser of {'.'.join(kind)}", index(denoiser=kind)
    yield "a pipeline class of its own", index(_class_name=["pipeline", "Evil"])
    yield "a table that is none", index(process="../../secret")
    yield "an import by auto_map", config("denoiser", auto_map={"AutoModel": "evil.Model"})
    yield "weights elsewhere", config("conditioner", weights="../../../secret")
    yield "a size of terabytes", config("codec", size=10**9)
    yield "another class inside", config("codec", base={"class": "os.system"})
    yield "weights by pickle", changed(lambda model: pickled(model / "denoiser" / "diffusion_pytorch_model.bin", True))
    yield (
        "a pickle called safetensors",
        changed(lambda model: pickled(model / "denoiser" / "diffusion_pytorch_model.safetensors")),
    )
    yield (
        "a header of terabytes",
        changed(
            lambda model: kept_at(model / "denoiser" / "diffusion_pytorch_model.safetensors", struct.pack("<Q", 2**62))
        ),
    )
    yield "a link to a secret", changed(lambda model: linked(model / "denoiser" / "config.json"))
    yield "a link in place of the index", changed(lambda model: linked(model / "model_index.json"))


def recipes() -> Iterator[Attempt]:
    """Recipes and assignments."""

    def file(text: str) -> Callable[[Path], Any]:
        return lambda folder: find_recipe(str(kept(folder / "recipe.yaml", text.encode())))

    def with_fields(**fields: Any) -> Callable[[Path], Any]:
        values = RECIPES["images-digits-debug"]().to_dict() | fields
        return file(yaml.safe_dump(values))

    for tag in ("object/apply:os.system", "object/new:os.system", "name:os.system", "module:os", "object:os.system"):
        yield (
            f"!!python/{tag}",
            lambda folder, t=tag: find_recipe(
                str(kept(folder / "recipe.yaml", f"name: !!python/{t} ['touch {folder / 'ran'}']".encode()))
            ),
        )
        yield (
            f"--set seed=!!python/{tag}",
            lambda folder, t=tag: find_recipe("images-digits-debug", [f"seed=!!python/{t} ['touch {folder / 'ran'}']"]),
        )
    for name in ("os.system", "synesthete.io.locked", "subprocess.Popen", "builtins.exec", "__main__.x", "Pipeline"):
        yield f"a codec of class {name}", with_fields(codec={"class": name, "command": "touch ran"})
    yield "a name that is a path", with_fields(name="../../outside/x")
    yield "a task that is a module", with_fields(task="os.path")
    yield (
        "an alias bomb",
        file("\n".join(["a0: &a0 [x]", *(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9}]" for i in range(1, 12))])),
    )
    yield "an endless file", lambda folder: find_recipe(str(endless(folder / "recipe.yaml")))
    yield "a secret for a recipe", lambda folder: find_recipe(str(linked(folder / "recipe.yaml")))
    yield (
        "a secret for words",
        lambda folder: find_recipe("image-to-speech-digits-debug", [f"data.words={linked(folder / 'words.yaml')}"]),
    )


def pictures() -> Iterator[Attempt]:
    """Pictures and sounds."""
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch ran) (w) file closefile\nshowpage\n"
    for name in ("picture.eps", "picture.png", "picture.jpg", "picture.pdf"):
        yield f"PostScript called {name}", lambda folder, n=name: read_picture(kept(folder / n, script))
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "an svg that names a file", lambda folder: read_picture(kept(folder / "picture.png", svg))
    for side in (30_000, 65_535, 2**31 - 1):
        yield f"a png of {side} pixels a side", lambda folder, s=side: read_picture(kept(folder / "p.png", png(s)))
    yield (
        "a gif of 65,535 pixels a side",
        lambda folder: read_picture(
            kept(
                folder / "p.gif",
                b"GIF89a\xff\xff\xff\xff\x80\0\0" + b"\0" * 6 + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x01\0\0;",
            )
        ),
    )
    yield "a picture that is a device", lambda folder: read_picture(endless(folder / "picture.png"))
    yield "a picture that is a secret", lambda folder: read_picture(linked(folder / "picture.png"))
    yield "a wav of 2**32 samples", lambda folder: read_audio(kept(folder / "s.wav", wav(2**32 - 1)), 16_000)
    yield "a sound that is a device", lambda folder: read_audio(endless(folder / "s.wav"), 16_000)
    yield "digits by pickle", lambda folder: Mnist(str(zipped(folder / "digits.npz", folder / "ran"))).pictures("train")


def archives() -> Iterator[Attempt]:
    """Archives, folders and manifests."""

    def unpacked(**fields: Any) -> Callable[[Path], Any]:
        def attempt(folder: Path) -> Any:
            content = io.BytesIO()
            with tarfile.open(fileobj=content, mode="w") as tar:
                for name in ("a/0.png", fields.get("name", "b/0.png")):
                    entry = tarfile.TarInfo(name)
                    if name != "a/0.png":
                        entry.type, entry.linkname = fields.get("type", tarfile.REGTYPE), fields.get("to", "")
                    entry.size = len(PICTURE) if entry.isreg() else 0
                    tar.addfile(entry, io.BytesIO(PICTURE))
            return unpack(kept(folder / "pictures.tar", content.getvalue()), folder / "unpacked")

        return attempt

    for name in ("../outside/x.png", "/tmp/outside/x.png", "b/../../outside/x.png", "b\\..\\x.png", "b/\x1b[2J.png"):
        yield f"a tar with {name!r}", unpacked(name=name)
    for kind, what in ((tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "hard link")):
        yield f"a tar with a {what} to a secret", unpacked(type=kind, to="../../secret")
    yield "a tar with a device", unpacked(type=tarfile.CHRTYPE)
    yield "a tar with a pipe", unpacked(type=tarfile.FIFOTYPE)
    for path in ("../../secret", "/etc/passwd", "http://else.where/x.png", "a\0b.png", "~/x.png"):
        yield f"a manifest with {path!r}", lambda folder, p=path: manifest(folder, {"file_name": p, "class": "a"})
    for name in ("../../outside", "<script>alert(1)</script>", "\x1b]0;x\x07", "a/b", ".."):
        yield (
            f"a manifest with the class {name!r}",
            lambda folder, n=name: manifest(folder, {"file_name": "0.png", "class": n}),
        )


def names() -> Iterator[Attempt]:
    """Names in reports, on terminals and as files."""
    for name in (
        "<script>alert(1)</script>",
        "![x](http://else.where)",
        "[x](javascript:alert(1))",
        "\x1b[2J",
        '"><img src=x>',
    ):
        yield f"a report of {name!r}", lambda folder, n=name: reported(folder, n)
        yield f"a line with {name!r}", lambda folder, n=name: clean(visible(n), "\x1b")
        yield f"a file called {name!r}", lambda folder, n=name: write_file(folder / f"{file_safe([n])[0]}.png", b"x")
    yield "a file called ../../outside/x", lambda folder: write_file(folder / file_safe(["../../outside/x"])[0], b"x")


def links() -> Iterator[Attempt]:
    """Links planted where something will be written."""
    yield "a link in place of a file", lambda folder: write_file(linked(folder / "a.txt"), "new")
    yield (
        "a link in place of a folder",
        lambda folder: write_folder(
            linked(folder / "made", folder.parent / "outside"), lambda partial: write_file(partial / "x", "new")
        ),
    )
    yield "a link in place of a journal", lambda folder: journal(linked(folder / "journal"))
    yield "a link in place of a lock", lambda folder: locked(linked(folder / ".lock").parent).__enter__()


KINDS = {"model": models, "recipe": recipes, "picture": pictures, "archive": archives, "name": names, "link": links}
PICTURE = b""  # a small PNG, made by `run_attempts`


def kept_at(path: Path, content: bytes) -> Path:
    """The file with the content, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return kept(path, content)


def edit(path: Path, fields: dict[str, Any]) -> None:
    """Other fields in a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def linked(path: Path, target: Path | None = None) -> Path:
    """A link to the secret, or to what is given, in place of a file."""
    path.unlink(missing_ok=True)
    path.symlink_to(target or next(parent for parent in path.parents if (parent / "secret").is_file()) / "secret")
    return path


def endless(path: Path) -> Path:
    """A link to a device that never ends."""
    path.symlink_to("/dev/zero")
    return path


def pickled(path: Path, alone: bool = False) -> None:
    """A pickle that runs something, in place of weights, or beside none."""
    mark = path.parents[2] / "ran"
    if alone:
        path.with_suffix(".safetensors").unlink()
        torch.save({"weight": Runs(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(Runs(mark)))


def zipped(path: Path, mark: Path) -> Path:
    """An npz whose array is a pickle that runs something."""
    head = b"\x93NUMPY\x01\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            file.writestr(f"{name}.npy", head.ljust(127) + b"\n" + pickle.dumps([Runs(mark)]))
    return path


def png(side: int) -> bytes:
    """A PNG whose header promises a square of that size."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


def wav(size: int) -> bytes:
    """A wav whose header promises that many bytes."""
    form = struct.pack("<HHIIHH", 1, 2, 48_000, 192_000, 4, 16)
    return (
        b"RIFF"
        + struct.pack("<I", size)
        + b"WAVEfmt \x10\0\0\0"
        + form
        + b"data"
        + struct.pack("<I", size)
        + b"\0" * 64
    )


def manifest(folder: Path, line: dict[str, Any]) -> Any:
    """A folder of one picture with a manifest of that line, read."""
    kept(folder / "0.png", PICTURE)
    kept(folder / "metadata.jsonl", json.dumps(line).encode())
    return [*read_manifest(folder)], ClassFolders(str(folder)).pictures("train")


def reported(folder: Path, name: str) -> None:
    """A report that says a name everywhere, looked at for markup."""
    page = write_report(
        Report(name, name, sections=[Section(name, name, [Table((name,), [(name,)], name)])]), folder / "r"
    )
    clean(page.read_text(), "<script>", "<img src=x")
    clean(page.with_suffix(".md").read_text(), "<script>", "<img src=x", "](http", "](javascript", "\x1b")


def clean(text: str, *bad: str) -> None:
    """Make sure that nothing in a text steers what shows it."""
    found = [word for word in bad if re.search(rf"(?<!\\){re.escape(word)}", text)]
    assert not found, found


def run_attempts(kinds: list[str]) -> list[Trial]:
    """Every attempt of the kinds, each in a folder of its own."""
    global PICTURE
    content = io.BytesIO()
    Image.new("L", (4, 4)).save(content, "PNG")
    PICTURE = content.getvalue()
    trials = []
    with quiet():
        for kind in kinds:
            for what, act in KINDS[kind]():
                trials.append(judged(kind, what, act))
    return trials


def judged(kind: str, what: str, act: Callable[[Path], Any]) -> Trial:
    """What came of an attempt, and of what it must not touch."""
    with tempfile.TemporaryDirectory() as root:
        inside, outside = Path(root, "inside"), Path(root, "outside")
        for folder in (inside, outside):
            folder.mkdir()
        Path(root, "secret").write_text(SECRET)
        outcome, said, seconds = attempt(act, inside)
        if list(Path(root).rglob("ran")) or Path("ran").exists():
            outcome = "ran"
        elif Path(root, "secret").read_text() != SECRET or list(outside.iterdir()):
            outcome = "wrote outside"
        elif SECRET in said or any(SECRET.encode() in path.read_bytes() for path in made(inside)):
            outcome = "told a secret"
        return Trial(kind, outcome, f"{what}: {said}", seconds)


def journal(path: Path) -> None:
    """A line at the end of a file, as what a command says of an error of the system."""
    try:
        with append_to(path) as file:
            file.write("new")
    except OSError as error:
        raise InputError(str(error)) from None


def made(folder: Path) -> list[Path]:
    """The files below a folder that are no links."""
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def main() -> int:
    """Run the campaign as the command line asks for it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS], default=[*KINDS])
    parser.add_argument("--out", type=Path, default=Path("out/hostile"))
    asked = parser.parse_args()
    trials = run_attempts(asked.kinds)
    for trial in trials:
        print(visible(f"{trial.kind:<8} {trial.outcome:<8} {trial.said[:160]}"))
    return report(trials, GOOD, asked.out)


if __name__ == "__main__":
    raise SystemExit(main())
