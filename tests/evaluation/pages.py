"""A page as a browser would take it apart."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import soundfile
from PIL import Image


class Page(HTMLParser):
    """Counts what opens and closes, and keeps every source and cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href"):
                self.sources.append((tag, value))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def check_media(page: Page) -> int:
    """Every source is inside the page and is a picture or a sound; how many there are."""
    for tag, source in page.sources:
        head, _, content = source.partition(",")
        decoded = io.BytesIO(base64.b64decode(content, validate=True))
        if tag == "img":
            assert head == "data:image/png;base64"
            Image.open(decoded).verify()
        else:
            assert head == "data:audio/wav;base64"
            samples, _ = soundfile.read(decoded)
            assert len(samples) > 0
    return len(page.sources)
