"""What the site has besides the pages of this folder: README, changelog and examples, and the links to them."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
SHIM = "https://unpkg.com/iframe-worker/shim"
EMPTY_HEAD = re.compile(r"<th([^>]*)>\s*</th>")
LINK = re.compile(r"(\]\()([^)\s#:]+)(?=[#)])")

# Where the site has a file of the repository, if not where docs/ has it.
PLACES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "docs/index.md": "contents.md"}
PLACES |= {f"examples/{path.name}": f"examples/{path.stem}.md" for path in (ROOT / "examples").glob("*.py")}
ORIGINS = {place: path for path, place in PLACES.items()}


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages of PLACES."""
    from mkdocs.structure.files import File

    files.remove(files.src_uris["index.md"])
    for path, place in PLACES.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        if path.endswith(".py"):
            text = f"# {Path(path).name}\n\n```python\n{text}```\n"
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links lead where the site has what they mean in the repository; hidden parts are Markdown, as on GitHub."""
    here = page.file.src_uri
    folder = posixpath.dirname(ORIGINS.get(here, f"docs/{here}"))

    def moved(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link[2]))
        place = PLACES.get(path, path.removeprefix("docs/"))
        return link[1] + posixpath.relpath(place, posixpath.dirname(here) or ".")

    return LINK.sub(moved, markdown).replace("<details>", '<details markdown="1">')


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """The theme's one script from elsewhere, with which search works in pages opened from files, is our own."""
    script = posixpath.relpath("worker.js", posixpath.dirname(page.file.dest_uri) or ".")
    return named(output).replace(SHIM, script)


def on_post_template(output: str, **_: Any) -> str:
    """The same for the page of what is not found."""
    return named(output).replace(SHIM, "/worker.js")


def named(output: str) -> str:
    """For screen readers: the theme's search has a name, and an empty corner of a table is no head of a column."""
    search = 'data-md-component="search" role="dialog"'
    return EMPTY_HEAD.sub(r"<td\1></td>", output).replace(search, f'{search} aria-label="Search"')
