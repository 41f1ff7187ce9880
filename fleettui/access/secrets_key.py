"""The fleet's pair of keys for secrets, on the operator's disk beside the authority. Blocks.

Whoever has the authority lets machines in, and hands them the private half over the connection by which they get
their other credentials. The registry has neither half, so that nobody who writes to it can make a machine that is
given secrets, nor have them sealed for another key.
"""

from __future__ import annotations

from pathlib import Path

from fleettui.access.authority import write_private
from registry.errors import UserError
from registry.sealing import PRIVATE_FILE, PUBLIC_FILE, new_key, public_of


def make_keys(directory: Path) -> str:
    """Both files, as far as they are missing; returns the private half."""
    private = directory / PRIVATE_FILE
    if not private.exists():
        write_private(private, new_key().encode())
    text = private.read_text()
    write_private(directory / PUBLIC_FILE, public_of(text).encode())
    return text


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
