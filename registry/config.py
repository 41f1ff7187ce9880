"""Configuration: one TOML file, then FLEET_* environment variables, then flags; the only door to tomli.

Every mistake is a UserError that names the file (with its line where TOML itself is broken) or the variable,
what was expected, and the nearest known name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from registry.errors import UserError
from registry.keys import DEFAULT_PREFIX

SYSTEM_FILE = Path("/etc/fleet/fleet.toml")


@dataclass(frozen=True, slots=True)
class EtcdTable:
    """[etcd]: where the registry is and how to get in."""

    endpoints: tuple[str, ...] = ("http://127.0.0.1:2379",)
    prefix: str = DEFAULT_PREFIX
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    username: str = ""
    password_file: str = ""
    request_timeout: float = 2.5  # seconds; a duration such as "2s" is accepted


@dataclass(frozen=True, slots=True)
class AgentTable:
    """[agent]: this machine."""

    machine_id: str = ""  # default: /etc/machine-id
    public_ip: str = ""  # default: the address that faces the registry
    metadata: Mapping[str, str] = field(default_factory=dict)
    ttl: float = 10.0
    bus: str = "system"
    units_directory: str = ""  # default: /run/fleet/units, or below XDG_RUNTIME_DIR on the user's bus
    on_lost_registry: str = "keep"


@dataclass(frozen=True, slots=True)
class SchedulerTable:
    """[scheduler]"""

    lease_ttl: float = 5.0
    tick: float = 30.0


@dataclass(frozen=True, slots=True)
class SshTable:
    """[ssh]: how an operator reaches machines."""

    user: str = ""
    port: int = 0  # 0: what the machine registered
    identity_files: tuple[str, ...] = ()
    known_hosts: str = ""
    tunnel: str = ""
    strict_host_key_checking: bool = True
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class ConsoleTable:
    """[console]"""

    theme: str = ""
    keymap: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    protected: bool = False  # destroying, and stopping more than one running unit, want a name typed
    confirm_from: int = 10  # running units that stop together, from which on a word must be typed anywhere
    name: str = ""  # what the cluster is called


@dataclass(frozen=True, slots=True)
class Settings:
    """All of the configuration. `source` is the file it came from, "" when there was none."""

    etcd: EtcdTable = EtcdTable()
    agent: AgentTable = AgentTable()
    scheduler: SchedulerTable = SchedulerTable()
    ssh: SshTable = SshTable()
    console: ConsoleTable = ConsoleTable()
    source: str = ""


DURATIONS = {("etcd", "request_timeout"), ("agent", "ttl"), ("scheduler", "lease_ttl"), ("scheduler", "tick")}
DURATIONS |= {("ssh", "timeout")}
CHOICES = {
    ("agent", "bus"): ("system", "user"),
    ("agent", "on_lost_registry"): ("keep", "stop"),
}
MINIMUM_S = {("agent", "ttl"): 2.0, ("scheduler", "lease_ttl"): 2.0}  # etcd's shortest lease
ALIASES = {  # fleet's names where they meet the same thing, and FLEETCTL_ ones
    "FLEET_ETCD_SERVERS": ("etcd", "endpoints"),
    "FLEET_ETCD_CAFILE": ("etcd", "ca_file"),
    "FLEET_ETCD_CERTFILE": ("etcd", "cert_file"),
    "FLEET_ETCD_KEYFILE": ("etcd", "key_file"),
    "FLEET_ETCD_KEY_PREFIX": ("etcd", "prefix"),
    "FLEET_METADATA": ("agent", "metadata"),
    "FLEET_PUBLIC_IP": ("agent", "public_ip"),
    "FLEET_AGENT_TTL": ("agent", "ttl"),
    "FLEETCTL_ENDPOINT": ("etcd", "endpoints"),
    "FLEETCTL_PREFIX": ("etcd", "prefix"),
    "FLEETCTL_CA_FILE": ("etcd", "ca_file"),
    "FLEETCTL_CERT_FILE": ("etcd", "cert_file"),
    "FLEETCTL_KEY_FILE": ("etcd", "key_file"),
    "FLEETCTL_REQUEST_TIMEOUT": ("etcd", "request_timeout"),
    "FLEETCTL_TUNNEL": ("ssh", "tunnel"),
    "FLEETCTL_SSH_USERNAME": ("ssh", "user"),
    "FLEETCTL_SSH_TIMEOUT": ("ssh", "timeout"),
    "FLEETCTL_KNOWN_HOSTS_FILE": ("ssh", "known_hosts"),
    "FLEETCTL_STRICT_HOST_KEY_CHECKING": ("ssh", "strict_host_key_checking"),
}
TABLES = ("etcd", "agent", "scheduler", "ssh", "console")
NOT_SETTINGS = {"FLEET_CONFIG", "FLEET_REQUIRE_CLUSTER", "FLEET_DEBUG"}


def load(path: Path | None, environ: Mapping[str, str], defaults: tuple[Path, ...] = ()) -> Settings:
    """Read the configuration.

    `path` must exist when given (also by FLEET_CONFIG); otherwise the first of `defaults` that exists is read.
    Raises UserError.
    """
    if path is None and environ.get("FLEET_CONFIG"):
        path = Path(environ["FLEET_CONFIG"])
    if path is None:
        path = next((each for each in defaults if each.is_file()), None)
    settings = _read(path) if path else Settings()
    return apply_environment(settings, environ)


def operator_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where an operator's programs look, in order."""
    home = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '')}/.config"
    return Path(home) / "fleet" / "fleet.toml", SYSTEM_FILE


