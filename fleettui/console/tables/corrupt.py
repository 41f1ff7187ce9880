"""Units and machines whose records do not parse, by name: looked up once for each set of corrupt records. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from registry.grammar import token, unit_name
from registry.keys import Table
from registry.mirror import Snapshot
from registry.model import Corrupt

RULES: dict[Table, Callable[[str], str]] = {Table.UNITS: unit_name, Table.MACHINES: token}


class CorruptNames:
    """Why the records of one table do not parse, by name. Keys that name nothing are left to the banner."""

    def __init__(self, table: Table) -> None:
        self._marker, self._rule = f"/{table}/", RULES[table]
        self._corrupt: Mapping[str, Corrupt] = {}
        self._found: dict[str, str] = {}

    def of(self, snapshot: Snapshot) -> Mapping[str, str]:
        """The names in a snapshot, with what is wrong with their records."""
        if snapshot.corrupt is not self._corrupt:
            self._corrupt = snapshot.corrupt
            pairs = ((key.rpartition(self._marker), bad.reason) for key, bad in snapshot.corrupt.items())
            self._found = {name: reason for (_, marker, name), reason in pairs if marker and self._is_name(name)}
        return self._found

    def _is_name(self, name: str) -> bool:
        try:
            return bool(self._rule(name))
        except ValueError:
            return False
