"""What the console reads: typed lines, saved files, journals, and any text on its way to the screen."""

from __future__ import annotations

import json
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual import events

from fleettui.cli.commands import SHOWN
from fleettui.console.commandline import commands
from fleettui.console.commandline.commands import OWN, CommandContext, ConsoleCommand, parse_command
from fleettui.console.commandline.completion import complete
from fleettui.console.journal.filters import Narrowing, compiled, parse_since
from fleettui.console.journal.formatter import LineFormat, LineFormatter, Times, field_lines
from fleettui.console.journal.sources import Remark, Wanted
from fleettui.console.operations.impact_text import short, units_line
from fleettui.console.pages.bands import FleetIdentity, Totals, banner, header_line
from fleettui.console.pages.file import change_counts, diff_lines
from fleettui.console.sources.saved_state import SavedState, StateStore, decode, load, save
from fleettui.console.tables.fleet import Reading
from fleettui.console.tables.query import completed, parse_query
from fleettui.console.tables.units import COLUMNS, UnitRow
from fleettui.console.terminal.typing import Decoder, KeyParser
from fleettui.console.text.cells import Cell, Line, ansi_lines, line_text
from fleettui.console.text.expressions import Automaton, expression
from fleettui.console.text.finding import FinderSource, in_order, ranked
from fleettui.console.text.keys import BY_ID, checked_keymap
from fleettui.console.widgets.drawing import fitted, width_of, wrapped
from fleettui.escape import escape, escape_keeping_colours
from fleettui.journal_entry import MAX_AT, JournalEntry
from registry.errors import UserError
from registry.sync.follow import ConnectionState
from tests.console.fleetshow import machine, scene

ODD = "\x00\x1b\x07\x9b\r\n\t\u202e\u2066\u200b\u200d\u0301\ufeff\ud800\U000e0041語é[]{}()|*+?^$\\!:=/'\"%~-0aZ m;"
texts = st.one_of(st.text(max_size=60), st.text(st.sampled_from(ODD), max_size=60))
odd = texts.map(lambda text: text * 3)
WORLD = CommandContext(scene(), ("name", "state"), ("dark", "light"))
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
first_words = st.sampled_from(sorted({*OWN, *(command.name for command in SHOWN), "fleetctl", "-h", "nonsense"}))
words = st.one_of(
    texts,
    st.sampled_from(["--help", "--unit", "core-1", "web@1", "web@{1..3}", "{a,b}", "*", "a=b", "desc", "--"]),
    st.just("{a,b}" * 99),
)


def is_safe(text: str) -> bool:
    """Whether a terminal shows it all and obeys nothing of it."""
    return escape(text) == text


def shown(line: Line) -> bool:
    """Whether that is so of a whole line."""
    return is_safe(line_text(line))


def refused(error: UserError) -> None:
    """A refusal is one line."""
    assert str(error).strip()
    assert "Traceback" not in str(error)


# What is typed


@given(texts, texts)
def test_any_text_is_a_filter(text: str, name: str) -> None:
    query = parse_query(text)
    row = UnitRow(name, name)
    assert isinstance(query.test(0.0)(row), bool)
    assert isinstance(query.complaint([row]), str)
    assert parse_query(str(query)) == query
    assert query.error or query.terms or not text.strip("! \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0").strip()
    assert all(each.startswith(text[: text.rfind(" ") + 1]) for each in completed(text, lambda _: ["core-1", name]))
    ranked(text, [FinderSource("unit", [name])], 3)


@given(st.text("ab", min_size=2, max_size=5), st.text("abc", max_size=30), st.integers(0, 4))
def test_letters_in_order_agree_with_the_library(word: str, text: str, gap: int) -> None:
    wanted = re.search(f".{{0,{gap}}}?".join(map(re.escape, word)), text) is not None
    assert in_order(word, text, gap) is wanted


@given(first_words, st.lists(words, max_size=4), st.booleans())
def test_any_line_is_an_order_or_is_refused(first: str, rest: list[str], quoted: bool) -> None:
    line = " ".join([first, *(f"'{each}'" if quoted else each for each in rest)])
    for text in (line, line[1:], " ".join(rest)):
        try:
            found = parse_command(text, WORLD)
        except UserError as error:
            refused(error)
        else:
            assert found is None or isinstance(found, ConsoleCommand)
        complete(text, WORLD)


@given(texts)
def test_any_word_has_help_or_is_refused(text: str) -> None:
    try:
        commands.find_any(text)
    except UserError as error:
        refused(error)


