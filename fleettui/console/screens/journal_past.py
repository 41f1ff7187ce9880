"""What the journal pane shows beyond the lines that were read at first: older ones, what a search finds anywhere.

Older lines are read when the reader comes near the first one. A search that is kept goes through all that the
machines keep; what it finds outside of what is shown is gone to by showing that part of the past instead. Then the
newest lines are read again as soon as they are wanted.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial

from textual.worker import Worker

from fleettui.console.journal import JournalPlace, Journals, PastJournal, Wanted
from fleettui.console.journal.filters import finds, searched
from fleettui.console.journal.messages import levelled
from fleettui.console.journal.sources import Item
from fleettui.console.text.cells import Tone
from fleettui.console.text.formatting import counted
from fleettui.console.widgets.journal_lines import JournalLines
from fleettui.console.widgets.journal_pane import JournalPane
from fleettui.escape import clause, escape
from fleettui.journal_entry import JournalEntry
from registry.errors import FleetError

PIECE = 2_000  # older lines read at once
AROUND = 300  # lines before and after a hit that is gone to
MOST_FOUND = 20_000  # lines found that are remembered
SOON_S = 0.7  # how long other machines' answers are waited for before the newest hit is gone to

Found = tuple[int, str, str]  # when it was written (µs), on which machine, its cursor


class JournalPast:
    """Owns what is read and searched beside the stream. `again` reads the newest lines again."""

    def __init__(self, journals: Journals, pane: JournalPane, again: Callable[[], None]) -> None:
        self._journals, self._pane, self._again = journals, pane, again
        self._wanted: tuple[Wanted, ...] = ()
        self._work: Worker[None] | None = None
        self._scan: Worker[None] | None = None
        self._found: list[Found] = []
        self._older: tuple[PastJournal, Item] | None = None  # and the item that it was read up to
        self._newer: tuple[PastJournal, Item] | None = None
        self._first: Item | None = None  # there is no older one
        self._whole = False  # all is wanted up to the first line
        self.scanning = ""  # what is said of the search through everything
        pane.lines.reach = self.reach

    def begin(self, wanted: Sequence[Wanted]) -> None:
        """Be about other journals, or the same read anew."""
        self.stop()
        self._wanted, self._older, self._newer, self._first = tuple(wanted), None, None, None
        if self._pane.terms.search:
            self.scan(go=False)

    def retarget(self, wanted: Sequence[Wanted]) -> None:
        """Some of the units are elsewhere by now; what was read stays."""
        known = {each.key: each for each in (*self._wanted, *wanted)}
        if len(known) != len(self._wanted):
            self._wanted, self._older, self._newer, self._first = tuple(known.values()), None, None, None

    def stop(self) -> None:
        """Read and search no more."""
        self.cancel()
        self.stop_scan()

    def cancel(self) -> bool:
        """End what is being read; False when nothing is."""
        busy = self._work is not None and not self._work.is_finished
        if busy and self._work:
            self._work.cancel()
        self._work = None
        self._do("")
        return busy

    def _do(self, what: str) -> None:
        if self._pane.doing != what:
            self._pane.doing = what
            self._pane.show()

    # What lies beyond

    def reach(self, way: str) -> None:
        """Go where the reader goes: read older lines near the first one, newer ones after the last of a past.

        "first" reads on up to the first line there is, "live" the newest lines.
        """
        lines = self._pane.lines
        if way == "live":
            self._again()
            return
        self._whole = self._whole or way == "first"
        above = lines.top - lines.buffer.view.layout.first_row
        below = lines.buffer.view.layout.end_row - lines.top - lines.size.height
        if (way == "up" and above > lines.size.height) or (
            way == "down" and (below > 0 or not lines.place.detached)
        ):
            return
        if self._work is None or self._work.is_finished:
            self._whole = way == "first"
            self._run(self._read_newer if way == "down" else self._read_older, "read older lines")

    def _run(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        async def done() -> None:
            try:
                await work()
            except FleetError as error:
                self._pane.say(str(error), Tone.BAD)
            finally:
                self._do("")

        self._work = self._pane.run_worker(done, name=name, exit_on_error=False)

    async def _read_older(self) -> None:
        lines, buffer, shown = self._pane.lines, self._pane.lines.buffer, 0
        while self._wanted:
            await settled(lines)
            first = buffer.ring[0] if len(buffer.ring) else None
            if self._pane.ask.since is not None or (first is not None and first is self._first):
                self._pane.say(
                    "this is the first line" + (f" since {self._pane.since}" if self._pane.since else "")
                )
                return
            self._do("reading older lines …")
            if self._older is None or self._older[1] is not first:
                self._older = (self._history(backwards=True), first or LAST)
            history, at = self._older[0], lines.place.cursor
            items = await history.read(PIECE)
            self._complain(history)
            if lines.place.following:  # the reader has gone to the newest lines meanwhile
                self._older = None
                return
            self._whole = self._whole and lines.place.cursor == at  # or elsewhere: the first line is not wanted now
            top, rows = lines.top, buffer.view.layout.first_row
            if dropped := buffer.prepend([*reversed(items)]):
                lines.place.detach(lines.place.cursor, dropped)
            lines.lay_out(top)
            shown += rows - buffer.view.layout.first_row
            first = buffer.ring[0] if len(buffer.ring) else None
            self._older = (history, first or LAST)
            ended = len(items) < PIECE
            if ended and not history.troubles:
                self._first = first
            if self._whole and len(buffer.view.layout):
                lines.go_to(buffer.view.layout.item(0))
            full = lines.place.detached or len(buffer.ring) + PIECE > buffer.capacity
            if self._whole and full and not ended:
                told = f"{counted(len(buffer.ring), 'line')} are kept here; PgUp goes on, t reads an earlier time"
                self._pane.say(told, Tone.BUSY)
                return
            if ended or (not self._whole and shown >= lines.size.height):
                return

    async def _read_newer(self) -> None:
        lines, buffer = self._pane.lines, self._pane.lines.buffer
        last = buffer.ring[len(buffer.ring) - 1]
        if self._newer is None or self._newer[1] is not last:
            self._newer = (self._history(backwards=False), last)
        history = self._newer[0]
        self._do("reading newer lines …")
        items = await history.read(PIECE)
        if items:
            top = lines.top
            buffer.take(items)
            lines.lay_out(top)
            self._newer = (history, buffer.ring[len(buffer.ring) - 1])
        else:
            self._pane.say("these were the newest lines; G follows again")

    def _history(self, *, backwards: bool) -> PastJournal:
        """What lies before the first lines that are kept, or after the last."""
        edges = self._pane.lines.buffer.edges((each.machine.id for each in self._wanted), newest=not backwards)
        ends = [entry.at for entry in edges.values()] or [int(self._pane.clock() * 1_000_000)]
        at = min(ends) if backwards else max(ends) + 1
        places = {each.machine.id: JournalPlace(at) for each in self._wanted}
        places |= {id_: JournalPlace(entry.at, entry.cursor) for id_, entry in edges.items()}
        return self._journals.history(self._wanted, self._pane.ask, places, backwards=backwards)

    def _complain(self, history: PastJournal) -> None:
        for host, why in history.troubles.items():
            self._pane.say(f"{escape(host)} is left out: {clause(why)}", Tone.BAD)

    # A search through everything

    def stop_scan(self) -> None:
        """Search no more, and forget what was found."""
        if self._scan:
            self._scan.cancel()
        self._scan, self._found, self.scanning = None, [], ""

    def scan(self, *, go: bool = True) -> None:
        """Search all that the machines keep for what the pane searches for.

        `go`: go to the newest line that is found, where none is among those that are kept.
        """
        self.stop_scan()
        if self._wanted and self._pane.terms.search:
            self.scanning = "scanning …"
            search = partial(self._search, go=go)
            self._scan = self._pane.run_worker(search, name="search the journals", exit_on_error=False)

    async def _search(self, *, go: bool) -> None:
        pane, terms, troubles = self._pane, self._pane.terms, dict[str, str]()
        holds, admits, clock = finds(terms.search), terms.narrowing.admits(), asyncio.get_running_loop().time
        began, found = clock(), self._found
        waiting = go and not len(pane.lines.buffer.view.hits)
        stream = self._journals.search(self._wanted, pane.ask, terms.search, troubles)
        async with aclosing(stream) as batches:
            async for batch in batches:
                for entry in map(levelled, batch):
                    if admits(entry) and holds(searched(entry)):
                        insort(found, (entry.at, entry.machine, entry.cursor))
                if waiting and found and clock() - began > SOON_S:
                    waiting = self._go_if_nothing_is_shown()
                if len(found) >= MOST_FOUND:
                    troubles["more"] = f"the newest {MOST_FOUND:,} are counted"
                    break
                pane.show()
        if waiting and found:
            self._go_if_nothing_is_shown()
        told = [why if host == "more" else f"✖ {escape(host)} not searched: {clause(why)}"
                for host, why in troubles.items()]  # fmt: skip
        self.scanning = told[0] + (f" and {len(told) - 1} more" if len(told) > 1 else "") if told else ""
        pane.show()

    def _go_if_nothing_is_shown(self) -> bool:
        """Go to the newest line that was found, where none is among those that are kept; return False."""
        if not len(self._pane.lines.buffer.view.hits):
            self.go_to(self._found[-1])
        return False

    def outside(self) -> tuple[int, int]:
        """How many lines were found before the first line that is kept, and after the last."""
        ring = self._pane.lines.buffer.ring
        at = next((item.at for item in ring if isinstance(item, JournalEntry) and item.cursor), None)
        if at is None or not self._found:
            return len(self._found), 0
        last = ring[len(ring) - 1]
        after = len(self._found)
        if self._pane.lines.place.detached and isinstance(last, JournalEntry):
            after = bisect_right(self._found, (last.at + 1, "", ""))
        return bisect_left(self._found, (at, "", "")), len(self._found) - after

    def target(self, step: int) -> Found | None:
        """The next line that was found outside of what is kept: a newer one (1), or an older one (-1)."""
        before, after = self.outside()
        if step > 0:
            return self._found[-after] if after else None
        return self._found[before - 1] if before else None

    def go_to(self, found: Found) -> None:
        """Show that part of the past."""
        self.cancel()
        self._run(partial(self._read_around, *found), "read around a line")

    async def _read_around(self, at: int, machine: str, cursor: str) -> None:
        pane = self._pane
        self._do("reading the lines around it …")
        before = {each.machine.id: JournalPlace(at - 1) for each in self._wanted} | {
            machine: JournalPlace(at, cursor)
        }
        after = {each.machine.id: JournalPlace(at) for each in self._wanted} | {
            machine: JournalPlace(at, cursor, inclusive=True)
        }
        older = self._journals.history(self._wanted, pane.ask, before, backwards=True)
        newer = self._journals.history(self._wanted, pane.ask, after, backwards=False)
        above, below = await asyncio.gather(older.read(AROUND), newer.read(AROUND))
        await settled(pane.lines)
        items = [*reversed(above), *below]
        number = next((number for number, item in enumerate(items) if item.cursor == cursor), None)
        if number is None:
            pane.say("that line is not kept any more", Tone.BUSY)
            return
        kept, known = pane.lines.buffer, {*self._found}
        for hit in (kept.item(kept.view.hits[each]) for each in range(len(kept.view.hits))):
            if isinstance(hit, JournalEntry) and (found := (hit.at, hit.machine, hit.cursor)) not in known:
                insort(self._found, found)  # it came after the search began
        missed = pane.lines.place.missed
        pane.lines.wipe()
        kept.take(items)
        pane.lines.place.detach(number, missed)
        pane.lines.lay_out(0)
        pane.lines.go_to(number, middle=True)
        ring = pane.lines.buffer.ring
        self._older, self._newer = (older, ring[0]), (newer, ring[len(ring) - 1])
        self._first = ring[0] if len(above) < AROUND else None
        pane.show()


async def settled(lines: JournalLines) -> None:
    """Wait until no other terms are being applied."""
    while lines.working:  # noqa: ASYNC110 - it ends within a second, or is overtaken
        await asyncio.sleep(0.02)


LAST = JournalEntry(0, "", "", "", 0, 0, "", "", "")  # stands for no line
