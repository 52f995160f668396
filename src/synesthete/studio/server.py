"""The server of the studio: where it can be reached, by whom, and what it gives out."""

from __future__ import annotations

import ipaddress
import os
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synesthete.types import InputError

LARGEST_UPLOAD = "32mb"
HERE = Path(__file__).parent


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, seen from itself alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def start_studio(
    out: Path,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    password: str | None = None,
    models: Sequence[str] = (),
    runs: Path = Path("runs"),
    device: str = "cpu",
) -> tuple[Any, str]:
    """Start it beside what called this. out: the folder of all that is made, the only one that is given out.

    port: the first that is free from 7860 on where None. password: without it nobody but this machine is let in.
    models: more of them, beside what ships and the finished runs in the folder `runs`.

    Returns: what has a method `close`, and the address.

    Raises:
        InputError: gradio is not installed, a host that others reach and no password, or no such model or port.
    """
    if not is_loopback(host) and not password:
        raise InputError(f"--host {host}: others could use this machine; add --password, or leave --host out")
    os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="synesthete-studio-")  # of uploads
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio as gr
    except ImportError:
        raise InputError("the studio needs gradio; pip install 'synesthete[studio]'") from None
    from synesthete.studio.page import build_page
    from synesthete.studio.shelf import Shelf

    out.mkdir(parents=True, exist_ok=True)
    page = build_page(Shelf(models, runs, device), out)
    script = (HERE / "page.js").read_text(encoding="utf-8")
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            auth=(lambda _, given: secrets.compare_digest(given.encode(), str(password).encode()))
            if password
            else None,
            auth_message="Any name, and the password that the studio was started with." if password else None,
            allowed_paths=[str(out.resolve())],
            max_file_size=LARGEST_UPLOAD,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            enable_monitoring=False,
            footer_links=[],
            theme=gr.themes.Default(
                primary_hue="violet", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
            ).set(  # contrasts of at least 4.5 in light and in dark
                button_primary_background_fill="*primary_700",
                button_primary_background_fill_hover="*primary_800",
                button_primary_background_fill_dark="*primary_700",
                button_primary_text_color="white",
                body_text_color_subdued="*neutral_600",
                input_placeholder_color="*neutral_600",
                block_info_text_color="*neutral_600",
                block_info_text_color_dark="*neutral_300",
            ),
            css_paths=HERE / "page.css",
            head=f"<script>{script}</script>",
        )
    except OSError as error:
        raise InputError(f"--port {port}: {error}; give another, or leave it out") from None
    return page, address
