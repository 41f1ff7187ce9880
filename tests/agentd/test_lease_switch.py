"""What stops the units when this machine's lease is not renewed, whatever became of the agent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agentd import facts
from agentd.lease_guard import LeaseGuard
from agentd.lease_switch import EARLIER, LATE_AT, SERVICE, LeaseSwitch, ran
from agentd.pure.entry import Phase
from registry.errors import SystemdError
from tests.agentd.machine import NAME, FakeMachine, machine

TTL_S = 1.0
WITHIN_S = 30.0
ODD = r"odd\x2dname@a b.service"


class FakeManager:
    """systemd, as far as the switch asks it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: SystemdError | None = None
        self.active = "inactive"

    async def start(self, unit: str) -> None:
        self.asked.append(f"start {unit}")
        self.active = "active"

    async def stop(self, unit: str) -> None:
        self.asked.append(f"stop {unit}")
        self.active = "inactive"

    async def list_units(self, units: Iterable[str]) -> dict[str, tuple[str, str, str]]:
        if self.error:
            raise self.error
        return dict.fromkeys(units, ("loaded", self.active, "running"))

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
    return LeaseSwitch(manager, root / "links", root, "system", facts.boot_id(), root / "groups")


def listed(root: Path) -> list[str]:
    """What the list names, whose last line says that nobody has looked at it yet."""
    path = root / "lease-units"
    lines = path.read_text().splitlines() if path.exists() else [" ", "."]
    assert lines.pop() == "."
    assert all(each.startswith(" ") for each in lines)
    return [each[1:] for each in lines if each != " "]


def fire(root: Path) -> None:
    """Do as the script does where every unit runs."""
    lines = [f"+{unit}" for unit in listed(root)]
    (root / "lease-units.stopped.8.25").write_text("\n".join([*lines, "!", ""]))
    (root / "lease-units").unlink()


def ahead_s(root: Path) -> float:
    """How far ahead the deadline lies."""
    boot, deadline, _, _, again = (root / "lease-deadline").read_text().split()
    assert deadline == again
    assert boot == facts.boot_id()
    return int(deadline) / 100 - time.clock_gettime(time.CLOCK_BOOTTIME)


async def test_each_renewal_moves_the_deadline_and_names_the_units_that_run(
    switch: LeaseSwitch, manager: FakeManager, tmp_path: Path
) -> None:
    await switch.hold_back(60.0, ["b.service", "a.service"])
    assert listed(tmp_path) == ["a.service", "b.service"]
    assert 30.0 < ahead_s(tmp_path) <= 33.0
    await switch.hold_back(600.0, ["a.service"])
    assert listed(tmp_path) == ["a.service"]
    assert 300.0 < ahead_s(tmp_path) <= 330.0
    assert manager.asked == ["reload", f"start {SERVICE}"], "and nothing at each renewal"


async def test_a_service_that_somebody_has_stopped_is_started_with_the_next_renewal(
    switch: LeaseSwitch, manager: FakeManager
) -> None:
    await switch.hold_back(TTL_S, [])
    await manager.stop(SERVICE)
    await switch.hold_back(TTL_S, [])
    assert manager.asked[-1] == f"start {SERVICE}"


async def test_a_unit_is_listed_before_it_is_started(switch: LeaseSwitch, tmp_path: Path) -> None:
    switch.cover("early.service")  # no renewal yet: the agent before us may have left a list
    assert not (tmp_path / "lease-units").exists()
    await switch.hold_back(TTL_S, ["a.service"])
    switch.cover("b.container")  # what can be stopped is the service that is made of it
    assert listed(tmp_path) == ["a.service", "b.service"]


async def test_the_switch_of_an_agent_before_is_gone_on_with_and_another_version_s_is_replaced(
    manager: FakeManager, tmp_path: Path
) -> None:
    await made(manager, tmp_path).hold_back(TTL_S, [])
    manager.asked.clear()
    await made(manager, tmp_path).hold_back(2 * TTL_S, [])
    assert manager.asked == []
    (tmp_path / "links" / EARLIER).write_text("[Timer]\n")
    (tmp_path / "links" / SERVICE).write_text("[Service]\nType=oneshot\n")
    await made(manager, tmp_path).hold_back(TTL_S, [])
    assert manager.asked == [f"stop {EARLIER}", f"stop {SERVICE}", "reload", f"start {SERVICE}"]
    assert [each.name for each in (tmp_path / "links").iterdir()] == [SERVICE]


