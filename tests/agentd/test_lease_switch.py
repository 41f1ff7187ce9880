"""What stops the units when this machine's lease is not renewed, whatever became of the agent."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agentd.lease_guard import LeaseGuard
from agentd.lease_switch import LATE_AT, SERVICE, TIMER, LeaseSwitch
from agentd.pure.entry import Phase
from registry.errors import SystemdError
from tests.agentd.machine import NAME, FakeMachine, machine

TTL_S = 1.0
ODD = r"odd\x2dname@a b.service"


class FakeManager:
    """systemd, as far as the switch asks it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: SystemdError | None = None

    async def start_over(self, unit: str) -> None:
        if self.error:
            raise self.error
        self.asked.append(f"start over {unit}")

    async def stop(self, unit: str) -> None:
        self.asked.append(f"stop {unit}")

    async def reload(self) -> None:
        self.asked.append("reload")


@pytest.fixture
def manager() -> FakeManager:
    return FakeManager()


@pytest.fixture
def switch(manager: FakeManager, tmp_path: Path) -> LeaseSwitch:
    return made(manager, tmp_path)


def made(manager: FakeManager, root: Path) -> LeaseSwitch:
    (root / "links").mkdir(exist_ok=True)
    return LeaseSwitch(manager, root / "links", root, "system")


def listed(root: Path) -> list[str]:
    path = root / "lease-units"
    return path.read_text().splitlines() if path.exists() else []


async def test_each_renewal_begins_the_time_over_and_names_the_units_that_run(
    switch: LeaseSwitch, manager: FakeManager, tmp_path: Path
) -> None:
    await switch.hold_back(TTL_S, ["b.service", "a.service"])
    assert listed(tmp_path) == ["a.service", "b.service"]
    assert "OnActiveSec=0.550s" in (tmp_path / "links" / TIMER).read_text()
    await switch.hold_back(TTL_S, ["a.service"])
    assert listed(tmp_path) == ["a.service"]
    assert manager.asked == [f"start over {TIMER}"] * 2, "and nothing else"


async def test_a_unit_is_listed_before_it_is_started(switch: LeaseSwitch, tmp_path: Path) -> None:
    switch.cover("early.service")  # no renewal yet: the agent before us may have left a list
    assert not (tmp_path / "lease-units").exists()
    await switch.hold_back(TTL_S, ["a.service"])
    switch.cover("b.service")
    assert listed(tmp_path) == ["a.service", "b.service"]


async def test_another_length_of_the_lease_is_taken_up(manager: FakeManager, tmp_path: Path) -> None:
    await made(manager, tmp_path).hold_back(TTL_S, [])
    await made(manager, tmp_path).hold_back(TTL_S, [])  # an agent after that one
    assert "reload" not in manager.asked
    await made(manager, tmp_path).hold_back(2 * TTL_S, [])
    assert manager.asked[-2:] == ["reload", f"start over {TIMER}"]


async def test_keep_costs_nothing_and_removes_what_stop_has_left(
    switch: LeaseSwitch, manager: FakeManager, tmp_path: Path
) -> None:
    await switch.remove()
    assert manager.asked == []
    await switch.hold_back(TTL_S, [NAME])
    await switch.remove()
    assert manager.asked[-1] == f"stop {TIMER}"
    assert list((tmp_path / "links").iterdir()) == []


async def test_keep_after_stop_is_told_what_the_switch_has_stopped(
    switch: LeaseSwitch, manager: FakeManager, tmp_path: Path
) -> None:
    await switch.hold_back(TTL_S, [NAME])
    (tmp_path / "lease-units").rename(tmp_path / "lease-units.stopped")  # as the script does
    assert await made(manager, tmp_path).remove() == (NAME,)
    assert manager.asked[-2:] == [f"stop {TIMER}", f"stop {SERVICE}"], "the timer first, or it fires in between"
    assert await switch.remove() == ()


