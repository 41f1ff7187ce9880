"""What makes a copy of this host's root a machine of its own: the files, links and hidden directories. Pure.

Everything that the host has enabled, configured or stored is hidden: a node runs our few services and nothing of
whatever else this host happens to run, and sees neither the host's secrets nor its users' files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleettui.demo.layout import ClusterLayout, NodeSpec
from fleettui.services import scheduler_access
from registry.roles import agent_of, scheduler_of

# Directories of which a node sees nothing of the host's.
HIDDEN = (
    "etc/cron.d",
    "etc/fleet",
    "etc/init.d",
    "etc/netplan",
    "etc/ssh",
    "etc/systemd/network",
    "etc/systemd/system",
    "etc/systemd/user",
    "home",
    "root",
    "srv",
    "var",
)
GENERATES = {"podman-system-generator"}  # of systemd's generators, what a node needs; all others are masked
# What a node needs of the units that the distribution starts everywhere; all others are masked.
KEPT = {
    "dbus.service",
    "dbus.socket",
    "dbus-broker.service",
    "systemd-journald.service",
    "systemd-journald.socket",
    "systemd-journald-dev-log.socket",
    "systemd-journal-flush.service",
    "systemd-tmpfiles-setup.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-user-sessions.service",
    "dev-mqueue.mount",
}
WANTED = ("fleet-demo-network.service", "ssh.service", "fleet-agentd.service", "fleet-scheduler.service")
PROGRAMS = ("fleet-agentd", "fleet-scheduler", "fleetctl")
NETWORK_UNIT = """\
[Unit]
Description=Address of this node on the cluster's bridge
DefaultDependencies=no
Before=network.target
Wants=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/ip link set lo up
ExecStart=/sbin/ip address replace {address}/24 dev host0
ExecStart=/sbin/ip link set host0 up
"""
SSHD = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile /etc/ssh/authorized_keys
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""
JOURNALD = "[Journal]\nStorage=persistent\nSystemMaxUse=64M\nRateLimitBurst=0\nAudit=no\n"
# The scheduler is no user that could enter a home, and the source tree or Python may lie in one. What is granted
# holds from the first program on, so that this is a shell, not Python.
SCHEDULER = """\
[Service]
ExecStart=
ExecStart=/bin/sh -c "exec /usr/local/bin/fleet-scheduler"
AmbientCapabilities=CAP_DAC_READ_SEARCH
CapabilityBoundingSet=CAP_DAC_READ_SEARCH
PrivateUsers=no
"""
# The kernel's keyrings are closed to containers, a copy-on-write root cannot carry another overlay, and there may
# be no controller that would count processes.
CONTAINERS = "[containers]\nkeyring = false\npids_limit = 0\n"
STORAGE = (
    '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n'
)


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The texts of a node's SSH host key and of the key that may log in."""

    host_private: str
    host_public: str
    authorized: str


@dataclass(frozen=True, slots=True)
class File:
    """One file's text and mode."""

    text: str
    mode: int = 0o644


