"""Submitting a unit: from a file, pasted, or from the editor.

While it is typed it says what is wrong, line by line, where the unit would go, and what the registry has under that
name; that is replaced only after it was compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.suggester import Suggester
from textual.widgets import Button, Input, TextArea

from fleettui.actions.disk import read_bytes
from fleettui.console.pages.detail import is_large
from fleettui.console.pages.review import Submission, Unsubmitted, comparison, forecast, taken, verdict
from fleettui.console.pages.rich_text import RichText
from fleettui.console.screens.text_screens import Background, Renewing
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.page import Page
from fleettui.console.widgets.prompt import OrderedInput, pass_on
from fleettui.escape import escape
from fleettui.userpath import expanded
from registry.errors import FleetError, UserError
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import Target
from registry.units.file import MAX_BYTES
from registry.units.name import TYPES, normalise, refusal

JUDGE_S = 0.15  # after the last key: a dry run looks at every machine
BUTTONS = {"inactive": ("Submit", "Replace"), "loaded": ("Load", "… and load"),
           "launched": ("Start", "… and start")}  # fmt: skip
Edit = Callable[[str, str], Awaitable[str]]


class PathSuggester(Suggester):
    """Completes paths: directories and unit files."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        """The first path that begins so."""
        return await asyncio.to_thread(suggestion, value)


def suggestion(value: str) -> str | None:
    """The first directory or unit file, in the order of names, whose path begins with `value`. Reads the disk."""
    head, slash, tail = value.rpartition("/")
    directory = expanded(f"{head}{slash}" or ".")
    try:
        found = sorted(each for each in directory.iterdir() if each.name.startswith(tail) and each.name != tail)
    except OSError:
        return None
    for each in found:
        if each.name.startswith(".") and not tail.startswith("."):
            continue
        if each.is_dir():
            return f"{head}{slash}{each.name}/"
        if each.suffix.lstrip(".") in TYPES:
            return f"{head}{slash}{each.name}"
    return None


class SubmitScreen(Renewing[Submission | Unsubmitted | None]):
    """A file or a text, a name, and how far to bring it. `edit` takes a text through an editor, if there is one."""

    DEFAULT_CSS = """
    SubmitScreen { align: center middle; background: $background 60%; }
    SubmitScreen > Vertical {
        width: 110; max-width: 96%; height: 92%; padding: 0 2;
        background: $panel; border: round $primary;
    }
    SubmitScreen Band { background: $panel; }
    SubmitScreen Input { padding: 0 1; background: $bar-idle; }
    SubmitScreen Input:focus { background: $bar; }
    SubmitScreen TextArea { height: 1fr; border: none; background: $background; }
    SubmitScreen Page { height: 1fr; background: $background; display: none; }
    SubmitScreen Horizontal { height: 1; align-horizontal: right; }
    SubmitScreen Button { margin-left: 2; min-width: 15; background: $bar-idle; }
    SubmitScreen Button:focus { background: $primary; color: $background; text-style: bold; }
    SubmitScreen Button:disabled { color: $off; }
    """
    AUTO_FOCUS = "#path"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "cancel"),
        Binding("ctrl+s", "go('launched')", "start", priority=True),
        Binding("ctrl+e", "editor", "editor", priority=True),
        Binding("ctrl+d", "compare", "compare", priority=True),
    ]

    def __init__(
        self, snapshot: Callable[[], Snapshot], clock: Callable[[], float], keys: Keys, edit: Edit | None,
        left: Unsubmitted | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._snapshot, self._clock, self._keys, self._edit = snapshot, clock, keys, edit
        self._left = left or Unsubmitted()
        self._background = Background(self)
        self._compared = ""  # the text that was compared with what is in the registry
        self._complaint = ""

    def compose(self) -> ComposeResult:
        """File, name, text, problems, buttons."""
        with Vertical():
            yield Band(id="submit-title", padding=0)
            file = "file: a path (Right takes the completion), or paste below"
            yield OrderedInput(self._left.path, placeholder=file, id="path", suggester=PathSuggester())
            yield OrderedInput(self._left.name, placeholder="name: web@1.service", id="name")
            yield OrderedInput(placeholder="instances: 1..3 or blue,green; none keeps the template alone",
                               id="instances")  # fmt: skip
            yield TextArea(self._left.text, id="text", show_line_numbers=True, soft_wrap=False)
            yield Page(id="compared")
            yield Band(id="problems", padding=0)
            yield Band(id="forecast", padding=0)
            with Horizontal():
                yield Button("Cancel", id="cancel", compact=True)
                for name, (label, _) in BUTTONS.items():
                    yield Button(label, id=name, compact=True)

    def on_mount(self) -> None:
        """Begin with an empty form."""
        title = (Cell("submit a unit file", Tone.HEAD),)
        keys = ("ctrl+s start", *(["ctrl+e editor"] if self._edit else []), "Esc keeps it")
        self.query_one("#submit-title", Band).put((title, (Cell(" · ".join(keys), Tone.QUIET),)), ((), ()))
        for field in self.query(Input):
            field.cursor_blink = False
        self.query_one("#text", TextArea).cursor_blink = False
        self._judge()

    @property
    def _unit(self) -> str:
        value = self.query_one("#name", Input).value.strip()
        return normalise(value) if value else ""

    @property
    def _text(self) -> str:
        text = self.query_one("#text", TextArea).text
        return text if text.endswith("\n") or not text else f"{text}\n"

    @property
    def _instances(self) -> tuple[str, ...]:
        """The instances of the template that are to be made; UserError for what names none."""
        if "@." not in self._unit:
            return ()
        return instances_of(self._unit, self.query_one("#instances", Input).value)

    # Filling it in

    @on(Input.Changed, "#instances")
    def _instances_changed(self) -> None:
        self._judge()

    @on(Input.Changed, "#path")
    def _path_changed(self, event: Input.Changed) -> None:
        path = event.value.strip()
        if path != self._left.path or self._left.text == "":
            self._load(path)

    @work(exclusive=True, group="load", exit_on_error=False)
    async def _load(self, value: str) -> None:
        try:
            text = await asyncio.to_thread(read_path, value) if value else None
        except UserError as error:
            self._complain(str(error))
            return
        self._complain("")
        if text is None:
            return
        self.query_one("#name", Input).value = Path(value).name
        self.query_one("#text", TextArea).load_text(text)

    def _complain(self, complaint: str) -> None:
        self._complaint = complaint
        self._judge()

    @on(Input.Changed, "#name")
    @on(TextArea.Changed, "#text")
    def _changed(self) -> None:
        self._complain("")

    @on(Input.Submitted)
    def _next(self, event: Input.Submitted) -> None:
        self.focus_next()
        pass_on(event)

    def action_editor(self) -> None:
        """Go on in the user's own editor."""
        if self._edit is None:
            self._complain("there is no editor in a browser; paste the text here")
        else:
            self.run_worker(self._through_editor(self._edit), name="editor", exclusive=True, exit_on_error=False)

    async def _through_editor(self, edit: Edit) -> None:
        try:
            text = await edit(self._unit, self._text)
        except FleetError as error:
            self._complain(str(error))
            return
        self.query_one("#text", TextArea).load_text(text)
        self._complain("")

    # Judging it

    def _judge(self) -> None:
        lines, fine = verdict(self._unit, self._text)
        if self._complaint:
            lines = [(Cell("✖ ", Tone.BAD), Cell(escape(self._complaint))), *(lines if self._text.strip() else [])]
        self.query_one("#problems", Band).put(*((line, ()) for line in lines))
        template = "@." in self._unit
        instances: tuple[str, ...] = ()
        self.query_one("#instances").display = template
        try:
            instances = self._instances
        except UserError as error:
            fine, lines = False, [(Cell("✖ ", Tone.BAD), Cell(escape(str(error)))), *lines]
        other = fine and taken(self._snapshot(), self._unit, self._text) is not None
        for name, (label, replacing) in BUTTONS.items():
            button = self.query_one(f"#{name}", Button)
            button.disabled = not fine or (template and not instances and Target(name).scheduled)
            button.label = replacing if other else label
        if not other and self._comparing:
            self._show_compared(shown=False)
        self.set_timer(JUDGE_S, self.renew)

    def renew(self) -> None:
        """Where it would go, as the fleet is now."""
        snapshot, unit, text, compares = self._snapshot(), self._unit, self._text, self._comparing
        fine = verdict(unit, text)[1]

        def look() -> tuple[list[Line], RichText | None]:
            compared = comparison(snapshot, unit, text, self._clock(), self._keys) if compares else None
            return forecast(snapshot, unit, text, self._keys), compared

        if fine:
            self._background.write((unit, text, compares), look, self._show_found, heavy=is_large(snapshot))
        else:
            self._background.write((unit, text), lambda: ([], None), self._show_found, heavy=False)

    def _show_found(self, found: tuple[list[Line], RichText | None]) -> None:
        lines, compared = found
        self.query_one("#forecast", Band).put(*((line, ()) for line in lines))
        if compared is not None:
            self.query_one("#compared", Page).put(compared)

    @property
    def _comparing(self) -> bool:
        return self.query_one("#compared", Page).display

    def action_compare(self) -> None:
        """The text against the one in the registry, or back to the text."""
        if self._comparing:
            self._show_compared(shown=False)
        elif taken(self._snapshot(), self._unit, self._text) is None:
            self._complain("there is no other text under this name to compare with")
        else:
            self._show_compared(shown=True)

    def _show_compared(self, *, shown: bool) -> None:
        page = self.query_one("#compared", Page)
        page.display, self.query_one("#text").display = shown, not shown
        if shown:
            self._compared = self._text
            page.put([], reset=True)
            self.renew()
        (self.query_one("#cancel") if shown else self.query_one("#text")).focus()

    # Ending it

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "cancel":
            self.action_cancel()
        else:
            self.action_go(str(event.button.id))

    def action_go(self, target: str) -> None:
        """Submit it, when nothing is wrong; in the place of another text only after the two were compared."""
        if self.query_one(f"#{target}", Button).disabled:
            return
        other = taken(self._snapshot(), self._unit, self._text) is not None
        if other and self._compared != self._text:
            self._show_compared(shown=True)
            self.query_one(f"#{target}", Button).focus()
            self._complain(f"{self._unit} is in the registry with another text; press again to replace it")
            return
        self.dismiss(Submission(self._unit, self._text, Target(target), other, self._instances))

    def action_cancel(self) -> None:
        """Back; what was typed is kept for the next time."""
        path = self.query_one("#path", Input).value.strip()
        self.dismiss(
            Unsubmitted(self.query_one("#name", Input).value, path, self.query_one("#text", TextArea).text)
        )


def instances_of(template: str, text: str) -> tuple[str, ...]:
    """The units that "1..3" or "blue, green" means of a template. UserError for what cannot be an instance."""
    from fleettui.console.commandline.commands import expand_braces  # noqa: PLC0415 - loads fleetctl's grammar

    stem, _, suffix = template.rpartition("@")
    found: dict[str, None] = {}
    for word in text.replace(",", " ").split():
        for each in expand_braces(f"{{{word}}}" if ".." in word else word):
            name = f"{stem}@{each}{suffix}"
            if ".." in each or refusal(name):
                raise UserError(f"{each[:40]} is no instance; write 1..3 or blue,green")
            found[name] = None
    return tuple(found)


def read_path(value: str) -> str | None:
    """The file's text; None while the path is not a file yet. Blocks. UserError when it can never be one."""
    path = expanded(value)
    if path.is_dir() or value.endswith("/"):
        return None
    data = read_bytes(path)
    if data is None:
        return None
    if len(data) > MAX_BYTES:
        raise UserError(f"{path} is larger than {MAX_BYTES} bytes; keep data and scripts out of the unit file")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; save it as UTF-8") from None
