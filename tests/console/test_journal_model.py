"""The journal's model without a screen: what is kept, shown, found, laid out, understood and written."""

from __future__ import annotations

import json
import shlex
import stat
import subprocess
import time
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from fleettui.console.journal import Remark, Wanted
from fleettui.console.journal.buffer import PIECE, JournalBuffer, Layout, Terms
from fleettui.console.journal.filters import (
    Narrowing,
    compiled,
    finds,
    for_journalctl,
    is_expression,
    next_priority,
    parse_period,
    parse_since,
    searched,
    words,
)
from fleettui.console.journal.formatter import (
    MAX_CHARS,
    LineFormat,
    LineFormatter,
    Times,
    field_lines,
    field_text,
    source_tones,
    wrapped,
)
from fleettui.console.journal.messages import levelled, structured
from fleettui.console.journal.sources import readable
from fleettui.console.journal.title import JournalStatus, Narrowed, narrowed_cells, source_cells, status_cells
from fleettui.console.sources.journal_live import BURST, FIRST_BURST, RATE, RateLimit
from fleettui.console.sources.journal_saving import Exists, default_name, save
from fleettui.console.text.cells import Tone, line_text
from fleettui.escape import escape
from fleettui.journal_entry import JournalEntry
from registry.errors import UserError
from registry.model import Machine

ONE = Machine("1" * 32, "core-1", "10.0.0.1", "b1")
TWO = Machine("2" * 32, "core-2", "10.0.0.2", "b2")
WEB, DB = Wanted(ONE, "web@1.service"), Wanted(TWO, "db.service")
NOW = datetime(2026, 11, 23, 14, 2, 11, tzinfo=UTC)


def entry(message: str, priority: int = 6, at: int = 1_790_000_000_000_000, wanted: Wanted = WEB) -> JournalEntry:
    return JournalEntry(
        at, wanted.machine.id, wanted.machine.hostname, wanted.unit, priority, 1, "web", message, "c"
    )


def through(work: Iterator[None]) -> int:
    return sum(1 for _ in work)


def shown(buffer: JournalBuffer) -> list[str]:
    layout = buffer.view.layout
    return [line_text(buffer.line(row)[1]).strip() for row in range(layout.first_row, layout.end_row)]


# Words and expressions


@pytest.mark.parametrize(
    ("text", "message", "found"),
    [
        ("timeout", "Timeout after 2 s", True),
        ("Timeout", "timeout after 2 s", False),
        ("10.91.0.1", "from 10x91x0x1", False),
        ("time.*s$", "timeout after 2 s\nmore", True),
        ("[0-9]+ ms", "took 812 ms", True),
        ("core-1 web@1", "whatever", True),
    ],
)
def test_text_is_found_as_people_mean_it(text: str, message: str, found: bool) -> None:
    buffer = JournalBuffer()
    buffer.take([entry(message)])
    through(buffer.redo(Terms((WEB,), search=text)))
    assert len(buffer.view.hits) == found


@pytest.mark.parametrize("text", ["foo(", "*", "[a", "a{2,1}", "(?P<x"])
def test_what_is_no_expression_says_so_with_a_remedy(text: str) -> None:
    with pytest.raises(UserError, match=r"not an expression: .*; write"):
        compiled(text)


@given(st.text(max_size=30))
def test_any_text_is_a_pattern_or_is_said_to_be_none(text: str) -> None:
    try:
        assert words(text) or not text.strip()
    except UserError:
        event("refused")
        if not is_expression(text):
            raise
    else:
        event("taken")


@given(st.text(alphabet=st.characters(blacklist_characters="\\*+?()[]{}|^$"), min_size=1, max_size=20))
def test_text_without_signs_finds_itself(text: str) -> None:
    assert compiled(text).search(f"before {text} after") is not None


# What is shown


