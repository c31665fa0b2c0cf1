"""What the build does to a page's text before it is read.

Numbers are compared with the rows, attributes of fences leave, and the first page gets the side
bar that conf.py lists.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

from codepath.core.errors import UserError
from codepath.paper.quoted import answer, refreshed, used_names

_log = logging.getLogger(__name__)
_GENERATED = "<!-- made by docs/extensions/page_text.py -->\n\n"
_ELSEWHERE = {"README": "", "paper/NOTES": "files/paper/NOTES.md"}
"""Pages with numbers outside docs/ -> the page of the site that shows them; empty: none."""
_ATTRIBUTES = re.compile(r"^( *`{3,}\w+) +\{\.[\w .-]*\}$", re.MULTILINE)
"""Attributes such as `{.dry}`, which only tests read."""


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    """Change one page's text in place."""
    text = _ATTRIBUTES.sub(r"\1", source[0])
    if page == app.config.root_doc:
        text += "".join(
            f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"
            for caption, pages in app.config.navigation.items()
        )
    source[0] = text


def write_if_new(path: Path, text: str) -> None:
    """Write a generated page; one that is the same keeps its date, so that it is not read again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _check(page: str, text: str, results: Path) -> None:
    """Warn, which fails the build, of numbers that are not those of the rows."""
    try:
        _, old = refreshed(text, results)
    except UserError as error:
        _log.warning("%s: %s", page, error, type="quoted")
    else:
        if old:
            _log.warning("%s: old numbers, make numbers: %s", page, ", ".join(old), type="quoted")


def _numbers_page(app: Sphinx) -> None:
    """Check the numbers of all pages, and write the page that lists them with their rows."""
    results = Path(app.config.results)
    texts = {page: Path(app.env.doc2path(page)).read_text() for page in _written_pages(app)}
    for page in _ELSEWHERE:
        texts[page] = Path(app.srcdir).parent.joinpath(f"{page}.md").read_text()
    for page, text in texts.items():
        _check(page, text, results)
    pages: dict[str, list[str]] = {}
    for page, text in texts.items():
        for name in used_names(text):
            link = _ELSEWHERE.get(page, f"../{page}.md")
            pages.setdefault(name, []).append(f"[{page}]({link})" if link else page)
    lines = [
        "# Quoted numbers\n",
        "Numbers of this project's own measurements in the README, in the notes and on these "
        "pages come from rows. Each one has a name and a query over the rows of `results/`, in "
        "`codepath/paper/quoted/`. The paper's numbers, whose names begin with `published`, come "
        "from `paper/reference/` in the same way. `make numbers` refreshes them.\n",
        "| name | text | rows | quoted in |",
        "| --- | --- | --- | --- |",
    ]
    for name in sorted(pages):
        try:
            found = answer(name, results)
        except UserError:
            continue  # said above
        text = "a table" if found.text.startswith("|") else found.text
        lines.append(f"| `{name}` | {text} | {found.place} | {', '.join(pages[name])} |")
    write_if_new(Path(app.srcdir, "reference/numbers.md"), _GENERATED + "\n".join(lines) + "\n")


def _written_pages(app: Sphinx) -> list[str]:
    """The pages that are not made by the build."""
    app.project.discover(app.config.exclude_patterns)
    return sorted(page for page in app.project.docnames if not page.startswith("reference/"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the settings `navigation` and `results`, and what happens to pages."""
    app.add_config_value("navigation", {}, "env", [dict])
    app.add_config_value("results", "results", "env", [str])
    app.connect("builder-inited", _numbers_page)
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
