"""Plain values, as JSON and TOML give them, as the types that they are to be."""

from __future__ import annotations

import dataclasses
import functools
import math
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

_BITS = 64
"""Of a whole number: what numpy, torch and Slurm can take."""


def as_type(value: Any, kind: Any, where: str) -> Any:
    """A plain value as `kind`, which is checked.

    Lists become tuples, and objects become dataclasses with all of their keys known. A whole number
    stands for a float, too, and stays whole.

    Args:
        value: of null, numbers, strings, lists and objects.
        kind: bool, int, float, str, None, Any, a tuple, list, dict or union of these, or a
            dataclass.
        where: the value's place, for messages.

    Raises ValueError where the value is of another kind, where a number is not finite, and for
    missing and unknown keys.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _as_dataclass(value, kind, where)
    if origin is UnionType:
        return _as_any_of(value, arguments, where)
    if origin is tuple and isinstance(value, list):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            items = zip(value, kinds, strict=True)
            return tuple(as_type(one, of, f"{where}[{k}]") for k, (one, of) in enumerate(items))
    elif origin is list and isinstance(value, list):
        return [as_type(one, arguments[0], f"{where}[{k}]") for k, one in enumerate(value)]
    elif origin is dict and isinstance(value, dict):
        return {key: as_type(one, arguments[1], f"{where}.{key}") for key, one in value.items()}
    elif origin is None and _is_a(value, kind):
        return value
    raise ValueError(f"{where} is {_shown(value)}, must be {_name(kind)}")


def is_type(value: Any, kind: Any) -> bool:
    """Whether `as_type` takes the value."""
    try:
        as_type(value, kind, "")
    except ValueError:
        return False
    return True


def _as_dataclass(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {_shown(value)}, must be an object")
    types, fields = _types(kind), dataclasses.fields(kind)
    unknown = sorted(set(value) - {field.name for field in fields})
    if unknown:
        raise ValueError(f"unknown key {where}.{unknown[0]}")
    for field in fields:
        has_default = {field.default, field.default_factory} != {dataclasses.MISSING}
        if field.name not in value and not has_default:
            raise ValueError(f"{where}.{field.name} is missing")
    return kind(**{key: as_type(one, types[key], f"{where}.{key}") for key, one in value.items()})


_types = functools.cache(get_type_hints)


def _as_any_of(value: Any, kinds: tuple[Any, ...], where: str) -> Any:
    some = [kind for kind in kinds if kind is not NoneType]
    if len(some) == 1 and value is not None:
        return as_type(value, some[0], where)
    for kind in kinds:
        if is_type(value, kind):
            return as_type(value, kind, where)
    names = " or ".join(map(_name, kinds))
    raise ValueError(f"{where} is {_shown(value)}, must be {names}")


def _is_a(value: Any, kind: Any) -> bool:
    if kind is float:
        return _is_a(value, int) or (type(value) is float and math.isfinite(value))
    if kind is int:
        return type(value) is int and value.bit_length() < _BITS
    return type(value) is kind


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if type(value) is int and not _is_a(value, int):
        return "a number of more than 64 bits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _name(kind: Any) -> str:
    names = {float: "a finite number", int: "a whole number", str: "a text", bool: "true or false",
             NoneType: "null"}  # fmt: skip
    if kind in names:
        return names[kind]
    return "an object" if get_origin(kind) is dict or dataclasses.is_dataclass(kind) else "a list"
