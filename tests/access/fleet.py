"""An etcd that is secured as the product secures it: its authority's certificates, client certificates demanded."""

from __future__ import annotations

from pathlib import Path

from fleettui.access.authority import Authority, Leaf, write_private
from registry.etcd import EtcdSettings
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
