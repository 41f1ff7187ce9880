"""Configuration: one TOML file, then FLEET_* environment variables, then flags; the only door to tomli.

Everything about a key stands on its field: what it may hold (a rule of `configrules`), meaning, other variables
that set it, default; docs/configuration.md is made from that. Every mistake is a UserError of one line that names
the file (with its line where TOML itself is broken) or the variable, the key, what was expected, and the nearest
known name.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

from registry.errors import UserError
from registry.etcd import EtcdSettings
from registry.frozen import dataclass, field, fields, replace
from registry.keys import DEFAULT_PREFIX, Keys
from registry.leases import leased_prefixes
from registry.program import configrules as rules
from registry.program.configrules import Rule, parse_duration, quoted

__all__ = ["SYSTEM_FILE", "Settings", "load", "operator_files", "parse_duration", "put", "put_text"]

SYSTEM_FILE = "/etc/fleet/fleet.toml"
MOST_BYTES = 256 * 1024  # of a file; a large one takes some 10 kB
LEAST_LEASE_S = 2.0  # etcd's shortest
NOT_SETTINGS = {"FLEET_BOOT_ID", "FLEET_CONFIG", "FLEET_REQUIRE_CLUSTER", "FLEET_DEBUG", "FLEETCTL_DEBUG"}
THEMES = ("dark", "light", "contrast", "terminal")
LIKE = 0.85  # how alike a slip is to what was meant, as difflib measures it


@dataclass(frozen=True, slots=True)
class KeySpec:
    """What is fixed about one key of the configuration.

    `meaning` is for people; `unset` says what holds while the default, which is empty then, is not replaced.
    `aliases` are variables that set the key beside FLEET_<TABLE>_<KEY>: fleet's own names, and those of fleetctl.
    """

    rule: Rule
    meaning: str
    unset: str = ""
    aliases: tuple[str, ...] = ()


def key(rule: Rule, meaning: str, *aliases: str, default: Any, unset: str = "") -> Any:  # noqa: ANN401
    """Return the field of a key; see `KeySpec`."""
    spec = {"spec": KeySpec(rule, meaning, unset, aliases)}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=spec)
    return field(default=default, metadata=spec)


@dataclass(frozen=True, slots=True)
class EtcdTable:
    """Where the registry is and how to get in. Every program reads it."""

    endpoints: tuple[str, ...] = key(
        rules.endpoints,
        "etcd's endpoints; the port is 2379 where none is written",
        "FLEET_ETCD_SERVERS",
        "FLEETCTL_ENDPOINT",
        default=("http://127.0.0.1:2379",),
    )
    prefix: str = key(
        rules.prefix,
        "the registry's keys lie below it",
        "FLEET_ETCD_KEY_PREFIX",
        "FLEETCTL_PREFIX",
        default=DEFAULT_PREFIX,
    )
    ca_file: str = key(
        rules.file,
        "authorities that may have signed etcd's certificate",
        "FLEET_ETCD_CAFILE",
        "FLEETCTL_CA_FILE",
        default="",
        unset="those of the system",
    )
    cert_file: str = key(
        rules.file,
        "our certificate for etcd, with `key_file`",
        "FLEET_ETCD_CERTFILE",
        "FLEETCTL_CERT_FILE",
        default="",
        unset="none",
    )
    key_file: str = key(
        rules.file,
        "its private key, of mode 0600",
        "FLEET_ETCD_KEYFILE",
        "FLEETCTL_KEY_FILE",
        default="",
        unset="none",
    )
    username: str = key(rules.text, "etcd's user, with `password_file`", default="", unset="no login")
    password_file: str = key(rules.file, "holds the user's password, of mode 0600", default="", unset="none")
    sealing_key_file: str = key(
        rules.file,
        "the fleet's public key, for which secrets are sealed",
        default="",
        unset="secrets.pub beside ca_file",
    )
    request_timeout: float = key(
        rules.seconds(0.05, 3600), "longest wait for one answer of etcd", "FLEETCTL_REQUEST_TIMEOUT", default=2.5
    )

    def client_settings(self) -> EtcdSettings:
        """Return what the client of etcd needs to know."""
        keys = Keys.under(self.prefix)
        return EtcdSettings(
            endpoints=self.endpoints,
            ca_file=self.ca_file or None,
            cert_file=self.cert_file or None,
            key_file=self.key_file or None,
            username=self.username or None,
            password_file=self.password_file or None,
            request_timeout_s=self.request_timeout,
            leased=leased_prefixes(keys),
            remedy=partial(_remedy, keys),
        )


def _remedy(keys: Keys, name: str, touched: Sequence[str], write: bool) -> tuple[str, str]:  # noqa: FBT001
    from registry.roles import remedy  # noqa: PLC0415 - for who is denied something

    return remedy(keys, name, touched, write)


@dataclass(frozen=True, slots=True)
class AgentTable:
    """This machine. fleet-agentd reads it."""

    machine_id: str = key(
        rules.machine_id, "the machine's id in the fleet", default="", unset="that of /etc/machine-id"
    )
    public_ip: str = key(
        rules.host,
        "the address that others reach the machine at",
        "FLEET_PUBLIC_IP",
        default="",
        unset="this host's address on the way to etcd",
    )
    metadata: Mapping[str, str] = key(
        rules.metadata, "what `MachineMetadata=` asks for", "FLEET_METADATA", default={}
    )
    ttl: float = key(
        rules.seconds(LEAST_LEASE_S),
        "how long a silent machine counts as alive (its lease)",
        "FLEET_AGENT_TTL",
        default=10.0,
    )
    bus: str = key(
        rules.choice("system", "user"), "whose systemd runs the units; `--user` sets it", default="system"
    )
    units_directory: str = key(
        rules.directory,
        "where unit files are written; outside of /run the service has to be let write there",
        default="",
        unset="/run/fleet/units, or fleet/units in XDG_RUNTIME_DIR on the user's bus",
    )
    secrets_key_file: str = key(
        rules.file,
        "the fleet's private key, of mode 0600, by which the agent opens secrets",
        default="/etc/fleet/secrets.key",
    )
    on_lost_registry: str = key(
        rules.choice("keep", "stop"),
        "whether units go on, or are stopped before its lease ends, when the registry does not answer",
        default="keep",
    )
    artifacts_directory: str = key(
        rules.directory,
        "where the files that `Artifact=` names are kept; elsewhere the service has to be let write there",
        default="",
        unset="/var/lib/fleet/artifacts, or fleet/artifacts in XDG_DATA_HOME on the user's bus",
    )
    artifacts_mib: int = key(
        rules.whole(1, 100_000_000), "how many MiB of the disk those files may take", default=8192
    )


@dataclass(frozen=True, slots=True)
class SchedulerTable:
    """The scheduler. fleet-scheduler reads it."""

    lease_ttl: float = key(
        rules.seconds(LEAST_LEASE_S), "how long a silent leader leads on (its lease)", default=5.0
    )
    tick: float = key(
        rules.seconds(0.05), "how often everything is decided again, though nothing changed", default=30.0
    )


@dataclass(frozen=True, slots=True)
class MetricsTable:
    """What agent and scheduler measure, for Prometheus. fleet-agentd and fleet-scheduler read it.

    Whoever reaches the port may read it: there is no login. docs/metrics.md lists what is told.
    """

    listen: str = key(
        rules.listen,
        "where fleet-agentd serves `/metrics` and `/healthz`; fleet-scheduler takes the next port",
        default="",
        unset="nothing is served",
    )


@dataclass(frozen=True, slots=True)
class SshTable:
    """How an operator reaches machines. fleetctl and fleettui read it."""

    user: str = key(rules.user, "user on the machines", "FLEETCTL_SSH_USERNAME", default="", unset="as `ssh` does")
    port: int = key(rules.whole(0, 65535), "port of their sshd", default=0, unset="what each machine registered")
    identity_files: tuple[str, ...] = key(
        rules.files, "private keys to use before those that `ssh` would use", default=(), unset="none"
    )
    known_hosts: str = key(
        rules.file,
        "file of host keys to trust, instead of those that `ssh` reads",
        "FLEETCTL_KNOWN_HOSTS_FILE",
        default="",
        unset="as `ssh` does",
    )
    tunnel: str = key(
        rules.text,
        "[USER@]HOST[:PORT]: etcd and the machines are reached by SSH through it",
        "FLEETCTL_TUNNEL",
        default="",
        unset="none",
    )
    strict_host_key_checking: bool = key(
        rules.switch,
        "whether a machine without a known host key is refused",
        "FLEETCTL_STRICT_HOST_KEY_CHECKING",
        default=True,
    )
    timeout: float = key(
        rules.seconds(0.05, 3600), "longest wait for a connection", "FLEETCTL_SSH_TIMEOUT", default=10.0
    )


@dataclass(frozen=True, slots=True)
class ConsoleTable:
    """The console. fleettui reads it."""

    theme: str = key(
        rules.choice(*THEMES), "the colours; a choice made in the console is kept and wins", default="dark"
    )
    keymap: Mapping[str, str] = key(
        rules.pairs, 'other keys for the console\'s actions: { drain = "ctrl+d" }', default={}
    )
    commands: Mapping[str, Mapping[str, object]] = key(
        rules.commands,
        "commands of your own: `[console.commands.NAME]` with `run`, and `key`, `confirm`, `on`; see console.md",
        default={},
    )
    read_only: bool = key(rules.switch, "whether it shows everything and changes nothing", default=False)
    protected: bool = key(
        rules.switch,
        "whether destroying, and stopping more than one running unit, want a name typed",
        default=False,
    )
    confirm_from: int = key(
        rules.whole(0, 1_000_000),
        "running units that stop together, from which on a word must be typed anywhere",
        default=10,
    )
    name: str = key(
        rules.text,
        "what the cluster is called",
        default="",
        unset="that of the local cluster, or the host of the first endpoint",
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """All of the configuration. `source` is the file it came from, "" when there was none."""

    etcd: EtcdTable = EtcdTable()
    agent: AgentTable = AgentTable()
    scheduler: SchedulerTable = SchedulerTable()
    metrics: MetricsTable = MetricsTable()
    ssh: SshTable = SshTable()
    console: ConsoleTable = ConsoleTable()
    source: str = ""


FilePath = str | os.PathLike[str]  # no Path: pathlib imports what reads URLs
TABLES = ("etcd", "agent", "scheduler", "metrics", "ssh", "console")


def chosen_file(flag: str | None) -> str | None:
    """Return the file that --config names, None without the flag. UserError for an empty name."""
    if flag == "":
        raise UserError("--config names no file; give one, or leave it out")
    return flag


def load(path: FilePath | None, environ: Mapping[str, str], defaults: tuple[FilePath, ...] = ()) -> Settings:
    """Read the configuration.

    `path` must exist when given (also by FLEET_CONFIG); otherwise the first of `defaults` that exists is read.
    Raises UserError.
    """
    if path is None and environ.get("FLEET_CONFIG"):
        path = environ["FLEET_CONFIG"]
    for each in defaults if path is None else ():
        try:
            found = _is_file(each)
        except OSError as error:
            where = rules.text_for_people(str(each))
            reason = f"{error.strerror}; set FLEET_CONFIG or HOME"
            raise UserError(f"cannot read configuration {where}: {reason}") from None
        if found:
            path = each
            break
    settings = _read(path) if path else Settings()
    return apply_environment(settings, environ)


def operator_files(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Where an operator's programs look, in order."""
    home = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '')}/.config"
    return f"{home}/fleet/fleet.toml", SYSTEM_FILE


