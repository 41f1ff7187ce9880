"""What the parts of the main screen are given: what the console works with, and the line to answer in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleettui.console.journal import Journals
from fleettui.console.operations.commands_there import OwnCommand
from fleettui.console.operations.impact import CONFIRM_FROM
from fleettui.console.operations.runner import OperationPort
from fleettui.console.operations.verbs import IN_RECORD, READ_ONLY
from fleettui.console.pages.bands import FleetIdentity
from fleettui.console.sources.background import ReadContent, no_content
from fleettui.console.sources.feed import Feed, Turns
from fleettui.console.sources.fleets import SwitchTo
from fleettui.console.sources.hosts import NO_HOSTS, Hosts
from fleettui.console.sources.losses import LossWatch
from fleettui.console.sources.replay import Replay
from fleettui.console.sources.saved_state import LineHistory, SavedState, StateStore
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.widgets.drawing import Band
from fleettui.escape import escape
from registry.keys import DEFAULT_KEYS, Keys


@dataclass(frozen=True, slots=True)
class Context:
    """Sources, the port that writes, who and where this is, and how it was configured."""

    feed: Feed
    port: OperationPort
    journals: Journals
    identity: FleetIdentity
    clock: Callable[[], float]
    keymap: dict[str, str]
    read_only: bool = False
    keys: Keys = DEFAULT_KEYS
    history: LineHistory = field(default_factory=LineHistory)  # of the command line
    saved: SavedState | None = None  # how the console was left
    store: StateStore | None = None  # where that is kept
    remark: str = ""  # what is to be said first
    has_terminal: bool = True  # False in a browser: no shell and no editor there
    hosts: Hosts = NO_HOSTS
    expiring: Callable[[], str] = str  # the warning of a certificate that runs out soon
    trends: Path | None = None  # where a record of the fleet lies, if one does
    replay: Replay | None = None  # the feed, where it is a record
    losses: LossWatch | None = None  # whether the fleet survives the loss of a machine
    fleets: Callable[[], Mapping[str, Path]] = dict  # that can be opened instead, by name
    open_next: Callable[[SwitchTo], object] = lambda _: None
    stays_read_only: bool = False  # also in another fleet
    came_from: str = ""  # the fleet that was open before this one
    unit: str = ""  # to be at first
    commands: tuple[OwnCommand, ...] = ()  # of the operator's own
    contents: ReadContent = no_content  # what a version of a config or a secret holds, as stored
    turns: Turns = field(default_factory=Turns)
    confirm_from: int = CONFIRM_FROM  # running units that stop, from which on a word must be typed

    @property
    def barred(self) -> str:
        """Why nothing can be changed; "" where it can."""
        return "" if not self.read_only else READ_ONLY if self.replay is None else IN_RECORD


class StatusLine(Band):
    """The line below the table: what came of the last key, else what `hint` returns of the selected row.

    Its place is kept: the table must not jump.
    """

    def __init__(self, hint: Callable[[], Line]) -> None:
        super().__init__(id="hint")
        self._hint = hint
        self.text = ""
        self._remark = ""  # stays until the next text

    def show(self, text: str, *, lasting: bool = False) -> None:
        """Show why a key did nothing, or what it did; `lasting`: also when the cursor moves."""
        self.text = escape(text)
        self._remark = self.text if lasting else ""
        self.renew()

    def clear_on_move(self) -> None:
        """Take the text away, unless it is lasting: the cursor is on another row."""
        self.text = self._remark

    def renew(self) -> None:
        """Show the text, else the hint as it is now."""
        self.put(((Cell(self.text, Tone.BUSY),) if self.text else self._hint(), ()))