def test_include_needs_all_its_words_and_exclude_any() -> None:
    lines = [entry("GET / 200"), entry("GET /healthz 200"), entry("POST / 500"), entry("GET / 500")]
    buffer = JournalBuffer()
    buffer.take([*lines, Remark("core-1: lost")])
    through(buffer.redo(Terms((WEB,), narrowing=Narrowing(include="get 200", exclude="healthz metrics"))))
    assert shown(buffer)[0].endswith("GET / 200")
    assert shown(buffer)[1:] == ["── core-1: lost"]
    assert buffer.hidden == 3


def test_priority_goes_round_and_shows_what_is_as_urgent_or_more() -> None:
    buffer = JournalBuffer()
    buffer.take([entry(f"p{number}", number) for number in range(8)])
    seen, priority = [], 7
    for _ in range(5):
        through(buffer.redo(Terms((WEB,), narrowing=Narrowing(priority=priority))))
        seen.append(len(buffer.view.layout))
        priority = next_priority(priority)
    assert seen == [8, 6, 5, 4, 3]
    assert priority == 7
    assert buffer.warnings == 5


def test_what_comes_is_narrowed_searched_and_counted_as_what_is_there() -> None:
    terms = Terms((WEB,), narrowing=Narrowing(exclude="quiet"), search="hit")
    buffer = JournalBuffer()
    buffer.take([entry("hit one"), entry("quiet hit")])
    through(buffer.redo(terms))
    buffer.take([entry("hit two"), entry("miss"), entry("quiet")])
    assert [line.split("  ")[-1].strip() for line in shown(buffer)] == ["hit one", "hit two", "miss"]
    assert (buffer.hidden, len(buffer.view.hits)) == (2, 2)


def test_the_ring_keeps_the_newest_and_every_count_follows() -> None:
    buffer = JournalBuffer(capacity=100)
    through(buffer.redo(Terms((WEB,), narrowing=Narrowing(exclude="odd"), search="even")))
    for number in range(1000):
        buffer.take([entry("odd" if number % 2 else "even", 4 if number % 10 == 0 else 6)])
    assert (len(buffer.ring), buffer.end, buffer.ring.first) == (100, 1000, 900)
    assert (len(buffer.view.layout), buffer.hidden, len(buffer.view.hits), buffer.warnings) == (50, 50, 50, 10)
    assert buffer.view.layout.item(0) == 900
    assert buffer.view.hits[0] == 900


def test_more_at_once_than_can_be_kept_leaves_the_newest() -> None:
    buffer = JournalBuffer(capacity=10)
    buffer.take([entry(str(number), 3) for number in range(35)])
    assert [line.split()[-1] for line in shown(buffer)] == [str(number) for number in range(25, 35)]
    assert buffer.warnings == 10


def test_dropped_lines_are_counted_from_what_is_said_of_them() -> None:
    buffer = JournalBuffer()
    buffer.take([Remark("12 lines dropped", dropped=12), entry("x"), Remark("3 lines dropped", dropped=3)])
    assert buffer.dropped == 15


def test_other_terms_come_in_pieces_and_take_in_what_comes_and_goes_meanwhile() -> None:
    buffer = JournalBuffer(capacity=4 * PIECE)
    buffer.take([entry("a" if number % 2 else "b") for number in range(4 * PIECE)])
    work = buffer.redo(Terms((WEB,), narrowing=Narrowing(include="a")))
    pieces = 0
    for _ in work:
        pieces += 1
        buffer.take([entry("a new"), entry("b new")])
    assert pieces >= 3
    numbers = [buffer.view.layout.item(index) for index in range(len(buffer.view.layout))]
    assert numbers == [n for n in range(buffer.ring.first, buffer.end) if "a" in buffer.item(n).message]  # type: ignore[union-attr]


def test_a_new_beginning_makes_nothing_of_terms_under_way() -> None:
    buffer = JournalBuffer()
    buffer.take([entry("x")] * (3 * PIECE))
    work = buffer.redo(Terms((WEB,), narrowing=Narrowing(include="x")))
    next(work)
    buffer.begin()
    buffer.take([entry("new")])
    assert through(work) == 0
    assert [line.split()[-1] for line in shown(buffer)] == ["new"]


