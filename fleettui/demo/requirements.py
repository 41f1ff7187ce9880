"""What this host needs to boot nodes, or to run the one-machine demo, and what to say when it lacks it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from fleettui.demo.cgroup import hierarchies
from fleettui.demo.etcdserver import find_binary
from fleettui.demo.process import ToolFailed, run
from registry.errors import UserError

INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
PACKAGES: Mapping[str, str] = {  # program: Debian's and Ubuntu's package
    "systemd-nspawn": "systemd-container",
    "/usr/sbin/sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
    "dbus-daemon": "dbus",
    "nsenter": "util-linux",
}


def nodes_missing() -> list[str]:
    """Why this host cannot boot nodes, one reason each; empty when it can."""
    if os.geteuid() != 0:
        return ["booting machines needs root"]
    reasons = [f"{program} is missing (package {PACKAGES[program]})" for program in missing_programs()]
    return reasons + _etcd_missing() + _kernel_missing()


def missing_programs() -> list[str]:
    """The programs a cluster of nodes needs that are not installed."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [program for program in PACKAGES if shutil.which(program, path=path) is None]


def user_missing() -> list[str]:
    """Why the one-machine demo on the user's own systemd cannot run; empty when it can."""
    reasons = _etcd_missing()
    try:
        run(["systemctl", "--user", "show", "--property=Version"], timeout_s=5)
    except ToolFailed:
        reasons.append("no `systemd --user` answers (log in through systemd-logind, or `loginctl enable-linger`)")
    return reasons


def _etcd_missing() -> list[str]:
    try:
        find_binary()
    except UserError as error:
        return [str(error)]
    return []


def _kernel_missing() -> list[str]:
    reasons = []
    status = Path("/proc/self/status").read_text().splitlines()
    capabilities = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    if not capabilities >> 21 & 1:  # CAP_SYS_ADMIN, capabilities(7), which a container's root does not hold
        reasons.append("root may not mount file systems here (inside a container?)")
    if not hierarchies() or not os.access(hierarchies()[-1], os.W_OK):
        reasons.append("the cgroup file system is not writable (inside a container?)")
    if "overlay" not in Path("/proc/filesystems").read_text() and not _loads("overlay"):
        reasons.append("the kernel has no overlay file system")
    if Path("/").stat().st_dev != Path("/usr").stat().st_dev:
        reasons.append("/usr is a file system of its own, which a copy-on-write root cannot show")
    return reasons


def refuse_too_many(size: int) -> None:
    """Raise UserError when the kernel's allowance for root would not carry so many machines."""
    allowance = int(INOTIFY.read_text())
    if allowance < size * 12:
        raise UserError(
            f"{size} machines need more inotify instances than the {allowance} this host allows; "
            f"run `sysctl fs.inotify.max_user_instances={size * 64}`"
        )


def _loads(module: str) -> bool:
    try:
        return run(["modprobe", module], check=False).returncode == 0
    except ToolFailed:
        return False
