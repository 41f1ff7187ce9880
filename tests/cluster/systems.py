"""What the nodes of the cluster tests are a view of: this host, or by FLEET_NODES=debian13 a Debian 13."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

from fleettui.demo.noderoot import HOST, System
from fleettui.demo.process import run
from tests.install.roots import PACKAGES, debian

PROJECT = Path(__file__).parent.parent.parent
CONTAINERS = ("podman", "crun", "netavark", "aardvark-dns", "catatonit", "nftables", "busybox-static")
TOOLS = ("dbus-user-session", "libfaketime", "libpam-systemd", "nftables", "procps", "sudo")


def system_of_nodes() -> System:
    """The system that FLEET_NODES names; this host where it names none."""
    wanted = os.environ.get("FLEET_NODES", "")
    if wanted not in ("", "debian13"):
        raise ValueError(f"FLEET_NODES={wanted}: use debian13, or nothing for nodes like this host")
    return debian_13() if wanted else HOST


def debian_13() -> System:
    """A Debian 13 with podman, made once, and other people's packages for its Python, as the .debs carry them."""
    architecture = run(["dpkg", "--print-architecture"]).stdout.strip()
    carry = runpy.run_path(str(PROJECT / "packaging/vendored.py"))["carry"]
    packages: Path = carry(architecture, PROJECT / "build/vendored")
    return System(debian("trixie", packages=(*PACKAGES, *CONTAINERS, *TOOLS)), packages)
