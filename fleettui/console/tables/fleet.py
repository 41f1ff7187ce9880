"""All that the console knows of the fleet: the rows of all tables, drains, clocks, what a reading is worth. Pure.

`FleetModel.apply` takes a reading in and returns what it changed in each table; its work is in proportion to what
changed. Views draw the changes; nothing of what is known lies in a widget.

Ages on the screen are ours minus theirs, so a clock that is far off makes them wrong. An event that comes live was
written moments ago: how far its time is from ours is how far that writer's clock is, give or take those moments.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from math import inf
from statistics import median
from typing import Any

from fleettui.console.tables.configs import ConfigRow, ConfigRows
from fleettui.console.tables.events import EventRow, EventRows
from fleettui.console.tables.machines import MachineRow, MachineRows, fullness
from fleettui.console.tables.map import machine_labels
from fleettui.console.tables.pending import PendingRow, PendingRows
from fleettui.console.tables.rollouts import RolloutRow, RolloutRows
from fleettui.console.tables.rows import Delta
from fleettui.console.tables.units import UnitRow, UnitRows
from fleettui.console.text.cells import Cell
from fleettui.console.text.formatting import age
from fleettui.escape import escape
from registry.keys import Address, Keys, Table
from registry.mirror import Snapshot, event_key
from registry.sync.follow import ConnectionState

BLANK = Snapshot()
NOTHING: Delta[Any] = Delta({})


@dataclass(frozen=True, slots=True)
class PastMoment:
    """Which moment of a record this is. `back`: it was later on the screen before."""

    at: float
    text: str  # the moment, for people
    ago_s: float
    note: str = ""  # what the record does not know of it
    host: str = ""  # where it was recorded
    back: bool = False
    names: Mapping[str, str] = field(default_factory=dict)  # of machines that the record has seen before, by id


@dataclass(frozen=True, slots=True)
class Reading:
    """The newest snapshot, what changed since the reading before (None: anything), and what it is worth."""

    snapshot: Snapshot = BLANK
    changed: frozenset[Address] | None = None
    link: ConnectionState = ConnectionState.CONNECTING
    reason: str = ""
    endpoints: str = ""  # which of etcd's endpoints do not answer
    past: PastMoment | None = None  # it is no reading of now

    def parts(self, size: int) -> Iterator[Reading]:
        """The same with at most `size` changes each: taken in one after the other, they come to the whole."""
        if self.changed is None or len(self.changed) <= size:
            yield self
            return
        ordered = sorted(self.changed)
        for start in range(0, len(ordered), size):
            yield replace(self, changed=frozenset(ordered[start : start + size]))


@dataclass(frozen=True, slots=True)
class Changes:
    """What a reading changed in each table."""

    units: Delta[UnitRow] = NOTHING
    machines: Delta[MachineRow] = NOTHING
    pending: Delta[PendingRow] = NOTHING
    events: Delta[EventRow] = NOTHING
    rollouts: Delta[RolloutRow] = NOTHING
    configs: Delta[ConfigRow] = NOTHING

    def then(self, later: Changes) -> Changes:
        """Both as one: these, and what came after them."""
        names = [each.name for each in fields(self)]
        return Changes(**{name: getattr(self, name).then(getattr(later, name)) for name in names})


NO_CHANGES = Changes()


class FleetModel:
    """The read models, and the reading that they are of. Give it every reading: what vanishes unseen has no age.

    `names` are host names of machines that were known before, by id.
    """

    def __init__(self, keys: Keys, names: Mapping[str, str] | None = None) -> None:
        self.reading = Reading()
        self.machines = MachineRows(keys, names)
        self.units = UnitRows()
        self.pending, self.events = PendingRows(), EventRows()
        self.rollouts = RolloutRows(self.units.where)
        self.configs = ConfigRows()
        self.clocks = Clocks()
        self._lost_at: float | None = None
        self._leaderless_at: float | None = None
        self._begun = self._machines_begun = False
        self._labelled: tuple[object, ...] = (None, None, None, None)
        self._labels: dict[str, Cell] = {}

    def apply(self, reading: Reading, now: float) -> Changes:
        """Take a reading in; return what it changed."""
        self.reading = reading
        snapshot, live = reading.snapshot, reading.link is ConnectionState.LIVE
        self._lost_at = None if live else now if self._lost_at is None else self._lost_at
        back = reading.past is not None and reading.past.back
        if back:
            self.machines.start_over()  # what was seen later has not happened yet
        if live and reading.past is None:
            self.clocks.update(snapshot, reading.changed, now)
        if live:
            leads = snapshot.leader is not None
            self._leaderless_at = None if leads else self._leaderless_at or now
        if reading.past is not None:
            self.machines.names |= reading.past.names
        machines: Delta[MachineRow] = NOTHING
        if live or snapshot.revision:  # what is stale tells nothing of who is here
            known = reading.changed if self._machines_begun and not back else None
            machines = self.machines.update(snapshot, known, now)
            self._machines_begun = True
        if absent := self.machines.absent():  # no name becomes an id when its machine goes
            snapshot = replace(snapshot, absent=absent)
            self.reading = replace(reading, snapshot=snapshot)
        changed = reading.changed if self._begun else None
        self._begun = True
        return Changes(
            self.units.update(snapshot, changed), machines, self.pending.update(snapshot, changed),
            self.events.update(snapshot, changed), self.rollouts.update(snapshot, changed),
            self.configs.update(snapshot, changed),
        )  # fmt: skip

    def lose(self, reason: str, now: float) -> None:
        """Mark what is known as lost: no reading comes any more."""
        self.reading = replace(self.reading, changed=None, link=ConnectionState.LOST, reason=reason, endpoints="")
        self._lost_at = now if self._lost_at is None else self._lost_at

    def forget(self, machines: Iterable[str], now: float) -> Changes:
        """Take absent machines off the table until they are back; return what that changed."""
        for machine in machines:
            self.machines.forget(machine)
        return Changes(machines=self.machines.update(self.reading.snapshot, frozenset(), now))

    def lost_s(self, now: float) -> float:
        """How long the link has not been live."""
        return now - self._lost_at if self._lost_at is not None else 0.0

    def leaderless_s(self, now: float) -> float | None:
        """How long no scheduler has led, as far as this console knows; None while one does."""
        return now - self._leaderless_at if self._leaderless_at is not None else None

    def labels(self) -> dict[str, Cell]:
        """Every machine's name as the map shows it; the same object as long as it is the same."""
        snapshot = self.reading.snapshot
        tables = (snapshot.machines, snapshot.overrides, snapshot.usage, snapshot.schedule)
        if any(new is not old for new, old in zip(tables, self._labelled, strict=True)):
            full = {machine: fullness(row) for machine, row in self.machines.rows.items()}
            labels = machine_labels(snapshot, full)
            self._labelled, self._labels = tables, labels if labels != self._labels else self._labels
        return self._labels


