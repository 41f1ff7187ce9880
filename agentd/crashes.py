"""Keeping the last lines of units that failed in the registry, for when this machine cannot be asked any more.

Owns the keys `crashes/<this machine>/`: it writes each once and never reads or deletes one, so that it needs no
other right; the leading scheduler removes old ones. The journal is read by journalctl, beside the loop, within a
time and a size. Nothing waits for any of it, and a journal that is full, broken or not there costs the lines alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from agentd.dependencies import HeldLease
from agentd.pure.crash import CrashLimits, journal_argv, kept_lines, pushes_out, words_of
from registry.errors import InvalidRecord, RegistryError
from registry.etcd import Etcd
from registry.etcd.backoff import Backoff
from registry.grammar import host_of
from registry.keys import Keys
from registry.model import Crash
from registry.records import encode

log = logging.getLogger("fleet.agent")

SETTLE_S = 1.0  # from the failure until its last lines have come to the journal
READ_S = 10.0
READ_BYTES = 4 << 20
WAITING = 20  # runs that wait while the registry is away: the newest
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run of a unit that failed: which, when (monotonic, and since 1970), how, and from which file."""

    unit: str
    invocation: str  # 32 hex digits
    reason: str
    hash: str
    seen_at: float
    at: float


class CrashRecorder:
    """Takes runs that failed and writes their last lines, one after the other, while there is a lease."""

    def __init__(self, machine: str, host: str, bus: str) -> None:
        self._machine, self._host, self._bus = machine, host_of(host), bus
        self._limits = CrashLimits()
        self._waiting: deque[FailedRun] = deque(maxlen=WAITING)
        self._wake = asyncio.Event()

    def note(self, unit: str, invocation: bytes, reason: str, sha256: str) -> None:
        """A unit has failed, and may run again already."""
        run, now = invocation.hex(), time.monotonic()
        if run and self._limits.take(unit, run, now):
            self._waiting.append(FailedRun(unit, run, reason, sha256, now, time.time()))
            self._wake.set()

    async def run(self, etcd: Etcd, keys: Keys, lease: HeldLease) -> None:
        """Write for ever."""
        backoff = etcd.backoff(RETRY_S)
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                failed = self._waiting.popleft()
                await asyncio.sleep(max(0.0, failed.seen_at + SETTLE_S - time.monotonic()))
                record = await self._record(failed)
                await self._write(etcd, keys, lease, record, backoff)

    async def _write(self, etcd: Etcd, keys: Keys, lease: HeldLease, record: Crash, backoff: Backoff) -> None:
        """Write a record, however long that takes."""
        while True:
            try:
                if lease.id:
                    await etcd.put(keys.crash(self._machine, record.id), encode(record))
                    backoff.reset()
                    return
                await asyncio.sleep(RETRY_S)
            except InvalidRecord as error:
                log.error("%s", error)  # noqa: TRY400 - the reason says it all
                return
            except RegistryError as error:
                if backoff.is_news(error):
                    log.debug("cannot keep the last lines of %s: %s", record.unit, error)
                await backoff.wait(error)

    async def _record(self, failed: FailedRun) -> Crash:
        run = (failed.invocation, self._bus, os.getuid())
        output, trouble = await read_journal(journal_argv(*run, failed.unit))
        lines, cut = kept_lines(output, failed.invocation)
        if not cut and pushes_out(output, lines):  # what ran since has written much: then this run's lines alone
            output, trouble = await read_journal(journal_argv(*run))
            more, more_cut = kept_lines(output, failed.invocation)
            lines, cut = max((lines, cut), (more, more_cut), key=lambda each: len(each[0]))
        if trouble:
            log.warning("cannot read the journal of %s: %s", failed.unit, trouble)
        return Crash(
            self._machine,
            f"{int(failed.at * 1000):013d}-{failed.unit}",
            self._host,
            failed.reason,
            failed.hash,
            failed.invocation,
            lines,
            cut,
            words_of(lines, trouble),
        )


async def read_journal(argv: Sequence[str]) -> tuple[bytes, str]:
    """What a journalctl command prints, and what is wrong with it, "" if nothing is."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return b"", f"cannot run {argv[0]}: {error.strerror}"
    output = bytearray()
    try:
        async with asyncio.timeout(READ_S):
            assert process.stdout  # noqa: S101 - it is a pipe
            while len(output) < READ_BYTES and (data := await process.stdout.read(1 << 16)):
                output += data
            if len(output) >= READ_BYTES:
                return bytes(output), f"it holds more than {READ_BYTES >> 20} MiB"
            status = await process.wait()
    except TimeoutError:
        return bytes(output), f"{argv[0]} took longer than {READ_S:g} s"
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return bytes(output), f"{argv[0]} ended with status {status}" if status and not output else ""
