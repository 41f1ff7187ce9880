"""Cursor, marks, folds and filter follow the key of a row, whatever the table does."""

from __future__ import annotations

import pytest

from fleettui.console.journal.buffer import Ring
from fleettui.console.tables.listing import Listing
from fleettui.console.tables.query import parse_query
from fleettui.console.tables.rows import Delta
from fleettui.console.tables.units import COLUMNS, UnitRow, UnitRows
from fleettui.console.text.keys import KEYS, checked_keymap
from registry.errors import UserError
from tests.console.fleetshow import scene


def row(name: str, **more: object) -> UnitRow:
    return UnitRow(name, name, **more)  # type: ignore[arg-type]


def listing(*names: str) -> Listing[UnitRow]:
    made: Listing[UnitRow] = Listing(COLUMNS)
    made.apply(Delta({name: row(name) for name in names}))
    return made


def test_the_cursor_stays_on_its_row_when_others_come_and_go() -> None:
    made = listing("b", "d", "f")
    made.move_to(1)
    made.apply(Delta({"a": row("a"), "c": row("c")}, frozenset({"b"})))
    assert (made.cursor, made.order[made.index]) == ("d", "d")


def test_the_cursor_is_on_nothing_when_its_row_goes_and_never_slips_to_another() -> None:
    made = listing("a", "b", "c")
    made.move_to(1)
    made.apply(Delta({}, frozenset({"b"})))
    assert made.current() is None
    assert made.chosen() == []
    made.apply(Delta({"z": row("z")}))
    assert made.current() is None


def test_the_cursor_is_back_with_its_row() -> None:
    made = listing("a", "b")
    made.move_to(1)
    made.apply(Delta({}, frozenset({"b"})))
    made.apply(Delta({"b": row("b")}))
    assert made.cursor == "b"


def test_even_an_emptied_table_gives_the_cursor_to_nobody_else() -> None:
    made = listing("a")
    made.apply(Delta({}, frozenset({"a"})))
    made.apply(Delta({"b": row("b")}))
    assert made.current() is None


def test_marks_go_with_their_rows() -> None:
    made = listing("a", "b")
    made.mark(["a", "b"])
    made.apply(Delta({}, frozenset({"a"})))
    assert [each.key for each in made.chosen()] == ["b"]


def test_marked_rows_that_the_filter_hides_are_counted() -> None:
    made = listing("apple", "beet")
    made.mark(["beet"])
    made.filter(parse_query("apple"))
    assert (made.hidden_marks(), made.counts()) == (1, (1, 2))


def test_a_group_folds_and_shows_only_what_the_filter_admits() -> None:
    made: Listing[UnitRow] = Listing(COLUMNS)
    made.apply(UnitRows().update(scene()))
    assert made.order.index("web@1.service") == made.order.index("web@.service") + 1
    made.toggle_fold("web@.service")
    assert "web@1.service" not in made.order
    made.toggle_fold("web@.service")
    made.filter(parse_query("machine:core-2 web"))
    assert made.order == ["web@.service", "web@2.service"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("state:failed", {"sync.service"}),
        ("state:pending", {"mars.service"}),
        ("wb1", {"web@1.service"}),
        ("web !machine:core-3", {"web@1.service", "web@2.service"}),
        ("nonsuch:thing", set()),
        ("metadata:x", set()),
    ],
)
def test_filters(text: str, found: set[str]) -> None:
    made: Listing[UnitRow] = Listing(COLUMNS)
    made.apply(UnitRows().update(scene()))
    made.filter(parse_query(text))
    assert set(made.leaves()) == found


def test_only_trouble() -> None:
    made: Listing[UnitRow] = Listing(COLUMNS)
    made.apply(UnitRows().update(scene()))
    made.filter(parse_query(""), trouble_only=True)
    assert set(made.leaves()) == {"sync.service", "mars.service"}


def test_the_worst_come_first_when_sorted_by_state() -> None:
    made: Listing[UnitRow] = Listing(COLUMNS)
    made.apply(UnitRows().update(scene()))
    made.sort(next(column for column in COLUMNS if column.id == "active"))
    assert made.order[:2] == ["sync.service", "mars.service"]


def test_the_ring_keeps_the_newest_and_numbers_stay() -> None:
    ring: Ring[int] = Ring(5)
    for number in range(23):
        ring.extend([number])
    assert list(ring) == [18, 19, 20, 21, 22]
    assert (ring.first, ring[0], len(ring)) == (18, 18, 5)


def test_no_two_keys_of_the_console_are_the_same() -> None:
    assert checked_keymap({}, "here") == {}
    assert len({key.id for key in KEYS}) == len(KEYS)


@pytest.mark.parametrize(
    ("keymap", "told"), [({"strat": "x"}, "did you mean start"), ({"start": "D"}, "does both")]
)
def test_a_keymap_that_cannot_be_is_refused_with_the_reason(keymap: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        checked_keymap(keymap, "fleet.toml")
