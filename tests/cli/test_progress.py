"""What a verb that waits goes by: each change that a judgement hangs on has it made again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

from fleettui.actions.progress import Arrival, StillWaiting, watch_progress
from registry.keys import Address, Table
from registry.lifecycle import Progress
from registry.mirror import Snapshot
from registry.model import Assignment, Leader, Machine, Pending, Target, Unit, UnitState
from registry.sync.follow import ConnectionState, Follower, FollowUpdate

WAITS = UnitState(
    "a.service", "m1", "h", 1, Target.LAUNCHED, "loaded", "inactive", "dead",
    error="waiting for b.service", waits=("b.service",),
)  # fmt: skip
BEFORE = Snapshot(
    revision=1,
    leader=Leader("s1", "host"),
    units={name: Unit(name, "h", Target.LAUNCHED) for name in ("a.service", "b.service")},
    schedule={("m1", "a.service"): Assignment("a.service", "m1", "h", Target.LAUNCHED, 1)},
    states={("m1", "a.service"): WAITS},
    machines={"m1": Machine("m1", "host", "10.0.0.1", "boot")},
)


class Told:
    """A follower that brings these, one after the other."""

    link, reason = ConnectionState.LIVE, ""

    def __init__(self, steps: Iterable[tuple[FollowUpdate, Snapshot]]) -> None:
        self._steps = iter(steps)

    async def next(self) -> FollowUpdate:
        update, snapshot = next(self._steps, (None, None))
        assert update, "it waits for more than there is to come"
        self.mirror = SimpleNamespace(snapshot=lambda: snapshot)
        return update


async def test_a_unit_whose_start_waits_for_another_is_judged_again_when_that_one_will_not_come() -> None:
    refused = Pending("b.service", "h", 1, "no machine fits")
    then = replace(BEFORE, revision=2, pending={"b.service": refused})
    about_b = FollowUpdate((Address(Table.PENDING, "b.service"),))
    follower = cast("Follower", Told([(FollowUpdate(reset=True), BEFORE), (about_b, then)]))
    steps = [step async for step in watch_progress(follower, ["a.service"])]
    assert [type(each) for each in steps] == [StillWaiting, Arrival]
    arrival = steps[-1]
    assert isinstance(arrival, Arrival)
    assert arrival.standing.progress is Progress.WAITING
