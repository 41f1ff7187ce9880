"""The journal pane: title, what narrows it, the lines, the line to type in, and what its keys do.

It shows what a `JournalReader` reads, and asks that reader for other lines and for an entry's fields.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.events import DescendantBlur, DescendantFocus
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input
from textual.worker import Worker, WorkerState

from fleettui.console.journal.buffer import CAPACITY, Terms
from fleettui.console.journal.filters import ALL_PRIORITIES, next_priority, parse_period
from fleettui.console.journal.formatter import Times
from fleettui.console.journal.sources import Ask, Item, Remark, Wanted, hosts_of, stem
from fleettui.console.journal.title import (
    JournalStatus,
    Narrowed,
    hits_text,
    narrowed_cells,
    notice_lines,
    title_line,
    trouble_text,
)
from fleettui.console.sources import journal_saving as saving
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import counted
from fleettui.console.text.keys import JOURNAL
from fleettui.console.widgets.drawing import Band, bound
from fleettui.console.widgets.journal_lines import JournalLines
from fleettui.console.widgets.prompt import OrderedInput
from fleettui.escape import escape
from registry.errors import FleetError, UserError

BOOTS = ("", "0", "-1")
TIMES = tuple(Times)
LEAST_HEIGHT = 5
REMEMBERED = 100  # selections whose narrowing is remembered
NOTHING: dict[str, Any] = {  # what each of what narrows the journal is while it does not
    "search": "", "include": "", "exclude": "", "priority": ALL_PRIORITIES, "since": "", "boot": "",
}  # fmt: skip
QUESTIONS = {
    "search": ("search", "words as they stand, or a regular expression; n and N go on"),
    "include": ("only lines with", "all of these words, or a regular expression; empty shows all"),
    "exclude": ("lines without", "any of these words, or a regular expression; empty shows all"),
    "since": ("since", "-1h, 10 minutes ago, 10:30, 10:30..10:40, yesterday, 2026-11-23 10:00; empty: the newest"),
    "save": ("save to", "a file that only you can read"),
}


class Reads(Protocol):
    """What reads for the pane."""

    def again(self) -> None:
        """Read from the beginning, by what the pane asks for now."""

    async def fields(self, item: Item) -> Mapping[str, str]:
        """All fields of an entry. Raises FleetError."""


class ReadsPast(Protocol):
    """What reads and searches beyond the lines that are kept."""

    scanning: str

    def cancel(self) -> bool:
        """End what is being read; False when nothing is."""

    def scan(self, *, go: bool = True) -> None:
        """Search everything for what the pane searches for."""

    def stop_scan(self) -> None:
        """Search no more."""

    def outside(self) -> tuple[int, int]:
        """How many lines were found before those that are kept, and after."""

    def target(self, step: int) -> tuple[int, str, str] | None:
        """The next line that was found outside: a newer one (1), or an older one (-1)."""

    def go_to(self, found: tuple[int, str, str]) -> None:
        """Show that part of the past."""


class PaneRoom:
    """How much of the screen the pane takes: docked below a table, zoomed over it, or a detail's whole page."""

    def __init__(self, pane: Widget) -> None:
        self.zoomed = self.whole = False
        self._pane = pane
        self._chosen: int | None = None  # its height while it is docked, if its reader has chosen one

    def fill(self, *, whole: bool) -> None:
        """Take the whole height, above which nothing else is shown; or be docked again."""
        self.whole = whole
        if self.zoomed:
            self.zoom()
        self.fit()

    def zoom(self) -> None:
        """Over the whole screen, or docked again."""
        self.zoomed = not self.zoomed
        for sibling in self._pane.parent.children if self._pane.parent else ():
            if sibling.id == "views":
                sibling.display = not self.zoomed
        self.fit()

    def grow(self, rows: int) -> None:
        """Taller by so many rows; shorter by as many where they are negative."""
        if self.zoomed:
            self.zoom()
        self._chosen = self._within(self._pane.size.height + rows)
        self.fit()

    def fit(self) -> None:
        """Take no more than the screen has by now."""
        chosen, alone = self._chosen, self.zoomed or self.whole
        self._pane.set_class(alone, "alone")
        self._pane.styles.height = "1fr" if alone else chosen and self._within(chosen)

    def _within(self, height: int) -> int:
        rows = self._pane.screen.size.height
        return max(min(LEAST_HEIGHT, rows * 2 // 5), min(height, rows - 10))


class JournalPane(Vertical):
    """Lines that a reader reads, to move in, narrow, search, open, copy and save."""

    BLANK = True  # filled by its parts: not looked for borders at each frame
    DEFAULT_CSS = """
    JournalPane { height: 40%; min-height: 3; background: $surface; }
    JournalPane #journal-terms { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = bound(JOURNAL)

    class Focused(Message):
        """The focus came or went: the footer may differ."""

    class Released(Message):
        """Esc, and nothing was left to undo."""

    class FieldsRead(Message):
        """An entry's fields are to be shown."""

        def __init__(self, fields: Mapping[str, str]) -> None:
            self.fields = fields
            super().__init__()

    def __init__(self, *, id: str, clock: Callable[[], float] = time.time, saves: bool = True) -> None:  # noqa: A002
        super().__init__(id=id)
        self.clock, self.saves = clock, saves
        self.ask, self.terms = Ask(), Terms()
        self.lines = JournalLines(id="journal-lines")
        self.prompt = JournalPrompt(self, id="journal-prompt")
        self.since = ""  # as it was typed
        self.reads: Reads | None = None
        self.past: ReadsPast | None = None
        self.doing = ""  # what is being done, instead of counts
        self.open_pager: Callable[[str, str], None] = lambda _name, _text: None
        self.room = PaneRoom(self)
        self._order: list[str] = []  # what narrows, in the order in which it came
        self.unread = ""  # what is wanted and not read, in words
        self._subject: Hashable = None
        self._narrowings: dict[Hashable, tuple[Terms, Ask, str, list[str]]] = {}  # of other selections
        self._note, self._why = "", ""
        self._troubles: dict[str, str] = {}
        self._said: Line = ()

    def compose(self) -> ComposeResult:
        """Title, what narrows, lines, prompt."""
        yield Band(id="journal-title", padding=0)
        yield Band(id="journal-terms")
        yield self.lines
        yield self.prompt

    # What the reader says

    def begin(self, wanted: Sequence[Wanted], note: str = "", why: str = "") -> None:
        """Start over for another selection; `note` says how it goes, `why` that there is nothing to read."""
        self.terms = replace(self.terms, wanted=tuple(wanted))
        self._troubles.clear()
        self._note, self._why, self._said = note, why, ()
        self.lines.wipe()
        self.lines.apply(self.terms)
        self.show()

    def turn_to(self, subject: Hashable) -> None:
        """Show another selection: what narrowed the last one is taken away, and holds again when that is back."""
        if self._order:
            self._narrowings.pop(self._subject, None)
            self._narrowings[self._subject] = (self.terms, self.ask, self.since, self._order)
            while len(self._narrowings) > REMEMBERED:
                del self._narrowings[next(iter(self._narrowings))]
        else:
            self._narrowings.pop(self._subject, None)
        self._subject = subject
        terms, self.ask, self.since, self._order = self._narrowings.get(subject, (Terms(), Ask(), "", []))
        self.terms = replace(self.terms, narrowing=terms.narrowing, search=terms.search)

    def retarget(self, wanted: Sequence[Wanted]) -> None:
        """The same units on other machines: earlier lines keep their sources' names and colours."""
        known = {each.key: each for each in (*self.terms.wanted, *wanted)}
        for gone in self._troubles.keys() - {each.machine.hostname for each in wanted}:
            del self._troubles[gone]
        if tuple(known.values()) != self.terms.wanted:
            self.apply(wanted=tuple(known.values()))
        self.show()

    def note(self, note: str, why: str = "") -> None:
        """Say how it goes, instead of the counts."""
        if (note, why) != (self._note, self._why):
            self._note, self._why = note, why
            self.show()

    def trouble(self, hostname: str, reason: str) -> None:
        """A machine cannot be read, or (without a reason) can again."""
        if reason:
            self._troubles[hostname] = reason
        else:
            self._troubles.pop(hostname, None)
        self.show()

    def add(self, items: Sequence[Item]) -> None:
        """More lines."""
        self.lines.add(items)

    @on(Worker.StateChanged)
    def _worker_changed(self, event: Worker.StateChanged) -> None:
        """Report a task that broke: what is shown is no longer live."""
        if event.state is WorkerState.ERROR:
            told = f"{event.worker.name} broke ({type(event.worker.error).__name__}: {event.worker.error})"
            self.note("no longer live", escape(f"{told}; select it again, and report it"))
            self.add([Remark(f"{told}; select it again, and report it")])

    # What narrows it

    def apply(self, **changes: object) -> None:
        """Show by other terms. UserError for terms that are not valid."""
        terms = replace(self.terms, **changes)  # type: ignore[arg-type]
        self.lines.apply(terms)
        self.terms = terms

    def narrow(self, kind: str, value: Any, *, keep: bool = True) -> None:  # noqa: ANN401 - as NOTHING has them
        """Set one of the filters; with `keep` it can be undone. UserError for a value that is not valid."""
        if self.past:
            self.past.stop_scan()
        if kind == "search":
            self.apply(search=value)
        elif kind in ("include", "exclude", "priority"):
            self.apply(narrowing=replace(self.terms.narrowing, **{kind: value}))
        else:
            if kind == "boot":
                self.ask = replace(self.ask, boot=value)
            else:
                since, until = parse_period(value, self.now()) if value else (None, None)
                self.since = value
                lines = Ask().lines if since is None else CAPACITY
                self.ask = replace(self.ask, since=since, until=until, lines=lines)
            if self.reads:
                self.reads.again()
        if keep:
            self._order = [each for each in self._order if each != kind] + [kind] * (value != NOTHING[kind])
            if self.past and kind not in ("since", "boot"):
                self.past.scan()
        self.show()

    def now(self) -> datetime:
        """The time, in the reader's zone."""
        return datetime.fromtimestamp(self.clock()).astimezone()

    # What is said above the lines

    @on(JournalLines.Changed)
    def show(self) -> None:
        """Say above the lines whose journal it is, how it goes and what narrows it."""
        if not self.is_mounted or not self.size.width:
            return
        lines, place, buffer, width = self.lines, self.lines.place, self.lines.buffer, self.size.width
        before, after = self.past.outside() if self.past else (0, 0)
        hits = before + len(buffer.view.hits) + after
        hit = before + place.hit if place.hit else 0
        dropped = buffer.dropped + (
            0 if place.detached else place.missed
        )  # what is shown of the past drops nothing
        status = JournalStatus(
            place.following, place.unseen, len(buffer.ring), buffer.warnings, dropped,
            trouble_text(self._troubles), self._note, self.doing or ("working …" if lines.working else ""),
            place.detached, self.ask.until is not None,
        )  # fmt: skip
        title = title_line(self.terms.wanted, status, width, focus=self.has_focus_within)
        self.query_one("#journal-title", Band).put(title)
        narrowed = narrowed_cells(
            Narrowed(
                self.terms.narrowing,
                self.since,
                self.ask.boot,
                self.terms.search,
                buffer.hidden,
                hit,
                hits,
                self.unread,
                self.past.scanning if self.past else "",
            )
        )
        line = self._said or narrowed
        right = (Cell("Esc undoes the last", Tone.QUIET),) if self._order and not self._said else ()
        self.query_one("#journal-terms", Band).put(*([(line, right)] if line else []))
        why = self._why or ("" if len(buffer.ring) else self._note)
        where = (self.ask.boot, self.since)
        lines.put_notice(notice_lines(why, self._troubles, len(buffer.ring), buffer.hidden, where, width - 6))
        if self.prompt.kind == "search":
            found = hits_text(hit, hits) if hits else "not in these lines; Enter searches all"
            said = found if self.terms.search else ""
            self.prompt.say(said, Tone.PLAIN if hits else Tone.BUSY)

    def on_resize(self) -> None:
        """The rule is as long as the pane is wide, and so are wrapped lines."""
        width = max(1, self.size.width - 3)
        if width != self.terms.line_format.width:
            self.apply(line_format=replace(self.terms.line_format, width=width))
        self.show()

    @on(DescendantFocus)
    @on(DescendantBlur)
    def _focus_moved(self) -> None:
        """The title shows the focus."""
        self.show()
        self.post_message(self.Focused())

    def say(self, text: str, tone: Tone = Tone.PLAIN) -> None:
        """Say something until the next key."""
        self._said = (Cell(escape(text), tone),) if text else ()
        self.show()

    def on_key(self) -> None:
        """Take the last message away: it has been read."""
        if self._said:
            self.say("")

    # Keys

    def action_help(self) -> None:
        """The page of all keys, from the footer."""
        self.run_worker(self.screen.run_action("help"), name="help", exit_on_error=False)

    def action_ask(self, kind: str) -> None:
        """Open the line to type in."""
        if not self.prompt.kind:
            self.prompt.ask(kind)

    def action_hit(self, step: int) -> None:
        """To the next hit of the search, or the one before."""
        if not self.terms.search:
            self.say("nothing is searched for; / searches", Tone.BUSY)
            return
        edge = self.past is not None and not self.lines.place.has_hit(step)
        if self.past and edge and (target := self.past.target(step)):
            self.past.go_to(target)
        elif self.past and edge and self.past.scanning == "scanning …" and step < 0:
            self.say("scanning …; N goes on when an older line is found", Tone.BUSY)
        elif not self.lines.go_to_hit(step):
            self.say(f"nothing found for {self.terms.search}", Tone.BUSY)

    def action_priority(self) -> None:
        """Everything, notices and worse, warnings, errors, critical."""
        self.narrow("priority", next_priority(self.terms.narrowing.priority))

    def action_boot(self) -> None:
        """All boots, this one, the one before."""
        self.narrow("boot", BOOTS[(BOOTS.index(self.ask.boot) + 1) % len(BOOTS)])

    def action_wrap(self) -> None:
        """Long lines in several rows, or cut."""
        self.lines.left = 0
        wrap = not self.terms.line_format.wrap
        self.apply(line_format=replace(self.terms.line_format, wrap=wrap))
        self.say("long lines are wrapped" if wrap else "long lines are cut; ← and → move to the side")

    def action_times(self) -> None:
        """The next way of writing the time."""
        times = TIMES[(TIMES.index(self.terms.line_format.times) + 1) % len(TIMES)]
        self.apply(line_format=replace(self.terms.line_format, times=times))
        self.say(f"time: {times}")

    async def action_fields(self) -> None:
        """All that the journal knows of the line under the cursor."""
        item, reads = self.lines.place.current, self.reads
        if self.prompt.kind:
            return
        if item is None or isinstance(item, Remark) or reads is None:
            self.say("this line is the console's own" if item else "there is no line", Tone.BUSY)
            return

        async def read() -> None:
            try:
                fields = await reads.fields(item)
            except FleetError as error:
                self.say(str(error), Tone.BAD)
                return
            self.say("")
            self.post_message(self.FieldsRead(fields))

        self.say("asking for the fields …")
        self.run_worker(read(), name="journal fields", exit_on_error=False, exclusive=True, group="fields")

    def action_copy(self) -> None:
        """Copy what is selected, or the line under the cursor."""
        text = self.screen.get_selected_text()
        item = self.lines.place.current
        if not text and item is not None:
            text = self.lines.buffer.view.formatter.plain(item)
        if text:
            self.app.copy_to_clipboard(text)
            self.say(f"copied {counted(text.count(chr(10)) + 1, 'line')}", Tone.GOOD)

    def action_pager(self) -> None:
        """Open the shown lines in a pager."""
        text = "\n".join(self.lines.buffer.plain())
        if text:
            self.open_pager("journal.log", text + "\n")
        else:
            self.say("there is no line", Tone.BUSY)

    def action_zoom(self) -> None:
        """Over the whole screen, or docked again."""
        self.room.zoom()

    def action_grow(self, rows: int) -> None:
        """Taller or shorter."""
        if self.room.whole:
            self.say("it has the whole screen", Tone.BUSY)
        else:
            self.room.grow(rows)

    def action_back(self) -> None:
        """Undo one thing: the line to type in, the last filter, the whole screen; then the focus goes."""
        if self.prompt.kind:
            self.prompt.cancel()
        elif self.past and self.past.cancel():
            pass
        elif self._order:
            self.narrow(self._order[-1], NOTHING[self._order[-1]])
        elif self.room.zoomed:
            self.action_zoom()
        else:
            self.post_message(self.Released())


class JournalPrompt(Vertical):
    """The line in which search, filters, moment and file name are typed; what is wrong with it is said at once.

    `kind` is what is asked for, "" while it is closed.
    """

    DEFAULT_CSS = """
    JournalPrompt { height: 2; display: none; }
    #journal-answer { height: 1; border: none; padding: 0 1; background: $bar; }
    """

    def __init__(self, pane: JournalPane, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self.kind = ""
        self._pane = pane
        self._over = ""  # the file that a second Enter writes over
        self._before = (pane.terms, True)  # what the pane showed when this was opened, and whether it followed

    def compose(self) -> ComposeResult:
        """The question and the line."""
        yield Band(id="journal-question")
        yield OrderedInput(id="journal-answer")

    @property
    def text(self) -> str:
        """What is typed."""
        return self.query_one(Input).value

    def ask(self, kind: str) -> None:
        """Open the line for one of the questions, with what holds now."""
        pane = self._pane
        whose = "-".join(stem(each.unit) or each.machine.hostname for each in pane.terms.wanted[:2])
        text = {
            "search": pane.terms.search,
            "include": pane.terms.narrowing.include,
            "exclude": pane.terms.narrowing.exclude,
            "since": pane.since,
            "save": saving.default_name(whose or "lines", pane.clock()),
        }[kind]
        self._before, self._over = (pane.terms, pane.lines.place.following), ""
        self.kind = kind
        self.display = True
        field = self.query_one(Input)
        field.cursor_blink = False
        with self.prevent(Input.Changed):
            field.value = text
        field.cursor_position = len(text)
        self.screen.set_focus(field)  # at once: what is typed next may be there already
        self.say("")

    def say(self, text: str, tone: Tone = Tone.QUIET) -> None:
        """What is wrong with it, or what it means; with nothing to say, what may be written."""
        question, about = QUESTIONS[self.kind]
        right = (Cell(text, tone),) if text else (Cell("Enter keeps, Esc undoes", Tone.QUIET),)
        room = max(0, self.size.width - 2 - len(question) - 2 - sum(len(cell.text) for cell in right) - 1)
        told = about if len(about) <= room else ""
        self.query_one("#journal-question", Band).put(
            ((Cell(question, Tone.HEAD), Cell(f"  {told}", Tone.QUIET)), right)
        )

    @on(Input.Changed, "#journal-answer")
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        pane, kind, said = self._pane, self.kind, ""
        try:
            if kind == "search":
                pane.narrow(kind, event.value, keep=False)
                pane.lines.go_to_hit(0)
                pane.show()
                return
            if kind in ("include", "exclude"):
                pane.narrow(kind, event.value.strip(), keep=False)
            elif kind == "since" and event.value.strip():
                period = parse_period(event.value, pane.now())
                shown = [f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}" if at else "" for at in period]  # noqa: DTZ006 - local, to show
                said = f"= {' to '.join(shown) if shown[1] else shown[0]}"
            if kind:
                self.say(said)
        except UserError as error:
            self.say(str(error), Tone.BAD)

    @on(Input.Submitted, "#journal-answer")
    async def _answered(self, event: Input.Submitted) -> None:
        event.stop()
        kind, text = self.kind, event.value.strip()
        try:
            if kind == "save":
                await self.save(Path(text))
            elif kind:
                self._pane.narrow(kind, event.value if kind == "search" else text)
        except UserError as error:
            exists = isinstance(error, saving.Exists)
            self._over = text if exists else self._over
            self.say(str(error), Tone.BUSY if exists else Tone.BAD)
            self.query_one(OrderedInput).take_back()
        else:
            self._close()

    async def save(self, path: Path) -> None:
        """Write the shown lines to a file. UserError says why it cannot be."""
        pane = self._pane
        if not pane.saves:
            raise UserError("a read-only console in a browser writes no file")
        if not str(path).strip("."):
            raise UserError("no file is named; type a name")
        lines = pane.lines.buffer.plain()
        over = bool(self._over) and self._over == str(path)
        written = await asyncio.to_thread(saving.save, path, lines, over=over)
        pane.say(f"saved {counted(len(lines), 'line')} to {written}", Tone.GOOD)

    def _close(self) -> None:
        self.kind = ""
        self.display = False
        self.screen.set_focus(self._pane.lines)
        self._pane.show()
        self.query_one(OrderedInput).pass_on()

    def cancel(self) -> None:
        """Close the line; all is as it was before."""
        pane, kind, (terms, following) = self._pane, self.kind, self._before
        if kind in ("search", "include", "exclude") and terms != pane.terms:
            pane.apply(search=terms.search, narrowing=terms.narrowing)
        if following:
            pane.lines.action_resume()
        self._close()


def connecting(wanted: Sequence[Wanted]) -> str:
    """What is said until the first lines come."""
    return f"connecting to {hosts_of(wanted)} …"
