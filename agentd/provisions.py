"""What units need beside their files (`Config=`, `Secret=`), put below /run where their files say.

Owns `/run/fleet/pins`: a directory for each version of a config, a file for each of a secret, which root alone may
read. A version is there whole or not at all, and never changes; what no unit's file names any more is removed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from agentd.dependencies import FileSource
from agentd.file_cache import FileMissing
from agentd.managed_unit import Refused
from agentd.unit_directory import PUBLIC, entries_of, make_directory, write_atomically
from registry.errors import CorruptRecord, FleetError, UserError
from registry.units.content import read_config, read_secret
from registry.units.pins import ENVIRONMENT, FILES, MOUNTED, ROOT, NeedKind, VersionPin

Opener = Callable[[str, bytes, str], bytes]  # a key's name, what is sealed for it, and the secret's name


class Unprovided(FleetError):
    """What a unit needs could not be written; it is tried again."""


class Provisions:
    """Fetches, writes and removes versions. `refusal` says why this machine provides none, if it does not.

    `open_secret` raises UserError where it cannot open one.
    """

    def __init__(self, contents: FileSource, open_secret: Opener, refusal: str = "", run: Path = Path("/")) -> None:
        self._contents, self._open_secret, self._refusal, self._run = contents, open_secret, refusal, run
        self._kept: dict[str, frozenset[VersionPin]] = {}  # by unit
        self._coming: dict[str, frozenset[VersionPin]] = {}  # the same, for a file that is about to be written
        self._swept = False

    async def check(self, pins: tuple[VersionPin, ...]) -> None:
        """Raise Refused when one of these cannot be had here."""
        for pin in pins:
            if not self._path(pin).exists():
                await self._content(pin)

    async def provide(self, unit: str, pins: tuple[VersionPin, ...]) -> None:
        """Have all of them there for a unit. Raises Refused, Unprovided, or what the registry raises."""
        if not pins:
            return
        self._coming[unit] = frozenset(pins)
        if not self._swept:  # by an agent before us that was killed
            self.sweep()
        for pin in pins:
            path = self._path(pin)
            if path.exists():
                continue
            content = await self._content(pin)
            try:
                if isinstance(content, bytes):
                    self._write_secret(path, content)
                else:
                    _write_directory(path, content)
            except OSError as error:
                raise Unprovided(f"cannot write {pin.need} to {path.parent}: {error.strerror}") from error
        for pin in pins:
            if pin.need.kind is NeedKind.CONFIG:  # where systemd mounts it for the unit
                make_directory(self._place(MOUNTED) / pin.need.name)

    def holds(self, pins: tuple[VersionPin, ...]) -> bool:
        """Whether all of them are there."""
        mounts = (self._place(MOUNTED) / pin.need.name for pin in pins if pin.need.kind is NeedKind.CONFIG)
        return all(path.exists() for path in (*map(self._path, pins), *mounts))

    def keep(self, unit: str, pins: tuple[VersionPin, ...]) -> None:
        """The unit needs these from now on; what no unit needs any more is removed."""
        before = self._kept.get(unit, frozenset()) | self._coming.pop(unit, frozenset())
        if pins:
            self._kept[unit] = frozenset(pins)
        else:
            self._kept.pop(unit, None)
        if before - frozenset(pins):
            self.sweep()

    def sweep(self) -> None:
        """Remove what no unit needs, and what was left half written."""
        self._swept = True
        needed = {
            str(self._path(pin)) for kept in (self._kept, self._coming) for pins in kept.values() for pin in pins
        }
        for name in (each for kind in entries_of(self._place(ROOT)) for each in entries_of(kind)):
            for version in entries_of(name):
                if str(version) not in needed:
                    (shutil.rmtree if version.is_dir() else os.unlink)(version)
            if not any(name.iterdir()):
                name.rmdir()

    async def _content(self, pin: VersionPin) -> bytes | dict[str, bytes]:
        """A secret, or what lies in a config's directory: paths and contents. Raises Refused."""
        if self._refusal:
            raise Refused(f"{pin.need}: {self._refusal}")
        try:
            text = await self._contents.get(pin.version)
            if pin.need.kind is NeedKind.SECRET:
                return self._open_secret(*read_secret(text, pin.need.name), pin.need.name)
            found = read_config(text, pin.need.name)
        except (FileMissing, CorruptRecord, UserError) as error:
            raise Refused(f"{pin.need}: {error}") from error
        files = {f"{FILES}/{path}": data for path, data in found.files.items()}
        return {ENVIRONMENT: found.environment.encode(), **files}

    def _write_secret(self, path: Path, content: bytes) -> None:
        for directory in (self._place(ROOT), path.parent.parent, path.parent):
            directory.mkdir(mode=0o755 if directory == self._place(ROOT) else 0o700, parents=True, exist_ok=True)
        write_atomically(path, content)

    def _path(self, pin: VersionPin) -> Path:
        return self._place(pin.path)

    def _place(self, path: str) -> Path:
        return self._run / path.lstrip("/")


def read_private(path: str) -> str:
    """The text of a file that its owner alone may read. Raises UserError for any other."""
    try:
        mode = os.stat(path).st_mode & 0o7777  # noqa: PTH116
        text = Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"cannot read {path}: {reason}; run fleettui join for this host again") from error
    if mode & 0o077:
        raise UserError(f"{path} has mode {mode:04o}, so that others may read it; run: chmod 600 {path}")
    return text


def _write_directory(path: Path, contents: dict[str, bytes]) -> None:
    """Write a directory whole: it is made beside, and renamed. Raises OSError, and leaves nothing then."""
    partial = path.with_name(f".{path.name}.new")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / FILES).mkdir(mode=0o755, parents=True)
        for name, data in contents.items():
            (partial / name).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_atomically(partial / name, data, PUBLIC)
        partial.rename(path)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
