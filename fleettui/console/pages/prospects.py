"""What would happen to a unit before it happens: its machine lost, or drained. Pure.

It asks the scheduler's own rules for this one unit; that others move at the same time is not foreseen, and the page
says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from placement.explain import DEFAULT_KEYS, Prediction, departures, dry_run
from registry.errors import UserError
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.units.file import parse
from registry.units.options import FleetOptions, parse_options


@dataclass(frozen=True, slots=True)
class Prospect:
    """What becomes of a unit: where it goes (a machine's id), or "" with the reason why nowhere."""

    machine: str
    reason: str = ""


def options_of(snapshot: Snapshot, unit: str) -> FleetOptions | None:
    """The unit's options; None when its file is missing or does not parse."""
    record = snapshot.units.get(unit)
    file = snapshot.files.get(record.hash) if record else None
    if file is None:
        return None
    try:
        return parse_options(parse(file.text), unit)
    except UserError:
        return None


def if_lost(
    snapshot: Snapshot, unit: str, options: FleetOptions, machine: str, keys: Keys = DEFAULT_KEYS
) -> Prospect:
    """Where the unit goes when its machine is gone for good, with everything on it."""
    return _prospect(dry_run(without(snapshot, machine), unit, options, keys))


def if_drained(snapshot: Snapshot, unit: str, machine: str, keys: Keys = DEFAULT_KEYS) -> Prospect:
    """Where the unit goes when its machine is drained; nowhere: it stays and blocks the drain."""
    alone = replace(snapshot, schedule=_only(snapshot.schedule, lambda pair: pair[0] != machine or pair[1] == unit))
    found = next((each for each in departures(alone, machine, keys) if each.unit == unit), None)
    return _prospect(found) if found else Prospect(machine, "it belongs to its machine")


def _prospect(found: Prediction) -> Prospect:
    return Prospect(found.machines[0]) if found.machines else Prospect("", found.summary)


def without(snapshot: Snapshot, machine: str) -> Snapshot:
    """The snapshot as if the machine had never been."""
    return replace(
        snapshot,
        machines=_only(snapshot.machines, lambda each: each != machine),
        schedule=_only(snapshot.schedule, lambda pair: pair[0] != machine),
        states=_only(snapshot.states, lambda pair: pair[0] != machine),
    )


def _only(table: Mapping[Any, Any], wanted: Any) -> Mapping[Any, Any]:  # noqa: ANN401 - keys of any table
    return MappingProxyType({key: value for key, value in table.items() if wanted(key)})
