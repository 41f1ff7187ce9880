"""What an operator can do to units and machines now, why not, and the same as a `fleetctl` command line. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleettui.verbs import Verb
from registry.lifecycle import ended
from registry.mirror import Pair, Snapshot
from registry.model import Availability, Target
from registry.sync.follow import ConnectionState

READ_ONLY = "this console is read-only"
IN_RECORD = "this is a record of the past; it is only read"
NO_SHELL = f"no shell: {READ_ONLY}"
NO_LINK = "no connection to the registry"


class MachineVerb(StrEnum):
    """What an operator does to machines, as `fleetctl` calls it."""

    CORDON = "cordon"
    UNCORDON = "uncordon"
    DRAIN = "drain"
    SET_METADATA = "set-metadata"
    UNSET_METADATA = "unset-metadata"


class RolloutVerb(StrEnum):
    """What an operator does to rollouts, as `fleetctl rollout` calls it; `rollout` itself begins one."""

    BEGIN = "rollout"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    UNDO = "undo"
    REDO = "redo"


AVAILABILITY = {  # that a verb gives a machine
    MachineVerb.CORDON: Availability.CORDONED,
    MachineVerb.UNCORDON: Availability.READY,
    MachineVerb.DRAIN: Availability.DRAINING,
}
VERB_TO = {availability: verb for verb, availability in AVAILABILITY.items()}


@dataclass(frozen=True, slots=True)
class Permit:
    """Which of the chosen units, or ids of machines, a verb applies to; `refusal` says why none."""

    names: tuple[str, ...] = ()
    refusal: str = ""


# Units


def permit(
    verb: Verb, names: Sequence[str], snapshot: Snapshot, *, link: ConnectionState, barred: str,
    places: Iterable[Pair] | None = None,
) -> Permit:  # fmt: skip
    """Return which of these units the verb can be carried out on now, or why on none.

    `places` is where they are scheduled or held; None looks at every state.
    """
    if refusal := _no_change(verb, names, "unit", link, barred=barred):
        return Permit(refusal=refusal)
    down = _down(names, snapshot, places) if verb.rules.target is Target.LAUNCHED else frozenset()
    fit = tuple(name for name in names if name in down or _fits(verb, name, snapshot))
    return Permit(fit) if fit else Permit(refusal=_misfit(verb, names, snapshot))


def _down(names: Sequence[str], snapshot: Snapshot, places: Iterable[Pair] | None) -> frozenset[str]:
    """Launched units of which nothing runs on some machine: a start is another attempt there."""
    launched = {name for name in names if (unit := snapshot.units.get(name)) and unit.target is Target.LAUNCHED}
    pairs = (pair for pair in (snapshot.states if places is None else places) if pair[1] in launched)
    found = (state for pair in pairs if (state := snapshot.states.get(pair)))
    return frozenset(state.unit for state in found if state.error or ended(state))


def _fits(verb: Verb, name: str, snapshot: Snapshot) -> bool:
    unit = snapshot.units.get(name)
    if unit is None:
        return verb.rules.forgets and any(key.endswith(f"/units/{name}") for key in snapshot.corrupt)
    return unit.target in verb.rules.applies_from


def _misfit(verb: Verb, names: Sequence[str], snapshot: Snapshot) -> str:
    if len(names) > 1:
        return f"cannot {verb}: none of the {len(names)} units can be"
    unit = snapshot.units.get(names[0])
    if unit is None:
        return f"cannot {verb} {names[0]}: it is destroyed already"
    if verb.rules.target is Target.LAUNCHED is unit.target:
        return f"cannot {verb} {names[0]}: it is launched already, and has not ended"
    if verb.rules.only_launched:
        return f"cannot {verb} {names[0]}: it is not launched but {unit.target}"
    return f"cannot {verb} {names[0]}: its target is {unit.target} already"


# Machines


def availability(snapshot: Snapshot, machine: str) -> Availability:
    """Return what the operator allows on the machine now."""
    override = snapshot.overrides.get(machine)
    return override.availability if override else Availability.READY


def cordon_or_uncordon(snapshot: Snapshot, machines: Sequence[str]) -> MachineVerb:
    """Return what the one key for both does to these: it opens them if none of them is open."""
    closed = machines and all(availability(snapshot, each) is not Availability.READY for each in machines)
    return MachineVerb.UNCORDON if closed else MachineVerb.CORDON


def machine_permit(
    verb: MachineVerb, machines: Sequence[str], snapshot: Snapshot, *, link: ConnectionState, barred: str
) -> Permit:
    """Return which of these machines the verb can be carried out on now, or why on none."""
    if refusal := _no_change(verb, machines, "machine", link, barred=barred):
        return Permit(refusal=refusal)
    wanted = AVAILABILITY.get(verb)
    fit = tuple(each for each in machines if wanted is None or availability(snapshot, each) is not wanted)
    fit = tuple(each for each in fit if verb is not MachineVerb.DRAIN or each in snapshot.machines)
    if fit:
        return Permit(fit)
    if len(machines) > 1:
        return Permit(refusal=f"cannot {verb}: none of the {len(machines)} machines can be")
    why = "not registered, so there is nothing to move"
    if machines[0] in snapshot.machines:
        why = f"{availability(snapshot, machines[0])} already"
    return Permit(refusal=f"cannot {verb} {machine_name(snapshot, machines[0])}: it is {why}")


def machine_name(snapshot: Snapshot, machine: str) -> str:
    """Return a machine as `fleetctl` takes it: its host name where that is one machine's only, else its id."""
    record = snapshot.machines.get(machine)
    if record is None:
        return machine
    alike = sum(each.hostname == record.hostname for each in snapshot.machines.values())
    return record.hostname if alike == 1 else machine


# Both


def _no_change(
    verb: Verb | MachineVerb, chosen: Sequence[str], what: str, link: ConnectionState, *, barred: str
) -> str:
    """Say why nothing at all can be changed now; "" when something can."""
    if barred:
        return f"cannot {verb}: {barred}"
    if link is not ConnectionState.LIVE:
        return f"cannot {verb}: {NO_LINK}"
    return "" if chosen else f"nothing to {verb}: no {what} is selected"


def command(
    verb: Verb | MachineVerb | RolloutVerb, names: Sequence[str], words: Sequence[str] = (), *, shown: int = 0
) -> str:
    """Return the same as a `fleetctl` command line; of the names `shown` are listed (0: all), then come `words`."""
    listed = [shlex.quote(name) for name in names]
    if shown and len(listed) > shown:
        listed = [*listed[:shown], f"… {len(listed) - shown} more"]
    dashes = ["--"] if any(name.startswith("-") for name in names) else []
    return " ".join(["fleetctl", verb.value, *dashes, *listed, *map(shlex.quote, words)])


def rollout_command(verb: RolloutVerb, name: str) -> str:
    """Return an act on a rollout as a `fleetctl` command line."""
    return f"fleetctl rollout {verb.value} {shlex.quote(name)}"


def metadata_words(changes: Mapping[str, str | None]) -> tuple[str, ...]:
    """Return changes of metadata as `fleetctl set-metadata` takes them; an override is ended by its key alone."""
    return tuple(key if value is None else f"{key}={value}" for key, value in sorted(changes.items()))
