"""The studio measured: page to first sound, memory at rest, and many requests of several clients.

`python -m benchmarks.studio --requests 200 --clients 8`, with gradio, playwright and chromium.
"""

from __future__ import annotations

import argparse
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


def first_sounds(address: str, times: int) -> list[float]:
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
            started_at = time.perf_counter()
            page.click("#go-image-to-speech")
            page.wait_for_function(
                "n => document.querySelectorAll('#made-image-to-speech audio').length > n "
                "&& document.querySelector('#made-image-to-speech audio').readyState > 0",
                arg=number,
            )
            found.append(time.perf_counter() - started_at)
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


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
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
            print(f"up: {memory(process):.2f} GB")
            sounds = first_sounds(address, given.sounds)
            print(f"page to sound: {' '.join(f'{one:.2f}' for one in sounds)} s; at rest {memory(process):.2f} GB")
            each = given.requests // given.clients
            starts = [range(one * each, (one + 1) * each) for one in range(given.clients)]
            ask(address, range(2))
            before, begun = memory(process), time.perf_counter()
            with ThreadPoolExecutor(given.clients) as pool:
                wrong = [line for lines in pool.map(lambda numbers: ask(address, numbers), starts) for line in lines]
            gone = time.perf_counter() - begun
            print(f"{each * given.clients} requests of {given.clients} clients in {gone:.0f} s, {len(wrong)} wrong")
            print(f"memory {before:.2f} GB before, {memory(process):.2f} GB after", *wrong[:3], sep="\n")
        finally:
            process.terminate()
            process.wait(30)


if __name__ == "__main__":
    main()
