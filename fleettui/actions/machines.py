"""An operator's acts on machines: cordon, drain, uncordon, metadata at run time.

Owns what each act makes of a machine's override. Which units move, and when, is the scheduler's to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from fleettui.actions.operator import Operator, commit, persist
from registry.errors import CorruptRecord, UserError
from registry.etcd import Compare, Op
from registry.frozen import dataclass, replace
from registry.keys import Address, Table
from registry.model import Availability, Override, Rollout, RolloutState
from registry.records import decode, encode
from registry.units.options import metadata_pair

VERBS = {Availability.READY: "uncordon", Availability.CORDONED: "cordon", Availability.DRAINING: "drain"}


@dataclass(frozen=True, slots=True)
class MachineChange:
    """What came of an act on a machine. `revision` is 0 when nothing had to be written."""

    before: Override
    after: Override
    revision: int = 0


async def set_availability(operator: Operator, machine: str, availability: Availability) -> MachineChange:
    """Open (`READY`), cordon or drain a machine, given by its full id."""
    change = partial(replace, availability=availability, drained_by="", reboot="")
    return await _change(operator, machine, change, VERBS[availability], "", overwrite=True)


async def cordon(operator: Operator, machine: str) -> MachineChange:
    """Place nothing new on the machine; what runs stays."""
    return await set_availability(operator, machine, Availability.CORDONED)


async def drain(operator: Operator, machine: str) -> MachineChange:
    """Place nothing new on the machine and move away what can run elsewhere."""
    return await set_availability(operator, machine, Availability.DRAINING)


async def uncordon(operator: Operator, machine: str) -> MachineChange:
    """Let the scheduler use the machine again."""
    return await set_availability(operator, machine, Availability.READY)


async def set_metadata(operator: Operator, machine: str, changes: Mapping[str, str | None]) -> MachineChange:
    """Set metadata over the machine's own, key by key: "" hides the machine's value, None ends the override.

    UserError for a key or a value that no unit file could ask for.
    """
    for key, value in changes.items():
        metadata_pair(f"{key}={value or 'any'}")
    told = ", ".join(f"{key}={'(its own)' if value is None else value}" for key, value in sorted(changes.items()))

    def change(old: Override) -> Override:
        merged = {**dict(old.metadata), **changes}
        kept = tuple(sorted((key, value) for key, value in merged.items() if value is not None))
        return replace(old, metadata=kept)

    return await _change(operator, machine, change, "metadata", told)


async def restore_machine(operator: Operator, previous: MachineChange) -> MachineChange:
    """Take an act on a machine back. UserError when somebody changed it since."""
    machine = previous.after.machine

    def change(old: Override) -> Override:
        if _essence(old) != _essence(previous.after):
            raise UserError(
                f"machine {machine[:8]}... was changed since by {old.by or 'somebody'}; it is left as it is"
            )
        return replace(old, availability=previous.before.availability, metadata=previous.before.metadata)

    return await _change(operator, machine, change, "undo", f"{previous.before.availability} again")


async def _change(
    operator: Operator,
    machine: str,
    change: Callable[[Override], Override],
    verb: str,
    reason: str,
    *,
    overwrite: bool = False,
) -> MachineChange:
    """Write what `change` makes of the override; one that does not parse is an error without `overwrite`."""

    async def attempt() -> MachineChange:
        key = operator.keys.override(machine)
        kv = await operator.etcd.get(key)
        found = _override(machine, kv.value if kv else b"", key, overwrite=overwrite)
        before = found or Override(machine)
        after = change(before)
        if found and _essence(after) == _essence(before):
            return MachineChange(before, before)
        after = replace(after, by=operator.actor, at=operator.now())
        op = Op.delete(key) if _essence(after) == _essence(Override(machine)) else Op.put(key, encode(after))
        guards, ops = [Compare.mod(key, kv.mod_revision if kv else 0)], [op]
        if before.drained_by != after.drained_by and (over := await _called_off(operator, before)):
            guards.append(over[0])
            ops.append(over[1])
        event = operator.event(verb, machine=machine, reason=reason)
        return MachineChange(before, after, await commit(operator, guards, ops, [event]))

    return await persist(attempt)


async def _called_off(operator: Operator, override: Override) -> tuple[Compare, Op] | None:
    """What ends the rollout of a drain that is taken back, if it is paused and empties no other machine.

    The leader ends one that runs.
    """
    name, keys = override.drained_by, operator.keys
    kv = await operator.etcd.get(keys.rollout(name)) if name else None
    try:
        record = decode(Address(Table.ROLLOUTS, name), kv.value, kv.key) if kv else None
    except CorruptRecord:
        return None
    if kv is None or not isinstance(record, Rollout) or record.state is not RolloutState.PAUSED:
        return None
    for machine in sorted({step.leaves for step in record.steps if step.leaves} - {override.machine}):
        other = await operator.etcd.get(keys.override(machine))
        found = _override(machine, other.value if other else b"", keys.override(machine), overwrite=True)
        if found is None or found.drained_by == name:
            return None
    note = "; ".join(filter(None, (record.note, "no machine is emptied by it any more")))
    ended = replace(record, state=RolloutState.ABORTED, note=note)
    return Compare.mod(kv.key, kv.mod_revision), Op.put(kv.key, encode(ended))


def _override(machine: str, value: bytes, key: str, *, overwrite: bool) -> Override | None:
    """The override as stored, or the usual one; None for one that does not parse and is to be overwritten."""
    if not value:
        return Override(machine)
    try:
        record = decode(Address(Table.OVERRIDES, machine), value, key)
    except CorruptRecord as error:
        if overwrite:
            return None
        raise UserError(
            f"what is set on machine {machine[:8]}... does not parse ({error.reason}); "
            "cordon or uncordon it first, which writes it anew"
        ) from error
    return record if isinstance(record, Override) else Override(machine)


def _essence(override: Override) -> Override:
    """The override without who and when."""
    return replace(override, by="", at=0.0)
