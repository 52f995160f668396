"""The studio measured: page to first sound beside `synesthete speak`, memory at rest, and requests of several clients.

`python -m benchmarks.studio --requests 200 --clients 8`, with gradio, playwright and chromium. Seconds are by the clock
and, in brackets, of the studio's process on a processor: what is left of the first where other work has the cores.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SEVEN = ((0.25, 0.22), (0.75, 0.22), (0.42, 0.85))
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def memory(process: subprocess.Popen[str]) -> float:
    """GB that a process holds."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 2**20


def spent(process: subprocess.Popen[str]) -> float:
    """Seconds that a process had a processor, user and system."""
    words = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def ask(address: str, numbers: range) -> list[str]:
    """Requests of one client, one after the other, each of its own digit and seed; what is wrong with the answers."""
    from gradio_client import Client

    client, wrong = Client(address, verbose=False, httpx_kwargs={"timeout": 600}), []
    for number in numbers:
        digit = DIGITS[number % 10]
        _, made = client.predict("", "images-digits", number, [digit], None, 1, None, 2, None, api_name="/images")
        newest = made.partition("</section>")[0]
        if f"images-digits · {digit} · 1 · seed {number} · " not in newest or f"{digit}_000.png" not in newest:
            wrong.append(newest[:200])
    return wrong


def first_sounds(process: subprocess.Popen[str], address: str, times: int) -> list[str]:
    """Seconds from the button to a sound that can be played, in a browser, the model loaded by the first of them."""
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1180, "height": 760})
        page.set_default_timeout(120_000)
        page.goto(address)
        page.wait_for_selector("canvas.pad")
        draw(page)
        for number in range(times + 1):
            started_at, before = time.perf_counter(), spent(process)
            page.click("#go-image-to-speech")
            page.wait_for_function(
                "n => document.querySelectorAll('#made-image-to-speech audio').length > n "
                "&& document.querySelector('#made-image-to-speech audio').readyState > 0",
                arg=number,
            )
            found.append(f"{time.perf_counter() - started_at:.2f} ({spent(process) - before:.2f})")
        browser.close()
    return found[1:]


def draw(page: Any) -> None:
    """A seven, with the mouse."""
    box = page.locator("canvas.pad").bounding_box()
    for i, (x, y) in enumerate(SEVEN):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=8)
        if not i:
            page.mouse.down()
    page.mouse.up()


def speak(picture: Path, times: int) -> list[str]:
    """Seconds that `synesthete speak` takes in a process that has spoken before."""
    from typer.testing import CliRunner

    from synesthete.cli.app import app

    found = []
    for number in range(times + 1):
        started_at, before = time.perf_counter(), time.process_time()
        done = CliRunner().invoke(app, ["speak", str(picture), "--out", str(picture.parent / f"spoken_{number}")])
        assert done.exit_code == 0, done.output
        found.append(f"{time.perf_counter() - started_at:.2f} ({time.process_time() - before:.2f})")
    return found[1:]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--sounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "synesthete", "studio", "--out", place, "--device", "cpu"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            address = re.findall(r"http\S+/", process.stdout.readline())[0]
            print(f"load {os.getloadavg()[0]:.0f}; up: {memory(process):.2f} GB", flush=True)
            sounds = first_sounds(process, address, given.sounds)
            print(f"page to sound: {', '.join(sounds)} s; at rest {memory(process):.2f} GB", flush=True)
            print(f"speak: {', '.join(speak(next(Path(place).rglob('drawing.png')), given.sounds))} s", flush=True)
            each = given.requests // given.clients
            starts = [range(one * each, (one + 1) * each) for one in range(given.clients)]
            ask(address, range(2))
            for what, at_once in (("at once", given.clients), ("in turn", 1)):
                before, begun, held = spent(process), time.perf_counter(), memory(process)
                with ThreadPoolExecutor(at_once) as pool:
                    wrong = [one for found in pool.map(lambda numbers: ask(address, numbers), starts) for one in found]
                told = f"{time.perf_counter() - begun:.0f} ({spent(process) - before:.0f}) s, {len(wrong)} wrong"
                print(
                    f"{each * given.clients} requests of {given.clients} clients {what}: {told}", *wrong[:3], sep="\n"
                )
                print(f"memory {held:.3f} GB before, {memory(process):.3f} GB after", flush=True)
            print(f"load {os.getloadavg()[0]:.0f}")
        finally:
            process.terminate()
            process.wait(30)


if __name__ == "__main__":
    main()
