"""Accepting a registry whose history went back: what it would change on each machine, and the word that it counts.

Owns the order: first the schedule is brought in line with what runs, so that nothing is started in one place while
another still stops it (invariant 1); only then the sentinel's epoch is raised, which is what agents and schedulers
wait for. All of it is guarded by the sentinel as it was read, and by each line as it was read.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fleettui.actions.drain import is_global
from fleettui.actions.operator import Operator
from fleettui.verbs import Verb, verb_between, verb_towards
from placement.preview import Settled, preview_all
from registry.errors import Conflict, ForeignRegistry
from registry.etcd import MAX_OPS, Compare, Op
from registry.frozen import dataclass
from registry.keys import Keys, Table
from registry.mirror import Mirror, Pair, RawChange, Snapshot, unreadable
from registry.model import Assignment, Rollout, RolloutState, Target, UnitState
from registry.records import encode, event_entry
from registry.sync.follow import UNFOLLOWED
from registry.sync.listing import read_tables
from registry.sync.sentinel import ahead as epoch_ahead

TABLES = tuple(table for table in Table if table not in UNFOLLOWED)
DOWN = ("", "inactive", "failed")
LINES_AT_ONCE = MAX_OPS // 2 - 2
TRIES = 5  # to accept what was shown, while something else is written
PAUSED = "a restored registry was accepted; see what it would do, then resume or abort it"
OVERWRITING = "a backup is being written over what is here"
"""Why a fleet is held whose machines say what is true: schedulers have to wait, agents have nothing to say."""


@dataclass(frozen=True, slots=True)
class UnitChange:
    """What accepting does to one unit on a machine; `source` is where it moves away from."""

    machine: str
    unit: str
    verb: str  # of `verbs.Verb`, or "move"
    reason: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Restoration:
    """What was found, what accepting it changes, and the lines to write before (None: to delete).

    `revisions` are those of all keys as they were read; `waiting` are units that no machine takes, and why.
    """

    snapshot: Snapshot
    changes: tuple[UnitChange, ...]
    waiting: Mapping[str, str]
    lines: dict[Pair, Assignment | None]
    rollouts: tuple[Rollout, ...]  # those under way: they are paused, since nobody has seen what they would do now
    revisions: Mapping[str, int]
    ahead: str = ""  # what is wrong with the sentinel's epoch

    @property
    def went_back(self) -> str:
        """Why the history is held as one that went back; "" where it is not."""
        return held(self.snapshot)

    @property
    def held(self) -> str:
        """Why everything is held, as a clause; "" where nothing is."""
        back = f"the registry's history went back: {self.went_back}" if self.went_back else ""
        broken = f"the registry's sentinel is broken: {self.ahead}" if self.ahead else ""
        return "; ".join(each for each in (back, broken) if each)

    @property
    def unfinished(self) -> str:
        """The checksum of a backup that is not yet wholly in the registry; "" where there is none."""
        return self.snapshot.cluster.restoring if self.snapshot.cluster else ""

    @property
    def agreed_to(self) -> tuple[object, ...]:
        """All that an operator is shown of it before they accept, but not who says that everything is held."""
        return self.changes, self.waiting, [each.name for each in self.rollouts], self.unfinished, self.ahead

    @property
    def silent(self) -> tuple[str, ...]:
        """The live machines that have not said (yet) that they hold: what is known of them may be old.

        None where only the epoch is wrong, or the history is the one that they know.
        """
        if self.went_back in ("", OVERWRITING):
            return ()
        return tuple(sorted(each.id for each in self.snapshot.machines.values() if not each.held))


def held(snapshot: Snapshot) -> str:
    """Why the fleet holds everything as it is, "" if it does not: by the sentinel, or by what a machine says."""
    if snapshot.cluster is not None and snapshot.cluster.held:
        return snapshot.cluster.held
    return next((each.held for _, each in sorted(snapshot.machines.items()) if each.held), "")


async def read_restoration(operator: Operator) -> Restoration:
    """What the registry holds, and what accepting it would change. ForeignRegistry without a sentinel."""
    found: list[RawChange] = []
    revision = await read_tables(operator.etcd, operator.keys, TABLES, found.extend)
    return await asyncio.to_thread(restoration_of, operator.keys, found, revision, operator.now())


def restoration_of(keys: Keys, found: Sequence[RawChange], revision: int, now: float) -> Restoration:
    """What accepting a registry that holds these keys would change. Pure; ForeignRegistry without a sentinel."""
    mirror = Mirror(keys, TABLES)
    mirror.reset(found, revision)
    snapshot = mirror.snapshot()
    if snapshot.cluster is None:
        raise ForeignRegistry(f"{keys.cluster} is missing or broken: this registry is no fleet's")
    all_hold = snapshot.cluster.held != OVERWRITING  # else a line is an order as soon as it is written
    lines = settled_lines(snapshot, keys) if all_hold else {}
    written = ((keys.schedule(*pair), line) for pair, line in lines.items())
    mirror.apply((RawChange(key, encode(line) if line else None, 1, 1) for key, line in written), revision)
    comes_to = preview_all(mirror.snapshot(), keys)
    if all_hold:
        lines |= followed_lines(mirror.snapshot(), comes_to)
    return Restoration(
        snapshot,
        tuple(changes(mirror.snapshot(), comes_to)),
        waiting(snapshot, comes_to),
        lines,
        tuple(each for _, each in sorted(snapshot.rollouts.items()) if each.state is RolloutState.RUNNING),
        {each.key: each.mod_revision for each in found},
        epoch_ahead(snapshot.cluster, now),
    )


def settled_lines(snapshot: Snapshot, keys: Keys) -> dict[Pair, Assignment | None]:
    """The lines to change so that what runs is scheduled where it runs, and nothing is started unwanted. Pure.

    A line that does not parse goes where the unit runs elsewhere; else it stays, and the unit as it is.
    """
    running: dict[str, list[UnitState]] = defaultdict(list)
    for (machine, name), state in sorted(snapshot.states.items()):
        if machine in snapshot.machines and _is_up(state):
            running[name].append(state)
    found = _lines_of_known(snapshot, running)
    for machine, name in sorted(unreadable(snapshot, keys, Table.SCHEDULE) - found.keys()):
        homes_now = {each.machine for each in running[name] if _line(snapshot, found, each.machine, name)}
        if homes_now and machine not in homes_now and not is_global(snapshot, name):
            found[machine, name] = None
    return found


def _line(snapshot: Snapshot, found: Mapping[Pair, Assignment | None], *pair: str) -> Assignment | None:
    machine, name = pair
    return found[machine, name] if (machine, name) in found else snapshot.schedule.get((machine, name))


def _lines_of_known(
    snapshot: Snapshot, running: Mapping[str, Sequence[UnitState]]
) -> dict[Pair, Assignment | None]:
    """The lines to change of what runs, or has a line that parses."""
    homes: dict[str, list[str]] = defaultdict(list)
    for machine, name in sorted(snapshot.schedule):
        homes[name].append(machine)
    doubtful = {key.rpartition("/")[2] for key in snapshot.corrupt}  # nobody knows what is wanted of those
    found: dict[Pair, Assignment | None] = {}
    for name in sorted({*homes, *running}):
        unit, states = snapshot.units.get(name), running.get(name, [])
        if unit is None and name in doubtful:
            continue
        if unit is None or not unit.target.scheduled:  # ordered since: an old line would start it once more
            found |= dict.fromkeys(((machine, name) for machine in homes[name]), None)
        elif not states or is_global(snapshot, name) or {state.machine for state in states} & set(homes[name]):
            for machine in homes[name] if unit.target is not Target.LAUNCHED else ():
                if snapshot.schedule[machine, name].target is Target.LAUNCHED:
                    sha256, generation = unit.version_on(machine)
                    found[machine, name] = Assignment(name, machine, sha256, unit.target, generation)
        else:
            best = max(states, key=lambda state: (state.hash == unit.hash, state.generation == unit.generation))
            found |= dict.fromkeys(((machine, name) for machine in homes[name]), None)
            found[best.machine, name] = Assignment(name, best.machine, unit.hash, unit.target, unit.generation)
    return found


def followed_lines(snapshot: Snapshot, comes_to: Settled) -> dict[Pair, Assignment | None]:
    """The lines that lag behind their units, as the scheduler will have them where they are. Pure.

    An agent that is let go before the scheduler has written them would do what they say first.
    """
    return {
        pair: line
        for pair, line in comes_to.lines.items()
        if line is not None and pair in snapshot.schedule and _asked(line) != _asked(snapshot.schedule[pair])
    }


def _asked(line: Assignment) -> tuple[object, ...]:
    return line.hash, line.target, line.generation, line.attempt, line.beside


def changes(snapshot: Snapshot, comes_to: Settled) -> Iterator[UnitChange]:
    """What agents do until everything is as the scheduler will have it, by unit. Pure."""
    found: dict[str, list[UnitChange]] = defaultdict(list)
    for machine, name in sorted(comes_to.lines.keys() | snapshot.states.keys()):
        if machine not in snapshot.machines:
            continue
        line, state = comes_to.lines.get((machine, name)), snapshot.states.get((machine, name))
        if line is None and (machine, name) in comes_to.lines:
            continue  # it does not parse, so the unit stays as it is
        change = _change(line, state, placed=(machine, name) not in snapshot.schedule)
        found[name] += [UnitChange(machine, name, *change)] if change else []
    for name in sorted(found):
        match sorted(found[name], key=lambda each: each.verb):
            case [UnitChange(verb=Verb.START) as start, UnitChange(verb=Verb.STOP) as stop]:
                yield replace(start, verb="move", source=stop.machine)
            case _:
                yield from found[name]


def waiting(snapshot: Snapshot, comes_to: Settled) -> dict[str, str]:
    """Why units that should be somewhere will be nowhere. Pure."""
    live = {name for machine, name in comes_to.lines if machine in snapshot.machines}
    nowhere = (name for name, unit in sorted(snapshot.units.items()) if unit.target.scheduled and name not in live)
    return {
        name: comes_to.waits[name].summary if name in comes_to.waits else "no machine takes it" for name in nowhere
    }


def _change(line: Assignment | None, state: UnitState | None, *, placed: bool) -> tuple[Verb, str] | None:
    up = state is not None and _is_up(state)
    if line is None:
        return (verb_towards(None, up=up), "the registry does not have it there") if state else None
    verb = verb_towards(line.target, up=up)
    if state is None:
        return verb, "the scheduler places it there" if placed else "the registry has it there"
    if state.hash != line.hash:
        return verb, "another text"
    if state.generation != line.generation:
        return verb, f"generation {line.generation}, not {state.generation}"
    return _towards(line, state)


def _towards(line: Assignment, state: UnitState) -> tuple[Verb, str] | None:
    """What the target alone, or another attempt at it, changes."""
    if line.target is not Target.LAUNCHED:
        return (verb_towards(line.target, up=True), f"its target is {line.target}") if _is_up(state) else None
    start = verb_between(state.target, line.target)
    if state.target is not Target.LAUNCHED:
        return start, f"its target is {line.target}"
    return (start, "it was asked for again") if state.attempt != line.attempt and not _is_up(state) else None


def _is_up(state: UnitState) -> bool:
    return state.active not in DOWN


async def accept(operator: Operator, found: Restoration) -> int:
    """Write the lines, pause rollouts, raise the epoch; returns it. Conflict when it would do something else now.

    Who says meanwhile that all is held writes the sentinel, too: what was agreed to is the same after that.
    """
    for _ in range(TRIES - 1):
        try:
            return await _accept(operator, found)
        except Conflict:
            now = await read_restoration(operator)
            if not now.held or now.agreed_to != found.agreed_to or not {*now.silent} <= {*found.silent}:
                raise
            found = now
    return await _accept(operator, found)


async def _accept(operator: Operator, found: Restoration) -> int:
    sentinel = found.snapshot.cluster
    if sentinel is None:
        raise ForeignRegistry("no sentinel was read")
    keys, revisions = operator.keys, found.revisions
    guard = Compare.mod(keys.cluster, revisions.get(keys.cluster, 0))
    pairs = list(found.lines.items())
    for start in range(0, len(pairs), LINES_AT_ONCE):
        part = pairs[start : start + LINES_AT_ONCE]
        guards, ops = [guard], []
        for pair, line in part:
            key = keys.schedule(*pair)
            guards.append(Compare.mod(key, revisions.get(key, 0)))
            ops.append(Op.delete(key) if line is None else Op.put(key, encode(line)))
        await _write(operator, guards, ops)
    for rollout in found.rollouts:
        key = keys.rollout(rollout.name)
        paused = replace(rollout, state=RolloutState.PAUSED, note=PAUSED)
        await _write(operator, [guard, Compare.mod(key, revisions.get(key, 0))], [Op.put(key, encode(paused))])
    now = operator.now()
    epoch = max(int(now * 1000), 0 if epoch_ahead(sentinel, now) else sentinel.epoch + 1)
    event = operator.event("accept", reason=found.held[:500])
    ops = [
        Op.put(keys.cluster, encode(replace(sentinel, epoch=epoch, held="", restoring=""))),
        Op.put(*event_entry(keys, event)),
    ]
    await _write(operator, [guard], ops)
    return epoch


async def _write(operator: Operator, guards: list[Compare], ops: list[Op]) -> None:
    if not (await operator.etcd.txn(guards, ops)).succeeded:
        raise Conflict("the registry changed meanwhile; nothing was accepted; run fleetctl restore again")
