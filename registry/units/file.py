"""Unit files as text and as options: systemd's syntax, read once and kept to the letter.

Owns the reading of a file. The text stays verbatim (comments, order, line ends); the options lie beside
it, each with the line it stands on. The syntax is systemd's (`systemd.syntax(7)` and what its parser
does): `#` and `;` comment lines, even inside a continuation, a trailing `\\` joins lines, blanks
around names and values go, quotes stay. Reading never fails on what a file says: lines that systemd
would drop are kept as faults. It must not judge what options mean; `check` and `options` do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from registry.errors import UserError
from registry.frozen import dataclass, field
from registry.units.name import expand_for_display, shown

MAX_BYTES = 1 << 20
"""Largest unit file, UTF-8 encoded: etcd refuses requests over 1.5 MB, and a file is stored in one."""

MAX_FAULTS = 100
"""Faults told about one file: nobody reads more, and a file of garbage has a million."""

FLEET_SECTION = "X-Fleet"

_EOL = re.compile(r"\r\n?|\n\r?")
_BLANK = " \t\r\n"
_NAME = re.compile("[!-~]+")
INSTALLS = ("Alias", "Also", "RequiredBy", "UpheldBy", "WantedBy")


class Fault(NamedTuple):
    """Something wrong on a line of some file, with the remedy."""

    line: int
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault in a named file; `str()` is what the user reads. The line counts from 1."""

    file: str
    line: int
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}; {self.remedy}"


class Section(NamedTuple):
    """A section header and its line. A section may be opened several times."""

    name: str
    line: int


class Directive(NamedTuple):
    """One assignment: `name=value`, where it stands, continuation lines joined, outer blanks removed."""

    section: str
    name: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A unit file: its exact text, and its sections, assignments and faults in the order of the text.

    Two files are equal when their texts are.
    """

    text: str
    sections: tuple[Section, ...] = field(compare=False, repr=False)
    entries: tuple[Directive, ...] = field(compare=False, repr=False)
    faults: tuple[Fault, ...] = field(compare=False, repr=False)
    _by_section: Mapping[str, tuple[Directive, ...]] = field(compare=False, repr=False)

    def section(self, section: str) -> tuple[Directive, ...]:
        """Every assignment of a section, in order; none when the file has no such section."""
        return self._by_section.get(section, ())

    def options(self, section: str, name: str) -> tuple[Directive, ...]:
        """Every assignment of an option, in order, empty ones included."""
        return tuple(entry for entry in self.section(section) if entry.name == name)

    def effective(self, section: str, *names: str) -> tuple[Directive, ...]:
        """The assignments that count for a list filled by these options: an empty one forgets those before."""
        kept: list[Directive] = []
        for entry in self.section(section):
            if entry.name not in names:
                continue
            if entry.value:
                kept.append(entry)
            else:
                kept.clear()
        return tuple(kept)

    def value(self, section: str, name: str) -> str:
        """The value of an option that has one: the last, or "" when it is missing or was emptied."""
        kept = self.effective(section, name)
        return kept[-1].value if kept else ""

    def line_of(self, section: str) -> int:
        """The line of the first header of a section; 1 when the file has none."""
        return next((header.line for header in self.sections if header.name == section), 1)


def parse(text: str) -> UnitFile:
    """Read a unit file. UserError only when it is larger than MAX_BYTES; everything else becomes faults."""
    if is_too_large(text):
        raise UserError(f"unit file is larger than {MAX_BYTES} bytes; keep data out of the unit file")
    reader = _UnitFileReader()
    for number, line in _logical_lines(text):
        reader.take(number, line)
    return reader.unit_file(text)


def is_too_large(text: str) -> bool:
    """Whether the text's UTF-8 bytes exceed MAX_BYTES."""
    return len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines that say something, stripped, continuations joined, with the number of their first line."""
    held: list[str] = []
    start = 0
    for number, line in enumerate(_EOL.split(text.removeprefix("\ufeff")), 1):
        content = line.strip(_BLANK)
        if content.startswith(("#", ";")):
            continue
        if not held:
            start = number
        if line.endswith("\\") and (len(line) - len(line.rstrip("\\"))) % 2 == 1:  # not itself escaped
            held.append(line[:-1] + " ")
            continue
        if held:
            content = ("".join(held) + line).strip(_BLANK)
            held.clear()
        if content:
            yield start, content
    if rest := "".join(held).strip(_BLANK):
        yield start, rest


class _UnitFileReader:
    """Sorts logical lines into sections, entries and faults."""

    def __init__(self) -> None:
        self._section: str | None = None
        self._sections: list[Section] = []
        self._faults: list[Fault] = []
        self._by_section: dict[str, list[Directive]] = {}
        self._entries: list[Directive] = []

    def take(self, number: int, line: str) -> None:
        if line[0] == "[":
            if not line.endswith("]"):
                self._blame(number, f"section header {shown(line)} is not closed", "end it with ]")
            self._section = line.removeprefix("[").removesuffix("]")
            self._sections.append(Section(self._section, number))
        elif self._section == "":
            pass  # before any section, and already said
        elif self._section is None:
            self._blame(number, f"{shown(line)} stands before any section", "put [Unit] above it")
            self._section = ""
        else:
            self._assign(number, self._section, line)

    def _assign(self, number: int, section: str, line: str) -> None:
        name, equals, value = line.partition("=")
        name = name.rstrip(_BLANK)
        if name and equals:
            if not (_is_free_text(section) or _NAME.fullmatch(name)):
                odd = next(each for each in name if not "!" <= each <= "~")
                reason = f"{shown(name)} is no option: its name contains {odd!r}, and systemd drops the line"
                self._blame(number, reason, "write the name in plain letters")
            entry = Directive(section, name, value.lstrip(_BLANK), number)
            self._entries.append(entry)
            self._by_section.setdefault(section, []).append(entry)
        elif not _is_free_text(section):
            reason = f"{shown(line)} has no {'name before its =' if equals else '='}"
            self._blame(number, reason, "write Name=value, or begin a comment with #")

    def _blame(self, number: int, reason: str, remedy: str) -> None:
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(Fault(number, reason, remedy))

    def unit_file(self, text: str) -> UnitFile:
        by_section = {name: tuple(entries) for name, entries in self._by_section.items()}
        return UnitFile(text, tuple(self._sections), tuple(self._entries), tuple(self._faults), by_section)


def _is_free_text(section: str) -> bool:
    """Whether nobody reads this section: systemd skips `X-` sections whole, and we read only our own."""
    return section.startswith("X-") and section != FLEET_SECTION


def file_hash(text: str) -> str:
    """The file's name in the registry: SHA-256 of its UTF-8 bytes, 64 hex digits."""
    from hashlib import sha256  # noqa: PLC0415 - what reads no files does without OpenSSL

    try:
        return sha256(text.encode("utf-8")).hexdigest()
    except UnicodeEncodeError as error:
        raise UserError("unit file is not valid UTF-8; save it as UTF-8 text") from error


def description(unit_file: UnitFile, name: str) -> str:
    """What the unit says it is, its specifiers expanded where the name decides them; else the name itself."""
    return expand_for_display(unit_file.value("Unit", "Description"), name) or name


def has_install(unit_file: UnitFile) -> bool:
    """Whether enabling the unit would do anything."""
    return any(unit_file.effective("Install", name) for name in INSTALLS)