def _is_file(path: FilePath) -> bool:
    """Whether there is such a file. OSError where that cannot be seen."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - see FilePath
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise


def apply_environment(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Settings with FLEET_<TABLE>_<KEY> and fleet's own variable names put over them."""
    for name in sorted(environ):
        if name in variables():
            settings = put_text(settings, *variables()[name], environ[name], name)
        elif name.startswith(("FLEET_", "FLEETCTL_")) and name not in NOT_SETTINGS:
            import difflib  # noqa: PLC0415 - only for who has made a slip

            near = difflib.get_close_matches(name[:100], (*variables(), *NOT_SETTINGS), n=1, cutoff=LIKE)
            if near:  # else it is another program's
                raise UserError(f"{_name(name)}: no such setting; did you mean {near[0]}?")
    return settings


def says_where(environ: Mapping[str, str]) -> bool:
    """Whether a variable says where the registry is."""
    return any(environ.get(name) for name, place in variables().items() if place == ("etcd", "endpoints"))


def put(settings: Settings, table: str, key: str, value: object, where: str) -> Settings:
    """Settings with one value replaced; `where` (a file, a variable, a flag) is named in errors."""
    known = specs(table)
    _known(key, tuple(known), f"{where}: unknown key ", f" in [{table}]")
    try:
        checked = known[key].rule.check(value)
    except ValueError as error:
        raise UserError(f"{where}: [{table}] {key}: {error}") from None
    return replace(settings, **{table: replace(getattr(settings, table), **{key: checked})})


