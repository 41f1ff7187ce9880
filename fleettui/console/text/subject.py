"""What a detail is about, and its tabs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SubjectKind(StrEnum):
    """The two things that have a detail."""

    UNIT = "unit"
    MACHINE = "machine"


class Tab(StrEnum):
    """A tab, by its title in lower case."""

    STATUS = "status"
    JOURNAL = "journal"
    FILE = "file"
    PLACEMENT = "placement"
    EVENTS = "events"
    DEPENDENCIES = "dependencies"
    UNITS = "units"
    METADATA = "metadata"
    FACTS = "facts"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class Subject:
    """A unit (`machine` narrows a global one to one place) or, by its id, a machine."""

    kind: SubjectKind
    name: str
    machine: str = ""

    @property
    def tabs(self) -> tuple[Tab, ...]:
        """Its tabs in their order."""
        return UNIT_TABS if self.kind is SubjectKind.UNIT else MACHINE_TABS


def unit_subject(name: str, machine: str = "") -> Subject:
    """A unit, or a global unit on one machine."""
    return Subject(SubjectKind.UNIT, name, machine)


def machine_subject(machine: str) -> Subject:
    """A machine, by its id."""
    return Subject(SubjectKind.MACHINE, machine)


UNIT_TABS = (Tab.STATUS, Tab.JOURNAL, Tab.FILE, Tab.PLACEMENT, Tab.EVENTS, Tab.DEPENDENCIES)
MACHINE_TABS = (Tab.UNITS, Tab.METADATA, Tab.JOURNAL, Tab.FACTS, Tab.EVENTS, Tab.DRAIN)

# What a tab's key opens: (of a unit, of a machine), by the key's name in the keys table.
TAB_KEYS: dict[str, tuple[Tab, Tab]] = {
    "status": (Tab.STATUS, Tab.FACTS),
    "journal": (Tab.JOURNAL, Tab.JOURNAL),
    "file": (Tab.FILE, Tab.METADATA),
    "why": (Tab.PLACEMENT, Tab.DRAIN),
    "unit_events": (Tab.EVENTS, Tab.EVENTS),
    "dependencies": (Tab.DEPENDENCIES, Tab.UNITS),
}


def tab_of(key: str, kind: SubjectKind) -> Tab:
    """The tab that a key opens on such a subject."""
    return TAB_KEYS[key][kind is SubjectKind.MACHINE]


def key_of(tab: Tab, kind: SubjectKind) -> str:
    """The key's name in the keys table."""
    return next(key for key, tabs in TAB_KEYS.items() if tabs[kind is SubjectKind.MACHINE] is tab)
