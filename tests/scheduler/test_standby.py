"""A scheduler that does not lead looks at the leader's key alone, and knows everything when it is its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from registry.etcd import Etcd, Op
from registry.keys import Keys, Table
from registry.model import Leader, Target, Unit
from registry.records import encode
from registry.sync.follow import ConnectionState
from registry.sync.history import History
from registry.sync.sentinel import ensure_cluster
from scheduler import standby
from scheduler.standby import StandbyFollower

pytestmark = pytest.mark.etcd

LEADER = encode(Leader("a" * 32, "core-1", 1.0))


@asynccontextmanager
async def following(etcd: Etcd, keys: Keys) -> AsyncIterator[StandbyFollower]:
    await ensure_cluster(etcd, keys, "c" * 32)
    await etcd.put(keys.leader, LEADER, await etcd.lease_grant(60))
    follower = StandbyFollower(etcd, keys, History(keys, pinned=False))
    task = asyncio.create_task(follower.run())
    await follower.next()
    yield follower
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def submit(etcd: Etcd, keys: Keys, count: int, first: int = 0) -> None:
    units = [Unit(f"web@{number}.service", "a" * 64, Target.LAUNCHED, 1) for number in range(first, first + count)]
    await etcd.txn([], [Op.put(keys.unit(unit.name), encode(unit)) for unit in units])


async def until(follower: StandbyFollower, units: int) -> None:
    async with asyncio.timeout(5):
        while follower.mirror.count(Table.UNITS) != units:
            await follower.next()


async def test_while_another_leads_nothing_is_read_until_that_one_is_gone(etcd_client: Etcd, prefix: str) -> None:
    keys = Keys.under(prefix)
    async with following(etcd_client, keys) as follower:
        await submit(etcd_client, keys, 20)
        await asyncio.sleep(0.3)
        assert follower.mirror.count(Table.UNITS) == 0
        await etcd_client.delete(keys.leader)
        await until(follower, 20)
        assert follower.mirror.stamp(keys.leader) is None
        assert follower.link is ConnectionState.LIVE
        await submit(etcd_client, keys, 1, first=20)  # nobody leads: everything is followed
        await until(follower, 21)
        await etcd_client.put(keys.leader, LEADER, await etcd_client.lease_grant(60))
        async with asyncio.timeout(5):
            while follower.mirror.stamp(keys.leader) is None:
                await follower.next()
        await submit(etcd_client, keys, 1, first=21)
        await asyncio.sleep(0.3)
        assert follower.mirror.count(Table.UNITS) == 21


async def test_who_leads_follows_everything(etcd_client: Etcd, prefix: str) -> None:
    keys = Keys.under(prefix)
    async with following(etcd_client, keys) as follower:
        await submit(etcd_client, keys, 5)
        follower.leading.set()
        await until(follower, 5)
        await submit(etcd_client, keys, 5, first=5)
        await until(follower, 10)


async def test_now_and_then_a_standby_catches_up(
    etcd_client: Etcd, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby, "LULL_S", 0.1)
    keys = Keys.under(prefix)
    async with following(etcd_client, keys) as follower:
        for number in range(3):
            await submit(etcd_client, keys, 1, first=number)
            await until(follower, number + 1)
