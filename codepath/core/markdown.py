"""Text in Markdown, such that names from outside stay text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

_MARKS = re.compile(r"([\\`*_\[\]|~#$])")


def escaped(text: str) -> str:
    """`text` letter for letter and in one line: nothing in it is Markdown, HTML or a formula."""
    return _MARKS.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def cell(text: str) -> str:
    """Markdown for a cell of a table: it holds no line break, bar, HTML or link."""
    line = " ".join(text.splitlines())
    return line.replace("|", r"\|").replace("<", "&lt;").replace("](", r"]\(")


def table(header: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; its cells may hold Markdown (see `cell`)."""
    lines = [header, ["---"] * len(header), *body]
    return [f"| {' | '.join(map(cell, line))} |" for line in lines]