def files(
    spec: NodeSpec,
    layout: ClusterLayout,
    keys: NodeKeys,
    units: dict[str, str],
    ttl: str,
    credentials: Mapping[str, str],
) -> dict[str, File]:
    """The files of a node by their path below its root.

    `units` are our services' texts by name, `credentials` the texts of what lets its programs into the registry.
    """
    system = {f"etc/systemd/system/{name}": File(text) for name, text in units.items()}
    secrets = {f"etc/fleet/{name}": File(text, 0o600) for name, text in credentials.items()}
    hosts = [("127.0.0.1", "localhost"), (layout.host_address, "etcd")]
    hosts += [(each.address, each.name) for each in layout.nodes]
    user = scheduler_access("/etc/fleet", "fleet.toml", scheduler_of(spec.machine_id).name)
    return system | {
        **secrets,
        "etc/hostname": File(f"{spec.name}\n"),
        "etc/hosts": File("".join(f"{address}\t{name}\n" for address, name in hosts)),
        "etc/machine-id": File(f"{spec.machine_id}\n", 0o444),
        "etc/resolv.conf": File("# no names from outside\n"),
        "etc/fstab": File(""),
        "etc/default/ssh": File(""),
        "etc/default/locale": File("LANG=C.UTF-8\n"),
        "etc/fleet/fleet.toml": File(node_config(spec, layout, ttl)),
        "etc/ssh/sshd_config": File(SSHD),
        "etc/ssh/ssh_host_ed25519_key": File(keys.host_private, 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": File(keys.host_public),
        "etc/ssh/authorized_keys": File(keys.authorized, 0o600),
        "etc/systemd/journald.conf.d/90-fleet-demo.conf": File(JOURNALD),
        "etc/systemd/system/fleet-scheduler.service.d/demo.conf": File(SCHEDULER),
        "etc/systemd/system/fleet-scheduler.service.d/user.conf": File(user),
        "etc/systemd/system/fleet-demo-network.service": File(NETWORK_UNIT.format(address=spec.address)),
        "etc/containers/containers.conf": File(CONTAINERS),
        "etc/containers/storage.conf": File(STORAGE),
        "root/.bashrc": File(f"PS1='[fleet {layout.name}] \\u@\\h:\\w\\$ '\n"),
        "root/.profile": File('[ -n "$BASH_VERSION" ] && . ~/.bashrc\n'),
        "etc/tmpfiles.d/fleet-demo.conf": File("d /var/tmp 1777 root root -\n"),
        "var/log/journal/.keep": File(""),
    }


def links(offered_units: Iterable[str], generators: Iterable[str]) -> dict[str, str]:
    """The symbolic links of a node: masks for what is not kept, our wants."""
    masks = {f"etc/systemd/system/{name}": "/dev/null" for name in offered_units if name not in KEPT}
    silent = {f"etc/systemd/system-generators/{name}": "/dev/null" for name in generators if name not in GENERATES}
    wants = {f"etc/systemd/system/multi-user.target.wants/{name}": _unit_path(name) for name in WANTED}
    return masks | silent | wants | {"etc/systemd/system/sshd.service": _unit_path("ssh.service")}


def commands() -> dict[str, str]:
    """Links to the programs of the environment that runs us."""
    return {f"usr/local/bin/{name}": str(program(name)) for name in PROGRAMS}


def program(name: str) -> Path:
    """Where one of our programs is installed: beside the interpreter that runs us."""
    return Path(sys.prefix, "bin", name)


def node_config(spec: NodeSpec, layout: ClusterLayout, ttl: str) -> str:
    """The node's fleet.toml."""
    pairs = "".join(f'{key} = "{value}"\n' for key, value in spec.metadata.items())
    etcd = etcd_table(layout.node_endpoints, "/etc/fleet", agent_of(spec.machine_id).name, "agent.password")
    return f'{etcd}\n[agent]\npublic_ip = "{spec.address}"\nttl = "{ttl}"\n\n[agent.metadata]\n{pairs}'


def operator_config(layout: ClusterLayout, user: str) -> str:
    """The operator's fleet.toml on this host."""
    etcd = etcd_table(layout.operator_endpoints, str(layout.access), user, f"{user}.password")
    return (
        f"{etcd}\n"
        f'[ssh]\nuser = "root"\nidentity_files = ["{layout.state}/id_ed25519"]\n'
        f'known_hosts = "{layout.state}/known_hosts"\n'
    )


def etcd_table(endpoints: Iterable[str], directory: str, user: str, password: str) -> str:
    """The table [etcd] of a configuration whose files lie in `directory`; `password` is the name of one of them."""
    files = {"ca_file": "ca.pem", "cert_file": "client.pem", "key_file": "client.key", "password_file": password}
    rows = {"endpoints": list(endpoints), "username": user}
    rows |= {key: f"{directory}/{name}" for key, name in files.items()}
    # Plain strings and lists of them are the same in JSON and in TOML.
    return "[etcd]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in rows.items())


def _unit_path(name: str) -> str:
    ours = name.startswith("fleet-")
    return f"/etc/systemd/system/{name}" if ours else f"/usr/lib/systemd/system/{name}"
