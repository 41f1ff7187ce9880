"""What can be done to units, what it is called in `fleetctl`, and why it cannot be done just now. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from registry.lifecycle import ended
from registry.mirror import Snapshot
from registry.model import Target
from registry.sync.follow import ConnectionState


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


READ_ONLY = "this console is read-only"
NO_SHELL = f"no shell: {READ_ONLY}"
NO_LINK = "no connection to the registry"
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


def permit(
    verb: Verb, names: Sequence[str], snapshot: Snapshot, *, link: ConnectionState, read_only: bool
) -> Permit:
    """Whether the verb can be carried out on these units now."""
    if read_only:
        return Permit(refusal=f"cannot {verb}: {READ_ONLY}")
    if link is not ConnectionState.LIVE:
        return Permit(refusal=f"cannot {verb}: {NO_LINK}")
    if not names:
        return Permit(refusal=f"nothing to {verb}: no unit is selected")
    down = _down(names, snapshot) if verb is Verb.START else frozenset()
    fit = tuple(name for name in names if name in down or _fits(verb, name, snapshot))
    return Permit(fit) if fit else Permit(refusal=_misfit(verb, names, snapshot))


def _down(names: Sequence[str], snapshot: Snapshot) -> frozenset[str]:
    """Launched units of which nothing runs on some machine: a start is another attempt there."""
    launched = {name for name in names if (unit := snapshot.units.get(name)) and unit.target is Target.LAUNCHED}
    if len(launched) * len(snapshot.machines) > len(snapshot.states):
        found = (state for (_, name), state in snapshot.states.items() if name in launched)
    else:
        pairs = ((machine, name) for machine in snapshot.machines for name in launched)
        found = (state for pair in pairs if (state := snapshot.states.get(pair)))
    return frozenset(state.unit for state in found if state.error or ended(state))


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
    if verb is Verb.START and unit.target is Target.LAUNCHED:
        return f"cannot start {names[0]}: it is launched already, and has not ended"
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
    return " ".join(
        ["fleetctl", verb.value, *(["--"] if any(name.startswith("-") for name in names) else []), *listed]
    )
