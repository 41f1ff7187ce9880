"""Paths as users write them, with `~` and `~user` at the beginning. Asks the list of users."""

from __future__ import annotations

from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with the home directory put in.

    Where there is no such user, or nobody knows our home, the sign stands for itself, below the working directory:
    absolute, so that no library expands it again.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path).absolute()
