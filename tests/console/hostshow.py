"""Machines that answer as the script says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from fleettui.console.sources.hosts import Session
from registry.model import Machine

STATUS = (
    "\x1b[0;1;32m●\x1b[0m {unit} - Scripted\n"
    "     Loaded: loaded (\x1b]8;;file:///x\x07/run/fleet/units/{unit}\x1b]8;;\x07; "
    "\x1b[0;1;32mlinked-runtime\x1b[0m)\n"
    "     Active: \x1b[0;1;32mactive (running)\x1b[0m since Mon 2026-09-21 12:13:20 UTC; 2h 0min ago\n"
    "   Main PID: 401 (web)\n"
    "      Tasks: \x1b[0;38;5;245m3 (limit: 4915)\x1b[0m\n"
    "\n"
    "Sep 21 14:13:01 {host} web[401]: GET /healthz 200 1 ms\n"
    "Sep 21 14:13:08 {host} web[401]: \x1b[0;1;38:5:185mslow query: 812 ms\x1b[0m\n"
)  # as systemctl 252 prints it


class ScriptedHosts:
    """Prints a status, or raises what it is told to; its shells end with what they are told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.shells: list[str] = []
        self.signals: list[tuple[str, str, str]] = []
        self.started: list[tuple[str, str]] = []
        self.text = STATUS
        self.error: Exception | None = None
        self.exit_status = 0
        self.ran: list[tuple[str, list[str]]] = []
        self.prints: list[bytes] = []
        self.endless = False

    async def status(self, machine: Machine, unit: str) -> str:
        self.asked.append((machine.hostname, unit))
        if self.error:
            raise self.error
        return self.text.replace("{unit}", unit).replace("{host}", machine.hostname)

    async def look(self, machine: Machine, unit: str) -> str:
        if self.error:
            raise self.error
        self.asked.append((machine.hostname, unit))
        return f"\x1b[1mits processes\x1b[0m\n├─401 /usr/bin/{unit.partition('.')[0]} --port 801\n└─402 worker\n"

    async def start(self, machine: Machine, unit: str) -> None:
        if self.error:
            raise self.error
        self.started.append((machine.hostname, unit))

    async def signal(self, machine: Machine, unit: str, signal: str) -> None:
        if self.error:
            raise self.error
        self.signals.append((machine.hostname, unit, signal))

    async def run(self, machine: Machine | None, argv: Sequence[str], take: Callable[[bytes], object]) -> int:
        if self.error:
            raise self.error
        self.ran.append((machine.hostname if machine else "here", list(argv)))
        for part in self.prints:
            take(part)
        if self.endless:
            await asyncio.Event().wait()
        return self.exit_status

    @asynccontextmanager
    async def shell(self, machine: Machine) -> AsyncGenerator[Session, None]:
        if self.error:
            raise self.error

        async def session() -> int:
            self.shells.append(machine.hostname)
            return self.exit_status

        yield session
