"""Decisions to fenced transactions, and their writing.

Owns what each decision means in keys, which comparisons guard it, and how intents share transactions: one intent is
never split, many are written together, lines of the schedule before words about it. Every transaction compares the
leader key's create revision (the term), so that a deposed leader writes nothing (invariant 2). It must not decide.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from placement.decisions import Assign, Clear, Decision, UpdateLine, Wait, Withdraw, records_after
from registry.errors import Conflict, InvalidRecord, LeadershipLost
from registry.etcd import MAX_OPS, Compare, Etcd, Op
from registry.keys import Keys
from registry.messages import about
from registry.model import Event
from registry.records import encode, event_entry

log = logging.getLogger("fleet.scheduler")

MAX_BYTES = 512 * 1024  # of values in one transaction; etcd refuses requests above 1.5 MB
EVENTS_PER_DECISION = 20  # above this many acts one event tells the counts: bulk work must not write twice

StampOf = Callable[[str], int]  # a key to its mod revision, 0 when it does not exist


@dataclass(slots=True)
class Intent:
    """What belongs into one transaction: guards, operations, and how much of it there is."""

    guards: list[Compare] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    size_bytes: int = 0
    lines: bool = False  # whether it changes the schedule
    machine: str = ""  # whose schedule it changes, "" when it is several machines'
    kinds: list[str] = field(default_factory=list)  # of the decisions that it carries out
    _guarded: set[int] = field(default_factory=set)  # guards shared by several intents, which count once

    def put(self, key: str, value: bytes) -> None:
        """Write a key."""
        self.ops.append(Op.put(key, value))
        self.size_bytes += len(value)

    def takes(self, other: Intent) -> bool:
        """Whether the other fits into the same transaction; one guard is left for the term."""
        return (
            len(self.ops) + len(other.ops) <= MAX_OPS
            and len(self.guards) + len(self._new(other)) < MAX_OPS
            and self.size_bytes + other.size_bytes <= MAX_BYTES
        )

    def add(self, other: Intent) -> None:
        """Add the other to the same transaction."""
        new = self._new(other)
        self.guards += new
        self._guarded.update(map(id, new))
        self.ops += other.ops
        self.size_bytes += other.size_bytes
        self.kinds += other.kinds

    def _new(self, other: Intent) -> list[Compare]:
        return [guard for guard in other.guards if id(guard) not in self._guarded]


def event_stamp() -> tuple[float, str]:
    """The time, and an id that no other event of this time has."""
    now = time.time()
    return now, f"{int(now * 1000):013d}-{uuid.uuid4().hex[:8]}"


class Audit:
    """Makes events of one scheduler; `stamp` gives the time and a unique id."""

    def __init__(self, writer: str, stamp: Callable[[], tuple[float, str]] = event_stamp) -> None:
        self._writer = writer
        self._stamp = stamp

    def event(self, verb: str, unit: str = "", machine: str = "", reason: str = "") -> Event:
        """Make one line of the audit trail."""
        at, event_id = self._stamp()
        return Event(event_id, at, self._writer, verb, unit, machine, reason)

    def of(self, decision: Decision) -> Event | None:
        """Make the event of a decision; None for one that is not reported."""
        match decision:
            case Assign(line, sources, reason):
                return self.event("move" if sources else "place", line.unit, line.machine, reason)
            case Withdraw(unit, machine, reason):
                return self.event("withdraw", unit, machine, reason)
            case Wait(pending, True):
                return self.event("refuse", pending.unit, "", pending.summary)
            case _:
                return None

    def summary(self, decisions: Sequence[Decision]) -> Event:
        """Make one event of many decisions, with the counts."""
        moved = [each for each in decisions if isinstance(each, Assign) and each.sources]
        placed = [each for each in decisions if isinstance(each, Assign) and not each.sources]
        machines = len({each.machine for each in (*moved, *placed)})
        counts = Counter(type(each) for each in decisions if _is_reported(each))
        words = {
            f"placed {len(placed)}": len(placed),
            f"moved {len(moved)}": len(moved),
            f"withdrew {counts[Withdraw]}": counts[Withdraw],
            f"refused {counts[Wait]}": counts[Wait],
        }
        text = ", ".join(each for each, count in words.items() if count)
        return self.event(
            "place" if placed else "move" if moved else "withdraw" if counts[Withdraw] else "refuse",
            reason=f"{text} units" + (f" on {machines} machines" if machines else ""),
        )


def intents(decisions: Sequence[Decision], keys: Keys, revision_of: StampOf, audit: Audit) -> list[Intent]:
    """Return the decisions as intents, one for each unit, those that change the schedule first.

    What concerns one machine comes together, so that its agent is woken once for all of it. A decision whose
    records cannot be written is left out, with an error in the log; all others go on.
    """
    withdrawals = (each for each in decisions if isinstance(each, Withdraw))
    displaced = {each.unit: each.displaced_by for each in withdrawals if each.displaced_by}
    groups: dict[str, list[Decision]] = defaultdict(list)  # those on a unit, with those on what it displaces
    for each in decisions:
        groups[displaced.get(each.unit, each.unit)].append(each)
    lost: dict[str, Compare] = {}
    detailed = sum(_is_reported(each) for each in decisions) <= EVENTS_PER_DECISION
    found: list[Intent] = []
    step = MAX_OPS // 4  # a global unit on very many machines does not fit into one transaction: parts stand alone
    for part in (group[start : start + step] for group in groups.values() for start in range(0, len(group), step)):
        try:
            found.append(_intent(part, keys, revision_of, audit if detailed else None, lost))
        except (InvalidRecord, UnicodeError) as error:
            name = part[0].unit
            log.error("cannot carry out a decision on %s: %s", name, error, extra=about(name))  # noqa: TRY400
    if not detailed:
        event = audit.summary(decisions)
        found.append(Intent())
        found[-1].put(*event_entry(keys, event))
    return sorted(found, key=lambda intent: (not intent.lines, intent.machine))


def transactions(found: Iterable[Intent]) -> Iterator[Intent]:
    """Yield the intents put together up to etcd's limits."""
    batch = Intent()
    for intent in found:
        if not batch.takes(intent):
            yield batch
            batch = Intent()
        batch.add(intent)
    if batch.ops:
        yield batch


