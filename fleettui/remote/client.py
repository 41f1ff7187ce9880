"""`Remote`: everything that an operator's programs do on machines, over SSH or, where it is this host, without.

The public face of this package; what is behind it loads asyncssh, and only when the first connection is made.
A machine of the user's own systemd on this very host (see `here`) needs no sshd: its commands run here.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from fleettui.journal_entry import JournalEntry, LineSplitter, parse
from fleettui.remote import shell, tunnel
from fleettui.remote.command import (
    MAX_OUTPUT_BYTES,
    Completed,
    as_root,
    collect,
    hand_on,
    kill_argv,
    look_argvs,
    quoted,
    start_argv,
    status_argv,
    within,
)
from fleettui.remote.endpoint import of_machine
from fleettui.remote.errors import CommandTimeout, RemoteError
from fleettui.remote.here import LocalMachine
from fleettui.remote.journal import Batch, JournalStream, OnDropped, OnLink, first_line, ignore_links
from fleettui.remote.journal_history import JournalHistory, Place, search
from fleettui.remote.journal_query import JournalQuery, JournalSource, Position, fields_argv, journal_argv
from fleettui.remote.pins import Pins
from fleettui.remote.process import CHUNK_BYTES, Running, start_here
from fleettui.remote.tunnel import Tunnel
from registry.errors import FleetError, UserError
from registry.model import Machine
from registry.program.config import SshTable

if TYPE_CHECKING:
    from fleettui.remote.connection import Connector
    from fleettui.remote.pool import SessionPool

COMMAND_TIMEOUT_S = 30.0
STREAM_TIMEOUT_S = 3600.0  # of a command whose output is watched
FIELDS_TIMEOUT_S = 10.0
CONNECTION_FAILED = 255  # what ssh exits with

OnFirst = Callable[[str, bool], None]


class Remote:
    """A pool of connections to machines. Use it as an async context manager, in one event loop.

    Every method takes the machine as the registry has it now: a machine with a new address, port or host keys gets
    new connections.
    """

    def __init__(
        self,
        ssh: SshTable,
        *,
        here: LocalMachine | None = None,
        pins: Pins | None = None,
        on_first: OnFirst | None = None,
    ) -> None:
        """Without `here` no command runs on this host; without `pins` the registry's host keys count each time.

        `on_first` is told when a machine's host key is pinned: the line, and whether it is a warning.
        """
        self.ssh = ssh
        self._here, self._pins, self._on_first = here, pins, on_first or (lambda _line, _warning: None)
        self._connector: Connector | None = None
        self._pools: dict[str, SessionPool] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pools, self._pools = list(self._pools.values()), {}
        await asyncio.gather(*(pool.close() for pool in pools))
        if self._connector:
            await self._connector.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def run(
        self, machine: Machine, argv: Sequence[str], *, timeout_s: float = COMMAND_TIMEOUT_S, sudo: bool = False
    ) -> Completed:
        """Run a command to its end, without input. Its exit status is no error; not reaching the machine is.

        `sudo` runs it as root (by sudo that must not ask for a password). Raises RemoteError, UserError.
        """
        command = within(timeout_s, as_root(argv) if sudo else argv)
        try:
            async with asyncio.timeout(timeout_s):
                async with self.start(machine, command) as running:
                    completed = await collect(running)
        except TimeoutError:
            why = f"{argv[0]} did not end within {timeout_s:g} s"
            raise CommandTimeout(machine.hostname, why, "it was told to end") from None
        except OverflowError:
            why = f"{argv[0]} printed more than {MAX_OUTPUT_BYTES // 2**20} MiB"
            raise RemoteError(machine.hostname, why, "it was told to end; try it there by hand") from None
        return completed

    async def stream(
        self, machine: Machine, argv: Sequence[str], take: Callable[[bytes], object],
        *, timeout_s: float = STREAM_TIMEOUT_S,
    ) -> int:  # fmt: skip
        """Run a command without input; `take` gets both its streams as they come. Its exit status.

        Cancelling ends it; its own machine ends it after `timeout_s`. Raises RemoteError, UserError.
        """
        async with self.start(machine, within(timeout_s, argv)) as running:
            return await hand_on(running, take)

    async def run_here(self, argv: Sequence[str], take: Callable[[bytes], object]) -> int:
        """The same on this host. Raises OSError for a program that cannot be started."""
        running = await start_here(list(argv))
        try:
            return await hand_on(running, take)
        finally:
            await running.close()

    async def unit_status(
        self, machine: Machine, unit: str, *, colour: bool = False, lines: int | None = None, sudo: bool = False
    ) -> Completed:
        """`systemctl status` of a unit; status 3 is a unit that is not active, 4 one that systemd does not know."""
        return await self.run(machine, status_argv(machine, unit, colour=colour, lines=lines, sudo=sudo))

    async def timer_times(self, machine: Machine, timer: str) -> Completed:
        """`systemctl list-timers` of one timer: when it elapses next, and when it did last."""
        return await self.run(machine, look_argvs(machine, timer)[0][1])

    async def unit_kill(self, machine: Machine, unit: str, signal: str) -> Completed:
        """Send a signal to all processes of a unit; see `kill_argv`."""
        return await self.run(machine, kill_argv(machine, unit, signal))

    async def unit_start(self, machine: Machine, unit: str) -> Completed:
        """Have systemd start a unit; see `start_argv`."""
        return await self.run(machine, start_argv(machine, unit))

    async def unit_look(self, machine: Machine, unit: str) -> list[tuple[str, Completed]]:
        """What else the machine says of a unit, each with its heading; see `look_argvs`."""
        asked = look_argvs(machine, unit)
        answers = await asyncio.gather(*(self.run(machine, argv) for _, argv in asked))
        return [(title, answer) for (title, _), answer in zip(asked, answers, strict=True)]

    async def journal(
        self, sources: Sequence[JournalSource], query: JournalQuery, on_link: OnLink = ignore_links
    ) -> AsyncGenerator[JournalEntry, None]:
        """Entries of all sources, merged by time; see `journal_stream`."""
        async with contextlib.aclosing(self.journal_stream(sources, query, on_link).batches()) as batches:
            async for batch in batches:
                for entry in batch:
                    yield entry

    def journal_stream(
        self, sources: Sequence[JournalSource], query: JournalQuery, on_link: OnLink = ignore_links,
        on_dropped: OnDropped | None = None,
    ) -> JournalStream:  # fmt: skip
        """Entries of all sources, merged by time, in the batches in which they arrive; the sources may change.

        With `query.follow` it never ends, and each machine resumes at its cursor when its connection breaks. What
        becomes of a machine's link is told to `on_link`; nothing about one is raised. With `on_dropped`, lines that
        the reader cannot take in time are dropped and told; without, journalctl waits for the reader.
        """
        return JournalStream(self.start, sources, query, on_link, on_dropped)

    def journal_history(
        self, sources: Sequence[JournalSource], query: JournalQuery, places: Mapping[str, Place], *, backwards: bool
    ) -> JournalHistory:
        """The journals of all sources from places on (by machine id), to be read in pieces."""
        return JournalHistory(self.start, sources, query, places, backwards=backwards)

    def journal_search(
        self, sources: Sequence[JournalSource], query: JournalQuery, troubles: dict[str, str]
    ) -> AsyncGenerator[Batch, None]:
        """What matches `query.grep`, each machine's newest first; `troubles` says what could not be searched."""
        return search(self.start, sources, query, troubles)

    async def journal_fields(self, machine: Machine, cursor: str) -> dict[str, str]:
        """Every field of one entry. Raises RemoteError, also when the machine no longer has that entry."""
        done = await self.run(machine, fields_argv(cursor), timeout_s=FIELDS_TIMEOUT_S)
        entry = parse(done.stdout.strip(), machine.id, all_fields=True)
        if entry is None or entry.fields is None:
            why = first_line(done.stderr) or "it does not have the entry any more"
            raise RemoteError(
                machine.hostname, f"journalctl failed: {why}", "its journal may have been rotated away"
            )
        if entry.cursor != cursor:
            raise RemoteError(machine.hostname, "it does not have the entry any more",
                              "its journal was rotated or vacuumed since the line was read")  # fmt: skip
        return dict(entry.fields)

    async def journal_text(
        self, machine: Machine, units: Sequence[str], query: JournalQuery, output: str = "short"
    ) -> AsyncGenerator[str, None]:
        """The lines of one machine's journalctl in one of its own formats, as they are: escape them for a terminal.

        Raises RemoteError also when journalctl fails.
        """
        argv = journal_argv(machine, units, query, Position(query.lines), follow=query.follow, output=output)
        lines = LineSplitter(keep_empty=True)
        async with self.start(machine, argv) as running:
            while data := await running.stdout.read(CHUNK_BYTES):
                for line in lines.feed(data):
                    yield line.decode("utf-8", "replace")
            complaint = first_line(await running.stderr.read(CHUNK_BYTES))
            if await running.wait() and complaint:
                raise RemoteError(machine.hostname, f"journalctl failed: {complaint}", "try it there by hand")

    async def interactive(self, machine: Machine, argv: Sequence[str] = (), *, forward_agent: bool = False) -> int:
        """A shell, or a command line for the far shell, on our own terminal; its exit status.

        255 when the connection fails, after one line on stderr that says why.
        """
        try:
            async with self.session(machine, argv, forward_agent=forward_agent) as attach:
                return await attach()
        except FleetError as error:
            shell.complain(str(error))
            return CONNECTION_FAILED

    @contextlib.asynccontextmanager
    async def session(
        self, machine: Machine, argv: Sequence[str] = (), *, forward_agent: bool = False
    ) -> AsyncIterator[Callable[[], Awaitable[int]]]:
        """What `interactive` does, in two steps: entering connects, calling takes our terminal.

        So the terminal is left alone when there is no way in. Raises RemoteError, UserError, in the call too.
        """
        if self._is_here(machine):
            yield lambda: shell.attach_here(argv)
            return
        connector = await self._ready()
        from fleettui.remote.connection import in_use  # noqa: PLC0415 - needs asyncssh, loaded by now

        endpoint = of_machine(machine, self.ssh.port)

        async def attach() -> int:
            with in_use(endpoint.shown):
                return await shell.attach(connection, endpoint.shown, argv)

        async with await connector.open(endpoint, forward_agent=forward_agent) as connection:
            yield attach

    @contextlib.asynccontextmanager
    async def tunnel(self) -> AsyncIterator[Tunnel]:
        """Connections to what the jump host ([ssh] tunnel) sees, which outlive a broken connection to it.

        Raises RemoteError, UserError.
        """
        if not self.ssh.tunnel:
            raise UserError("no jump host to reach it through: set --tunnel HOST[:PORT]")
        async with tunnel.through(await self._ready(), self.ssh.tunnel) as opened:
            yield opened

    @contextlib.asynccontextmanager
    async def start(
        self, machine: Machine, argv: Sequence[str], stdin: BinaryIO | None = None
    ) -> AsyncIterator[Running]:
        """Start a command, with what is left of a file as its input; leaving the context ends it.

        Raises RemoteError, UserError.
        """
        if self._is_here(machine):
            running = await start_here(list(argv), stdin)
            try:
                yield running
            finally:
                await running.close()
            return
        async with (await self._pool(machine)).run(quoted(argv), stdin) as far:
            yield far

    async def _pool(self, machine: Machine) -> SessionPool:
        connector = await self._ready()
        endpoint = of_machine(machine, self.ssh.port)
        pool = self._pools.get(machine.id)
        if pool is None or pool.endpoint != endpoint:
            if pool is not None:
                self._spawn(pool.close(), f"ssh leave {pool.endpoint.name}")
            from fleettui.remote.pool import SessionPool  # noqa: PLC0415 - needs asyncssh, loaded by now

            pool = self._pools[machine.id] = SessionPool(connector, endpoint, self._spawn)
        return pool

    async def _ready(self) -> Connector:
        """The connector; loads asyncssh (a quarter of a second) without stopping the event loop."""
        if self._connector is None:
            await asyncio.to_thread(importlib.import_module, "fleettui.remote.pool")
            from fleettui.remote.connection import Connector, HostKeyMemory  # noqa: PLC0415 - loaded by now

            if self._connector is None:  # two callers may have waited for the same import
                memory = HostKeyMemory(self._pins, self._on_first) if self._pins else None
                self._connector = Connector(self.ssh, memory)
        return self._connector

    def _is_here(self, machine: Machine) -> bool:
        return self._here is not None and self._here.means(machine)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
