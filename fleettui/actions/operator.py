"""Who acts on the registry, and the one way to write to it: guarded, batched, tried again when a race is lost.

Owns the transaction of an operator's act: it holds the records, the guards on what was read and the event that
records it, all or nothing. It does not know what a unit or a machine may become: `units` and `machines` do.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from registry.errors import Conflict, RegistryUnavailable
from registry.etcd import MAX_OPS, Compare, Etcd, Op
from registry.etcd.backoff import jittered
from registry.frozen import dataclass, field
from registry.grammar import writer_of
from registry.keys import Keys
from registry.model import Event
from registry.records import event_entry
from registry.runtime import waits

EVENTS_EACH = 20  # up to so many units an act writes one event a unit, above it one a transaction
MAX_BYTES = 1_200_000  # of values in a transaction: etcd refuses requests over 1.5 MB
RECORD_BYTES = 1500  # about what a unit's record and its event may need
ATTEMPTS = 10
PAUSE_S = 0.05

T = TypeVar("T")


def actor() -> str:
    """Who runs this program, as `user@host`, for the audit trail of a registry without users."""
    named = (os.environ.get(each) for each in ("LOGNAME", "USER", "LNAME", "USERNAME"))  # as getpass has it
    user = next(filter(None, named), "")
    if not user:
        import pwd  # noqa: PLC0415 - seldom needed

        try:
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            user = str(os.getuid())
    return writer_of("", f"{user}@{socket.gethostname()}")


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator's hand on one registry. `now` gives seconds since the epoch for what is written.

    `progress` is told how many of an act's units are written, and how many there are: at its begin, and after each
    transaction.
    """

    etcd: Etcd
    keys: Keys
    actor: str = field(default_factory=actor)  # the registry's user where there is one; see `grammar.writer_of`
    now: Callable[[], float] = time.time
    progress: Callable[[int, int], object] = lambda *_: None

    def event(self, verb: str, *, unit: str = "", machine: str = "", reason: str = "") -> Event:
        """An event of this operator, now."""
        at = self.now()
        return Event(f"{int(at * 1000):013d}-{os.urandom(4).hex()}", at, self.actor, verb, unit, machine, reason)


async def commit(operator: Operator, guards: Sequence[Compare], ops: Sequence[Op], events: Sequence[Event]) -> int:
    """Write all of `ops` and `events` if every guard holds, and return the revision.

    Raises Conflict when a guard fails. An answer that got lost is asked for again: the event's key, which is nobody
    else's, tells whether the first try was carried out. Raises RegistryUnavailable when that cannot be found out.
    """
    records = [Op.put(*event_entry(operator.keys, event)) for event in events]
    mark = Op.get(operator.keys.event(events[0].writer, events[0].id))
    for attempt in range(3):
        try:
            result = await operator.etcd.txn(guards, [*ops, *records], [mark])
        except RegistryUnavailable:
            if attempt == 2:
                raise
            await waits.sleep(PAUSE_S * 4)
            continue
        if not result.succeeded and not result.gets[0]:
            raise Conflict("somebody else changed the same records")
        return result.revision
    raise AssertionError("unreachable")


async def persist(attempt: Callable[[], Awaitable[T]]) -> T:
    """Run a read-decide-write `attempt` until no race is lost. Raises Conflict when that never ends."""
    for number in range(ATTEMPTS):
        try:
            return await attempt()
        except Conflict:
            await waits.sleep(jittered(PAUSE_S * number, 0.5, 1.5))
    raise Conflict("others keep changing the same records; try again in a moment")


def batches(texts: Sequence[str], ops_each: int, guards: Sequence[int]) -> list[slice]:
    """Cut units into transactions: each needs `ops_each` operations, and one more for a text not stored in it yet.

    `guards` are how many comparisons each needs, which etcd counts by themselves. One operation of each transaction
    stays free, for an event. An empty text is none.
    """
    found: list[slice] = []
    start, load = 0, _Load(ops_each)
    for index, (text, compared) in enumerate(zip(texts, guards, strict=True)):
        if not load.takes(text, compared):
            found.append(slice(start, index))
            start, load = index, _Load(ops_each)
        load.add(text, compared)
    return [*found, slice(start, len(texts))] if texts else []


class _Load:
    """What one transaction holds so far."""

    def __init__(self, ops_each: int) -> None:
        self._each, self._ops, self._bytes, self._guards = ops_each, 0, 0, 0
        self._texts: set[str] = set()

    def takes(self, text: str, guards: int) -> bool:
        """Whether a unit with this text and so many guards still fits; the first one always does."""
        ops, size = self._cost(text)
        fits = self._ops + ops < MAX_OPS and self._guards + guards <= MAX_OPS
        return not self._ops or (fits and self._bytes + size <= MAX_BYTES)

    def add(self, text: str, guards: int) -> None:
        """Take a unit in."""
        ops, size = self._cost(text)
        self._ops, self._bytes, self._guards = self._ops + ops, self._bytes + size, self._guards + guards
        self._texts.add(text)

    def _cost(self, text: str) -> tuple[int, int]:
        fresh = bool(text) and text not in self._texts
        return self._each + fresh, RECORD_BYTES + (len(text.encode("utf-8", "replace")) if fresh else 0)