# Rows


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=60), st.integers(0, 60))
def test_rows_and_items_agree_whatever_goes(items: list[tuple[int, bool]], gone: int) -> None:
    layout = Layout()
    owners: list[tuple[int, int]] = []
    for number, (rows, is_shown) in enumerate(items):
        if is_shown:
            layout.append(number, rows)
            owners += [(number, part) for part in range(rows)]
    layout.drop_below(gone)
    first = next((row for row, (number, _) in enumerate(owners) if number >= gone), len(owners))
    assert (layout.first_row, layout.end_row) == (first, len(owners))
    for row in range(first, len(owners)):
        index, part = layout.at(row)
        assert (layout.item(index), part) == owners[row]
        assert layout.start(index) == row - part
    for number in range(len(items)):
        index = layout.index(number)
        assert index == len(layout) or layout.item(index) >= number


@given(st.text(max_size=200), st.integers(4, 60), st.integers(0, 10))
def test_wrapping_loses_nothing_and_fits(text: str, room: int, lead: int) -> None:
    pieces = wrapped(text, room, lead)
    assert "".join(pieces) == text
    assert all(cell_len(piece) <= room for piece in pieces)


@given(
    st.text(alphabet=st.one_of(st.sampled_from("\n\t\x1b \x00é字"), st.characters()), max_size=300),
    st.integers(30, 120),
    st.booleans(),
    st.integers(0, 7),
)
def test_an_entry_takes_as_many_rows_as_it_is_said_to(text: str, width: int, wrap: bool, priority: int) -> None:
    formatter = LineFormatter((WEB, DB), LineFormat(width, wrap))
    item = entry(text, priority)
    rows = formatter.rows(item)
    lines = [line_text(formatter.line(item, part, None)) for part in range(rows)]
    assert rows >= 1
    assert formatter.line(item, rows, None) == ()
    assert not any(unicodedata.category(letter) == "Cc" for line in lines for letter in line)
    if wrap and width - formatter.indent >= 24:
        assert all(cell_len(line) <= width for line in lines)


def test_a_message_of_a_megabyte_is_cut_on_the_screen_and_says_so() -> None:
    formatter = LineFormatter((WEB,), LineFormat(80))
    item = entry("x" * 1_000_000)
    text = line_text(formatter.line(item, 0, None))
    assert len(text) < MAX_CHARS + 100
    assert "980,000 more characters (Enter shows all)" in text


def test_lines_say_when_where_who_and_how_urgent() -> None:
    early, late = entry("ok", 6, 1_790_000_000_000_000), entry("bad\nworse", 3, 1_790_000_001_500_000, DB)
    formatter = LineFormatter((WEB, DB), LineFormat(100))
    assert line_text(formatter.line(early, 0, None)) == "14:13:20 core-1 web@1   ok"
    assert [line_text(formatter.line(late, part, early)).rstrip() for part in (0, 1)] == [
        "14:13:21 core-2 db    ✖ bad",
        "                        worse",
    ]
    forms = {
        times: line_text(LineFormatter((WEB, DB), LineFormat(100, False, times)).line(late, 0, early))
        for times in Times
    }
    assert forms[Times.UTC].startswith("14:13:21Z core-2")
    assert forms[Times.FULL].startswith("2026-09-21 14:13:21.500 core-2")
    assert forms[Times.DELTA].startswith(" +1.500 s core-2")
    assert forms[Times.HIDDEN].startswith("core-2 db")
    alarm = LineFormatter((WEB,), LineFormat(100)).line(entry("fire", 1), 0, None)
    assert "✖ alert: fire" in line_text(alarm)


def test_control_sequences_and_markup_are_shown_not_obeyed() -> None:
    formatter = LineFormatter((WEB,), LineFormat(100))
    text = line_text(formatter.line(entry("\x1b[31m[red]x[/red]\x07\r\x1b]0;title\x07\x1b[2J"), 0, None))
    assert text.endswith("[red]x[/red]␇␍␛]0;title␇␛[2J")


