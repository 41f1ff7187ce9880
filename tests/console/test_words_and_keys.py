"""Keys that answer, names that stay, an order that people expect, and one line for one act."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.events import Paste
from textual.widgets import Input

from fleettui.cli.arguments import sentence
from fleettui.cli.commands import SHOWN
from fleettui.console.commandline import commands
from fleettui.console.operations.operation import Operation, OperationPhase, judge
from fleettui.console.screens.confirm import ConfirmScreen
from fleettui.console.screens.text_screens import PageScreen
from fleettui.console.sources.saved_state import LineHistory, SavedState, decode, encode
from fleettui.console.tables.events import EventRows
from fleettui.console.tables.fleet import FleetModel, Reading
from fleettui.console.tables.listing import Listing
from fleettui.console.tables.machines import COLUMNS as MACHINE_COLUMNS
from fleettui.console.tables.query import Query
from fleettui.console.tables.rows import Delta, Health
from fleettui.console.tables.units import COLUMNS, UnitRow, host
from fleettui.console.text.cells import line_text
from fleettui.console.text.finding import ranked, sources
from fleettui.console.text.formatting import natural
from fleettui.console.widgets.page import Lines
from fleettui.console.widgets.theme import THEMES
from fleettui.verbs import Verb
from registry.keys import Address, Keys, Table
from registry.lifecycle import whereabouts
from registry.mirror import Snapshot
from registry.model import Event, Target
from registry.sync.follow import ConnectionState
from tests.console.fleetshow import CORES, NOW, scene
from tests.console.scenes import rolling, storied
from tests.console.test_asking import PROTECTED
from tests.console.test_listing import row
from tests.console.test_screen import playing

# Answers


async def test_y_and_n_answer_a_question() -> None:
    async with playing() as play:
        await play.press("j", "D")
        assert isinstance(play.stage.app.screen, ConfirmScreen)
        await play.press("n")
        assert len(play.stage.app.screen_stack) == 2
        assert not play.stage.port.calls
        await play.press("D", "y")
        assert [verb for verb, _ in play.stage.port.calls] == ["destroy"]


async def test_y_does_not_stand_for_the_word_that_has_to_be_typed() -> None:
    async with playing(identity=PROTECTED) as play:
        await play.press("asterisk", "X", "y")
        assert isinstance(play.stage.app.screen, ConfirmScreen)
        assert not play.stage.port.calls


async def test_how_many_and_y_are_two_keys() -> None:
    async with playing() as play:
        await play.press("G", "left", "R", "2", "y")
        assert play.stage.port.calls[0][0] == "roll 2"


@pytest.mark.parametrize(
    ("keys", "text", "written"),
    [
        (["f", "less_than_sign", "B", "y"], "", "submit inactive"),  # back to yesterday's file: 4
        (["slash", "enter", "asterisk", "R", "2", "y"], "shop machine=core-1", "roll 2"),  # 6 and the words
    ],
)
async def test_jobs_take_as_many_keys_as_are_told(keys: list[str], text: str, written: str) -> None:
    world, start = (storied(), "db.service") if keys[0] == "f" else (rolling(failed=True), "")
    async with playing(world) as play:
        if start:
            play.main.navigator.go_to("units", start)
            await play.settle()
        for key in keys:
            await play.press(key, *(text if key == "slash" else ""))
        assert any(each.startswith(written) for each, _ in play.stage.port.calls), play.stage.port.calls


async def test_what_a_question_says_is_of_now() -> None:
    async with playing() as play:
        await play.press("j", "asterisk", "X")
        screen = play.stage.app.screen
        assert isinstance(screen, ConfirmScreen)
        before = screen._lines
        snapshot = play.main.fleet.reading.snapshot
        idle = {key: replace(state, active="inactive", sub="dead") for key, state in snapshot.states.items()}
        await play.show(replace(snapshot, revision=snapshot.revision + 1, states=idle))
        assert screen._lines != before


async def test_escape_never_leaves_a_view() -> None:
    async with playing() as play:
        await play.press("2", "escape", "escape")
        assert play.main.views.open.name_ == "machines"


# What was pasted


def test_what_nobody_has_typed_is_not_remembered() -> None:
    history = LineHistory()
    for line in ("stop web@1", "a\x1b[31mb", "x" * 600, "two\nlines"):
        history.add(line)
    assert history.lines == ["stop web@1"]


async def test_several_pasted_lines_are_not_taken_and_a_pasted_mistake_is_not_remembered() -> None:
    async with playing() as play:
        await play.press("colon")
        line = play.main.query_one("#command", Input)
        line.post_message(Paste("ssh root@core-1\nrm -rf x"))
        await play.settle()
        assert line.value == ""
        line.post_message(Paste("hunter2"))
        await play.settle()
        await play.press("enter")
        assert play.main.context.history.lines == []
        await play.press("escape", "colon", *"strat", "enter")  # typed, and worth mending
        assert play.main.context.history.lines == ["strat"]


# Help, errors, the palette


async def test_help_lists_every_verb_with_a_line_each() -> None:
    async with playing() as play:
        await play.press("colon", *"help", "enter")
        screen = play.stage.app.screen
        assert isinstance(screen, PageScreen)
        text = " ".join(" ".join(map(line_text, screen.query_one("#page-lines", Lines).lines)).split())
        for command in SHOWN:
            if command.name not in commands.ELSEWHERE and command.name not in commands.OWN:
                assert command.name in text
                assert command.summary[:30] in text
        assert all(name in text for name in commands.OWN)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("the following arguments are required: UNIT", "UNIT is missing; name one"),
        ("argument --lines: expected one argument", "--lines takes a value; give one after it"),
        ("argument -n/--lines: invalid int value: 'x'", "-n/--lines takes a number; 'x' is none"),
        (
            "argument --on-failure: invalid choice: 'x' (choose from 'pause', 'rollback')",
            "--on-failure cannot be 'x'; it is one of 'pause', 'rollback'",
        ),
        ("something new", "something new"),
    ],
)
def test_errors_are_sentences(message: str, said: str) -> None:
    assert sentence(message) == said


def test_a_verb_alone_offers_things_before_letters_in_order_and_after_what_is_called_so() -> None:
    among = sources(scene(), {}, THEMES, read_only=False)
    assert [find.what for find in ranked("dra", among, 3)] == ["drain core-1", "drain core-2", "drain core-3"]
    first = ranked("web", among, 1)[0]
    assert (first.kind, first.label[:3]) == ("unit", "web")


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("drain core-2", "drain core-2"),
        ("journal web@3", "journal web@3.service"),
        ("rest cache", "restart cache.service"),
    ],
)
def test_the_palette_finds_what_can_be_done_to_things(typed: str, line: str) -> None:
    found = ranked(typed, sources(scene(), {}, THEMES, read_only=False), 5)
    assert (found[0].kind, found[0].what) == ("command", line)
    calm = ranked(typed, sources(scene(), {}, THEMES, read_only=True), 50)
    assert all(not find.what.startswith(("drain", "restart")) for find in calm if find.kind == "command")


async def test_an_act_of_the_palette_asks_as_its_key_does() -> None:
    async with playing() as play:
        await play.press("ctrl+p", *"drain core-2", "enter")
        assert isinstance(play.stage.app.screen, ConfirmScreen)


# Order


def test_numbers_in_names_are_numbers() -> None:
    names = ["job@10.service", "job@9.service", "job@.service", "job@2.service", "job@a.service", "job@02.service"]
    assert sorted(names, key=natural) == [
        "job@.service", "job@02.service", "job@2.service", "job@9.service", "job@10.service", "job@a.service",
    ]  # fmt: skip
    listing: Listing[UnitRow] = Listing(COLUMNS)
    listing.apply(Delta({name: row(name) for name in names}))
    assert listing.order.index("job@2.service") < listing.order.index("job@10.service")


@given(st.lists(st.text("ab019@-", max_size=6), max_size=6))
def test_no_two_names_have_one_place(names: list[str]) -> None:
    assert len({*map(natural, names)}) == len({*names})


def test_the_arrow_points_the_way_that_the_figures_go() -> None:
    listing: Listing[UnitRow] = Listing(COLUMNS)
    by_name = {column.id: column for column in COLUMNS}
    counts = {f"{count}": row(f"{count}", restarts=count, since=1000.0 - count) for count in (1, 5, 3)}
    listing.apply(Delta(counts))
    for name in ("restarts", "unit", "since"):
        for descending in (False, True):
            listing.sort(by_name[name], descending=descending)
            figures = [listing.rows[key].restarts or 0 for key in listing.order]  # as large as the age, too
            assert figures == sorted(figures, reverse=listing.falls), name
    assert {column.id for column in MACHINE_COLUMNS if column.falls} >= {"units", "load", "memory"}


# Incidents


def lost(snapshot: Snapshot, core: int) -> tuple[Snapshot, frozenset[Address]]:
    gone = CORES[core]
    states = {key: state for key, state in snapshot.states.items() if key[0] != gone}
    machines = {key: machine for key, machine in snapshot.machines.items() if key != gone}
    changed = {Address(Table.STATES, *key) for key in snapshot.states if key[0] == gone}
    after = replace(snapshot, revision=snapshot.revision + 1, machines=machines, states=states)
    return after, frozenset({*changed, Address(Table.MACHINES, gone)})


def test_no_name_becomes_an_id_when_its_machine_is_lost() -> None:
    before = scene()
    kept = {**before.machines, CORES[1]: replace(before.machines[CORES[1]], on_lost="keep")}
    before = replace(before, machines=kept)
    after, changed = lost(before, 1)
    for names, first in ((None, before), ({CORES[1]: "core-1"}, None)):  # a console that saw it go, a later one
        fleet = FleetModel(Keys(), names)
        if first is not None:
            fleet.apply(Reading(first, None, ConnectionState.LIVE), NOW)
        fleet.apply(Reading(after, changed if first else None, ConnectionState.LIVE), NOW)
        short = CORES[1][:8]
        there = [each for each in fleet.units.every() if each.machine == CORES[1]]
        assert {each.unit for each in there} >= {"exporter.service", "cache.service"}
        assert all(each.host == "core-1" and short not in f"{each.label} {each.reason}" for each in there)
        assert fleet.machines.rows[CORES[1]].hostname == "core-1"
        assert host(fleet.reading.snapshot, CORES[1]) == "core-1"
        if first is not None:
            assert all("may still run (keep)" in each.reason for each in there)
            assert "may still run (keep)" in fleet.machines.rows[CORES[1]].note
            assert decode(encode(SavedState(machines=fleet.machines.names))).machines[CORES[1]] == "core-1"


def test_what_is_mended_stays_among_the_troubled_until_it_runs() -> None:
    listing: Listing[UnitRow] = Listing(COLUMNS)
    listing.apply(Delta({name: row(name, condition=Health.ACTIVE) for name in "ab"}))
    listing.apply(Delta({"c": row("c", condition=Health.FAILED), "d": row("d", condition=Health.BUSY)}))
    listing.filter(Query(), trouble_only=True)
    assert listing.order == ["c"]
    listing.apply(Delta({"c": row("c", condition=Health.BUSY)}))
    assert listing.order == ["c"]
    listing.apply(Delta({"c": row("c", condition=Health.ACTIVE)}))
    assert listing.order == []


def test_a_unit_that_runs_nowhere_and_is_stopped_is_no_failure() -> None:
    snapshot = scene()
    units = {**snapshot.units, "mars.service": replace(snapshot.units["mars.service"], target=Target.LOADED)}
    snapshot = replace(snapshot, units=units)
    asked = Operation(1, Verb.STOP, ("mars.service",), NOW, OperationPhase.PENDING, open=("mars.service",))
    assert judge(asked, snapshot, lambda at, _: whereabouts(at), NOW).phase is OperationPhase.DONE
    loaded = replace(asked, verb=Verb.LOAD)
    assert judge(loaded, snapshot, lambda at, _: whereabouts(at), NOW).phase is OperationPhase.WAITING


def test_an_event_calls_machines_by_their_names_also_in_its_reason() -> None:
    told = Event(
        "1", NOW, f"scheduler {CORES[2][:8]}", "refuse", "web@3.service", "", f"machine {CORES[3][:8]}... is lost"
    )
    (row,) = EventRows().update(replace(scene(), events={"1": told})).changed.values()
    assert (row.actor, row.reason) == ("scheduler core-2", "machine core-3 is lost")


def test_one_act_is_one_line() -> None:
    told = [
        ("root@a", 0.0, "web@1"), ("root@a", 0.1, "web@2"), ("root@b", 0.2, "web@3"), ("root@a", 0.3, "web@3"),
        ("root@a", 9.0, "web@4"), ("root@a", 9.1, "web@4"), ("root@c", 20.0004, "web@5"),
        ("root@c", 20.0001, "web@6"),
    ]  # fmt: skip
    events = {}
    for number, (who, after, unit) in enumerate(told):
        key = f"{int((NOW + after) * 1000):013d}-{number:08x}"
        events[key] = Event(key, NOW + after, who, "stop", f"{unit}.service")
    rows, whole = EventRows(), EventRows()
    rows.update(Snapshot(events=dict(list(events.items())[:2])))
    rows.update(Snapshot(events=events), frozenset(Address(Table.EVENTS, key) for key in events))
    whole.update(Snapshot(events=events))
    assert rows.rows == whole.rows
    assert sorted(each.units for each in whole.rows.values()) == [
        ("web@1.service", "web@2.service", "web@3.service"), ("web@3.service",), ("web@4.service",),
        ("web@4.service",), ("web@5.service", "web@6.service"),
    ]  # fmt: skip
    assert any(each.unit == "web@1.service and 2 more" for each in whole.rows.values())
    assert len(whole.update(Snapshot()).removed) == 5
