"""The `[X-Fleet]` section: where the fleet may place a unit.

Owns the option names (fleet's, and the older ones they replaced), their values, and which may stand
together. Reading gives one frozen value, `FleetOptions`, that eligibility and placement work on. Lists take words
separated by blanks, quoted where a word holds a blank; repeats add; an empty assignment forgets what
stood before, as everywhere in systemd. It must not know machines or other units.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import NamedTuple, TypeVar

from registry.errors import UserError
from registry.frozen import dataclass, replace
from registry.units import artifacts, health, pins
from registry.units.amounts import cpu_millis, share, size_bytes, span_s
from registry.units.file import FLEET_SECTION, MAX_FAULTS, Fault, Problem, UnitFile
from registry.units.name import QUADLETS, expand, glob_refusal, is_glob, is_quadlet, normalise, parse, shown
from registry.units.quadlet import needed_beside

MAX_WORDS = 256
"""Entries of one option: each is compared with every unit of the fleet."""

MAX_WORD = 1024
"""Characters of one entry, before its specifiers are replaced."""

MAX_METADATA = 256
"""Characters of one `key=value`: so key and value each fit into a short text of a record (`registry.grammar`)."""

MAX_HEADERS = 1000
"""Section headers that are looked at for misspelling."""

OPTIONS: Mapping[str, str] = {
    "MachineID": "only this machine; its full id or a unique prefix",
    "MachineOf": "only where these units are; it moves with them",
    "MachineMetadata": "`key=value`: OR within a key, AND across keys",
    "Conflicts": "never on a machine with these units (globs; either of two may say so)",
    "Replaces": "as `Conflicts`, and these units make room for it",
    "Global": "one on every machine that metadata and conflicts allow",
    "MemoryReserve": "memory that it needs, such as `512M`; else `MemoryMax` of [Service] says so. `0`: none",
    "CPUReserve": "processors that it needs, such as `50%` or `1.5`; else `CPUQuota` says so. `0`: none",
    "SpreadOver": "instances of a template go evenly over the values of this metadata key",
    "PreferMetadata": "`key=value` as in `MachineMetadata`: rather there, if such a machine takes it",
    "Sticky": "started again, it goes to the machine it was on, if that one takes it",
    "MoveAfterFailures": "`3/10min`: what fails so often in so long is tried on another machine",
    **health.OPTIONS,
    **artifacts.OPTIONS,
    **pins.OPTIONS,
}
"""Every option, by the name to use today, and what it means for people."""

LEGACY: Mapping[str, str] = {
    "X-ConditionMachineID": "MachineID",
    "X-ConditionMachineBootID": "MachineID",
    "X-ConditionMachineOf": "MachineOf",
    "X-ConditionMachineMetadata": "MachineMetadata",
    "X-Conflicts": "Conflicts",
}
"""Older names that files in the field still use, with the option each one means."""

T = TypeVar("T")

_TRUE = frozenset({"1", "yes", "y", "true", "t", "on"})
_FALSE = frozenset({"0", "no", "n", "false", "f", "off"})
_WORD = re.compile(r"""[ \t]*(?:"([^"]*)"|'([^']*)'|([^ \t"']+))(?=[ \t]|$)""")
_MACHINE_ID = re.compile(r"[0-9a-f]{1,32}")
_KEY = re.compile(r"[A-Za-z0-9_.:/@+-]{1,255}")
_VALUE_FORBIDS = frozenset("=,\"'")
_PLACEHOLDER = "1"

# Pairs that contradict each other. MachineID stands with metadata alone, Global with metadata and Conflicts.
_APART = (
    ("MachineID", "MachineOf"),
    ("MachineID", "Conflicts"),
    ("MachineID", "Replaces"),
    ("MachineID", "Global"),
    ("Global", "MachineOf"),
    ("Global", "Replaces"),
    ("Replaces", "Conflicts"),
    ("SpreadOver", "MachineOf"),
    ("SpreadOver", "Global"),
    ("PreferMetadata", "MachineOf"),
    ("PreferMetadata", "Global"),
    ("Sticky", "MachineOf"),
    ("Sticky", "Global"),
    ("MoveAfterFailures", "MachineID"),
    ("MoveAfterFailures", "MachineOf"),
    ("MoveAfterFailures", "Global"),
)

