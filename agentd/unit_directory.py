"""The agent's own unit files on disk. Owns their directory; knows nothing of systemd or the registry.

Files are written whole and renamed into place, so that a reload never reads half a file.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from registry.errors import UserError
from registry.units.name import refusal

PRIVATE, PUBLIC = 0o600, 0o644
# What may hold a secret, also where a line goes on after "Environment\"; no blank is looked at twice.
_SECRETIVE = re.compile(r"(?:\A|[\r\n])[ \t]*(?:Environment[ \t]*[=\\]|SetCredential)")


def write_atomically(path: Path, content: str | bytes, mode: int = PRIVATE) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part."""
    partial = f"{path.parent}/.{path.name[:200]}.new"
    data = content if isinstance(content, bytes) else content.encode()
    try:
        descriptor = _created(partial, mode)
        try:
            os.fchmod(descriptor, mode)
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)
        os.replace(partial, path)  # noqa: PTH105 - five of these a start: paths as objects cost more than the files
    except OSError:
        Path(partial).unlink(missing_ok=True)  # it may hold the last room there was
        raise


def make_directory(path: Path) -> None:
    """Have a directory. Raises UserError where there is something else, or no leave."""
    try:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(path, error, "make it a directory that the agent may write") from error


def unusable(path: Path, error: OSError, remedy: str) -> UserError:
    """The error for a directory that cannot be used; the agent's service may write below /run alone."""
    if error.errno == errno.EROFS:
        remedy = (
            "its service may not write there: run fleettui join for this host again, or make the directory and, by"
            f" systemctl edit fleet-agentd, a drop-in with [Service] ReadWritePaths={path}"
        )
    return UserError(f"cannot use {path}: {error.strerror}; {remedy}")


def _created(path: str, mode: int) -> int:
    """A new file to write to; its directory is made again if somebody has removed it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        return os.open(path, flags, mode)
    except FileNotFoundError:
        Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        return os.open(path, flags, mode)


def overwrite(path: Path, text: str) -> None:
    """Write over a file that exists, in one call and filled up with blanks: that takes no room. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        data, held = text.encode(), os.fstat(descriptor)
        if len(data) > held.st_blocks * 512:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.write(descriptor, data.ljust(held.st_size))
    finally:
        os.close(descriptor)


def entries_of(directory: Path) -> list[Path]:
    """What lies in a directory; nothing where that is gone."""
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []


def read_text(path: Path) -> str:
    """A file's text; "" when there is none, or something else in its place."""
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


class UnitDirectory:
    """Unit files in one directory, one a unit."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        make_directory(directory)
        self._resolved = os.path.realpath(directory)

    def path(self, unit: str) -> Path:
        """Where a unit's file lies."""
        return self.directory / unit

    def write(self, unit: str, text: str) -> bool:
        """Write a unit's file; False when it was there already with exactly this text.

        A file that may carry a secret in its environment is readable by its owner alone.
        """
        path = self.path(unit)
        if self.hash(unit) == sha256(text.encode()).hexdigest():
            return False
        write_atomically(path, text, PRIVATE if _SECRETIVE.search(text) else PUBLIC)
        return True

    def text(self, unit: str) -> str:
        """A unit's file, "" when there is none."""
        return read_text(self.path(unit))

    def hash(self, unit: str) -> str:
        """The sha256 of a unit's file, "" when there is none."""
        try:
            return sha256(self.path(unit).read_bytes()).hexdigest()
        except OSError:
            return ""

    def holds(self, unit: str) -> bool:
        """Whether there is a file for this unit."""
        return self.path(unit).exists()

    def remove(self, unit: str) -> None:
        """Remove a unit's file; one that is not there is fine."""
        self.path(unit).unlink(missing_ok=True)

    def units(self) -> tuple[str, ...]:
        """The units that have a file, sorted; what is named like no unit is none of ours."""
        return tuple(sorted(path.name for path in entries_of(self.directory) if not refusal(path.name)))

    def linked_from(self, links: Path) -> tuple[str, ...]:
        """The units that have a link in `links` to their file here, whether that is there or not; sorted."""
        found = (path for path in entries_of(links) if path.is_symlink() and not refusal(path.name))
        return tuple(sorted(path.name for path in found if path.readlink() == self.path(path.name)))

    def owns(self, fragment: str, unit: str = "") -> bool:
        """Whether a fragment path, as systemd reports it, is one of these files, or a link to one.

        With `unit`, it must be that unit's file: another's under this name is an alias.
        """
        if unit:  # asked at each change of a unit: following every part of both paths costs ten times as much
            with suppress(OSError):
                ours = f"{self.directory}/{unit}"
                if os.readlink(fragment) == ours and not os.path.islink(ours):  # noqa: PTH114, PTH115
                    return True
        directory, _, name = os.path.realpath(fragment).rpartition("/")
        return bool(fragment) and directory == self._resolved and name == (unit or name)
