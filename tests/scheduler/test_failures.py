"""Units that keep failing where they are: what the leader counts, writes down and forgets."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace

import pytest

from registry.errors import InvalidRecord
from registry.etcd import Op
from registry.keys import Address, Table
from registry.model import MAX_FAILED, FailedPlacement, PastPlacement, Target, UnitState
from registry.records import decode
from registry.sync.follow import FollowUpdate
from scheduler.commit import Audit
from scheduler.failures import REMEMBERED_S, FailureWatch
from tests.placement.world import KEYS, World, machine

NAME = "u.service"
STATE = Address(Table.STATES, "a1", NAME)


def written(op: Op) -> bytes:
    """The value that an operation writes."""
    return b64decode(op.body["value"])


class Leader:
    """A leader that watches a unit on machine a1, of two."""

    def __init__(self, limit: str = "3/10min") -> None:
        self.world = World(machine("a1"), machine("b2"))
        self.unit = self.world.unit(NAME, f"MoveAfterFailures={limit}")
        self.world.settle()
        self.watch = FailureWatch(KEYS, Audit("scheduler", lambda: (0.0, "0000000000000-x")))
        self.watch.begin_term()

    def reports(
        self,
        now: float,
        *,
        active: str = "active",
        restarts: int = 0,
        result: str = "",
        reached: Target = Target.LAUNCHED,
    ) -> None:
        """The machine reports the unit; the leader looks, and writes."""
        state = UnitState(NAME, "a1", self.unit.hash, self.unit.generation, reached)
        self.world.put(KEYS.state("a1", NAME), replace(state, active=active, restarts=restarts, result=result))
        self.watch.update(FollowUpdate((STATE,)))
        self.look(now)

    def look(self, now: float) -> None:
        if not self.watch.wants_look(now):
            return
        for intent in self.watch.look(self.world.mirror, self.world.state, now, 1000.0):
            for op in intent.ops:
                if KEYS.parse(op.key) == Address(Table.PLACEMENTS, NAME):
                    if op.kind == "request_put":
                        self.world.put(op.key, written(op))
                    else:
                        self.world.delete(op.key)
                    self.watch.update(FollowUpdate((Address(Table.PLACEMENTS, NAME),)))

    @property
    def remembered(self) -> list[tuple[str, str]]:
        past = self.world.snapshot.placements.get(NAME)
        return [(each.machine, each.reason) for each in past.failed] if past else []


def test_so_many_restarts_in_so_long_are_too_many() -> None:
    leader = Leader()
    for now, restarts in ((0.0, 0), (10.0, 1), (20.0, 2)):
        leader.reports(now, restarts=restarts)
    assert leader.remembered == []
    leader.reports(30.0, restarts=3, result="exit-code")
    assert leader.remembered == [("a1", "it failed here 3 times in 10min (exit-code)")]
    leader.world.settle()
    assert leader.world.where(NAME) == ("b2",)


def test_the_reason_is_of_the_last_failure_seen_though_the_unit_runs_again_by_now() -> None:
    leader = Leader("2/10min")
    leader.reports(0.0)
    leader.reports(1.0, active="activating", restarts=1, result="exit-code")
    leader.reports(2.0, restarts=2, result="success")
    assert leader.remembered == [("a1", "it failed here 2 times in 10min (exit-code)")]


def test_failures_far_apart_are_not_too_many() -> None:
    leader = Leader()
    for number in range(20):
        leader.reports(400.0 * number, restarts=number)
    assert leader.remembered == []


def test_what_systemd_gave_up_counts_for_a_leader_that_comes_later() -> None:
    leader = Leader()
    leader.reports(0.0, active="failed", restarts=1)
    assert leader.remembered == []
    leader = Leader()
    leader.reports(0.0, active="failed", restarts=5)
    assert [where for where, _ in leader.remembered] == ["a1"]


def test_one_failure_is_enough_where_the_file_says_so_and_the_same_one_counts_once() -> None:
    leader = Leader("1/1h")
    leader.reports(0.0)
    leader.reports(1.0, active="failed", result="oom-kill")
    assert leader.remembered == [("a1", "it failed here (oom-kill)")]
    leader = Leader("2/1h")
    for now in range(5):
        leader.reports(float(now), active="failed")
    assert leader.remembered == []


def test_what_is_told_of_the_run_before_until_the_next_start_is_over_does_not_count() -> None:
    leader = Leader("1/1h")
    leader.reports(0.0, active="failed", restarts=5, result="exit-code", reached=Target.LOADED)
    leader.reports(1.0)
    assert leader.remembered == []
    leader.reports(2.0, restarts=1)
    assert leader.remembered == [("a1", "it failed here")]


def test_each_start_by_an_operator_that_fails_counts() -> None:
    leader = Leader("2/10min")
    leader.reports(0.0, active="failed", result="exit-code")
    leader.reports(1.0, active="failed", result="exit-code", reached=Target.LOADED)
    assert leader.remembered == []
    leader.reports(2.0, active="failed", result="exit-code")
    assert leader.remembered == [("a1", "it failed here 2 times in 10min (exit-code)")]


def test_it_is_forgotten_after_a_while_and_with_the_next_generation() -> None:
    leader = Leader("1/1h")
    leader.reports(0.0, active="failed")
    assert leader.remembered
    leader.look(1.0)  # at what was written
    assert leader.watch.due == 1.0 + REMEMBERED_S
    leader.look(REMEMBERED_S)
    assert leader.remembered
    leader.look(1.0 + REMEMBERED_S)
    assert leader.remembered == []
    leader.reports(2 * REMEMBERED_S, active="active")
    leader.reports(2 * REMEMBERED_S, active="failed")
    assert leader.remembered
    leader.world.put(KEYS.unit(NAME), replace(leader.unit, generation=2))
    leader.watch.update(FollowUpdate((Address(Table.PLACEMENTS, NAME),)))
    leader.look(2 * REMEMBERED_S)
    assert leader.remembered == []


def test_no_more_machines_are_remembered_than_a_record_takes_the_oldest_goes() -> None:
    leader = Leader("1/1h")
    gone = [FailedPlacement(f"m{number:04}", 1, at=float(number % 999)) for number in range(MAX_FAILED)]
    leader.world.put(KEYS.placement(NAME), PastPlacement(NAME, failed=tuple(gone)))
    leader.reports(0.0, active="failed")
    names = [where for where, _ in leader.remembered]
    assert len(names) == MAX_FAILED
    assert names == sorted({"a1", *(each.machine for each in gone)} - {"m0000"})


def test_what_it_writes_is_guarded_by_both_records_and_keeps_the_machine_it_was_on() -> None:
    leader = Leader("1/1h")
    leader.world.put(KEYS.placement(NAME), PastPlacement(NAME, "b2"))
    leader.world.put(
        KEYS.state("a1", NAME),
        UnitState(NAME, "a1", leader.unit.hash, 1, Target.LAUNCHED, active="failed"),
    )
    (intent,) = leader.watch.look(leader.world.mirror, leader.world.state, 0.0, 1000.0)
    guarded = {b64decode(each.body["key"]).decode() for each in intent.guards}
    assert guarded == {KEYS.unit(NAME), KEYS.placement(NAME)}
    past = decode(Address(Table.PLACEMENTS, NAME), written(intent.ops[0]))
    assert isinstance(past, PastPlacement)
    assert (past.machine, past.failed[0].until) == ("b2", 1000.0 + REMEMBERED_S)


def test_a_failure_that_cannot_be_written_down_ends_no_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    leader = Leader("1/10min")

    def fails(_: object) -> bytes:
        raise InvalidRecord("too long")

    monkeypatch.setattr("scheduler.failures.encode", fails)
    leader.reports(0.0, restarts=0)
    leader.reports(1.0, restarts=5)
    assert leader.remembered == []
    monkeypatch.undo()
    leader.reports(2.0, restarts=6)
    assert [machine for machine, _ in leader.remembered] == ["a1"]
