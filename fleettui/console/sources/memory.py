"""What the console remembers of a cluster between runs: the view, and how each was sorted and what it showed. Pure.

Text in, text out. It holds nothing of the cluster itself; names of columns and views that are gone are left out by
whoever restores it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

VERSION = 1
LONGEST = 500  # characters of a filter worth remembering


@dataclass(frozen=True, slots=True)
class ViewMemory:
    """How one view was left. `filter` and `trouble` are of the file's form; what hides rows is not brought back."""

    filter: str = ""
    trouble: bool = False
    sort: str = ""
    descending: bool = False
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """How the console was left. `theme` is "" unless it was chosen here; `journal` None where nobody said."""

    view: str = "units"
    views: Mapping[str, ViewMemory] = field(default_factory=dict)
    theme: str = ""
    journal: bool | None = None
    journal_lines: int = 0  # 0: as high as usual


def encode(memory: Memory) -> str:
    """As JSON, one value a line."""
    views = {
        name: {
            "filter": view.filter[:LONGEST], "trouble": view.trouble, "sort": view.sort,
            "descending": view.descending, "hidden": list(view.hidden),
        }
        for name, view in sorted(memory.views.items())
    }  # fmt: skip
    return json.dumps({
        "version": VERSION, "view": memory.view, "views": views, "theme": memory.theme, "journal": memory.journal,
        "journal_lines": memory.journal_lines,
    }, indent=1) + "\n"  # fmt: skip


def decode(text: str) -> Memory:
    """What `encode` wrote. ValueError, with the reason, for anything else."""
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise ValueError("it is of another version")
    views = _typed(data, "views", dict)
    journal = data.get("journal")
    if journal is not None and not isinstance(journal, bool):
        raise ValueError("journal is not true or false")
    return Memory(
        _typed(data, "view", str), {str(name): _view(each) for name, each in views.items()},
        _typed(data, "theme", str), journal, max(0, min(500, _typed(data, "journal_lines", int))),
    )  # fmt: skip


def _view(data: object) -> ViewMemory:
    if not isinstance(data, dict):
        raise ValueError("a view is not a table")  # noqa: TRY004 - callers map ValueError alone
    hidden = _typed(data, "hidden", list)
    return ViewMemory(
        _typed(data, "filter", str)[:LONGEST], _typed(data, "trouble", bool), _typed(data, "sort", str),
        _typed(data, "descending", bool), tuple(str(each) for each in hidden),
    )  # fmt: skip


def _typed(data: Mapping[str, Any], name: str, kind: type) -> Any:  # noqa: ANN401 - of this kind
    value = data.get(name)
    if type(value) is not kind:
        raise ValueError(f"{name} is missing or not what it should be")
    return value