# What programs write into a line

HOSTILE = st.text(st.sampled_from('ab \t\n\x1b[]0123456789;:m\x07{}"\\,=é\u202e\ud800'), max_size=60)


@given(HOSTILE | st.builds(json.dumps, st.dictionaries(HOSTILE, st.integers() | HOSTILE | st.none(), max_size=4)),
       st.integers(24, 100), st.booleans())  # fmt: skip
def test_no_line_whatever_it_holds_reaches_the_terminal_as_anything_but_text(
    text: str, width: int, wrap: bool
) -> None:
    formatter = LineFormatter((WEB,), LineFormat(width, wrap))
    item = levelled(entry(text))
    for part in range(formatter.rows(item)):
        assert line_text(formatter.line(item, part, None)).isprintable()
    assert escape(formatter.plain(item), lines=True) == formatter.plain(item)
    for word in ("a=b", "a>1", "user!=é"):
        assert bool(finds(word)(searched(item))) in (True, False)


def test_colours_are_tones_and_no_part_of_what_is_searched() -> None:
    formatter = LineFormatter((WEB,), LineFormat(40, wrap=True))
    item = entry("\x1b[1;31mERROR\x1b[0m in \x1b[38;5;2mgreen\x1b[m " + "x" * 60)
    cells = [cell for part in range(formatter.rows(item)) for cell in formatter.line(item, part, None)]
    tones = {cell.text: cell.tone for cell in cells}
    assert (tones["ERROR"], tones["green"], tones[" in "]) == (Tone.BAD, Tone.GOOD, Tone.PLAIN)
    assert "".join(cell.text for cell in cells).count("x") == 60
    assert Narrowing(include="error.*in").admits()(item)
    assert "\x1b" not in formatter.plain(item)
    assert "ERROR in green" in formatter.plain(item)


@pytest.mark.parametrize(
    ("message", "priority", "text"),
    [
        ('{"level":"error","msg":"no","user":42}', 3, "no  user=42"),
        ('{"severity":"WARNING","message":"slow","http":{"status":502}}', 4, "slow  http.status=502"),
        ('{"level":50,"msg":"bunyan","v":0}', 3, "bunyan  v=0"),
        ('{"msg":"two\\nlines","ts":1.5}', 6, "two␊lines"),
        ('{"user":[1,2]}', 6, "user=[1, 2]"),
        ('{"not": json}', 6, '{"not": json}'),
        ("[1, 2]", 6, "[1, 2]"),
    ],
)
def test_json_lines_show_their_message_and_fields_and_are_as_urgent_as_they_say(
    message: str, priority: int, text: str
) -> None:
    item = levelled(entry(message))
    assert item.priority == priority
    assert line_text(LineFormatter((WEB,), LineFormat(100)).line(item, 0, None)).endswith(text)
    assert levelled(entry(message, priority=2)).priority == 2, "what journald was told stands"


@pytest.mark.parametrize(
    ("include", "message", "shown"),
    [
        ("user=42", '{"msg":"x","user":42}', True),
        ("user=42", '{"msg":"x","user":423}', False),
        ("user=42", "level=info user=42 done", True),
        ("status>=500", '{"http":{"status":502}}', True),
        ("status>=500", '{"http":{"status":99}}', False),
        ("status<500", "status=99 x", True),
        ("path!=/healthz", '{"path":"/healthz"}', False),
        ("path!=/healthz", '{"path":"/"}', True),
        ("path!=/healthz", "no such field", False),
        ("a=1 b=2", '{"a":"1","b":2}', True),
    ],
)
def test_lines_are_filtered_by_field(include: str, message: str, shown: bool) -> None:
    assert Narrowing(include=include).admits()(entry(message)) is shown


