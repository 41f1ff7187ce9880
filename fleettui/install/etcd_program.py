"""etcd's program for the hosts: out of a binary, a .deb or a release archive; its version and architecture.

A host that is too old for its distribution's etcd gets a newer one beside it, extracted and not installed. Blocks:
call it in a thread.
"""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fleettui.install.archive import elf_machine
from registry.errors import UserError

LEAST, BELOW = (3, 5, 16), (3, 6, 0)  # what we are tested with
ADVICE = "give a file that is: --etcd FILE, an etcd binary, Debian's etcd-server .deb or a release's .tar.gz"


@dataclass(frozen=True, slots=True)
class EtcdProgram:
    """The binary, its version ("3.5.16") and the architecture that it runs on."""

    content: bytes = field(repr=False)
    version: str
    architecture: str

    def packed(self) -> bytes:
        """The binary, compressed for the way."""
        return gzip.compress(self.content, compresslevel=1, mtime=0)


def read(path: Path) -> EtcdProgram:
    """The program in a file. UserError for what is none, or of a version that we do not take."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    try:
        if data.startswith(b"!<arch>\n"):
            content, version = _from_package(data)
        elif data.startswith(b"\x7fELF"):
            content, version = data, _asked(path)
        else:
            content, version = _from_release(data)
    except (tarfile.TarError, ValueError, EOFError, OSError) as error:
        raise UserError(f"{path}: {error}; {ADVICE}") from None
    architecture = elf_machine(content)
    if not architecture:
        raise UserError(f"{path}: no program for x86_64 or aarch64; {ADVICE}")
    if not fits(version):
        raise UserError(f"{path}: it is etcd {version or 'of an unknown version'}, and {wanted()}; {ADVICE}")
    return EtcdProgram(content, version, architecture)


def fits(version: str) -> bool:
    """Whether we take this version: all members have to be of one minor, and 3.4 is at its end of life."""
    numbers = tuple(int(each) for each in version.split(".")) if re.fullmatch(r"\d+\.\d+\.\d+", version) else ()
    return LEAST <= numbers < BELOW


def of_package(version: str) -> str:
    """etcd's version in that of a Debian package: "3.5.16" of "3.5.16-4"; "" for one that is odd."""
    return _version(version, r"^(?:\d+:)?(\d+\.\d+\.\d+)[A-Za-z0-9.+~-]*$")


def wanted() -> str:
    """Which versions we take, as part of a sentence."""
    return f"{'.'.join(map(str, LEAST))} or newer, below {BELOW[0]}.{BELOW[1]}, is needed"


def _asked(path: Path) -> str:
    """What the binary says of itself; it has to be one that runs here."""
    try:
        done = subprocess.run(
            [path.absolute(), "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"it does not run here to tell its version ({error})") from None
    return _version(done.stdout, r"etcd Version: (\d+\.\d+\.\d+)")


def _from_package(data: bytes) -> tuple[bytes, str]:
    """The program in a .deb: an ar archive (deb(5)) of control.tar and data.tar."""
    parts, at = {}, 8
    while at + 60 <= len(data):
        name, size = data[at : at + 16].decode("ascii", "replace").strip(" /"), int(data[at + 48 : at + 58])
        parts[name.partition(".tar")[0]] = data[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    if "data" not in parts or "control" not in parts:
        raise ValueError("a package without control.tar and data.tar")
    with tarfile.open(fileobj=io.BytesIO(parts["control"])) as control:
        about = _member(control, "control").decode("utf-8", "replace")
    with tarfile.open(fileobj=io.BytesIO(parts["data"])) as tar:
        return _member(tar, "usr/bin/etcd"), _version(about, r"(?m)^Version: (?:\d+:)?(\d+\.\d+\.\d+)")


def _from_release(data: bytes) -> tuple[bytes, str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        name = next((each for each in tar.getnames() if PurePosixPath(each).name == "etcd"), "")
        return _member(tar, name), _version(name, r"v(\d+\.\d+\.\d+)")


def _member(tar: tarfile.TarFile, wanted_name: str) -> bytes:
    for each in tar:
        if each.isfile() and each.name.removeprefix("./") == wanted_name.removeprefix("./"):
            opened = tar.extractfile(each)
            return opened.read() if opened else b""
    raise ValueError(f"there is no {wanted_name or 'etcd'} in it")


def _version(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""
