"""The host keys that this user's machines showed at first sight: what a later connection must show again.

One file a cluster below $XDG_STATE_HOME/fleet/host-keys, a line a machine: its id, when, under which names, and
the key. The registry names its cluster itself, so a key pinned under another cluster's id is looked up, too, for a
remark.
Blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.errors import UserError

NOT_FOR_OTHERS = 0o077
MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pin:
    """The key that a machine showed, "ssh-ed25519 AAAA…", on a day (2026-01-31), and the names it had then."""

    machine: str
    key: str
    day: str
    names: tuple[str, ...] = ()

    def line(self) -> str:
        """How it is written."""
        return f"{self.machine} {self.day} {','.join(self.names) or '-'} {self.key}\n"


def directory(environ: Mapping[str, str]) -> Path:
    """Where the files lie."""
    state = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME', '')}/.local/state"
    return Path(state) / "fleet" / "host-keys"


class Pins:
    """The pins of one cluster. `cluster` gives its id when it is known, "" before."""

    def __init__(self, place: Path, cluster: Callable[[], str]) -> None:
        self._place = place
        self._cluster = cluster

    def find(self, machine: str) -> Pin | None:
        """The machine's pin. Raises UserError for a file that is broken, or open to others."""
        return _read(self._file).get(machine)

    def elsewhere(self, machine: str, key: str) -> Pin | None:
        """Another key that was pinned for this machine under another cluster's id."""
        others = (_read(file).get(machine) for file in _files(self._place) if file != self._file)
        return next((pin for pin in others if pin and pin.key != key), None)

    def keep(self, machine: str, key: str, names: Sequence[str], *, instead: str = "") -> Pin:
        """Pin a key, unless another one than `instead` was pinned meanwhile; the pin that holds now.

        Raises UserError when it cannot be written.
        """
        pin = Pin(machine, key, time.strftime("%Y-%m-%d"), tuple(names))
        with _locked(self._place):
            pins = _read(self._file)
            found = pins.get(machine)
            if found and found.key != instead:
                return found
            _write(self._file, pins | {machine: pin})
        return pin

    @property
    def _file(self) -> Path:
        cluster = self._cluster()
        plain = re.fullmatch(r"[0-9A-Za-z_-]{1,64}", cluster) is not None
        digest = hashlib.sha256(cluster.encode("utf-8", "surrogatepass")).hexdigest()
        return self._place / (cluster if plain else f"sha256-{digest[:32]}")


def forget(place: Path, wanted: str) -> list[Pin]:
    """Take away the pins of the machine with this id, beginning of an id, or name. UserError if several fit."""
    with _locked(place):
        held = {file: _read(file) for file in _files(place)}
        every = (pin for pins in held.values() for pin in pins.values() if wanted)
        found = {pin.machine: pin for pin in every if pin.machine.startswith(wanted) or wanted in pin.names}
        if len(found) > 1:
            raise UserError(
                f"{wanted!r} could be {len(found)} machines ({', '.join(sorted(found)[:4])}); give the id"
            )
        for file, pins in held.items():
            left = {id_: pin for id_, pin in pins.items() if id_ not in found}
            if left != pins:
                _write(file, left)
    return list(found.values())


def _files(place: Path) -> list[Path]:
    try:
        return sorted(each for each in place.iterdir() if not each.name.startswith("."))
    except OSError:
        return []


def _read(file: Path) -> dict[str, Pin]:
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            data = opened.read(MAX_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"cannot read the pinned host keys in {file}: {error.strerror}") from error
    if mode & NOT_FOR_OTHERS:
        raise UserError(f"the pinned host keys in {file} are open to others (mode {mode:04o}): chmod 600 {file}")
    return parse(data.decode("utf-8", "replace"), str(file))


def parse(text: str, source: str) -> dict[str, Pin]:
    """The pins in a file's text, by machine; the first of a machine counts. Raises UserError with the line."""
    pins: dict[str, Pin] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        words = line.split(" ")
        if len(words) != 5 or not all(words):
            raise UserError(f"{source} line {number} is not MACHINE DAY NAMES TYPE KEY: delete the line")
        machine, day, names, *key = words
        pins.setdefault(machine, Pin(machine, " ".join(key), day, () if names == "-" else tuple(names.split(","))))
    return pins


def _write(file: Path, pins: Mapping[str, Pin]) -> None:
    """Put the file in place whole, for its owner alone."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with contextlib.suppress(FileNotFoundError):
            scratch.unlink()
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.writelines(pin.line() for pin in pins.values())
        scratch.replace(file)
    except OSError as error:
        raise UserError(f"cannot keep pinned host keys in {file}: {error.strerror}; set XDG_STATE_HOME") from error


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    """One writer at a time."""
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (place / ".lock").open("w")
    except OSError as error:
        raise UserError(f"cannot keep pinned host keys in {place}: {error.strerror}; set XDG_STATE_HOME") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
