"""`synesthete studio`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synesthete.cli.options import Device, finish


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
