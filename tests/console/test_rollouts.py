"""Rollouts in the console: what is shown of them, live, and what the keys do to them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleettui.actions.rollouts import Policy
from fleettui.console.operations.operation import OperationPhase
from fleettui.console.pages.rollout import RolloutOrder, changes_page, progress_page, rollout_events
from fleettui.console.screens.confirm import ConfirmScreen
from fleettui.console.tables.rollouts import RolloutRows, rollout_told
from fleettui.console.text.cells import line_text
from registry.keys import Address, Table
from registry.lifecycle import Whereabouts
from registry.mirror import Snapshot
from registry.model import Event, Rollout, RolloutState
from tests.console.fleetshow import CORES, NOW
from tests.console.scenes import rolling, stopped, told
from tests.console.test_asking import question
from tests.console.test_screen import Play, playing

HOMES = {f"shop@{number}.service": tuple(CORES.values()) for number in range(1, 7)}


def rows_of(snapshot: Snapshot) -> RolloutRows:
    rows = RolloutRows(Whereabouts.of)
    rows.update(snapshot)
    return rows


def text_of(snapshot: Snapshot, name: str = "shop-2") -> str:
    return "\n".join(line_text(line) for line, _ in progress_page(snapshot, name, RolloutOrder(HOMES), NOW))


def changed(snapshot: Snapshot, **more: object) -> Snapshot:
    """The snapshot with another record of the rollout."""
    rollout = replace(snapshot.rollouts["shop-2"], **more)  # type: ignore[arg-type]
    return replace(snapshot, revision=snapshot.revision + 1, rollouts={**snapshot.rollouts, "shop-2": rollout})


async def at_rollouts(play: Play) -> None:
    await play.press("6")
    assert play.cursor == "shop-2"


# Rows


def test_a_row_counts_what_is_done_on_its_way_and_failed() -> None:
    row = rows_of(rolling()).rows["shop-2"]
    assert (row.units, row.settled, row.under_way, row.failed) == (6, 2, 2, 0)
    row = rows_of(stopped()).rows["shop-2"]
    assert (row.settled, row.under_way, row.failed, row.word) == (2, 0, 1, "paused")
    assert row.troubled


def test_only_a_rollout_that_a_change_is_about_is_looked_at_again() -> None:
    rows, world = rows_of(rolling()), rolling()
    turned = replace(world.units["shop@5.service"], generation=2)
    later = replace(world, units={**world.units, "shop@5.service": turned})
    assert not rows.update(later, frozenset({Address(Table.UNITS, "elsewhere.service")}))
    assert [*rows.update(later, frozenset({Address(Table.UNITS, "shop@5.service")})).changed] == ["shop-2"]
    assert rows.rows["shop-2"].under_way == 3


def test_a_rollout_that_is_gone_goes_from_the_table() -> None:
    rows = rows_of(rolling())
    delta = rows.update(replace(rolling(), rollouts={}), frozenset({Address(Table.ROLLOUTS, "shop-2")}))
    assert delta.removed == {"shop-2"}
    assert "shop-2" not in rows.rows


def test_it_is_told_why_a_rollout_does_not_go_on() -> None:
    world = rolling()
    settled = tuple(step.unit for step in world.rollouts["shop-2"].steps[:4])
    pair = (CORES[1], "shop@1.service")
    fallen = replace(world.states[pair], active="failed", sub="failed", result="exit-code")
    still = changed(replace(world, states={**world.states, pair: fallen}), settled=settled, at_a_time=1)
    assert "waits: shop@1.service is down already" in rows_of(still).rows["shop-2"].reason
    assert "it waits: shop@1.service is down already" in text_of(still)


@pytest.mark.parametrize(
    ("verb", "reason", "name"),
    [
        ("rollout", "rollout web-2 of 3 units begins", "web-2"),
        ("rollout", "rollout web-2: pause", "web-2"),
        ("replace", "was 085c9fb; rollout web-2", "web-2"),
        ("start", "rollout web-2", ""),
        ("rollout", "", ""),
    ],
)
def test_an_event_says_which_rollout_it_is_about(verb: str, reason: str, name: str) -> None:
    assert rollout_told(Event("1", NOW, "a", verb, "", "", reason)) == name


# Pages


def test_the_page_has_each_unit_with_how_far_it_is() -> None:
    text = text_of(rolling())
    assert "2/6 units" in text
    assert "on its way: 2 units" in text
    assert "up for 4 s of 10 s" in text
    assert "to come: 2 units" in text
    assert text.index("on its way") < text.index("to come") < text.index("done: 2 units")


def test_a_bad_version_is_told_with_its_reason_first() -> None:
    text = text_of(stopped())
    assert "it failed on core-3 (exit-code, exit status 2)" in text
    assert text.index("failed: 1 unit") < text.index("to come")
    assert "P goes on, and passes by what failed" in text


def test_a_rollout_of_thousands_has_a_bounded_page() -> None:
    world = rolling()
    rollout = world.rollouts["shop-2"]
    steps = tuple(replace(rollout.steps[0], unit=f"shop@{n}.service", group=n) for n in range(4000))
    page = progress_page(changed(world, steps=steps, settled=()), "shop-2", RolloutOrder({}), NOW)
    assert len(page) < 400


def test_what_a_rollout_changes_is_shown_as_a_difference() -> None:
    text = "\n".join(line_text(line) for line, _ in changes_page(rolling(), "shop-2"))
    assert "shop@1.service and 5 more: from" in text
    assert "- ExecStart=/usr/bin/shop --port 80%i" in text
    assert "+ ExecStart=/usr/bin/shop --prot 80%i" in text


def test_the_events_of_a_rollout_are_its_own() -> None:
    told = [
        Event("1-a", NOW - 9, "root@laptop", "rollout", "", "", "rollout shop-2 of 6 units begins"),
        Event("2-a", NOW - 8, "s", "replace", "shop@1.service", CORES[1], "was 085c9fb; rollout shop-2"),
        Event("3-a", NOW - 7, "s", "rollout", "", "", "rollout shop-22 is finished"),
    ]
    world = replace(rolling(), events={each.id: each for each in told})
    text = [line_text(line) for line, _ in rollout_events(world, "shop-2", NOW)]
    assert len(text) == 2
    assert "shop@1.service" in text[0]


# Keys


async def test_the_header_tells_of_a_rollout_under_way_in_every_view() -> None:
    async with playing(rolling()) as play:
        assert "↻ running shop-2 2/6" in play.text("header")
        await play.show(stopped())
        assert "‖ paused shop-2 2/6" in play.text("header")
        await play.show(changed(stopped(), state=RolloutState.ABORTED))
        assert "shop-2" not in play.text("header")


async def test_the_view_is_live() -> None:
    async with playing(rolling()) as play:
        await at_rollouts(play)
        assert "2/6" in play.table()
        steps = rolling().rollouts["shop-2"].steps
        await play.show(changed(rolling(), settled=tuple(step.unit for step in steps[:4])))
        assert "4/6" in play.table()


async def test_pause_is_one_key_and_go_on_is_the_same() -> None:
    async with playing(rolling()) as play:
        await at_rollouts(play)
        assert "P pause" in play.text("footer")
        await play.press("P")
        assert play.stage.port.calls == [("rollout pause", ("shop-2",))]
        assert "fleetctl rollout pause shop-2" in play.text("operations")
        await play.show(changed(rolling(), state=RolloutState.PAUSED, note="paused by root@laptop"))
        assert "✓ fleetctl rollout pause shop-2" in play.text("operations")
        assert "P go on" in play.text("footer")
        await play.press("P")
        assert play.stage.port.calls[-1] == ("rollout resume", ("shop-2",))


@pytest.mark.parametrize(
    ("key", "act", "says"),
    [
        ("P", "resume", "shop@3.service failed, and is passed by"),
        ("A", "abort", "It cannot go on after that"),
        ("B", "undo", "old one again, 2 at a time"),
    ],
)
async def test_what_cannot_be_taken_back_is_asked_first(key: str, act: str, says: str) -> None:
    async with playing(stopped()) as play:
        await at_rollouts(play)
        await play.press(key)
        assert says in question(play)
        await play.press("enter")
        assert play.stage.port.calls == []
        await play.press(key, "right", "enter")
        assert play.stage.port.calls == [(f"rollout {act}", ("shop-2",))]


async def test_one_that_went_back_is_done_again_by_the_key_that_undid_it() -> None:
    went = changed(stopped(), state=RolloutState.FINISHED, back=True)
    old = {step.unit: step.old for step in went.rollouts["shop-2"].steps}
    units = {**went.units, **{name: replace(went.units[name], hash=sha) for name, sha in old.items()}}
    async with playing(replace(went, units=units)) as play:
        await at_rollouts(play)
        assert "B do again" in play.text("footer")
        await play.press("B")
        assert "get their new files again by another rollout, 2 at a time" in question(play)
        await play.press("right", "enter")
        assert play.stage.port.calls == [("rollout redo", ("shop-2",))]


async def test_what_makes_no_sense_says_why() -> None:
    async with playing(rolling()) as play:
        await at_rollouts(play)
        await play.press("j", "P")
        assert "rollout web-restart is finished; there is nothing to pause" in play.text("hint")
        await play.press("B")
        assert "was a restart, which cannot be taken back" in play.text("hint")
        assert play.stage.port.calls == []


async def test_enter_opens_one_rollout_with_its_last_lines_and_its_keys() -> None:
    async with playing(stopped()) as play:
        told(play.stage)
        await at_rollouts(play)
        await play.press("enter")
        await play.settle()
        assert "unknown option --prot; did you mean --port?" in play.main.views.detail.page.text
        await play.press("A")
        assert isinstance(play.stage.app.screen, ConfirmScreen)
        await play.press("escape", "f")
        assert "--prot" in play.main.views.detail.page.text
        await play.press("escape")
        assert play.main.views.open.name_ == "rollouts"


async def test_a_line_of_the_page_leads_to_its_unit() -> None:
    async with playing(stopped()) as play:
        await at_rollouts(play)
        await play.press("enter", "down", "enter")
        assert play.main.views.detail.subject.name == "shop@3.service"


async def test_an_event_of_a_rollout_leads_to_it() -> None:
    event = Event("1-a", NOW - 9, "root@laptop", "rollout", "", "", "rollout shop-2 of 6 units begins")
    async with playing(replace(rolling(), events={event.id: event})) as play:
        await play.press("4", "enter")
        assert "on its way" in play.main.views.detail.page.text


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("rollout pause shop-2", ("rollout pause", ("shop-2",))),
        ("fleetctl rollout pause shop-2", ("rollout pause", ("shop-2",))),
        ("rollout status shop-2", None),
        ("rollout list", None),
        ("rollouts", None),
    ],
)
async def test_the_command_line_knows_rollouts(line: str, call: tuple[str, tuple[str, ...]] | None) -> None:
    async with playing(rolling()) as play:
        await play.main.prompts.execute(line)
        await play.settle()
        assert play.stage.port.calls == ([call] if call else [])
        if call is None:
            assert play.main.views.key_scope == "rollouts"


async def test_an_operation_ends_as_its_rollout_does() -> None:
    async with playing(rolling()) as play:
        runner = play.main.runner
        await runner.roll(["shop@1.service", "shop@2.service"], {}, Policy(), "fleetctl rollout 'shop@*'")
        await play.settle()
        mine = runner.operations[-1]
        assert mine.phase is OperationPhase.PENDING
        ended = Rollout("r1", (), RolloutState.FINISHED)
        await play.show(replace(rolling(), rollouts={"r1": ended}))
        assert runner.history[mine.number].phase is OperationPhase.DONE


async def test_a_rollout_that_stops_is_a_failed_operation_with_the_reason() -> None:
    async with playing(rolling()) as play:
        await play.main.runner.roll(["shop@1.service"], {}, Policy(), "fleetctl rollout shop@1.service")
        went = Rollout("r1", (), RolloutState.FINISHED, back=True, note="shop@1.service failed: exit 2")
        await play.show(replace(rolling(), rollouts={"r1": went}))
        assert "went back: shop@1.service failed: exit 2" in play.text("operations")
