"""The scheduler's program against a real etcd: election, failover, fencing, an emptied registry."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from registry.errors import Conflict, LeadershipLost
from registry.etcd import Compare, Etcd, EtcdSettings, Op
from registry.keys import Keys, Table
from registry.model import Leader, Machine, Target, Unit
from registry.records import encode
from registry.sync.sentinel import ensure_cluster
from registry.units.file import file_hash
from scheduler.commit import Intent, write
from scheduler.election import Election
from tests.etcd_server import EtcdServer

pytestmark = pytest.mark.etcd

TEXT = "[Service]\nExecStart=/bin/true\n"
LEASE_S = 2


class Cluster:
    """One key prefix of the shared etcd, with scheduler processes on it."""

    def __init__(self, server: EtcdServer, client: Etcd, prefix: str) -> None:
        self.server, self.client, self.keys = server, client, Keys.under(prefix)
        self._lease = 0

    @asynccontextmanager
    async def scheduler(self, lease_s: int = LEASE_S) -> AsyncIterator[asyncio.subprocess.Process]:
        environ = {
            "PATH": os.environ["PATH"],
            "FLEET_ETCD_ENDPOINTS": ",".join(self.server.endpoints),
            "FLEET_ETCD_PREFIX": self.keys.prefix,
            "FLEET_SCHEDULER_LEASE_TTL": f"{lease_s}s",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scheduler", env=environ, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            await process.wait()

    async def machine(self, name: str) -> None:
        self._lease = self._lease or await self.client.lease_grant(120)
        record = Machine(name, name, "10.0.0.1", f"boot-{name}")
        await self.client.put(self.keys.machine(name), encode(record), self._lease)

    async def start(self, name: str) -> None:
        sha256 = file_hash(TEXT)
        unit = Unit(name, sha256, Target.LAUNCHED)
        puts = [Op.put(self.keys.file(sha256), TEXT.encode()), Op.put(self.keys.unit(name), encode(unit))]
        await self.client.txn([], puts)

    async def term(self) -> int:
        kv = await self.client.get(self.keys.leader)
        return kv.create_revision if kv else 0

    async def placed(self, name: str) -> str:
        """The machine that schedules a unit, "" while none does."""
        found = await self.client.range(self.keys.schedule("").rstrip("/"))
        return next((kv.key.split("/")[-2] for kv in found.kvs if kv.key.endswith(f"/{name}")), "")


@pytest.fixture
def cluster(etcd: EtcdServer, etcd_client: Etcd, prefix: str) -> Cluster:
    return Cluster(etcd, etcd_client, prefix)


async def until(condition: Callable[[], Awaitable[object]], *, within_s: float = 30.0) -> None:
    """Poll to a deadline."""
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - polls another process
            await asyncio.sleep(0.05)


async def test_what_a_machine_says_of_the_history_is_passed_on_until_somebody_accepts_it(cluster: Cluster) -> None:
    client, key = cluster.client, cluster.keys.cluster

    async def sentinel() -> dict[str, object]:
        kv = await client.get(key)
        found: dict[str, object] = json.loads(kv.value) if kv else {}
        return found

    async with cluster.scheduler():
        await until(cluster.term)
        await cluster.machine("a1")
        lease = await client.lease_grant(120)
        record = Machine("b2", "b2", "10.0.0.2", "boot-b2", held="it is at revision 5, and 9 was acted on")
        await client.put(cluster.keys.machine("b2"), encode(record), lease)

        async def marked() -> bool:
            return (await sentinel()).get("held") == record.held

        await until(marked)
        accepted = await sentinel() | {"held": "", "epoch": 1}
        await client.put(key, json.dumps(accepted).encode())
        await cluster.start("u.service")
        await client.put(cluster.keys.machine("b2"), encode(replace(record, held="")), lease)
        await until(lambda: cluster.placed("u.service"))
        assert not (await sentinel()).get("held")


async def test_a_unit_is_placed_and_moves_when_its_machine_is_lost(cluster: Cluster) -> None:
    async with cluster.scheduler():
        await until(cluster.term)
        await cluster.machine("a1")
        await cluster.start("u.service")
        await until(lambda: cluster.placed("u.service"))
        assert await cluster.placed("u.service") == "a1"
        await cluster.machine("b2")
        await cluster.client.delete(cluster.keys.machine("a1"))

        async def moved() -> bool:
            return await cluster.placed("u.service") == "b2"

        await until(moved)

        async def told() -> bool:
            events = await cluster.client.range(cluster.keys.table(Table.EVENTS))
            return {json.loads(kv.value)["verb"] for kv in events.kvs} == {"place", "move", "lost"}

        await until(told)


async def test_a_leader_key_without_a_lease_is_removed_after_a_grace(cluster: Cluster) -> None:
    record = encode(Leader("nobody", "nowhere"))
    await cluster.client.put(cluster.keys.leader, record)
    found = await cluster.term()
    async with cluster.scheduler():
        await until(lambda: _other_term(cluster, found), within_s=60)


async def test_a_leader_whose_key_is_taken_off_its_lease_stands_again(cluster: Cluster) -> None:
    async with cluster.scheduler():
        await until(cluster.term)
        term = await cluster.term()
        kv = await cluster.client.get(cluster.keys.leader)
        assert kv
        await cluster.client.put(cluster.keys.leader, kv.value)
        await until(lambda: _other_term(cluster, term), within_s=5)


async def test_a_machine_key_without_a_lease_whose_agent_never_comes_is_removed_and_its_units_move(
    cluster: Cluster,
) -> None:
    async with cluster.scheduler():
        await until(cluster.term)
        record = Machine("a1", "a1", "10.0.0.1", "boot-a1", ttl_s=1.0)
        await cluster.client.put(cluster.keys.machine("a1"), encode(record))
        await cluster.start("u.service")
        await until(lambda: cluster.placed("u.service"))
        await cluster.machine("b2")

        async def moved() -> bool:
            return await cluster.placed("u.service") == "b2"

        await until(moved, within_s=60)
        assert await cluster.client.get(cluster.keys.machine("a1")) is None
        assert await cluster.client.get(cluster.keys.machine("b2"))


async def test_a_changed_lease_is_taken_by_a_restarted_leader(cluster: Cluster) -> None:
    async with cluster.scheduler(lease_s=60) as first:
        await until(cluster.term)
        first.terminate()
        await first.wait()
    async with cluster.scheduler(lease_s=5):
        await until(cluster.term)
        kv = await cluster.client.get(cluster.keys.leader)
        assert kv
        assert await cluster.client.lease_time_to_live(kv.lease) <= 5


async def test_a_terminated_leader_hands_over_at_once(cluster: Cluster) -> None:
    async with cluster.scheduler(lease_s=60) as first:
        await until(cluster.term)
        async with cluster.scheduler(lease_s=60):
            await asyncio.sleep(1.0)  # the second one has had time to lead, and must not
            term = await cluster.term()
            first.terminate()
            assert await first.wait() == 0
            await until(lambda: _other_term(cluster, term))  # long before the lease could end


async def test_after_kill_9_of_the_leader_another_leads_when_the_lease_ends(cluster: Cluster) -> None:
    async with cluster.scheduler() as first:
        await until(cluster.term)
        async with cluster.scheduler():
            term = await cluster.term()
            first.kill()
            await until(lambda: _other_term(cluster, term))
            await cluster.machine("a1")
            await cluster.start("u.service")
            await until(lambda: cluster.placed("u.service"))


async def test_a_leader_that_dies_with_a_machine_is_followed_by_one_that_moves_its_units_at_once(
    cluster: Cluster,
) -> None:
    """The new leader tells of the loss, which changes nothing that it follows, and decides all the same."""
    async with cluster.scheduler(lease_s=60) as first:
        await until(cluster.term)
        await cluster.machine("a1")
        await cluster.start("u.service")
        await until(lambda: cluster.placed("u.service"))
        await cluster.machine("b2")
        async with cluster.scheduler(lease_s=60):
            await asyncio.sleep(1.0)  # the second one has had time to see both machines
            first.kill()
            await first.wait()
            ends = [Op.delete(cluster.keys.machine("a1")), Op.delete(cluster.keys.leader)]
            await cluster.client.txn([], ends)  # as when their leases end together

            async def moved() -> bool:
                return await cluster.placed("u.service") == "b2"

            await until(moved, within_s=20)  # after its patience with absent machines, long before the next tick


async def test_a_deposed_leader_writes_nothing(cluster: Cluster) -> None:
    """Invariant 2: a leader that slept through its lease wakes to work, and none of it is written."""
    async with cluster.scheduler() as first:
        await until(cluster.term)
        term = await cluster.term()
        first.send_signal(signal.SIGSTOP)
        await until(lambda: _no_leader(cluster))
        rival = Leader("rival", "rival")
        await cluster.client.put(
            cluster.keys.leader, encode(rival)
        )  # no lease: it leads for ever, and does nothing
        await cluster.machine("a1")
        await cluster.start("u.service")
        before = await _newest(cluster)
        first.send_signal(signal.SIGCONT)
        await asyncio.sleep(2 * LEASE_S)
        assert await _newest(cluster) == before
        assert first.returncode is None
        await cluster.client.delete(cluster.keys.leader)
        await until(lambda: cluster.placed("u.service"))
        assert await cluster.term() > term


async def test_an_emptied_registry_is_not_an_order(cluster: Cluster) -> None:
    """Invariant 3: without the sentinel nothing is written, whatever else is there."""
    async with cluster.scheduler():
        await until(cluster.term)
        await cluster.machine("a1")
        await cluster.start("u.service")
        await until(lambda: cluster.placed("u.service"))
        await cluster.client.txn([], [Op.delete_prefix(cluster.keys.prefix)])
        await cluster.start("v.service")
        await asyncio.sleep(LEASE_S * 1.5)
        assert await cluster.placed("v.service") == ""
        assert await cluster.client.get(cluster.keys.cluster) is None
        assert await cluster.term() == 0


async def test_a_registry_that_was_emptied_and_begins_anew_is_served_without_a_restart(cluster: Cluster) -> None:
    async with cluster.scheduler():
        await until(cluster.term)
        before = await cluster.client.get(cluster.keys.cluster)
        await cluster.client.txn([], [Op.delete_prefix(cluster.keys.prefix)])
        anew = await ensure_cluster(cluster.client, cluster.keys, "anew")
        assert before is not None
        assert anew.id == "anew"
        await cluster.machine("a1")
        await cluster.start("u.service")
        await until(lambda: cluster.placed("u.service"))


async def test_an_etcd_that_lost_its_data_is_served_without_a_restart(tmp_path: Path) -> None:
    """Revisions begin again at 1: lower than the last term's, and than the scheduler's last write."""
    with EtcdServer(tmp_path) as server:
        async with Etcd(EtcdSettings(server.endpoints)) as client:
            cluster = Cluster(server, client, "/lost/")
            async with cluster.scheduler():
                await cluster.machine("a1")
                await until(cluster.term)
                await cluster.start("u.service")
                await until(lambda: cluster.placed("u.service"))
                server.kill()
                for member in server.members:
                    member.wipe()
                await server.restart()
                cluster = Cluster(server, client, "/lost/")
                await ensure_cluster(client, cluster.keys, "anew")
                await cluster.machine("a1")
                await cluster.start("v.service")
                await until(lambda: cluster.placed("v.service"), within_s=30)


async def test_a_scheduler_does_not_bless_a_registry_that_lost_its_sentinel(cluster: Cluster) -> None:
    await cluster.start("u.service")
    async with cluster.scheduler():
        await asyncio.sleep(2.0)
        assert await cluster.client.get(cluster.keys.cluster) is None


async def test_300_units_are_placed_with_one_event(cluster: Cluster) -> None:
    for name in ("a1", "b2", "c3"):
        await cluster.machine(name)
    async with cluster.scheduler():
        await until(cluster.term)
        sha256 = file_hash(TEXT)
        puts = [Op.put(cluster.keys.file(sha256), TEXT.encode())]
        names = [f"u{number:03}.service" for number in range(120)]
        puts += [Op.put(cluster.keys.unit(name), encode(Unit(name, sha256, Target.LAUNCHED))) for name in names]
        await cluster.client.txn([], puts)

        async def all_placed() -> bool:
            found = await cluster.client.range(cluster.keys.schedule("").rstrip("/"), keys_only=True)
            return found.count == len(names)

        await until(all_placed)

        async def told() -> bool:
            return (await cluster.client.range(cluster.keys.table(Table.EVENTS))).count == 1

        await until(told)


async def test_a_write_is_fenced_by_the_term_and_guarded_by_what_was_read(cluster: Cluster) -> None:
    election = Election(cluster.client, cluster.keys, Leader("x", "x"), LEASE_S)
    lead = await election.campaign()
    assert lead is not None
    assert await Election(cluster.client, cluster.keys, Leader("y", "y"), LEASE_S).campaign() is None
    key = cluster.keys.pending("u.service")
    await write(cluster.client, cluster.keys, lead.term, Intent([], [Op.put(key, b"1")]))
    with pytest.raises(Conflict):
        await write(cluster.client, cluster.keys, lead.term, Intent([Compare.absent(key)], [Op.put(key, b"2")]))
    await election.resign(lead)
    with pytest.raises(LeadershipLost):
        await write(cluster.client, cluster.keys, lead.term, Intent([], [Op.put(key, b"3")]))
    kv = await cluster.client.get(key)
    assert kv is not None
    assert kv.value == b"1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--endpoints", "ftp://x"], "ftp"),
        (["--config", "/nonexistent.toml"], "/nonexistent.toml"),
    ],
)
async def test_mistakes_are_one_line_and_exit_1(arguments: list[str], words: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scheduler", *arguments, stderr=asyncio.subprocess.PIPE, cwd=Path.cwd()
    )
    _, text = await process.communicate()
    assert process.returncode == 1
    assert words in text.decode()
    assert text.decode().count("\n") == 1, tmp_path


async def _other_term(cluster: Cluster, term: int) -> bool:
    return await cluster.term() not in (0, term)


async def _no_leader(cluster: Cluster) -> bool:
    return await cluster.term() == 0


async def _newest(cluster: Cluster) -> int:
    """The newest revision of any key below the prefix."""
    return max(kv.mod_revision for kv in (await cluster.client.range(cluster.keys.prefix)).kvs)
