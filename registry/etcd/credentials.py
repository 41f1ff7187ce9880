"""Files that let a program into etcd: whether they may be trusted, what they hold, and whether they have changed.

Owns the rule for secrets: a password or key file is a regular file that nobody but its owner may read or write.
Everything raises `CredentialsUnusable`: a command shows it and ends, a daemon waits until it is mended.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from registry.errors import CredentialsUnusable

MOST_BYTES = 64 * 1024
OTHERS = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH

Stamp = tuple[tuple[int, ...], ...]


def stamp(paths: Iterable[str | None]) -> Stamp:
    """What tells a changed file from the one of before, for each path; one that cannot be seen counts, too."""
    found: list[tuple[int, ...]] = []
    for path in paths:
        if not path:
            continue
        try:
            file = os.stat(path)  # noqa: PTH116 - asked before each connection, so cheaply
        except (OSError, ValueError):
            found.append(())
        else:
            found.append((file.st_ino, file.st_dev, file.st_size, file.st_mtime_ns, file.st_ctime_ns))
    return tuple(found)


def read_password(path: str | None) -> str:
    """The password in the file, without the end of its line."""
    if not path:
        raise CredentialsUnusable(
            "etcd.username is set without etcd.password_file: name the file that holds the password"
        )
    try:
        text = _read_private(path, "etcd.password_file").decode("utf-8")
    except UnicodeDecodeError:
        raise CredentialsUnusable(f"cannot read etcd.password_file {path}: not UTF-8 text") from None
    password = text.rstrip("\r\n")
    if not password:
        raise CredentialsUnusable(
            f"etcd.password_file {path} is empty: write the password of etcd.username into it"
        )
    return password


def check_private(path: str, option: str) -> None:
    """Refuse a secret that is no regular file, or that others may read or write."""
    _read_private(path, option)


def _read_private(path: str, option: str) -> bytes:
    try:
        # Not waiting for a writer, should it be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise CredentialsUnusable(f"cannot read {option} {path}: {_why(error)}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise CredentialsUnusable(f"cannot use {option} {path}: it is not a regular file")
        if found.st_size > MOST_BYTES:
            raise CredentialsUnusable(f"cannot use {option} {path}: {found.st_size} bytes are too many for one")
        mode = stat.S_IMODE(found.st_mode)
        if mode & OTHERS and not _is_credential(path):
            raise CredentialsUnusable(
                f"cannot use {option} {path}: its mode is {mode:04o}, so that others than its owner may read or"
                f" write it; run: chmod 600 {path}"
            )
        if found.st_uid not in (0, os.geteuid()) and os.geteuid() != 0:
            raise CredentialsUnusable(
                f"cannot use {option} {path}: it belongs to another user (uid {found.st_uid}); run: chown"
                f" {os.geteuid()} {path}"
            )
        return os.read(descriptor, MOST_BYTES)
    except OSError as error:
        raise CredentialsUnusable(f"cannot read {option} {path}: {_why(error)}") from None
    finally:
        os.close(descriptor)


def _is_credential(path: str) -> bool:
    """Whether systemd keeps the file for this service alone; its access list shows as rights of the group."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return bool(directory) and os.path.dirname(os.path.realpath(path)) == os.path.realpath(directory)  # noqa: PTH120


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or "not a path").replace("\n", " ")


def certificate_ends(cert_file: str | None, ca_file: str | None) -> dict[str, float]:
    """When our own certificate (client) and the authority that lasts longest (authority) run out.

    In seconds since 1970; one whose file cannot be read is left out: whoever uses it says why.
    """
    ends = {"client": _ends(cert_file)[:1], "authority": _ends(ca_file)}
    return {name: max(found) for name, found in ends.items() if found}


def _ends(path: str | None) -> list[float]:
    if not path:
        return []
    from registry.etcd.certificate import expiries  # noqa: PLC0415 - only with TLS

    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return expiries(file.read(MOST_BYTES))
    except (OSError, ValueError):
        return []