async def test_keep_costs_nothing_and_removes_what_stop_has_left(
    switch: LeaseSwitch, manager: FakeManager, tmp_path: Path
) -> None:
    await switch.remove()
    assert manager.asked == []
    await switch.hold_back(TTL_S, [NAME])
    await switch.remove()
    assert manager.asked[-1] == f"stop {SERVICE}"
    assert list((tmp_path / "links").iterdir()) == []
    assert not (tmp_path / "lease-deadline").exists()


async def test_keep_after_stop_is_told_what_the_switch_has_stopped(
    switch: LeaseSwitch, manager: FakeManager, tmp_path: Path
) -> None:
    await switch.hold_back(TTL_S, [NAME])
    fire(tmp_path)
    assert await made(manager, tmp_path).remove() == (NAME,)
    assert await switch.remove() == ()


async def test_what_the_script_of_an_earlier_agent_has_stopped_is_known(
    switch: LeaseSwitch, tmp_path: Path
) -> None:
    await switch.hold_back(TTL_S, [])
    (tmp_path / "lease-units.stopped").write_text(f"{NAME}\n")
    (tmp_path / "lease-units.due").write_text(f"{NAME}\n{ODD}\n")
    assert await switch.fired() == (NAME,)
    assert await switch.fired() == ()


@pytest.mark.parametrize("garbled", [b"", b"\n\n", b"\xff\n.\n", b"a.service\n"])
async def test_a_list_that_is_garbled_is_written_again(
    manager: FakeManager, tmp_path: Path, garbled: bytes
) -> None:
    await made(manager, tmp_path).hold_back(TTL_S, [NAME])
    (tmp_path / "lease-units").write_bytes(garbled)
    await made(manager, tmp_path).hold_back(TTL_S, [NAME])
    assert listed(tmp_path) == [NAME]