# Options of ours that mean nothing to systemd, so that they are surely misplaced in its sections.
_OURS_ALONE = frozenset({*OPTIONS, *LEGACY} - {"Conflicts"})
_LIMITS = frozenset({"MemoryMax", "CPUQuota"})  # what [Service] says of them
_AS_WRITTEN = frozenset({"CPUReserve"})  # a percent sign is one there, and begins no specifier
_SYSTEMD_SECTIONS = ("Unit", "Install", "Service", "Socket", "Timer", "Path", *map(str.capitalize, QUADLETS))


class Reserve(NamedTuple):
    """What a unit needs of a machine; 0: nothing that is counted. `memory_share` is a part of all its memory."""

    memory_bytes: int = 0
    memory_share: float = 0.0
    cpu_millis: int = 0


NOTHING = Reserve()


class FailureLimit(NamedTuple):
    """How many failures in how many seconds are too many for one machine."""

    failures: int
    within_s: float


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """Where a unit may be placed; the default is anywhere, on one machine.

    `machine_id` is a full id or a prefix, in lower case. `machine_of` are full unit names. `metadata` is
    sorted by key: a machine fits when, for each key, it has one of the values. `conflicts` and
    `replaces` are patterns for `name.matches`. `reserve` has to be free on a machine. The rest is taken into
    account among the machines that fit: `spread` is a metadata key, "" for none; `prefer` is as `metadata`. A
    `quadlet` needs Podman, and the Quadlets `beside` it.
    """

    machine_id: str | None = None
    machine_of: tuple[str, ...] = ()
    metadata: tuple[tuple[str, frozenset[str]], ...] = ()
    conflicts: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    is_global: bool = False
    reserve: Reserve = NOTHING
    spread: str = ""
    prefer: tuple[tuple[str, frozenset[str]], ...] = ()
    sticky: bool = False
    move_after: FailureLimit | None = None
    quadlet: bool = False
    beside: tuple[str, ...] = ()


ANYWHERE = FleetOptions()


def uses_specifiers(unit_file: UnitFile) -> bool:
    """Whether the options differ from instance to instance; if not, one parse serves all of a template."""
    if any(unit_file.section(kind.capitalize()) for kind in QUADLETS):  # what they name beside them may, too
        return True
    return any("%" in entry.value for entry in unit_file.section(FLEET_SECTION) if entry.name not in _AS_WRITTEN)


def parse_options(unit_file: UnitFile, name: str) -> FleetOptions:
    """The options for this unit, specifiers expanded. UserError lists every fault, one a line.

    For a template a placeholder instance stands in. The result depends on the name only where
    `uses_specifiers` says so.
    """
    quadlet, beside = is_quadlet(name), needed_beside(unit_file, name)
    if not unit_file.section(FLEET_SECTION):
        reserve = _limits(unit_file)
        if reserve is NOTHING and not quadlet:
            return ANYWHERE
        return FleetOptions(reserve=reserve, quadlet=quadlet, beside=beside)
    reading = _Reading(unit_file, name)
    if reading.faults:
        raise UserError("\n".join(str(Problem(name, *fault)) for fault in sorted(reading.faults)[:MAX_FAULTS]))
    return replace(reading.options(), quadlet=quadlet, beside=beside) if quadlet else reading.options()


def check_options(unit_file: UnitFile, name: str, filename: str) -> tuple[Problem, ...]:
    """Everything that is wrong about the fleet options of this file, by line."""
    faults = list(_misplaced(unit_file))
    if unit_file.section(FLEET_SECTION):
        try:
            reading = _Reading(unit_file, name)
            faults += [*reading.faults, *reading.faults_of_name()]
            faults += [*health.check_faults(unit_file, name), *artifacts.check_faults(unit_file, name)]
            faults += pins.check_faults(unit_file, name)
        except UserError as error:
            faults.append(_fault(1, error))
    return tuple(Problem(filename, *fault) for fault in sorted(faults)[:MAX_FAULTS])


