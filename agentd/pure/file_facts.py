"""What the agent wants to know of a unit file's text. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from registry.errors import UserError
from registry.units.file import FLEET_SECTION, UnitFile, has_install, parse
from registry.units.hostreach import InstallLink
from registry.units.pins import OPTIONS, VersionPin, pins_of

PROGRAM_LENGTH = 120
VALUE_LENGTH = 200
SHOWN = 3  # conditions of a file that are told


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Of one file under one name: whether enabling it does anything, what that names, and what it runs.

    `program` is the path of its first command. `conditions` and `assertions` are as they are written. A fleeting
    unit may be unloaded by systemd, and why it did not start be forgotten, in the moment in which its start has
    come to nothing. `pins` is what it needs beside itself; `unpinned` says why that is not known.
    """

    installs: bool = False
    links: tuple[InstallLink, ...] = ()
    program: str = ""
    conditions: tuple[str, ...] = ()
    assertions: tuple[str, ...] = ()
    fleeting: bool = False
    pins: tuple[VersionPin, ...] = ()
    unpinned: str = ""

    def needed(self) -> tuple[VersionPin, ...]:
        """What it needs beside itself. UserError when that is not known."""
        if self.unpinned:
            raise UserError(self.unpinned)
        return self.pins


Reading = tuple[FileFacts, UnitFile]  # of a text: its facts but for the links, and the [Install] section alone


def read_facts(text: str) -> Reading:
    """The facts of a text, whatever its name; of one that is too large or does not parse: nothing."""
    try:
        unit_file = parse(text)
    except UserError:
        return FileFacts(), parse("")
    entries = unit_file.section("Install")
    command = unit_file.value("Service", "ExecStart").split(maxsplit=1)
    program = command[0].lstrip("@-:+!")[:PROGRAM_LENGTH] if command else ""
    unit, service = unit_file.section("Unit"), unit_file.section("Service")
    conditions, assertions = (
        tuple(f"{each.name}={each.value}"[:VALUE_LENGTH] for each in unit if each.name.startswith(kind))
        for kind in ("Condition", "Assert")
    )
    collected = any(each.name == "CollectMode" for each in unit)
    fleeting = bool(conditions or assertions) or collected or any(e.name == "ExecCondition" for e in service)
    pins, unpinned = _pins(unit_file)
    shown = conditions[:SHOWN], assertions[:SHOWN]
    facts = FileFacts(has_install(unit_file), (), program, *shown, fleeting, pins, unpinned)
    return facts, UnitFile("", (), entries, (), {"Install": entries})


def _pins(unit_file: UnitFile) -> tuple[tuple[VersionPin, ...], str]:
    """What the file needs in which version, and why that is not known, if it is not."""
    asks = any(unit_file.effective(FLEET_SECTION, option) for option in OPTIONS)
    try:
        found = pins_of(unit_file.text)
    except UserError as error:
        return (), str(error)
    if asks and not found:
        return (), "its file was stored without the versions of its configs and secrets; submit it with --replace"
    return found, ""