class Script:
    """The switch's script as systemd runs it, with a systemctl that only notes what it is asked, in `aside`."""

    def __init__(self, root: Path, aside: Path) -> None:
        self.root, self.aside, self.log = root, aside, aside / "log"
        self.log.touch()
        tools = aside / "tools"
        tools.mkdir()
        (tools / "systemctl").write_text(
            f'#!/bin/sh\n[ "$2" != is-active ] || cat {aside}/states\necho "$@" >>{self.log}\n'
        )
        (tools / "systemctl").chmod(0o755)
        self.environment = {"PATH": f"{tools}:/usr/bin:/bin"}
        self._processes: list[subprocess.Popen[bytes]] = []

    def run(self, *states: str) -> subprocess.Popen[bytes]:
        """Run it; `states` is what systemd says of the units, in their order."""
        (self.aside / "states").write_text("".join(f"{each}\n" for each in states))
        command = ["/bin/sh", (self.root / "lease-over.sh").as_posix()]
        self._processes.append(subprocess.Popen(command, env=self.environment, start_new_session=True))
        return self._processes[-1]

    def asked(self, verb: str = "") -> list[str]:
        return [line for line in self.log.read_text().splitlines() if verb in line]

    async def asks(self, verb: str) -> None:
        """Wait until systemd is asked that."""
        async with asyncio.timeout(WITHIN_S):
            while not self.asked(verb):  # noqa: ASYNC110 - a program that writes a file tells nobody
                await asyncio.sleep(0.01)

    def end(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    found = Script(tmp_path, tmp_path)
    yield found
    found.end()


async def test_the_script_stops_what_is_listed_and_kills_what_is_left(
    switch: LeaseSwitch, script: Script, tmp_path: Path
) -> None:
    await switch.hold_back(TTL_S, [NAME, ODD])
    assert f'ExecStart=/bin/sh "{tmp_path}/lease-over.sh"' in (tmp_path / "links" / SERVICE).read_text()
    began = time.monotonic()
    script.run("active", "active")
    await script.asks("kill")
    assert time.monotonic() - began >= 0.7 * TTL_S
    names = f"{ODD} {NAME}"
    assert script.asked() == [
        f"--system is-active -- {names}",
        f"--system stop --no-block -- {names}", f"--system kill --signal=KILL -- {names}",
    ]  # fmt: skip
    assert await switch.fired() == (ODD, NAME)
    assert await switch.fired() == ()


@pytest.mark.parametrize("verb", ["is-active", "stop"])
async def test_invariant_10_stop_a_systemd_that_does_not_answer_holds_up_no_kill(
    switch: LeaseSwitch, script: Script, tmp_path: Path, verb: str
) -> None:
    kills = [tmp_path / "groups" / each / "cgroup.kill" for each in (NAME, f"system-odd.slice/{ODD}")]
    for each in kills:
        each.parent.mkdir(parents=True)
        each.touch()
    await switch.hold_back(TTL_S, [NAME, ODD])
    hangs = f'#!/bin/sh\necho "$@" >>{script.log}\n[ "$2" != {verb} ] || exec sleep {10 * WITHIN_S:g}\n'
    (tmp_path / "tools" / "systemctl").write_text(hangs)
    script.run()
    async with asyncio.timeout(WITHIN_S):
        while not all(each.read_text() for each in kills):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    assert script.asked("stop")


async def test_the_script_leaves_alone_what_has_ended_by_itself(switch: LeaseSwitch, script: Script) -> None:
    await switch.hold_back(0.05, [f"{each}.service" for each in "abcd"])
    script.run("active", "inactive", "activating", "failed")
    await script.asks("kill")
    assert "--system stop --no-block -- a.service c.service" in script.asked()
    assert await switch.fired() == ("a.service", "c.service")


async def test_while_the_deadline_is_moved_nothing_is_asked_and_then_it_counts_anew(
    switch: LeaseSwitch, script: Script
) -> None:
    await switch.hold_back(TTL_S, [NAME])
    script.run("active")
    for _ in range(6):
        await asyncio.sleep(TTL_S / 3)
        await switch.hold_back(TTL_S, [NAME])
        assert script.asked() == []
    await script.asks("stop")


@pytest.mark.parametrize(
    "text",
    [
        None, "", "x\n", "BOOT\n", "BOOT 1 2\n", "BOOT LATER 100 20\n", "BOOT 99999999999 100 20 99999999999\n",
        "BOOT -5 100 20 -5\n", "BOOT 0999 100 20 0999\n", "BOOT 9999999999 a 20 9999999999\n", "\0\0\0\0",
        "BOOT 9223372036854775807 9223372036854775808 20 9223372036854775807\n",
        "BOOT $(reboot) 100 20 $(reboot)\n", "another-boot LATER 100 20 LATER\n", "BOOT LATER 100 20 LATER more\n",
        "BOOT LATER 100 0x9 LATER\n", "BOOT LATER 100 999999999999999999999 LATER\n", "BOOT 1:2 100 20 1:2\n",
        "BOOT LATER 100:9 20 LATER\n", "BOOT LATER 100 2:0 LATER\n", "BOOT LATER: 100 20 LATER:\n",
        "BOOT LATER 100 20 LATER9\n",
    ],
)  # fmt: skip
async def test_a_deadline_that_is_missing_or_garbled_stops_everything(
    switch: LeaseSwitch, script: Script, tmp_path: Path, text: str | None
) -> None:
    await switch.hold_back(600.0, [NAME])
    path = tmp_path / "lease-deadline"
    if text is None:
        path.unlink()
    else:
        later = str(int(time.clock_gettime(time.CLOCK_BOOTTIME) * 100) + 90)
        path.write_text(text.replace("BOOT", facts.boot_id()).replace("LATER", later))
    script.run("active")
    await script.asks("stop")
    assert (tmp_path / "lease-units.due").read_text() == f"+{NAME}\n!\n"


async def test_a_deadline_that_is_garbled_while_it_sleeps_is_noticed(
    switch: LeaseSwitch, script: Script, tmp_path: Path
) -> None:
    await switch.hold_back(4.0, [NAME])
    script.run("active")
    await asyncio.sleep(0.1)
    (tmp_path / "lease-deadline").unlink()
    began = time.monotonic()
    await script.asks("stop")
    assert time.monotonic() - began < 2.0, "before the deadline that there was"


async def test_a_directory_that_is_made_anew_is_looked_into(
    switch: LeaseSwitch, script: Script, tmp_path: Path
) -> None:
    await switch.hold_back(2.0, [])
    (tmp_path / "elsewhere").mkdir()
    text = (tmp_path / "lease-over.sh").read_text().replace(f'"{tmp_path}"', f'"{tmp_path}/elsewhere"')
    (tmp_path / "lease-over.sh").write_text(text)
    (tmp_path / "lease-deadline").rename(tmp_path / "elsewhere/lease-deadline")
    script.run("active")
    await asyncio.sleep(0.1)
    shutil.rmtree(tmp_path / "elsewhere")
    await asyncio.sleep(1.0)
    (tmp_path / "new").mkdir()
    (tmp_path / "new/lease-units").write_text(f" {NAME}\n.\n")
    (tmp_path / "new").rename(tmp_path / "elsewhere")
    await script.asks("stop")


async def test_killed_on_the_way_it_goes_on_and_forgets_nothing(
    switch: LeaseSwitch, script: Script, tmp_path: Path
) -> None:
    await switch.hold_back(20.0, ["a.service", "b.service"])
    (tmp_path / "lease-deadline").unlink()
    process = script.run("active", "active")
    await script.asks("stop")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not script.asked("kill")
    script.log.write_text("")
    script.run("inactive", "inactive")
    await script.asks("kill")
    assert script.asked() == [
        "--system stop --no-block -- a.service b.service", "--system kill --signal=KILL -- a.service b.service",
    ]  # fmt: skip
    assert await switch.fired() == ("a.service", "b.service")


@pytest.mark.parametrize("noted", [0, 1, 2])
async def test_killed_while_it_notes_what_runs_it_looks_again(
    switch: LeaseSwitch, script: Script, tmp_path: Path, noted: int
) -> None:
    await switch.hold_back(0.05, ["a.service", "b.service", "c.service"])
    path = tmp_path / "lease-units"
    lines = path.read_text().splitlines()
    lines[:noted] = ["+a.service", "+b.service"][:noted]
    path.rename(tmp_path / "lease-units.due").write_text("\n".join([*lines, ""]))
    assert ran(tmp_path / "lease-units.due") == []
    script.run("active", "inactive", "active")
    await script.asks("kill")
    assert "--system stop --no-block -- a.service c.service" in script.asked()
    assert await switch.fired() == ("a.service", "c.service")


async def test_a_unit_whose_state_systemd_does_not_say_is_stopped(switch: LeaseSwitch, script: Script) -> None:
    await switch.hold_back(0.05, ["a.service", "b.service"])
    script.run("inactive")
    await script.asks("kill")
    assert "--system stop --no-block -- b.service" in script.asked()
    assert await switch.fired() == ("b.service",)


async def test_a_deadline_that_is_read_while_it_is_moved_fires_nothing(
    switch: LeaseSwitch, script: Script, tmp_path: Path
) -> None:
    await switch.hold_back(4.0, [NAME])
    path = tmp_path / "lease-deadline"
    before = path.stat().st_ino
    boot, deadline, *_ = path.read_text().split()
    script.run("active")
    with path.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"0" * len(deadline), len(boot) + 1)  # half of it
        await asyncio.sleep(0.05)
        await switch.hold_back(4.0, [NAME])
    assert path.stat().st_ino == before, "nothing is read of a file that is cut off or not there yet"
    await asyncio.sleep(0.5)
    assert script.asked() == []


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Fill the file system that `tmp_path` is then."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(tmp_path)], check=True)

    def fill() -> None:
        with contextlib.suppress(OSError), (tmp_path / "hog").open("wb", buffering=0) as hog:
            while True:
                hog.write(bytes(4096))

    try:
        yield fill
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
async def test_invariant_10_stop_without_room_the_deadline_moves_and_what_is_stopped_is_known(
    full: Callable[[], None], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, manager: FakeManager
) -> None:
    switch, units = made(manager, tmp_path), [f"unit-{number:03}.service" for number in range(150)]
    await switch.hold_back(60.0, units)
    script = Script(tmp_path, tmp_path_factory.mktemp("aside"))
    full()
    try:
        await switch.hold_back(600.0, units)
        assert ahead_s(tmp_path) > 300.0
        with pytest.raises(OSError, match="No space left"):
            switch.cover("one-more.service")
        with pytest.raises(OSError, match="No space left"):
            await switch.hold_back(1200.0, units[1:])
        assert ahead_s(tmp_path) > 600.0, "it moves, whatever became of the list"
        (tmp_path / "lease-deadline").unlink()
        full()  # what the deadline took, too
        script.run(*["active", "inactive"] * 75)
        await script.asks("stop")
    finally:
        script.end()
    assert await switch.fired() == tuple(units[::2])


