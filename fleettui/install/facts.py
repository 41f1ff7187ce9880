"""What a host is, read by one script of its own sh in one go; `parse` makes values of its answer. Pure.

The script needs what Debian calls essential, and no Python: a host that lacks it is to be told so. What it says
is untrusted: whatever does not fit the grammar is left out or empty, and nothing of it reaches a shell.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

OWN_DIRECTORY = """sed -n 's/^units_directory = "\\(.*\\)"$/\\1/p' /etc/fleet/fleet.toml 2>/dev/null"""  # in sh
ETC, OPT, UNITS = "/etc/fleet", "/opt/fleet", "/etc/systemd/system"
SOCKET = r"[0-9A-F]+:[0-9A-F]{4}"  # of /proc/net/tcp
VERSION_LINK = r"versions/[A-Za-z0-9._+-]{1,100}"
DIRECTORY = r"(/[A-Za-z0-9._+-]{1,100}){2,20}/?"  # that needs no quotes in a unit file
PYTHONS = ("3.11", "3.12", "3.13", "3.14")

SCRIPT = r"""
export LC_ALL=C TZ=UTC PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
echo "connection=$1"
echo "uid=$(id -u)"
echo "now=$(date +%s)"
echo "hostname=$(uname -n)"
echo "architecture=$(uname -m)"
echo "machine=$(cat /etc/machine-id 2>/dev/null)"
(. /etc/os-release 2>/dev/null; echo "os=$PRETTY_NAME")
echo "init=$(cat /proc/1/comm)"
echo "systemd=$(systemctl --version 2>/dev/null | sed -n '1s/systemd \([0-9]*\).*/\1/p')"
for each in 3.11 3.12 3.13 3.14; do
    command -v "python$each" >/dev/null &&
        build=$("python$each" -c 'import sys, ssl, asyncio, ctypes, importlib.metadata
print(getattr(sys.implementation, "_multiarch", ""))' 2>/dev/null) && echo "python=$each $build"
done
echo "python3=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)"
for each in /opt /var/lib /etc; do echo "room=$each $(df -Pk $each | awk 'NR==2 {print $4}')"; done
[ -e /lib/ld-musl-x86_64.so.1 ] && echo "libc=musl"
awk '$4 == "0A" {print "listens=" $2}' /proc/net/tcp /proc/net/tcp6 2>/dev/null
for each in fleet-etcd fleet-scheduler fleet-agentd etcd; do
    printf 'unit='
    systemctl show "$each.service" --property=Id,ActiveState,UnitFileState,LoadState 2>/dev/null | tr '\n' ' '
    echo
done
echo "current=$(readlink /opt/fleet/current 2>/dev/null)"
for each in /opt/fleet/versions/*/complete /opt/fleet/etcd/[0-9]*/complete; do
    [ -e "$each" ] && echo "complete=$each"
done
[ -x /usr/bin/etcd ] && echo "etcd=$(/usr/bin/etcd --version 2>/dev/null | sed -n 's/^etcd Version: //p')"
[ -d /var/lib/private/fleet-etcd/data/member ] && echo "data=yes"
for each in /etc/fleet/* /etc/fleet/etcd/* /etc/systemd/system/fleet-*.service \
    /etc/systemd/system/fleet-*.service.d/*; do
    [ -f "$each" ] && sha256sum "$each" | sed 's/^/file=/'
done
for each in fleet-agentd:/etc/fleet/fleet.toml fleet-scheduler:/etc/fleet/scheduler.toml; do
    service=${each%%:*} file=${each#*:}
    [ -f "$file" ] || continue
    echo "endpoints=$file $(sed -n 's/^endpoints = //p' "$file")"
    echo "metrics=$file $(sed -n '/^\[metrics\]/,/^\[[^m]/s/^listen = "\(.*\)"$/\1/p' "$file")"
    began=$(systemctl show "$service" --property=ActiveEnterTimestamp --value 2>/dev/null)
    [ -n "$began" ] || continue
    began=$(date -d "$began" +%s)
    [ "$(stat -c %Y "$file")" -gt "$began" ] && echo "stale=$service.service"
    [ "$(stat -c %Y /opt/fleet/current)" -gt "$began" ] && echo "older=$service.service"
done
echo "directory=$(sed -n 's/^units_directory = "\(.*\)"$/\1/p' /etc/fleet/fleet.toml 2>/dev/null)"
echo "previous=$(readlink /opt/fleet/previous 2>/dev/null)"
for each in /etc/fleet/*.pem /etc/fleet/etcd/*.pem; do
    [ -f "$each" ] && grep -q 'BEGIN CERTIFICATE' "$each" && ! grep -q 'PRIVATE' "$each" &&
        echo "pem=$each $(base64 -w0 "$each")"
done
true
"""


@dataclass(frozen=True, slots=True)
class UnitFacts:
    """A unit as systemd has it."""

    load: str = ""
    active: str = ""
    enabled: str = ""

    @property
    def stays(self) -> bool:
        """Whether it runs, and will after a reboot."""
        return self.active == "active" and self.enabled == "enabled"


@dataclass(frozen=True, slots=True)
class HostFacts:
    """One host. `name` is what the user called it, `address` where it was reached, as it knows itself."""

    name: str
    address: str = ""
    root: bool = False
    clock_off_s: float = 0.0  # how far its clock is ahead of or behind this laptop's
    hostname: str = ""
    architecture: str = ""
    machine: str = ""
    os: str = ""
    init: str = ""
    systemd: int = 0
    libc: str = ""
    pythons: tuple[str, ...] = ()
    builds: Mapping[str, str] = field(default_factory=dict)  # what each Python is built for: "x86_64-linux-gnu"
    python3: str = ""  # whatever /usr/bin/python3 is, also one that is too old
    room_kb: Mapping[str, int] = field(default_factory=dict)
    listens: frozenset[int] = frozenset()
    units: Mapping[str, UnitFacts] = field(default_factory=dict)
    current: str = ""  # the version that runs
    previous: str = ""  # the version before it
    complete: frozenset[str] = frozenset()  # directories that were unpacked to their end
    own_etcd: str = ""  # the version of the distribution's etcd, if it is installed
    etcd_data: bool = False
    files: Mapping[str, str] = field(default_factory=dict)  # path to SHA-256
    pems: Mapping[str, bytes] = field(default_factory=dict)
    stale: frozenset[str] = frozenset()  # services that are older than their configuration
    older: frozenset[str] = frozenset()  # services that are older than the version that `current` leads to
    endpoints: Mapping[str, frozenset[str]] = field(default_factory=dict)  # of the registry, by configuration file
    unread: frozenset[str] = frozenset()  # configuration files whose endpoints are not one line as we write it
    metrics: Mapping[str, str] = field(default_factory=dict)  # where metrics are served, by configuration file
    units_directory: str = ""  # where the agent writes unit files, when it is not the usual place

    @property
    def python(self) -> str:
        """The version of Python to use: the system's own where it will do."""
        return self.python3 if self.python3 in self.pythons else next(iter(self.pythons), "")

    @property
    def build(self) -> str:
        """What that Python is built for: "x86_64-linux-gnu"."""
        return self.builds.get(self.python, "")

    def unit(self, name: str) -> UnitFacts:
        """A unit's state; nothing for one that systemd does not know."""
        return self.units.get(name, UnitFacts())

    def lives(self, name: str) -> bool:
        """Whether a unit runs, or tries to, or would at the next boot."""
        found = self.unit(name)
        return found.active not in ("", "inactive") or found.enabled == "enabled"


def parse(name: str, text: str, began: float, ended: float) -> HostFacts:
    """The facts that the script has printed between two times of this laptop's clock."""
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, mark, value = line.partition("=")
        if mark:
            said.setdefault(key, []).append(value.strip())

    def one(key: str, grammar: str = r"[ -~]{0,200}") -> str:
        value = said.get(key, [""])[0]
        return value if re.fullmatch(grammar, value) else ""

    listens = said.get("listens", [])
    now = int(one("now", r"\d{1,12}") or 0)
    builds = dict(map(_pair, said.get("python", [])))
    listed = {path: _words(told) for path, told in (_pair(each) for each in said.get("endpoints", []))}
    return HostFacts(
        name=name,
        address=_address(one("connection")),
        root=one("uid") == "0",
        clock_off_s=max(0.0, began - 1 - now, now - ended),  # a whole second, read between the two
        hostname=one("hostname", r"[A-Za-z0-9_.-]{1,253}"),
        architecture=one("architecture", r"[a-z0-9_]{1,20}"),
        machine=one("machine", r"[0-9a-f]{32}"),
        os=one("os"),
        init=one("init"),
        systemd=int(one("systemd", r"\d{1,4}") or 0),
        libc=one("libc"),
        pythons=tuple(each for each in PYTHONS if each in builds),
        builds=builds,
        python3=one("python3", r"\d\.\d{1,2}"),
        room_kb=dict(_room(said.get("room", []))),
        listens=frozenset(int(each.rpartition(":")[2], 16) for each in listens if re.fullmatch(SOCKET, each)),
        units=dict(_unit(each) for each in said.get("unit", [])),
        current=one("current", VERSION_LINK).removeprefix("versions/"),
        previous=one("previous", VERSION_LINK).removeprefix("versions/"),
        complete=frozenset(each.removesuffix("/complete") for each in said.get("complete", [])),
        own_etcd=one("etcd", r"\d+\.\d+\.\d+"),
        etcd_data=one("data") == "yes",
        files={path: digest for digest, path in (_pair(each) for each in said.get("file", []))},
        stale=frozenset(said.get("stale", [])),
        older=frozenset(said.get("older", [])),
        endpoints={path: words for path, words in listed.items() if words},
        unread=frozenset(path for path, words in listed.items() if not words),
        metrics=dict(map(_pair, said.get("metrics", []))),
        units_directory=one("directory", DIRECTORY),
        pems={path: _bytes(content) for path, content in (_pair(each) for each in said.get("pem", []))},
    )


def _address(connection: str) -> str:
    """The third word of SSH_CONNECTION: the address of the server's end."""
    words = connection.split()
    return words[2] if len(words) == 4 and re.fullmatch(r"[0-9A-Fa-f.:]{2,45}", words[2]) else ""


def _room(rows: list[str]) -> list[tuple[str, int]]:
    pairs = (row.split() for row in rows)
    return [(pair[0], int(pair[1])) for pair in pairs if len(pair) == 2 and re.fullmatch(r"\d{1,18}", pair[1])]


def _unit(row: str) -> tuple[str, UnitFacts]:
    found = dict(pair.split("=", 1) for pair in row.split() if "=" in pair)
    unit = UnitFacts(found.get("LoadState", ""), found.get("ActiveState", ""), found.get("UnitFileState", ""))
    return found.get("Id", ""), unit


def _pair(row: str) -> tuple[str, str]:
    first, _, second = row.partition(" ")
    return first, second.strip()


def _words(text: str) -> frozenset[str]:
    """A list of JSON, which such a list of TOML is."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(each for each in found if isinstance(each, str)) if isinstance(found, list) else frozenset()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""
