"""Every quoted number by its name, and texts in which names stand for numbers."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from codepath.core.errors import UserError, unknown_name
from codepath.paper.quoted import benchmarks, differences, loading, speeds, trained, verdicts
from codepath.paper.quoted.answer import Answer, Query

_QUOTED = re.compile(r"\{\{\s*quoted\(\s*[\"']([^\"']+)[\"']\s*\)\s*\}\}")

_ATTRIBUTES = re.compile(r"^( *`{3,}\w+) +\{\.[\w .-]*\}$", re.MULTILINE)


@functools.cache
def names() -> dict[str, Query]:
    """Name -> query, in the order in which they are defined.

    Raises ValueError for a name that is defined twice.
    """
    found: dict[str, Query] = {}
    for module in (trained, differences, benchmarks, speeds, loading, verdicts):
        for name, query in module.numbers().items():
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
    return list(dict.fromkeys(_QUOTED.findall(text)))


def fill(text: str, results: Path) -> str:
    """A text with each `{{ quoted("NAME") }}` replaced by its number; errors as of `answer`.

    No other macro is known, so that braces in formulas, code and links stay as they are.
    """
    return _QUOTED.sub(lambda found: quoted(found[1], results), text)


def rendered_readme(source: Path, results: Path) -> str:
    """The README from its text with names; attributes of fences leave, as on the pages.

    Raises UserError where the text is absent, and as `answer` does.
    """
    if not source.is_file():
        raise UserError(f"no file {source}: call this in a checkout, or name it with --source")
    return without_attributes(fill(source.read_text(), results))


def without_attributes(text: str) -> str:
    """A text whose fences have lost attributes such as `{.dry}`, which only tests read."""
    return _ATTRIBUTES.sub(r"\1", text)
