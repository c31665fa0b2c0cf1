"""Texts that almost are documents: valid ones with odd values, keys, encodings and ends."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.binaries import mutated


@dataclass(frozen=True)
class Raw:
    """JSON text that stands for a value."""

    text: str


class Key:
    """A key that may stand in an object a second time."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name


ODD = [
    Raw(text)
    for text in (
        "null", "true", "false", "0", "-1", "1", "2", "3.5", "-0.0", "1e-320", "1e999", "-1e999",
        "NaN", "Infinity", "-Infinity", "1099511627776", "9223372036854775808", "1" * 400,
        "1" * 5000, '""', '"0"', '"text"', '"/"', '"../../x"', '"/dev/zero"', '"[/x]"', '"--all"',
        '"a\\nb"', '"\\u0000"', '"\\ud800"', '"\\u2028"', '"\\u00b2"', '"\\u001b[31m"',
        '"' + "x" * 20_000 + '"', "[]", "{}", "[[]]", "[null]", "[1, 2]", '["a", "b"]', '{"a": 1}',
        "[" * 100_000 + "]" * 100_000, '{"a":' * 5_000 + "1" + "}" * 5_000,
    )
]  # fmt: skip
"""Values of any type, the extreme ones of each among them."""


def dumps(value: Any) -> str:
    """JSON with `Raw` and `Key`."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))}: {dumps(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(dumps, value)) + "]"
    return json.dumps(value)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a document."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


@st.composite
def altered(draw: st.DrawFn, document: Any, most: int = 3) -> Any:
    """A document with one to `most` values or keys changed."""
    holder = [copy.deepcopy(document)]
    for _ in range(draw(st.integers(1, most))):
        places = list(_places(holder))
        container, key = places[draw(st.integers(0, len(places) - 1))]
        action = draw(st.sampled_from(("replace",) * 6 + ("remove", "rename", "again", "move")))
        if action == "replace" or container is holder:
            container[key] = draw(st.sampled_from(ODD))
        elif action == "remove":
            del container[key]
        elif action == "move":
            other, place = places[draw(st.integers(0, len(places) - 1))]
            container[key] = copy.deepcopy(other[place])
        elif isinstance(container, dict):
            if action == "again":
                container[Key(str(key))] = draw(st.sampled_from(ODD))
            else:
                container[draw(st.sampled_from(("", "other", "a\nb", f"{key}s")))] = container.pop(
                    key
                )
    return holder[0]


def _unchanged(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


_ENCODINGS: tuple[Callable[[str], bytes], ...] = (
    *(_unchanged,) * 8,
    lambda text: b"\xef\xbb\xbf" + _unchanged(text),
    lambda text: text.encode("utf-16", "surrogatepass"),
    lambda text: text.encode("latin-1", "replace") + b"\xff",
    lambda text: _unchanged(text.replace("\n", "\r\n")),
    lambda text: _unchanged(text.replace("\n", "\r")),
    lambda text: _unchanged(text) + b"\0",
    lambda text: b"\0" + _unchanged(text),
    lambda text: _unchanged(text[: len(text) // 2]),
    lambda text: _unchanged(text.rstrip("\n")),
    lambda _: b"",
)


def encoded(texts: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """Texts as files: most as they should be, some in other encodings or cut."""
    return st.builds(lambda text, encode: encode(text), texts, st.sampled_from(_ENCODINGS))


def json_files(*documents: Any, indent: bool = False) -> st.SearchStrategy[bytes]:
    """Files of JSON that are almost one of the documents."""
    whole = [json.dumps(document, indent=2 if indent else None).encode() for document in documents]
    return st.one_of(
        encoded(st.one_of(*map(altered, documents)).map(lambda value: dumps(value) + "\n")),
        encoded(st.one_of(*map(altered, documents)).map(lambda value: dumps(value) + "\n")),
        mutated(whole),
        st.binary(max_size=200),
    )


def json_lines_files(*documents: Any) -> st.SearchStrategy[bytes]:
    """Files of JSON lines, some of which are altered."""
    line = st.one_of(st.sampled_from(documents), st.one_of(*map(altered, documents)))
    text = st.lists(line, max_size=8).map(lambda lines: "".join(f"{dumps(x)}\n" for x in lines))
    whole = "".join(json.dumps(document) + "\n" for document in documents).encode()
    return st.one_of(encoded(text), encoded(text), mutated([whole]), st.binary(max_size=200))


CELLS = (
    "", "0", "1", "-1", "2", "1.5", "1e3", "1e999", "nan", "NaN", "inf", "-inf", "True", "false",
    "maybe", " 1", "1 ", "1_000", "0x10", "9" * 25, "9" * 5000, "a", "a b", '"a,b"', '"a""b"',
    '"a\nb"', '"', 'a"b', "a\x00b", "a\u2028b", "a\x1bb", "a\x85b", "\u00b2", "\ufeff", "a\rb",
    "x" * 150_000, "a,b", ",", "=1+1", "<NA>", "None", "é", "0110", "01100110",
)  # fmt: skip
"""What a person or a program may put into a cell, quoted or not."""


@st.composite
def table_texts(draw: st.DrawFn, whole: str, cells: Sequence[str] = CELLS) -> str:
    """A CSV table with cells, lines and columns changed."""
    rows = [line.split(",") for line in whole.splitlines()]
    for _ in range(draw(st.integers(1, 3))):
        line = draw(st.integers(0, len(rows) - 1)) if rows else 0
        action = draw(st.sampled_from(_TABLE_CHANGES))
        if not rows:
            break
        row = rows[line]
        place = draw(st.integers(0, len(row) - 1)) if row else 0
        if action in ("cell", "cell", "header") and row:
            if action == "header":
                row, place = rows[0], min(place, len(rows[0]) - 1)
            if row:
                row[place] = draw(st.sampled_from(list(cells)))
        elif action == "drop":
            del rows[line]
        elif action == "again":
            rows.insert(line, list(row))
        elif action == "longer":
            row.insert(place, draw(st.sampled_from(list(cells))))
        elif action == "shorter" and row:
            del row[place]
        elif action == "column":
            wider = draw(st.sampled_from(list(cells)))
            for other in rows[draw(st.integers(0, 1)) :]:
                other.insert(min(place, len(other)), wider)
        elif action == "swap":
            for other in rows[: draw(st.integers(1, len(rows)))]:
                if len(other) > 1:
                    other[0], other[-1] = other[-1], other[0]
        elif action == "blank":
            rows.insert(line, [""])
    return "".join(",".join(row) + "\n" for row in rows)


_TABLE_CHANGES = (
    "cell", "cell", "cell", "cell", "header", "drop", "again", "longer", "shorter", "column",
    "swap", "blank",
)  # fmt: skip


def table_files(*tables: str) -> st.SearchStrategy[bytes]:
    """CSV files that are almost one of the tables."""
    texts = encoded(st.one_of(*map(table_texts, tables)))
    return st.one_of(
        texts, texts, texts, mutated([table.encode() for table in tables]), st.binary(max_size=200)
    )
