"""What a detail is about, and its tabs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from registry.units.pins import Need, NeedKind


class SubjectKind(StrEnum):
    """The things that have a detail."""

    UNIT = "unit"
    MACHINE = "machine"
    ROLLOUT = "rollout"
    CONFIG = "config"
    SECRET = "secret"  # noqa: S105 - a kind of thing


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
    PROGRESS = "progress"
    CHANGES = "changes"
    VERSIONS = "versions"
    CONTENT = "content"


@dataclass(frozen=True, slots=True)
class Subject:
    """A unit (`machine` narrows a global one to one place), a machine by its id, a rollout, a config, a secret."""

    kind: SubjectKind
    name: str
    machine: str = ""

    @property
    def need(self) -> Need | None:
        """The config or the secret, as a unit file asks for it; None for what is neither."""
        kind = CONFIG_KINDS.get(self.kind)
        return Need(kind, self.name) if kind is not None else None

    @property
    def tabs(self) -> tuple[Tab, ...]:
        """Its tabs in their order."""
        return tuple(TABS[self.kind].values())


def unit_subject(name: str, machine: str = "") -> Subject:
    """A unit, or a global unit on one machine."""
    return Subject(SubjectKind.UNIT, name, machine)


def machine_subject(machine: str) -> Subject:
    """A machine, by its id."""
    return Subject(SubjectKind.MACHINE, machine)


def rollout_subject(name: str) -> Subject:
    """A rollout."""
    return Subject(SubjectKind.ROLLOUT, name)


def config_subject(kind: NeedKind, name: str) -> Subject:
    """A config or a secret."""
    return Subject(SubjectKind.CONFIG if kind is NeedKind.CONFIG else SubjectKind.SECRET, name)


CONFIG_KINDS = {SubjectKind.CONFIG: NeedKind.CONFIG, SubjectKind.SECRET: NeedKind.SECRET}

# The tabs of each kind in their order, by the name in the keys table of the key that opens them.
TABS: dict[SubjectKind, dict[str, Tab]] = {
    SubjectKind.UNIT: {
        "status": Tab.STATUS,
        "journal": Tab.JOURNAL,
        "file": Tab.FILE,
        "why": Tab.PLACEMENT,
        "unit_events": Tab.EVENTS,
        "dependencies": Tab.DEPENDENCIES,
    },
    SubjectKind.MACHINE: {
        "dependencies": Tab.UNITS,
        "file": Tab.METADATA,
        "journal": Tab.JOURNAL,
        "status": Tab.FACTS,
        "unit_events": Tab.EVENTS,
        "why": Tab.DRAIN,
    },
    SubjectKind.ROLLOUT: {
        "status": Tab.PROGRESS,
        "journal": Tab.JOURNAL,
        "file": Tab.CHANGES,
        "unit_events": Tab.EVENTS,
    },
    SubjectKind.CONFIG: {"status": Tab.VERSIONS, "file": Tab.CONTENT, "unit_events": Tab.EVENTS},
    SubjectKind.SECRET: {"status": Tab.VERSIONS, "unit_events": Tab.EVENTS},
}


def tab_of(key: str, kind: SubjectKind) -> Tab:
    """The tab that a key opens on such a subject; the first where the key has none there."""
    tabs = TABS[kind]
    return tabs.get(key) or next(iter(tabs.values()))


def key_of(tab: Tab, kind: SubjectKind) -> str:
    """The key's name in the keys table."""
    return next(key for key, found in TABS[kind].items() if found is tab)
