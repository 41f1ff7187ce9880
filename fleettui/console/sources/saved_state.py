"""What the console keeps between runs: how it was left, and the lines that were typed. For their owner's eyes.

Files lie below $XDG_STATE_HOME/fleet, whole or not at all. Nothing here fails loudly: what cannot be kept is not
kept, and what cannot be read is as if it were not there. Of the cluster it holds the names of machines; names of
columns and views that are gone are left out when it is restored. The values touch no file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_BYTES = 1 << 20


def place(environ: Mapping[str, str], cluster: str, endpoint: str, prefix: str) -> Path:
    """The path of one cluster's files without their suffixes: its name, and a hash that tells it from others."""
    state = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME', '')}/.local/state"
    mark = hashlib.sha256(f"{cluster}\0{endpoint}\0{prefix}".encode("utf-8", "replace")).hexdigest()[:8]
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", cluster).strip(".")[:40] or "fleet"
    return Path(state) / "fleet" / f"{name}-{mark}"


def read_private(path: Path) -> str | None:
    """Return the file's text; None when it is missing, too large, or cannot be read."""
    try:
        about = path.stat()
        if about.st_size > MAX_BYTES or not stat.S_ISREG(about.st_mode):  # a pipe would be waited for
            return None
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError, ValueError):
        return None


def write_private(path: Path, text: str) -> bool:
    """Replace the file by the text atomically, readable for its owner only; return False when that fails."""
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


KEPT = 500


class LineHistory:
    """Lines that were typed, oldest first, and where the reader is in them."""

    def __init__(self, lines: Sequence[str] = ()) -> None:
        self.lines = list(lines)[-KEPT:]
        self._at = len(self.lines)
        self._draft = ""

    def add(self, line: str) -> None:
        """Remember a line; the same again moves to the end. What nobody has typed is left out."""
        line = line.strip()
        if line and line.isprintable() and len(line) <= LONGEST:
            self.lines = [*[each for each in self.lines if each != line][1 - KEPT :], line]
        self.leave()

    def leave(self) -> None:
        """Begin at the end again."""
        self._at, self._draft = len(self.lines), ""

    def back(self, typed: str) -> str:
        """The line before this one that begins as what was typed when going back began."""
        return self._go(-1, typed)

    def forth(self, typed: str) -> str:
        """The next line; after the last what was typed."""
        return self._go(1, typed)

    def _go(self, step: int, typed: str) -> str:
        if self._at == len(self.lines):
            self._draft = typed
        at = self._at + step
        while 0 <= at < len(self.lines) and not self.lines[at].startswith(self._draft):
            at += step
        if at < 0:
            return typed
        self._at = min(at, len(self.lines))
        return self._draft if self._at == len(self.lines) else self.lines[self._at]

    def suggestion(self, typed: str) -> str:
        """The newest line that begins so; "" for none."""
        return next((line for line in reversed(self.lines) if typed and line.startswith(typed)), "")


def load(path: Path) -> LineHistory:
    """Read the history of this file; empty when there is none that can be read."""
    text = read_private(path) or ""
    return LineHistory([line for line in text.splitlines() if line.isprintable()])


def save(path: Path, history: LineHistory) -> None:
    """Write it. Blocks."""
    write_private(path, "\n".join(history.lines) + "\n")


VERSION = 1
LONGEST = 500  # characters of a filter worth remembering


@dataclass(frozen=True, slots=True)
class ViewState:
    """How one view was left. `filter` and `trouble` are of the file's form; what hides rows is not brought back."""

    filter: str = ""
    trouble: bool = False
    sort: str = ""
    descending: bool = False
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SavedState:
    """How the console was left. `theme` is "" unless it was chosen here; `journal` None where it was not chosen."""

    view: str = "units"
    views: Mapping[str, ViewState] = field(default_factory=dict)
    theme: str = ""
    journal: bool | None = None
    journal_lines: int = 0  # 0: as high as usual
    pace: str = ""  # how many units at a time were chosen last
    machines: Mapping[str, str] = field(default_factory=dict)  # the last known names, by id: one may be lost later


def encode(state: SavedState) -> str:
    """As JSON, one value a line."""
    views = {
        name: {
            "filter": view.filter[:LONGEST], "trouble": view.trouble, "sort": view.sort,
            "descending": view.descending, "hidden": list(view.hidden),
        }
        for name, view in sorted(state.views.items())
    }  # fmt: skip
    return json.dumps({
        "version": VERSION, "view": state.view, "views": views, "theme": state.theme, "journal": state.journal,
        "journal_lines": state.journal_lines, "pace": state.pace, "machines": dict(state.machines),
    }, indent=1) + "\n"  # fmt: skip


def decode(text: str) -> SavedState:
    """What `encode` wrote. ValueError, with the reason, for anything else."""
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise ValueError("it is of another version")
    views = _typed(data, "views", dict)
    journal = data.get("journal")
    if journal is not None and not isinstance(journal, bool):
        raise ValueError("journal is not true or false")
    return SavedState(
        _typed(data, "view", str), {str(name): _view(each) for name, each in views.items()},
        _typed(data, "theme", str), journal, max(0, min(500, _typed(data, "journal_lines", int))),
        _typed({"pace": "", **data}, "pace", str)[:5],
        {str(machine)[:64]: str(name)[:253]
         for machine, name in _typed({"machines": {}, **data}, "machines", dict).items()},
    )  # fmt: skip


def _view(data: object) -> ViewState:
    if not isinstance(data, dict):
        raise ValueError("a view is not a table")  # noqa: TRY004 - callers map ValueError alone
    hidden = _typed(data, "hidden", list)
    return ViewState(
        _typed(data, "filter", str)[:LONGEST], _typed(data, "trouble", bool), _typed(data, "sort", str),
        _typed(data, "descending", bool), tuple(str(each) for each in hidden),
    )  # fmt: skip


def _typed(data: Mapping[str, Any], name: str, kind: type) -> Any:  # noqa: ANN401 - of this kind
    value = data.get(name)
    if type(value) is not kind:
        raise ValueError(f"{name} is missing or not what it should be")
    return value


class StateStore:
    """Two files beside one another; `place` is their path without the endings."""

    def __init__(self, place: Path) -> None:
        self._view = place.with_name(f"{place.name}.view.json")
        self._history = place.with_name(f"{place.name}.history")

    def recall(self) -> tuple[SavedState | None, str]:
        """How the console was left, and a message when there is a file that cannot be read."""
        if not os.path.lexists(self._view):  # nor may it be looked for
            return None, ""
        text = read_private(self._view)
        if text is None:
            return None, f"ignored {self._view}: it cannot be read; it is written again"
        try:
            return decode(text), ""
        except (ValueError, RecursionError) as error:
            return None, f"ignored {self._view}: {error}; it is written again"

    def keep(self, state: SavedState) -> None:
        """Write how the console is left."""
        write_private(self._view, encode(state))

    def history(self) -> LineHistory:
        """What was typed before."""
        return load(self._history)

    def keep_history(self, history: LineHistory) -> None:
        """Write what was typed."""
        save(self._history, history)
