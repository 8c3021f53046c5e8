"""Plain JSON to and from dataclasses, and the JSON Schema that describes them.

The dataclasses are the only definition: the schema takes a field's description from the
docstring below it. Known kinds are text, numbers, booleans, ``Literal``, ``X | None``,
``int | str``, ``tuple[X, ...]``, ``dict[str, X]``, ``Any`` and further dataclasses.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
import textwrap
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")
_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def decode(value: object, kind: type[T], *, key: str = "") -> T:
    """Turns parsed JSON into the dataclass ``kind``.

    Raises:
        ValueError: A key is missing or unknown, or a value is not of its kind; names the key.
    """
    return typing.cast(T, _decode(value, kind, key))


def schema(kind: type[Any]) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the dataclass ``kind`` and everything inside it."""
    definitions: dict[str, Any] = {}
    top = _schema(kind, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": dict(sorted(definitions.items())),
        **top,
    }


def _decode(value: Any, kind: Any, key: str) -> Any:  # noqa: PLR0911 (one return a kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _decode_union(value, arguments, key)
    if origin is typing.Literal:
        _require(value in arguments, key, value, f"one of {arguments}")
        return value
    if origin is tuple:
        _require(isinstance(value, list), key, value, "a list")
        return tuple(_decode(v, arguments[0], f"{key}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        _require(isinstance(value, dict), key, value, "an object")
        return {name: _decode(v, arguments[1], f"{key}.{name}") for name, v in value.items()}
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(value, kind, key)
    return _decode_scalar(value, kind, key)


def _decode_union(value: Any, alternatives: tuple[Any, ...], key: str) -> Any:
    if value is None:
        _require(types.NoneType in alternatives, key, value, "a value")
        return None
    kinds = [kind for kind in alternatives if kind is not types.NoneType]
    for kind in kinds[:-1]:
        if type(value) is kind:
            return value
    return _decode(value, kinds[-1], key)


def _decode_dataclass(value: Any, kind: Any, key: str) -> Any:
    _require(isinstance(value, dict), key, value, "an object")
    hints = typing.get_type_hints(kind)
    _require(set(value) == set(hints), key, sorted(value), f"the keys {sorted(hints)}")
    prefix = f"{key}." if key else ""
    return kind(**{name: _decode(v, hints[name], f"{prefix}{name}") for name, v in value.items()})


def _decode_scalar(value: Any, kind: Any, key: str) -> Any:
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    _require(type(value) is kind and kind is not float, key, value, _JSON_TYPES[kind])
    return value


def _require(condition: bool, key: str, got: object, expected: str) -> None:
    if not condition:
        raise ValueError(f"{key or 'document'}: got {got!r:.200}, expected {expected}")


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:  # noqa: PLR0911 (likewise)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return {}
    if kind is types.NoneType:
        return {"type": "null"}
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [_schema(argument, definitions) for argument in arguments]}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if dataclasses.is_dataclass(kind):
        return _schema_dataclass(typing.cast(type, kind), definitions)
    return {"type": _JSON_TYPES[kind]}


def _schema_dataclass(kind: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}
        described = _field_docstrings(kind)
        fields = {
            name: {"description": described[name], **_schema(hint, definitions)}
            for name, hint in typing.get_type_hints(kind).items()
        }
        definitions[kind.__name__] = {
            "type": "object",
            "description": inspect.cleandoc(kind.__doc__ or "").splitlines()[0],
            "properties": fields,
            "required": sorted(fields),
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _field_docstrings(kind: type[Any]) -> Mapping[str, str]:
    """Docstring below each field; every field must have one, or KeyError follows."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    body = typing.cast(ast.ClassDef, tree).body
    found: dict[str, str] = {}
    for field, below in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            text = ast.literal_eval(below.value)
            found[ast.unparse(field.target)] = " ".join(inspect.cleandoc(text).split())
    return found
