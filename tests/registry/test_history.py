"""Invariant 15 at the registry: an older history is known by restores of real snapshots, and by nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import ForeignRegistry, HistoryWentBack
from registry.etcd import Compare, Etcd, EtcdSettings, Op
from registry.keys import Keys, Table
from registry.model import Machine, Sentinel
from registry.records import decode, encode
from registry.sync.follow import ConnectionState, Follower
from registry.sync.history import ActedOn, History, read_seen, write_seen
from registry.sync.sentinel import ensure_cluster, read_cluster
from tests.etcd_server import EtcdServer, etcd_server, kinds

KEYS = Keys()
LINE = KEYS.schedule("m", "a.service")


@pytest.fixture(params=kinds())
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EtcdServer]:
    with etcd_server(tmp_path / "etcd", request.param) as running:
        yield running


@asynccontextmanager
async def client(server: EtcdServer, member: int | None = None) -> AsyncIterator[Etcd]:
    endpoints = server.endpoints if member is None else (server.members[member].url,)
    async with Etcd(EtcdSettings(endpoints)) as etcd:
        yield etcd


async def restored(server: EtcdServer, backup: Path) -> None:
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.members[0].restore, backup)
    await server.restart()


async def accept(etcd: Etcd) -> int:
    """Accept the history as an operator does; returns the new epoch."""
    found = await read_cluster(etcd, KEYS)
    assert found
    await etcd.put(KEYS.cluster, encode(replace(found, held="", epoch=found.epoch + 1)))
    return found.epoch + 1


async def acted(etcd: Etcd, history: History, *, exists: bool = True) -> None:
    """Write (or delete) a line as the newest thing that was acted on."""
    await etcd.txn([], [Op.put(LINE, b"{}") if exists else Op.delete(LINE)])
    revision = (await etcd.range(KEYS.cluster)).revision
    history.act(revision, LINE, exists=exists)


async def reaches(follower: Follower, link: ConnectionState) -> None:
    while follower.link is not link:
        await follower.next()


@pytest.mark.etcd
async def test_what_is_written_while_the_registry_is_asked_is_no_newer_history(
    server: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client(server) as etcd:
        await ensure_cluster(etcd, KEYS, "c1")
        history = History(KEYS)
        await history.check(etcd)
        await acted(etcd, history)
        asked, range_ = [0], etcd.range

        async def slow(key: str, *, revision: int = 0) -> object:
            answer = await range_(key, revision=revision)
            asked[0] += 1
            if asked[0] == 1:
                await etcd.txn([], [Op.put(LINE, b"{}")])  # by another task of this program, meanwhile
                history.act(answer.revision + 1, LINE)
            return answer

        monkeypatch.setattr(etcd, "range", slow)
        await history.check(etcd)
        assert asked[0] > 0
        assert not history.held


@pytest.mark.etcd
async def test_an_answer_from_before_an_acceptance_that_comes_after_it_holds_nothing(
    server: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client(server) as etcd:
        await ensure_cluster(etcd, KEYS, "one")
        await etcd.put(KEYS.cluster, encode(Sentinel("one", held="it is older")))
        history = History(KEYS)
        with pytest.raises(HistoryWentBack):
            await history.check(etcd)
        asked, txn = [0], etcd.txn

        async def slow(compares: list[Compare], success: list[Op]) -> object:
            answer = await txn(compares, success)
            asked[0] += 1
            if asked[0] == 1:
                await accept(etcd)
                await history.check(etcd)  # by another task of this program, which is answered sooner
            return answer

        monkeypatch.setattr(etcd, "txn", slow)
        for _ in range(2):
            await history.check(etcd)
        assert asked[0] > 1
        assert not history.held
        found = await read_cluster(etcd, KEYS)
        assert found
        assert not found.held


@pytest.mark.etcd
async def test_a_restored_backup_is_held_over_restarts_until_its_epoch_is_raised(
    server: EtcdServer, tmp_path: Path
) -> None:
    told: list[str] = []
    async with client(server) as etcd:
        await ensure_cluster(etcd, KEYS, "one")
        history = History(KEYS, told=told.append)
        await history.check(etcd)
        server.members[0].save(tmp_path / "backup")
        await acted(etcd, history)
        await history.check(etcd)
        await restored(server, tmp_path / "backup")
        for _ in range(2):
            with pytest.raises(HistoryWentBack, match="fleetctl restore"):
                await history.check(etcd)
        assert len(told) == 1
        with pytest.raises(HistoryWentBack):  # restarted
            await History(KEYS, ActedOn.of(asdict(history.seen))).check(etcd)
        with pytest.raises(HistoryWentBack):  # one that remembers nothing: the sentinel is marked
            await History(KEYS).check(etcd)
        epoch = await accept(etcd)
        await history.check(etcd)
        assert (history.held, told[1:], history.seen.epoch) == ("", [""], epoch)


@pytest.mark.etcd
async def test_who_was_away_while_another_history_was_accepted_is_told_of_it(
    server: EtcdServer, tmp_path: Path
) -> None:
    told: list[str] = []
    async with client(server) as etcd:
        await ensure_cluster(etcd, KEYS, "one")
        history = History(KEYS, told=told.append)
        await history.check(etcd)
        server.members[0].save(tmp_path / "backup")
        await acted(etcd, history)
        await history.check(etcd)
        assert not told
        await restored(server, tmp_path / "backup")
        await accept(etcd)
        await history.check(etcd)
        assert told == [""]
        await history.check(etcd)
        assert told == [""]


@pytest.mark.etcd
@pytest.mark.parametrize("exists", [True, False])
async def test_a_history_that_has_caught_up_is_known_by_what_it_says_of_the_past(
    server: EtcdServer, tmp_path: Path, *, exists: bool
) -> None:
    async with client(server) as etcd:
        await ensure_cluster(etcd, KEYS, "one")
        await etcd.put(LINE, b"{}")
        history = History(KEYS)
        await history.check(etcd)
        server.members[0].save(tmp_path / "backup")
        await acted(etcd, history, exists=exists)
        await restored(server, tmp_path / "backup")
        for number in range(20):
            await etcd.put(KEYS.unit(f"{number}.service"), b"{}")
        with pytest.raises(HistoryWentBack, match="not as it was acted on"):
            await history.check(etcd)


@pytest.mark.etcd
async def test_an_epoch_from_before_the_accepted_one_is_held(server: EtcdServer) -> None:
    async with client(server) as etcd:
        await ensure_cluster(etcd, KEYS, "one")
        history = History(KEYS, ActedOn("one", epoch=7))
        with pytest.raises(HistoryWentBack, match="epoch 7"):
            await history.check(etcd)


@pytest.mark.etcd
@pytest.mark.parametrize("far", [2**63 - 1, 2_000_000_000_000])
async def test_an_epoch_ahead_of_every_clock_is_adopted_by_nobody_and_can_be_reset(
    server: EtcdServer, far: int
) -> None:
    told: list[str] = []
    now = 1_700_000_000.0
    async with client(server) as etcd:
        await etcd.put(KEYS.cluster, encode(Sentinel("one", epoch=5)))
        history = History(KEYS, told=told.append, clock=lambda: now)
        await history.check(etcd)
        before = history.seen
        wrong = encode(Sentinel("one", epoch=far))
        await etcd.put(KEYS.cluster, wrong)
        for each in (history, History(KEYS, clock=lambda: now), History(KEYS, pinned=False, clock=lambda: now)):
            with pytest.raises(ForeignRegistry, match="fleetctl restore --accept"):
                await each.check(etcd)
        assert (history.seen, told) == (before, [])
        found = await etcd.get(KEYS.cluster)
        assert found
        assert found.value == wrong  # a clock that is wrong marks nothing
        await etcd.put(KEYS.cluster, encode(Sentinel("one", epoch=int(now * 1000))))
        await history.check(etcd)
        assert (history.seen.epoch, told) == (int(now * 1000), [""])


@pytest.mark.etcd
async def test_an_epoch_that_is_known_needs_no_clock(server: EtcdServer) -> None:
    async with client(server) as etcd:
        await etcd.put(KEYS.cluster, encode(Sentinel("one", epoch=1_700_000_000_000)))
        history = History(KEYS, ActedOn("one", epoch=1_700_000_000_000), clock=lambda: 0.0)  # just booted
        await history.check(etcd)


@pytest.mark.etcd
async def test_compaction_a_restart_and_another_cluster_s_registry_hold_nothing(server: EtcdServer) -> None:
    async with client(server) as etcd:
        await ensure_cluster(etcd, KEYS, "one")
        history = History(KEYS)
        await history.check(etcd)
        await acted(etcd, history)
        await etcd.put(LINE, b"{ }")
        server.compact((await etcd.range(LINE)).revision)
        await history.check(etcd)
        await asyncio.to_thread(server.kill)
        await server.restart()
        await history.check(etcd)
        await etcd.put(KEYS.cluster, encode(Sentinel("two")))
        await history.check(etcd)  # foreign: for others to say
        assert (history.held, history.seen.cluster_id) == ("", "one")
        unpinned = History(KEYS, replace(history.seen, revision=10**9), pinned=False)
        await unpinned.check(etcd)
        assert (unpinned.held, unpinned.seen.cluster_id) == ("", "two")


@pytest.mark.etcd
@pytest.mark.parametrize("kind", kinds())
async def test_a_member_that_lags_behind_is_no_older_history(tmp_path: Path, kind: str) -> None:
    with etcd_server(tmp_path / "etcd", kind, members=3) as three:
        leader = three.members.index(three.leader())
        late = (leader + 1) % 3
        async with client(three, leader) as etcd, client(three, late) as behind:
            await ensure_cluster(etcd, KEYS, "one")
            history = History(KEYS)
            await history.check(behind)
            three.members[late].freeze()
            for number in range(50):
                await etcd.put(LINE, str(number).encode())
            await acted(etcd, history)
            three.members[late].thaw()
            await history.check(behind)
            assert not history.held


@pytest.mark.etcd
async def test_a_follower_with_a_history_shows_nothing_older_and_goes_on_once_it_is_accepted(
    server: EtcdServer, tmp_path: Path
) -> None:
    async with client(server) as etcd:
        await ensure_cluster(etcd, KEYS, "one")
        server.members[0].save(tmp_path / "backup")
        await etcd.put(KEYS.machine("m1"), encode(Machine("m1", "core-1", "10.0.0.1", "boot")))
        follower = Follower(etcd, KEYS, history=History(KEYS))
        task = asyncio.create_task(follower.run())
        async with asyncio.timeout(30):
            while "m1" not in follower.mirror.snapshot().machines:
                await follower.next()
            await restored(server, tmp_path / "backup")
            await reaches(follower, ConnectionState.HELD)
            assert "m1" in follower.mirror.snapshot().machines
            await etcd.put(KEYS.cluster, encode(Sentinel("one", epoch=1)))
            await reaches(follower, ConnectionState.LIVE)
            assert "m1" not in follower.mirror.snapshot().machines
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.etcd
async def test_a_follower_that_noticed_nothing_goes_by_what_is_written_in_the_sentinel_at_once(
    server: EtcdServer,
) -> None:
    async with client(server) as etcd:
        await ensure_cluster(etcd, KEYS, "one")
        history = History(KEYS)
        follower = Follower(etcd, KEYS, history=history)

        async def proves_alive(machine: str) -> None:
            await etcd.put(KEYS.machine(machine), encode(Machine(machine, "core-1", "10.0.0.1", "boot")))
            while machine not in follower.mirror.snapshot().machines:
                await follower.next()

        task = asyncio.create_task(follower.run())
        async with asyncio.timeout(30):
            await reaches(follower, ConnectionState.LIVE)
            await proves_alive("m1")
            await etcd.put(KEYS.cluster, encode(Sentinel("one", epoch=1)))
            while history.epoch != ("one", 1):
                await follower.next()
            await proves_alive("m2")
            await etcd.put(KEYS.cluster, encode(Sentinel("one", epoch=1, held="it is at revision 7")))
            await reaches(follower, ConnectionState.HELD)
            assert history.held == "it is at revision 7"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_what_was_seen_survives_its_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "history.json"
    assert read_seen(path) == ActedOn()
    seen = ActedOn("one", 3, 99, "/fleet/x", 98, exists=False, held="because")
    write_seen(path, seen)
    assert read_seen(path) == seen
    path.write_text("[" * 100_000)
    assert read_seen(path) == ActedOn()
    write_seen(tmp_path / "missing" / "history.json", seen)
    assert "cannot write" in caplog.text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(json_values | st.fixed_dictionaries({}, optional=dict.fromkeys(asdict(ActedOn()), json_values)))
def test_any_file_is_some_history_or_none(value: object) -> None:
    seen = ActedOn.of(value)
    assert all(type(each) is type(getattr(ActedOn(), name)) for name, each in asdict(seen).items())
    assert ActedOn.of(asdict(seen)) == seen


def test_the_sentinel_s_mark_survives_its_encoding() -> None:
    marked = Sentinel("one", epoch=1_800_000_000_000, held="it is at revision 3, and 9 was acted on")
    address = KEYS.parse(KEYS.cluster)
    assert address
    assert address.table is Table.CLUSTER
    assert decode(address, encode(marked)) == marked
