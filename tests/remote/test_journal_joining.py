"""Units that join and leave a stream that runs: no gap and no repeat, against a journalctl of our own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from fleettui.remote import journal_feed
from fleettui.remote.journal import JournalStream
from fleettui.remote.journal_query import JournalQuery, JournalSource
from fleettui.remote.process import ByteStream, Running
from registry.model import Machine

HOST = Machine("1" * 32, "core-1", "10.0.0.1", "b1")
UNITS = [f"u{number}.service" for number in range(6)]
BEGAN = 1_700_000_000_000_000


class Journal:
    """One machine's journal; `start` is the way to its journalctl. Now and then a connection breaks."""

    def __init__(self, lot: random.Random) -> None:
        self.lot, self.entries = lot, list[tuple[int, str]]()
        self.changed = asyncio.Event()
        self.at = BEGAN
        self.started = 0

    def write(self, count: int) -> None:
        """Some units say something; now and then nobody does for a while."""
        for _ in range(count):
            self.at += self.lot.choice([1, 20_000, 90_000, 90_000, 5_000_000 if self.lot.random() < 0.1 else 0])
            self.entries.append((self.at, self.lot.choice(UNITS)))
        self.changed.set()

    @contextlib.asynccontextmanager
    async def start(self, _machine: Machine, argv: list[str]) -> AsyncIterator[Running]:
        self.started += 1
        yield Journalctl(self, argv)


class Journalctl:
    """What it prints."""

    def __init__(self, journal: Journal, argv: Sequence[str]) -> None:
        self.journal = journal
        said = dict(each.partition("=")[::2] for each in argv)
        self.units = {each.partition("=")[2] for each in argv if each.startswith("--unit=")}
        self.follow, lines = "--follow" in said, said["--lines"]
        self.next = int(said["--after-cursor"].partition("=")[2], 16) + 1 if said.get("--after-cursor") else 0
        since = int(said["--since"].removeprefix("@").replace(".", "")) if said.get("--since") else 0
        while self.next < len(journal.entries) and journal.entries[self.next][0] < since:
            self.next += 1
        if lines != "all":
            mine = [n for n, (_, unit) in enumerate(journal.entries) if unit in self.units]
            self.next = mine[-int(lines)] if len(mine) >= int(lines) else 0
        self.stdout: ByteStream = self
        self.stderr: ByteStream = Nothing()
        self.breaks = journal.lot.randrange(3, 40) if self.follow and journal.lot.random() < 0.5 else 10**9

    async def read(self, _bytes: int = -1, /) -> bytes:
        """The next few lines of its units."""
        while True:
            await asyncio.sleep(0)
            found: list[dict[str, str]] = []
            while self.next < len(self.journal.entries) and len(found) < 4:
                at, unit = self.journal.entries[self.next]
                if unit in self.units:
                    found.append({"__CURSOR": f"i={self.next:x}", "__REALTIME_TIMESTAMP": str(at),
                                  "_SYSTEMD_UNIT": unit, "MESSAGE": str(self.next)})  # fmt: skip
                self.next += 1
            self.breaks -= len(found)
            if self.breaks < 0 or not (found or self.follow):
                return b""
            if found:
                return b"".join(json.dumps(each).encode() + b"\n" for each in found)
            self.journal.changed.clear()
            if self.next >= len(self.journal.entries):
                await self.journal.changed.wait()

    async def wait(self) -> int:
        return 0

    async def close(self) -> bool:
        return True


class Nothing:
    """No complaint."""

    async def read(self, _bytes: int = -1, /) -> bytes:
        return b""


@pytest.mark.parametrize("seed", range(12))
async def test_units_that_join_and_leave_are_read_without_gap_or_repeat(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_feed, "JOIN_S", 0.001)
    monkeypatch.setattr(journal_feed, "BACKOFF_S", (0.001,))
    lot = random.Random(seed)
    journal = Journal(lot)
    journal.write(30)
    wanted = lot.sample(UNITS, 2)
    stream = JournalStream(
        journal.start, [JournalSource(HOST, unit) for unit in wanted], JournalQuery(None, follow=True)
    )
    got: list[int] = []
    joined: dict[str, int] = dict.fromkeys(wanted, 0)  # unit -> the entry from which on it must be there

    async def read() -> None:
        async with contextlib.aclosing(stream.batches()) as batches:
            async for batch in batches:
                got.extend(int(each.message) for each in batch)

    def due() -> list[int]:
        return [n for n, (_, unit) in enumerate(journal.entries) if unit in joined and n >= joined[unit]]

    reader = asyncio.create_task(read())
    for _ in range(8):
        journal.write(lot.randrange(0, 40))
        if lot.random() < 0.5:
            async with asyncio.timeout(20):
                while not {*due()} <= {*got}:  # noqa: ASYNC110 - it polls what the stream gave
                    await asyncio.sleep(0.002)
        new = lot.sample(UNITS, lot.randrange(0, 3))
        joined |= {unit: len(journal.entries) for unit in new if unit not in joined}
        stream.retarget([JournalSource(HOST, unit) for unit in joined])
    journal.write(20)
    async with asyncio.timeout(20):
        while not {*due()} <= {*got}:  # noqa: ASYNC110 - it polls what the stream gave
            await asyncio.sleep(0.002)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    assert len(got) == len({*got}), "nothing twice"
    assert journal.started > len(joined) // 3
