"""Reads the journal of whatever is selected into the pane: one task, replaced when the selection is another.

A selection that stays and whose units move goes on in the same stream: nothing is lost, and nothing begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from contextlib import aclosing

from textual.worker import Worker

from fleettui.console.journal import FollowedJournal, Item, Journals, LinkNews, News, Remark, Wanted
from fleettui.console.widgets.journal_pane import JournalPane, connecting
from registry.errors import FleetError, UserError
from registry.model import Machine

SETTLE_S = 0.12  # a cursor that runs over rows opens no journal on its way


class JournalReader:
    """Owns what the pane shows. `want` may be called as often as the selection moves."""

    def __init__(self, journals: Journals, pane: JournalPane) -> None:
        self._journals, self._pane = journals, pane
        self._worker: Worker[None] | None = None
        self._stream: FollowedJournal | None = None
        self._wanted: tuple[Wanted, ...] = ()
        self._machines: dict[str, Machine] = {}  # of this selection, also those that its units left
        self._subject: Hashable = None
        self._why = ""
        pane.reads = self

    def want(self, wanted: Sequence[Wanted], why_none: str, subject: Hashable = None) -> None:
        """Show these journals; with none of them, say why. `subject` is what stays the same while units move."""
        subject = subject if subject is not None else tuple(each.unit for each in wanted) or why_none
        wanted = tuple(wanted)
        if subject == self._subject and (wanted, why_none) == (self._wanted, self._why):
            return
        same = subject == self._subject and self._worker is not None
        self._subject, self._wanted, self._why = subject, wanted, why_none
        if same:
            self._go_on()
        else:
            self.again()

    def again(self) -> None:
        """Read anew."""
        self._cancel()
        if self._subject is None:
            return
        self._machines = {each.machine.id: each.machine for each in self._wanted}
        self._pane.begin(self._wanted, connecting(self._wanted) if self._wanted else "no journal", self._why)
        if self._wanted:
            # A worker of the pane: it ends with the screen, however that ends.
            self._worker = self._pane.run_worker(self._read(), name="read the journal", exit_on_error=False)

    def stop(self) -> None:
        """Read no more; the next `want` begins anew."""
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
        if self._worker:
            self._worker.cancel()
            self._worker = None

    def _go_on(self) -> None:
        """The same units elsewhere, or for a while nowhere."""
        self._machines |= {each.machine.id: each.machine for each in self._wanted}
        if self._stream:
            self._stream.retarget(self._wanted)
        self._pane.retarget(self._wanted)
        self._pane.note("" if self._wanted else f"{self._why}; waiting for it")

    async def _read(self) -> None:
        await asyncio.sleep(SETTLE_S)
        self._stream = self._journals.open(self._wanted, self._pane.ask)
        try:
            async with aclosing(self._stream.batches()) as batches:
                async for batch in batches:
                    self._take(batch)
        except FleetError as error:
            self._pane.note("no journal")
            self._pane.add([Remark(str(error))])

    def _take(self, batch: Sequence[News]) -> None:
        items: list[Item] = []
        for each in batch:
            if isinstance(each, LinkNews):
                self._pane.trouble(each.hostname, each.trouble)
            else:
                items.append(each)
        if self._wanted and (items or not batch):
            self._pane.note("")  # the first lines are there, or there are none
        self._pane.add(items)
