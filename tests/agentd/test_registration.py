"""Registration against a real etcd: restarts, lost leases, duplicates, foreign registries."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agentd import earlier_key, machine_lease, registration
from agentd.ledger import Ledger
from agentd.registration import Registration
from registry.errors import LeaseLost, RegistryUnavailable
from registry.etcd import Etcd, KeyValue, RangeResult
from registry.keys import Address, Keys, Table
from registry.leases import leased_prefixes
from registry.model import Event, Machine
from registry.records import decode, encode
from registry.sync.sentinel import ensure_cluster
from tests.door import door

pytestmark = pytest.mark.etcd

MACHINE = "1" * 32


class Agent:
    """What a registration needs around it, and what it told."""

    def __init__(
        self,
        etcd: Etcd,
        keys: Keys,
        directory: Path,
        boot: str = "boot-1",
        bus: str = "system",
        *,
        ttl_s: float = 2.0,
        address: str = "10.0.0.1",
    ) -> None:
        self.told: list[str] = []
        self.refusing: list[Exception] = []  # what becomes of the next attempts to show what runs here
        self.ledger = Ledger(directory, MACHINE, boot)
        machine = Machine(MACHINE, "core-1", address, boot, ttl_s=ttl_s, bus=bus)
        self._numbers = iter(range(1000))
        self.registration = Registration(etcd, keys, self.ledger, machine, self)

    async def joining(self, _lease: int) -> None:
        self.told.append("joining")
        if self.refusing:
            raise self.refusing.pop()

    def joined(self) -> None:
        self.told.append("joined")

    def lost(self) -> None:
        self.told.append("lost")

    def returned(self) -> None:
        self.told.append("returned")

    def status_changed(self) -> None:
        """Not looked at here."""

    def event(self, verb: str, *, unit: str = "", reason: str = "") -> Event:
        boot = self.registration.machine.boot_id
        return Event(f"{next(self._numbers):013d}-{boot}", 0.0, "agent", verb, unit, MACHINE, reason)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Agent]:
        task = asyncio.create_task(self.registration.run())
        yield self
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def eventually(ask: Callable[[], Awaitable[object]], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not await ask():  # noqa: ASYNC110 - somebody else's registry tells nobody
            await asyncio.sleep(0.02)


@pytest.fixture
def bare(prefix: str) -> Keys:
    """The keys of an empty registry."""
    return Keys.under(prefix)


@pytest.fixture
async def keys(etcd_client: Etcd, bare: Keys) -> Keys:
    """Those of a fleet's."""
    await ensure_cluster(etcd_client, bare, "one")
    return bare


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_lease, "MARGIN_S", 0.5)
    monkeypatch.setattr(earlier_key, "MARGIN_S", 0.5)
    monkeypatch.setattr(earlier_key, "POLL_S", 0.05)
    monkeypatch.setattr(registration, "PAUSE_S", 0.1)


async def machine_key(etcd: Etcd, keys: Keys) -> KeyValue | None:
    return await etcd.get(keys.machine(MACHINE))


async def registered(etcd: Etcd, keys: Keys) -> KeyValue:
    async def there() -> bool:
        return await machine_key(etcd, keys) is not None

    await eventually(there)
    found = await machine_key(etcd, keys)
    assert found
    return found


def boot_of(found: KeyValue | None) -> str:
    assert found
    record = decode(Address(Table.MACHINES, MACHINE), found.value, found.key)
    assert isinstance(record, Machine)
    return record.boot_id


async def test_a_machine_joins_under_a_lease(etcd_client: Etcd, keys: Keys, tmp_path: Path) -> None:
    async with Agent(etcd_client, keys, tmp_path).running() as agent:
        found = await registered(etcd_client, keys)
        assert found.lease == agent.ledger.facts.lease_id != 0
        assert agent.ledger.facts.cluster_id == "one"
        assert agent.told == ["joining", "joined"]