PIECES = [*"aBéÉß1 .^$()|*+?-_", "\\d", "\\w", "\\W", "\\s", "\\b", "[ab]", "[^a]", "[é-ü]", "{2}", "{1,}", "\\x61",
          "\\u00e9", "\\.", "\\/"]  # fmt: skip
needs_grep = pytest.mark.skipif(
    subprocess.run(["grep", "-P", "x"], input=b"x", capture_output=True, check=False).returncode != 0,
    reason="no grep -P",
)


def perl_finds(pattern: str, exact: bool, line: str) -> bool:
    """What PCRE2 on bytes finds, as journalctl uses it."""
    flags = "-qzP" if exact else "-qziP"
    done = subprocess.run(
        ["grep", flags, "-e", pattern], input=line.encode(), env={"LC_ALL": "C"}, capture_output=True, check=False
    )
    assert done.returncode in (0, 1), (pattern, done.stderr)
    return done.returncode == 0


@needs_grep
@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join), st.text('aAbéÉß1 .-_\n"x', max_size=12)
)
def test_what_journalctl_is_asked_for_finds_all_lines_that_the_console_finds(text: str, line: str) -> None:
    try:
        holds = finds(text)
        pattern, exact = for_journalctl(text)
    except UserError:
        return
    if holds(line):  # without host and unit, which journalctl does not search
        event("found")
        assert perl_finds(pattern, exact, line + "\n")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("user=42", '{"user":42}'), ("http.status>=500", '{"http":{"status":502}}'), ("path!=/x", '{"path":"/"}'),
        ("user=é", '{"user":"é"}'), ("a.*c", "aéc"), ("timeout after [0-9]+ s", "timeout after 2 s"),
        ("10.0.0.1:80", "to 10.0.0.1:80"), ("^GET", "GET /"), ("it's", "it's"),
    ],
)  # fmt: skip
@needs_grep
def test_fields_and_expressions_are_found_by_journalctl_too(text: str, line: str) -> None:
    assert finds(text)(line)
    assert perl_finds(*for_journalctl(text), line)


def test_what_cannot_be_read_at_once_is_counted_in_words() -> None:
    def many(machines: int, units: int, length: int = 20) -> list[Wanted]:
        hosts = [Machine(f"{number:032x}", f"core-{number}", "10.0.0.1", "b") for number in range(machines)]
        return [Wanted(host, f"{number:0{length}}.service") for host in hosts for number in range(units)]

    assert readable(many(3, 300)) == (tuple(many(3, 300)), "")
    found, told = readable(many(120, 2))
    assert (len(found), told) == (200, "only 200 of 240 are read; mark fewer")
    found, told = readable(many(1, 600, 200))
    assert sum(len(shlex.quote(f"--unit={each.unit}")) + 1 for each in found) < 100_000
    assert told == f"only {len(found)} of 600 are read; mark fewer"
    assert readable(many(3, 1000))[1] == "only 2,000 of more than 2,000 are read; mark fewer"


def test_one_colour_a_source() -> None:
    both = source_tones((WEB, DB))
    assert both[0][1] is not both[1][1]
    spread = source_tones((WEB, Wanted(TWO, WEB.unit)))
    assert spread[0][1] is not spread[1][1]
    formatter = LineFormatter((WEB, DB), LineFormat(100))
    cells = {cell.text.strip(): cell.tone for cell in formatter.line(entry("x", wanted=DB), 0, None)}
    assert cells["db"] is both[1][1]


