"""What can be done to units, what it is called in `fleetctl`, and why it cannot be done just now. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleettui.console.phrases import counted
from registry.follow import Link
from registry.mirror import Snapshot
from registry.model import Target


class Verb(StrEnum):
    """What an operator does to units."""

    START = "start"
    LOAD = "load"
    STOP = "stop"
    UNLOAD = "unload"
    RESTART = "restart"
    DESTROY = "destroy"
    SUBMIT = "submit"
    UNDO = "undo"


RUNNING = frozenset({"active", "activating", "reloading", "deactivating"})  # a process may be there
ASKS = frozenset({Verb.UNLOAD, Verb.RESTART, Verb.DESTROY})  # shows the blast radius first
FROM: dict[Verb, frozenset[Target]] = {
    Verb.START: frozenset({Target.INACTIVE, Target.LOADED}),
    Verb.LOAD: frozenset({Target.INACTIVE}),
    Verb.STOP: frozenset({Target.LAUNCHED}),
    Verb.UNLOAD: frozenset({Target.LOADED, Target.LAUNCHED}),
    Verb.RESTART: frozenset({Target.LAUNCHED}),
    Verb.DESTROY: frozenset(Target),
}


@dataclass(frozen=True, slots=True)
class Permit:
    """Which of the chosen units a verb applies to; `refusal` says why none."""

    names: tuple[str, ...] = ()
    refusal: str = ""


def permit(verb: Verb, names: Sequence[str], snapshot: Snapshot, *, link: Link, read_only: bool) -> Permit:
    """Whether the verb can be carried out on these units now."""
    if read_only:
        return Permit(refusal=f"cannot {verb}: this console is read-only")
    if link is not Link.LIVE:
        return Permit(refusal=f"cannot {verb}: no connection to the registry")
    if not names:
        return Permit(refusal=f"nothing to {verb}: no unit is selected")
    fit = tuple(name for name in names if _fits(verb, name, snapshot))
    return Permit(fit) if fit else Permit(refusal=_misfit(verb, names, snapshot))


def _fits(verb: Verb, name: str, snapshot: Snapshot) -> bool:
    unit = snapshot.units.get(name)
    if unit is None:
        return verb is Verb.DESTROY and any(key.endswith(f"/units/{name}") for key in snapshot.corrupt)
    return unit.target in FROM[verb]


def _misfit(verb: Verb, names: Sequence[str], snapshot: Snapshot) -> str:
    if len(names) > 1:
        return f"cannot {verb}: none of the {len(names)} units can be"
    unit = snapshot.units.get(names[0])
    if unit is None:
        return f"cannot {verb} {names[0]}: it is destroyed already"
    return (
        f"cannot {verb} {names[0]}: its target is {unit.target} already"
        if (verb is not Verb.RESTART and verb is not Verb.STOP)
        else f"cannot {verb} {names[0]}: it is not launched but {unit.target}"
    )


def command(verb: Verb, names: Sequence[str], *, shown: int = 0) -> str:
    """The same as a `fleetctl` command line; `shown` cuts the list of units for people."""
    listed = [shlex.quote(name) for name in names]
    if shown and len(listed) > shown:
        listed = [*listed[:shown], f"… {len(listed) - shown} more"]
    return " ".join(["fleetctl", verb.value, *listed])


def blast_radius(verb: Verb, names: Sequence[str], snapshot: Snapshot) -> list[str]:
    """What else happens, in lines: what stops running, where, and which template loses its last instance."""
    chosen = set(names)
    running = [(machine, unit) for (machine, unit), state in snapshot.states.items()
               if unit in chosen and state.active in RUNNING]  # fmt: skip
    lines = [_running_line(verb, running, snapshot)]
    lines += _last_ones(names, snapshot)
    lines += _conflict_lines(verb, names, snapshot)
    if verb is Verb.DESTROY:
        lines.append("The registry forgets the unit; undo (u) brings it back from this console.")
    return lines


def _running_line(verb: Verb, running: Sequence[tuple[str, str]], snapshot: Snapshot) -> str:
    if not running:
        return "Nothing that runs is stopped."
    units = len({unit for _, unit in running})
    hosts = sorted({_host(snapshot, machine) for machine, _ in running})
    where = ", ".join(hosts[:4]) + (f" and {len(hosts) - 4} more" if len(hosts) > 4 else "")
    happens = "stops and starts again" if verb is Verb.RESTART else "stops"
    if units > 1:
        happens = happens.replace("stops", "stop").replace("starts", "start")
    return f"{counted(units, 'running unit')} {happens} on {where}."


def _host(snapshot: Snapshot, machine: str) -> str:
    record = snapshot.machines.get(machine)
    return record.hostname if record else machine[:8]


def _last_ones(names: Sequence[str], snapshot: Snapshot) -> list[str]:
    """Templates of which no instance keeps running."""
    chosen = set(names)
    active: dict[str, bool] = {}
    for (_, unit), state in snapshot.states.items():
        prefix, at, _ = unit.partition("@")
        if at and state.active in RUNNING:
            active[prefix] = active.get(prefix, False) or unit not in chosen
    touched = {name.partition("@")[0] for name in names if "@" in name}
    return [f"No instance of {each}@ keeps running." for each in sorted(touched) if active.get(each) is False]


def _conflict_lines(verb: Verb, names: Sequence[str], snapshot: Snapshot) -> list[str]:
    """Units that are placed with the chosen ones and would have to go or wait."""
    if verb is Verb.RESTART:
        return []
    chosen = set(names)
    followers = sorted(
        unit for unit, record in snapshot.units.items()
        if unit not in chosen and record.target.scheduled and _follows(snapshot, record.hash, names)
    )  # fmt: skip
    return [f"{', '.join(followers[:3])} must be on its machine (MachineOf), and will wait."] if followers else []


def _follows(snapshot: Snapshot, sha: str, names: Sequence[str]) -> bool:
    file = snapshot.files.get(sha)
    lines = file.text.splitlines() if file and "MachineOf" in file.text else ()
    return any("MachineOf" in line and any(name in line for name in names) for line in lines)
