"""A watch through everything that happens to etcd: no gap, no repeat, and silence is noticed."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from registry.errors import RegistryUnavailable
from registry.etcd import Compacted, Etcd, EtcdSettings, KeyChange, Op, WatchBatch
from tests.etcd_server import SIMULATED, EtcdServer, available_versions, etcd_server, kinds

pytestmark = pytest.mark.etcd


@dataclass
class Seen:
    """What a watch has delivered so far."""

    batches: list[WatchBatch] = field(default_factory=list)
    states: list[tuple[bool, str]] = field(default_factory=list)

    @property
    def changes(self) -> list[KeyChange]:
        return [change for batch in self.batches for change in batch.changes]

    @property
    def values(self) -> list[bytes]:
        return [change.kv.value if change.kv else b"deleted" for change in self.changes]

    @property
    def revisions(self) -> list[int]:
        return [change.mod_revision for change in self.changes]

    @property
    def connected(self) -> bool:
        return not self.states or self.states[-1][0]


@asynccontextmanager
async def watching(client: Etcd, prefix: str, start_revision: int) -> AsyncIterator[Seen]:
    seen = Seen()

    async def follow() -> None:
        async for batch in client.watch(prefix, start_revision, lambda *state: seen.states.append(state)):
            seen.batches.append(batch)

    task = asyncio.create_task(follow(), name="follow")
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object], within_s: float = 40) -> float:
    """Wait for the condition; the seconds it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within_s, "waited in vain"
        await asyncio.sleep(0.02)
    return time.monotonic() - started


async def insist(client: Etcd, key: str, value: bytes, within_s: float = 40) -> int:
    """Write as soon as etcd takes it; the revision of that."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return await client.put(key, value)
        except RegistryUnavailable:
            assert time.monotonic() < deadline, "etcd does not come back"
            await asyncio.sleep(0.1)


class SilentProxy:
    """Stands between client and etcd, and can let the watches under way fall silent without closing them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._mute: list[asyncio.Event] = []
        self._pumps: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def silence(self) -> None:
        for mute in self._mute:
            mute.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mute = asyncio.Event()
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        for coroutine in (self._upward(reader, up_writer, mute), self._downward(up_reader, writer, mute)):
            task = asyncio.create_task(coroutine)
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _upward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mute: asyncio.Event
    ) -> None:
        with closing(writer):
            while data := await reader.read(65536):
                if b"/v3/watch " in data:
                    self._mute.append(mute)
                writer.write(data)

    async def _downward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mute: asyncio.Event
    ) -> None:
        with closing(writer):
            while data := await reader.read(65536):
                if not mute.is_set():
                    writer.write(data)


def settings(server: EtcdServer, timeout_s: float = 2.5) -> EtcdSettings:
    return EtcdSettings(server.endpoints, request_timeout_s=timeout_s)


@pytest.fixture(params=kinds())
def single(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EtcdServer]:
    """A server of its own: these tests kill it."""
    with etcd_server(tmp_path, request.param) as server:
        yield server


