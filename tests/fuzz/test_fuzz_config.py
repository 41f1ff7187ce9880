"""Configuration of any shape: settings, or a UserError of one line that can be shown."""

from __future__ import annotations

import datetime
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from registry.errors import UserError
from registry.program.config import TABLES, Settings, load, parse_duration, put, variables

KEYS = {table: list(getattr(Settings(), table).__slots__) for table in TABLES}
NAMES = sorted({key for keys in KEYS.values() for key in keys} | set(TABLES))
VARIABLES = sorted(variables())

odd_texts = st.one_of(
    st.text(max_size=30),
    st.text(st.sampled_from("\x00\x1b\n\r\t\u202e\ud800é 0aZ/.:@[]=,-%"), max_size=12),
    st.sampled_from(
        ["", "/", "..", "http://", "http://[::1", "nan", "inf", "-1s", "9" * 5000, "1e999", "2379", "a,b"]
    ),
    st.integers().map(str),
)
scalars = st.one_of(
    odd_texts,
    st.booleans(),
    st.none(),
    st.integers(),
    st.sampled_from([10**400, -1, 70_000]),
    st.integers(14_000, 20_000).map(lambda bits: 1 << bits),  # more digits than Python writes out
    st.floats(),
    st.datetimes(),
    st.just(datetime.date(2026, 1, 1)),
    st.binary(max_size=5),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(odd_texts, inner, max_size=4)),
    max_leaves=8,
)


def told(read: Callable[[], object]) -> str:
    """The error's one line, "" when there was none."""
    try:
        read()
    except UserError as error:
        line = str(error)
    else:
        return ""
    assert line
    assert line.isprintable(), line
    assert len(line) < 10_000
    return line


@given(st.sampled_from(TABLES), st.data(), values)
def test_any_value_at_any_key_is_taken_or_refused_by_name(table: str, data: st.DataObject, value: object) -> None:
    key = data.draw(st.sampled_from(KEYS[table]))
    line = told(lambda: put(Settings(), table, key, value, "there"))
    if line:
        assert line.startswith(f"there: [{table}] {key}: ")
    else:
        kept = getattr(getattr(put(Settings(), table, key, value, "there"), table), key)
        assert isinstance(kept, type(getattr(getattr(Settings(), table), key)))


lines = st.one_of(
    st.sampled_from(TABLES).map(lambda table: f"[{table}]"),
    st.tuples(st.sampled_from(NAMES), odd_texts).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    st.tuples(st.sampled_from(NAMES), odd_texts).map(lambda pair: f'{pair[0]} = "{pair[1]}"'),
    st.tuples(st.sampled_from(NAMES), st.floats()).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    st.tuples(st.sampled_from(NAMES), st.integers(1, 3000)).map(lambda p: f"{p[0]} = {'[' * p[1]}{']' * p[1]}"),
    st.tuples(st.sampled_from(NAMES), st.integers(1, 6000)).map(lambda p: f"{p[0]} = {'9' * p[1]}"),
    st.tuples(st.sampled_from(NAMES), st.integers(1, 6000)).map(lambda p: f"{p[0]} = 0x{'f' * p[1]}"),
    st.integers(1, 2000).map(lambda depth: f"{'a.' * depth}b = 1"),
    odd_texts,
)


@given(st.one_of(st.lists(lines, max_size=12).map("\n".join), st.text(max_size=200), st.binary(max_size=200)))
def test_any_file_is_settings_or_one_line_that_names_it(content: str | bytes) -> None:
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "fleet.toml"
        path.write_bytes(data)
        line = told(lambda: load(path, {}))
        assert not line or str(path) in line


names = st.one_of(
    st.sampled_from(VARIABLES),
    st.tuples(st.sampled_from(VARIABLES), st.integers(6, 12)).map(lambda p: p[0][: p[1]] + p[0][p[1] + 1 :]),
    st.text(st.sampled_from("ABCDEFKLT_"), max_size=20).map("FLEET_".__add__),
)
contents = st.one_of(odd_texts, st.binary(max_size=20).map(os.fsdecode)).map(lambda text: text.replace("\0", ""))


@given(st.dictionaries(names, contents, max_size=4))
def test_any_environment_is_settings_or_one_line_that_names_the_variable(environ: dict[str, str]) -> None:
    environ.pop("FLEET_CONFIG", None)
    line = told(lambda: load(None, environ))
    assert not line or any(name in line for name in environ)


@given(values)
def test_a_duration_is_a_finite_number_or_none(value: object) -> None:
    try:
        seconds = parse_duration(value)
    except ValueError:
        return
    assert abs(seconds) < float("inf")
