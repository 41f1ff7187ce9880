"""The journal pane on the main screen: how high it is, how one gets into it and out of it, and what it shows.

Reading is one task, replaced when the selection is another. A selection that stays and whose units move goes on in
the same stream: nothing is lost, and nothing is read twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import aclosing

from textual.screen import Screen
from textual.widget import Widget
from textual.worker import Worker

from fleettui.actions.crashes import entries, failure_of, what_is_kept
from fleettui.console.journal import FollowedJournal, Item, Journals, LinkNews, News, Remark, Wanted
from fleettui.console.journal.sources import MAX_MACHINES, readable
from fleettui.console.screens.context import Context
from fleettui.console.screens.journal_past import JournalPast
from fleettui.console.screens.text_screens import FieldsScreen
from fleettui.console.text.cells import Tone
from fleettui.console.text.formatting import counted, when
from fleettui.console.widgets.journal_pane import JournalPane, connecting
from fleettui.escape import escape
from fleettui.journal_entry import JournalEntry
from registry.errors import FleetError, UserError
from registry.model import Machine

SETTLE_S = 0.12  # a cursor that runs over rows opens no journal on its way
LAST_READ = 200  # lines of each machine that are remembered, for when it is lost
SHORT = 20  # lines of a screen below which the pane is hidden at first
TALL = 30  # lines of a screen on which a page and the journal both have room


class JournalReader:
    """Owns what the pane shows. `want` may be called as often as the selection moves."""

    def __init__(self, journals: Journals, pane: JournalPane) -> None:
        self._journals, self._pane = journals, pane
        self._worker: Worker[None] | None = None
        self._stream: FollowedJournal | None = None
        self._wanted: tuple[Wanted, ...] = ()
        self._machines: dict[str, Machine] = {}  # of this selection, also those that its units left
        self._subject: Hashable = None
        self._units: tuple[str, ...] = ()  # of the selection: what was kept of their failures is shown first
        self._why = ""
        self._lost: tuple[str, ...] = ()  # machines of the selection that cannot be read any more
        self._known: dict[str, Machine] = {}  # all that were ever read
        self._to_failure = False  # go to what was kept of the last failure
        self._last_read: dict[str, deque[JournalEntry]] = {}  # of each machine, by id: what was read from it last
        self.past = JournalPast(journals, pane, self.again)
        pane.reads, pane.past = self, self.past

    def want(
        self, wanted: Sequence[Wanted], why_none: str, subject: Hashable = None, units: Sequence[str] = (),
        lost: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Show these journals; with none of them, say why. `subject` is what stays the same while units move.

        What was kept of failures of these `units` elsewhere, where nobody may be there to ask, comes before them;
        likewise what is left of the `lost` machines.
        """
        subject = subject if subject is not None else tuple(each.unit for each in wanted) or why_none
        wanted, unread = readable(wanted)
        if subject == self._subject and (wanted, why_none) == (self._wanted, self._why):
            return
        same = subject == self._subject and self._worker is not None
        if subject != self._subject:
            self._pane.turn_to(subject)
        self._subject, self._wanted, self._why = subject, wanted, why_none
        self._units, self._lost = tuple(units), tuple(lost)
        self._pane.unread = unread
        if not same:
            self.again()
            return
        self._machines |= {each.machine.id: each.machine for each in wanted}
        if self._stream:
            self._stream.retarget(wanted)
        self._pane.retarget(wanted)
        self.past.retarget(wanted)
        self._pane.note("" if wanted else f"{why_none}; waiting for it")

    def again(self) -> None:
        """Begin to read again."""
        self._cancel()
        if self._subject is None:
            return
        self._machines = {each.machine.id: each.machine for each in self._wanted}
        self._known |= self._machines
        shown = self._wanted or tuple(Wanted(self._known[id_], "") for id_ in self._lost if id_ in self._known)
        self._pane.begin(shown, connecting(self._wanted) if self._wanted else "no journal", self._why)
        self.past.begin(self._wanted)
        if self._wanted or self._units or self._lost:
            # A worker of the pane: it ends with the screen, however that ends.
            self._worker = self._pane.run_worker(self._read, name="read the journal", exit_on_error=False)

    def show_failure(self) -> None:
        """Go to what was kept of the newest failure of the selection."""
        self._to_failure = True
        self.again()

    def stop(self) -> None:
        """Read no more; the next `want` begins again."""
        self._subject = None
        self._cancel()

    async def fields(self, item: Item) -> Mapping[str, str]:
        """All fields of an entry. Raises FleetError."""
        if isinstance(item, Remark):
            raise UserError("this line is the console's own; it has no fields")
        machine = self._machines.get(item.machine)
        if machine is None:
            raise UserError(f"{item.hostname} is no longer in the fleet; its journal cannot be asked")
        return await self._journals.fields(machine, item.cursor)

    def _cancel(self) -> None:
        self._stream = None
        self.past.stop()
        if self._worker:
            self._worker.cancel()
            self._worker = None

    async def _read(self) -> None:
        await asyncio.sleep(SETTLE_S)
        await self._show_kept()
        if not self._wanted:
            self._worker = None
            return
        self._stream = self._journals.open(self._wanted, self._pane.ask)
        try:
            async with aclosing(self._stream.batches()) as batches:
                async for batch in batches:
                    self._show(batch)
            self._pane.note("")  # it has an end
        except FleetError as error:
            self._pane.note("no journal")
            self._pane.add([Remark(str(error))])

    async def _show_kept(self) -> None:
        """Show what is left of machines where the units are not any more: kept by agents, or read here before."""
        ask, here, wished = self._pane.ask, {each.key for each in self._wanted}, self._to_failure
        self._to_failure = False
        try:
            asked = (self._units or self._lost) and (wished or not ask.boot)
            found = await self._journals.kept(self._units, self._lost) if asked else ()
        except FleetError as error:
            self._pane.add([Remark(f"what was kept of failures cannot be read: {error}")])
            return
        items, newest = self._read_before(), None
        for crash in found:
            if not wished and ((crash.machine, crash.unit) in here or (ask.since and crash.failed_at < ask.since)):
                continue
            at = when(crash.failed_at, self._pane.clock()).strip()
            newest = Remark(f"{crash.unit} {failure_of(crash)} at {at}; {what_is_kept(crash)}")
            items += [newest, *entries(crash)]
        if wished and newest is None:
            self._pane.say("nothing is kept of a failure of it; its journal is here", Tone.BUSY)
        if not items:
            return
        if self._wanted:
            items.append(Remark("what follows is written now", good=True))
        else:
            self._pane.note("kept by its agent" if newest else "read before")
        if wished and newest:
            lines = self._pane.lines
            lines.add(items)
            lines.flush()
            lines.go_to(next(number for number in range(lines.buffer.end) if lines.buffer.item(number) is newest))
        else:
            self._pane.add(items)

    def _read_before(self) -> list[Item]:
        """What was last read here from machines of the selection that are not among those read now."""
        here, items, units = {each.machine.id for each in self._wanted}, list[Item](), {*self._units}
        for id_, last in self._last_read.items():
            left = [each for each in last if id_ in self._lost or each.unit in units] if id_ not in here else []
            if left:
                host = escape(left[-1].hostname)
                items += [
                    Remark(f"last read from {host}, which is not read now: {counted(len(left), 'line')}"),
                    *left,
                ]
        return items

    def _show(self, batch: Sequence[News]) -> None:
        items: list[Item] = []
        for each in batch:
            if isinstance(each, LinkNews):
                self._pane.trouble(each.hostname, each.trouble)
            else:
                items.append(each)
                if isinstance(each, JournalEntry):
                    if each.machine not in self._last_read:
                        self._last_read[each.machine] = deque(maxlen=LAST_READ)
                    self._last_read[each.machine].append(each)
        while len(self._last_read) > MAX_MACHINES:
            del self._last_read[next(iter(self._last_read))]
        if self._wanted and (items or not batch):
            self._pane.note("")  # the first lines are there, or there are none
        self._pane.add(items)


