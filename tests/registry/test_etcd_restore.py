"""Clients with users that live through the restoration of a snapshot: their tokens lie in a future that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from registry.errors import RegistryUnavailable
from registry.etcd import Etcd, EtcdSettings, Op
from tests.etcd_server import EtcdServer, etcd_server, kinds
from tests.registry.test_etcd_auth import PASSWORD, logins, secret

pytestmark = pytest.mark.etcd

FUTURE = "abcdefghijklmnop.99999"


@pytest.fixture(params=kinds())
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EtcdServer]:
    with etcd_server(tmp_path / "etcd", request.param, flags=["--bcrypt-cost=4"]) as server:
        server.enable_auth(password="root", user="fleet", user_password=PASSWORD, prefix="/fleet/")
        yield server


def as_fleet(server: EtcdServer, tmp_path: Path, *, timeout_s: float = 1.0) -> EtcdSettings:
    return EtcdSettings(
        server.endpoints,
        username="fleet",
        password_file=secret(tmp_path / "password", PASSWORD),
        request_timeout_s=timeout_s,
    )


def age(client: Etcd) -> None:
    """Give the client a token of a future that this etcd has not reached."""
    login = client._link._login
    login._token = FUTURE
    login._doubt_at.clear()


async def test_no_kind_of_request_stays_deaf_behind_a_token_of_the_future(
    guarded: EtcdServer, tmp_path: Path
) -> None:
    async with Etcd(as_fleet(guarded, tmp_path)) as client:
        start = await client.put("/fleet/k", b"1")
        lease = await client.lease_grant(60)

        age(client)
        assert await client.get("/fleet/k")
        age(client)
        assert (await client.range("/fleet/")).count == 1
        age(client)
        assert await client.lease_keepalive(lease) > 30
        await client.lease_revoke(lease)
        age(client)
        assert await client.lease_grant(10)
        age(client)
        async with aclosing(client.watch("/fleet/", start)) as watch:
            assert (await asyncio.wait_for(anext(watch), 30)).changes[0].key == "/fleet/k"

        age(client)
        with pytest.raises(RegistryUnavailable, match="may have happened"):
            await client.put("/fleet/k", b"2")  # nobody knows of a write, but the next one works
        assert (await client.txn([], [Op.put("/fleet/k", b"3")])).succeeded


async def test_many_requests_held_back_at_once_share_one_login(guarded: EtcdServer, tmp_path: Path) -> None:
    async with Etcd(as_fleet(guarded, tmp_path)) as client:
        await client.put("/fleet/k", b"1")
        before = await asyncio.to_thread(logins, guarded)
        age(client)
        await asyncio.gather(*(client.get("/fleet/k") for _ in range(60)))
        assert await asyncio.to_thread(logins, guarded) == before + 1


async def test_an_etcd_that_is_silent_altogether_is_asked_for_no_login(guarded: EtcdServer, tmp_path: Path) -> None:
    async with Etcd(as_fleet(guarded, tmp_path)) as client:
        await client.put("/fleet/k", b"1")
        before = await asyncio.to_thread(logins, guarded)
        guarded.members[0].freeze()
        with pytest.raises(RegistryUnavailable, match="timed out"):
            await client.get("/fleet/k")
        guarded.members[0].thaw()
        assert await client.get("/fleet/k")
        assert await asyncio.to_thread(logins, guarded) == before


async def test_a_restored_etcd_is_heard_by_whoever_was_connected(guarded: EtcdServer, tmp_path: Path) -> None:
    member, snapshot = guarded.members[0], tmp_path / "snapshot.db"
    async with Etcd(as_fleet(guarded, tmp_path)) as client:
        lease = await client.lease_grant(300)
        await client.put("/fleet/k", b"old", lease)
        await asyncio.to_thread(member.save, snapshot, user="root:root")
        # A restored log begins near nothing: what logs in late in a long one holds a token of its future.
        for number in range(300):
            await client.put("/fleet/busy", str(number).encode())
        await client._link.new_login(guarded.endpoints[0])
        newest = await client.put("/fleet/k", b"new", lease)
        async with aclosing(client.watch("/fleet/", newest)) as watch:
            assert (await anext(watch)).changes[0].kv
            await asyncio.to_thread(guarded.stop)
            await asyncio.to_thread(member.restore, snapshot)
            await guarded.restart()

            found = await client.get("/fleet/k")
            assert found
            assert found.value == b"old"
            assert await client.lease_keepalive(lease) > 100
            assert (await client.txn([], [Op.put("/fleet/k", b"after", lease)])).succeeded
        async with aclosing(client.watch("/fleet/", found.mod_revision)) as watch:
            seen = await asyncio.wait_for(anext(watch), 30)
            assert [change.key for change in seen.changes][:1] == ["/fleet/k"]
