"""The lines above and below the views: header, tabs, banner; operations, and the keys of what has the focus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from textual.screen import Screen

from fleettui.console.operations.operation import operation_lines
from fleettui.console.operations.runner import OperationRunner
from fleettui.console.operations.verbs import machine_name
from fleettui.console.pages.bands import (
    Totals,
    banner,
    blank_notice,
    footer_keys,
    footer_line,
    header_line,
    journal_footer_keys,
    narrowing,
    tabs_line,
)
from fleettui.console.screens.context import Context
from fleettui.console.screens.journal_dock import JournalDock
from fleettui.console.screens.machine_operations import MachineOperations
from fleettui.console.screens.navigator import Navigator, Selection, Views
from fleettui.console.screens.rollout_operations import RolloutOperations
from fleettui.console.screens.unit_operations import UnitOperations
from fleettui.console.tables.fleet import FleetModel
from fleettui.console.tables.units import writer_name
from fleettui.console.text.cells import Cell, Tone, line_text
from fleettui.console.text.formatting import age
from fleettui.console.text.keys import BY_ID, ROLLOUT_KEYS, Key, shown_key
from fleettui.console.widgets.drawing import Band, rows_within
from fleettui.verbs import Verb
from registry.sync.follow import ConnectionState

OPERATIONS_SHOWN = 3
NEEDS_UNIT = frozenset({"edit"})
NEEDS_TERMINAL = frozenset({"edit", "shell"})
OF_VERSIONS = frozenset({"roll_out", "restore"})
OF_NOW = frozenset({"shell", "journal"})  # not to be asked of a record
RECORD_KEYS = ("place_back", "place_forward", "earlier", "later")
OF_MACHINES = frozenset({"cordon", "drain"})


class HeaderBands:
    """What stands above the views, and the notices in their tables: which fleet, how it is, what is open."""

    def __init__(
        self, screen: Screen[None], context: Context, fleet: FleetModel, views: Views, navigator: Navigator
    ) -> None:
        self._screen, self._context, self._fleet = screen, context, fleet
        self._views, self._navigator = views, navigator
        self.header, self.banner = Band(id="header"), Band(id="banner")
        self.tabs = Band(id="tabs", pressed=self._pressed)

    def show(self) -> None:
        """Draw the header and the banner."""
        context, reading, now = self._context, self._fleet.reading, self._context.clock()
        skew = self._fleet.clocks.status_text(partial(writer_name, reading.snapshot))
        totals = Totals(
            self._fleet.units.counts(), len(reading.snapshot.machines), self._fleet.machines.known(),
            self._fleet.leaderless_s(now), skew, context.expiring(),
            context.feed.retry_s(), self._fleet.rollouts.under_way(), self._loss(),
        )  # fmt: skip
        identity = replace(context.identity, read_only=context.read_only)
        width = self._screen.app.size.width - 2
        self.header.put(header_line(identity, reading, totals, context.feed.quiet_s(), width))
        line = banner(reading, context.identity, self._fleet.lost_s(now), totals)
        if reading.past is not None:
            back, ahead, less, more = (shown_key(BY_ID[name], context.keymap) for name in RECORD_KEYS)
            line = (*line, Cell(f" · {back} {ahead} changes · {less} {more} minutes · :at TIME", Tone.HEAD))
        self.banner.put(*([(line, ())] if line else []))

    def _loss(self) -> tuple[str, int] | None:
        """The name of the machine that can be lost least, and how many units would wait without it."""
        found = self._context.losses.worst() if self._context.losses is not None else None
        return found and (machine_name(self._fleet.reading.snapshot, found[0]) if found[1] else "", found[1])

    def show_tabs(self) -> None:
        """Draw the names of the views, or where the open detail came from."""
        if crumbs := self._navigator.crumbs():
            self.tabs.put(crumbs)
            return
        snapshot, view = self._fleet.reading.snapshot, self._views.open
        counts = {
            "Units": len(snapshot.units), "Machines": len(self._fleet.machines.rows),
            "Pending": len(snapshot.pending), "Rollouts": len(self._fleet.rollouts.under_way()) or None,
        }  # fmt: skip
        used = self._fleet.configs.rows or view is self._views.configs
        shown = [each for each in self._views.tables if used or each is not self._views.configs]
        titles = [(each.title, counts.get(each.title)) for each in shown]
        listing = view.table.listing
        right = narrowing(
            listing.query.text, trouble=listing.trouble_only,
            counts=listing.counts() if listing.narrowed else (0, 0),
            marks=len(listing.marks), hidden=listing.hidden_marks(),
        )  # fmt: skip
        room = self._screen.app.size.width - 2 - len(line_text(right))
        self.tabs.put((tabs_line(titles, view.title, room), right))

    def show_notices(self) -> None:
        """Write into the open table why it is empty, or how old it is."""
        reading, view = self._fleet.reading, self._views.open
        stale = reading.link is not ConnectionState.LIVE and bool(reading.snapshot.revision)
        notice = blank_notice(reading, self._context.identity) or view.notice()
        lost_s = self._fleet.lost_s(self._context.clock())
        view.table.put_state(notice, stale=stale, text=f"as of {age(lost_s)} ago" if stale else "")

    def _pressed(self, _line: int, cell: int) -> None:
        """Open the view whose tab was clicked."""
        tables = self._views.tables
        if cell % 2 == 0 and cell // 2 < len(tables):
            action = f"view('{tables[cell // 2].name_}')"
            self._screen.run_worker(self._screen.run_action(action), name=action, exit_on_error=False)


class FooterBands:
    """What stands below the views: what became of operations, and the keys that can be used."""

    def __init__(
        self, screen: Screen[None], context: Context, views: Views, selection: Selection, dock: JournalDock,
        runner: OperationRunner, *, units: UnitOperations, machines: MachineOperations, rollouts: RolloutOperations,
    ) -> None:  # fmt: skip
        self._rollouts = rollouts
        self._screen, self._context, self._views, self._selection = screen, context, views, selection
        self._pane, self._runner, self._units, self._machines = dock.pane, runner, units, machines
        self.operations = Band(id="operations")
        self.footer = Band(id="footer", pressed=self.press)
        self._keys: tuple[Key, ...] = ()

    def show_operations(self) -> None:
        """Draw the operations that are under way or have just ended."""
        context, size = self._context, self._screen.app.size
        back, undo, listing = (shown_key(BY_ID[name], context.keymap) for name in ("back", "undo", "actions"))
        self.operations.put(*operation_lines(
            self._runner.operations, context.clock(),
            room=rows_within(size.height, OPERATIONS_SHOWN), width=size.width - 2,
            keys=(back, undo, listing),
        ))  # fmt: skip

    def show_keys(self) -> None:
        """Draw the keys of what has the focus."""
        width, keymap = self._screen.app.size.width - 2, self._context.keymap
        if self._pane.has_focus_within:
            self._keys = journal_footer_keys(width, keymap)
            line = footer_line(self._keys, keymap, lambda _: True)
        else:
            hidden = self._context.read_only and self._context.replay is None
            scope = self._views.key_scope
            self._keys = footer_keys(width, keymap, hide_changes=hidden, view=scope, label=self._label_of)
            names = self._selection.units()
            past = self._context.replay is not None
            line = footer_line(
                self._keys, keymap,
                lambda key: not (past and (key.changes or key.id in OF_NOW)) and self.can_use(key, names),
                self._label_of,
            )  # fmt: skip
        self.footer.put((line, ()))

    def _label_of(self, key: Key) -> str:
        if key.id in OF_MACHINES:
            return self._machines.label_of(key)
        return self._rollouts.label_of(key) if key.id in ROLLOUT_KEYS else key.label

    def can_use(self, key: Key, names: Sequence[str]) -> bool:
        """Whether a key would do something now, these units being chosen."""
        if key.id in OF_MACHINES or key.id in ROLLOUT_KEYS:
            return (self._machines if key.id in OF_MACHINES else self._rollouts).can_use(key)
        if key.action.startswith("verb("):
            return not self._units.permit(Verb(key.id), names).refusal
        if key.id in OF_VERSIONS:
            lagging = self._selection.lagging() if key.id == "roll_out" else None
            has_one = lagging if lagging is not None else names and self._units.has_version(key.id, names)
            return bool(has_one) and not self._context.read_only
        if key.id in ("undo", "redo"):
            return (self._runner.can_undo if key.id == "undo" else self._runner.can_redo) is not None
        if key.id in NEEDS_TERMINAL and (self._context.read_only or not self._context.has_terminal):
            return False
        return bool(names) if key.id in NEEDS_UNIT else True

    def press(self, _line: int, cell: int) -> None:
        """Do what the clicked key does, where it works."""
        if cell // 2 < len(self._keys):
            action = self._keys[cell // 2].action
            target = self._pane if self._pane.has_focus_within else self._screen
            self._screen.run_worker(target.run_action(action), name=action, exit_on_error=False)