def metadata_pair(text: str) -> tuple[str, str]:
    """One `key=value` of a machine's or a unit's metadata; UserError when it is malformed."""
    key, equals, value = text.partition("=")
    if not (equals and key and value):
        raise UserError(f"metadata {shown(text)} is not key=value; write for example region=eu")
    if not _KEY.fullmatch(key):
        raise UserError(f"metadata key {shown(key)} is not usable; use letters, digits and _ . : / @ + -")
    if value != value.strip() or not value.isprintable() or not _VALUE_FORBIDS.isdisjoint(value):
        raise UserError(
            f"metadata value {shown(value)} is not usable; use no = , quotes, outer blanks or control characters"
        )
    if len(text) > MAX_METADATA:
        raise UserError(f"metadata {shown(text)} has {len(text)} characters; use at most {MAX_METADATA}")
    return key, value


def words(text: str) -> tuple[str, ...]:
    """A list's words: separated by blanks, in single or double quotes where they hold some. Or UserError."""
    found: list[str] = []
    position, end = 0, len(text.rstrip(" \t"))
    while position < end:
        if not (match := _WORD.match(text, position)):
            raise UserError(f"the quotes in {shown(text)} do not pair up; quote whole words")
        found.append(next(group for group in match.groups() if group is not None))
        position = match.end()
    return tuple(found)


def _fault(line: int, error: UserError) -> Fault:
    """The error as a fault: every UserError of these modules reads "reason; remedy"."""
    reason, _, remedy = str(error).rpartition("; ")
    return Fault(line, reason, remedy)


def _misplaced(unit_file: UnitFile) -> Iterator[Fault]:
    """Sections that look like ours and are not, and options of ours in systemd's sections."""
    for header in islice(unit_file.sections, MAX_HEADERS):
        if header.name == FLEET_SECTION or not header.name.startswith("X-"):
            continue  # without X- systemd itself complains
        from difflib import get_close_matches  # noqa: PLC0415 - only for who has made a slip

        if get_close_matches(header.name[:60].lower(), ["x-fleet"], cutoff=0.85):
            yield Fault(header.line, f"section {shown(header.name)} is read by nobody", f"write [{FLEET_SECTION}]")
    for section in _SYSTEMD_SECTIONS:
        for entry in unit_file.section(section):
            if entry.name in _OURS_ALONE:
                yield Fault(
                    entry.line, f"{entry.name} means nothing in [{section}]", f"move it to [{FLEET_SECTION}]"
                )


_SPELLINGS = {option: (option, *(old for old, new in LEGACY.items() if new == option)) for option in OPTIONS}


