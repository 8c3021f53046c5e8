"""Reads YAML files into frozen dataclasses and refuses whatever it does not understand.

Plain PyYAML keeps the last of two equal keys, reads ``1e-5`` as text and ``no`` as False. Here
duplicate and unknown keys are refused, numbers follow JSON, and only ``true`` and ``false`` are
booleans. Every message names file, line and key, what was found and what was expected.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

from wardround_common.errors import ConfigError

T = TypeVar("T")
MAXIMUM_BYTES = 1 << 20
_INT = re.compile(r"[+-]?[0-9]{1,19}")
_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_CONTROL = re.compile(  # all but tab and newline
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]"
)


def read_config(path: Path, kind: type[T]) -> T:
    """Reads the YAML file ``path`` into the dataclass ``kind``.

    Relative paths in the file are taken from the file's own folder.

    Raises:
        ConfigError: The file is missing, is no YAML, or does not fit ``kind``.
    """
    try:
        text = path.read_bytes()[: MAXIMUM_BYTES + 1]
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if len(text) > MAXIMUM_BYTES:
        raise ConfigError(f"{path}: larger than {MAXIMUM_BYTES} bytes; is this the right file?")
    return parse_config(text, kind, name=str(path), folder=path.parent)


def parse_config(text: bytes, kind: type[T], *, name: str, folder: Path | None = None) -> T:
    """Parses YAML bytes into the dataclass ``kind``; ``name`` stands in messages for the file.

    Raises:
        ConfigError: The text is no YAML, or does not fit ``kind``.
    """
    try:
        node = yaml.compose(text.decode(), Loader=_PlainLoader)
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: is not UTF-8 text; save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{name}:{line}: is not YAML ({error.problem})") from None
    except yaml.YAMLError:
        raise ConfigError(f"{name}: is not YAML") from None
    except RecursionError:
        raise ConfigError(f"{name}: is nested too deeply; is this the right file?") from None
    if node is None:
        raise ConfigError(f"{name}: is empty; expected the keys of a {kind.__name__}")
    return typing.cast(T, _Reader(name, folder or Path()).read(node, kind, ""))


class _PlainLoader(yaml.SafeLoader):
    """YAML without anchors, aliases and tags: a few lines of aliases can stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        special = isinstance(event, yaml.AliasEvent) or event.anchor or getattr(event, "tag", None)
        if special:
            problem = "found an anchor, an alias or a tag; write the value itself"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)


class _Reader:
    """Turns one YAML node tree into typed values; knows where it is for its messages."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._folder = folder

    def read(self, node: yaml.Node, kind: Any, key: str) -> Any:
        """Converts ``node`` to ``kind`` or refuses it."""
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in (types.UnionType, typing.Union):
            return self._read_optional(node, arguments, key)
        if origin is typing.Literal:
            return self._read_choice(node, arguments, key)
        if origin is tuple:
            return tuple(self._read_items(node, arguments, key))
        if origin is dict:
            pairs = self._pairs(node, key)
            return {name: self.read(value, arguments[1], f"{key}.{name}") for name, value in pairs}
        if dataclasses.is_dataclass(kind):
            return self._read_dataclass(node, kind, key)
        return self._read_scalar(node, kind, key)

    def _read_dataclass(self, node: yaml.Node, kind: Any, key: str) -> Any:
        hints = typing.get_type_hints(kind)
        fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
        values: dict[str, Any] = {}
        for name, value in self._pairs(node, key):
            path = f"{key}.{name}" if key else name
            if name not in fields:
                self._refuse(value, path, "an unknown key", f"one of {', '.join(fields)}")
            values[name] = self.read(value, hints[name], path)
        for name, field in fields.items():
            no_default = field.default is dataclasses.MISSING
            if name not in values and no_default and field.default_factory is dataclasses.MISSING:
                self._refuse(node, f"{key}.{name}" if key else name, "nothing", "this key")
        try:
            return kind(**values)
        except ConfigError as error:
            where = f"{self._name}:{node.start_mark.line + 1}: "
            raise ConfigError(f"{where}{key + '.' if key else ''}{error}") from None

    def _pairs(self, node: yaml.Node, key: str) -> Iterator[tuple[str, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            # A file that is no configuration at all may hold anything, a list of patients too.
            plain = not key and isinstance(node, yaml.ScalarNode)
            found = "a text" if plain else _kind_of(node)
            self._refuse(node, key or "file", found, "a mapping of keys to values")
        seen: set[str] = set()
        for name_node, value in node.value:
            if not isinstance(name_node, yaml.ScalarNode) or _CONTROL.search(name_node.value):
                self._refuse(name_node, key or "file", "a strange key", "a plain name")
            name = name_node.value
            if name in seen:
                self._refuse(name_node, name, "the key twice", "it once")
            seen.add(name)
            yield name, value

    def _read_items(self, node: yaml.Node, arguments: Any, key: str) -> Iterator[Any]:
        if not isinstance(node, yaml.SequenceNode):
            self._refuse(node, key, _kind_of(node), "a list")
        if arguments[-1] is Ellipsis:
            kinds = [arguments[0]] * len(node.value)
        elif len(arguments) == len(node.value):
            kinds = list(arguments)
        else:
            self._refuse(node, key, f"{len(node.value)} items", f"{len(arguments)} items")
        for i, (item, kind) in enumerate(zip(node.value, kinds, strict=True)):
            yield self.read(item, kind, f"{key}[{i}]")

    def _read_optional(self, node: yaml.Node, arguments: Any, key: str) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.value in ("null", "~", ""):
            return None
        return self.read(node, next(a for a in arguments if a is not types.NoneType), key)

    def _read_choice(self, node: yaml.Node, choices: Any, key: str) -> Any:
        found = self.read(node, type(choices[0]), key)
        if found not in choices:
            self._refuse(node, key, _shown(found), "one of " + ", ".join(map(str, choices)))
        return found

    def _read_scalar(self, node: yaml.Node, kind: Any, key: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            self._refuse(node, key, _kind_of(node), _EXPECTED[kind])
        text, quoted = node.value, node.style in ("'", '"')
        if _CONTROL.search(text):
            self._refuse(node, key, "a control character", _EXPECTED[kind])
        if kind is str and (quoted or node.style in ("|", ">") or text not in ("", "null", "~")):
            return text
        if kind is Path and text:
            return self._folder / Path(text).expanduser()
        if kind is bool and not quoted and text in ("true", "false"):
            return text == "true"
        if kind is int and not quoted and _INT.fullmatch(text):
            return int(text)
        number = kind is float and not quoted and _FLOAT.fullmatch(text)
        if number and math.isfinite(float(text)):
            return float(text)
        return self._refuse(node, key, _shown(text), _EXPECTED[kind])

    def _refuse(self, node: yaml.Node, key: str, got: str, expected: str) -> NoReturn:
        line = node.start_mark.line + 1
        raise ConfigError(f"{self._name}:{line}: {key}: got {got}, expected {expected}")


_EXPECTED = {
    str: "text",
    Path: "a path",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}


def _kind_of(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return _shown(node.value)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _shown(value: str | int) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
