"""Every key of the console in one table: what it is called in the configuration, what it does, where it is shown.

Bindings, footer and help are made from this table and the user's keymap, so that they can never disagree. Pure.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from registry.errors import UserError


@dataclass(frozen=True, slots=True)
class Key:
    """One rebindable key. `keys` are Textual's names; `does` is for the help, `label` for the footer."""

    id: str
    keys: str
    action: str
    label: str
    does: str
    group: str
    changes: bool = False  # taken away in read-only mode


UNITS, LOOK, MOVE, WHOLE = "Units", "Look", "Move", "Console"

KEYS: tuple[Key, ...] = (
    Key("start", "S", "verb('start')", "start", "start the marked or selected units", UNITS, changes=True),
    Key("stop", "X", "verb('stop')", "stop", "stop them; they stay loaded", UNITS, changes=True),
    Key("restart", "R", "verb('restart')", "restart", "stop and start them where they are", UNITS, changes=True),
    Key("load", "L", "verb('load')", "load", "place and load without starting", UNITS, changes=True),
    Key("unload", "U", "verb('unload')", "unload", "stop and take off the machine", UNITS, changes=True),
    Key("destroy", "D", "verb('destroy')", "destroy", "unload and forget", UNITS, changes=True),
    Key("undo", "u", "undo", "undo", "take the last action back", UNITS, changes=True),
    Key("submit", "n", "submit", "new", "submit a unit file", UNITS, changes=True),
    Key("journal", "l", "journal", "journal", "show or hide the journal pane", LOOK),
    Key("why", "w", "why", "why", "why the unit is where it is, or is not", LOOK),
    Key("file", "f", "file", "file", "the unit file as submitted", LOOK),
    Key("unit_events", "v", "unit_events", "events", "what happened to the unit", LOOK),
    Key("filter", "slash", "filter", "filter", "words, state:failed, machine:core-2, !word", LOOK),
    Key("trouble", "exclamation_mark", "trouble", "trouble", "only what is failed, pending or drifting", LOOK),
    Key("sort", "o", "sort", "sort", "sort by the next column; again to reverse", LOOK),
    Key("mark", "space", "mark", "mark", "mark the row", MOVE),
    Key("mark_range", "ctrl+@,ctrl+space", "mark_range", "range", "mark from the last mark to here", MOVE),
    Key("mark_all", "asterisk", "mark_all", "all", "mark all that is shown", MOVE),
    Key("units", "1", "view('units')", "units", "Units", MOVE),
    Key("machines", "2", "view('machines')", "machines", "Machines", MOVE),
    Key("pending", "3", "view('pending')", "pending", "Pending", MOVE),
    Key("events", "4", "view('events')", "events", "Events", MOVE),
    Key("next_pane", "tab", "next_pane", "pane", "table or journal", MOVE),
    Key("copy", "c", "copy", "copy", "copy the last action's command, or the row's name", WHOLE),
    Key("back", "escape", "back", "back", "clear the filter, the marks, what ended; close", WHOLE),
    Key("help", "question_mark,f1", "help", "help", "this page", WHOLE),
    Key("quit", "ctrl+q", "quit", "quit", "leave the console; the fleet goes on", WHOLE),
)
BY_ID = {key.id: key for key in KEYS}
DISPLAY = {
    "slash": "/", "question_mark": "?", "exclamation_mark": "!", "asterisk": "*", "escape": "Esc", "space": "Space",
    "tab": "Tab", "enter": "Enter", "f1": "F1", "ctrl+@": "ctrl+Space",
}  # fmt: skip


def checked_keymap(keymap: Mapping[str, str], where: str) -> dict[str, str]:
    """The user's keymap, checked. UserError for a name that is none, and for a key given to two."""
    for name in keymap:
        if name not in BY_ID:
            near = difflib.get_close_matches(name, BY_ID, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(BY_ID)}"
            raise UserError(f"{where}: [console] keymap: unknown action {name}; {hint}")
    taken: dict[str, str] = {}
    for key in KEYS:
        for each in keys_of(key, keymap):
            if taken.setdefault(each, key.id) != key.id:
                raise UserError(
                    f"{where}: [console] keymap: {each} does both {taken[each]} and {key.id}; give one another key"
                )
    return dict(keymap)


def keys_of(key: Key, keymap: Mapping[str, str]) -> tuple[str, ...]:
    """The keys that do this now."""
    return tuple(each.strip() for each in (keymap.get(key.id) or key.keys).split(","))


def shown_key(key: Key, keymap: Mapping[str, str]) -> str:
    """The first of its keys as people write it."""
    return written(keys_of(key, keymap)[0])


def written(name: str) -> str:
    """A key's name as people write it."""
    return DISPLAY.get(name, name)
