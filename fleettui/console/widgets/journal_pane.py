"""The journal pane: what its keys do while it has the focus. What it shows is drawn by `journal_face`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import Input

from fleettui.console.journal.buffer import CAPACITY
from fleettui.console.journal.filters import EVERYTHING, next_priority, parse_since
from fleettui.console.journal.formatter import Times
from fleettui.console.journal.sources import Ask, Item, Remark, stem
from fleettui.console.sources import journal_saving as saving
from fleettui.console.text.cells import Tone
from fleettui.console.text.formatting import counted
from fleettui.console.text.keys import JOURNAL
from fleettui.console.widgets.drawing import bound
from fleettui.console.widgets.journal_face import JournalFace
from registry.errors import FleetError, UserError

BOOTS = ("", "0", "-1")
TIMES = tuple(Times)
LEAST_HEIGHT = 5


class JournalPane(JournalFace):
    """Lines that somebody else reads, to move in, narrow, search, open, copy and save."""

    BINDINGS: ClassVar[list[BindingType]] = bound(JOURNAL)

    class Left(Message):
        """Esc, and nothing was left to undo."""

    class Opened(Message):
        """An entry's fields are to be shown."""

        def __init__(self, fields: Mapping[str, str]) -> None:
            self.fields = fields
            super().__init__()

    # Terms

    def _narrow(self, **changes: object) -> None:
        self._apply(narrowing=replace(self._terms.narrowing, **changes))  # type: ignore[arg-type]

    def _ordered(self, kind: str, *, on: bool) -> None:
        self._order = [each for each in self._order if each != kind] + ([kind] if on else [])

    def _look(self, **changes: object) -> None:
        self._apply(look=replace(self._terms.look, **changes))  # type: ignore[arg-type]

    def _requery(self, kind: str, ask: Ask, *, on: bool) -> None:
        self.ask = ask
        self._ordered(kind, on=on)
        if self.reads:
            self.reads.again()
        self._tell()

    # Keys

    def action_ask(self, kind: str) -> None:
        """Open the line to type in."""
        if self._prompt.kind:
            return
        narrowing = self._terms.narrowing
        whose = "-".join(stem(each.unit) or each.machine.hostname for each in self._terms.wanted[:2])
        text = {
            "search": self._terms.search,
            "include": narrowing.include,
            "exclude": narrowing.exclude,
            "since": self._since,
            "save": saving.default_name(whose or "lines", self.clock()),
        }[kind]
        self._before = (self._terms, self.lines.following)
        self._over = ""
        self._prompt.open(kind, text)

    @on(Input.Changed, "#journal-answer")
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        kind = self._prompt.kind
        try:
            if kind == "search":
                self._apply(search=event.value)
                self.lines.nearest_hit()
                self._tell_hits()
            elif kind in ("include", "exclude"):
                self._narrow(**{kind: event.value.strip()})
                self._prompt.say("")
            elif kind == "since" and event.value.strip():
                moment = datetime.fromtimestamp(parse_since(event.value, self._now()))  # noqa: DTZ006 - local, to show
                self._prompt.say(f"= {moment:%Y-%m-%d %H:%M:%S}")
            elif kind:
                self._prompt.say("")
        except UserError as error:
            self._prompt.say(str(error), Tone.BAD)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock()).astimezone()

    @on(Input.Submitted, "#journal-answer")
    async def _answered(self, event: Input.Submitted) -> None:
        event.stop()
        kind, text = self._prompt.kind, event.value.strip()
        try:
            await self._take(kind, event.value if kind == "search" else text)
        except saving.Exists as error:
            self._over = text
            self._prompt.say(str(error), Tone.BUSY)
        except UserError as error:
            self._prompt.say(str(error), Tone.BAD)
        else:
            self._close()

    async def _take(self, kind: str, text: str) -> None:
        """Keep the answer. UserError for one that cannot be."""
        if kind == "search":
            self._apply(search=text)
            self._ordered(kind, on=bool(text))
        elif kind in ("include", "exclude"):
            self._narrow(**{kind: text})
            self._ordered(kind, on=bool(text))
        elif kind == "since":
            since = parse_since(text, self._now()) if text else None
            self._since = text
            ask = replace(self.ask, since=since, lines=Ask().lines if since is None else CAPACITY)
            self._requery(kind, ask, on=bool(text))
        elif kind == "save":
            await self._save(Path(text))

    async def _save(self, path: Path) -> None:
        if not self.saves:
            raise UserError("a read-only console in a browser writes no file")
        if not str(path).strip("."):
            raise UserError("no file is named; type a name")
        lines = self.lines.book.plain()
        over = bool(self._over) and self._over == str(path)
        written = await asyncio.to_thread(saving.save, path, lines, over=over)
        self.say(f"saved {counted(len(lines), 'line')} to {written}", Tone.GOOD)

    def _close(self) -> None:
        said = self._said
        self._prompt.close()
        self.lines.focus()
        self._said = said
        self._tell()

    def _cancel(self) -> None:
        """Close the line to type in; all is as it was before."""
        terms, following = self._before
        kind = self._prompt.kind
        self._prompt.close()
        self.lines.focus()
        if kind in ("search", "include", "exclude") and terms != self._terms:
            self._apply(search=terms.search, narrowing=terms.narrowing)
        if following:
            self.lines.action_resume()
        self._tell()

    def action_hit(self, step: int) -> None:
        """To the next hit of the search, or the one before."""
        if not self._terms.search:
            self.say("nothing is searched for; / searches", Tone.BUSY)
        elif not self.lines.next_hit(step):
            self.say(f"nothing found for {self._terms.search}", Tone.BUSY)

    def action_priority(self) -> None:
        """Everything, notices and worse, warnings, errors, critical."""
        priority = next_priority(self._terms.narrowing.priority)
        self._narrow(priority=priority)
        self._ordered("priority", on=priority != EVERYTHING.priority)

    def action_boot(self) -> None:
        """All boots, this one, the one before."""
        boot = BOOTS[(BOOTS.index(self.ask.boot) + 1) % len(BOOTS)]
        self._requery("boot", replace(self.ask, boot=boot), on=bool(boot))

    def action_wrap(self) -> None:
        """Long lines in several rows, or cut."""
        self.lines.left = 0
        self._look(wrap=not self._terms.look.wrap)
        self.say(
            "long lines are wrapped" if self._terms.look.wrap else "long lines are cut; ← and → move to the side"
        )

    def action_times(self) -> None:
        """The next way of writing the time."""
        times = TIMES[(TIMES.index(self._terms.look.times) + 1) % len(TIMES)]
        self._look(times=times)
        self.say(f"time: {times}")

    async def action_fields(self) -> None:
        """All that the journal knows of the line under the cursor."""
        if self._prompt.kind:
            return
        item = self.lines.current
        if item is None or isinstance(item, Remark) or self.reads is None:
            self.say("this line is the console's own" if item else "there is no line", Tone.BUSY)
            return
        self.say("asking for the fields …")
        self.run_worker(self._open_fields(item), name="journal fields", exit_on_error=False, exclusive=True,
                        group="fields")  # fmt: skip

    async def _open_fields(self, item: Item) -> None:
        assert self.reads is not None  # noqa: S101 - by the caller
        try:
            fields = await self.reads.fields(item)
        except FleetError as error:
            self.say(str(error), Tone.BAD)
            return
        self.say("")
        self.post_message(self.Opened(fields))

    def action_copy(self) -> None:
        """Copy what is selected, or the line under the cursor."""
        text = self.screen.get_selected_text()
        item = self.lines.current
        if not text and item is not None:
            text = self.lines.book.view.scribe.plain(item)
        if text:
            self.app.copy_to_clipboard(text)
            self.say(f"copied {counted(text.count(chr(10)) + 1, 'line')}", Tone.GOOD)

    def action_zoom(self) -> None:
        """Over the whole screen, or docked again."""
        self.zoomed = not self.zoomed
        if self.zoomed:
            self._docked_height = self.styles.height
        for sibling in self.parent.children if self.parent else ():
            if sibling.id == "views":
                sibling.display = not self.zoomed
        self.styles.height = "1fr" if self.zoomed else self._docked_height

    def action_grow(self, rows: int) -> None:
        """Taller or shorter."""
        if self.zoomed:
            self.action_zoom()
        room = self.parent.size.height if self.parent else self.size.height  # type: ignore[attr-defined]
        self.styles.height = max(LEAST_HEIGHT, min(self.size.height + rows, room - 10))

    def action_back(self) -> None:
        """One thing less: the line to type in, the last narrowing, the whole screen; then the focus goes."""
        if self._prompt.kind:
            self._cancel()
        elif self._order:
            self._undo(self._order.pop())
        elif self.zoomed:
            self.action_zoom()
        else:
            self.post_message(self.Left())

    def _undo(self, kind: str) -> None:
        if kind == "search":
            self._apply(search="")
        elif kind in ("include", "exclude"):
            self._narrow(**{kind: ""})
        elif kind == "priority":
            self._narrow(priority=EVERYTHING.priority)
        elif kind == "since":
            self._since = ""
            self._requery(kind, replace(self.ask, since=None, lines=Ask().lines), on=False)
        elif kind == "boot":
            self._requery(kind, replace(self.ask, boot=""), on=False)
        self._tell()
