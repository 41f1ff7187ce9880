"""What the agent has applied on this machine, remembered beside the unit files: neither repeated nor forgotten.

Owns the files `agent.json` (boot, cluster, lease) and `applied/<unit>` (one entry a unit) in the state
directory, below /run so that a reboot forgets them. Each is written whole and renamed into place. An entry
written before a step names what may have happened; one written after it, what has. On a full disk the agent goes
on: what could not be written is remembered in memory and written as soon as it can be; only a start, which must
never happen twice, is not begun before its entry is on disk.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from agentd.pure.entry import LedgerEntry, Phase
from agentd.unit_directory import entries_of, make_directory, overwrite, write_atomically
from registry.errors import FleetError
from registry.sync.history import ActedOn
from registry.units import name as unitname
from registry.units.name import shown

log = logging.getLogger("fleet.agent")

FACTS_FILE = "agent.json"
APPLIED = "applied"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the agent as a whole remembers over its own restarts."""

    machine: str = ""
    boot_id: str = ""
    cluster_id: str = ""
    lease_id: int = 0
    lease_ttl_s: float = 0.0  # what was configured when the lease was granted; 0: not known
    renewed_at: float = 0.0  # when the last renewal that succeeded was sent (monotonic, of this boot)
    seen: ActedOn = field(default_factory=ActedOn)  # how far the registry's history was acted on


class CannotRemember(FleetError):
    """The ledger's disk takes nothing, and what was to be done must not be done without it."""


class Ledger:
    """The remembered facts and entries. Reads its directory once; a change is on disk when the call returns.

    Unless the disk is full: then `flush` tries again.
    """

    def __init__(self, directory: Path, machine: str, boot_id: str) -> None:
        self._applied = directory / APPLIED
        make_directory(self._applied)
        self._entries: dict[str, LedgerEntry] = {}
        self._unsaved: set[Path] = set()
        self.facts_path = directory / FACTS_FILE
        self.facts = _read_facts(self.facts_path)
        self.rebooted = bool(self.facts.boot_id) and self.facts.boot_id != boot_id
        self.fresh = (self.facts.machine, self.facts.boot_id) != (machine, boot_id)
        found = list(self._applied.iterdir())
        if self.fresh:  # another boot (or machine): nothing that was applied then counts now
            for path in found:
                _remove(path)
            kept = self.facts if self.facts.machine == machine else Facts()
            self.facts = Facts()
            self.remember(machine=machine, boot_id=boot_id, cluster_id=kept.cluster_id, seen=kept.seen)
        else:
            self._read_entries(found)

    def _read_entries(self, found: list[Path]) -> None:
        self._entries.update((entry.unit, entry) for entry in map(_read_entry, found) if entry)

    @property
    def entries(self) -> Mapping[str, LedgerEntry]:
        """All entries by unit."""
        return MappingProxyType(self._entries)

    def remember(self, **changes: Any) -> None:  # noqa: ANN401 - fields of Facts
        """Change facts."""
        changed = replace(self.facts, **changes)
        if changed != self.facts:
            self.facts = changed
            self._save(self.facts_path, _text(changed))

    def put(self, entry: LedgerEntry) -> LedgerEntry:
        """Remember one entry, and return it."""
        if self._entries.get(entry.unit) != entry:
            self._entries[entry.unit] = entry
            self._save(self._applied / entry.unit, _text(entry))
        return entry

    def put_first(self, entry: LedgerEntry) -> LedgerEntry:
        """Remember one entry, on disk for certain. Raises CannotRemember, and the old entry stays."""
        path = self._applied / entry.unit
        try:
            _write(path, _text(entry))
        except OSError as error:
            raise CannotRemember(f"cannot write {path} ({error.strerror}); make room there") from error
        self._entries[entry.unit] = entry
        self._unsaved.discard(path)
        return entry

    def drop(self, unit: str) -> None:
        """Forget a unit."""
        self._entries.pop(unit, None)
        self._unsaved.discard(self._applied / unit)
        (self._applied / unit).unlink(missing_ok=True)

    def flush(self) -> None:
        """Write what could not be written before, and what somebody has removed since."""
        if not self.facts_path.exists():
            self._unsaved.add(self.facts_path)
        present = {path.name for path in entries_of(self._applied)}
        self._unsaved.update(self._applied / unit for unit in self._entries if unit not in present)
        for path in list(self._unsaved):
            kept = self.facts if path == self.facts_path else self._entries[path.name]
            self._save(path, _text(kept))

    def _save(self, path: Path, text: str) -> None:
        try:
            _write(path, text)
        except OSError as error:
            if not self._unsaved:
                log.warning("cannot write %s (%s); remembering in memory until there is room", path, error.strerror)
            self._unsaved.add(path)
        else:
            self._unsaved.discard(path)


def _write(path: Path, text: str) -> None:
    """Replace a file; on a full disk overwrite it where it lies, which takes no room."""
    try:
        write_atomically(path, text)
    except OSError:
        overwrite(path, text)


def _fields_of(record: Any) -> dict[str, Any]:  # noqa: ANN401 - Facts, an entry, or a dataclass in one of them
    return {each.name: getattr(record, each.name) for each in fields(record)}


_text = json.JSONEncoder(default=_fields_of).encode  # `asdict` copies what it finds, and takes longer


def _read_facts(path: Path) -> Facts:
    try:
        data = json.loads(path.read_text())
        return Facts(**_known(Facts, {**data, "seen": ActedOn.of(data.get("seen"))}))
    except FileNotFoundError:
        return Facts()
    except _UNREADABLE as error:
        log.warning("cannot read %s (%s); starting without it", path, error)
        return Facts()


def _read_entry(path: Path) -> LedgerEntry | None:
    """An entry; None for a file that is none, which is removed: the unit is then adopted as it is found."""
    try:
        data = json.loads(path.read_text())
        data |= {"phase": Phase(data["phase"])}
        data |= {name: tuple(map(str, data.get(name, ()))) for name in ("waits", "waits_running")}
        entry = LedgerEntry(**_known(LedgerEntry, data))
        if entry.unit != path.name or unitname.refusal(entry.unit):
            raise ValueError(f"it is of {shown(entry.unit)}")
        if not _HASH.fullmatch(entry.hash):
            raise ValueError(f"its hash {shown(entry.hash)} is none")
    except _UNREADABLE as error:
        if not path.name.startswith("."):
            log.warning("cannot read %s (%s); adopting the unit as it is found", path, error)
        _remove(path)
        return None
    return entry


_UNREADABLE = (OSError, ValueError, TypeError, KeyError, RecursionError)
_HASH = re.compile("[0-9a-f]{64}")
_TYPES = {"str": (str,), "int": (int,), "float": (float, int), "Phase": (Phase,)}


def _known(kind: type[Facts] | type[LedgerEntry], data: dict[str, Any]) -> dict[str, Any]:
    """Of what a file says, the fields that are known. Raises ValueError for one of a wrong type: it was edited."""
    found = {each.name: data[each.name] for each in fields(kind) if each.name in data}
    for each in fields(kind):
        value = found.get(each.name, each.default)
        endless = isinstance(value, float) and not math.isfinite(value)
        if endless or type(value) not in _TYPES.get(str(each.type), (type(value),)):
            raise ValueError(f"its {each.name} is no {each.type}")
    return found


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("cannot remove %s (%s)", path, error.strerror)
