"""Reads the journal of whatever is selected into the pane: one task, replaced when the selection is another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

from textual.worker import Worker

from fleettui.console.cells import Line, Tone
from fleettui.console.journal import Journals, Remark, Scribe, Wanted, remark_line, stem
from fleettui.console.widgets.journal_pane import JournalPane
from fleettui.escape import escape
from registry.errors import FleetError

FIRST_LINES = 200
SETTLE_S = 0.12  # a cursor that runs over rows opens no journal on its way

Identity = tuple[tuple[str, str, str], ...]


class JournalReader:
    """Owns what the pane shows. `want` may be called as often as the selection moves."""

    def __init__(self, journals: Journals, pane: JournalPane) -> None:
        self._journals, self._pane = journals, pane
        self._worker: Worker[None] | None = None
        self._identity: Identity | None = None

    def want(self, wanted: Sequence[Wanted], why_none: str) -> None:
        """Show these journals; with none of them, say why."""
        identity = tuple((each.machine.id, each.machine.address, each.unit) for each in wanted) or (
            (why_none,) * 3,
        )
        if identity == self._identity:
            return
        self._identity = identity
        self._cancel()
        if not wanted:
            self._pane.begin("", why_none)
            return
        self._pane.begin(heading(wanted), f"connecting to {_hosts(wanted)} …")
        # A worker of the pane: it ends with the screen, however that ends.
        self._worker = self._pane.run_worker(self._read(wanted), name="read the journal", exit_on_error=False)

    def stop(self) -> None:
        """Read no more; the next `want` begins anew."""
        self._identity = None
        self._cancel()

    def _cancel(self) -> None:
        if self._worker:
            self._worker.cancel()
            self._worker = None

    async def _read(self, wanted: Sequence[Wanted]) -> None:
        await asyncio.sleep(SETTLE_S)
        scribe = Scribe(wanted)
        try:
            async with aclosing(self._journals.follow(wanted, FIRST_LINES)) as batches:
                async for batch in batches:
                    lines: list[Line] = []
                    for each in batch:
                        lines += [remark_line(each)] if isinstance(each, Remark) else scribe.lines(each)
                    self._pane.note("")
                    self._pane.add(lines)
        except FleetError as error:
            self._pane.note("no journal", Tone.BAD)
            self._pane.add([remark_line(Remark(str(error)))])


def heading(wanted: Sequence[Wanted]) -> str:
    """Whose journal it is."""
    units = list(dict.fromkeys(stem(each.unit) or "everything" for each in wanted))
    names = ", ".join(units[:3]) + (f" and {len(units) - 3} more" if len(units) > 3 else "")
    return escape(f"{names} · {_hosts(wanted)}")


def _hosts(wanted: Sequence[Wanted]) -> str:
    hosts = sorted({each.machine.hostname for each in wanted})
    return escape(", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if len(hosts) > 3 else ""))
