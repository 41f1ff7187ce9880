"""What is kept between runs, the chooser of columns, and filters that persist."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.widgets import Input

from fleettui.__main__ import parser
from fleettui.console.program import choose_theme, in_browser
from fleettui.console.screens.choosers import ColumnsScreen, column_lines
from fleettui.console.sources.saved_state import (
    SavedState,
    StateStore,
    ViewState,
    decode,
    encode,
    place,
    read_private,
    write_private,
)
from fleettui.console.tables.query import completed, parse_query
from fleettui.console.tables.units import UnitRows
from fleettui.console.text.cells import line_text
from fleettui.console.text.keys import checked_keymap
from fleettui.console.widgets.drawing import fitted
from fleettui.console.widgets.journal_pane import JournalPane
from registry.errors import UserError
from registry.program.config import ConsoleTable, Settings
from tests.console.fleetshow import scene
from tests.console.test_screen import Play, playing

memories = st.builds(
    SavedState,
    st.sampled_from(["units", "machines", "map"]),
    st.dictionaries(
        st.sampled_from(["units", "events"]),
        st.builds(
            ViewState, st.text(max_size=40), st.booleans(), st.text(max_size=8), st.booleans(),
            st.lists(st.text(max_size=6), max_size=3).map(tuple),
        ),
    ),
    st.sampled_from(["", "light"]),
    st.none() | st.booleans(),
    st.integers(0, 60),
)  # fmt: skip


@given(memories)
def test_what_is_kept_is_what_is_read(saved: SavedState) -> None:
    assert decode(encode(saved)) == saved


FIELDS = ("version", "view", "views", "theme", "journal", "journal_lines")
WRONG = st.none() | st.floats() | st.lists(st.integers(), max_size=2) | st.just({"units": 1})


@given(st.sampled_from(FIELDS), WRONG, memories)
def test_a_file_with_a_wrong_value_is_refused_with_a_reason(field: str, value: object, saved: SavedState) -> None:
    data = {**json.loads(encode(saved)), field: value}
    if field == "journal" and value is None:
        return
    with pytest.raises(ValueError, match=r"\w"):
        decode(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "{}", '{"version": 2}', "\x00"])
def test_any_other_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode(text)


def test_files_are_private_whole_and_one_cluster_apart(tmp_path: Path) -> None:
    here = place({"XDG_STATE_HOME": str(tmp_path)}, "demo", "http://a:2379", "/fleet/")
    there = place({"XDG_STATE_HOME": str(tmp_path)}, "demo", "http://b:2379", "/fleet/")
    assert here != there
    assert here.parent == tmp_path / "fleet"
    assert place({"HOME": "/home/x"}, "../../etc", "e", "p").parent == Path("/home/x/.local/state/fleet")
    assert write_private(here, "text")
    assert here.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in here.parent.iterdir()] == [here.name]
    assert read_private(here) == "text"
    assert read_private(there) is None
    (tmp_path / "file").write_text("")
    assert not write_private(tmp_path / "file" / "below", "text")


def test_a_broken_file_is_ignored_with_a_sentence(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "demo")
    assert store.recall() == (None, "")
    store.keep(SavedState("map"))
    assert store.recall() == (SavedState("map"), "")
    (tmp_path / "demo.view.json").write_text('{"version": 1, "view": 7}')
    saved, told = store.recall()
    assert saved is None
    assert told.startswith("ignored ")
    assert "\n" not in told


def test_a_theme_asked_for_goes_before_one_remembered_before_one_configured() -> None:
    settings = Settings(console=ConsoleTable(theme="contrast"))
    assert choose_theme("light", SavedState(theme="terminal"), settings) == "light"
    assert choose_theme("", SavedState(theme="terminal"), settings) == "terminal"
    assert choose_theme("", SavedState(theme="gone"), settings) == "contrast"
    assert choose_theme("", None, Settings()) == "dark"


def test_flags_and_the_browser_are_understood() -> None:
    flags = parser().parse_args(["--fresh", "--theme", "contrast", "--read-only"])
    assert (flags.fresh, flags.theme, flags.read_only) == (True, "contrast", True)
    assert in_browser({"TEXTUAL_DRIVER": "textual.drivers.web_driver:WebDriver"})
    assert not in_browser({})


async def eventually(play: Play, store: StateStore, view: str) -> SavedState:
    for _ in range(200):
        saved, _ = store.recall()
        if saved is not None and saved.view == view:
            return saved
        await play.pilot.pause(0.02)
    raise AssertionError(f"{store.recall()} never had {view}")


async def test_the_console_opens_as_it_was_left(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "demo")
    async with playing(store=store) as play:
        await play.press("slash", *"sy", "enter")
        await play.press("o", "down", "space", "down", "enter", "escape", "exclamation_mark")
        await play.press("J", "2")
        play.main._tick()
        left = await eventually(play, store, "machines")
    assert left.views["units"] == ViewState(sort="active", hidden=("target",))
    async with playing(saved=left) as play:
        assert play.main.views.open.name_ == "machines"
        assert not play.main.query_one(JournalPane).display
        await play.press("1")
        listing = play.main.views.open.table.listing
        assert listing.sort_by.id == "active"
        assert "TARGET" not in play.table()


async def test_a_new_console_hides_no_rows_whatever_the_file_says() -> None:
    """Files of earlier versions hold filters."""
    narrowed = ViewState("web", trouble=True)
    left = SavedState("units", dict.fromkeys(("units", "machines", "pending", "events", "map"), narrowed))
    async with playing(saved=decode(encode(left))) as play:
        for key in "12345":
            await play.press(key)
            listing = play.main.views.open.table.listing
            assert not listing.narrowed
            assert {key for key, row in listing.rows.items() if not row.is_group} <= {*listing.order}
        await play.press("1")
        assert "sync.service" in play.table()
        assert "cache.service" in play.table()


async def test_leaving_keeps_what_changed_last(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "demo")
    async with playing(store=store) as play:
        await play.press("4")
        await play.pilot.press("ctrl+q")
        await play.pilot.pause(0.1)
    saved, _ = store.recall()
    assert saved is not None
    assert saved.view == "events"


async def test_what_is_gone_is_left_out_and_a_remark_is_told() -> None:
    left = SavedState(
        "gone", {"units": ViewState(sort="gone", hidden=("gone", "sub")), "gone": ViewState()}, "gone"
    )
    async with playing(saved=left, remark="ignored the file") as play:
        assert play.main.views.open.name_ == "units"
        assert play.main.views.open.table.listing.hidden == frozenset({"sub"})
        assert "ignored the file" in play.text("hint")


async def test_lines_typed_are_kept(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "demo")
    async with playing(store=store, history=store.history()) as play:
        await play.press("colon", *"theme dark", "enter")
        for _ in range(100):
            if store.history().lines == ["theme dark"]:
                break
            await play.pilot.pause(0.02)
    assert store.history().lines == ["theme dark"]


# Columns


async def test_columns_are_chosen_and_sorted_by_and_the_header_shows_it() -> None:
    async with playing() as play:
        await play.press("o")
        screen = play.stage.app.screen
        assert isinstance(screen, ColumnsScreen)
        await play.press("down", "space")
        assert "TARGET" not in play.table()
        await play.press("down", "enter")
        assert "ACTIVE ▴" in play.table()
        assert play.main.views.open.table.listing.order[0] == "sync.service"
        await play.press("enter")
        assert "ACTIVE ▾" in play.table()
        await play.press("up", "up", "space")
        assert "UNIT" in play.table()
        await play.press("a", "escape")
        assert "TARGET" in play.table()
        assert play.stage.app.screen is play.main


async def test_the_chooser_tells_what_has_no_room_and_the_map_has_nothing_to_choose() -> None:
    async with playing(size=(80, 24)) as play:
        await play.press("o")
        assert any("no room" in line_text(line) for line in column_lines(play.main.views.open.table, 0))
        await play.press("escape", "5", "o")
        assert play.stage.app.screen is play.main
        assert "no columns" in play.text("hint")


async def test_equal_rows_keep_the_order_of_names_both_ways_and_a_title_sorts() -> None:
    async with playing() as play:
        listing = play.main.views.open.table.listing
        await play.press("colon", *"sort target", "enter")
        up = [key for key in listing.order if listing.rows[key].target == "launched" and not listing.depth(key)]
        await play.press("colon", *"sort target desc", "enter")
        down = [key for key in listing.order if listing.rows[key].target == "launched" and not listing.depth(key)]
        assert up == down
        assert up == sorted(up)
        await play.pilot.click(play.main.views.open.table, offset=(4, 0))
        await play.settle()
        assert listing.sort_by.id == "unit"


def test_names_are_cut_in_their_middle_so_that_their_ends_tell_them_apart() -> None:
    one, two = "a-very-long-name-for-a-unit@17.service", "a-very-long-name-for-a-unit@18.service"
    assert fitted(one, 24, middle=True) != fitted(two, 24, middle=True)
    assert len(fitted(one, 24, middle=True)) == 24
    assert fitted(one, 24, middle=True).endswith("t@17.service"[-11:])
    assert fitted("short", 8, middle=True) == "short   "


# Filters


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("state:active", {"cache.service", "db.service", "exporter.service", "report.timer", "web@1.service",
                          "web@2.service"}),
        ("state:failed", {"sync.service"}),
        ("machine=core-2 !state:active", {"mail.service", "sync.service"}),
        ("name:web@ machine:core-3", {"web@3.service"}),
        ("name:*.timer", {"report.timer"}),
        ("unit=db.service", {"db.service"}),
        ("target:loaded", {"mail.service"}),
        ("is:drifting", {"mars.service", "sync.service"}),
        ("web core-1", {"web@1.service"}),
        ("wb3", {"web@3.service"}),
        ("machine=core", set()),
    ],
)  # fmt: skip
def test_filters_say_what_they_mean(text: str, units: set[str]) -> None:
    rows = UnitRows()
    rows.update(scene())
    query = parse_query(text)
    found = {row.unit for row in rows.every() if query.test(0.0)(row)}
    assert found - {"web@3.service"} == units - {"web@3.service"}


def test_a_filter_that_may_be_a_mistake_is_doubted() -> None:
    rows = UnitRows()
    rows.update(scene())
    every = list(rows.every())
    assert "did you mean state:" in parse_query("stat:failed").complaint(every)
    assert "has no metadata:" in parse_query("metadata:x").complaint(every)
    assert parse_query("state:failed web@1:2").complaint(every) == ""
    assert parse_query("").complaint(every) == ""


def test_facets_and_their_values_are_completed() -> None:
    values = {"machine": ["core-1", "core-2"], "": ["web@1.service", "report.timer"]}

    def offer(text: str) -> list[str]:
        return completed(text, lambda facet: values.get(facet, ()))

    assert offer("web sta") == ["web state:"]
    assert offer("!state:fa") == ["!state:failed"]
    assert offer("machine:") == ["machine:core-1", "machine:core-2"]
    assert offer("!we") == ["!web@1.service"]
    assert offer("me") == ["metadata:", "mem>"]
    assert offer("re") == ["restarts>", "report.timer"]


async def test_each_view_keeps_its_own_filter() -> None:
    async with playing() as play:
        await play.press("slash", *"web", "enter", "2", "slash", *"core-1", "enter")
        assert "filter: core-1" in play.text("tabs")
        await play.press("1")
        assert "filter: web" in play.text("tabs")


async def test_a_doubtful_filter_is_told_while_it_is_typed_and_tab_completes() -> None:
    async with playing() as play:
        await play.press("slash", *"stat:x")
        assert "did you mean state:" in play.text("hint")
        await play.press("ctrl+u", *"sta", "tab")
        assert play.main.query_one("#filter", Input).value == "state:"
        await play.press(*"fai", "tab")
        assert play.main.views.open.table.listing.order == ["sync.service"]


async def test_only_trouble_is_what_is_failed_pending_or_drifting() -> None:
    async with playing() as play:
        await play.press("exclamation_mark")
        listing = play.main.views.open.table.listing
        assert {"sync.service", "mars.service"} <= {*listing.order}
        assert "cache.service" not in listing.order
        await play.press("exclamation_mark")
        assert "cache.service" in listing.order


# Keys


def test_a_keymap_that_cannot_be_is_told() -> None:
    with pytest.raises(UserError, match="unknown action strat; did you mean start"):
        checked_keymap({"strat": "f5"}, "fleet.toml")
    with pytest.raises(UserError, match="does both"):
        checked_keymap({"start": "j"}, "fleet.toml")
    assert checked_keymap({"down": "f5", "start": "j"}, "fleet.toml")
    assert checked_keymap({}, "fleet.toml") == {}


async def test_the_tables_keys_are_rebound_too() -> None:
    async with playing(keymap={"down": "f5"}) as play:
        await play.press("f5")
        assert play.cursor == "cache.service"
        await play.press("j")
        assert play.cursor == "cache.service"
