"""Markdown files from elsewhere in the repository as pages, and links to them.

A link is written as it works in the repository, such as `../paper/claims.md`; here it leads to the
page `reference/files/paper/claims`. Links to other files make copies of these in the site.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from page_text import write_if_new
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
COPIES = DOCS / "reference/files"
_SHOWN = (
    "paper/*.md", "paper/tables/*.md", "paper/demo/*.md", "paper/demo/tables/*.md",
    "results/README.md", "slurm/README.md", "benchmarks/ROOFLINE.md",
)  # fmt: skip
_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
          "README.md": "index.md"}  # fmt: skip
"""Files at the top whose contents are pages of docs/."""
_LINK = re.compile(r"(\]\()([^)#\s:]+)(#[^)\s]*)?(\))")


def _shown() -> dict[Path, Path]:
    """File of the repository -> its page."""
    found = {path: COPIES / path.relative_to(ROOT)
             for pattern in _SHOWN for path in sorted(ROOT.glob(pattern))}  # fmt: skip
    return found | {ROOT / name: DOCS / page for name, page in _PAGES.items()}


def _relinked(text: str, at: Path, now: Path, pages: dict[Path, Path]) -> str:
    """A text with the links that it has at one place changed to those of another place."""

    def link(found: re.Match[str]) -> str:
        target = Path(os.path.normpath(at.parent / found[2]))
        if not target.is_file():
            return found[0]  # the build says so
        goal = pages.get(target, target)
        outside = goal.suffix == ".md" and not goal.is_relative_to(DOCS)
        new = os.path.relpath(goal, now.parent)
        return f"{found[1]}{'path:' if outside else ''}{new}{found[3] or ''}{found[4]}"

    return _LINK.sub(link, text)


def _write(app: Sphinx) -> None:  # noqa: ARG001
    """Write the pages of the files."""
    pages = _shown()
    for path, copy in pages.items():
        if copy.is_relative_to(COPIES):
            text = _relinked(path.read_text(), path, copy, pages)
            unlisted = (
                "orphan: true\nnosearch: true" if copy.parent.name == "tables" else "orphan: true"
            )
            write_if_new(copy, f"---\n{unlisted}\n---\n\n{text}")


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    """Let a page's links lead to the pages of files."""
    if not page.startswith("reference/"):
        at = Path(app.env.doc2path(page))
        source[0] = _relinked(source[0], at, at, _shown())


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before the build reads them, and change links as it does."""
    app.connect("builder-inited", _write)
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
