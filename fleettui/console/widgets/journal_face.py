"""What the journal pane shows: title, what narrows it, the lines, and the line to type in.

It shows what somebody else reads (`JournalReader`), and asks that reader for other lines and for an entry's fields.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.css.scalar import Scalar
from textual.message import Message
from textual.worker import Worker, WorkerState

from fleettui.console.journal.buffer import Terms
from fleettui.console.journal.formatter import wrapped
from fleettui.console.journal.sources import Ask, Item, Remark, Wanted, hosts_of
from fleettui.console.journal.title import (
    JournalStatus,
    Narrowed,
    narrowed_cells,
    source_cells,
    status_cells,
    told_hits,
)
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import counted
from fleettui.console.text.keys import BY_ID, Key, shown_key
from fleettui.console.widgets.drawing import Band, width_of
from fleettui.console.widgets.journal_lines import JournalLines
from fleettui.console.widgets.journal_prompt import JournalPrompt
from fleettui.escape import clause, escape

FOOTER = ("journal_search", "journal_include", "journal_exclude", "journal_priority", "journal_since",
          "journal_fields", "journal_boot", "journal_copy", "journal_wrap", "journal_times", "journal_zoom",
          "journal_save", "journal_next", "journal_back", "help")  # fmt: skip


class Reads(Protocol):
    """Who reads for the pane."""

    def again(self) -> None:
        """Read anew, by what the pane asks for now."""

    async def fields(self, item: Item) -> Mapping[str, str]:
        """All fields of an entry. Raises FleetError."""


class JournalFace(Vertical):
    """Shows lines that somebody else reads, on the terms that `JournalPane` sets."""

    DEFAULT_CSS = """
    JournalFace { height: 40%; min-height: 4; background: $surface; }
    JournalFace #journal-terms { display: none; }
    """

    class Focused(Message):
        """The focus came or went: the footer may differ."""

    def __init__(self, *, id: str, clock: Callable[[], float] = time.time, saves: bool = True) -> None:  # noqa: A002
        super().__init__(id=id)
        self.clock, self.saves = clock, saves
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

    def _apply(self, **changes: object) -> None:
        """Show by other terms. UserError for terms that cannot be."""
        terms = replace(self._terms, **changes)  # type: ignore[arg-type]
        self.lines.apply(terms)
        self._terms = terms

    @on(Worker.StateChanged)
    def _worker_changed(self, event: Worker.StateChanged) -> None:
        """A task that broke is told: what is shown is no longer live."""
        if event.state is WorkerState.ERROR:
            told = f"{event.worker.name} broke ({type(event.worker.error).__name__}: {event.worker.error})"
            self.note("no longer live", escape(f"{told}; select it anew, and report it"))
            self.add([Remark(f"{told}; select it anew, and report it")])

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

    def status(self) -> JournalStatus:
        """How it goes."""
        lines, book = self.lines, self.lines.book
        trouble = ""
        for host, reason in self._troubles.items():
            how = "unreadable" if reason.startswith("cannot use") else "lost"
            trouble = f"{escape(host)} {how}, trying again"
        if len(self._troubles) > 1:
            trouble = f"{len(self._troubles)} machines lost, trying again"
        dropped = book.dropped + lines.missed
        counts = len(book.ring), book.warnings, dropped
        return JournalStatus(lines.following, lines.unseen, *counts, trouble, self._note, lines.working)

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

    def _tell_hits(self) -> None:
        book = self.lines.book
        said = told_hits(self.lines.hit, len(book.view.hits)) if self._terms.search else ""
        self._prompt.say(said, Tone.PLAIN if len(book.view.hits) else Tone.BUSY)

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
            told = [f"{host}: {clause(reason)}; trying again" for host, reason in self._troubles.items()]
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


def connecting(wanted: Sequence[Wanted]) -> str:
    """What is said until the first lines come."""
    return f"connecting to {hosts_of(wanted)} …"