@pytest.fixture(scope="module", params=kinds())
def three(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """Three members, shared by the tests below: each mends what it breaks."""
    with etcd_server(tmp_path_factory.mktemp("three"), request.param, members=3) as server:
        yield server


# Waiting for silence takes its time: one version each is enough where etcd's versions do the same.
older = pytest.mark.parametrize("three", [*available_versions()[:1], SIMULATED], indirect=True)
newer = pytest.mark.parametrize("three", [*available_versions()[-1:], SIMULATED], indirect=True)


async def test_history_and_news_come_in_order_each_revision_whole(single: EtcdServer) -> None:
    async with Etcd(settings(single)) as client:
        start = await client.put("/w/0", b"0") + 1
        for i in range(30):
            await client.txn([], [Op.put(f"/w/{i}/{j}", b"x") for j in range(100)])
        async with watching(client, "/w/", start) as seen:
            await until(lambda: len(seen.changes) == 3000)
            await client.put("/x", b"outside")
            await client.delete("/w/0/0")
            await until(lambda: len(seen.changes) == 3001)
        assert [c.key for c in seen.changes[:200:100]] == ["/w/0/0", "/w/1/0"]
        assert seen.changes[-1] == KeyChange("/w/0/0", None, start + 31)
        told = [batch for batch in seen.batches if batch.changes]
        assert [batch.revision for batch in told] == [batch.changes[-1].mod_revision for batch in told]
        assert [a for a, b in pairwise(told) if a.revision >= b.changes[0].mod_revision] == []


@pytest.mark.parametrize("single", available_versions()[-1:], indirect=True)
async def test_the_kernel_asks_whether_the_peer_of_a_watch_is_still_there(single: EtcdServer) -> None:
    port = int(single.endpoints[0].rpartition(":")[2])
    async with Etcd(settings(single)) as client, watching(client, "/w/", await client.put("/w/k", b"1")) as seen:
        await until(lambda: seen.changes)
        options = [_keepalive_of(sock) for sock in _sockets_to(port)]
    assert (1, 3, 1, 2) in options, options  # on; after 3 s, each second, twice


def _sockets_to(port: int) -> Iterator[socket.socket]:
    """This process's connections to a port, as copies of its descriptors."""
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if path.is_socket():
                with socket.socket(fileno=os.dup(int(path.name))) as sock:
                    if sock.family == socket.AF_INET and sock.getpeername()[1] == port:
                        yield sock


def _keepalive_of(sock: socket.socket) -> tuple[int, ...]:
    times = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    asks = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    return (asks, *(sock.getsockopt(socket.IPPROTO_TCP, each) for each in times))


async def test_a_compacted_start_says_where_history_begins(single: EtcdServer) -> None:
    async with Etcd(settings(single)) as client:
        old = await client.put("/w/k", b"1")
        new = await client.put("/w/k", b"2")
        await client.put("/w/k", b"3")
        single.compact(new)
        with pytest.raises(Compacted) as caught:
            await anext(client.watch("/w/", old))
        assert caught.value.compact_revision == new
        async with watching(client, "/w/", new + 1) as seen:
            await until(lambda: seen.values == [b"3"])


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_restarted_server_costs_neither_gap_nor_repeat(single: EtcdServer, end: str) -> None:
    async with Etcd(settings(single)) as client:
        start = await client.put("/w/k", b"0")
        async with watching(client, "/w/", start) as seen:
            await until(lambda: seen.values == [b"0"])
            await asyncio.to_thread(getattr(single, end))
            await until(lambda: not seen.connected)
            await single.restart()
            await insist(client, "/w/k", b"1")
            await insist(client, "/w/k", b"2")
            await until(lambda: seen.values == [b"0", b"1", b"2"])
        assert [connected for connected, _ in seen.states] == [False, True]


async def test_history_compacted_while_cut_off_ends_the_watch_instead_of_leaving_a_gap(single: EtcdServer) -> None:
    async with Etcd(settings(single)) as client:
        start = await client.put("/w/k", b"0")
        watch = client.watch("/w/", start)
        assert (await anext(watch)).changes
        single.kill()
        await single.restart()
        async with Etcd(settings(single)) as other:
            last = [await other.put("/w/k", b"%d" % i) for i in range(1, 6)][-1]
        single.compact(last)
        with pytest.raises(Compacted) as caught:
            await anext(watch)
        assert caught.value.compact_revision == last


async def test_a_server_that_lost_its_history_ends_the_watch(single: EtcdServer) -> None:
    async with Etcd(settings(single)) as client:
        for i in range(20):
            revision = await client.put("/w/k", b"%d" % i)
        watch = client.watch("/w/", revision)
        assert (await anext(watch)).revision == revision
        single.kill()
        single.members[0].wipe()
        await single.restart()
        with pytest.raises(Compacted, match="went back"):
            await asyncio.wait_for(anext(watch), 20)


async def test_a_server_with_another_history_that_is_as_long_ends_the_watch(single: EtcdServer) -> None:
    async with Etcd(settings(single)) as client:
        await client.put("/w/a", b"")
        start = await client.put("/w/b", b"")
        watch = client.watch("/w/", start + 1)
        elsewhere = await client.put("/elsewhere", b"")
        while (await asyncio.wait_for(anext(watch), 20)).revision < elsewhere:
            pass
        single.kill()
        single.members[0].wipe()
        await single.restart()
        await insist(client, "/elsewhere", b"")
        while await client.put("/elsewhere", b"") < elsewhere + 3:
            pass
        with pytest.raises(Compacted, match="another one"):
            await asyncio.wait_for(anext(watch), 40)


async def test_a_quiet_watch_moves_on_with_the_store_so_that_compaction_does_not_catch_it(
    single: EtcdServer,
) -> None:
    async with Etcd(settings(single)) as client:
        start = await client.put("/w/k", b"0")
        async with watching(client, "/w/", start + 1) as seen:
            elsewhere = [await client.put("/elsewhere", b"") for _ in range(5)][-1]
            await until(lambda: seen.batches and seen.batches[-1].revision >= elsewhere, 20)
            assert seen.changes == []
            single.compact(elsewhere)
            await asyncio.to_thread(single.kill)
            await single.restart()
            await insist(client, "/w/k", b"1")
            await until(lambda: seen.values)
            assert set(seen.values) == {b"1"}  # written more often, perhaps,
            assert seen.revisions == sorted(set(seen.revisions))  # and each time brought once


async def test_a_stream_that_died_without_a_word_is_noticed_by_what_it_owes(etcd: EtcdServer, prefix: str) -> None:
    proxy = SilentProxy(etcd.members[0].client_port)
    async with proxy as url, Etcd(EtcdSettings((url,))) as client, Etcd(settings(etcd)) as other:
        for name in "ab":
            start = await other.put(f"{prefix}{name}/k", b"0") + 1
        async with (
            watching(client, f"{prefix}a/", start) as puts,
            watching(client, f"{prefix}b/", start) as deletes,
        ):
            await asyncio.sleep(0.3)
            proxy.silence()
            await other.put(f"{prefix}a/k", b"1")
            await other.delete(f"{prefix}b/k")
            await until(lambda: puts.values == [b"1"] and deletes.values == [b"deleted"], 20)
            await other.put(f"{prefix}a/k", b"2")
            assert await until(lambda: puts.values == [b"1", b"2"]) < 5


@older
async def test_a_frozen_member_is_noticed_and_left(three: EtcdServer) -> None:
    async with Etcd(settings(three)) as client:
        start = await insist(client, "/w0/k", b"0")
        async with watching(client, "/w0/", start) as seen:
            await until(lambda: b"0" in seen.values)  # twice where the first write was late
            frozen = next(m for m in three.members if m.url == client.endpoint)
            frozen.freeze()
            others = EtcdSettings(tuple(m.url for m in three.members if m is not frozen))
            async with Etcd(others) as other:
                await insist(other, "/w0/k", b"1")
            await until(lambda: b"1" in seen.values, 20)
            assert set(seen.values) == {b"0", b"1"}  # written more often, perhaps,
            assert seen.revisions == sorted(set(seen.revisions))  # and each time brought once
            assert client.endpoint != frozen.url
            assert seen.states == []  # another member answered at once: no outage
            assert (await client.get("/w0/k")) is not None
            frozen.thaw()


async def test_a_killed_leader_is_ridden_over(three: EtcdServer) -> None:
    leader = await asyncio.to_thread(three.leader)
    async with Etcd(settings(three)) as client:
        start = await insist(client, "/w0/k", b"0")
        async with watching(client, "/w0/", start) as seen:
            await until(lambda: b"0" in seen.values)  # twice where the first write was late
            await asyncio.to_thread(leader.kill)
            await insist(client, "/w0/k", b"1")
            await until(lambda: b"1" in seen.values)
            assert seen.revisions == sorted(set(seen.revisions))
            await three.restart()


@newer
async def test_a_lost_quorum_is_an_outage_and_ends_when_the_quorum_is_back(three: EtcdServer) -> None:
    async with Etcd(settings(three)) as client:
        start = await insist(client, "/w2/k", b"0")
        async with watching(client, "/w2/", start) as seen:
            await until(lambda: b"0" in seen.values)  # twice where the first write was late
            kept = next(m for m in three.members if m.url == client.endpoint)
            lost = [m for m in three.members if m is not kept]
            for member in lost:
                member.freeze()
            await until(lambda: not seen.connected, 20)
            with pytest.raises(RegistryUnavailable) as caught:
                await client.put("/w2/k", b"never")
            assert all(m.url in str(caught.value) for m in lost) or "may have happened" in str(caught.value)
            assert (await client.get("/w2/k", serializable=True)) is not None
            for member in lost:
                member.thaw()
            await insist(client, "/w2/k", b"1")
            # Not the last one, perhaps: a thawed member may still carry out the write that nobody waits for.
            await until(lambda: seen.connected and b"1" in seen.values)
            assert seen.revisions == sorted(set(seen.revisions))
