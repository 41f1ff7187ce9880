"""The publisher against a real etcd: the last write lands, claims are guarded, strays go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from agentd.publisher import Publisher
from agentd.pure.plan import DesiredState
from registry.errors import LeaseLost
from registry.etcd import Etcd
from registry.keys import Keys
from registry.model import Assignment, Target, UnitState
from registry.records import encode
from tests.door import door

pytestmark = pytest.mark.etcd

MACHINE = "1" * 32


def state(unit: str, main_pid: int = 1) -> UnitState:
    return UnitState(unit, MACHINE, "a" * 64, 1, main_pid=main_pid)


async def eventually(ask: Callable[[], Awaitable[object]], expected: object) -> None:
    async with asyncio.timeout(5):
        while await ask() != expected:  # noqa: ASYNC110 - somebody else's registry tells nobody
            await asyncio.sleep(0.01)


@dataclass
class Bench:
    """A publisher, what it is to publish, and the registry it writes to."""

    etcd: Etcd
    keys: Keys
    wanted: dict[str, UnitState] = field(default_factory=dict)
    passing: set[str] = field(default_factory=set)  # units whose state is a step on the way to another one

    def __post_init__(self) -> None:
        self.publisher = Publisher(
            self.etcd, self.keys, MACHINE, self.wanted.get, is_passing=self.passing.__contains__
        )

    async def schedule(self, unit: str, generation: int = 1) -> DesiredState:
        line = Assignment(unit, MACHINE, "a" * 64, Target.LAUNCHED, generation)
        revision = await self.etcd.put(self.keys.schedule(MACHINE, unit), encode(line))
        return DesiredState(unit, line.hash, line.target, generation, revision, revision)

    async def claim(self, desired: DesiredState) -> bool:
        def granted(_lease: int) -> None:
            self.wanted[desired.unit] = state(desired.unit)

        return await self.publisher.claim(desired, state(desired.unit), granted)

    async def states(self) -> dict[str, int]:
        """The main pid of each state in the registry."""
        prefix = self.keys.state(MACHINE)
        kvs = (await self.etcd.range(prefix)).kvs
        return {kv.key.removeprefix(prefix): json.loads(kv.value)["main_pid"] for kv in kvs}

    async def becomes(self, expected: dict[str, int]) -> None:
        await eventually(self.states, expected)


@pytest.fixture
async def bench(etcd_client: Etcd, prefix: str) -> Bench:
    return Bench(etcd_client, Keys.under(prefix))


@asynccontextmanager
async def publishing(bench: Bench, ttl_s: int = 60) -> AsyncIterator[int]:
    lease = await bench.etcd.lease_grant(ttl_s)
    await bench.publisher.resume(lease, bench.wanted)
    task = asyncio.create_task(bench.publisher.run())
    yield lease
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_change_is_there_within_100_ms(bench: Bench) -> None:
    async with publishing(bench):
        bench.wanted["a.service"] = state("a.service")
        began = asyncio.get_running_loop().time()
        bench.publisher.mark_dirty(["a.service"])
        await bench.becomes({"a.service": 1})
        assert asyncio.get_running_loop().time() - began < 0.1


async def test_of_many_changes_the_last_one_lands(bench: Bench) -> None:
    async with publishing(bench):
        for number in range(1, 400):
            bench.wanted["a.service"] = state("a.service", number)
            bench.publisher.mark_dirty(["a.service"])
            await asyncio.sleep(0.0005)
        await bench.becomes({"a.service": 399})
        kv = await bench.etcd.get(bench.keys.state(MACHINE, "a.service"))
        assert kv
        assert kv.version < 40  # and not each one


async def test_what_did_not_change_is_not_written(bench: Bench) -> None:
    bench.wanted["a.service"] = state("a.service")
    async with publishing(bench):
        await bench.becomes({"a.service": 1})
        bench.publisher.mark_dirty(["a.service"])
        await asyncio.sleep(0.15)
        kv = await bench.etcd.get(bench.keys.state(MACHINE, "a.service"))
        assert kv
        assert kv.version == 1


async def test_a_step_on_the_way_waits_for_the_state_after_it_and_is_not_written(bench: Bench) -> None:
    async with publishing(bench):
        bench.passing.add("a.service")
        for unit in ("a.service", "b.service"):
            bench.wanted[unit] = state(unit)
            bench.publisher.mark_dirty([unit])
        await bench.becomes({"b.service": 1})  # nobody waits for the step
        bench.passing.clear()
        bench.wanted["a.service"] = state("a.service", 2)
        bench.publisher.mark_dirty(["a.service"])
        await bench.becomes({"a.service": 2, "b.service": 1})
        kv = await bench.etcd.get(bench.keys.state(MACHINE, "a.service"))
        assert kv
        assert kv.version == 1


async def test_what_was_told_in_between_is_written_though_a_step_follows(bench: Bench) -> None:
    bench.wanted["a.service"] = state("a.service")
    async with publishing(bench):
        bench.wanted["a.service"] = state("a.service", 2)  # it has been down
        bench.publisher.mark_dirty(["a.service"])
        bench.passing.add("a.service")
        bench.publisher.mark_dirty(["a.service"])
        await bench.becomes({"a.service": 2})
        kv = await bench.etcd.get(bench.keys.state(MACHINE, "a.service"))
        assert kv
        assert kv.version == 2


async def test_a_step_that_lasts_is_written(bench: Bench) -> None:
    async with publishing(bench):
        bench.passing.add("a.service")
        bench.wanted["a.service"] = state("a.service")
        bench.publisher.mark_dirty(["a.service"])
        await bench.becomes({"a.service": 1})


async def test_states_hang_on_the_lease(bench: Bench) -> None:
    bench.wanted["a.service"] = state("a.service")
    async with publishing(bench) as lease:
        await bench.etcd.lease_revoke(lease)
        assert await bench.states() == {}


async def test_a_claim_is_granted_while_its_line_is_unchanged(bench: Bench) -> None:
    async with publishing(bench):
        desired = await bench.schedule("a.service")
        assert await bench.claim(desired)
        assert await bench.states() == {"a.service": 1}


async def test_a_claim_on_a_line_that_changed_is_refused_and_harms_no_other(bench: Bench) -> None:
    async with publishing(bench):
        desired_states = [await bench.schedule(f"{number}.service") for number in range(150)]
        await bench.schedule("3.service", generation=2)
        await bench.etcd.delete(bench.keys.schedule(MACHINE, "99.service"))
        granted = await asyncio.gather(*map(bench.claim, desired_states))
        assert [number for number, good in enumerate(granted) if not good] == [3, 99]
        assert set(await bench.states()) == {f"{n}.service" for n in range(150)} - {"3.service", "99.service"}


async def test_a_claim_given_up_under_way_still_tells_its_owner_or_leaves_nothing(bench: Bench) -> None:
    async with publishing(bench):
        desired = await bench.schedule("a.service")
        for delay_s in (0, 0.002, 0.004, 0.006, 0.01):
            claim = asyncio.create_task(bench.claim(desired))
            await asyncio.sleep(delay_s)
            claim.cancel()
            await asyncio.sleep(0.1)
            assert await bench.states() == dict.fromkeys(bench.wanted, 1)


async def test_forgetting_waits_until_the_key_is_gone(bench: Bench) -> None:
    bench.wanted["a.service"] = state("a.service")
    async with publishing(bench):
        del bench.wanted["a.service"]
        await bench.publisher.forget("a.service")
        assert await bench.states() == {}
        await bench.publisher.forget("never-there.service")


async def test_nothing_is_written_without_a_lease_and_all_of_it_with_the_next(bench: Bench) -> None:
    bench.wanted["a.service"] = state("a.service")
    async with publishing(bench) as lease:
        await bench.etcd.lease_revoke(lease)
        bench.wanted["a.service"] = state("a.service", 2)
        bench.publisher.mark_dirty(["a.service"])
        await asyncio.sleep(0.2)
        assert await bench.states() == {}
        kept = await bench.publisher.resume(await bench.etcd.lease_grant(60), bench.wanted)
        assert kept == frozenset()
        assert await bench.states() == {"a.service": 2}


async def test_what_was_asked_for_without_a_lease_is_granted_and_told_with_the_next(bench: Bench) -> None:
    bench.wanted["a.service"] = state("a.service")
    async with publishing(bench) as lease:
        await bench.etcd.lease_revoke(lease)
        claim = asyncio.create_task(bench.claim(await bench.schedule("b.service")))
        bench.publisher.record_event("fail", unit="a.service", reason="exit code 1")
        await asyncio.sleep(0.2)
        assert not claim.done()
        await bench.publisher.resume(await bench.etcd.lease_grant(60), bench.wanted)
        async with asyncio.timeout(5):
            assert await claim
        assert await bench.states() == {"a.service": 1, "b.service": 1}
        events = (await bench.etcd.range(f"{bench.keys.prefix}events/")).kvs
        assert [json.loads(each.value)["verb"] for each in events] == ["fail"]


async def test_states_of_an_earlier_life_are_kept_or_cleared(bench: Bench) -> None:
    lease = await bench.etcd.lease_grant(60)
    for unit in ("mine.service", "stray.service"):
        await bench.etcd.put(bench.keys.state(MACHINE, unit), encode(state(unit)), lease)
    bench.wanted["mine.service"] = state("mine.service")
    kept = await bench.publisher.resume(lease, bench.wanted)
    assert "mine.service" in kept
    assert await bench.states() == {"mine.service": 1}


async def test_somebody_else_s_hand_in_our_states_is_mended(bench: Bench) -> None:
    bench.wanted["a.service"] = state("a.service")
    async with publishing(bench):
        await bench.becomes({"a.service": 1})
        await bench.etcd.delete(bench.keys.state(MACHINE, "a.service"))
        bench.wanted["a.service"] = state("a.service", 2)
        bench.publisher.mark_dirty(["a.service"])
        await bench.becomes({"a.service": 2})
        await bench.etcd.put(bench.keys.state(MACHINE, "a.service"), encode(state("a.service", 77)))
        bench.publisher.recheck()
        await bench.becomes({"a.service": 2})


async def test_resuming_on_a_dead_lease_says_so(bench: Bench) -> None:
    bench.wanted["a.service"] = state("a.service")
    with pytest.raises(LeaseLost):
        await bench.publisher.resume(12345, bench.wanted)


async def test_events_are_written_with_the_states(bench: Bench) -> None:
    async with publishing(bench):
        bench.publisher.record_event("fail", unit="a.service", reason="exit code 1")
        await asyncio.sleep(0.2)
        found = (await bench.etcd.range(f"{bench.keys.prefix}events/")).kvs
        event = json.loads(found[0].value)
        assert (event["verb"], event["unit"], event["reason"]) == ("fail", "a.service", "exit code 1")
        assert found[0].lease == 0


async def test_500_states_land_soon(bench: Bench) -> None:
    async with publishing(bench):
        units = [f"{number}.service" for number in range(500)]
        bench.wanted.update({unit: replace(state(unit), since=1.0) for unit in units})
        bench.publisher.mark_dirty(units)
        await bench.becomes(dict.fromkeys(units, 1))


@pytest.mark.parametrize("at", range(1, 7))
async def test_a_lease_lost_at_any_await_leaves_no_state_without_one(
    etcd_client: Etcd, prefix: str, at: int
) -> None:
    keys = Keys.under(prefix)

    async def lose() -> None:
        own.publisher.suspend()

    lease = await etcd_client.lease_grant(60)
    own = Bench(door(etcd_client, at, lose), keys)
    own.wanted["a.service"] = state("a.service")
    own.publisher.recheck()
    await own.publisher.resume(lease, own.wanted)
    task = asyncio.create_task(own.publisher.run())
    desired = await own.schedule("b.service")
    claim = asyncio.create_task(own.claim(desired))
    for number in range(2, 6):
        own.wanted["a.service"] = state("a.service", number)
        own.publisher.recheck()
        own.publisher.mark_dirty(["a.service"])
        await asyncio.sleep(0.05)
    for each in (claim, task):
        each.cancel()
    await asyncio.gather(claim, task, return_exceptions=True)
    found = (await etcd_client.range(keys.state(MACHINE))).kvs
    assert {kv.lease for kv in found} <= {lease}


async def test_a_state_without_a_lease_is_put_under_ours(bench: Bench) -> None:
    bench.wanted["a.service"] = state("a.service")
    async with publishing(bench) as lease:
        key = bench.keys.state(MACHINE, "a.service")
        await bench.etcd.put(key, encode(state("a.service")))
        bench.publisher.recheck()

        async def under() -> int:
            kv = await bench.etcd.get(key)
            return kv.lease if kv else 0

        await eventually(under, lease)
