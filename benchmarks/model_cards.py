"""The cards of the models that ship, README.md in their folders, from their pages in docs/recipes.

    python -m benchmarks.model_cards

Nothing is measured and nothing is made up: what the page says under its title, of results, data and weaknesses.
"""

from __future__ import annotations

import re
from pathlib import Path

from synesthete import hub
from synesthete.pipeline.model_card import ModelCard, write_card

PAGES = Path(__file__).parents[1] / "docs" / "recipes"
LICENCE = "apache-2.0"  # of what the package carries
SPOKEN = ("image-to-speech", "audio-to-image")  # English words are said, or heard


def card_of(name: str) -> ModelCard:
    """What a shipped model's page says of it."""
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    about, *sections = re.split(r"^## ", page, flags=re.MULTILINE)
    texts = {title: plain(text) for title, _, text in (section.partition("\n") for section in sections)}

    def section(pattern: str) -> str:
        return next(text for title, text in texts.items() if re.match(pattern, title))

    data = section("Data and licences")
    return ModelCard(
        about=plain(about.partition("\n")[2]),
        figures=section("Results|What it comes to"),
        data=data,
        limits=section("What is weak"),
        licence=LICENCE,
        datasets=re.findall(r"`([\w-]+/[\w-]+)`", data),
        language="en" if name.startswith(SPOKEN) else "",
    )


def plain(text: str) -> str:
    """Markdown without pictures, and with the words of links in their place: a card has no other files beside it."""
    text = re.sub(r"^!\[[^]]*\]\([^)]*\)\n*", "", text, flags=re.MULTILINE)
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text).strip()


def main() -> None:
    """Write them all."""
    for name in hub.shipped_models():
        write_card(hub.SHIPPED / name, card_of(name))


if __name__ == "__main__":
    main()