@given(st.dictionaries(st.one_of(st.sampled_from(sorted(BY_ID)), texts), texts, max_size=4))
def test_any_keymap_is_taken_or_refused(keymap: dict[str, str]) -> None:
    try:
        checked_keymap(keymap, "fleet.toml")
    except UserError as error:
        refused(error)


@given(
    st.one_of(
        texts,
        st.from_regex(r"-?\s*(\d{1,30}\s*[a-z]{1,4}\s*){1,3}(ago)?", fullmatch=True),
        st.just("9" * 5000 + "h"),
    )
)
def test_any_moment_is_one_or_is_refused(text: str) -> None:
    try:
        assert parse_since(text, NOW) <= NOW.timestamp()
    except UserError as error:
        refused(error)


parts = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w", r"\d", r"\b", "^", "$", "", "\\.", "(?:a|b)", "é"])
counts = st.sampled_from(["", "*", "+", "?", "{2}", "{1,2}", "{,2}", "{2,}", "*?", "+?"])
made = st.recursive(
    st.tuples(parts, counts).map("".join),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map("|".join),
        st.tuples(inner, counts).map(lambda pair: f"({pair[0]}){pair[1]}"),
    ),
    max_leaves=6,
)


@given(made, st.text("ab. \n1é", max_size=12), st.booleans())
def test_expressions_find_what_the_library_finds(text: str, line: str, caseless: bool) -> None:
    flags = re.MULTILINE | (re.IGNORECASE if caseless else 0)
    try:
        pattern = re.compile(text, flags)
        found = expression(text, flags)
    except (re.error, UserError):
        return
    assert bool(found.search(line)) is bool(pattern.search(line)), (text, line)


@given(texts, texts)
def test_any_search_is_an_expression_or_is_refused_and_takes_steps_by_the_line(text: str, line: str) -> None:
    try:
        found = compiled(text)
        Narrowing(text, text).admits()
    except UserError as error:
        refused(error)
        return
    found.spans(line)
    if isinstance(found, Automaton):
        before = found.steps
        found.search(line)
        assert found.steps - before <= 2 * len(line) + 1


# What was saved


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
memories = st.one_of(
    texts,
    json_values.map(json.dumps),
    st.fixed_dictionaries(
        {"version": st.just(1), "view": st.one_of(texts, st.integers()), "theme": texts, "journal": json_values,
         "journal_lines": st.one_of(st.integers(), json_values),
         "views": st.dictionaries(texts, st.one_of(json_values, st.fixed_dictionaries(
             {"filter": texts, "trouble": st.booleans(), "sort": texts, "descending": st.booleans(),
              "hidden": st.lists(json_values, max_size=2)})), max_size=2)}
    ).map(json.dumps),
    st.just("[" * 5000),
    st.just('{"version": ' + "9" * 5000 + "}"),
)  # fmt: skip


@given(memories)
def test_a_saved_view_of_any_content_stops_no_console(text: str) -> None:
    try:
        assert isinstance(decode(text), SavedState)
    except (ValueError, RecursionError):
        return


