"""The unit files of agent and scheduler: the one source for packages, `fleettui join` and the local cluster.

They lie beside this file as packages install them.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

PACKAGED = "/usr/bin/"  # where packages put the programs


def unit_files(programs: Path) -> dict[str, str]:
    """The text of each unit file by its name, for programs that lie in the directory `programs`."""
    found = [each for each in resources.files(__name__).iterdir() if each.name.endswith(".service")]
    return {each.name: moved(each.read_text(), programs) for each in found}


def moved(text: str, programs: Path) -> str:
    """A unit file as packages install it, for programs that lie in the directory `programs`."""
    return text.replace(f"={PACKAGED}fleet-", f"={programs}/fleet-")


def writable(directory: str) -> str:
    """The drop-in by which the agent may write in a directory outside of /run, which is made if it is missing."""
    return f"[Service]\nExecStartPre=+/bin/mkdir -p {directory}\nReadWritePaths=-{directory}\n"


def scheduler_access(directory: str, config: str, user: str) -> str:
    """The drop-in by which systemd hands the scheduler what lets it into the registry, from files in `directory`.

    `config` is the name of its fleet.toml there, `user` the one that it is in the registry.
    """
    sources = {"fleet.toml": config, "password": "scheduler.password"}
    sources |= {name: name for name in ("ca.pem", "client.pem", "client.key")}
    handed = "".join(f"LoadCredential={name}:{directory}/{source}\n" for name, source in sources.items())
    return (
        f"[Service]\n{handed}"
        "Environment=FLEET_CONFIG=%d/fleet.toml FLEET_ETCD_CA_FILE=%d/ca.pem\n"
        "Environment=FLEET_ETCD_CERT_FILE=%d/client.pem FLEET_ETCD_KEY_FILE=%d/client.key\n"
        f"Environment=FLEET_ETCD_USERNAME={user} FLEET_ETCD_PASSWORD_FILE=%d/password\n"
    )
