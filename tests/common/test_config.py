from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround_common.config import MAXIMUM_BYTES, parse_config, read_config
from wardround_common.errors import ConfigError
from wardround_common.require import require
from wardround_common.site_config import SiteConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    rate: float = 0.5
    steps: int = 1

    def __post_init__(self) -> None:
        require(self.steps > 0, "steps", self.steps, "1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    on: bool = False
    inner: Inner = field(default_factory=Inner)
    items: tuple[Inner, ...] = ()
    words: tuple[str, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    table: dict[str, int] = field(default_factory=dict)
    mode: Literal["fast", "slow"] = "fast"
    level: Literal[1, 2] = 1
    maybe: int | None = None
    folder: Path = Path("here")


def parse(text: str | bytes) -> Outer:
    data = text if isinstance(text, bytes) else text.encode()
    return parse_config(data, Outer, name="file.yaml", folder=Path("/base"))


def refusal(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("file.yaml") and "\n" not in message
    return message


def test_every_kind_of_value_is_read() -> None:
    found = parse(
        "name: a b\non: true\ninner: {rate: 1e-5, steps: 3}\nitems:\n  - rate: 2\n  - {}\n"
        "words: [x, 'null', \"no\"]\npair: [7, 0.5]\ntable: {a: 1, b: -2}\nmode: slow\nlevel: 2\n"
        "maybe: 4\nfolder: sub/dir\n"
    )
    assert found == Outer(
        name="a b",
        on=True,
        inner=Inner(rate=1e-5, steps=3),
        items=(Inner(rate=2.0), Inner()),
        words=("x", "null", "no"),
        pair=(7, 0.5),
        table={"a": 1, "b": -2},
        mode="slow",
        level=2,
        maybe=4,
        folder=Path("/base/sub/dir"),
    )
    assert isinstance(found.items[0].rate, float)


@pytest.mark.parametrize("text", ["1e-5", "1E-5", "1.e-5", ".00001", "+1e-5", "0.00001"])
def test_a_number_in_any_json_like_form_is_a_number(text: str) -> None:
    assert parse(f"name: a\ninner: {{rate: {text}}}").inner.rate == 1e-5


@pytest.mark.parametrize(
    "text", ["no", "yes", "on", "off", "True", "FALSE", "1", "0", "'true'", ""]
)
def test_only_true_and_false_are_booleans(text: str) -> None:
    assert "on: got" in refusal(f"name: a\non: {text}")
    assert "expected true or false" in refusal(f"name: a\non: {text}")


@pytest.mark.parametrize("text", ["no", "yes", "1e-5", "2026-01-01", "0x10", "1_000", "true"])
def test_text_stays_the_text_that_was_written(text: str) -> None:
    assert parse(f"name: {text}").name == text


@pytest.mark.parametrize("text", ["1.0", "1e3", "0x10", "1_000", "'1'", "1.", "", "one", "9" * 20])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    assert "expected a whole number" in refusal(f"name: a\ninner: {{steps: {text}}}")


@pytest.mark.parametrize("text", ["'1'", "nan", ".nan", "inf", "-.inf", "1e999", "-1e999", "1_0"])
def test_what_is_no_finite_number_is_refused(text: str) -> None:
    assert "expected a number" in refusal(f"name: a\ninner: {{rate: {text}}}")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("name: a\nnme: b\n", "file.yaml:2: nme: got an unknown key"),
        (
            "name: a\ninner:\n  rate: 1\n  ratio: 2\n",
            "file.yaml:4: inner.ratio: got an unknown key",
        ),
        ("name: a\nitems:\n  - {}\n  - x: 1\n", "file.yaml:4: items[1].x: got an unknown key"),
        ("name: a\n<<: {on: true}\n", "file.yaml:2: <<: got an unknown key"),
        ("name: a\nname: b\n", "file.yaml:2: name: got the key twice"),
        ("name: a\ninner:\n  rate: 1\n  rate: 1\n", "file.yaml:4: rate: got the key twice"),
        ("name: a\nitems:\n  - {rate: 1, 'rate': 2}\n", "file.yaml:3: rate: got the key twice"),
        ("name: a\ntable:\n  x: 1\n  x: 2\n", "file.yaml:4: x: got the key twice"),
        ("on: true\n", "file.yaml:1: name: got nothing"),
        ("name:\n", "file.yaml:1: name: got ''"),
        ("name: ~\n", "file.yaml:1: name: got '~'"),
        ("name: [a]\n", "file.yaml:1: name: got a list, expected text"),
        ("name: a\ninner: 5\n", "file.yaml:2: inner: got '5', expected a mapping"),
        ("name: a\ninner: [1]\n", "file.yaml:2: inner: got a list, expected a mapping"),
        ("name: a\nwords: x\n", "file.yaml:2: words: got 'x', expected a list"),
        ("name: a\nwords: {x: 1}\n", "file.yaml:2: words: got a mapping, expected a list"),
        ("name: a\nwords: [x, {y: 1}]\n", "file.yaml:2: words[1]: got a mapping, expected text"),
        ("name: a\npair: [1]\n", "file.yaml:2: pair: got 1 items, expected 2 items"),
        ("name: a\npair: [1, 2, 3]\n", "file.yaml:2: pair: got 3 items, expected 2 items"),
        ("name: a\npair: [1, x]\n", "file.yaml:2: pair[1]: got 'x', expected a number"),
        ("name: a\ntable:\n  x: y\n", "file.yaml:3: table.x: got 'y', expected a whole number"),
        ("name: a\nmode: medium\n", "file.yaml:2: mode: got 'medium', expected one of fast, slow"),
        ("name: a\nlevel: 3\n", "file.yaml:2: level: got 3, expected one of 1, 2"),
        ("name: a\nmaybe: x\n", "file.yaml:2: maybe: got 'x', expected a whole number"),
        ("name: a\n\ninner:\n  steps: 0\n", "file.yaml:4: inner.steps: got 0, expected 1 or more"),
        ("- name\n", "file.yaml:1: file: got a list, expected a mapping"),
        ("name\n", "file.yaml:1: file: got a text, expected a mapping"),
        ("name: a\n? [x]\n: 1\n", "file.yaml:2: file: got a strange key"),
        ('name: a\n"n\\e[2J": 1\n', "file.yaml:2: file: got a strange key"),
        ("name: a\n  on: b: c\n", "file.yaml:2: is not YAML"),
        ("name: [a\n", "file.yaml:2: is not YAML"),
        ("name: a\n---\nname: b\n", "file.yaml:2: is not YAML"),
        ("name: a\n\ton: true\n", "file.yaml:2: is not YAML"),
        ("", "file.yaml: is empty"),
        ("# nothing\n", "file.yaml: is empty"),
    ],
)
def test_a_refusal_names_line_key_and_what_was_found(text: str, place: str) -> None:
    assert refusal(text).startswith(place)


@pytest.mark.parametrize("text", ["null", "~", ""])
def test_an_optional_value_may_be_left_empty(text: str) -> None:
    assert parse(f"name: a\nmaybe: {text}").maybe is None


@pytest.mark.parametrize("data", [b"name: \xff", b"\xff\xfen\x00a\x00", b"name: \xed\xa0\x80"])
def test_a_file_that_is_not_utf8_is_refused(data: bytes) -> None:
    assert "not UTF-8" in refusal(data) or "not YAML" in refusal(data)


@pytest.mark.parametrize(
    "text",
    ["name: a\0b", "name: \x1b[2J", "name: a\u2028b", "name: '\x7f'", 'name: "\\ud800"',
     'name: "a\\0b"', 'name: "\\e[2J"', 'name: "\\u2028"', 'name: "\\x85"'],
)  # fmt: skip
def test_control_characters_are_refused_however_they_are_written(text: str) -> None:
    message = refusal(text)
    assert message.isprintable()


def test_text_over_several_lines_is_read() -> None:
    assert parse("name: |\n  one\n  two\n").name == "one\ntwo\n"
    assert parse('name: "a\\tb\\nc"').name == "a\tb\nc"


def test_a_long_value_is_shortened_in_the_message() -> None:
    assert len(refusal("name: a\nmode: " + "x" * 5000)) < 200


def quickly(text: str) -> str:
    start = time.perf_counter()
    message = refusal(text)
    assert time.perf_counter() - start < 5
    return message


def test_aliases_that_would_grow_to_gigabytes_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for k in range(1, 30):
        lines.append(f"a{k}: &a{k} [" + ", ".join([f"*a{k - 1}"] * 10) + "]")
    assert "found an anchor, an alias or a tag" in quickly("\n".join(lines))
    items = "items: [" + ", ".join(["*i"] * 100_000) + "]"
    assert quickly(f"name: a\ninner: &i {{rate: 1}}\n{items}").startswith(
        "file.yaml:2: is not YAML"
    )
    assert "alias" in refusal("name: a\nitems: &x [*x]")


@pytest.mark.parametrize(
    "text",
    [
        "name: !!python/object/apply:os.system [ls]",
        "name: !!str a",
        "name: a\ninner: !!map {}",
        "name: a\nwords: !own [x]",
        "name: &anchor a",
    ],
)
def test_tags_and_anchors_are_refused(text: str) -> None:
    assert "found an anchor, an alias or a tag" in refusal(text)


@pytest.mark.parametrize("bracket", ["[", "{", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused(bracket: str) -> None:
    message = quickly(bracket * 20_000)
    assert "nested too deeply" in message or "not YAML" in message


def test_a_huge_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"name: a\n" + b"#" * MAXIMUM_BYTES)
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        read_config(path, Outer)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match=r"cannot be read .*; check the path"):
            read_config(path, Outer)


def test_paths_are_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("name: a\nfolder: ../data\n")
    assert read_config(path, Outer).folder == tmp_path / "../data"
    path.write_text("name: a\nfolder: /data\n")
    assert read_config(path, Outer).folder == Path("/data")


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=80), st.text(alphabet="nameo:{}[]-&*!?|>'\"# \n\tx1,", max_size=60)
    )
)
def test_any_text_gives_a_value_or_our_error(drawn: bytes | str) -> None:
    try:
        parse(drawn)
    except ConfigError as error:
        assert str(error).startswith("file.yaml")


def test_a_file_that_is_no_configuration_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(b"Phileak^Planted,MRNPHI1,1960-01-01", SiteConfig, name="labels.csv")
    assert "Phileak" not in str(caught.value)
    assert "labels.csv:1: file: got a text" in str(caught.value)