async def test_15_a_machine_that_knows_no_cluster_begins_none_and_joins_what_comes(
    etcd_client: Etcd, bare: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "fleet.agent"):
        async with Agent(etcd_client, bare, tmp_path).running() as agent:
            await eventually(lambda: _said(caplog, "a fleet begins with a scheduler that is started"))
            assert (await etcd_client.range(bare.prefix)).count == 0
            await ensure_cluster(etcd_client, bare, "restored")
            await registered(etcd_client, bare)
            assert agent.ledger.facts.cluster_id == "restored"


async def test_a_restarted_agent_goes_on_under_the_same_lease_and_key(
    etcd_client: Etcd, keys: Keys, tmp_path: Path
) -> None:
    async with Agent(etcd_client, keys, tmp_path).running():
        before = await registered(etcd_client, keys)
    async with Agent(etcd_client, keys, tmp_path).running() as again:
        await eventually(lambda: _told(again, "joined"))
        after = await registered(etcd_client, keys)
    assert (after.lease, after.create_revision) == (before.lease, before.create_revision)


@pytest.mark.parametrize("leased", [True, False])
async def test_a_restarted_agent_knows_its_own_key_though_somebody_has_garbled_it(
    etcd_client: Etcd, keys: Keys, tmp_path: Path, *, leased: bool
) -> None:
    """Taken for another boot's it would be waited for until its own lease ends, and every unit with it."""
    async with Agent(etcd_client, keys, tmp_path, ttl_s=30.0).running():
        before = await registered(etcd_client, keys)
    await etcd_client.put(keys.machine(MACHINE), b"\xff", before.lease if leased else 0)
    async with Agent(etcd_client, keys, tmp_path, ttl_s=30.0).running() as agent:

        async def mended() -> bool:
            found = await machine_key(etcd_client, keys)
            return found is not None and found.lease == before.lease and found.value != b"\xff"

        await eventually(mended)
        assert agent.registration.lease.id == before.lease


async def test_it_takes_its_own_key_over_even_when_it_has_forgotten_the_lease(
    etcd_client: Etcd, keys: Keys, tmp_path: Path
) -> None:
    async with Agent(etcd_client, keys, tmp_path / "one").running():
        before = await registered(etcd_client, keys)
    async with Agent(etcd_client, keys, tmp_path / "two").running() as again:
        await eventually(lambda: _told(again, "joined"))
        after = await registered(etcd_client, keys)
    assert (after.lease, after.create_revision) == (before.lease, before.create_revision)


async def test_a_lost_lease_is_noticed_and_the_machine_joins_anew(
    etcd_client: Etcd, keys: Keys, tmp_path: Path
) -> None:
    async with Agent(etcd_client, keys, tmp_path).running() as agent:
        before = await registered(etcd_client, keys)
        await etcd_client.lease_revoke(before.lease)
        after = await registered(etcd_client, keys)
        assert after.lease != before.lease
        await eventually(lambda: _told(agent, "joined", 2))
        assert agent.told == ["joining", "joined", "lost", "joining", "joined"]


