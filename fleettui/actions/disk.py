"""Files on the operator's disk, of units and of configs: finding and reading what an argument names.

Blocks; asks no registry.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from registry.errors import UserError
from registry.frozen import dataclass
from registry.units import content
from registry.units.check import verify
from registry.units.file import MAX_BYTES, Problem
from registry.units.file import parse as parse_file
from registry.units.hostreach import warnings
from registry.units.name import is_quadlet, normalise, parse
from registry.units.quadlet import GENERATORS, complaint_about, needed_beside, runs_quadlets

STANDING_IN = {
    "container": "[Container]\nImage=localhost/none\n",
    "kube": "[Kube]\nYaml=/dev/null\n",
    "pod": "[Pod]\n",
    "volume": "[Volume]\n",
    "network": "[Network]\n",
    "image": "[Image]\nImage=localhost/none\n",
    "build": "[Build]\nImageTag=localhost/none\nSetWorkingDirectory=/\n",
}
"""Texts in the place of Quadlets that are named and do not lie beside the file."""


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


def read_unit_file(path: Path, name: str, *, pipes: bool = False) -> LocalFile | None:
    """The file at `path` as the text of unit `name`; None when there is none.

    UserError when it is no regular file (nor a pipe, with `pipes`), cannot be read, or would be refused; every
    problem is a line.
    """
    data = read_bytes(path, pipes=pipes)
    if data is None:
        return None
    if problems := verify(name, data, str(path)):
        raise UserError("\n".join(map(str, problems)))
    return LocalFile(str(path), data.decode("utf-8"))


def is_pipe(path: Path) -> bool:
    """Whether it is one end of a pipe, as `<(command)` and /dev/stdin can be. Its name says no unit's name."""
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def read_bytes(path: Path, *, pipes: bool = False) -> bytes | None:
    """At most one byte more than a unit file may have; None when there is no such file. UserError.

    With `pipes` one is read to its end, which waits for whoever writes into it.
    """
    try:
        if is_pipe(path):
            if not pipes:
                told = "a pipe says no unit's name; write it to a file of that name, or give it to rollout --file"
                raise UserError(f"{path} is not a regular file: {told}")
        elif not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path} is not a regular file; give a unit file")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"cannot read {path}: {reason}; check the file's permissions") from error


def read_files(arguments: Iterable[str]) -> dict[str, bytes]:
    """The files that these arguments name, by the path that they get: files, folders, and NAME=FILE. UserError."""
    found: dict[str, bytes] = {}
    size = 0
    for argument in arguments:
        path, name = Path(argument), ""
        if not path.exists() and "=" in argument:
            name, _, rest = argument.partition("=")
            path = Path(rest)
        try:
            pairs = [(name or path.name, path)]
            if path.is_dir():
                pairs = [
                    (str(Path(name) / each.relative_to(path)), each)
                    for each in sorted(path.rglob("*"))
                    if not each.is_dir()
                ]
            for place, each in pairs:
                mode, data = each.stat().st_mode, b""
                if stat.S_ISFIFO(mode) and each is path:  # <(command)
                    if not name:
                        raise UserError(f"{each} is a pipe, which has no name; write --file NAME={each}")
                    with each.open("rb") as pipe:
                        data = pipe.read(content.MAX_BYTES + 1)
                elif not stat.S_ISREG(mode):
                    raise UserError(f"{each} is not a regular file; leave it out")
                size += len(data) or each.stat().st_size
                if size > content.MAX_BYTES or len(found) >= content.MAX_FILES:
                    raise UserError(
                        f"{argument} is too much for a config, which may have {content.MAX_FILES} files and"
                        f" {content.MAX_BYTES} bytes; keep large files out of it"
                    )
                found[place] = data or each.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    return found


def verify_path(path: Path) -> tuple[Sequence[Problem], Sequence[Problem]]:
    """What is wrong with a unit file, and, when nothing is, what it does beyond its own unit.

    Raises UserError for a file that is not there or cannot be read.
    """
    data = read_bytes(path)
    if data is None:
        raise UserError(f"{path} does not exist; give a unit file")
    problems = verify(path.name, data, str(path))
    if problems:
        return problems, ()
    text = data.decode("utf-8")
    if is_quadlet(path.name):
        problems = _said_by_generator(path, text)
    return problems, warnings(path.name, text, str(path))


def _said_by_generator(path: Path, text: str) -> tuple[Problem, ...]:
    """What Podman's generator has against a Quadlet; nothing where there is none that the fleet works with.

    What the file needs beside it is taken from where it lies; where it is not there, it may be in the registry.
    """
    import subprocess  # noqa: PLC0415 - for Quadlets alone
    import tempfile  # noqa: PLC0415 - the same

    generator, name = GENERATORS["system"], path.name
    try:
        told = subprocess.run([generator, "-version"], capture_output=True, text=True, timeout=10, check=True)
        if not runs_quadlets(told.stdout):
            return ()
        with tempfile.TemporaryDirectory() as directory:
            ahead = {name: text}
            while ahead:
                each, content = ahead.popitem()
                Path(directory, each).write_text(content)
                for other in needed_beside(parse_file(content), each):
                    if not Path(directory, other).exists():
                        found = read_bytes(path.with_name(other))
                        ahead[other] = found.decode("utf-8", "replace") if found else STANDING_IN[parse(other).type]
            done = subprocess.run(
                [generator, "-dryrun", "-no-kmsg-log"], capture_output=True, text=True, timeout=10, check=False,
                env={"QUADLET_UNIT_DIRS": directory, "PATH": os.defpath}, errors="replace",
            )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ()
    said = complaint_about(name, done.stderr.replace(f" in {directory}/{name}", ""))
    option = re.search(r"'(\w+)' in group", said)
    line = next((each.line for each in parse_file(text).entries if option and each.name == option[1]), 1)
    problem = Problem(str(path), line, f"Podman's generator says: {said}", "see podman-systemd.unit(5)")
    return (problem,) if said else ()
