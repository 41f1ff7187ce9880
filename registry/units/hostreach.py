"""What a unit file does to other units: the host's own among them, of which only a machine knows.

Owns which options take a name, stop another unit, or end the machine. A file that has them may be quite right, so
these are warnings, told before any machine sees it; what an `[Install]` section must not take from a host the agent
refuses, who knows what the host has. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice

from registry.frozen import dataclass
from registry.units.file import MAX_FAULTS, Directive, Fault, Problem, UnitFile, is_too_large, parse
from registry.units.name import named_by, refusal, shown

# [Install]: the options that name other units.
ALIAS, ALSO, REQUIRED_BY, WANTED_BY, UPHELD_BY = "Alias", "Also", "RequiredBy", "WantedBy", "UpheldBy"
LINKS = (ALIAS, ALSO, REQUIRED_BY, WANTED_BY, UPHELD_BY)
CONDITIONS = (".target", ".device")  # types of unit that may want others: they stand for a state, and run nothing

_AT_SHUTDOWN = frozenset(
    {"shutdown.target", "umount.target", "final.target", "reboot.target", "poweroff.target", "halt.target",
     "kexec.target", "sleep.target", "suspend.target", "hibernate.target"}
)  # fmt: skip
_JOB_MODES = {
    "isolate": "stops every other unit of its machine",
    "flush": "cancels every other job of its machine",
    "replace-irreversibly": "replaces other units' jobs for good",
}
_ACTIONS = ("FailureAction", "SuccessAction", "StartLimitAction", "JobTimeoutAction")
_TRUE = frozenset({"1", "yes", "y", "true", "t", "on"})
MOST_WORDS = 1000  # of a line that are read: no unit is enabled in so many others


@dataclass(frozen=True, slots=True)
class InstallLink:
    """Another unit that the file's `[Install]` section names, by which option, and on which line."""

    option: str
    unit: str
    line: int


def links(unit_file: UnitFile, name: str) -> tuple[InstallLink, ...]:
    """Every unit that enabling this one names, its specifiers expanded where the name decides them."""
    found: dict[InstallLink, None] = {}
    instance = name.partition("@")[2].rpartition(".")[0]
    for option in LINKS:
        for entry in unit_file.effective("Install", option):
            for word in islice(_words(entry.value), MOST_WORDS):
                unit = named_by(word, name)
                found[InstallLink(option, unit, entry.line)] = None
                if option != ALSO and "@." in unit and instance:  # of a template systemd makes this instance
                    found[InstallLink(option, unit.replace("@.", f"@{instance}.", 1), entry.line)] = None
    return tuple(found)


def _words(value: str) -> Iterator[str]:
    """A list's words; quotes around one, or in it, go."""
    for word in value.split():
        if plain := word.replace('"', "").replace("'", ""):
            yield plain


def warnings(name: str, text: str, filename: str) -> tuple[Problem, ...]:
    """What the file does beyond its own unit, by line; empty for a text that no unit file can be."""
    if is_too_large(text):
        return ()
    unit_file = parse(text)
    found = sorted({*_stops(unit_file, name), *_ends(unit_file), *_takes(unit_file, name), *_keeps(unit_file)})
    return tuple(Problem(filename, *fault) for fault in found[:MAX_FAULTS])


def _stops(unit_file: UnitFile, name: str) -> Iterator[Fault]:
    for option, when in (("Conflicts", "when this unit starts"), ("PropagatesStopTo", "when this unit stops")):
        for entry in unit_file.effective("Unit", option):
            for word in map(partial(named_by, name=name), _words(entry.value)):
                if word not in _AT_SHUTDOWN and word != name:
                    reason = f"{option}={_named(word)} stops that unit {when}, also where it is the host's own"
                    yield Fault(entry.line, reason, "leave it out unless that is meant")


def _ends(unit_file: UnitFile) -> Iterator[Fault]:
    for option in ("OnFailureJobMode", "OnSuccessJobMode"):
        for entry in _last(unit_file, option):
            if does := _JOB_MODES.get(entry.value):
                yield Fault(entry.line, f"{option}={entry.value} {does}", "leave it out unless that is meant")
    for option in _ACTIONS:
        for entry in _last(unit_file, option):
            if entry.value != "none":
                reason = f"{option}={shown(entry.value)} ends the whole machine, with all its units"
                yield Fault(entry.line, reason, "leave it out unless that is meant")


def _takes(unit_file: UnitFile, name: str) -> Iterator[Fault]:
    for link in links(unit_file, name):
        unit = _named(link.unit)
        if link.option in (ALIAS, ALSO):
            reason = f"{link.option}={unit} is refused by a machine that has {unit} of its own"
            yield Fault(link.line, reason, "leave it out, or take a name that no host has")
        elif link.option == REQUIRED_BY:
            reason = f"{link.option}={unit} would stop {unit} with this unit; a machine that has it refuses that"
            yield Fault(link.line, reason, "use WantedBy=")
        elif not link.unit.endswith(CONDITIONS):
            reason = f"{link.option}={unit} is refused by a machine that has {unit} of its own"
            yield Fault(link.line, reason, "use a target, multi-user.target say")


def _keeps(unit_file: UnitFile) -> Iterator[Fault]:
    for entry in _last(unit_file, "RefuseManualStop"):
        if entry.value.lower() in _TRUE:
            reason = "RefuseManualStop= keeps the agent from stopping the unit, so that it can never be moved"
            yield Fault(entry.line, reason, "leave it out")


def _named(unit: str) -> str:
    """A unit's name for a message; what is none, in quotes and cut."""
    return shown(unit) if refusal(unit) else unit


def _last(unit_file: UnitFile, option: str) -> tuple[Directive, ...]:
    return unit_file.effective("Unit", option)[-1:]
