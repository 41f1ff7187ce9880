"""Asking systemd why a start came to nothing: the door between `diagnosis`, which has the words, and the bus.

Nothing here is asked unless something went wrong. Owns which units a start needs, and the walk over them.
"""

from __future__ import annotations

import asyncio
import glob
import grp
import pwd
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentd.dependencies import SYSTEMD, DiagnosisQueries
from agentd.pure.diagnosis import CONDITIONS, PATHS, STEPS, cause, failed_step, resources, unmet
from agentd.pure.unit_status import UnitStatus, failure
from registry.units.name import refusal, service_of
from registry.wording import and_more

NEEDS = ("Triggers", "Requires", "BindsTo", "Requisite")  # what has to be there for a start to be carried out
PULLED_IN = ("Requires", "BindsTo")  # what a start begins by starting, so that its needs count as well
WALKED = 64  # units that are looked at for one that did not start
NAMED = 3
_NOT_FOUND = re.compile(r"^Unit (\S+) (?:not found|is masked|not loaded properly|could not be found)")
NOT_ACTIVE = "not active"
WORDS = {"not-found": "not loaded", "masked": "masked"}


@dataclass(frozen=True, slots=True)
class Lack:
    """A unit that is needed and not there; `by` needs it, "" for the unit itself that was to start."""

    unit: str
    what: str  # "not loaded", "not active"
    by: str = ""


