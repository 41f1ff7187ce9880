"""The fields of each list, of which `--fields` names some, for the lists, their help and completion. Pure."""

from __future__ import annotations

from registry.frozen import dataclass


@dataclass(frozen=True, slots=True)
class ListFields:
    """The fields of one list: all that are known, and those that are shown when none is asked for."""

    known: tuple[str, ...]
    usual: tuple[str, ...]

    @property
    def note(self) -> str:
        """What the help says of them."""
        others = ",".join(each for each in self.known if each not in self.usual)
        return f"fields: {','.join(self.usual)} (shown), {others}"


MACHINES = ListFields(
    ("machine", "ip", "metadata", "hostname", "units", "state", "version"), ("machine", "ip", "metadata")
)
UNITS = ListFields(
    ("unit", "load", "active", "sub", "health", "machine", "hash", "reason"), ("unit", "machine", "active", "sub")
)
UNIT_FILES = ListFields(
    ("unit", "hash", "dstate", "state", "target", "global", "desc"), ("unit", "hash", "dstate", "state", "target")
)
