"""What the scheduler tells the systemd that started it: in words, and as a process with a real etcd."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.etcd import Etcd, EtcdSettings
from registry.etcd.health import EtcdTrouble
from registry.keys import Keys
from registry.model import Leader, Machine
from registry.program import config
from registry.program.notify import Notifier
from registry.records import encode
from registry.sync.follow import ConnectionState
from scheduler import service
from scheduler.standing import SchedulerStatus, status_line
from tests.etcd_server import EtcdServer

NOON = 1_800_000_000.0
LIVE = SchedulerStatus(link=ConnectionState.LIVE, user="scheduler")
LEADING = replace(LIVE, term=7, machines=3, leader="core-1")


@pytest.mark.parametrize(
    ("standing", "line"),
    [
        (LEADING, "leading, term 7, deciding for 3 machines"),
        (replace(LEADING, machines=1), "leading, term 7, deciding for 1 machine"),
        (replace(LEADING, held="core-2 holds"), "leading, term 7, deciding nothing: core-2 holds"),
        (replace(LIVE, leader="core-2"), "standing by, core-2 leads"),
        (LIVE, "standing by, nobody leads yet"),
        (replace(LIVE, leader=""), "standing by; the leader's record cannot be read"),
        (replace(LIVE, link=ConnectionState.FOREIGN, reason="no fleet's"), "deciding nothing: no fleet's"),
        (replace(LIVE, link=ConnectionState.CONNECTING), "reading the registry"),
        (
            replace(LIVE, leader="core-2", endpoints="2 of 3 etcd endpoints answer: b does not"),
            "standing by, core-2 leads; 2 of 3 etcd endpoints answer: b does not",
        ),
    ],
)
def test_it_says_what_it_does(standing: SchedulerStatus, line: str) -> None:
    assert status_line(standing) == line


def test_neither_absence_nor_denial_is_hidden_by_a_leadership() -> None:
    away = status_line(replace(LEADING, away=EtcdTrouble(NOON, "a timed out")))
    assert away.startswith("registry does not answer since 2027-01-15 ")
    denied = status_line(replace(LEADING, denied=EtcdTrouble(NOON, "wrong password")))
    assert denied.startswith("denied as scheduler since 2027-01-15 ")


class Manager:
    """The socket of the systemd that started a scheduler, and what was said over it."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)
        self.heard: list[str] = []

    async def hear(self, begin: str) -> str:
        """Wait until something that begins so is said; what came before it is forgotten."""
        async with asyncio.timeout(90):
            while True:
                while self.heard:
                    if (line := self.heard.pop(0)).startswith(begin):
                        return line
                data = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
                self.heard += data.decode().split("\n")


@pytest.fixture
def manager() -> Iterator[Manager]:
    with tempfile.TemporaryDirectory() as directory:
        made = Manager(Path(directory))
        yield made
        made.socket.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path / "etcd") as server:
        yield server


@asynccontextmanager
async def started(server: EtcdServer, manager: Manager, **more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environ = {
        "PATH": os.environ["PATH"],
        "FLEET_ETCD_ENDPOINTS": ",".join(server.endpoints),
        "FLEET_SCHEDULER_LEASE_TTL": "3s",
        "NOTIFY_SOCKET": manager.path,
        **more,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scheduler", env=environ, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.etcd
async def test_a_scheduler_tells_of_its_lead_of_an_outage_and_of_its_end(own: EtcdServer, manager: Manager) -> None:
    async with started(own, manager) as process:
        await manager.hear("READY=1")
        await manager.hear("STATUS=leading, term ")
        own.kill()
        await manager.hear("STATUS=registry does not answer since ")
        await own.restart()
        await manager.hear("STATUS=leading, term ")
        process.send_signal(signal.SIGTERM)
        await manager.hear("STOPPING=1")
        assert await process.wait() == 0


@pytest.mark.etcd
async def test_one_that_does_not_lead_says_who_does(own: EtcdServer, manager: Manager) -> None:
    async with Etcd(EtcdSettings(own.endpoints)) as etcd:
        await etcd.put(Keys().leader, encode(Leader("x", "core-9", 1.0)), await etcd.lease_grant(120))
        async with started(own, manager):
            await manager.hear("STATUS=standing by, core-9 leads")
            await etcd.delete(Keys().leader)
            await manager.hear("STATUS=leading, term ")
            machine = Machine("1" * 32, "core-1", "10.0.0.1", "boot")
            await etcd.put(Keys().machine(machine.id), encode(machine), await etcd.lease_grant(120))
            line = await manager.hear("STATUS=leading, term ")
            assert line.endswith("deciding for 1 machine")


@pytest.mark.etcd
async def test_it_is_ready_and_says_so_while_there_is_no_registry(own: EtcdServer, manager: Manager) -> None:
    own.kill()
    async with started(own, manager, WATCHDOG_USEC="400000"):
        await manager.hear("READY=1")
        await manager.hear("STATUS=registry does not answer since ")
        for _ in range(3):
            await manager.hear("WATCHDOG=1")
        await own.restart()
        await manager.hear("STATUS=leading, term ")


@pytest.mark.etcd
async def test_a_large_decision_lets_the_watchdog_be_told(
    own: EtcdServer, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeats, loop = 0, asyncio.get_running_loop()

    def busy(*_: Any) -> list[Any]:
        """Decides until the watchdog was told often enough meanwhile."""
        began, deadline = heartbeats, time.monotonic() + 60
        while heartbeats < began + 5:
            assert time.monotonic() < deadline, "the event loop stands still"
        loop.call_soon_threadsafe(decided.set)
        return []

    class Counting(Notifier):
        def send(self, *states: str) -> None:
            nonlocal heartbeats
            heartbeats += "WATCHDOG=1" in states

    decided = asyncio.Event()
    monkeypatch.setattr(service, "decide_around", busy)
    notifier = Counting({"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "100000"})
    settings = config.load(None, {"FLEET_ETCD_ENDPOINTS": ",".join(own.endpoints)}, ())
    async with Etcd(settings.etcd.client_settings()) as etcd:
        tasks = [
            asyncio.create_task(notifier.keep_alive()),
            asyncio.create_task(service.Scheduler(etcd, settings, "core-1").run()),
        ]
        async with asyncio.timeout(90):
            await decided.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
