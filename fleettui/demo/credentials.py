"""What lets programs into a local cluster's registry, made by the same code as a real fleet's.

Owns the files below one directory: the authority, etcd's certificate, a certificate and a user for each program,
the operator's and root's own. `make` writes what is missing; `turn_users_on` tells etcd.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
from collections.abc import Iterable
from pathlib import Path

from fleettui.access.authority import Authority, Leaf, write_private
from fleettui.access.grants import Grants, new_password
from fleettui.access.secrets_key import make_keys
from fleettui.demo import nodefiles
from registry.etcd import Etcd, EtcdSettings
from registry.etcd.admin import ROOT
from registry.keys import DEFAULT_KEYS
from registry.roles import Role, User, agent_of, scheduler_of
from registry.sealing import PRIVATE_FILE

OPERATOR = User("operator", Role.OPERATOR)
BCRYPT_COST = 4  # passwords are random: nobody guesses them, and a login costs next to nothing


class Credentials:
    """The credentials of the cluster `name`, in a directory that its owner alone may enter."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory, self._name = directory, name
        self.ca, self.certificate, self.key = (directory / each for each in ("ca.pem", "client.pem", "client.key"))

    def make(self, hosts: Iterable[str], machines: Iterable[str]) -> None:
        """Everything, for an etcd that is reached at `hosts` and the programs of `machines` (their ids)."""
        authority = Authority.create(self.directory, self._name)
        self._write("etcd", authority.issue_server(hosts))
        self._write("client", authority.issue_client())
        make_keys(self.directory)
        users = [each for machine in machines for each in (agent_of(machine), scheduler_of(machine))]
        for user in (ROOT, OPERATOR.name, *(each.name for each in users)):
            if not self.password(user).exists():
                write_private(self.password(user), f"{new_password()}\n".encode())

    def password(self, user: str) -> Path:
        """The file of a user's password."""
        return self.directory / f"{user}.password"

    def of_node(self, machine: str) -> dict[str, str]:
        """The texts of a node's own files, by their names below /etc/fleet."""
        leaf = Authority.load(self.directory).issue_client()
        return {
            "ca.pem": self.ca.read_text(),
            "client.pem": leaf.certificate.decode(),
            "client.key": leaf.key.decode(),
            PRIVATE_FILE: (self.directory / PRIVATE_FILE).read_text(),
            "agent.password": self.password(agent_of(machine).name).read_text(),
            "scheduler.password": self.password(scheduler_of(machine).name).read_text(),
        }

    def adopt(self, machine: str, directory: Path) -> None:
        """Take up a machine's passwords as they are in its /etc/fleet: they may have been renewed."""
        for user, name in ((agent_of(machine), "agent.password"), (scheduler_of(machine), "scheduler.password")):
            write_private(self.password(user.name), (directory / name).read_bytes())

    def settings(self, endpoints: Iterable[str], user: str = ROOT) -> EtcdSettings:
        """How to reach etcd as a user; while users are off, as nobody."""
        ca, certificate, key = map(str, (self.ca, self.certificate, self.key))
        return EtcdSettings(tuple(endpoints), ca, certificate, key, user, str(self.password(user)))

    def table(self, endpoints: Iterable[str], user: str = OPERATOR.name) -> str:
        """The table [etcd] of the configuration of a program on this host."""
        return nodefiles.etcd_table(endpoints, str(self.directory), user, self.password(user).name)

    def etcdctl_options(self) -> list[str]:
        """What etcdctl has to be told, but for the user."""
        return [f"--cacert={self.ca}", f"--cert={self.certificate}", f"--key={self.key}"]

    def etcd_options(self) -> list[str]:
        """What etcd has to be told: TLS for clients and members alike, and no client without a certificate."""
        cert, key = self.directory / "etcd.pem", self.directory / "etcd.key"
        return [
            f"--cert-file={cert}", f"--key-file={key}", f"--trusted-ca-file={self.ca}", "--client-cert-auth=true",
            f"--peer-cert-file={cert}", f"--peer-key-file={key}", f"--peer-trusted-ca-file={self.ca}",
            "--peer-client-cert-auth=true", f"--bcrypt-cost={BCRYPT_COST}",
        ]  # fmt: skip

    def turn_users_on(self, endpoints: Iterable[str], machines: Iterable[str]) -> None:
        """Make the users of the programs and let nobody in without one; nothing where that is done."""
        users = [each for machine in machines for each in (agent_of(machine), scheduler_of(machine))]

        async def carry_out() -> None:
            async with Etcd(self.settings(endpoints)) as etcd:
                grants = Grants(etcd, DEFAULT_KEYS)
                if await grants.admin.users_are_on():
                    return
                for user in (OPERATOR, *users):
                    await grants.grant(user, self.password(user.name).read_text().strip())
                await grants.turn_on(self.password(ROOT).read_text().strip())

        asyncio.run(carry_out())

    def _write(self, name: str, leaf: Leaf) -> None:
        write_private(self.directory / f"{name}.key", leaf.key)
        write_private(self.directory / f"{name}.pem", leaf.certificate)


class RootDoor:
    """etcd's gateway as root reaches it, past our own client: for looks and faults."""

    def __init__(self, credentials: Credentials, endpoint: str) -> None:
        self._credentials, self._host = credentials, endpoint.removeprefix("https://")
        self._token = ""

    def forget(self) -> None:
        """Log in anew: tokens end with the server, or become others' when it is restored."""
        self._token = ""

    def ask(self, method: str, path: str, body: bytes) -> bytes:
        """One request. Raises OSError, HTTPException."""
        status, answer = self._exchange(method, path, body)
        if status in (400, 401) and (b"user name is empty" in answer or b"auth token" in answer):
            self.login()
            _, answer = self._exchange(method, path, body)
        return answer

    def login(self) -> dict[str, str]:
        """Log in; returns etcdctl's variables for the same, none while users are off. Raises as `ask`."""
        password = self._credentials.password(ROOT).read_text().strip()
        login = json.dumps({"name": ROOT, "password": password}).encode()
        self._token = json.loads(self._exchange("POST", "/v3/auth/authenticate", login)[1]).get("token", "")
        return {"ETCDCTL_USER": ROOT, "ETCDCTL_PASSWORD": password} if self._token else {}

    def _exchange(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=str(self._credentials.ca))
        context.load_cert_chain(self._credentials.certificate, self._credentials.key)
        connection = http.client.HTTPSConnection(self._host, timeout=3, context=context)
        try:
            headers = {"Accept": "*/*"}  # by it etcd sees that its gateway asks; else it takes us for a user ""
            if self._token:
                headers["Authorization"] = self._token
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