class _Reading:
    """One pass over an `[X-Fleet]` section: each option's values with their lines, and the faults found.

    UserError when the unit's name is not valid.
    """

    def __init__(self, unit_file: UnitFile, name: str) -> None:
        self.faults: list[Fault] = list(islice(_unknown(unit_file), MAX_FAULTS))
        self._unit_file = unit_file
        unit = parse(name)  # a template is read as one of its instances would be
        self._name = unit.with_instance(_PLACEHOLDER).full if unit.is_template else name
        self._present = {entry.name for entry in unit_file.section(FLEET_SECTION)}
        self._machine_ids = self._read("MachineID", _machine_id)
        self._machine_of = self._read("MachineOf", _leader)
        self._metadata = self._read("MachineMetadata", metadata_pair)
        self._conflicts = self._read("Conflicts", _pattern)
        self._replaces = self._read("Replaces", _pattern)
        self._global = self._read("Global", _truth)
        self._memory = self._read("MemoryReserve", size_bytes)
        self._cpus = self._read("CPUReserve", cpu_millis)
        self._spread = self._read("SpreadOver", _key)
        self._prefer = self._read("PreferMetadata", metadata_pair)
        self._sticky = self._read("Sticky", _truth)
        self._move_after = self._read("MoveAfterFailures", _failure_limit)
        if len(_distinct(self._spread)) > 1:
            line = self._spread[-1][0]
            self.faults.append(Fault(line, "SpreadOver names two metadata keys", "keep one"))
        if len(_distinct(self._machine_ids)) > 1:
            line = self._machine_ids[-1][0]
            self.faults.append(
                Fault(line, "MachineID names two machines", "keep one, or choose by MachineMetadata")
            )
        self.faults += self._contradictions()

    def options(self) -> FleetOptions:
        """What the section says; meaningful only when no fault was found."""
        reserve = _limits(self._unit_file)
        if self._memory:
            reserve = reserve._replace(memory_bytes=self._memory[-1][1], memory_share=0.0)
        if self._cpus:
            reserve = reserve._replace(cpu_millis=self._cpus[-1][1])
        return FleetOptions(
            machine_id=self._machine_ids[-1][1] if self._machine_ids else None,
            machine_of=_distinct(self._machine_of),
            metadata=_by_key(self._metadata),
            conflicts=_distinct(self._conflicts),
            replaces=_distinct(self._replaces),
            is_global=self._is_global(),
            reserve=NOTHING if reserve == NOTHING else reserve,  # which is asked for by identity
            spread=self._spread[-1][1] if self._spread else "",
            prefer=_by_key(self._prefer),
            sticky=self._is_sticky(),
            move_after=self._move_after[-1][1] if self._move_after else None,
        )

    def faults_of_name(self) -> Iterator[Fault]:
        """What is wrong for this name alone. Not in `faults`: it depends on the name even without specifiers."""
        for line, leader in self._machine_of:
            if leader == self._name:
                yield Fault(line, f"MachineOf makes {self._name} follow itself", "name another unit")
        if self._spread and "@" not in self._name:
            line = self._spread[-1][0]
            yield Fault(line, f"SpreadOver spreads instances, and {self._name} is none", "remove it")

    def _is_global(self) -> bool:
        return bool(self._global) and self._global[-1][1]

    def _is_sticky(self) -> bool:
        return bool(self._sticky) and self._sticky[-1][1]

    def _read(self, option: str, understand: Callable[[str], T]) -> list[tuple[int, T]]:
        """The option's words as values, each with its line; words that make no sense become faults."""
        values: list[tuple[int, T]] = []
        names = _SPELLINGS[option]
        if self._present.isdisjoint(names):  # as most options in most files: they are read for every unit
            return values
        for entry in self._unit_file.effective(FLEET_SECTION, *names):
            try:
                found = words(entry.value)
                if len(values) + len(found) > MAX_WORDS:
                    raise UserError(f"more than {MAX_WORDS} entries; name fewer, with a pattern say")
                if long := next((word for word in found if len(word) > MAX_WORD), ""):  # expanded, many times that
                    raise UserError(f"{shown(long)} has {len(long)} characters; use at most {MAX_WORD}")
                if option not in _AS_WRITTEN:
                    found = tuple(expand(word, self._name) for word in found)
                values += [(entry.line, understand(word)) for word in found]
            except UserError as error:
                fault = _fault(entry.line, error)
                self.faults.append(fault._replace(reason=f"{entry.name}: {fault.reason}"))
        return values

    def _contradictions(self) -> Iterator[Fault]:
        if len(self._present) < 2:
            return
        asking = {  # the lines of each option that asks for something; `Global=no` does not
            "MachineID": [line for line, _ in self._machine_ids],
            "MachineOf": [line for line, _ in self._machine_of],
            "Conflicts": [line for line, _ in self._conflicts],
            "Replaces": [line for line, _ in self._replaces],
            "Global": [line for line, _ in self._global if self._is_global()],
            "SpreadOver": [line for line, _ in self._spread],
            "PreferMetadata": [line for line, _ in self._prefer],
            "Sticky": [line for line, _ in self._sticky if self._is_sticky()],
            "MoveAfterFailures": [line for line, _ in self._move_after],
        }
        lines = {option: found[0] for option, found in asking.items() if found}
        for one, other in _APART:
            if one in lines and other in lines:
                line = max(lines[one], lines[other])
                yield Fault(line, f"{one} and {other} exclude each other", "remove one of them")


