"""What a unit's file asks for beside itself (`Config=`, `Secret=` in `[X-Fleet]`), and which versions it has.

The stored text of such a unit is the text that was submitted, with an end that is written for it: which version of
each it has, and the directives by which systemd hands them to the unit. So a unit's file says all that it runs
with, its hash changes with a version of its configuration, and a rollout, a rollback or a move to another machine
is about these versions. systemd refuses to start it where what the end names is not there. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from registry.errors import UserError
from registry.units.file import FLEET_SECTION, Fault, UnitFile, parse
from registry.units.name import QUADLETS, expand, shown
from registry.units.name import parse as parse_name

OPTIONS = {
    "Config": "files and variables of these names (`fleetctl config`): below `/run/fleet/config/NAME`, and set",
    "Secret": "`NAME[:CREDENTIAL]`: a secret (`fleetctl secret`) as a credential of the service",
}
PINS_SECTION = "X-Fleet-Pins"
ROOT = "/run/fleet/pins"  # where an agent puts what its units need, by kind, name and version
MOUNTED = "/run/fleet/config"  # where a unit sees the files of its configuration
ENVIRONMENT, FILES = "environment", "files"  # in the directory of a version
MAX_NEEDS = 32  # of one unit
MAX_NAME = 64
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*")
_PIN = re.compile(r"(Config|Secret)=([0-9A-Za-z][0-9A-Za-z._-]*):([0-9a-f]{64})(?::([0-9A-Za-z][0-9A-Za-z._-]*))?")

_MARK = (
    "\n# Written by fleet, to the end: the versions of what [X-Fleet] asks for. Without it, the newest are taken.\n"
)


class NeedKind(StrEnum):
    """What a unit may need; the value is its option."""

    CONFIG = "Config"
    SECRET = "Secret"  # noqa: S105 - an option's name


class Need(NamedTuple):
    """One thing that a file asks for. `credential`: what a secret is called in the unit."""

    kind: NeedKind
    name: str
    credential: str = ""

    def __str__(self) -> str:
        """What people call it: "config web"."""
        return f"{self.kind.lower()} {self.name}"


class VersionPin(NamedTuple):
    """One thing that a file asks for, in one version: the hash of its content."""

    need: Need
    version: str

    @property
    def path(self) -> str:
        """Where it lies on a machine: a directory for a configuration, a file for a secret."""
        return f"{ROOT}/{self.need.kind.lower()}/{self.need.name}/{self.version}"


def split(text: str) -> tuple[str, str]:
    """A stored text as what was submitted, and the end that was written for it ("" for none)."""
    at = text.find(_MARK)
    return (text, "") if at < 0 else (text[:at], text[at:])


def is_same(stored: str, given: str) -> bool:
    """Whether a stored text is what would be stored of a given one, its versions aside."""
    return _ended(split(stored)[0]) == _ended(split(given)[0])


def needs_of(text: str, name: str) -> tuple[Need, ...]:
    """What the file of this unit asks for, specifiers expanded. UserError for what it may not."""
    if not any(option in text for option in OPTIONS):  # as most files
        return ()
    faults: list[Fault] = []
    found = tuple(_needs(parse(split(text)[0]), name, faults))
    if faults:
        raise UserError(f"{faults[0].reason}; {faults[0].remedy}")
    return found


def pins_of(text: str) -> tuple[VersionPin, ...]:
    """The versions that a stored text has. UserError when its end is not one that is written for it."""
    _, end = split(text)
    if not end:
        return ()
    found = [_PIN.fullmatch(line) for line in _lines(end)]
    pins = [VersionPin(Need(NeedKind(each[1]), each[2], each[4] or ""), each[3]) for each in found if each]
    if not all(found) or end != _end(pins):
        raise UserError(
            "the end that fleet writes, with the versions of configs and secrets, was changed; leave it all out,"
            " and it is written again"
        )
    return tuple(pins)


def pinned(text: str, name: str, newest: Callable[[Need], str]) -> str:
    """The text to store for a unit: with the versions that it has already, and the newest of what it lacks.

    `newest` gives the version of a need, or raises UserError. A text that asks for nothing stays as it is.
    """
    head, _ = split(text)
    needs = needs_of(text, name)
    if not needs or (parse_name(name).is_template and _differ(head)):
        return head
    known = {pin.need: pin.version for pin in pins_of(text)}
    return _ended(head) + _end([VersionPin(each, known.get(each) or newest(each)) for each in needs])


def repinned(text: str, name: str, newest: Callable[[Need], str]) -> str:
    """The text with the newest versions. UserError as in `pinned`."""
    return pinned(split(text)[0], name, newest)


def outdated(text: str, newest: Mapping[tuple[NeedKind, str], str]) -> tuple[Need, ...]:
    """What a stored text has in another version than the newest. One that is not known any more does not count."""
    try:
        pins = pins_of(text)
    except UserError:
        return ()
    present = ((pin, newest.get((pin.need.kind, pin.need.name))) for pin in pins)
    return tuple(pin.need for pin, version in present if version is not None and version != pin.version)


def older_holders(newest: str, holders: Mapping[str, Iterable[str]]) -> list[str]:
    """Of what has versions of a config or a secret, by unit, the units that have another one than the newest.

    A rollout has yet to bring it: a unit is older until its turn, a global one until its last machine's.
    """
    return sorted(unit for unit, versions in holders.items() if any(each != newest for each in versions))


def check_faults(unit_file: UnitFile, name: str) -> Iterator[Fault]:
    """Yield what is wrong with these options."""
    faults: list[Fault] = []
    list(_needs(unit_file, name, faults))
    try:
        pins_of(unit_file.text)
    except UserError as error:
        reason, _, remedy = str(error).rpartition("; ")
        line = unit_file.text.count("\n", 0, unit_file.text.find(_MARK)) + 2
        faults.append(Fault(line, reason, remedy))
    yield from faults


def _needs(unit_file: UnitFile, name: str, faults: list[Fault]) -> Iterator[Need]:
    """What the section asks for, each once; what is wrong is added to `faults`."""
    unit = parse_name(name)
    full = unit.with_instance("1").full if unit.is_template else name
    seen: dict[object, None] = {}
    for kind in NeedKind:
        for entry in unit_file.effective(FLEET_SECTION, kind):
            if unit.type != "service":
                faults.append(Fault(entry.line, *_not_for(kind, unit.type)))
                return
            for word in entry.value.split():
                try:
                    need = _need(kind, expand(word, full))
                except UserError as error:
                    reason, _, remedy = str(error).rpartition("; ")
                    faults.append(Fault(entry.line, f"{kind}: {reason}", remedy))
                    continue
                same = need.credential or f"config {need.name}"  # two of one name would hide one another
                if same in seen:
                    faults.append(Fault(entry.line, f"{kind} names {same} twice", "keep one"))
                seen[same] = None
                if len(seen) > MAX_NEEDS:
                    faults.append(Fault(entry.line, f"more than {MAX_NEEDS} configs and secrets", "name fewer"))
                    return
                yield need


def _not_for(kind: NeedKind, unit_type: str) -> tuple[str, str]:
    """Why a unit of this type can have none of these, and what to do about it."""
    if unit_type not in QUADLETS:
        return f"{kind} is for services, and this is a {unit_type}", "remove it"
    if kind is NeedKind.CONFIG:
        why = "Podman takes the quotes of an environment file for part of the values, so that they would be others"
    else:
        why = "systemd gives a credential to podman, and not to what runs in the container"
    return f"{kind} is not handed to a {unit_type}: {why}", "run podman in a service that has it, or remove it"


def _need(kind: NeedKind, word: str) -> Need:
    name, colon, credential = word.partition(":")
    if kind is NeedKind.CONFIG and colon:
        raise UserError(f"{shown(word)} is no name of a config; write for example Config=web")
    return Need(
        kind, check_name(name), "" if kind is NeedKind.CONFIG else check_name(credential if colon else name)
    )


def check_name(name: str) -> str:
    """The name of a config, a secret or a credential. UserError for one that cannot be."""
    if not _NAME.fullmatch(name):
        raise UserError(f"{shown(name)} is no name; use letters, digits and . _ - after a letter or a digit")
    if len(name) > MAX_NAME:
        raise UserError(f"{shown(name)} has {len(name)} characters; use at most {MAX_NAME}")
    return name


def _differ(head: str) -> bool:
    """Whether each instance of a template asks for something else: then the template itself has no versions."""
    entries = parse(head).section(FLEET_SECTION)
    return any("%" in entry.value for entry in entries if entry.name in OPTIONS)


def _ended(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


def _lines(end: str) -> Iterator[str]:
    """The versions in an end, as they stand there."""
    inside = False
    for line in end.split("\n"):
        if line == f"[{PINS_SECTION}]":
            inside = True
        elif inside and not line:
            return
        elif inside:
            yield line


def _end(pins: Iterable[VersionPin]) -> str:
    """What is written after a text for these versions."""
    pins = list(pins)
    named = (
        f"{pin.need.kind}={':'.join(filter(None, (pin.need.name, pin.version, pin.need.credential)))}"
        for pin in pins
    )
    there = (f"AssertPathExists={pin.path}" for pin in pins)
    handed: list[str] = []
    for pin in pins:
        if pin.need.kind is NeedKind.CONFIG:
            handed.append(f"EnvironmentFile={pin.path}/{ENVIRONMENT}")
            handed.append(f"BindReadOnlyPaths={pin.path}/{FILES}:{MOUNTED}/{pin.need.name}")
        else:
            handed.append(f"LoadCredential={pin.need.credential}:{pin.path}")
    return _MARK + "\n".join([f"[{PINS_SECTION}]", *named, "", "[Unit]", *there, "", "[Service]", *handed, ""])