LARGE_S = 10.0
APART_S = 5.0
KEPT = 200  # writers
FOR_S = 3600  # how long a writer is spoken of who writes nothing more


class Clocks:
    """The writers' clocks, as far as they wrote while this console watched.

    An event that lay at its writer while the registry was out of reach looks like one of a clock that is behind.
    That is believed only when later events say the same: what was held up was so for different times.
    """

    def __init__(self) -> None:
        self._ahead: dict[str, float] = {}  # writer to seconds that its clock is ahead of ours
        self._heard: dict[str, float] = {}  # and to when it wrote last, by our clock
        self._doubted: dict[str, tuple[float, float]] = {}  # how far ahead once, and when: if again, it is so

    def update(self, snapshot: Snapshot, changed: Collection[Address] | None, now: float) -> None:
        """Compare the times of events that came live; a first listing says nothing of clocks."""
        newest: dict[str, float] = {}
        for address in changed or ():
            if address.table is Table.EVENTS and (event := snapshot.events.get(event_key(address))):
                newest[event.actor] = max(newest.get(event.actor, -inf), event.at - now)
        for actor, ahead in newest.items():
            if ahead > -LARGE_S or self._again(actor, ahead, now):
                self._ahead.pop(actor, None)
                self._ahead[actor] = ahead
            self._heard.pop(actor, None)
            self._heard[actor] = now
        silent = [actor for actor, heard in self._heard.items() if now - heard > FOR_S]
        for actor in {*silent, *list(self._heard)[:-KEPT]}:
            for each in (self._ahead, self._heard, self._doubted):
                each.pop(actor, None)

    def _again(self, actor: str, ahead: float, now: float) -> bool:
        """Whether its clock was as far behind some seconds ago."""
        before, at = self._doubted.setdefault(actor, (ahead, now))
        agrees = abs(ahead - before) < LARGE_S / 2
        if not agrees:
            self._doubted[actor] = (ahead, now)
        return agrees and now - at >= APART_S

    def status_text(self, name: Callable[[str], str] = escape) -> str:
        """What is wrong with the clocks, in one line; "" when nothing is, or nothing is known.

        `name` is what people call a writer.
        """
        off = {actor: ahead for actor, ahead in self._ahead.items() if abs(ahead) >= LARGE_S}
        if not off:
            return ""
        if len(off) == len(self._ahead) and len(off) > 1:
            ahead = median(off.values())
            where = "behind" if ahead > 0 else "ahead of"
            return f"this clock is {age(abs(ahead))} {where} the fleet's; ages are off by that"
        actor, ahead = max(off.items(), key=lambda item: abs(item[1]))
        return f"the clock of {name(actor)} is {age(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} this one"
