"""An operator's acts on rollouts: begin, pause, resume, abort, undo, redo. The leading scheduler carries them out.

Owns what each act makes of a rollout's record, and which units may be in one. An act is one guarded transaction; it
never touches a unit's record, which is the leader's to change when it is the unit's turn.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from fleettui.actions.operator import Operator, commit, persist
from fleettui.actions.pins import pin_texts
from fleettui.actions.reading import read_texts, read_units
from placement.preview import TABLES, preview_drain
from placement.rebalance import Move, plan_rebalance
from placement.rollout import MAX_STEPS, TURNS_AT_ONCE, failures, going_back
from registry.errors import CorruptRecord, UserError
from registry.etcd import Compare, Op
from registry.frozen import dataclass, replace
from registry.keys import Address, Keys, Table
from registry.mirror import Snapshot
from registry.model import (
    Availability,
    OnFailure,
    Override,
    Rollout,
    RolloutState,
    RolloutStep,
    Target,
    Unit,
    UnitText,
)
from registry.records import decode, encode
from registry.sync.listing import read_snapshot
from registry.sync.sentinel import ensure_cluster
from registry.units.check import verify
from registry.units.file import file_hash, parse
from registry.units.options import FleetOptions, parse_options
from registry.wording import counted

MOVES_STAY = "moves cannot be taken back; leave --on-failure rollback out"


@dataclass(frozen=True, slots=True)
class Policy:
    """How a rollout goes about it. `at_a_time`: a number, or a share of the groups such as "25%"."""

    at_a_time: str = "1"
    canary: int = 0
    healthy_for_s: float = 10.0
    max_failures: int = 0
    on_failure: OnFailure = OnFailure.PAUSE

    @classmethod
    def of(cls, rollout: Rollout) -> Policy:
        """How a rollout went about it."""
        return cls(
            str(rollout.at_a_time), rollout.canary, rollout.healthy_for_s, rollout.max_failures, rollout.on_failure
        )

    @property
    def flags(self) -> str:
        """What a command line says beside how many at a time, where it is not as usual: " --canary 1"."""
        given = {
            "canary": (self.canary, 0),
            "healthy-for": (f"{self.healthy_for_s:g}s", "10s"),
            "max-failures": (self.max_failures, 0),
            "on-failure": (self.on_failure, OnFailure.PAUSE),
        }
        return "".join(f" --{name} {value}" for name, (value, usual) in given.items() if value != usual)


async def begin(
    operator: Operator,
    names: Sequence[str],
    texts: Mapping[str, str],
    policy: Policy,
    name: str = "",
    *,
    based_on: str = "",
) -> Rollout:
    """Begin to give units of the registry these texts, a few at a time; those without a text are restarted.

    Units that have their text already are left out, and what does not run where it is to be restarted. With
    `based_on`, all must still have the text of that hash. UserError when nothing is left, or one cannot be rolled.
    """
    await ensure_cluster(operator.etcd, operator.keys, os.urandom(8).hex())
    units = await _units(operator, list(dict.fromkeys(names)))
    if overtaken := next((unit for unit in units if based_on and unit.hash != based_on), None):
        by = overtaken.by or "somebody"
        raise UserError(f"unit {overtaken.name} was changed meanwhile by {by}; begin again on top of that")
    for each, text in texts.items():
        if problems := verify(each, text, each):
            raise UserError("\n".join(map(str, problems)))
    texts, lacking = await pin_texts(operator, texts, keep=False)
    if lacking:
        raise UserError(next(iter(lacking.values())))
    old = await read_texts(operator, {unit.hash for unit in units})
    options = {unit.name: _options(unit.name, old.get(unit.hash, "")) for unit in units}
    for each in texts:
        if options[each].is_global != _options(each, texts[each]).is_global:
            raise UserError(f"{each} is global in one of its files alone; it cannot be rolled: start --replace it")
    homes = await _homes(operator, {name for name, found in options.items() if found.is_global})
    units = [unit for unit in units if unit.name in texts or unit.target is Target.LAUNCHED]
    steps = _steps(units, texts, {name: found.machine_of for name, found in options.items()}, homes)
    if not steps:
        raise UserError("every unit has that file already, or does not run; nothing is to be rolled out")
    if policy.on_failure is OnFailure.ROLLBACK and all(step.old == step.new for step in steps):
        raise UserError("a restart cannot be taken back; leave --on-failure rollback out")
    files = {file_hash(text): text for text in texts.values()}
    ops = [Op.put(operator.keys.file(sha), encode(UnitText(sha, text))) for sha, text in files.items()]
    return await _begin(operator, steps, policy, name, [], ops)


async def begin_drain(
    operator: Operator,
    machines: Sequence[str],
    policy: Policy,
    name: str = "",
    boots: Mapping[str, str] | None = None,
) -> Rollout | None:
    """Begin to drain machines, given by their full ids, a few units at a time. None when nothing has to move.

    What no other machine takes stays where it is, and is in no rollout. `boots`: the boot that each is to end.
    """
    if policy.on_failure is OnFailure.ROLLBACK:
        raise UserError("a drain cannot be rolled back; fleetctl uncordon ends it")
    snapshot = await read_snapshot(operator.etcd, operator.keys, TABLES)
    present = [each for each in machines if each in snapshot.machines]
    moves = {
        each.unit: machine
        for machine, found in preview_drain(snapshot, present, operator.keys).items()
        for each in found
        if each.machines and each.unit in snapshot.units
    }
    units = [snapshot.units[each] for each in moves]
    texts = {unit.name: snapshot.files[unit.hash].text for unit in units if unit.hash in snapshot.files}
    follows = {name: _options(name, text).machine_of for name, text in texts.items()}
    steps = tuple(replace(step, leaves=moves[step.unit]) for step in _steps(units, {}, follows, {}))
    hosts = [snapshot.machines[each].hostname for each in present]
    name = name or (_name(f"drain-{hosts[0]}", operator.now()) if steps else "")
    guards, ops = [], []
    for machine in machines:
        key, before = operator.keys.override(machine), snapshot.overrides.get(machine, Override(machine))
        kv = await operator.etcd.get(key)
        guards.append(Compare.mod(key, kv.mod_revision if kv else 0))
        boot = (boots or {}).get(machine, before.reboot)
        after = replace(before, availability=Availability.DRAINING, drained_by=name if steps else "", reboot=boot)
        ops.append(Op.put(key, encode(replace(after, by=operator.actor, at=operator.now()))))
    if steps:
        return await _begin(operator, steps, policy, name, guards, ops)
    events = [operator.event("drain", machine=machine) for machine in machines]
    await commit(operator, guards, ops, events)
    return None


def plan_moves(snapshot: Snapshot, keys: Keys) -> tuple[Move, ...]:
    """The moves that make the fleet even, to be shown and begun. UserError while earlier ones are under way."""
    for other in snapshot.rollouts.values():
        if not other.state.over and any(step.goes_to for step in other.steps):
            raise UserError(f"rebalance {other.name} is not over; see: fleetctl rollout status {other.name}")
    return plan_rebalance(snapshot, keys)


async def begin_moves(
    operator: Operator, snapshot: Snapshot, moves: Sequence[Move], policy: Policy, name: str = ""
) -> Rollout:
    """Begin to move units that a snapshot has, a few at a time: each is started anew where it is to go.

    Each machine is asked again in its unit's turn; a unit that it takes no longer is restarted where it is.
    """
    if policy.on_failure is OnFailure.ROLLBACK:
        raise UserError(MOVES_STAY)
    units = {each.unit: snapshot.units[each.unit] for each in moves}
    steps = tuple(
        RolloutStep(unit.name, unit.hash, unit.hash, unit.generation, group, goes_to=move.target)
        for group, (move, unit) in enumerate(zip(moves, units.values(), strict=True))
    )
    return await _begin(operator, steps, policy, name or f"rebalance-{stamp(operator.now())}", [], [])


async def _begin(
    operator: Operator,
    steps: tuple[RolloutStep, ...],
    policy: Policy,
    name: str,
    guards: Sequence[Compare],
    ops: Sequence[Op],
) -> Rollout:
    """Write the record of a rollout, with what belongs to it."""
    if len(steps) > MAX_STEPS:
        raise UserError(f"{len(steps)} units are more than the {MAX_STEPS} of one rollout; begin several")
    units = {step.unit for step in steps}
    for other in await read_rollouts(operator):
        taken = next((step.unit for step in other.steps if step.unit in units and not other.state.over), None)
        if taken is not None:
            raise UserError(
                f"{taken} is in rollout {other.name}, which is not over; see: fleetctl rollout status {other.name}"
            )
    at_a_time = _count(policy.at_a_time, len({step.group for step in steps}))
    rollout = Rollout(
        name or _name(steps[0].unit, operator.now()), steps, at_a_time=at_a_time, canary=policy.canary,
        healthy_for_s=policy.healthy_for_s, max_failures=policy.max_failures, on_failure=policy.on_failure,
        by=operator.actor, at=operator.now(),
    )  # fmt: skip
    key = operator.keys.rollout(rollout.name)
    if (await operator.etcd.get(key)) is not None:
        raise UserError(f"there is a rollout {rollout.name} already; give another --name")
    event = operator.event("rollout", reason=f"rollout {rollout.name} of {counted(len(units), 'unit')} begins")
    await commit(operator, [Compare.absent(key), *guards], [*ops, Op.put(key, encode(rollout))], [event])
    return rollout


async def _units(operator: Operator, names: Sequence[str]) -> list[Unit]:
    found = await read_units(operator, names)
    units: list[Unit] = []
    for name in names:
        if found[name].corrupt:
            raise UserError(f"the registry's record of {name} is corrupt ({found[name].corrupt}); destroy it first")
        unit = found[name].unit
        if unit is None:
            raise UserError(f"unit {name} is not in the registry; see: fleetctl list-unit-files")
        units.append(unit)
    return units


def _options(name: str, text: str) -> FleetOptions:
    return parse_options(parse(text), name)


async def _homes(operator: Operator, names: Collection[str]) -> dict[str, list[str]]:
    """The machines that schedule these global units."""
    homes: dict[str, list[str]] = {name: [] for name in names}
    if names:
        for kv in (await operator.etcd.range(operator.keys.table(Table.SCHEDULE), keys_only=True)).kvs:
            address = operator.keys.parse(kv.key)
            if address is not None and address.second in homes:
                homes[address.second].append(address.first)
    return homes


def _steps(
    units: Sequence[Unit],
    texts: Mapping[str, str],
    follows: Mapping[str, Sequence[str]],
    homes: Mapping[str, Sequence[str]],
) -> tuple[RolloutStep, ...]:
    """The steps in natural order; those of units that have to have another file, if files are given.

    `follows`: what each unit follows (MachineOf). `homes`: the machines of those that are global.
    """
    leaders = _leaders([unit.name for unit in units if unit.name not in homes], follows)
    numbers: dict[str, int] = {}
    steps = []
    for unit in sorted(units, key=lambda unit: _natural(unit.name)):
        wanted = file_hash(texts[unit.name]) if unit.name in texts else None
        for machine in sorted(homes[unit.name]) if unit.name in homes else ("",):
            old, generation = unit.version_on(machine)
            if wanted is None or wanted != old:
                first = leaders.get(unit.name, f"{unit.name} {machine}")
                group = numbers.setdefault(first, len(numbers))
                steps.append(RolloutStep(unit.name, old, wanted or old, generation, group, machine))
    largest = max(Counter(step.group for step in steps).values(), default=0)
    if largest > TURNS_AT_ONCE:
        raise UserError(f"{largest} units follow one another (MachineOf); at most {TURNS_AT_ONCE} can be rolled")
    return tuple(steps)


def _leaders(units: Iterable[str], follows: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """For each unit the one of them that it follows in the end (MachineOf), or itself."""
    leaders = {unit: unit for unit in units}

    def first(name: str) -> str:
        while leaders[name] != name:
            name = leaders[name]
        return name

    for unit in leaders:
        for leader in follows.get(unit, ()):
            if leader in leaders:
                leaders[first(unit)] = first(leader)
    return {name: first(name) for name in leaders}


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts web@2 before web@10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d{1,18})", name)]


def _count(text: str, groups: int) -> int:
    """How many groups "3" or "25%" are; at least one. UserError for anything else."""
    number, percent = (text[:-1], True) if text.endswith("%") else (text, False)
    if not re.fullmatch(r"[0-9]{1,9}", number) or int(number) == 0 or (percent and int(number) > 100):
        raise UserError(f"--at-a-time {text!r} is no number from 1 and no share such as 25%")
    return max(1, groups * int(number) // 100) if percent else int(number)


def _name(unit: str, now: float) -> str:
    """A name for a rollout that was given none: web-20261126-211500."""
    stem = re.sub(r"[^0-9A-Za-z._-]+", "-", unit.partition(".")[0].partition("@")[0]).strip("-._") or "rollout"
    return f"{stem[:60]}-{stamp(now)}"


def stamp(now: float) -> str:
    """The local time as the end of a name: 20261126-211500."""
    return time.strftime("%Y%m%d-%H%M%S", time.localtime(now))


async def read_rollouts(operator: Operator) -> list[Rollout]:
    """Every rollout that parses, oldest first."""
    found = []
    for kv in (await operator.etcd.range(operator.keys.table(Table.ROLLOUTS))).kvs:
        address = operator.keys.parse(kv.key)
        try:
            record = decode(address, kv.value, kv.key) if address else None
        except CorruptRecord:
            continue
        if isinstance(record, Rollout):
            found.append(record)
    return sorted(found, key=lambda each: (each.at, each.name))


async def read_rollout(operator: Operator, name: str) -> tuple[Rollout, int]:
    """The record of a rollout, and the revision of its last change. UserError when there is none."""
    key = operator.keys.rollout(name)
    kv = await operator.etcd.get(key)
    if kv is None:
        raise UserError(f"there is no rollout {name}; see: fleetctl rollout list")
    found = decode(Address(Table.ROLLOUTS, name), kv.value, key)
    if not isinstance(found, Rollout):
        raise TypeError(key)
    return found, kv.mod_revision


async def redo(operator: Operator, name: str) -> Rollout:
    """Begin to give the units of a rollout that went back the files again that it had brought, as it had.

    UserError when it has not gone back, or nothing of it is left to be done again.
    """
    rollout, _ = await read_rollout(operator, name)
    names = dict.fromkeys(step.unit for step in rollout.steps)
    units = {found.unit.name: found.unit for found in (await read_units(operator, [*names])).values() if found.unit}
    texts = texts_again(rollout, units, await read_texts(operator, {step.new for step in rollout.steps}))
    return await begin(operator, [*texts], texts, Policy.of(rollout))


def texts_again(rollout: Rollout, units: Mapping[str, Unit], texts: Mapping[str, str]) -> dict[str, str]:
    """The texts that a rollout had brought which went back, by unit; `texts` by their hashes.

    Units that somebody has changed since are left out. UserError when that makes no sense.
    """
    if not rollout.back:
        raise UserError(f"rollout {rollout.name} has not gone back; there is nothing to do again")
    if not rollout.state.over:
        raise UserError(f"rollout {rollout.name} is still going back; wait until it has")
    steps = [step for step in rollout.steps if step.unit in units and units[step.unit].hash == step.old]
    if not steps:
        raise UserError(f"every unit of rollout {rollout.name} was changed since; there is nothing to do again")
    if any(step.new not in texts for step in steps):
        raise UserError(f"the files of rollout {rollout.name} are not all there any more")
    return {step.unit: texts[step.new] for step in steps}


def texts_again_in(rollout: Rollout, snapshot: Snapshot) -> dict[str, str]:
    """The same, in a snapshot with units and files."""
    hashes = {step.new for step in rollout.steps} & snapshot.files.keys()
    return texts_again(rollout, snapshot.units, {each: snapshot.files[each].text for each in hashes})


async def act(operator: Operator, verb: str, name: str) -> Rollout:
    """Pause, resume, abort or undo a rollout. UserError when there is none, or when that makes no sense now."""
    key = operator.keys.rollout(name)

    async def attempt() -> Rollout:
        before, revision = await read_rollout(operator, name)
        after = ACTS[verb](before, operator.actor)
        if after != before:
            event = operator.event("rollout", reason=f"rollout {name}: {verb}")
            await commit(operator, [Compare.mod(key, revision)], [Op.put(key, encode(after))], [event])
        return after

    return await persist(attempt)


def paused(rollout: Rollout, by: str) -> Rollout:
    """The record of a rollout that gives no further unit its turn; those under way go on by themselves."""
    if rollout.state is not RolloutState.RUNNING:
        raise UserError(f"rollout {rollout.name} is {rollout.state}; there is nothing to pause")
    return replace(rollout, state=RolloutState.PAUSED, note=f"paused by {by}")


def resumed(rollout: Rollout, by: str) -> Rollout:
    """The record of a paused rollout that goes on; what has failed is passed by."""
    if rollout.state is not RolloutState.PAUSED:
        raise UserError(f"rollout {rollout.name} is {rollout.state}, not paused")
    failed = failures(rollout)
    groups = {step.group for step in rollout.steps if step.key in failed}
    return replace(
        rollout,
        state=RolloutState.RUNNING,
        max_failures=max(rollout.max_failures, len(groups)),
        canary=0 if groups else rollout.canary,
        note=f"resumed by {by}" + (f"; {len(groups)} that failed are passed by" if groups else ""),
    )


def aborted(rollout: Rollout, by: str) -> Rollout:
    """The record of a rollout that ends where it is: what has had its turn keeps it."""
    if rollout.state.over:
        raise UserError(f"rollout {rollout.name} is {rollout.state} already")
    return replace(rollout, state=RolloutState.ABORTED, note=f"aborted by {by}")


def undone(rollout: Rollout, by: str) -> Rollout:
    """The record of a rollout that gives its units their old files again, as many at a time."""
    if rollout.back:
        raise UserError(
            f"rollout {rollout.name} has gone back, or is going back; to have the new file again:"
            f" fleetctl rollout redo {rollout.name}"
        )
    if all(step.old == step.new for step in rollout.steps):
        moved = any(step.leaves for step in rollout.steps)
        what = "a drain; fleetctl uncordon ends it" if moved else "a restart, which cannot be taken back"
        if any(step.goes_to for step in rollout.steps):
            what = "a rebalance, which cannot be taken back; abort ends one that is under way"
        raise UserError(f"rollout {rollout.name} was {what}")
    return going_back(rollout, f"undone by {by}")


ACTS: Mapping[str, Callable[[Rollout, str], Rollout]] = {
    "pause": paused,
    "resume": resumed,
    "abort": aborted,
    "undo": undone,
}