# Moments


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("-1h", NOW - timedelta(hours=1)),
        ("20min", NOW - timedelta(minutes=20)),
        ("1h 30m ago", NOW - timedelta(minutes=90)),
        ("2 days", NOW - timedelta(days=2)),
        ("10:30", NOW.replace(hour=10, minute=30, second=0)),
        ("23:59", NOW.replace(hour=23, minute=59, second=0) - timedelta(days=1)),
        ("10 minutes ago", NOW - timedelta(minutes=10)),
        ("1 hour 30 min ago", NOW - timedelta(minutes=90)),
        ("yesterday 10:30", NOW.replace(hour=10, minute=30, second=0) - timedelta(days=1)),
        ("now", NOW),
        ("@1763900000", datetime.fromtimestamp(1763900000, UTC)),
        ("today", NOW.replace(hour=0, minute=0, second=0)),
        ("yesterday", NOW.replace(hour=0, minute=0, second=0) - timedelta(days=1)),
        ("2026-11-23 10:00", NOW.replace(hour=10, minute=0, second=0)),
        ("yesterday 02:10", NOW.replace(hour=2, minute=10, second=0) - timedelta(days=1)),
        ("today 00:00:01", NOW.replace(hour=0, minute=0, second=1)),
        ("2026-11-23t10:00:05+02:00", NOW.replace(hour=8, minute=0, second=5, tzinfo=UTC)),
        ("2026-11-22", NOW.replace(hour=0, minute=0, second=0) - timedelta(days=1)),
        (" 2026-11-23T10:00:05 ", NOW.replace(hour=10, minute=0, second=5)),
    ],
)
def test_moments_as_people_write_them(text: str, wanted: datetime) -> None:
    assert parse_since(text, NOW) == wanted.timestamp()


def test_ten_minutes_are_ten_minutes_when_clocks_are_put_back() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    now = datetime(2026, 10, 25, 2, 5, tzinfo=berlin, fold=1)  # five minutes after the second two o'clock
    assert parse_since("10 min ago", now) == now.timestamp() - 600


def test_a_clock_is_the_readers_own() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=5)))
    assert parse_since("10:30", there) == NOW.replace(hour=5, minute=30, second=0).timestamp()


@pytest.mark.parametrize("text", ["soon", "-1q", "25:00", "2026-13-01", "1h2", "", "2027-01-01", "9" * 40 + "d"])
def test_what_is_no_moment_says_what_to_write(text: str) -> None:
    with pytest.raises(UserError, match="write -1h, 10 min"):
        parse_since(text, NOW)


def test_a_period_has_an_end() -> None:
    def at(hour: int, minute: int) -> float:
        return NOW.replace(hour=hour, minute=minute, second=0).timestamp()

    assert parse_period("10:30..10:40", NOW) == (at(10, 30), at(10, 40))
    assert parse_period("23:50..00:10", NOW) == (at(23, 50) - 86400, at(0, 10))
    assert parse_period("..10:40", NOW) == (None, at(10, 40))
    assert parse_period("2 hours ago..1 hour ago", NOW)[1] == (NOW - timedelta(hours=1)).timestamp()
    assert parse_period("10:30..", NOW) == parse_period("10:30", NOW) == (at(10, 30), None)
    for text in ("10:40..10:30", "..", "10:30..soon", "10:30..2026-12-24"):
        with pytest.raises(UserError, match="write -1h"):
            parse_period(text, NOW)


# Title


@given(
    st.builds(JournalStatus, st.booleans(), st.integers(0, 10**6), st.integers(0, 10**5), st.integers(0, 10**5),
              st.integers(0, 10**7), st.sampled_from(["", "core-1 lost, trying again"]), st.just(""),
              st.sampled_from(["", "working …"])),
    st.integers(20, 160),
)  # fmt: skip
def test_the_state_is_always_said_and_the_rest_as_far_as_there_is_room(status: JournalStatus, room: int) -> None:
    text = line_text(status_cells(status, room))
    assert ("following" if status.following else "paused") in text
    assert len(text) <= max(room, 40) + 2
    if room >= 150:
        assert not status.dropped or f"{status.dropped:,} line" in text
        assert not status.warnings or f"▲ {status.warnings:,} warning" in text


def test_names_stand_in_their_lines_colours_and_what_does_not_fit_is_counted() -> None:
    many = [Wanted(ONE, f"web@{number}.service") for number in range(30)]
    cells = source_cells(many, 40)
    assert len(line_text(cells)) <= 40
    assert line_text(cells).endswith(" more")
    assert cells[0].tone is source_tones(many)[0][1] is not Tone.PLAIN


