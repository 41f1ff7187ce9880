"""The main screen: its parts, which part does what a key says, and how a reading reaches them all.

The screen itself decides nothing. What a key does is looked up in two steps: `text/keys.py` names the action, and
`_bind_actions` the part that carries it out.
"""

from __future__ import annotations

import shlex
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from fleettui.actions.rollouts import Policy
from fleettui.console.operations.impact import Care
from fleettui.console.operations.runner import OperationRunner
from fleettui.console.screens.bands import FooterBands, HeaderBands
from fleettui.console.screens.confirm import Confirmer
from fleettui.console.screens.context import Context, StatusLine
from fleettui.console.screens.dialogs import Dialogs
from fleettui.console.screens.journal_dock import JournalDock
from fleettui.console.screens.machine_operations import LeaseWatch, MachineOperations
from fleettui.console.screens.navigator import Navigator, Selection, Views
from fleettui.console.screens.on_host import OnHost
from fleettui.console.screens.outside import EditSession, Outside
from fleettui.console.screens.prompts import Prompts
from fleettui.console.screens.rollout_operations import RolloutOperations
from fleettui.console.screens.run_there import CommandsThere
from fleettui.console.screens.saved_view import SavedView
from fleettui.console.screens.text_screens import Renewing
from fleettui.console.screens.unit_operations import UnitOperations
from fleettui.console.sources.feed import SLICE
from fleettui.console.tables.fleet import NO_CHANGES, Changes, FleetModel, Reading
from fleettui.console.tables.machines import MachineRow
from fleettui.console.text.cells import Line
from fleettui.console.text.keys import MAIN
from fleettui.console.text.subject import SubjectKind, Tab
from fleettui.console.widgets.drawing import bound
from fleettui.console.widgets.journal_pane import JournalPane
from fleettui.console.widgets.page import Page
from fleettui.console.widgets.table import RowTable
from registry.errors import FleetError
from registry.sync.follow import ConnectionState

if TYPE_CHECKING:
    from fleettui.console.commandline.commands import ConsoleCommand

TICK_S = 1.0
FOLLOWING = "following the registry"