def put_text(settings: Settings, table: str, key: str, text: str, where: str) -> Settings:
    """Settings with one value replaced by what the text of a variable or a flag says."""
    return put(settings, table, key, specs(table)[key].rule.from_text(text), where)


def _read(path: FilePath) -> Settings:
    settings = Settings(source=str(path))
    where = rules.text_for_people(str(path))
    for table, values in read_toml(path, where).items():
        _known(table, TABLES, f"{where}: unknown table [", "]")
        if not isinstance(values, dict):
            raise UserError(f"{where}: {table} must be a table: write [{table}]")
        for key, value in values.items():
            settings = put(settings, table, key, value, where)
    return settings


def read_toml(path: FilePath, where: str) -> dict[str, Any]:
    """The file as TOML; `where` names it in errors. UserError when it cannot be read or is none.

    Some of what tomli meets in a hostile file it raises as it comes.
    """
    import tomli  # noqa: PLC0415 - only when there is a file to read

    try:
        return tomli.loads(_content(path).decode("utf-8-sig"))
    except tomli.TOMLDecodeError as error:
        raise UserError(f"{where}: not valid TOML: {_toml_fault(str(error))}") from None
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


def _toml_fault(text: str) -> str:
    """Return what tomli says; of a key that stands twice it says no more than that nothing is overwritten."""
    what, at, where = text.rpartition(" (at ")
    if what.startswith(("Cannot overwrite", "Cannot declare", "Duplicate inline table key")):
        what = "a key or a table stands there a second time; leave one of the two out"
    return rules.text_for_people(f"{what}{at}{where}")


def _content(path: FilePath) -> bytes:
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


@cache
def specs(table: str) -> Mapping[str, KeySpec]:
    """Return what is fixed about each key of a table."""
    return {each.name: each.metadata["spec"] for each in fields(getattr(Settings(), table))}


def _known(name: str, names: tuple[str, ...], before: str, after: str) -> None:
    if name in names:
        return
    import difflib  # noqa: PLC0415 - only for who has made a slip

    near = difflib.get_close_matches(name[:100], names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
    raise UserError(f"{before}{_name(name)}{after}; {hint}")


def _name(name: str) -> str:
    """A key of a file, such as nobody may have meant, for a message."""
    return name if re.fullmatch(r"[0-9A-Za-z_.-]{1,60}", name) else quoted(name)


@cache
def variables() -> Mapping[str, tuple[str, str]]:
    """Return every variable that is a setting, with its table and key."""
    return {
        name: (table, key)
        for table in TABLES
        for key, spec in specs(table).items()
        for name in (f"FLEET_{table}_{key}".upper(), *spec.aliases)
    }