async def write(etcd: Etcd, keys: Keys, term: int, batch: Intent) -> int:
    """Write one transaction under the term and return its revision.

    Raises LeadershipLost when another term has begun, Conflict when a record changed since it was read, and
    RegistryUnavailable when it may or may not have been written.
    """
    guards = [Compare.created(keys.leader, term), *batch.guards]
    result = await etcd.txn(guards, batch.ops, [Op.get(keys.leader)])
    if result.succeeded:
        return result.revision
    leader = result.gets[0][0] if result.gets and result.gets[0] else None
    if leader is None or leader.create_revision != term:
        raise LeadershipLost("another scheduler leads, or none; nothing was written")
    raise Conflict("the registry changed while the scheduler was deciding; it decides again")


def _intent(
    group: list[Decision], keys: Keys, revision_of: StampOf, audit: Audit | None, lost: dict[str, Compare]
) -> Intent:
    """Make one intent of decisions. `lost` keeps the guards on machines that are gone: many units leave one."""
    intent = Intent()
    for unit in dict.fromkeys(each.unit for each in group):
        key = keys.unit(unit)
        intent.guards.append(Compare.mod(key, revision_of(key)))
    for each in group:
        intent.kinds.append(kind_of(each))
        for source in each.sources if isinstance(each, Assign) else ():
            guard = Compare.absent(keys.state(source.machine, each.unit))
            if source.lost:
                guard = lost.setdefault(source.machine, Compare.absent(keys.machine(source.machine)))
            intent.guards.append(guard)
        for address, record in records_after(each):
            key = keys.at(address)
            if revision := revision_of(key):  # only leaders write it: another one is of another history
                intent.guards.append(Compare.mod(key, revision))
            if record is None:
                intent.ops.append(Op.delete(key))
            else:
                intent.put(key, encode(record))
        if not isinstance(each, Wait | Clear):
            intent.machine = each.machine if not intent.lines or each.machine == intent.machine else ""
            intent.lines = True
        if audit and (event := audit.of(each)):
            intent.put(*event_entry(keys, event))
    return intent


def kind_of(decision: Decision) -> str:
    """Return what a decision does, in a word."""
    if isinstance(decision, Assign):
        return "move" if decision.sources else "place"
    return {UpdateLine: "update", Withdraw: "withdraw", Wait: "wait", Clear: "clear"}[type(decision)]


def _is_reported(decision: Decision) -> bool:
    return isinstance(decision, Assign | Withdraw) or (isinstance(decision, Wait) and decision.news)
