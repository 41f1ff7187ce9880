"""Following the schedule against a real etcd: an older line than the one acted on is handed to nobody."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from agentd.ledger import Ledger
from agentd.pure.entry import LedgerEntry
from agentd.pure.plan import DesiredState
from agentd.schedule import Schedule
from registry.etcd import Etcd
from registry.keys import Keys
from registry.model import Assignment, Target
from registry.records import encode
from registry.sync.history import History
from registry.sync.sentinel import ensure_cluster, read_cluster

pytestmark = pytest.mark.etcd

MACHINE = "1" * 32


class FakeDesiredStates:
    """Who carries the schedule out: it only notes."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.held = ()

    def set_desired(self, name: str, desired: DesiredState | None, *, corrupt: bool = False) -> None:
        """Note it."""
        self.told.append(f"{name} {desired is not None} {corrupt}")


async def until_held(history: History) -> None:
    async with asyncio.timeout(10):
        while not history.held:  # noqa: ASYNC110 - told by nobody here
            await asyncio.sleep(0.02)


async def test_invariant_15_a_line_older_than_the_one_acted_on_holds_everything(
    etcd_client: Etcd, prefix: str, tmp_path: Path
) -> None:
    """Also where the registry's revision is ahead again of what was acted on."""
    keys = Keys.under(prefix)
    cluster = await ensure_cluster(etcd_client, keys, "one")
    ledger, desired_states, history = Ledger(tmp_path, MACHINE, "boot"), FakeDesiredStates(), History(keys)
    ledger.remember(cluster_id=cluster.id)
    line = Assignment("a.service", MACHINE, "a" * 64, Target.LAUNCHED, 1)
    revision = await etcd_client.put(keys.schedule(MACHINE, "a.service"), encode(line))
    ledger.put(LedgerEntry("a.service", "a" * 64, 1, revision, revision=revision + 5))
    for number in range(10):
        await etcd_client.put(keys.unit(f"{number}.service"), b"{}")
    schedule = Schedule(etcd_client, keys, MACHINE, ledger, desired_states, history)
    task = asyncio.create_task(schedule.run())
    schedule.list_again()
    await until_held(history)
    assert "the schedule line of a.service is older" in history.held
    assert desired_states.told == []
    async with asyncio.timeout(10):  # the sentinel is marked for those who cannot know
        while not (found := await read_cluster(etcd_client, keys)) or not found.held:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_invariant_15_an_entry_of_a_history_before_the_accepted_one_holds_nothing(
    etcd_client: Etcd, prefix: str, tmp_path: Path
) -> None:
    keys = Keys.under(prefix)
    cluster = await ensure_cluster(etcd_client, keys, "one")
    await etcd_client.put(keys.cluster, encode(replace(cluster, epoch=1)))
    ledger, desired_states, history = Ledger(tmp_path, MACHINE, "boot"), FakeDesiredStates(), History(keys)
    ledger.remember(cluster_id=cluster.id)
    line = Assignment("a.service", MACHINE, "a" * 64, Target.LAUNCHED, 1)
    revision = await etcd_client.put(keys.schedule(MACHINE, "a.service"), encode(line))
    ledger.put(LedgerEntry("a.service", "a" * 64, 1, revision, revision=revision + 5))
    schedule = Schedule(etcd_client, keys, MACHINE, ledger, desired_states, history)
    task = asyncio.create_task(schedule.run())
    schedule.list_again()
    async with asyncio.timeout(10):
        while not desired_states.told:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
    assert not history.held
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_invariant_15_what_was_read_before_all_is_to_be_listed_again_is_handed_to_nobody(
    etcd_client: Etcd, prefix: str, tmp_path: Path
) -> None:
    keys = Keys.under(prefix)
    cluster = await ensure_cluster(etcd_client, keys, "one")
    ledger, desired_states = Ledger(tmp_path, MACHINE, "boot"), FakeDesiredStates()
    ledger.remember(cluster_id=cluster.id)
    line = Assignment("a.service", MACHINE, "a" * 64, Target.LAUNCHED, 1)
    await etcd_client.put(keys.schedule(MACHINE, "a.service"), encode(line))
    schedule, read = Schedule(etcd_client, keys, MACHINE, ledger, desired_states, History(keys)), asyncio.Event()

    def loses_its_place() -> None:  # with what was read in hand
        schedule.pause()
        read.set()

    schedule.on_link = loses_its_place
    task = asyncio.create_task(schedule.run())
    schedule.list_again()
    async with asyncio.timeout(10):
        await read.wait()
        await asyncio.sleep(0.1)
        assert desired_states.told == []
        schedule.on_link = lambda: None
        schedule.list_again()
        while not desired_states.told:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
