"""Why a start came to nothing, in systemd's own facts: the condition, the step of the unit, what is missing.

Owns the names of the D-Bus properties that are read when something has failed, and only then, and the words made of
their values. Pure but for `missing`, which looks whether files, users and groups exist.
"""

from __future__ import annotations

import glob
import grp
import pwd
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentd.status import DUMPED, EXITED, KILLED, exit_words

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


def missing(properties: Mapping[str, Any]) -> str:
    """What these properties name and this machine does not have, in words; "" when nothing is found. Blocks."""
    root = str(properties.get("RootDirectory") or "").lstrip("-")
    return next((words for name, value in properties.items() for words in _CHECKS[name](name, value, root)), "")


def _directory(name: str, value: Any, root: str) -> Iterator[str]:  # noqa: ANN401 - any D-Bus value
    inside = root if name == "WorkingDirectory" else ""
    if value and not value.startswith(("-", "!", "~")) and not _is(Path.is_dir, f"{inside}{value}"):
        what = "is not a directory" if _is(Path.exists, f"{inside}{value}") else "does not exist"
        yield f"{name}={value} {what}{f' in {root}' if inside else ''}"


def _file(name: str, value: Any, _root: str) -> Iterator[str]:  # noqa: ANN401 - as above
    if value and not _is(Path.exists, value):
        yield f"{name}={value} does not exist"


def _files(name: str, value: Any, _root: str) -> Iterator[str]:  # noqa: ANN401 - as above
    for path, ignored in value:
        found = glob.glob(path)  # noqa: PTH207 - the path is absolute and its pattern systemd's
        if not ignored and not any(_is(Path.exists, each) and not _is(Path.is_dir, each) for each in found):
            what = "is not a file" if found else "does not exist"
            yield f"{name.removesuffix('s')}={path} {what}"


def _credentials(name: str, value: Any, _root: str) -> Iterator[str]:  # noqa: ANN401 - as above
    for identifier, path in value:
        if path.startswith("/") and not _is(Path.exists, path):
            yield f"{name}={identifier}:{path} does not exist"


def _mounts(name: str, value: Any, root: str) -> Iterator[str]:  # noqa: ANN401 - as above
    for row in value:
        path, ignored = (row, row.startswith("-")) if isinstance(row, str) else (row[0], row[2])
        inside = root if isinstance(row, str) and not path.startswith("+") else ""
        if not ignored and not _is(Path.exists, f"{inside}{path.lstrip('+')}"):
            yield f"{name}={path} does not exist"


def _account(name: str, value: Any, _root: str) -> Iterator[str]:  # noqa: ANN401 - as above
    known: Callable[[str], object] = pwd.getpwnam if name == "User" else grp.getgrnam
    for account in [value] if isinstance(value, str) else value:
        if account and not account.isdigit() and not _knows(known, account):
            yield f"{name}={account} does not exist"


def _is(what: Callable[[Path], bool], path: str) -> bool:
    """Whether a path is so; one that cannot be looked at is not."""
    try:
        return what(Path(path))
    except OSError:
        return False


def _knows(known: Callable[[str], object], account: str) -> bool:
    try:
        known(account)
    except (KeyError, OSError, ValueError):
        return False
    return True


_CHECKS: dict[str, Callable[[str, Any, str], Iterable[str]]] = {
    "WorkingDirectory": _directory,
    "RootDirectory": _directory,
    "RootImage": _file,
    "User": _account,
    "Group": _account,
    "SupplementaryGroups": _account,
    "EnvironmentFiles": _files,
    "LoadCredential": _credentials,
    "LoadCredentialEncrypted": _credentials,
    **dict.fromkeys(PATHS, _mounts),
}
