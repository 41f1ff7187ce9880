"""Health checks against real servers on the loopback: what is healthy, what is not, and what is told."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentd import health
from agentd.health import AT_ONCE, HealthChecks, attempt
from agentd.managed_unit import ManagedUnit
from agentd.pure.entry import LedgerEntry, Phase
from agentd.unit_directory import UnitDirectory
from agentd.unit_table import UnitTable
from registry.model import UnitHealth
from registry.units.health import HealthCheck

NAME = "web.service"


@asynccontextmanager
async def server(answer: Callable[[], bytes | None]) -> AsyncIterator[int]:
    """A server that answers each request so; None: never. Yields its port."""
    holding: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            holding.add(task)
        try:
            await reader.readline()
            if (said := answer()) is None:
                await asyncio.Event().wait()
            else:
                writer.write(said)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]
        await asyncio.sleep(0.05)
        for task in holding:
            task.cancel()
        await asyncio.gather(*holding, return_exceptions=True)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 302 Found\r\n", ""),
        (b"HTTP/1.1 500 \x1b[31mno\r\n\r\n", "status 500 from http://127.0.0.1:"),
        (b"HTTP/1.1 404 Not Found\n", "status 404"),
        (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 twohundred\r\n", "does not speak HTTP"),
        (b"x" * 5000, "does not speak HTTP"),
        (b"", "does not speak HTTP"),
        (None, "no answer from http://127.0.0.1:"),
    ],
)
async def test_what_an_answer_means(answer: bytes | None, said: str) -> None:
    async with server(lambda: answer) as port:
        found = await attempt(HealthCheck("127.0.0.1", port, "/healthz", timeout_s=0.5))
        assert found == "" if not said else said in found
        assert found.isprintable()
        assert await attempt(HealthCheck("127.0.0.1", port)) == ""  # it takes connections


async def test_nobody_there_is_not_healthy() -> None:
    async with server(lambda: b"") as port:
        pass
    assert f"cannot reach tcp://127.0.0.1:{port}: " in await attempt(HealthCheck("127.0.0.1", port))
    assert "cannot reach" in await attempt(HealthCheck("no.such.host.invalid", 1))


async def test_names_that_no_resolver_answers_hold_nothing_else_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    real = socket.getaddrinfo

    def lookup(host: str, *more: Any, **named: Any) -> Any:
        assert not host.endswith(".example") or answers.wait(60)
        return real("127.0.0.1", *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    try:
        async with server(lambda: b"HTTP/1.1 200 OK\r\n\r\n") as port, asyncio.timeout(30):
            names = [HealthCheck(f"{each}.example", port, "/", timeout_s=0.2) for each in range(2 * AT_ONCE)]
            for found in await asyncio.gather(*map(attempt, names)):
                assert "no answer from" in found
            assert await asyncio.to_thread(lambda: "the agent's own") == "the agent's own"
            for host in ("127.0.0.1", "localhost"):
                assert await attempt(HealthCheck(host, port, "/")) == ""
            answers.set()
            assert await attempt(HealthCheck("web.example", port, "/")) == "", (
                "and so are names, once they are known"
            )
    finally:
        answers.set()


class Told:
    """What the registry would be told."""

    def __init__(self) -> None:
        self.dirty: list[str] = []
        self.events: list[tuple[str, str, str]] = []

    def mark_dirty(self, units: Iterable[str]) -> None:
        self.dirty += units

    def record_event(self, verb: str, *, unit: str = "", reason: str = "") -> None:
        self.events.append((verb, unit, reason))


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not what():  # noqa: ASYNC110 - nothing tells of a change
            await asyncio.sleep(0.01)


async def test_a_unit_is_starting_healthy_unhealthy_and_healthy_again_and_each_is_told_once(tmp_path: Path) -> None:
    answers = {"now": b"HTTP/1.1 503 Not yet\r\n"}
    directory, table, told = UnitDirectory(tmp_path / "units"), UnitTable("0" * 32), Told()
    checks = HealthChecks(table, directory, told)
    async with server(lambda: answers["now"]) as port, asyncio.TaskGroup() as group:
        options = f"HealthCheck=http://127.0.0.1:{port}/\nHealthInterval=500ms\nHealthRetries=1\n"
        directory.write(NAME, f"[Service]\nExecStart=/bin/true\n[X-Fleet]\n{options}")
        unit = table.units[NAME] = ManagedUnit(NAME, entry=LedgerEntry(NAME, "0" * 64, 1, 1, Phase.STARTED))
        running = group.create_task(checks.run())
        await asyncio.sleep(0.05)
        assert unit.health is UnitHealth.UNCHECKED  # it does not run
        unit.status = replace(unit.status, active="active", invocation=b"1")
        checks.look([NAME])
        await until(lambda: "503" in unit.sickness)
        state = table.state(NAME)
        assert state is not None
        assert (state.health, "status 503" in state.sickness) == (UnitHealth.STARTING, True)
        answers["now"] = b"HTTP/1.1 200 OK\r\n"
        await until(lambda: unit.health is UnitHealth.HEALTHY)
        assert unit.sickness == ""
        answers["now"] = b"HTTP/1.1 500 Broken\r\n"
        await until(lambda: unit.health is UnitHealth.UNHEALTHY)
        told.dirty.clear()
        await asyncio.sleep(1.0)
        assert told.dirty == []  # nothing has changed
        answers["now"] = b"HTTP/1.1 200 OK\r\n"
        await until(lambda: unit.health is UnitHealth.HEALTHY)
        assert [verb for verb, _, _ in told.events] == ["unhealthy", "healthy"]
        unit.status = replace(unit.status, active="activating", invocation=b"2")
        checks.look([NAME])
        await until(lambda: unit.health is UnitHealth.UNCHECKED)
        unit.status = replace(unit.status, active="active")
        checks.look([NAME])
        await until(lambda: unit.health is UnitHealth.HEALTHY)
        del table.units[NAME]
        checks.look([NAME])
        await asyncio.sleep(0.05)
        running.cancel()


async def test_a_check_that_is_only_spoken_of_is_none_in_a_large_file_too(tmp_path: Path) -> None:
    directory, table, told = UnitDirectory(tmp_path / "units"), UnitTable("0" * 32), Told()
    checks = HealthChecks(table, directory, told)
    for name, filling in (("a.service", ""), ("b.service", "#\n" * 20_000)):
        directory.write(name, f"# HealthCheck is not set\n{filling}[Service]\nExecStart=/bin/true\n")
        unit = ManagedUnit(name, entry=LedgerEntry(name, "0" * 64, 1, 1, Phase.STARTED))
        unit.status = replace(unit.status, active="active", invocation=b"1")
        table.units[name] = unit
    async with asyncio.TaskGroup() as group:
        running = group.create_task(checks.run())
        await until(lambda: len(told.dirty) == 4)  # that it may have one, and that it has none
        assert all(unit.health is UnitHealth.UNCHECKED for unit in table.units.values())
        running.cancel()


async def test_a_unit_that_never_answers_well_is_not_healthy_and_holds_no_other_up(tmp_path: Path) -> None:
    directory, table, told = UnitDirectory(tmp_path / "units"), UnitTable("0" * 32), Told()
    checks = HealthChecks(table, directory, told)
    async with (
        server(lambda: None) as silent,
        server(lambda: b"HTTP/1.1 204\r\n") as good,
        asyncio.TaskGroup() as group,
    ):
        for number, port in enumerate((*[silent] * 20, good)):
            name = f"web@{number}.service"
            options = (
                f"HealthCheck=http://127.0.0.1:{port}/\nHealthInterval=500ms\nHealthTimeout=300ms\nHealthRetries=0"
            )
            directory.write(name, f"[Service]\nExecStart=/bin/true\n[X-Fleet]\n{options}\n")
            unit = ManagedUnit(name, entry=LedgerEntry(name, "0" * 64, 1, 1, Phase.STARTED))
            unit.status = replace(unit.status, active="active", invocation=b"1")
            table.units[name] = unit
        running = group.create_task(checks.run())
        await until(lambda: table.units["web@20.service"].health is UnitHealth.HEALTHY)
        await until(lambda: all(table.units[f"web@{n}.service"].health is UnitHealth.UNHEALTHY for n in range(20)))
        assert "no answer from" in table.units["web@0.service"].sickness
        running.cancel()


async def test_more_checks_than_may_be_under_way_that_do_not_answer_delay_only_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "AT_ONCE", 2)
    directory, table, asked = UnitDirectory(tmp_path / "units"), UnitTable("0" * 32), Counter[str]()

    def answer(kind: str, line: bytes | None) -> bytes | None:
        asked[kind] += 1
        return line

    checks = HealthChecks(table, directory, Told())
    async with (
        server(lambda: answer("silent", None)) as silent,
        server(lambda: answer("good", b"HTTP/1.1 204\r\n")) as good,
        asyncio.TaskGroup() as group,
    ):
        for number, port in enumerate((*[silent] * 20, good)):
            name = f"web@{number}.service"
            options = f"HealthCheck=http://127.0.0.1:{port}/\nHealthInterval=500ms\nHealthTimeout=300ms"
            directory.write(name, f"[Service]\nExecStart=/bin/true\n[X-Fleet]\n{options}\n")
            unit = ManagedUnit(name, entry=LedgerEntry(name, "0" * 64, 1, 1, Phase.STARTED))
            unit.status = replace(unit.status, active="active", invocation=b"1")
            table.units[name] = unit
        running = group.create_task(checks.run())
        await until(lambda: asked["silent"] >= 20 and asked["good"])
        asked.clear()
        await until(lambda: asked["good"] >= 6)
        assert asked["silent"] < 10 * asked["good"]  # in one queue it would be twenty of them to one
        running.cancel()
