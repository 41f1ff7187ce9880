"""The door to etcd for commands that run alone, under the tests of the other one, watches included."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Generator
from math import inf

import pytest

from registry.etcd import Etcd, EtcdSettings, Op
from registry.etcd.blocking import BlockingTransport
from registry.etcd.cluster import EtcdCluster
from registry.runtime import waits
from tests.etcd_server import EtcdServer
from tests.registry import test_etcd, test_etcd_auth, test_etcd_tls, test_etcd_watch

pytestmark = pytest.mark.etcd

for module in (test_etcd, test_etcd_auth, test_etcd_tls, test_etcd_watch):
    for name, found in vars(module).items():
        test = name.startswith("test_") and callable(found)
        if test or type(found).__name__.startswith("FixtureFunction"):
            globals().setdefault(name, found)


@pytest.fixture(autouse=True)
def door(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients that tests make use this door, inside a loop, too."""

    async def blocking(cluster: EtcdCluster) -> BlockingTransport:
        return BlockingTransport(cluster._settings)

    alone = waits.readable

    async def readable(descriptor: int, within_s: float = inf, *, or_writable: bool = False) -> None:
        if waits.is_alone():
            return await alone(descriptor, within_s, or_writable=or_writable)
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        add, remove = (
            (loop.add_writer, loop.remove_writer) if or_writable else (loop.add_reader, loop.remove_reader)
        )
        add(descriptor, lambda: None if ready.done() else ready.set_result(None))
        try:
            async with asyncio.timeout(None if within_s == inf else within_s):
                await ready
        finally:
            remove(descriptor)

    monkeypatch.setattr(EtcdCluster, "_open", blocking)
    monkeypatch.setattr(waits, "readable", readable)


def test_a_coroutine_runs_alone_without_asyncio(etcd: EtcdServer, prefix: str) -> None:
    """As a command does, in a program of its own: neither asyncio, aiohttp nor ssl is loaded."""
    script = f"""
import sys
from registry.runtime import waits
from registry.etcd import Etcd, EtcdSettings
async def work():
    async with Etcd(EtcdSettings({etcd.endpoints!r})) as client:
        await client.put({prefix!r} + "k", b"1")
        return (await client.get({prefix!r} + "k")).value
assert waits.run_alone(work()) == b"1"
print(*sorted({{"asyncio", "aiohttp", "ssl", "logging"}} & sys.modules.keys()))
"""
    import subprocess

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_what_would_wait_for_a_loop_is_an_error_and_no_hang() -> None:
    async def never() -> None:
        await _Suspends()

    with pytest.raises(RuntimeError, match="waited for an event loop"):
        waits.run_alone(never())
    assert not waits.is_alone()


class _Suspends:
    def __await__(self) -> Generator[None]:
        yield


def test_alone_calls_go_side_by_side(etcd: EtcdServer, prefix: str) -> None:
    async def work() -> list[int]:
        async with Etcd(EtcdSettings(etcd.endpoints)) as client, waits.timeout(30):
            return await waits.gather(*(client.put(f"{prefix}{each}", b"") for each in "abc"))

    revisions = waits.run_alone(work())
    assert len(set(revisions)) == 3
    assert waits.seconds_left() == inf


async def test_many_operations_of_one_transaction_come_back_in_order(etcd: EtcdServer, prefix: str) -> None:
    async with Etcd(EtcdSettings(etcd.endpoints)) as client:
        await client.txn([], [Op.put(f"{prefix}{each:03}", b"x" * 10_000) for each in range(100)])
        found = await client.range(prefix, page=7)
    assert [kv.key for kv in found.kvs] == [f"{prefix}{each:03}" for each in range(100)]
