"""Configuration: one TOML file, then FLEET_* environment variables, then flags; the only door to tomli.

What a key may hold stands beside it, as a rule of `configrules`; a key without one takes what its type says. Every
mistake is a UserError of one line that names the file (with its line where TOML itself is broken) or the variable,
the key, what was expected, and the nearest known name.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from registry.errors import UserError
from registry.etcd import EtcdSettings
from registry.keys import DEFAULT_PREFIX, Keys
from registry.leases import leased_prefixes
from registry.program import configrules as rules
from registry.program.configrules import Rule, parse_duration, quoted

__all__ = ["SYSTEM_FILE", "Settings", "load", "operator_files", "parse_duration", "put"]

SYSTEM_FILE = Path("/etc/fleet/fleet.toml")
MOST_BYTES = 256 * 1024  # of a file; a large one takes some 10 kB
RULE = "rule"
LEAST_LEASE_S = 2.0  # etcd's shortest


def ruled(default: Any, rule: Rule) -> Any:  # noqa: ANN401 - a field of whatever type its default has
    """A key with a rule of its own."""
    return field(default=default, metadata={RULE: rule})


@dataclass(frozen=True, slots=True)
class EtcdTable:
    """[etcd]: where the registry is and how to get in."""

    endpoints: tuple[str, ...] = ruled(("http://127.0.0.1:2379",), rules.endpoints)
    prefix: str = ruled(DEFAULT_PREFIX, rules.prefix)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    username: str = ""
    password_file: str = ""
    request_timeout: float = ruled(2.5, rules.seconds(0.05, 3600))  # a duration such as "2s" is accepted

    def client_settings(self) -> EtcdSettings:
        """Return what the client of etcd needs to know."""
        return EtcdSettings(
            endpoints=self.endpoints,
            ca_file=self.ca_file or None,
            cert_file=self.cert_file or None,
            key_file=self.key_file or None,
            username=self.username or None,
            password_file=self.password_file or None,
            request_timeout_s=self.request_timeout,
            leased=leased_prefixes(Keys.under(self.prefix)),
        )


@dataclass(frozen=True, slots=True)
class AgentTable:
    """[agent]: this machine."""

    machine_id: str = ruled("", rules.machine_id)  # default: /etc/machine-id
    public_ip: str = ruled("", rules.host)  # default: the address that faces the registry
    metadata: Mapping[str, str] = field(default_factory=dict, metadata={RULE: rules.metadata})
    ttl: float = ruled(10.0, rules.seconds(LEAST_LEASE_S))
    bus: str = ruled("system", rules.choice("system", "user"))
    units_directory: str = ruled(
        "", rules.directory
    )  # default: /run/fleet/units, or below XDG_RUNTIME_DIR on the user's bus
    on_lost_registry: str = ruled("keep", rules.choice("keep", "stop"))


@dataclass(frozen=True, slots=True)
class SchedulerTable:
    """[scheduler]"""

    lease_ttl: float = ruled(5.0, rules.seconds(LEAST_LEASE_S))
    tick: float = ruled(30.0, rules.seconds(0.05))


@dataclass(frozen=True, slots=True)
class SshTable:
    """[ssh]: how an operator reaches machines."""

    user: str = ruled("", rules.user)
    port: int = ruled(0, rules.whole(0, 65535))  # 0: what the machine registered
    identity_files: tuple[str, ...] = ()
    known_hosts: str = ""
    tunnel: str = ""
    strict_host_key_checking: bool = True
    timeout: float = ruled(10.0, rules.seconds(0.05, 3600))


@dataclass(frozen=True, slots=True)
class ConsoleTable:
    """[console]"""

    theme: str = ""
    keymap: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    protected: bool = False  # destroying, and stopping more than one running unit, want a name typed
    confirm_from: int = ruled(
        10, rules.whole(0, 1_000_000)
    )  # running units that stop together, from which on a word must be typed anywhere
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
NOT_SETTINGS = {"FLEET_CONFIG", "FLEET_REQUIRE_CLUSTER", "FLEET_DEBUG", "FLEETCTL_DEBUG"}
LIKE = 0.85  # how alike a slip is to what was meant, as difflib measures it


def load(path: Path | None, environ: Mapping[str, str], defaults: tuple[Path, ...] = ()) -> Settings:
    """Read the configuration.

    `path` must exist when given (also by FLEET_CONFIG); otherwise the first of `defaults` that exists is read.
    Raises UserError.
    """
    if path is None and environ.get("FLEET_CONFIG"):
        path = Path(environ["FLEET_CONFIG"])
    if path is None:
        path = next((each for each in defaults if _is_there(each)), None)
    settings = _read(path) if path else Settings()
    return apply_environment(settings, environ)


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        where = rules.text_for_people(str(path))
        raise UserError(f"cannot read configuration {where}: {error.strerror}; set FLEET_CONFIG or HOME") from None


def operator_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where an operator's programs look, in order."""
    home = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '')}/.config"
    return Path(home) / "fleet" / "fleet.toml", SYSTEM_FILE


