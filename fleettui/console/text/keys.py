"""Every key of the console in one table: what it is called in the configuration, what it does, where it is shown.

Bindings, footer and help are made from this table and the user's keymap, so that they can never disagree. Pure.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from registry.errors import UserError

# Where a key works. The first three are one plane, in which a key has one meaning; what else has the focus (a pane,
# a page) may give a key a meaning of its own.
MAIN, TABLE, APP = "main", "table", "app"
JOURNAL = "journal"
PLANE = frozenset({MAIN, TABLE, APP})


@dataclass(frozen=True, slots=True)
class Key:
    """One rebindable key. `keys` are Textual's names; `does` is for the help, `label` for the footer.

    `where` names what must have the focus, `views` the views that the key belongs to (none: all).
    """

    id: str
    keys: str
    action: str
    label: str
    does: str
    group: str
    changes: bool = False  # taken away in read-only mode
    where: str = MAIN
    views: tuple[str, ...] = ()
    rare: bool = False  # in the footer only where there is room for it

    def clashes(self, other: Key) -> bool:
        """Whether the two cannot have the same key."""
        same_plane = self.where == other.where or {self.where, other.where} <= PLANE
        return same_plane and (not self.views or not other.views or bool({*self.views} & {*other.views}))


ROLLOUTS = "Rollouts"
UNITS, LOOK, MOVE, WHOLE = "Units", "Look", "Move", "Console"
MACHINES = "Machines"
BUT_MACHINES = ("units", "pending", "events", "map", "detail")  # the views where a key means units

KEYS: tuple[Key, ...] = (
    Key(
        "start",
        "S",
        "verb('start')",
        "start",
        "start the marked or selected units",
        UNITS,
        changes=True,
        views=BUT_MACHINES,
    ),
    Key(
        "stop", "X", "verb('stop')", "stop", "stop them; they stay loaded", UNITS, changes=True, views=BUT_MACHINES
    ),
    Key(
        "restart",
        "R",
        "verb('restart')",
        "restart",
        "stop and start them where they are",
        UNITS,
        changes=True,
        views=BUT_MACHINES,
    ),
    Key(
        "load",
        "L",
        "verb('load')",
        "load",
        "place and load without starting",
        UNITS,
        changes=True,
        views=BUT_MACHINES,
        rare=True,
    ),
    Key(
        "unload",
        "U",
        "verb('unload')",
        "unload",
        "stop and take off the machine",
        UNITS,
        changes=True,
        views=BUT_MACHINES,
        rare=True,
    ),
    Key("destroy", "D", "verb('destroy')", "destroy", "unload and forget", UNITS, changes=True, views=BUT_MACHINES),
    Key(
        "run_now",
        "T",
        "run_now",
        "run now",
        "start what a timer starts, without waiting for its time",
        UNITS,
        changes=True,
        views=BUT_MACHINES,
        rare=True,
    ),
    Key("undo", "u", "undo", "undo", "take the last action back", UNITS, changes=True),
    Key("redo", "ctrl+r", "redo", "redo", "do again what was taken back last", UNITS, changes=True, rare=True),
    Key("submit", "n", "submit", "new", "submit a unit file", UNITS, changes=True),
    Key(
        "cordon",
        "C",
        "machine('cordon')",
        "cordon",
        "cordon the machine, or open it again",
        MACHINES,
        changes=True,
        views=("machines",),
    ),
    Key(
        "drain",
        "D",
        "machine('drain')",
        "drain",
        "move away what can run elsewhere; forget a lost machine",
        MACHINES,
        changes=True,
        views=("machines",),
    ),
    Key(
        "rebalance",
        "E",
        "rebalance",
        "even out",
        "move units to where they would be placed today; shows what moves, asks",
        MACHINES,
        changes=True,
        views=("machines",),
        rare=True,
    ),
    Key(
        "roll_out",
        "O",
        "roll_out",
        "roll out",
        "give old instances their template's file, or units the newest configs, a few at a time",
        UNITS,
        changes=True,
        views=(*BUT_MACHINES, "configs"),
        rare=True,
    ),
    Key(
        "more",
        "plus",
        "scale(1)",
        "one more",
        "start one more instance of the template",
        UNITS,
        changes=True,
        views=BUT_MACHINES,
        rare=True,
    ),
    Key(
        "less",
        "minus",
        "scale(-1)",
        "one less",
        "destroy its last instance; asks",
        UNITS,
        changes=True,
        views=BUT_MACHINES,
        rare=True,
    ),
    Key(
        "restore",
        "B",
        "restore",
        "bring back",
        "bring an earlier file back: the one compared, or the one before",
        UNITS,
        changes=True,
        views=BUT_MACHINES,
        rare=True,
    ),
    Key(
        "pause",
        "P",
        "rollout('pause')",
        "pause",
        "pause the rollout, or go on with it",
        ROLLOUTS,
        changes=True,
        views=("rollouts",),
    ),
    Key(
        "abort",
        "A",
        "rollout('abort')",
        "abort",
        "end the rollout and leave all as it is",
        ROLLOUTS,
        changes=True,
        views=("rollouts",),
    ),
    Key(
        "roll_back",
        "B",
        "rollout('undo')",
        "undo it",
        "give its units their old files again; the new ones, where it went back",
        ROLLOUTS,
        changes=True,
        views=("rollouts",),
    ),
    Key(
        "edit",
        "e",
        "edit",
        "edit",
        "edit its file; shows what changes and where it would run first",
        UNITS,
        changes=True,
    ),
    Key("shell", "s", "shell", "shell", "a shell on its machine; exit comes back", LOOK),
    Key("journal", "l", "journal", "journal", "its journal over the whole screen, and back", LOOK),
    Key(
        "failure",
        "K",
        "failure",
        "crash",
        "why it failed last: what is kept of it, also of a lost machine",
        LOOK,
        rare=True,
    ),
    Key("dock", "J", "dock", "journal pane", "show or hide the journal below the table", LOOK, rare=True),
    Key("status", "d", "status", "detail", "the detail: what systemctl status prints; again to ask anew", LOOK),
    Key("why", "w", "why", "why", "why the unit is where it is, or is not", LOOK),
    Key("file", "f", "file", "file", "the unit file as submitted", LOOK),
    Key("unit_events", "v", "unit_events", "events", "what happened to the unit", LOOK),
    Key("dependencies", "r", "dependencies", "relations", "who needs whom, and what stops with it", LOOK),
    Key(
        "on_host",
        "h",
        "on_host",
        "on host",
        "processes, times, sockets, drop-ins, exposure: as its machine says",
        LOOK,
    ),
    Key("older", "less_than_sign", "version(1)", "older", "compare the file with an older one", LOOK),
    Key("newer", "greater_than_sign", "version(-1)", "newer", "compare it with a newer one", LOOK),
    Key("filter", "slash", "filter", "filter", "words, web@*, state:failed, mem>100M, since<5m, !word", LOOK),
    Key("trouble", "exclamation_mark", "trouble", "trouble", "only what is failed, pending or drifting", LOOK),
    Key("columns", "o", "columns", "columns", "which columns are shown, and what the table is sorted by", LOOK),
    Key("mark", "space", "mark", "mark", "mark the row", MOVE),
    Key("mark_range", "ctrl+@,ctrl+space", "mark_range", "range", "mark from the last mark to here", MOVE),
    Key("mark_all", "asterisk", "mark_all", "all", "mark all that is shown", MOVE),
    Key("units", "1", "view('units')", "units", "Units", MOVE),
    Key("machines", "2", "view('machines')", "machines", "Machines", MOVE),
    Key("pending", "3", "view('pending')", "pending", "Pending", MOVE),
    Key("events", "4", "view('events')", "events", "Events", MOVE),
    Key("map", "5", "view('map')", "map", "Map: a square a unit", MOVE),
    Key("rollouts", "6", "view('rollouts')", "rollouts", "Rollouts: what is changed a few at a time", MOVE),
    Key("configs", "7", "view('configs')", "configs", "Configs and secrets: versions, and who has which", MOVE),
    Key("up", "up,k", "move(-1)", "up", "one row up", MOVE, where=TABLE),
    Key("down", "down,j", "move(1)", "down", "one row down", MOVE, where=TABLE),
    Key("first", "g,home", "go('first')", "first", "the first row", MOVE, where=TABLE),
    Key("last", "G,end", "go('last')", "last", "the last row", MOVE, where=TABLE),
    Key("page_up", "pageup,ctrl+b", "page(-1)", "page up", "a screen up", MOVE, where=TABLE),
    Key("page_down", "pagedown,ctrl+f", "page(1)", "page down", "a screen down", MOVE, where=TABLE),
    Key("unfold", "right", "fold(True)", "unfold", "unfold a group; on the map: to the right", MOVE, where=TABLE),
    Key(
        "fold",
        "left",
        "fold(False)",
        "fold",
        "fold a group, or go to it; on the map: to the left",
        MOVE,
        where=TABLE,
    ),
    Key("open", "enter", "open", "open", "open; fold or unfold a group", MOVE, where=TABLE),
    Key(
        "place_back",
        "left_square_bracket",
        "place(-1)",
        "back",
        "back to the place before; in a record, to the change before",
        MOVE,
    ),
    Key(
        "place_forward",
        "right_square_bracket",
        "place(1)",
        "forward",
        "forward again; in a record, to the next change",
        MOVE,
    ),
    Key("earlier", "left_curly_bracket", "leap(-60)", "earlier", "in a record: a minute earlier", MOVE),
    Key("later", "right_curly_bracket", "leap(60)", "later", "in a record: a minute later", MOVE),
    Key("next_pane", "tab", "next_pane", "pane", "table or journal", MOVE),
    Key(
        "journal_search",
        "slash",
        "ask('search')",
        "search",
        "find: words or a regular expression",
        "Journal",
        where=JOURNAL,
    ),
    Key("journal_next", "n", "hit(1)", "next", "the next line that was found", "Journal", where=JOURNAL),
    Key("journal_previous", "N", "hit(-1)", "previous", "the one before", "Journal", where=JOURNAL),
    Key("journal_include", "i", "ask('include')", "only", "only lines with these words", "Journal", where=JOURNAL),
    Key(
        "journal_exclude",
        "x",
        "ask('exclude')",
        "without",
        "no lines with any of these words",
        "Journal",
        where=JOURNAL,
    ),
    Key(
        "journal_priority",
        "p",
        "priority",
        "priority",
        "everything, notices, warnings, errors, critical",
        "Journal",
        where=JOURNAL,
    ),
    Key(
        "journal_since",
        "t",
        "ask('since')",
        "since",
        "read since -1h, 10:30, today, 2026-11-23 10:00",
        "Journal",
        where=JOURNAL,
    ),
    Key("journal_boot", "b", "boot", "boot", "all boots, this one, the one before", "Journal", where=JOURNAL),
    Key("journal_wrap", "w", "wrap", "wrap", "long lines in several rows, or cut", "Journal", where=JOURNAL),
    Key(
        "journal_times",
        "T",
        "times",
        "time",
        "local time, with date, UTC, since the line before, none",
        "Journal",
        where=JOURNAL,
    ),
    Key(
        "journal_fields",
        "enter",
        "fields",
        "fields",
        "all that the journal knows of the line",
        "Journal",
        where=JOURNAL,
    ),
    Key(
        "journal_save", "ctrl+s", "ask('save')", "save", "write the shown lines to a file", "Journal", where=JOURNAL
    ),
    Key("journal_pager", "o", "pager", "pager", "open the shown lines in $PAGER", "Journal", where=JOURNAL),
    Key("journal_copy", "c", "copy", "copy", "copy what is selected, or the line", "Journal", where=JOURNAL),
    Key(
        "journal_zoom",
        "z",
        "zoom",
        "zoom",
        "the journal over the whole screen, or docked again",
        "Journal",
        where=JOURNAL,
    ),
    Key(
        "journal_taller",
        "plus,ctrl+up",
        "grow(2)",
        "taller",
        "two rows more for the journal",
        "Journal",
        where=JOURNAL,
    ),
    Key("journal_shorter", "minus,ctrl+down", "grow(-2)", "shorter", "two rows less", "Journal", where=JOURNAL),
    Key(
        "journal_back",
        "escape",
        "back",
        "back",
        "take the last narrowing away; then to the table",
        "Journal",
        where=JOURNAL,
    ),
    Key("command", "colon", "command", "command", "command line: every fleetctl verb, and more", WHOLE),
    Key("palette", "ctrl+p", "palette", "palette", "find an action, a unit, a machine, a theme", WHOLE),
    Key("actions", "a", "actions", "actions", "every action of this console, its outcome and its undoing", WHOLE),
    Key("copy", "c", "copy", "copy", "copy the last action's command, or the row's name", WHOLE),
    Key("back", "escape", "back", "back", "clear the filter, the marks, what ended; close", WHOLE),
    Key("cluster", "ctrl+k", "cluster", "fleet", "another fleet, with the same unit selected", WHOLE),
    Key("suspend", "ctrl+z", "suspend", "suspend", "stop the console; fg in the shell goes on with it", WHOLE),
    Key("help", "question_mark,f1", "help", "help", "this page", WHOLE),
    Key("quit", "ctrl+q", "quit", "quit", "leave the console; the fleet goes on", WHOLE, where=APP),
)
BY_ID = {key.id: key for key in KEYS}
ROLLOUT_KEYS = ("pause", "abort", "roll_back")
DISPLAY = {
    "slash": "/", "question_mark": "?", "exclamation_mark": "!", "asterisk": "*", "escape": "Esc", "space": "Space",
    "tab": "Tab", "enter": "Enter", "f1": "F1", "ctrl+@": "ctrl+Space", "ctrl+space": "ctrl+Space", "colon": ":",
    "up": "↑", "down": "↓", "left": "←", "right": "→", "pageup": "PgUp", "pagedown": "PgDn", "home": "Home",
    "end": "End", "left_square_bracket": "[", "right_square_bracket": "]", "less_than_sign": "<",
    "greater_than_sign": ">", "left_curly_bracket": "{", "right_curly_bracket": "}",

    "plus": "+", "minus": "-", "comma": ",", "full_stop": ".", "equals_sign": "=",
}  # fmt: skip


def checked_keymap(keymap: Mapping[str, str], where: str) -> dict[str, str]:
    """The user's keymap, checked. UserError for an unknown name, and for a key given to two actions."""
    for name in keymap:
        if name not in BY_ID:
            near = difflib.get_close_matches(name, BY_ID, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(BY_ID)}"
            raise UserError(f"{where}: [console] keymap: unknown action {name}; {hint}")
    taken: dict[str, list[Key]] = {}
    for key in KEYS:
        for each in keys_of(key, keymap):
            others = taken.setdefault(each, [])
            if clash := next((other for other in others if other.clashes(key)), None):
                told = f"{each} does both {clash.id} and {key.id}; give one another key"
                raise UserError(f"{where}: [console] keymap: {told}")
            others.append(key)
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