class JournalDock:
    """Owns the pane and whether it is shown. The journal tab of a detail is the same pane over the whole height."""

    def __init__(self, screen: Screen[None], context: Context, focus_view: Callable[[], object]) -> None:
        foreign = context.read_only and not context.has_terminal
        self.pane = JournalPane(id="journal", clock=context.clock, saves=not foreign)
        self.reader = JournalReader(context.journals, self.pane)
        self._screen, self._focus_view = screen, focus_view
        self._docked: bool | None = None  # whether the pane was shown before a detail was opened
        self._height = 0  # of the screen, as it was last
        self._crowded = False  # hidden since the screen became so low

    def on_mount(self) -> None:
        """Show the pane where there is room for it."""
        self.pane.display = self._screen.app.size.height >= SHORT

    @property
    def shown_beside_tables(self) -> bool:
        """Whether the pane is shown, or will be once no detail is open."""
        return self.pane.display if self._docked is None else self._docked

    def crowded_out(self, height: int) -> bool:
        """Whether the pane is to be hidden now that the screen has so many lines, or shown again."""
        before, self._height = self._height, height
        if self.pane.has_focus_within or (before < SHORT) == (height < SHORT):
            return False
        shown = self.shown_beside_tables
        turns = shown if height < SHORT else self._crowded and not shown
        self._crowded = height < SHORT and turns
        if turns and self._docked is not None:  # a detail is open: it holds when that is left
            self._docked = not shown
            return self.pane.display and shown and not self.pane.room.whole
        return turns

    def toggle(self) -> None:
        """Show or hide the pane."""
        self.pane.display = not self.pane.display
        if self._docked is not None:
            self._docked = self.pane.display
        if not self.pane.display:
            self.reader.stop()
            self._focus_view()

    def arrange(self, *, in_detail: bool, whole: bool) -> None:
        """Make the pane large (`whole`), or docked; beside a detail's page only where both have room."""
        if in_detail and self._docked is None:
            self._docked = self.pane.display
        self.pane.room.fill(whole=whole)
        if in_detail:
            shown = whole or (bool(self._docked) and self._screen.app.size.height >= TALL)
        else:
            shown, self._docked = self.shown_beside_tables, None
        if self.pane.display and not shown:
            self.reader.stop()
        self.pane.display = shown

    def next_pane(self) -> None:
        """Give the keys to the journal, or back to the view."""
        pane = self.pane
        if pane.has_focus_within and pane.room.zoomed:
            pane.action_zoom()
        if not pane.room.whole and (pane.has_focus_within or not pane.display):
            self._focus_view()
        else:
            self._screen.set_focus(pane.lines)

    def focus_inside(self, otherwise: Widget) -> None:
        """Give the keys, at once, to the first in the pane that takes them: the next key may be there already."""
        self._screen.set_focus(next((each for each in self.pane.query("*") if each.can_focus), otherwise))

    def leave(self) -> None:
        """Go one step back on the main screen: in the pane nothing is left to undo."""
        if self.pane.room.whole:
            self._screen.run_worker(self._screen.run_action("back"), name="back", exit_on_error=False)
        else:
            self._focus_view()

    def open_fields(self, fields: Mapping[str, str]) -> None:
        """Show all that the journal knows of a line."""
        self._screen.app.push_screen(FieldsScreen(fields))
