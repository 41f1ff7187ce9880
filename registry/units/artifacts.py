"""`Artifact=` in `[X-Fleet]`: files too large for the registry that a unit needs on its machine before it starts.

Owns the option and its faults. A file is known by its sha256 alone; an address only says where it may be had, and
one without an address is brought by `fleetctl push`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from registry.errors import UserError
from registry.units.file import FLEET_SECTION, Fault, UnitFile, parse
from registry.units.name import expand, service_of, shown
from registry.units.name import parse as parse_name

ARTIFACT = "Artifact"
OPTIONS = {
    ARTIFACT: "`[URL] sha256=… [name=…]`: a file, fetched before the start; it is `%t/fleet/artifacts/%n/NAME`",
}
MAX_ARTIFACTS = 32  # of one unit
MAX_URL = 2048
MAX_NAME = 255
SCHEMES = ("http", "https")
_EXAMPLE = "write for example https://example.org/server-1.2 sha256=3fa9… name=server"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_PART = re.compile(r"[^ \t]+")


class Artifact(NamedTuple):
    """One file. `url` is "" for one that is pushed; `name` is what the unit finds it by."""

    sha256: str
    name: str
    url: str = ""

    @property
    def host(self) -> str:
        """Where it is fetched from, without what may be private in its address."""
        return urlsplit(self.url).netloc


def artifacts_of(text: str, name: str) -> tuple[Artifact, ...]:
    """What the file of this unit asks for, specifiers expanded. UserError for what it may not."""
    if ARTIFACT not in text:  # as most files
        return ()
    faults: list[Fault] = []
    found = tuple(_artifacts(parse(text), name, faults))
    if faults:
        raise UserError(f"{faults[0].reason}; {faults[0].remedy}")
    return found


def check_faults(unit_file: UnitFile, name: str) -> Iterator[Fault]:
    """Yield what is wrong with the option. An agent that does not know it must not start the unit either."""
    faults: list[Fault] = []
    wanted = list(_artifacts(unit_file, name, faults))
    yield from faults
    if faults or not wanted:
        return
    full = service_of(_full(name))  # which is what %n is to systemd
    needed = {_path(entry.value, full) for entry in unit_file.effective("Unit", "AssertPathExists")}
    needed |= {_path(entry.value, full) for entry in unit_file.effective("Service", "ExecStart")}
    for each in wanted:
        if f"/run/fleet/artifacts/{full}/{each.name}" not in needed:
            line = unit_file.effective(FLEET_SECTION, ARTIFACT)[0].line
            remedy = (
                f"add AssertPathExists=%t/fleet/artifacts/%n/{each.name} to [Unit], or begin ExecStart= with it"
            )
            yield Fault(
                line, f"{ARTIFACT}: an agent that is too old for it would start this without {each.name}", remedy
            )


def _full(name: str) -> str:
    """The unit; for a template an instance stands in."""
    unit = parse_name(name)
    return unit.with_instance("1").full if unit.is_template else name


def _path(value: str, full: str) -> str:
    """The path that a condition or a command begins with."""
    first = value.lstrip("@-:+!|").split(maxsplit=1)[:1]
    try:
        return expand(first[0].replace("%t", "/run"), full) if first else ""
    except UserError:
        return ""


def _artifacts(unit_file: UnitFile, name: str, faults: list[Fault]) -> Iterator[Artifact]:
    """What the section asks for; what is wrong is added to `faults`."""
    full = _full(name)
    given = unit_file.effective(FLEET_SECTION, ARTIFACT)
    if len(given) > MAX_ARTIFACTS:
        faults.append(Fault(given[-1].line, f"more than {MAX_ARTIFACTS} artifacts", "name fewer"))
        return
    seen: set[str] = set()
    for entry in given:
        try:
            found = _artifact(entry.value, full)
        except UserError as error:
            reason, _, remedy = str(error).rpartition("; ")
            faults.append(Fault(entry.line, f"{ARTIFACT}: {reason}", remedy))
            continue
        if found.name in seen:
            faults.append(Fault(entry.line, f"{ARTIFACT}: two are called {found.name}", "give one another name="))
        seen.add(found.name)
        yield found


def _artifact(value: str, full: str) -> Artifact:
    url, given = "", dict[str, str]()
    if len(value) > 2 * MAX_URL:
        raise UserError(f"it has {len(value):,} characters; {_EXAMPLE}")
    for part in _PART.findall(value):
        key, equals, rest = part.partition("=")
        if equals and key in ("sha256", "name") and key not in given:
            given[key] = expand(rest, full)
        elif not (url or given):
            url = _address(expand(part, full))
        else:
            raise UserError(f"{shown(part)} is none of sha256= and name=; {_EXAMPLE}")
    sha256 = given.get("sha256", "").lower()
    if not _SHA256.fullmatch(sha256):
        raise UserError(f"sha256= has to have the 64 hex digits that sha256sum shows; {_EXAMPLE}")
    name = given.get("name") or urlsplit(url).path.rpartition("/")[2]
    if not _FILE_NAME.fullmatch(name):
        raise UserError(f"{shown(name)} is no name of a file; add name=server, of letters, digits, . _ -")
    if len(name) > MAX_NAME:
        raise UserError(f"{shown(name)} has {len(name)} characters; use at most {MAX_NAME}")
    return Artifact(sha256, name, url)


def _address(text: str) -> str:
    try:
        url = urlsplit(text[: MAX_URL + 1])
        usable = url.scheme in SCHEMES and bool(url.hostname) and url.port != 0
    except ValueError:
        usable = False
    if not usable or len(text) > MAX_URL or not text.isascii() or not text.isprintable():
        raise UserError(f"{shown(text)} is no http:// or https:// address; {_EXAMPLE}")
    if url.username is not None or url.fragment:
        raise UserError(f"the address at {url.hostname} has a login or a fragment; leave that out, all can read it")
    return text