async def test_a_machine_whose_leases_do_not_last_stands_back_longer_each_time(
    etcd_client: Etcd, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[float] = []

    def note(pause_s: float, _low: float, _high: float) -> float:
        paused.append(pause_s)
        return 0.0

    monkeypatch.setattr(machine_lease, "jittered", note)
    async with Agent(etcd_client, keys, tmp_path).running() as agent:
        for number in range(1, 8):
            await eventually(lambda count=number: _told(agent, "joined", count))  # type: ignore[misc]
            if number == 7:
                monkeypatch.setattr(machine_lease, "STEADY", 0)  # this one has lasted for long enough
            found = await machine_key(etcd_client, keys)
            assert found
            await etcd_client.lease_revoke(found.lease)
        await eventually(lambda: _told(agent, "joined", 8))
    longest_s = machine_lease.LONGEST * 2.0
    assert paused == [min(each, longest_s) for each in (2.0, 4.0, 8.0, 16.0, 16.0)]


async def test_a_machine_that_stands_back_joins_at_once_a_registry_whose_history_went_back(
    etcd_client: Etcd, keys: Keys, tmp_path: Path
) -> None:
    agent = Agent(etcd_client, keys, tmp_path)
    agent.registration.lease.away_until = time.monotonic() + 3600
    async with agent.running():
        await eventually(lambda: _status(agent, "registering again in"))
        assert await machine_key(etcd_client, keys) is None
        sentinel = await etcd_client.get(keys.cluster)
        assert sentinel
        held = json.loads(sentinel.value) | {"held": "it is at revision 7"}
        await etcd_client.put(keys.cluster, json.dumps(held).encode())
        agent.registration.doubt()  # another part of the agent has met it
        await registered(etcd_client, keys)


async def test_a_machine_joins_at_once_when_another_part_of_the_agent_found_the_registry_back(
    etcd_client: Etcd, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "PAUSE_S", 3600.0)

    async def fail() -> None:
        raise RegistryUnavailable("away")

    async with Agent(door(etcd_client, 1, fail), keys, tmp_path).running() as agent:
        async with asyncio.timeout(10):
            while not agent.registration.status.startswith("cannot register"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        agent.registration.retry()
        await registered(etcd_client, keys)


async def test_the_lease_is_kept_far_beyond_its_ttl(etcd_client: Etcd, keys: Keys, tmp_path: Path) -> None:
    async with Agent(etcd_client, keys, tmp_path).running():
        before = await registered(etcd_client, keys)
        await asyncio.sleep(4)
        after = await machine_key(etcd_client, keys)
        assert after == before


async def test_the_lease_of_the_agent_before_lives_until_this_one_knows_what_runs_here(etcd_client: Etcd) -> None:
    lease = await etcd_client.lease_grant(1)
    held = asyncio.create_task(machine_lease.keep_alive(etcd_client, lease, 1.0))
    await asyncio.sleep(4)  # etcd ends a lease of a second or two within three
    assert not held.done()
    await etcd_client.lease_time_to_live(lease)  # raises LeaseLost for one that has ended
    await etcd_client.lease_revoke(lease)
    async with asyncio.timeout(10):
        await held
        await machine_lease.keep_alive(etcd_client, 0, 0.0)


async def test_an_earlier_boot_s_key_is_waited_for(
    etcd_client: Etcd, keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Agent(etcd_client, keys, tmp_path).running():
        await registered(etcd_client, keys)
    async with Agent(etcd_client, keys, tmp_path, boot="boot-2").running() as booted:
        await eventually(lambda: _told(booted, "joined"))
    assert boot_of(await machine_key(etcd_client, keys)) == "boot-2"
    assert "DUPLICATE" not in caplog.text


@pytest.mark.parametrize(("boot", "bus"), [("boot-2", "system"), ("boot-1", "user")])
async def test_the_second_machine_with_one_id_says_so_loudly_and_does_nothing_else(
    etcd_client: Etcd, keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture, boot: str, bus: str
) -> None:
    async with Agent(etcd_client, keys, tmp_path / "one").running() as first:
        before = await registered(etcd_client, keys)
        async with Agent(etcd_client, keys, tmp_path / "two", boot, bus).running() as second:
            with caplog.at_level(logging.ERROR, "fleet.agent"):
                await eventually(lambda: etcd_client.get(keys.duplicate(MACHINE, boot)))
            assert "DUPLICATE MACHINE ID" in caplog.text
            assert "systemd-machine-id-setup" in caplog.text
            assert second.told == []
            assert "in use by core-1 at 10.0.0.1" in second.registration.status
            assert await machine_key(etcd_client, keys) == before
            await first.registration.leave()  # else it registers again, and may be the quicker one
            await first.registration.revoke()
            await eventually(lambda: _told(second, "joined"))
            assert await etcd_client.get(keys.duplicate(MACHINE, boot)) is None
    events = (await etcd_client.range(f"{keys.prefix}events/")).kvs
    assert any(b'"duplicate"' in kv.value for kv in events)


async def test_a_registry_without_its_sentinel_or_of_another_cluster_is_not_joined(
    etcd_client: Etcd, bare: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent(etcd_client, bare, tmp_path)
    agent.ledger.remember(cluster_id="the one it belongs to")
    with caplog.at_level(logging.WARNING, "fleet.agent"):
        async with agent.running():
            await eventually(lambda: _said(caplog, "empty or not a fleet's"))
            await ensure_cluster(etcd_client, bare, "another")
            await eventually(lambda: _said(caplog, "belongs to cluster another"))
            assert agent.told == []
            assert await machine_key(etcd_client, bare) is None
    assert f"rm {tmp_path}/agent.json && systemctl restart fleet-agentd" in caplog.text


async def test_a_deleted_machine_key_comes_back(etcd_client: Etcd, keys: Keys, tmp_path: Path) -> None:
    async with Agent(etcd_client, keys, tmp_path).running() as agent:
        before = await registered(etcd_client, keys)
        await etcd_client.delete(keys.machine(MACHINE))
        await agent.registration.verify()
        after = await machine_key(etcd_client, keys)
        assert after
        assert (after.lease, after.value) == (before.lease, before.value)


async def test_that_everything_is_held_is_said_only_of_the_sentinel_that_was_read(
    etcd_client: Etcd, keys: Keys, tmp_path: Path
) -> None:
    agent = Agent(etcd_client, keys, tmp_path, ttl_s=60.0)
    async with agent.running():
        before = await registered(etcd_client, keys)
    agent.registration.hold("it is at revision 7")
    sentinel = await etcd_client.get(keys.cluster)
    assert sentinel
    await etcd_client.put(keys.cluster, sentinel.value)  # as an operator does who accepts it
    await agent.registration.verify()
    unsaid = await machine_key(etcd_client, keys)
    assert unsaid
    assert unsaid.value == before.value
    await agent.registration._history.look(etcd_client)
    await agent.registration.verify()
    said = await machine_key(etcd_client, keys)
    assert said
    assert b"revision 7" in said.value


async def test_leaving_is_told_and_revoking_ends_it(etcd_client: Etcd, keys: Keys, tmp_path: Path) -> None:
    async with Agent(etcd_client, keys, tmp_path).running() as agent:
        await registered(etcd_client, keys)
        await agent.registration.leave()
        found = await machine_key(etcd_client, keys)
        assert found
        assert b'"leaving":true' in found.value
        await agent.registration.revoke()
        assert await machine_key(etcd_client, keys) is None
        assert agent.ledger.facts.lease_id == 0


async def test_a_corrupt_machine_key_is_not_taken_for_our_own(
    etcd_client: Etcd, keys: Keys, tmp_path: Path
) -> None:
    await etcd_client.put(keys.machine(MACHINE), b"{not json")
    async with Agent(etcd_client, keys, tmp_path).running() as agent:
        await asyncio.sleep(0.3)
        assert agent.told == []
        await etcd_client.delete(keys.machine(MACHINE))
        await eventually(lambda: _told(agent, "joined"))


def without_lease(result: RangeResult, keys: Keys) -> list[str]:
    """The keys that no lease will ever end, though one should."""
    return [kv.key for kv in result.kvs if kv.key.startswith(leased_prefixes(keys)) and not kv.lease]


@pytest.mark.parametrize("at", range(1, 12))
async def test_a_lease_given_up_at_any_await_leaves_no_key_without_one(
    etcd_client: Etcd, keys: Keys, tmp_path: Path, at: int
) -> None:
    """Registering, looking at its key and leaving, with the lease gone between any two steps."""

    async def give_up() -> None:
        lease, agent.registration.lease.id = agent.registration.lease.id, 0
        await etcd_client.lease_revoke(lease or 1)
        await etcd_client.delete(keys.machine(MACHINE))

    agent = Agent(door(etcd_client, at, give_up), keys, tmp_path)
    async with agent.running():
        with suppress(TimeoutError):
            await eventually(lambda: _told(agent, "joined"), 3)
        for step in (agent.registration.verify, agent.registration.verify, agent.registration.leave):
            with suppress(LeaseLost):
                await step()
        assert without_lease(await etcd_client.range(keys.prefix), keys) == []


async def test_a_lease_lost_while_the_key_is_looked_at_puts_no_key_without_one(
    etcd_client: Etcd, keys: Keys, tmp_path: Path
) -> None:
    """The look finds no key because the lease has just ended; the agent hears of that before it goes on."""
    async with Agent(etcd_client, keys, tmp_path).running() as agent:
        await registered(etcd_client, keys)
    await agent.registration.revoke()

    async def lost() -> None:
        agent.registration.lease.id = 0

    agent.registration = Agent(door(etcd_client, 1, lost), keys, tmp_path).registration
    agent.registration.lease.id = 4711
    with suppress(LeaseLost):
        await agent.registration.verify()
    assert await machine_key(etcd_client, keys) is None


@pytest.mark.parametrize("running", [True, False])
async def test_a_machine_key_without_a_lease_is_taken_over_by_its_agent(
    etcd_client: Etcd, keys: Keys, tmp_path: Path, *, running: bool
) -> None:
    async with Agent(etcd_client, keys, tmp_path).running():
        before = await registered(etcd_client, keys)
        if running:
            await etcd_client.put(before.key, before.value)
            await eventually(lambda: _leased(etcd_client, keys))
    if not running:
        await etcd_client.put(before.key, before.value)
        async with Agent(etcd_client, keys, tmp_path).running() as again:
            await eventually(lambda: _told(again, "joined"))
            assert again.told == ["joining", "joined"]
    after = await machine_key(etcd_client, keys)
    assert after
    assert (after.create_revision, after.lease) == (before.create_revision, before.lease)


async def test_a_machine_key_whose_lease_is_no_lease_is_taken_over(
    etcd_client: Etcd, keys: Keys, tmp_path: Path
) -> None:
    """As after a restore that kept the key and not the lease: here the lease dies between two looks."""
    async with Agent(etcd_client, keys, tmp_path).running():
        before = await registered(etcd_client, keys)

    async def die() -> None:
        await etcd_client.lease_revoke(before.lease)
        await etcd_client.put(before.key, before.value)

    async with Agent(door(etcd_client, 2, die), keys, tmp_path).running() as again:
        await eventually(lambda: _told(again, "joined"))
        after = await machine_key(etcd_client, keys)
        assert after
        assert after.lease not in (0, before.lease)


async def test_an_earlier_boot_s_key_without_a_lease_is_removed_after_a_grace(
    etcd_client: Etcd, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier_key, "grace_s", lambda _: 1.0)
    machine = Machine(MACHINE, "core-1", "10.0.0.1", "boot-0", ttl_s=2.0)
    await etcd_client.put(keys.machine(MACHINE), encode(machine))
    async with Agent(etcd_client, keys, tmp_path).running() as agent:
        await eventually(lambda: _told(agent, "joined"))
        assert boot_of(await machine_key(etcd_client, keys)) == "boot-1"


async def test_another_ttl_moves_the_machine_to_another_lease_without_its_key_vanishing(
    etcd_client: Etcd, keys: Keys, tmp_path: Path
) -> None:
    async with Agent(etcd_client, keys, tmp_path).running():
        before = await registered(etcd_client, keys)
    async with Agent(etcd_client, keys, tmp_path, ttl_s=30.0).running() as again:
        await eventually(lambda: _told(again, "joined"))
        after = await registered(etcd_client, keys)
        assert (after.create_revision, after.lease != before.lease) == (before.create_revision, True)
        assert await etcd_client.lease_time_to_live(after.lease) > 20
        assert await _ended(etcd_client, before.lease)
        assert again.registration.lease.ttl_s == 30.0
    async with Agent(etcd_client, keys, tmp_path, ttl_s=30.0).running() as third:
        await eventually(lambda: _told(third, "joined"))
        assert (await registered(etcd_client, keys)).lease == after.lease


async def test_a_changed_address_is_taken_by_a_restart_and_while_it_runs(
    etcd_client: Etcd, keys: Keys, tmp_path: Path
) -> None:
    async with Agent(etcd_client, keys, tmp_path).running():
        await registered(etcd_client, keys)
    async with Agent(etcd_client, keys, tmp_path, address="10.0.0.2").running() as again:
        await eventually(lambda: _told(again, "joined"))
        found = await registered(etcd_client, keys)
        assert b"10.0.0.2" in found.value
        again.registration.describe(replace(again.registration.machine, address="10.0.0.3", since=0.0))
        await again.registration.verify()
        found = await registered(etcd_client, keys)
        assert b"10.0.0.3" in found.value
        assert b"since" in found.value


async def test_a_machine_that_leaves_while_it_comes_back_says_so(
    etcd_client: Etcd, keys: Keys, tmp_path: Path
) -> None:
    async with Agent(etcd_client, keys, tmp_path).running():
        await registered(etcd_client, keys)

    async def leave() -> None:
        await again.registration.leave()

    again = Agent(door(etcd_client, 3, leave), keys, tmp_path)
    async with again.running():
        await eventually(lambda: _told(again, "joined"))
    assert b'"leaving":true' in (await registered(etcd_client, keys)).value


async def _leased(etcd: Etcd, keys: Keys) -> bool:
    found = await machine_key(etcd, keys)
    return found is not None and found.lease != 0


async def _ended(etcd: Etcd, lease: int) -> bool:
    try:
        await etcd.lease_time_to_live(lease)
    except LeaseLost:
        return True
    return False


async def _told(agent: Agent, what: str, times: int = 1) -> bool:
    return agent.told.count(what) >= times


async def _status(agent: Agent, begins: str) -> bool:
    return agent.registration.status.startswith(begins)


async def _said(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return text in caplog.text


def test_the_record_survives_its_encoding() -> None:
    machine = Machine(MACHINE, "core-1", "10.0.0.1", "boot", leaving=True)
    assert decode(Address(Table.MACHINES, MACHINE), encode(machine)) == machine


async def test_what_another_version_put_into_a_machines_record_stays_when_its_agent_writes_it_again(
    etcd_client: Etcd, keys: Keys, tmp_path: Path
) -> None:
    async with Agent(etcd_client, keys, tmp_path).running() as agent:
        before = await registered(etcd_client, keys)
        later = before.value.replace(b"{", b'{"later":{"a":[1]},', 1)
        await etcd_client.put(before.key, later, before.lease)
        agent.registration.describe(replace(agent.registration.machine, address="10.0.0.2"))

        async def moved() -> bool:
            found = await machine_key(etcd_client, keys)
            return found is not None and b'"10.0.0.2"' in found.value

        await eventually(moved)
        after = await machine_key(etcd_client, keys)
        assert after
        assert b'"later":{"a":[1]}' in after.value


async def test_a_history_that_goes_back_again_while_it_is_held_is_told_again_what_runs_here(
    etcd_client: Etcd, keys: Keys, tmp_path: Path
) -> None:
    async with Agent(etcd_client, keys, tmp_path, ttl_s=1.0).running() as agent:
        old = await registered(etcd_client, keys)
        agent.registration.hold("it is at revision 7")

        async def says_so() -> bool:
            found = await machine_key(etcd_client, keys)
            return found is not None and b"revision 7" in found.value

        await eventually(says_so)
        assert agent.told == ["joining", "joined", "joining"]
        await etcd_client.put(keys.machine(MACHINE), old.value, old.lease)  # as a second restore leaves it
        await eventually(says_so)
        assert agent.told == ["joining", "joined", "joining", "joining"]


async def test_a_doubt_in_the_lease_lasts_until_what_runs_here_was_shown_again(
    etcd_client: Etcd, keys: Keys, tmp_path: Path
) -> None:
    async with Agent(etcd_client, keys, tmp_path).running() as agent:
        await registered(etcd_client, keys)
        agent.refusing.append(RegistryUnavailable("for a moment"))
        agent.registration.doubt()

        async def shown() -> bool:
            return "returned" in agent.told

        await eventually(shown)
        assert agent.told == ["joining", "joined", "joining", "joining", "returned"]


async def test_a_garbled_key_of_an_earlier_boot_is_said_to_be_corrupt_once(
    etcd_client: Etcd, keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lease = await etcd_client.lease_grant(60)
    await etcd_client.put(keys.machine(MACHINE), b"\xff", lease)
    agent = Agent(etcd_client, keys, tmp_path)

    async def waits() -> bool:
        return agent.registration.status.startswith("machine id") or "in use" in agent.registration.status

    async with agent.running():
        await eventually(waits)
    said = [record for record in caplog.records if keys.machine(MACHINE) in record.getMessage()]
    assert len(said) == 1
