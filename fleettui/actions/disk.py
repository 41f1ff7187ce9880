"""Unit files on the operator's disk: finding and reading what an argument names. Blocks; asks no registry."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.errors import UserError
from registry.units.check import verify
from registry.units.file import MAX_BYTES, Problem
from registry.units.hostreach import warnings
from registry.units.name import normalise, parse


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A unit file as it lies on disk."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A unit that an argument names, with the file and the template that lie on disk for it, if any."""

    name: str
    file: LocalFile | None = None
    template: LocalFile | None = None


class Disk:
    """Reads each file once, however many instances share it."""

    def __init__(self) -> None:
        self._read: dict[tuple[Path, str], LocalFile | None] = {}

    def candidate(self, argument: str) -> Candidate:
        """The unit that `argument`, a name or a path, stands for.

        UserError for a name that is none, and for a file that cannot be read or would be refused.
        """
        path = Path(argument)
        name = parse(normalise(path.name))
        file = self._look(path.with_name(name.full), name.full)
        if file is None and path.name != name.full and "/" in str(path):
            file = self._look(path, name.full)
        template = None
        if file is None and name.is_instance and name.template:
            template = self._look(path.with_name(name.template), name.template)
        return Candidate(name.full, file, template)

    def _look(self, path: Path, name: str) -> LocalFile | None:
        key = (path, name)
        if key not in self._read:
            self._read[key] = read_unit_file(path, name)
        return self._read[key]


def candidates(arguments: Iterable[str]) -> tuple[Candidate, ...]:
    """What the arguments name, in order. UserError as in `Disk.candidate`."""
    disk = Disk()
    return tuple(disk.candidate(argument) for argument in arguments)


def read_unit_file(path: Path, name: str) -> LocalFile | None:
    """The file at `path` as the text of unit `name`; None when there is none.

    UserError when it is no regular file, cannot be read, or would be refused; every problem is a line.
    """
    data = read_bytes(path)
    if data is None:
        return None
    if problems := verify(name, data, str(path)):
        raise UserError("\n".join(map(str, problems)))
    return LocalFile(str(path), data.decode("utf-8"))


def read_bytes(path: Path) -> bytes | None:
    """At most one byte more than a unit file may have; None when there is no such file. UserError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path} is not a regular file; give a unit file")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"cannot read {path}: {reason}; check the file's permissions") from error


def verify_path(path: Path) -> tuple[Sequence[Problem], Sequence[Problem]]:
    """What is wrong with a unit file, and, when nothing is, what it does beyond its own unit.

    Raises UserError for a file that is not there or cannot be read.
    """
    data = read_bytes(path)
    if data is None:
        raise UserError(f"{path} does not exist; give a unit file")
    problems = verify(path.name, data, str(path))
    return problems, () if problems else warnings(path.name, data.decode("utf-8"), str(path))
