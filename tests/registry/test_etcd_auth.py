"""Users, passwords and rights against a real etcd with authentication on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from registry.errors import RegistryDenied, UserError
from registry.etcd import Etcd, EtcdSettings, Op, WatchBatch
from tests.etcd_server import EtcdServer, etcd_server, kinds

pytestmark = pytest.mark.etcd

PASSWORD = "geheim-und-lang"


@pytest.fixture(scope="module", params=kinds())
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """A server where the user `fleet` may use /fleet/ only."""
    directory = tmp_path_factory.mktemp("guarded")
    with etcd_server(directory, request.param, flags=["--bcrypt-cost=4"]) as server:
        server.enable_auth(password="root", user="fleet", user_password=PASSWORD, prefix="/fleet/")
        yield server


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    return secret(tmp_path / "password", f"{PASSWORD}\n")


def secret(path: Path, text: str) -> str:
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)


def logins(server: EtcdServer) -> int:
    """How often etcd has been asked for a token since it started."""
    return server.logins()


def as_fleet(server: EtcdServer, password_file: str | None) -> EtcdSettings:
    return EtcdSettings(server.endpoints, username="fleet", password_file=password_file)


async def test_many_calls_share_one_login(guarded: EtcdServer, password_file: str) -> None:
    before = await asyncio.to_thread(logins, guarded)
    async with Etcd(as_fleet(guarded, password_file)) as client:
        await asyncio.gather(*(client.put(f"/fleet/{i}", b"") for i in range(50)))
        assert (await client.range("/fleet/")).count == 50
    assert await asyncio.to_thread(logins, guarded) == before + 1


async def test_a_token_that_died_with_its_server_is_renewed(guarded: EtcdServer, password_file: str) -> None:
    async with Etcd(as_fleet(guarded, password_file)) as client:
        start = await client.put("/fleet/k", b"1")
        async with aclosing(client.watch("/fleet/k", start)) as watch:
            assert (await anext(watch)).revision == start
            await asyncio.to_thread(guarded.stop)
            await guarded.restart()
            lease = await client.lease_grant(30)
            done = await client.txn([], [Op.put("/fleet/k", b"2", lease)])
            assert await client.lease_keepalive(lease) > 20
            batch = await asyncio.wait_for(anext(watch), 20)
            while not batch.changes:
                batch = await asyncio.wait_for(anext(watch), 20)
            assert (batch.revision, batch.changes[0].kv and batch.changes[0].kv.value) == (done.revision, b"2")
            await client.lease_revoke(lease)
    assert await asyncio.to_thread(logins, guarded) <= 2


async def test_a_watch_alone_outlives_the_token_that_died_with_its_server(
    guarded: EtcdServer, password_file: str
) -> None:
    async with Etcd(as_fleet(guarded, password_file)) as client, Etcd(as_fleet(guarded, password_file)) as other:
        start = await client.put("/fleet/w", b"1")
        async with aclosing(client.watch("/fleet/w", start)) as watch:
            assert (await anext(watch)).revision == start
            await asyncio.to_thread(guarded.kill)
            await guarded.restart()
            waiting = asyncio.create_task(_change(watch))  # no other call of this client fetches a token for it
            await asyncio.sleep(1)
            revision = await other.put("/fleet/w", b"2")
            assert await asyncio.wait_for(waiting, 30) == revision


async def _change(watch: AsyncGenerator[WatchBatch, None]) -> int:
    while not (batch := await anext(watch)).changes:
        pass
    return batch.revision


async def test_what_the_role_does_not_allow_is_denied(guarded: EtcdServer, password_file: str) -> None:
    async with Etcd(as_fleet(guarded, password_file)) as client:
        with pytest.raises(RegistryDenied, match="permission denied"):
            await client.get("/other")
        with pytest.raises(RegistryDenied, match="permission denied"):
            await client.txn([], [Op.put("/other", b"")])
        with pytest.raises(RegistryDenied, match="permission denied"):
            await asyncio.wait_for(anext(client.watch("/other", 1)), 15)


async def test_a_wrong_password_is_denied_without_telling_it(guarded: EtcdServer, tmp_path: Path) -> None:
    secret(tmp_path / "wrong", "falsch-und-lang")
    async with Etcd(as_fleet(guarded, str(tmp_path / "wrong"))) as client:
        with pytest.raises(RegistryDenied, match=r"etcd\.password_file") as caught:
            await client.get("/fleet/k")
        assert "falsch" not in str(caught.value)
        with pytest.raises(RegistryDenied, match=r"etcd\.password_file"):
            await asyncio.wait_for(anext(client.watch("/fleet/", 1)), 15)


async def test_many_calls_with_a_wrong_password_do_not_hammer(guarded: EtcdServer, tmp_path: Path) -> None:
    secret(tmp_path / "wrong", "falsch-und-lang")
    before = await asyncio.to_thread(logins, guarded)
    async with Etcd(as_fleet(guarded, str(tmp_path / "wrong"))) as client:
        results = await asyncio.gather(*(client.get(f"/fleet/{i}") for i in range(25)), return_exceptions=True)
        assert {type(result) for result in results} == {RegistryDenied}
    # One, and a few more for calls that started after the first denial: far from one each.
    assert await asyncio.to_thread(logins, guarded) <= before + 5


async def test_no_user_at_all_is_told_what_to_set(guarded: EtcdServer) -> None:
    async with Etcd(EtcdSettings(guarded.endpoints)) as client:
        with pytest.raises(RegistryDenied, match=r"set etcd\.username"):
            await client.put("/fleet/k", b"")


@pytest.mark.parametrize("path", [None, "/nonexistent/password"])
async def test_a_password_file_that_is_not_there_is_named(guarded: EtcdServer, path: str | None) -> None:
    async with Etcd(as_fleet(guarded, path)) as client:
        with pytest.raises(UserError, match=path or "without etcd.password_file"):
            await client.get("/fleet/k")


async def test_a_user_does_no_harm_where_etcd_asks_for_none(
    either: EtcdServer, password_file: str, prefix: str
) -> None:
    async with Etcd(as_fleet(either, password_file)) as client:
        await client.put(f"{prefix}first", b"")
        before = await asyncio.to_thread(logins, either)
        await asyncio.gather(*(client.put(f"{prefix}{i}", b"") for i in range(20)))
    assert await asyncio.to_thread(logins, either) == before
