"""What `fleetctl` writes: lines, tables and JSON on standard output, everything else on standard error.

Owns escaping: text from the registry or from a machine reaches a terminal only with its control characters made
visible; tables are escaped always. It decides nothing about content.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence

from fleettui.cli.failures import UsageError
from fleettui.escape import escape
from registry.errors import UserError
from registry.frozen import dataclass
from registry.patterns import pattern

GAP = "  "
_OBEYED = pattern("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def say(line: str) -> None:
    """Print one line on standard output and flush it, so that a pipe gets each unit as it arrives."""
    print(escape(line), flush=True)


def complain(text: str) -> None:
    """Print lines on standard error."""
    for line in text.splitlines() or [""]:
        print(escape(line), file=sys.stderr, flush=True)


def agreed(question: str) -> bool:
    """Ask for a yes on the terminal. UserError where there is none to ask at."""
    if not sys.stdin.isatty():
        raise UserError("this wants a yes, and there is no terminal to ask at: add --yes")
    sys.stderr.write(f"{question} Type yes: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() == "yes"


def print_json(value: object) -> None:
    """Print a value as indented JSON; on a terminal, control characters are written as escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=not sys.stdout.isatty())
    print(text if text.isascii() else _OBEYED.sub(lambda found: json.dumps(found[0])[1:-1], text))


def print_json_line(value: object) -> None:
    """Print a value as one line of JSON, for streams."""
    print(json.dumps(value), flush=True)


def print_verbatim(text: str) -> None:
    """Print text exactly as stored into a pipe; on a terminal line by line, escaped."""
    if sys.stdout.isatty():
        print(escape(text.removesuffix("\n"), lines=True))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()


class ProgressLine:
    """`12 of 100 units written` on a terminal's last line; nothing anywhere else, nor for a single one."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._wanted = sys.stderr.isatty()
        self._shown = False

    def show(self, count: int, total: int) -> None:
        """Show the count; take the line away once all are done."""
        if count >= total:
            self.close()
        elif self._wanted and total > 1:
            sys.stderr.write(f"\r\x1b[K{count} of {total} {self._what}")
            sys.stderr.flush()
            self._shown = True

    def close(self) -> None:
        """Take the line away before others are printed."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


@dataclass(frozen=True, slots=True)
class ListFormat:
    """How a list is to be shown. `fields` are those asked for, in order."""

    fields: tuple[str, ...]
    full: bool = False
    legend: bool = True
    json: bool = False


def choose_fields(asked: str | None, known: Sequence[str], usual: Sequence[str]) -> tuple[str, ...]:
    """The fields named in a comma-separated text, or the usual ones. UsageError for one that is not known."""
    if asked is None:
        return tuple(usual)
    fields = tuple(field.strip().lower() for field in asked.split(",") if field.strip())
    for field in fields:
        if field not in known:
            raise UsageError(f"unknown field {field!r}; the fields are {','.join(known)}")
    if not fields:
        raise UsageError(f"no field is named; the fields are {','.join(known)}")
    return fields


def print_rows(
    rows: Iterable[Mapping[str, str]], form: ListFormat, records: Iterable[Mapping[str, object]]
) -> None:
    """Print a list: its rows as a table, or its records as JSON."""
    if form.json:
        print_json([{field: record[field] for field in form.fields} for record in records])
        return
    for line in table([[row[field] for field in form.fields] for row in rows], form):
        print(line)


def table(rows: Sequence[Sequence[str]], form: ListFormat) -> list[str]:
    """Rows as aligned lines below a legend; an empty cell reads "-"."""
    legend = [[field.upper() for field in form.fields]] if form.legend else []
    cells = [*legend, *([escape(cell) or "-" for cell in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    return [
        GAP.join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _width(text: str) -> int:
    """The columns of a terminal that the text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - as slow to load as all of a short command

    return cell_len(text)
