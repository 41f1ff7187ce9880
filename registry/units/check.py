"""What is wrong with a unit file, told before any machine sees it.

Owns the verdict at submit: name, encoding, size, syntax and sections, and gathers systemd's rules for the
type (`rules`) and the fleet options (`options`). Every problem has a line and a remedy. It
must not look at other units or at machines.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from registry.units.file import FLEET_SECTION, MAX_BYTES, MAX_FAULTS, Fault, Problem, UnitFile, is_too_large, parse
from registry.units.name import QUADLETS, UnitName, refusal, shown
from registry.units.name import parse as parse_name
from registry.units.options import check_options
from registry.units.rules import OWN_SECTIONS, QUADLET_SECTIONS, SHARED_SECTIONS, broken_rules


def verify(name: str, data: str | bytes, filename: str) -> tuple[Problem, ...]:
    """Everything that is wrong with the file, fleet options included, by line; empty when it may be submitted.

    `name` is the unit's complete name, `filename` what the user called the file.
    """
    named, text = _name_faults(name), _text(data)
    if isinstance(text, Fault):
        return _problems(filename, [*named, text])
    unit_file = parse(text)
    systemd = _problems(filename, _faults(name, unit_file, named))
    fleet = () if named else check_options(unit_file, name, filename)
    return tuple(sorted((*systemd, *fleet), key=lambda problem: problem.line)[:MAX_FAULTS])


def check(name: str, data: str | bytes, filename: str) -> tuple[Problem, ...]:
    """What systemd would refuse about the file, by line; the fleet options are not looked at."""
    named, text = _name_faults(name), _text(data)
    found = [*named, text] if isinstance(text, Fault) else _faults(name, parse(text), named)
    return _problems(filename, found)


def _problems(filename: str, faults: list[Fault]) -> tuple[Problem, ...]:
    return tuple(Problem(filename, *fault) for fault in sorted(faults)[:MAX_FAULTS])


def _name_faults(name: str) -> list[Fault]:
    found = refusal(name)
    return [Fault(1, *found)] if found else []


def _text(data: str | bytes) -> str | Fault:
    """The file as text of a size that can be stored, or what stands against it."""
    if len(data) > MAX_BYTES:
        return _too_large()
    if not isinstance(data, bytes):
        data = data.encode("utf-8", "surrogatepass")
    if b"\0" in data:
        return Fault(_line_at(data, data.index(b"\0")), "the file is binary", "give a text file in UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return Fault(_line_at(data, error.start), "the line is not UTF-8", "save the file as UTF-8 text")
    return _too_large() if is_too_large(text) else text


def _too_large() -> Fault:
    return Fault(1, f"the file is larger than {MAX_BYTES} bytes", "keep data and scripts out of the unit file")


def _line_at(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


def _faults(name: str, unit_file: UnitFile, named: list[Fault]) -> list[Fault]:
    """All of the name's and the text's faults. Rules of the type are judged only when the type is known."""
    found = chain(named, unit_file.faults)
    if not unit_file.sections:
        reason = "the file has no section" if unit_file.text.strip() else "the file is empty"
        return [*named, *(unit_file.faults or [Fault(1, reason, "begin with [Unit]")])]
    if not named:
        unit = parse_name(name)
        found = chain(found, _wrong_sections(unit, unit_file), broken_rules(unit, unit_file))
    return list(islice(found, MAX_FAULTS))


def _wrong_sections(unit: UnitName, unit_file: UnitFile) -> Iterator[Fault]:
    own = OWN_SECTIONS.get(unit.type)
    allowed: tuple[str, ...] = (*SHARED_SECTIONS, own) if own else SHARED_SECTIONS
    allowed += QUADLET_SECTIONS if unit.type in QUADLETS else ()
    for header in unit_file.sections:
        if header.name in allowed or header.name.startswith("X-"):
            continue
        if header.name in (*OWN_SECTIONS.values(), *QUADLET_SECTIONS):
            reason = f"section [{header.name}] does not belong in a {unit.type} unit"
            yield Fault(header.line, reason, f"use {_listed(allowed)}, or another suffix for the file")
        else:
            by_lower = {name.lower(): name for name in (*allowed, FLEET_SECTION)}
            from difflib import get_close_matches  # noqa: PLC0415 - only for who has made a slip

            near = get_close_matches(header.name[:60].lower(), by_lower, n=1)
            remedy = f"use {_listed(allowed)} or a name that begins with X-"
            remedy = f"did you mean [{by_lower[near[0]]}]?" if near else remedy
            yield Fault(header.line, f"unknown section {shown(header.name)}", remedy)


def _listed(sections: tuple[str, ...]) -> str:
    return ", ".join(f"[{name}]" for name in sections)