def test_nothing_is_hidden_without_being_counted() -> None:
    told = line_text(narrowed_cells(Narrowed(Narrowing("a", "b", 4), "-1h", "0", "x", 312, 3, 17)))
    assert told == "only a · without b · warnings and worse · since -1h · this boot · 312 hidden · ⌕ x: 3 of 17"
    assert not Narrowed()


# Files and fields


def test_a_saved_file_is_private_and_never_written_over_unasked(tmp_path: Path) -> None:
    path = save(tmp_path / "a.log", ["one", "two"])
    assert path.read_text() == "one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(Exists, match="Enter writes over it"):
        save(path, ["three"])
    assert save(path, ["three"], over=True).read_text() == "three\n"
    assert [each.name for each in tmp_path.iterdir()] == ["a.log"]


@pytest.mark.parametrize(("name", "why"), [("", "is a directory"), ("no/such/x.log", "No such file")])
def test_a_file_that_cannot_be_written_says_why(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        save(tmp_path / name, ["one"])


def test_a_default_name_holds_no_slash() -> None:
    assert default_name("web@1-../x y", 1_790_000_000.0) == "journal-web@1-..-x-y-20260921-141320.log"


def test_fields_are_grouped_by_who_vouches_for_them() -> None:
    fields = {"MESSAGE": "a\nb", "PRIORITY": "6", "_PID": "1", "__CURSOR": "s=1;" * 40, "EVIL": "\x1b[2J"}
    text = [line_text(line) for line in field_lines(fields, 60)]
    assert text[:3] == ["MESSAGE", "  a", "  b"]
    assert text.index("what the program said") < text.index("what journald knows") < text.index("where it stands")
    assert any("␛[2J" in line for line in text)
    assert all(len(line) <= 60 for line in text)
    assert "EVIL=␛[2J" in field_text(fields)


def test_a_line_for_a_file_has_the_full_time_and_indents_what_follows() -> None:
    plain = LineFormatter((WEB,)).plain(entry("one\ntwo", at=1_790_000_000_123_000))
    first, second = plain.split("\n")
    assert first == "2026-09-21T14:13:20.123+0000 core-1 web[1]: one"
    assert second == " " * (len(first) - 3) + "two"


# Backpressure


def test_what_comes_faster_than_it_can_be_shown_is_taken_at_the_rate_after_a_first_burst() -> None:
    limit, now, taken = RateLimit(0.0), 0.0, 0
    while now < 60:
        wait = limit.spend(1000, now)
        taken += 1000
        now += wait + 0.001
    assert FIRST_BURST < taken <= FIRST_BURST + BURST + RATE * 61
    assert RateLimit(0.0).spend(1000, 0.0) == 0.0


def test_a_hundred_thousand_lines_are_narrowed_without_stopping_anything() -> None:
    buffer = JournalBuffer()
    for _ in range(20):
        buffer.take([entry(f"GET /path/{number} 200") for number in range(5000)])
    worst = 0.0
    work = buffer.redo(Terms((WEB,), narrowing=Narrowing(include="/path/77"), search="200"))
    while True:
        began = time.process_time()
        done = next(work, work) is work
        worst = max(worst, time.process_time() - began)
        if done:
            break
    assert len(buffer.view.layout) == 20 * 11
    assert worst < 0.25


def test_an_object_of_any_depth_is_a_message() -> None:
    for depth in (10, 300, *range(900, 1100), 3000):
        text = '{"a":' + "[" * depth + "]" * depth + "}"
        assert structured(text) is None or structured(text)


def test_the_names_of_an_object_s_fields_are_kept_up_to_a_bound() -> None:
    fields = ",".join(f'"{number}":1' for number in range(400))
    found = structured('{"' + "k" * 28_000 + '":{' + fields + "}}")
    assert found
    assert sum(map(len, found.everything)) < 100_000
