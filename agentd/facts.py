"""What this machine is: the facts it registers with. Reads files and asks the kernel; changes nothing."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from agentd.provisions import read_private
from registry.errors import InvalidRecord, UserError
from registry.etcd.endpoint import host_and_port
from registry.grammar import host_key, host_of
from registry.model import NO_SECRETS_KEY, Machine
from registry.program.config import Settings
from registry.program.version import installed_version
from registry.records import encode
from registry.units.quadlet import GENERATORS

SSHD_CONFIG = Path("/etc/ssh/sshd_config")
HOST_KEYS = Path("/etc/ssh")
ANSWER_S = 30.0  # for Podman's generator: without an answer this machine's Quadlets would move away
NO_WAY = "127.0.0.1"  # the address where no way leads to the registry


def machine_id(settings: Settings, root: Path = Path("/")) -> str:
    """This machine's id: configured, or the system's own. Raises UserError when there is none."""
    if settings.agent.machine_id:
        found = settings.agent.machine_id.lower()
    else:
        found = _read(root / "etc/machine-id").strip()
    if not re.fullmatch(r"[0-9a-f]{32}", found):
        raise UserError(
            f"machine id {found!r} is not 32 hex digits; run systemd-machine-id-setup or set machine_id in [agent]"
        )
    return found


def boot_id() -> str:
    """What changes with each boot.

    systemd tells it by the unit (%b): in a container, a service with mounts of its own is shown the host's.
    """
    with suppress(ValueError):
        return str(UUID(os.environ.get("FLEET_BOOT_ID", "")))
    return _read(Path("/proc/sys/kernel/random/boot_id")).strip()


def describe(settings: Settings, systemd_version: str) -> Machine:
    """The machine's record; blocks. Raises UserError when the configuration makes it one that nobody could read."""
    agent = settings.agent
    port = int(_found(SSHD_CONFIG, r"(?i)^[ \t]*Port[ \t]+(\d{1,5})\b") or 22)
    machine = Machine(
        id=machine_id(settings),
        hostname=host_of(socket.gethostname()),
        address=agent.public_ip or facing_address(settings.etcd.endpoints),
        boot_id=boot_id(),
        metadata=tuple(sorted(agent.metadata.items())),
        ssh_port=port if 0 < port <= 65535 else 22,
        host_keys=_host_keys(),
        cpus=os.cpu_count() or 0,
        memory_bytes=1024 * int(_found(Path("/proc/meminfo"), r"^MemTotal:\s+(\d+) kB") or 0),
        agent_version=installed_version(),
        systemd_version=systemd_version,
        operating_system=_found(Path("/etc/os-release"), r"^PRETTY_NAME=[\"']*(.*?)[\"']*$"),
        bus=agent.bus,
        ttl_s=agent.ttl,
        podman_version=_generators_version(agent.bus),
        on_lost=agent.on_lost_registry,
        secrets_key=_secrets_key(agent.secrets_key_file, agent.bus),
    )
    try:
        encode(machine)
    except InvalidRecord as error:
        raise UserError(f"{error}; see public_ip, metadata and ttl in [agent] of the configuration") from error
    return machine


def facing_address(endpoints: tuple[str, ...]) -> str:
    """Our address on the way to the registry; no packet is sent for it. "127.0.0.1" when there is no way."""
    for endpoint in endpoints:
        try:
            target = socket.getaddrinfo(*host_and_port(endpoint), type=socket.SOCK_DGRAM)[0]
            with socket.socket(target[0], socket.SOCK_DGRAM) as probe:
                probe.connect(target[4])
                return str(probe.getsockname()[0])
        except (OSError, ValueError, UserError):
            continue
    return NO_WAY


def _secrets_key(path: str, bus: str) -> str:
    """The hash of the file of keys for secrets, which tells nobody the keys; or why no secret is opened here."""
    if bus != "system":
        return f"{NO_SECRETS_KEY}only the system's systemd is handed any"
    try:
        return sha256(read_private(path).encode()).hexdigest()
    except UserError as error:
        return f"{NO_SECRETS_KEY}{error}"


def _generators_version(bus: str) -> str:
    """The version of Podman's generator of services, which is Podman's; "" when there is none that answers."""
    generator = GENERATORS[bus]
    with suppress(OSError, subprocess.SubprocessError):
        seen = os.stat(generator)  # noqa: PTH116 - twice a minute
        return version_of(generator, (seen.st_ino, seen.st_mtime_ns))
    return ""


@lru_cache(maxsize=1)
def version_of(generator: str, file: tuple[int, int]) -> str:  # noqa: ARG001 - another file is asked anew
    """What a generator of Podman's says of its version. Raises OSError, SubprocessError. Blocks."""
    done = subprocess.run([generator, "-version"], capture_output=True, text=True, timeout=ANSWER_S, check=True)
    said = done.stdout.strip()
    return said if re.fullmatch(r"[\w.+~-]{1,60}", said) else ""


def _host_keys() -> tuple[str, ...]:
    found = []
    for path in sorted(HOST_KEYS.glob("ssh_host_*_key.pub")):
        words = _read(path).split()[:2]
        with suppress(ValueError):
            if len(words) == 2 and host_key(" ".join(words)):
                found.append(" ".join(words))
    return tuple(found)


def _found(path: Path, pattern: str) -> str:
    """What the group of a pattern holds in the first line of a file that matches; "" when none does."""
    match = re.search(pattern, _read(path), re.MULTILINE)
    return match[1] if match else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
