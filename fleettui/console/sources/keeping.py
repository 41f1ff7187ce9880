"""Files that the console keeps for itself below $XDG_STATE_HOME/fleet: for their owner alone, whole or not at all.

Blocks. Nothing here fails loudly: what cannot be kept is not kept, and what cannot be read is as if it were not
there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

MAX_BYTES = 1 << 20


def place(environ: Mapping[str, str], cluster: str, endpoint: str, prefix: str) -> Path:
    """The files of one cluster, without their endings: its name, and what tells it from others of that name."""
    state = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME', '')}/.local/state"
    mark = hashlib.sha256(f"{cluster}\0{endpoint}\0{prefix}".encode("utf-8", "replace")).hexdigest()[:8]
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", cluster).strip(".")[:40] or "fleet"
    return Path(state) / "fleet" / f"{name}-{mark}"


def read_private(path: Path) -> str | None:
    """The file's text; None when it is missing, too large, or cannot be read."""
    try:
        about = path.stat()
        if about.st_size > MAX_BYTES or not stat.S_ISREG(about.st_mode):  # a pipe would be waited for
            return None
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError, ValueError):
        return None


def write_private(path: Path, text: str) -> bool:
    """Put the text in place of the file at once, readable for its owner only; False when that cannot be."""
    scratch = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600 by its nature
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(scratch).replace(path)
    except (OSError, ValueError):  # a text that cannot be encoded; a path that cannot be
        if scratch:
            with contextlib.suppress(OSError):
                Path(scratch).unlink(missing_ok=True)
        return False
    return True