def _unknown(unit_file: UnitFile) -> Iterator[Fault]:
    for entry in unit_file.section(FLEET_SECTION):
        if entry.name not in OPTIONS and entry.name not in LEGACY:
            by_lower = {name.lower(): name for name in (*LEGACY, *OPTIONS)}
            from difflib import get_close_matches  # noqa: PLC0415 - only for who has made a slip

            near = get_close_matches(entry.name[:60].lower(), by_lower, n=1)
            remedy = f"did you mean {by_lower[near[0]]}?" if near else f"the options are {', '.join(OPTIONS)}"
            yield Fault(entry.line, f"unknown option {shown(entry.name)} in [{FLEET_SECTION}]", remedy)


def _machine_id(word: str) -> str:
    if not _MACHINE_ID.fullmatch(word.lower()):
        raise UserError(
            f"{shown(word)} is no machine id; give its hex digits or the first few (see fleetctl list-machines -l)"
        )
    return word.lower()


def _leader(word: str) -> str:
    if is_glob(word):
        raise UserError(f"{shown(word)} is a pattern; MachineOf takes the names of units")
    return _placeable(normalise(word))


def _placeable(name: str) -> str:
    unit = parse(name)
    if unit.is_template:
        raise UserError(
            f"{name} is a template, which runs nowhere; name an instance, or {unit.prefix}@*.{unit.type}"
        )
    return name


def _pattern(word: str) -> str:
    if not is_glob(word):
        return _placeable(normalise(word))
    if found := glob_refusal(word):
        raise UserError("; ".join(found))
    return word


def _truth(word: str) -> bool:
    if word.lower() not in _TRUE | _FALSE:
        raise UserError(f"{shown(word)} is neither true nor false; write true or false")
    return word.lower() in _TRUE


def _key(word: str) -> str:
    if not _KEY.fullmatch(word):
        raise UserError(f"metadata key {shown(word)} is not usable; use letters, digits and _ . : / @ + -")
    return word


def _failure_limit(word: str) -> FailureLimit:
    count, slash, span = word.partition("/")
    if not (slash and re.fullmatch(r"[0-9]{1,3}", count) and int(count)):
        raise UserError(f"{shown(word)} is not NUMBER/SPAN with a number from 1 to 999; write for example 3/10min")
    return FailureLimit(int(count), span_s(span))


def _limits(unit_file: UnitFile) -> Reserve:
    """What [Service] limits the unit to; what systemd alone may judge counts for nothing."""
    found = NOTHING
    if _LIMITS.isdisjoint(entry.name for entry in unit_file.section("Service")):
        return found
    memory, quota = (unit_file.value("Service", each) for each in ("MemoryMax", "CPUQuota"))
    with suppress(UserError):
        if memory.endswith("%"):
            found = found._replace(memory_share=min(share(memory), 1.0))
        elif memory not in ("", "infinity"):
            found = found._replace(memory_bytes=size_bytes(memory))
    with suppress(UserError):
        if quota.endswith("%"):
            found = found._replace(cpu_millis=cpu_millis(quota))
    return NOTHING if found == NOTHING else found


def _by_key(pairs: list[tuple[int, tuple[str, str]]]) -> tuple[tuple[str, frozenset[str]], ...]:
    by_key: dict[str, set[str]] = {}
    for _, (key, value) in pairs:
        by_key.setdefault(key, set()).add(value)
    return tuple((key, frozenset(by_key[key])) for key in sorted(by_key))


def _distinct(values: list[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for _, value in values))
