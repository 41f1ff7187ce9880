"""What the judge of the simulated fleet takes for a violation, and what not, in stories too small to be played."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from tests.simulation.judge import UNLEASED_S, Judge, Standing
from tests.simulation.loop import Program
from tests.simulation.promptness import PROMPT, Promptness
from tests.simulation.rollouts import ALLOWED, AT_REST, Rollouts
from tests.simulation.store import Happened, Version
from tests.simulation.systemd import Behaviour

LEADER = Program("scheduler-1", Random(1), "core-1")


class Units(SimpleNamespace):
    """What systemd of a machine has in its memory."""

    def known(self, unit: str) -> Any:
        return self.units.get(unit)


class Court:
    """A world of four machines that is told what happens; records stand in it as they are, unparsed."""

    def __init__(self) -> None:
        self.time = 100.0
        self.found: list[str] = []
        hosts = {
            f"core-{number}": SimpleNamespace(
                id=str(number),
                name=f"core-{number}",
                systemd=Units(units={}, jammed=False, answers_since=0.0),
            )
            for number in range(1, 5)
        }
        self.live: dict[bytes, Version] = {}
        store = SimpleNamespace(live=self.live)
        self.judge: Any = SimpleNamespace(
            now=lambda: self.time,
            wrong=lambda invariant, _text: self.found.append(invariant),
            silence="", is_held=lambda: False, excused=lambda _machine: False,
            leader_since=0.0, quiet_since=0.0, changed_at=0.0,
            running={f"sleep{number}.service": {"core-1": 0.0} for number in (1, 2)},
            lines={}, versions={}, standing={name: Standing() for name in hosts},
            more=SimpleNamespace(troubled={}),
            fleet=SimpleNamespace(
                host=hosts.__getitem__,
                by_id={each.id: each for each in hosts.values()},
                etcd=SimpleNamespace(store=store),
            ),
        )  # fmt: skip

    def put(self, key: str, record: Any) -> Happened:
        """Write a record, or None to delete it."""
        name = f"/fleet/{key}".encode()
        before, now = self.live.get(name), Version(name, record, 1, 1, 1, 0, {}, "")
        self.live[name] = now
        return Happened(now, before)


def parsed(value: Any) -> dict[str, Any]:
    return value or {}


@pytest.fixture
def court() -> Court:
    return Court()


@pytest.mark.parametrize(("state", "found"), [("finished", []), ("aborted", []), ("running", [AT_REST])])
def test_a_rollout_that_is_over_may_be_collected_and_no_other(court: Court, state: str, found: list[str]) -> None:
    rollouts = Rollouts(court.judge, parsed)
    steps = [{"unit": "sleep1.service", "old": "a", "new": "b"}]
    rollouts.changed("operator", [court.put("rollouts/r1", {"state": state, "steps": steps})], 100.0)
    rollouts.changed("scheduler-1", [court.put("rollouts/r1", None)], 100.0)
    assert court.found == found


@pytest.mark.parametrize(("runs_on", "found"), [("core-2", []), ("core-1", [ALLOWED])])
def test_what_has_left_a_machine_is_up_elsewhere_whatever_its_file(
    court: Court, runs_on: str, found: list[str]
) -> None:
    rollouts = Rollouts(court.judge, parsed)
    units = "sleep1.service", "sleep2.service"
    steps = [
        {"unit": unit, "old": "a", "new": "a", "group": group, "leaves": "1"} for group, unit in enumerate(units)
    ]
    record = {"steps": steps, "at_a_time": 1, "healthy_for_s": 1.0}
    rollouts.changed("operator", [court.put("rollouts/r1", record)], 100.0)
    changed_since = {"hash": "b", "target": "launched", "by": "rollout r1"}
    rollouts.changed("scheduler-1", [court.put(f"units/{units[0]}", changed_since)], 100.0)
    court.judge.versions[runs_on, units[0]] = "b"
    rollouts.started(runs_on, units[0])
    court.time += 2.0
    turn = {"hash": "a", "target": "launched", "by": "rollout r1"}
    rollouts.changed("scheduler-1", [court.put(f"units/{units[1]}", turn)], court.time)
    assert court.found[:1] == found


@pytest.mark.parametrize(("first", "found"), [("odd.container", []), ("sleep1.service", [ALLOWED])])
def test_what_a_machine_refuses_is_not_on_its_way_for_ever(court: Court, first: str, found: list[str]) -> None:
    rollouts = Rollouts(court.judge, parsed)
    court.judge.running["odd.container"] = {}
    units = first, "sleep2.service"
    steps = [{"unit": unit, "old": "a", "new": "b", "group": group} for group, unit in enumerate(units)]
    record = {"steps": steps, "at_a_time": 1, "healthy_for_s": 1.0}
    rollouts.changed("operator", [court.put("rollouts/r1", record)], 100.0)
    turn = {"hash": "b", "target": "launched", "by": "rollout r1"}
    for unit in units:
        rollouts.changed("scheduler-1", [court.put(f"units/{unit}", turn)], court.time)
        court.time += 2.0
    assert court.found[:1] == found


@pytest.mark.parametrize(
    ("after_s", "may_fail", "found"),
    [(2.0, 1, [ALLOWED]), (5.0, 1, []), (5.0, 0, []), (20.0, 1, []), (20.0, 0, [ALLOWED])],
)
def test_what_passes_no_health_check_is_on_its_way_and_has_failed_then(
    court: Court, after_s: float, may_fail: int, found: list[str]
) -> None:
    rollouts = Rollouts(court.judge, parsed)
    units = "sleep1.service", "sleep2.service"
    steps = [{"unit": unit, "old": "a", "new": "b", "group": group} for group, unit in enumerate(units)]
    record = {"steps": steps, "at_a_time": 1, "healthy_for_s": 1.0, "max_failures": may_fail}
    rollouts.changed("operator", [court.put("rollouts/r1", record)], 100.0)
    turn = {"hash": "b", "target": "launched", "by": "rollout r1"}
    rollouts.changed("scheduler-1", [court.put(f"units/{units[0]}", turn)], 100.0)
    sick = SimpleNamespace(behaviour=Behaviour(sick=True))
    court.judge.fleet.host("core-1").systemd.units[units[0]] = sick
    court.judge.versions["core-1", units[0]] = "b"
    rollouts.started("core-1", units[0])
    court.time += after_s
    rollouts.changed("scheduler-1", [court.put(f"units/{units[1]}", turn)], court.time)
    assert court.found[:1] == found


@pytest.mark.parametrize(
    ("systemd", "found"),
    [
        ({}, [ALLOWED]),
        ({"jammed": True}, []),
        ({"answers_since": 197.0}, []),
        ({"answers_since": 190.0}, [ALLOWED]),
        ({"units": {"well1.service": SimpleNamespace(behaviour=Behaviour(sick=True))}}, []),
    ],
)
def test_what_is_not_well_takes_nothing_down_by_its_turn(
    court: Court, systemd: dict[str, object], found: list[str]
) -> None:
    rollouts = Rollouts(court.judge, parsed)
    vars(court.judge.fleet.host("core-1").systemd).update(systemd)
    court.judge.running = {"well1.service": {"core-1": 0.0}, "well2.service": {}}
    court.put("units/well2.service", {"target": "launched"})
    steps = [{"unit": f"well{each}.service", "old": "a", "new": "b", "group": each} for each in (1, 2)]
    rollouts.changed("operator", [court.put("rollouts/r1", {"steps": steps, "at_a_time": 1})], 100.0)
    rollouts.ended("core-2", "well2.service", off=False)
    court.time = 200.0
    turn = {"hash": "b", "target": "launched", "by": "rollout r1"}
    rollouts.changed("scheduler-1", [court.put("units/well1.service", turn)], court.time)
    assert court.found[:1] == found


def test_a_machine_that_came_back_counts_once_beside_one_that_is_lost_after_it(court: Court) -> None:
    promptness = Promptness(court.judge, parsed)
    promptness.link(LEADER, up=True)
    court.time = 200.0
    promptness.vanished("core-4", ["core-1", "core-2", "core-3"], leaving=False)
    court.time = 203.0  # core-4 is back
    promptness.vanished("core-3", ["core-1", "core-2", "core-4"], leaving=False)
    court.judge.standing["core-3"].away_since = court.time
    court.judge.lines["3/sleep1.service"] = {}
    court.put("units/sleep1.service", {"target": "launched"})
    court.time = 206.0
    promptness.look(LEADER)
    assert court.found == []  # half of all, for which a leader waits
    court.time = 213.0
    promptness.look(LEADER)
    assert court.found == [PROMPT]


@pytest.mark.parametrize(("stood_still", "found"), [([], [PROMPT]), ([(200.0, 211.0)], [])])
def test_a_leader_that_stood_still_counts_losses_from_when_it_hears_of_them(
    court: Court, stood_still: list[tuple[float, float]], found: list[str]
) -> None:
    leader = Program("scheduler-1", Random(1), "core-1", stood_still=stood_still)
    promptness = Promptness(court.judge, parsed)
    promptness.link(leader, up=True)
    for court.time, machine in ((203.0, "core-4"), (210.0, "core-3"), (217.0, "core-2")):
        promptness.vanished(machine, ["core-1", "core-2"], leaving=False)
    court.judge.standing["core-3"].away_since = 210.0
    court.judge.lines["3/sleep1.service"] = {}
    court.put("units/sleep1.service", {"target": "launched"})
    court.time = 219.0
    promptness.look(leader)
    assert court.found == found
    court.time = 226.0
    promptness.look(leader)
    assert court.found[:1] == [PROMPT]  # and no longer


def test_a_second_short_outage_takes_no_time_away_that_the_first_has_given(court: Court) -> None:
    promptness = Promptness(court.judge, parsed)
    promptness.link(LEADER, up=True)
    for court.time, up in ((200.0, False), (220.0, True), (220.1, False), (220.2, True)):
        promptness.link(LEADER, up=up)
    court.judge.standing["core-3"].away_since = 200.0
    court.judge.lines["3/sleep1.service"] = {}
    court.put("units/sleep1.service", {"target": "launched"})
    court.time = 240.0
    promptness.look(LEADER)
    assert court.found == []
    court.time = 250.0
    promptness.look(LEADER)
    assert court.found == [PROMPT]


def test_the_end_of_an_outage_ends_no_other_excuse() -> None:
    judge = Judge(lambda: 100.0, lambda _who, _text: None)
    judge.unleased()
    judge.outage(begins=True)
    judge.outage(begins=False)
    assert judge.promptness.settled_at == 100.0 + UNLEASED_S