async def test_the_script_stops_what_is_listed_and_kills_what_is_left(switch: LeaseSwitch, tmp_path: Path) -> None:
    tools, log = tmp_path / "tools", tmp_path / "log"
    tools.mkdir()
    (tools / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{log}\n')
    (tools / "systemctl").chmod(0o755)
    await switch.hold_back(TTL_S, [NAME, ODD])
    script = (tmp_path / "lease-over.sh").as_posix()
    assert f'ExecStart=/bin/sh "{script}"' in (tmp_path / "links" / SERVICE).read_text()
    began = time.monotonic()
    await asyncio.to_thread(subprocess.run, ["/bin/sh", script], check=True, env={"PATH": f"{tools}:/usr/bin:/bin"})
    assert time.monotonic() - began >= 0.2 * TTL_S
    names = f"{ODD} {NAME}"
    assert log.read_text().splitlines() == [
        f"--system is-active -- {names}",
        f"--system stop --no-block -- {names}", f"--system kill --signal=KILL -- {names}",
    ]  # fmt: skip
    assert await switch.fired() == (ODD, NAME)
    assert await switch.fired() == ()


async def test_the_script_leaves_alone_what_has_ended_by_itself(switch: LeaseSwitch, tmp_path: Path) -> None:
    tools, log = tmp_path / "tools", tmp_path / "log"
    tools.mkdir()
    states = 'case $2 in is-active) printf "active\\ninactive\\nactivating\\nfailed\\n";; esac'
    (tools / "systemctl").write_text(f'#!/bin/sh\n{states}\necho "$@" >>{log}\n')
    (tools / "systemctl").chmod(0o755)
    await switch.hold_back(0.05, [f"{each}.service" for each in "abcd"])
    script, environment = (tmp_path / "lease-over.sh").as_posix(), {"PATH": f"{tools}:/usr/bin:/bin"}
    await asyncio.to_thread(subprocess.run, ["/bin/sh", script], check=True, env=environment)
    assert "--system stop --no-block -- a.service c.service" in log.read_text().splitlines()
    assert await switch.fired() == ("a.service", "c.service")


@dataclass
class FakeLease:
    renewed_at: float = 0.0
    ttl_s: float = TTL_S
    renewed: asyncio.Event = field(default_factory=asyncio.Event)

    def renew(self, sent_before_s: float = 0.0) -> None:
        self.renewed_at = time.monotonic() - sent_before_s
        self.renewed.set()


@asynccontextmanager
async def guarded(on: FakeMachine, switch: LeaseSwitch, lease: FakeLease) -> AsyncIterator[None]:
    guard = LeaseGuard(lease, on.reconciler, on.systemd, switch, time.monotonic(), lambda: None)
    running = asyncio.create_task(guard.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_invariant_10_stop_what_the_switch_has_stopped_starts_again_with_the_lease(
    switch: LeaseSwitch, manager: FakeManager, tmp_path: Path
) -> None:
    lease = FakeLease(ttl_s=60.0)
    async with machine(tmp_path) as on, guarded(on, switch, lease):
        on.want()
        await on.launched()
        lease.renew()
        await on.until(lambda: listed(tmp_path) == [NAME])
        (tmp_path / "lease-units").rename(tmp_path / "lease-units.stopped")  # as the script does
        on.systemd.become(NAME, active="inactive", sub="dead", pids=())
        await on.rest()
        assert not on.systemd.runs(NAME), "nobody starts it while there is no lease"
        lease.renew()
        await on.launched()
        assert on.entry().phase is Phase.STARTED
        assert f"stop {SERVICE}" in manager.asked, "or it would kill what has just been started"


async def test_invariant_10_stop_a_renewal_that_came_late_does_not_hold_the_switch_back(
    switch: LeaseSwitch, manager: FakeManager, tmp_path: Path
) -> None:
    lease = FakeLease(ttl_s=60.0)
    async with machine(tmp_path) as on, guarded(on, switch, lease):
        lease.renew(sent_before_s=2 * LATE_AT * lease.ttl_s)
        await on.until(lambda: not lease.renewed.is_set())
        await asyncio.sleep(0.01)
        assert manager.asked == []


async def test_invariant_10_stop_the_agent_itself_stops_first(
    switch: LeaseSwitch, manager: FakeManager, tmp_path: Path
) -> None:
    lease = FakeLease(ttl_s=0.4)
    async with machine(tmp_path) as on:
        on.want()
        await on.launched()
        manager.error = SystemdError(TIMER, "start over", "it cannot be")  # and without the switch, too
        async with guarded(on, switch, lease):
            lease.renew()
            await on.until(lambda: not on.systemd.runs(NAME))
            assert on.reconciler.table.parked
            lease.ttl_s = 60.0
            lease.renew()
            await on.launched()
