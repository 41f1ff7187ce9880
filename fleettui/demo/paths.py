"""Where local clusters keep their state. Light on purpose: every operator's program asks here at start-up."""

from __future__ import annotations

import os
from pathlib import Path

CLUSTERS = Path("/var/lib/fleet/clusters")


def state_directory(name: str = "demo") -> Path:
    """The directory of a cluster of nodes; a tmpfs while the cluster is up, absent otherwise."""
    return CLUSTERS / name


def user_directory() -> Path:
    """The state of the one-machine demo that an ordinary user runs on `systemd --user`."""
    home = os.environ.get("XDG_STATE_HOME") or f"{Path.home()}/.local/state"
    return Path(home) / "fleet" / "demo"


def operator_config(name: str = "demo") -> Path:
    """The operator's fleet.toml of a local cluster; the file exists only while that cluster is up.

    A cluster of nodes (which `sudo` may have booted) comes before the user's own one-machine demo.
    """
    nodes = state_directory(name) / "fleet.toml"
    user = user_directory() / "fleet.toml"
    return user if name == "demo" and not nodes.is_file() and user.is_file() else nodes