def apply_environment(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Settings with FLEET_<TABLE>_<KEY> and fleet's own variable names put over them."""
    for name in sorted(environ):
        place = ALIASES.get(name) or _place_of(name)
        if place is None:
            continue
        settings = put(settings, place[0], place[1], _from_text(*place, environ[name]), name)
    return settings


def put(settings: Settings, table: str, key: str, value: object, where: str) -> Settings:
    """Settings with one value replaced; `where` (a file, a variable, a flag) is named in errors."""
    old = getattr(settings, table)
    parsed = _check(table, key, value, where)
    return replace(settings, **{table: replace(old, **{key: parsed})})


def parse_duration(value: object) -> float:
    """Seconds from a number or from text such as "10s", "500ms", "2m". Raises ValueError."""
    if isinstance(value, bool):
        raise ValueError("not a duration")  # noqa: TRY004 - callers map ValueError alone
    if isinstance(value, (int, float)):
        return float(value)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", str(value).strip())
    if not match:
        raise ValueError("not a duration")
    return float(match[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}[match[2]]


def _read(path: Path) -> Settings:
    import tomli  # noqa: PLC0415 - only when there is a file to read

    try:
        data = tomli.loads(path.read_text(encoding="utf-8"))
    except tomli.TOMLDecodeError as error:
        raise UserError(f"{path}: not valid TOML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"cannot read configuration {path}: {reason}") from error
    settings = Settings(source=str(path))
    for table, values in data.items():
        _known(table, TABLES, f"{path}: unknown table [{table}]")
        if not isinstance(values, dict):
            raise UserError(f"{path}: {table} must be a table: write [{table}]")
        for key, value in values.items():
            settings = put(settings, table, key, value, str(path))
    return settings


def _check(table: str, key: str, value: object, where: str) -> object:
    hints = get_type_hints(type(getattr(Settings(), table)))
    _known(key, tuple(hints), f"{where}: unknown key {key} in [{table}]")
    try:
        parsed = _typed(table, key, value, hints[key])
    except ValueError as error:
        raise UserError(f"{where}: [{table}] {key}: {error}") from error
    return parsed


def _typed(table: str, key: str, value: object, hint: Any) -> object:  # noqa: ANN401 - a type hint
    if (table, key) in DURATIONS:
        return _duration(table, key, value)
    if hint == tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(each, str) for each in value) and value:
            return tuple(value)
        raise ValueError('expected a list of texts such as ["a", "b"]')
    if hint == Mapping[str, str]:
        if isinstance(value, dict) and all(isinstance(each, str) for each in value.values()):
            return dict(value)
        raise ValueError('expected a table of texts such as { region = "eu" }')
    if type(value) is not hint:
        raise ValueError(f"expected {_WORDS[hint]}, not {value!r}")
    choices = CHOICES.get((table, key))
    if choices and value not in choices:
        raise ValueError(f"expected one of {', '.join(choices)}, not {value!r}")
    return value


def _duration(table: str, key: str, value: object) -> float:
    try:
        seconds = parse_duration(value)
    except ValueError:
        raise ValueError(f'expected a duration such as "10s", not {value!r}') from None
    least = MINIMUM_S.get((table, key), 0.0)
    if seconds < least or seconds <= 0:
        raise ValueError(f"must be {f'at least {least:g}s' if least else 'more than nothing'}, not {value!r}")
    return seconds


_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def _known(name: str, names: tuple[str, ...], complaint: str) -> None:
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
    raise UserError(f"{complaint}; {hint}")


def _place_of(variable: str) -> tuple[str, str] | None:
    """FLEET_ETCD_USERNAME and FLEETCTL-free spelling of every other key."""
    if not variable.startswith("FLEET_") or variable in NOT_SETTINGS:
        return None
    table, _, key = variable.removeprefix("FLEET_").lower().partition("_")
    if table not in TABLES:
        return None
    known = [each.name for each in fields(getattr(Settings(), table))]
    return (table, key) if key in known else None


def _from_text(table: str, key: str, text: str) -> object:
    """A variable's text as the value that TOML would hold."""
    hint = get_type_hints(type(getattr(Settings(), table)))[key]
    if hint == tuple[str, ...]:
        return [each.strip() for each in text.split(",") if each.strip()]
    if hint == Mapping[str, str]:
        pairs = (each.partition("=") for each in text.split(",") if each.strip())
        return {name.strip(): value.strip() for name, _, value in pairs}
    if hint is bool:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(
            text.lower(), text
        )
    if hint is int and text.isdigit():
        return int(text)
    return text
