"""The site of docs/: every page has its place, and what is built needs nothing from elsewhere and lacks nothing."""

from __future__ import annotations

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ENVIRONMENT = ROOT / ".venv-docs"
NAV = re.findall(r"(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2], re.MULTILINE)
PAGES = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
# Start, and what stands elsewhere in the repository: see docs/site_pages.py.
ADDED = ["changelog.md", "contents.md", *(f"examples/{path.stem}.md" for path in (ROOT / "examples").glob("*.py"))]


def test_every_page_has_one_place_in_the_navigation():
    assert sorted(NAV) == sorted([*PAGES, *ADDED])


@pytest.mark.parametrize("page", PAGES)
def test_lists_are_lists_on_github_and_in_the_site(page):
    """Python-Markdown wants an empty line before a list, and four spaces before one within another."""
    text = re.sub(r"^```.*?^```$", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    item = r"(?:[-*+]|\d+\.) "
    assert not re.findall(rf"^ {{1,3}}{item}.*", text, re.MULTILINE)
    assert not re.findall(rf"^(?!{item}|[ \n]).*\n{item}.*", text, re.MULTILINE)


class Built(HTMLParser):
    """A page of the site: its anchors, where it links to, and what a browser loads to show it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids, self.links, self.loaded = set(), set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        has = dict(attrs)
        self.ids.add(has.get("id"))
        if tag == "a":
            self.links.add(has.get("href") or "")
        elif tag == "link":
            self.loaded |= {has["href"]} if has["rel"] in ("stylesheet", "icon", "preconnect", "preload") else set()
        elif has.get("src"):
            self.loaded.add(has["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> dict[Path, Built]:
    """The pages as `make docs` builds them, by their paths."""
    if not (ENVIRONMENT / ".ready").exists():
        pytest.skip("no .venv-docs: `make docs-env` makes it")
    folder = tmp_path_factory.mktemp("site")
    command = [ENVIRONMENT / "bin" / "mkdocs", "build", "--quiet", "--site-dir", folder]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return {path: Built(path) for path in folder.rglob("*.html")}


def leads_nowhere(site: dict[Path, Built], page: Path, link: str) -> bool:
    """Whether there is no such file or anchor beside the page; what is elsewhere is not looked up."""
    url = urlsplit(link)
    if url.scheme or url.netloc:
        return False
    path = (page.parent / unquote(url.path)).resolve() if url.path else page
    return not path.is_file() or bool(url.fragment and path in site and unquote(url.fragment) not in site[path].ids)


def test_links_pictures_and_players_find_their_files(site):
    assert len(site) > len(PAGES)
    lost = {
        (page.name, link)
        for page, built in site.items()
        if page.name != "404.html"  # served at any depth, so its links begin at the root
        for link in built.links | built.loaded
        if link not in ("", ".", "..") and leads_nowhere(site, page, link)
    }
    assert not lost
    [listen] = (built for page, built in site.items() if page.match("listening/speech/index.html"))
    assert sum(source.endswith(".ogg") for source in listen.loaded) > 20


def test_nothing_is_loaded_from_elsewhere(site):
    """No font, style, script or picture: the site works without a network, and nobody learns who reads it."""
    outside = {source for built in site.values() for source in built.loaded if urlsplit(source).netloc}
    folder = next(page for page in site if page.name == "404.html").parent
    for style in folder.rglob("*.css"):
        found = re.findall(r"(?:url\(|@import )[\"']?((?:https?:)?//[^)\"']*)", style.read_text(encoding="utf-8"))
        outside |= set(found)
    assert not outside
