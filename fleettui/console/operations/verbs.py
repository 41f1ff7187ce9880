"""Whether a verb on units can be carried out now, why not, and the same as a `fleetctl` command line. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from fleettui.verbs import Verb
from registry.lifecycle import ended
from registry.mirror import Snapshot
from registry.model import Target
from registry.sync.follow import ConnectionState

READ_ONLY = "this console is read-only"
NO_SHELL = f"no shell: {READ_ONLY}"
NO_LINK = "no connection to the registry"


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
    down = _down(names, snapshot) if verb.rules.target is Target.LAUNCHED else frozenset()
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


def command(verb: Verb, names: Sequence[str], *, shown: int = 0) -> str:
    """The same as a `fleetctl` command line; `shown` cuts the list of units for people."""
    listed = [shlex.quote(name) for name in names]
    if shown and len(listed) > shown:
        listed = [*listed[:shown], f"… {len(listed) - shown} more"]
    return " ".join(
        ["fleetctl", verb.value, *(["--"] if any(name.startswith("-") for name in names) else []), *listed]
    )
