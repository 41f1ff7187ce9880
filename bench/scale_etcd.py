"""An etcd of its own for measuring: one server on loopback with the flags of the local cluster, and what it counts.

Owns the server process, the reading of its metrics, and the raw rates that figures stand beside.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from fleettui.demo.etcdserver import find_binary
from registry.etcd import Etcd, EtcdSettings, Op

READY_S = 20.0
RAW_VALUE = b'{"hash":"' + b"0" * 64 + b'","target":"launched","generation":1}'
CLIENTS = 30  # transactions under way at once when the raw rate is taken
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? ([0-9.e+-]+)$", re.MULTILINE)
_METHOD = re.compile(r'grpc_method="(\w+)"')


class BenchEtcd:
    """A server that lives as long as the `with` block, its data below the temporary directory."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="bench-etcd-"))
        self.url, peer = (f"http://127.0.0.1:{port}" for port in _free_ports(2))
        command = [
            str(find_binary()), "--name=bench", f"--data-dir={self._directory / 'data'}",
            f"--listen-client-urls={self.url}", f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=bench={peer}", "--auto-compaction-mode=periodic",
            "--auto-compaction-retention=1h", "--log-level=error", "--logger=zap",
        ]  # fmt: skip
        environ = {key: value for key, value in os.environ.items() if not key.startswith("ETCD")}
        with (self._directory / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)

    def __enter__(self) -> Self:
        deadline = time.monotonic() + READY_S
        while not self._answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                log = (self._directory / "log").read_text(errors="replace")
                self.__exit__(None, None, None)
                raise SystemExit(f"etcd does not start: {log[-500:]}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def client(self) -> Etcd:
        """A client of it."""
        return Etcd(EtcdSettings((self.url,)))

    def cpu_s(self) -> float:
        """Processor time of the server so far, in seconds."""
        return process_cpu_s(self.process.pid)

    def requests(self) -> Counter[str]:
        """How many messages came in so far, by gRPC method: Txn, Range, Put, LeaseKeepAlive."""
        found: Counter[str] = Counter()
        for name, labels, value in _SAMPLE.findall(self._read("/metrics")):
            if name == "grpc_server_msg_received_total" and (method := _METHOD.search(labels)):
                found[method[1]] += int(float(value))
            elif name == "etcd_server_proposals_applied_total":
                found["proposals"] = int(float(value))
        return found

    def _answers(self) -> bool:
        try:
            return '"true"' in self._read("/health")
        except (OSError, urllib.error.URLError):
            return False

    def _read(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:  # noqa: S310 - our own server
            text: str = answer.read().decode()
        return text


async def raw_transactions(etcd: Etcd, seconds: float) -> float:
    """How many transactions of one put a second this etcd takes from one client process that does nothing else."""
    done = 0
    until = time.monotonic() + seconds

    async def write(number: int) -> None:
        nonlocal done
        turn = 0
        while time.monotonic() < until:
            turn = (turn + 1) % 100
            await etcd.txn([], [Op.put(f"/bench/{number}/{turn}", RAW_VALUE)])
            done += 1

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(write(number))
    return done / (time.monotonic() - began)


def process_cpu_s(pid: int) -> float:
    """Processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int, field: str = "VmRSS") -> float:
    """Resident memory of a process, now or (`VmHWM`) at its peak."""
    found = re.search(rf"{field}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