@dataclass
class FakeLease:
    renewed_at: float = 0.0
    ttl_s: float = TTL_S
    renewed: asyncio.Event = field(default_factory=asyncio.Event)

    def renew(self, sent_before_s: float = 0.0) -> None:
        self.renewed_at = time.monotonic() - sent_before_s
        self.renewed.set()


@asynccontextmanager
async def guarded(
    on: FakeMachine, switch: LeaseSwitch, lease: FakeLease, began_before_s: float = 0.0
) -> AsyncIterator[None]:
    began = time.monotonic() - began_before_s
    guard = LeaseGuard(lease, on.reconciler, on.systemd, switch, began, lambda: None)
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
        fire(tmp_path)
        on.systemd.become(NAME, active="inactive", sub="dead", pids=())
        await on.rest()
        assert not on.systemd.runs(NAME), "nobody starts it while there is no lease"
        lease.renew()
        await on.launched()
        assert on.entry().phase is Phase.STARTED
        assert f"stop {SERVICE}" in manager.asked, "or it would kill what has just been started"


async def test_invariant_10_stop_a_renewal_that_came_late_counts_from_when_it_was_sent(
    switch: LeaseSwitch, tmp_path: Path
) -> None:
    lease = FakeLease(ttl_s=60.0)
    late_s = 2 * LATE_AT * lease.ttl_s
    async with machine(tmp_path) as on, guarded(on, switch, lease, began_before_s=lease.ttl_s):
        await on.until(lambda: on.reconciler.table.parked)
        lease.renew(sent_before_s=late_s)
        await on.until((tmp_path / "lease-deadline").exists)
        _, deadline, ahead, _, _ = (tmp_path / "lease-deadline").read_text().split()
        left_s = int(deadline) / 100 - time.clock_gettime(time.CLOCK_BOOTTIME)
        assert left_s <= int(ahead) / 100 - late_s


async def test_invariant_10_stop_a_renewal_that_came_late_starts_nothing(
    switch: LeaseSwitch, tmp_path: Path
) -> None:
    lease = FakeLease(ttl_s=60.0)
    async with machine(tmp_path) as on, guarded(on, switch, lease, began_before_s=lease.ttl_s):
        await on.until(lambda: on.reconciler.table.parked)
        on.want()
        lease.renew(sent_before_s=2 * LATE_AT * lease.ttl_s)
        await on.until((tmp_path / "lease-deadline").exists)
        await on.rest()
        assert not on.log, "it would be stopped again before long"
        lease.renew()
        await on.launched()


async def test_invariant_10_stop_the_agent_itself_stops_first(
    switch: LeaseSwitch, manager: FakeManager, tmp_path: Path
) -> None:
    lease = FakeLease(ttl_s=0.4)
    async with machine(tmp_path) as on:
        on.want()
        await on.launched()
        manager.error = SystemdError(SERVICE, "list", "it cannot be")  # and without the switch, too
        async with guarded(on, switch, lease):
            lease.renew()
            await on.until(lambda: not on.systemd.runs(NAME))
            assert on.reconciler.table.parked
            lease.ttl_s = 60.0
            lease.renew()
            await on.launched()
