"""The fleet's pair of keys for secrets, on the operator's disk beside the authority. Blocks.

Whoever has the authority lets machines in, and hands them the private half over the connection by which they get
their other credentials. The registry has neither half, so that nobody who writes to it can make a machine that is
given secrets, nor have them sealed for another key.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from fleettui.access.authority import write_private
from registry.errors import UserError
from registry.sealing import PRIVATE, PRIVATE_FILE, PUBLIC_FILE, key_names, new_key, public_of


def make_keys(directory: Path) -> str:
    """Both files, as far as they are missing; returns the private half."""
    private = directory / PRIVATE_FILE
    if not private.exists():
        write_private(private, new_key().encode())
    text = private.read_text()
    write_private(directory / PUBLIC_FILE, public_of(text).encode())
    return text


def begin_renewal(directory: Path) -> str:
    """Put a new key in front of the one that there is, unless that was done before; returns the private half.

    Both are good for opening; sealing goes on for the earlier one, whose public half still lies beside it.
    """
    private = directory / PRIVATE_FILE
    text = _read_private(private)
    if len(key_names(text)) == 1:
        text = f"{new_key()}{text}"
        write_private(private, text.encode())
    return text


def seal_for_newest(directory: Path) -> str:
    """Have secrets sealed for the newest key from now on; returns its public half."""
    public = public_of(_read_private(directory / PRIVATE_FILE))
    write_private(directory / PUBLIC_FILE, public.encode())
    return public


def newest_alone(text: str) -> str:
    """A private half without the earlier keys."""
    return next(f"{line}\n" for line in text.splitlines() if line.startswith(f"{PRIVATE} "))


def forget_earlier(directory: Path) -> None:
    """Leave the newest key alone in the private half."""
    private = directory / PRIVATE_FILE
    write_private(private, newest_alone(_read_private(private)).encode())


def good_files(directory: Path) -> frozenset[str]:
    """The hashes of the private files that a machine may have; none where there is no key here."""
    private = directory / PRIVATE_FILE
    text = private.read_text() if private.is_file() else ""
    return (
        frozenset(sha256(each.encode()).hexdigest() for each in (text, newest_alone(text))) if text else frozenset()
    )


def keys_here(ca_file: str | None) -> frozenset[str]:
    """The same beside an authority's certificate; none where they are not for us to read."""
    with suppress(OSError, UnicodeDecodeError):
        return good_files(Path(ca_file).parent) if ca_file else frozenset()
    return frozenset()


def _read_private(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise UserError(
            f"cannot read the fleet's key for secrets, {path}: {error.strerror}; run this where the fleet was made"
        ) from error


def read_public(path: Path) -> str:
    """The public half. UserError where it is not."""
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(
            f"cannot read the fleet's public key for secrets, {path}: {reason}; copy {PUBLIC_FILE} from where the"
            " fleet was made, or run fleettui join there first"
        ) from error
