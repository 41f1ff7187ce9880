"""What garbage collection takes, and what it never does."""

from __future__ import annotations

from dataclasses import replace

from registry.etcd import KeyValue
from registry.model import Availability, Rollout, RolloutState, RolloutStep, UnitState, UnitText
from registry.records import encode
from registry.units.file import file_hash
from scheduler.absence import ABSENCE_S, Absence
from scheduler.collect import (
    CRASHES_KEPT,
    CRASHES_OF_MACHINE,
    CRASHES_OF_UNIT,
    EVENTS_AGE_S,
    EVENTS_KEPT,
    ROLLOUTS_KEPT,
    Garbage,
    garbage,
    ghost_usage,
    old_crashes,
    old_events,
    old_rollouts,
)
from tests.placement.world import CORRUPT, KEYS, World, machine


def keys_of(world: World, *long_gone: str) -> set[str]:
    return {each.key for each in garbage(world.snapshot, KEYS, world.mirror.stamp, long_gone)}


def with_stray_file() -> tuple[World, str]:
    world = World(machine("a1"), machine("b2"))
    key = KEYS.file(file_hash("stray"))
    world.put(key, UnitText(file_hash("stray"), "stray"))
    return world, key


def test_only_files_that_nothing_names_go() -> None:
    world, stray = with_stray_file()
    old = world.unit("u.service", note="old")
    world.settle()
    world.unit("u.service", note="new")
    assert keys_of(world) == {stray}, "the old file is still scheduled and reported"
    world.settle()
    assert keys_of(world) == {stray, KEYS.file(old.hash)}


def test_rollouts_that_are_over_go_when_they_are_old_or_many_and_the_newest_stay() -> None:
    world, day = World(machine("a1")), 24 * 3600.0

    def names(*rollouts: Rollout) -> list[str]:
        for key in [key for key in world.values if "/rollouts/" in key]:
            world.delete(key)
        for each in rollouts:
            world.put(KEYS.rollout(each.name), each)
        return sorted(old_rollouts(world.snapshot, 100 * day))

    def over(number: int, at: float, steps: int = 1) -> Rollout:
        step = RolloutStep("a.service", "0" * 64, "1" * 64, 1)
        return Rollout(f"r{number:03}", (step,) * steps, RolloutState.FINISHED, at=at)

    old = [over(number, number * day) for number in range(15)]
    assert names(*old) == [f"r{number:03}" for number in range(5)]
    assert names(*(replace(each, state=RolloutState.PAUSED) for each in old)) == []
    new = [over(number, 99 * day + number) for number in range(ROLLOUTS_KEPT + 3)]
    assert names(*new) == ["r000", "r001", "r002"]
    large = [over(number, 99 * day + number, steps=1000) for number in range(14)]
    assert names(*large) == ["r000", "r001", "r002", "r003"]


def test_the_file_that_a_global_unit_has_on_some_machine_stays() -> None:
    world, stray = with_stray_file()
    unit = world.unit("u.service", "Global=true")
    world.put(KEYS.unit(unit.name), unit.with_versions({"a1": (file_hash("stray"), 2)}))
    assert stray not in keys_of(world)


def test_what_a_line_names_beside_its_unit_stays_though_it_was_destroyed() -> None:
    world, _ = with_stray_file()
    world.unit("u.service")
    world.settle()
    (key, line), *_ = world.snapshot.schedule.items()
    world.put(KEYS.schedule(*key), replace(line, beside=(("data.volume", file_hash("stray")),)))
    assert keys_of(world) == set()


def test_a_file_in_some_history_stays() -> None:
    world, stray = with_stray_file()
    unit = world.unit("u.service")
    world.put(KEYS.unit("u.service"), type(unit)(unit.name, unit.hash, unit.target, 1, (file_hash("stray"),)))
    assert stray not in keys_of(world)


def test_no_file_goes_while_a_record_that_may_name_it_does_not_parse() -> None:
    world, _ = with_stray_file()
    world.put(KEYS.unit("u.service"), CORRUPT)
    assert keys_of(world) == set()


def test_garbage_is_guarded_by_what_was_seen() -> None:
    world, stray = with_stray_file()
    stamp = world.mirror.stamp(stray)
    assert stamp is not None
    assert [each.mod_revision for each in garbage(world.snapshot, KEYS, world.mirror.stamp, ())] == [
        stamp.mod_revision
    ]


def test_states_without_a_lease_of_machines_that_are_gone_go() -> None:
    world = World(machine("a1"))
    for where in ("a1", "gone"):
        world.put(KEYS.state(where, "u.service"), encode(UnitState("u.service", where, "0" * 64, 1)))
    assert keys_of(world) == {KEYS.state("gone", "u.service")}