@given(st.one_of(st.binary(max_size=200), memories.map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_saved_files_of_any_bytes_stop_no_console(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / "demo"
        for ending in ("view.json", "history"):
            place.with_name(f"demo.{ending}").write_bytes(data)
        store = StateStore(place)
        memory, remark = store.recall()
        assert (memory is None) is bool(remark)
        history = load(place.with_name("demo.history"))
        assert all(map(is_safe, history.lines)) or not data.isascii()
        save(place.with_name("demo.history"), history)


# What is shown


@given(odd)
def test_what_is_escaped_is_safe_and_stays_as_it_is(text: str) -> None:
    assert escape(escape(text)) == escape(text)
    assert "\n" not in escape(text)
    assert "\x1b" not in re.sub(r"\x1b\[[0-9;:]*m", "", escape_keeping_colours(text))


@given(odd, st.integers(1, 60))
def test_any_text_fits_into_its_cell(text: str, width: int) -> None:
    for middle in (False, True):
        found = fitted(text, width, middle=middle)
        assert is_safe(found)
        assert width_of(found) == width
    assert is_safe(short(text))
    assert is_safe(units_line([text, "a"]))


@given(odd, st.integers(8, 60))
def test_wrapping_keeps_every_character_and_the_width(text: str, width: int) -> None:
    text = escape(text)
    lines = wrapped((Cell("· "), Cell(text)), width)
    assert "".join(map(line_text, lines)).replace(" ", "") == f"·{text}".replace(" ", "")
    assert all(cell_len(line_text(line).rstrip()) <= width for line in lines)


@given(odd)
def test_any_output_of_a_program_is_shown(text: str) -> None:
    assert all(map(shown, ansi_lines(text)))
    assert all(map(shown, ansi_lines(f"\x1b[{text}m\x1b]8;;{text}\x1b\\{text}")))


entries = st.builds(
    JournalEntry, st.integers(0, MAX_AT), st.just(machine(1).id), texts, texts, st.integers(0, 7),
    st.integers(0, 1 << 22), texts, odd, st.just("c"),
)  # fmt: skip
looks = st.builds(LineFormat, st.integers(1, 200), st.booleans(), st.sampled_from(Times))


@given(st.lists(st.one_of(entries, st.builds(Remark, odd)), min_size=1, max_size=3), looks, texts)
def test_any_line_of_a_journal_is_laid_out(
    items: list[JournalEntry | Remark], line_format: LineFormat, unit: str
) -> None:
    formatter = LineFormatter([Wanted(machine(1), unit), Wanted(machine(2), "b.service")], line_format)
    before = None
    for item in items:
        rows = formatter.rows(item)
        assert rows >= 1
        for part in range(rows):
            assert shown(formatter.line(item, part, before))
        assert all(map(is_safe, formatter.plain(item).split("\n")))
        before = item


@given(st.dictionaries(texts, texts, max_size=4), st.integers(1, 100))
def test_any_fields_of_a_line_are_shown(fields: dict[str, str], width: int) -> None:
    assert all(map(shown, field_lines(fields, width)))


lines = st.lists(st.one_of(st.sampled_from(["", "a", "b"]), texts), max_size=12).map("\n".join)


@given(lines, lines)
def test_any_two_files_are_compared(old: str, new: str) -> None:
    found = diff_lines(old, new)
    assert all(map(shown, found))
    signs = [line[0].text for line in found if line and line[0].text in ("+ ", "- ")]
    assert change_counts(old, new) == (signs.count("+ "), signs.count("- "))
    came, went = change_counts(old, new)
    assert len(old.splitlines()) - went == len(new.splitlines()) - came


@given(odd, odd, st.integers(0, 120), st.sampled_from(ConnectionState))
def test_the_header_names_any_cluster_in_one_line(
    cluster: str, reason: str, width: int, link: ConnectionState
) -> None:
    place, totals = FleetIdentity(cluster, "root", "http://h:1"), Totals({}, 1, 1)
    reading = Reading(scene(), None, link, reason)
    left, right = header_line(place, reading, totals, 0.1, width)
    assert shown(left)
    assert shown(right)
    assert shown(banner(reading, place, 1.0, totals))


@given(odd, st.floats(0, 1e12))
def test_any_unit_has_cells(name: str, now: float) -> None:
    row = UnitRow(name, name)
    for column in COLUMNS:
        assert is_safe(fitted(column.cell(row, now).text, 12))
        column.order(row)


sequences = st.builds(
    lambda begin, numbers, end: (begin + ";".join(numbers) + end).encode(),
    st.sampled_from(["\x1b[", "\x1b[<", "\x1b[?", "\x1b[48;", "\x1bO", "\x1b"]),
    st.lists(st.sampled_from(["", "0", "1", "97", "-1", "97:65", ":", "55296", "9" * 9, "9" * 20]), max_size=5),
    st.sampled_from([*"uMmtRZ~IO$\xe9", "$y"]),
)
typed = st.lists(st.sampled_from([b"a", b"\x1b[200~", b"\x1b[201~"]) | sequences | st.binary(max_size=9))


@given(typed, st.integers(1, 20))
def test_whatever_is_typed_is_read_and_what_is_pasted_is_no_key(pieces: list[bytes], size: int) -> None:
    decoder, parser = Decoder(), KeyParser()
    data = b"".join(pieces)
    for at in range(0, len(data), size):
        if text := decoder.decode(data[at : at + size]):
            list(parser.feed(text))
    decoder, parser = Decoder(), KeyParser()
    text = decoder.decode(b"\x1b[200~" + data.replace(b"\x1b[201~", b"") + b"\x1b[201~")
    if data.count(b"\x1b[201~") == 0:
        assert all(isinstance(each, events.Paste) for each in parser.feed(text))
