"""`:rebalance`: what moves and what stays is shown first, how many at a time is asked, and a rollout begins."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from fleettui.actions import rollouts
from fleettui.console.operations.impact import Survey
from fleettui.console.operations.operation import OperationPhase
from fleettui.console.pages.rollout import RolloutOrder, progress_page
from fleettui.console.screens import rollout_operations
from fleettui.console.screens.confirm import CHANGED, ConfirmScreen
from fleettui.console.screens.text_screens import PageScreen
from fleettui.console.text.cells import line_text
from placement.rebalance import Move
from registry.errors import UserError
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import Availability, Override, Rollout, RolloutState, RolloutStep, Target
from registry.sync.follow import ConnectionState
from tests.console.fleetshow import CORES, NOW, PLAIN, build, state
from tests.console.scenes import crowded
from tests.console.test_asking import question, until
from tests.console.test_screen import Play, playing

MOVES = tuple(f"shop@{number}.service {CORES[core]}" for number, core in enumerate((3, 2, 3, 2, 3), 1))


def few(count: int, **more: object) -> Snapshot:
    """So many units on core-1, beside two empty machines."""
    names = [f"job{number}.service" for number in range(count)]
    return build(
        dict.fromkeys(names, (PLAIN, Target.LAUNCHED)), [(name, 1) for name in names],
        [state(name, 1, PLAIN) for name in names], **more,
    )  # fmt: skip


def moving(snapshot: Snapshot) -> Rollout:
    """The rollout of the moves that are planned for the snapshot."""
    units = [(snapshot.units[each.unit], each.target) for each in rollouts.plan_moves(snapshot, Keys())]
    steps = (RolloutStep(unit.name, unit.hash, unit.hash, 1, at, goes_to=target)
             for at, (unit, target) in enumerate(units))  # fmt: skip
    return Rollout("rebalance-1", tuple(steps), RolloutState.RUNNING, by="root@laptop", at=NOW)


async def asked(play: Play, line: str = "rebalance") -> None:
    await play.main.prompts.execute(line)
    await until(play, lambda: isinstance(play.stage.app.screen, ConfirmScreen))
    await play.settle()


async def agreed(play: Play) -> None:
    play.stage.app.screen.query_one("#go").focus()
    await play.press("enter")
    await until(play, lambda: bool(play.stage.port.calls))


async def refusal(play: Play, told: str) -> None:
    await play.main.prompts.execute("rebalance")
    await play.until(told, "hint")
    assert play.stage.port.calls == []


async def test_it_is_shown_what_moves_where_and_why_and_what_stays() -> None:
    async with playing(crowded()) as play:
        await asked(play)
        told = question(play)
        assert "Move 5 units?" in told
        assert "shop@1.service from core-1 to core-3: 10 units here, 1 there" in told
        assert "1 more unit: 1 from core-1 to core-3" in told
        assert "6 units stay: 4 well placed, 1 Sticky, 1 global." in told
        assert "fleetctl rebalance --at-a-time 1" in told
        await play.press("enter")
        assert play.stage.port.calls == []


@pytest.mark.parametrize(
    ("line", "key", "pace"),
    [
        ("rebalance", "", "1"),
        ("rebalance", "2", "2"),
        ("rebalance", "a", "100%"),
        ("fleetctl rebalance --at-a-time 40%", "", "40%"),
        ("rebalance --at-a-time 3 --yes", "", "3"),
    ],
)
async def test_the_moves_are_begun_as_many_at_a_time_as_was_chosen(line: str, key: str, pace: str) -> None:
    async with playing(crowded()) as play:
        await asked(play, line)
        await play.press(*key)
        assert f"--at-a-time {pace}" in question(play)
        await agreed(play)
        assert play.stage.port.calls == [(f"move {pace}", MOVES)]
        assert f"fleetctl rebalance --at-a-time {pace}" in play.text("operations")


async def test_what_was_chosen_last_is_offered_the_next_time() -> None:
    async with playing(crowded()) as play:
        await asked(play)
        await play.press("2")
        await agreed(play)
        await asked(play)
        assert "--at-a-time 2" in question(play)


async def test_a_single_move_is_asked_about_but_not_how_many_at_a_time() -> None:
    async with playing(few(2, machines={k: v for k, v in few(2).machines.items() if k != CORES[3]})) as play:
        await asked(play)
        told = question(play)
        assert "1 unit moves" in told
        assert "--at-a-time" not in told
        await agreed(play)
        assert play.stage.port.calls == [("move 1", (f"job0.service {CORES[2]}",))]


async def test_it_is_planned_in_a_thread_however_small_the_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[threading.Thread] = []

    def plan(snapshot: Snapshot, keys: Keys) -> Sequence[Move]:
        planned.append(threading.current_thread())
        return rollouts.plan_moves(snapshot, keys)

    monkeypatch.setattr(rollout_operations, "plan_moves", plan)
    async with playing(crowded()) as play:
        await asked(play)
        await agreed(play)
    assert len(planned) == 2  # for the question, and again at the answer
    assert threading.main_thread() not in planned


async def test_moves_to_elsewhere_than_was_shown_are_asked_about_again() -> None:
    world = few(3)
    async with playing(world) as play:
        await asked(play)
        closed = {CORES[2]: Override(CORES[3], Availability.CORDONED)}
        await play.show(replace(world, revision=101, overrides=closed))
        play.stage.app.screen.query_one("#go").focus()
        await play.press("enter")
        await until(play, lambda: CHANGED in question(play) or bool(play.stage.port.calls))
        assert play.stage.port.calls == []
        assert "job0.service from core-1 to core-3" in question(play)


def test_other_targets_exceed_what_was_shown_and_fewer_moves_do_not() -> None:
    one, other = Move("a.service", "x", "y", "2 units here, 0 there"), Move("a.service", "x", "z", "")
    shown = Survey(moves=(one, Move("b.service", "x", "y", "")))
    assert not Survey(moves=(replace(one, reason="3 units here, 0 there"),)).exceeds(shown)
    assert Survey(moves=(other,)).exceeds(shown)


async def test_where_nothing_moves_or_moves_are_under_way_it_says_so() -> None:
    async with playing(few(1)) as play:
        await refusal(play, "nothing is to be moved")
    world = few(3)
    async with playing(replace(world, rollouts={"rebalance-1": moving(world)})) as play:
        await refusal(play, "cannot rebalance: rebalance rebalance-1 is not over")
    async with playing(world) as play:
        await play.show(world, ConnectionState.LOST, "timed out")
        await refusal(play, "cannot rebalance: no connection to the registry")


async def test_a_dry_run_shows_every_move_in_a_read_only_console_too() -> None:
    async with playing(crowded(), read_only=True) as play:
        with pytest.raises(UserError, match="read-only"):
            await play.main.prompts.execute("rebalance")
        await play.main.prompts.execute("rebalance --dry-run")
        await until(play, lambda: isinstance(play.stage.app.screen, PageScreen))
        shown = [line_text(line) for line in play.stage.app.screen._write()]  # type: ignore[attr-defined]
        assert sum(" from core-1 to " in line for line in shown) == 5
        assert "6 units stay" in shown[1]
        assert play.stage.port.calls == []


async def test_the_rollout_says_where_its_units_go_and_ends_the_operation() -> None:
    world = few(6)
    text = "\n".join(
        line_text(line)
        for line, _ in progress_page(
            replace(world, rollouts={"rebalance-1": moving(world)}), "rebalance-1",
            RolloutOrder(dict.fromkeys(world.units, (CORES[1],))), NOW,
        )
    )  # fmt: skip
    assert "4 units move to another machine" in text
    assert "goes to core-3" in text
    async with playing(world) as play:
        await asked(play)
        await play.press("2")
        await agreed(play)
        await play.settle()
        mine = play.main.runner.operations[-1]
        assert mine.phase is OperationPhase.PENDING
        over = replace(moving(world), state=RolloutState.FINISHED)
        await play.show(replace(world, revision=102, rollouts={"rebalance-1": over}))
        assert play.main.runner.history[mine.number].phase is OperationPhase.DONE
        assert play.main.runner.can_undo is None


async def test_the_command_that_does_the_same_has_the_whole_policy() -> None:
    async with playing(crowded()) as play:
        await asked(play, "rebalance --at-a-time 2 --canary 1 --healthy-for 30s --max-failures 3")
        assert "--at-a-time 2 --canary 1 --healthy-for 30s --max-failures 3" in question(play)
