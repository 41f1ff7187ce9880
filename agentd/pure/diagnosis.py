"""Why a start came to nothing, in systemd's own facts: the condition, the step of the unit, what is missing.

Owns the names of the D-Bus properties that are read when something has failed, and only then, and the words made of
their values. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentd.pure.unit_status import DUMPED, EXITED, KILLED, exit_words

# The commands of each type of unit in the order in which they run. A reload that failed ends no unit.
STEPS: dict[str, tuple[str, ...]] = {
    "service": ("ExecCondition", "ExecStartPre", "ExecStart", "ExecStartPost", "ExecStop", "ExecStopPost"),
    "socket": ("ExecStartPre", "ExecStartPost", "ExecStopPre", "ExecStopPost"),
    "mount": ("ExecMount", "ExecUnmount"),
    "swap": ("ExecActivate", "ExecDeactivate"),
}
PATHS = ("BindPaths", "BindReadOnlyPaths", "ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths")
# systemd's exit code: the properties that may name what it could not find. systemd.exec(5), "Process Exit Codes".
RESOURCES: dict[int, tuple[str, ...]] = {
    200: ("WorkingDirectory", "RootDirectory"),
    210: ("RootDirectory",),
    216: ("Group", "SupplementaryGroups"),
    217: ("User",),
    226: ("RootDirectory", "RootImage", *PATHS),
    243: ("LoadCredential", "LoadCredentialEncrypted"),
}
OF_SYSTEMD = ("EnvironmentFiles",)  # what systemd itself needs before it runs anything: result "resources"
LENGTH = 200  # of a value that is told
CONDITIONS = {"Conditions": "condition", "Asserts": "assertion"}

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class FailedCommand:
    """A command of a unit that failed: which, and how it ended."""

    name: str  # ExecStartPre
    path: str
    code: int  # EXITED, KILLED, DUMPED
    status: int

    @property
    def words(self) -> str:
        """How it ended."""
        if self.code == EXITED:
            return exit_words(self.status, self.path)
        return f"killed by signal {self.status}{' (core dumped)' if self.code == DUMPED else ''}"

    @property
    def place(self) -> str:
        """Which command it was; its path where `words` does not have it."""
        return self.name if not self.path or self.path in self.words else f"{self.name}={self.path[:120]}"


def failed_step(commands: Mapping[str, Rows], since_us: int) -> FailedCommand | None:
    """The first command that failed since then (monotonic). `commands`: rows of type (sasbttttuii) by property."""
    found: list[tuple[int, FailedCommand]] = []
    for name, rows in commands.items():
        for path, _, ignored, _, began, _, ended, _, code, status in rows:
            bad = status != 0 if code == EXITED else code in (KILLED, DUMPED)
            if bad and not ignored and began >= since_us > 0:
                found.append((ended, FailedCommand(name, path, code, status)))
    return min(found, key=lambda each: each[0], default=(0, None))[1]


def cause(result: str, step: FailedCommand | None, lost: str, fallback: str) -> str:
    """Why a unit failed: what is missing, and the step that failed with how it ended.

    `result` is systemd's, `lost` what `missing` found, `fallback` what the unit's state alone says.
    """
    if result == "resources" and lost:
        return lost[:LENGTH]
    if step is None or result not in ("", "exit-code", "signal", "core-dump", "timeout"):
        return fallback
    if result == "timeout":
        return fallback.replace("timed out", f"timed out in {step.place}", 1)
    return f"{step.words}{f' ({lost[:LENGTH]})' if lost else ''} in {step.place}"


def resources(result: str, step: FailedCommand | None) -> tuple[str, ...]:
    """The properties that may name what was missing: for `missing`."""
    if step is not None and step.code == EXITED:
        return RESOURCES.get(step.status, ())
    return OF_SYSTEMD if result == "resources" else ()


def unmet(rows: Rows) -> str:
    """The conditions or assertions that did not hold, as they are written; "" when systemd remembers none.

    `rows` are of type (sbbsi): name, `|`, `!`, value, and 1 for one that held, -1 for one that did not. systemd
    gives them last first, and stops at the first that fails and is no alternative.
    """
    rows = list(reversed(rows))
    plain = [_written(row) for row in rows if row[4] < 0 and not row[1]]
    if plain:
        return ", ".join(plain[:3])
    alternatives = [row for row in rows if row[1]]
    if alternatives and all(row[4] < 0 for row in alternatives):
        told = ", ".join(_written(row) for row in alternatives[:5])
        return told if len(alternatives) == 1 else f"none of {told} holds"
    return ""


def _written(row: Sequence[Any]) -> str:
    name, trigger, negate, value, _ = row
    return f"{name}={'|' if trigger else ''}{'!' if negate else ''}{value}"[:LENGTH]
