"""Keys, transactions, leases and listings against both versions of a real etcd."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from registry.errors import Conflict, LeaseLost, RegistryError, RegistryUnavailable
from registry.etcd import MAX_OPS, Compacted, Compare, Etcd, EtcdSettings, Op
from tests.etcd_server import EtcdServer, available_versions, binary, etcd_server, free_ports, kinds

pytestmark = pytest.mark.etcd


@pytest.fixture(scope="module", params=kinds())
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    with etcd_server(tmp_path_factory.mktemp("etcd"), request.param) as server:
        yield server


@pytest.fixture
async def client(server: EtcdServer) -> AsyncIterator[Etcd]:
    async with Etcd(EtcdSettings(server.endpoints)) as client:
        yield client


async def test_what_is_put_is_read_back(client: Etcd, prefix: str) -> None:
    key = f"{prefix}ü"
    assert await client.get(key) is None
    first = await client.put(key, b"\x00\xff")
    second = await client.put(key, b"")
    kv = await client.get(key, serializable=True)
    assert kv is not None
    assert (kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version) == (key, b"", first, second, 2)
    assert await client.delete(key)
    assert not await client.delete(key)
    assert await client.get(key) is None


async def test_a_guard_that_fails_changes_nothing_and_reads_the_other_branch(client: Etcd, prefix: str) -> None:
    key = f"{prefix}k"
    won = await client.txn([Compare.absent(key)], [Op.put(key, b"1"), Op.get(key)], [Op.get(key)])
    lost = await client.txn([Compare.absent(key)], [Op.put(key, b"2")], [Op.get(key), Op.range(prefix)])
    assert won.succeeded
    assert [kv.value for kv in won.gets[0]] == [b"1"]
    assert not lost.succeeded
    assert [[kv.value for kv in kvs] for kvs in lost.gets] == [[b"1"], [b"1"]]
    assert lost.revision == won.revision


async def test_every_guard_holds_exactly_when_it_should(client: Etcd, prefix: str) -> None:
    key, lease = f"{prefix}k", await client.lease_grant(60)
    created = await client.put(key, b"old")
    written = await client.put(key, b"v", lease)
    expected = [
        (Compare.exists(key), True),
        (Compare.exists(key + "x"), False),
        (Compare.absent(key), False),
        (Compare.mod(key, written), True),
        (Compare.mod(key, created), False),
        (Compare.created(key, created), True),
        (Compare.created(key, written), False),
        (Compare.value(key, b"v"), True),
        (Compare.value(key, b"old"), False),
        (Compare.lease(key, lease), True),
        (Compare.lease(key, 0), False),
        (Compare.unchanged(prefix, written), True),
        (Compare.unchanged(prefix, created), False),
        (Compare.unchanged(f"{prefix}x", 1), True),
    ]
    assert [(await client.txn([guard], [])).succeeded for guard, _ in expected] == [holds for _, holds in expected]
    await client.lease_revoke(lease)


async def test_a_transaction_takes_the_full_number_of_operations(client: Etcd, prefix: str) -> None:
    await client.txn([], [Op.put(f"{prefix}{i:03}", b"") for i in range(MAX_OPS)])
    done = await client.txn([], [Op.delete(f"{prefix}000"), Op.delete_prefix(f"{prefix}1"), Op.range(prefix)])
    assert [kv.key for kv in done.gets[0]] == [f"{prefix}{i:03}" for i in range(1, 100)]


async def test_a_listing_of_ten_thousand_keys_is_one_revision_however_it_is_paged(
    client: Etcd, prefix: str
) -> None:
    keys = [f"{prefix}{i:05}" for i in range(10_000)]
    await asyncio.gather(
        *(client.txn([], [Op.put(k, b"x" * 100) for k in keys[i : i + 100]]) for i in range(0, len(keys), 100))
    )
    await client.put(f"{prefix[:-1]}0", b"behind the prefix")
    before = (await client.range(prefix, keys_only=True)).revision
    listing = asyncio.create_task(client.range(prefix, page=700))
    for i in range(20):
        await client.put(f"{prefix}late-{i}", b"")
    result = await listing
    assert [kv.key for kv in result.kvs if "late" not in kv.key] == keys
    assert max(kv.mod_revision for kv in result.kvs) <= result.revision
    # One revision: exactly the late keys that existed then.
    assert sum("late" in kv.key for kv in result.kvs) == result.revision - before
    assert result.count == len(result.kvs)


async def test_the_largest_unit_file_etcd_takes_comes_back_and_a_larger_one_is_an_error(
    client: Etcd, prefix: str
) -> None:
    await client.put(f"{prefix}big", b"x" * 1_400_000)
    assert len((await client.range(prefix)).kvs[0].value) == 1_400_000
    with pytest.raises(RegistryError, match="too large"):
        await client.put(f"{prefix}big", b"x" * 1_700_000)


async def test_a_listing_in_compacted_history_says_so(client: Etcd, server: EtcdServer, prefix: str) -> None:
    old = await client.put(f"{prefix}k", b"1")
    new = await client.put(f"{prefix}k", b"2")
    server.compact(new)
    with pytest.raises(Compacted):
        await client.range(prefix, revision=old)
    assert (await client.range(prefix)).kvs[0].value == b"2"


async def test_a_lease_lives_while_it_is_renewed_and_takes_its_keys_along(client: Etcd, prefix: str) -> None:
    lease = await client.lease_grant(2)
    await client.put(f"{prefix}k", b"", lease)
    for _ in range(5):
        await asyncio.sleep(0.5)
        assert 1 <= await client.lease_keepalive(lease) <= 2
    assert await client.lease_time_to_live(lease) <= 2
    assert await client.get(f"{prefix}k") is not None
    deadline = time.monotonic() + 8
    while await client.get(f"{prefix}k") is not None:
        assert time.monotonic() < deadline, "the key outlives its lease"
        await asyncio.sleep(0.1)
    with pytest.raises(LeaseLost):
        await client.lease_keepalive(lease)
    with pytest.raises(LeaseLost):
        await client.lease_time_to_live(lease)
    with pytest.raises(LeaseLost):
        await client.put(f"{prefix}k", b"", lease)
    await client.lease_revoke(lease)


async def test_a_lease_of_a_number_that_exists_is_a_conflict(client: Etcd) -> None:
    assert await client.lease_grant(60, 4711) == 4711
    with pytest.raises(Conflict):
        await client.lease_grant(60, 4711)
    await client.lease_revoke(4711)


async def test_more_calls_than_connections_all_come_through(client: Etcd, prefix: str) -> None:
    revisions = await asyncio.gather(*(client.put(f"{prefix}{i}", b"") for i in range(300)))
    assert len(set(revisions)) == 300


async def test_a_server_tells_about_itself(client: Etcd, server: EtcdServer) -> None:
    status = await client.status()
    if server.version in available_versions():
        assert f"etcd Version: {status.version}\n" in await _of_itself(server)
    assert status.endpoint == client.endpoint == server.endpoints[0]
    assert status.member == status.leader != 0
    assert status.db_size_bytes > 0
    assert [(m.client_urls, m.learner) for m in await client.member_list()] == [(server.endpoints, False)]


async def _of_itself(server: EtcdServer) -> str:
    program = binary(server.version)
    assert program is not None
    asked = await asyncio.create_subprocess_exec(program, "--version", stdout=asyncio.subprocess.PIPE)
    return (await asked.communicate())[0].decode()


async def test_a_dead_endpoint_is_passed_over(server: EtcdServer, prefix: str) -> None:
    dead = f"http://127.0.0.1:{free_ports(1)[0]}"
    for _ in range(4):  # the first endpoint is drawn by lot
        async with Etcd(EtcdSettings((dead, *server.endpoints))) as client:
            await client.put(f"{prefix}k", b"")
            assert client.endpoint == server.endpoints[0]


async def test_nobody_at_home_is_said_quickly_and_with_the_reason() -> None:
    dead = f"http://127.0.0.1:{free_ports(1)[0]}"
    started = time.monotonic()
    async with Etcd(EtcdSettings((dead, "http://name.invalid:1"))) as client:
        with pytest.raises(RegistryUnavailable) as caught:
            await client.put("k", b"")
    assert f"{dead} (connection refused)" in str(caught.value)
    assert "host name name.invalid is unknown" in str(caught.value)
    assert "may have happened" not in str(caught.value)
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("server", available_versions(), indirect=True)
async def test_somebody_else_at_the_endpoint_is_told_from_etcd(server: EtcdServer) -> None:
    metrics = f"http://127.0.0.1:{server.members[0].health_port}"
    async with Etcd(EtcdSettings((metrics,))) as client:
        with pytest.raises(RegistryUnavailable, match=r"HTTP 404 .*not an etcd"):
            await client.get("k")


async def test_a_closed_client_opens_nothing_again(server: EtcdServer) -> None:
    async with Etcd(EtcdSettings(server.endpoints)) as client:
        watch = client.watch("/", 1)
        now = (await client.range("/nothing/")).revision
        waiting = asyncio.create_task(anext(client.watch("/nothing/", now + 1)))
        await asyncio.sleep(0.1)
    with pytest.raises(RegistryError, match="closed"):
        await client.get("k")
    with pytest.raises(RegistryError, match="closed"):
        await anext(watch)
    with pytest.raises(RegistryError, match="closed"):
        await asyncio.wait_for(waiting, 15)


async def test_a_database_that_is_full_says_what_to_do(tmp_path: Path) -> None:
    async def fill(client: Etcd) -> None:
        for i in range(200):
            await client.put(f"k{i}", b"x" * 100_000)
            await asyncio.sleep(0.02)  # the quota looks at what has been written through

    with EtcdServer(tmp_path, flags=["--quota-backend-bytes=1000000"]) as server:
        async with Etcd(EtcdSettings(server.endpoints)) as client:
            with pytest.raises(RegistryUnavailable, match="compact and defragment") as caught:
                await fill(client)
    assert "may have happened" not in str(caught.value)


@pytest.mark.parametrize("version", kinds())
async def test_a_write_to_a_silent_server_is_left_open_and_a_read_is_not(version: str, tmp_path: Path) -> None:
    with etcd_server(tmp_path, version) as server:
        async with Etcd(EtcdSettings(server.endpoints, request_timeout_s=0.5)) as client:
            await client.put("k", b"1")
            server.members[0].freeze()
            with pytest.raises(RegistryUnavailable, match=r"\(timed out\); the change may have happened"):
                await client.put("k", b"2")
            with pytest.raises(RegistryUnavailable, match=r"\(timed out\)$"):
                await client.get("k")
        server.members[0].thaw()
        async with Etcd(EtcdSettings(server.endpoints)) as client:  # a patient one: a thawed server has much to do
            kv = await client.get("k")
            assert kv is not None
            assert kv.version <= 2  # sent once, whatever became of it


def test_nothing_heavy_is_imported_before_the_first_call() -> None:
    code = "import sys, registry.etcd; print({'aiohttp', 'etcd3', 'requests'} & set(sys.modules) or 'light')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "light\n"
