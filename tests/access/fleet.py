"""An etcd that is secured as the product secures it: its authority's certificates, client certificates demanded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fleettui.access.authority import Authority, Leaf, write_private
from fleettui.access.grants import Grants
from registry.etcd import Etcd, EtcdSettings
from registry.keys import Keys
from registry.roles import User
from tests.etcd_server import EtcdServer, Tls

ROOT_PASSWORD = "the password of root"
QUICK = ["--bcrypt-cost=4"]


def write_leaf(directory: Path, name: str, leaf: Leaf) -> tuple[Path, Path]:
    """The leaf as NAME.pem and NAME.key."""
    pair = directory / f"{name}.pem", directory / f"{name}.key"
    write_private(pair[0], leaf.certificate)
    write_private(pair[1], leaf.key)
    return pair


def tls_of(authority: Authority, directory: Path, *, peers: bool = False) -> Tls:
    """What a member on loopback needs, with client certificates demanded; called again it renews all of it."""
    directory.mkdir(exist_ok=True)
    write_private(directory / "ca.pem", authority.certificate_pem)
    server = write_leaf(directory, "server", authority.issue_server(["127.0.0.1", "localhost"]))
    client = write_leaf(directory, "client", authority.issue_client())
    return Tls(directory / "ca.pem", *server, *client, require_client=True, peers=peers)


def settings_of(server: EtcdServer, user: str = "", password: Path | None = None) -> EtcdSettings:
    """A client with the client's certificate, and a user if one is given."""
    tls = server.members[0].tls
    assert tls
    return EtcdSettings(
        server.endpoints,
        str(tls.ca),
        str(tls.client_cert),
        str(tls.client_key),
        user or None,
        str(password) if password else None,
    )


def password_file(path: Path, password: str) -> Path:
    """A password file as programs want it."""
    write_private(path, f"{password}\n".encode())
    return path


@dataclass(frozen=True, slots=True)
class SecuredEtcd:
    """A secured etcd with users on. The password of a user lies in `home`, as USER.password."""

    server: EtcdServer
    home: Path
    root: Etcd
    stack: AsyncExitStack

    @property
    def tls(self) -> Tls:
        """The certificates, which lie in `home` as well."""
        tls = self.server.members[0].tls
        assert tls
        return tls

    async def client(self, user: str) -> Etcd:
        """A client of this user, closed along with the server."""
        return await self.stack.enter_async_context(
            Etcd(settings_of(self.server, user, self.home / f"{user}.password"))
        )


@asynccontextmanager
async def secured(directory: Path, users: Iterable[User], version: str = "") -> AsyncIterator[SecuredEtcd]:
    """An etcd whose authority lies in `directory`/fleet, with root and these users, and a password for each."""
    home = directory / "fleet"
    tls = tls_of(Authority.create(home, "test"), home)
    server = EtcdServer(directory / "etcd", version, tls=tls, flags=QUICK)
    async with AsyncExitStack() as stack:
        stack.callback(server.close)
        server._spawn()
        await asyncio.to_thread(server.members[0].wait_ready)
        password_file(home / "root.password", ROOT_PASSWORD)
        root = await stack.enter_async_context(Etcd(settings_of(server, "root", home / "root.password")))
        grants = Grants(root, Keys())
        await grants.turn_on(ROOT_PASSWORD)
        for user in users:
            password_file(home / f"{user.name}.password", f"of {user.name}")
            await grants.grant(user, f"of {user.name}")
        yield SecuredEtcd(server, home, root, stack)
