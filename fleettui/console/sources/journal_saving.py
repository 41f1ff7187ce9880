"""Shown lines as a file: readable by its owner alone, and never over another file unless that was meant."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from fleettui.escape import escape
from fleettui.userpath import expanded
from registry.errors import UserError

MODE = 0o600


class Exists(UserError):
    """There is a file of that name."""


def default_name(what: str, now: float) -> str:
    """ "journal-web@1-20261123-140211.log"."""
    safe = "".join(letter if letter.isalnum() or letter in "@._-" else "-" for letter in what)[:60]
    return f"journal-{safe}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}.log"


def save(path: Path, lines: Iterable[str], *, over: bool = False) -> Path:
    """Write the lines; return the path as it is on the disk. Exists, or UserError that says why it cannot be."""
    try:
        path = Path(os.path.abspath(expanded(path)))  # noqa: PTH100 - a link stays a link
        os.fsencode(path)
    except (RuntimeError, ValueError) as error:  # the home of nobody; text that no path can have
        raise UserError(f"cannot write {escape(str(path))}: {error}; give another path") from None
    if "\0" in str(path):
        raise UserError("a path has no NUL in it; give another path")
    if path.is_dir():
        raise UserError(f"{path} is a directory; give a file's name")
    if path.exists() and not over:
        raise Exists(f"{path} exists; Enter writes over it, Esc keeps it")
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        if over:
            aside.replace(path)
        else:
            os.link(aside, path)  # fails where somebody made it meanwhile
    except FileExistsError:
        raise Exists(f"{path} exists; Enter writes over it, Esc keeps it") from None
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; give another path") from None
    finally:
        aside.unlink(missing_ok=True)
    return path
