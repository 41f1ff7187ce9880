"""Reading tables in pieces from a real etcd: one revision, every key once, and the loop goes on meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from registry.errors import RegistryUnavailable
from registry.etcd import Etcd, EtcdSettings, Op
from registry.keys import Keys, Table
from registry.mirror import RawChange, Snapshot
from registry.model import Target, Unit
from registry.records import encode
from registry.runtime import waits
from registry.sync.listing import read_prefix, read_snapshot
from tests.etcd_server import EtcdServer

pytestmark = pytest.mark.etcd

COUNT = 3500  # more than a piece and more than a first page


async def fill(client: Etcd, keys: Keys) -> None:
    names = [f"u{number:05}.service" for number in range(COUNT)]
    for start in range(0, COUNT, 100):
        puts = [
            Op.put(keys.unit(name), encode(Unit(name, "0" * 64, Target.LAUNCHED))) for name in names[start:][:100]
        ]
        await client.txn([], puts)


async def test_pieces_are_one_listing_as_of_one_revision(etcd_client: Etcd, prefix: str) -> None:
    keys = Keys.under(prefix)
    await fill(etcd_client, keys)
    found: list[str] = []
    pieces = 0

    def take(changes: object) -> None:
        nonlocal pieces
        pieces += 1
        found.extend(change.key for change in changes if isinstance(change, RawChange))  # type: ignore[attr-defined]

    revision = await read_prefix(etcd_client, keys.table(Table.UNITS), 0, take, page=1500)
    assert pieces > 2
    assert found == sorted(set(found))
    assert len(found) == COUNT
    await etcd_client.delete(keys.unit("u00000.service"))
    again: list[str] = []
    await read_prefix(
        etcd_client, keys.table(Table.UNITS), revision, lambda changes: again.extend(c.key for c in changes)
    )
    assert again == found


async def test_others_run_while_a_large_table_is_read(etcd_client: Etcd, prefix: str) -> None:
    keys = Keys.under(prefix)
    await fill(etcd_client, keys)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count(), name="count")
    snapshot = await read_snapshot(etcd_client, keys, [Table.UNITS])
    counting.cancel()
    assert len(snapshot.units) == COUNT
    assert turns > 3


@pytest.mark.parametrize("busy", [False, True])
def test_alone_a_listing_is_whole_where_one_exchange_is_not_enough(
    etcd: EtcdServer, prefix: str, monkeypatch: pytest.MonkeyPatch, *, busy: bool
) -> None:
    """More than a page of one table, none of another; or a server that cannot answer for all of them in time."""

    async def late(*_: object) -> None:
        raise RegistryUnavailable("timed out")

    async def work() -> Snapshot:
        async with Etcd(EtcdSettings(etcd.endpoints)) as client:
            await fill(client, keys)
            if busy:
                monkeypatch.setattr(client, "glance", late)
            return await read_snapshot(client, keys, [Table.PENDING, Table.UNITS, Table.SCHEDULE])

    keys = Keys.under(prefix)
    snapshot = waits.run_alone(work())
    assert list(snapshot.units) == [f"u{number:05}.service" for number in range(COUNT)]
    assert (snapshot.pending, snapshot.schedule) == ({}, {})
    assert snapshot.revision