def test_a_state_of_a_machine_that_is_gone_goes_though_it_does_not_parse() -> None:
    world = World(machine("a1"))
    for where in ("a1", "garbled", "gone"):
        world.put(KEYS.state(where, "u.service"), CORRUPT)
    world.put(KEYS.machine("garbled"), CORRUPT)
    assert keys_of(world) == {KEYS.state("gone", "u.service")}, "nobody else would ever remove it"


def test_usage_without_a_lease_of_machines_that_are_gone_goes() -> None:
    world = World(machine("a1"))
    world.put(KEYS.machine("garbled"), CORRUPT)
    listed = [KeyValue(KEYS.usage(each), b"", 1, 7, 1, 0) for each in ("a1", "garbled", "gone")]
    listed.append(KeyValue(KEYS.usage("leased"), b"", 1, 7, 1, 99))
    assert ghost_usage(listed, world.snapshot, KEYS) == [Garbage(KEYS.usage("gone"), 7)]


def test_lines_on_machines_long_gone_go_if_the_unit_runs_elsewhere() -> None:
    world = World(machine("a1"), machine("b2"))
    world.unit("g.service", "Global=true")
    world.unit("u.service", "MachineID=b2")
    world.settle()
    world.set("a1", Availability.READY)
    world.lose("b2")
    world.settle()
    assert keys_of(world) == set()
    assert keys_of(world, "b2") == {KEYS.schedule("b2", "g.service")}


def test_a_machine_is_long_gone_when_it_was_away_at_every_look() -> None:
    world = World(machine("a1"))
    world.unit("u.service")
    world.settle()
    absences = Absence()
    assert absences.long_gone(world.snapshot, 0.0) == set()
    world.lose("a1")
    assert absences.long_gone(world.snapshot, 100.0) == set()
    assert absences.long_gone(world.snapshot, 100.0 + ABSENCE_S) == {"a1"}
    world.put(KEYS.machine("a1"), machine("a1"))
    assert absences.long_gone(world.snapshot, 900.0) == set()


def test_old_events_and_too_many_go() -> None:
    now = 2_000_000_000.0
    fresh = [KEYS.event("a", f"{int(now * 1000) - number:013d}-aaaaaaaa") for number in range(EVENTS_KEPT + 5)]
    assert old_events(fresh, now) == sorted(fresh)[:5]
    aged = KEYS.event("b", f"{int((now - EVENTS_AGE_S - 1) * 1000):013d}-bbbbbbbb")
    future = KEYS.event("b", "9999999999999-bbbbbbbb")
    older_version = KEYS.event("b", f"{int((now - EVENTS_AGE_S - 1) * 1000):013d}-cccccccc").replace("/b/", "/")
    assert set(old_events([aged, fresh[0], future, older_version], now)) == {aged, future, older_version}


def test_who_writes_many_events_writes_none_of_the_others_away() -> None:
    now = 2_000_000_000.0

    def by(writer: str, count: int, ago_s: float) -> list[str]:
        first = int((now - ago_s) * 1000)
        return [KEYS.event(writer, f"{first + number:013d}-aaaaaaaa") for number in range(count)]

    loud, quiet, busy = by("loud", EVENTS_KEPT * 2, 1000.0), by("quiet", 10, 5000.0), by("busy", 2000, 4000.0)
    gone = old_events([*loud, *quiet, *busy], now)
    assert set(gone) <= set(loud)
    assert len(loud) + len(quiet) + len(busy) - len(gone) == EVENTS_KEPT
    assert gone == loud[: len(gone)], "its oldest"


def test_of_the_lines_of_units_that_failed_the_newest_stay_a_few_of_each_unit_and_machine() -> None:
    now = 2_000_000_000.0

    def crashes(machine: str, unit: str, count: int, ago_s: float = 0.0) -> list[str]:
        first = int((now - ago_s) * 1000)
        return [KEYS.crash(machine, f"{first - number:013d}-{unit}") for number in range(count)]

    def old(*groups: list[str]) -> list[str]:
        return sorted(old_crashes([key for group in groups for key in group], KEYS, now))

    loop = crashes("m1", "loop.service", CRASHES_OF_UNIT + 3)
    assert old(loop, crashes("m2", "loop.service", 1), crashes("m1", "other.service", 1)) == sorted(
        loop[CRASHES_OF_UNIT:]
    )
    units = [crashes("m1", f"u{number}.service", 1)[0] for number in range(CRASHES_OF_MACHINE + 7)]
    assert len(old(units, crashes("m2", "a.service", 1, ago_s=60))) == 7, "it takes nobody else's away"
    assert len(old([crashes(f"m{number}", "a.service", 1)[0] for number in range(CRASHES_KEPT + 7)])) == 7
    aged, ahead = (crashes("m1", "a.service", 1, ago_s)[0] for ago_s in (EVENTS_AGE_S + 1, -EVENTS_AGE_S))
    assert old([aged, ahead], loop[:1]) == sorted([aged, ahead])
