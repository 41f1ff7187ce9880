"""What can be done to machines, why it cannot just now, and what would happen before it happens. Pure."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleettui.actions.drain import DrainPlan, plan, present
from fleettui.console.text.formatting import counted
from fleettui.escape import escape
from placement.explain import Prediction
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import Availability
from registry.sync.follow import ConnectionState
from registry.wording import listed

NAMED = 4  # units or machines named in one line


class MachineVerb(StrEnum):
    """What an operator does to machines, as `fleetctl` calls it."""

    CORDON = "cordon"
    UNCORDON = "uncordon"
    DRAIN = "drain"
    SET_METADATA = "set-metadata"
    UNSET_METADATA = "unset-metadata"


WISHES = {
    MachineVerb.CORDON: Availability.CORDONED,
    MachineVerb.UNCORDON: Availability.READY,
    MachineVerb.DRAIN: Availability.DRAINING,
}
BACK = {wish: verb for verb, wish in WISHES.items()}


@dataclass(frozen=True, slots=True)
class MachinePermit:
    """Which of the chosen machines a verb applies to; `refusal` says why none."""

    ids: tuple[str, ...] = ()
    refusal: str = ""


def availability(snapshot: Snapshot, machine: str) -> Availability:
    """What the operator allows on the machine now."""
    override = snapshot.overrides.get(machine)
    return override.availability if override else Availability.READY


def cordon_or_uncordon(snapshot: Snapshot, machines: Sequence[str]) -> MachineVerb:
    """What the one key for both does to these: it opens them if none of them is open."""
    closed = machines and all(availability(snapshot, each) is not Availability.READY for each in machines)
    return MachineVerb.UNCORDON if closed else MachineVerb.CORDON


def machine_permit(
    verb: MachineVerb, machines: Sequence[str], snapshot: Snapshot, *, link: ConnectionState, read_only: bool
) -> MachinePermit:
    """Whether the verb can be carried out on these machines now."""
    if read_only:
        return MachinePermit(refusal=f"cannot {verb}: this console is read-only")
    if link is not ConnectionState.LIVE:
        return MachinePermit(refusal=f"cannot {verb}: no connection to the registry")
    if not machines:
        return MachinePermit(refusal=f"nothing to {verb}: no machine is selected")
    wish = WISHES.get(verb)
    fit = tuple(each for each in machines if wish is None or availability(snapshot, each) is not wish)
    fit = tuple(each for each in fit if verb is not MachineVerb.DRAIN or each in snapshot.machines)
    return MachinePermit(fit) if fit else MachinePermit(refusal=_misfit(verb, machines, snapshot))


def _misfit(verb: MachineVerb, machines: Sequence[str], snapshot: Snapshot) -> str:
    if len(machines) > 1:
        return f"cannot {verb}: none of the {len(machines)} machines can be"
    name = machine_name(snapshot, machines[0])
    if machines[0] not in snapshot.machines:
        return f"cannot {verb} {name}: it is not registered, so there is nothing to move"
    return f"cannot {verb} {name}: it is {availability(snapshot, machines[0])} already"


def machine_name(snapshot: Snapshot, machine: str) -> str:
    """A machine as `fleetctl` understands it: its host name where that is one machine's only, else its id."""
    record = snapshot.machines.get(machine)
    if record is None:
        return machine
    alike = sum(each.hostname == record.hostname for each in snapshot.machines.values())
    return record.hostname if alike == 1 else machine


def machine_command(verb: MachineVerb, names: Sequence[str], words: Sequence[str] = (), *, shown: int = 0) -> str:
    """The same as a `fleetctl` command line; `words` follow the machines."""
    listed = [shlex.quote(name) for name in names]
    if shown and len(listed) > shown:
        listed = [*listed[:shown], f"… {len(listed) - shown} more"]
    return " ".join(
        [
            "fleetctl",
            verb.value,
            *(["--"] if any(name.startswith("-") for name in names) else []),
            *listed,
            *map(shlex.quote, words),
        ]
    )


def metadata_words(changes: Mapping[str, str | None]) -> tuple[str, ...]:
    """Changes of metadata as `fleetctl set-metadata` takes them; those that end an override by their key alone."""
    return tuple(key if value is None else f"{key}={value}" for key, value in sorted(changes.items()))


def machine_radius(verb: MachineVerb, machines: Sequence[str], snapshot: Snapshot, keys: Keys) -> list[str]:
    """What will happen, in lines."""
    if verb is MachineVerb.DRAIN:
        return [line for each in plan(snapshot, machines, keys) for line in _drain_lines(each, snapshot)]
    stay = sum(len(present(snapshot, machine)) for machine in machines)
    if verb is MachineVerb.CORDON:
        return [f"Nothing new is placed there; {counted(stay, 'unit')} stay and go on running."]
    lines = ["The scheduler may place units there again; nothing moves back by itself."]
    draining = [each for each in machines if availability(snapshot, each) is Availability.DRAINING]
    if draining and stay:
        lines.append(f"The drain ends: {counted(stay, 'unit')} that have not moved yet stay.")
    if snapshot.pending:
        lines.append(f"{counted(len(snapshot.pending), 'unit')} that wait may be placed there.")
    return lines


def _drain_lines(found: DrainPlan, snapshot: Snapshot) -> Iterator[str]:
    host = escape(machine_name(snapshot, found.machine))
    moves, stuck, stays = found.moves, found.stuck, found.stays
    if not moves and not stuck:
        yield f"Nothing on {host} has to move."
    if moves:
        leave = "leaves" if len(moves) == 1 else "leave"
        yield f"{counted(len(moves), 'unit')} {leave} {host} one by one, each stops there first: " + (
            _destinations(moves, snapshot)
        )
    for each in stuck[:NAMED]:
        yield f"{escape(each.unit)} stays and blocks the drain: {escape(each.summary)}"
    if len(stuck) > NAMED:
        yield f"{counted(len(stuck) - NAMED, 'more unit')} {'stays' if len(stuck) == NAMED + 1 else 'stay'}, too."
    if stays:
        stay = "stays" if len(stays) == 1 else "stay"
        yield f"{counted(len(stays), 'global unit')} {stay} there: {escape(listed(stays, NAMED))}"


def _destinations(moves: Sequence[Prediction], snapshot: Snapshot) -> str:
    if len(moves) <= NAMED:
        return ", ".join(f"{escape(each.unit)} to {_host(snapshot, each.machines[0])}" for each in moves)
    counts = Counter(_host(snapshot, each.machines[0]) for each in moves)
    return "about " + ", ".join(f"{number:,} to {host}" for host, number in counts.most_common(NAMED))


def _host(snapshot: Snapshot, machine: str) -> str:
    return escape(machine_name(snapshot, machine))
