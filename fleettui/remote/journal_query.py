"""What to ask a machine's journalctl for: sources, the query, and the argument lists they make. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleettui.remote.command import as_root
from registry.model import Machine
from registry.units.name import service_of

# Enough for a line, its detail and which unit it belongs to; asking for these alone halves journalctl's work.
FIELDS = (
    "MESSAGE", "PRIORITY", "_PID", "SYSLOG_PID", "SYSLOG_IDENTIFIER", "_COMM", "_HOSTNAME",
    "_SYSTEMD_UNIT", "UNIT", "OBJECT_SYSTEMD_UNIT", "COREDUMP_UNIT",
    "_SYSTEMD_USER_UNIT", "USER_UNIT", "OBJECT_SYSTEMD_USER_UNIT", "COREDUMP_USER_UNIT", "_SYSTEMD_SLICE",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class JournalSource:
    """One unit's journal on one machine; `unit` "" is everything on that machine."""

    machine: Machine
    unit: str = ""


@dataclass(frozen=True, slots=True)
class JournalQuery:
    """Which lines.

    `lines` is how many to begin with, of all sources together (None: all that match). `since`, `until`, `boot` and
    `grep` are journalctl's own words ("10 min ago", "-1" for the boot before, a regular expression); `priority` is
    "err", "3" or a range "err..info"; `exact` says whether capitals count in `grep` (None: if it has some itself).
    `sudo` reads as root. With `all_fields` each entry carries every field.
    """

    lines: int | None = 10
    follow: bool = False
    since: str = ""
    until: str = ""
    priority: str = ""
    grep: str = ""
    exact: bool | None = None
    boot: str = ""
    sudo: bool = False
    all_fields: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """Where to begin: the newest `lines` (None: all), or all after `cursor` (`inclusive`: and that entry).

    `backwards` gives the newest first; from a cursor on, what stands before it.
    """

    lines: int | None = None
    cursor: str = ""
    backwards: bool = False
    inclusive: bool = False


def by_machine(sources: Sequence[JournalSource]) -> list[tuple[Machine, tuple[str, ...]]]:
    """Each machine once with its units; () where everything on it is wanted."""
    machines: dict[str, Machine] = {}
    units: dict[str, dict[str, None]] = {}
    for source in sources:
        machines[source.machine.id] = source.machine
        units.setdefault(source.machine.id, {})[source.unit] = None
    return [(machines[id_], () if "" in wanted else tuple(wanted)) for id_, wanted in units.items()]


def by_service(units: Sequence[str]) -> dict[str, str]:
    """The units by what systemd calls them, which is what entries name."""
    return {service_of(unit): unit for unit in units}


def journal_argv(
    machine: Machine,
    units: Sequence[str],
    query: JournalQuery,
    position: Position,
    *,
    follow: bool,
    output: str = "json",
) -> list[str]:
    """The journalctl command for one machine."""
    flag = "--user-unit" if machine.bus == "user" else "--unit"
    argv = ["journalctl", "--no-pager", "--quiet", f"--output={output}"]
    if output == "json":  # with long messages whole, and only the fields that are needed
        argv += ["--all"] if query.all_fields else ["--all", f"--output-fields={','.join(FIELDS)}"]
    argv += [f"{flag}={service_of(unit)}" for unit in units]
    options = {
        "--since": "" if position.cursor else query.since,  # journalctl takes only one of the two
        "--cursor" if position.inclusive else "--after-cursor": position.cursor,
        "--until": query.until,
        "--priority": query.priority,
        "--grep": query.grep,
        "--case-sensitive": "" if query.exact is None or not query.grep else "yes" if query.exact else "no",
        "--boot": query.boot,
    }
    argv += [f"{name}={value}" for name, value in options.items() if value]
    argv += [f"--lines={'all' if position.lines is None else position.lines}"]
    argv += ["--follow"] if follow else []
    argv += ["--reverse"] if position.backwards else []
    return as_root(argv) if query.sudo else argv


def fields_argv(cursor: str) -> list[str]:
    """The journalctl command for every field of one entry."""
    return ["journalctl", "--no-pager", "--quiet", "--all", "--output=json", "--lines=1", f"--cursor={cursor}"]


def moment(at: int) -> str:
    """Microseconds since the epoch as journalctl reads them."""
    return f"@{at // 1_000_000}.{at % 1_000_000:06d}"
