"""Every quoted number by its name, and texts in which marks name the numbers.

A number in a text stands between two marks, `<!-- top1.cpu.plain -->84.05 %<!-- / -->`. They are
comments of HTML, so that a reader sees the number alone.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

from codepath.core.errors import UserError, unknown_name
from codepath.paper.quoted import (
    benchmarks,
    differences,
    loading,
    published,
    search,
    speeds,
    tables,
    trained,
    verdicts,
)
from codepath.paper.quoted.answer import Answer, Query

_MARKED = re.compile(r"<!-- ([\w.-]+|/) -->(?:((?:(?!<!--).)*)<!-- / -->)?", re.DOTALL)


@functools.cache
def names() -> dict[str, Query]:
    """Name -> query, in the order in which they are defined.

    Raises ValueError for a name that is defined twice.
    """
    found: dict[str, Query] = {}
    modules = (trained, differences, published, benchmarks, speeds, loading, search, verdicts)
    for numbers in (*(module.numbers() for module in modules), tables.numbers(found)):
        for name, query in numbers.items():
            if name in found:
                raise ValueError(f"the number '{name}' is defined twice")
            found[name] = query
    return found


def answer(name: str, results: Path) -> Answer:
    """What is quoted by a name, and where it comes from.

    Raises UserError for an unknown name, and where rows are missing.
    """
    if name not in names():
        raise unknown_name("quoted number", name, names())
    try:
        return names()[name](results)
    except UserError as error:
        raise UserError(f"the quoted number '{name}': {error}") from None


def quoted(name: str, results: Path) -> str:
    """The text of a quoted number, with its unit; errors as of `answer`."""
    return answer(name, results).text


def used_names(text: str) -> list[str]:
    """The names that a text quotes, each once, in the text's order."""
    return list(dict.fromkeys(name for name, _ in _MARKED.findall(text)))


def refreshed(text: str, results: Path) -> tuple[str, list[str]]:
    """A text with every number between marks as the rows have it, and the names that were not.

    Raises UserError where a mark is not closed or closes nothing, and as `answer` does.
    """
    old = []

    def number(found: re.Match[str]) -> str:
        name, before = found.groups()
        if before is None:
            line = text.count("\n", 0, found.start()) + 1
            problem = "closes no number" if name == "/" else "is not closed by <!-- / -->"
            raise UserError(f"line {line}: <!-- {name} --> {problem}")
        now = quoted(name, results)
        if now.startswith("|"):  # a table stands alone
            now = f"\n\n{now}\n\n"
        if now != before:
            old.append(name)
        return f"<!-- {name} -->{now}<!-- / -->"

    return _MARKED.sub(number, text), old