def apply_environment(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Settings with FLEET_<TABLE>_<KEY> and fleet's own variable names put over them."""
    for name in sorted(environ):
        place = _variables().get(name)
        if place is None:
            _refuse_slip(name)
            continue
        settings = put(settings, place[0], place[1], _from_text(*place, environ[name]), name)
    return settings


def put(settings: Settings, table: str, key: str, value: object, where: str) -> Settings:
    """Settings with one value replaced; `where` (a file, a variable, a flag) is named in errors."""
    old = getattr(settings, table)
    parsed = _check(table, key, value, where)
    return replace(settings, **{table: replace(old, **{key: parsed})})


def _read(path: Path) -> Settings:
    settings = Settings(source=str(path))
    where = rules.text_for_people(str(path))
    for table, values in _parsed(path, where).items():
        _known(table, TABLES, f"{where}: unknown table [{_name(table)}]")
        if not isinstance(values, dict):
            raise UserError(f"{where}: {table} must be a table: write [{table}]")
        for key, value in values.items():
            settings = put(settings, table, key, value, where)
    return settings


def _parsed(path: Path, where: str) -> dict[str, Any]:
    """The file as TOML. Some of what tomli meets in a hostile file it raises as it comes."""
    import tomli  # noqa: PLC0415 - only when there is a file to read

    try:
        return tomli.loads(_content(path).decode("utf-8-sig"))
    except tomli.TOMLDecodeError as error:
        raise UserError(f"{where}: not valid TOML: {rules.text_for_people(str(error))}") from None
    except RecursionError:
        raise UserError(f"{where}: not valid TOML: its values are nested too deeply") from None
    except UnicodeDecodeError:
        raise UserError(f"cannot read configuration {where}: not UTF-8 text") from None
    except OSError as error:
        raise UserError(f"cannot read configuration {where}: {error.strerror or error}") from None
    except ValueError as error:
        known = "digits" in str(error)
        reason = "a number has too many digits" if known else rules.text_for_people(str(error))
        raise UserError(f"{where}: not valid TOML: {reason}") from None


def _content(path: Path) -> bytes:
    """What the file holds; a bounded part of whatever else stands there. Waits for no other end of a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        os.set_blocking(descriptor, True)
        content = b""
        while len(content) <= MOST_BYTES and (piece := os.read(descriptor, MOST_BYTES)):
            content += piece
    finally:
        os.close(descriptor)
    if len(content) > MOST_BYTES:
        raise OSError(None, f"it is larger than {MOST_BYTES >> 10} KiB")
    if stat.S_ISFIFO(mode) and not content:
        raise OSError(None, "a pipe into which nobody writes")
    return content


def _check(table: str, key: str, value: object, where: str) -> object:
    known = _rules(table)
    _known(key, tuple(known), f"{where}: unknown key {_name(key)} in [{table}]")
    try:
        return known[key](value)
    except ValueError as error:
        raise UserError(f"{where}: [{table}] {key}: {error}") from None


@cache
def _rules(table: str) -> Mapping[str, Rule]:
    """The rule of each key of a table."""
    kind = type(getattr(Settings(), table))
    hints = get_type_hints(kind)
    return {each.name: each.metadata.get(RULE) or BY_TYPE[hints[each.name]] for each in fields(kind)}


BY_TYPE: Mapping[object, Rule] = {
    str: rules.text,
    int: rules.whole(-(2**31), 2**31 - 1),
    float: rules.seconds(0.0),
    bool: rules.switch,
    tuple[str, ...]: rules.texts,
    Mapping[str, str]: rules.pairs,
}


def _known(name: str, names: tuple[str, ...], complaint: str) -> None:
    if name in names:
        return
    near = difflib.get_close_matches(name[:100], names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
    raise UserError(f"{complaint}; {hint}")


def _name(name: str) -> str:
    """A key of a file, such as nobody may have meant, for a message."""
    return name if re.fullmatch(r"[0-9A-Za-z_.-]{1,60}", name) else quoted(name)


@cache
def _variables() -> Mapping[str, tuple[str, str]]:
    """Every variable that is a setting, and its place."""
    places = {f"FLEET_{table}_{key}".upper(): (table, key) for table in TABLES for key in _rules(table)}
    return {**places, **ALIASES}


def _refuse_slip(variable: str) -> None:
    """A variable that is no setting is somebody else's, unless it is one letter or two away from one."""
    if not variable.startswith(("FLEET_", "FLEETCTL_")) or variable in NOT_SETTINGS:
        return
    near = difflib.get_close_matches(variable[:100], (*_variables(), *NOT_SETTINGS), n=1, cutoff=LIKE)
    if near:
        raise UserError(f"{_name(variable)}: no such setting; did you mean {near[0]}?")


def _from_text(table: str, key: str, text: str) -> object:
    """A variable's text as the value that TOML would hold."""
    kind = type(getattr(Settings(), table))
    hint = get_type_hints(kind)[key]
    if hint == tuple[str, ...]:
        return [each.strip() for each in text.split(",") if each.strip()]
    if hint == Mapping[str, str]:
        pairs = (each.partition("=") for each in text.split(",") if each.strip())
        return {name.strip(): value.strip() for name, _, value in pairs}
    if hint is bool:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(
            text.lower(), text
        )
    if hint is int and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    return text
