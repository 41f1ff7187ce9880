"""The health check that a unit's file names: `HealthCheck=` and what belongs to it, in `[X-Fleet]`.

Owns the options' values and their limits. The agent of the unit's machine carries the check out. It must not know
of sockets or clocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import urlsplit

from registry.errors import UserError
from registry.frozen import dataclass
from registry.units.amounts import span_s
from registry.units.file import FLEET_SECTION, Fault, UnitFile
from registry.units.name import expand, parse, shown

CHECK = "HealthCheck"
OPTIONS = {
    CHECK: "`http://…` or `tcp://…`, asked by the agent of its machine; an answer from 200 to 399 is well",
    "HealthInterval": "from one check to the next (10s)",
    "HealthTimeout": "how long a check may take (5s)",
    "HealthRetries": "a check that fails is repeated so many times within the interval (2)",
}
INTERVAL_S, TIMEOUT_S, RETRIES = 10.0, 5.0, 2
MAX_URL = 1024
Where = tuple[str, int, str | None]  # host, port, and what is asked for by HTTP
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """What is asked, and how often. `path` is None where a connection is all that is tried."""

    host: str
    port: int
    path: str | None = None
    interval_s: float = INTERVAL_S
    timeout_s: float = TIMEOUT_S
    retries: int = RETRIES

    @property
    def url(self) -> str:
        """What is asked, as people write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}" if self.path is None else f"http://{host}:{self.port}{self.path}"

    @property
    def pause_s(self) -> float:
        """From one attempt to the next after one that failed: all of them fall into one interval."""
        return self.interval_s / (self.retries + 1)


def read_check(unit_file: UnitFile, name: str) -> HealthCheck | None:
    """The unit's check, specifiers expanded; None when its file has none. UserError for a bad one."""
    faults: list[Fault] = []
    found = _read(unit_file, name, faults)
    if faults:
        raise UserError(f"{faults[0].reason}; {faults[0].remedy}")
    return found


def check_faults(unit_file: UnitFile, name: str) -> Iterator[Fault]:
    """Yield what is wrong with the options of a check."""
    faults: list[Fault] = []
    _read(unit_file, name, faults)
    yield from faults


def _read(unit_file: UnitFile, name: str, faults: list[Fault]) -> HealthCheck | None:
    """The check; what is wrong is added to `faults`."""
    unit = parse(name)
    full = unit.with_instance("1").full if unit.is_template else name

    def value(option: str, understand: Callable[[str], T], default: T) -> T:
        given = unit_file.effective(FLEET_SECTION, option)
        try:
            return understand(given[-1].value.strip()) if given else default
        except UserError as error:
            reason, _, remedy = str(error).rpartition("; ")
            faults.append(Fault(given[-1].line, f"{option}: {reason}", remedy))
            return default

    where = value(CHECK, lambda text: _target(expand(text, full)), None)
    interval_s = value("HealthInterval", lambda text: _span(text, 0.5, 3600.0), INTERVAL_S)
    timeout_s = value("HealthTimeout", lambda text: _span(text, 0.1, 60.0), TIMEOUT_S)
    retries = value("HealthRetries", _retries, RETRIES)
    if where is not None:
        return HealthCheck(*where, interval_s, timeout_s, retries)
    lonely = [each for option in OPTIONS for each in unit_file.effective(FLEET_SECTION, option)]
    if lonely and not faults:
        faults.append(Fault(lonely[0].line, f"{lonely[0].name} stands without {CHECK}", f"add {CHECK}=http://…"))
    return None


def _target(text: str) -> Where | None:
    remedy = "write http://127.0.0.1:8080/healthz or tcp://127.0.0.1:5432"
    if len(text) > MAX_URL or not text.isascii() or not text.isprintable() or " " in text:
        raise UserError(f"{shown(text)} is no address of a check; {remedy}")
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        raise UserError(f"{shown(text)} is no address of a check; {remedy}") from None
    if url.scheme not in ("http", "tcp") or not host or url.username is not None or url.fragment:
        raise UserError(f"{shown(text)} is no address of a check; {remedy}")
    if url.scheme == "tcp" and (not port or url.path.strip("/") or url.query):
        raise UserError(f"{shown(text)} needs a port, and nothing after it; {remedy}")
    if port == 0:
        raise UserError(f"{shown(text)} has port 0; {remedy}")
    if url.scheme == "tcp":
        return host, port or 0, None
    return host, port or 80, (url.path or "/") + (f"?{url.query}" if url.query else "")


def _span(text: str, least_s: float, most_s: float) -> float:
    seconds = span_s(text)
    if not least_s <= seconds <= most_s:
        raise UserError(
            f"{shown(text)} is no time from {least_s:g}s to {most_s:g}s; write for example 10s or 500ms"
        )
    return seconds


def _retries(text: str) -> int:
    if not re.fullmatch(r"\d{1,2}", text):
        raise UserError(f"{shown(text)} is no number from 0 to 99; write for example 2")
    return int(text)
