"""What this laptop keeps of a fleet, below ~/.config/fleet/clusters/NAME (0700, each file 0600).

    authority.pem, ca.pem            the fleet's authority (`fleettui.access.authority`)
    client.pem, client.key           lets this laptop reach the registry's port
    secrets.key, secrets.pub         what secrets are opened and sealed with
    root.password, USER.password     etcd's root, and this operator
    known_hosts                      the host keys that were shown at a join: they win over what the registry says
    fleet.toml                       this laptop's configuration; ~/.config/fleet/fleet.toml leads to it

Blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from fleettui.access.authority import Authority, write_private
from fleettui.access.grants import new_password
from fleettui.access.secrets_key import make_keys
from registry.errors import UserError
from registry.etcd import EtcdSettings
from registry.etcd.admin import ROOT

NAME = r"[a-z0-9][a-z0-9-]{0,31}"
LISTED = re.compile(r"(?m)^endpoints = (\[.*\])$")


class FleetFiles:
    """The files of one fleet. `operator` is the user of etcd that this laptop is."""

    def __init__(self, environ: Mapping[str, str], name: str) -> None:
        home = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '')}/.config"
        self.name = name
        self.usual = Path(home) / "fleet" / "fleet.toml"
        self.directory = Path(home) / "fleet" / "clusters" / name
        self.certificate, self.key = self.directory / "client.pem", self.directory / "client.key"
        self.ca = self.directory / "ca.pem"
        self.known_hosts = self.directory / "known_hosts"
        self.config = self.directory / "fleet.toml"
        self.operator = _operator()

    def password(self, user: str) -> Path:
        """The file of a user's password."""
        return self.directory / f"{user}.password"

    def authority(self) -> Authority | None:
        """The fleet's authority, None where none was made yet. Raises UserError for one that cannot be used."""
        return Authority.load(self.directory) if (self.directory / "authority.pem").exists() else None

    def make(self) -> None:
        """The authority, our certificate and the passwords, as far as they are missing. Raises UserError."""
        authority = Authority.create(self.directory, self.name)
        if not (self.certificate.exists() and self.key.exists()):
            leaf = authority.issue_client()
            write_private(self.key, leaf.key)
            write_private(self.certificate, leaf.certificate)
        make_keys(self.directory)
        for user in (ROOT, self.operator):
            if not self.password(user).exists():
                write_private(self.password(user), f"{new_password()}\n".encode())

    def complete(self) -> bool:
        """Whether everything is here that lets this laptop in."""
        files = (self.ca, self.certificate, self.key, self.password(ROOT), self.password(self.operator))
        return all(each.exists() for each in files)

    def host_keys(self) -> tuple[str, ...]:
        """The lines of known_hosts."""
        try:
            return tuple(self.known_hosts.read_text().splitlines())
        except OSError:
            return ()

    def pin(self, lines: Iterable[str]) -> None:
        """Keep host keys; a line that is there is not written twice."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = dict.fromkeys([*self.host_keys(), *lines])
        write_private(self.known_hosts, "".join(f"{line}\n" for line in kept).encode())

    def forget(self, names: Iterable[str]) -> None:
        """Forget the host keys of a machine by any of its names."""
        gone = set(names)
        kept = [line for line in self.host_keys() if not gone & set(line.split(" ")[0].split(","))]
        write_private(self.known_hosts, "".join(f"{line}\n" for line in kept).encode())

    def endpoints(self) -> frozenset[str]:
        """Where the configuration says that the registry is; nothing for a list that we could not rewrite."""
        try:
            found = LISTED.search(self.config.read_text())
            return frozenset(json.loads(found[1])) if found else frozenset()
        except (OSError, ValueError, TypeError):
            return frozenset()

    def write_endpoints(self, endpoints: Iterable[str]) -> None:
        """Let the configuration say that the registry is there, and all else as it does."""
        line = f"endpoints = {json.dumps(list(endpoints))}"
        text = LISTED.sub(lambda _: line, self.config.read_text(), count=1)
        write_private(self.config, text.encode())

    def write_config(self, endpoints: Iterable[str], user: str) -> None:
        """This laptop's configuration, and the usual place led to it unless something else stands there."""
        text = (
            f"[etcd]\nendpoints = {json.dumps(list(endpoints))}\n"
            f"ca_file = {json.dumps(str(self.ca))}\n"
            f"cert_file = {json.dumps(str(self.certificate))}\nkey_file = {json.dumps(str(self.key))}\n"
            f"username = {json.dumps(self.operator)}\n"
            f"password_file = {json.dumps(str(self.password(self.operator)))}\n\n"
            f"[ssh]\nuser = {json.dumps(user)}\nknown_hosts = {json.dumps(str(self.known_hosts))}\n\n"
            f"[console]\nname = {json.dumps(self.name)}\n"
        )
        write_private(self.config, text.encode())
        with contextlib.suppress(FileExistsError):
            self.usual.symlink_to(self.config.relative_to(self.usual.parent))

    def is_usual(self) -> bool:
        """Whether the commands use this fleet when nothing else is said."""
        return self.usual.resolve() == self.config.resolve()

    def remove(self) -> None:
        """Forget the fleet: there is none any more."""
        if self.usual.is_symlink() and self.is_usual():
            self.usual.unlink()
        shutil.rmtree(self.directory, ignore_errors=True)

    def settings(self, endpoints: Iterable[str], user: str = "") -> EtcdSettings:
        """How to reach the registry, as a user or while nobody is one."""
        return EtcdSettings(
            tuple(endpoints),
            ca_file=str(self.ca),
            cert_file=str(self.certificate),
            key_file=str(self.key),
            username=user or None,
            password_file=str(self.password(user)) if user else None,
        )


def chosen(environ: Mapping[str, str], name: str | None) -> FleetFiles:
    """The fleet named, else the one that this laptop's configuration leads to, else the only one, else "fleet".

    Raises UserError for several fleets of which none is the usual one, and for a name that cannot be.
    """
    if name is not None:
        if not re.fullmatch(NAME, name):
            raise UserError(f"fleet name {name!r}: use up to 32 lower-case letters, digits and hyphens")
        return FleetFiles(environ, name)
    first = FleetFiles(environ, "fleet")
    usual = Path(environ["FLEET_CONFIG"]) if environ.get("FLEET_CONFIG") else first.usual
    clusters = first.directory.parent
    target = usual.resolve()
    if target.parent.parent == clusters.resolve():
        return FleetFiles(environ, target.parent.name)
    if usual.exists():
        raise UserError(
            f"{usual} was not written by a join, so that its fleet is not ours to extend; name a fleet of its own:"
            " --fleet NAME"
        )
    try:
        there = sorted(each.name for each in clusters.iterdir() if (each / "authority.pem").exists())
    except OSError:
        there = []
    if len(there) > 1:
        raise UserError(f"this laptop knows {len(there)} fleets; say which: --fleet {' or '.join(there)}")
    return FleetFiles(environ, there[0]) if there else first


def _operator() -> str:
    """This user's name, where etcd can have one of it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return user if re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", user) and user != ROOT else "operator"
