"""Reading what agents kept of units that failed, for when the machine itself cannot be asked any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fleettui.actions.operator import Operator
from fleettui.escape import clause
from fleettui.journal_entry import JournalEntry
from registry.errors import CorruptRecord
from registry.keys import Address, Table
from registry.mirror import Pair
from registry.model import Crash
from registry.records import decode
from registry.runtime import waits

MOST = 24  # that are read at once


async def newest_crashes(
    operator: Operator, units: Collection[str], machines: Collection[str] = ()
) -> dict[Pair, Address]:
    """Where the newest lies that was kept of each of these units on each machine; oldest first.

    Of these `machines`, by id, that of every unit.
    """
    listing = await operator.etcd.range(operator.keys.table(Table.CRASHES), keys_only=True)
    found = [address for kv in listing.kvs if (address := operator.keys.parse(kv.key))]
    newest = {
        (each.first, unit): each
        for each in sorted(found, key=lambda each: each.second)
        if (unit := each.second.partition("-")[2]) in units or each.first in machines
    }
    return dict(sorted(newest.items(), key=lambda item: item[1].second))


async def read_crashes(operator: Operator, addresses: Iterable[Address]) -> list[Crash]:
    """What was kept there, oldest first; of many the newest. What does not parse, or is gone, is left out."""

    async def read(address: Address) -> Crash | None:
        kv = await operator.etcd.get(operator.keys.at(address))
        try:
            record = decode(address, kv.value, kv.key) if kv else None
        except CorruptRecord:
            return None
        return record if isinstance(record, Crash) else None

    found = await waits.gather(*map(read, [*addresses][-MOST:]))
    return sorted((each for each in found if each), key=lambda each: each.id)


def entries(crash: Crash) -> list[JournalEntry]:
    """Its lines as a journal's. No machine can be asked for more of them: they have no cursor."""
    return [
        JournalEntry(int(at * 1e6), crash.machine, crash.hostname, crash.unit, priority, pid, who, text, "")
        for at, priority, pid, who, text in crash.lines
    ]


def failure_of(crash: Crash) -> str:
    """How it ended, as a clause: "failed on core-2 (exit code 3)"."""
    how = f" ({clause(crash.reason)})" if crash.reason else ""
    return f"failed on {crash.hostname}{how}"


def what_is_kept(crash: Crash) -> str:
    """How much of it is there, in words."""
    if crash.missing:
        return f"nothing of its journal was kept: {clause(crash.missing)}"
    count = len(crash.lines)
    more = ", shortened" if crash.cut else ""
    return "its last line is kept" if count == 1 else f"its last {count} lines are kept{more}"
