"""Entries, their order and their lines, without any machine."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleettui.journal_entry import MAX_LINE_BYTES, JournalEntry, LineSplitter, format_short, parse
from fleettui.remote.journal_merge import Backlog, Window
from fleettui.remote.journal_query import JournalQuery, JournalSource, Position, by_machine, journal_argv
from registry.model import Machine

ONE = Machine("1" * 32, "core-1", "10.0.0.1", "b1")
TWO = Machine("2" * 32, "core-2", "10.0.0.2", "b2", bus="user")


def line(**fields: object) -> bytes:
    base = {"__CURSOR": "s=1;i=2", "__REALTIME_TIMESTAMP": "1700000000123456", "MESSAGE": "hello"}
    return json.dumps(base | fields).encode()


def entry(at: int, machine: str = "a", message: str = "") -> JournalEntry:
    return JournalEntry(at, machine, machine, "u.service", 6, 0, "x", message, f"{machine}{at}{message}")


# Parsing


def test_line_of_a_unit() -> None:
    text = line(_HOSTNAME="core-1", _SYSTEMD_UNIT="web.service", PRIORITY="3", _PID="42", SYSLOG_IDENTIFIER="web")
    found = parse(text, "m1", {"web.service": "web.service"})
    assert found == JournalEntry(1700000000123456, "m1", "core-1", "web.service", 3, 42, "web", "hello", "s=1;i=2")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("plain", "plain"),
        ("", ""),
        ([104, 105, 27, 91, 49, 109], "hi\x1b[1m"),
        ([0xFF, 0x41], "\N{REPLACEMENT CHARACTER}A"),
        ([], ""),
        (["first", "second"], "first\nsecond"),
        ([[104, 105], "two"], "hi\ntwo"),
        (None, ""),
        (7, "7"),
        ("\ud800", "\ud800"),
    ],
)
def test_message_in_every_shape_that_journalctl_has(value: object, message: str) -> None:
    found = parse(line(MESSAGE=value), "m")
    assert found is not None
    assert found.message == message


def test_what_process_1_says_of_a_unit_belongs_to_the_unit() -> None:
    found = parse(line(_SYSTEMD_UNIT="init.scope", UNIT="web.service"), "m", {"web.service": "web.service"})
    assert found is not None
    assert found.unit == "web.service"


def test_the_unit_asked_for_wins_over_others_that_are_named() -> None:
    found = parse(line(_SYSTEMD_UNIT="web.service", UNIT="other.service"), "m", {"web.service": "web.container"})
    assert found is not None
    assert found.unit == "web.container"


@pytest.mark.parametrize("text", [b"", b"-- No entries --", b"{}", b"[]", b"1", b"\xff\xfe", b'{"__CURSOR": 1}'])
def test_other_lines_are_none(text: bytes) -> None:
    assert parse(text, "m") is None


@given(st.binary())
def test_parse_never_raises(text: bytes) -> None:
    parse(text, "m")


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists), max_size=5))
def test_parse_never_raises_on_json(fields: dict[str, object]) -> None:
    for name in ("MESSAGE", "_PID", "PRIORITY", "__REALTIME_TIMESTAMP", "_SYSTEMD_UNIT"):
        for value in fields.values():
            parse(line(**{name: value}), "m", {"u": "u"}, all_fields=True)


@given(st.lists(st.binary(max_size=30).map(lambda each: each.replace(b"\n", b"")), max_size=20), st.data())
def test_lines_are_the_same_however_the_stream_is_cut(wanted: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(each + b"\n" for each in wanted)
    lines, got = LineSplitter(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        got += lines.feed(stream[:cut])
        stream = stream[cut:]
    assert got == [each for each in wanted if each]


def test_endless_line_is_dropped_without_memory() -> None:
    lines = LineSplitter()
    for _ in range(5):
        assert lines.feed(b"x" * (MAX_LINE_BYTES // 2)) == []
    assert lines.feed(b"rest\nnext\n") == [b"next"]
    assert lines.dropped == 1


# Writing


def test_short_line() -> None:
    found = JournalEntry(1700000000123456, "m", "core-1", "u", 6, 42, "web\x1b", "one\x07\n  two", "c")
    stamp = format_short(found)[:15]
    assert format_short(found) == f"{stamp} core-1 web␛[42]: one␇\n" + " " * 33 + "  two"


@given(st.text(), st.text())
def test_short_line_has_no_control_characters_but_newlines(identifier: str, message: str) -> None:
    found = JournalEntry(0, "m", "h", "u", 6, 1, identifier, message, "c")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", format_short(found))


# Merging

streams = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.integers(0, 30), max_size=12), min_size=1, max_size=4
)


def entries(times: Sequence[int], machine: str) -> list[JournalEntry]:
    return [entry(at, machine, str(number)) for number, at in enumerate(times)]


@given(streams, st.data())
def test_backlog_is_sorted_whole_and_keeps_each_machines_order(
    times: dict[str, list[int]], data: st.DataObject
) -> None:
    left = {machine: entries(sorted(each), machine) for machine, each in times.items()}
    everything = [each for stream in left.values() for each in stream]
    merge, out = Backlog(left), []
    while merge.waiting:
        machine = data.draw(st.sampled_from(sorted(merge.waiting)))
        count = data.draw(st.integers(1, 3))
        batch, left[machine] = left[machine][:count], left[machine][count:]
        merge.add(batch)
        if not batch:
            merge.end(machine)
        out += merge.ready()
    assert [each.at for each in out] == sorted(each.at for each in everything)
    assert len(set(out)) == len(everything)
    for machine in times:
        own = [each for each in out if each.machine == machine]
        assert own == [each for each in everything if each.machine == machine]


@given(streams, st.data())
def test_window_loses_nothing_and_keeps_each_machines_order(
    times: dict[str, list[int]], data: st.DataObject
) -> None:
    """Also when a clock jumps back."""
    left = {machine: entries(each, machine) for machine, each in times.items()}
    everything = {machine: list(each) for machine, each in left.items()}
    window, out, now = Window(1.0, limit=data.draw(st.integers(0, 50))), [], 0.0
    while any(left.values()):
        machine = data.draw(st.sampled_from(sorted(each for each in left if left[each])))
        now += data.draw(st.floats(0, 2))
        window.add([left[machine].pop(0)], now)
        out += window.ready(now)
    out += window.ready(now + 1.0)
    assert window.due_in(now) is None
    for machine, own in everything.items():
        assert [each for each in out if each.machine == machine] == own


def test_window_puts_right_what_arrives_within_it() -> None:
    window = Window(0.1)
    window.add([entry(20, "a")], 0.0)
    window.add([entry(10, "b")], 0.05)
    assert window.ready(0.09) == []
    assert window.due_in(0.09) == pytest.approx(0.01)
    assert [each.at for each in window.ready(0.1)] == [10, 20]


def test_machine_whose_clock_is_ahead_is_not_held_back() -> None:
    window = Window(0.1)
    window.add([entry(9_000_000, "ahead")], 0.0)
    for step in range(1, 20):
        window.add([entry(step, "a")], step * 0.01)
    assert entry(9_000_000, "ahead") in window.ready(0.1)


def test_window_is_bounded() -> None:
    window = Window(1000.0, limit=10)
    window.add([entry(at) for at in range(100)], 0.0)
    assert window.due_in(0.0) == 0.0
    assert [each.at for each in window.ready(0.0)] == list(range(90))


# Asking


def test_one_journalctl_a_machine_for_all_its_units() -> None:
    sources = [
        JournalSource(ONE, "a.service"),
        JournalSource(TWO, "b.service"),
        JournalSource(ONE, "c.service"),
        JournalSource(ONE, "a.service"),
    ]
    assert by_machine(sources) == [(ONE, ("a.service", "c.service")), (TWO, ("b.service",))]
    assert by_machine([*sources, JournalSource(ONE)])[0] == (ONE, ())


def test_arguments_of_journalctl() -> None:
    query = JournalQuery(since="-1h", priority="err", grep="a b", boot="-1")
    argv = journal_argv(ONE, ["-x.service"], query, Position(10), follow=True)
    for part in (
        "--unit=-x.service",
        "--since=-1h",
        "--priority=err",
        "--grep=a b",
        "--boot=-1",
        "--lines=10",
        "--follow",
    ):
        assert part in argv
    assert "--user-unit=u.service" in journal_argv(TWO, ["u.service"], query, Position(), follow=False)


def test_cursor_and_since_exclude_one_another() -> None:
    argv = journal_argv(ONE, [], JournalQuery(since="-1h"), Position(None, "s=1"), follow=True)
    assert "--after-cursor=s=1" in argv
    assert not any(each.startswith("--since") for each in argv)
    assert "--lines=all" in argv
