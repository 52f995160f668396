"""`synesthete demo` and `synesthete studio`."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from synesthete.cli.options import AsJson, Device, finish, models
from synesthete.logs import visible


def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures, sounds and spectrograms.")] = Path("out/demo"),
    seed: Annotated[int, typer.Option(help="Other seeds show other digits in other voices.")] = 0,
    model: Annotated[str, typer.Option(help="MODEL to show.", autocompletion=models)] = "image-to-speech-voices",
    device: Device = "auto",
    is_shown: Annotated[bool, typer.Option("--open", help="Open OUT/index.html, which shows all of it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ten handwritten digits say their names: picture, sound, spectrogram, and what a speech recogniser heard.

    A model with voices says each digit in another, and one of them in five more.

    Where a model that paints spoken digits ships with the package, it listens, too, and paints what it heard. A model
    that draws and one that plays show what they do, and OUT/index.html has all of it, to see and to hear.

    Examples: `synesthete demo`, `synesthete demo --open`, `synesthete demo --seed 7 --out out/again`
    """
    from synesthete.tasks.demo import show_digits

    found = show_digits(
        out, model=model, seed=seed, device=device, say=lambda line: typer.echo(visible(line), err=True)
    )
    for note in found["notes"]:
        typer.echo(visible(f"  {note}"), err=True)
    rows, lines = found["digits"], []
    for row in rows:
        by = f"   voice: {row['voice']}" if "voice" in row else ""
        also = "   classifier: {says} {confidence:.2f}".format(**row["classifier"]) if "classifier" in row else ""
        heard = row["heard"] or "(nothing)"
        lines.append(f"  a picture of {row['picture']:<6} -> {row['wav']}   heard: {heard:<9}{also}{by}")
    if found["voices"]:
        wavs = ", ".join(Path(row["wav"]).name for row in found["voices"])
        lines.append(f"  the same {found['voices'][0]['picture']} by {len(found['voices'])} others: {wavs}")
    num = len(rows)
    lines.append(f"{out}: {found['right']} of {num} understood by the speech recogniser, in {found['seconds']:.1f} s.")
    if "painted_right" in found:
        right = found["painted_right"]
        evaluated = "" if right is None else f", {right} of {num} rightly, as its classifier sees them"
        lines.append(f"What was said, heard and painted again{evaluated}: {out}/*_painted.png")
    lines.append("A picture of each system:")
    lines += [f"  {row['verb']:<6} {row['model']:<24} {row['png']}" for row in found["systems"]]
    lines.append(f"All of it, to see and to hear, and what to try next: {found['page']}")
    if is_shown:
        webbrowser.open(Path(found["page"]).resolve().as_uri())
    finish(as_json, found, "\n".join(lines), [found["page"]])


def studio(
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="MODEL to be there beside what ships and the runs; again for more."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for what is made, the only one that is given out.")] = Path(
        "out/studio"
    ),
    runs: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
    host: Annotated[str, typer.Option(help="Who reaches it: this machine alone, unless this says otherwise.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int | None, typer.Option(help="7860, or the next that is free.", min=1, max=65535)] = None,
    password: Annotated[str | None, typer.Option(help="What others are asked for; with --host it has to be.")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    device: Device = "auto",
) -> None:
    """A page to draw on, speak into and listen to, with a tab for each kind of system. Needs `synesthete[studio]`.

    Examples: `synesthete studio --open`, `synesthete studio --model runs/mine --port 8000`
    """
    from synesthete.studio.server import start_studio

    page, address = start_studio(
        out, host=host, port=port, password=password, models=models or (), runs=runs, device=device
    )
    finish(False, {}, f"the studio is at {address}; Ctrl-C ends it", [address])
    if open_page:
        typer.launch(address)
    page.block_thread()
