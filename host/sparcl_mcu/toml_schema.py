"""Nested TOML tables -> nested frozen dataclasses, strictly: unknown keys, wrong types and ranges are refused.

A field's annotation is its type; its metadata may hold "low" and "high" (numbers, or each number of a list),
"choices", or "internal" for fields that are not keys of a file. A field without default is required.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import SparclError

T = TypeVar("T")
_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    tuple[int, ...]: "a list of whole numbers",
}


class SchemaError(SparclError):
    """A table does not match its dataclass. The message names section and key, not the file."""


def parse_table(kind: type[T], table: dict[str, Any], section: str = "") -> T:
    """A TOML table -> an instance of the dataclass `kind`. Raises SchemaError."""
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind) if not f.metadata.get("internal")}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            raise SchemaError(f"unknown {_where(section, key)}{_nearest(key, list(fields))}")
    values: dict[str, Any] = {}
    for name, spec in fields.items():
        hint = hints[name]
        if name not in table:
            if spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
                raise SchemaError(f"missing {_where(section, name)}")
        elif dataclasses.is_dataclass(hint):
            if not isinstance(table[name], dict):
                raise SchemaError(f"{name} must be a section: [{name}]")
            values[name] = parse_table(hint, table[name], name)  # type: ignore[arg-type]
        else:
            values[name] = _value(table[name], hint, spec.metadata, _where(section, name))
    return kind(**values)


def _where(section: str, key: str) -> str:
    return f"key {key!r} in [{section}]" if section else f"key {key!r}"


def _nearest(key: str, known: list[str]) -> str:
    match = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else f"; known are {', '.join(known)}"


def _value(value: Any, hint: Any, limits: Any, where: str) -> Any:
    value = _typed(value, hint, where)
    if "choices" in limits and value not in limits["choices"]:
        raise SchemaError(f"{where} is {value!r}; it must be one of {', '.join(map(repr, limits['choices']))}")
    if "low" in limits:
        for item in value if isinstance(value, tuple) else (value,):
            if not limits["low"] <= item <= limits["high"] or not math.isfinite(item):
                raise SchemaError(f"{where} is {item!r}; it must lie in {limits['low']} .. {limits['high']}")
    return value


def _typed(value: Any, hint: Any, where: str) -> Any:
    """`value` as `hint` has it: lists become tuples, whole numbers floats where a float is wanted."""
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise SchemaError(f"{where} is {value!r}; it must be {_name(hint)}")
        return tuple(_typed(item, get_args(hint)[0], f"each value of {where}") for item in value)
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    options = tuple(option for option in options if option is not type(None))  # None: left out; TOML cannot write it
    if get_origin(options[0]) is tuple:
        return _typed(value, options[0], where)
    if type(value) in options:
        return value
    if float in options and type(value) is int:
        return float(value)
    raise SchemaError(f"{where} is {value!r}; it must be {' or '.join(map(_name, options))}")


def _name(hint: Any) -> str:
    return _NAMES.get(hint, "a list")
