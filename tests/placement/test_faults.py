"""An error that nobody foresaw in one unit's decision is that unit's alone (invariant 8)."""

from __future__ import annotations

import asyncio
import logging

import pytest

from placement.cluster_state import ClusterState, Faults
from placement.decide import decide_around
from placement.decisions import Assign, Decision, Wait
from placement.options_cache import OptionsError, UnitOptionsCache
from placement.pending_reasons import PendingReasons
from placement.placement import Placement
from registry.etcd import Etcd
from registry.keys import Keys
from registry.model import Availability, Target, Unit
from registry.program import config
from scheduler import service
from scheduler.commit import Audit, intents
from tests.placement.world import World, machine

KEYS = Keys()


def decided(world: World) -> tuple[Decision, ...]:
    def again(faults: Faults) -> ClusterState:
        return ClusterState.from_snapshot(world.snapshot, KEYS, faults)

    return decide_around(again({}), again)


@pytest.fixture(params=["_settle", "_place", "of"])
def failing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Somewhere on the way a decision on bad.service fails."""
    owner = PendingReasons if request.param == "of" else Placement
    whole = getattr(owner, request.param)

    def step(self: object, entry: object) -> object:
        if getattr(entry, "name", "") == "bad.service":
            raise ZeroDivisionError("nobody foresaw this")
        return whole(self, entry)

    monkeypatch.setattr(owner, request.param, step)
    return str(request.param)


@pytest.mark.usefixtures("failing")
def test_a_unit_whose_decision_fails_waits_with_that_reason_and_the_others_go_on() -> None:
    world = World(machine("m1"))
    world.unit("bad.service")
    world.unit("good.service")
    found = {each.unit: each for each in decided(world)}
    assert isinstance(found["good.service"], Assign)
    assert isinstance(found["bad.service"], Wait)
    assert "internal error of the scheduler, ZeroDivisionError" in found["bad.service"].pending.summary
    world.carry_out(found.values())
    assert decided(world) == ()  # and it is said once


def test_a_running_unit_whose_decision_fails_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(machine("m1"), machine("m2"))
    world.unit("bad.service")
    world.unit("good.service")
    world.settle()
    at = world.where("bad.service")
    settle = Placement._settle

    def step(self: Placement, entry: object) -> None:
        if getattr(entry, "name", "") == "bad.service":
            raise ZeroDivisionError
        settle(self, entry)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Placement, "_settle", step)
        world.set(at[0], Availability.DRAINING)
        world.carry_out(decided(world))
        assert world.where("bad.service") == at
    world.settle()
    assert world.where("bad.service") != at


def test_a_unit_file_that_no_parser_foresaw_is_trouble_of_its_units(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RecursionError("too deep")

    library = UnitOptionsCache()
    library.put("0" * 64, "[Service]\n")
    monkeypatch.setattr("placement.options_cache.parse", fail)
    found = library.options("a.service", "0" * 64)
    assert isinstance(found, OptionsError)
    assert "internal error RecursionError: too deep" in found.reason


def test_a_decision_that_cannot_be_written_is_left_out_and_the_others_are_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(machine("m1"))
    world.unit("a.service")
    world.unit("b.service")
    one, other = (each for each in decided(world) if isinstance(each, Assign))
    broken = Assign(one.line.__class__("a.service", "m1\ud800", one.line.hash, Target.LAUNCHED, 1))
    numbers = iter(range(9))
    audit = Audit("h", lambda: (1.0, f"e{next(numbers)}"))
    with caplog.at_level(logging.ERROR):
        found = intents([broken, other], KEYS, lambda _: 1, audit)
    assert len(found) == 1
    assert "cannot carry out a decision on a.service" in caplog.text


def test_a_reason_is_bounded_however_long_the_unit_file_makes_it() -> None:
    world = World(*(machine(f"m{number}", zone=f"z{number}") for number in range(300)))
    wish = world.unit("a.service", f"MachineMetadata=zone={'x' * 100_000}")
    assert isinstance(wish, Unit)
    (told,) = (each for each in decided(world) if isinstance(each, Wait))
    assert len(told.pending.summary) <= 1000
    world.carry_out([told])
    assert decided(world) == ()


def test_a_target_of_another_version_leaves_the_unit_exactly_where_it_is() -> None:
    world = World(machine("m1"), machine("m2"))
    wish = world.unit("a.service")
    world.settle()
    at, line = world.where("a.service"), world.snapshot.schedule
    world.put(KEYS.unit("a.service"), f'{{"hash":"{wish.hash}","target":"paused"}}'.encode())
    world.lose(at[0])
    assert world.decide() == ()
    assert dict(world.snapshot.schedule) == dict(line)


def test_what_another_version_allows_on_a_machine_lets_stay_what_runs_and_takes_nothing_new() -> None:
    world = World(machine("m1"))
    world.unit("a.service")
    world.settle()
    world.put(KEYS.override("m1"), b'{"availability":"hibernating"}')
    world.unit("b.service")
    world.settle()
    assert world.where("a.service") == ("m1",)
    assert world.where("b.service") == ()
    assert "its override is corrupt" in world.waits("b.service")


def test_what_another_version_put_into_a_schedule_line_stays_when_it_is_written_again() -> None:
    world = World(machine("m1"))
    world.unit("a.service")
    world.settle()
    key = KEYS.schedule("m1", "a.service")
    world.put(key, world.values[key].replace(b"{", b'{"later":[1],', 1))
    world.unit("a.service", note="another text")
    world.settle()
    assert b'"later":[1]' in world.values[key]


@pytest.mark.etcd
async def test_an_error_that_is_no_units_ends_no_scheduler(
    etcd_client: Etcd, prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr(service, "decide_around", fail)
    settings = config.load(None, {"FLEET_ETCD_PREFIX": prefix}, ())
    work = asyncio.create_task(service.Scheduler(etcd_client, settings, "core-1").run())
    try:
        async with asyncio.timeout(30):
            while "ZeroDivisionError: nobody foresaw this" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
                await asyncio.sleep(0.05)
        for number in range(3):
            await etcd_client.put(f"{Keys.under(prefix).prefix}units/u{number}.service", b"{")
            await asyncio.sleep(0.2)
        assert not work.done()
        assert caplog.text.count("nobody foresaw this") == 1
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
