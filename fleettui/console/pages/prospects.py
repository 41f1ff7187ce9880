"""What would happen to a unit before it happens: its machine lost, or drained. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from placement.preview import Prediction, preview_drain, preview_loss
from registry.errors import UserError
from registry.keys import DEFAULT_KEYS, Keys
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


def if_lost(snapshot: Snapshot, unit: str, machine: str, keys: Keys = DEFAULT_KEYS) -> Prospect:
    """Where the unit goes when its machine is gone for good, with everything on it."""
    return _prospect(preview_loss(snapshot, machine, unit, keys))


def if_drained(snapshot: Snapshot, unit: str, machine: str, keys: Keys = DEFAULT_KEYS) -> Prospect:
    """Where the unit goes when its machine is drained; nowhere: it stays and blocks the drain."""
    found = next((each for each in preview_drain(snapshot, (machine,), keys)[machine] if each.unit == unit), None)
    return _prospect(found) if found else Prospect(machine, "it belongs to its machine")


def _prospect(found: Prediction) -> Prospect:
    return Prospect(found.machines[0]) if found.machines else Prospect("", found.summary)
