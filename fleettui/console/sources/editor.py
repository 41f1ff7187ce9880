"""The user's own editor on a draft: which program it is, and the file it works on.

Drafts are files only their owner can read; they are kept until what was written in them is in the registry or given
up, so that no text is ever lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from registry.errors import UserError
from registry.units.file import MAX_BYTES

FALLBACKS = ("sensible-editor", "nano", "vi")
PAGERS = ("sensible-pager", "less", "more")
PRIVATE = 0o600


def editor_argv(environment: Mapping[str, str], which: Callable[[str], str | None] = shutil.which) -> list[str]:
    """Return the command: $VISUAL, $EDITOR, else the first that is installed. UserError says what to set."""
    return program_argv(environment, ("VISUAL", "EDITOR"), FALLBACKS, which)


def pager_argv(environment: Mapping[str, str], which: Callable[[str], str | None] = shutil.which) -> list[str]:
    """Return the command: $PAGER, else the first that is installed. UserError says what to set."""
    return program_argv(environment, ("PAGER",), PAGERS, which)


def program_argv(
    environment: Mapping[str, str], names: Sequence[str], fallbacks: Sequence[str],
    which: Callable[[str], str | None],
) -> list[str]:  # fmt: skip
    """Return the command that the first of these variables names, else the first that is installed. UserError."""
    kind = names[-1].lower()
    for name in names:
        if not environment.get(name, "").strip():
            continue
        try:
            argv = shlex.split(environment[name])
        except ValueError as error:
            raise UserError(f"cannot read {name}={environment[name]!r}: {error}; set it to a command") from None
        if which(argv[0]) is None:
            raise UserError(f"{name} is {argv[0]}, which is not installed; set {name} to one that is")
        return argv
    for program in fallbacks:
        if which(program):
            return [program]
    example = fallbacks[1]
    raise UserError(f"no {kind} is installed; set {' or '.join(names)}, for example: export {names[-1]}={example}")


def draft_name(name: str) -> str:
    """The unit's name as a file's: no directory, no option, nothing that a terminal would obey."""
    safe = re.sub(r"[^A-Za-z0-9:_.@\\-]", "-", name)[-200:]
    return safe if safe.strip(".-") else f"unit{safe.lstrip('.')}"


def create_draft(name: str, text: str) -> Path:
    """Write the text to a file of its own, named as the unit, so that editors know its kind. Blocks. UserError."""
    try:
        path = Path(tempfile.mkdtemp(prefix="fleet-")) / draft_name(
            name
        )  # a directory that only its owner may enter
        path.touch(mode=PRIVATE, exist_ok=False)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write a draft: {error.strerror}; is {tempfile.gettempdir()} full?") from error
    return path


def read_draft(path: Path) -> str:
    """Read the draft. Blocks. UserError when it is gone, too large or no text; the file stays as it is."""
    try:
        data = path.read_bytes()
        if len(data) > MAX_BYTES:
            raise UserError(f"{path} is larger than {MAX_BYTES} bytes; keep data and scripts out of the unit file")
        return data.decode("utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path} back: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 from byte {error.start} on; save it as UTF-8 text") from error


def discard_draft(path: Path) -> None:
    """Delete the draft, with what the editor left beside it. Blocks."""
    with contextlib.suppress(OSError):
        shutil.rmtree(path.parent)


async def run_editor(argv: list[str], path: Path) -> int:
    """Edit the draft on our terminal; return the editor's exit status. UserError when it cannot be started."""
    try:
        process = await asyncio.create_subprocess_exec(*argv, str(path))
    except OSError as error:
        raise UserError(f"cannot start {argv[0]}: {error.strerror}; set EDITOR to another one") from error
    try:
        return await process.wait()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        raise