class MainScreen(Screen[None]):
    """Everything at a glance, and everything by key."""

    BLANK = True  # filled by its parts: not looked for borders at each frame
    CSS = """
    MainScreen { background: $surface; }
    #header { background: $panel; }
    ContentSwitcher { height: 1fr; }
    View { height: 1fr; }
    Table { height: 1fr; }
    Prompt { height: 1; border: none; padding: 0 1 0 3; background: $bar; display: none; }
    MainScreen.crowded JournalPane { min-height: 0; max-height: 0; }
    MainScreen.crowded JournalPane.alone { max-height: 100%; }
    #operations, #banner, #candidates { display: none; }
    #footer { background: $panel; }
    #views.strip { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = bound(MAIN)
    AUTO_FOCUS = "#units-table"

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context, self._unit = context, context.unit
        self.fleet = fleet = FleetModel(context.keys, context.saved.machines if context.saved else None)
        self.status = status = StatusLine(self._hint)
        self.views = views = Views(context, fleet)
        self.selection = selection = Selection(views, fleet, self._selection_changed)
        self.dock = dock = JournalDock(self, context, views.focus_table)
        self.navigator = navigator = Navigator(
            self, views, selection, fleet, dock, refresh=self.refresh_all, show_status=status.show
        )
        self.runner = runner = OperationRunner(
            context.port,
            context.clock,
            lambda: self.footer.show_operations(),  # noqa: PLW0108 - the footer is made below
            context.keys,
            context.barred,
        )
        identity, pace = context.identity, context.saved.pace if context.saved else ""
        care = Care(identity.cluster, identity.protected, context.confirm_from)
        self.confirmer = confirmer = Confirmer(self, fleet, care, status.show, pace)
        self.units = units = UnitOperations(self, context, fleet, selection, runner, confirmer, status)
        self.machines = machines = MachineOperations(
            self, context, fleet, views, selection, runner, confirmer, status
        )
        self.rollouts = rollouts = RolloutOperations(self, context, fleet, selection, runner, confirmer, status)
        self.there = CommandsThere(self, context, fleet, views, selection, confirmer, status)
        self.lease = LeaseWatch(self, context, fleet, views, status)
        self.outside = outside = Outside(self, context, fleet, selection, runner, status)
        dock.pane.open_pager = outside.open_pager
        self.edits = EditSession(
            self, context, fleet, selection, runner, confirmer, status, units=units, outside=outside
        )
        self.header = HeaderBands(self, context, fleet, views, navigator)
        self.footer = FooterBands(
            self, context, views, selection, dock, runner, units=units, machines=machines, rollouts=rollouts
        )
        self.prompts = Prompts(context, fleet, views, navigator, status, self._execute)
        self.dialogs = dialogs = Dialogs(
            self, context, fleet, views, selection, navigator, dock, runner, status,
            can_use=self.footer.can_use, refresh=self.refresh_all, execute=self.prompts.execute,
        )  # fmt: skip
        self.saved = SavedView(
            self, context, views, navigator, dock, lambda: dialogs.theme, lambda: confirmer.pace,
            lambda: fleet.machines.names,
        )  # fmt: skip
        self._bind_actions()

    def _bind_actions(self) -> None:
        """Set what each action of the keys does; Textual looks for `action_NAME` here."""
        units, machines, navigator = self.units, self.machines, self.navigator
        self.action_verb = units.perform_on_selection  # start, stop, restart, load, unload, destroy
        self.action_machine = machines.perform_on_selection  # cordon, drain
        self.action_rollout = self.rollouts.perform_on_selection  # pause or go on, abort, undo
        self.action_roll_out = units.roll_out
        self.action_rebalance = partial(self.rollouts.rebalance, Policy())
        self.action_scale = units.scale_by
        self.action_restore = self._restore
        self.action_undo, self.action_redo = units.undo, units.redo
        self.action_submit = self.edits.submit
        self.action_edit = self.edits.edit
        self.action_shell = self.outside.open_shell
        on_host = OnHost(self, self.context, self.fleet, self.views, self.selection, navigator, self.outside,
                         self.status, self.confirmer)  # fmt: skip
        self.action_on_host, self.action_signal = on_host.open, on_host.signal
        self.action_run_now = on_host.run_now
        self.action_pager, self.action_save = on_host.pager, on_host.save

        self.action_view = navigator.open_view
        self.action_status = navigator.open_status
        self.action_why = partial(navigator.open_tab, "why")
        self.action_file = partial(navigator.open_tab, "file")
        self.action_unit_events = partial(navigator.open_tab, "unit_events")
        self.action_dependencies = partial(navigator.open_tab, "dependencies")
        self.action_version = navigator.choose_version
        self.action_trouble = navigator.toggle_trouble
        self.action_journal = navigator.open_journal
        self.action_dock = navigator.toggle_dock
        self.action_failure = navigator.open_failure
        self.action_next_pane = self.dock.next_pane

        self.action_mark = self.selection.mark
        self.action_mark_range = self.selection.mark_range
        self.action_mark_all = self.selection.mark_all

        self.action_filter = self.prompts.open_filter
        self.action_command = self.prompts.open_command_line
        self.action_palette = self.dialogs.open_palette
        self.action_columns = self.dialogs.open_columns
        self.action_actions = self.dialogs.open_operations
        self.action_help = self.dialogs.open_help
        self.action_own = self.there.perform
        for each in () if self.context.read_only else self.context.commands:
            if each.key:
                self._bindings.bind(each.key, f"own('{each.name}')", each.name, show=False)
        self.action_cluster = self.dialogs.choose_fleet
        self.action_suspend = self.outside.suspend

    def _restore(self) -> None:
        """Bring back the version that is compared on the file's page; elsewhere the one before."""
        subject, detail = self.selection.subject_here(), self.views.detail
        on_file = self.views.in_detail and detail.tab is Tab.FILE
        if subject is None or subject.kind is not SubjectKind.UNIT:
            self.status.show("no unit is selected")
        else:
            self.units.restore(subject.name, max(1, detail.older) if on_file else 1)

    # Through a record

    def action_place(self, way: int) -> None:
        """Go back or forward; in a record, to the change before or the next one."""
        if self.context.replay is None:
            self.navigator.step(way)
        else:
            self._travel(self.context.replay.step(way))

    def action_leap(self, to: int | str) -> None:
        """Go so many seconds through the record, or to a moment of it."""
        replay = self.context.replay
        if replay is None:
            self.status.show("this is live; of what was, in a terminal: fleettui --at TIME")
        else:
            self._travel(replay.leap(to) if isinstance(to, int) else replay.seek(to))

    def _travel(self, way: Coroutine[Any, Any, None]) -> None:
        """Go a way through the record; one is gone after the other."""

        async def go() -> None:
            try:
                await way
                self.status.show("")
            except FleetError as error:
                self.status.show(str(error))

        self.run_worker(go(), name="go through the record", exit_on_error=False)

    # Building

    def compose(self) -> ComposeResult:
        """Put the parts from top to bottom."""
        yield self.header.header
        yield self.header.tabs
        yield self.header.banner
        yield self.views.switcher
        yield self.dock.pane
        yield self.footer.operations
        yield self.status
        yield self.prompts
        yield self.footer.footer

    def on_mount(self) -> None:
        """Paint what there is, then begin to follow."""
        self.dock.on_mount()
        self.saved.restore()
        if self.context.remark:
            self.status.show(self.context.remark, lasting=True)
        self.refresh_all()
        self.navigator.follow_selection()  # nothing is selected yet: the pane must not say that it reads
        self.set_interval(TICK_S, self._tick)
        if self.context.losses is not None:
            self.run_worker(self.context.losses.run(), name="what a loss would mean", exit_on_error=False)
        self.set_interval(self.lease.INTERVAL_S, self.lease.ask)
        self.call_after_refresh(lambda: self.run_worker(self._follow(), name=FOLLOWING, exit_on_error=False))

    # What is known about the cluster

    async def _follow(self) -> None:
        try:
            async for reading in self.context.feed.readings():
                changes = NO_CHANGES
                for part in reading.parts(SLICE):
                    changes = changes.then(self.fleet.apply(part, self.context.clock()))
                    await self.context.turns.give_way()
                self.apply(reading, changes)
        except FleetError as error:
            reason = f"{error}; restart the console"
            self.apply(Reading(self.fleet.reading.snapshot, None, ConnectionState.LOST, reason))

    def apply(self, reading: Reading, changed: Changes | None = None) -> None:
        """Show a reading, with what it changed where it was taken in already."""
        self.views.update(changed or self.fleet.apply(reading, self.context.clock()))
        if self.context.losses is not None:
            self.context.losses.update(reading)
        self.runner.apply(self.fleet.reading.snapshot, self.fleet.units.where)
        if self._unit and reading.link is ConnectionState.LIVE:  # where the last fleet was left
            unit, self._unit = self._unit, ""
            lacks = partial(self.status.show, f"{unit} is not in this fleet", lasting=True)
            self.call_after_refresh(lambda: self.navigator.go_to("units", unit) or lacks())
        self._selection_changed()
        page = self.app.screen
        if isinstance(page, Renewing):
            page.renew()

    @on(Worker.StateChanged)
    def _worker_changed(self, event: Worker.StateChanged) -> None:
        """Say that a task broke; without the feed's, what is shown is no longer live, and says so."""
        if event.state is not WorkerState.ERROR:
            return
        error = event.worker.error
        text = f"{event.worker.name} broke ({type(error).__name__}: {error}); restart the console and report it"
        if event.worker.name == FOLLOWING:
            self.fleet.lose(text, self.context.clock())
            self.refresh_all()
        self.status.show(text)

    # Drawing

    def on_idle(self) -> None:
        """Draw what a key did at once: Textual would wait for its next frame, up to a sixtieth of a second."""
        if self.context.turns.due:
            self._on_timer_update()

    def _tick(self) -> None:
        self.views.open.table.tick()
        self.runner.fade()
        self.header.show()
        self.header.show_notices()
        self.footer.show_operations()
        if self.views.in_detail:
            self.views.detail.renew()
        self.saved.save()

    def refresh_all(self) -> None:
        """Draw all that stands around the views."""
        self.header.show()
        self.header.show_tabs()
        self.header.show_notices()
        self.status.renew()
        self.footer.show_keys()

    def on_resize(self) -> None:
        """Draw for the other width and height."""
        self.navigator.fit(self.app.size.height)
        self.dock.pane.room.fit()
        self.refresh_all()
        self.footer.show_operations()
        if (line := self.prompts.asking) is not None:
            line.make_room()
            line.show_candidates()

    def _selection_changed(self) -> None:
        self.refresh_all()
        self.navigator.follow_selection()

    def _hint(self) -> Line:
        """Return what is to be said of the line that is typed, else of the row under the cursor."""
        if (typed := self.prompts.hint()) is not None:
            return typed
        view = self.views.open
        row = view.table.listing.current()
        if row is None:
            return ()
        return self.lease.hint(row) if isinstance(row, MachineRow) else view.hint(row, self.context.clock())

    # What the widgets report

    @on(RowTable.Moved)
    def _moved(self, event: RowTable.Moved) -> None:
        table = self.views.open.table
        if event.table is not table:
            return
        if table.listing.current() is not None:  # else its row went by itself
            self.status.clear_on_move()
        self.status.renew()
        if not event.stays:  # else who gave the table its rows has drawn the rest
            self.header.show_tabs()
            self.footer.show_keys()
            self.navigator.follow_selection()

    @on(RowTable.Opened)
    def _opened(self, event: RowTable.Opened) -> None:
        self.navigator.open_row(event.key)

    @on(Page.Followed)
    def _link_followed(self, event: Page.Followed) -> None:
        self.navigator.follow_link(event.subject)

    @on(Page.Turned)
    def _page_turned(self, event: Page.Turned) -> None:
        self.navigator.turn(event.step)

    @on(JournalPane.Focused)
    def _journal_focused(self) -> None:
        self.footer.show_keys()

    @on(JournalPane.Released)
    def _journal_left(self) -> None:
        self.dock.leave()

    @on(JournalPane.FieldsRead)
    def _journal_opened(self, event: JournalPane.FieldsRead) -> None:
        self.dock.open_fields(event.fields)

    # Keys that concern several parts

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Let one key mean a machine in the Machines view, a rollout among these, and a unit elsewhere."""
        scope = self.views.key_scope
        in_machines = scope == "machines"
        if action in ("machine", "rollout"):
            return scope == f"{action}s"
        if action == "restore":  # among rollouts its key undoes one
            return scope != "rollouts"
        return not (action == "verb" and parameters == ("destroy",) and in_machines)

    def action_back(self) -> None:
        """Take one thing away: the filter, the status, what ended, the marks, the detail, the journal's focus."""
        view = self.views.open
        listing = view.table.listing
        if listing.narrowed:
            self.navigator.filter_by("", trouble=False)
        elif self.status.text:
            self.status.show("")
        elif self.runner.dismiss():
            pass
        elif listing.marks:
            listing.marks.clear()
            view.table.restyle()
            self.refresh_all()
        elif self.views.in_detail:
            self.navigator.leave_detail()
        elif not view.table.has_focus:
            self.views.focus_table()
        else:
            self.status.show("there is nothing to go back from; 1 to 7 open the views, ctrl+q leaves")

    def action_copy(self) -> None:
        """Copy the page, the last operation's command or the names of what is selected to the clipboard."""
        done = self.runner.operations
        text = done[-1].command if done else shlex.join(self.selection.units())
        text, name = self.navigator.copyable() or (text, text if len(text) < 100 else text[:99] + "…")
        if text:
            self.app.copy_to_clipboard(text)
            self.status.show(f"copied: {name}")

    async def action_quit(self) -> None:
        """Leave the console."""
        await self.app.action_quit()

    async def _execute(self, command: ConsoleCommand) -> None:
        from fleettui.console.screens.executor import CommandExecutor  # noqa: PLC0415 - loads fleetctl's grammar

        await CommandExecutor(
            self, self.context, self.fleet, self.views, self.selection, self.navigator, self.status,
            units=self.units, machines=self.machines, rollouts=self.rollouts, dialogs=self.dialogs,
            there=self.there,
        ).execute(command)  # fmt: skip

    async def leave(self) -> None:
        """End what reads, and save how the screen is left."""
        self.dock.reader.stop()
        await self.saved.save_last()
