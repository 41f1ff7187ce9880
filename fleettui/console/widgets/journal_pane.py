"""The journal pane: title, what narrows it, the lines, the line to type in; its keys, while it has the focus.

It shows what somebody else reads (`JournalReader`), and asks that reader for other lines and for an entry's fields.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Protocol

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.css.scalar import Scalar
from textual.message import Message
from textual.widgets import Input

from fleettui.console.bindings import bound
from fleettui.console.cells import Cell, Line, Tone
from fleettui.console.journal import saving
from fleettui.console.journal.book import CAPACITY, Terms
from fleettui.console.journal.narrowing import Narrowing, next_priority
from fleettui.console.journal.scribe import Times, wrapped
from fleettui.console.journal.since import parse_since
from fleettui.console.journal.sources import Ask, Item, Remark, Wanted, hosts_of, stem
from fleettui.console.journal.title import Narrowed, Status, narrowed_cells, source_cells, status_cells, told_hits
from fleettui.console.keys import BY_ID, JOURNAL, Key, shown_key
from fleettui.console.phrases import counted
from fleettui.console.widgets.band import Band
from fleettui.console.widgets.journal_lines import JournalLines
from fleettui.console.widgets.journal_prompt import JournalPrompt
from fleettui.console.widgets.toned import width_of
from fleettui.escape import escape
from registry.errors import FleetError, UserError

BOOTS = ("", "0", "-1")
TIMES = tuple(Times)
LEAST_HEIGHT = 5
FOOTER = ("journal_search", "journal_include", "journal_exclude", "journal_priority", "journal_since",
          "journal_boot", "journal_fields", "journal_copy", "journal_wrap", "journal_times", "journal_zoom",
          "journal_save", "journal_next", "journal_back", "help")  # fmt: skip


class Reads(Protocol):
    """Who reads for the pane."""

    def again(self) -> None:
        """Read anew, by what the pane asks for now."""

    async def fields(self, item: Item) -> Mapping[str, str]:
        """All fields of an entry. Raises FleetError."""


class JournalPane(Vertical):
    """Shows lines that somebody else reads."""

    DEFAULT_CSS = """
    JournalPane { height: 40%; min-height: 4; background: $surface; }
    JournalPane #journal-terms { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = bound(JOURNAL)

    class Left(Message):
        """Esc, and nothing was left to undo."""

    class Focused(Message):
        """The focus came or went: the footer may differ."""

    class Opened(Message):
        """An entry's fields are to be shown."""

        def __init__(self, fields: Mapping[str, str]) -> None:
            self.fields = fields
            super().__init__()

    def __init__(self, *, id: str, clock: Callable[[], float] = time.time) -> None:  # noqa: A002
        super().__init__(id=id)
        self.clock = clock
        self.ask = Ask()
        self.reads: Reads | None = None
        self.zoomed = False
        self._docked_height: Scalar | None = None
        self._terms = Terms()
        self._since = ""  # as it was typed
        self._order: list[str] = []  # what narrows, in the order in which it came
        self._note, self._why = "", ""
        self._troubles: dict[str, str] = {}
        self._said: Line = ()
        self._over = ""  # the file that a second Enter writes over
        self._before: tuple[Terms, bool] = (self._terms, True)  # when the prompt was opened

    def compose(self) -> ComposeResult:
        """Title, what narrows, lines, prompt."""
        yield Band(id="journal-title", padding=0)
        yield Band(id="journal-terms")
        yield JournalLines(id="journal-lines")
        yield JournalPrompt(id="journal-prompt")

    @property
    def lines(self) -> JournalLines:
        """The lines."""
        return self.query_one("#journal-lines", JournalLines)

    @property
    def _prompt(self) -> JournalPrompt:
        return self.query_one(JournalPrompt)

    # What the reader says

    def begin(self, wanted: Sequence[Wanted], note: str = "", why: str = "") -> None:
        """Start over for another selection; `note` says how it goes, `why` that there is nothing to read."""
        self._terms = replace(self._terms, wanted=tuple(wanted))
        self._troubles.clear()
        self._note, self._why, self._said = note, why, ()
        self.lines.wipe()
        self.lines.apply(self._terms)
        self._tell()

    def retarget(self, wanted: Sequence[Wanted]) -> None:
        """The same units on other machines: earlier lines keep their sources' names and colours."""
        known = {each.key: each for each in (*self._terms.wanted, *wanted)}
        for gone in self._troubles.keys() - {each.machine.hostname for each in wanted}:
            del self._troubles[gone]
        if tuple(known.values()) != self._terms.wanted:
            self._apply(wanted=tuple(known.values()))
        self._tell()

    def note(self, note: str, why: str = "") -> None:
        """Say how it goes, instead of the counts."""
        if (note, why) != (self._note, self._why):
            self._note, self._why = note, why
            self._tell()

    def trouble(self, hostname: str, reason: str) -> None:
        """A machine cannot be read, or (without a reason) can again."""
        if reason:
            self._troubles[hostname] = reason
        else:
            self._troubles.pop(hostname, None)
        self._tell()

    def add(self, items: Sequence[Item]) -> None:
        """More lines."""
        self.lines.add(items)

    # What is said above the lines

    @on(JournalLines.Changed)
    def _changed(self, message: JournalLines.Changed) -> None:
        message.stop()
        self._tell()

    def on_resize(self) -> None:
        """The rule is as long as the pane is wide, and so are wrapped lines."""
        width = max(1, self.size.width - 3)
        if width != self._terms.look.width:
            self._apply(look=replace(self._terms.look, width=width))
        self._tell()

    def on_descendant_focus(self) -> None:
        """The title shows the focus."""
        self._tell()
        self.post_message(self.Focused())

    def on_descendant_blur(self) -> None:
        """The title shows the focus."""
        self._tell()
        self.post_message(self.Focused())

    @property
    def has_the_focus(self) -> bool:
        """Whether its keys work."""
        return self.has_focus_within

    def status(self) -> Status:
        """How it goes."""
        lines, book = self.lines, self.lines.book
        trouble = f"{escape(next(iter(self._troubles)))} lost, trying again" if self._troubles else ""
        if len(self._troubles) > 1:
            trouble = f"{len(self._troubles)} machines lost, trying again"
        return Status(lines.following, lines.unseen, len(book.ring), book.warnings, book.dropped, trouble,
                      self._note, lines.working)  # fmt: skip

    def narrowed(self) -> Narrowed:
        """What narrows it."""
        book, lines = self.lines.book, self.lines
        return Narrowed(self._terms.narrowing, self._since, self.ask.boot, self._terms.search, book.hidden,
                        lines.hit, len(book.view.hits))  # fmt: skip

    def _tell(self) -> None:
        if not self.is_mounted or not self.size.width:
            return
        self._tell_title()
        narrowed = narrowed_cells(self.narrowed())
        line = self._said or narrowed
        right = (Cell("Esc undoes the last", Tone.QUIET),) if narrowed and not self._said else ()
        shown = [(line, right)] if line else []
        self.query_one("#journal-terms", Band).put(*shown)
        self.lines.put_notice(self._notice())
        if self._prompt.kind == "search":
            self._tell_hits()

    def _tell_title(self) -> None:
        width = self.size.width
        focus = self.has_the_focus
        whose = source_cells(self._terms.wanted, max(12, width // 2 - 10))
        name: Line = (Cell(" journal  ", Tone.HEAD if focus else Tone.STRONG), *whose, Cell(" "))
        used = sum(width_of(cell.text) for cell in name)
        right = status_cells(self.status(), width - used - 6)
        rule = max(0, width - used - sum(width_of(cell.text) for cell in right) - 3)
        line = Tone.HEAD if focus else Tone.QUIET
        left: Line = (Cell("─", line), *name, Cell("─" * rule, line))
        self.query_one("#journal-title", Band).put((left, (*right, Cell("──", line))))

    def _notice(self) -> list[Line]:
        """What stands where lines would be."""
        book = self.lines.book
        if self._why or (self._note and not len(book.ring)):
            told = [self._why or self._note]
        elif self._troubles and not len(book.ring):
            told = [f"{host}: {reason}; trying again" for host, reason in self._troubles.items()]
        elif len(book.ring):
            told = [f"{counted(book.hidden, 'line')} hidden by the filters; Esc takes the last filter away"]
        else:
            where = " of this boot" * (self.ask.boot == "0") + " of the boot before" * (self.ask.boot == "-1")
            told = [f"no line{where}{f' since {self._since}' if self._since else ''} yet; what comes is shown here"]
        room = max(20, self.size.width - 6)
        return [
            (),
            *((Cell(f"  {piece}", Tone.QUIET),) for each in told for piece in wrapped(each, room, words=True)),
        ]

    def footer_keys(self, width: int, keymap: Mapping[str, str]) -> tuple[Key, ...]:
        """The pane's keys that fit, the most needed first."""
        costs = {name: len(shown_key(BY_ID[name], keymap)) + len(BY_ID[name].label) + 3 for name in FOOTER}
        width -= costs["help"]
        found: list[Key] = []
        for name in FOOTER[:-1]:
            if costs[name] <= width:
                found.append(BY_ID[name])
                width -= costs[name]
        return (*found, BY_ID["help"])

    def action_help(self) -> None:
        """The page of all keys, from the footer."""
        self.run_worker(self.screen.run_action("help"), name="help", exit_on_error=False)

    def say(self, text: str, tone: Tone = Tone.PLAIN) -> None:
        """Say something until the next key."""
        self._said = (Cell(escape(text), tone),) if text else ()
        self._tell()

    def on_key(self) -> None:
        """What was said has been read."""
        if self._said:
            self.say("")

    # Terms

    def _apply(self, **changes: object) -> None:
        """Show by other terms. UserError for terms that cannot be."""
        terms = replace(self._terms, **changes)  # type: ignore[arg-type]
        self.lines.apply(terms)
        self._terms = terms

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

    def _tell_hits(self) -> None:
        book = self.lines.book
        said = told_hits(self.lines.hit, len(book.view.hits)) if self._terms.search else ""
        self._prompt.say(said, Tone.PLAIN if len(book.view.hits) else Tone.BUSY)

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
        self._ordered("priority", on=priority != Narrowing().priority)

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
            self._narrow(priority=Narrowing().priority)
        elif kind == "since":
            self._since = ""
            self._requery(kind, replace(self.ask, since=None, lines=Ask().lines), on=False)
        elif kind == "boot":
            self._requery(kind, replace(self.ask, boot=""), on=False)
        self._tell()


def connecting(wanted: Sequence[Wanted]) -> str:
    """What is said until the first lines come."""
    return f"connecting to {hosts_of(wanted)} …"
