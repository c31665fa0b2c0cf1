"""Plain values as the types that they are to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from codepath.core.plain import as_type, is_type


@dataclass(frozen=True)
class Inner:
    share: float


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    sizes: tuple[int | tuple[int, ...], ...] = ()
    words: dict[str, str] = field(default_factory=dict)
    limit: float | None = None


def test_objects_become_dataclasses_and_lists_tuples() -> None:
    values = {"name": "a", "inner": {"share": 1}, "sizes": [1, [2, 3]], "words": {"b": "c"}}
    found = as_type(values, Outer, "it")
    assert found == Outer("a", Inner(1), (1, (2, 3)), {"b": "c"})
    assert type(found.inner.share) is int  # as it was written
    assert as_type(values | {"limit": 0.5}, Outer, "it").limit == 0.5
    assert as_type([1.5, "x"], tuple[float, str], "it") == (1.5, "x")
    assert as_type([{"any": None}], list[dict[str, Any]], "it") == [{"any": None}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "it.name is 1, must be a text"),
        ({"inner": []}, "it.inner is a list, must be an object"),
        ({"inner": {}}, "it.inner.share is missing"),
        ({"inner": {"share": True}}, "it.inner.share is True, must be a finite number"),
        ({"inner": {"share": float("nan")}}, "it.inner.share is nan"),
        ({"inner": {"share": 2**64}}, "it.inner.share is a number of more than 64 bits"),
        ({"sizes": [1, ["2"]]}, r"it.sizes\[1\] is a list, must be a whole number or a list"),
        ({"sizes": {"1": 2}}, "it.sizes is an object, must be a list"),
        ({"words": {"b": None}}, "it.words.b is None, must be a text"),
        ({"limit": "0"}, "it.limit is '0', must be a finite number"),
        ({"other": 1}, "unknown key it.other"),
    ],
)
def test_other_types_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_type({"name": "a", "inner": {"share": 0.5}} | change, Outer, "it")


def test_a_tuple_has_its_length() -> None:
    assert not is_type([1], tuple[int, int])
    assert is_type([], tuple[int, ...])
