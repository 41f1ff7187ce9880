"""Submitting a unit: from a file, or pasted; what is wrong with it is shown line by line while it is typed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.suggester import Suggester
from textual.widgets import Button, Input, TextArea

from fleettui.console.cells import Cell, Line, Tone
from fleettui.console.widgets.band import Band
from fleettui.escape import escape
from registry.model import Target
from registry.unitcheck import verify
from registry.unitfile import MAX_BYTES
from registry.unitname import TYPES, normalise

SHOWN_PROBLEMS = 4


@dataclass(frozen=True, slots=True)
class Submission:
    """What to submit."""

    name: str
    text: str
    target: Target


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
    directory = Path(f"{head}{slash}" or ".").expanduser()
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


class SubmitScreen(ModalScreen[Submission | None]):
    """A file or a text, a name, and how far to bring it."""

    DEFAULT_CSS = """
    SubmitScreen { align: center middle; background: $background 60%; }
    SubmitScreen > Vertical {
        width: 100; max-width: 96%; height: 90%; padding: 0 2;
        background: $panel; border: round $primary;
    }
    SubmitScreen Band { background: $panel; }
    SubmitScreen Input { padding: 0 1; background: $bar-idle; margin-bottom: 1; }
    SubmitScreen Input:focus { background: $bar; }
    SubmitScreen TextArea { height: 1fr; border: none; background: $background; }
    SubmitScreen #problems { margin-top: 1; }
    SubmitScreen Horizontal { height: 1; align-horizontal: right; margin-top: 1; }
    SubmitScreen Button { margin-left: 2; min-width: 12; background: $bar-idle; }
    SubmitScreen Button:focus { background: $primary; color: $background; text-style: $button-focus-text-style; }
    SubmitScreen Button:disabled { color: $off; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "cancel"),
        Binding("ctrl+s", "go('launched')", "start"),
    ]

    def compose(self) -> ComposeResult:
        """File, name, text, problems, buttons."""
        with Vertical():
            yield Band(id="submit-title", padding=0)
            yield Input(placeholder="file: a path (Right takes the completion), or paste below", id="path",
                compact=True,
                        suggester=PathSuggester())  # fmt: skip
            yield Input(placeholder="name: web@1.service", id="name", compact=True)
            yield TextArea(id="text", show_line_numbers=True, soft_wrap=False)
            yield Band(id="problems", padding=0)
            with Horizontal():
                yield Button("Cancel", id="cancel", compact=True)
                yield Button("Submit", id="inactive", compact=True)
                yield Button("Load", id="loaded", compact=True)
                yield Button("Start", id="launched", compact=True)

    def on_mount(self) -> None:
        """The path has the focus."""
        title = (Cell("submit a unit file", Tone.HEAD),)
        self.query_one("#submit-title", Band).put(
            (title, (Cell("ctrl+s starts it · Esc cancels", Tone.QUIET),)), ((), ())
        )
        for field in self.query(Input):
            field.cursor_blink = False
        self.query_one("#text", TextArea).cursor_blink = False
        self.query_one("#path", Input).focus()
        self._judge()

    @property
    def _unit(self) -> str:
        value = self.query_one("#name", Input).value.strip()
        return normalise(value) if value else ""

    @property
    def _text(self) -> str:
        text = self.query_one("#text", TextArea).text
        return text if text.endswith("\n") or not text else f"{text}\n"

    @on(Input.Changed, "#path")
    def _path_changed(self, event: Input.Changed) -> None:
        self.run_worker(self._load(event.value.strip()), exclusive=True, group="load", exit_on_error=False)

    async def _load(self, value: str) -> None:
        text = await asyncio.to_thread(_read, value) if value else None
        if text is None:
            return
        self.query_one("#name", Input).value = Path(value).name
        self.query_one("#text", TextArea).load_text(text)

    @on(Input.Changed, "#name")
    @on(TextArea.Changed, "#text")
    def _changed(self) -> None:
        self._judge()

    @on(Input.Submitted)
    def _next(self) -> None:
        self.focus_next()

    def _judge(self) -> None:
        lines, fine = verdict(self._unit, self._text)
        self.query_one("#problems", Band).put(*((line, ()) for line in lines))
        template = "@." in self._unit
        for target in Target:
            self.query_one(f"#{target}", Button).disabled = not fine or (template and target.scheduled)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "cancel":
            self.dismiss(None)
        else:
            self.action_go(str(event.button.id))

    def action_go(self, target: str) -> None:
        """Submit it, when nothing is wrong with it."""
        if not self.query_one(f"#{target}", Button).disabled:
            self.dismiss(Submission(self._unit, self._text, Target(target)))

    def action_cancel(self) -> None:
        """Back, without a trace."""
        self.dismiss(None)


def _read(value: str) -> str | None:
    """The file's text; None when there is no such file. Blocks."""
    path = Path(value).expanduser()
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def verdict(name: str, text: str) -> tuple[list[Line], bool]:
    """What is wrong, in a few lines, and whether it may be submitted."""
    if not text.strip():
        return [(Cell("name a file, or paste its text", Tone.QUIET),)], False
    if not name:
        return [(Cell("✖ ", Tone.BAD), Cell("it needs a name, such as web.service"))], False
    problems = verify(name, text, name)
    if not problems:
        return [(Cell("✓ nothing is wrong with it", Tone.GOOD),)], True
    lines: list[Line] = [
        (Cell(f"✖ line {each.line}  ", Tone.BAD), Cell(escape(f"{each.reason}; {each.remedy}")))
        for each in problems[:SHOWN_PROBLEMS]
    ]
    more = len(problems) - SHOWN_PROBLEMS
    return [*lines, (Cell(f"  and {more} more", Tone.QUIET),)] if more > 0 else lines, False
