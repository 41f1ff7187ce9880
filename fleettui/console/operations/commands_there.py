"""Commands that an operator runs on machines: `:run`, and those of [console.commands]; and what they print. Pure.

A command is a list of arguments from the beginning: what stands for $UNIT, $MACHINE and $HOST becomes part of one
argument, whatever it holds, and no shell reads it. What is printed is untrusted and bounded.
"""

from __future__ import annotations

import codecs
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from fleettui.console.text.cells import SOURCE_TONES, Cell, Line, Tone, ansi_lines, line_text
from fleettui.console.text.formatting import counted, natural
from fleettui.console.text.keys import KEYS, PLANE, keys_of
from fleettui.escape import escape
from registry.errors import UserError
from registry.model import Machine

WORDS = ("UNIT", "MACHINE", "HOST")
MOST_LINES = 10_000  # that are kept of all machines together, the newest
LONGEST = 2_000  # characters of a line
HOST_WIDTH = 20


@dataclass(frozen=True, slots=True)
class OwnCommand:
    """A command of the operator's own. `on`: on the machine by SSH, or "here", on this computer."""

    name: str
    argv: tuple[str, ...]
    key: str = ""
    confirm: bool = True
    on: str = "machine"

    @property
    def per_unit(self) -> bool:
        """Whether it is about a unit: it runs once for each, not once for each machine."""
        return any("$UNIT" in each or "${UNIT}" in each for each in self.argv)


@dataclass(frozen=True, slots=True)
class There:
    """A machine that a command runs for, and the unit; "" for none."""

    machine: Machine
    unit: str = ""

    def filled(self, argv: Sequence[str]) -> list[str]:
        """The arguments with what the words stand for here. Each stays one argument.

        UserError where one would become an option: a unit's name may begin with a hyphen.
        """
        values = {"UNIT": self.unit, "MACHINE": self.machine.id, "HOST": self.machine.hostname}
        found = []
        for argument in argv:
            parts, rest = [], argument
            while rest:
                lead, dollar, rest = rest.partition("$")
                parts.append(lead)
                word = next((each for each in WORDS if rest.startswith((each, f"{{{each}}}"))), "")
                if dollar and word:
                    parts.append(values[word])
                    rest = rest[len(word) + 2 * rest.startswith("{") :]
                else:
                    parts.append(dollar)
            made = "".join(parts)
            if made.startswith("-") and not argument.startswith("-") and "--" not in found:
                raise UserError(f"{made} would be read as an option; put -- before {argument}")
            found.append(made)
        return found


def own_commands(
    table: Mapping[str, Mapping[str, object]], keymap: Mapping[str, str], known: Collection[str], where: str
) -> tuple[OwnCommand, ...]:
    """The commands of the configuration. UserError for a name or a key that is taken; `known` are other names."""
    taken = {each: key.id for key in KEYS if key.where in PLANE for each in keys_of(key, keymap)}
    found = []
    for name, entry in table.items():
        made = OwnCommand(
            name, tuple(shlex.split(str(entry["run"]))), str(entry.get("key", "")),
            bool(entry.get("confirm", True)), str(entry.get("on", "machine")),
        )  # fmt: skip
        if name in known:
            raise UserError(f"{where}: [console.commands] {name} is a command already; call it something else")
        if made.key in taken:
            raise UserError(
                f"{where}: [console.commands] {name}: {made.key} is the key of {taken[made.key]} already"
            )
        if made.key:
            taken[made.key] = name
        found.append(made)
    return tuple(found)


@dataclass
class HostOutput:
    """What one machine has printed so far, and how its command ended."""

    name: str
    tone: Tone
    ending: str = ""  # "" while it runs
    failed: bool = False
    rest: str = ""  # of a line that has not ended
    decode: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )


class MergedOutput:
    """What all of them print, line by line as it comes, each with the machine that printed it."""

    def __init__(self, targets: Sequence[There]) -> None:
        several = Counter(each.machine.hostname for each in targets)
        ordered = sorted(targets, key=lambda each: (natural(each.machine.hostname), natural(each.unit)))
        self.lines: list[Line] = []
        self.dropped = 0
        self.hosts = {
            each: HostOutput(
                escape(f"{each.machine.hostname} {each.unit}" if several[each.machine.hostname] > 1 and each.unit
                       else each.machine.hostname),
                SOURCE_TONES[number % len(SOURCE_TONES)],
            )
            for number, each in enumerate(ordered)
        }  # fmt: skip
        self._width = min(HOST_WIDTH, max((len(host.name) for host in self.hosts.values()), default=0))

    def take(self, target: There, data: bytes) -> None:
        """Take a piece of output in."""
        host = self.hosts[target]
        *whole, host.rest = (host.rest + host.decode.decode(data)).replace("\r\n", "\n").split("\n")
        if len(host.rest) > LONGEST:
            whole, host.rest = [*whole, host.rest], ""
        for text in whole:
            self._add(host, text)

    def end(self, target: There, ending: str, *, failed: bool) -> None:
        """Say how it ended."""
        host = self.hosts[target]
        if host.rest:
            self._add(host, host.rest)
            host.rest = ""
        host.ending, host.failed = ending, failed
        if failed:
            self._put(host, (Cell(f"✖ {escape(ending)}", Tone.BAD),))

    def _add(self, host: HostOutput, text: str) -> None:
        cut = text[:LONGEST]
        shown = next(iter(ansi_lines(cut)), ())
        self._put(host, (*shown, Cell("…", Tone.QUIET)) if len(text) > LONGEST else shown)

    def _put(self, host: HostOutput, line: Line) -> None:
        self.lines.append((Cell(f"{host.name[: self._width]:<{self._width}} ", host.tone), *line))
        if len(self.lines) > MOST_LINES * 11 // 10:
            self.dropped += len(self.lines) - MOST_LINES
            self.lines = self.lines[-MOST_LINES:]

    @property
    def running(self) -> int:
        """How many have not ended."""
        return sum(not host.ending for host in self.hosts.values())

    def summary(self) -> Line:
        """How many run, are done, have failed."""
        failed = [host for host in self.hosts.values() if host.failed]
        done = len(self.hosts) - self.running - len(failed)
        cells = [Cell(counted(len(self.hosts), "machine"), Tone.STRONG)]
        for number, word, tone in ((self.running, "running", Tone.BUSY), (done, "done", Tone.GOOD),
                                   (len(failed), "failed", Tone.BAD)):  # fmt: skip
            if number:
                cells.append(Cell(f", {number} {word}", tone))
        if failed:
            names = ", ".join(host.name for host in islice(failed, 5))
            cells.append(Cell(f": {names}{' …' if len(failed) > 5 else ''}", Tone.BAD))
        if self.dropped:
            cells.append(Cell(f"   {self.dropped:,} older lines are gone", Tone.BUSY))
        return tuple(cells)

    def text(self) -> str:
        """All lines, for copying."""
        return "\n".join(map(line_text, self.lines))