class Inquiry:
    """Questions about one machine's units. `host` is what people call the machine."""

    def __init__(self, systemd: DiagnosisQueries, host: str) -> None:
        self._systemd, self._host = systemd, host

    async def cause(self, unit: str, status: UnitStatus, at_us: int, program: str) -> str:
        """Why a unit that systemd calls failed has failed, since its start at `at_us`."""
        kind = service_of(unit).rpartition(".")[2]
        interface = f"{SYSTEMD}.{kind.capitalize()}"
        found = await self._systemd.known_properties(unit, (*STEPS.get(kind, ()), "Result"), interface)
        result = str(found.pop("Result", "")) or status.result
        step = failed_step(found, at_us)
        asked = await self._systemd.known_properties(unit, resources(result, step), interface)
        lost = await asyncio.to_thread(missing, asked)
        return cause(
            result, step, lost, failure(status if status.result else status.merged({"Result": result}), program)
        )

    async def verdict(self, unit: str) -> dict[str, Any]:
        """Whether its conditions held, and when they were looked at; of a service, how it ended."""
        found = await self._systemd.known_properties(unit, ("ConditionResult", "ConditionTimestampMonotonic"))
        if service_of(unit).endswith(".service"):
            found |= await self._systemd.known_properties(unit, ("Result",), f"{SYSTEMD}.Service")
        return found

    async def unmet(self, unit: str) -> str:
        """The condition or assertion that kept a unit from starting, "" when systemd does not remember."""
        found = await self._systemd.known_properties(unit, CONDITIONS)
        told = {name: unmet(rows) for name, rows in found.items()}
        return next((f"{CONDITIONS[name]} not met: {words}" for name, words in told.items() if words), "")

    async def refused_by_command(self, unit: str, at_us: int) -> str:
        """The ExecCondition= that said no."""
        found = await self._systemd.known_properties(unit, ("ExecCondition",), f"{SYSTEMD}.Service")
        step = failed_step(found, at_us)
        return f"condition not met: {step.place} ({step.words})" if step else ""

    async def lacking(self, unit: str) -> tuple[Lack, ...]:
        """The units without which this one cannot be started now, as far as they can be found."""
        lacks: list[Lack] = []
        ahead, seen = [unit], {unit}
        while ahead and len(seen) <= WALKED:
            needing = ahead.pop(0)
            needs = await self._systemd.known_properties(needing, NEEDS)
            names = [
                name for name in dict.fromkeys(n for group in needs.values() for n in group) if name not in seen
            ]
            seen.update(names)
            states = await self._systemd.list_units(names[:WALKED])
            for name, (load, active, _) in sorted(states.items()):
                down = active in ("inactive", "failed")
                by = "" if needing == unit else needing
                if load != "loaded":
                    lacks.append(Lack(name, WORDS.get(load, f"{load}, so not loaded"), by))
                elif down and (name in needs.get("Requisite", ()) or name.endswith(".device")):
                    lacks.append(Lack(name, NOT_ACTIVE, by))
                elif active == "inactive" and any(name in needs.get(each, ()) for each in PULLED_IN):
                    ahead.append(name)
        return tuple(lacks)

    async def loaded(self, units: set[str]) -> set[str]:
        """Those of the units that systemd has loaded, or can load."""
        return {name for name, (load, *_) in (await self._systemd.list_units(units)).items() if load == "loaded"}

    async def triggered(self, unit: str) -> tuple[str, ...]:
        """The units that a timer, path or socket would start."""
        found = await self._systemd.known_properties(unit, ("Triggers",))
        return tuple(found.get("Triggers", ()))

    async def running(self, units: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the units that run."""
        states = await self._systemd.list_units(units)
        return tuple(name for name, (_, active, _) in states.items() if active not in ("inactive", "failed"))

    def waiting(self, lacks: Iterable[Lack]) -> str:
        """What a unit waits for, in one line."""
        told = [
            f"{each.unit}, which is {each.what} on {self._host}{f' (needed by {each.by})' if each.by else ''}"
            for each in lacks
        ]
        more = [and_more(len(told) - NAMED)] if len(told) > NAMED else []
        return f"waits for {'; '.join(['; and for '.join(told[:NAMED]), *more])}"


def named_as_absent(reason: str) -> tuple[str, ...]:
    """The unit that systemd's refusal of a start says is not there."""
    found = _NOT_FOUND.match(reason)
    return (found[1],) if found and not refusal(found[1]) else ()


def missing(properties: Mapping[str, Any]) -> str:
    """What these properties name and this machine does not have, in words; "" when nothing is found. Blocks."""
    root = str(properties.get("RootDirectory") or "").lstrip("-")
    return next((words for name, value in properties.items() for words in _CHECKS[name](name, value, root)), "")


def _directory(name: str, value: Any, root: str) -> Iterator[str]:  # noqa: ANN401 - any D-Bus value
    inside = root if name == "WorkingDirectory" else ""
    if value and not value.startswith(("-", "!", "~")) and not _is(Path.is_dir, f"{inside}{value}"):
        what = "is not a directory" if _is(Path.exists, f"{inside}{value}") else "does not exist"
        yield f"{name}={value} {what}{f' in {root}' if inside else ''}"


def _file(name: str, value: Any, _root: str) -> Iterator[str]:  # noqa: ANN401 - as above
    if value and not _is(Path.exists, value):
        yield f"{name}={value} does not exist"


def _files(name: str, value: Any, _root: str) -> Iterator[str]:  # noqa: ANN401 - as above
    for path, ignored in value:
        found = glob.glob(path)  # noqa: PTH207 - the path is absolute and its pattern systemd's
        if not ignored and not any(_is(Path.exists, each) and not _is(Path.is_dir, each) for each in found):
            what = "is not a file" if found else "does not exist"
            yield f"{name.removesuffix('s')}={path} {what}"


def _credentials(name: str, value: Any, _root: str) -> Iterator[str]:  # noqa: ANN401 - as above
    for identifier, path in value:
        if path.startswith("/") and not _is(Path.exists, path):
            yield f"{name}={identifier}:{path} does not exist"


def _mounts(name: str, value: Any, root: str) -> Iterator[str]:  # noqa: ANN401 - as above
    for row in value:
        path, ignored = (row, row.startswith("-")) if isinstance(row, str) else (row[0], row[2])
        inside = root if isinstance(row, str) and not path.startswith("+") else ""
        if not ignored and not _is(Path.exists, f"{inside}{path.lstrip('+')}"):
            yield f"{name}={path} does not exist"


def _account(name: str, value: Any, _root: str) -> Iterator[str]:  # noqa: ANN401 - as above
    known: Callable[[str], object] = pwd.getpwnam if name == "User" else grp.getgrnam
    for account in [value] if isinstance(value, str) else value:
        if account and not account.isdigit():
            try:
                known(account)
            except (KeyError, OSError, ValueError):
                yield f"{name}={account} does not exist"


def _is(what: Callable[[Path], bool], path: str) -> bool:
    """Whether a path is so; one that cannot be looked at is not."""
    try:
        return what(Path(path))
    except OSError:
        return False


_CHECKS: dict[str, Callable[[str, Any, str], Iterable[str]]] = {
    "WorkingDirectory": _directory,
    "RootDirectory": _directory,
    "RootImage": _file,
    "User": _account,
    "Group": _account,
    "SupplementaryGroups": _account,
    "EnvironmentFiles": _files,
    "LoadCredential": _credentials,
    "LoadCredentialEncrypted": _credentials,
    **dict.fromkeys(PATHS, _mounts),
}
